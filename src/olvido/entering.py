"""What is stated of a model that was trained elsewhere: by whom, and what nobody said."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch.nn import Module

from olvido.errors import InputError, UnknownName
from olvido.learners import Declared, Recipe, Trained
from olvido.ledger.digests import Digest
from olvido.ledger.facts import DECLARED, WITNESSED, Model
from olvido.models import Loaded
from olvido.models.elsewhere import Found, found_in, local, require_enterable, require_fitting
from olvido.tasks import TASKS, Example, require_for
from olvido.tasks.exchange import Exchange, exchange
from olvido.training.records import ids_of, records_of
from olvido.training.steps import Origin

CALL = "whoever entered it"
"""Who stated what was given with the command or the call."""
_FROM_STATE = ("epochs", "batch_size")
"""Fields of a recipe that a `trainer_state.json` has."""


@dataclass(frozen=True)
class Statement:
    """One statement about a model.

    Attributes:
        what: what it is about, as `base`.
        value: what is stated.
        basis: `declared` (somebody said so) or `witnessed` (Olvido saw it).
        by: who or which file said so; of a witnessed one, how it was seen.
    """

    what: str
    value: Any
    basis: str
    by: str


@dataclass(frozen=True)
class Entered:
    """A model that was entered, and what is stated of it.

    Attributes:
        model: as the ledger has it.
        statements: all of them, the declared ones first.
        unknown: what nobody said, and what follows from that, in sentences.
        exchange: its losses on what it is said to have learned; None: not enough questions.
        warning: why the declaration looks untrue, or what the model should not hold; None where
            there is neither.
    """

    model: Model
    statements: tuple[Statement, ...]
    unknown: tuple[str, ...]
    exchange: Exchange | None
    warning: str | None

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "id": self.model.id,
            "digest": str(self.model.digest),
            "training": self.model.training,
            "statements": [asdict(one) for one in self.statements],
            "unknown": list(self.unknown),
            "exchange": None if self.exchange is None else asdict(self.exchange),
            "warning": self.warning,
        }


def _values_in(path: Path) -> dict[str, Any]:
    """The values of a recipe's file. Raises InputError where it is no JSON object."""
    how = 'give a JSON object such as {"epochs": 3}'
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_once)
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}: give a recipe, a JSON object") from error
    except RecursionError:
        raise InputError(f"{path} is nested too deeply to be a recipe: {how}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be read as a recipe ({reason}): {how}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} holds no JSON object: {how}")
    return values


def _once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in members]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name!r} is there twice, and takes one value")
    return dict(members)


def read_recipe(given: Recipe | Path | str | None) -> tuple[Recipe | None, frozenset[str]]:
    """A recipe, and the names of its fields that somebody stated; those of a file are its own.

    Raises:
        InputError: the file is no JSON object, or a value is none that a recipe takes.
        UnknownName: no recipe has a field of that name.
    """
    if given is None or isinstance(given, Recipe):
        return given, frozenset() if given is None else frozenset(given.to_dict())
    values = _values_in(Path(given))
    if not values:
        raise InputError(f'{given} is an empty recipe: give a JSON object such as {{"epochs": 3}}')
    try:
        return Recipe.from_dict(values), frozenset(values)
    except UnknownName:
        raise
    except InputError as error:
        raise InputError(f"{given}: {error}") from error
    except TypeError as error:
        raise InputError(
            f"{given} is no recipe ({error}): give a JSON object with fields of one, as 'olvido "
            "models show' prints them"
        ) from error


