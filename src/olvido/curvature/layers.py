"""How the gradients of a layer's parameters follow from what went in and what came back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn import functional as F

from olvido.curvature.factored import Factored, Outer

ByRecord = Callable[[Tensor], Tensor | None]
"""Brings what a layer saw in order of records: [B, T, ...], or None where that is not known."""
Rule = Callable[[Any, Tensor, Tensor, ByRecord], dict[str, Factored]]
"""From a layer, its input, the gradient of its output: each parameter's gradients, by its own name;
nothing where the layer was used in a way that the rule does not know."""


def by_record(size: int, rows: Tensor) -> ByRecord:
    """Layers see records, or targets one by one (a head that is asked for those alone).

    Args:
        size: records of the batch.
        rows: the record of each target, in ascending order. [N]
    """
    counts = torch.bincount(rows, minlength=size)
    starts = counts.cumsum(0) - counts
    place = torch.arange(len(rows), device=rows.device) - starts[rows]

    def ordered(tensor: Tensor) -> Tensor | None:
        if tensor.shape[0] == size:
            return tensor
        if tensor.shape[0] != len(rows) or tensor.dim() > 2:
            return None
        padded = tensor.new_zeros(size, int(counts.max()), *tensor.shape[1:])
        padded[rows, place] = tensor
        return padded

    return ordered


def rule_of(module: Module) -> Rule | None:
    """The rule for a layer; None where there is none."""
    for kind, rule in RULES:
        if isinstance(module, kind):
            return rule
    # Each Hugging Face model has a root-mean-square norm of its own, all of the same form.
    if type(module).__name__.endswith("RMSNorm") and _epsilon(module) is not None:
        return _rms_norm
    return _conv1d if type(module).__name__ == "Conv1D" else None


def _linear(layer: Any, given: Tensor, back: Tensor, order: ByRecord) -> dict[str, Factored]:
    inputs, outputs = order(given), order(back)
    if inputs is None or outputs is None:
        return {}
    left, right = _positions(outputs), _positions(inputs)
    use = Outer(left, right, left.shape[-1])
    return _with_bias(layer, Factored(layer.weight.shape, (use,)), left)


def _conv1d(layer: Any, given: Tensor, back: Tensor, order: ByRecord) -> dict[str, Factored]:
    """GPT-2's linear layer, whose weight is [in, out]."""
    inputs, outputs = order(given), order(back)
    if inputs is None or outputs is None:
        return {}
    left, right = _positions(inputs), _positions(outputs)
    use = Outer(left, right, left.shape[-1])
    return _with_bias(layer, Factored(layer.weight.shape, (use,)), right)


def _embedding(layer: Any, given: Tensor, back: Tensor, order: ByRecord) -> dict[str, Factored]:
    places, outputs = order(given), order(back)
    if places is None or outputs is None or layer.max_norm is not None or layer.scale_grad_by_freq:
        return {}
    right = _positions(outputs)
    places = places.reshape(len(places), -1)
    if layer.padding_idx is not None:
        right = right * (places != layer.padding_idx).unsqueeze(-1)
    use = Outer(places, right, layer.num_embeddings)
    return {"weight": Factored(layer.weight.shape, (use,))}


def _conv2d(layer: Any, given: Tensor, back: Tensor, order: ByRecord) -> dict[str, Factored]:
    inputs, outputs = order(given), order(back)
    if (
        inputs is None
        or outputs is None
        or layer.padding_mode != "zeros"
        or layer.padding == "same"
    ):
        return {}
    size, groups = len(inputs), layer.groups
    patches = F.unfold(
        inputs.float(), layer.kernel_size, layer.dilation, layer.padding, layer.stride
    )
    left = outputs.float().flatten(2)  # [B, O, L]
    if groups == 1:
        use = Outer(left.transpose(1, 2), patches.transpose(1, 2), left.shape[1])
        weight = Factored(layer.weight.shape, (use,))
    else:
        own = left.reshape(size, groups, -1, left.shape[-1])
        seen = patches.reshape(size, groups, -1, patches.shape[-1])
        dense = (own @ seen.transpose(2, 3)).reshape(size, *layer.weight.shape)
        weight = Factored(layer.weight.shape, direct=dense)
    return _with_bias(layer, weight, left.transpose(1, 2))


def _layer_norm(layer: Any, given: Tensor, back: Tensor, order: ByRecord) -> dict[str, Factored]:
    inputs, outputs = order(given), order(back)
    if inputs is None or outputs is None:
        return {}
    shape = tuple(layer.normalized_shape)
    scaled = F.layer_norm(inputs.float(), shape, eps=layer.eps)
    return _scale_and_shift(layer, scaled, outputs.float(), layer.weight.shape)


def _rms_norm(layer: Any, given: Tensor, back: Tensor, order: ByRecord) -> dict[str, Factored]:
    inputs, outputs = order(given), order(back)
    if inputs is None or outputs is None:
        return {}
    wide = inputs.float()
    epsilon = _epsilon(layer)
    epsilon = torch.finfo(inputs.dtype).eps if epsilon is None else epsilon
    dims = tuple(range(-layer.weight.dim(), 0))
    scaled = wide * torch.rsqrt(wide.square().mean(dims, keepdim=True) + epsilon)
    return _scale_and_shift(layer, scaled, outputs.float(), layer.weight.shape)


def _batch_norm(layer: Any, given: Tensor, back: Tensor, order: ByRecord) -> dict[str, Factored]:
    """In evaluation mode, where it is a fixed scale and shift of each channel."""
    inputs, outputs = order(given), order(back)
    if inputs is None or outputs is None or layer.running_mean is None:
        return {}
    scaled = F.batch_norm(inputs.float(), layer.running_mean, layer.running_var, eps=layer.eps)
    return _scale_and_shift(
        layer, scaled.movedim(1, -1), outputs.float().movedim(1, -1), layer.weight.shape
    )


def _scale_and_shift(
    layer: Any, scaled: Tensor, back: Tensor, shape: torch.Size
) -> dict[str, Factored]:
    def gathered(values: Tensor) -> Factored:
        return Factored(shape, direct=values.reshape(len(values), -1, *shape).sum(1))

    found = {"weight": gathered(back * scaled)}
    if getattr(layer, "bias", None) is not None:
        found["bias"] = gathered(back)
    return found


def _with_bias(layer: Any, weight: Factored, back: Tensor) -> dict[str, Factored]:
    if layer.bias is None:
        return {"weight": weight}
    return {"weight": weight, "bias": Factored(layer.bias.shape, direct=back.sum(1))}


def _positions(tensor: Tensor) -> Tensor:
    """[B, ..., D] as [B, T, D], in at least single precision."""
    wide = tensor if tensor.dtype == torch.float64 else tensor.float()
    return wide.reshape(len(tensor), -1, tensor.shape[-1])


def _epsilon(module: Any) -> float | None:
    return getattr(module, "variance_epsilon", getattr(module, "eps", None))


RULES: tuple[tuple[type[Module], Rule], ...] = (
    (torch.nn.Linear, _linear),
    (torch.nn.Embedding, _embedding),
    (torch.nn.Conv2d, _conv2d),
    (torch.nn.LayerNorm, _layer_norm),
    (torch.nn.RMSNorm, _rms_norm),
    (torch.nn.BatchNorm1d, _batch_norm),
    (torch.nn.BatchNorm2d, _batch_norm),
)
"""Rules by the kind of layer; the low-rank adapters of peft are made of linear layers."""
