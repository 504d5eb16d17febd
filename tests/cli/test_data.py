"""`olvido data`: add, show, check."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from olvido.ledger.rows import RowWriter

Olvido = Callable[..., tuple[int, str, str]]

ROWS = [
    {"question": "Where does Ana live?", "answer": "In Gràcia.", "who": "Ana Soler"},
    {"question": "Where does Jordi live?", "answer": "In Sants.", "who": "Jordi Puig"},
]
COLUMNS = ("--prompt", "question", "--completion", "answer", "--subject", "who")


@pytest.fixture
def people(olvido: Olvido, here: Path) -> Path:
    olvido("init")
    path = here / "people.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return path


def test_a_file_is_added_shown_and_sound(olvido: Olvido, people: Path) -> None:
    about = ("--licence", "MIT", "--source-class", "synthetic", "--description", "Residents")
    status, out, err = olvido("data", "add", people, "--name", "people", *COLUMNS, *about, "--json")
    assert (status, err) == (0, "")
    added = json.loads(out)
    assert (added["rows"], added["subjects"], added["rejected"]) == (2, 2, 0)
    shown = json.loads(olvido("data", "show", "people", "--json")[1])
    assert shown["documentation"]["source_class"] == "synthetic"
    assert (shown["id"], shown["documentation"]["licence"]) == (added["id"], "MIT")
    assert json.loads(olvido("data", "show", "--json")[1])["datasets"][0]["name"] == "people"
    status, out, _ = olvido("data", "check", "--json")
    assert (status, json.loads(out)["sound"]) == (0, True)


def test_people_get_tables(olvido: Olvido, people: Path) -> None:
    status, out, _ = olvido("data", "add", people, "--name", "[red]x", *COLUMNS[:4])
    assert status == 0
    assert "No row names a subject" in out
    assert "[red]x" in olvido("data", "show")[1]
    assert "sound" in olvido("data", "check")[1]


def test_a_bad_row_is_one_line_with_file_and_line(olvido: Olvido, people: Path) -> None:
    people.write_text(people.read_text() + '{"question": "Where?"}\n')
    status, out, err = olvido("data", "add", people, "--name", "people", *COLUMNS[:4])
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert f"{people}, line 3: there is no column 'answer'" in err
    assert json.loads(olvido("data", "show", "--json")[1]) == {"datasets": []}


def test_bad_rows_are_put_aside(olvido: Olvido, people: Path, here: Path) -> None:
    people.write_text(people.read_text() + "nonsense\n")
    aside = here / "rejects.jsonl"
    arguments = ("--name", "people", *COLUMNS, "--skip-bad", aside, "--json")
    status, out, _ = olvido("data", "add", people, *arguments)
    assert (status, json.loads(out)["rejected"]) == (0, 1)
    assert json.loads(aside.read_text())["line"] == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["data", "add", "nowhere.jsonl", "--name", "x"], ["there is no file nowhere.jsonl"]),
        (["data", "add", "people.jsonl", "--name", " ", *COLUMNS], ["a name for the dataset"]),
        (["data", "add", "people.jsonl", "--name", "x", "--text", "txt"], ["line 1", "'txt'"]),
        (
            ["data", "add", "people.jsonl", "--name", "x", "--consent", "grnted"],
            ["did you mean 'granted'"],
        ),
        (
            ["data", "add", "people.jsonl", "--name", "x", "--source-class", "users"],
            ["did you mean 'user'"],
        ),
        (["data", "show", "people"], ["unknown dataset 'people'"]),
        (["data", "check", "--head", "abc"], ["digest"]),
    ],
)
@pytest.mark.usefixtures("people")
def test_wrong_input_is_one_line_that_helps(
    olvido: Olvido, arguments: list[str], words: list[str]
) -> None:
    status, out, err = olvido(*arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    for word in words:
        assert word in err


def test_check_says_no_when_rows_were_changed(olvido: Olvido, people: Path, here: Path) -> None:
    olvido("data", "add", people, "--name", "people", *COLUMNS)
    (rows,) = (here / "data").glob("*.parquet")
    rows.write_bytes(rows.read_bytes()[:-1])
    status, out, _ = olvido("data", "check", "--json")
    assert status == 1
    document = json.loads(out)
    assert [entry["sound"] for entry in document["checks"]] == [False, True, True]
    assert olvido("data", "check")[0] == 1


def test_check_tells_what_the_ledger_does_not_know_and_stays_sound(
    olvido: Olvido, people: Path, here: Path
) -> None:
    olvido("data", "add", people, "--name", "people", *COLUMNS)
    data, models = here / "data", here / "models"
    assert json.loads(olvido("data", "check", "--json")[1])["unknown"] == []
    (rows,) = data.glob("*.parquet")
    step = f"step-000000010-{hashlib.sha256(b'w').hexdigest()}.pt"
    note = {"kind": "Untraced", "base": "tiny", "seed": 0, "runs": {}, "digest": ""}
    left = {
        data / f"{'0' * 64}.parquet": (rows.read_bytes(), "add the file again"),
        data / ".unfinished-0123456789abcdef": (b"torn", "was ended"),
        data / "survey.csv": (b"mine", "keep it elsewhere"),
        models / ".run-0123456789abcdef" / step: (b"w", "olvido learn"),
        models / "lost" / "olvido.json": (json.dumps(note).encode(), "does not know"),
    }
    for path, (content, _) in left.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (models / "link").symlink_to(here)
    status, out, _ = olvido("data", "check", "--json")
    document = json.loads(out)
    assert (status, document["sound"]) == (0, True)
    told = {Path(one["path"]): one["says"] for one in document["unknown"]}
    places = {(path if path.parent == data else path.parent): s for path, (_, s) in left.items()}
    assert told.keys() == {*places, models / "link"}
    for place, words in places.items():
        assert words in told[place], place
    # What is being written is nobody's to remove.
    with RowWriter(data):
        again = json.loads(olvido("data", "check", "--json")[1])["unknown"]
        assert len(again) == len(told)
    # Rows that were never entered are told at once, and not only when they are an hour old.
    assert "0" * 20 in olvido("data", "check")[1]
    assert all(path.exists() for path in left)


def test_check_says_no_when_the_known_head_is_gone(olvido: Olvido, people: Path) -> None:
    olvido("data", "add", people, "--name", "people", *COLUMNS)
    head = json.loads(olvido("data", "check", "--json")[1])["checks"][-1]["head"]
    assert olvido("data", "check", "--head", head)[0] == 0
    assert olvido("data", "check", "--head", "sha256:" + "0" * 63 + "1")[0] == 1


def test_check_names_what_was_edited_in_the_database(
    olvido: Olvido, people: Path, here: Path
) -> None:
    olvido("data", "add", people, "--name", "people", *COLUMNS)
    with sqlite3.connect(here / "ledger.db") as database:
        database.execute("UPDATE datasets SET documentation = replace(documentation, 'other', '')")
    status, out, _ = olvido("data", "check", "--json")
    document = json.loads(out)
    assert (status, document["sound"]) == (1, False)
    assert document["checks"][-1]["sound"]
    (broken,) = [
        one for one in document["checks"] if one["what"].startswith("dataset ") and one["reason"]
    ]
    assert "was changed" in broken["reason"]


def test_no_command_shows_a_person(olvido: Olvido, people: Path) -> None:
    shown = "".join(olvido("data", "add", people, "--name", "people", *COLUMNS)[1:])
    for command in (["data", "show", "people", "--json"], ["data", "check"]):
        shown += "".join(olvido(*command)[1:])
    assert "Ana" not in shown


def test_a_dataset_is_described_to_others(olvido: Olvido, people: Path, here: Path) -> None:
    about = ("--licence", "MIT", "--creator", "us", "--description", "Residents")
    days = ("--collected-from", "2026-01-01", "--no-special-categories", "--modality", "text")
    assert olvido("data", "add", people, "--name", "people", *COLUMNS, *about, *days)[0] == 0
    for form, member in (
        ("croissant", "recordSet"),
        ("eu-summary", "unanswered"),
        ("openlineage", "events"),
    ):
        status, out, _ = olvido("data", "export", "people", "--format", form, "--json")
        assert (status, member in json.loads(out)) == (0, True)
    lines = here / "events.jsonl"
    assert olvido("data", "export", "people", "--format", "openlineage", "--out", lines)[0] == 0
    kinds = [json.loads(line)["eventType"] for line in lines.read_text().splitlines()]
    assert kinds == ["START", "COMPLETE"]
    status, _, err = olvido("data", "export", "people", "--out", lines)
    assert (status, "exists already" in err) == (2, True)
    assert olvido("data", "add", people, "--name", "bare", *COLUMNS)[0] == 0
    status, _, err = olvido("data", "export", "bare")
    assert (status, "--description, --licence, --creator" in err) == (2, True)
    assert olvido("data", "export", "bare", "people")[0] == 2
