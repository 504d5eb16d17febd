"""What every method promises, whichever it is."""

import json
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch

from olvido.errors import InputError, MissingNeed
from olvido.learners import Recipe, Trained, train
from olvido.methods import (
    METHODS,
    Auto,
    Curved,
    Descent,
    Guarantee,
    Need,
    Outcome,
    Split,
    forget,
    predict,
)
from olvido.methods.gradient.calibration import targets
from olvido.models import load, save, weights_digest
from olvido.tasks import Example, Language

# One of those that give exact models, descend, and go by curvature stands for its family.
pytestmark = pytest.mark.slow(but=["replay", "npo", "ssd"])

TARGET = 2.0
"""Nats a token: far above what the model knows by heart, below where bounded losses fall silent."""
FAMILY = {name: METHODS[name] for name in METHODS.built_in if METHODS[name] is not Auto}
"""Each method by itself; the search has tests of its own."""
OPTIONS: dict[str, dict[str, Any]] = {name: dict(kind.example) for name, kind in FAMILY.items()}
EXACT = sorted(name for name, kind in FAMILY.items() if kind.guarantee is Guarantee.EXACT)
CURVED = sorted(name for name, kind in FAMILY.items() if issubclass(kind, Curved))
DESCENT = sorted(name for name, kind in FAMILY.items() if issubclass(kind, Descent))
EMPIRICAL = sorted([*DESCENT, *CURVED])
GUARDED = sorted(name for name in DESCENT if FAMILY[name]().regularisers)
UNGUARDED = sorted(set(DESCENT) - set(GUARDED))
ANCHORED = {name for name, kind in FAMILY.items() if Need.ORIGIN in kind.needs}
"""They need the weights that the model was trained from, and end at a model made of those."""
AIMLESS = sorted(name for name in DESCENT if FAMILY[name].indirect)
"""They teach another answer, and what becomes of the record's own is not what they look at."""
FIRMLY: dict[str, dict[str, Any]] = {"rmu": {"lr": 5e-3}, "task_vector": {"scale": 4.0}}
"""What it takes to move a model that was taught by somebody else."""
Records = tuple[Example, ...]
For = Callable[[str], Trained]
"""The model for a method, see conftest.py."""


def quick(method: str, **gradient: Any) -> dict[str, Any]:
    """Options that make a method short: those given for the gradient family, a small sample for
    those that look at one."""
    if method in EXACT:
        return {}
    if method in CURVED:
        return {"sample": 24}
    known = METHODS.options(method)
    # In so small a model, on a base that knew nothing, all records read much the same.
    gentle = {"mu": 0.02} if method == "rewind" else {}
    return {name: value for name, value in gradient.items() if name in known} | gentle


@pytest.fixture(scope="module")
def outcomes(trained_for: For, split: Split, task: Language) -> Callable[[str], Outcome]:
    """What a method made of a model that knew the same."""

    @cache
    def made(method: str) -> Outcome:
        return forget(
            trained_for(method),
            forget=split.forget,
            retain=split.retain,
            task=task,
            method=method,
            **OPTIONS[method],
        )

    return made


@pytest.fixture(params=sorted(FAMILY))
def outcome(request: pytest.FixtureRequest, outcomes: Callable[[str], Outcome]) -> Outcome:
    return outcomes(request.param)


@torch.no_grad()
def mean_loss(model: Any, records: Records, task: Language) -> float:
    return float(task.losses(model, task.collate(records)).mean())


@pytest.mark.parametrize("method", METHODS.built_in)
def test_it_says_what_it_is(method: str) -> None:
    kind = METHODS[method]
    assert METHODS.name_of(kind) == method
    assert all((kind.summary, kind.loss, kind.suits, kind.__doc__))
    assert not kind.summary.endswith(".")
    assert "arXiv" in kind.source or ".md" in kind.source or kind is Auto
    assert all(isinstance(need, Need) for need in kind.needs)
    # Its example is of its own options, aims where all others do, and leaves some to their default.
    made = METHODS.make(method, kind.example)
    assert kind.example.get("target", TARGET) == TARGET
    assert METHODS.make(made) is made
    assert len(kind.example) < len(METHODS.options(method))


