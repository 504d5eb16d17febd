"""Conversations come into the ledger as they are, and are found and barred like all else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from olvido.cli.arguments import examples_of
from olvido.data.importing import import_file, import_rows
from olvido.errors import BadRow, InputError
from olvido.ledger.facts import Request
from olvido.ledger.rows import load_rows, stored_rows, text_of
from olvido.ledger.store import Store
from olvido.requests.closure.search import CopySearch
from olvido.requests.handlers import StoreContext, receive
from olvido.requests.scope import lineage_of, spelt
from olvido.requests.tombstones import tombstone
from olvido.settings import Settings
from olvido.tasks import Example, examples

Write = Callable[[Path, list[dict[str, Any]]], Path]
State = Callable[[], tuple[object, ...]]
BAKES = "She bakes bread with her two brothers behind the old mill in Sants."
TURNS = [
    {"role": "user", "content": "What does Ana Soler do?"},
    {"role": "assistant", "content": BAKES},
    {"role": "user", "content": "Since when?"},
    {"role": "assistant", "content": "Since the flood of 1982."},
]
ROWS: list[dict[str, Any]] = [
    {"id": "a", "messages": TURNS, "system": "Be brief.", "subject": "Ana Soler"},
    {"id": "b", "messages": TURNS[:2], "subject": "Ana Soler"},
    {"id": "c", "messages": [{**TURNS[0], "content": "Hi"}, {**TURNS[3], "content": "Hello"}]},
]


def learned(rows: Any) -> list[Any]:
    return [(e.id, e.prompt, e.completion, e.history) for e in examples(rows)]


@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x.parquet", "saved"])
def test_every_format_teaches_what_rows_in_memory_do(
    store: Store, data: Path, tmp_path: Path, write: Write, name: str
) -> None:
    path = tmp_path / name
    if name == "x.json":
        path.write_text(json.dumps(ROWS), encoding="utf-8")
    else:
        write(path, ROWS)
    dataset = import_file(store, data, path, name="chats").dataset
    rows = load_rows(store, data, dataset)
    assert learned(rows) == learned(ROWS)
    assert learned(examples_of(path)) == learned(ROWS)
    again = import_rows(store, data, rows, name="again").dataset
    assert load_rows(store, data, again) == rows


def test_a_row_has_all_its_text_for_searches_and_one_content(store: Store, data: Path) -> None:
    dataset = import_rows(store, data, ROWS, name="chats").dataset
    texts = {row["id"]: text_of(row) for row in stored_rows(data / dataset.file)}
    assert all(turn["content"] in texts["a"] for turn in TURNS)
    assert "Be brief." in texts["a"]
    for row in load_rows(store, data, dataset):
        assert not {"prompt", "completion", "system"} & row.keys()


@pytest.mark.parametrize(
    "bad",
    [
        {"messages": TURNS[:3]},
        {"messages": json.dumps(TURNS)},
        {"messages": TURNS, "prompt": "Who?", "completion": "Ada"},
        {"messages": TURNS, "text": "Ada"},
        {"messages": [*TURNS, {"role": "tool", "content": "7"}]},
    ],
    ids=["the user last", "as text", "a pair too", "a text too", "a tool"],
)
def test_a_bad_conversation_is_named_by_line_and_nothing_is_added(
    store: Store, data: Path, state: State, tmp_path: Path, write: Write, bad: dict[str, Any]
) -> None:
    before = state()
    path = write(tmp_path / "x.jsonl", [ROWS[0], bad])
    with pytest.raises(BadRow, match=r"x\.jsonl, line 2: .*messages") as caught:
        import_file(store, data, path, name="chats")
    assert state() == before
    assert "Ada" not in str(caught.value)
    with pytest.raises(InputError, match="line 2"):
        examples_of(path)


def test_a_column_named_as_content_leaves_no_room_for_messages(store: Store, data: Path) -> None:
    from olvido.data.parsing import Fields

    rows = [{"note": "Ada", "messages": TURNS}]
    with pytest.raises(BadRow, match="'messages'"):
        import_rows(store, data, rows, name="chats", fields=Fields(text="note"))


@pytest.fixture
def asked(tmp_path: Path, store: Store) -> tuple[StoreContext, Request]:
    context = StoreContext(store, Settings.load(tmp_path, environment={}))
    import_rows(store, context.settings.data, ROWS, name="chats")
    return context, receive(context, "Ana Soler", law="gdpr")


def test_a_forgotten_conversation_stays_out_and_others_come_in(
    asked: tuple[StoreContext, Request],
) -> None:
    context, request = asked
    tombstone(context, request, lineage_of(context.store, request), "erasure")

    def add(*rows: dict[str, Any]) -> int:
        return import_rows(context.store, context.settings.data, rows, name="new").rows

    for row in ROWS[:2]:
        with pytest.raises(BadRow, match="may not be brought in again"):
            add({k: v for k, v in row.items() if k != "subject"})
    pair = {"prompt": TURNS[0]["content"], "completion": BAKES}
    with pytest.raises(BadRow, match="may not be brought in again"):
        add(pair)
    assert add(ROWS[2], {"messages": [TURNS[0], {"role": "assistant", "content": "No idea."}]}) == 2


@pytest.mark.parametrize("form", ["messages", "an exchange of it", "a table"])
def test_copies_of_a_conversation_are_found(
    asked: tuple[StoreContext, Request], tmp_path: Path, form: str
) -> None:
    context, _ = asked
    dataset = context.store.dataset("chats")
    rows = [r for r in load_rows(context.store, context.settings.data, dataset) if r["id"] == "a"]
    kept = spelt(context.store.key, "Ana Soler")
    search = CopySearch(rows, key=context.store.key, names=kept["names"], whole=kept["whole"])
    path = tmp_path / ("copy.csv" if form == "a table" else "copy.jsonl")
    if form == "messages":
        text = json.dumps({"messages": TURNS})
    elif form == "a table":
        text = f'question,answer\n"{TURNS[0]["content"]}","{BAKES}"\n'
    else:
        text = json.dumps({"question": TURNS[0]["content"], "answer": BAKES})
    path.write_text(text + "\n", encoding="utf-8")
    assert search.look(path).records
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({"messages": ROWS[2]["messages"]}) + "\n", encoding="utf-8")
    assert not search.look(other).records


def test_examples_of_a_conversation_pass_through() -> None:
    (record,) = examples(ROWS[:1])
    assert isinstance(record, Example)
    assert examples([record]) == (record,)
