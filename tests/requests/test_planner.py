"""The plan: every method priced, refusals explained, and the order of attempts."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from olvido.demo.residents import make_town
from olvido.errors import MissingNeed, StateError
from olvido.learners import Recipe, Trained, train
from olvido.ledger.facts import Guarantee
from olvido.methods import METHODS, Cost, Need, Split, predict
from olvido.models.tiny import tiny_model, tiny_tokenizer
from olvido.requests import Route, choose, locate, receive, routes
from olvido.requests.flow import ProbeSets, _split
from olvido.requests.planner import EMPIRICAL, ROOTED
from olvido.schemas.plan import Base
from olvido.tasks import Example, Labels, Language, examples
from olvido.training.traces.steps import Origin
from olvido.workspace import SERVING, Workspace

Opened = Callable[[Any], tuple[Any, Workspace]]


EXACT = ("drop", "module", "shard", "replay", "retrain")


def route(method: str, refusal: str | None = None, *, tokens: float = 1.0) -> Route:
    cost = None if refusal else Cost(tokens, tokens, tokens / 100)
    guarantee = Guarantee.EXACT if method in EXACT else Guarantee.EMPIRICAL
    return Route(method, guarantee, "summary", cost, refusal)


def _no_command(text: str) -> str:
    return re.sub("'olvido [^']*'", "", text)


def test_all_methods_are_priced_the_cheapest_first(ready: Any, opened: Opened) -> None:
    place, workspace = opened(ready)
    request = receive(workspace, place.town.data_subject.name)
    held = workspace.load(SERVING)
    lineage = locate(workspace, request.id)
    split = _split(workspace, held, [lineage], ProbeSets())
    found = routes(held.trained, split, held.task)
    assert {r.method for r in found} == set(METHODS)
    costs = [r.cost.tokens for r in found if r.cost is not None]
    assert costs == sorted(costs)
    by_name = {r.method: r for r in found}
    again = by_name["retrain"].way.to_dict()
    assert (again["guarantee"], again["applies"]) == ("exact", True)
    assert again["share_of_retraining"] == pytest.approx(1.0)
    # What the model is not made for is named with what would make it so.
    for name, made in (
        ("shard", "'olvido learn --learner sharded'"),
        ("module", "'olvido learn --learner modular'"),
        ("drop", "'olvido learn --learner modular'"),
        ("replay", "'olvido learn --option replay_points=4'"),
        ("auto", "'olvido request plan --holdout DATASET'"),
    ):
        assert made in str(by_name[name].refusal)
    # And nothing by what a function calls it: a plan is read by who calls none.
    for refusal in (r.refusal for r in found if r.refusal):
        assert not re.search(r"\((holdout|reference|retain|options)\)|[{}=]", _no_command(refusal))
    # Where nothing is known of the training, it cannot be run again; the rest still applies.
    untraced = {r.method: r for r in routes(Trained.untraced(held.trained.model), split, held.task)}
    assert "training" in str(untraced["retrain"].refusal)
    anchored = {name for name, kind in METHODS.items() if Need.ORIGIN in kind.needs}
    assert all("'olvido models add --base MODEL'" in str(untraced[n].refusal) for n in anchored)
    assert {n for n, r in untraced.items() if r.refusal} == {*EXACT, "auto", *anchored}


def names(found: list[Route], **how: Any) -> list[str]:
    return [name for name, _ in choose(found, **how).order]


def test_the_empirical_method_comes_first_where_it_is_cheaper() -> None:
    found = [route(name) for name in ("ascent", EMPIRICAL)] + [route("retrain", tokens=50)]
    assert names(found) == [EMPIRICAL, "retrain"]
    assert "left for when the audit fails" in choose(found).because


def test_an_exact_method_comes_alone_where_it_costs_no_more() -> None:
    found = [route(EMPIRICAL, tokens=5), route("shard", tokens=4), route("retrain", tokens=50)]
    assert names(found) == ["shard"]
    because = choose(found).because
    assert "shard (about 4.0 s, 4.0% of retraining) is exact and no dearer than " in because


def test_the_cheapest_exact_method_that_meets_the_deadline() -> None:
    found = [route(EMPIRICAL), route("replay", tokens=30), route("retrain", tokens=50)]
    assert names(found, within=40) == ["replay"]
    assert "fits into 40 s" in choose(found, within=40).because
    assert names(found, within=20) == [EMPIRICAL, "replay"]
    assert "does not fit into 20 s" in choose(found, within=20).because


def test_where_no_empirical_method_applies_the_cheapest_exact_one_is_left() -> None:
    found = [route(EMPIRICAL, "is sharded"), route("shard", tokens=3), route("retrain", tokens=9)]
    assert names(found) == ["shard"]
    assert names(found, within=1) == ["shard"]
    assert "no method applies that would fit into 1.0 s" in choose(found, within=1).because


@pytest.mark.parametrize(("width", "rate"), [(None, 1e-3), (16, 1e-3), (512, 1e-3 / 4)])
def test_a_classifier_has_a_rate_of_its_own(width: int | None, rate: float) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 2))
    if width is not None:
        model.config = SimpleNamespace(hidden_size=width)
    rows = examples([{"id": str(n), "input": [n, 1, 0], "label": n % 2} for n in range(8)])
    trained = train(model, records=rows, task=Labels(2), recipe=Recipe(epochs=1, batch_size=4))
    found = routes(trained, Split(rows[:2], rows[2:], ()), Labels(2))
    (options,) = (r.options for r in found if r.method == EMPIRICAL)
    assert options["lr"] == pytest.approx(rate)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("base", "taught", "found_of_it"),
    [
        # A base that speaks and knows nobody; one that knows them; one that cannot speak.
        ("others", "people", Base.CLEAN), ("people", "people", Base.KNOWS),
        (None, "people", Base.UNINFORMED),
        # One of the two who leave.
        ("both", "people", Base.KNOWS),
    ],
)  # fmt: skip
def test_where_a_base_knows_the_language_and_nobody_forgetting_begins_there(
    base: str | None, taught: str, found_of_it: Base
) -> None:
    tokenizer = tiny_tokenizer()
    task = Language(tokenizer)

    def of(seed: int) -> tuple[Example, ...]:
        town = make_town(seed=seed, residents=4, outsiders=0, wordings=2)
        return tuple(e for one in town.residents for e in examples(town.rows_of(one)))

    records = {"people": of(0), "others": of(1)}
    leaving = list(dict.fromkeys(e.subjects for e in records["people"]))[:2]
    known = [replace(e, id=f"known {e.id}") for e in records["people"] if e.subjects == leaving[1]]
    records["both"] = (*records["others"], *known)
    recipe = Recipe(epochs=16, batch_size=8, lr=4e-3)
    begun = tiny_model(len(tokenizer), seed=0, width=48, layers=1).eval()
    if base is not None:
        begun = train(begun, records=records[base], task=task, recipe=recipe).model
    trained = train(begun, records=records[taught], task=task, recipe=recipe)
    split = Split(
        tuple(e for e in records["people"] if e.subjects in leaving),
        tuple(e for e in records["people"] if e.subjects not in leaving),
    )
    found = routes(trained, split, task)
    preferred = ROOTED if found_of_it is Base.CLEAN else EMPIRICAL
    assert [r.method for r in found if r.preferred] == [preferred]
    assert {r.method: r.base for r in found if r.base} == {ROOTED: found_of_it}
    chosen = choose([r for r in found if r.guarantee is not Guarantee.EXACT]).chosen
    assert (chosen.base, chosen.order[0]) == (found_of_it, preferred)


def test_why_a_base_was_passed_over_is_in_the_plan() -> None:
    rows = examples([{"id": str(n), "prompt": "Who?", "completion": f"{n}"} for n in range(4)])
    task = Language(tiny_tokenizer())
    model = tiny_model(len(task.tokenizer), seed=0, width=48, layers=1).eval()

    def gone() -> torch.nn.Module:
        raise StateError("it was changed")

    trained, labels = Trained.untraced(model), Labels(2)
    known = Origin(gone, "sha256:0")
    arrays = examples([{"id": str(n), "input": [n, 1, 0], "label": n % 2} for n in range(4)])
    scores = Trained.untraced(torch.nn.Sequential(torch.nn.Linear(3, 2)))
    for given, split, how, expected in (
        (trained, Split(rows[:2], rows[2:]), task, Base.UNKNOWN),
        (trained, Split(rows[:2], (), origin=known), task, Base.NOTHING_KEPT),
        (trained, Split(rows[:2], rows[2:], origin=known), task, Base.GONE),
        (scores, Split(arrays[:2], arrays[2:]), labels, Base.CLASSES),
    ):
        found = {r.method: r for r in routes(given, split, how)}
        assert found[ROOTED].base is expected
        # The reader is told, where something is tried that the base would have been for.
        one = [replace(found[ROOTED], cost=None), route(EMPIRICAL), route("retrain", tokens=9)]
        assert choose(one).chosen.base is expected
        assert f"{ROOTED} is passed over: " in choose(one).because
        assert "passed over" not in choose(one, method=EMPIRICAL).because
        exact = [one[0], route(EMPIRICAL, tokens=9), route("retrain")]
        assert (choose(exact).base, "passed over" in choose(exact).because) == (expected, False)


def test_the_preferred_method_comes_first_and_the_other_where_no_exact_one_is() -> None:
    rooted = replace(route(ROOTED, tokens=2), preferred=True)
    found = [route(EMPIRICAL), rooted, route("retrain", tokens=50)]
    assert names(found) == [ROOTED, "retrain"]
    assert names(found[:2]) == [ROOTED, EMPIRICAL]
    assert f"{EMPIRICAL} (about 1.0 s, 1.0% of retraining) is left for" in choose(found[:2]).because
    lacking = replace(route(ROOTED, "the base is gone"), preferred=True)
    assert names([lacking, *found[::2]]) == [EMPIRICAL, "retrain"]
    # Its own price decides, not that of the other.
    dear = replace(rooted, cost=Cost(60.0, 60.0, 0.6))
    assert names([dear, *found[::2]]) == ["retrain"]


def test_a_tie_goes_to_the_less_sweeping_method() -> None:
    assert names([route("retrain"), route("replay")]) == ["replay"]


def test_a_search_is_told_the_time_there_is_and_leaves_an_exact_method() -> None:
    found = [route(EMPIRICAL), route("auto", tokens=3), route("retrain", tokens=9)]
    chosen = choose(found, method="auto", within=7.0)
    assert chosen.order == (("auto", {"within": 7.0}), ("retrain", {}))
    assert "auto (about 3.0 s, 3.0% of retraining) was asked for" in chosen.because
    assert "price of one trial" in chosen.because
    assert "retrain is left for when none does, or the audit fails" in chosen.because
    asked = choose(found, method="auto", options={"within": 2.0}, within=7.0)
    assert asked.order[0] == ("auto", {"within": 2.0})
    assert choose(found, method=EMPIRICAL, within=7.0).order[0] == (EMPIRICAL, {})


def test_what_was_asked_for_comes_first_with_its_options() -> None:
    found = [route(EMPIRICAL), route("ascent"), route("retrain", tokens=9)]
    chosen = choose(found, method="ascent", options={"lr": 1})
    assert chosen.order == (("ascent", {"lr": 1}), ("retrain", {}))
    assert chosen.because == "ascent was asked for"
    assert names(found, method="retrain") == ["retrain"]


def test_a_method_that_does_not_apply_is_refused_by_name() -> None:
    found = [route(EMPIRICAL, "needs retain"), route("graddiff"), route("retrain", "needs a log")]
    with pytest.raises(MissingNeed, match="needs a log"):
        choose(found, method="retrain")


def test_no_method_applies() -> None:
    with pytest.raises(MissingNeed, match="needs retain; needs a log"):
        choose([route(EMPIRICAL, "needs retain"), route("retrain", "needs a log")])


def test_what_an_audit_needs_is_part_of_an_empirical_methods_price() -> None:
    found = [route(EMPIRICAL, tokens=10), route("retrain", tokens=80)]
    assert names(found) == [EMPIRICAL, "retrain"]
    assert "retrain (about 80 s, 80.0% of retraining) is exact but dearer" in choose(found).because
    # All that may have to be paid, and of a single way its own price.
    assert choose(found).most == Cost(90, 90, 0.9)
    few, enough = Cost(69, 69, 0.69), Cost(70, 70, 0.7)
    assert names(found, evidence=few) == [EMPIRICAL, "retrain"]
    assert choose(found, evidence=few).most == Cost(159, 159, pytest.approx(1.59))
    assert choose(found, evidence=few).chosen.most_seconds == 159
    exact = choose(found, evidence=enough)
    assert [name for name, _ in exact.order] == ["retrain"]
    assert exact.most == Cost(80, 80, 0.8)
    assert "the never-trained models that its audit needs (about 70 s" in exact.because
    # Who asks for a method by name pays for its audit.
    assert choose(found, method=EMPIRICAL, evidence=enough).most == Cost(
        160, 160, pytest.approx(1.6)
    )
    # Where no exact way applies it is all that is left, whatever it costs.
    found[1] = route("retrain", "needs a log")
    assert names(found, evidence=enough) == [EMPIRICAL]


def test_a_deadline_that_nothing_meets_does_not_make_the_dearer_way_the_first() -> None:
    found = [route(EMPIRICAL, tokens=10), route("retrain", tokens=80)]
    assert names(found, within=40, evidence=Cost(240, 240, 2.4)) == ["retrain"]
    because = choose(found, within=40, evidence=Cost(240, 240, 2.4)).because
    assert "does not fit into 40 s" in because
    assert names(found, within=80, evidence=None) == ["retrain"]


def test_where_something_tells_when_to_stop_a_method_is_given_the_passes_to_get_there(
    ready: Any, opened: Opened
) -> None:
    place, workspace = opened(ready)
    held = workspace.load(SERVING)
    lineage = locate(workspace, receive(workspace, place.town.data_subject.name).id)
    aimless = _split(workspace, held, [lineage], ProbeSets())
    assert not aimless.holdout
    aimed = Split(aimless.forget, aimless.retain, aimless.retain[:4])
    without, given = (
        next(r for r in routes(held.trained, split, held.task) if r.method == EMPIRICAL)
        for split in (aimless, aimed)
    )
    assert "epochs" not in without.options
    assert given.options["epochs"] > 30
    # The price is that of what is run.
    assert given.cost == predict(
        held.trained, aimed, held.task, method=EMPIRICAL, options=given.options
    )
    assert choose([given]).order == ((EMPIRICAL, dict(given.options)),)
    # Named or not: what was priced is what is tried, but for what is asked otherwise.
    assert choose([given], method=EMPIRICAL).order == choose([given]).order
    ((_, asked),) = choose([given], method=EMPIRICAL, options={"epochs": 7}).order
    assert asked == {**given.options, "epochs": 7}
