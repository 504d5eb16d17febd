"""The stored rows: one Parquet file for each dataset, named after its Merkle root.

A stored row has the columns below. The further columns of a record are one JSON object in
`extras`, so that any JSON value comes back unchanged.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate, chain
from json.encoder import encode_basestring as _quote
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from olvido.errors import DigestMismatch, StateError, UnknownName
from olvido.files import begun_file, make_folder, open_plain, publish
from olvido.ledger.digests import canonical_json, records_root
from olvido.ledger.facts import DatasetVersion
from olvido.ledger.identity import Key
from olvido.ledger.store import Store

COLUMNS = (
    "id",
    "prompt",
    "completion",
    "text",
    "subjects",
    "source",
    "licence",
    "consent",
    "collected_at",
    "extras",
)
"""Names of a stored row's columns; all but `id`, `subjects` and `consent` may be absent."""

StoredRow = tuple[Any, ...]
"""A row to be written: one value for each column in their order, None where absent."""

KEY = "record_key"
"""The column with a record's own random bytes, which are nowhere else and erased with its row."""
KEY_BYTES = 32

SCHEMA = pa.schema(
    [(name, pa.list_(pa.string()) if name == "subjects" else pa.string()) for name in COLUMNS]
    + [(KEY, pa.binary(KEY_BYTES))]
)
_REPEATED = ["subjects.list.element", "source", "licence", "consent", "collected_at"]
BATCH = 5_000
"""The number of rows that are written and read together."""
_WRITER = re.compile(r"parquet-cpp-arrow version [0-9.]+$")
_FINISHED = re.compile(r"[0-9a-f]{64}\.parquet")


def canonical_row(row: StoredRow) -> bytes:
    """The canonical JSON of a stored row without its absent values, faster than `canonical_json`.

    Only for checked rows: a file may hold anything, and needs `canonical_json`.

    >>> row = ("7", None, None, "é", ("a", "b"), None, None, "unknown", None, None)
    >>> canonical_row(row).decode()
    '{"consent":"unknown","id":"7","subjects":["a","b"],"text":"é"}'
    """
    identifier, prompt, completion, text, subjects, *rest = row
    source, licence, consent, collected, extras = rest
    # In the order of names, around the first column that every row has.
    canonical = f'"consent":{_quote(consent)}'
    if completion is not None:
        canonical = f'"completion":{_quote(completion)},{canonical}'
    if collected is not None:
        canonical = f'"collected_at":{_quote(collected)},{canonical}'
    if extras is not None:
        canonical = f'{canonical},"extras":{_quote(extras)}'
    if identifier is not None:
        canonical = f'{canonical},"id":{_quote(identifier)}'
    if licence is not None:
        canonical = f'{canonical},"licence":{_quote(licence)}'
    if prompt is not None:
        canonical = f'{canonical},"prompt":{_quote(prompt)}'
    if source is not None:
        canonical = f'{canonical},"source":{_quote(source)}'
    canonical = f'{canonical},"subjects":[{",".join(map(_quote, subjects))}]'
    if text is not None:
        canonical = f'{canonical},"text":{_quote(text)}'
    return f"{{{canonical}}}".encode()


def row_digest(key: bytes, canonical: bytes) -> bytes:
    """The 32-byte leaf of a stored row: SHA-256 over the record's key and its canonical JSON.

    The ledger keeps the digest and not the key: without the row's file nobody can test a guess at
    its content, and after the row's erasure nobody can at all (crypto-shredding).
    """
    return hashlib.sha256(key + canonical).digest()


class RowWriter:
    """Writes stored rows to a temporary file that gets its name only when it is complete.

    Without `publish` the file is removed.
    """

    def __init__(self, folder: Path) -> None:
        """Begin a file in `folder`, which is made if needed."""
        make_folder(folder)
        self._folder = folder
        self._path, self._file = begun_file(folder)
        # The lock lasts until the file has its name, after it was closed.
        self._held = os.dup(self._file.fileno())
        self._parquet = pq.ParquetWriter(
            self._file, SCHEMA, compression="zstd", use_dictionary=_REPEATED
        )

    def add(self, rows: Sequence[StoredRow], keys: bytes) -> None:
        """Append stored rows with their concatenated keys; fastest with `BATCH` rows at a time."""
        kind = SCHEMA.field(KEY).type
        for at in range(0, len(rows), BATCH):
            part = rows[at : at + BATCH]
            columns = zip(SCHEMA, zip(*part, strict=True), strict=False)
            arrays = [_array(values, field.type) for field, values in columns]
            own = pa.py_buffer(keys[at * KEY_BYTES : (at + len(part)) * KEY_BYTES])
            arrays.append(pa.Array.from_buffers(kind, len(part), [None, own]))
            self._parquet.write_batch(pa.record_batch(arrays, schema=SCHEMA))

    def publish(self, name: str) -> None:
        """Make the file durable under its name."""
        self._parquet.close()
        self._file.close()
        publish(self._path, self._folder / name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._held)
        if not self._file.closed:
            # Closing writes the buffer and Parquet's footer. They are not wanted now, and a full
            # disk must not fail a second time: discard them.
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), self._file.fileno())
            self._parquet.close()
            self._file.close()
        self._path.unlink(missing_ok=True)


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if values.count(None) == len(values):
        # Most datasets lack several columns altogether.
        return pa.nulls(len(values), kind)
    if not pa.types.is_list(kind):
        return pa.array(values, kind)
    # Arrow converts a long list of short lists much faster in pieces.
    ends = list(accumulate(map(len, values), initial=0))
    return pa.ListArray.from_arrays(
        pa.array(ends, pa.int32()), pa.array(list(chain.from_iterable(values)), kind.value_type)
    )


