"""A trained model with its trace, in memory and on disk: one JSON file describes the training, its
logs and checkpoints lie beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch.nn import Module

from olvido.artifact_shapes import COINS, NOTE
from olvido.errors import DigestMismatch, InputError, ParameterName, StateError
from olvido.learners.family import LEARNERS
from olvido.ledger.facts import DECLARED, WATCHED
from olvido.models import load, save, weights_digest
from olvido.reporting import Table, write_sheet
from olvido.reporting.words import count, duration
from olvido.training.checkpoint import CheckpointStore
from olvido.training.log import Log
from olvido.training.traces.base import Edited, Trace, Untraced
from olvido.training.traces.chain import BEFORE, Continued
from olvido.training.traces.declared import Declared, Watched
from olvido.training.traces.private import coins_of, promised_by, with_coins
from olvido.training.traces.steps import RUN, StepLog, TraceNote


@dataclass(frozen=True, repr=False)
class Trained:
    """Weights, with the trace that lets them forget.

    Attributes:
        model: the module, in evaluation mode.
        digest: digest of its weights.
        trace: the trace of its training.
    """

    model: Module
    digest: str
    trace: Trace

    @classmethod
    def untraced(cls, model: Module) -> Trained:
        """A model without a trace, from elsewhere."""
        return cls(model, weights_digest(model), Untraced())

    def __repr__(self) -> str:
        """Show one line: the module has its own."""
        shown = type(self.model).__name__
        if self.trace.learner is not None:
            shown += f", {len(self.trace.present)} records"
        return f"{type(self).__name__}({shown}, {type(self.trace).__name__}, {self.digest})"

    def save(self, folder: Path, tokenizer: Any, *, base: str | None = None, seed: int = 0) -> None:
        """Write the model with the trace of its training, so that it can forget later.

        Args:
            folder: a new one.
            tokenizer: the model's tokenizer.
            base: the model that the training began with, as `olvido.load` takes it; a model without
                a trace needs none. `seed` is the seed of `tiny`.

        Raises:
            InputError: the folder exists already, the base is missing, or it is not the one that
                the training began with.
        """
        save_trained(self, tokenizer, Path(folder), base=base, seed=seed)

    @classmethod
    def load(cls, folder: Path) -> Trained:
        """Read a model that `save` wrote.

        Raises:
            InputError: no model can be read from the folder.
            StateError: its trace is lost, or cannot be read.
            DigestMismatch: its content was changed.
        """
        folder = Path(folder)
        if not (folder / NOTE).is_file():
            raise InputError(
                f"{folder} holds no {NOTE}: name a folder that Trained.save wrote, or olvido.load "
                "it"
            )
        # An edit is detected before anything is built from it.
        note = _note(folder / NOTE)
        if "weights" not in note:
            raise InputError(
                f"expected a folder that Trained.save wrote, got {folder}, a model of a workspace, "
                "whose ledger alone says what its weights are: open it by its id with "
                "Workspace.load, or its weights alone with olvido.load"
            )
        expected = note["weights"]
        model = load(folder, dtype=str(note.get("dtype", "float32"))).model
        digest = weights_digest(model)
        if digest != expected:
            raise DigestMismatch(f"the model in {folder}", expected, digest)
        trace = read_trace(folder, lambda base, seed: _of_type(base, model, seed))
        return cls(model, digest, trace)

    def page(self, path: Path) -> None:
        """Write a description of the training as one HTML page, without any text of records."""
        trace = self.trace
        facts = {
            "Model": type(self.model).__name__,
            "Parameters": count(sum(p.numel() for p in self.model.parameters())),
            "Weights": self.digest,
        }
        if trace.learner is not None:
            facts |= {
                "Records": count(len(trace.present)),
                "Forgotten since": count(len(trace.leaving(())[1])),
                "Learner": trace.learner,
            }
        if trace.origin is not None:
            facts["Began with"] = trace.origin.digest
        said = "It keeps the log of its steps, and can be made to forget exactly."
        if trace.learner == DECLARED:
            said = (
                "It was trained elsewhere: what it learned is declared, and no log can be replayed."
            )
        elif trace.learner == WATCHED:
            said = (
                "Another trainer trained it while Olvido watched: what it learned was seen, and no "
                "log can be replayed."
            )
        elif (promised := promised_by(trace)) is not None:
            said = (
                "It was trained with differential privacy, and keeps no log of its steps, which "
                "would undo the promise."
            )
            facts |= {"Promise": promised["promise"], "Left out": count(promised["dropped"])}
        elif trace.origin is None:
            said = "It came without a log of its training, and nothing can be replayed."
        else:
            facts |= {"Took": duration(trace.seconds), "Tokens": count(trace.tokens)}
        write_sheet(
            Path(path),
            title="A trained model",
            lead=said,
            facts=facts,
            tables=[
                Table(
                    "Its training",
                    ("Part", "Records", "Steps", "Seed", "Checkpoints kept"),
                    [
                        (
                            "all of it" if name == RUN else name,
                            count(len(log.present)),
                            count(log.plan.total_steps),
                            str(log.seed),
                            count(len(log.keep)),
                        )
                        for name, log in trace.runs.items()
                    ],
                ),
                Table(
                    "Recipes",
                    ("Setting", "Value"),
                    [
                        (name, _setting(value))
                        for recipe in dict.fromkeys(log.recipe for log in trace.runs.values())
                        for name, value in asdict(recipe).items()
                    ],
                ),
            ],
            open_=["What the model remembers of its records: an audit tells that (olvido.audit)."],
        )


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
        also: writes further files into the folder before it gets its name.
    """
    if not hasattr(trained.model, "save_pretrained"):
        raise InputError(
            f"{type(trained.model).__name__} has no save_pretrained: only models in Hugging Face "
            "format can be saved with their trace"
        )
    if trained.trace.origin is not None:
        if base is None:
            raise InputError(
                "what the training began with is not said, and without it nothing can be forgotten "
                "exactly: name it as olvido.load takes it (",
                ParameterName("base"),
                ")",
            )
        if trained.trace.origin.digest != weights_digest(_of_type(base, trained.model, seed)):
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


