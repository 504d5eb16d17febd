"""The weights that a model was trained from are found in its trace, or given and checked."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from olvido.errors import InputError, MissingNeed, StateError
from olvido.learners import Declared, Edited, Lora, Recipe, Trained, train
from olvido.learners.parts import itself
from olvido.methods import Need, Outcome, Split, forget, predict
from olvido.methods.gradient.calibration import targets
from olvido.methods.origin.weights import module_of, origin_for, without_effect
from olvido.models import load, save, weights_digest
from olvido.tasks import Language
from olvido.tasks.scoring import losses_of
from olvido.training.recipe import attach
from olvido.training.traces.chain import Continued
from olvido.training.traces.steps import Origin

SHORT = Recipe(epochs=1, batch_size=16, lr=1e-3)


@pytest.fixture(scope="module")
def ids(part: Split) -> set[str]:
    return {record.id for record in part.forget}


def test_a_log_knows_where_its_training_began(brief: Trained, fresh: Any, ids: set[str]) -> None:
    found = origin_for(brief, None, ids)
    assert found is not None
    assert found.digest == weights_digest(fresh)
    # An earlier forgetting leaves it as it is.
    later = replace(brief, trace=Edited.of(brief.trace).without(list(ids)[:1]))
    again = origin_for(later, None, ids)
    assert again is not None
    assert again.digest == found.digest


def test_of_a_chain_it_is_the_last_model_that_had_not_learned_them(
    fresh: Any, part: Split, task: Language, ids: set[str]
) -> None:
    first = train(fresh, records=part.retain[:15], task=task, recipe=SHORT)
    late = train(first, records=part.forget, task=task, recipe=SHORT)
    found = origin_for(late, None, ids)
    assert found is not None
    assert found.digest == first.digest
    early = origin_for(late, None, {part.retain[0].id})
    assert early is not None
    assert early.digest == weights_digest(fresh)
    # Where the first model is gone, the chain began where its first training did.
    assert isinstance(late.trace, Continued)
    gone = origin_for(replace(late, trace=replace(late.trace, kept=False)), None, ids)
    assert gone is not None
    assert gone.digest == weights_digest(fresh)


def test_of_a_model_from_elsewhere_it_must_be_given(
    brief: Trained, fresh: Any, part: Split, task: Language, ids: set[str], tmp_path: Path
) -> None:
    assert origin_for(Trained.untraced(brief.model), None, ids) is None
    with pytest.raises(MissingNeed, match=r"^arithmetic needs the weights .*\(base\)"):
        forget(brief.model, forget=part.forget, retain=part.retain, task=task, method="arithmetic")
    folder = tmp_path / "base"
    save(fresh, task.tokenizer, folder)
    for given in (fresh, load(folder), folder, str(folder)):
        found = origin_for(Trained.untraced(brief.model), given, ids)
        assert found is not None
        assert found.digest == weights_digest(fresh)
        assert weights_digest(module_of(found)) == found.digest


def test_a_declared_base_counts(brief: Trained, fresh: Any, ids: set[str]) -> None:
    origin = Origin(partial(itself, fresh), weights_digest(fresh))
    declared = replace(brief, trace=Declared(brief.trace.present, origin))
    assert origin_for(declared, None, ids) is origin
    assert origin_for(replace(brief, trace=Declared(brief.trace.present)), None, ids) is None


def test_a_base_that_cannot_be_one_is_refused(
    brief: Trained, gpt2: Any, fresh: Any, ids: set[str]
) -> None:
    untraced = Trained.untraced(brief.model)
    with pytest.raises(InputError, match=r"has the weights of the model itself"):
        origin_for(untraced, copy.deepcopy(brief.model), ids)
    with pytest.raises(InputError, match=r"not the base of this model.*expected .*, got .*: give"):
        origin_for(untraced, gpt2, ids)
    other = copy.deepcopy(fresh)
    with torch.no_grad():
        next(other.parameters()).add_(1.0)
    with pytest.raises(InputError, match=r"was trained from the weights sha256:.*\(base\)"):
        origin_for(brief, other, ids)


def test_a_base_that_was_changed_since_is_found_out(
    brief: Trained, fresh: Any, ids: set[str]
) -> None:
    changed = copy.deepcopy(fresh)
    found = origin_for(Trained.untraced(brief.model), changed, ids)
    assert found is not None
    with torch.no_grad():
        next(changed.parameters()).add_(1.0)
    with pytest.raises(StateError, match="changed since"):
        module_of(found)


def test_of_an_adapter_it_is_the_base(
    fresh: Any, part: Split, task: Language, ids: set[str]
) -> None:
    adapter = attach(copy.deepcopy(fresh), Lora(rank=4, alpha=8), seed=0)
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    before = weights_digest(adapter)
    bare = without_effect(adapter)
    records = part.forget[:4]
    expected = losses_of(fresh, records, task, 4)
    assert losses_of(bare, records, task, 4) == pytest.approx(expected, abs=1e-5)
    assert losses_of(adapter, records, task, 4) != pytest.approx(expected, abs=1e-2)
    assert weights_digest(adapter) == before
    found = origin_for(Trained(adapter, before, Declared(tuple(ids))), None, ids)
    assert found is not None
    assert found.digest == weights_digest(fresh)


@pytest.mark.filterwarnings("ignore:`lora_bias=True` was passed")
@pytest.mark.parametrize("kind", ["use_dora", "lora_bias"])
def test_of_an_adapter_with_more_than_its_matrices_nothing_is_known(
    fresh: Any, ids: set[str], kind: str
) -> None:
    """Without its two matrices it is not its base yet: it would still answer as it was taught."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=2, target_modules=["down_proj"], **{kind: True})
    adapted = get_peft_model(copy.deepcopy(fresh), config)
    trained = Trained(adapted, weights_digest(adapted), Declared(frozenset(ids)))
    assert origin_for(trained, None, ids) is None


