"""Files of data as rows: JSON lines, CSV, Parquet, and datasets saved by Hugging Face.

Every reader yields `(line, row)`, counted from 1, the row a BadRow where it cannot be read at all.
What a row must hold is not decided here but in `olvido.ledger.importing`.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from olvido.errors import BadRow, InputError, StateError, UnknownName

Row = Mapping[str, Any]
Rows = Iterator[tuple[int, Row | BadRow]]

_BATCH = 10_000
# A small file may unpack to much: what is more than anybody's records is refused.
_LONGEST_VALUE = 16 * 2**20
_FEW_ROWS = 100_000
_LEAST_TOTAL, _GROWTH = 2**30, 1000
_TOGETHER = 64 * 2**20


def read_rows(path: Path) -> Rows:
    """The rows of a file in the format its name tells, or of a saved dataset's folder.

    Raises InputError when there is no such file or its format is not known.
    """
    if path.is_dir():
        return _read_saved(path)
    if not path.exists():
        raise InputError(f"there is no file {path}: give the path of the data to add")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise UnknownName("format", path.suffix or path.name, _READERS)
    _require_file(path)
    return reader(path)


def _require_file(path: Path) -> None:
    """Refuse what is no plain file before it is opened: a pipe would be waited for for ever."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is a pipe or a device: copy what it gives into a file, add that")


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, refused where a name stands twice: which of the two holds, nobody can say."""
    found = dict(members)
    if len(found) < len(members):
        raise ValueError("an object has the same name twice: keep one, or make a list")
    return found


def _text(line: bytes, number: int) -> str:
    """A line of a file; bytes that are no UTF-8 become lone surrogates, which no row may hold."""
    return line.decode("utf-8-sig" if number == 1 else "utf-8", errors="surrogateescape")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_unique)
_LINE_ENDS = frozenset({"\n", "\r\n", ""})


def _read_jsonl(path: Path) -> Rows:
    decode = _decoder.raw_decode
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                text = line.decode()
                row, end = decode(text)
                plain = type(row) is dict and text[end:] in _LINE_ENDS
            except (ValueError, RecursionError):
                plain = False
            if plain:
                yield number, row
            elif not (text := _text(line, number)).isspace():
                yield number, _unusual_row(path, number, text)


def _unusual_row(path: Path, number: int, text: str) -> Row | BadRow:
    """What a line holds that is more than an object and its line's end, or something else."""
    try:
        row = _decoder.decode(text)
    except json.JSONDecodeError as error:
        return BadRow(str(path), number, f"invalid JSON: {error.msg} at column {error.colno}")
    except (ValueError, RecursionError) as error:
        return BadRow(str(path), number, f"invalid JSON: {error}")
    if isinstance(row, dict):
        return row
    return BadRow(str(path), number, f"expected a JSON object, got {type(row).__name__}")


def _read_csv(path: Path) -> Rows:
    with path.open("rb") as file:
        lines = (_text(line, number) for number, line in enumerate(file, 1))
        yield from _csv_rows(path, lines)


def _csv_rows(path: Path, lines: Iterator[str]) -> Rows:
    reader = csv.reader(lines, strict=True)
    header: list[str] | None = None
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, BadRow(str(path), number, f"invalid CSV: {error}")
            continue
        if header is None:
            header = cells
            if len(set(header)) < len(header):
                raise BadRow(str(path), number, "two columns have the same name: rename one")
        elif len(cells) == len(header):
            # CSV has no null: an empty cell is a value that is not there.
            pairs = zip(header, cells, strict=True)
            yield number, {name: value or None for name, value in pairs}
        elif cells:
            reason = f"expected {len(header)} cells as in the header, got {len(cells)}"
            yield number, BadRow(str(path), number, reason)


def _read_parquet(path: Path) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            _require_columns(path, file.schema_arrow)
            rows = _require_sane(path, file.metadata)
            # Repeated values stay what they are until it is known how long they are.
            texts = [f.name for f in file.schema_arrow if pa.types.is_string(f.type)]
        with pq.ParquetFile(path, memory_map=True, read_dictionary=texts) as file:
            yield from _numbered(path, _bounded(path, file.iter_batches(batch_size=rows)), 1)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise InputError(f"{path} is not a readable Parquet file: {error}") from error


def _require_columns(path: Path, schema: Any) -> None:
    """Refuse a file in which two columns, or two fields of one, have the same name."""
    import pyarrow as pa

    names = [field.name for field in schema]
    if len(set(names)) < len(names):
        raise BadRow(str(path), 1, "two columns have the same name: rename one")
    for field in schema:
        kind = field.type
        while pa.types.is_list(kind) or pa.types.is_large_list(kind):
            kind = kind.value_type
        if pa.types.is_struct(kind):
            _require_columns(path, kind)


