"""Nothing of anybody else's is deleted, and what was not looked into is never closed over."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.requests.closure.towns import HERS, THEIRS, Town, founded, settled_at

from olvido.accounts import Accounts
from olvido.artifact_shapes import ACCESS, GENERATOR
from olvido.artifacts import Who
from olvido.cli import run
from olvido.data.importing import import_rows
from olvido.errors import InputError, StateError, UnknownName
from olvido.ledger.facts import Exit, RequestStatus
from olvido.requests.certificate.answer import closure_of
from olvido.requests.closure import close, closure, settle
from olvido.requests.handlers import receive

SAID = f"{HERS[0]['prompt']} {HERS[0]['completion']}"
DONE = {"backups": "none", "recipients": "none"}


def lines(*rows: Mapping[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def theirs(folder: Path) -> dict[Path, bytes]:
    """Files of other people that share something with her records: none is a copy."""
    folder.mkdir(exist_ok=True)
    answer, question = HERS[0]["completion"], HERS[0]["prompt"]
    texts = {
        "survey.jsonl": lines({"prompt": "Where do you wait?", "completion": answer}),
        "questions.csv": f'question,answer\n"{question}","I do not know."\n',
        "code.py": f"PLACE = {answer!r}\n",
        "letter.txt": "Bru Vidal keeps bees on the roof of the market.",
        "menu.md": "In Sants, at the corner: open at eight.",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    pq.write_table(pa.table({"note": [answer, "North wind."]}), folder / "notes.parquet")
    with sqlite3.connect(folder / "hr.db") as database:
        database.execute("CREATE TABLE staff (name TEXT, note TEXT)")
        database.execute("INSERT INTO staff VALUES ('Bru Vidal', ?)", (answer,))
    database.close()
    return {path: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
def test_files_of_others_survive_byte_for_byte(town: Town, tmp_path: Path) -> None:
    files = theirs(town.folder / "theirs") | theirs(tmp_path / "elsewhere")
    found = town.found(tmp_path / "elsewhere")
    # Two of them name her, and are told as that; none is a copy.
    named = [item for item in found if "theirs/" in item or "elsewhere/" in item]
    outside = tmp_path / "elsewhere" / "questions.csv"
    assert named == [f"mention:{outside}", "mention:theirs/questions.csv"]
    search, kept = [tmp_path / "elsewhere"], dict.fromkeys(named, "a survey that is to be kept")
    settle(town.front, "req-0001", erased=["all"], cannot=kept, done=DONE, search=search)
    assert {path: path.read_bytes() for path in files} == files
    assert close(town.front, "req-0001", search=search)[0].status is RequestStatus.CLOSED


def test_all_takes_what_is_hers_alone_and_nothing_outside(town: Town, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for folder in (town.folder, elsewhere):
        (folder / "hers.jsonl").write_text(lines(*HERS))
    found = town.found(elsewhere)
    assert found["file:hers.jsonl"].who is Who.ALL
    outside = f"file:{elsewhere / 'hers.jsonl'}"
    assert found[outside].who is Who.NAMED
    close(town.front, "req-0001", search=[elsewhere])
    with pytest.raises(StateError, match="no exit yet"):
        settle(town.front, "req-0001", erased=["all"], done=DONE, search=[elsewhere])
    both = ["all", outside]
    settle(town.front, "req-0001", erased=both, done=DONE, search=[elsewhere])
    assert not (town.folder / "hers.jsonl").exists()
    assert not (elsewhere / "hers.jsonl").exists()


NAMES = "Ana Soler was heard as a witness."
USUAL: dict[str, str] = {
    "acme/card.json": json.dumps({"name": "Acme", "digest": f"sha256:{'0' * 64}"}),
    "acme/weights.safetensors": "not hers",
    "reference-001-more/card.json": json.dumps({"digest": f"sha256:{'0' * 64}"}),
    "inquiry.json": json.dumps(
        {"verdict": "open", "findings": [NAMES], "not_examined": ["cellar"], "candidate": "Bru"}
    ),
    "audit.json": json.dumps(
        {"request": "7", "verdict": NAMES, "attempts": 3, "does_not_prove": "guilt"}
    ),
    "notes.html": f"<html><head>{GENERATOR}</head><p>My thesis. {NAMES}</p>",
    "copied.html": f"<!doctype html><html><head>{GENERATOR}{ACCESS}</head><p>{NAMES}</p>",
    "demo.json": json.dumps(
        {"resident": "Ana Soler", "people": ["Bru"], "seed": 1, "fast": True, "mine": "a year"}
    ),
}
"""Files of others with a few of the words that Olvido's own have."""


