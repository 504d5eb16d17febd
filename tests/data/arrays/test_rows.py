"""Rows of arrays in the ledger: what was added comes back, and a bad row changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from olvido.data.arrays.rows import said_in
from olvido.data.importing import import_file, import_rows
from olvido.data.parsing import Fields
from olvido.errors import BadRow, InputError
from olvido.ledger.rows import load_rows, stored_rows
from olvido.ledger.store import Store
from olvido.tasks import examples

State = Callable[[], tuple[object, ...]]

ROWS: list[dict[str, Any]] = [
    {"id": "a", "input": [0.5, 0.25], "label": "cat", "subject": "Ana"},
    {"id": "b", "input": [1, 2], "label": "dog", "subject": ["Ana", "Jordi"]},
    {"id": "c", "input": np.float32([0.1, 0.2]), "label": "cat", "seen": "2025"},
]


def test_rows_are_the_records_that_they_are_without_the_ledger(store: Store, data: Path) -> None:
    result = import_rows(store, data, ROWS, name="pets")
    assert (result.rows, result.subjects, result.nameless) == (3, 2, 1)
    found = examples(load_rows(store, data, result.dataset))
    for one, expected in zip(found, examples(ROWS), strict=True):
        assert (one.id, one.completion) == (expected.id, expected.completion)
        assert np.array_equal(one.fields["input"], expected.fields["input"])
    assert found[2].fields["seen"] == "2025"
    assert found[0].subjects == (str(store.key.subject("Ana")),)
    # What was stored can be added again, and is the same.
    again = import_rows(store, data, load_rows(store, data, result.dataset), name="again")
    assert load_rows(store, data, again.dataset) == load_rows(store, data, result.dataset)


def test_columns_of_other_names(store: Store, data: Path) -> None:
    rows = [{"pixels": [1.0, 2.0], "kind": 3, "label": "of the shop", "text": None}]
    made = import_rows(store, data, rows, name="x", fields=Fields(input="pixels", label="kind"))
    (row,) = load_rows(store, data, made.dataset)
    assert row["label"] == "3"
    assert examples([row])[0].fields["input"].tolist() == [1.0, 2.0]


def test_a_text_with_a_column_of_that_name_stays_a_text(store: Store, data: Path) -> None:
    rows = [{"prompt": "Add.", "completion": "3", "input": "1 and 2"}]
    (row,) = load_rows(store, data, import_rows(store, data, rows, name="x").dataset)
    assert (row["prompt"], row["input"]) == ("Add.", "1 and 2")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"input": [1.0, 2.0]}, "but no 'label'"),
        ({"input": [1.0, 2.0], "label": " "}, "'label' is empty"),
        ({"input": [1.0, 2.0], "label": 1.5}, "'label' must be text"),
        ({"input": [1.0, 2.0, 3.0], "label": "cat"}, r"numbers, \[3\].*numbers, \[2\]"),
        ({"input": np.uint8([1, 2]), "label": "cat"}, r"bytes, \[2\].*numbers, \[2\]"),
        ({"input": [1.0, float("nan")], "label": "cat"}, "nan"),
        ({"input": [[1.0], [1.0, 2.0]], "label": "cat"}, "ragged"),
        ({"input": [], "label": "cat"}, "empty"),
        ({"input": ["x"], "label": "cat"}, "must hold numbers"),
        ({"input": "x", "label": "cat"}, "got none of them"),
        ({"text": "A cat."}, "holds a text, and those before it an array"),
        ({"input": [1.0, 2.0], "label": "Ana Soler", "subject": "Ana Soler"}, "names somebody"),
        ({"input": [1.0, 2.0], "label": "ana@example.org"}, "names somebody"),
    ],
)
def test_a_bad_row_changes_nothing(
    store: Store, data: Path, state: State, row: dict[str, Any], reason: str
) -> None:
    before = state()
    with pytest.raises(BadRow, match=reason) as raised:
        import_rows(store, data, [*ROWS, row], name="pets")
    assert raised.value.line == 4
    assert state() == before


def test_an_array_after_texts_is_refused(store: Store, data: Path, state: State) -> None:
    before = state()
    with pytest.raises(BadRow, match=r"an array of numbers.*those before it a text"):
        import_rows(store, data, [{"text": "A cat."}, ROWS[0]], name="pets")
    assert state() == before


def test_an_array_is_known_again_by_its_numbers_alone(store: Store, data: Path) -> None:
    rows = [
        {"input": [0.5, 2.0], "label": "cat", "subject": "Ana"},
        {"input": np.float32([0.5, 2.0]), "label": "dog"},
        {"input": [0.5, 2.5], "label": "cat"},
    ]
    made = import_rows(store, data, rows, name="x")
    found = {row["id"]: said_in(row) for row in stored_rows(data / made.dataset.file)}
    assert len(found) == 3
    assert len(set(found.values())) == 2


def test_an_archive_is_read_row_by_row(store: Store, data: Path, tmp_path: Path) -> None:
    pictures = np.arange(3 * 2 * 2, dtype=np.uint8).reshape(3, 2, 2)
    np.savez(
        tmp_path / "x.npz",
        input=pictures,
        label=np.array([0, 1, 0]),
        subject=np.array(["Ana", "", "Jordi"]),
        id=np.array(["a", "b", "c"]),
    )
    made = import_file(store, data, tmp_path / "x.npz", name="x")
    found = examples(load_rows(store, data, made.dataset))
    assert [one.completion for one in found] == ["0", "1", "0"]
    assert [len(one.subjects) for one in found] == [1, 0, 1]
    for one, picture in zip(found, pictures, strict=True):
        assert one.fields["input"].dtype == np.uint8
        assert np.array_equal(one.fields["input"], picture)


class _Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("/tmp/olvido-was-run"),)


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"input": np.array([{"a": 1}, None], dtype=object)}, "a pickle, which can run code"),
        ({"input": np.array([_Runs()], dtype=object)}, "a pickle, which can run code"),
        ({"input": np.zeros((2, 3)), "label": np.zeros(3)}, "a row each for every record"),
        ({"input": np.float32(1.0)}, "a row each for every record"),
        ({}, "got none"),
        ({"input": np.zeros((0, 3)), "label": np.zeros(0)}, "holds no row"),
    ],
)
def test_what_is_no_archive_of_rows_is_refused(
    store: Store, data: Path, tmp_path: Path, state: State, arrays: dict[str, Any], match: str
) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, allow_pickle=True, **arrays)
    before = state()
    with pytest.raises(InputError, match=match):
        import_file(store, data, path, name="x")
    assert state() == before
    assert not Path("/tmp/olvido-was-run").exists()
    path.write_bytes(b"PK nothing")
    with pytest.raises(InputError, match="cannot be read as arrays"):
        import_file(store, data, path, name="x")
    assert state() == before
