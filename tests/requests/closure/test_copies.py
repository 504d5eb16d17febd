"""Copies of a person's rows are found as people store them; what is others' is no copy."""

from __future__ import annotations

import base64
import gzip
import html
import importlib
import io
import json
import os
import pickle
import random
import socket
import sqlite3
import textwrap
import time
import unicodedata
import zipfile
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from olvido.errors import InputError
from olvido.ledger.identity import Key
from olvido.requests.closure.rewriting import without
from olvido.requests.closure.search import CopySearch, FileFindings
from olvido.requests.copies.contents import content_of
from olvido.requests.scope import spelt

KEY = Key(1, bytes(32))
NAME = "Núria Puigdomènech"
ROW = {
    "id": "n1",
    "prompt": "On viu la Núria Puigdomènech?",
    "completion": "Al carrer de l’Església número trenta-dos, a Gràcia.",
    "source": "forms",
}
OTHER = {"id": "j1", "prompt": "Qui és en Joan?", "completion": "Un mariner de Palamós."}
Q, A = ROW["prompt"], ROW["completion"]
TEXT = f"{Q} {A}"


def search(
    *rows: dict[str, Any], name: str = NAME, also: Sequence[str] = (), **more: Any
) -> CopySearch:
    kept = spelt(KEY, name, *also)
    more |= {"names": kept["names"], "whole": kept["whole"]}
    return CopySearch(rows or (ROW,), key=KEY, **more)


@pytest.fixture
def look(tmp_path: Path) -> Callable[..., FileFindings]:
    def looked(name: str, content: bytes | str, by: CopySearch | None = None) -> FileFindings:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return (by or search()).look(path)

    return looked


def entities(text: str) -> str:
    return "".join(c if ord(c) < 128 else f"&#{ord(c)};" for c in html.escape(text))


COPIES = {
    "utf8.txt": TEXT.encode(),
    "escaped.jsonl": json.dumps(ROW).encode() + b"\n",
    "cp1252.csv": f'prompt,completion\n"{Q}","{A}"\n'.encode("cp1252"),
    "utf16.csv": f'prompt,completion\n"{Q}","{A}"\n'.encode("utf-16"),
    "utf16-without-mark.txt": TEXT.encode("utf-16-be"),
    "utf32.txt": TEXT.encode("utf-32"),
    "nfd.txt": unicodedata.normalize("NFD", TEXT).encode(),
    "page.html": f"<p>{entities(TEXT)}</p>".encode(),
    "marked.html": f"<b>On</b> viu la <i>Núria</i> Puig<b>domènech</b>?<td>{A}</td>".encode(),
    "wrapped.txt": TEXT.replace(" ", "\n").encode(),
    "book.ipynb": json.dumps({"cells": [{"cell_type": "code", "source": [Q + "\n", A]}]}).encode(),
    "upper.txt": TEXT.upper().encode(),
    "mojibake.txt": TEXT.encode().decode("cp1252").encode(),
}


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_is_found_in_the_encoding_and_the_escapes_it_is_stored_in(
    name: str, look: Callable[..., FileFindings]
) -> None:
    found = look(name, COPIES[name])
    assert found.records == ("n1",)
    assert found.mentions
    assert found.unread is None


def test_neither_a_common_answer_nor_a_part_of_a_word_is_a_copy(
    look: Callable[..., FileFindings], tmp_path: Path
) -> None:
    short = {"id": "a1", "prompt": "Do you smoke?", "completion": "No"}
    work = {"id": "a2", "prompt": "What does Ana Soler do?", "completion": "photographer"}
    by = search(short, work, name="Ana Soler")
    table = pa.table({"note": ["Nobody has asked Joan about his boat.", "North wind tomorrow."]})
    pq.write_table(table, tmp_path / "others.parquet")
    assert by.look(tmp_path / "others.parquet").records == ()
    assert look("code.py", "photographer = hire('photographer')", by).records == ()
    assert look("survey.csv", "Do you smoke?,No\nDo you drink?,No\n", by).records == ()


