"""Rows that hold an array and the name of its class, in place of a text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from olvido.data.arrays.pictures import as_pixels
from olvido.data.arrays.values import read_array, read_label, stored
from olvido.errors import InputError
from olvido.ledger.digests import canonical_json


class Form(NamedTuple):
    """What the arrays of a dataset share: their shape, and whether they are bytes."""

    shape: tuple[int, ...]
    bytes: bool

    def __str__(self) -> str:
        """As in an error."""
        return f"an array of {'bytes' if self.bytes else 'numbers'}, {list(self.shape)}"


class ArrayRows:
    """Reads the rows of one file that hold arrays, all of one form.

    Args:
        input, label: the columns of the array and of its class.
    """

    def __init__(self, input: str, label: str) -> None:
        self.input, self.label = input, label
        self._form: Form | None = None

    def has(self, row: Mapping[str, Any]) -> bool:
        """Whether a row without a text holds an array; a text there is any column."""
        value = row.get(self.input)
        return value is not None and not isinstance(value, str)

    def read(self, row: Mapping[str, Any]) -> tuple[dict[str, Any], Form]:
        """The row with its array as it is stored, under `input`, and its class under `label`.

        Raises:
            InputError: no class, or no array that can be learned.
        """
        if row.get(self.label) is None:
            raise InputError(
                f"there is {self.input!r} but no {self.label!r}: an array is learned with the name "
                "of its class"
            )
        array, label = read_array(as_pixels(row[self.input])), read_label(row[self.label])
        rest = {n: v for n, v in row.items() if n not in (self.input, self.label)}
        form = Form(array.shape, array.dtype.str == "|u1")
        return {**rest, "input": stored(array), "label": label}, form

    def require_alike(self, form: Form | None, *, first: bool) -> None:
        """Refuse a row of another form than those before it; None stands for a text.

        Raises:
            InputError: both forms.
        """
        if first:
            self._form = form
        if form != self._form:
            this, before = (one or "a text" for one in (form, self._form))
            raise InputError(
                f"this row holds {this}, and those before it {before}: give rows of one kind and "
                "shape"
            )


def said_in(row: Mapping[str, Any]) -> tuple[str | None, str | None, str | None]:
    """What a stored row says, by which it is recognised again: prompt, completion and text.

    An array has none of these: in the place of the text stands the digest of its numbers.
    """
    texts = row.get("prompt"), row.get("completion"), row.get("text")
    array = array_in(row) if texts == (None, None, None) else None
    if array is None:
        return texts
    return None, None, f"array {hashlib.sha256(canonical_json(array)).hexdigest()}"


def array_in(row: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The array of a stored row, as its type, shape and data; None where it is a text."""
    if any(row.get(name) for name in ("prompt", "completion", "text")):
        return None
    found: Mapping[str, Any] | None = json.loads(row.get("extras", "{}")).get("input")
    return found