@dataclass(frozen=True)
class Entry:
    """A model that is being entered: first as its folder has it, then with what is declared.

    Attributes:
        loaded: the model and its tokenizer.
        found: what its folder says.
        recipe: hyper-parameters that somebody stated; None: nobody did.
        by: who stated which of their fields.
        datasets, records: what it is said to have learned.
        origin, base: the weights it is said to have begun with, where they were loaded, and their
            name.
        noted: what is noted of its task, such as whether its chat template is used.
        unknown_data: whether it learned more than these datasets.
        left_out: number of their records that it is said not to have learned.
        withdrawn: number of the records whose subjects withdrew their consent.
        exchange: its losses on the records.
    """

    loaded: Loaded
    found: Found
    recipe: Recipe | None
    by: Mapping[str, str]
    datasets: tuple[str, ...] = ()
    records: Sequence[Example] = ()
    origin: Origin | None = None
    base: str | None = None
    noted: Mapping[str, Any] = field(default_factory=dict)
    unknown_data: bool = False
    left_out: int = 0
    withdrawn: int = 0
    exchange: Exchange | None = field(default=None)

    @classmethod
    def read(
        cls,
        folder: str | Path,
        *,
        load: Callable[[str], Loaded],
        trusted: Collection[str],
        own: Path,
        recipe: Recipe | Path | str | None,
    ) -> Entry:
        """Read a folder, and refuse what cannot be entered; nothing is written.

        Args:
            folder: in Hugging Face format, or a hub id.
            load: loads a model from a folder.
            trusted: folders and hub ids whose own code may run.
            own: the folder of the workspace's models.
            recipe: a recipe or its file.

        Raises:
            InputError: what cannot be entered, and why.
        """
        name, where = str(folder), local(folder)
        if own.resolve() in (where.resolve(), *where.resolve().parents):
            raise InputError(
                f"{where} lies in the folder of this workspace's own models: give a folder outside "
                "of it ('olvido models export' makes a copy)"
            )
        hyper, stated = read_recipe(recipe)
        require_enterable(where, code=bool({name, Path(name).name}.intersection(trusted)))
        found = found_in(where)
        loaded = load(name if Path(name).is_dir() else str(where))
        require_fitting(loaded, where)
        by = dict.fromkeys(sorted(stated), CALL)
        by |= {name: found.by[name] for name in _counts(found) if name not in by}
        return cls(loaded, found, hyper, by, base=found.said.get("base"))

    def declaring(
        self,
        datasets: Sequence[str],
        records: Sequence[Example],
        *,
        base: Loaded | None,
        chat: bool | None,
        unknown_data: bool,
        left_out: int,
        withdrawn: int,
    ) -> Entry:
        """The same with what is declared; the model's losses on the records are measured.

        Raises:
            InputError: no record is left, or the base is no base of this model.
        """
        if not records:
            raise InputError("the model is said to have learned no record: leave fewer of them out")
        _require_finite(self.loaded.model)
        known = self.loaded.noted
        require_for(known["task"], records)
        kind = TASKS.find(known["task"])
        task = kind.made(self.loaded.tokenizer, {**known, "chat": chat}, records)
        origin, name = None, self.base
        if base is not None:
            _require_base(base, self.loaded)
            name, begun = base.name, base.model
            origin = Origin(lambda: begun, base.digest)
        return replace(
            self,
            datasets=tuple(datasets),
            records=records_of(records, "records"),
            origin=origin,
            base=name,
            noted=task.noted,
            unknown_data=unknown_data,
            left_out=left_out,
            withdrawn=withdrawn,
            exchange=exchange(self.loaded.model, records, task),
        )

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer."""
        return self.loaded.tokenizer

    @property
    def trained(self) -> Trained:
        """The model with the trace of what is declared."""
        trace = Declared(tuple(ids_of(self.records)), self.origin)
        return Trained(self.loaded.model, self.loaded.digest, trace)

    @property
    def fact(self) -> Model:
        """What the ledger is to know of it: `declared` in its recipe says who stated what."""
        declared = {"data": CALL}
        if self.base is not None:
            declared["base"] = self._base_by
        if self.recipe is not None:
            declared["recipe"] = CALL
        beside = {"unknown_data": True} if self.unknown_data else {}
        return Model(
            digest=Digest.from_str(self.loaded.digest),
            path="",
            learner=DECLARED,
            recipe={
                "base": self.base,
                **self.noted,
                **self._values,
                **beside,
                "declared": declared | dict(self.by),
            },
        )

    def entered(self, model: Model) -> Entered:
        """The result, once the ledger has the model."""
        return Entered(
            model,
            (*self._declared(), *self._witnessed(model)),
            self._unknown(),
            self.exchange,
            "; ".join(filter(None, (doubt(self.exchange, self.datasets), self._barred()))) or None,
        )

    def _barred(self) -> str | None:
        """The records that it should not hold; None where there are none."""
        if not self.withdrawn:
            return None
        return (
            f"it is said to hold {self.withdrawn} records of withdrawn consent, which nothing is "
            "taught from here: have it forget them, or name them as left out (--without)"
        )

    @property
    def _base_by(self) -> str:
        return CALL if self.origin is not None else self.found.by.get("base", CALL)

    @property
    def _values(self) -> dict[str, Any]:
        """Fields of the recipe that somebody stated, or that a training's state has; no default."""
        stated = {} if self.recipe is None else self.recipe.to_dict()
        counts = _counts(self.found)
        return {n: stated[n] if by == CALL else counts[n] for n, by in self.by.items()}

    def _declared(self) -> list[Statement]:
        made = [Statement("data", list(self.datasets), DECLARED, CALL)]
        if self.left_out:
            made.append(Statement("left out", self.left_out, DECLARED, CALL))
        if self.unknown_data:
            made.append(Statement("further data", True, DECLARED, CALL))
        if self.base is not None:
            made.append(Statement("base", self.base, DECLARED, self._base_by))
        made += [Statement(name, self._values[name], DECLARED, by) for name, by in self.by.items()]
        rest = (name for name in self.found.said if name not in {"base", "kind", *self.by})
        return made + [
            Statement(name, self.found.said[name], DECLARED, self.found.by[name]) for name in rest
        ]

    def _witnessed(self, model: Model) -> list[Statement]:
        made = [
            Statement("weights", str(model.digest), WITNESSED, "read"),
            Statement("kind", self.found.said.get("kind"), WITNESSED, "read"),
        ]
        if self.origin is not None:
            made.append(Statement("weights of the base", self.origin.digest, WITNESSED, "read"))
        if self.exchange is not None:
            made.append(Statement("knows the data", _shown(self.exchange), WITNESSED, "measured"))
        return made

    def _unknown(self) -> tuple[str, ...]:
        lines = []
        none = "no retrained model can be made for an audit"
        if self.base is None:
            lines.append(f"base unknown: {none}; give --base")
        elif self.origin is None:
            lines.append(f"base not loaded, only named by {self._base_by}: {none}; give --base")
        if self.recipe is None:
            lines.append(f"recipe unknown: {none}; give --recipe")
        elif usual := sorted(self.recipe.to_dict().keys() - self.by.keys()):
            lines.append(
                f"recipe in part: nobody said {', '.join(usual)}; retrained models get the defaults"
            )
        if self.unknown_data:
            lines.append("data in part: it learned more than the data sets that are named")
        lines.append("log of the training unknown: exact methods do not apply")
        lines += [f"{name} not read: {why}" for name, why in self.found.unread.items()]
        return tuple(lines)


