"""The door: what is wrong is said before anything runs, and what went wrong is never returned."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch

from olvido.errors import InputError, ModelDestroyed, NotFinite, NothingChanged, UnknownName
from olvido.learners import Trained
from olvido.methods import (
    METHODS,
    NPO,
    Divergence,
    Guarantee,
    Outcome,
    RetainLikelihood,
    Split,
    forget,
    read_split,
)
from olvido.methods.gradient.descent import Descent
from olvido.models import weights_digest
from olvido.tasks import Example, Language

DESCENT = sorted(n for n in METHODS.built_in if issubclass(METHODS[n], Descent))
CURVED = sorted(
    n
    for n in METHODS.built_in
    if METHODS[n].guarantee is Guarantee.EMPIRICAL and n not in (*DESCENT, "auto")
)


class Untouchable(torch.nn.Module):
    """A model that must not be asked anything."""

    def forward(self, *arguments: Any, **options: Any) -> None:
        raise AssertionError("the model was run")


def refused(match: str, task: Language | None, **given: Any) -> None:
    with pytest.raises(InputError, match=match):
        forget(Untouchable(), task=task, **given)


def test_bad_records_are_refused_before_anything_runs(split: Split, task: Language) -> None:
    gone, retain_count, never = split.forget, split.retain, split.holdout
    refused("nothing to forget", task, forget=[], retain=retain_count)
    refused(
        r"1 records stand both in forget and in retain \(first: 'resident-000/home/6'\)",
        task,
        forget=gone,
        retain=(*retain_count, gone[0]),
    )
    refused(
        "both in forget and in holdout",
        task,
        forget=gone,
        retain=retain_count,
        holdout=(*never, gone[1]),
    )
    refused(
        "both in retain and in holdout",
        task,
        forget=gone,
        retain=retain_count,
        holdout=(*never, retain_count[1]),
    )
    refused(r"forget\[0\]: expected 'prompt'", task, forget=[{"label": 1}], retain=retain_count)
    refused(
        r"retain\[1\]: the id .* stands twice",
        task,
        forget=gone,
        retain=[retain_count[0], retain_count[0]],
    )
    refused("tokenizer or a task", None, forget=gone, retain=retain_count)


@pytest.mark.parametrize(
    ("method", "options", "match"),
    [
        ("ngo", {}, "unknown method 'ngo': did you mean 'npo'"),
        ("retrian", {}, "did you mean 'retrain'"),
        ("npo", {"betta": 1}, "unknown option of npo 'betta': did you mean 'beta'"),
        ("npo", {"learning_rate": 1}, "unknown option of npo"),
        ("simnpo", {"gama": 1}, "did you mean 'gamma'"),
        ("ascent", {"beta": 1}, "unknown option of ascent"),
        ("retrain", {"lr": 1}, "unknown option of retrain"),
        ("replay", {"definition": "tomb"}, "unknown definition 'tomb': did you mean 'tombstone'"),
        ("shard", {"workers": 0}, "workers must be at least 1"),
        ("npo", {"regulariser": "nl"}, "unknown regulariser 'nl': did you mean 'nll'"),
        ("npo", {"dtype": "bfloat"}, "did you mean 'bfloat16'"),
        ("npo", {"lr": 0.0}, "lr must be a positive number"),
        ("npo", {"epochs": 0}, "epochs must be at least 1"),
        ("npo", {"batch_size": 0}, "batch_size must be at least 1"),
        ("npo", {"retain_batch": 0}, "retain_batch must be at least 1"),
        ("npo", {"target": 0.0}, "target is a loss above 0"),
        ("npo", {"target": float("nan")}, "target is a loss above 0"),
        ("npo", {"lora_rank": 0}, "rank must be at least 1"),
        ("npo", {"regulariser": "nll+kll"}, "unknown regulariser 'kll': did you mean 'kl'"),
        ("npo", {"retain_weight": -1.0}, "retain_weight must be 0 or more"),
        ("npo", {"regulariser": "none", "project": True}, "needs a regulariser in the same step"),
        ("scrub", {"project": True}, "needs a regulariser in the same step"),
        ("graddiff", {"saturation": -1.0}, "exponents of 0 or more"),
        ("samnpo", {"radius": 0.0}, "radius must be above 0"),
        ("repselect", {"components": 0}, "components must be at least 1"),
        ("pdu", {"budget": -0.1}, "budget must be 0 or more"),
        ("altpo", {"beta": 0.0}, "beta must be above 0"),
        ("undial", {"strength": 0.0}, "strength must be above 0"),
        ("rmu", {"steer": 0.0}, "steer must be above 0"),
        ("task_vector", {"scale": 0.0}, "scale must be above 0"),
        ("task_vector", {"regulariser": "kl"}, "unknown option of task_vector 'regulariser'"),
    ],
)
def test_bad_options_are_refused_before_anything_runs(
    split: Split, task: Language, method: str, options: Mapping[str, Any], match: str
) -> None:
    refused(match, task, forget=split.forget, retain=split.retain, method=method, **options)


@pytest.mark.parametrize("method", sorted({*METHODS.built_in} - {"auto"}))
def test_every_option_listed_is_taken(method: str) -> None:
    known = METHODS.options(method)
    assert METHODS.make(method).summary
    if method in DESCENT:
        duration = "steps" if method in ELSEWHERE else "epochs"
        assert set(known) >= {duration, "lr", "batch_size", "target"}
    elif method in CURVED:
        assert set(known) >= {"sample", "strength", "target"}
    else:
        assert set(known) == {"definition", "workers"}
    values = {"lr": 1e-3, "regulariser": "kl", "dtype": "float32", "definition": "tombstone"}
    values |= {
        "project": False,
        "checkpointing": True,
        "inverse": "ekfac",
        "aimed": True,
        "factors": "shelf",
        "keep": 0.5,
    }
    METHODS.make(method, {name: values.get(name, 1) for name in known})


def test_a_splits_sides_are_apart(split: Split) -> None:
    rows = [dict(record.fields) for record in split.holdout]
    assert read_split(rows[:1], rows[1:2], rows[2:3]) == Split(
        split.holdout[:1], split.holdout[1:2], split.holdout[2:3]
    )


ELSEWHERE = {"arithmetic", "redistil", "rewind"}
"""They begin with other weights than the original ones, and count their steps of repair."""


@pytest.mark.parametrize("method", sorted({*DESCENT} - ELSEWHERE))
def test_a_rate_too_small_forgets_nothing_and_says_so(
    trained: Trained, split: Split, task: Language, method: str
) -> None:
    with pytest.raises(NothingChanged, match=r"Raise lr or epochs|raise lr or epochs"):
        forget(
            trained,
            forget=split.forget,
            retain=split.retain,
            task=task,
            method=method,
            lr=1e-12,
            epochs=1,
        )


def destroy(trained: Any, split: Split, task: Language) -> Outcome:
    return forget(
        trained,
        forget=split.forget,
        retain=split.retain,
        task=task,
        method="ascent",
        lr=0.05,
        epochs=60,
        target=1e9,
    )


def test_a_model_destroyed_comes_with_its_remains(
    trained: Trained, split: Split, task: Language
) -> None:
    with pytest.raises(ModelDestroyed, match="destroyed what should be kept") as caught:
        destroy(trained, split, task)
    outcome = caught.value.outcome
    assert isinstance(outcome, Outcome)
    assert outcome.digest == weights_digest(outcome.model) != outcome.before
    assert outcome.retain_loss[1] > outcome.retain_loss[0] + 1
    assert weights_digest(trained.model) == trained.digest


def test_a_loss_that_is_no_number_is_never_returned(
    trained: Trained, split: Split, task: Language
) -> None:
    model = copy.deepcopy(trained.model)
    with torch.no_grad():
        next(model.parameters())[5, 5] = float("inf")
    with pytest.raises(NotFinite, match="before anything was forgotten"):
        forget(model, forget=split.forget, retain=split.retain, task=task)


@pytest.mark.slow(but=["replay", "npo", "ssd"])
@pytest.mark.parametrize("method", sorted({*METHODS.built_in} - {"auto"}))
@pytest.mark.parametrize("training", [False, True])
def test_the_caller_notices_nothing(
    brief_for: Callable[[str], Trained],
    part: Split,
    task: Language,
    method: str,
    training: bool,
) -> None:
    brief = brief_for(method)
    options = {"lr": 1e-3, "target": 1.0} if method in DESCENT else {}
    if method in DESCENT:
        options["epochs" if METHODS[method].ends else "steps"] = 2
    options |= {"keep": 0.95} if method == "redistil" else {}
    options |= {"mu": 0.1} if method == "rewind" else {}
    options |= {"sample": 24} if method in CURVED else {}
    model = copy.deepcopy(brief.model).train(training)
    given = replace(brief, model=model)
    state = torch.get_rng_state()
    forget(given, forget=part.forget, retain=part.retain, task=task, method=method, **options)
    assert model.training == training
    assert weights_digest(model) == brief.digest
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.are_deterministic_algorithms_enabled()


def test_records_that_the_log_does_not_know_are_refused_before_the_first_step(
    trained: Trained, split: Split, task: Language
) -> None:
    steps: list[Any] = []
    stranger = Example("stranger", "Where does nobody live?", "Nowhere")
    with pytest.raises(InputError, match="not in this run"):
        forget(
            trained,
            forget=[*split.forget, stranger],
            retain=split.retain,
            task=task,
            watch=steps.append,
        )
    assert not steps


def test_unknown_names_are_input_errors() -> None:
    assert issubclass(UnknownName, InputError)


def test_a_name_a_class_and_an_object_are_the_same_method(
    brief_for: Callable[[str], Trained], part: Split, task: Language
) -> None:
    def found(method: Any, **options: Any) -> Outcome:
        given = {"forget": part.forget, "retain": part.retain, "task": task}
        return forget(brief_for("npo"), **given, method=method, **options)

    told = {"lr": 1e-3, "epochs": 2, "regulariser": "kl+nll"}
    first = found("npo", **told)
    made = NPO(lr=1e-3, epochs=2, regulariser=[Divergence, RetainLikelihood()])
    again = found(made)
    assert again.digest == first.digest == found(NPO, **told).digest
    assert (again.method, again.options) == ("npo", told | {"regulariser": ["kl", "nll"]})
    # An object keeps nothing of a run.
    assert found(made).digest == first.digest
    assert found("npo", **told | {"regulariser": Divergence}).options["regulariser"] == "kl"

    class Odd(NPO):
        scale: Any = None

    odd = found(Odd(lr=1e-3, epochs=2, scale=object()))
    assert odd.method.endswith(
        ":test_a_name_a_class_and_an_object_are_the_same_method.<locals>.Odd"
    )
    with pytest.raises(InputError, match=r"the option 'scale' of .*Odd is a object"):
        odd.to_dict()


def test_advice_names_options_that_the_method_has(
    brief: Trained, part: Split, task: Language
) -> None:
    given = {"forget": part.forget, "retain": part.retain, "task": task}
    with pytest.raises(ModelDestroyed, match=r"Lower lr or scale, or give") as caught:
        forget(brief, **given, method="arithmetic", scale=2.0, steps=0)
    assert caught.value.outcome is not None
    assert "epochs" not in str(caught.value)
    with pytest.raises(NothingChanged, match=r"as it was: raise lr or mu$"):
        forget(brief, **given, method="rewind", mu=0.0, steps=0)
