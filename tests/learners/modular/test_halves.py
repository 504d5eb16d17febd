"""A model cut in two is the same model, or is refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from olvido.errors import InputError
from olvido.learners.halves import Halves
from olvido.models import weights_digest

IDS = torch.tensor([2, 9, 8, 7, 30, 5, 1])
SIZES = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "pad_token_id": 0,
}


def made(kind: Any, config: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind(config).eval()


def both(halves: Halves, ids: torch.Tensor) -> torch.Tensor:
    upper = halves.upper().eval()
    with torch.no_grad():
        states = upper.base_model(
            inputs_embeds=halves.states(ids)[None],
            attention_mask=torch.ones_like(ids)[None],
            use_cache=False,
        ).last_hidden_state
        return upper.get_output_embeddings()(states)


@pytest.mark.parametrize("top", [1, 2, 3])
@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (MistralForCausalLM, MistralConfig(**SIZES, sliding_window=4)),
        (Qwen2ForCausalLM, Qwen2Config(**SIZES, tie_word_embeddings=True)),
    ],
    ids=["mistral", "qwen2"],
)
def test_two_halves_are_the_whole(kind: Any, config: Any, top: int) -> None:
    model = made(kind, config)
    before = weights_digest(model)
    halves = Halves.of(model, top)
    halves.check(IDS)
    with torch.no_grad():
        whole = model(input_ids=IDS[None]).logits
    assert torch.allclose(both(halves, IDS), whole, atol=1e-5)
    assert (halves.shift, len(halves.upper().base_model.layers)) == (3 - top, top)
    assert weights_digest(model) == before
    assert model.config.num_hidden_layers == len(model.base_model.layers) == 3


def test_the_upper_half_is_a_copy_and_the_lower_is_not(base: Any) -> None:
    halves = Halves.of(base, 1)
    inside = {id(p) for p in base.parameters()}
    assert not inside & {id(p) for p in halves.upper().parameters()}
    assert {id(p) for p in halves.lower.parameters()} <= inside


def test_models_that_cannot_be_cut_are_refused(gpt2: Any) -> None:
    with pytest.raises(InputError, match="GPT2LMHeadModel cannot be trained in modules"):
        Halves.of(gpt2, 1)
    # It scales what it is given as embeddings, and caps its logits after the head.
    gemma = made(Gemma2ForCausalLM, Gemma2Config(**SIZES, head_dim=8, final_logit_softcapping=0.1))
    with pytest.raises(InputError, match="do not give what it gives as a whole"):
        Halves.of(gemma, 1).check(IDS)


@pytest.mark.parametrize("top", [0, 5])
def test_layers_that_are_not_there(base: Any, top: int) -> None:
    with pytest.raises(InputError, match=f"between 1 and 4, got {top}"):
        Halves.of(base, top)


def test_a_damaged_half_is_noticed(base: Any) -> None:
    halves = Halves.of(copy.deepcopy(base), 2)
    with torch.no_grad():
        halves.lower.layers[0] = copy.deepcopy(halves.lower.layers[0])
        halves.lower.layers[0].mlp.down_proj.weight.mul_(1.5)
    with pytest.raises(InputError, match="do not give"):
        halves.check(IDS)
