"""Readers of data files, and the choice of one.

JSON: one object a line, or one list of objects. CSV in its common dialects: with commas,
semicolons, tabs or bars between the cells. Other formats are refused with advice.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, NoReturn

from olvido.data.arrays.npz import read_npz
from olvido.data.arrays.pictures import is_picture_folder, read_pictures
from olvido.data.columns import LONGEST_VALUE, read_parquet, read_saved
from olvido.data.encodings import encoding_of, opened, require_file
from olvido.errors import BadRow, InputError, UnknownName

_Rows = Iterator[tuple[int, Mapping[str, Any] | BadRow]]
_SPACE = re.compile(r"[ \t\n\r]*")
_LINE_ENDS = frozenset({"\n", ""})


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, refused where a name is repeated: which value counts is unknown."""
    found = dict(members)
    if len(found) < len(members):
        raise ValueError("an object has the same name twice: keep one, or make a list")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_unique)
# Keeps the last of repeated names.
_hurried = json.JSONDecoder(parse_constant=_no_constant)


def read_jsonl(path: Path, encoding: str) -> _Rows:
    """The objects of a file with one a line; blank lines are skipped."""
    decode, hurry, width = _decoder.raw_decode, _hurried.raw_decode, 0
    with opened(path, encoding, None) as file:
        for number, text in enumerate(file, 1):
            try:
                # Most lines have as many names as the line before. With no more colons than names
                # there is no other name, and then none is repeated.
                hurried = text.count(":") == width
                row, end = hurry(text) if hurried else decode(text)
                plain = type(row) is dict and text[end:] in _LINE_ENDS
                if plain and len(row) != width:
                    row = decode(text)[0] if hurried else row
                    width = len(row)
            except (ValueError, RecursionError):
                plain = False
            if plain:
                yield number, row
            elif not text.isspace():
                yield number, _unusual_row(path, number, text)


