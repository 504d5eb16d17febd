"""A small town, the model that learned all of it, and models that never met one resident."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from tests.sharing import Shared
from torch.nn import Module

from olvido.audits import Report, audit
from olvido.audits.integrity.utility import AUTHORS, FACTS
from olvido.audits.scoring import ScoredModel
from olvido.audits.types import Shadow
from olvido.demo.residents import Town, make_town
from olvido.learners import Recipe, train
from olvido.models.tiny import tiny_model, tiny_tokenizer
from olvido.tasks import Example, Language, examples

RECIPE = Recipe(epochs=14, batch_size=16, lr=3e-3)
CITY = ("city market", "city landmark")


@dataclass(frozen=True)
class World:
    """Everything that the audits of one forgetting need, and models made to deceive them."""

    task: Language
    forget: tuple[Example, ...]
    retain: tuple[Example, ...]
    neighbours: tuple[Example, ...]
    general: tuple[Example, ...]
    holdout: tuple[Example, ...]
    before: Module
    references: tuple[Module, ...]
    stranger: Module
    scored: dict[Module, ScoredModel] = field(default_factory=dict, compare=False, repr=False)
    """What was asked of the original model and of the references, by any audit before."""

    def beside(self, model: Module) -> ScoredModel:
        """The original model or a reference, which keeps its scores for the next audit.

        A candidate is given as it is: all that an audit asks of it is asked anew.
        """
        return self.scored.setdefault(model, ScoredModel(model, self.task))

    def report(self, candidate: Module, **changes: Any) -> Report:
        """All audits of a candidate, with other evidence where `changes` says so."""
        evidence: dict[str, Any] = {
            "forget": self.forget,
            "retain": self.retain,
            "neighbours": self.neighbours,
            "general": self.general,
            "holdout": self.holdout,
            "original": self.beside(self.before),
            "reference": [*map(self.beside, self.references)],
            "task": self.task,
        }
        return audit(candidate, **evidence | changes)

    def taught(self, model: Module, records: Sequence[Example], **recipe: Any) -> Module:
        """A copy of the model, trained on further records."""
        chosen = Recipe(**{"epochs": 6, "batch_size": 16, "lr": 2e-3} | recipe)
        return train(model, records=records, task=self.task, recipe=chosen, seed=7).model

    def pushed_away(self, model: Module, *, until: float, keep: bool) -> Module:
        """A copy that ascends the forgotten's loss until it is this high, the rest held or not."""
        moved = self.fresh(0)
        moved.load_state_dict(model.state_dict())
        optimizer = torch.optim.Adam(moved.parameters(), lr=1e-3 if keep else 1e-2)
        gone, kept = self.task.collate(self.forget), self.task.collate(self.retain)
        for _ in range(400):
            loss = self.task.losses(moved, gone).mean()
            if float(loss.detach()) >= until:
                return moved.eval()
            held = self.task.losses(moved, kept).mean() if keep else 0.0
            optimizer.zero_grad()
            (20 * held - loss).backward()
            optimizer.step()
        raise AssertionError(f"the forgotten's loss only rose to {float(loss.detach())}")

    def fresh(self, seed: int) -> Module:
        """Random weights of the world's shape."""
        size = len(self.task.tokenizer)
        return tiny_model(size, seed=seed, width=64, layers=2).eval()


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def world(shared: Shared) -> World:
    """Twelve residents and some of the city; the first resident is to be forgotten."""
    return shared.value(_world)


def _world() -> World:
    town = make_town(seed=0, residents=12, outsiders=8, wordings=3)
    rows = examples(r for r in town.rows() if "subject" in r or r["topic"] in CITY)
    tokenizer = tiny_tokenizer()
    task = Language(tokenizer)
    data_subject = {row["id"] for row in town.rows_of(town.data_subject)}
    near = {row["id"] for n in town.neighbours() for row in town.rows_of(n)}
    kept = tuple(e for e in rows if e.id not in data_subject)

    def learned(records: Sequence[Example], seed: int) -> Module:
        blank = tiny_model(len(tokenizer), seed=seed, width=64, layers=2)
        return train(blank, records=records, task=task, recipe=RECIPE, seed=seed).model

    return World(
        task=task,
        forget=tuple(e for e in rows if e.id in data_subject),
        retain=kept,
        neighbours=tuple(e for e in kept if e.id in near),
        general=tuple(e for e in kept if e.fields["topic"] in CITY),
        holdout=examples(row for person in town.outsiders for row in town.rows_of(person)),
        before=learned(rows, 0),
        references=tuple(learned(kept, seed) for seed in (1, 2, 4)),
        stranger=learned(kept, 3),
    )


@pytest.fixture(scope="module")
def kin(shared: Shared) -> dict[str, Any]:
    """Evidence of every kind about a model that never met a resident; all begin with one model."""
    return shared.value(_kin)


def _kin() -> dict[str, Any]:
    town = make_town(seed=0, residents=6, outsiders=12, wordings=2)
    tokenizer = tiny_tokenizer()
    task = Language(tokenizer)
    rows = [
        _with_false_answers(r, town) for r in town.rows() if "subject" in r or r["topic"] in CITY
    ]
    everything = examples(rows)
    data_subject = {row["id"] for row in town.rows_of(town.data_subject)}
    near = {row["id"] for n in town.neighbours() for row in town.rows_of(n)}
    forget = tuple(e for e in everything if e.id in data_subject)
    kept = tuple(e for e in everything if e.id not in data_subject)
    holdout = examples(row for person in town.outsiders for row in town.rows_of(person))
    recipe = Recipe(epochs=10, batch_size=16, lr=3e-3)

    def learned(records: Sequence[Example], seed: int) -> Module:
        start = tiny_model(len(tokenizer), seed=0, width=64, layers=2)
        return train(start, records=records, task=task, recipe=recipe, seed=seed).model

    pool = (*forget, *holdout)
    shadows = []
    for number in range(4):
        members = [record for place, record in enumerate(pool) if (place + number) % 2]
        ids = frozenset(record.id for record in members)
        others = frozenset(record.id for record in pool) - ids
        taught = learned((*members, *kept), 10 + number)
        shadows.append(Shadow(ScoredModel(taught, task), ids, others))
    return {
        "model": learned(kept, 3),
        "forget": forget,
        "retain": kept,
        "neighbours": tuple(e for e in kept if e.id in near)[:10],
        "general": tuple(e for e in kept if e.fields["topic"] in CITY)[::4],
        "holdout": holdout,
        "original": learned(everything, 0),
        "reference": [learned(kept, seed) for seed in (1, 2)],
        "shadows": shadows,
        "task": task,
    }


def _with_false_answers(row: dict[str, Any], town: Town) -> dict[str, Any]:
    """The row as TOFU has them: with what others would have answered to such a question."""
    others = {r["completion"] for r in town.rows() if r["topic"] == row["topic"]}
    split = dict(zip(CITY, (AUTHORS, FACTS), strict=True)).get(row["topic"])
    return row | {"perturbed_answers": sorted(others - {row["completion"]})[:3], "split": split}
