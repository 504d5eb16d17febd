"""The plan: every method priced, refusals explained, and the order of attempts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from olvido.errors import MissingNeed
from olvido.forgetting import METHODS, Cost
from olvido.learners import Trained
from olvido.ledger.facts import Guarantee
from olvido.requests import Route, locate, receive, routes
from olvido.requests.flow import Probes, _split
from olvido.requests.planner import EMPIRICAL_FIRST, attempts
from olvido.workspace import SERVING, Workspace

Opened = Callable[[Any], tuple[Any, Workspace]]


def route(method: str, refusal: str | None = None) -> Route:
    cost = None if refusal else Cost(1.0, 1.0, 1.0)
    return Route(method, Guarantee.EMPIRICAL, "summary", cost, refusal)


def test_all_methods_are_priced_the_cheapest_first(ready: Any, opened: Opened) -> None:
    place, workspace = opened(ready)
    request = receive(workspace, place.town.leaver.name)
    held = workspace.load(SERVING)
    lineage = locate(workspace, request.id)
    split = _split(workspace, held, lineage, Probes())
    found = routes(held.trained, split, held.task)
    assert {r.method for r in found} == set(METHODS)
    costs = [r.cost.tokens for r in found if r.cost is not None]
    assert len(costs) == len(METHODS)
    assert costs == sorted(costs)
    by_name = {r.method: r for r in found}
    again = by_name["retrain"].to_dict()
    assert (again["guarantee"], again["applies"]) == ("exact", True)
    assert again["share_of_retraining"] == pytest.approx(1.0)
    # Where nothing is known of the training, it cannot be run again; the rest still applies.
    untraced = routes(Trained.untraced(held.trained.model), split, held.task)
    assert untraced[-1].method == "retrain"
    assert untraced[-1].cost is None
    assert "training" in str(untraced[-1].refusal)
    assert all(r.refusal is None for r in untraced[:-1])


def test_the_best_empirical_method_comes_first_and_retraining_last() -> None:
    found = [route(name) for name in ("retrain", "ascent", *reversed(EMPIRICAL_FIRST))]
    assert attempts(found, None, {}) == ((EMPIRICAL_FIRST[0], {}), ("retrain", {}))


def test_what_was_asked_for_comes_first_with_its_options() -> None:
    found = [route("npo"), route("ascent"), route("retrain")]
    assert attempts(found, "ascent", {"lr": 1}) == (("ascent", {"lr": 1}), ("retrain", {}))
    assert attempts(found, "retrain", {}) == (("retrain", {}),)


def test_a_method_that_does_not_apply_is_passed_over() -> None:
    found = [route("npo", "needs retain"), route("graddiff"), route("retrain", "needs a log")]
    assert attempts(found, None, {}) == (("graddiff", {}),)
    with pytest.raises(MissingNeed, match="needs a log"):
        attempts(found, "retrain", {})


def test_no_method_applies() -> None:
    with pytest.raises(MissingNeed, match="needs retain; needs a log"):
        attempts([route("npo", "needs retain"), route("retrain", "needs a log")], None, {})