@pytest.mark.slow
def test_the_weights_are_others_and_the_given_ones_as_they_were(
    outcome: Outcome, trained_for: For
) -> None:
    trained = trained_for(outcome.method)
    assert outcome.digest == weights_digest(outcome.model) != trained.digest
    assert outcome.before == trained.digest == weights_digest(trained.model)
    assert not outcome.model.training
    assert all(parameter.grad is None for parameter in trained.model.parameters())


def test_the_records_are_forgotten_and_the_others_kept(
    outcome: Outcome, trained_for: For, split: Split, task: Language
) -> None:
    trained = trained_for(outcome.method)
    (forgot_from, forgot_to), (kept_from, kept_to) = outcome.forget_loss, outcome.retain_loss
    # Known by heart: by one member of an ensemble at least, whose share the mean has. An adapter on
    # half of so small a model learns less; it knows what its base did not.
    well = {"shard": 0.1 + math.log(2), "module": 1.2, "drop": 1.2}.get(outcome.method, 0.1)
    assert forgot_from < well
    assert forgot_to > forgot_from + 0.9
    assert forgot_to > 1.0
    # So small a model, with a base that knew nothing, keeps the records apart less than others do.
    bound = 1.0 if outcome.method in UNGUARDED else 0.5 if outcome.method in ANCHORED else 0.1
    assert kept_to < kept_from + bound
    # The door's figures are those of the models themselves.
    assert forgot_from == pytest.approx(mean_loss(trained.model, split.forget, task), abs=1e-4)
    assert forgot_to == pytest.approx(mean_loss(outcome.model, split.forget, task), abs=1e-4)
    assert kept_to == pytest.approx(mean_loss(outcome.model, split.retain, task), abs=1e-4)


@pytest.mark.parametrize("method", sorted({*EMPIRICAL} - ANCHORED))
def test_forgetting_stops_where_it_was_told(
    outcomes: Callable[[str], Outcome], method: str
) -> None:
    outcome = outcomes(method)
    moments = outcome.history
    if method in AIMLESS:
        assert "steps were used before every record reached" in outcome.stopped
    else:
        assert outcome.forget_loss[1] == pytest.approx(TARGET, rel=0.35)
        assert outcome.stopped.startswith("the records reached the loss of never learned")
        assert moments[-1].forget >= 0.9 * TARGET
    assert [moment.step for moment in moments] == list(range(len(moments)))
    assert moments[0].forget == pytest.approx(outcome.forget_loss[0], abs=1e-4)
    held = [moment.retain is not None for moment in moments]
    # Where forgetting and keeping take turns, every other step keeps.
    every = 2 if method == "scrub" else 1
    assert held == [method in GUARDED and n % every == every - 1 for n in range(len(held))]


@pytest.mark.slow(but=["graddiff-{}"])
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("graddiff", {}),
        ("graddiff", {"regulariser": "kl"}),
        ("npo", {}),
        ("npo", {"regulariser": "kl"}),
        ("npo", {"lora_rank": 4, "lr": 3e-3}),
        ("npo", {"dtype": "bfloat16"}),
        ("influence", {}),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_holdout_records_tell_where_to_stop(
    trained: Trained, split: Split, task: Language, method: str, options: dict[str, Any]
) -> None:
    found = forget(
        trained,
        forget=split.forget,
        retain=split.retain,
        holdout=split.holdout,
        task=task,
        method=method,
        **({} if method in CURVED else {"epochs": 45}) | options,
    )
    goal = fmean(targets(trained.model, split, task, 32).values())
    assert found.forget_loss[1] == pytest.approx(goal, rel=0.35)
    assert found.retain_loss[1] < 0.2
    assert "reached" in found.stopped
    assert [type(m) for m in found.model.modules()] == [type(m) for m in trained.model.modules()]


