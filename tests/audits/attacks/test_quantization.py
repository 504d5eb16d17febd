"""Rounding beside a loop over groups, and the laws of a grid."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from olvido.audits.attacks.quantization import quantized
from olvido.errors import InputError


def by_loop(weight: Tensor, bits: int, group: int) -> tuple[Tensor, Tensor]:
    """Rounded rows and the step of each weight, one group after the other."""
    top = 2 ** (bits - 1) - 1
    out, steps = weight.clone(), torch.zeros_like(weight)
    for row in range(weight.shape[0]):
        for start in range(0, weight.shape[1], group):
            part = weight[row, start : start + group]
            step = float(part.abs().max()) / top
            steps[row, start : start + group] = step
            for n, value in enumerate(part.tolist()):
                out[row, start + n] = round(value / step) * step if step else 0.0
    return out, steps


def linear(weight: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight.data = weight.clone()
    return layer


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("width", [64, 128, 70, 5])
def test_it_is_a_loop_over_groups(bits: int, width: int) -> None:
    torch.manual_seed(width)
    layer = linear(torch.randn(6, width))
    found = quantized(layer, bits)
    torch.testing.assert_close(found.weight, by_loop(layer.weight.data, bits, 64)[0])
    assert torch.equal(found.bias, layer.bias)
    assert not torch.equal(found.weight, layer.weight)


@given(
    st.integers(0, 10_000),
    st.sampled_from([2, 4, 8]),
    st.integers(1, 9),
    st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_no_weight_moves_more_than_half_a_step(
    seed: int, bits: int, group: int, dtype: torch.dtype
) -> None:
    noise = torch.Generator().manual_seed(seed)
    weight = (torch.randn(3, 17, generator=noise) * 10 ** (seed % 7 - 3)).to(dtype)
    weight[0, :group] = 0
    once = quantized(linear(weight), bits, group)
    steps = by_loop(weight.float(), bits, group)[1]
    slack = 1e-5 if dtype is torch.float32 else 1e-2
    moved = (once.weight.detach().float() - weight.float()).abs()
    assert (moved <= steps / 2 + slack * weight.float().abs()).all()
    assert torch.equal(quantized(once, bits, group).weight, once.weight)


def test_a_small_edit_is_undone() -> None:
    torch.manual_seed(0)
    layer = quantized(linear(torch.randn(4, 64)), 4)
    steps = by_loop(layer.weight.data, 4, 64)[1]
    inner = (layer.weight.abs() < layer.weight.abs().amax(1, keepdim=True)).float()
    hidden = linear(layer.weight.data + 0.4 * steps * inner)
    assert not torch.equal(hidden.weight, layer.weight)
    assert torch.equal(quantized(hidden, 4).weight, layer.weight)


def test_a_language_model_keeps_its_ties_and_norms(fresh: Any) -> None:
    before = {name: value.clone() for name, value in fresh.state_dict().items()}
    found = quantized(fresh, 4)
    assert found.lm_head.weight is found.model.embed_tokens.weight
    for name, value in fresh.state_dict().items():
        assert torch.equal(value, before[name])
        same = torch.equal(found.state_dict()[name], value)
        assert same == (value.dim() < 2), name


def test_gpt2_is_grouped_along_its_inputs_too(gpt2: Any) -> None:
    found = quantized(gpt2, 4, group=8)
    matrix = gpt2.transformer.h[0].attn.c_attn.weight.detach()
    expected = by_loop(matrix.T, 4, 8)[0].T
    torch.testing.assert_close(found.transformer.h[0].attn.c_attn.weight.detach(), expected)
    assert torch.equal(found.transformer.ln_f.weight, gpt2.transformer.ln_f.weight)


def test_convolutions_and_embeddings_are_matrices() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.LayerNorm((2, 2)), nn.Embedding(5, 6))
    nn.init.normal_(model[1].weight)
    found = quantized(model, 8, group=9)
    expected = by_loop(model[0].weight.detach().reshape(4, 27), 8, 9)[0].view(4, 3, 3, 3)
    torch.testing.assert_close(found[0].weight.detach(), expected)
    assert torch.equal(found[1].weight, model[1].weight)
    torch.testing.assert_close(found[2].weight.detach(), by_loop(model[2].weight.data, 8, 9)[0])


def test_large_matrices_are_rounded_to_the_last_row(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(2)
    layer = nn.Embedding(11, 8)
    whole = quantized(layer, 4)
    monkeypatch.setattr("olvido.audits.attacks.quantization.ROWS", 3)
    assert torch.equal(quantized(layer, 4).weight, whole.weight)


@pytest.mark.parametrize("bits", [1, 9])
def test_other_bits_are_refused(bits: int) -> None:
    with pytest.raises(InputError, match="between 2 and 8"):
        quantized(nn.Linear(2, 2), bits)


def test_nothing_to_round_is_an_error() -> None:
    with pytest.raises(InputError, match="no weight matrix"):
        quantized(nn.LayerNorm(4), 8)
    with pytest.raises(InputError, match="group must be"):
        quantized(nn.Linear(2, 2), 8, group=0)
