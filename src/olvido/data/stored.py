"""A dataset's rows where there are too many to hold: checked at once, then read one by one."""

from __future__ import annotations

import json
import os
import tempfile
import weakref
from array import array
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, overload

import pyarrow as pa

from olvido.errors import DigestMismatch, StateError
from olvido.ledger.digests import canonical_json
from olvido.ledger.facts import DatasetVersion
from olvido.ledger.rows import (
    BATCH,
    COLUMNS,
    KEY,
    KEY_BYTES,
    SCHEMA,
    canonical_row,
    opened,
    present,
    require_root,
    row_digest,
    rows_left,
    subjects_of,
    unpacked,
)
from olvido.ledger.store import Store

_DIGEST = 32


class StoredRows(Sequence[dict[str, Any]]):
    """The rows that `load_rows` returns, each read when it is asked for.

    All rows are read once and checked against the dataset's Merkle root. Parquet gives no row
    without thousands of others, so each is written with its key to a file without a name, which
    goes with this object or with its process. Every later reading is checked against the digest
    that the root was checked with. In memory are the ids, and 44 bytes a row.

    Args:
        store, data, dataset, exclude, tombstoned: see `load_rows`, whose errors are raised.

    Attributes:
        ids: of the rows, in their order.
    """

    def __init__(
        self,
        store: Store,
        data: Path,
        dataset: DatasetVersion,
        *,
        exclude: Collection[str] = (),
        tombstoned: bool = False,
    ) -> None:
        self._key, self._path = store.key, data / dataset.file
        self._starts, self._digests = array("Q", [0]), bytearray()
        ids = self._copied(data)
        order = sorted(range(len(ids)), key=ids.__getitem__)
        leaves = {ids[row]: self._digest(row) for row in order}
        if len(leaves) < len(ids):
            raise StateError(
                f"the rows {self._path} are damaged (an id stands twice): restore them from a "
                "backup"
            )
        gone = require_root(store, data, dataset, leaves)
        left_out = rows_left(store, dataset, leaves, gone, exclude, tombstoned=tombstoned)
        self._order = array("I", (row for row in order if ids[row] not in left_out))
        self.ids = tuple(ids[row] for row in self._order)

    def _copied(self, folder: Path) -> list[str]:
        """Copy all rows to the unnamed file, and return their ids in the file's order."""
        ids: list[str] = []
        at = 0
        with tempfile.TemporaryFile(dir=folder) as unnamed:
            self._file = os.dup(unnamed.fileno())
        weakref.finalize(self, os.close, self._file)
        for names, keys, canonicals in _canonical(self._path):
            ids += names
            for key, canonical in zip(keys, canonicals, strict=True):
                self._digests += row_digest(key, canonical)
                at += len(key) + len(canonical)
                self._starts.append(at)
            whole = b"".join(part for row in zip(keys, canonicals, strict=True) for part in row)
            try:
                while whole:
                    whole = whole[os.write(self._file, whole) :]
            except OSError as error:
                raise StateError(
                    f"the rows of {self._path} could not be copied to be read one by one "
                    f"({error}): free space for {folder}"
                ) from error
        return ids

    def _digest(self, row: int) -> bytes:
        return bytes(self._digests[_DIGEST * row : _DIGEST * (row + 1)])

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, place: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, place: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, place: int | slice) -> Any:
        """Read the row at a place, or the rows at several. Raises DigestMismatch for another."""
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        row = self._order[place]
        start, end = self._starts[row], self._starts[row + 1]
        packed = os.pread(self._file, end - start, start)
        key, canonical = packed[:KEY_BYTES], packed[KEY_BYTES:]
        if (found := row_digest(key, canonical)) != (expected := self._digest(row)):
            raise DigestMismatch(f"a row copied from {self._path}", expected.hex(), found.hex())
        read: dict[str, Any] = json.loads(canonical)
        return unpacked(read) | {"subjects": subjects_of(read, self._key)}


def _canonical(path: Path) -> Iterator[tuple[list[str], list[bytes], list[bytes]]]:
    """Ids, keys and canonical JSON of the rows of a file, in parts. Raises as `stored_rows`."""
    with opened(path) as file:
        for batch in file.iter_batches(batch_size=BATCH):
            if batch.schema.equals(SCHEMA) and not _odd(batch):
                yield _plain(batch)
                continue
            try:
                yield _unusual(batch)
            except (TypeError, ValueError) as error:
                raise StateError(
                    f"the rows {path} are damaged ({error}): restore them from a backup"
                ) from error


def _unusual(batch: pa.RecordBatch) -> tuple[list[str], list[bytes], list[bytes]]:
    """The same of rows that were not written so: their root says whether they are others."""
    rows = list(present(batch))
    keys = [row.pop(KEY, b"") for row in rows]
    return [str(row.get("id")) for row in rows], keys, list(map(canonical_json, rows))


def _odd(batch: pa.RecordBatch) -> bool:
    """Whether a value is missing that every stored row has."""
    subjects = batch.column("subjects")
    always = (*map(batch.column, ("id", "consent", KEY)), subjects, subjects.flatten())
    return any(column.null_count for column in always)


def _plain(batch: pa.RecordBatch) -> tuple[list[str], list[bytes], list[bytes]]:
    """The same by columns, in a fraction of the time."""
    nothing = [None] * len(batch)
    columns: list[list[Any]] = []
    for column in map(batch.column, COLUMNS):
        if pa.types.is_list(column.type):
            # A slice of a file's values begins where the batch before it ended.
            people = column.flatten().to_pylist()
            ends = column.offsets.to_pylist()
            columns.append([people[a - ends[0] : b - ends[0]] for a, b in pairwise(ends)])
        else:
            columns.append(nothing if column.null_count == len(batch) else column.to_pylist())
    canonicals = list(map(canonical_row, zip(*columns, strict=True)))
    return columns[0], batch.column(KEY).to_pylist(), canonicals
