"""What is wrong about a person is put right: the old rows go, and the new ones are not claimed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from olvido.accounts import Accounts
from olvido.data.importing import import_rows
from olvido.errors import InputError, OlvidoError, StateError
from olvido.ledger.digests import Digest
from olvido.ledger.facts import DatasetUse, Documentation, Guarantee, Model, Request, RequestStatus
from olvido.ledger.identity import Key
from olvido.ledger.lineage import Holding
from olvido.ledger.rows import load_rows, stored_rows, text_of
from olvido.ledger.store import Store
from olvido.requests import handlers, plan, receive
from olvido.requests.closure import close, closure, settle
from olvido.requests.guidance import next_step
from olvido.requests.not_learned import conclude, not_learned
from olvido.requests.rights import rectification
from olvido.requests.rights.deadlines import deadline_of
from olvido.requests.rights.language import languages
from olvido.requests.rights.letter import letter
from olvido.requests.rights.rectification import correct, learned
from olvido.requests.scope import corrections, lineage_of
from olvido.requests.workflow.intake import import_requests
from olvido.settings import FILE, Settings, template
from olvido.workspace import SERVING, Workspace

S = RequestStatus
ANA, BRU = "Ana Soler", "Bru Vidal"
WRONG = "Ana Soler was born in Girona on the second of May, grew up by the river and left at nine."
RIGHT = WRONG.replace("Girona", "Reus")
ROWS: list[dict[str, Any]] = [
    {"id": "a1", "text": WRONG, "subject": ANA, "place": "Girona"},
    {"id": "a2", "text": "Ana Soler keeps bees on the roof of the mill.", "subject": ANA},
    {"id": "b1", "text": "Bru Vidal sings beside Ana Soler in the choir.", "subject": BRU},
    {"id": "c1", "text": "The market opens at eight."},
]
TALK = [
    {"role": "user", "content": "Where was Ana Soler born?"},
    {"role": "assistant", "content": "In Girona."},
    {"role": "user", "content": "And when?"},
    {"role": "assistant", "content": "On the second of May."},
]
DONE = {"backups": "none", "recipients": "nobody"}


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Workspace]:
    """A dataset of three people's rows in two versions, of which a model learned the first."""
    folder = tmp_path / "workspace"
    folder.mkdir()
    (folder / FILE).write_text(template(), encoding="utf-8")
    settings = Settings.load(folder, environment={})
    about = Documentation(licence="CC0-1.0", legal_basis="contract")
    with Store.create(settings.ledger, key=Key.create(settings.key)) as store:
        for rows in (ROWS[:3], ROWS):
            made = import_rows(
                store, settings.data, rows, name="people", documentation=about
            ).dataset
            teach(store, made.id, f"of {made.version}")
        old, new = store.models()
        store.set_aliases({"old": old.id, SERVING: new.id})
    Accounts.of(settings).new("privacy", "Eva")
    Accounts.of(settings).new("engineer", "Pol")
    with Workspace(settings) as opened:
        yield opened


def teach(store: Store, dataset: str, seed: str, **use: Any) -> Model:
    more = {"method": "npo", "parents": (use.pop("of"),)} if "of" in use else {}
    fact = Model(digest=Digest.of(seed.encode()), path=seed, learner="monolith", **more)
    return store.add_model(fact, [DatasetUse(dataset=dataset, **use)])


def asked(context: Workspace, *records: str, checked: bool = True, **about: Any) -> Request:
    how = {"kind": "rectification", "dataset": "people", "records": records or ["a1"]} | about
    request = receive(context, how.pop("subject", ANA), **how)
    return handlers.identify(context, request.id, by="Eva") if checked else request


