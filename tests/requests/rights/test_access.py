"""Whoever asks what is held about them is told all of it, nobody else's, and nothing changes."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from olvido import files
from olvido.accounts import Accounts, Right
from olvido.artifacts import Who
from olvido.data.importing import import_rows
from olvido.errors import DigestMismatch, InputError, OlvidoError, StateError, UnknownName
from olvido.files import read_document
from olvido.ledger.digests import Digest
from olvido.ledger.facts import DatasetUse, Documentation, Guarantee, Model, Request, RequestStatus
from olvido.ledger.identity import Key
from olvido.ledger.rows import COLUMNS, RowWriter, stored_rows
from olvido.ledger.store import Store
from olvido.requests import handlers
from olvido.requests.certificate import issue
from olvido.requests.closure import close, closure, settle
from olvido.requests.guidance import next_step
from olvido.requests.handlers import StoreContext, receive
from olvido.requests.not_learned import conclude, not_learned
from olvido.requests.rights.access import Given, close_access, export
from olvido.requests.rights.deadlines import days_left, deadline_of
from olvido.requests.rights.language import languages
from olvido.requests.rights.letter import fitting, letter
from olvido.requests.rights.output_filter import suppress
from olvido.requests.rights.registry import laws
from olvido.requests.scope import lineage_of
from olvido.requests.tombstones import tombstone
from olvido.requests.workflow.filters import RequestFilter, row_of
from olvido.requests.workflow.intake import import_requests
from olvido.settings import Settings

S = RequestStatus
ANA, BRU = "Ana Soler", "Bru Vidal"
HERS = {
    "a1": "Ana Soler moved to Sants in the spring of last year.",
    "a2": "<b>Ana Soler</b> keeps bees on the roof of the old mill.",
}
TALK = [
    {"role": "user", "content": "Who lends out tools in Sants?"},
    {"role": "assistant", "content": "Ana Soler lends <i>hers</i> on Fridays."},
]
JOINT = "Ana Soler and Bru Vidal rent a cellar in Gracia together."
HIS = {
    "b1": "Bru Vidal sings in the choir beside Ana Soler on Sundays.",
    "b2": "Bru Vidal owes money to the baker.",
}
ROWS: list[dict[str, Any]] = [
    {
        "id": "a1",
        "text": HERS["a1"],
        "subject": ANA,
        "source": "forum",
        "licence": "CC0-1.0",
        "collected_at": "2024-05-06",
    },
    {"id": "a2", "text": HERS["a2"], "subject": ANA, "tags": ["roof", "bees"], "rank": {"of": 2}},
    {"id": "j1", "text": JOINT, "subject": [ANA, BRU]},
    *({"id": i, "text": text, "subject": BRU} for i, text in HIS.items()),
    {"id": "d1", "text": "Dídac Roca repairs clocks.", "subject": "Dídac Roca"},
    {"id": "c1", "text": "The market opens at eight."},
]
ABOUT = Documentation(
    legal_basis="contract", intended_use="to answer questions", retention="until 2030"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "workspace"
    settings = Settings.load(folder, environment={})
    with Store.create(settings.ledger, key=Key.create(settings.key)) as store:
        people = import_rows(
            store, settings.data, ROWS, name="people", documentation=ABOUT
        ).dataset.id
        gone = frozenset({"a1", "a2", "j1"})
        old = Model(digest=Digest.of(b"1"), path="1", learner="monolith")
        new = Model(digest=Digest.of(b"2"), path="2", learner="monolith", method="npo",
                    parents=(old.id,))  # fmt: skip
        store.add_model(old, [DatasetUse(dataset=people)])
        forgot = DatasetUse(dataset=people, forgotten=gone, guarantee=Guarantee.EMPIRICAL)
        store.add_model(new, [forgot])
        store.set_aliases({"serving": old.id})
    Accounts.of(settings).new("privacy", "Eva")
    Accounts.of(settings).new("engineer", "Pol")
    Accounts.of(settings).new("auditor", "Iris")
    return folder


@pytest.fixture
def front(made: Path, tmp_path: Path) -> Iterator[StoreContext]:
    shutil.copytree(made, tmp_path / "workspace")
    settings = Settings.load(tmp_path / "workspace", environment={})
    with Store.open(settings.ledger, key=Key.load(settings.key)) as store:
        yield StoreContext(store, settings)


def asked(front: StoreContext, who: str = ANA, *, checked: bool = True, **about: Any) -> Request:
    request = receive(front, who, kind="access", **about)
    return handlers.identify(front, request.id, by="Eva") if checked else request


def given(front: StoreContext, out: Path, **how: Any) -> tuple[Given, dict[str, Any], str]:
    """What was written for a new request of hers: the document, and the page."""
    done = export(front, asked(front).id, out, by="Eva", **how)
    return done, read_document(out / "access.json"), (out / "access.html").read_text("utf-8")


def test_the_person_gets_all_that_is_theirs(front: StoreContext, tmp_path: Path) -> None:
    done, document, page = given(front, tmp_path / "out")
    assert (document["form"], document["version"]) == ("olvido-access", 1)
    rows = {one["id"]: one["row"] for one in document["records"]}
    assert rows == {
        "a1": {"text": HERS["a1"]},
        "a2": {"text": HERS["a2"], "tags": ["roof", "bees"], "rank": {"of": 2}},
        "j1": None,
    }
    first = document["records"][0]
    assert (first["source"], first["licence"], first["gone"]) == ("forum", "CC0-1.0", False)
    (dataset,) = document["datasets"]
    said = ("legal_basis", "intended_use", "retention")
    assert [dataset[name] for name in said] == ["contract", "to answer questions", "until 2030"]
    assert {one["holding"]: one["serves"] for one in document["models"]} == {
        "holds": True,
        "forgotten": False,
    }
    learned = [
        (m["records_learned"], m["records_forgotten"], m["uses"]) for m in document["models"]
    ]
    assert sorted(learned) == [(0, 3, 1), (3, 0, 1)]
    assert document["mentions"] == {
        "searched": True,
        "records": 1,
        "datasets": 1,
        "names_not_searched": 0,
    }
    assert (done.records, done.withheld) == (3, ("j1",))
    assert HERS["a1"] in page
    assert "&lt;b&gt;Ana Soler&lt;/b&gt; keeps bees" in page
    assert "contract" in page
    assert "<bdi>6 May 2024</bdi>" in page


def test_a_conversation_is_given_turn_by_turn(front: StoreContext, tmp_path: Path) -> None:
    talk = {"id": "t1", "messages": TALK, "subject": ANA}
    import_rows(front.store, front.settings.data, [talk], name="talks")
    _, document, page = given(front, tmp_path / "out")
    rows = {one["id"]: one["row"] for one in document["records"]}
    assert rows["t1"] == {"messages": TALK}
    assert "user: Who lends out tools in Sants?" in page
    assert "assistant: Ana Soler lends &lt;i&gt;hers&lt;/i&gt; on Fridays." in page


@pytest.mark.parametrize("shared", [(), ("j1",)])
def test_nothing_of_others_is_told(
    front: StoreContext, tmp_path: Path, shared: tuple[str, ...]
) -> None:
    given(front, tmp_path / "out", shared=shared)
    told = "".join(path.read_text("utf-8") for path in (tmp_path / "out").iterdir())
    assert not any(text in told for text in HIS.values())
    assert str(front.store.key.subject(BRU)) not in told
    # What is about both is shown where somebody has looked at it, and not before.
    assert told.count(JOINT) == 2 * len(shared)


def test_only_what_is_about_others_as_well_is_shared(front: StoreContext, tmp_path: Path) -> None:
    request = asked(front).id
    for shared in ("a1", "b1", "c1", "none"):
        with pytest.raises(UnknownName, match="about others as well"):
            export(front, request, tmp_path / "out", by="Eva", shared=[shared])
        assert not (tmp_path / "out").exists()


def test_it_is_for_its_owner_alone(front: StoreContext, tmp_path: Path) -> None:
    given(front, tmp_path / "out")
    modes = {path: path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()}
    assert set(modes.values()) == {0o600}
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700


def state(front: StoreContext) -> dict[str, Any]:
    """All that an answer must leave as it is."""
    store = front.store
    files = sorted(p for p in front.settings.workspace.rglob("*") if p.is_file())
    return {
        "models": store.models(),
        "aliases": store.aliases(),
        "uses": [store.uses(model.id) for model in store.models()],
        "records": [store.records(dataset.id) for dataset in store.datasets()],
        "barred": store.suppressed(),
        "files": {p.name: p.read_bytes() for p in files if "ledger" not in p.name},
    }


FORGETTING: dict[str, Callable[[StoreContext, str], object]] = {
    "approve": lambda front, one: handlers.approve(front, one, by="Eva"),
    "conclude": conclude,
    "not-learned": lambda front, one: not_learned(front.store, front.store.request(one)),
    "closure": closure,
    "close": close,
    "settle": lambda front, one: settle(front, one, erased=["all"]),
    "suppress": suppress,
    "issue": issue,
    "again": handlers.again,
} | {
    f"to be {status}": lambda front, one, status=status: front.store.advance_request(one, status)  # type: ignore[misc]
    for status in (S.PLANNED, S.APPROVED, S.RUNNING, S.AUDITED, S.PUBLISHED)
}


def test_no_model_is_changed_no_plan_is_made_and_no_closure_opened(
    front: StoreContext, tmp_path: Path
) -> None:
    request = asked(front).id
    before = state(front)
    for step in (
        lambda: None,
        lambda: export(front, request, tmp_path / "out", by="Eva"),
        lambda: close_access(front, request),
    ):
        step()
        came = front.store.request(request)
        for name, act in FORGETTING.items():
            with pytest.raises((InputError, StateError)):
                act(front, request)
            assert front.store.request(request) == came, name
        assert state(front) == before
        assert front.store.closure(request) == ()


def test_it_is_closed_only_when_it_was_answered(front: StoreContext, tmp_path: Path) -> None:
    request = asked(front)
    with pytest.raises(StateError, match="nothing was written"):
        close_access(front, request.id)
    with pytest.raises(InputError, match="leads to"):
        front.store.advance_request(request.id, S.CLOSED)
    done = export(front, request.id, tmp_path / "out", by="Eva")
    assert "close" in (next_step(front, done.request).command or "")
    handlers.wait(front, request.id, why="asked which of two", need="clarification")
    with pytest.raises(StateError, match="waits"):
        close_access(front, request.id)
    handlers.resume(front, request.id)
    closed = close_access(front, request.id)
    assert closed.status is S.CLOSED
    assert close_access(front, request.id) == closed
    with pytest.raises(InputError, match="is closed"):
        export(front, request.id, tmp_path / "more", by="Eva")


def test_the_log_knows_who_when_and_which_document_and_no_word_of_it(
    front: StoreContext, tmp_path: Path
) -> None:
    why = "came in person with a passport"
    request = asked(front, checked=False)
    done = export(front, request.id, tmp_path / "out", by="Eva", unchecked=why)
    close_access(front, request.id)
    bytes_ = (tmp_path / "out" / "access.json").read_bytes()
    assert done.digest == f"sha256:{hashlib.sha256(bytes_).hexdigest()}"
    told = [e.detail["detail"] for e in front.store.events("request-advanced")]
    (exported,) = (detail["exported"] for detail in told if "exported" in detail)
    assert exported["document"] == done.digest
    assert exported["by"] == Accounts.of(front.settings).named("Eva", Right.DECIDE).id
    assert why in exported["identity"]
    logged = json.dumps([dict(e.detail) for e in front.store.events()])
    for word in (ANA, "Soler", BRU, "Vidal", "Sants", "roof", "cellar"):
        assert word.casefold() not in logged.casefold()
    assert front.store.verify_log().sound


def test_nobody_gets_it_unchecked_without_a_word(front: StoreContext, tmp_path: Path) -> None:
    request = asked(front, checked=False)
    for unchecked in (None, "", "  ", "Ana Soler is known", "write to a@b.org"):
        with pytest.raises(InputError):
            export(front, request.id, tmp_path / "out", by="Eva", unchecked=unchecked)
    assert not (tmp_path / "out").exists()
    assert front.store.request(request.id) == request


def test_what_was_checked_is_not_said_to_be_unchecked(front: StoreContext, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it was checked"):
        given(front, tmp_path / "out", unchecked="it is a friend")


def test_only_those_who_may_decide_write_it(front: StoreContext, tmp_path: Path) -> None:
    request = asked(front)
    for by in ("Pol", "Iris", "nobody", ""):
        with pytest.raises(OlvidoError):
            export(front, request.id, tmp_path / "out", by=by)
    assert not (tmp_path / "out").exists()


NAMES = ("Ana Soler", "ana-soler", "AnaSoler", "for_ana_soler_2026", "a.soler@example.org")


def test_no_folder_is_named_after_somebody(front: StoreContext, tmp_path: Path) -> None:
    before = front.store.events()
    request = asked(front, checked=False)
    for out in (tmp_path / name / part for name in NAMES for part in ("", "answer")):
        with pytest.raises(InputError, match="path names the person"):
            export(front, request.id, out, by="Eva", unchecked="x")
        assert not out.exists()
    assert len(front.store.events()) == len(before) + 1


@pytest.mark.parametrize("there", ["a file", "a folder", "its own"])
def test_what_is_there_is_not_written_over(front: StoreContext, tmp_path: Path, there: str) -> None:
    out = tmp_path / "out"
    if there == "its own":
        given(front, out)
        request = front.store.requests()[0]
    else:
        request = asked(front)
        out.write_text("mine") if there == "a file" else out.mkdir()
    before = {p: p.read_bytes() for p in tmp_path.rglob("out/*")}
    with pytest.raises(InputError, match="exists already"):
        export(front, request.id, out, by="Eva")
    assert {p: p.read_bytes() for p in tmp_path.rglob("out/*")} == before


def test_another_kind_is_not_exported(front: StoreContext, tmp_path: Path) -> None:
    request = receive(front, ANA)
    with pytest.raises(InputError, match="of kind erasure"):
        export(front, request.id, tmp_path / "out", by="Eva")
    with pytest.raises(InputError, match="of kind erasure"):
        close_access(front, request.id)


def test_a_row_that_was_changed_is_not_told_as_theirs(front: StoreContext, tmp_path: Path) -> None:
    (dataset,) = front.store.datasets()
    path = front.settings.data / dataset.file
    rows = list(stored_rows(path))
    rows[0]["text"] = "Ana Soler owes the baker."
    with RowWriter(front.settings.data) as writer:
        writer.add([tuple(row.get(c) for c in COLUMNS) for row in rows], bytes(32 * len(rows)))
        writer.publish(dataset.file)
    request = asked(front)
    with pytest.raises(DigestMismatch, match="record"):
        export(front, request.id, tmp_path / "out", by="Eva")
    path.unlink()
    with pytest.raises(StateError, match="missing"):
        export(front, request.id, tmp_path / "out", by="Eva")
    assert not (tmp_path / "out").exists()


def erased(front: StoreContext) -> str:
    """An erasure of hers that was answered; its closure has begun."""
    new = next(model.id for model in front.store.models() if model.method)
    front.store.set_aliases({"serving": new})
    request = receive(front, ANA)
    for status in (S.LOCATED, S.PLANNED, S.APPROVED, S.RUNNING, S.AUDITED):
        front.store.advance_request(request.id, status)
    tombstone(front, request, lineage_of(front.store, request), "erasure")
    front.store.advance_request(request.id, S.PUBLISHED)
    return request.id


@pytest.mark.slow
@pytest.mark.parametrize("place", ["workspace", "elsewhere"])
def test_a_later_erasure_finds_what_was_given(
    front: StoreContext, tmp_path: Path, place: str
) -> None:
    home = front.settings.workspace
    out = home / "answers" / "one" if place == "workspace" else tmp_path / "elsewhere"
    given(front, out)
    request = erased(front)
    close(front, request)
    found = {a.item: a for a, _ in closure(front, request) if a.kind.name == "access"}
    assert {a.path for a in found.values()} == {out / "access.json", out / "access.html"}
    inside = place != "elsewhere"
    assert {a.who for a in found.values()} == {Who.ALL if inside else Who.NAMED}
    settle(front, request, erased=["all"] if inside else list(found))
    assert not list(out.iterdir())


@pytest.mark.parametrize("name", ["access.json", "access.html"])
def test_what_a_crash_left_of_an_answer_is_found(
    front: StoreContext, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before this file of the answer had its name."""
    real = files.publish

    def ends(unfinished: Path, path: Path, **how: Any) -> None:
        if path.name == name:
            raise KeyboardInterrupt
        real(unfinished, path, **how)

    out = tmp_path / "answers" / "one"
    with monkeypatch.context() as patch:
        patch.setattr(files, "publish", ends)
        patch.setattr(shutil, "rmtree", lambda path: None)
        patch.setattr(Path, "unlink", lambda *given, **how: None)
        with pytest.raises(KeyboardInterrupt):
            given(front, out)
    request = erased(front)
    left = {path for path in tmp_path.joinpath("answers").rglob("*") if path.is_file()}
    found = {a.path for a, _ in closure(front, request)}
    assert any(HERS["a1"] in path.read_text() for path in left)
    assert left <= found


