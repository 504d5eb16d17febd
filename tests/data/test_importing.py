"""What is added is all there, exactly, or nothing has changed."""

from __future__ import annotations

import datetime as dt
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from olvido.data.importing import import_file, import_rows
from olvido.data.parsing import Defaults, Fields
from olvido.errors import BadRow, InputError, Overtaken, UnknownName
from olvido.ledger.facts import Consent, Documentation, SourceClass
from olvido.ledger.identity import Key
from olvido.ledger.rows import load_rows
from olvido.ledger.store import Store

Write = Callable[[Path, list[dict[str, Any]]], Path]
State = Callable[[], tuple[object, ...]]

ROWS: list[dict[str, Any]] = [
    {"id": "b", "prompt": "Where does Ana live?", "completion": "In Gràcia.", "subject": "Ana"},
    {"id": "a", "prompt": "Where does Jordi live?", "completion": "In Sants.", "subject": "Jordi"},
    {"id": "c", "prompt": "Who knows Ana?", "completion": "Jordi.", "subject": ["Ana", "Jordi"]},
]

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
json_values = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: (
        st.lists(inner | st.none(), max_size=3) | st.dictionaries(texts, inner, max_size=3)
    ),
    max_leaves=8,
)
any_rows = st.lists(
    st.fixed_dictionaries(
        {"prompt": texts, "completion": texts},
        optional={
            "subject": st.lists(st.sampled_from(["Ana", "Jordi", "Núria"])),
            "source": texts,
            "licence": texts,
            "consent": st.sampled_from(list(Consent)).map(str),
            "collected_at": st.dates().map(dt.date.isoformat),
            "paraphrases": json_values,
            "note": json_values,
        },
    ),
    min_size=1,
    max_size=8,
)


