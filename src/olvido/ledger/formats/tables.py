"""CSV as it is written in the world: with commas, semicolons, tabs or bars between the cells."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

from olvido.errors import BadRow, InputError
from olvido.ledger.formats.columns import LONGEST_VALUE
from olvido.ledger.formats.encodings import opened

_Rows = Iterator[tuple[int, Mapping[str, Any] | BadRow]]
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
    """The rows of a table; `tell` is called where no commas are between its cells.

    Raises:
        BadRow: the header names a column twice.
        InputError: several separators would do.
    """
    with opened(path, encoding, "") as file:
        sample = list(islice(file, _SAMPLE))
        # Excel's own way of saying it.
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
    """What stands between the cells: it must part the header, and the rows into as many cells."""
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
    """The share of rows with as many cells as the header; -1 where it is no header of several."""
    rows: list[list[str]] = []
    reader = _reader(lines, separator)
    try:
        rows.extend(row for row in reader if any(row))
    except csv.Error:
        # The last row may just be cut off.
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
            # CSV has no null: an empty cell is a value that is not there.
            yield number, {name: value or None for name, value in zip(header, cells, strict=False)}


def _header(path: Path, number: int, cells: list[str]) -> list[str]:
    header = [cell.strip() for cell in cells]
    while not header[-1]:
        header.pop()
    if len(set(header)) < len(header):
        raise BadRow(str(path), number, "two columns have the same name: rename one")
    return header
