"""Batches of token ids, and the windows of texts that are longer than a model reads at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from itertools import pairwise
from typing import Self

import numpy as np
import torch
from torch import Tensor

from olvido.errors import InputError

WIDTH_STEP = 4
"""Widths are rounded up to this many tokens, so that batches of like length share a shape."""


def rounded(size: int) -> int:
    """The width of a record of so many tokens."""
    return -(-size // WIDTH_STEP) * WIDTH_STEP


class Encoded(tuple[list[int], list[int]]):
    """A record as token ids: a model's input before it answers, and the expected answer.

    Attributes:
        earlier: the places of earlier answers in the input, each its start and the place behind
            its end.
        text: whether it is a text, which may be read in windows; its input is its first token.
    """

    earlier: tuple[tuple[int, int], ...]
    text: bool

    def __new__(
        cls,
        prompt: list[int],
        answer: list[int],
        earlier: tuple[tuple[int, int], ...] = (),
        text: bool = False,
    ) -> Self:
        made = super().__new__(cls, (prompt, answer))
        made.earlier, made.text = earlier, text
        return made

    def __getnewargs__(self) -> tuple[object, ...]:
        return *self, self.earlier, self.text

    @property
    def prompt(self) -> list[int]:
        """The input."""
        return self[0]

    @property
    def answer(self) -> list[int]:
        """The expected answer."""
        return self[1]

    @property
    def size(self) -> int:
        """The number of its tokens."""
        return len(self.prompt) + len(self.answer)

    @property
    def width(self) -> int:
        """Its tokens, rounded up to `WIDTH_STEP`."""
        return rounded(self.size)


@dataclass(frozen=True)
class Batch:
    """Records prepared for one forward pass, padded on the right.

    Attributes:
        ids: the records' ids, in row order. [B]
        input_ids: token ids. [B, T]
        attention_mask: 1 where a token stands, 0 where padding does. [B, T]
        targets: the token to be predicted *at* each position by the position before it, -100 where
            there is none (prompt, padding, first token). [B, T]
        texts: whether each row is a text; empty where none is. [B]
        window: tokens of a text that a model reads at once, at the most; None: all.
    """

    ids: tuple[str, ...]
    input_ids: Tensor
    attention_mask: Tensor
    targets: Tensor
    _: KW_ONLY
    texts: tuple[bool, ...] = ()
    window: int | None = None

    @property
    def cost(self) -> int:
        """Tokens of one pass over the batch, padding included."""
        return self.input_ids.numel()

    def to(self, device: torch.device | str) -> Self:
        """The batch on another device."""
        return replace(
            self,
            input_ids=self.input_ids.to(device),
            attention_mask=self.attention_mask.to(device),
            targets=self.targets.to(device),
        )


def padded(
    names: Sequence[str], records: Sequence[Encoded], *, width: int, pad: int, window: int
) -> Batch:
    """One batch of encoded records in this order, padded on the right to `width` tokens."""
    ids = np.full((len(records), width), pad, dtype=np.int64)
    mask = np.zeros((len(records), width), dtype=np.int64)
    targets = np.full((len(records), width), -100, dtype=np.int64)
    for row, one in enumerate(records):
        ids[row, : one.size] = one.prompt + one.answer
        mask[row, : one.size] = 1
        for start, end in (*one.earlier, (len(one.prompt), one.size)):
            targets[row, start:end] = ids[row, start:end]
    tensors = map(torch.from_numpy, (ids, mask, targets))
    texts = tuple(one.text for one in records)
    return Batch(tuple(names), *tensors, texts=texts, window=window)


@dataclass(frozen=True)
class Windows:
    """A batch as a model reads it: one row for each window, in the order of the records.

    Attributes:
        batch: its rows are windows, each with its record's id; the first token of a window is no
            target, since nothing comes before it.
        owners: the row of each window's record; None where every record is one window.
        places: the start of each window in its record, and the place behind its end.
        width: the widest row of the whole batch.
    """

    batch: Batch
    owners: Tensor | None = None
    places: tuple[tuple[int, int], ...] = ()
    width: int = 0

    def records(self, rows: Tensor) -> Tensor:
        """The records of these windows, each by its row. [N] -> [N]"""
        return rows if self.owners is None else self.owners[rows]

    def whole(self, states: Tensor) -> Tensor:
        """Values of each position of the windows, put together by record. [R, W, ...] ->
        [B, T, ...]; zero at padding."""
        if self.owners is None:
            return states
        owners = self.owners.tolist()
        found = states.new_zeros(owners[-1] + 1, self.width, *states.shape[2:])
        for row, (owner, (start, end)) in enumerate(zip(owners, self.places, strict=True)):
            found[owner, start:end] = states[row, : end - start]
        return found


def windows(batch: Batch, room: int | None) -> Windows:
    """The windows of a batch's records for a model with this many positions (None: any number).

    A text of more tokens becomes as few windows as fit, consecutive, without overlap, and of equal
    length but for one token. Padding beyond the model's positions is left out.

    Raises:
        InputError: a record that is no text has more tokens than the model has positions.
    """
    width = batch.input_ids.shape[1]
    texts = batch.texts or (False,) * len(batch.ids)
    limits = [
        min(filter(None, (room, batch.window if text else None)), default=width) for text in texts
    ]
    if min(limits, default=width) >= width:
        return Windows(batch)
    lengths: list[int] = batch.attention_mask.sum(dim=1).tolist()
    for name, text, length in zip(batch.ids, texts, lengths, strict=True):
        if not text:
            require_room(name, length, room)
    if all(length <= limit for length, limit in zip(lengths, limits, strict=True)):
        return Windows(_cut(batch, room))
    places: list[tuple[int, int, int]] = []
    for row, (length, limit) in enumerate(zip(lengths, limits, strict=True)):
        several = -(-length // limit)
        ends = [length * number // several for number in range(several + 1)]
        places += [(row, start, end) for start, end in pairwise(ends)]
    size = max(-(-(end - start) // WIDTH_STEP) * WIDTH_STEP for _, start, end in places)
    size = size if room is None else min(size, room)
    # Positions of padding repeat a padded position of the batch, or else its last one.
    shape = len(places), size
    ids = batch.input_ids[:1, -1:].repeat(*shape)
    mask, targets = torch.zeros_like(ids), torch.full_like(ids, -100)
    for part, (row, start, end) in enumerate(places):
        ids[part, : end - start] = batch.input_ids[row, start:end]
        mask[part, : end - start] = 1
        first = int(start > 0)
        targets[part, first : end - start] = batch.targets[row, start + first : end]
    owners = torch.tensor([row for row, _, _ in places], device=ids.device)
    cut = replace(
        batch,
        ids=tuple(batch.ids[row] for row, _, _ in places),
        input_ids=ids,
        attention_mask=mask,
        targets=targets,
        texts=tuple(texts[row] for row, _, _ in places),
    )
    return Windows(cut, owners, tuple((start, end) for _, start, end in places), width)


def _cut(batch: Batch, room: int | None) -> Batch:
    """The batch without padding beyond these positions."""
    if room is None or batch.input_ids.shape[1] <= room:
        return batch
    return replace(
        batch,
        input_ids=batch.input_ids[:, :room],
        attention_mask=batch.attention_mask[:, :room],
        targets=batch.targets[:, :room],
    )


def require_room(name: str, size: int, room: int | None) -> None:
    """Refuse a record with more tokens than a model's positions.

    Raises:
        InputError: it does not fit.
    """
    if room is not None and size > room:
        raise InputError(
            f"record {name!r} has {size} tokens, at most {room} fit: split it into several records"
        )