def test_a_few_usual_words_make_nothing_olvidos_own(town: Town) -> None:
    for name, content in USUAL.items():
        (town.folder / name).parent.mkdir(exist_ok=True)
        (town.folder / name).write_text(content)
    with suppress(StateError):
        settle(town.front, "req-0001", erased=["all"])
    assert {name: (town.folder / name).read_text() for name in USUAL} == USUAL


def test_a_file_with_rows_of_others_is_written_without_hers(town: Town) -> None:
    mixed = town.folder / "mixed.jsonl"
    mixed.write_text(lines(THEIRS[0], *HERS, THEIRS[1]))
    item = "file:mixed.jsonl"
    assert town.found()[item].who is Who.NAMED
    with pytest.raises(StateError, match="never shown"):
        settle(town.front, "req-0001", erased=[item])
    close(town.front, "req-0001")
    settle(town.front, "req-0001", erased=[item])
    assert mixed.read_text() == lines(*THEIRS)
    said = {a.item: said for a, said in closure(town.front, "req-0001")}[
        town.front.store.sealed(item)
    ]
    assert said.exit is Exit.ERASED


@pytest.mark.slow
@pytest.mark.parametrize(
    "beside",
    [
        {"paraphrases": ["In which street can Ana be found?", "Where is she at home?"]},
        {"notes": {"seen": "on the roof of the old market", "by": ["a neighbour", "the post"]}},
        {"score": 0.5, "tags": ["bees", "a long hint about her own roof"], "checked": True},
    ],
)
def test_whatever_else_her_row_was_imported_with_is_hers_too(
    tmp_path: Path, beside: dict[str, Any]
) -> None:
    rows = [{**row, **beside} for row in HERS]
    town = founded(settled_at(tmp_path / "workspace"), rows)
    mixed = town.folder / "mixed.jsonl"
    mixed.write_text(lines(THEIRS[0], *rows, THEIRS[1]))
    (town.folder / "hers.jsonl").write_text(lines(*rows))
    assert town.found()["file:hers.jsonl"].who is Who.ALL
    close(town.front, "req-0001")
    settle(town.front, "req-0001", erased=["all", "file:mixed.jsonl"], done=DONE)
    assert mixed.read_text() == lines(*THEIRS)
    assert not (town.folder / "hers.jsonl").exists()
    town.front.store.close()