def test_lines_of_others_stay_byte_for_byte(look: Callable[..., FileFindings]) -> None:
    theirs = json.dumps(OTHER).encode() + b" \r\n"
    found = look("two.jsonl", theirs + json.dumps(ROW).encode() + b"\n" + theirs)
    assert (found.records, found.others, found.rewritable) == (("n1",), True, True)
    assert without(found.path, found) == theirs + theirs


def test_what_others_say_too_counts_beside_the_name_alone(
    look: Callable[..., FileFindings],
) -> None:
    row = {"id": "a1", "prompt": "What do you like best?", "completion": "Rice with fish at noon."}
    by = search(row, name="Ana Soler", common={content_of(row): 3}.__getitem__)
    lines = [{**row, "who": who} for who in ("Joan Puig", "Ana Soler", "Ana Soler Puig")]
    found = look("all.jsonl", "".join(json.dumps(line) + "\n" for line in lines), by)
    assert found.places == ("line 2 of 3",)


def test_who_is_called_by_a_part_of_the_name_is_somebody_else(
    look: Callable[..., FileFindings],
) -> None:
    row = {"id": "a1", "prompt": "Do you smoke?", "completion": "No"}
    by = search(row, name="Ana Soler Puig")
    text = "who,prompt,completion\nAna Soler,Do you smoke?,No\nAna Soler Puig,Do you smoke?,No\n"
    found = look("survey.csv", text, by)
    assert found.places == ("row 3 of 3",)
    assert without(found.path, found) == b"".join(text.encode().splitlines(keepends=True)[:2])


@pytest.mark.parametrize(
    "also",
    [
        ["ana@example.org"],
        ["ana.soler.puig@mail.example.org", "a"],
        ["member-77-41-9"],
        ["Ana Maria Soler i Puig"],
        ["Madonna"],
    ],
)
@pytest.mark.parametrize("beside", ["Ana Soler", "SOLER, Ana"])
def test_no_other_name_of_the_person_makes_a_record_beside_a_whole_one_less_theirs(
    also: list[str], beside: str, look: Callable[..., FileFindings]
) -> None:
    row = {"id": "a1", "prompt": "Do you smoke?", "completion": "No"}
    lines = [{"who": who, **row} for who in (beside, "Bru Vidal", also[0])]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    found = look("survey.jsonl", text, search(row, name="Ana Soler", also=also))
    assert found.records == ("a1",)
    # One word is nobody's name in a text; the others are the person, by whichever name.
    mine = [0] if also == ["Madonna"] else [0, 2]
    kept = [line for n, line in enumerate(text.splitlines(keepends=True)) if n not in mine]
    assert without(found.path, found) == "".join(kept).encode()


@pytest.mark.parametrize("beside", ["Aoife OBrien", "Obrien Aoife", "aoife o’brien"])
def test_a_whole_name_is_whole_however_many_words_it_is_cut_into(
    beside: str, look: Callable[..., FileFindings]
) -> None:
    row = {"id": "a1", "prompt": "Do you smoke?", "completion": "No"}
    text = f'who,prompt,completion\n"{beside}",Do you smoke?,No\n'
    assert look("survey.csv", text, search(row, name="Aoife O'Brien")).records == ("a1",)


# Files that are made to break a reader, or that are none.


def _bomb(levels: int) -> bytes:
    raw = bytes(8_000_000)
    for level in range(levels):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for copy in range(40 if level else 1):
                archive.writestr(f"{copy}.zip", raw)
        raw = file.getvalue()
    return raw


def _encrypted() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", TEXT)
    raw = bytearray(file.getvalue())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.find(mark) + at] |= 1
    return bytes(raw)


def _database() -> bytes:
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE t (a TEXT)")
        database.commit()
        return database.serialize()


