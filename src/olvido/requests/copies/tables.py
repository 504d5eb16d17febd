"""Read binary tables as parts of rows: Parquet, Arrow, SQLite, NumPy, headers of tensor files."""

from __future__ import annotations

import io
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from olvido.names import words
from olvido.requests.copies.cells import Packed, value_rows
from olvido.requests.copies.decoding import decoded, readable
from olvido.requests.copies.parts import (
    LARGEST,
    Blob,
    FilePart,
    Inner,
    Reader,
    Row,
    UnreadablePart,
    text_rows,
)

SQLITE = b"SQLite format 3\x00"
_BATCH = 10_000
_MACHINE = frozenset(("pandas", "huggingface", "ARROW:schema"))
_HEADER = 100 * 1024 * 1024
_SQL = frozenset(
    "create table if not exists integer int bigint smallint primary key autoincrement text real "
    "blob numeric float double date datetime timestamp boolean varchar char json null unique "
    "default collate nocase references foreign on index without rowid strict".split()
)
_TREES = (b"\x02", b"\x05", b"\x0a", b"\x0d")
_GLUED = re.compile(r"(?<=[^\W\d_])(?=[A-Z])|(?<=[a-z])(?=\d)|(?<=\d)(?=[^\W\d_])")


def parquet_parts(blob: Blob, inner: Inner) -> Iterator[FilePart | UnreadablePart]:
    """The rows of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(blob.raw))
        about = file.metadata
        yield from _schema(blob, file.schema_arrow)
        yield _between(blob, about)
        blob.budget.take(
            sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
        )
        batches = file.iter_batches(batch_size=_BATCH)
        form = "parquet" if blob.depth == 0 else None
        packed = Packed()
        yield FilePart(blob.name, "row", _batch_rows(blob, batches, packed), form=form)
        yield from packed.parts(blob, inner)
    except pa.ArrowException as error:
        raise UnreadablePart(f"is no readable Parquet file ({type(error).__name__})") from None


def arrow_parts(blob: Blob, inner: Inner) -> Iterator[FilePart | UnreadablePart]:
    """The rows of an Arrow file or stream."""
    import pyarrow as pa

    buffer = pa.BufferReader(blob.raw)
    try:
        if blob.raw.startswith(b"ARROW1"):
            file = pa.ipc.open_file(buffer)
            batches, schema = map(file.get_batch, range(file.num_record_batches)), file.schema
        else:
            stream = pa.ipc.open_stream(buffer)
            batches, schema = iter(stream), stream.schema
        yield from _schema(blob, schema)
        packed = Packed()
        yield FilePart(blob.name, "row", _batch_rows(blob, batches, packed))
        yield from packed.parts(blob, inner)
    except pa.ArrowException as error:
        raise UnreadablePart(f"is no readable Arrow file ({type(error).__name__})") from None


def _between(blob: Blob, about: Any) -> FilePart:
    """Text in clear in a Parquet file outside its columns' pages."""
    chunks = [
        about.row_group(i).column(j)
        for i in range(about.num_row_groups)
        for j in range(about.num_columns)
    ]
    taken = sorted(
        (min(c.data_page_offset, c.dictionary_page_offset or LARGEST), c.total_compressed_size)
        for c in chunks
    )
    at, rests = 0, []
    for begin, size in taken:
        rests.append(blob.raw[at : max(at, begin)])
        at = max(at, begin + max(size, 0))
    said = "\n".join(readable(rest, clear=True) for rest in (*rests, blob.raw[at:]))
    return FilePart(f"{blob.where}footer", "run of text", text_rows(said), flowing=True, aside=True)


def _schema(blob: Blob, schema: Any) -> Iterator[FilePart]:
    """The names of columns, and the metadata of columns and file."""
    said = [(key.decode(errors="replace"), raw) for key, raw in (schema.metadata or {}).items()]
    own = [text for key, raw in said if key not in _MACHINE for text in (key, _text(raw))]
    names = (Row(1, (*schema.names, *own)),)
    yield FilePart(f"{blob.where}columns", "name", names, aside=True)
    whole = schema.to_string(
        truncate_metadata=False, show_field_metadata=True, show_schema_metadata=False
    )
    text = "\n".join([whole, *(_text(raw) for _, raw in said)])
    yield FilePart(f"{blob.where}metadata", "line", text_rows(text), flowing=True, aside=True)


