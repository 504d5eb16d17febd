"""Compute which models hold a person's records, which never learned them, and which forgot them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from olvido.ledger.facts import DatasetUse, DatasetVersion, Guarantee, Model, Record
from olvido.ledger.identity import SubjectId


class Holding(StrEnum):
    """The states of a model with regard to records, the gravest first."""

    HOLDS = "holds"
    FORGOTTEN = "forgotten"
    WITHOUT = "without"


@dataclass(frozen=True, slots=True)
class ModelState:
    """The state of one model with regard to the records asked about.

    `contained` were learned and never forgotten; `forgotten` were learned and then forgotten with
    less than an exact guarantee; `without` were left out, or forgotten exactly.
    """

    model: Model
    contained: tuple[Record, ...]
    forgotten: tuple[tuple[Record, Guarantee], ...]
    without: tuple[Record, ...]

    @property
    def holding(self) -> Holding:
        """The gravest state of any of the records."""
        if self.contained:
            return Holding.HOLDS
        return Holding.FORGOTTEN if self.forgotten else Holding.WITHOUT

    @property
    def guarantee(self) -> Guarantee | None:
        """The weakest guarantee under which a record was forgotten."""
        given = {guarantee for _, guarantee in self.forgotten}
        return Guarantee.weakest(given) if given else None


@dataclass(frozen=True, slots=True)
class Lineage:
    """A request's records, their datasets, and the state of every model that they reached.

    `subjects` are the person, by each of their names; none where it is about no person.
    """

    subjects: tuple[SubjectId, ...]
    records: tuple[Record, ...]
    datasets: tuple[DatasetVersion, ...]
    models: tuple[ModelState, ...]

    def holding(self) -> tuple[Model, ...]:
        """The models that still hold any of the records."""
        return tuple(s.model for s in self.models if s.holding is Holding.HOLDS)


# A model's state for one record: HELD, a weaker-than-exact forgetting, or left out (WITHOUT).
_State = Guarantee | Holding


def model_states(
    records: Sequence[Record], models: Sequence[Model], uses: Mapping[str, Sequence[DatasetUse]]
) -> tuple[ModelState, ...]:
    """The state of each model that the records concern.

    Args:
        records: the records asked about.
        models: all models, parents before their children.
        uses: each model's own uses, by model id. Ids of records not asked about are ignored.

    A model holds the records that its own training used and those that any parent holds, until it
    forgets them; leaving a record out of further training does not remove an inherited one. What a
    training bounds of records by its own privacy holds for its weights and for what is trained from
    them without the records, and not for a model that forgetting made: that read what was retained.
    """
    by_dataset: dict[str, list[Record]] = {}
    for record in records:
        by_dataset.setdefault(record.dataset, []).append(record)
    known: dict[str, dict[tuple[str, str], _State]] = {}
    bounded: dict[str, set[tuple[str, str]]] = {}
    states = []
    for model in models:
        own = {use.dataset: use for use in uses.get(model.id, ())}
        state: dict[tuple[str, str], _State] = {}
        for dataset, members in by_dataset.items():
            for record in members:
                key = dataset, record.id
                inherited = {
                    Holding.HOLDS if model.method and key in bounded[p] else known[p][key]
                    for p in model.parents
                    if key in known[p]
                }
                found = _state(own.get(dataset), record.id, inherited, model.method)
                if found is not None:
                    state[key] = found
        known[model.id] = state
        mine = {(d, record) for d, use in own.items() for record in use.forgotten}
        above = mine.union(*(bounded[parent] for parent in model.parents))
        bounded[model.id] = set() if model.method else above & state.keys()
        if state:
            states.append(_summary(model, records, state))
    return tuple(states)


def _state(
    use: DatasetUse | None, record: str, inherited: set[_State], method: str | None
) -> _State | None:
    if use is not None and record in use.forgotten:
        return Holding.WITHOUT if use.guarantee is Guarantee.EXACT else use.guarantee
    # A model made by forgetting learned nothing itself.
    learned = method is None and use is not None and record not in use.excluded
    if learned or Holding.HOLDS in inherited:
        return Holding.HOLDS
    claims = {state for state in inherited if isinstance(state, Guarantee)}
    if claims:
        return Guarantee.weakest(claims)
    return Holding.WITHOUT if use is not None or inherited else None


def _summary(
    model: Model, records: Sequence[Record], state: Mapping[tuple[str, str], _State]
) -> ModelState:
    contained, forgotten, without = [], [], []
    for record in records:
        found = state.get((record.dataset, record.id))
        if isinstance(found, Guarantee):
            forgotten.append((record, found))
        elif found is Holding.HOLDS:
            contained.append(record)
        elif found is Holding.WITHOUT:
            without.append(record)
    return ModelState(model, tuple(contained), tuple(forgotten), tuple(without))
