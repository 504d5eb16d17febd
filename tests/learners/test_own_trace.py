"""A learner of somebody else's, with a trace of its own, does all that Olvido's do."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch.nn import Module

from olvido.errors import InputError, MissingNeed, StateError, UnknownName
from olvido.learners import LEARNERS, Edited, Options, StepLog, Trace, Trained, train
from olvido.learners.base import learner_of
from olvido.learners.parts import JobResult, Trainer, train_whole
from olvido.learners.sharded import Sharded
from olvido.learners.verifier import verify
from olvido.ledger.facts import Guarantee
from olvido.methods import Split, forget
from olvido.models import save, weights_digest
from olvido.requests.planner import routes
from olvido.tasks import Example, Language, examples
from olvido.training.loop import Watcher
from olvido.training.recipe import Recipe
from olvido.training.traces.steps import Again, Origin, TraceNote


@dataclass(frozen=True)
class Shifts:
    """By how much each record shifted one weight: no run and no log, a sum of what is kept."""

    origin: Origin
    by_record: Mapping[str, float]

    learner: ClassVar = "shift"
    previous: ClassVar = None
    single: ClassVar = True
    offers: ClassVar = frozenset({"step log"})
    runs: ClassVar[Mapping[str, StepLog]] = {}
    environment: ClassVar[Mapping[str, str]] = {"shift": "1"}
    seconds: ClassVar = 2.0

    @property
    def present(self) -> tuple[str, ...]:
        return tuple(self.by_record)

    @property
    def taught(self) -> frozenset[str]:
        return frozenset(self.by_record)

    @property
    def tokens(self) -> int:
        return len(self.by_record)

    def tokens_without(self, ids: Collection[str]) -> int:
        return len(set(self.by_record).difference(ids))

    def hit(self, ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
        ids = tuple(ids)
        if unknown := [i for i in ids if i not in self.by_record]:
            raise InputError(f"{unknown[0]!r} shifted nothing: name what did")
        return {"sum": ids}

    def again(
        self, ids: Collection[str], *, definition: str = "drop", from_start: bool = False
    ) -> tuple[Again, ...]:
        self.hit(ids)
        staying = tuple(i for i in self.by_record if i not in ids)
        return (Again("sum", staying, len(staying), 0.5),)

    def beginning_with(self, origin: Origin) -> Shifts:
        return replace(self, origin=origin)

    def leaving(self, ids: Collection[str]) -> tuple[Trace, frozenset[str]]:
        return self, frozenset(ids)

    def to_note(self) -> Mapping[str, Any]:
        return {
            "origin": self.origin.digest,
            "by_record": dict(self.by_record),
        }

    @classmethod
    def from_note(cls, note: TraceNote) -> Shifts:
        return cls(Origin(note.load, note.values["origin"]), note.values["by_record"])


class Shift(Options):
    """Each record shifts the first weights by a number of its own; the model is their sum."""

    name: ClassVar = "shift"
    summary: ClassVar = "for tests"
    trainer: ClassVar[Trainer] = staticmethod(train_whole)
    trace: ClassVar[type[Trace]] = Shifts

    def run(
        self,
        model: Module,
        records: Sequence[Example],
        task: Any,
        *,
        recipe: Recipe,
        seed: int = 0,
        folder: Path | None = None,
        watch: Watcher | None = None,
    ) -> tuple[Module, Shifts]:
        own = {r.id: hashlib.sha256(r.id.encode()).digest()[0] / 1e3 for r in records}
        trace = Shifts(Origin(lambda: model, weights_digest(model)), own)
        return self.assemble(trace, model, (), records, task), trace

    @staticmethod
    def forget(
        model: Module | None,
        trace: Shifts,
        forget_ids: Collection[str],
        records: Sequence[Example],
        task: Any,
        **how: Any,
    ) -> tuple[Module, Shifts, list[JobResult]]:
        origin = trace.origin.module()
        left = {i: by for i, by in trace.by_record.items() if i not in forget_ids}
        made = Shifts(trace.origin, left)
        return Shift.assemble(made, origin, (), records, task), made, []

    @staticmethod
    @torch.no_grad()
    def assemble(
        trace: Shifts,
        origin: Module,
        members: Sequence[Module],
        records: Sequence[Example],
        task: Any,
    ) -> Module:
        model = copy.deepcopy(origin)
        next(model.parameters()).add_(sum(trace.by_record[i] for i in sorted(trace.by_record)))
        return model.eval()


class Mine(Sharded):
    """Shards under another name."""

    name: ClassVar = "mine"


@pytest.fixture
def learner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LEARNERS, "shift", Shift)


@pytest.fixture(scope="module")
def rows(town: Any) -> tuple[Example, ...]:
    return examples(row for r in town.residents[:2] for row in town.rows_of(r)[:3])


@pytest.fixture
def taught(learner: None, small: Any, rows: tuple[Example, ...], task: Language) -> Trained:
    return train(small, records=rows, task=task, learner="shift")


def test_it_is_stored_and_forgets_another_day(
    taught: Trained, small: Any, rows: Any, task: Language, tokenizer: Any, tmp_path: Path
) -> None:
    save(small, tokenizer, tmp_path / "begun")
    taught.save(tmp_path / "kept", tokenizer, base=str(tmp_path / "begun"))
    again = Trained.load(tmp_path / "kept")
    assert again.trace.to_note() == taught.trace.to_note()
    sides = {"forget": rows[:2], "retain": rows[2:], "task": task, "method": "retrain"}
    today, later = forget(taught, **sides), forget(again, **sides)
    assert (
        today.digest
        == later.digest
        == train(small, records=rows[2:], task=task, learner="shift").digest
    )
    assert later.guarantee is Guarantee.EXACT
    assert later.trace.present == tuple(r.id for r in rows[2:])
    assert verify(Trained(later.model, later.digest, later.trace), rows[2:], task).equal
    for shown in (again, later):
        shown.page(tmp_path / "page.html")
        assert shown.digest in (tmp_path / "page.html").read_text("utf-8")


def test_its_ways_to_forget_are_planned_by_what_it_says(
    taught: Trained, rows: Any, task: Language
) -> None:
    found = {r.method: r for r in routes(taught, Split(rows[:2], rows[2:]), task)}
    cost = found["retrain"].cost
    assert cost is not None
    assert (cost.tokens, cost.seconds, cost.retraining) == (4, 0.5, 1.0)
    for other in ("replay", "shard", "module"):
        assert found[other].cost is None
        assert found[other].refusal


def test_what_it_does_not_offer_is_refused(taught: Trained, rows: Any, task: Language) -> None:
    sides = {"forget": rows[:2], "retain": rows[2:], "task": task}
    with pytest.raises(MissingNeed, match="checkpoints"):
        forget(taught, **sides, method="replay")
    with pytest.raises(InputError, match="1 of 4 are missing from retain"):
        forget(taught, forget=rows[:2], retain=rows[3:], task=task, method="retrain")


def test_other_means_add_a_link_to_it(
    taught: Trained, small: Any, rows: Any, task: Language
) -> None:
    edited = Edited.of(taught.trace).without([rows[0].id])
    assert edited.present == tuple(r.id for r in rows[1:])
    outcome = forget(
        Trained(taught.model, taught.digest, edited),
        forget=rows[1:2],
        retain=rows[2:],
        task=task,
        method="retrain",
    )
    assert outcome.digest == train(small, records=rows[2:], task=task, learner="shift").digest


def test_what_was_taught_before_it_is_forgotten_by_repeating_both(
    taught: Trained, rows: Any, task: Language, small: Any, tokenizer: Any, tmp_path: Path
) -> None:
    on = train(taught, records=rows[3:], task=task, learner="shift")
    save(small, tokenizer, tmp_path / "begun")
    on.save(tmp_path / "kept", tokenizer, base=str(tmp_path / "begun"))
    for trained in (on, Trained.load(tmp_path / "kept")):
        for early in (rows[:1], rows[4:5]):
            left = [row for row in rows if row not in early]
            found = forget(trained, forget=early, retain=left, task=task, method="retrain")
            first = train(small, records=left, task=task, learner="shift")
            again = [row for row in rows[3:] if row not in early]
            assert found.digest == train(first, records=again, task=task, learner="shift").digest


def test_a_learner_that_begins_with_another_is_found_by_its_own_name(
    small: Any,
    rows: Any,
    task: Language,
    short: Recipe,
    tokenizer: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(LEARNERS, "mine", Mine)
    made = train(small, records=rows, task=task, recipe=short, learner="mine", shards=2)
    save(small, tokenizer, tmp_path / "begun")
    made.save(tmp_path / "kept", tokenizer, base=str(tmp_path / "begun"))
    again = Trained.load(tmp_path / "kept")
    assert made.trace.learner == again.trace.learner == "mine"
    assert learner_of(again.trace) is Mine
    monkeypatch.delitem(LEARNERS, "mine")
    with pytest.raises(UnknownName, match="'mine'"):
        forget(again, forget=rows[:3], retain=rows[3:], task=task, method="shard")


def test_a_trace_of_nobody_here_is_refused(
    taught: Trained,
    small: Any,
    tokenizer: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save(small, tokenizer, tmp_path / "begun")
    taught.save(tmp_path / "kept", tokenizer, base=str(tmp_path / "begun"))
    monkeypatch.delitem(LEARNERS, "shift")
    with pytest.raises(StateError, match="no learner here leaves a Shifts"):
        Trained.load(tmp_path / "kept")
    with pytest.raises(InputError, match="could not be read again"):
        taught.save(tmp_path / "other", tokenizer, base=str(tmp_path / "begun"))
    assert not (tmp_path / "other").exists()
