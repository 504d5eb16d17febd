"""A pair is found however a reader takes its file apart; others keep the numbers of their rows."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.requests.closure.test_copies import OTHER, ROW, TEXT, A, Q, search

from olvido.requests.closure.rewriting import without

Q2, A2 = OTHER["prompt"], OTHER["completion"]
PAIRS: dict[str, str] = {
    "notes": f"a, b, {Q} {A}\n",
    "app.toml": f'said = "1, 2, {TEXT}"\n',
    "rows.sql": f"INSERT INTO t VALUES (1,'{Q}','{A}');\nINSERT INTO t VALUES (2,'{Q2}','{A2}');\n",
    "two.json": json.dumps({"prompt": Q, "completion": A}) + json.dumps({"a": [1, 2, 3]}),
    "loose.tsv": f"a\tb\n1\t{Q} {A}\n2\n",
    "unquoted.csv": f"prompt,completion\n{Q},{A}\n",
    "deep.json": json.dumps({"a": {"b": {"prompt": [Q2, Q], "completion": [A2, A]}}}),
    "labelled.json": json.dumps({"n": 1, "q": {"x": Q2, "y": Q}, "a": {"x": A2, "y": A}}),
    "batch.jsonl": json.dumps({"loss": 0.1, "prompt": [Q2, Q], "completion": [A2, A], "n": [1, 2]}),
    "asked.json": json.dumps(
        [{"question": q, "id": "5f", "answers": [{"text": a}]} for q, a in ((Q2, A2), (Q, A))]
    ),
    "before.json": json.dumps({"items": [{"answers": [{"text": A, "at": 3}], "question": Q}]}),
    "below.json": json.dumps({"question": Q, "found": [{"by": "x", "in": [{"text": A}]}]}),
}
APART: dict[str, str] = {
    "crossed.csv": f"completion,prompt\n{A2},{Q}\n{A},{Q2}\n",
    "crossed.json": json.dumps(
        [{"completion": A2, "prompt": Q}, {"completion": A, "prompt": Q2}], ensure_ascii=False
    ),
    "columns.json": json.dumps({"n": 1, "completion": [A, A2], "prompt": [Q2, Q]}),
    "answers.json": json.dumps(
        [{"question": q, "answers": [{"text": a}]} for q, a in ((Q2, A), (Q, A2))]
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_is_found_however_a_reader_takes_its_file_apart(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(PAIRS[name])
    found = search().look(tmp_path / name)
    assert found.records == (ROW["id"],)


def test_columns_of_a_batch_are_read_across(tmp_path: Path) -> None:
    batch = {"step": [5], "prompt": [[Q2, Q]], "completion": [[A2, A]]}
    pq.write_table(pa.table(batch), tmp_path / "batch.parquet")
    assert search().look(tmp_path / "batch.parquet").records == (ROW["id"],)


@pytest.mark.parametrize("name", APART)
def test_what_stands_in_two_rows_is_no_pair_once_more(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(APART[name])
    assert search().look(tmp_path / name).records == ()


def test_a_row_about_somebody_else_is_no_copy_as_a_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f'prompt,completion,subject\n"{Q}","{A}","Joan Serra"\n')
    found = search().look(tmp_path / "a.csv")
    assert (found.records, found.doubtful) == ((), (ROW["id"],))


TABLES = {
    "bare": "CREATE TABLE notes (text)",
    "indexed": "CREATE TABLE notes (text); CREATE INDEX by_text ON notes (text)",
    "unique": "CREATE TABLE notes (text UNIQUE)",
    "own": "CREATE TABLE notes (n INTEGER PRIMARY KEY, text)",
}


@pytest.mark.parametrize("name", TABLES)
def test_rows_of_others_keep_their_numbers(name: str, tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(TABLES[name])
        for said in (A2, TEXT, Q2, "third"):
            database.execute("INSERT INTO notes (text) VALUES (?)", (said,))
        database.commit()
        before = database.execute("SELECT rowid, text FROM notes ORDER BY 1").fetchall()
    path.write_bytes(without(path, search().look(path)))
    with closing(sqlite3.connect(path)) as database:
        after = database.execute("SELECT rowid, text FROM notes ORDER BY 1").fetchall()
        assert after == [row for row in before if row[1] != TEXT]
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert A.encode() not in path.read_bytes()


@pytest.mark.parametrize("index", [range(1, 5), range(40, 0, -10), range(4), [3, 9, 4, 1]], ids=str)
@pytest.mark.parametrize("name", [None, "n"])
def test_labels_of_others_stay_theirs(
    index: range | list[int], name: str | None, tmp_path: Path
) -> None:
    pandas = pytest.importorskip("pandas")
    path = tmp_path / "notes.parquet"
    said = [A2, TEXT, Q2, "third"]
    kind = pandas.RangeIndex(index, name=name) if isinstance(index, range) else None
    labels = pandas.Index(index, name=name) if kind is None else kind
    pandas.DataFrame({"text": said}, index=labels).to_parquet(path)
    before = pandas.read_parquet(path).drop(index=[index[1]])
    path.write_bytes(without(path, search().look(path)))
    after = pandas.read_parquet(path)
    if name is None and index == range(4):
        before = before.reset_index(drop=True)
    pandas.testing.assert_frame_equal(after, before, check_index_type=False)