def _batch_rows(blob: Blob, batches: Iterator[Any], packed: Packed) -> Iterator[Row]:
    import pyarrow as pa

    number = 0
    try:
        for batch in batches:
            blob.budget.take(batch.nbytes)
            for value in batch.to_pylist():
                number += 1
                packed.note(value)
                yield from value_rows(value, number)
    except pa.ArrowException as error:
        raise UnreadablePart(f"{blob.where}is damaged ({type(error).__name__})") from None


def sqlite_parts(blob: Blob, inner: Inner) -> Iterator[FilePart | UnreadablePart]:
    """The rows of every table of an SQLite database, whose file is not opened."""
    raw = bytearray(blob.raw)
    # Journal mode "write-ahead log", which a database in memory cannot have.
    raw[18:20] = b"\x01\x01"
    with closing(sqlite3.connect(":memory:")) as database:
        database.deserialize(bytes(raw))
        database.text_factory = _text
        database.execute("PRAGMA trusted_schema = OFF")
        tables = database.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'table' ORDER BY name"
        ).fetchall()
        form = "sqlite" if blob.depth == 0 else None
        for name, sql in tables:
            if str(sql or "").upper().startswith("CREATE VIRTUAL"):
                # Its content lies in tables of its own, which are read.
                continue
            packed = Packed()
            # A value of type text may be any bytes.
            database.text_factory = _either
            rows = _table_rows(database, name, packed)
            last_unit: list[int] = []
            yield FilePart(f"{blob.where}table {name}", "row", _noting(rows, last_unit), form=form)
            database.text_factory = _text
            if not last_unit and not name.startswith("sqlite_"):
                # A table without rows still has a name.
                named = Row(1, (f"table {name}",))
                yield FilePart(f"{blob.where}table {name}", "name", (named,))
            yield from packed.parts(blob, inner)
        yield from _described(blob, database)
        size = database.execute("PRAGMA page_size").fetchone()[0]
        left = text_rows("\n".join(_rests(blob.raw, size)))
        yield FilePart(
            f"{blob.where}what was deleted", "run of text", left, flowing=True, aside=True
        )
        free = database.execute("PRAGMA freelist_count").fetchone()[0]
        if free:
            yield UnreadablePart(
                f"{blob.where}{free} pages hold what was deleted and not overwritten: VACUUM it"
            )


def _noting(rows: Iterator[Row], last_unit: list[int]) -> Iterator[Row]:
    for row in rows:
        last_unit[:] = [row.unit]
        yield row


def _described(blob: Blob, database: sqlite3.Connection) -> Iterator[FilePart]:
    """The names of tables and columns, and the text of views and the like."""
    names: list[str] = []
    made = []
    for kind, name, table, sql in database.execute(
        "SELECT type, name, tbl_name, sql FROM main.sqlite_master"
    ).fetchall():
        names += [name, table, *([sql] if kind in ("view", "trigger") and sql else [])]
        if kind in ("table", "view"):
            quoted = name.replace('"', '""')
            try:
                about = database.execute(f'PRAGMA table_info("{quoted}")').fetchall()
            except sqlite3.Error:
                # A view of a missing table; its text is searched.
                about = []
            names += [column[1] for column in about]
        made.append(str(sql or ""))
    known = {word for name in names for word in words(name)} | _SQL
    beside = [w for sql in made for w in words(sql) if w not in known and not w.isdigit()]
    if beside:
        # Defaults, conditions and comments.
        yield FilePart(f"{blob.where}schema", "word", (Row(1, (" ".join(beside),)),))
    yield FilePart(f"{blob.where}names", "name", (Row(1, tuple(names)),), aside=True)
    yield FilePart(
        f"{blob.where}schema", "line", text_rows("\n".join(made)), flowing=True, aside=True
    )


def _rests(raw: bytes, size: int) -> Iterator[str]:
    """Text in clear outside a database's cells: from deleted or changed rows.

    The lengths at the beginning of a row may look like letters, and values follow each other
    directly: each run of text is returned with its first letters and without, and cut before its
    capitals. See "Database File Format", sqlite.org/fileformat2.html.
    """
    for start in range(0, len(raw), size):
        page = raw[start : start + size]
        head = 100 if start == 0 else 0
        for rest in _free(page, head) if page[head : head + 1] in _TREES else [page]:
            for text in readable(rest, clear=True).split("\n"):
                cuts = dict.fromkeys(text[i:] for i in range(min(4, len(text)) if text else 0))
                yield from cuts
                yield from (cut for one in cuts if (cut := _GLUED.sub("\t", one)) != one)


