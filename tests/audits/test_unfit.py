"""Models that are no references are refused before an audit scores anything."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from olvido.audits.base import PreparedAudit
from olvido.audits.scoring import ScoredModel
from olvido.audits.unfit import described
from olvido.errors import InputError
from olvido.learners import Recipe, Trained, train
from olvido.methods import Outcome, Split, forget
from olvido.methods.origin.sketch import sketch
from olvido.methods.origin.weights import origin_for
from olvido.models import save, weights_digest
from olvido.schemas.outcome import OUTCOME
from olvido.tasks import Language

BRIEF = Recipe(epochs=10, batch_size=15, lr=6e-3)


@pytest.fixture(scope="module")
def part(split: Split) -> Split:
    return Split(split.forget, split.retain[:30], split.holdout[:30])


@pytest.fixture(scope="module")
def brief(fresh: Any, part: Split, task: Language) -> Trained:
    return train(fresh, records=(*part.forget, *part.retain), task=task, recipe=BRIEF)


@pytest.fixture(scope="module")
def outcome(brief: Trained, part: Split, task: Language) -> Outcome:
    return forget(
        brief, forget=part.forget, retain=part.retain, task=task,
        method="arithmetic", scale=0.1, steps=2,
    )  # fmt: skip


def _prepared(candidate: Any, reference: Any, part: Split, task: Language, **more: Any) -> Any:
    given = {"forget": part.forget, "retain": part.retain} | more
    return PreparedAudit(candidate, reference=reference, task=task, **given)


def test_a_sketch_is_refused(outcome: Outcome, brief: Trained, part: Split, task: Language) -> None:
    known = replace(part, origin=origin_for(brief, None, {r.id for r in part.forget}))
    made = sketch(brief, known, task, seed=0)
    assert outcome.sketch == made.digest == outcome.to_dict()["sketch"]
    for reference in (made, made.model):
        with pytest.raises(InputError, match=r"reference 1 is the sketch .*trained on all of them"):
            _prepared(outcome, reference, part, task)


def test_what_a_model_was_trained_from_is_no_retrained_model(
    outcome: Outcome, brief: Trained, fresh: Any, part: Split, task: Language
) -> None:
    with pytest.raises(InputError, match=r"reference 1 is what the model was trained from: it"):
        _prepared(outcome, fresh, part, task, original=brief)
    # A ruined model is no measure of what was kept: only the original tells.
    with pytest.raises(InputError, match="give that too"):
        _prepared(outcome, fresh, part, task)
    with pytest.raises(InputError, match="never learned what is kept"):
        _prepared(outcome.model, fresh, part, task, original=brief)
    # Where nothing that is kept is compared, it is a model that never saw the records.
    _prepared(outcome, fresh, part, task, retain=())


def test_where_the_forget_set_alone_was_taught_it_is_one(
    fresh: Any, part: Split, task: Language
) -> None:
    first = train(fresh, records=part.retain, task=task, recipe=BRIEF)
    second = train(first.model, records=part.forget[:4], task=task, recipe=replace(BRIEF, epochs=1))
    candidate = ScoredModel.of(second, task)
    assert candidate.origin == first.digest
    _prepared(candidate, first.model, part, task, original=second)


def test_a_saved_outcome_says_so_too(
    outcome: Outcome, fresh: Any, part: Split, task: Language, tmp_path: Path
) -> None:
    assert described(str(tmp_path)) == {}
    folder, base = tmp_path / "after", tmp_path / "base"
    save(outcome.model, task.tokenizer, folder)
    save(fresh, task.tokenizer, base)
    (folder / OUTCOME).write_text(json.dumps(outcome.to_dict()))
    assert described(str(folder)) == {"origin": weights_digest(fresh), "sketch": outcome.sketch}
    with pytest.raises(InputError, match="reference 1 is what the model was trained from"):
        _prepared(folder, base, part, task)
