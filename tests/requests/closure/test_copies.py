"""Copies of a person's rows are found as people store them; what is others' is no copy."""

from __future__ import annotations

import hashlib
import hmac
import html
import json
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from olvido.folding import words
from olvido.requests.closure.copies import CopySearch, Look, content_of, without


class _Key:
    def name(self, words: Sequence[str]) -> str:
        mac = hmac.digest(b"key", " ".join(words).encode(), hashlib.sha256).hex()
        return f"name:v1:{len(words)}:{mac}"


KEY = _Key()
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


def search(*rows: dict[str, Any], name: str = NAME, **more: Any) -> CopySearch:
    return CopySearch(rows or (ROW,), key=KEY, names=[KEY.name(words(name))], **more)


@pytest.fixture
def look(tmp_path: Path) -> Callable[..., Look]:
    def looked(name: str, content: bytes | str, by: CopySearch | None = None) -> Look:
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
    name: str, look: Callable[..., Look]
) -> None:
    found = look(name, COPIES[name])
    assert found.records == ("n1",)
    assert found.mentions
    assert found.unread is None


def test_neither_a_common_answer_nor_a_part_of_a_word_is_a_copy(
    look: Callable[..., Look], tmp_path: Path
) -> None:
    short = {"id": "a1", "prompt": "Do you smoke?", "completion": "No"}
    work = {"id": "a2", "prompt": "What does Ana Soler do?", "completion": "photographer"}
    by = search(short, work, name="Ana Soler")
    table = pa.table({"note": ["Nobody has asked Joan about his boat.", "North wind tomorrow."]})
    pq.write_table(table, tmp_path / "others.parquet")
    assert by.look(tmp_path / "others.parquet").records == ()
    assert look("code.py", "photographer = hire('photographer')", by).records == ()
    assert look("survey.csv", "Do you smoke?,No\nDo you drink?,No\n", by).records == ()


def test_lines_of_others_stay_byte_for_byte(look: Callable[..., Look]) -> None:
    theirs = json.dumps(OTHER).encode() + b" \r\n"
    found = look("two.jsonl", theirs + json.dumps(ROW).encode() + b"\n" + theirs)
    assert (found.records, found.others, found.rewritable) == (("n1",), True, True)
    assert without(found.path, found) == theirs + theirs


def test_what_others_say_too_counts_beside_the_name_alone(look: Callable[..., Look]) -> None:
    row = {"id": "a1", "prompt": "What do you like best?", "completion": "Rice with fish at noon."}
    by = search(row, name="Ana Soler", common={content_of(row): 3}.__getitem__)
    lines = [{**row, "who": who} for who in ("Joan Puig", "Ana Soler", "Ana Soler Puig")]
    found = look("all.jsonl", "".join(json.dumps(line) + "\n" for line in lines), by)
    assert found.places == ("line 2 of 3",)
