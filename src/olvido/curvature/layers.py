"""Per-record gradients of one parameter, stored as factors, and sums over them.

Where a layer multiplies its input by a matrix, a record's gradient is a sum over positions of outer
products: a few thousand numbers instead of millions. Norms, inner products and sums of squares are
computed from the factors, by whichever rule takes fewer multiplications (Goodfellow 2015, arXiv
1510.01799, for one position; Li et al. 2022, arXiv 2110.05679, for many).

Rules derive a layer's parameter gradients from its input and output gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn import functional as F

CHUNK_BYTES = 64 << 20
"""Memory for full gradients at a time."""


@dataclass(frozen=True)
class Outer:
    """Each record's gradient from one use of a matrix [O, I]: sum over t of left[t] right[t]'.

    Attributes:
        left: [B, T, O]; or integers [B, T] that stand for one-hot rows.
        right: [B, T, I].
        width: O.
    """

    left: Tensor
    right: Tensor
    width: int

    @property
    def one_hot(self) -> bool:
        """Whether `left` has indices instead of rows."""
        return self.left.dim() == 2

    def rows(self, where: slice) -> Outer:
        """The gradients of some records."""
        return replace(self, left=self.left[where], right=self.right[where])

    def dense(self) -> Tensor:
        """Every record's gradient. [B, O, I]"""
        if not self.one_hot:
            return self.left.transpose(1, 2) @ self.right
        size, positions = self.left.shape
        found = self.right.new_zeros(size, self.width, self.right.shape[-1])
        record = torch.arange(size, device=self.left.device).unsqueeze(1).expand(size, positions)
        return found.index_put_((record, self.left), self.right, accumulate=True)

    def total(self, weights: Tensor) -> Tensor:
        """The weighted sum over records. [O, I]"""
        right = (self.right * weights[:, None, None]).flatten(0, 1)
        if not self.one_hot:
            return self.left.flatten(0, 1).T @ right
        found = right.new_zeros(self.width, right.shape[-1])
        return found.index_add_(0, self.left.flatten(), right)

    def inner(self, other: Outer) -> Tensor:
        """Inner product of each record's gradients in two uses. [B]"""
        if self.one_hot and other.one_hot:
            left = (self.left.unsqueeze(2) == other.left.unsqueeze(1)).to(self.right.dtype)
        elif self.one_hot or other.one_hot:
            dense, places = (other.left, self.left) if self.one_hot else (self.left, other.left)
            left = dense.gather(2, places.unsqueeze(1).expand(-1, dense.shape[1], -1))
            left = left.transpose(1, 2) if self.one_hot else left
        else:
            left = self.left @ other.left.transpose(1, 2)
        return (left * (self.right @ other.right.transpose(1, 2))).sum((1, 2))


