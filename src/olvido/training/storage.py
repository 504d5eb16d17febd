"""A trace on disk: what it says in one JSON file, its logs and checkpoints beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from torch.nn import Module

from olvido.artifact_shapes import NOTE
from olvido.errors import DigestMismatch, InputError, Parameter, StateError
from olvido.models import load, save, weights_digest
from olvido.reporting import Table, write_sheet
from olvido.reporting.words import count, duration
from olvido.training.checkpoint import Shelf
from olvido.training.log import Log
from olvido.training.trace import Origin, Part, Placement, StepLog, Trace, Trained, Untraced

_RUN = "run"


def save_trained(
    trained: Trained,
    tokenizer: Any,
    folder: Path,
    *,
    base: str | None,
    seed: int,
    also: Callable[[Path], None] | None = None,
) -> None:
    """Write a model with its trace; arguments and errors are those of `Trained.save`.

    Args:
        also: puts further files into the folder before it gets its name.
    """
    if not hasattr(trained.model, "save_pretrained"):
        raise InputError(
            f"{type(trained.model).__name__} has no save_pretrained: only models in Hugging Face "
            "format can be saved with their trace"
        )
    if not isinstance(trained.trace, Untraced):
        if base is None:
            raise InputError(
                "what the training began with is not said, and without it nothing can be forgotten "
                "exactly: name it as olvido.load takes it (",
                Parameter("base"),
                ")",
            )
        begun = _of_type(base, trained.model, seed)
        origins = {log.origin.digest for log in _logs(trained.trace).values()}
        if origins - {weights_digest(begun)}:
            raise InputError(
                f"the training did not begin with {base!r} (seed {seed}): name the model that it "
                "began with"
            )

    def fill(unfinished: Path) -> None:
        about = {"weights": trained.digest, "dtype": _dtype(trained.model)}
        write_trace(trained.trace, unfinished, base=str(base), seed=seed, about=about)
        if also is not None:
            also(unfinished)

    save(trained.model, tokenizer, folder, fill=fill)


def write_trained_page(trained: Trained, path: Path) -> None:
    """Write the page of a model with its trace; see `Trained.page`."""
    trace, runs = trained.trace, _logs(trained.trace)
    facts = {
        "Model": type(trained.model).__name__,
        "Parameters": count(sum(p.numel() for p in trained.model.parameters())),
        "Weights": trained.digest,
    }
    if not isinstance(trace, Untraced):
        facts |= {
            "Records": count(len(trace.present)),
            "Learner": trace.learner if isinstance(trace, Placement) else "monolith",
            "Began with": trace.origin.digest,
            "Took": duration(trace.seconds),
            "Tokens": count(trace.tokens),
        }
    said = "It keeps the log of its steps, and can be made to forget exactly."
    if isinstance(trace, Untraced):
        said = "It came without a log of its training, and nothing can be replayed."
    write_sheet(
        path,
        title="A trained model",
        lead=said,
        facts=facts,
        tables=[
            Table(
                "Its training",
                ("Part", "Records", "Steps", "Seed", "Checkpoints kept", "Forgotten since"),
                [
                    (
                        "all of it" if name == _RUN else name,
                        count(len(log.present)),
                        count(log.plan.total_steps),
                        str(log.seed),
                        count(len(log.keep)),
                        count(len(log.since)),
                    )
                    for name, log in runs.items()
                ],
            ),
            Table(
                "Recipes",
                ("Setting", "Value"),
                [
                    (name, _setting(value))
                    for recipe in dict.fromkeys(log.recipe for log in runs.values())
                    for name, value in asdict(recipe).items()
                ],
            ),
        ],
        open_=["What the model remembers of its records: an audit tells that (olvido.audit)."],
    )


def _setting(value: Any) -> str:
    """A setting as it would be given: a learning rate has more places than a measured number."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def load_trained(folder: Path) -> Trained:
    """What `save_trained` wrote; errors are those of `Trained.load`."""
    if not (folder / NOTE).is_file():
        raise InputError(
            f"{folder} holds no {NOTE}: name a folder that Trained.save wrote, or olvido.load it"
        )
    # An edit shows before anything is built from it.
    note = _note(folder / NOTE)
    if "weights" not in note:
        raise InputError(
            f"expected a folder that Trained.save wrote, got {folder}, a model of a workspace, "
            "whose ledger alone says what its weights are: open it by its id with Workspace.load, "
            "or its weights alone with olvido.load"
        )
    expected = note["weights"]
    model = load(folder, dtype=str(note.get("dtype", "float32"))).model
    digest = weights_digest(model)
    if digest != expected:
        raise DigestMismatch(f"the model in {folder}", expected, digest)
    trace = read_trace(folder, lambda base, seed: _of_type(base, model, seed))
    return Trained(model, digest, trace)


def _of_type(base: str, model: Module, seed: int) -> Module:
    """What a training began with, in the type that its weights have."""
    begun: Module = load(base, seed=seed, dtype=_dtype(model)).model
    return begun


def _dtype(model: Module) -> str:
    return str(next(model.parameters()).dtype).removeprefix("torch.")


def write_trace(
    trace: Trace, folder: Path, *, base: str, seed: int, about: Mapping[str, str] | None = None
) -> None:
    """Write a trace into the folder of its model.

    Args:
        trace: `olvido.json` describes it, `logs/` has its step logs, `checkpoints/` those
            checkpoints that are kept for replay.
        folder: the model's own.
        base: the name of what the training began with.
        seed: that the base was drawn from, where it is drawn.
        about: the model, what no ledger keeps of it.
    """
    logs = _logs(trace)
    note: dict[str, Any] = {
        "kind": type(trace).__name__,
        "base": base,
        "seed": seed,
        "runs": {name: log.to_dict() for name, log in logs.items()},
        **(about or {}),
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
        held = parts[0].log.origin.held if parts else frozenset()
        origin = Origin(base, note["origin"], held)
        return Placement(note["learner"], origin, note["options"], parts)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StateError(
            f"what the training of this model kept cannot be read ({error}): restore {NOTE} and "
            f"logs in {folder} from a copy you trust"
        ) from error


def _note(path: Path) -> dict[str, Any]:
    try:
        note: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if note.keys() == {"exported"}:
            raise InputError(
                f"{path.parent} is the copy of a model that was given out, and what its training "
                "kept stayed behind: open its weights with olvido.load"
            )
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
