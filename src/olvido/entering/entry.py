"""A model that is being entered: its folder, and what is declared or was seen of its training."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from olvido.entering.exchange import Exchange, exchange
from olvido.entering.mlflow import model_of, with_run
from olvido.entering.recipes import read_recipe
from olvido.entering.statements import (
    CALL,
    Entered,
    Observation,
    Statement,
    doubt,
    shown,
    twins,
)
from olvido.errors import InputError
from olvido.learners import Declared, Lora, Recipe, Trained, Watched
from olvido.ledger.digests import Digest
from olvido.ledger.facts import DECLARED, WATCHED, WITNESSED, Model
from olvido.models import Loaded
from olvido.models.adapter import CONFIG as ADAPTER
from olvido.models.adapter import Adapter, is_adapter, is_on_base, read_adapter
from olvido.models.base import require_base, require_finite
from olvido.models.elsewhere import Found, found_in, local, require_enterable, require_fitting
from olvido.tasks import TASKS, Example, require_for
from olvido.training.records import ids_of, records_of
from olvido.training.traces.declared import NO_LOG
from olvido.training.traces.steps import Origin

_COMPARED = "comparing weights"
"""How it was seen which base a watched training began with."""
_FROM_STATE = ("epochs", "batch_size")
"""Fields of a recipe that a `trainer_state.json` has."""


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
        named: whether the base was named by whoever entered the model.
        noted: what is noted of its task, such as whether its chat template is used.
        unknown_data: whether it learned more than these datasets.
        left_out: number of their records that it is said not to have learned.
        withdrawn: number of the records whose subjects withdrew their consent.
        exchange: its losses on the records.
        observed: what Olvido saw of its training; None: nothing.
    """

    loaded: Loaded
    found: Found
    recipe: Recipe | None
    by: Mapping[str, str]
    datasets: tuple[str, ...] = ()
    records: Sequence[Example] = ()
    origin: Origin | None = None
    base: str | None = None
    named: bool = True
    noted: Mapping[str, Any] = field(default_factory=dict)
    unknown_data: bool = False
    left_out: int = 0
    withdrawn: int = 0
    exchange: Exchange | None = field(default=None)
    observed: Observation | None = None

    @classmethod
    def read(
        cls,
        folder: str | Path,
        *,
        load: Callable[[str], Loaded],
        trusted: Collection[str],
        own: Path,
        recipe: Recipe | Path | str | None,
        observed: Observation | None = None,
    ) -> Entry:
        """Read a folder, and refuse what cannot be entered; nothing is written.

        Args:
            folder: in Hugging Face format, a run of MLflow that holds one, or a hub id.
            load: loads a model from a folder.
            trusted: folders and hub ids whose own code may run.
            own: the folder of the workspace's models.
            recipe: a recipe or its file.
            observed: what Olvido saw of its training, if anything.

        Raises:
            InputError: what cannot be entered, and why.
        """
        name, where = str(folder), local(folder)
        if own.resolve() in (where.resolve(), *where.resolve().parents):
            raise InputError(
                f"{where} lies in the folder of this workspace's own models: give a folder outside "
                "of it ('olvido models export' makes a copy)"
            )
        if (model := model_of(where)) != where:
            name, where = str(model), model
        hyper, stated = read_recipe(recipe)
        require_enterable(where, code=bool({name, Path(name).name}.intersection(trusted)))
        found = with_run(found_in(where), where)
        loaded = load(name if Path(name).is_dir() else str(where))
        require_fitting(loaded, where)
        by = dict.fromkeys(sorted(stated), CALL)
        if hyper is not None and hyper.lora is None and is_adapter(where):
            hyper, by["lora"] = _like_adapter(hyper, read_adapter(where)), ADAPTER
        if observed is not None and hyper is None and observed.recipe is not None:
            hyper = observed.recipe
            by = dict.fromkeys(sorted(hyper.to_dict()), observed.by)
        by |= {name: found.by[name] for name in _counts(found) if name not in by}
        return cls(loaded, found, hyper, by, base=found.said.get("base"), observed=observed)

    def declaring(
        self,
        datasets: Sequence[str],
        records: Sequence[Example],
        *,
        base: Loaded | None,
        named: bool,
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
        remedy = "the training failed, or the file is damaged; give another checkpoint"
        require_finite(self.loaded.model, "", remedy)
        known = self.loaded.noted
        require_for(known["task"], records)
        kind = TASKS.find(known["task"])
        task = kind.made(self.loaded.tokenizer, {**known, "chat": chat}, records)
        origin, name = None, self.base
        if base is not None:
            _require_base(base, self.loaded)
            if self.observed is not None and base.digest != self.observed.seen.began:
                raise InputError(
                    f"the training that was watched did not begin with {base.name!r}: give the "
                    "model that it began with"
                )
            name, begun = base.name, base.model
            if self.on is not None:
                self.loaded.model.peft_config["default"].base_model_name_or_path = name
            origin = Origin(lambda: begun, base.digest)
        return replace(
            self,
            datasets=tuple(datasets),
            records=records_of(records, "records"),
            origin=origin,
            base=name,
            named=named,
            noted=task.noted,
            unknown_data=unknown_data,
            left_out=left_out,
            withdrawn=withdrawn,
            exchange=exchange(self.loaded.model, records, task),
        )

    @property
    def on(self) -> str | None:
        """The base of an adapter, by the adapter's own name for it; None: it is no adapter."""
        if not is_on_base(self.loaded.model):
            return None
        return str(self.loaded.model.peft_config["default"].base_model_name_or_path)

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer."""
        return self.loaded.tokenizer

    @property
    def trained(self) -> Trained:
        """The model with the trace of what is declared."""
        ids = tuple(ids_of(self.records))
        trace: Declared | Watched = Declared(ids, self.origin)
        if self.observed is not None:
            trace = Watched(ids, self.origin, self.observed.seen)
        return Trained(self.loaded.model, self.loaded.digest, trace)

    @property
    def fact(self) -> Model:
        """What the ledger is to know of it: who stated what (`declared`), and what Olvido saw and
        how (`witnessed`)."""
        declared, witnessed, beside = {"data": CALL}, dict[str, str](), dict[str, Any]()
        if self.base is not None:
            declared["base"] = self._base_by
        if self.recipe is not None:
            declared["recipe"] = CALL
        declared |= self.by
        if self.observed is not None:
            witnessed = {"data": self.observed.by, "order": self.observed.by}
            if self.origin is not None:
                witnessed["base"] = _COMPARED
            if self.recipe is self.observed.recipe is not None:
                witnessed["recipe"] = self.observed.by
            seen = {*witnessed, *(name for name, by in self.by.items() if by == self.observed.by)}
            declared = {name: by for name, by in declared.items() if name not in seen}
            beside = {"witnessed": witnessed, "settings": dict(self.observed.settings)}
        elif self.on is not None:
            # No adapter works without its base, which is therefore read.
            beside["witnessed"] = {"base": "loading it"}
        if self.unknown_data:
            beside["unknown_data"] = True
        return Model(
            digest=Digest.from_str(self.loaded.digest),
            path="",
            learner=DECLARED if self.observed is None else WATCHED,
            recipe={
                "base": self.base,
                **self.noted,
                **self._values,
                **beside,
                "declared": declared,
            },
        )

    def entered(self, model: Model, others: Collection[str] = ()) -> Entered:
        """The result, once the ledger has the model.

        Args:
            model: as the ledger has it.
            others: ids of models with the same weights that are said to have learned other data.
        """
        return Entered(
            model,
            (*self._declared(), *self._witnessed(model)),
            self._unknown(),
            self.exchange,
            "; ".join(
                filter(None, (doubt(self.exchange, self.datasets), self._barred(), twins(others)))
            )
            or None,
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
        found = self.found.by.get("base", CALL)
        return CALL if self.origin is not None and self.named else found

    @property
    def _values(self) -> dict[str, Any]:
        """Fields of the recipe that somebody stated, or that a training's state has; no default."""
        stated = {} if self.recipe is None else self.recipe.to_dict()
        counts = _counts(self.found)
        return {
            n: counts[n] if by == self.found.by.get(n) else stated[n] for n, by in self.by.items()
        }

    def _declared(self) -> list[Statement]:
        made = []
        if self.observed is None:
            made.append(Statement("data", list(self.datasets), DECLARED, CALL))
            if self.left_out:
                made.append(Statement("left out", self.left_out, DECLARED, CALL))
        if self.unknown_data:
            made.append(Statement("further data", True, DECLARED, CALL))
        if self.base is not None and not (self.observed and self.origin):
            made.append(Statement("base", self.base, DECLARED, self._base_by))
        seen = None if self.observed is None else self.observed.by
        made += [
            Statement(name, self._values[name], DECLARED, by)
            for name, by in self.by.items()
            if by != seen
        ]
        rest = (name for name in self.found.said if name not in {"base", "kind", *self.by})
        return made + [
            Statement(name, self.found.said[name], DECLARED, self.found.by[name]) for name in rest
        ]

    def _witnessed(self, model: Model) -> list[Statement]:
        made = [] if self.observed is None else self._observed(self.observed)
        made += [
            Statement("weights", str(model.digest), WITNESSED, "read"),
            Statement("kind", self.found.said.get("kind"), WITNESSED, "read"),
        ]
        if self.origin is not None:
            made.append(Statement("weights of the base", self.origin.digest, WITNESSED, "read"))
        if self.exchange is not None:
            made.append(Statement("knows the data", shown(self.exchange), WITNESSED, "measured"))
        return made

    def _observed(self, observed: Observation) -> list[Statement]:
        """What was seen of the training."""
        seen, by = observed.seen, observed.by
        found = {
            "data": list(self.datasets),
            **({"left out": self.left_out} if self.left_out else {}),
            "order": f"{len(seen.records)} records in {len(seen.steps)} steps",
            "seconds": round(seen.seconds, 1),
            **({"checkpoints": sorted(seen.checkpoints)} if seen.checkpoints else {}),
            **{name: self._values[name] for name, who in self.by.items() if who == by},
        }
        made = [Statement(name, value, WITNESSED, by) for name, value in found.items()]
        if self.origin is not None:
            made.append(Statement("base", self.base, WITNESSED, _COMPARED))
        return made

    def _unknown(self) -> tuple[str, ...]:
        lines = []
        none = "no retrained model can be made for an audit"
        if self.base is None:
            lines.append(f"base unknown: {none}; give --base")
        elif self.origin is None:
            lines.append(f"base not loaded, only named by {self._base_by}: {none}; give --base")
        if self.recipe is None:
            why = self.observed.lacking if self.observed is not None else ""
            lines.append(f"recipe unknown{f' ({why})' if why else ''}: {none}; give --recipe")
        elif usual := sorted(self.recipe.to_dict().keys() - self.by.keys()):
            lines.append(
                f"recipe in part: nobody said {', '.join(usual)}; retrained models get the defaults"
            )
        meant = self.found.said.get("base")
        if self.on is not None and meant and self.base is not None:
            same = Path(str(meant)).resolve() == Path(self.base).resolve()
            if not same and str(meant) != self.base:
                lines.append(
                    f"the adapter names another base, {meant}: that this one is it, nobody saw"
                )
        if self.unknown_data:
            lines.append("data in part: it learned more than the data sets that are named")
        if self.observed is None:
            lines.append("log of the training unknown: exact methods do not apply")
        else:
            lines.append("what the base learned before, nobody saw")
            lines.append(
                "what else changed the weights, nobody saw: further losses on parts of the model, "
                "other callbacks"
            )
            lines.append(f"steps not repeatable: {NO_LOG[WATCHED]}")
        lines += [f"{name} not read: {why}" for name, why in self.found.unread.items()]
        return tuple(lines)


def _counts(found: Found) -> dict[str, int]:
    """Fields of a recipe that a training's state has as whole numbers."""
    values = {name: found.said.get(name) for name in _FROM_STATE}
    return {n: int(v) for n, v in values.items() if v is not None and v >= 1 and v == int(v)}


def _like_adapter(recipe: Recipe, adapter: Adapter) -> Recipe:
    """The recipe with the size of an adapter, so that retrained models have such adapters too."""
    rank, alpha = adapter.config.get("r", 8), adapter.config.get("lora_alpha", 8)
    dropout = adapter.config.get("lora_dropout", 0.0)
    return replace(recipe, lora=Lora(rank=rank, alpha=alpha, dropout=dropout))


def _require_base(base: Loaded, loaded: Loaded) -> None:
    """Refuse a base that has other tensors or another vocabulary than the model, or is the model.

    Raises:
        InputError: the first difference, or that there is none.
    """
    require_base(repr(base.name), base.model, loaded.model)
    if loaded.tokenizer and base.tokenizer.get_vocab() != loaded.tokenizer.get_vocab():
        raise InputError(
            f"{base.name!r} has another vocabulary than this model: give the base with the "
            "tokenizer that was used in the training"
        )