def _counts(found: Found) -> dict[str, int]:
    """Fields of a recipe that a training's state has as whole numbers."""
    values = {name: found.said.get(name) for name in _FROM_STATE}
    return {n: int(v) for n, v in values.items() if v is not None and v >= 1 and v == int(v)}


def _require_finite(model: Module) -> None:
    """Raise InputError where a weight is no number."""
    for name, tensor in model.named_parameters():
        if not bool(torch.isfinite(tensor).all()):
            raise InputError(
                f"the weights {name!r} hold values that are infinite or no number: the training "
                "failed, or the file is damaged; give another checkpoint"
            )


def _require_base(base: Loaded, loaded: Loaded) -> None:
    """Refuse a base that has other tensors or another vocabulary than the model, or is the model.

    Raises:
        InputError: the first difference, or that there is none.
    """
    if base.digest == loaded.digest:
        raise InputError(
            f"the base {base.name!r} has the weights of the model itself, and knows what that one "
            "learned: give the model that its training began with"
        )
    shapes, begun = _shapes(loaded.model), _shapes(base.model)
    if odd := sorted({*shapes.items()} ^ {*begun.items()}):
        raise InputError(
            f"{base.name!r} is not the base of this model, their tensors differ (first: "
            f"{odd[0][0]}): give the model that its training began with"
        )
    if loaded.tokenizer and base.tokenizer.get_vocab() != loaded.tokenizer.get_vocab():
        raise InputError(
            f"{base.name!r} has another vocabulary than this model: give the base with the "
            "tokenizer that was used in the training"
        )


def _shapes(model: Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.named_parameters()}


def _shown(exchange: Exchange) -> str:
    low, high = exchange.interval
    return (
        f"loss {exchange.own:.2f} nats a token on its answers, {exchange.exchanged:.2f} on "
        f"exchanged ones (difference {low:.2f} to {high:.2f}, {exchange.records} records)"
    )


def doubt(exchange: Exchange | None, datasets: Sequence[str]) -> str | None:
    """Why a model does not seem to have learned what is declared; None where it does, or where too
    few records tell."""
    if exchange is None or exchange.known:
        return None
    names = " and ".join(repr(name) for name in datasets)
    return (
        f"the model does not seem to have learned {names}: {_shown(exchange)}. Its tokenizer, its "
        "template (--chat) or the data may be others than those that it was trained with"
    )