@pytest.fixture(scope="module")
def ledger_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger that many examples may share: each adds a dataset of its own."""
    root = tmp_path_factory.mktemp("shared")
    Store.create(root / "ledger.db", key=Key.create(root / "key")).close()
    return root


@pytest.mark.slow
@settings(deadline=None, max_examples=25)
@given(rows=any_rows)
def test_whatever_json_goes_in_comes_out(ledger_root: Path, rows: list[dict[str, Any]]) -> None:
    root = ledger_root
    with Store.open(root / "ledger.db", key=Key.load(root / "key")) as store:
        result = import_rows(store, root / "data", rows, name="any")
        loaded = load_rows(store, root / "data", result.dataset)
        expected = [
            {k: v for k, v in row.items() if k != "subject"}
            | {
                "subjects": sorted({str(store.key.subject(n)) for n in row.get("subject", [])}),
                "consent": row.get("consent", "unknown"),
            }
            for row in rows
        ]
        without_ids = [{k: v for k, v in row.items() if k != "id"} for row in loaded]

        def order(row: dict[str, Any]) -> str:
            return json.dumps(row, sort_keys=True)

        assert sorted(without_ids, key=order) == sorted(expected, key=order)
        assert [row["id"] for row in loaded] == sorted({row["id"] for row in loaded})
        again = import_rows(store, root / "data", loaded, name="any", parent=result.dataset.id)
        assert load_rows(store, root / "data", again.dataset) == loaded


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.parquet", "saved"])
def test_every_format_is_added_whole(
    store: Store, data: Path, tmp_path: Path, write: Write, name: str
) -> None:
    rows = [row for row in ROWS if isinstance(row["subject"], str)]
    result = import_file(store, data, write(tmp_path / name, rows), name="people")
    assert (result.rows, result.rejected, result.subjects) == (2, 0, 2)
    loaded = load_rows(store, data, result.dataset)
    assert [(row["id"], row["completion"]) for row in loaded] == [
        ("a", "In Sants."),
        ("b", "In Gràcia."),
    ]
    assert [record.id for record in store.records_of(store.key.subject("ANA"))] == ["b"]


def test_columns_of_other_names_defaults_and_documentation(store: Store, data: Path) -> None:
    about = Documentation(description="Fiction", source_class=SourceClass.SYNTHETIC)
    rows = [{"question": "Who?", "answer": "Ana", "author": 7, "day": dt.date(2025, 3, 31)}]
    result = import_rows(
        store,
        data,
        rows,
        name="fiction",
        fields=Fields(prompt="question", completion="answer", subject="author", collected_at="day"),
        defaults=Defaults(source="us", licence="MIT", consent=Consent.GRANTED),
        documentation=about,
    )
    (record,) = store.records(result.dataset.id)
    assert (record.source, record.licence, record.consent) == ("us", "MIT", Consent.GRANTED)
    assert record.collected_at == dt.date(2025, 3, 31)
    assert record.subjects == (store.key.subject("7"),)
    assert store.dataset("fiction").documentation == about


def test_rows_may_differ_in_what_they_say_of_their_origin(store: Store, data: Path) -> None:
    told = [
        {"licence": "MIT"},
        {},
        {"source": "us", "collected_at": "2025-03-31", "consent": "granted"},
        {"source": "us"},
    ]
    rows = [{"id": i, "text": "x"} | row for i, row in enumerate(told)]
    dataset = import_rows(store, data, rows, name="mixed").dataset
    found = [(r.source, r.licence, str(r.consent), r.collected_at) for r in store.records("mixed")]
    assert found == [
        (None, "MIT", "unknown", None),
        (None, None, "unknown", None),
        ("us", None, "granted", dt.date(2025, 3, 31)),
        ("us", None, "unknown", None),
    ]
    assert [row.get("source") for row in load_rows(store, data, dataset)] == [
        None,
        None,
        "us",
        "us",
    ]


def test_ids_are_derived_from_content_and_stay(store: Store, data: Path) -> None:
    rows = [{"text": "same"}, {"text": "other"}, {"text": "same"}]
    first = import_rows(store, data, rows, name="x").dataset
    second = import_rows(store, data, rows, name="x").dataset
    ids = [row["id"] for row in load_rows(store, data, first)]
    assert len(set(ids)) == 3
    assert [row["id"] for row in load_rows(store, data, second)] == ids
    assert (first.version, second.version) == (1, 2)
    # A key of its own keeps equal data from being recognised by its digest.
    assert first.root != second.root


BAD_VALUES = [
    ({"prompt": "", "completion": "x"}, "'prompt' with some text"),
    ({"prompt": "x", "completion": "  "}, "'completion' with some text"),
    ({"prompt": "x"}, "no 'completion'"),
    ({"note": "x"}, "got none of them"),
    ({"prompt": 1, "completion": "x"}, "'prompt' as text, got int"),
    ({"text": "x", "subject": {"name": "Ana"}}, "'subject' as a name or a list"),
    ({"text": "x", "subject": ["Ana", None]}, "'subject' as a name or a list"),
    ({"text": "x", "subject": ""}, "empty"),
    ({"text": "x", "subject": "Ana", "subjects": ["Ana"]}, "name the column"),
    ({"text": "x", "consent": "maybe"}, "'consent' as one of granted"),
    ({"text": "x", "collected_at": "31/03/2025"}, "a date like 2025-03-31"),
    ({"text": "x", "collected_at": 20250331}, "a date like 2025-03-31, got int"),
    ({"text": "x", "id": 1.5}, "'id' as text or integer"),
    ({"text": "x", "id": True}, "'id' as text or integer"),
    ({"text": "x", "id": ""}, "printable"),
    ({"text": "x", "id": "a\nb"}, "printable"),
    ({"text": "x", "id": "1"}, "used before, in line 1"),
    ({"text": "x", "extras": "x"}, "rename the column"),
    ({"text": "\ud800"}, "invalid UTF-8"),
    ({"text": "\ud800", "id": 2}, "invalid UTF-8"),
    ({"text": "x", "id": 2, "subject": "\ud800"}, "invalid UTF-8"),
    ({"text": "x", "note": float("nan")}, "column 'note' holds"),
    ({"text": "x", "note": b"x"}, "column 'note' holds"),
]


@pytest.mark.parametrize(("row", "reason"), BAD_VALUES)
def test_one_bad_row_adds_nothing(
    store: Store, data: Path, state: State, row: dict[str, Any], reason: str
) -> None:
    before = state()
    rows = [{"id": 1, "text": "good"}, row]
    with pytest.raises(BadRow) as caught:
        import_rows(store, data, rows, name="people")
    assert (caught.value.file, caught.value.line) == ("people", 2)
    assert reason in caught.value.reason
    assert "Ana" not in str(caught.value)
    assert state() == before


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.parquet", "saved"])
def test_a_bad_row_is_named_by_file_and_line_in_every_format(
    store: Store, data: Path, tmp_path: Path, write: Write, state: State, name: str
) -> None:
    before = state()
    path = write(tmp_path / name, [{"text": "good", "consent": "granted"}] * 2)
    path = write(tmp_path / name, [{"text": "x", "consent": c} for c in ("granted", "Ana Soler")])
    with pytest.raises(BadRow) as caught:
        import_file(store, data, path, name="people")
    assert caught.value.file == str(path)
    # The header is the first line of a CSV file.
    assert caught.value.line == (3 if name == "x.csv" else 2)
    assert "Ana" not in str(caught.value)
    assert state() == before


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv"])
def test_bytes_that_are_no_utf8_are_a_bad_row(
    store: Store, data: Path, tmp_path: Path, name: str
) -> None:
    lines = [b"text", b"good", b"\xff\xfe"]
    if name == "x.jsonl":
        lines = [b'{"text": "%s"}' % line for line in lines]
    path = tmp_path / name
    path.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(BadRow, match="line 3: invalid UTF-8"):
        import_file(store, data, path, name="people")


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv"])
def test_an_empty_file_is_refused(
    store: Store, data: Path, tmp_path: Path, state: State, name: str
) -> None:
    before = state()
    (tmp_path / name).write_text("")
    with pytest.raises(InputError, match="no row"):
        import_file(store, data, tmp_path / name, name="people")
    assert state() == before


def test_a_column_that_was_named_must_be_there(store: Store, data: Path) -> None:
    with pytest.raises(BadRow, match="line 1: there is no column 'auhtor'; did you mean 'author'"):
        import_rows(
            store, data, [{"text": "x", "author": "Ana"}], name="x", fields=Fields(subject="auhtor")
        )


def test_bad_rows_can_be_put_aside(store: Store, data: Path, tmp_path: Path) -> None:
    path, rejects = tmp_path / "x.jsonl", tmp_path / "rejects.jsonl"
    path.write_bytes(b'{"text": "one"}\n{"text": 2}\nnot json\n{"text": "\xff"}\n{"text": "two"}\n')
    result = import_file(store, data, path, name="x", skip_bad=rejects)
    assert (result.rows, result.rejected) == (2, 3)
    assert sorted(row["text"] for row in load_rows(store, data, result.dataset)) == ["one", "two"]
    written = [json.loads(line) for line in rejects.read_text().splitlines()]
    assert [entry["line"] for entry in written] == [2, 3, 4]
    assert [entry["row"] for entry in written][:2] == [{"text": 2}, None]
    assert "expected 'text' as text" in written[0]["reason"]


def test_the_file_for_bad_rows_is_new_and_only_there_when_needed(
    store: Store, data: Path, tmp_path: Path, state: State
) -> None:
    rejects = tmp_path / "rejects.jsonl"
    import_rows(store, data, [{"text": "x"}], name="x", skip_bad=rejects)
    assert not rejects.exists()
    rejects.write_text("work")
    before = state()
    with pytest.raises(InputError, match="name a new one"):
        import_rows(store, data, [{"text": "x"}], name="x", skip_bad=rejects)
    assert (state(), rejects.read_text()) == (before, "work")


def test_nothing_but_bad_rows_adds_nothing(
    store: Store, data: Path, tmp_path: Path, state: State
) -> None:
    before = state()
    with pytest.raises(InputError, match="no row that can be used: x, line 1"):
        import_rows(store, data, [{"text": 1}], name="x", skip_bad=tmp_path / "rejects.jsonl")
    assert state() == before
    assert not list(tmp_path.glob("*rejects*"))


def test_what_the_ledger_refuses_leaves_no_file(store: Store, data: Path, state: State) -> None:
    import_rows(store, data, ROWS, name="people")
    before = state()
    with pytest.raises(UnknownName, match="'peopel'"):
        import_rows(store, data, ROWS, name="people", parent="peopel")
    for name in (" ", "", "two\nlines", "a\0b", "x" * 201):
        with pytest.raises(InputError, match="a name for the dataset"):
            import_rows(store, data, ROWS, name=name)
    assert state() == before


@pytest.mark.parametrize("aside", [False, True])
@pytest.mark.parametrize("who", ["Ana", "Jordi", "somebody else"])
def test_whoever_is_barred_while_rows_are_read_is_not_brought_in(
    store: Store, data: Path, tmp_path: Path, who: str, aside: bool
) -> None:
    def rows() -> Any:
        yield ROWS[0]
        store.suppress([str(store.key.subject(who))])
        yield from ROWS[1:]

    skip = {"skip_bad": tmp_path / "rejects.jsonl"} if aside else {}
    with pytest.raises(Overtaken, match="add it again"):
        import_rows(store, data, rows(), name="people", **skip)
    assert store.datasets() == ()
    assert not [path for path in tmp_path.rglob("*") if "parquet" in path.name]
    assert not list(tmp_path.glob("*rejects*"))
    # Begun again it is held against the list as it is now.
    if who == "somebody else":
        assert import_rows(store, data, ROWS, name="people").rows == len(ROWS)
    else:
        with pytest.raises(BadRow, match="to be forgotten"):
            import_rows(store, data, ROWS, name="people")


def test_no_name_reaches_the_database(store: Store, data: Path, tmp_path: Path) -> None:
    names = ["Ana Soler", "ana soler", "ANA SOLER", "Soler"]
    rows = [{"id": "1", "text": "A resident.", "subject": "Ana Soler", "note": "Soler"}]
    import_rows(store, data, rows, name="people")
    with pytest.raises(BadRow):
        import_rows(store, data, [{"text": 1, "subject": "Ana Soler"}], name="people")
    files = [path for path in tmp_path.iterdir() if path.name.startswith("ledger.db")]
    assert len(files) >= 1
    content = b"".join(path.read_bytes() for path in files)
    assert b"people" in content
    for name in names:
        assert name.encode() not in content
        assert name.encode("utf-16-le") not in content


def test_the_stored_rows_name_no_subject(store: Store, data: Path) -> None:
    import pyarrow.parquet as pq

    result = import_rows(store, data, [{"text": "x", "subject": "Ana Soler"}], name="people")
    (row,) = pq.read_table(data / result.dataset.file).to_pylist()
    assert row["subjects"] == [str(store.key.subject("Ana Soler"))]
    assert "Ana" not in str(row)


IMPORT = """
import sys, time, pathlib
from olvido.ledger.identity import Key
from olvido.data.importing import import_rows
from olvido.ledger.store import Store
root = pathlib.Path(sys.argv[1])
def rows():
    for i in range(30_000):
        yield {"id": i, "text": f"row {i}", "subject": f"person {i}"}
    print("written", flush=True)
    if sys.argv[2] == "wait": time.sleep(60)
