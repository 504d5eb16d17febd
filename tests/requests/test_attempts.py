"""A failed audit leads to the next method in the plan, and a passed one ends it."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from olvido.audits import Verdict
from olvido.ledger.facts import Guarantee
from olvido.methods import METHODS, Cost, Split
from olvido.requests import ProbeSets, Route, choose
from olvido.requests.attempts import tried
from olvido.requests.guidance import concluded_as
from olvido.requests.planner import EMPIRICAL
from olvido.requests.types import Attempt
from olvido.schemas.options import RunOptions

PRICES = {EMPIRICAL: 10.0, "retrain": 80.0}
PATH = (EMPIRICAL, "retrain")


@pytest.fixture
def verdicts(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, bool]:
    """What the audit shall say of each method; nothing is trained."""
    said: dict[str, bool] = {}

    def forget(*_: Any, method: str, **__: Any) -> Any:
        return SimpleNamespace(model=method, guarantee=METHODS[method].guarantee)

    def audit(outcome: Any, **_: Any) -> Any:
        verdict = Verdict.PASS if said[outcome.model] else Verdict.UNKNOWN
        return SimpleNamespace(passed=said[outcome.model], reasons=(), verdict=verdict)

    monkeypatch.setattr("olvido.requests.attempts.forget", forget)
    monkeypatch.setattr("olvido.requests.attempts.audit", audit)
    monkeypatch.setattr("olvido.requests.attempts.ScoredModel.of", lambda *_: None)
    never = SimpleNamespace(scored=None)
    monkeypatch.setattr("olvido.requests.attempts.never_trained", lambda *_, **__: (never,))
    return said


@pytest.mark.parametrize(
    ("passing", "path"),
    [({EMPIRICAL}, PATH[:1]), ({"retrain"}, PATH), (set(), PATH)],
)
def test_the_methods_follow_each_other_until_one_passes(
    verdicts: dict[str, bool], passing: set[str], path: tuple[str, ...]
) -> None:
    verdicts |= {name: name in passing for name in PRICES}
    routes = [
        Route(name, METHODS[name].guarantee, "", Cost(price, price, price / 100), None)
        for name, price in PRICES.items()
    ]
    held: Any = SimpleNamespace(trained=SimpleNamespace(model=None), task=None)
    attempts, never = tried(
        held,
        held,
        Split((), (), ()),
        choose(routes),
        how=RunOptions(),
        probes=ProbeSets(),
        stage=lambda _: None,
    )
    assert tuple(attempt.method for attempt in attempts) == path
    # What is exact stands where its audit could not decide: it is the last.
    exact = METHODS[path[-1]].guarantee is Guarantee.EXACT
    assert attempts[-1].passed is (exact or path[-1] in passing)
    assert not any(attempt.passed for attempt in attempts[:-1])
    assert len(never) == 1


@pytest.mark.parametrize("guarantee", [*Guarantee])
@pytest.mark.parametrize("verdict", [*Verdict, None])
def test_what_an_attempt_comes_to_is_said_as_it_was_decided(
    guarantee: Guarantee, verdict: Verdict | None
) -> None:
    audit = {"verdict": verdict, "reasons": ["it was asked too little"]}
    report: Any = verdict and SimpleNamespace(
        verdict=verdict, passed=verdict is Verdict.PASS, to_dict=lambda **_: audit
    )
    outcome: Any = SimpleNamespace(guarantee=guarantee, to_dict=lambda: {"guarantee": guarantee})
    attempt = Attempt("npo", {}, outcome, report, None)
    if guarantee is Guarantee.DESTROYED:
        # No method destroys: it is a request of its own.
        return
    says = concluded_as(attempt.to_dict())
    assert says.startswith("not published") is not attempt.passed
    # What nobody can see by asking is never said to rest on the audit.
    assert ("by construction" in says) is (guarantee is Guarantee.EXACT)
    if verdict is Verdict.FAIL or verdict is Verdict.UNKNOWN:
        assert "it was asked too little" in says
