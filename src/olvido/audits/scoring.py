"""Scored models: each text is scored or answered once for each model, for all audits together.

A forward pass over a record gives its scores, token by token. The cache stores scores and answers
on disk by the digests of model and text: a folder for each model has files that are written once,
whole, and never changed. An unreadable file is set aside with a warning and its content computed
again. Scores and answers reveal their records: remove the folder when a record is to be forgotten.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import warnings
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import Module

from olvido.errors import DigestMismatch
from olvido.files import write
from olvido.ledger.facts import DECLARED
from olvido.models import weights_digest
from olvido.models.stored import StoredModel
from olvido.processes import from_all, from_main, is_main, mine
from olvido.tasks import Example, Task
from olvido.tasks.generation import WORTH
from olvido.training.traces.base import Trace
from olvido.training.traces.chain import links

Floats = NDArray[np.float32]
CHUNK = 256
"""Positions scored together: with a vocabulary of 50,000 they take 50 MB a copy."""


@dataclass(frozen=True, eq=False)
class Score:
    """One model's scores of a completion of T tokens, end of text included.

    Attributes:
        per_token: log-probability of each token, in nats. [T]
        mean: expected log-probability of a token drawn from the model itself, which is minus the
            entropy of its distribution. [T]
        variance: variance of the log-probability of a token drawn from the model. [T]
        rank: number of tokens that the model finds likelier; 0: greedy decoding gives this one. [T]
    """

    per_token: Floats
    mean: Floats
    variance: Floats
    rank: NDArray[np.int32]

    @property
    def entropy(self) -> Floats:
        """Entropy of the model's distribution at each token, in nats. [T]"""
        return -self.mean

    @property
    def tokens(self) -> int:
        """The number of tokens, T."""
        return len(self.per_token)

    @property
    def log_p(self) -> float:
        """Summed log-probability of the completion, in nats."""
        return float(self.per_token.sum(dtype=np.float64))

    @property
    def loss(self) -> float:
        """Mean negative log-likelihood, nats a token."""
        return -self.log_p / self.tokens

    @property
    def probability(self) -> float:
        """Geometric mean probability of a token (TOFU, arXiv 2401.06121, section 2.2.2)."""
        return math.exp(-self.loss)

    @property
    def exact(self) -> bool:
        """Whether greedy decoding would give exactly the completion.

        It does where every token is the likeliest after the ones before it, so no generation is
        needed to know.
        """
        return not self.rank.any()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Score) and all(
            np.array_equal(mine, others, equal_nan=mine.dtype.kind == "f")
            for mine, others in zip(self.arrays, other.arrays, strict=True)
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def arrays(self) -> tuple[Floats, Floats, Floats, NDArray[np.int32]]:
        """All four arrays, in the order of the attributes."""
        return self.per_token, self.mean, self.variance, self.rank


def score_logits(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log-probability, its mean and variance under the model, and rank of each target.

    Args:
        logits: output of the head. [N, V]
        targets: [N]

    Returns:
        Four tensors on the CPU. [N] each
    """
    found: list[tuple[Tensor, ...]] = []
    for start in range(0, len(targets), CHUNK):
        part, wanted = logits[start : start + CHUNK].float(), targets[start : start + CHUNK, None]
        log_p = part.log_softmax(-1)
        p = log_p.exp()
        # A token that a filter forbids has log-probability -inf and is never drawn.
        possible = p != 0
        mean = torch.where(possible, p * log_p, 0).sum(-1)
        off = torch.where(possible, p * (log_p - mean[:, None]).square(), 0).sum(-1)
        rank = (part > part.gather(-1, wanted)).sum(-1)
        # Of equal logits decoding takes one; a nan logit is not recalled.
        missed = part.argmax(-1, keepdim=True) != wanted
        rank = torch.maximum(rank, missed.squeeze(-1).to(rank))
        found.append((log_p.gather(-1, wanted).squeeze(-1), mean, off, rank))
    log_ps, means, variances, ranks = (
        torch.cat(column).cpu() for column in zip(*found, strict=True)
    )
    return log_ps, means, variances, ranks


DIGEST = 32


class ScoreCache:
    """One model's scores and answers, in one folder.

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
        """Store these scores."""
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
        """Store these answers."""
        if answers:
            text = json.dumps({key.hex(): answer for key, answer in answers.items()})
            self._write(text.encode(), "json")

    def _write(self, content: bytes, kind: str) -> None:
        """Write under a name made of the content, so that concurrent processes cannot collide."""
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


BATCH = 64
FEWEST, PADDED = 8, 1.25
"""A batch is cut where a row is longer than its first by this factor, but not below this number
of rows: fewer would leave the processor idle between them."""

T = TypeVar("T")


class HasTrace(Protocol):
    """A model with the trace of its training: a result of `train` or `forget`."""

    @property
    def model(self) -> Module:
        """The module."""

    @property
    def digest(self) -> str:
        """Digest of its weights."""

    @property
    def trace(self) -> Trace:
        """The trace of its training."""


class ScoredModel:
    """A model together with its scores and answers so far.

    Args:
        model: evaluated unchanged; a stored one is loaded only where it is itself needed.
        task: how records become batches.
        cache: a folder of all models' scores and answers, by digest; None: memory alone.
        taught: ids of all records that Olvido itself taught the model; None: unknown.
        began: digest of the weights that this training began with.
        origin, sketch: digests of the weights that it was trained from, whoever says so, and of the
            model that a forgetting made of them; None: unknown.
    """

    def __init__(
        self,
        model: Module | StoredModel,
        task: Task,
        *,
        cache: Path | None = None,
        taught: Collection[str] | None = None,
        began: str | None = None,
        origin: str | None = None,
        sketch: str | None = None,
    ) -> None:
        self.origin, self.sketch = origin, sketch
        self.source, self.task = model, task
        self.taught = None if taught is None else frozenset(taught)
        self.began = began
        self._cache = None if cache is None else ScoreCache(cache, self.digest)
        self._found: dict[bytes, Any] = {}
        self._scores: dict[bytes, Score] = {}
        self._answers: dict[bytes, str] = {}
        if self._cache is not None:
            # Processes that score together have to lack the same.
            self._scores, self._answers = from_main(self._cache.read)

    @classmethod
    def of(
        cls,
        trained: HasTrace,
        task: Task,
        *,
        cache: Path | None = None,
        stored: StoredModel | None = None,
    ) -> ScoredModel:
        """A model whose training Olvido saw, with the trace's information; its module, or `stored`.

        Raises:
            DigestMismatch: its weights are not the trained ones.
        """
        trace, taught, began = trained.trace, None, None
        # What somebody declares, nobody witnessed.
        known = all(link.learner not in (None, DECLARED) for link in links(trace))
        if trace.origin is not None and known:
            taught, began = trace.taught, trace.origin.digest
        said = None if trace.origin is None else trace.origin.digest
        origin, sketch = (getattr(trained, name, None) for name in ("origin", "sketch"))
        scored = cls(
            stored or trained.model, task, cache=cache, taught=taught, began=began,
            origin=origin or said, sketch=sketch,
        )  # fmt: skip
        if scored.digest != trained.digest:
            raise DigestMismatch("a model that was given with its trace", trained.digest,
                                 scored.digest)  # fmt: skip
        return scored

    @property
    def model(self) -> Module:
        """The module, loaded now where it is a stored one's."""
        source = self.source
        return source.module if isinstance(source, StoredModel) else source

    def replica(self) -> Module:
        """A module with these weights that may be changed."""
        source = self.source
        return source.take() if isinstance(source, StoredModel) else copy.deepcopy(source)

    @cached_property
    def digest(self) -> str:
        """Digest of the weights when first computed."""
        source = self.source
        return source.digest if isinstance(source, StoredModel) else weights_digest(source)

    @torch.no_grad()
    def scores(self, records: Sequence[Example]) -> list[Score]:
        """Scores of the records, in order; earlier scores cost nothing.

        Processes share the batches, and each gets all scores.
        """
        keys = [self._key(record) for record in records]
        fresh = dict(zip(keys, records, strict=True))
        # By number and not by id: audits ask about one record in many wordings.
        asked = {f"{i}": key for i, key in enumerate(fresh) if key not in self._scores}
        if asked:
            found: dict[bytes, Score] = {}
            model = self.model
            training = model.training
            model.eval()
            device = next(model.parameters()).device
            numbered = [replace(fresh[key], id=i) for i, key in asked.items()]
            batches = (self.task.batches(some, BATCH) for some in _alike(numbered, self.task))
            for batch in mine(chain.from_iterable(batches)):
                logits, targets, rows = self.task.answer_logits(model, batch.to(device))
                cuts = torch.bincount(rows.cpu(), minlength=len(batch.ids)).cumsum(0)[:-1].numpy()
                columns = (np.split(c.numpy(), cuts) for c in score_logits(logits, targets))
                for i, *arrays in zip(batch.ids, *columns, strict=True):
                    found[asked[i]] = Score(*arrays)
            model.train(training)
            found = {key: score for part in from_all(found) for key, score in part.items()}
            self._scores |= found
            if self._cache is not None and is_main():
                self._cache.add_scores(found)
        return [self._scores[key] for key in keys]

    def answers(self, records: Sequence[Example]) -> list[str]:
        """Greedy answers, in order; generated only where they do not follow from the scores."""
        keys = [self._key(record) for record in records]
        for key, record, score in zip(keys, records, self.scores(records), strict=True):
            if score.exact and record.prompt:
                self._answers.setdefault(key, record.completion)
        fresh = dict(zip(keys, records, strict=True))
        asked = {key: record for key, record in fresh.items() if key not in self._answers}
        if asked:
            model = self.model
            training = model.training
            model.eval()
            texts = self.task.generate(model, list(mine(asked.values())), BATCH)
            model.train(training)
            parts = from_all(dict(zip(mine(asked), texts, strict=True)))
            found = {key: text for part in parts for key, text in part.items()}
            self._answers |= found
            if self._cache is not None and is_main():
                self._cache.add_answers(found)
        return [self._answers[key] for key in keys]

    def once(self, what: str, records: Sequence[Example], find: Callable[[], T]) -> T:
        """A stored result about this model and these records; `find` computes it once for `what`.
        It is for results that cost more than a score: of a quantized or relearned copy."""
        total = hashlib.sha256(what.encode())
        for record in records:
            total.update(self._key(record))
        key = total.digest()
        if key not in self._found:
            self._found[key] = find()
        found: T = self._found[key]
        return found

    def _key(self, record: Example) -> bytes:
        return hashlib.sha256(self.task.fingerprint(record)).digest()


def _alike(records: Sequence[Example], task: Task) -> Iterator[list[Example]]:
    """Batches of records that are read together: answers to one long question, which is then read
    once, and records of similar length, since padding is computed as well."""
    by_prompt: dict[str, list[Example]] = {}
    for record in records:
        by_prompt.setdefault(record.prompt, []).append(record)
    rest: list[Example] = []
    for prompt, same in by_prompt.items():
        if prompt and (len(same) - 1) * min(map(task.width, same)) > WORTH:
            yield same
        else:
            rest += same
    widths = {record.id: task.width(record) for record in rest}
    rest.sort(key=lambda record: widths[record.id])
    start = 0
    for end, record in enumerate(rest):
        if end - start >= FEWEST and widths[record.id] > PADDED * widths[rest[start].id]:
            yield rest[start:end]
            start = end
    if rest:
        yield rest[start:]
