"""Norms of the gradients of units, without the gradients: layer by layer, by the cheaper rule.

A layer's gradient is a sum over positions of what went in times what came back, so that its norm
follows from either product of a unit's positions: the gradient itself (direct), or the products of
all pairs of positions (Gram). Sources: Goodfellow 2015 (arXiv 1510.01799), Li et al. 2022 (arXiv
2110.05679, ghost clipping), Bu et al. 2023 (arXiv 2210.00038, one backward pass).

Shapes: U units, n positions of all units, in the order of the units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import Module, Parameter
from torch.nn import functional as F


class Owners:
    """The unit of each position, in order.

    Args:
        index: ascending numbers of units. [n]
        units: their number U.
    """

    def __init__(self, index: Tensor, units: int) -> None:
        self.index, self.units = index, units
        self.sizes: list[int] = torch.bincount(index, minlength=units).tolist()
        self.equal = len(set(self.sizes)) == 1

    def parts(self, *values: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """Values by unit [u, k, ...]: all units at once where they have equally many positions."""
        if self.equal:
            yield tuple(v.reshape(self.units, self.sizes[0], *v.shape[1:]) for v in values)
        else:
            for some in zip(*(v.split(self.sizes) for v in values), strict=True):
                yield tuple(v[None] for v in some)

    def summed(self, values: Tensor) -> Tensor:
        """Sums over the positions of each unit. [n, ...] -> [U, ...]"""
        return torch.cat([part.sum(1) for (part,) in self.parts(values)])


class Contribution(Protocol):
    """What a layer adds to the gradient of one parameter."""

    def squares(self) -> Tensor:
        """The squared norm of each unit's gradient. [U]"""
        ...

    def weighted(self, factors: Tensor) -> Tensor:
        """The sum of the units' gradients, each times its factor; in the parameter's shape."""
        ...


@dataclass
class Formed:
    """Gradients that are small enough to be formed for each unit. [U, ...]"""

    each: Tensor

    def squares(self) -> Tensor:
        """Their squared norms."""
        return self.each.flatten(1).square().sum(1)

    def weighted(self, factors: Tensor) -> Tensor:
        """Their weighted sum."""
        return torch.tensordot(factors, self.each, 1)


class Products:
    """The weight of a linear map: the gradient is left^T right.

    Args:
        left, right: what came back and what went in, or the other way round. [n, a], [n, b]
        owners: of the positions.
        shape: the parameter's.
    """

    def __init__(self, left: Tensor, right: Tensor, owners: Owners, shape: torch.Size) -> None:
        self.left, self.right, self.owners, self.shape = left.float(), right.float(), owners, shape
        self._formed: list[Tensor] = []

    def squares(self) -> Tensor:
        """Squared norms by the cheaper rule; directly formed gradients are kept for the sum."""
        found: list[Tensor] = []
        self._formed = []
        for left, right in self.owners.parts(self.left, self.right):
            (k, a), b = left.shape[1:], right.shape[2]
            if a * b <= k * (a + b):
                self._formed.append(left.mT @ right)
                found.append(self._formed[-1].square().sum((1, 2)))
            else:
                pairs = (left @ left.mT).mul_(right @ right.mT)
                found.append(pairs.sum((1, 2)))
        if len(self._formed) < len(found):
            self._formed = []
        return torch.cat(found).clamp_min_(0)

    def weighted(self, factors: Tensor) -> Tensor:
        """The weighted sum: one product over all positions."""
        if self._formed:
            return torch.tensordot(factors, torch.cat(self._formed), 1).reshape(self.shape)
        each, left, right = factors[self.owners.index, None], self.left, self.right
        if left.shape[1] < right.shape[1]:
            left = left * each
        else:
            right = right * each
        return (left.mT @ right).reshape(self.shape)


