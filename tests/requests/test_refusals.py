"""What a request refuses, and that nothing has changed then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from olvido.errors import InputError, UnknownName
from olvido.ledger.facts import RequestStatus
from olvido.requests import plan, receive, run
from olvido.schemas.options import RunOptions
from olvido.workspace import Workspace

Opened = Callable[[Any], tuple[Any, Workspace]]


def test_an_unknown_subject_enters_nothing_and_is_not_repeated(
    learned: Any, opened: Opened
) -> None:
    _, workspace = opened(learned)
    name = "Perseus Quixote"
    log = workspace.store.events()
    with pytest.raises(InputError, match="no record") as refused:
        receive(workspace, name)
    assert "Perseus" not in str(refused.value)
    assert "Quixote" not in str(refused.value)
    assert workspace.store.requests() == ()
    assert workspace.store.events() == log


def test_an_unknown_kind_enters_nothing(learned: Any, opened: Opened) -> None:
    place, workspace = opened(learned)
    with pytest.raises(InputError, match="erasure"):
        receive(workspace, place.town.data_subject.name, kind="erase")
    assert workspace.store.requests() == ()


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"method": "npoo"}, UnknownName),
        ({"method": "npo", "options": {"lrr": 1.0}}, UnknownName),
        ({"method": "npo", "options": {"regulariser": "nlll"}}, UnknownName),
        ({"options": {"lr": 1.0}}, InputError),
        ({"references": 0}, InputError),
        ({"model": "no-such-model"}, UnknownName),
    ],
)
def test_a_wrong_word_changes_nothing(
    learned: Any, opened: Opened, wrong: dict[str, Any], error: type[Exception]
) -> None:
    place, workspace = opened(learned)
    request = receive(workspace, place.town.data_subject.name)
    plan(workspace, request.id)
    before = place.everything()
    with pytest.raises(error):
        run(workspace, request.id, how=RunOptions(**wrong))
    assert place.everything() == before
    assert workspace.store.request(request.id).status is RequestStatus.PLANNED


def test_who_is_in_no_model_has_nothing_to_leave(learned: Any, opened: Opened) -> None:
    place, workspace = opened(learned)
    request = receive(workspace, place.town.outsiders[0].name)
    with pytest.raises(InputError, match="no model has to forget"):
        run(workspace, request.id)
    assert workspace.store.request(request.id).status is RequestStatus.PLANNED