with Store.open(root / "ledger.db", key=Key.load(root / "olvido.key")) as store:
    original = store.add_dataset
    def add_dataset(**facts):
        def records():
            yield from facts["records"]
            print("inserted", flush=True)
            if sys.argv[2] == "insert": time.sleep(60)
        return original(**facts | {"records": records()})
    store.add_dataset = add_dataset
    import_rows(store, root / "data", rows(), name="big")
"""


@pytest.mark.slow
@pytest.mark.parametrize(("where", "line"), [("wait", b"written"), ("insert", b"inserted")])
def test_an_import_that_is_killed_leaves_the_old_state(
    store: Store, data: Path, tmp_path: Path, where: str, line: bytes
) -> None:
    kept = import_rows(store, data, ROWS, name="people").dataset
    before = store.datasets(), store.events()
    command = [sys.executable, "-c", IMPORT, str(tmp_path), where]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while line not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    assert (store.datasets(), store.events()) == before
    assert store.records_of(store.key.subject("person 1")) == ()
    assert len(load_rows(store, data, kept)) == 3
    left = [path for path in data.iterdir() if path.name != kept.file]
    assert left
    for path in left:
        hours_ago = time.time() - 2 * 3600
        os.utime(path, (hours_ago, hours_ago))
    added = import_rows(store, data, ROWS, name="people").dataset
    assert {path.name for path in data.iterdir()} == {kept.file, added.file}


@pytest.mark.slow
def test_a_full_disk_leaves_the_old_state(tmp_path: Path, state: State) -> None:
    before = state()

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    command = [sys.executable, "-c", IMPORT, str(tmp_path), "run"]
    result = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("olvido.errors.StateError: the disk filled up")
    assert state()[:2] == before[:2]
    assert state()[2] == []