def lines_of(text: str, origin: str) -> _Rows:
    """The objects of a text with one a line; blank lines are skipped."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, _unusual_row(origin, number, line)


def _unusual_row(origin: Path | str, number: int, text: str) -> Mapping[str, Any] | BadRow:
    """The row of a line that is not just an object and a line end, or an error."""
    try:
        row = _decoder.decode(text)
    except (ValueError, RecursionError) as error:
        return BadRow(str(origin), number, _invalid(error))
    if isinstance(row, dict):
        return row
    hint = ". A file that is one list of objects is named .json" if isinstance(row, list) else ""
    reason = f"expected a JSON object, got {type(row).__name__}{hint}"
    return BadRow(str(origin), number, reason)


def _invalid(error: ValueError | RecursionError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"invalid JSON: {error.msg} at column {_place(error)[1]}"
    return f"invalid JSON: {error}"


def _place(error: json.JSONDecodeError) -> tuple[int, int]:
    """The line and column, counted from 1, of an error.

    The decoder reports a missing token after all space, on a later line: where nothing follows, the
    error is where the last token ended.
    """
    before = error.doc[: error.pos]
    if not error.doc[error.pos :].strip():
        before = before.rstrip()
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def read_json(path: Path, encoding: str) -> _Rows:
    """The objects of a file with one list of them, or with one a line.

    Raises:
        BadRow: a truncated or invalid list, after which no other object can be read.
    """
    with opened(path, encoding, None) as file:
        first = next((line for line in file if not line.isspace()), "")
        if first.lstrip().startswith("["):
            file.seek(0)
            yield from _listed(path, file.read())
            return
    try:
        lines = not first or isinstance(_decoder.decode(first), dict)
    except (ValueError, RecursionError):
        lines = False
    if not lines:
        raise BadRow(str(path), 1, "expected a list of JSON objects, or one object a line")
    yield from read_jsonl(path, encoding)


def _listed(path: Path, text: str) -> _Rows:
    place = _after_space(text, 0) + 1
    line, counted, more = 1, 0, False
    while True:
        place = _after_space(text, place)
        line, counted = line + text.count("\n", counted, place), place
        if text[place : place + 1] == "]" and not more:
            break
        try:
            row, place = _decoder.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            at = _place(error)[0] if isinstance(error, json.JSONDecodeError) else line
            raise BadRow(str(path), at, _invalid(error)) from None
        if isinstance(row, dict):
            yield line, row
        else:
            reason = f"expected a JSON object, got {type(row).__name__}"
            yield line, BadRow(str(path), line, reason)
        place = _after_space(text, place)
        more = text[place : place + 1] == ","
        if not more and text[place : place + 1] != "]":
            raise BadRow(str(path), line, "invalid JSON: expected ',' or ']' after this object")
        place += more
    if _after_space(text, place + 1) < len(text):
        raise BadRow(str(path), line, "invalid JSON: something stands after the list's end")


def _after_space(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    assert found is not None
    return found.end()


_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars (|)"}
_SAMPLE = 200
_TOO_LONG = (
    f"a row of more than {LONGEST_VALUE // 2**20} Mi characters: divide it, or close the quote "
    "that is open in it"
)


def read_tsv(path: Path, encoding: str) -> _Rows:
    """The rows of a table with tabs between its cells."""
    with opened(path, encoding, "") as file:
        yield from _rows(path, file, "\t", 0)


def read_csv(path: Path, encoding: str, tell: Callable[[str], None]) -> _Rows:
    """The rows of a table; `tell` is called where cells are not separated by commas.

    Raises:
        BadRow: the header repeats a column.
        InputError: several separators are possible.
    """
    with opened(path, encoding, "") as file:
        sample = list(islice(file, _SAMPLE))
        # Excel's own declaration of the separator.
        said = bool(sample) and sample[0].lower().startswith("sep=")
        between = sample[0][4:5] if said else ""
        if said and between not in _NAMES:
            known = ", ".join(_NAMES.values())
            raise BadRow(str(path), 1, f"'sep=' names none of {known}: write one behind it")
        lines = sample[1:] if said else sample
        separator = between or _separator(path, lines)
        if separator != ",":
            named = _NAMES.get(separator, repr(separator))
            tell(f"{path} is read with {named} between its cells.")
        yield from _rows(path, chain(lines, file), separator, int(said))


def _separator(path: Path, lines: list[str]) -> str:
    """The separator of cells: it splits the header, and the rows into as many cells."""
    fits = {separator: _fit(lines, separator) for separator in _NAMES}
    best = max(fits.values())
    if best < 0:
        # One column.
        return ","
    found = [separator for separator, fit in fits.items() if fit == best]
    if len(found) > 1:
        names = " or ".join(_NAMES[separator] for separator in found)
        raise InputError(
            f"{path} may have {names} between its cells: write 'sep=' and the right one as its "
            "first line, or put names of columns that hold the other into quotes"
        )
    return found[0]


def _fit(lines: list[str], separator: str) -> float:
    """The share of rows with as many cells as the header; -1 where the header is a single cell."""
    rows: list[list[str]] = []
    reader = _reader(lines, separator)
    try:
        rows.extend(row for row in reader if any(row))
    except csv.Error:
        # The last row may be truncated.
        if reader.line_num < len(lines):
            rows.append([])
    header = [name for name in rows[0] if name.strip()] if rows else []
    if len(header) < 2:
        return -1
    return sum(_as_wide(row, len(rows[0])) for row in rows) / len(rows)


def _reader(lines: Iterable[str], separator: str) -> Any:
    # The limit holds for the whole process, where others may read tables at the same time.
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_VALUE))
    return csv.reader(lines, delimiter=separator, strict=True)


def _as_wide(row: list[str], width: int) -> bool:
    return len(row) >= width and not any(row[width:])


def _rows(path: Path, lines: Iterator[str], separator: str, skipped: int) -> _Rows:
    reader = _reader(lines, separator)
    header: list[str] | None = None
    width = 0
    while True:
        number = reader.line_num + 1 + skipped
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            what = f"invalid CSV, or {_TOO_LONG} ({error})"
            yield number, BadRow(str(path), number, what)
            continue
        if header is None:
            # Spreadsheets end rows with empty cells; a blank line holds no names.
            header = _header(path, number, cells) if any(map(str.strip, cells)) else None
            width = len(header or ())
        elif not any(cells):
            continue
        elif len(cells) != width and not _as_wide(cells, width):
            reason = f"expected {width} cells as in the header, got {len(cells)}"
            yield number, BadRow(str(path), number, reason)
        elif "\0" in (whole := "".join(cells)):
            yield number, BadRow(str(path), number, "a cell holds a zero byte, as no text does")
        elif len(whole) > LONGEST_VALUE:
            yield number, BadRow(str(path), number, _TOO_LONG)
        else:
            # CSV has no null: an empty cell is a missing value.
            yield number, {name: value or None for name, value in zip(header, cells, strict=False)}


def _header(path: Path, number: int, cells: list[str]) -> list[str]:
    header = [cell.strip() for cell in cells]
    while not header[-1]:
        header.pop()
    if len(set(header)) < len(header):
        raise BadRow(str(path), number, "two columns have the same name: rename one")
    return header


Row = Mapping[str, Any]
Rows = Iterator[tuple[int, Row | BadRow]]


def read_rows(
    path: Path, *, encoding: str | None = None, tell: Callable[[str], None] = lambda _: None
) -> Rows:
    """The rows of a file in the format of its suffix, or of a folder with a saved dataset, or with
    pictures.

    Args:
        path: the file or folder.
        encoding: the encoding of a text file that is not UTF-8, by Python's name (`cp1252`).
        tell: called with a line about how the file is read, where that was detected.

    Raises:
        BadRow: a line after which no other can be read.
        InputError: no such file, an unknown format, or another encoding.
    """
    if path.is_dir() and is_picture_folder(path):
        return read_pictures(path, partial(read_rows, encoding=encoding, tell=tell))
    if path.is_dir():
        return read_saved(path)
    if not path.exists():
        raise InputError(f"there is no file {path}: give the path of a file with records")
    ending = path.suffix.lower()
    if ending in _ADVICE:
        raise InputError(f"{path}: {ending} files are not read. {_ADVICE[ending]}")
    if ending not in (*_TABLES, *_TEXTS):
        raise UnknownName("format", path.suffix or path.name, (*_TABLES, *_TEXTS))
    require_file(path)
    if ending in _TABLES:
        return _TABLES[ending](path)
    return _TEXTS[ending](path, encoding_of(path, encoding), tell)


_TABLES: dict[str, Callable[[Path], Rows]] = {".parquet": read_parquet, ".npz": read_npz}
_TEXTS: dict[str, Callable[[Path, str, Callable[[str], None]], Rows]] = {
    ".jsonl": lambda path, encoding, _: read_jsonl(path, encoding),
    ".ndjson": lambda path, encoding, _: read_jsonl(path, encoding),
    ".json": lambda path, encoding, _: read_json(path, encoding),
    ".csv": read_csv,
    ".tsv": lambda path, encoding, _: read_tsv(path, encoding),
}

_SHEET = "In the spreadsheet, save the sheet as 'CSV UTF-8' and give that file"
_PACKED = "Unpack it and give what it holds"
_TABLE = "Write it as Parquet, or as JSON with one object a line (.jsonl)"
_ADVICE = {
    **dict.fromkeys((".xlsx", ".xlsm", ".xlsb", ".xls", ".ods", ".numbers"), _SHEET),
    **dict.fromkeys((".gz", ".zip", ".bz2", ".xz", ".zst", ".7z", ".tar", ".tgz"), _PACKED),
    **dict.fromkeys((".arrow", ".feather", ".orc", ".avro", ".db", ".sqlite"), _TABLE),
    ".npy": "Name its columns: numpy.savez(FILE.npz, input=..., label=..., subject=...)",
    **dict.fromkeys((".pkl", ".pickle", ".xml", ".yaml", ".yml", ".docx", ".pdf"), _TABLE),
    ".txt": "Name it after what it holds: .csv, .tsv, or .jsonl with one object a line",
}
