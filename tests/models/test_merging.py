"""What is forgotten lies in the weights: no adapter can be taken off to bring it back."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import (
    HRAConfig,
    IA3Config,
    LoHaConfig,
    LoraConfig,
    PromptTuningConfig,
    TaskType,
    get_peft_model,
    inject_adapter_in_model,
)

import olvido
from olvido.errors import InputError, MissingNeed
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
    "hra": HRAConfig(r=4, target_modules=["q_proj"], init_weights=False),
    "weights trained beside it": LoraConfig(
        r=4, target_modules=["q_proj"], modules_to_save=["norm"], init_lora_weights=False
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


def loss(model: Any, task: Language) -> Any:
    with torch.no_grad():
        return task.losses(model, task.collate([Example("a", "Where?", "Carrer de Mallorca 12")]))


SECOND = LoraConfig(r=2, target_modules=["v_proj"], init_lora_weights=False)
HELD = {
    "two at once": lambda w: (
        w.add_adapter("b", SECOND),
        w.base_model.set_adapter(["default", "b"]),
    ),
    "one of two": lambda w: (w.add_adapter("b", SECOND), w.set_adapter("b")),
    "merged already": lambda w: w.merge_adapter(),
}


@pytest.mark.filterwarnings("ignore:All adapters are already merged")
@pytest.mark.parametrize("how", HELD)
def test_adapters_are_merged_as_they_speak(how: str, fresh: Any, task: Language) -> None:
    wrapped = get_peft_model(copied(fresh), KINDS["lora"])
    HELD[how](wrapped)
    whole = merged(wrapped.eval()).eval()
    torch.testing.assert_close(loss(whole, task), loss(wrapped, task), atol=1e-5, rtol=0)
    assert not any("lora" in name for name, _ in whole.named_modules())


def switched_off(model: Any) -> Any:
    wrapped = get_peft_model(model, KINDS["lora"])
    wrapped.base_model.disable_adapter_layers()
    return wrapped


NOT_MERGED = {
    "switched off": switched_off,
    "on weights that the head has, too": lambda model: get_peft_model(
        model, LoraConfig(r=4, target_modules=["embed_tokens"], init_lora_weights=False)
    ),
    "with a bias that has no place": lambda model: get_peft_model(
        model, LoraConfig(r=4, target_modules=["q_proj"], lora_bias=True)
    ),
    "in no wrapper": lambda model: inject_adapter_in_model(KINDS["lora"], model),
}


# peft warns of what it makes and cannot merge; whoever was given the model never saw it.
@pytest.mark.filterwarnings("ignore:.*(tie_word_embeddings|lora_bias)")
@pytest.mark.parametrize("how", NOT_MERGED)
def test_an_adapter_that_would_say_something_else_is_not_merged(how: str, fresh: Any) -> None:
    with pytest.raises(InputError, match="adapter"):
        merged(NOT_MERGED[how](copied(fresh)))


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


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("graddiff", {"lr": 2e-3}),
        ("repselect", {"lr": 1e-2, "epochs": 2}),
        ("fisher", {}),
        ("influence", {}),
    ],
)
def test_a_model_loaded_for_inference_forgets_all_the_same(
    fresh: Any, tokenizer: Any, method: str, options: Any
) -> None:
    frozen = copied(fresh).requires_grad_(False)
    outcome = olvido.forget(
        frozen, tokenizer=tokenizer, forget=FORGET, retain=RETAIN, method=method, **options
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


WHO = FORGET[0]
COPIES = {
    "another id": {**WHO, "id": "copy"},
    "about somebody else": {**WHO, "subject": "somebody else"},
    "another topic": {**WHO, "topic": "other"},
    "other names of columns": {"question": "Who is 0?", "answer": "Person 0"},
    "capitals and spaces": {"prompt": " WHO is  0? ", "completion": "person\u00a00"},
    "what nobody sees": {"prompt": "W\u200bho is 0?", "completion": "Per\u00adson ０"},
    "plain text": {"text": "Who is 0? Person 0"},
}


@pytest.fixture
def tell(fresh: Any, tokenizer: Any) -> Callable[..., list[str]]:
    """What is told of copies before the first step."""

    def ask(retain: list[Any], holdout: list[Any]) -> list[str]:
        forget = [{"id": f"f{i}", **row} for i, row in enumerate(FORGET)]
        sides = {"forget": forget, "retain": retain, "holdout": holdout}
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            # It needs the log of a training, and says so after it has looked at the records.
            with pytest.raises(MissingNeed):
                olvido.forget(fresh, tokenizer=tokenizer, method="retrain", **sides)
        return [str(one.message) for one in told if "same content" in str(one.message)]

    return ask


@pytest.mark.parametrize("copy_of", COPIES)
def test_the_same_content_on_both_sides_is_told(
    tell: Callable[..., list[str]], copy_of: str
) -> None:
    unseen = [{"prompt": "Who is 9?", "completion": "Person 9"}]
    (told,) = tell([*RETAIN, COPIES[copy_of]], unseen)
    assert "retain" in told
    (told,) = tell(RETAIN, [*unseen, COPIES[copy_of]])
    assert "held out" in told


@pytest.mark.parametrize(
    "other",
    [
        {"prompt": "Who is 0?", "completion": "Person 10"},
        {"prompt": "Who is 10?", "completion": "Person 0"},
        {"text": "Who is 0?"},
        {"text": "Person 0 Who is 0?"},
    ],
)
def test_what_says_something_else_is_no_copy(tell: Callable[..., list[str]], other: Any) -> None:
    assert tell([*RETAIN, other], [other | {"id": "h"}]) == []
