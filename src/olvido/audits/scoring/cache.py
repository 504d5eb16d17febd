"""Scores and answers on disk, by the digests of model and text: nothing is asked twice.

A folder for each model holds files that are written once, whole, and never changed. A file that
cannot be read is set aside with a warning, and what it held is asked again. Scores and answers tell
about the records they belong to: whoever forgets a record removes the folder as well.
"""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Mapping
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np

from olvido.audits.scoring.score import Score
from olvido.files import write

DIGEST = 32


class Shelf:
    """What one model said, in one folder.

    Args:
        folder: of the cache, for all models.
        model: the model's digest.
    """

    def __init__(self, folder: Path, model: str) -> None:
        self.folder = folder / model.replace(":", "-")

    def read(self) -> tuple[dict[bytes, Score], dict[bytes, str]]:
        """All scores and all answers, by the text's digest."""
        scores: dict[bytes, Score] = {}
        answers: dict[bytes, str] = {}
        for file in sorted(self.folder.glob("*.npz")):
            try:
                scores |= _unpack(_checked(file))
            except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
                _set_aside(file, error)
        for file in sorted(self.folder.glob("*.json")):
            try:
                found = json.loads(_checked(file))
                answers |= {bytes.fromhex(key): str(text) for key, text in found.items()}
            except (ValueError, OSError, AttributeError) as error:
                _set_aside(file, error)
        return scores, answers

    def add_scores(self, scores: Mapping[bytes, Score]) -> None:
        """Keep these scores."""
        if not scores:
            return
        buffer = BytesIO()
        columns = zip(*(score.arrays for score in scores.values()), strict=True)
        per_token, mean, variance, rank = (np.concatenate(column) for column in columns)
        np.savez(
            buffer,
            keys=np.frombuffer(b"".join(scores), dtype=np.uint8).reshape(-1, DIGEST),
            lengths=np.array([score.tokens for score in scores.values()], dtype=np.int64),
            per_token=per_token,
            mean=mean,
            variance=variance,
            rank=rank,
        )
        self._write(buffer.getvalue(), "npz")

    def add_answers(self, answers: Mapping[bytes, str]) -> None:
        """Keep these answers."""
        if answers:
            text = json.dumps({key.hex(): answer for key, answer in answers.items()})
            self._write(text.encode(), "json")

    def _write(self, content: bytes, kind: str) -> None:
        """Under a name made of the content, so that processes side by side cannot collide."""
        write(self.folder / f"{sha256(content).hexdigest()[:32]}.{kind}", content)


def _checked(file: Path) -> bytes:
    content = file.read_bytes()
    if sha256(content).hexdigest()[:32] != file.stem:
        raise ValueError("its content is not what was written")
    return content


def _unpack(content: bytes) -> dict[bytes, Score]:
    with np.load(BytesIO(content), allow_pickle=False) as held:
        keys = [row.tobytes() for row in held["keys"]]
        cuts = np.cumsum(held["lengths"])[:-1]
        columns = [np.split(held[n], cuts) for n in ("per_token", "mean", "variance", "rank")]
    return {key: Score(*arrays) for key, *arrays in zip(keys, *columns, strict=True)}


def _set_aside(file: Path, error: Exception) -> None:
    file.rename(file.with_suffix(file.suffix + ".unreadable"))
    warnings.warn(
        f"{file} cannot be read ({error}): it is set aside, and what it held is asked again",
        stacklevel=4,
    )
