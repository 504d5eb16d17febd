"""A trace on disk: what it says in one JSON file, its logs and checkpoints beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch.nn import Module

from olvido.artifacts import NOTE
from olvido.errors import DigestMismatch, StateError
from olvido.learners.runs.checkpoint import Shelf
from olvido.learners.runs.log import Log
from olvido.learners.trace import Origin, Part, Placement, StepLog, Trace, Untraced

_RUN = "run"


def write_trace(trace: Trace, folder: Path, *, base: str, seed: int) -> None:
    """Write a trace into the folder of its model.

    Args:
        trace: `olvido.json` describes it, `logs/` has its step logs, `checkpoints/` those
            checkpoints that are kept for replay.
        folder: the model's own.
        base: the name of what the training began with.
        seed: that the base was drawn from, where it is drawn.
    """
    logs = _logs(trace)
    note: dict[str, Any] = {
        "kind": type(trace).__name__,
        "base": base,
        "seed": seed,
        "runs": {name: log.to_dict() for name, log in logs.items()},
    }
    if isinstance(trace, Placement):
        note |= {
            "learner": trace.learner,
            "origin": trace.origin.digest,
            "options": dict(trace.options),
        }
    for name, log in logs.items():
        path = folder / "logs" / f"{name}.bin"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(log.log.packed)
        if log.shelf is not None and (log.keep or log.shelf.cache.exists()):
            kept = Shelf(folder / "checkpoints" / name)
            log.shelf.copy_to(kept, before=log.plan.total_steps)
            kept.clear(keep=log.keep)
    note["digest"] = _digest(note)
    (folder / NOTE).write_text(json.dumps(note, ensure_ascii=False), encoding="utf-8")


def read_trace(folder: Path, load: Callable[[str, int], Module]) -> Trace:
    """The trace that `write_trace` wrote.

    Args:
        folder: the model's.
        load: gives what the training began with, from its name and seed; called when needed.

    Raises:
        StateError: something in it cannot be read.
        DigestMismatch: something in it is not what was written.
    """
    try:
        note = _note(folder / NOTE)
        if note["kind"] == Untraced.__name__:
            return Untraced()
        base = partial(load, note["base"], note["seed"])
        runs = {
            name: StepLog.from_dict(
                values,
                base,
                Log((folder / "logs" / f"{name}.bin").read_bytes()),
                _shelf(folder / "checkpoints" / name),
            )
            for name, values in note["runs"].items()
        }
        if note["kind"] == StepLog.__name__:
            return runs[_RUN]
        parts = tuple(Part(name, log) for name, log in runs.items())
        return Placement(note["learner"], Origin(base, note["origin"]), note["options"], parts)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StateError(
            f"what the training of this model kept cannot be read ({error}): restore {NOTE} and "
            f"logs in {folder} from a copy you trust"
        ) from error


def _note(path: Path) -> dict[str, Any]:
    try:
        note: dict[str, Any] = json.loads(path.read_text("utf-8"))
        expected = note.pop("digest")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StateError(
            f"{path} cannot be read ({error}): restore it from a copy you trust"
        ) from error
    if (found := _digest(note)) != expected:
        raise DigestMismatch(str(path), expected, found)
    return note


def _digest(note: dict[str, Any]) -> str:
    text = json.dumps(note, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _shelf(folder: Path) -> Shelf | None:
    return Shelf(folder) if folder.is_dir() else None


def _logs(trace: Trace) -> dict[str, StepLog]:
    if isinstance(trace, StepLog):
        return {_RUN: trace}
    if isinstance(trace, Placement):
        return {part.name: part.log for part in trace.parts}
    return {}