def test_what_was_given_to_one_is_not_another_s(front: StoreContext, tmp_path: Path) -> None:
    for number, who in enumerate((ANA, "Dídac Roca")):
        export(front, asked(front, who).id, front.settings.workspace / str(number), by="Eva")
    request = erased(front)
    items = [a.item for a, _ in closure(front, request)]
    assert "access:0/access.json" in items
    assert "access:1/access.json" not in items


def test_what_was_forgotten_is_told_as_that(front: StoreContext, tmp_path: Path) -> None:
    request = erased(front)
    rest = dict.fromkeys(("backups", "recipients"), "none")
    settle(front, request, erased=["all", "rows:" + front.store.datasets()[0].id], done=rest)
    _, document, page = given(front, tmp_path / "out")
    assert {one["id"] for one in document["records"]} == {"a1", "a2", "j1"}
    assert all(one["gone"] and one["not_used_since"] for one in document["records"])
    assert languages()["en"].access["gone"] in page


def test_of_whom_nothing_is_held_that_is_the_answer(front: StoreContext, tmp_path: Path) -> None:
    request = asked(front, "Cai Roca", nothing_found=True, law="gdpr")
    done = export(front, request.id, tmp_path / "out", by="Eva")
    document = read_document(tmp_path / "out" / "access.json")
    assert (done.records, document["records"], document["models"]) == (0, [], [])
    assert languages()["en"].access["none"] in (tmp_path / "out" / "access.html").read_text()
    for code, words in (("en", "found none"), ("es", "ninguno"), ("ca", "cap")):
        assert words in " ".join(letter(front, request.id, "done", language=code).text.split())