@dataclass(frozen=True)
class Factored:
    """The records' gradients of one parameter.

    Attributes:
        shape: of the parameter.
        uses: uses of a matrix, one for each time the model used it (a head tied to an embedding:
        two).
        direct: the full gradients, where they are small. [B, *shape]
    """

    shape: torch.Size
    uses: tuple[Outer, ...] = ()
    direct: Tensor | None = None

    def __len__(self) -> int:
        return len(self.uses[0].left if self.direct is None else self.direct)

    @property
    def matrix(self) -> torch.Size:
        """The shape as a matrix, where it is used as one. [O, I]"""
        if self.direct is not None:
            return self.shape
        return torch.Size((self.uses[0].width, self.uses[0].right.shape[-1]))

    def rows(self, where: slice) -> Factored:
        """The gradients of some records."""
        if self.direct is not None:
            return replace(self, direct=self.direct[where])
        return replace(self, uses=tuple(use.rows(where) for use in self.uses))

    def joined(self, other: Factored) -> Factored:
        """The gradients of a parameter with the uses of both."""
        if self.direct is None and other.direct is None:
            return replace(self, uses=self.uses + other.uses)
        return Factored(self.shape, direct=self.dense() + other.dense())

    def dense(self) -> Tensor:
        """The full gradients. [B, *shape]"""
        if self.direct is not None:
            return self.direct
        found = self.uses[0].dense()
        for use in self.uses[1:]:
            found = found + use.dense()
        return found.reshape(-1, *self.shape)

    def chunks(self) -> Iterator[Tensor]:
        """The full gradients, a few records at a time. [b, *shape]"""
        step = max(1, CHUNK_BYTES // (4 * max(1, self.shape.numel())))
        for start in range(0, len(self), step):
            yield self.rows(slice(start, start + step)).dense()

    def total(self, weights: Tensor) -> Tensor:
        """The weighted sum over records. [*shape]"""
        if self.direct is not None:
            return torch.tensordot(weights, self.direct, dims=1)
        return sum_of([use.total(weights) for use in self.uses]).reshape(self.shape)

    def is_longer_than_large(self) -> bool:
        """Whether computing full gradients is less work than all products of positions."""
        positions = sum(use.right.shape[1] for use in self.uses)
        high, wide = self.uses[0].width, self.uses[0].right.shape[-1]
        return positions * (high + wide) > high * wide

    def norms(self) -> Tensor:
        """Squared length of each record's gradient. [B]"""
        if self.direct is not None:
            return self.direct.flatten(1).square().sum(1)
        if self.is_longer_than_large():
            return torch.cat([part.flatten(1).square().sum(1) for part in self.chunks()])
        return sum_of([one.inner(other) for one in self.uses for other in self.uses]).clamp(min=0)

    def squares(self) -> Tensor:
        """The sum over records of their squared gradients. [*shape]"""
        if self.direct is not None:
            return self.direct.square().sum(0)
        if len(self.uses) == 1:
            use = self.uses[0]
            if use.one_hot:
                return _sparse_squares(use).reshape(self.shape)
            if use.left.shape[1] == 1:
                found = use.left[:, 0].square().T @ use.right[:, 0].square()
                return found.reshape(self.shape)
        return sum_of([part.square().sum(0) for part in self.chunks()])

    def dots(self, queries: Tensor) -> Tensor:
        """Inner products with other gradients of the parameter.

        Args:
            queries: [Q, *shape].

        Returns:
            [B, Q]
        """
        if self.direct is not None:
            return self.direct.flatten(1) @ queries.flatten(1).T
        if all(use.one_hot for use in self.uses):
            return sum_of([_sparse_dots(use, queries) for use in self.uses])
        flat = queries.flatten(1).T
        return torch.cat([part.flatten(1) @ flat for part in self.chunks()])

    def low_rank_dots(self, left: Tensor, right: Tensor) -> Tensor:
        """Inner products with gradients of low rank.

        Args:
            left, right: query q is left[q] right[q]'. [Q, O, R], [Q, I, R]

        Returns:
            [B, Q]
        """
        found: list[Tensor] = []
        for use in self.uses:
            # [Q, B, T, R] each: positions meet the query's few directions, never its whole matrix.
            seen = use.right.unsqueeze(0) @ right.unsqueeze(1)
            known = left[:, use.left] if use.one_hot else use.left.unsqueeze(0) @ left.unsqueeze(1)
            found.append((seen * known).sum((2, 3)).T)
        return sum_of(found)


def sum_of(parts: Sequence[Tensor]) -> Tensor:
    """The sum of tensors of one shape, in order."""
    found = parts[0]
    for part in parts[1:]:
        found = found + part
    return found


def _sparse_squares(use: Outer) -> Tensor:
    """Sum of squares where each record touches few rows: a token that occurs twice in a record is
    summed before it is squared."""
    size, positions = use.left.shape
    record = torch.arange(size, device=use.left.device).repeat_interleave(positions)
    keys, place = torch.unique(record * use.width + use.left.flatten(), return_inverse=True)
    right = use.right.flatten(0, 1)
    added = right.new_zeros(len(keys), right.shape[-1]).index_add_(0, place, right)
    found = right.new_zeros(use.width, right.shape[-1])
    return found.index_add_(0, keys % use.width, added.square())


def _sparse_dots(use: Outer, queries: Tensor) -> Tensor:
    rows = queries.reshape(len(queries), use.width, -1)
    return torch.stack([(row[use.left] * use.right).sum((1, 2)) for row in rows], dim=1)


ByRecord = Callable[[Tensor], Tensor | None]
"""Arranges a layer's values by record: [B, T, ...], or None where the order is unknown."""
Rule = Callable[[Any, Tensor, Tensor, ByRecord], dict[str, Factored]]
"""From a layer, its input and its output gradient: each parameter's gradients, by its own name;
empty where the rule does not cover this use of the layer."""


def by_record(size: int, rows: Tensor, owners: Tensor) -> ByRecord:
    """Arrange a layer's values by record; a head may get the targets one by one instead.

    Args:
        size: records of the batch.
        rows: the record of each target, in ascending order. [N]
        owners: the record of each row of a pass: a long text has several, in order. [R]
    """
    if len(owners) > size:
        windows, whole = (by_record(size, one, one[:size]) for one in (owners, rows))

        def joined(tensor: Tensor) -> Tensor | None:
            if tensor.shape[0] != len(owners):
                return whole(tensor)
            found = windows(tensor.flatten(1))
            return None if found is None else found.reshape(size, -1, *tensor.shape[2:])

        return joined
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
