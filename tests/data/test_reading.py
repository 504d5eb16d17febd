"""Rows come out of every format as they went in, and a bad one is named by file and line."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from olvido.data import read_rows
from olvido.errors import BadRow, InputError, StateError, UnknownName

ROWS = [
    {"id": "a", "prompt": "Who?", "completion": "Ana,\n“Soler”", "subject": "Ana Soler"},
    {"id": "b", "prompt": "Où?", "completion": "Barcelona", "subject": "Núria Puig"},
]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)

Write = Callable[[Path, list[dict[str, Any]]], Path]


@pytest.mark.parametrize("name", ["x.jsonl", "x.ndjson", "x.csv", "x.parquet", "saved"])
def test_every_format_gives_the_same_rows(tmp_path: Path, write: Write, name: str) -> None:
    assert [row for _, row in read_rows(write(tmp_path / name, ROWS))] == ROWS


def test_a_saved_dataset_in_several_files_is_read_to_its_end(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    rows = [{"text": f"row {i}"} for i in range(10)]
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "saved", num_shards=3)
    assert list(read_rows(tmp_path / "saved")) == list(enumerate(rows, 1))


def test_several_splits_ask_for_one(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    split = datasets.Dataset.from_list(ROWS)
    datasets.DatasetDict(train=split, test=split).save_to_disk(tmp_path / "saved")
    with pytest.raises(InputError, match=r"saved/train, .*saved/test"):
        list(read_rows(tmp_path / "saved"))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": 1', "invalid JSON: Expecting ',' delimiter at column"),
        (b'{"a": 1} {"a": 2}', "invalid JSON: Extra data at column"),
        ('{"a": 1}\u00a0'.encode(), "invalid JSON: Extra data at column"),
        (b"[1, 2]", "expected a JSON object, got list"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b"[" * 100_000, "invalid JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "invalid JSON"),
    ],
)
def test_a_line_that_is_no_json_object_is_named(tmp_path: Path, line: bytes, reason: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"a": 1}\n\n' + line + b'\n{"a": 2}\n')
    rows = list(read_rows(path))
    assert [number for number, _ in rows] == [1, 3, 4]
    bad = rows[1][1]
    assert isinstance(bad, BadRow)
    assert str(bad).startswith(f"{path}, line 3: ")
    assert reason in str(bad)
    assert rows[2][1] == {"a": 2}


@given(st.lists(st.dictionaries(texts, json_values, max_size=4), min_size=1, max_size=4))
@settings(max_examples=30, deadline=None)
def test_a_line_gives_its_value_whatever_stands_around_it(values: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.jsonl"
        lines = [json.dumps(value) for value in values]
        for before, after in (("", "\n"), ("", "\r\n"), (" \t", " \t\n")):
            content = "".join(f"{before}{line}{after}" for line in lines)
            for text in (content, content.removesuffix(after)):
                path.write_bytes(text.encode())
                assert [row for _, row in read_rows(path)] == values


def test_integers_of_any_size_are_kept(tmp_path: Path) -> None:
    sizes = {"a": 2**63, "b": 2**64, "c": -(10**40)}
    (tmp_path / "x.jsonl").write_text(json.dumps(sizes) + "\n")
    assert list(read_rows(tmp_path / "x.jsonl")) == [(1, sizes)]


def test_a_byte_order_mark_is_no_data(tmp_path: Path) -> None:
    for name, content in (("x.jsonl", '{"a": "1"}\n'), ("x.csv", "a\n1\n")):
        path = tmp_path / name
        path.write_text(content, encoding="utf-8-sig")
        assert [row for _, row in read_rows(path)] == [{"a": "1"}]


def test_csv_rows_are_counted_by_line_and_must_be_as_wide_as_the_header(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text('a,b\n1,"two\nlines"\n3\n\n4,\n', encoding="utf-8")
    rows = list(read_rows(path))
    assert rows[0] == (2, {"a": "1", "b": "two\nlines"})
    assert str(rows[1][1]) == f"{path}, line 4: expected 2 cells as in the header, got 1"
    assert rows[2] == (6, {"a": "4", "b": None})


def test_csv_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,a\n1,2\n", encoding="utf-8")
    with pytest.raises(BadRow, match="line 1: two columns"):
        list(read_rows(path))


def test_times_in_parquet_become_their_text(tmp_path: Path) -> None:
    import datetime as dt

    table = pa.table({"day": [dt.date(2025, 3, 31)], "text": ["x"]})
    pq.write_table(table, tmp_path / "x.parquet")
    assert list(read_rows(tmp_path / "x.parquet")) == [(1, {"day": "2025-03-31", "text": "x"})]


def test_a_text_in_parquet_that_is_no_utf8_is_one_bad_row(tmp_path: Path) -> None:
    raw = pa.array([b"good", b"\xff\xfe", b"fine"], pa.binary())
    text = pa.StringArray.from_buffers(3, *raw.buffers()[1:])
    pq.write_table(pa.table({"text": text}), tmp_path / "x.parquet")
    rows = list(read_rows(tmp_path / "x.parquet"))
    assert str(rows[1][1]).endswith("line 2: invalid UTF-8")
    assert [rows[0][1], rows[2][1]] == [{"text": "good"}, {"text": "fine"}]


def test_files_that_cannot_be_read_say_what_to_give(tmp_path: Path) -> None:
    (tmp_path / "x.jsnl").write_text("{}")
    (tmp_path / "x.parquet").write_bytes(b"no parquet")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnknownName, match=r"did you mean '\.jsonl'"):
        read_rows(tmp_path / "x.jsnl")
    with pytest.raises(InputError, match="there is no file"):
        read_rows(tmp_path / "none.csv")
    with pytest.raises(InputError, match="not a readable Parquet"):
        list(read_rows(tmp_path / "x.parquet"))
    with pytest.raises(InputError, match="save_to_disk"):
        list(read_rows(tmp_path / "empty"))


def test_a_damaged_saved_dataset_is_refused(tmp_path: Path, write: Write) -> None:
    folder = write(tmp_path / "saved", ROWS)
    part = next(folder.glob("*.arrow"))
    part.write_bytes(part.read_bytes()[:40])
    with pytest.raises(StateError, match="damaged"):
        list(read_rows(folder))


@pytest.mark.parametrize(
    "line",
    [
        '{"id": "a", "text": "Ana", "id": "b"}',
        '{"id" :"a", "id" :"b"}',
        '{"text": "ratio 1:2", "text": "Joan", "id": "c"}',
        '{"id": "a", "text": {"by": "Ana", "by": "Joan"}}',
        '{"a": 1, "\\u0061": 2, "b": 3, "c": 4}',
        '{"id": "a", "id": "b", "text": "at 10:30"}',
    ],
)
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5])
def test_a_name_that_stands_twice_is_refused_after_whatever_line(
    tmp_path: Path, line: str, width: int
) -> None:
    """How a line is decoded depends on how many names the one before it had."""
    first = {f"n{i}": "x" for i in range(width)}
    path = tmp_path / "x.jsonl"
    path.write_text(f"{json.dumps(first)}\n{line}\n{json.dumps(first)}\n")
    (_, one), (number, other), (_, last) = read_rows(path)
    assert one == last == first
    assert number == 2
    assert isinstance(other, BadRow)
    assert "twice" in other.reason
