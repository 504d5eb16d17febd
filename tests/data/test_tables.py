"""CSV as spreadsheets all over the world write it gives the rows that were in the sheet."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olvido.data import read_rows
from olvido.errors import BadRow, InputError

SEPARATORS = [",", ";", "\t", "|"]
ROWS = [
    {"text": "Ana, 30; sings | dances\tdaily", "subject": "Ana Soler", "price": "3,50"},
    {
        "text": 'She said "no";\r\nand left,\nlaughing',
        "subject": "Núria; Joan",
        "price": "1.000,00",
    },
    {"text": "Short", "subject": "张伟", "price": None},
]


def written(rows: list[dict[str, Any]], separator: str, ends: str, **more: Any) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, rows[0], delimiter=separator, lineterminator=ends, **more)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def read(path: Path, content: str | bytes, **options: Any) -> list[Any]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [row for _, row in read_rows(path, **options)]


@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_every_separator_and_line_end_gives_the_same_rows_and_is_told(
    tmp_path: Path, separator: str, ends: str, quoting: int
) -> None:
    content = written(ROWS, separator, ends, quoting=quoting)
    told: list[str] = []
    assert read(tmp_path / "x.csv", content, tell=told.append) == ROWS
    assert len(told) == (separator != ",")
    marked = b"\xef\xbb\xbf" + content.encode()
    assert read(tmp_path / "x.csv", marked) == ROWS
    if separator == "\t":
        assert read(tmp_path / "x.tsv", content) == ROWS


cells = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


@given(
    names=st.lists(
        st.text("abcdeé _-", min_size=1, max_size=6).filter(lambda n: n == n.strip()),
        min_size=2,
        max_size=4,
        unique=True,
    ),
    data=st.data(),
    separator=st.sampled_from(SEPARATORS),
    ends=st.sampled_from(["\n", "\r\n"]),
)
def test_what_a_writer_of_csv_writes_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    names: list[str],
    data: st.DataObject,
    separator: str,
    ends: str,
) -> None:
    row = st.tuples(*[cells] * len(names))
    rows = [
        dict(zip(names, row, strict=True))
        for row in data.draw(st.lists(row, min_size=1, max_size=5))
    ]
    path = tmp_path_factory.getbasetemp() / "any.csv"
    content = written(rows, separator, ends, quoting=csv.QUOTE_ALL)
    full = [{name: cell or None for name, cell in row.items()} for row in rows if any(row.values())]
    assert read(path, content) == full


@pytest.mark.parametrize("length", [131_073, 150_000, 2**20])
@pytest.mark.parametrize("separator", [",", ";"])
def test_a_cell_may_hold_a_long_document(tmp_path: Path, length: int, separator: str) -> None:
    rows = [{"text": "é;, " * (length // 4), "subject": "Ana"}, ROWS[2] | {}]
    rows[1].pop("price")
    assert read(tmp_path / "x.csv", written(rows, separator, "\n")) == rows


@pytest.mark.parametrize(
    "content",
    [
        "text;subject\nb;Ana\n",
        "\n\ntext;subject\n\n\nb;Ana\n\n",
        "text;subject;;\nb;Ana;;\n;;;\n",
        "text;subject\nb;Ana;;\n;\n",
        " text ; subject\nb;Ana\n",
        '"text";"subject"\n"b";"Ana"\n',
        "sep=;\ntext;subject\nb;Ana\n",
        "\ufefftext;subject\r\nb;Ana\r\n",
        '\ufeff"text"\t"subject"\nb\tAna',
    ],
)
def test_what_spreadsheets_add_around_the_cells_is_no_data(tmp_path: Path, content: str) -> None:
    assert read(tmp_path / "x.csv", content) == [{"text": "b", "subject": "Ana"}]


@pytest.mark.parametrize(
    "content",
    [
        # What stands in cells does not make a separator.
        'name|alias,text\nAna,"a|b|c; d"\n',
        "text\nAna; Joan; Eva\n",
        '"a;b",c\n1;2,3\n',
        'id,text | note\n1,"Ana; Joan | Eva"\n2,b\n',
        "text,subject\na;b;c,Ana\nd;e;f,Joan\n",
    ],
)
def test_commas_stay_commas_whatever_else_stands_in_cells(tmp_path: Path, content: str) -> None:
    told: list[str] = []
    rows = read(tmp_path / "x.csv", content, tell=told.append)
    (tmp_path / "y.csv").write_text(content)
    with (tmp_path / "y.csv").open(newline="") as file:
        assert rows == list(csv.DictReader(file))
    assert told == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a;b,c\n1;2,3\n", "may have"),
        ("a;a\n1;2\n", "same name"),
        (" a ;a\n1;2\n", "same name"),
        ("sep=x\naxb\n1x2\n", "sep="),
    ],
)
def test_a_header_that_can_be_read_in_two_ways_is_refused(
    tmp_path: Path, content: str, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        read(tmp_path / "x.csv", content)


def test_rows_that_are_not_as_wide_or_hold_no_text_are_bad_rows(tmp_path: Path) -> None:
    content = 'a;b\n1;2;3\n4\n5;6\n7;"a\0b"\n8;9\n"x'
    found = list(enumerate(read(tmp_path / "x.csv", content)))
    assert [place for place, row in found if isinstance(row, BadRow)] == [0, 1, 3, 5]
    assert [row.line for _, row in found if isinstance(row, BadRow)] == [2, 3, 5, 7]
