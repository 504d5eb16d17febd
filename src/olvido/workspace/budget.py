"""The privacy budget of a person: what all releases that used their records promise together."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from olvido.errors import StateError
from olvido.ledger.facts import Model, Record
from olvido.ledger.identity import SubjectId
from olvido.ledger.lineage import ModelState
from olvido.ledger.store import Store
from olvido.tasks import Example
from olvido.training.private.accounting import Spent, together


@dataclass(frozen=True)
class Release:
    """A model whose weights a person's records reached.

    Attributes:
        model: the ledger's entry; its weights may be gone, and somebody may have them.
        records: the person's records in it.
        spent: its promise; None where it makes none: it was trained without privacy, made by
            forgetting or elsewhere, or the seed of its noise was chosen.
    """

    model: Model
    records: int
    spent: Spent | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "model": self.model.id,
            "at": self.model.created_at.isoformat(),
            "method": self.model.method,
            "removed": self.model.tombstone is not None,
            "records": self.records,
            "privacy": None if self.spent is None else self.spent.to_dict(),
        }


@dataclass(frozen=True)
class Budget:
    """What a person's releases promise together.

    Attributes:
        subject: the person, as a keyed digest.
        releases: the oldest first.
    """

    subject: SubjectId
    releases: tuple[Release, ...]

    @property
    def open(self) -> tuple[Release, ...]:
        """The releases that promise nothing."""
        return tuple(release for release in self.releases if release.spent is None)

    @property
    def promised(self) -> tuple[float, float]:
        """Epsilon and delta of the releases that promise something, all of them together."""
        return together([(r.spent, r.records) for r in self.releases if r.spent is not None])

    @property
    def epsilon(self) -> float:
        """Of all releases: infinity where one promises nothing."""
        return math.inf if self.open else self.promised[0]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; an epsilon that nothing bounds is None."""
        epsilon, delta = self.promised
        return {
            "subject": str(self.subject),
            "releases": [release.to_dict() for release in self.releases],
            "promising_nothing": len(self.open),
            "epsilon": _bounded(self.epsilon),
            "promised": {"epsilon": _bounded(epsilon), "delta": delta},
        }


def budget(store: Store, *subjects: SubjectId) -> Budget:
    """The budget of one person, by each of their names."""
    found = store.lineage(*subjects)
    return Budget(subjects[0], tuple(_releases(found.models)))


def budgets(store: Store) -> tuple[Budget, ...]:
    """The budgets of all people whom a record names, the largest first.

    Reads the ledger's entry of every record once for each model.
    """
    every = {d.id: [record.id for record in store.records(d.id)] for d in store.datasets()}
    releases: defaultdict[SubjectId, list[Release]] = defaultdict(list)
    for state in store.lineage_of_facts(every).models:
        counts: defaultdict[SubjectId, int] = defaultdict(int)
        for record in _learned(state):
            for subject in record.subjects:
                counts[subject] += 1
        spent = spent_in(state.model)
        for subject, count in counts.items():
            releases[subject].append(Release(state.model, count, spent))
    return ranked(Budget(subject, tuple(found)) for subject, found in releases.items())


def ranked(found: Iterable[Budget]) -> tuple[Budget, ...]:
    """Budgets, the largest first; people with the same releases are added up once."""
    known: dict[tuple[tuple[str, int], ...], tuple[float, float]] = {}

    def size(one: Budget) -> tuple[float, float]:
        key = tuple((release.model.id, release.records) for release in one.releases)
        if key not in known:
            known[key] = (one.epsilon, one.promised[0])
        return known[key]

    return tuple(sorted(found, key=lambda one: (*(-part for part in size(one)), str(one.subject))))


def spent_in(model: Model) -> Spent | None:
    """What the training of a model promised; None where it promised nothing."""
    noted = model.recipe.get("privacy")
    if noted is None or model.method is not None:
        return None
    spent = Spent.from_dict(noted)
    return spent if spent.secret else None


def require_within(
    limit: float, store: Store, records: Sequence[Example], spent: Spent | None
) -> None:
    """Refuse a training after which a person's releases would promise less than the limit.

    Args:
        limit: the largest epsilon of a person.
        store: the ledger.
        records: all that the training uses.
        spent: what it will promise; None: nothing.

    Raises:
        StateError: it would for somebody.
    """
    covered: defaultdict[SubjectId, int] = defaultdict(int)
    for record in records:
        for subject in {_subject(store, name) for name in record.subjects}:
            covered[subject] += 1
    if not covered:
        return
    if spent is None or not spent.secret:
        raise StateError(
            f"privacy_limit is epsilon {limit:g} for each person, and this training promises "
            f"nothing to the {len(covered)} it is about: train with --learner private, or change "
            "the limit in olvido.toml"
        )
    before = {one.subject: one for one in budgets(store)}
    known: dict[tuple[Any, ...], float] = {}
    over = []
    for subject, count in covered.items():
        earlier = before[subject].releases if subject in before else ()
        key = (*((r.model.id, r.records) for r in earlier), count)
        if key not in known:
            parts = [(r.spent, r.records) for r in earlier if r.spent is not None]
            whole = len(parts) == len(earlier)
            known[key] = together([*parts, (spent, count)])[0] if whole else math.inf
        if not known[key] <= limit:
            over.append(known[key])
    if not over:
        return
    found = f"privacy_limit is epsilon {limit:g} for each person, and with this training"
    if math.isinf(worst := max(over)):
        raise StateError(
            f"{found} there would be no bound for {over.count(worst)} of {len(covered)} people, "
            "whom earlier models promised nothing or too little: train on others' records, or "
            "change the limit in olvido.toml; 'olvido budget --worst' shows what was spent"
        )
    raise StateError(
        f"{found} {len(over)} of {len(covered)} people would be at epsilon {worst:.3g} at the "
        "worst: train with more noise or on others' records, or change the limit in olvido.toml; "
        "'olvido budget --worst' shows what was spent"
    )


def _subject(store: Store, name: str) -> SubjectId:
    """The person of a name, or of a digest as the stored rows have it."""
    if SubjectId.is_one(name):
        return SubjectId.from_str(store.key.current(str(SubjectId.from_str(name))))
    return store.key.subject(name)


def _releases(states: Iterable[ModelState]) -> Iterable[Release]:
    for state in states:
        if count := len(_learned(state)):
            yield Release(state.model, count, spent_in(state.model))


def _learned(state: ModelState) -> list[Record]:
    """The records that reached the weights: those forgotten approximately did, too."""
    return [*state.contained, *(record for record, _ in state.forgotten)]


def _bounded(epsilon: float) -> float | None:
    return epsilon if math.isfinite(epsilon) else None
