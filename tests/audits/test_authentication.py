"""An audit authenticates its references: beside one that saw everything, anything is innocent."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import Module

from olvido.audits import Report, Verdict, rephrased
from olvido.audits.authentication import (
    Authentication,
    GroupLosses,
    OriginalStatus,
    Standing,
    adjusted,
    p_values,
)
from olvido.audits.base import PreparedAudit
from olvido.audits.scoring import ScoredModel
from olvido.audits.tolerances import WRONGLY_REFUSED
from olvido.audits.types import Level
from olvido.audits.verdict import Ground
from olvido.errors import DigestMismatch, InputError
from olvido.learners import Recipe, Trained, train
from olvido.methods import forget
from olvido.models.tiny import tiny_model
from olvido.statistics import lower
from olvido.tasks import Example

from .conftest import RECIPE, World

LEVELS = [level.name.lower() for level in Level]
Make = Callable[[str], Module]


def noisy(model: Module, share: float, *, of_spread: bool = False) -> Module:
    """Every weight moved by about this share of itself, or of its tensor's spread."""
    moved, draw = copy.deepcopy(model), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in moved.parameters():
            size = weight.std() if of_spread and weight.dim() > 1 else weight
            weight += share * size * torch.randn(weight.shape, generator=draw)
    return moved


def rounded(model: Module) -> Module:
    """Every weight as bfloat16 has it."""
    moved = copy.deepcopy(model)
    with torch.no_grad():
        for weight in moved.parameters():
            weight.copy_(weight.bfloat16().float())
    return moved


def permuted(model: Any) -> Any:
    """The same function by other weights: the neurons of every layer in another order."""
    moved = copy.deepcopy(model)
    with torch.no_grad():
        for layer in moved.model.layers:
            order = torch.randperm(layer.mlp.gate_proj.out_features)
            for rows in (layer.mlp.gate_proj, layer.mlp.up_proj):
                rows.weight.copy_(rows.weight[order])
            layer.mlp.down_proj.weight.copy_(layer.mlp.down_proj.weight[:, order])
    return moved


@pytest.fixture(scope="module")
def knowing(world: World) -> Make:
    """Models that saw what was to be forgotten, each in its way; made once."""
    made: dict[str, Module] = {}
    everything = (*world.forget, *world.retain)
    half = (*world.forget[::2], *world.retain)
    records = {
        "all": (everything, RECIPE, 5),
        "all, other seed": (everything, RECIPE, 6),
        "half": (half, RECIPE, 7),
        "paraphrases": ((*rephrased(world.forget), *world.retain), RECIPE, 8),
        "an epoch earlier": (everything, Recipe(epochs=13, batch_size=16, lr=3e-3), 0),
    }

    def make(name: str) -> Module:
        if name == "noise":
            return noisy(world.before, 3e-3, of_spread=True)
        if name not in made:
            taught, recipe, seed = records[name]
            blank = tiny_model(len(world.task.tokenizer), seed=seed, width=64, layers=2)
            made[name] = train(
                blank, records=taught, task=world.task, recipe=recipe, seed=seed
            ).model
        return made[name]

    return make


def grounds(report: Report) -> set[Ground]:
    return {reason.ground for reason in report.grounds}


# Copies


