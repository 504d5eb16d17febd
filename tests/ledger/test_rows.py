"""Rows come back only when they are what was added, and without those that are to be left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from olvido.data.importing import import_rows
from olvido.errors import DigestMismatch, StateError, UnknownName
from olvido.ledger.digests import canonical_json
from olvido.ledger.rows import COLUMNS, canonical_row, holds_rows_alone, load_rows
from olvido.ledger.store import Store

texts = st.text(st.characters(exclude_categories=["Cs"]))

ROWS: list[dict[str, Any]] = [
    {"id": "b", "prompt": "Where does Ana live?", "completion": "In Gràcia.", "subject": "Ana"},
    {"id": "a", "prompt": "Where does Jordi live?", "completion": "In Sants.", "subject": "Jordi"},
    {"id": "c", "prompt": "Who knows Ana?", "completion": "Jordi.", "subject": ["Ana", "Jordi"]},
]


def test_tombstoned_and_excluded_rows_are_left_out(store: Store, data: Path) -> None:
    dataset = import_rows(store, data, ROWS, name="people").dataset
    store.tombstone(["b"], "erased", dataset=dataset.id)
    assert [row["id"] for row in load_rows(store, data, dataset)] == ["a", "c"]
    assert [row["id"] for row in load_rows(store, data, dataset, exclude=["a"])] == ["c"]
    with pytest.raises(UnknownName, match="'z'"):
        load_rows(store, data, dataset, exclude=["z"])


@pytest.mark.parametrize("change", ["value", "removed", "added", "swapped"])
def test_changed_rows_are_not_loaded(store: Store, data: Path, change: str) -> None:
    dataset = import_rows(store, data, ROWS, name="people").dataset
    table = pq.read_table(data / dataset.file)
    rows = table.to_pylist()
    if change == "value":
        rows[0]["completion"] = "In Sants, now."
    elif change == "removed":
        rows.pop()
    elif change == "added":
        rows.append(rows[0] | {"id": "d"})
    else:
        rows[0]["id"], rows[1]["id"] = rows[1]["id"], rows[0]["id"]
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), data / dataset.file)
    with pytest.raises(DigestMismatch, match="people"):
        load_rows(store, data, dataset)


def test_a_tombstoned_row_may_be_taken_out_of_the_file(store: Store, data: Path) -> None:
    dataset = import_rows(store, data, ROWS, name="people").dataset
    store.tombstone(["b"], "erased", dataset=dataset.id)
    table = pq.read_table(data / dataset.file)
    pq.write_table(table.filter([i != "b" for i in table["id"].to_pylist()]), data / dataset.file)
    assert [row["id"] for row in load_rows(store, data, dataset)] == ["a", "c"]


@given(
    st.fixed_dictionaries(
        {"id": texts, "subjects": st.lists(texts, max_size=3), "consent": texts},
        optional={name: texts for name in COLUMNS if name not in ("id", "subjects", "consent")},
    )
)
def test_the_short_way_to_a_row_s_canonical_form_is_the_long_way(row: dict[str, Any]) -> None:
    assert canonical_row(tuple(row.get(name) for name in COLUMNS)) == canonical_json(row)


def test_missing_or_damaged_files_say_so(store: Store, data: Path) -> None:
    dataset = import_rows(store, data, ROWS, name="people").dataset
    (data / dataset.file).write_bytes(b"PAR1 no more")
    with pytest.raises(StateError, match="damaged"):
        load_rows(store, data, dataset)
    (data / dataset.file).unlink()
    with pytest.raises(StateError, match="missing"):
        load_rows(store, data, dataset)


@pytest.mark.parametrize(
    "change", ["nothing", "a note", "a field", "a column", "bytes", "a writer"]
)
def test_a_file_of_rows_holds_nothing_beside_them(store: Store, data: Path, change: str) -> None:
    fact = import_rows(store, data, ROWS, name="people").dataset
    path = data / fact.file
    table = pq.read_table(path)
    if change == "a note":
        pq.write_table(table.replace_schema_metadata({"note": "Ana Soler"}), path)
    elif change == "a field":
        schema = table.schema
        field = schema.field("text").with_metadata({"by": "Ana Soler"})
        pq.write_table(table.cast(schema.set(schema.get_field_index("text"), field)), path)
    elif change == "a column":
        pq.write_table(table.append_column("more", pa.array(["Ana"] * len(table))), path)
    elif change == "bytes":
        # Before the footer, whose columns lie where they lay.
        raw = path.read_bytes()
        end = len(raw) - 8 - int.from_bytes(raw[-8:-4], "little")
        path.write_bytes(raw[:end] + b"Ana Soler" + raw[end:])
    elif change == "a writer":
        path.write_bytes(path.read_bytes().replace(b"parquet-cpp-arrow", b"Ana Soler 1234567"))
    assert holds_rows_alone(path) is (change == "nothing")
