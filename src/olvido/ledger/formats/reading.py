"""The one reader: which file is read how, and what to do with a file that is not read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from olvido.errors import BadRow, InputError, UnknownName
from olvido.ledger.formats.columns import read_parquet, read_saved
from olvido.ledger.formats.documents import read_json, read_jsonl
from olvido.ledger.formats.encodings import encoding_of, require_file
from olvido.ledger.formats.tables import read_csv, read_tsv

Row = Mapping[str, Any]
Rows = Iterator[tuple[int, Row | BadRow]]


def read_rows(
    path: Path, *, encoding: str | None = None, tell: Callable[[str], None] = lambda _: None
) -> Rows:
    """The rows of a file in the format its name tells, or of a saved dataset's folder.

    Args:
        path: the file or folder.
        encoding: how a text file is encoded that is not UTF-8, by Python's name (`cp1252`).
        tell: called with a line about how the file is read, where that was found out from it.

    Raises:
        BadRow: a line after which no other can be read.
        InputError: there is no such file, its format is not read, or it is not in this encoding.
    """
    if path.is_dir():
        return read_saved(path)
    if not path.exists():
        raise InputError(f"there is no file {path}: give the path of a file with records")
    ending = path.suffix.lower()
    if ending in _ADVICE:
        raise InputError(f"{path}: {ending} files are not read. {_ADVICE[ending]}")
    if ending not in (".parquet", *_TEXTS):
        raise UnknownName("format", path.suffix or path.name, (".parquet", *_TEXTS))
    require_file(path)
    if ending == ".parquet":
        return read_parquet(path)
    return _TEXTS[ending](path, encoding_of(path, encoding), tell)


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
    **dict.fromkeys((".pkl", ".pickle", ".xml", ".yaml", ".yml", ".docx", ".pdf"), _TABLE),
    ".txt": "Name it after what it holds: .csv, .tsv, or .jsonl with one object a line",
}
