"""Per-record gradients of one parameter, kept as factors, and sums over them.

Where a layer multiplies its input by a matrix, a record's gradient is a sum over positions of outer
products: a few thousand numbers instead of millions. Norms, inner products and sums of squares are
worked out from the factors, by whichever rule takes fewer multiplications (Goodfellow 2015, arXiv
1510.01799, for one position; Li et al. 2022, arXiv 2110.05679, for many).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

CHUNK_BYTES = 64 << 20
"""Memory for gradients that have to be written out, at a time."""


@dataclass(frozen=True)
class Outer:
    """What one use of a matrix [O, I] gives each record: the sum over t of left[t] right[t]'.

    Attributes:
        left: [B, T, O]; or whole numbers [B, T] that stand for one-hot rows.
        right: [B, T, I].
        width: O.
    """

    left: Tensor
    right: Tensor
    width: int

    @property
    def one_hot(self) -> bool:
        """Whether `left` holds places instead of rows."""
        return self.left.dim() == 2

    def rows(self, where: slice) -> Outer:
        """The same of some records."""
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
        """Inner product of each record's gradient with its own in another use. [B]"""
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
        uses: of a matrix, one for each time the model used it (a head tied to an embedding: two).
        direct: the gradients themselves, where they are small. [B, *shape]
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
        """The same of some records."""
        if self.direct is not None:
            return replace(self, direct=self.direct[where])
        return replace(self, uses=tuple(use.rows(where) for use in self.uses))

    def joined(self, other: Factored) -> Factored:
        """The gradients of a parameter that was used in both ways."""
        if self.direct is None and other.direct is None:
            return replace(self, uses=self.uses + other.uses)
        return Factored(self.shape, direct=self.dense() + other.dense())

    def dense(self) -> Tensor:
        """The gradients. [B, *shape]"""
        if self.direct is not None:
            return self.direct
        found = self.uses[0].dense()
        for use in self.uses[1:]:
            found = found + use.dense()
        return found.reshape(-1, *self.shape)

    def chunks(self) -> Iterator[Tensor]:
        """The gradients, a few records at a time. [b, *shape]"""
        step = max(1, CHUNK_BYTES // (4 * max(1, self.shape.numel())))
        for start in range(0, len(self), step):
            yield self.rows(slice(start, start + step)).dense()

    def total(self, weights: Tensor) -> Tensor:
        """The weighted sum over records. [*shape]"""
        if self.direct is not None:
            return torch.tensordot(weights, self.direct, dims=1)
        return sum_of([use.total(weights) for use in self.uses]).reshape(self.shape)

    def is_longer_than_large(self) -> bool:
        """Whether writing the gradients out is less work than letting all positions meet."""
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
    """Sum of squares where each record touches few rows: a token that comes twice in a record is
    added up before it is squared."""
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