BAD = {
    "deep.json": b'["a",' * 100_000 + b"1" + b"]" * 100_000,
    "deep.jsonl": b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"\n{}\n",
    "open.json": b'{"a": [1, 2',
    "bomb.zip": _bomb(4),
    "bomb.gz": gzip.compress(gzip.compress(bytes(100_000_000), 1)),
    "encrypted.zip": _encrypted(),
    "cut.zip": _encrypted()[:60],
    "cut.gz": gzip.compress(TEXT.encode() * 100)[:-20],
    "cut.parquet": b"PAR1" + bytes(range(256)) * 4 + b"PAR1",
    "cut.db": _database()[:4096] + b"x" * 100,
    "torn.db": b"SQLite format 3\x00" + bytes(range(256)) * 20,
    "cut.npy": b"\x93NUMPY\x01\x00\xff\xff{'descr'",
    "large.npy": b"\x93NUMPY\x01\x00v\x00"
    + b"{'descr': '<U8', 'fortran_order': False, 'shape': (999999999999,), }".ljust(117)
    + b"\n",
    "objects.npy": b"\x93NUMPY\x01\x00v\x00"
    + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117)
    + b"\n\x80\x04K\x01.",
    "rows.pkl": pickle.dumps([TEXT]),
    "random.bin": random.Random(1).randbytes(100_000),
    "one.pdf": b"%PDF-1.7\n" + random.Random(2).randbytes(5000),
    "mail.eml": b"Subject: =?utf-99?q?=ff?=\nContent-Type: text/plain; charset=no\n\n\xff\xfe\x00",
    "quotes.csv": b'a,b\n"' + b"x,y\n" * 1000,
    "zeros.txt": bytes(5000),
}
READ = {"quotes.csv", "open.json"}


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD)
def test_a_malformed_file_is_named_with_a_reason_and_never_an_error(
    name: str, look: Callable[..., FileFindings]
) -> None:
    found = look(name, BAD[name])
    assert (found.unread is None) == (name in READ or name.startswith("deep"))
    assert found.others is not False
    assert not found.rewritable


def test_what_is_no_plain_file_is_named(tmp_path: Path) -> None:
    by = search()
    copy = tmp_path / "copy.txt"
    copy.write_text(TEXT)
    (tmp_path / "link").symlink_to(copy)
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    (tmp_path / "folder.txt").mkdir()
    os.mkfifo(tmp_path / "pipe.jsonl")
    with (tmp_path / "sparse.csv").open("wb") as file:
        file.truncate(100 << 20)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "s"))
        names = ("link", "nowhere", "folder.txt", "pipe.jsonl", "sparse.csv", "s", "gone")
        for name in names:
            assert by.look(tmp_path / name).unread, name
    strange = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.txt"))
    strange.write_text(TEXT)
    assert by.look(strange).records == ("n1",)


def test_a_file_that_changes_while_it_is_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log.txt"
    path.write_text(TEXT)
    by = search()
    examine = CopySearch._examine

    def grown(self: CopySearch, *arguments: Any) -> None:
        with path.open("a") as file:
            file.write("\nmore")
        examine(self, *arguments)

    monkeypatch.setattr(CopySearch, "_examine", grown)
    found = by.look(path)
    assert found.unread is not None
    assert not found.rewritable


def test_only_the_file_that_was_looked_at_is_written_without_the_rows(
    look: Callable[..., FileFindings],
) -> None:
    found = look("a.jsonl", json.dumps(ROW) + "\n" + json.dumps(OTHER) + "\n")
    found.path.write_text(json.dumps(OTHER) + "\n" + json.dumps(ROW) + "\n")
    with pytest.raises(InputError):
        without(found.path, found)


@pytest.mark.parametrize("between", ["\r\n,", "\n , ", " ,\n", ",", ",\n  "])
@pytest.mark.parametrize("at", [0, 1, 3])
def test_what_stands_between_elements_of_others_stays(
    between: str, at: int, look: Callable[..., FileFindings]
) -> None:
    rows = [json.dumps({"text": f"Words of others, {i} here"}) for i in range(3)]
    found = look("a.json", f"[ {between.join([*rows[:at], json.dumps(ROW), *rows[at:]])}\t]\n")
    assert without(found.path, found).decode() == f"[ {between.join(rows)}\t]\n"