def stored_rows(
    path: Path, ids: Collection[str] | None = None, *, keys: bool = False
) -> Iterator[dict[str, Any]]:
    """The stored rows of a file, absent values left out. Raises StateError if unreadable.

    Args:
        path: the file.
        ids: the ids of the wanted rows; other rows, and parts of the file without wanted rows, are
            not unpacked. None: all.
        keys: whether to include each record's key, under `KEY`.
    """
    columns = None if keys else list(COLUMNS)
    with opened(path) as file:
        if ids is None:
            for batch in file.iter_batches(batch_size=BATCH, columns=columns):
                yield from present(batch)
            return
        wanted = sorted(set(ids))
        values = pa.array(wanted, pa.string())
        for number in range(file.num_row_groups):
            if _may_hold(file.metadata.row_group(number), wanted):
                there = pc.is_in(file.read_row_group(number, ["id"]).column("id"), value_set=values)
                if pc.any(there).as_py():
                    yield from present(file.read_row_group(number, columns).filter(there))


def rows_at(path: Path, places: Sequence[int]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The stored rows at these places of a file, counted from 0, each with its place.

    Args:
        path: the file.
        places: ascending; parts of the file without any are not read.

    Raises:
        StateError: the file cannot be read.
    """
    with opened(path) as file:
        first, rest = 0, list(places)
        for number in range(file.num_row_groups):
            end = first + file.metadata.row_group(number).num_rows
            here = rest[: bisect_left(rest, end)]
            if here:
                rest = rest[len(here) :]
                group = file.read_row_group(number, list(COLUMNS)).take(
                    [place - first for place in here]
                )
                yield from zip(here, present(group), strict=True)
            first = end


def rows_in(path: Path) -> int:
    """How many stored rows a file has. Raises StateError if unreadable."""
    with opened(path) as file:
        return int(file.metadata.num_rows)


def holds_rows_alone(path: Path) -> bool:
    """Whether a file has stored rows and nothing else: no metadata, no other bytes.

    The rows' content is not checked: their Merkle root covers it.
    """
    try:
        with opened(path) as file:
            about, schema = file.metadata, file.schema_arrow
    except StateError:
        return False
    groups = (about.row_group(number) for number in range(about.num_row_groups))
    columns = [group.column(number) for group in groups for number in range(about.num_columns)]
    packed = sum(column.total_compressed_size for column in columns)
    # The magic bytes are before and after the columns, and the footer's length is at the end.
    rest = path.stat().st_size - packed - about.serialized_size - 12
    fields = (
        *schema,
        *(field.type.value_field for field in schema if pa.types.is_list(field.type)),
    )
    return (
        rest == 0
        and set(about.metadata or {}) <= {b"ARROW:schema"}
        and bool(_WRITER.match(about.created_by or ""))
        and bool(schema.equals(SCHEMA))
        and not any(said.metadata for said in (schema, *fields))
    )


def footer_digest(path: Path) -> str:
    """SHA-256 of a file's footer, in hex: it differs for other rows."""
    try:
        with open_plain(path) as file:
            file.seek(-8, os.SEEK_END)
            length = int.from_bytes(file.read(4), "little")
            file.seek(-8 - length, os.SEEK_END)
            return hashlib.sha256(file.read()).hexdigest()
    except FileNotFoundError:
        raise StateError(f"the rows {path} are missing: restore them from a backup") from None
    except OSError as error:
        raise StateError(
            f"the rows {path} are damaged ({error}): restore them from a backup"
        ) from error


def text_of(row: Mapping[str, Any]) -> str:
    """The whole text of a stored row."""
    return " ".join(row[name] for name in ("prompt", "completion", "text") if row.get(name))


@contextmanager
def opened(path: Path) -> Iterator[pq.ParquetFile]:
    """A file of stored rows. Raises StateError where it cannot be read."""
    try:
        # Reading a pipe in its place would block.
        open_plain(path).close()
        with pq.ParquetFile(path) as file:
            yield file
    except FileNotFoundError:
        raise StateError(f"the rows {path} are missing: restore them from a backup") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise StateError(
            f"the rows {path} are damaged ({error}): restore them from a backup"
        ) from error


def present(rows: pa.Table | pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """Rows as dictionaries, absent values left out."""
    for row in rows.to_pylist():
        yield {name: value for name, value in row.items() if value is not None}


def _may_hold(group: pq.RowGroupMetaData, wanted: Sequence[str]) -> bool:
    """Whether any of these ids, ascending, is within the range of a part's ids."""
    said = group.column(0).statistics
    if said is None or not said.has_min_max:
        return True
    at = bisect_left(wanted, said.min)
    return at < len(wanted) and wanted[at] <= said.max


def load_rows(
    store: Store,
    data: Path,
    dataset: DatasetVersion,
    *,
    exclude: Collection[str] = (),
    tombstoned: bool = False,
) -> list[dict[str, Any]]:
    """The rows of a dataset in the order of their ids, checked against its Merkle root.

    Each has `id`, `subjects` (strings of SubjectId), `consent`, its values of `prompt`,
    `completion`, `text`, `source`, `licence`, `collected_at`, and the further columns of its file.
    Tombstoned records are left out, and so are the ids in `exclude`.

    Args:
        store: the ledger.
        data: the workspace's data folder.
        dataset: the dataset.
        tombstoned: whether to include tombstoned records that the file still has, as forgetting
            them requires.
        exclude: ids of records to leave out; UnknownName for one that the dataset lacks.

    Raises DigestMismatch when a row was changed, added or removed; StateError when unreadable.
    """
    rows = {row["id"]: row for row in stored_rows(data / dataset.file, keys=True)}
    leaves = {i: row_digest(row.pop(KEY, b""), canonical_json(row)) for i, row in rows.items()}
    gone = require_root(store, data, dataset, leaves)
    left_out = rows_left(store, dataset, leaves, gone, exclude, tombstoned=tombstoned)
    chosen = [rows[i] for i in sorted(rows) if i not in left_out]
    return [unpacked(row) | {"subjects": subjects_of(row, store.key)} for row in chosen]


def require_root(
    store: Store, data: Path, dataset: DatasetVersion, leaves: Mapping[str, bytes]
) -> dict[str, bytes]:
    """Check the digests of a dataset's stored rows, by id, against its Merkle root.

    Returns:
        The digests of tombstoned records, whose rows may have been erased: they count in the root.

    Raises:
        DigestMismatch: a row was changed, added or removed.
    """
    gone = {record.id: record.digest.raw for record in store.tombstoned(dataset.id)}
    erased = {i: digest for i, digest in gone.items() if i not in leaves}
    root = records_root({**leaves, **erased} if erased else leaves)
    if root != dataset.root:
        what = f"dataset {dataset.name!r} version {dataset.version} ({data / dataset.file})"
        raise DigestMismatch(what, str(dataset.root), str(root))
    return gone


def rows_left(
    store: Store,
    dataset: DatasetVersion,
    leaves: Collection[str],
    gone: Collection[str],
    exclude: Collection[str],
    *,
    tombstoned: bool,
) -> set[str]:
    """Ids that `load_rows` leaves out. Raises UnknownName for one that the dataset lacks."""
    exclude = store.stored_ids(dataset.id, exclude)
    for identifier in exclude:
        if identifier not in leaves and identifier not in gone:
            raise UnknownName(f"record of dataset {dataset.name!r}", identifier, leaves)
    return set(exclude) if tombstoned else {*gone, *exclude}


def subjects_of(row: Mapping[str, Any], key: Key) -> list[str]:
    """The subjects of a stored row, under this version of the key.

    The row itself keeps the subjects of its import, since its digest covers them.
    """
    people = row["subjects"]
    return people if key.version == 1 else sorted(map(key.current, people))


def unpacked(row: Mapping[str, Any]) -> dict[str, Any]:
    """A stored row with its extras as columns of their own.

    A conversation is its messages: prompt and completion hold their text for searches alone.
    """
    extras = json.loads(row["extras"]) if "extras" in row else {}
    apart = ("extras", "prompt", "completion") if "messages" in extras else ("extras",)
    return {name: value for name, value in row.items() if name not in apart} | extras


def is_stored(path: Path) -> bool:
    """Whether a file has a name as imports give to a dataset's rows."""
    return _FINISHED.fullmatch(path.name) is not None and path.is_file() and not path.is_symlink()
