"""Rewrite a file without a person's rows, in its own format; the others' data are unchanged."""

from __future__ import annotations

import io
import json
import secrets
import sqlite3
from collections.abc import Callable, Collection
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from olvido.errors import InputError
from olvido.requests.copies.decoding import Decoded, decoded
from olvido.requests.copies.parts import UnreadablePart
from olvido.requests.copies.reading import Source
from olvido.requests.copies.texts import table_lines, table_rows

if TYPE_CHECKING:
    from olvido.requests.closure.search import FileFindings

_SPACE = " \t\r\n"
_DECODER = json.JSONDecoder()


def without(path: Path, look: FileFindings) -> bytes:
    """Return a file's bytes without the person's rows that a search found; nothing is written.

    Lines, rows of tables and elements of JSON are removed with their ends; every other byte stays.
    Parquet and SQLite are written anew, with the others' values, types and settings.

    Raises:
        InputError: the file changed since the search, or cannot be written without the rows.
    """
    if not look.rewritable:
        raise InputError(
            f"{path} cannot be written without the person's rows ({look.evidence}): erase it, or "
            "take them out where it is made"
        )
    source = Source(path)
    try:
        with source:
            raw = source.raw
            source.check()
    except UnreadablePart as error:
        raise InputError(f"{path} {error}") from None
    if source.digest != look.digest:
        raise InputError(f"{path} has changed since it was looked at: look again")
    forms = {cut.form for cut in look.cuts}
    kind = {form.partition(" ")[0] for form in forms}
    if len(kind) != 1:
        raise InputError(f"{path} is of several formats: erase it, or take the rows out by hand")
    return _WRITERS[kind.pop()](raw, [(c.part, c.form, frozenset(c.units)) for c in look.cuts])


_Cuts = list[tuple[str, str, frozenset[int]]]


def _lines(raw: bytes, cuts: _Cuts) -> bytes:
    (_, _, units), reading = cuts[0], _exact(raw)
    # Lines are counted as in the search: only a newline ends one.
    lines = reading.text.split("\n")
    kept = [line for number, line in enumerate(lines, 1) if number not in units]
    text = "\n".join(kept)
    if len(lines) in units and kept and reading.text and kept[-1]:
        # The last line is removed: the one before it keeps its end.
        text += "\n"
    return _encoded(text, reading)


def _table(raw: bytes, cuts: _Cuts) -> bytes:
    (_, form, units), reading = cuts[0], _exact(raw)
    lines = table_lines(reading.text)
    kept: list[str] = []
    for number, (_, begin, end) in enumerate(table_rows(lines, form.partition(" ")[2]), 1):
        if number not in units:
            kept += lines[begin:end]
    return _encoded("".join(kept), reading)


def _json(raw: bytes, cuts: _Cuts) -> bytes:
    reading = _exact(raw)
    text = reading.text
    for _, form, units in cuts:
        key = form.partition(" ")[2]
        start = _array_of(text, key) if key else _skip(text, 0)
        text = _without_elements(text, start, units)
    return _encoded(text, reading)


def _array_of(text: str, key: str) -> int:
    """The offset at which the array under a key of the outermost object begins."""
    at = _skip(text, _skip(text, 0) + 1)
    found = -1
    while text[at] != "}":
        name, at = _DECODER.raw_decode(text, at)
        at = _skip(text, _skip(text, at) + 1)
        if name == key:
            found = at
        _, at = _DECODER.raw_decode(text, at)
        at = _skip(text, at)
        at = _skip(text, at + 1) if text[at] == "," else at
    return found


def _without_elements(text: str, start: int, units: Collection[int]) -> str:
    """Remove elements of the array that begins at `start`, each with the text before it.

    The text before the first element is put before the first remaining one.
    """
    at = end = first = _skip(text, start + 1)
    kept: list[str] = []
    number = 0
    while text[at] != "]":
        begin = at
        between = text[end:begin]
        _, end = _DECODER.raw_decode(text, at)
        number += 1
        if number not in units:
            kept += [between if kept else "", text[begin:end]]
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return text[:first] + "".join(kept) + text[end:]


def _skip(text: str, at: int) -> int:
    while text[at] in _SPACE:
        at += 1
    return at


def _parquet(raw: bytes, cuts: _Cuts) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    units = cuts[0][2]
    made = io.BytesIO()
    with pq.ParquetFile(pa.BufferReader(raw)) as file:
        about = file.metadata
        packed = {}
        if about.num_row_groups:
            group = about.row_group(0)
            for i in range(group.num_columns):
                packed[group.column(i).path_in_schema] = group.column(i).compression
        settings = {n: "NONE" if c == "UNCOMPRESSED" else c for n, c in packed.items()}
        schema, labels = _labelled(file.schema_arrow, about.num_rows, len(units))
        with pq.ParquetWriter(made, schema, compression=settings or "snappy") as writer:
            before = 0
            for i in range(about.num_row_groups):
                table = file.read_row_group(i)
                kept = [n for n in range(table.num_rows) if before + n + 1 not in units]
                if labels is not None:
                    own = labels[before : before + table.num_rows]
                    table = table.append_column(schema.field(schema.names[-1]), pa.array(own))
                before += table.num_rows
                if kept:
                    writer.write_table(table.take(kept).cast(schema), row_group_size=len(kept))
    return made.getvalue()


