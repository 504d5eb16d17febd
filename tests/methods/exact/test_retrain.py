"""Training again without the records: equal, bit for bit, to never having had them."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch

from olvido.errors import EnvironmentMismatch, InputError, MissingNeed, StateError
from olvido.learners import Lora, Recipe, StepLog, Trained, train
from olvido.learners.parts import begin, carry_out, make_plan
from olvido.methods import Guarantee, Split, forget
from olvido.models import weights_digest
from olvido.tasks import Example, Language

Records = tuple[Example, ...]


@pytest.mark.parametrize(
    "change",
    [{}, {"accumulate": 2}, {"optimizer": "sgd"}, {"lora": Lora(rank=2, dropout=0.1)}],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_it_equals_a_run_that_never_had_them(
    gpt2: Any, split: Split, task: Language, change: dict[str, Any]
) -> None:
    # With dropout, which must fall alike on those who stay.
    recipe = Recipe(epochs=2, batch_size=4, lr=2e-3, **change)
    retain_count = split.retain[:20]
    taught = train(
        gpt2, records=(*split.forget[:3], *retain_count), task=task, recipe=recipe, seed=5
    )
    again = forget(
        taught, forget=split.forget[:3], retain=retain_count, task=task, method="retrain"
    )

    plan = make_plan((*split.forget[:3], *retain_count), task, recipe, seed=5)
    plan = plan.without(record.id for record in split.forget[:3])
    # It is given the kept records alone: no others can have reached it.
    job = begin(gpt2, retain_count, task, recipe=recipe, seed=5, plan=plan)
    never = carry_out([job])[0].model
    assert weights_digest(never) == again.digest != taught.digest
    assert again.guarantee is Guarantee.EXACT
    assert again.stopped == f"all {plan.total_steps} steps were run again"


@pytest.mark.slow
def test_one_after_the_other_equals_all_at_once(
    brief: Trained, part: Split, task: Language
) -> None:
    def retrain(given: Trained, gone: Records, retain_count: Records) -> Trained:
        found = forget(given, forget=gone, retain=retain_count, task=task, method="retrain")
        return Trained(found.model, found.digest, found.trace)

    first, second = part.forget[:5], part.forget[5:]
    once = retrain(brief, part.forget, part.retain)
    half = retrain(brief, first, (*second, *part.retain))
    twice = retrain(half, second, part.retain)
    assert twice.digest == once.digest != half.digest


def test_the_order_of_what_is_kept_matters_not(brief: Trained, part: Split, task: Language) -> None:
    digests = {
        forget(brief, forget=part.forget, retain=retain_count, task=task, method="retrain").digest
        for retain_count in (part.retain, part.retain[::-1])
    }
    assert len(digests) == 1


@pytest.mark.slow
def test_what_the_model_came_to_after_another_method_can_still_be_retrained(
    brief: Trained, part: Split, task: Language
) -> None:
    rough = forget(brief, forget=part.forget[:5], retain=part.retain, task=task, target=2.0)
    given = Trained(rough.model, rough.digest, rough.trace)
    found = forget(given, forget=part.forget[5:], retain=part.retain, task=task, method="retrain")
    once = forget(brief, forget=part.forget, retain=part.retain, task=task, method="retrain")
    assert found.digest == once.digest


def retrain(trained: Any, split: Split, task: Language, **change: Any) -> None:
    changed = replace(split, **change)
    forget(trained, forget=changed.forget, retain=changed.retain, task=task, method="retrain")


def test_a_model_that_came_from_elsewhere_cannot_be_retrained(
    trained: Trained, split: Split, task: Language
) -> None:
    with pytest.raises(MissingNeed, match="retrain needs the log of the training"):
        retrain(trained.model, split, task)


def test_every_record_that_stays_must_be_given(brief: Trained, part: Split, task: Language) -> None:
    first = part.retain[0].id
    with pytest.raises(InputError, match=rf"2 of 30 are missing from retain \(first: '{first}'\)"):
        retrain(brief, part, task, retain=part.retain[2:])


def test_strangers_cannot_be_forgotten(trained: Trained, split: Split, task: Language) -> None:
    with pytest.raises(InputError, match="1 records to leave out are not in this run"):
        retrain(trained, split, task, forget=(*split.forget, split.holdout[0]))


def test_where_everybody_leaves_the_base_model_is_left(
    trained: Trained, split: Split, task: Language, fresh: Any
) -> None:
    everybody = split.forget + split.retain
    left = forget(trained, forget=everybody, task=task, method="retrain")
    assert left.digest == weights_digest(fresh)


def test_another_environment_is_refused(trained: Trained, split: Split, task: Language) -> None:
    assert isinstance(trained.trace, StepLog)
    log = replace(trained.trace, environment={**trained.trace.environment, "torch": "1.0"})
    with pytest.raises(EnvironmentMismatch, match=r"torch: recorded '1\.0', here"):
        retrain(replace(trained, trace=log), split, task)


def test_an_origin_that_was_changed_is_refused(fresh: Any, split: Split, task: Language) -> None:
    origin = copy.deepcopy(fresh)
    recipe = Recipe(epochs=1, batch_size=16, lr=1e-3)
    taught = train(origin, records=split.forget, task=task, recipe=recipe)
    with torch.no_grad():
        next(origin.parameters()).mul_(1.5)
    gone, retain_count = split.forget[:1], split.forget[1:]
    with pytest.raises(StateError, match="were changed since"):
        forget(taught, forget=gone, retain=retain_count, task=task, method="retrain")