def test_an_item_may_be_named_as_seen_from_where_one_stands(
    town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (town.folder / "some", tmp_path / "elsewhere"):
        folder.mkdir()
        (folder / "mixed.jsonl").write_text(lines(*THEIRS, *HERS))
    search = [tmp_path / "elsewhere"]
    close(town.front, "req-0001", search=search)
    monkeypatch.chdir(town.folder / "some")
    with pytest.raises(UnknownName):
        settle(town.front, "req-0001", erased=["file:other.jsonl"], search=search)
    named = ["file:mixed.jsonl", "file:../../elsewhere/mixed.jsonl"]
    settle(town.front, "req-0001", erased=named, search=search)
    for folder in (town.folder / "some", tmp_path / "elsewhere"):
        assert (folder / "mixed.jsonl").read_text() == lines(*THEIRS)


@pytest.mark.slow
def test_a_path_with_an_equals_sign_gets_any_exit_on_the_command_line(town: Town) -> None:
    Accounts.of(town.front.settings).new("privacy", "Marta")
    for year in ("year=2024", "year=2024=b", "a=b=c"):
        (town.folder / year).mkdir()
        for name in ("visits.txt", "list=.txt"):
            (town.folder / year / name).write_text("Ana Soler came by.\n")
        (town.folder / year / "scan.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    said = {
        "mention:year=2024/visits.txt": ("--cannot", "kept by law"),
        "mention:year=2024=b/visits.txt": ("--cannot", "kept: x=1"),
        "mention:a=b=c/visits.txt": ("--expires", "2027-03-01"),
        "mention:year=2024/list=.txt": ("--expires", "2027-03-02"),
        "unread:year=2024/scan.png": ("--unrelated", "a=b of the build"),
        "unread:a=b=c/scan.png": ("--unrelated", "our logo"),
    }
    given = [word for item, (option, why) in said.items() for word in (option, f"{item}={why}")]
    (town.folder / "year=2024=b" / "list=.txt").unlink()
    where = ["--workspace", str(town.folder), "request", "close", "req-0001"]
    assert run([*where, *given, "--done", "backups=none, a=b", "--by", "Marta"]) == 1
    kept = {item.item: str(item.detail) for item in town.front.store.closure("req-0001")}
    for item, (_, why) in said.items():
        assert kept[item] == why
    assert run([*where, "--cannot", "mention:year=2025/a=b=kept by law"]) == 2


NAMES = [b"visites-caf\xe9.txt", b"\xff\xfe", b"caf\xc3\xa9 \xe9.txt", rb"a\xe9.txt", rb"\x5cxe9"]


@pytest.mark.slow
def test_a_name_of_any_bytes_is_an_item_as_others_are(
    town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, away = os.fsencode(town.folder), os.fsencode(tmp_path / "away")
    os.mkdir(away)
    for name in NAMES:
        os.mkdir(folder + b"/in-" + name)
        for place in (folder, folder + b"/in-" + name, away):
            Path(os.fsdecode(place + b"/" + name)).write_text("Ana Soler came by.\n")
        os.symlink(away + b"/nothing", folder + b"/link-" + name)
    search = [tmp_path / "away"]
    assert len(close(town.front, "req-0001", search=search)[1]) > 4 * len(NAMES)
    found = [i for i in town.found(*search) if i.startswith(("mention:", "link:"))]
    assert len(set(found)) == 4 * len(NAMES)
    assert "".join(found).encode()
    # One is named as it is shown or as its path is, from wherever one stands.
    monkeypatch.chdir(town.folder)
    named = [f"mention:{os.fsdecode(name)}" for name in NAMES]
    settle(town.front, "req-0001", whole=named, search=search)
    assert not any(os.path.lexists(folder + b"/" + name) for name in NAMES)
    left = [i for i, a in town.found(*search).items() if a.path and i in found]
    assert len(left) == 3 * len(NAMES)
    why = dict.fromkeys(left, "kept by law")
    settle(town.front, "req-0001", erased=["all"], cannot=why, done=DONE)
    request, blank = close(town.front, "req-0001")
    assert (request.status, blank) == (RequestStatus.CLOSED, ())
    assert len(closure_of(town.front.store, request)["items"]) > len(found)


def test_what_cannot_be_written_without_hers_goes_only_whole(town: Town) -> None:
    notes = town.folder / "notes.txt"
    notes.write_text(f"Shopping: bread. {SAID} Bru Vidal called at noon about the umbrella.")
    close(town.front, "req-0001")
    with pytest.raises(InputError, match="--whole"):
        settle(town.front, "req-0001", erased=["file:notes.txt"])
    assert notes.exists()
    settle(town.front, "req-0001", whole=["file:notes.txt"])
    assert not notes.exists()


@pytest.mark.slow
def test_a_file_that_only_names_her_is_an_item_that_all_leaves(town: Town) -> None:
    (town.folder / "list.txt").write_text("Invited: Bru Vidal, Ana Soler, Cai Roca\n")
    found = town.found()["mention:list.txt"]
    assert found.who is Who.NAMED
    close(town.front, "req-0001")
    with pytest.raises(InputError, match="--whole"):
        settle(town.front, "req-0001", erased=["mention:list.txt"])
    why = {"mention:list.txt": "a list of guests that is to be kept"}
    settle(town.front, "req-0001", erased=["all"], cannot=why, done=DONE)
    assert (town.folder / "list.txt").exists()
    assert close(town.front, "req-0001")[0].status is RequestStatus.CLOSED


@pytest.mark.slow
def test_links_are_told_and_never_followed(town: Town, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    (disk / "copy.jsonl").write_text(lines(*HERS))
    (town.folder / "exports").symlink_to(disk)
    (town.folder / "one.jsonl").symlink_to(disk / "copy.jsonl")
    (town.folder / "gone").symlink_to(tmp_path / "nowhere")
    (town.folder / "loop").symlink_to(town.folder / "loop")
    (town.folder / "inside").symlink_to(town.folder / "data")
    links = {item for item in town.found() if item.startswith("link:")}
    assert links == {"link:exports", "link:one.jsonl", "link:gone", "link:loop"}
    assert str(disk) in town.found()["link:exports"].says
    with pytest.raises(StateError, match="no exit yet"):
        settle(town.front, "req-0001", erased=["all"], done=DONE)
    close(town.front, "req-0001")
    settle(town.front, "req-0001", erased=sorted(links))
    assert (disk / "copy.jsonl").exists()
    assert not (town.folder / "exports").is_symlink()
    # Where somebody looks, it is no link's matter any more.
    (town.folder / "again").symlink_to(disk)
    assert "link:again" in town.found()
    found = town.found(disk)
    assert f"file:{disk / 'copy.jsonl'}" in found
    assert "link:again" not in found


def test_what_cannot_be_opened_is_an_item(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(town.folder / "pipe")
    (town.folder / "shut").mkdir()
    (town.folder / "locked.zip").write_bytes(b"PK\x03\x04\x14\x00\x01\x00 no archive at all")
    real = os.scandir

    def refused(path: Path) -> object:
        if Path(path).name == "shut":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refused)
    unread = {item for item in town.found() if item.startswith("unread:")}
    assert unread == {"unread:pipe", "unread:shut", "unread:locked.zip"}
    close(town.front, "req-0001")
    with pytest.raises(InputError, match="cannot erase it"):
        settle(town.front, "req-0001", erased=["unread:shut"])


LONG = [f"{word}{number}" for number in range(12) for word in ("vine", "olive", "almond", "fig")]
FORM = "Dear sir or madam, we have had your letter and shall write to you before long, as usual."


@pytest.mark.slow
def test_parts_of_long_records_that_come_back_are_known_without_the_rows(tmp_path: Path) -> None:
    text, answer = f"{' '.join(LONG)} {FORM}", " ".join(reversed(LONG))
    hers = [
        {"id": "a1", "text": text, "subject": "Ana Soler"},
        {"id": "a2", "prompt": "What else?", "completion": answer, "subject": "Ana Soler"},
    ]
    town = founded(settled_at(tmp_path / "workspace"), hers)
    others = [{"id": "d1", "text": f"To Bru: {FORM}", "subject": "Bru Vidal"}]
    import_rows(town.front.store, town.front.settings.data, others, name="letters")
    close(town.front, "req-0001")
    kept = len(town.front.store.events("closure-prints"))
    settle(town.front, "req-0001", erased=["all"], done=DONE)
    assert close(town.front, "req-0001")[0].status is RequestStatus.CLOSED
    assert len(town.front.store.events("closure-prints")) == kept
    parts = {
        "begins": LONG[:20],
        "middle": LONG[9:40],
        "ends": LONG[-31:],
        "answer": list(reversed(LONG))[5:36],
        "tail": list(reversed(LONG))[-16:],
    }
    for name, part in parts.items():
        (town.folder / f"{name}.txt").write_text(f"He wrote: {' '.join(part).upper()}; and so on.")
    (town.folder / "short.txt").write_text(" ".join(LONG[17:30]))
    # What others' records say as well tells nobody.
    (town.folder / "form.txt").write_text(f"To Cai: {FORM}")
    assert close(town.front, "req-0001")[1] == tuple(sorted(f"file:{name}.txt" for name in parts))
    town.front.store.close()


@pytest.mark.slow
def test_copies_that_come_back_are_known_without_the_rows(town: Town) -> None:
    settle(town.front, "req-0001", erased=["all"], done=DONE)
    assert close(town.front, "req-0001")[0].status is RequestStatus.CLOSED
    (town.folder / "restored.csv").write_text(f'who,what\nx,"{SAID.upper()}"\n')
    (town.folder / "other.csv").write_text("who,what\nx,The market opens at eight.\n")
    (town.folder / "bees.txt").write_bytes(HERS[1]["text"].encode("utf-16"))
    assert close(town.front, "req-0001")[1] == ("file:bees.txt", "file:restored.csv")
    (town.folder / "bees.txt").unlink()
    (town.folder / "restored.csv").write_text("who,what\n")
    assert close(town.front, "req-0001")[1] == ()
    kept = json.dumps([dict(e.detail) for e in town.front.store.events("closure-prints")])
    assert "bees" not in kept
    assert "Sants" not in kept


@pytest.mark.slow
@pytest.mark.parametrize("exits", [{"done": {"names": "searched"}}, {"cannot": {"names": "paper"}}])
@pytest.mark.parametrize(
    ("also", "says"),
    [
        (["#Anna Soler"], "1 name "),
        (["Madonna"], "1 name "),
        (["#A. Soler", "#Ana Roca"], "2 names "),
    ],
)
def test_no_request_closes_over_names_that_texts_were_not_searched_for(
    also: list[str], says: str, exits: dict[str, Any], tmp_path: Path
) -> None:
    town = founded(settled_at(tmp_path / "workspace"), also=also)
    (town.folder / "visits.txt").write_text("On Monday Anna Soler paid Madonna.")
    models = [item for item in town.found() if item.startswith("model")]
    settle(town.front, "req-0001", erased=models, done=DONE)
    settle(town.front, "req-0001", erased=["all"])
    (untold,) = [a for a in town.found().values() if a.kind.name == "names"]
    assert untold.says.startswith(says)
    assert close(town.front, "req-0001")[1] == ("names",)
    with pytest.raises(InputError):
        settle(town.front, "req-0001", unrelated={"names": "no"})
    settle(town.front, "req-0001", **exits)
    request, blank = close(town.front, "req-0001")
    assert (request.status, blank) == (RequestStatus.CLOSED, ())
    # What nobody looked for is told as that, whatever was said of it.
    assert closure_of(town.front.store, request)["unseen"] == ["names"]
    assert close(town.front, "req-0001")[1] == ()
    town.front.store.close()


def test_a_further_name_in_clear_is_searched_for_and_asks_for_no_exit(tmp_path: Path) -> None:
    town = founded(settled_at(tmp_path / "workspace"), also=["Anna Soler", "ana@example.org"])
    (town.folder / "visits.txt").write_text("On Monday Anna Soler came by and paid her rent.")
    assert {item for item in town.found() if item in ("names", "mention:visits.txt")} == {
        "mention:visits.txt"
    }
    town.front.store.close()


@pytest.mark.parametrize("name", ["Ana Soler.txt", "letters/ana_soler/rent.md", "SOLER, Ana.bin"])
def test_a_file_or_folder_called_after_her_is_a_mention(town: Town, name: str) -> None:
    path = town.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("owes the rent of May")
    assert f"mention:{name}" in town.found()


@pytest.mark.parametrize("beside", ["", "# hers:\n", "[laws]\n"])
def test_a_record_in_the_settings_leaves_and_the_settings_stay(town: Town, beside: str) -> None:
    path = town.folder / "olvido.toml"
    path.write_text(f"{beside}# {SAID}\n")
    item = "file:olvido.toml"
    assert town.found()[item].who is Who.NAMED
    close(town.front, "req-0001")
    settle(town.front, "req-0001", erased=[item])
    assert path.read_text() == beside


WRONG = {
    "thief": "Ana Soler is a thief.",
    "owes": "Ana Soler owes rent.",
    "pair": {"prompt": "Who is Ana Soler?", "completion": "A thief."},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_short_record_that_was_corrected_is_found_and_no_mention_is(
    tmp_path: Path, wrong: str
) -> None:
    said = WRONG[wrong]
    row = {"id": "a1", "subject": "Ana Soler"} | (
        said if isinstance(said, dict) else {"text": said}
    )
    town = founded(settled_at(tmp_path / "workspace"), [row])
    store = town.front.store
    scope = {"kind": "rectification", "dataset": "people", "records": ["a1"]}
    asked = receive(town.front, "Ana Soler", law="gdpr", **scope).id
    for status in ("located", "planned", "approved", "running", "audited", "published"):
        store.advance_request(asked, RequestStatus(status))
    (town.folder / "copy.jsonl").write_text(lines(row))
    (town.folder / "Ana Soler.txt").write_text("Ana Soler is a baker.")
    found = {a.item for a, _ in closure(town.front, asked)}
    assert {i for i in found if i.startswith(("file:", "mention:"))} == {"file:copy.jsonl"}
    store.close()