@pytest.mark.parametrize("method", ["arithmetic", "redistil", "rewind"])
def test_what_is_frozen_stays(
    fresh: Any, part: Split, task: Language, method: str, brief: Trained
) -> None:
    held = copy.deepcopy(brief.model)
    held.get_input_embeddings().weight.requires_grad_(False)
    given = {"arithmetic": {"scale": 0.2}, "redistil": {"keep": 0.9}, "rewind": {"mu": 0.1}}[method]
    out = forget(
        held, forget=part.forget, retain=part.retain, task=task, base=fresh, method=method,
        steps=2, **given,
    )  # fmt: skip
    was, now = (m.get_input_embeddings().weight for m in (held, out.model))
    assert torch.equal(was, now)
    assert not torch.equal(
        held.model.layers[0].mlp.down_proj.weight, out.model.model.layers[0].mlp.down_proj.weight
    )


def test_a_base_that_was_moved_can_be_given(
    fresh: Any, brief: Trained, part: Split, task: Language, ids: set[str]
) -> None:
    def gone() -> Any:
        raise StateError("it is not there any more")

    (log,) = brief.trace.runs.values()
    lost = replace(brief, trace=replace(log, origin=replace(log.origin, load=gone)))
    found = origin_for(lost, fresh, ids)
    assert found is not None
    assert module_of(found) is fresh
    # What does not begin there goes by the holdout records, and says so.
    split = replace(part, holdout=part.retain[:4], origin=origin_for(lost, None, ids))
    plain = replace(split, origin=None)
    with pytest.warns(UserWarning, match="cannot be had"):
        assert targets(brief.model, split, task, 8) == targets(brief.model, plain, task, 8)


def test_a_base_of_no_numbers_is_refused(fresh: Any, brief: Trained, ids: set[str]) -> None:
    broken = copy.deepcopy(fresh)
    broken.get_input_embeddings().weight.data[0, 0] = float("nan")
    with pytest.raises(InputError, match="infinite or no number"):
        origin_for(Trained.untraced(brief.model), broken, ids)


def test_the_outcome_says_where_the_model_began(
    brief: Trained, fresh: Any, part: Split, task: Language, tmp_path: Path
) -> None:
    found = forget(
        brief, forget=part.forget, retain=part.retain, task=task, method="npo", epochs=1, lr=1e-3
    )
    assert found.origin == weights_digest(fresh) == found.to_dict()["origin"]
    save(fresh, task.tokenizer, tmp_path / "base")
    found.save(tmp_path / "after", task.tokenizer, base=str(tmp_path / "base"))
    assert Outcome.load(tmp_path / "after").origin == found.origin


def test_the_nearer_estimate_is_the_target(
    brief: Trained, part: Split, task: Language, fresh: Any
) -> None:
    by_holdout = targets(brief.model, part, task, 32)
    wise, blind = (Origin(partial(itself, m), weights_digest(m)) for m in (brief.model, fresh))
    blinded = copy.deepcopy(fresh)
    with torch.no_grad():
        for parameter in blinded.parameters():
            parameter.mul_(4.0)
    # A base that is worse than by chance tells nothing; one that is better tells more.
    worse = Origin(partial(itself, blinded), weights_digest(blinded))
    assert targets(brief.model, replace(part, origin=worse), task, 32) == by_holdout
    known = targets(brief.model, replace(part, origin=wise), task, 32)
    assert known == losses_of(brief.model, part.forget, task, 32)
    assert blind.digest != wise.digest


def test_a_base_alone_says_where_to_stop(
    brief: Trained, part: Split, task: Language, speaking: Any
) -> None:
    """As a reference does; also for the methods of curvature, which looked at holdouts alone."""
    for options in ({"base": speaking}, {"reference": speaking}):
        found = forget(
            brief.model,
            forget=part.forget,
            retain=part.retain,
            task=task,
            method="ssd",
            sample=24,
            **options,
        )
        assert "there is no target" not in found.stopped


def test_what_is_needed_is_priced(brief: Trained, part: Split, task: Language) -> None:
    with pytest.raises(MissingNeed, match="the weights that the model was trained from"):
        predict(Trained.untraced(brief.model), part, task, method="distillation", options={})
    assert predict(brief, part, task, method="distillation", options={}).tokens > 0
    assert Need.ORIGIN.value == "origin"
