"""The audits of a classifier, on scikit-learn digits: every family that asks nothing in words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from olvido.audits import AUDITS, Report, audit
from olvido.audits.attacks.lira import Attack
from olvido.audits.attacks.shadows import train_shadows
from olvido.audits.base import PreparedAudit
from olvido.audits.compare import facts_of, grouped
from olvido.audits.integrity.classes import Classes
from olvido.audits.types import EvidenceNeed, Level, Shadow, Status
from olvido.learners import Recipe, train
from olvido.models.tiny import tiny_tokenizer
from olvido.statistics import auc
from olvido.tasks import Example, Labels, Language, TextLabels, examples

RECIPE = Recipe(epochs=15, batch_size=16, lr=4e-3, weight_decay=0.0)
TASK = Labels(10)


@dataclass(frozen=True)
class Digits:
    """Pictures, some of them to be forgotten, and classifiers that learned them or did not."""

    forget: tuple[Example, ...]
    retain: tuple[Example, ...]
    holdout: tuple[Example, ...]
    before: nn.Module
    references: tuple[nn.Module, ...]
    shadows: tuple[Shadow, ...]

    def report(self, candidate: nn.Module, level: str, **changes: Any) -> Report:
        evidence: dict[str, Any] = {
            "forget": self.forget,
            "retain": self.retain,
            "holdout": self.holdout,
            "original": self.before,
            "reference": self.references,
            "shadows": self.shadows if level == "thorough" else (),
        }
        return audit(candidate, task=TASK, level=level, **evidence | changes)


def _net(seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(),
            nn.Linear(64, 10),
        )  # fmt: skip


def _learned(records: tuple[Example, ...], seed: int) -> nn.Module:
    return train(_net(seed), records=records, task=TASK, recipe=RECIPE, seed=seed).model


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))

    def read(start: int, stop: int) -> tuple[Example, ...]:
        return examples(
            {"id": f"digit-{i}", "input": data.images[i] / 16, "label": int(data.target[i])}
            for i in order[start:stop]
        )

    forget, retain, holdout = read(0, 60), read(60, 210), read(210, 1110)
    return Digits(
        forget=forget,
        retain=retain,
        holdout=holdout,
        before=_learned(forget + retain, 0),
        references=tuple(_learned(retain, seed) for seed in (1, 2, 3)),
        shadows=train_shadows(
            _net(9),
            pool=forget + holdout[:240],
            always=retain,
            task=TASK,
            recipe=RECIPE,
            count=6,
            folder=tmp_path_factory.mktemp("shadows"),
        ),
    )


def _asked(report: Report) -> set[str]:
    return {finding.audit for finding in report.findings}


@pytest.mark.slow
def test_an_unchanged_classifier_fails(digits: Digits) -> None:
    report = digits.report(digits.before, "standard")
    assert report.verdict == "fail"
    failed = {f.audit for f in report.findings if f.status is Status.FAIL}
    assert {"change", "likelihood"} <= failed
    assert "the weights did not change" in report.reasons


@pytest.mark.slow
def test_a_retrained_classifier_passes(digits: Digits) -> None:
    for seed in (4, 5):
        report = digits.report(_learned(digits.retain, seed), "standard")
        assert report.passed, report.reasons


@pytest.mark.slow
def test_a_classifier_is_asked_everything_that_is_not_about_words(digits: Digits) -> None:
    report = digits.report(digits.references[0], "standard", reference=digits.references[1:])
    wordless = {
        name
        for name, kind in AUDITS.items()
        if EvidenceNeed.LANGUAGE not in kind.needs and kind.level <= Level.STANDARD
    }
    # It has no adapter, and nobody gave neighbours or general knowledge.
    assert _asked(report) == wordless - {"adapter", "neighbours", "general"}
    assert set(report.not_examined) == {"neighbours", "general"}
    assert set(report.not_possible) == {"adapter"}
    assert not [reason for reason in report.reasons if "examined" in reason]


@pytest.mark.slow
def test_every_picture_is_a_fact_of_its_own(digits: Digits) -> None:
    report = digits.report(digits.before, "thorough")
    for finding in report.findings:
        if finding.audit in ("recall", "likelihood", "membership", "difference", "quantization"):
            assert finding.clusters == len(digits.forget), finding
        if finding.audit in ("relearning", "unrelated"):
            assert finding.clusters == finding.n, finding


@pytest.mark.slow
def test_lira_tells_what_a_classifier_learned_and_acquits_the_retrained(digits: Digits) -> None:
    names = [
        name
        for name, kind in AUDITS.items()
        if name == "lira" or (kind.required and EvidenceNeed.LANGUAGE not in kind.needs)
    ]
    report = digits.report(_learned(digits.retain, 4), "thorough", audits=names)
    asked = [finding for finding in report.findings if finding.audit == "lira"]
    assert [finding.status for finding in asked] == [Status.PASS, Status.PASS]
    assert {finding.clusters for finding in asked} == {len(digits.forget)}
    # At so low a false positive rate 60 pictures are few; over all rates the attack tells.
    evidence = PreparedAudit(
        digits.before,
        task=TASK,
        forget=digits.forget,
        holdout=digits.holdout,
        reference=digits.references,
        shadows=digits.shadows,
        level="thorough",
    ).evidence
    attack = Attack.of(evidence)
    knows, *never = (auc(*attack.ratios(scored)) for scored in evidence.models)
    assert knows > max(never) + 0.05


@pytest.mark.slow
def test_damage_is_told_class_by_class(digits: Digits) -> None:
    lost = _learned(tuple(r for r in digits.retain if r.completion != "3"), 6)
    report = digits.report(lost, "quick")
    worst = report.find("classes", "exact match of the class that lost most")
    assert (worst.status, worst.probe, worst.value) == (Status.FAIL, "retained, class 3", 0.0)
    assert any(reason.startswith(Classes.reason) for reason in report.reasons)
    shown = report.find("retention", "exact match").exhibit
    assert shown is not None
    share = dict(zip(shown["x"], shown["candidate"], strict=True))
    assert set(share) == set(Counter(r.completion for r in digits.retain)) == set(TASK.classes)
    assert share.pop("3") == 0.0
    assert min(share.values()) > 0.9
    assert min(shown["before"]) > 0.9


def test_a_person_of_many_pictures_is_one_of_the_forgotten(digits: Digits) -> None:
    rows = [
        {"id": f"{who}-{n}", "input": [float(n), float(who)], "label": n % 2, "subject": f"p{who}"}
        for who in range(3)
        for n in range(4)
    ]
    records = examples(rows)
    assert [len(group) for group in grouped(records)] == [4, 4, 4]
    assert len(facts_of(records, Labels(2))) == 12


def test_every_text_of_a_class_is_a_fact_of_its_own() -> None:
    """Six notes of two classes were two facts once, and a test of them could prove nothing."""
    rows = [{"prompt": f"note {n}", "completion": "yes" if n % 2 else "no"} for n in range(6)]
    records = examples([*rows, rows[0]])
    assert len(facts_of(records, TextLabels(tiny_tokenizer(), ["no", "yes"]))) == 6
    assert len(facts_of(records, Language(tiny_tokenizer()))) == 2