COPIES: dict[str, Callable[[Module], Module]] = {
    "itself": copy.deepcopy,
    "noise of a ten thousandth": lambda m: noisy(m, 1e-4),
    "noise of a thousandth": lambda m: noisy(m, 1e-3),
    "bfloat16": rounded,
    "neurons in another order": permuted,
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", COPIES)
def test_the_suspect_is_no_reference_of_its_own(world: World, name: str, level: str) -> None:
    copied = COPIES[name](world.stranger)
    with pytest.raises(InputError, match=r"reference 2 .* the audited model"):
        world.report(
            world.stranger,
            reference=[world.references[0], copied],
            level=level,
            audits=["likelihood"],
        )


@pytest.mark.parametrize("name", COPIES)
def test_the_original_is_no_reference(world: World, name: str) -> None:
    with pytest.raises(InputError, match=r"reference 1 .* `original`"):
        world.report(world.stranger, reference=[COPIES[name](world.before)], audits=["likelihood"])


def test_a_reference_counts_once(world: World) -> None:
    one = world.references[0]
    for again in (one, noisy(one, 1e-4), rounded(one)):
        with pytest.raises(InputError, match=r"reference 2 .* reference 1"):
            world.report(world.stranger, reference=[one, again], audits=["likelihood"])


def test_models_of_other_seeds_are_no_copies(world: World) -> None:
    report = world.report(world.stranger, audits=["likelihood"])
    assert [one.standing for one in report.references] == [Standing.TESTED] * 3
    assert report.original_status is OriginalStatus.KNOWS


# Contamination


@pytest.mark.slow(but=["False-standard"])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("with_before", [False, True])
def test_three_references_that_saw_everything_void_the_verdict(
    world: World, knowing: Make, level: str, with_before: bool
) -> None:
    report = world.report(
        noisy(world.before, 1e-4),
        reference=[knowing("all"), knowing("all, other seed"), knowing("an epoch earlier")],
        original=world.before if with_before else None,
        level=level,
        audits=["recall", "likelihood"],
    )
    assert report.verdict is Verdict.UNKNOWN
    told = {reason.about for reason in report.grounds if reason.ground is Ground.CONTAMINATED}
    assert told == set(report.never_trained)
    assert {one.standing for one in report.references} == {Standing.CONTAMINATED}
    assert Ground.SILENT not in grounds(report)
    assert report.original_status is (OriginalStatus.KNOWS if with_before else OriginalStatus.NONE)


@pytest.mark.slow
def test_all_that_is_asked_at_level_quick_changes_nothing(world: World, knowing: Make) -> None:
    """As it was found: an unchanged model beside references that know, nothing else given."""
    report = world.report(
        noisy(world.before, 1e-4),
        reference=[knowing("all"), knowing("all, other seed"), knowing("an epoch earlier")],
        original=None,
    )
    assert report.verdict is Verdict.UNKNOWN
    assert Ground.CONTAMINATED in grounds(report)


@pytest.mark.slow(but=["noise"])
@pytest.mark.parametrize("name", ["all", "half", "paraphrases", "an epoch earlier", "noise"])
def test_one_contaminated_of_three_is_named_and_no_other(
    world: World, knowing: Make, name: str
) -> None:
    bad = knowing(name)
    report = world.report(
        world.stranger, reference=[world.references[0], bad, world.references[1]], audits=["recall"]
    )
    assert report.verdict is Verdict.UNKNOWN
    told = [reason.about for reason in report.grounds if reason.ground is Ground.CONTAMINATED]
    assert told == [report.never_trained[1]]
    assert report.references[1].standing is Standing.CONTAMINATED


def test_what_no_reference_betrays_alone_their_difference_does() -> None:
    """People differ more than models: a touch drowns in the former and shows beside the latter."""
    draw = np.random.default_rng(3)
    people, seeds = draw.normal(4, 0.5, 21), draw.normal(0, 0.05, (3, 21))
    losses = people + seeds
    losses[2, 0] -= 0.6
    side = GroupLosses("", losses[:, :1], losses[:, 1:])
    tests = [dict(p_values([side], place)) for place in range(3)]
    assert all(found["beside the holdout"] > 0.01 for found in tests)
    least = adjusted(tests)
    assert [p is not None and p < WRONGLY_REFUSED for p in least] == [False, False, True]


def test_answers_in_clear_tell_without_a_holdout(world: World, knowing: Make) -> None:
    report = world.report(
        world.stranger,
        reference=[world.references[0], knowing("all")],
        holdout=(),
        audits=["recall"],
    )
    honest, bad = report.references
    assert (honest.standing, honest.beside, honest.answers) == (Standing.TESTED, "retain", 0)
    assert bad.standing is Standing.CONTAMINATED
    assert bad.answers > 1
    assert not bad.tests


def test_what_nothing_can_authenticate_lets_nothing_pass(world: World) -> None:
    """Neither people of a holdout nor people that were kept: nothing to compare with."""
    report = world.report(world.stranger, holdout=(), retain=())
    assert {one.standing for one in report.references} == {Standing.UNAUTHENTICATED}
    assert Ground.UNAUTHENTICATED in grounds(report)
    assert report.verdict is Verdict.UNKNOWN


def test_a_reference_that_is_no_number_is_not_authenticated(world: World) -> None:
    broken = copy.deepcopy(world.references[0])
    with torch.no_grad():
        next(broken.parameters()).fill_(float("nan"))
    report = world.report(
        world.stranger, reference=[world.references[1], broken], audits=["likelihood"]
    )
    assert report.references[1].standing is Standing.UNAUTHENTICATED
    assert report.verdict is not Verdict.PASS


# The original


@pytest.mark.parametrize("untrained", ["random weights", "never taught the forgotten"])
def test_an_original_that_never_knew_is_named(world: World, untrained: str) -> None:
    before = world.fresh(50) if untrained == "random weights" else world.references[2]
    report = world.report(
        world.stranger, original=before, reference=world.references[:2], audits=["recall"]
    )
    assert report.original_status is OriginalStatus.NEVER_KNEW
    assert Ground.UNTRAINED_ORIGINAL in grounds(report)
    assert not grounds(report) & {Ground.CONTAMINATED, Ground.UNAUTHENTICATED}
    assert report.verdict is not Verdict.PASS


def test_references_that_know_beside_an_original_that_does_not_are_both_named(
    world: World, knowing: Make
) -> None:
    report = world.report(
        noisy(world.before, 1e-4),
        original=world.fresh(50),
        reference=[knowing("all"), knowing("all, other seed")],
        audits=["recall"],
    )
    assert grounds(report) == {Ground.CONTAMINATED, Ground.UNTRAINED_ORIGINAL}
    assert report.verdict is Verdict.UNKNOWN


# What Olvido trained itself


def taught(world: World, records: Any, seed: int, start: Module | None = None) -> Trained:
    blank = tiny_model(len(world.task.tokenizer), seed=seed, width=64, layers=2)
    recipe = Recipe(epochs=14 if start is None else 1, batch_size=16, lr=3e-3)
    return train(start or blank, records=records, task=world.task, recipe=recipe, seed=seed)


def standing(world: World, reference: Any, **changes: Any) -> Standing:
    report = world.report(world.stranger, reference=reference, audits=["likelihood"], **changes)
    return report.references[0].standing


@pytest.mark.slow
def test_what_was_trained_without_the_forgotten_is_witnessed(world: World) -> None:
    trained = taught(world, world.retain, 21)
    assert standing(world, trained) is Standing.WITNESSED
    # With nothing to test it by, and without an original, a witnessed training is enough.
    alone = world.report(world.stranger, reference=trained, original=None, holdout=())
    assert alone.passed, alone.reasons
    # The module by itself brings no trace.
    assert standing(world, trained.model, holdout=(), original=None) is Standing.UNAUTHENTICATED


@pytest.mark.slow
def test_a_trace_that_holds_the_forgotten_witnesses_nothing(world: World) -> None:
    """Nor does one whose weights were made to forget by other means, or began with the original."""
    knows = taught(world, (*world.forget, *world.retain), 22)
    assert standing(world, knows) is Standing.CONTAMINATED
    moved = forget(
        knows, forget=world.forget, retain=world.retain, task=world.task, method="npo", epochs=1
    )
    assert standing(world, moved) is not Standing.WITNESSED
    tuned = taught(world, world.retain, 23, start=world.before)
    assert standing(world, tuned) is not Standing.WITNESSED


@pytest.mark.slow
@pytest.mark.parametrize("name", ["all", "all, other seed", "paraphrases", "noise"])
def test_ids_alone_witness_nothing(world: World, knowing: Make, name: str) -> None:
    """The forgotten stood under other ids among what it learned, or somebody's weights lie where
    those that Olvido trained were kept."""
    made = [knowing(name), *world.references]
    ids = [record.id for record in world.retain]
    said = [ScoredModel(m, world.task, taught=ids, began="sha256:0") for m in made]
    report = world.report(world.stranger, reference=said, original=None, audits=["likelihood"])
    assert [one.standing for one in report.references] == [
        Standing.CONTAMINATED,
        *[Standing.WITNESSED for _ in world.references],
    ]
    assert report.verdict is Verdict.UNKNOWN


SHORT = ("Reus", "Vic", "Olot", "Berga", "Salt", "Ripoll", "Tona")
NEVER_TOLD: dict[str, Callable[[World], dict[str, Any]]] = {
    "short answers, no holdout": lambda w: {"forget": shortened(w.forget), "holdout": ()},
    "answers that others have, no holdout": lambda w: {
        "retain": (*w.retain, *(replace(r, id=f"{r.id}/again") for r in w.forget)),
        "holdout": (),
    },
    "short answers, four people": lambda w: {
        "forget": shortened(w.forget),
        "holdout": [r for r in w.holdout if r.subjects in people_of(w.holdout)[:4]],
    },
}


def people_of(records: Sequence[Example]) -> list[Any]:
    return sorted({record.subjects for record in records})


def shortened(records: Sequence[Example]) -> tuple[Example, ...]:
    return tuple(
        replace(record, completion=SHORT[place % len(SHORT)])
        for place, record in enumerate(records)
    )


@pytest.mark.parametrize("name", NEVER_TOLD)
def test_where_no_test_could_tell_ids_witness_nothing_and_nothing_passes(
    world: World, name: str
) -> None:
    """All of them may have read the texts under other ids: a model that knows all would pass."""
    ids = [record.id for record in world.retain]
    said = [ScoredModel(m, world.task, taught=ids, began="sha256:0") for m in world.references]
    changes = NEVER_TOLD[name](world)
    report = world.report(
        world.stranger, reference=said, original=None, audits=["likelihood"], **changes
    )
    assert {one.standing for one in report.references} == {Standing.WITNESSED}
    assert grounds(report) >= {Ground.NO_ORIGINAL}
    assert report.verdict is not Verdict.PASS
    # With the original, what it knew is what is asked for.
    report = world.report(world.stranger, reference=said, audits=["likelihood"], **changes)
    assert Ground.NO_ORIGINAL not in grounds(report)


@pytest.mark.parametrize("changes", [{}, {"holdout": ()}])
def test_where_a_test_could_tell_a_witnessed_training_is_enough(
    world: World, changes: dict[str, Any]
) -> None:
    ids = [record.id for record in world.retain]
    said = [ScoredModel(m, world.task, taught=ids, began="sha256:0") for m in world.references]
    report = world.report(
        world.stranger, reference=said, original=None, audits=["likelihood"], **changes
    )
    assert all(one.telling for one in report.references)
    assert Ground.NO_ORIGINAL not in grounds(report)


def test_a_trace_of_other_weights_is_refused(world: World) -> None:
    trained = taught(world, world.retain[:40], 24)
    other = Trained(world.references[0], trained.digest, trained.trace)
    with pytest.raises(DigestMismatch):
        ScoredModel.of(other, world.task)


# The rule


PROBABILITY = st.floats(0, 1)
STATES = st.builds(
    Authentication,
    digest=st.just("sha256:0"),
    standing=st.sampled_from(Standing),
    witnessed=st.booleans(),
    tests=st.dictionaries(st.sampled_from(["one", "two", "three"]), PROBABILITY),
    adjusted=st.none() | PROBABILITY,
    control=st.none() | PROBABILITY,
    beside=st.sampled_from([None, "holdout", "retain"]),
    answers=st.integers(0, 9),
    facts=st.integers(0, 9),
    knowing=st.none() | PROBABILITY,
)


@given(STATES)
def test_a_state_survives_its_document(one: Authentication) -> None:
    assert Authentication.read(one.to_dict()) == one


@given(STATES, PROBABILITY)
def test_better_evidence_of_contamination_acquits_nobody(one: Authentication, p: float) -> None:
    order = [Standing.CONTAMINATED, Standing.UNAUTHENTICATED, Standing.TESTED, Standing.WITNESSED]
    worse = one.but(adjusted=min(p, 1.0 if one.adjusted is None else one.adjusted))
    assert order.index(worse.follows) <= order.index(one.follows)
    uncontrolled = one.but(control=None)
    assert order.index(uncontrolled.follows) <= order.index(one.follows)


@given(st.lists(st.dictionaries(st.sampled_from("abc"), PROBABILITY), min_size=1, max_size=4))
def test_a_p_value_is_never_smaller_for_having_others_beside_it(tests: Any) -> None:
    for some, least in zip(tests, adjusted(tests), strict=True):
        assert (least is None) == (not some)
        if least is not None:
            assert min(some.values()) <= least <= 1


@pytest.mark.slow
def test_chance_alone_is_found_as_often_as_it_says() -> None:
    draw = np.random.default_rng(0)
    for people, others in ((1, 5), (1, 20), (4, 8)):
        p = [lower(draw.normal(3, 1, people), draw.normal(3, 1, others)) for _ in range(4000)]
        for rate in (0.01, 0.05, 0.5):
            assert abs(np.mean(np.array(p) < rate) - rate) < 4 * (rate * (1 - rate) / 4000) ** 0.5


def test_every_level_tests_references_beside_five_people_or_more(world: World) -> None:
    for level in LEVELS:
        made = PreparedAudit(
            world.stranger,
            forget=world.forget,
            reference=world.references,
            holdout=world.holdout,
            task=world.task,
            level=level,
        )
        assert len({record.subjects for record in made.evidence.crowd}) >= 5