def _labelled(schema: Any, rows: int, fewer: int) -> tuple[Any, range | None]:
    """The schema of the remaining rows, and the row labels that become a column.

    pandas stores evenly spaced labels as a range, which removed rows would shift. Labels that only
    count the rows from 0 are no labels, and count the remaining rows.
    """
    import pyarrow as pa

    said = dict(schema.metadata or {})
    about = json.loads(said.get(b"pandas", b"{}"))
    index = about.get("index_columns", [])
    if len(index) != 1 or not isinstance(index[0], dict) or index[0].get("kind") != "range":
        return schema, None
    name, (start, stop, step) = index[0]["name"], (index[0][k] for k in ("start", "stop", "step"))
    labels = None
    if name is None and (start, stop, step) == (0, rows, 1):
        index[0]["stop"] = rows - fewer
    elif len(labels := range(start, stop, step)) == rows:
        called = "__index_level_0__" if name is None else str(name)
        if called in schema.names:
            raise InputError(f"two columns would be called {called}: take the rows out by hand")
        of = {"pandas_type": "int64", "numpy_type": "int64", "metadata": None}
        about["index_columns"] = [called]
        about["columns"] = [*about["columns"], {"name": name, "field_name": called, **of}]
        schema = schema.append(pa.field(called, pa.int64()))
    else:
        return schema, None
    said[b"pandas"] = json.dumps(about).encode()
    return schema.with_metadata(said), labels


def _sqlite(raw: bytes, cuts: _Cuts) -> bytes:
    with closing(sqlite3.connect("file::memory:", uri=True)) as database:
        logged = raw[18:20] == b"\x02\x02"
        image = bytearray(raw)
        if logged:
            image[18:20] = b"\x01\x01"
        database.deserialize(bytes(image))
        database.execute("PRAGMA trusted_schema = OFF")
        acting = database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger' OR sql LIKE '%VIRTUAL%TABLE%' "
            "OR sql LIKE '%ON DELETE%'"
        ).fetchall()
        if acting:
            raise InputError(
                "the database changes more than the rows that are deleted (triggers, cascades or "
                "search tables): delete them with the program that keeps it"
            )
        database.execute("PRAGMA secure_delete = ON")
        for part, _, units in cuts:
            name = '"' + part.removeprefix("table ").replace('"', '""') + '"'
            rows = [(unit,) for unit in units]
            done = database.executemany(f"DELETE FROM {name} WHERE rowid = ?", rows)
            if done.rowcount != len(rows):
                raise InputError("the database has indistinguishable rows: look again")
        database.commit()
        made = bytearray(_vacuumed(database))
        if logged:
            made[18:20] = b"\x02\x02"
        return bytes(made)


def _vacuumed(database: sqlite3.Connection) -> bytes:
    """Return the database without its deleted rows' bytes.

    VACUUM in place may renumber rows to which others refer; VACUUM INTO another database does not,
    which is checked. See sqlite.org/lang_vacuum.html.
    """
    where = f"file:{secrets.token_hex(8)}?mode=memory&cache=shared"
    with closing(sqlite3.connect(where, uri=True)) as made:
        database.execute("VACUUM INTO ?", (where,))
        for (name,) in database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE '%VIRTUAL%TABLE%'"
        ).fetchall():
            quoted = '"' + name.replace('"', '""') + '"'
            try:
                was = database.execute(f"SELECT rowid FROM {quoted} ORDER BY 1").fetchall()
            except sqlite3.OperationalError:
                # A table without row ids.
                continue
            if made.execute(f"SELECT rowid FROM {quoted} ORDER BY 1").fetchall() != was:
                raise InputError(
                    "the database would number its rows anew: delete them with the program that "
                    "keeps it"
                )
        return made.serialize()


def _exact(raw: bytes) -> Decoded:
    for reading in decoded(raw)[:1]:
        if reading.encoding is not None:
            return reading
    raise InputError("its encoding does not give its bytes back: take the rows out by hand")


def _encoded(text: str, reading: Decoded) -> bytes:
    assert reading.encoding is not None
    return reading.mark + text.encode(reading.encoding)


_WRITERS: dict[str, Callable[[bytes, _Cuts], bytes]] = {
    "lines": _lines,
    "table": _table,
    "json": _json,
    "parquet": _parquet,
    "sqlite": _sqlite,
}