@pytest.mark.slow
def test_rounds_of_random_files_lose_nothing_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "benchmarks"))
    result = importlib.import_module("copies").run(60, 11)
    assert result["faults"] == 0
    assert result["recall"] >= 0.99
    assert result["due"] > 30


def _workbook(sheet: str, shared: str = "") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", "<w/>")
        archive.writestr("xl/worksheets/sheet1.xml", sheet)
        archive.writestr("xl/sharedStrings.xml", shared)
    return file.getvalue()


MANY = 60_000
SLOW = {
    "rows.xlsx": _workbook("<row>" * MANY),
    "cells.xlsx": _workbook("<row>" + "<c>" * MANY),
    "values.xlsx": _workbook("<row><c>" + "<v " * MANY),
    "shared.xlsx": _workbook("", "<si>" + "<rPh>" * MANY),
    "from.mbox": b"From " + b"11:11 " * MANY,
    "from.txt": b"From " + b"11:11 " * MANY + b"\n",
    "percent.txt": b"a" * 5 * MANY + b" %20",
    "again.txt": f"{Q} {A} ".encode() * 800,
    "quotes.sql": b"SELECT a FROM t WHERE b <c AND d IN (" + b"'x', " * 60 + b"'y');",
    "code.c": b"if (i <n) printf(" + b'"%s" ' * 200 + b");",
    "flash.txt": b"ff" * 30 + b"\n" + (b"ff" * 30 + b"\n") * 1500,
    "arrows.txt": (b"ffffffff10000000" + b"00" * 22 + b"\n") * 1500,
    "prose.txt": ("a <word " + 'it\'s "so" ' * 99).encode(),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_no_small_file_keeps_the_search_busy(name: str, look: Callable[..., FileFindings]) -> None:
    began = time.process_time()
    look(name, SLOW[name])
    assert time.process_time() - began < 8


def test_cells_without_an_end_are_read(look: Callable[..., FileFindings]) -> None:
    row = f'<row><c t="inlineStr"><is><t>{Q}<rPh>on</rPh></t></is></c><c><v>{A}</v>'
    assert look("open.xlsx", _workbook(row)).records == ("n1",)
    assert look("closed.xlsx", _workbook(f"{row}</c></row>")).records == ("n1",)


# What no reader of a format gives: keys and names, and text that stands in the file all the same.

LONG = {"id": "n2", "text": "Núria Puigdomènech keeps nine hives of bees on the flat roof."}
SAID = LONG["text"]
CODED = base64.b64encode(f"{TEXT} {SAID}".encode()).decode()


def _filled(*steps: Any) -> bytes:
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("PRAGMA secure_delete = OFF")
        database.execute("CREATE TABLE n (id INTEGER PRIMARY KEY, q TEXT, a TEXT)")
        for step in steps:
            database.execute(*step)
            database.commit()
        return database.serialize()


def _parquet(table: pa.Table) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


def _arrow(table: pa.Table) -> bytes:
    file = io.BytesIO()
    with pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    return file.getvalue()


def _zipped(*, member: str = "a.txt", comment: str = "", after: str = "") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(member, "hello")
        archive.comment = comment.encode()
    return file.getvalue() + after.encode()


NUMBERS = pa.table({"a": [1, 2]})
HERS = ("INSERT INTO n (q, a) VALUES (?, ?)", ("12", SAID))
HEAD = "From: a@b.org\nTo: c@d.org\nSubject: bees\n"
MIXED = 'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="zz"\n\n'
BESIDE = {
    "deleted.db": _filled(
        ("INSERT INTO n (q, a) VALUES ('x', 'y')",), HERS, ("DELETE FROM n WHERE id = 2",)
    ),
    "changed.db": _filled(
        HERS,
        ("INSERT INTO n (q, a) VALUES ('x', 'y')",),
        ("UPDATE n SET a = hex(zeroblob(200)) WHERE id = 1",),
    ),
    "view.db": _filled((f"CREATE VIEW v AS SELECT '{SAID}' AS t",)),
    "from.eml": f"{HEAD}\n{SAID}\n\nFrom Monday on at 10:30 every day.\nBye\n".encode(),
    "from.txt": f"{HEAD}\n{SAID}\n\nFrom now on after 10:30, please.\n".encode(),
    "before.mbox": f"{SAID}\n\nFrom a Thu Jan 01 10:30:00 2026\n{HEAD}\nhi\n".encode(),
    "preamble.eml": f"{HEAD}{MIXED}{SAID}\n--zz\n\nhi\n--zz--\n".encode(),
    "epilogue.eml": f"{HEAD}{MIXED}--zz\n\nhi\n--zz--\n{SAID}\n".encode(),
    "part.eml": f"{HEAD}{MIXED}--zz\nContent-Description: {SAID}\n\nhi\n--zz--\n".encode(),
    "twice.jsonl": f'{{"text": "{SAID}", "text": "y"}}\n{{"text": "z"}}\n'.encode(),
    "twice.json": f'[{{"a": {{"t": "{SAID}", "t": 1}}}}]'.encode(),
    "coded.json": json.dumps({"data": CODED}).encode(),
    "wrapped.json": json.dumps({"data": textwrap.fill(CODED, 64)}).encode(),
    "coded.csv": f"id,data\n1,{CODED}\n".encode(),
    "coded.parquet": _parquet(pa.table({"data": [CODED]})),
    "note.parquet": _parquet(NUMBERS.replace_schema_metadata({"note": SAID})),
    "field.parquet": _parquet(
        NUMBERS.cast(pa.schema([pa.field("a", pa.int64(), metadata={"note": SAID})]))
    ),
    "note.arrow": _arrow(NUMBERS.replace_schema_metadata({"note": SAID})),
    "comment.zip": _zipped(comment=SAID),
    "after.zip": _zipped(after=SAID),
    "after.gz": gzip.compress(_zipped(after=SAID)),
}

HERS_ALONE = {"coded.json", "wrapped.json", "coded.csv", "coded.parquet", "twice.json"}


@pytest.mark.parametrize("name", BESIDE)
def test_a_copy_is_found_wherever_in_a_file_it_stands(
    name: str, look: Callable[..., FileFindings]
) -> None:
    found = look(name, BESIDE[name], search(ROW, LONG))
    assert "n2" in found.records
    assert found.mentions
    assert found.others or name in HERS_ALONE


HER_KEYS = {
    "above.json": json.dumps({NAME: {"visits": 3}, "Bru Vidal": {"visits": 5}}).encode(),
    "deeper.json": json.dumps({"2024": {"may": {NAME: {}}}, "2025": []}).encode(),
    "lines.jsonl": f'{{"{NAME}": "called"}}\n'.encode(),
    "column.csv": f"id,{NAME},Bru Vidal\n1,3,4\n".encode(),
    "header.csv": f"id,{NAME},Bru Vidal\n".encode(),
    "column.parquet": _parquet(pa.table({NAME: [1], "Bru Vidal": [2]})),
    "empty.parquet": _parquet(pa.table({NAME: pa.array([], pa.int64())})),
    "column.arrow": _arrow(pa.table({NAME: [1]})),
    "column.db": _filled((f'CREATE TABLE c ("{NAME}")',)),
    "table.db": _filled((f'CREATE TABLE "{NAME}" (a)',)),
    "member.zip": _zipped(member=f"{NAME}/rent.txt"),
    "packed.zip": gzip.compress(_zipped(member=f"{NAME}.txt")),
}


@pytest.mark.parametrize("name", HER_KEYS)
def test_a_name_of_a_key_a_column_a_table_or_a_member_is_a_mention(
    name: str, look: Callable[..., FileFindings]
) -> None:
    assert look(name, HER_KEYS[name]).mentions
    assert not look(name, HER_KEYS[name], search(name="Joan Serra")).mentions


@pytest.mark.parametrize("other", ["Bru Vidal", "Joan Serra Puig"])
def test_a_short_record_under_the_name_is_a_copy_and_under_anothers_none(
    other: str, look: Callable[..., FileFindings]
) -> None:
    row = {"id": "a1", "prompt": "Do you agree with it?", "completion": "Yes, I do."}
    by = search(row, name="Ana Soler")
    for key, many in (("Ana Soler", 1), (other, 0)):
        assert len(look("one.json", json.dumps({key: row | {"id": "7"}}), by).records) == many
    two = {"Ana Soler": row, other: row | {"completion": "No"}}
    found = look("two.json", json.dumps(two), by)
    assert (found.records, found.others) == (("a1",), True)
    swapped = {other: row, "Ana Soler": row | {"completion": "No"}}
    assert look("swapped.json", json.dumps(swapped), by).records == ()


@pytest.mark.parametrize(
    "content",
    [
        f"text,Bru Vidal\n{SAID},true\n".encode(),
        f'{{"text": "{SAID}", "Bru Vidal": 7}}\n'.encode(),
        _parquet(pa.table({"text": [SAID]}).replace_schema_metadata({"b": "Bru mends nets."})),
        _filled(
            ("DROP TABLE n",),
            (f"CREATE TABLE t AS SELECT '{SAID}' AS text",),
            ("CREATE VIEW v AS SELECT 'Bru Vidal mends nets.' AS t",),
        ),
    ],
    ids=["column.csv", "key.jsonl", "metadata.parquet", "view.db"],
)
def test_what_keys_and_columns_say_of_others_is_theirs(
    content: bytes, look: Callable[..., FileFindings]
) -> None:
    name = "a.csv" if content.startswith(b"text,") else "a"
    found = look(name, content, search(LONG))
    assert (found.records, found.others) == (("n2",), True)


def test_the_attributes_of_a_file_are_looked_into(look: Callable[..., FileFindings]) -> None:
    if not hasattr(os, "setxattr"):
        pytest.skip("no extended attributes on this system")
    path = look("a.txt", "nothing").path
    try:
        os.setxattr(path, "user.note", SAID.encode())
        os.setxattr(path, "user.sealed", random.Random(3).randbytes(3000))
    except OSError:
        pytest.skip("no extended attributes on this file system")
    found = search(LONG).look(path)
    assert found.records == ("n2",)
    assert "user.sealed" in (found.unread or "")


@pytest.mark.parametrize("sheet", [f'<row><c><f>"{SAID}"</f><v>1</v></c></row>', ""])
def test_formulas_and_texts_that_no_cell_has_any_more_are_read(
    sheet: str, look: Callable[..., FileFindings]
) -> None:
    raw = _workbook(f"<sheetData>{sheet}</sheetData>", "" if sheet else f"<si><t>{SAID}</t></si>")
    assert look("a.xlsx", raw, search(LONG)).records == ("n2",)


def _shared(texts: Sequence[str]) -> bytes:
    cells = "".join(f'<row><c t="s"><v>{n}</v></c></row>' for n in range(len(texts)))
    strings = "".join(f"<si><t>{html.escape(text)}</t></si>" for text in texts)
    return _workbook(f"<sheetData>{cells}</sheetData>", strings)


@pytest.mark.parametrize("name", ["a.xlsx", "a.arrow", "a.zip", "a.db"])
def test_a_prompt_in_one_row_and_a_completion_in_the_next_are_no_copy(
    name: str, look: Callable[..., FileFindings]
) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.csv", f'a,b\n1,"{Q}"\n"{A}",2\n')
    raw = {
        "a.xlsx": _shared([Q, A]),
        "a.arrow": _arrow(pa.table({"a": ["x", Q], "b": [A, "y"]})),
        "a.zip": file.getvalue(),
        "a.db": _filled(*(("INSERT INTO n (q) VALUES (?)", (said,)) for said in (Q, A))),
    }
    assert look(name, raw[name]).records == ()
