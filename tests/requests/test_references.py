"""Never-trained models: made without the records, known again, refused where nothing is known."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from olvido.errors import MissingNeed
from olvido.learners import Trained
from olvido.models import weights_digest
from olvido.requests.references import never_trained
from olvido.workspace import SERVING, Workspace

Opened = Callable[[Any], tuple[Any, Workspace]]


def leaver_ids(place: Any) -> list[str]:
    return [row["id"] for row in place.town.rows_of(place.town.data_subject)]


def quiet(_: str) -> None:
    return None


@pytest.mark.slow
def test_they_are_trained_without_the_records_and_with_other_seeds(
    brief_ready: Any, opened: Opened
) -> None:
    place, workspace = opened(brief_ready)
    held = workspace.load(SERVING)
    stages: list[str] = []
    never = never_trained(workspace, held, leaver_ids(place), count=2, stage=stages.append)
    assert stages == [], "the ledger had both"
    assert len({held.fact.seed, *(other.fact.seed for other in never)}) == 3
    assert len({held.fact.digest, *(other.fact.digest for other in never)}) == 3
    lineage = workspace.store.lineage(workspace.store.key.subject(place.town.data_subject.name))
    states = {state.model.id: state for state in lineage.models}
    for other in never:
        assert states[other.fact.id].contained == ()
        trace = workspace.load(other.fact.id).trained.trace
        assert trace.recipe == held.trained.trace.recipe  # type: ignore[union-attr]
        assert not set(leaver_ids(place)) & set(trace.plan.slots)  # type: ignore[union-attr]
        assert other.scored.digest == str(other.fact.digest) == weights_digest(other.scored.model)
        assert other.scored.taught == trace.taught  # type: ignore[union-attr]


def test_one_of_them_at_a_time_is_in_memory(brief_ready: Any, opened: Opened) -> None:
    place, workspace = opened(brief_ready)
    held = workspace.load(SERVING)
    one, other = never_trained(workspace, held, leaver_ids(place), count=2, stage=quiet)
    loaded = weakref.ref(one.scored.model)
    assert loaded() is not None
    assert other.scored.model is not None
    assert loaded() is None


@pytest.mark.slow
def test_only_what_is_lacking_is_trained(brief_ready: Any, opened: Opened) -> None:
    place, workspace = opened(brief_ready)
    held = workspace.load(SERVING)
    before = {model.id for model in workspace.store.models()}
    stages: list[str] = []
    never = never_trained(workspace, held, leaver_ids(place), count=3, stage=stages.append)
    assert len(stages) == 1
    assert "3 of 3" in stages[0]
    assert len({other.fact.id for other in never} - before) == 1


@pytest.mark.slow
def test_models_without_other_records_do_not_serve(brief_ready: Any, opened: Opened) -> None:
    place, workspace = opened(brief_ready)
    held = workspace.load(SERVING)
    known = {model.id for model in workspace.store.models()}
    other = [row["id"] for row in place.town.rows_of(place.town.residents[1])]
    (found,) = never_trained(workspace, held, other, count=1, stage=quiet)
    assert found.fact.id not in known


def test_a_model_of_unknown_making_has_none(brief_ready: Any, opened: Opened) -> None:
    place, workspace = opened(brief_ready)
    held = workspace.load(SERVING)
    stranger = replace(held, trained=Trained.untraced(held.trained.model))
    with pytest.raises(MissingNeed, match="olvido learn"):
        never_trained(workspace, stranger, leaver_ids(place), count=1, stage=quiet)
