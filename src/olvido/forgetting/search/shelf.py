"""Finished trials in a folder, so that a search that was cut off goes on where it was."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch.nn import Module

from olvido.documents import finite, read_document, write_document
from olvido.errors import InputError, StateError
from olvido.files import new_file
from olvido.forgetting.types import Moment, Side, Split, Trial
from olvido.models import weights_digest
from olvido.tasks import Task


class Shelf:
    """What was tried of one search: its numbers, and the weights of a trial that was good.

    The weights have forgotten what the search was for and nothing else; the numbers name nobody.

    Args:
        folder: made where it is missing.
        origin: the digest of the model as it was.
        split, task, seed: of the search. Another search has other keys, and may share the folder.
    """

    def __init__(self, folder: Path, origin: str, split: Split, task: Task, seed: int) -> None:
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is no folder: name one for the trials")
        self._folder = folder
        whole = hashlib.sha256(f"{origin}|{seed}".encode())
        for side in (split.forget, split.retain, split.holdout):
            whole.update(b"|")
            for record in side:
                whole.update(hashlib.sha256(record.id.encode()).digest())
                whole.update(hashlib.sha256(task.content(record)).digest())
        for model in split.never:
            whole.update(weights_digest(model).encode())
        self._search = whole.hexdigest()

    def read(
        self, method: str, options: Mapping[str, Any]
    ) -> tuple[Trial, tuple[Moment, ...]] | None:
        """A finished trial with what it saw on its way; None where it has not finished."""
        file = self._file(method, options)
        if not file.exists():
            return None
        found = read_document(file)
        try:
            history = tuple(Moment(*moment) for moment in found.pop("history"))
            distance = float("inf") if found["distance"] is None else found["distance"]
            return Trial(**found | {"side": Side(found["side"]), "distance": distance}), history
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"{file} is no finished trial ({error}): remove it") from error

    def write(self, trial: Trial, history: Sequence[Moment], model: Module | None) -> None:
        """Enter a finished trial; its model as well where one is given."""
        file = self._file(trial.method, trial.options)
        if model is not None:
            from safetensors.torch import save_model

            with new_file(file.with_suffix(".safetensors")) as unfinished:
                save_model(model, str(unfinished))
        moments = [[m.step, m.forget, m.retain] for m in history]
        write_document(replace(trial, taken=False).to_dict() | {"history": moments}, file)

    def model(self, trial: Trial, like: Module) -> Module | None:
        """The model of a finished trial, in a copy of `like`; None where it was not kept."""
        file = self._file(trial.method, trial.options).with_suffix(".safetensors")
        if not file.exists():
            return None
        from safetensors.torch import load_model

        model = copy.deepcopy(like)
        load_model(model, str(file))
        return model.eval()

    def _file(self, method: str, options: Mapping[str, Any]) -> Path:
        asked = json.dumps([self._search, method, finite(options)], sort_keys=True)
        return self._folder / f"{method}-{hashlib.sha256(asked.encode()).hexdigest()[:16]}.json"