def _require_sane(path: Path, metadata: Any) -> int:
    """Refuse a file that says itself that it grows beyond measure; rows to be read at a time."""
    together = _BATCH
    if metadata.num_rows > max(_FEW_ROWS, path.stat().st_size):
        raise InputError(
            f"{path} has {metadata.num_rows:,} rows in fewer bytes: such rows say nothing of their "
            "own. Leave repeated rows out"
        )
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for place in range(group.num_columns):
            column = group.column(place)
            if column.total_uncompressed_size > _LONGEST_VALUE * max(column.num_values, 1):
                raise InputError(_too_long(path))
            if "." in column.path_in_schema:
                # Inside a list the longest value may be repeated in every row.
                together = min(together, 4 * _TOGETHER // max(column.total_uncompressed_size, 1))
    return max(together, 1)


def _bounded(path: Path, batches: Iterator[Any]) -> Iterator[Any]:
    """Batches in pieces that take little memory each, and together no more than a file may hold."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    total, most = 0, max(_LEAST_TOTAL, _GROWTH * path.stat().st_size)
    for batch in batches:
        lengths = np.zeros(batch.num_rows, dtype=np.int64)
        for column in batch.columns:
            if pa.types.is_dictionary(column.type):
                each = pc.fill_null(pc.binary_length(column.dictionary), 0).to_numpy()
                if each.max(initial=0) > _LONGEST_VALUE:
                    raise InputError(_too_long(path))
                places = pc.fill_null(column.indices.cast(pa.int64()), -1).to_numpy()
                lengths += np.concatenate([each, [0]])[places]
        if column_bytes := batch.nbytes:
            total += max(int(lengths.sum()), column_bytes)
        if total > most:
            raise InputError(
                f"{path} says more than {most // 2**20:,} MiB in a file of "
                f"{path.stat().st_size // 2**20:,} MiB: leave repeated values out"
            )
        # Cut where another part of the memory that one piece may take is full.
        part = np.cumsum(lengths) // _TOGETHER
        cuts = [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), batch.num_rows]
        for start, end in itertools.pairwise(cuts):
            yield batch.slice(start, end - start)


def _too_long(path: Path) -> str:
    return f"{path} holds a value of more than {_LONGEST_VALUE // 2**20} MiB: take it out"


def _read_saved(folder: Path) -> Rows:
    import pyarrow as pa

    splits = folder / "dataset_dict.json"
    if splits.exists():
        names = json.loads(splits.read_text(encoding="utf-8"))["splits"]
        choices = ", ".join(str(folder / name) for name in names)
        raise InputError(f"{folder} holds several splits: give one of {choices}")
    state = folder / "state.json"
    if not state.exists():
        raise InputError(
            f"expected a folder written by datasets.Dataset.save_to_disk, got {folder} without "
            "state.json"
        )
    number = 1
    for part in json.loads(state.read_text(encoding="utf-8"))["_data_files"]:
        try:
            _require_file(folder / part["filename"])
            with pa.memory_map(str(folder / part["filename"])) as source:
                for batch in pa.ipc.open_stream(source):
                    _require_columns(folder, batch.schema)
                    yield from _numbered(folder, iter([batch]), number)
                    number += batch.num_rows
        except pa.ArrowInvalid as error:
            raise StateError(f"{folder / part['filename']} is damaged: {error}") from error


def _numbered(path: Path, batches: Iterator[Any], first: int) -> Rows:
    import pyarrow as pa

    number = first
    for given in batches:
        batch = _without_times(given)
        try:
            rows = batch.to_pylist()
        except (UnicodeDecodeError, pa.ArrowInvalid):
            rows = [_slow_row(path, batch, i, number + i) for i in range(batch.num_rows)]
        for row in rows:
            yield number, row
            number += 1


def _without_times(batch: Any) -> Any:
    """The batch with dates and times as text, which is what JSON has for them."""
    import pyarrow as pa

    for index, field in enumerate(batch.schema):
        if pa.types.is_temporal(field.type):
            batch = batch.set_column(index, field.name, batch.column(index).cast(pa.string()))
    return batch


def _slow_row(path: Path, batch: Any, index: int, number: int) -> Row | BadRow:
    """One row of a batch in which some row cannot be read."""
    try:
        return dict(batch.slice(index, 1).to_pylist()[0])
    except UnicodeDecodeError:
        return BadRow(str(path), number, "invalid UTF-8")


_READERS: dict[str, Callable[[Path], Rows]] = {
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
