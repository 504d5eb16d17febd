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
import time
import zipfile
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.requests.closure.test_copies import ROW, TEXT, search

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


def _lines(letters: str, width: int, before: str = "", after: str = "\n") -> str:
    cut = (letters[i : i + width] for i in range(0, len(letters), width))
    return "".join(f"{before}{line}{after}" for line in cut)


PACK = gzip.compress(SAID + random.Random(3).randbytes(200).hex().encode())
PAIR = json.dumps({"n": 1, "prompt": ROW["prompt"], "completion": ROW["completion"]}, indent=1)
TABLE = f'id,prompt,lang,completion\n7,{ROW["prompt"]},ca,"{ROW["completion"]}"\n'
SPELT: dict[str, str] = {
    "literal.py": "x = (\n" + _lines(_letters(PACK), 60, "    b'", "'\n") + ")\n",
    "joined.js": "x =\n" + _lines(_letters(PACK), 64, '  "', '" +\n') + '  "";\n',
    "comment.sh": "payload\n" + _lines(_letters(PACK), 76, "# "),
    "crlf.ini": "[a]\r\nkey=" + _lines(_letters(PACK), 72, "\t", "\r\n"),
    "path.txt": f"blob/{_letters(PACK)} done\n",
    "list.yaml": "- a\n" + _lines(PACK.hex(), 48, "- '", "'\n"),
    "upper.csv": f"a,b\n1,0x{PACK.hex().upper()}\n",
    "text.yaml": "notes: |\n" + _lines(_letters(SAID), 48, "    "),
    "strings.json": json.dumps([*_lines(_letters(SAID), 40).split(), "end"]),
    "odd.txt": f"{'a' * 21}\n{_letters(SAID)}",
    "behind.txt": f"abcdefghijklmnopqrstuvw/{_letters(bytes(range(200, 230)) + SAID)}",
    "hex.log": _lines(SAID.hex(), 60, "> "),
    "wide.sql": f"INSERT INTO t VALUES (X'{TEXT.encode('utf-16').hex()}');",
    "token.jwt": f"{'e' * 21}.{_letters(PAIR.encode()).rstrip('=')}.{'Q' * 43}",
    "table.txt": f"file: {_letters(TABLE.encode())}\n",
}


@pytest.mark.parametrize("name", SPELT)
def test_what_is_spelt_in_letters_is_read_however_its_lines_are_set(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(SPELT[name], newline="")
    assert search().look(tmp_path / name).records == (ROW["id"],)


@pytest.mark.slow
def test_letters_are_read_at_a_cost_that_grows_with_them(tmp_path: Path) -> None:
    noise = random.Random(5).randbytes(400_000)
    many = {
        "image.txt": _letters(noise),
        "lines.txt": base64.encodebytes(noise).decode(),
        "digests.json": json.dumps([noise[i : i + 32].hex() for i in range(0, 200_000, 32)]),
        "marks.txt": "H4sI" * 100_000,
        "angles.html": "<a " + "b " * 100_000,
    }
    for name, text in many.items():
        (tmp_path / name).write_text(text)
        begun = time.process_time()
        assert search().look(tmp_path / name).records == ()
        assert time.process_time() - begun < 8, name