def _setting(value: Any) -> str:
    """A setting as a user writes it: a learning rate has more places than a measured number."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _of_type(base: str, model: Module, seed: int) -> Module:
    """The model that a training began with, in the type of its weights."""
    begun: Module = load(base, seed=seed, dtype=_dtype(model)).model
    return begun


def _dtype(model: Module) -> str:
    return str(next(model.parameters()).dtype).removeprefix("torch.")


def write_trace(
    trace: Trace,
    folder: Path,
    *,
    base: str | None,
    seed: int,
    about: Mapping[str, str] | None = None,
) -> None:
    """Write a trace into the folder of its model.

    Args:
        trace: `olvido.json` describes it, `logs/` has its step logs, `checkpoints/` its checkpoints
            for replay.
        folder: the model's own.
        base: the name of the model that the training began with; None: unknown.
        seed: the base's seed, where it is random.
        about: the model's description beyond the ledger's.

    Raises:
        InputError: the trace is of a class that no learner in `LEARNERS` has.
    """
    known = _kinds().get(type(trace).__name__)
    if known is not type(trace):
        raise InputError(
            f"a {type(trace).__name__} could not be read again: give the learner that leaves it "
            "`trace`, its class, and enter the learner in LEARNERS"
        )
    note: dict[str, Any] = {
        "base": base,
        "seed": seed,
        "runs": {name: log.to_dict() for name, log in trace.runs.items()},
        **_described(trace),
        **(about or {}),
    }
    for name, log in trace.runs.items():
        path = folder / "logs" / f"{name}.bin"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(log.log.packed)
        if log.checkpoints is not None and (log.keep or log.checkpoints.cache.exists()):
            kept = CheckpointStore(folder / "checkpoints" / name)
            log.checkpoints.copy_to(kept, before=log.plan.total_steps)
            kept.clear(keep=log.keep)
    note["digest"] = _digest(note)
    (folder / NOTE).write_text(json.dumps(note, ensure_ascii=False), encoding="utf-8")
    if (coins := coins_of(trace)) is not None:
        (folder / COINS).write_text(coins, encoding="utf-8")


def read_trace(
    folder: Path,
    load: Callable[[str, int], Module],
    find: Callable[[str], Callable[[], Module] | None] = lambda digest: None,
) -> Trace:
    """Read a trace that `write_trace` wrote.

    Args:
        folder: the model's.
        load: gives the model that the training began with, or a chain's first training, from its
            name and seed; called when needed.
        find: how to load the model with these weights, which a later training of a chain began
            with; None: it is not there.

    Raises:
        StateError: a file cannot be read.
        DigestMismatch: a file was changed.
    """
    try:
        note = _note(folder / NOTE)
        base = partial(load, note["base"], note["seed"])
        runs = {
            name: StepLog.from_dict(
                values,
                base,
                Log((folder / "logs" / f"{name}.bin").read_bytes()),
                _checkpoints_in(folder / "checkpoints" / name),
            )
            for name, values in note["runs"].items()
        }
        return with_coins(_link(note, base, runs, find), folder)
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


def _checkpoints_in(folder: Path) -> CheckpointStore | None:
    return CheckpointStore(folder) if folder.is_dir() else None


def _kinds() -> dict[str, type[Trace]]:
    """Every class of trace by its name: those of learners, and those without a learner."""
    known: list[type[Trace]] = [
        Untraced,
        Declared,
        Watched,
        Edited,
        Continued,
        *(way.trace for way in LEARNERS.values()),
    ]
    return {kind.__name__: kind for kind in known}


def _described(trace: Trace) -> dict[str, Any]:
    """Describe a trace and the links before it as plain values."""
    before = {} if trace.previous is None else {"previous": _described(trace.previous)}
    last = {"last": _described(trace.last)} if isinstance(trace, Continued) else {}
    return {"kind": type(trace).__name__, **trace.to_note(), **last, **before}


def _link(
    values: Mapping[str, Any],
    load: Callable[[], Module],
    runs: Mapping[str, StepLog],
    find: Callable[[str], Callable[[], Module] | None],
) -> Trace:
    kinds = _kinds()
    if (kind := values["kind"]) not in kinds:
        raise ValueError(f"no learner here leaves a {kind}, install the one that did")
    if kind != Continued.__name__:
        before = _link(values["previous"], load, runs, find) if "previous" in values else None
        return kinds[kind].from_note(TraceNote(values, load, runs, before))
    early = {n.removeprefix(BEFORE): log for n, log in runs.items() if n.startswith(BEFORE)}
    own = {name: log for name, log in runs.items() if not name.startswith(BEFORE)}
    last = _link(values["last"], load, own, find)
    assert last.origin is not None
    there = find(last.origin.digest)
    last = last.beginning_with(replace(last.origin, load=there or _gone))
    before = _link(values["previous"], load, early, find)
    return Continued.from_note(
        TraceNote({**values, "kept": there is not None}, load, runs, before, last)
    )


def _gone() -> Module:
    raise StateError(
        "the model that this training began with is not there: its training is to be repeated"
    )
