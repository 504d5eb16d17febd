"""The lens beside transformers' own hidden states."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from olvido.audits.attacks.lens import anatomy, lens
from olvido.errors import InputError
from olvido.learners import Lora
from olvido.tasks import Labels, Language, examples
from olvido.training import recipe as adapters


def by_hidden_states(model: Any, norm: Any, record: Any, task: Language) -> Any:
    """One record, one layer after the other, from what transformers gives out."""
    batch = task.collate([record])
    with torch.no_grad():
        out = model(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            output_hidden_states=True,
        )
        # The last one comes normalised already.
        states = [*map(norm, out.hidden_states[1:-1]), out.hidden_states[-1]]
        place = torch.nonzero(batch.targets[0] != -100)[:, 0]
        targets = batch.targets[0, place]
        logits = [model.lm_head(state)[0, place - 1] for state in states]
    log_p = [z.log_softmax(-1).gather(-1, targets[:, None]).mean() for z in logits]
    exact = [(z.argmax(-1) == targets).double().mean() for z in logits]
    return torch.stack(log_p).numpy(), torch.stack(exact).numpy()


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_it_is_head_of_norm_of_hidden_states(
    kind: str, world: Any, gpt2: Any, task: Language
) -> None:
    model, norm = {
        "llama": (world.before, world.before.model.norm),
        "gpt2": (gpt2, gpt2.transformer.ln_f),
    }[kind]
    records = world.forget[:5]
    found = lens(model, records, task, batch=2)
    assert found.log_p.shape == found.exact.shape == (2, 5)
    for place, record in enumerate(records):
        log_p, exact = by_hidden_states(model, norm, record, task)
        assert found.log_p[:, place] == pytest.approx(log_p, abs=1e-4)
        assert found.exact[:, place] == pytest.approx(exact)


def test_the_last_layer_is_the_model_itself(world: Any) -> None:
    found = lens(world.before, world.forget, world.task)
    batch = world.task.collate(world.forget)
    with torch.no_grad():
        losses = world.task.losses(world.before, batch)
    assert found.log_p[-1] == pytest.approx(-losses.numpy(), abs=1e-4)
    assert found.exact[-1].min() == 1.0
    assert lens(world.stranger, world.forget, world.task).exact[-1].mean() < 0.7


def test_a_block_that_does_nothing_shows_what_the_one_below_shows(world: Any) -> None:
    hidden = copy.deepcopy(world.before)
    with torch.no_grad():
        for name, weight in hidden.named_parameters():
            if "layers.1." in name:
                weight.zero_()
    honest, found = (lens(m, world.forget, world.task) for m in (world.before, hidden))
    assert found.log_p[0] == pytest.approx(honest.log_p[0], abs=1e-4)
    assert found.log_p[1] == pytest.approx(found.log_p[0], abs=1e-4)
    assert found.log_p[1].mean() < honest.log_p[1].mean() - 0.1


def test_parts_are_found_by_what_they_do(fresh: Any, gpt2: Any, tokenizer: Any) -> None:
    from transformers import OPTConfig, OPTForCausalLM

    opt = OPTForCausalLM(
        OPTConfig(
            vocab_size=64,
            hidden_size=16,
            ffn_dim=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            max_position_embeddings=32,
            word_embed_proj_dim=16,
            bos_token_id=2,
            eos_token_id=1,
            pad_token_id=0,
        )
    ).eval()
    for model, blocks, norm in (
        (fresh, fresh.model.layers, fresh.model.norm),
        (gpt2, gpt2.transformer.h, gpt2.transformer.ln_f),
        (opt, opt.model.decoder.layers, opt.model.decoder.final_layer_norm),
    ):
        found = anatomy(model)
        assert found.blocks == tuple(blocks)
        assert found.norm is norm
        assert found.head is model.lm_head


def test_adapters_are_read_with_the_model(world: Any) -> None:
    adapted = adapters.attach(copy.deepcopy(world.before), Lora(rank=2), seed=0)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.05)
    plain = copy.deepcopy(adapted).merge_and_unload()
    records = world.forget[:4]
    one, two = lens(adapted, records, world.task), lens(plain, records, world.task)
    assert one.log_p == pytest.approx(two.log_p, abs=1e-3)


def test_no_hook_and_no_mode_is_left_behind(world: Any) -> None:
    model = world.fresh(0).train()
    lens(model, world.forget[:2], world.task)
    assert model.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_what_cannot_be_read_is_said(world: Any, task: Language) -> None:
    with pytest.raises(InputError, match="a body and a head"):
        lens(nn.Linear(2, 2), world.forget[:1], task)
    with pytest.raises(InputError, match="no records"):
        lens(world.before, [], task)
    arrays = examples([{"input": [0.0, 1.0], "label": 0}])
    with pytest.raises(InputError, match="answers of tokens"):
        lens(nn.Linear(2, 2), arrays, Labels(2))
    short = copy.deepcopy(world.before)
    short.config.num_hidden_layers = 5
    with pytest.raises(InputError, match="one list of its 5 layers"):
        lens(short, world.forget[:1], task)


def test_something_after_the_head_is_refused(world: Any, task: Language) -> None:
    class Capped(type(world.before)):  # type: ignore[misc]
        def forward(self, *given: Any, **named: Any) -> Any:
            out = super().forward(*given, **named)
            out.logits = 3 * torch.tanh(out.logits / 3)
            return out

    capped = Capped(world.before.config).eval()
    capped.load_state_dict(world.before.state_dict())
    with pytest.raises(InputError, match="something stands after the head"):
        lens(capped, world.forget[:2], task)
