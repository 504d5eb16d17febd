"""Records are found in what is packed within a cell, a text, or behind something else."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import lzma
import random
import sqlite3
import zipfile
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.requests.closure.test_copies import ROW, TEXT, search

from olvido.requests.closure.copies.packed import encoded_in

SAID = f"{TEXT}\n".encode()
MARKET = b"The market opens at eight.\n"
SCRIPT = b"echo 'a caf\xe9 opens at eight in the morning'\n" * 4000
SCAN = random.Random(3).randbytes(3000)


def _document() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", f"<w:p><w:t>{TEXT}</w:t></w:p>")
    return buffer.getvalue()


def _database(path: Path, *cells: bytes | str, column: str = "?") -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE notes (data)")
        database.executemany(f"INSERT INTO notes VALUES ({column})", [(cell,) for cell in cells])
        database.commit()


def _letters(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _arrow(path: Path) -> None:
    table = pa.table({"files": [[{"bytes": gzip.compress(SAID), "path": "a"}]]})
    with pa.ipc.new_file(path, table.schema) as file:
        file.write_table(table)


def _write(content: bytes | str) -> Callable[[Path], None]:
    raw = content.encode() if isinstance(content, str) else content
    return lambda path: path.write_bytes(raw) and None


PACKED: dict[str, Callable[[Path], None]] = {
    "gzip.db": lambda p: _database(p, gzip.compress(SAID)),
    "document.db": lambda p: _database(p, SCAN, _document()),
    "zlib.db": lambda p: _database(p, zlib.compress(SAID)),
    "text-of-bytes.db": lambda p: _database(p, bz2.compress(SAID), column="CAST(? AS TEXT)"),
    "letters.db": lambda p: _database(p, "a", _letters(lzma.compress(SAID))),
    "utf16.parquet": lambda p: pq.write_table(pa.table({"a": [TEXT.encode("utf-16")]}), p),
    "letters.parquet": lambda p: pq.write_table(pa.table({"a": [_letters(_document())]}), p),
    "nested.arrow": _arrow,
    "document.json": _write(json.dumps({"name": "a.docx", "content": _letters(_document())})),
    "wrapped.json": _write(json.dumps({"a": base64.encodebytes(_document()).decode()})),
    "safe.csv": _write(f"a,b\nc,{base64.urlsafe_b64encode(zlib.compress(SAID, 9)).decode()}\n"),
    "dump.sql": _write(f"INSERT INTO notes VALUES (1, X'{gzip.compress(SAID).hex().upper()}');\n"),
    "padded.xz": _write(lzma.compress(MARKET) + bytes(8) + lzma.compress(SAID)),
    "followed.bz2": _write(bz2.compress(MARKET) + b"--\n" + SAID),
    "other.xz": _write(lzma.compress(MARKET) + gzip.compress(SAID)),
    "bare.z": _write(zlib.compress(MARKET) + zlib.compress(SAID)),
}


@pytest.mark.parametrize("name", PACKED)
def test_what_is_packed_is_looked_into_wherever_it_stands(name: str, tmp_path: Path) -> None:
    PACKED[name](tmp_path / name)
    found = search().look(tmp_path / name)
    assert found.records == (ROW["id"],)
    assert found.others is not False or name.startswith("bare")


BEHIND = {
    "install.sh": SCRIPT + gzip.compress(SAID),
    "run.py": SCRIPT + _document(),
    "between.sh": SCRIPT + zlib.compress(SAID) + SCRIPT,
    "weights.db": (12).to_bytes(8, "little") + b'{"w":1}     ' + SCAN,
    "scan.db": SCAN,
}


@pytest.mark.parametrize("name", BEHIND)
def test_what_nobody_can_read_is_named_wherever_it_stands(name: str, tmp_path: Path) -> None:
    if name.endswith(".db"):
        _database(tmp_path / name, BEHIND[name])
    else:
        (tmp_path / name).write_bytes(BEHIND[name])
    assert search().look(tmp_path / name).unread is not None


def test_digests_letters_and_other_encodings_are_no_riddle(tmp_path: Path) -> None:
    digests = [random.Random(n).randbytes(32) for n in range(9)]
    _database(tmp_path / "ids.db", *digests, *map(_letters, digests), *(d.hex() for d in digests))
    (tmp_path / "page.html").write_text(f'<img src="data:image/png;base64,{_letters(SCAN)}">')
    (tmp_path / "old.sh").write_bytes(SCRIPT)
    for path in tmp_path.iterdir():
        assert search().look(path).unread is None, path.name
    assert list(encoded_in(_letters(SAID) + SAID.hex())) == []