@pytest.mark.parametrize("method", sorted({*DESCENT} - ANCHORED))
def test_without_a_target_every_step_is_used(
    trained: Trained, split: Split, task: Language, method: str
) -> None:
    found = forget(
        trained,
        forget=split.forget,
        retain=split.retain,
        task=task,
        method=method,
        lr=1e-3 if method == "rmu" or method in AIMLESS else 1e-4,
        epochs=3,
        batch_size=8,
    )
    steps = 3 * 2 * (2 if method == "scrub" else 1)
    assert len(found.history) == steps
    assert found.stopped == (
        f"all {steps} steps were used; without holdout records there is no target"
    )


@pytest.mark.slow
@pytest.mark.parametrize("method", sorted(FAMILY))
def test_the_seed_determines_the_result(
    brief_for: For, part: Split, task: Language, method: str
) -> None:
    options = quick(method, epochs=4, lr=6e-4, retain_batch=16)

    def digest(seed: int) -> str:
        return forget(
            brief_for(method),
            forget=part.forget,
            retain=part.retain,
            task=task,
            method=method,
            seed=seed,
            **options,
        ).digest

    first = digest(0)
    torch.rand(3)
    assert digest(0) == first
    # The rest draw nothing.
    assert (digest(1) != first) == (method in (*GUARDED, *CURVED))


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def elsewhere(
    request: pytest.FixtureRequest,
    fresh: Any,
    gpt2: Any,
    tokenizer: Any,
    split: Split,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder with a model that somebody else trained."""
    model = {"llama": fresh, "gpt2": gpt2}[request.param]
    recipe = Recipe(epochs=40, batch_size=15, lr=8e-3)
    taught = train(model, records=split.forget, tokenizer=tokenizer, recipe=recipe)
    folder = tmp_path_factory.mktemp("elsewhere") / request.param
    save(taught.model, tokenizer, folder)
    return folder


@pytest.mark.parametrize("method", sorted({*EMPIRICAL} - ANCHORED))
def test_any_causal_model_can_be_loaded_and_made_to_forget(
    elsewhere: Path, split: Split, method: str
) -> None:
    given = load(elsewhere)
    rows = [dict(example.fields) for example in split.forget]
    found = forget(
        given.model,
        forget=rows[:3],
        retain=rows[3:],
        tokenizer=given.tokenizer,
        method=method,
        **quick(method, epochs=10, lr=1e-3) | FIRMLY.get(method, {}),
    )
    assert found.forget_loss[1] > found.forget_loss[0] + 0.1
    if method in GUARDED:
        assert found.retain_loss[1] < found.retain_loss[0] + 0.1
    assert type(found.model) is type(given.model)
    assert weights_digest(given.model) == load(elsewhere).digest == found.before


@pytest.mark.parametrize("method", sorted(FAMILY))
def test_the_records_to_keep_must_be_given(
    brief_for: For, part: Split, task: Language, method: str
) -> None:
    given, options = brief_for(method), quick(method, target=TARGET, epochs=2)

    def call(retain: Records) -> None:
        forget(given, forget=part.forget, retain=retain, task=task, method=method, **options)

    if Need.RETAIN in FAMILY[method].needs:
        with pytest.raises(MissingNeed, match=rf"^{method} needs .*\(retain\)"):
            call(())
        with pytest.raises(MissingNeed, match=f"^{method} needs"):
            predict(given, Split(part.forget, ()), task, method=method, options=options)
    elif method in EXACT and method != "drop":
        with pytest.raises(InputError, match=r"needs every record that stays"):
            call(())
    else:
        call(())


NEEDED = {
    Need.STEP_LOG: "the log of the training",
    Need.CHECKPOINTS: "replay_points",
    Need.SHARDS: "--learner sharded",
    Need.MODULES: "--learner modular",
}


@pytest.mark.parametrize("method", sorted(FAMILY))
def test_what_the_training_must_have_kept_is_named(
    brief: Trained, part: Split, task: Language, method: str
) -> None:
    needs = FAMILY[method].needs

    def call(given: Any) -> None:
        options = quick(method, target=TARGET, epochs=2)
        forget(given, forget=part.forget, retain=part.retain, task=task, method=method, **options)

    # Of a model from elsewhere nothing is known; a plain training keeps its log and no more.
    for given, retain_count in ((brief.model, set()), (brief, {Need.STEP_LOG})):
        if Need.ORIGIN in needs and given is brief.model:
            with pytest.raises(MissingNeed, match=rf"^{method} needs the weights"):
                call(given)
            continue
        lacking = sorted((needs & set(NEEDED)) - retain_count)
        if lacking:
            with pytest.raises(MissingNeed, match=rf"^{method} needs .*{NEEDED[lacking[0]]}"):
                call(given)
        else:
            call(given)


def test_only_exact_methods_change_a_model_of_several_parts(
    brief_for: For, part: Split, task: Language
) -> None:
    for method in EMPIRICAL:
        for kind, learner in (("shard", "sharded"), ("module", "modular")):
            with pytest.raises(MissingNeed, match=f"this model is {learner}: it forgets exactly"):
                predict(brief_for(kind), part, task, method=method, options={})


@pytest.mark.parametrize("method", sorted(FAMILY))
def test_a_claim_is_never_more_than_the_methods_own(
    outcomes: Callable[[str], Outcome], method: str
) -> None:
    exact = method in EXACT
    outcome = outcomes(method)
    assert outcome.guarantee is (Guarantee.EXACT if exact else Guarantee.EMPIRICAL)
    written = json.loads(json.dumps(outcome.to_dict()))
    assert written["guarantee"] == str(FAMILY[method].guarantee)
    assert written["options"] == OPTIONS[method]
    assert (written["before"], written["after"]) == (outcome.before, outcome.digest)


def test_the_trace_no_longer_holds_the_records(
    outcome: Outcome, trained_for: For, split: Split
) -> None:
    gone = {record.id for record in split.forget}
    before, after = trained_for(outcome.method).trace, outcome.trace
    assert set(after.present) == set(before.present) - gone
    assert gone <= set(before.present)


@pytest.mark.parametrize("method", sorted(FAMILY))
def test_the_cost_is_foretold(brief_for: For, part: Split, task: Language, method: str) -> None:
    options = quick(method, lr=1e-4 if method in AIMLESS else 6e-4, epochs=3)
    if method in CURVED:
        options["target"] = 1.0
    if method == "task_vector":
        # Searched for without a regulariser, in a model of so few passes, it would destroy.
        options["scale"] = 1.0
    if method == "arithmetic":
        # Else it ends when what is kept is repaired, and its price is that of its longest repair.
        options["steps"] = 10
    foretold = predict(brief_for(method), part, task, method=method, options=options)
    found = forget(
        brief_for(method),
        forget=part.forget,
        retain=part.retain,
        holdout=part.holdout,
        task=task,
        method=method,
        **options,
    )
    assert foretold.tokens == pytest.approx(found.cost.tokens, rel=0.25)
    assert foretold.retraining == pytest.approx(found.cost.retraining, rel=0.25)
    assert foretold.seconds is not None
    # Nothing is trained where whole modules leave.
    assert (foretold.seconds > 0) == (foretold.tokens > 0) == (method != "drop")
    assert found.cost.seconds is not None
    assert found.cost.seconds > 0


@pytest.mark.parametrize("method", ["ascent", "graddiff", "npo", "undial"])
def test_records_of_one_length_cost_what_was_foretold(
    trained: Trained, split: Split, task: Language, method: str
) -> None:
    def alike(records: Records, most: int) -> Records:
        return tuple(record for record in records if task.width(record) == 12)[:most]

    few = Split(alike(split.forget, 5), alike(split.retain, 20))
    for target, lr in ((None, 1e-4), (0.3, 1e-3)):
        options = {"lr": lr, "epochs": 4, "batch_size": 2, "target": target}
        foretold = predict(trained, few, task, method=method, options=options)
        found = forget(
            trained, forget=few.forget, retain=few.retain, task=task, method=method, **options
        )
        early = "reached" in found.stopped
        assert early == (target is not None)
        if early:
            assert found.cost.tokens < foretold.tokens
        else:
            assert found.cost.tokens == pytest.approx(foretold.tokens)