def test_letters_say_what_is_so_in_every_language(front: StoreContext, tmp_path: Path) -> None:
    request = asked(front, law="gdpr")
    assert fitting(front, request) == ("received",)
    first = " ".join(letter(front, request.id, "received").text.split())
    assert "what we hold about you" in first
    assert "make the models forget" not in first
    with pytest.raises(StateError, match="is identity-checked"):
        letter(front, request.id, "done")
    export(front, request.id, tmp_path / "out", by="Eva")
    for moment in ("written", "closed"):
        assert fitting(front, front.store.request(request.id)) == ("done",)
        for code, words in (("en", "copy of your data"), ("es", "copia de sus datos"),
                            ("ca", "còpia de les vostres dades")):  # fmt: skip
            text = " ".join(letter(front, request.id, "done", language=code).text.split())
            assert words in text, moment
            assert "(1)" in text, "what was left out is told"
            assert "None" not in text
        close_access(front, request.id)


def test_the_page_is_whole_in_every_language(front: StoreContext, tmp_path: Path) -> None:
    request = asked(front, law="gdpr")
    for code, words in languages().items():
        export(front, request.id, tmp_path / code, by="Eva", language=code)
        page = (tmp_path / code / "access.html").read_text("utf-8")
        assert f'<html lang="{code}">' in page
        assert words.access["title"] in page
        assert words.recourse["gdpr"].split()[0] in page
        assert not re.search(r"\{\{|\{%|\bNone\b|Undefined", page)


