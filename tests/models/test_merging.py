"""What is forgotten lies in the weights: no adapter can be taken off to bring it back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import IA3Config, LoHaConfig, LoraConfig, PromptTuningConfig, TaskType, get_peft_model

import olvido
from olvido.errors import InputError
from olvido.models.merging import merged
from olvido.tasks import Example, Language

FORGET = [{"prompt": f"Who is {i}?", "completion": f"Person {i}"} for i in range(4)]
RETAIN = [{"prompt": f"Sky {i}?", "completion": f"Blue {i}"} for i in range(8)]
KINDS = {
    "lora": LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False),
    "dora": LoraConfig(r=4, target_modules=["q_proj"], use_dora=True, init_lora_weights=False),
    "loha": LoHaConfig(r=4, target_modules=["q_proj", "v_proj"], init_weights=False),
    "ia3": IA3Config(
        target_modules=["k_proj"], feedforward_modules=[], task_type=TaskType.CAUSAL_LM
    ),
}


def copied(model: Any) -> Any:
    import copy

    return copy.deepcopy(model)


@pytest.mark.parametrize("kind", KINDS)
def test_a_merged_adapter_says_the_same_and_cannot_be_taken_off(
    kind: str, fresh: Any, task: Language
) -> None:
    wrapped = get_peft_model(copied(fresh), KINDS[kind]).eval()
    whole = merged(wrapped).eval()
    batch = task.collate([Example("a", "Where does Marta live?", "Carrer de Mallorca 12")])
    with torch.no_grad():
        assert torch.allclose(task.losses(whole, batch), task.losses(wrapped, batch), atol=1e-5)
    assert not hasattr(whole, "disable_adapter")
    assert all(parameter.requires_grad for parameter in whole.parameters())


def test_forgetting_an_adapted_model_leaves_no_adapter(fresh: Any, tokenizer: Any) -> None:
    wrapped = get_peft_model(copied(fresh), KINDS["lora"])
    outcome = olvido.forget(
        wrapped, tokenizer=tokenizer, forget=FORGET, retain=RETAIN, method="graddiff", lr=2e-3
    )
    task = Language(tokenizer)
    batch = task.collate([Example(str(i), **row) for i, row in enumerate(FORGET)])
    with torch.no_grad():
        before = task.losses(wrapped, batch).mean()
        assert task.losses(outcome.model, batch).mean() > before
    assert not any("lora" in name for name, _ in outcome.model.named_parameters())
    assert hasattr(wrapped, "disable_adapter")


def test_a_soft_prompt_has_no_place_in_the_weights(fresh: Any) -> None:
    config = PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=4)
    with pytest.raises(InputError):
        merged(get_peft_model(copied(fresh), config))


def test_a_model_loaded_for_inference_forgets_all_the_same(fresh: Any, tokenizer: Any) -> None:
    frozen = copied(fresh).requires_grad_(False)
    outcome = olvido.forget(
        frozen, tokenizer=tokenizer, forget=FORGET, retain=RETAIN, method="graddiff", lr=2e-3
    )
    assert outcome.forget_loss[1] > outcome.forget_loss[0]
    assert not any(parameter.requires_grad for parameter in frozen.parameters())


def test_what_its_owner_froze_in_part_stays_frozen(fresh: Any) -> None:
    part = copied(fresh)
    part.get_input_embeddings().requires_grad_(False)
    assert merged(part) is part


def test_training_a_frozen_model_is_refused_in_a_line(fresh: Any, tokenizer: Any) -> None:
    with pytest.raises(InputError):
        olvido.train(copied(fresh).requires_grad_(False), tokenizer=tokenizer, records=FORGET)


@pytest.mark.parametrize(
    "copy_of", [{"id": "copy"}, {"id": "copy", "subject": "somebody else"}, {"topic": "other"}]
)
def test_the_same_content_on_both_sides_is_told(fresh: Any, tokenizer: Any, copy_of: Any) -> None:
    forget = [{"id": f"f{i}", **row} for i, row in enumerate(FORGET)]
    retain = [*RETAIN, {**FORGET[0], **copy_of}]
    with pytest.warns(UserWarning, match="same content"):
        olvido.forget(
            fresh, tokenizer=tokenizer, forget=forget, retain=retain, method="graddiff", lr=2e-3
        )