def _free(page: bytes, head: int) -> list[bytes]:
    """The free parts of a page: between the list of cells and the first cell, and the freed blocks
    among the cells."""
    first, count, begin = (int.from_bytes(page[head + i : head + i + 2]) for i in (1, 3, 5))
    pointers = head + (12 if page[head] in (2, 5) else 8) + 2 * count
    found = [page[pointers : begin or len(page)]]
    seen = 0
    while seen < first <= len(page) - 4:
        block = int.from_bytes(page[first + 2 : first + 4])
        found.append(page[first + 4 : first + block])
        seen, first = first, int.from_bytes(page[first : first + 2])
    return found


def _either(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _table_rows(database: sqlite3.Connection, name: str, packed: Packed) -> Iterator[Row]:
    quoted = '"' + name.replace('"', '""') + '"'
    try:
        cursor = database.execute(f"SELECT rowid, * FROM {quoted}")
        numbered = True
    except sqlite3.OperationalError:
        cursor = database.execute(f"SELECT * FROM {quoted}")
        numbered = False
    keys = tuple(column[0] for column in cursor.description)
    for number, values in enumerate(cursor, 1):
        row = values[1:] if numbered else values
        named = keys[1:] if numbered else keys
        for key, value in zip(named, row, strict=True):
            packed.note(value, f"{name}.{key}")
        kept = [(k, _cell(v)) for k, v in zip(named, row, strict=True) if v is not None]
        if kept:
            unit = values[0] if numbered else number
            yield Row(unit, tuple(text for _, text in kept), tuple(key for key, _ in kept))


def _cell(value: Any) -> str:
    return _text(value) if isinstance(value, bytes) else str(value)


def _text(raw: bytes) -> str:
    for reading in decoded(raw)[:1]:
        return reading.text
    return raw.decode("utf-8", errors="replace")


def npy_parts(blob: Blob, inner: Inner) -> Iterator[FilePart | UnreadablePart]:
    """The texts of an array; pickled objects are never loaded, and numbers are named as unread."""
    import numpy as np

    file = io.BytesIO(blob.raw)
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    else:
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    if dtype.hasobject:
        raise UnreadablePart("an array of pickled objects, which are never loaded")
    if dtype.kind not in "US" and dtype.names is None:
        raise UnreadablePart("an array of numbers")
    size = dtype.itemsize
    for length in shape:
        size *= length
    if size > len(blob.raw):
        raise UnreadablePart("an array that is larger than its file")
    file.seek(0)
    array = np.load(file, allow_pickle=False)
    values = array.reshape(len(array), -1).tolist() if array.ndim else [[array.tolist()]]
    rows = (row for n, value in enumerate(values, 1) for row in value_rows(value, n))
    yield FilePart(blob.name, "row", rows, flowing=array.ndim < 2 and dtype.names is None)


def is_safetensors(raw: bytes) -> bool:
    """Whether bytes begin as a safetensors file does."""
    length = int.from_bytes(raw[:8], "little")
    return 2 <= length <= min(_HEADER, len(raw) - 8) and raw[8:9] == b"{" and length < LARGEST


def is_tensor_head(raw: bytes) -> bool:
    """Whether bytes are the whole header of a safetensors file, up to its tensors."""
    if not is_safetensors(raw):
        return False
    try:
        about = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    except (ValueError, RecursionError):
        return False
    return isinstance(about, dict) and all(isinstance(one, dict) for one in about.values())


def safetensors_parts(blob: Blob, inner: Inner) -> Iterator[FilePart | UnreadablePart]:
    """The text of a tensor file's header; its numbers are named as unread."""
    head = blob.raw[8 : 8 + int.from_bytes(blob.raw[:8], "little")]
    about = json.loads(head)
    yield FilePart(
        f"{blob.where}metadata", "object", iter(value_rows(about.get("__metadata__"), 1))
    )
    # The raw header also has the names of tensors, and names that occur twice.
    said = text_rows(head.decode("utf-8", errors="replace"))
    yield FilePart(f"{blob.where}head", "line", said, flowing=True, aside=True)
    if any(name != "__metadata__" for name in about):
        yield UnreadablePart(f"{blob.where}a tensor file, whose numbers may have learned anything")


READERS: tuple[tuple[bytes, Reader], ...] = (
    (b"PAR1", parquet_parts),
    (b"ARROW1", arrow_parts),
    (b"\xff\xff\xff\xff", arrow_parts),
    (SQLITE, sqlite_parts),
    (b"\x93NUMPY", npy_parts),
)
