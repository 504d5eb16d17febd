"""A sketch never saw the forget set."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from olvido.errors import InputError
from olvido.learners import Trained
from olvido.methods import Split
from olvido.methods.origin.sketch import (
    PASSES,
    RECORDS,
    drawn,
    own_recipe,
    require_apart,
    sketch,
    tokens_of,
)
from olvido.methods.origin.weights import origin_for
from olvido.tasks import Example, Language


@pytest.fixture(scope="module")
def known(brief: Trained, part: Split) -> Split:
    ids = {record.id for record in part.forget}
    return replace(part, origin=origin_for(brief, None, ids))


def test_it_learns_from_others_alone(brief: Trained, known: Split, task: Language) -> None:
    about = {subject for record in known.forget for subject in record.subjects}
    shares = replace(known.retain[0], id="both", fields={"subjects": [*about, "somebody else"]})
    same = replace(known.forget[0], id="copy", fields={})
    found = drawn(replace(known, retain=(*known.retain, shares, same)), task)
    assert len(found) == min(RECORDS, len(known.retain)) == len({record.id for record in found})
    assert {record.id for record in found} <= {record.id for record in known.retain}
    assert not about & {subject for record in found for subject in record.subjects}


def test_a_record_of_the_forget_set_is_impossible(
    brief: Trained, known: Split, task: Language
) -> None:
    (gone, *_), (other, *_) = known.forget, known.retain
    retold = Example("retold", f"{gone.prompt} ", gone.completion.upper(), {})
    about = replace(other, id="about", fields={"subject": gone.subjects[0]})
    for bad in (gone, retold, about):
        with pytest.raises(InputError, match="1 records are about whom is to be forgotten"):
            sketch(brief, known, task, seed=0, records=[other, bad])
    with pytest.raises(InputError, match=r"none of the 1 to keep is about somebody else.*retain"):
        drawn(replace(known, retain=(about,)), task)
    require_apart(known.retain, known, task)


def test_it_is_trained_by_the_models_own_recipe_and_priced(
    brief: Trained, known: Split, task: Language, fresh: Any
) -> None:
    made = sketch(brief, known, task, seed=0)
    log = made.trace.runs["run"]
    assert log.recipe == own_recipe(brief, PASSES)
    assert (log.recipe.lr, log.recipe.batch_size) == (6e-3, 15)
    assert set(made.trace.present) == {record.id for record in drawn(known, task)}
    assert made.trace.origin is not None
    assert known.origin is not None
    assert made.trace.origin.digest == known.origin.digest
    assert made.trace.tokens == tokens_of(drawn(known, task), task, log.recipe)
    # A model from elsewhere has no recipe of its own.
    assert own_recipe(Trained.untraced(brief.model), PASSES).lr == 1e-4


def test_a_person_is_known_however_the_name_is_written(
    brief: Trained, known: Split, task: Language
) -> None:
    (subject,) = known.forget[0].subjects
    told = replace(known.retain[0], fields={"subject": f"{subject.upper()} "})
    with pytest.raises(InputError, match="must never have seen"):
        sketch(brief, known, task, seed=0, records=[told])
