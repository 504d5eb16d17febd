"""What every audit in the table promises, whatever it asks."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from rouge_score import rouge_scorer
from torch.nn import functional as F

from olvido.audits import AUDITS
from olvido.audits.attacks import relearning as relearned
from olvido.audits.base import PreparedAudit
from olvido.audits.references import forecast
from olvido.audits.scoring import ScoredModel
from olvido.audits.tolerances import ADVISORY, tolerated
from olvido.audits.types import Asks, Evidence, EvidenceNeed, Finding, Level, Shadow, Status
from olvido.audits.verdict import settle
from olvido.errors import MissingNeed
from olvido.learners import Recipe
from olvido.models import weights_digest
from olvido.tasks import Example, Labels, examples

RECIPE = Recipe(epochs=12, batch_size=16, lr=3e-3)
LANGUAGE = [name for name, kind in AUDITS.items() if EvidenceNeed.CLASSES not in kind.needs]
SILENT = {"adapter"}
"""Audits that find nothing where the model has nothing of the kind."""
FREE = {"change", "adapter"}
"""Audits that look at weights alone, or at what these models do not have."""


@dataclass(frozen=True)
class Asked:
    """What one audit said, twice, and what it did on the way."""

    findings: list[Finding]
    again: list[Finding]
    asks: Asks
    seconds: float
    tokens: int
    changed: list[str]


@dataclass(frozen=True)
class Small:
    """Evidence of every kind about a model that never saw the forgotten; all begin alike."""

    given: dict[str, Any]
    ask: Callable[[str], Asked]


def _state(evidence: Evidence) -> dict[str, Any]:
    """Everything about the models and the sources of chance that no audit may change."""
    models = [w.model for w in evidence.models] + [s.scored.model for s in evidence.shadows]
    return {
        "weights": [weights_digest(model) for model in models],
        "training mode": [[part.training for part in model.modules()] for model in models],
        "gradients": [[p.grad is None for p in model.parameters()] for model in models],
        "whether gradients are wanted": [
            [p.requires_grad for p in model.parameters()] for model in models
        ],
        "hooks": [sum(len(part._forward_hooks) for part in m.modules()) for m in models],
        "torch's chance": torch.get_rng_state().tolist(),
        "numpy's chance": np.random.get_state()[1].tolist(),  # noqa: NPY002
        "Python's chance": random.getstate(),
    }


@pytest.fixture(scope="module")
def small(kin: Any) -> Iterator[Small]:
    """Each audit is run once on demand, and its second run on fresh evidence."""
    done: dict[str, Asked] = {}
    # What a library does to the sources of chance while it is imported is no audit's doing.
    rouge_scorer.RougeScorer(["rougeL"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(relearned.STEPS, Level.THOROUGH, (0, 2, 10))

        def ask(name: str) -> Asked:
            if name not in done:
                done[name] = _asked(kin, name)
            return done[name]

        yield Small(kin, ask)


def _asked(given: dict[str, Any], name: str) -> Asked:
    examination = PreparedAudit(**given, level="thorough")
    evidence, audit = examination.evidence, examination.chosen[name]
    # A model that was left in training mode stays there.
    evidence.references[1].model.train()
    asks = audit.asks(evidence)
    seconds = forecast(evidence, [asks])
    before = _state(evidence)
    with pytest.MonkeyPatch.context() as patch:
        counted = _counted(patch)
        findings = list(audit.run(evidence))
    after = _state(evidence)
    evidence.references[1].model.eval()
    other = PreparedAudit(**given, level="thorough")
    again = list(other.chosen[name].run(other.evidence))
    changed = [what for what in before if before[what] != after[what]]
    return Asked(findings, again, asks, seconds, counted[0], changed)


def _counted(patch: pytest.MonkeyPatch) -> list[int]:
    """Tokens that are embedded from now on, padding among them. A hook would be found out."""
    counted, embedding = [0], F.embedding

    def count(tokens: Any, *rest: Any, **named: Any) -> Any:
        counted[0] += tokens.numel()
        return embedding(tokens, *rest, **named)

    patch.setattr(F, "embedding", count)
    return counted


def _priced(given: dict[str, Any], asks: Asks) -> int:
    """Tokens of passes that an audit says it costs."""
    task, models = given["task"], len(given["reference"]) + 1

    def tokens(records: tuple[Example, ...]) -> int:
        return sum(map(task.width, {task.fingerprint(r): r for r in records}.values()))

    scored = tokens((*asks.scored, *asks.answered)) * (models + 1)
    return scored + tokens(asks.controls) * models + asks.passes


@pytest.mark.parametrize("name", AUDITS)
def test_it_says_what_it_is(name: str) -> None:
    kind = AUDITS[name]
    assert kind.summary
    assert kind.reason
    assert not kind.summary.endswith(".")
    assert isinstance(kind.needs, frozenset)
    assert all(isinstance(need, EvidenceNeed) for need in kind.needs)
    assert isinstance(kind.level, Level)
    assert isinstance(kind.required, bool)
    assert kind.__doc__


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "need"), [(name, need) for name, kind in AUDITS.items() for need in sorted(kind.needs)]
)
def test_it_refuses_to_run_without_its_evidence(
    small: Small, name: str, need: EvidenceNeed
) -> None:
    plain = [replace(r, fields={"subject": r.fields["subject"]}) for r in small.given["forget"]]
    without: dict[EvidenceNeed, dict[str, Any]] = {
        EvidenceNeed.PARAPHRASES: {"forget": plain},
        EvidenceNeed.PERTURBED: {"forget": plain},
        EvidenceNeed.SHADOWS: {"shadows": ()},
        EvidenceNeed.ORIGINAL: {"original": None},
        EvidenceNeed.LANGUAGE: _classified(),
        EvidenceNeed.CLASSES: {},
        **{
            EvidenceNeed(side): {side: ()}
            for side in ("retain", "neighbours", "general", "holdout")
        },
    }
    with pytest.raises(MissingNeed) as refused:
        PreparedAudit(**{**small.given, **without[need]}, audits=[name], level="thorough")
    assert need.remedy in str(refused.value)


def _classified() -> dict[str, Any]:
    rows = examples({"input": [float(n), 1.0], "label": n % 2} for n in range(6))
    nets = [torch.nn.Linear(2, 2) for _ in range(3)]
    return {
        **dict.fromkeys(("forget", "retain", "neighbours", "general", "holdout"), rows),
        "model": nets[0],
        "reference": nets[1],
        "original": nets[2],
        "shadows": [Shadow(ScoredModel(nets[1], Labels(2)), frozenset(), frozenset())],
        "task": Labels(2),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", LANGUAGE)
def test_a_model_that_never_saw_the_records_is_not_convicted(small: Small, name: str) -> None:
    asked = small.ask(name)
    assert bool(asked.findings) == (name not in SILENT)
    statuses = {f"{f.metric}: {f.says}": f.status for f in settle(asked.findings)}
    assert set(statuses.values()) <= {Status.PASS, Status.SILENT}, statuses


@pytest.mark.slow
@pytest.mark.parametrize("name", LANGUAGE)
def test_its_findings_are_whole(small: Small, name: str) -> None:
    for found in small.ask(name).findings:
        assert found.audit == name
        numbers = [found.value, found.expected, *found.never_trained, *(found.interval or ())]
        assert all(map(math.isfinite, [*numbers, found.before or 0.0])), found
        # Never-trained models need not speak where the original model did.
        references = len(small.given["reference"])
        assert len(found.never_trained) in (
            {0, references} if found.against == "before" else {references}
        )
        assert 1 <= found.clusters <= found.n
        assert found.p is None or 0 <= found.p <= 1
        if found.interval is not None:
            assert found.interval[0] <= found.interval[1]
        if found.low is not None and found.high is not None:
            assert found.low <= 0 <= found.high
        judged = (found.low, found.high) != (None, None)
        assert judged == found.votes == ((name, found.metric) not in ADVISORY) or (
            not found.votes and judged
        )
        table = tolerated(name, found.metric, found.expected)
        assert (found.low, found.high) == pytest.approx(table), found.metric
        assert found.says
        assert (found.exhibit or {"kind": "none"})["kind"]


@pytest.mark.slow
@pytest.mark.parametrize("name", LANGUAGE)
def test_it_costs_what_it_says(small: Small, name: str) -> None:
    asked = small.ask(name)
    priced = _priced(small.given, asked.asks)
    assert (priced > 0) is (asked.seconds > 0) is (name not in FREE)
    # Padding and generated words are not in the price; training steps stand there threefold.
    assert asked.tokens <= 2.5 * priced
    assert priced <= 4 * asked.tokens


@pytest.mark.slow
@pytest.mark.parametrize("name", LANGUAGE)
def test_it_changes_nothing(small: Small, name: str) -> None:
    assert small.ask(name).changed == []


@pytest.mark.slow
@pytest.mark.parametrize("name", LANGUAGE)
def test_it_says_the_same_twice(small: Small, name: str) -> None:
    asked = small.ask(name)
    assert [f.to_dict() for f in asked.findings] == [f.to_dict() for f in asked.again]