def file_of(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / f"right-{len(list(folder.iterdir()))}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rights(context: Workspace, tmp_path: Path, request: Request) -> Request:
    return correct(context, request.id, file_of(tmp_path, {"id": "a1", "text": RIGHT}), by="Eva")[0]


def forgets(context: Workspace) -> None:
    """A model is made that forgot what was wrong, and serves; the others go."""
    store = context.store
    serving = store.alias(SERVING)
    assert serving is not None
    newest = store.uses(serving.id)[0].dataset
    gone = frozenset({"a1"})
    made = teach(store, newest, "new", of=serving.id, forgotten=gone, guarantee=Guarantee.EXACT)
    for model in store.models():
        if model.id != made.id:
            store.tombstone_model(model.id, "asked for")
    store.set_aliases({SERVING: made.id})


def test_the_new_version_has_what_is_right_and_all_the_rest(
    context: Workspace, tmp_path: Path
) -> None:
    before = context.store.dataset("people")
    rights(context, tmp_path, asked(context))
    now = context.store.dataset("people")
    assert (now.version, now.parent) == (3, before.id)
    assert now.documentation == before.documentation
    old, new = (
        {row["id"]: row for row in load_rows(context.store, context.settings.data, one)}
        for one in (before, now)
    )
    assert new == old | {"a1": old["a1"] | {"text": RIGHT}}


def test_a_conversation_is_put_right_whole_or_not_at_all(
    context: Workspace, tmp_path: Path
) -> None:
    talk = {"id": "t1", "messages": TALK, "subject": ANA}
    import_rows(context.store, context.settings.data, [talk], name="talks")
    request = asked(context, "t1", dataset="talks")
    right = [*TALK[:1], {"role": "assistant", "content": "In Reus."}, *TALK[2:]]
    for wrong in (TALK, TALK[:3], "In Reus."):
        with pytest.raises(InputError):
            correct(
                context, request.id, file_of(tmp_path, {"id": "t1", "messages": wrong}), by="Eva"
            )
    correct(context, request.id, file_of(tmp_path, {"id": "t1", "messages": right}), by="Eva")
    now = context.store.dataset("talks")
    (row,) = load_rows(context.store, context.settings.data, now)
    assert (now.version, row["messages"]) == (2, right)
    (stored,) = stored_rows(context.settings.data / now.file)
    assert "Girona" not in text_of(stored)


def test_it_is_about_those_records_in_every_version_and_no_others(
    context: Workspace, tmp_path: Path
) -> None:
    store, request = context.store, asked(context)
    for moment in (request, rights(context, tmp_path, request)):
        found = lineage_of(store, moment)
        assert {record.id for record in found.records} == {"a1"}
        assert [d.version for d in found.datasets] == [1, 2]
        assert {s.model.path: s.holding for s in found.models} == dict.fromkeys(
            ("of 1", "of 2"), Holding.HOLDS
        )


@pytest.mark.slow
def test_it_goes_all_the_way(context: Workspace, tmp_path: Path) -> None:
    store = context.store
    request = rights(context, tmp_path, asked(context, law="gdpr"))
    assert not_learned(store, request) is None, "a model in use holds what is wrong"
    forgets(context)
    plan(context, request.id)
    handlers.approve(context, request.id, by="Eva")
    conclude(context, request.id)
    # The person stays: what is right, and what else is theirs.
    assert str(store.key.subject(ANA)) not in store.suppressed()
    kept = {r.id for r in store.records("people") if r.tombstone is None}
    assert kept == {"a1", "a2", "b1", "c1"}
    items = {a.item: a for a, _ in closure(context, request.id)}
    wrong = [f"rows:{d.id}" for d in store.datasets()[:2]]
    assert {item for item in items if item.startswith(("rows:", "file:"))} >= set(wrong)
    # What is right says nearly the same, and is no copy of what was wrong.
    assert not any(item.startswith(("names", "near:")) for item in items)
    with pytest.raises(StateError, match="is not done"):
        letter(context, request.id, "done")
    for code, words in (("en", "corrected"), ("es", "corregido"), ("ca", "corregit")):
        assert words in letter(context, request.id, "partly-done", language=code).text
    source = {i: "the corrected file" for i in items if i.startswith(("mention:", "unread:"))}
    settle(context, request.id, erased=["all"], done=DONE, cannot=source)
    closed, blank = close(context, request.id)
    assert (closed.status, blank) == (S.CLOSED, ())
    # What is right stands in its file, and what was wrong in none.
    rows = [r for d in store.datasets() for r in load_rows(store, context.settings.data, d)]
    assert RIGHT in [row["text"] for row in rows]
    assert WRONG not in [row["text"] for row in rows]
    for code, words in (("en", "not learned what is right yet"), ("es", "todavía no ha aprendido"),
                        ("ca", "encara no ha après")):  # fmt: skip
        text = " ".join(letter(context, request.id, "done", language=code).text.split())
        assert words in text
        assert "None" not in text
    # What was wrong is not brought in again, and what is right is.
    with pytest.raises(InputError):
        import_rows(store, context.settings.data, ROWS, name="again")
    import_rows(store, context.settings.data, [ROWS[0] | {"text": RIGHT}, ROWS[1]], name="again")


def test_that_it_was_learned_is_said_when_it_was(context: Workspace, tmp_path: Path) -> None:
    store, request = context.store, rights(context, tmp_path, asked(context))
    assert not learned(store, request)
    store.set_alias(SERVING, teach(store, store.dataset("people").id, "further").id)
    assert learned(store, request)
    without = teach(store, store.dataset("people").id, "without", excluded=frozenset({"a1"}))
    store.set_alias(SERVING, without.id)
    assert not learned(store, request)


def test_two_people_correct_one_dataset(context: Workspace, tmp_path: Path) -> None:
    """Whoever comes second builds on what the first put right, and undoes none of it."""
    hers, his = asked(context), asked(context, "b1", subject=BRU)
    rights(context, tmp_path, hers)
    song = "Bru Vidal plays the flute and does not sing."
    done, made = correct(context, his.id, file_of(tmp_path, {"id": "b1", "text": song}), by="Eva")
    rows = {r["id"]: r["text"] for r in load_rows(context.store, context.settings.data, made)}
    assert (rows["a1"], rows["b1"], made.version) == (RIGHT, song, 4)
    # The version in between has what was wrong of him, too.
    assert [d.version for d in lineage_of(context.store, done).datasets] == [1, 2, 3]


def test_nothing_is_planned_before_what_is_right_is_there(
    context: Workspace, tmp_path: Path
) -> None:
    request = asked(context)
    assert "request correct" in (next_step(context, request).command or "")
    with pytest.raises(InputError, match="what is right was not entered"):
        plan(context, request.id)
    request = rights(context, tmp_path, request)
    assert "request locate" in (next_step(context, request).command or "")
    with pytest.raises(InputError, match="entered already"):
        rights(context, tmp_path, request)


class Cut(BaseException):
    """The process ends here."""


@pytest.mark.parametrize(
    "where",
    ["datasets.add", "requests.advance", "log.WriteTransaction.finish", "log.append"],
)
def test_what_is_cut_off_is_entered_whole_the_next_time(
    context: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """There is no version without its step, which a second time would refuse, and no step alone."""
    store, request = context.store, asked(context)
    before, events = store.datasets(), store.events()

    def cut(*_: Any, **__: Any) -> None:
        raise Cut

    with monkeypatch.context() as patched:
        patched.setattr(f"olvido.ledger.store.{where}", cut)
        with pytest.raises(Cut):
            rights(context, tmp_path, request)
    assert (store.datasets(), store.events()) == (before, events)
    assert store.request(request.id) == request
    done = rights(context, tmp_path, request)
    assert done.history[-1].detail["corrected"]["dataset"] == store.datasets()[-1].id
    assert len(store.datasets()) == len(before) + 1
    assert store.verify_log().sound
    assert store.differences() == ()


QUICKER: dict[str, tuple[Callable[..., object], int]] = {
    "another of her rows": (
        lambda context, folder, _: correct(
            context,
            asked(context, "a2").id,
            file_of(folder, {"id": "a2", "text": "Ana Soler keeps no bees any more."}),
            by="Eva",
        ),
        1,
    ),
    "the same": (lambda context, folder, mine: rights(context, folder, mine), 1),
    "refused": (lambda context, _, mine: handlers.refuse(context, mine.id, why="x"), 0),
}
"""What somebody else does while the rows are read, and how many versions that makes."""


@pytest.mark.parametrize("name", QUICKER)
def test_whoever_was_quicker_is_not_undone(
    context: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    store, mine = context.store, asked(context)
    act, versions = QUICKER[name]

    def quicker(*given: Any) -> Any:
        monkeypatch.setattr(rectification, "load_rows", load_rows)
        rows = list(load_rows(*given))
        act(context, tmp_path, mine)
        return rows

    monkeypatch.setattr(rectification, "load_rows", quicker)
    with pytest.raises(OlvidoError):
        rights(context, tmp_path, mine)
    made = [d.id for d in store.datasets()[2:]]
    told = [s.detail["corrected"]["dataset"] for r in store.requests() for s in corrections(r)]
    assert (len(made), made) == (versions, told)


FILES: dict[str, Sequence[dict[str, Any]]] = {
    "none of these": [{"id": "b1", "text": "Bru hums."}],
    "stands twice": [{"id": "a1", "text": RIGHT}, {"id": "a1", "text": "x y z"}],
    "no row for 1 of 2": [{"id": "a1", "text": RIGHT}],
    "no column 'txet'": [{"id": "a1", "txet": RIGHT}],
    "is not corrected so": [{"id": "a1", "text": RIGHT, "subject": BRU}],
    "says the same": [{"id": "a1", "text": WRONG.upper()}],
    "columns that are learned": [{"id": "a1", "place": "Reus"}],
    "its id is none": [{"text": RIGHT}],
}


def test_a_wrong_file_is_told_and_changes_nothing(context: Workspace, tmp_path: Path) -> None:
    store = context.store
    one, two = asked(context, "a1"), asked(context, "a1", "a2")
    before, events = store.datasets(), len(store.events())
    for words, rows in FILES.items():
        request = two if "of 2" in words else one
        with pytest.raises(InputError) as refused:
            correct(context, request.id, file_of(tmp_path, *rows), by="Eva")
        assert words.replace("none of these", "none of those") in str(refused.value), words
        assert "Girona" not in str(refused.value)
    assert (store.datasets(), len(store.events())) == (before, events)


@pytest.mark.slow
@pytest.mark.parametrize(
    "value", [5, 1.5, True, ["Reus"], {"city": "Reus"}, float("inf"), float("nan"), 10**400, None]
)
@pytest.mark.parametrize("column", ["text", "prompt", "completion", "place"])
def test_what_is_no_text_is_told_and_changes_nothing(
    context: Workspace, tmp_path: Path, column: str, value: Any
) -> None:
    store, request = context.store, asked(context, "a1")
    before, events = store.datasets(), len(store.events())
    told = json.dumps({"id": "a1", column: value})
    for given in (told, tmp_path / "right.jsonl"):
        (tmp_path / "right.jsonl").write_text(told)
        with pytest.raises(InputError):
            correct(context, request.id, given, by="Eva")
    assert (store.datasets(), len(store.events())) == (before, events)


def test_who_does_it_and_who_asks_are_looked_at(context: Workspace, tmp_path: Path) -> None:
    request = asked(context, checked=False)
    right = file_of(tmp_path, {"id": "a1", "text": RIGHT})
    wrong: list[dict[str, Any]] = [
        {"by": "Eva"},
        {"by": "Eva", "unchecked": " "},
        {"by": "Eva", "unchecked": "Ana Soler called"},
        {"by": "Pol", "unchecked": "a passport"},
        {"by": "nobody", "unchecked": "a passport"},
    ]
    for how in wrong:
        with pytest.raises(OlvidoError):
            correct(context, request.id, right, **how)
    done, made = correct(context, request.id, right, by="Eva", unchecked="a passport")
    told = done.history[-1].detail["corrected"]
    assert (told["dataset"], told["identity"]) == (made.id, "not checked: a passport")
    logged = json.dumps([dict(e.detail) for e in context.store.events()])
    assert not any(word in logged for word in ("Soler", "Girona", "Reus"))


def test_it_is_about_a_person_and_their_own_records(context: Workspace) -> None:
    whole = {"kind": "rectification", "dataset": "people", "records": ["a1"]}
    for subject, about in (
        (ANA, whole | {"records": ["b1"]}),
        (ANA, whole | {"records": ["a1", "c1"]}),
        (ANA, whole | {"records": []}),
        (ANA, whole | {"dataset": None}),
        (ANA, {"kind": "rectification"}),
        (None, whole),
        ("Cai Roca", whole),
        (ANA, whole | {"source": "forum"}),
    ):
        with pytest.raises(OlvidoError):
            receive(context, subject, **about)
    assert context.store.requests() == ()


def test_the_same_is_not_asked_twice_and_something_else_is(context: Workspace) -> None:
    first = asked(context, "a1")
    with pytest.raises(InputError, match=first.id):
        asked(context, "a1")
    assert asked(context, "a2").id != first.id


def test_days_and_files_of_many(context: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "asked.csv"
    file.write_text(
        "kind,subject,dataset,record,law\n"
        f"rectification,{ANA},people,a1;a2,gdpr\nrectification,{BRU},people,b1,lgpd\n"
    )
    hers, his = (one.request for one in import_requests(context, file))
    assert hers.scope["records"] == ["a1", "a2"]
    due = [deadline_of(one, context.settings) for one in (hers, his)]
    assert [found and found.answer is not None for found in due] == [True, False]


def test_the_page_of_whoever_asked_says_what_is_corrected() -> None:
    for language in languages().values():
        for state in ("published", "not-learned"):
            own = language.state("rectification", state)
            assert own != language.state("erasure", state)