class Lookups:
    """The weight of an embedding: what came back is added to the row of each id.

    Args:
        ids: [n]
        back: [n, D]
        owners: of the positions.
        shape: the parameter's. [V, D]
    """

    def __init__(self, ids: Tensor, back: Tensor, owners: Owners, shape: torch.Size) -> None:
        self.ids, self.back, self.owners, self.shape = ids, back.float(), owners, shape

    def squares(self) -> Tensor:
        """Squared norms: equal ids of a unit add up first."""
        keys, places = torch.unique(
            self.owners.index * self.shape[0] + self.ids, return_inverse=True
        )
        rows = self.back.new_zeros(len(keys), self.shape[1]).index_add_(0, places, self.back)
        found = self.back.new_zeros(self.owners.units)
        return found.index_add_(0, keys // self.shape[0], rows.square().sum(1))

    def weighted(self, factors: Tensor) -> Tensor:
        """The weighted sum."""
        return self.onto(self.back.new_zeros(self.shape), factors)

    def onto(self, sums: Tensor, factors: Tensor) -> Tensor:
        """Add the weighted sum to others, in place."""
        return sums.index_add_(0, self.ids, self.back * factors[self.owners.index, None])


@dataclass
class Tied:
    """A weight that is both an embedding and a head: the norm has their cross term."""

    lookups: Lookups
    products: Products

    def squares(self) -> Tensor:
        """|E + H|^2 = |E|^2 + |H|^2 + 2 <E, H>, the last over pairs of positions of a unit."""
        head = self.products
        cross: list[Tensor] = []
        for ids, back, left, right in zip(
            self.lookups.ids.split(self.lookups.owners.sizes),
            self.lookups.back.split(self.lookups.owners.sizes),
            head.left.split(head.owners.sizes),
            head.right.split(head.owners.sizes),
            strict=True,
        ):
            cross.append((left[:, ids] * (right @ back.mT)).sum())
        both = self.lookups.squares() + head.squares() + 2 * torch.stack(cross)
        return both.clamp_min_(0)

    def weighted(self, factors: Tensor) -> Tensor:
        """The weighted sum of both."""
        return self.lookups.onto(self.products.weighted(factors), factors)


class CannotSeparate(Exception):
    """The units of a layer's positions are unknown, or a weight is used in ways that do not add
    up."""


@dataclass(frozen=True)
class Layout:
    """The units of a batch's rows, and of what a task picks from them.

    Attributes:
        rows: the unit of each row, ascending. [B]
        picked: the unit of each target, ascending, where the model computes them alone. [N]
        units: U.
    """

    rows: Tensor
    picked: Tensor | None
    units: int

    def of(self, leading: Sequence[int]) -> Owners:
        """The units of positions, by the leading dimensions of a layer's input.

        Raises:
            CannotSeparate: no dimension is one of rows or targets.
        """
        first = leading[0] if leading else 0
        if len(leading) > 1:
            if first != len(self.rows):
                raise CannotSeparate
            return Owners(self.rows.repeat_interleave(_product(leading[1:])), self.units)
        found = [one for one in (self.rows, self.picked) if one is not None and len(one) == first]
        if not found or not torch.equal(found[0], found[-1]):
            raise CannotSeparate
        return Owners(found[0], self.units)


Rule = Callable[[Any, Tensor, Tensor, Layout], Iterator[tuple[Parameter, Contribution]]]
"""A layer's contributions, from what went in and what came back."""


def rule_of(module: Module) -> Rule | None:
    """The rule for a layer's own weights; None where there is none, so that units go one by one."""
    from transformers.pytorch_utils import Conv1D

    run = type(module).forward
    if run is nn.Linear.forward:
        return _linear
    if run is Conv1D.forward:
        return _transposed
    if run is nn.Embedding.forward:
        embedding: Any = module
        plain = embedding.max_norm is None and not embedding.scale_grad_by_freq
        return _embedding if plain and not embedding.sparse else None
    if run in (nn.LayerNorm.forward, nn.GroupNorm.forward):
        return _normalised
    if run in (nn.Conv1d.forward, nn.Conv2d.forward):
        conv: Any = module
        plain = conv.groups == 1 and conv.padding_mode == "zeros"
        return _convolution if plain and not isinstance(conv.padding, str) else None
    own = dict(module.named_parameters())
    if type(module).__name__.endswith("RMSNorm") and [p.dim() for p in own.values()] == [1]:
        return _scaled
    return None


def _linear(
    module: Any, given: Tensor, back: Tensor, layout: Layout
) -> Iterator[tuple[Parameter, Contribution]]:
    owners = layout.of(given.shape[:-1])
    given, back = given.reshape(-1, given.shape[-1]), back.reshape(-1, back.shape[-1])
    if module.weight.requires_grad:
        yield module.weight, Products(back, given, owners, module.weight.shape)
    if module.bias is not None and module.bias.requires_grad:
        yield module.bias, Formed(owners.summed(back.float()))


def _transposed(
    module: Any, given: Tensor, back: Tensor, layout: Layout
) -> Iterator[tuple[Parameter, Contribution]]:
    """GPT-2's linear layer, whose weight stands the other way round."""
    for parameter, made in _linear(module, given, back, layout):
        if isinstance(made, Products):
            made = Products(made.right, made.left, made.owners, made.shape)
        yield parameter, made


def _embedding(
    module: Any, given: Tensor, back: Tensor, layout: Layout
) -> Iterator[tuple[Parameter, Contribution]]:
    ids, back = given.reshape(-1), back.reshape(-1, back.shape[-1])
    if module.padding_idx is not None:
        back = back * (ids != module.padding_idx)[:, None]
    yield module.weight, Lookups(ids, back, layout.of(given.shape), module.weight.shape)


def _normalised(
    module: Any, given: Tensor, back: Tensor, layout: Layout
) -> Iterator[tuple[Parameter, Contribution]]:
    """Layers that normalise, then scale and shift."""
    if isinstance(module, nn.GroupNorm):
        plain = F.group_norm(given.float(), module.num_groups, None, None, module.eps)
        # [B, C, ...] -> [n, C]
        plain, back = plain.movedim(1, -1), back.movedim(1, -1)
        kept = 1
    else:
        plain = F.layer_norm(given.float(), module.normalized_shape, None, None, module.eps)
        kept = len(module.normalized_shape)
    owners = layout.of(plain.shape[:-kept])
    plain, back = (t.reshape(-1, *t.shape[-kept:]).float() for t in (plain, back))
    if module.weight.requires_grad:
        yield module.weight, Formed(owners.summed(plain * back))
    if module.bias is not None and module.bias.requires_grad:
        yield module.bias, Formed(owners.summed(back))


def _scaled(
    module: Any, given: Tensor, back: Tensor, layout: Layout
) -> Iterator[tuple[Parameter, Contribution]]:
    """Layers of many names that normalise and scale: affine in their weight, some add 1 to it."""
    ((name, weight),) = module.named_parameters()
    with torch.no_grad():
        at = [
            torch.func.functional_call(module, {name: torch.full_like(weight, value)}, (given,))
            for value in (0.0, 1.0)
        ]
    plain = (at[1] - at[0]).float().reshape(-1, given.shape[-1])
    back = back.float().reshape(-1, given.shape[-1])
    yield weight, Formed(layout.of(given.shape[:-1]).summed(plain * back))


def _convolution(
    module: Any, given: Tensor, back: Tensor, layout: Layout
) -> Iterator[tuple[Parameter, Contribution]]:
    """A convolution is a linear layer on patches."""
    if back.dim() != 2 + len(module.kernel_size):
        raise CannotSeparate
    how = [module.kernel_size, module.dilation, module.padding, module.stride]
    if isinstance(module, nn.Conv1d):
        flat = zip((1, 1, 0, 1), (one for (one,) in how), strict=True)
        given, how = given[:, :, None], list(flat)
    patches = F.unfold(given.float(), *how).mT  # [B, L, C k]
    back = back.flatten(2).mT  # [B, L, O]
    owners = layout.of(patches.shape[:-1])
    back = back.reshape(-1, back.shape[-1])
    if module.weight.requires_grad:
        patches = patches.reshape(-1, patches.shape[-1])
        yield module.weight, Products(back, patches, owners, module.weight.shape)
    if module.bias is not None and module.bias.requires_grad:
        yield module.bias, Formed(owners.summed(back.float()))


def merged(parts: Sequence[Contribution]) -> Contribution:
    """All contributions to one parameter as one.

    Raises:
        CannotSeparate: no rule adds them.
    """
    if len(parts) == 1:
        return parts[0]
    formed = [part for part in parts if isinstance(part, Formed)]
    if len(formed) == len(parts):
        return Formed(torch.stack([part.each for part in formed]).sum(0))
    products = [part for part in parts if isinstance(part, Products)]
    lookups = [part for part in parts if isinstance(part, Lookups)]
    if formed or (len(lookups) > 1 and products):
        raise CannotSeparate
    if len({(part.left.shape[1], part.right.shape[1]) for part in products}) > 1:
        raise CannotSeparate
    if not lookups:
        owners, order = _together(products)
        left, right = (torch.cat([getattr(p, side) for p in products])[order] for side in
                       ("left", "right"))  # fmt: skip
        return Products(left, right, owners, products[0].shape)
    if not products:
        owners, order = _together(lookups)
        ids = torch.cat([part.ids for part in lookups])[order]
        return Lookups(ids, torch.cat([p.back for p in lookups])[order], owners, lookups[0].shape)
    head = merged(products)
    assert isinstance(head, Products)
    # As it stands in an embedding: what came back of a token is a row.
    if head.left.shape[1] != head.shape[0]:
        raise CannotSeparate
    return Tied(lookups[0], head)


def _together(parts: Sequence[Any]) -> tuple[Owners, Tensor]:
    index = torch.cat([part.owners.index for part in parts])
    order = torch.argsort(index, stable=True)
    return Owners(index[order], parts[0].owners.units), order


def _product(sizes: Sequence[int]) -> int:
    total = 1
    for size in sizes:
        total *= size
    return total