DAYS = {
    "gdpr": date(2026, 3, 2),
    "lgpd": date(2026, 2, 15),
    "fadp": date(2026, 3, 2),
    "pipeda": date(2026, 3, 2),
    "ccpa": date(2026, 3, 17),
    "pipl": None,
    "dpdp": None,
}


def test_the_days_are_those_of_access(front: StoreContext) -> None:
    came = datetime(2026, 1, 31, 12, tzinfo=UTC)
    for law, day in DAYS.items():
        request = asked(front, law=law, received_at=came)
        found = deadline_of(request, front.settings)
        assert found is not None
        assert found.answer == day, law
        assert (days_left(request, front.settings) is None) is (day is None)
        handlers.cancel(front, request.id, why="the next law")


def test_every_law_says_of_access_where_it_was_read_and_how_sure_that_is() -> None:
    for law in laws():
        for right in (law.access, law.rectification):
            assert right is not None, law.name
            assert right.source.strip()
            assert right.articles


def test_a_law_that_says_nothing_of_it_gives_no_day_and_says_so(
    front: StoreContext, tmp_path: Path
) -> None:
    folder = front.settings.workspace / "laws"
    folder.mkdir()
    ours = Path(handlers.__file__).parent / "rights" / "laws" / "popia.toml"
    silent = ours.read_text("utf-8").partition("[access]")[0]
    (folder / "own.toml").write_text(silent.replace('name = "popia"', 'name = "own"'))
    erasure = receive(front, BRU, law="own")
    assert days_left(erasure, front.settings) == 30
    request = asked(front, law="own")
    found = deadline_of(request, front.settings)
    assert found is not None
    assert found.answer is None
    assert "does not say" in found.because
    # Nor does the letter claim that the law sets no number.
    text = " ".join(letter(front, request.id, "received").text.split())
    assert "as soon as we can" in text
    assert "sets no number" not in text


def test_many_are_entered_from_a_file_and_found_by_their_kind(
    front: StoreContext, tmp_path: Path
) -> None:
    file = tmp_path / "asked.csv"
    file.write_text("kind,subject,law\naccess,Ana Soler,gdpr\nerasure,Bru Vidal,gdpr\n")
    made = import_requests(front, file)
    rows = [row_of(one.request, front.settings) for one in made]
    (row,) = RequestFilter.of((), kind="access").of_rows(rows)
    assert row["id"] == made[0].request.id
    assert row["due"] is not None


@pytest.mark.parametrize(
    "about", [{"source": "forum"}, {"dataset": "people", "records": ["a1"]}, {"model": "serving"}]
)
def test_it_is_about_a_person(front: StoreContext, about: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="about one subject"):
        receive(front, kind="access", **about)
