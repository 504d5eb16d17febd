"""Parquet, and datasets saved by Hugging Face: Arrow's types as JSON values.

Dates and times become ISO 8601 text, decimals text, lists and structs lists and objects of these.
Types without a JSON form are refused by column and type.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any

from olvido.data.encodings import require_file
from olvido.errors import BadRow, InputError, StateError

_Row = Mapping[str, Any] | BadRow
_Rows = Iterator[tuple[int, _Row]]

_BATCH = 10_000
# A small file may unpack to a huge one: more than plausible records is refused.
LONGEST_VALUE = 16 * 2**20
"""Bytes of one value."""
_FEW_ROWS = 100_000
_LEAST_TOTAL, _GROWTH = 2**30, 1000
_TOGETHER = 64 * 2**20


def read_parquet(path: Path) -> _Rows:
    """The rows of a Parquet file. Raises BadRow and InputError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            _require_columns(path, file.schema_arrow)
            rows = _require_sane(path, file.metadata)
            # Repeated values stay encoded until their length is known.
            texts = [f.name for f in file.schema_arrow if pa.types.is_string(f.type)]
        with pq.ParquetFile(path, memory_map=True, read_dictionary=texts) as file:
            yield from _numbered(path, _bounded(path, file.iter_batches(batch_size=rows)), 1)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise InputError(f"{path} is not a readable Parquet file: {error}") from error


def _require_columns(path: Path, schema: Any, within: str = "") -> None:
    """Refuse repeated names of columns or fields, and types that JSON cannot hold."""
    names = [field.name for field in schema]
    if len(set(names)) < len(names):
        raise BadRow(str(path), 1, "two columns have the same name: rename one")
    for field in schema:
        if within or not _is_picture(field.type):
            _require_kind(path, f"{within}{field.name}", field.type)


def _is_picture(kind: Any) -> bool:
    """Whether a column can hold pictures: a file's bytes beside its path."""
    import pyarrow.types as types

    if not types.is_struct(kind) or {field.name for field in kind} != {"bytes", "path"}:
        return False
    raw = kind.field("bytes").type
    return bool(types.is_binary(raw) or types.is_large_binary(raw))


def _require_kind(path: Path, name: str, kind: Any) -> None:
    import pyarrow.types as types

    if types.is_dictionary(kind) or _is_list(kind):
        _require_kind(path, name, kind.value_type)
    elif types.is_struct(kind):
        _require_columns(path, kind, f"{name}.")
    elif not any(
        is_one(kind)
        for is_one in (
            *(types.is_null, types.is_boolean, types.is_integer, types.is_floating),
            *(types.is_string, types.is_large_string, types.is_string_view),
            *(types.is_decimal, types.is_date, types.is_time, types.is_timestamp),
        )
    ):
        raise InputError(
            f"{path}: column {name!r} holds values of the type {kind}, which JSON has no form for: "
            "make it text, or leave it out"
        )


def _is_list(kind: Any) -> bool:
    import pyarrow.types as types

    return bool(
        types.is_list(kind)
        or types.is_large_list(kind)
        or types.is_fixed_size_list(kind)
        or types.is_list_view(kind)
        or types.is_large_list_view(kind)
    )


def _require_sane(path: Path, metadata: Any) -> int:
    """Refuse a file whose metadata announces a huge size; return rows to read at a time."""
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
            if column.total_uncompressed_size > LONGEST_VALUE * max(column.num_values, 1):
                raise InputError(_too_long(path))
            if "." in column.path_in_schema:
                # Inside a list the longest value may be repeated in every row.
                together = min(together, 4 * _TOGETHER // max(column.total_uncompressed_size, 1))
    return max(together, 1)


def _bounded(path: Path, batches: Iterator[Any]) -> Iterator[Any]:
    """Batches in pieces that take little memory each, and together no more than a file may have."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    total, most = 0, max(_LEAST_TOTAL, _GROWTH * path.stat().st_size)
    for batch in batches:
        lengths = np.zeros(batch.num_rows, dtype=np.int64)
        for column in batch.columns:
            if pa.types.is_dictionary(column.type):
                each = pc.fill_null(pc.binary_length(column.dictionary), 0).to_numpy()
                if each.max(initial=0) > LONGEST_VALUE:
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
        # Cut where the piece reaches its memory limit.
        part = np.cumsum(lengths) // _TOGETHER
        cuts = [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), batch.num_rows]
        for start, end in itertools.pairwise(cuts):
            yield batch.slice(start, end - start)


def _too_long(path: Path) -> str:
    return f"{path} holds a value of more than {LONGEST_VALUE // 2**20} MiB: take it out"


def read_saved(folder: Path) -> _Rows:
    """The rows of a folder that `datasets` wrote. Raises BadRow, InputError and StateError."""
    import pyarrow as pa

    splits = folder / "dataset_dict.json"
    if splits.exists():
        names = json.loads(splits.read_text(encoding="utf-8"))["splits"]
        choices = ", ".join(str(folder / name) for name in names)
        raise InputError(f"{folder} holds several splits: give one of {choices}")
    state = folder / "state.json"
    if not state.exists():
        raise InputError(
            f"expected a folder written by datasets.Dataset.save_to_disk (state.json), or one of "
            f"pictures with metadata.csv or a folder for each class, got {folder} without them"
        )
    number = 1
    for part in json.loads(state.read_text(encoding="utf-8"))["_data_files"]:
        try:
            require_file(folder / part["filename"])
            with pa.memory_map(str(folder / part["filename"])) as source:
                for batch in pa.ipc.open_stream(source):
                    _require_columns(folder, batch.schema)
                    yield from _numbered(folder, iter([batch]), number)
                    number += batch.num_rows
        except pa.ArrowInvalid as error:
            raise StateError(f"{folder / part['filename']} is damaged: {error}") from error


def _numbered(path: Path, batches: Iterator[Any], first: int) -> _Rows:
    import pyarrow as pa

    number = first
    for batch in batches:
        others = [field.name for field in batch.schema if _needs_words(field.type)]
        try:
            rows = batch.to_pylist()
            for row in rows:
                for name in others:
                    row[name] = in_words(row[name])
        except (UnicodeDecodeError, pa.ArrowInvalid, ValueError, OverflowError):
            rows = [_slow_row(path, batch, i, number + i, others) for i in range(batch.num_rows)]
        for row in rows:
            yield number, row
            number += 1


def _needs_words(kind: Any) -> bool:
    """Whether a type contains, at any depth, one that JSON only has as text."""
    import pyarrow.types as types

    if types.is_struct(kind):
        return any(_needs_words(field.type) for field in kind)
    if types.is_dictionary(kind) or _is_list(kind):
        return _needs_words(kind.value_type)
    return bool(types.is_temporal(kind) or types.is_decimal(kind))


def in_words(value: Any) -> Any:
    """A value with its dates and times (ISO 8601) and decimals (their digits) as text."""
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, list):
        return [in_words(one) for one in value]
    if isinstance(value, dict):
        return {name: in_words(one) for name, one in value.items()}
    return value


def _slow_row(path: Path, batch: Any, index: int, number: int, others: list[str]) -> _Row:
    """One row of a batch in which some row cannot be read."""
    try:
        row = dict(batch.slice(index, 1).to_pylist()[0])
        return row | {name: in_words(row[name]) for name in others}
    except UnicodeDecodeError:
        return BadRow(str(path), number, "invalid UTF-8")
    except (ValueError, OverflowError) as error:
        return BadRow(str(path), number, f"a date or time that cannot be read: {error}")
