"""Rows that are read one by one are those that were entered, and take little memory."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from olvido.data.importing import import_rows
from olvido.data.stored import StoredRows
from olvido.errors import DigestMismatch, StateError, UnknownName
from olvido.ledger.rows import KEY, load_rows
from olvido.ledger.store import Store

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
names = st.text("aeioulmnrst", min_size=1)

ROWS: list[dict[str, Any]] = [
    {"id": "b", "prompt": "Where does Ana live?", "completion": "In Gràcia.", "subject": "Ana"},
    {"id": "a", "text": "Jordi lives in Sants.", "source": "letters", "topic": {"of": [1, None]}},
    {"id": "c", "prompt": "Who knows Ana?", "completion": "Jordi.", "subject": ["Ana", "Jordi"]},
    {
        "id": "d",
        "messages": [
            {"role": "user", "content": "Who?"},
            {"role": "assistant", "content": "Nobody."},
        ],
    },
]


def many(count: int) -> list[dict[str, Any]]:
    """Rows of some hundred characters, in another order than that of their ids."""
    said = {"prompt": "Where does the resident live? " * 4, "completion": "In Gràcia. " * 16}
    return [
        {"id": f"r{i * 7919 % count:06d}", "subject": f"R {i // 4}", **said} for i in range(count)
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(rows=st.lists(st.tuples(texts, st.lists(names, max_size=2)), min_size=1, max_size=9))
def test_they_are_the_rows_that_are_loaded_at_once(
    store: Store, data: Path, rows: list[tuple[str, list[str]]]
) -> None:
    given_rows = [
        {"id": str(i), "text": text, "subjects": who} for i, (text, who) in enumerate(rows)
    ]
    dataset = import_rows(store, data, given_rows[::-1], name="people").dataset
    assert list(StoredRows(store, data, dataset)) == load_rows(store, data, dataset)


def test_rows_of_every_kind_come_back_as_they_are_loaded_at_once(store: Store, data: Path) -> None:
    dataset = import_rows(store, data, ROWS, name="people").dataset
    stored = StoredRows(store, data, dataset)
    assert list(stored) == load_rows(store, data, dataset)
    assert list(stored.ids) == ["a", "b", "c", "d"]
    assert stored[-1]["messages"] == ROWS[3]["messages"]
    assert [path.name for path in data.iterdir()] == [dataset.file]


@pytest.mark.parametrize("tombstoned", [False, True])
def test_the_same_rows_are_left_out(store: Store, data: Path, tombstoned: bool) -> None:
    dataset = import_rows(store, data, ROWS, name="people").dataset
    store.tombstone(["b"], "erased", dataset=dataset.id)
    how: dict[str, Any] = {"exclude": ["a"], "tombstoned": tombstoned}
    assert list(StoredRows(store, data, dataset, **how)) == load_rows(store, data, dataset, **how)
    with pytest.raises(UnknownName, match="'z'"):
        StoredRows(store, data, dataset, exclude=["z"])
    # Its row may be gone from the file: its digest still counts.
    table = pq.read_table(data / dataset.file)
    pq.write_table(table.filter([i != "b" for i in table["id"].to_pylist()]), data / dataset.file)
    assert list(StoredRows(store, data, dataset, **how)) == load_rows(store, data, dataset, **how)


@pytest.mark.parametrize(
    "change",
    ["value", "key", "removed", "added", "twice", "swapped", "a column", "a type", "no id"],
)
def test_changed_rows_are_not_read(store: Store, data: Path, change: str) -> None:
    dataset = import_rows(store, data, ROWS, name="people").dataset
    table = pq.read_table(data / dataset.file)
    rows, schema = table.to_pylist(), table.schema
    if change == "value":
        rows[0]["completion"] = "In Sants, now."
    elif change == "key":
        rows[0][KEY] = bytes(32)
    elif change == "removed":
        rows.pop()
    elif change == "added":
        rows.append(rows[0] | {"id": "e"})
    elif change == "twice":
        rows.append(rows[0])
    elif change == "swapped":
        rows[0]["id"], rows[1]["id"] = rows[1]["id"], rows[0]["id"]
    elif change == "a column":
        rows, schema = (
            [row | {"more": "x"} for row in rows],
            schema.append(pa.field("more", "string")),
        )
    elif change == "a type":
        place = schema.get_field_index("text")
        schema = schema.set(place, pa.field("text", pa.binary()))
        rows = [row | {"text": b"In Sants, now."} for row in rows]
    else:
        rows[0]["id"] = None
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), data / dataset.file)
    with pytest.raises((DigestMismatch, StateError)):
        StoredRows(store, data, dataset)


def test_a_row_that_changes_after_it_was_checked_is_noticed_or_of_no_effect(
    store: Store, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = import_rows(store, data, ROWS, name="people").dataset
    expected = load_rows(store, data, dataset)
    stored = StoredRows(store, data, dataset)
    (data / dataset.file).write_bytes(b"PAR1 no more")
    assert list(stored) == expected
    read = os.pread
    monkeypatch.setattr(os, "pread", lambda *at: read(*at).replace(b"Sants", b"Clots"))
    assert stored[1] == expected[1]
    with pytest.raises(DigestMismatch):
        stored[0]


def test_missing_or_damaged_files_say_so(store: Store, data: Path) -> None:
    dataset = import_rows(store, data, ROWS, name="people").dataset
    (data / dataset.file).write_bytes(b"PAR1 no more")
    with pytest.raises(StateError, match="damaged"):
        StoredRows(store, data, dataset)
    (data / dataset.file).unlink()
    with pytest.raises(StateError, match="missing"):
        StoredRows(store, data, dataset)


def test_a_disk_that_fills_up_is_said(
    store: Store, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = import_rows(store, data, ROWS, name="people").dataset

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StateError, match="free space"):
        StoredRows(store, data, dataset)
    assert [path.name for path in data.iterdir()] == [dataset.file]


@pytest.mark.slow
def test_a_row_takes_little_memory_however_long_it_is(store: Store, data: Path) -> None:
    count = 20_000
    dataset = import_rows(store, data, many(count), name="people").dataset
    tracemalloc.start()
    stored = StoredRows(store, data, dataset)
    assert all(len(row["completion"]) > 100 for row in stored)
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The ids take 56 bytes each in CPython, and there are three numbers and a digest beside them.
    assert held / count < 150
    assert most / count < 900
