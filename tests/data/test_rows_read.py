"""Nobody is lost between a file and the ledger, and no file takes more than its share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from olvido.data.importing import import_file, import_rows
from olvido.errors import BadRow, InputError
from olvido.ledger.store import Store

Write = Callable[[Path, list[dict[str, Any]]], Path]
PEOPLE = ["Ana Soler", "Joan Puig"]


@pytest.mark.parametrize(
    "cell",
    [
        '["Ana Soler", "Joan Puig"]',
        "['Ana Soler', 'Joan Puig']",
        "{'Joan Puig', 'Ana Soler'}",
        "Ana Soler; Joan Puig",
        "Joan Puig|Ana Soler|",
        " [ \"Soler, Ana\" , 'Joan Puig' ] ",
        "Soler, Ana; Puig, Joan",
    ],
)
@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_a_cell_with_several_people_is_several_people(
    tmp_path: Path, store: Store, data: Path, write: Write, cell: str, ending: str
) -> None:
    path = write(tmp_path / f"x{ending}", [{"text": "They share a flat.", "subjects": cell}])
    import_file(store, data, path, name="x")
    (record,) = store.records("x")
    assert set(record.subjects) == {store.key.subject(name) for name in PEOPLE}


@pytest.mark.parametrize(
    "cell",
    [
        "['Ana Soler' 'Joan Puig']",
        "['Ana Soler''Joan Puig']",
        "[Ana Soler, Joan Puig]",
        "{'a': 'Ana Soler'}",
        '["Ana Soler", null]',
        '["Ana Soler", ["Joan Puig"]]',
        "Ana Soler, Joan Puig, Eva Mas",
        "[]",
        ";",
    ],
)
def test_several_people_who_cannot_be_told_apart_are_refused(
    tmp_path: Path, store: Store, data: Path, write: Write, cell: str
) -> None:
    rows = [{"text": "a", "subject": "Pau"}, {"text": "b", "subject": cell}]
    with pytest.raises(BadRow) as caught:
        import_file(store, data, write(tmp_path / "x.csv", rows), name="x")
    assert caught.value.line == 3
    assert "Ana" not in str(caught.value)
    assert store.datasets() == ()


@pytest.mark.parametrize(
    "line",
    [
        '{"text": "x", "subject": "Ana Soler", "subject": "Joan Puig"}',
        '{"text": "x", "text": "x"}',
        '{"text": "x", "meta": {"who": "Ana", "who": "Joan"}}',
        '{"text": "x", "meta": [{"who": "Ana", "\\u0077ho": "Joan"}]}',
    ],
)
def test_a_name_that_stands_twice_loses_nobody(
    tmp_path: Path, store: Store, data: Path, line: str
) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "good"}\n' + line + "\n")
    with pytest.raises(BadRow, match="twice") as caught:
        import_file(store, data, path, name="x")
    assert caught.value.line == 2
    assert store.datasets() == ()


def test_a_column_or_field_that_stands_twice_loses_nobody(
    tmp_path: Path, store: Store, data: Path
) -> None:
    text, ana, joan = pa.array(["x"]), pa.array(["Ana"]), pa.array(["Joan"])
    inside = pa.StructArray.from_arrays([ana, joan], names=["who", "who"])
    within = pa.ListArray.from_arrays(pa.array([0, 1]), inside)
    for number, (columns, names) in enumerate(
        [
            ([text, ana, joan], ["text", "subject", "subject"]),
            ([text, text], ["text", "text"]),
            ([text, inside], ["text", "meta"]),
            ([text, within], ["text", "meta"]),
        ]
    ):
        path = tmp_path / f"{number}.parquet"
        pq.write_table(pa.table(columns, names=names), path)
        with pytest.raises(BadRow, match="same name"):
            import_file(store, data, path, name="x")
    assert store.datasets() == ()


@pytest.mark.slow
def test_a_small_file_that_unpacks_to_much_is_refused_in_little_memory(
    tmp_path: Path, store: Store, data: Path
) -> None:
    many = [0] * 300_000

    def repeated(value: str, times: int) -> Any:
        indices = pa.array(many[:times], pa.int32())
        return pa.DictionaryArray.from_arrays(indices, [value]).cast(pa.string())

    long = "x" * (17 * 2**20)
    for number, columns in enumerate(
        [
            {"text": [long]},
            {"text": ["a", "b", long]},
            {"text": repeated("ab", 300_000)},
            {"text": ["a"] * 1100, "note": repeated("x" * 2**20, 1100)},
        ]
    ):
        path = tmp_path / f"{number}.parquet"
        pq.write_table(pa.table(columns), path, compression="zstd")
        assert path.stat().st_size < 50_000
        with pytest.raises(InputError):
            import_file(store, data, path, name="x")
    assert store.datasets() == ()


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
def test_a_pipe_is_refused_before_it_is_opened(
    tmp_path: Path, store: Store, data: Path, ending: str
) -> None:
    pipe = tmp_path / f"x{ending}"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match="pipe"):
        import_file(store, data, pipe, name="x")
    (tmp_path / f"zero{ending}").symlink_to("/dev/zero")
    with pytest.raises(InputError, match="device"):
        import_file(store, data, tmp_path / f"zero{ending}", name="x")


def test_rows_without_a_subject_are_counted(store: Store, data: Path) -> None:
    rows = [{"text": "a", "subject": "Ana"}, {"text": "b"}, {"text": "c", "subject": None}]
    assert import_rows(store, data, rows, name="x").nameless == 2


def test_whose_consent_is_withdrawn_is_known_by_dataset(store: Store, data: Path) -> None:
    rows = [
        {"id": str(number), "text": "a", "consent": consent}
        for number, consent in enumerate(["withdrawn", "granted", "unknown", None])
    ]
    import_rows(store, data, rows, name="x")
    import_rows(store, data, [{"id": "9", "text": "b"}], name="y")
    assert store.withdrawn("x") == {"0"}
    assert store.withdrawn("y") == frozenset()
