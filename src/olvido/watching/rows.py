"""Which record each row of a trainer's data set is: by its id, and its tokens hold the text."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from olvido.errors import InputError, ParameterName, UnknownName
from olvido.tasks import Example

Collate = Callable[[list[Any]], Mapping[str, Any]]

_IGNORED = -100
"""The label of a token that is not learned."""


@dataclass(frozen=True)
class Rows:
    """The rows that a trainer may put to a model, by a digest of their tokens.

    Attributes:
        records: ids of the records that have these tokens, by the digest; equal rows have several.
    """

    records: Mapping[bytes, tuple[str, ...]]

    @property
    def ids(self) -> frozenset[str]:
        """Ids of all records that have a row."""
        return frozenset(i for ids in self.records.values() for i in ids)

    def in_batch(self, batch: Mapping[str, Any]) -> list[str]:
        """Ids of the records in a batch.

        Raises:
            InputError: the batch has a row that is none of the data set's, or other targets than
                its own tokens.
        """
        found = [i for tokens in tokens_in(batch) for i in self._found(tokens)]
        _require_own_targets(batch)
        return found

    def _found(self, tokens: Sequence[int]) -> tuple[str, ...]:
        found = self.records.get(_key(tokens))
        if found is None:
            raise InputError(
                f"a row of {len(tokens)} tokens went to the model that is no row of the data set "
                "as it was before the first step, so that nobody knows what is taught: rows that "
                "are packed together, cut, masked or changed at random cannot be watched; switch "
                "that off (packing, padding_free)"
            )
        return found


def rows_of(
    dataset: Any,
    collate: Collate,
    tokenizer: Any,
    records: Mapping[str, Example],
    ids: Sequence[Any] | None,
) -> Rows:
    """Match the rows of a trainer's data set with records.

    Args:
        dataset: the trainer's, with a length and rows by number.
        collate: makes batches of its rows.
        tokenizer: the one whose tokens they are.
        records: those that may be taught, by id.
        ids: of each row's record, in the order of the rows; None: rows have them as `id`.

    Raises:
        InputError: the rows cannot be read by number, have no id, or do not hold what their
            record says.
        UnknownName: a row's id is no record's.
    """
    if isinstance(dataset, IterableDataset) or not (
        isinstance(dataset, Sized) and hasattr(dataset, "__getitem__")
    ):
        raise InputError(
            "the training's data set is a stream, whose rows have no number: give one with a "
            "length and rows by number, such as a list or a datasets.Dataset"
        )
    if ids is not None and len(ids) != len(dataset):
        raise InputError(
            f"there are {len(ids)} ids (", ParameterName("ids"), f") and {len(dataset)} rows: give "
            "the id of each row's record, in the order of the rows"
        )  # fmt: skip
    found: dict[bytes, tuple[str, ...]] = {}
    for place in range(len(dataset)):
        row = dataset[place]
        name = _id_of(row, place) if ids is None else str(ids[place])
        if name not in records:
            raise UnknownName("record", name, records)
        (tokens,) = tokens_in(collate([row]))
        _require_said(tokens, tokenizer, records[name])
        key = _key(tokens)
        found[key] = tuple(dict.fromkeys((*found.get(key, ()), name)))
    return Rows(found)


def _id_of(row: Any, place: int) -> str:
    if not isinstance(row, Mapping) or row.get("id") is None:
        raise InputError(
            f"row {place} of the training's data set has no 'id', so that nobody knows which "
            "record it is (a datasets.Dataset loses the columns that the model does not take): "
            "give the ids of all rows in their order (",
            ParameterName("ids"),
            "), such as dataset['id']",
        )
    return str(row["id"])


def _require_said(tokens: Sequence[int], tokenizer: Any, record: Example) -> None:
    """Raise InputError where a row's tokens do not hold all that its record says."""
    there = _squeezed(tokenizer, tokens)
    said = (*(content for _, content in record.history), record.prompt, record.completion)
    for part in filter(None, said):
        wanted = _squeezed(tokenizer, tokenizer(part, add_special_tokens=False)["input_ids"])
        if wanted not in there:
            raise InputError(
                f"the row of record {record.id!r} does not hold what the record says: give each "
                "row the id of its record, and a max_length in which it is whole"
            )


def _squeezed(tokenizer: Any, tokens: Sequence[int]) -> str:
    return "".join(tokenizer.decode(tokens, skip_special_tokens=True).split())


def tokens_in(batch: Mapping[str, Any]) -> list[list[int]]:
    """The tokens of each row of a batch, without its padding.

    Raises:
        InputError: the batch has no tokens, or a mask that does not tell which are padding.
    """
    ids, mask = batch.get("input_ids"), batch.get("attention_mask")
    if not isinstance(ids, Tensor) or ids.ndim != 2:
        raise InputError(
            "the training puts batches to its model without input_ids of shape [rows, tokens], so "
            "that nobody sees which records they hold: only trainings on tokens can be watched"
        )
    if mask is None:
        return list(ids.tolist())
    if not isinstance(mask, Tensor) or mask.shape != ids.shape:
        raise InputError(
            "the attention mask has another shape than the tokens, as where rows are packed "
            "together: switch packing off"
        )
    return [row[keep].tolist() for row, keep in zip(ids, mask.bool(), strict=True)]


def _require_own_targets(batch: Mapping[str, Any]) -> None:
    """Raise InputError where a batch teaches something else than its rows' own next tokens."""
    labels, ids = batch.get("labels"), batch["input_ids"]
    if not isinstance(labels, Tensor):
        raise InputError(
            "the training puts batches without labels to its model, so that its loss is computed "
            "elsewhere and nobody sees what is taught: let the model compute it (no label "
            "smoothing, and no loss of your own)"
        )
    if labels.shape != ids.shape or not bool(((labels == ids) | (labels == _IGNORED)).all()):
        raise InputError(
            "the training's labels are other tokens than its rows hold, so that it teaches what no "
            "record says: give the rows' own tokens as labels, with -100 where none is learned"
        )


def _key(tokens: Sequence[int]) -> bytes:
    return hashlib.sha256(np.asarray(tokens, dtype="<i8").tobytes()).digest()


@contextmanager
def random_numbers_kept() -> Iterator[None]:
    """Leave every generator as it was: a data set or a collator may draw from them."""
    own, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002 - that others draw from
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(own)
        np.random.set_state(arrays)  # noqa: NPY002
