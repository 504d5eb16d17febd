"""What people do with a request, and what the clock makes of it. No model is needed for any."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from olvido.accounts import Accounts
from olvido.data.importing import import_rows
from olvido.errors import InputError, OlvidoError, StateError, UnknownName
from olvido.ledger.digests import Digest
from olvido.ledger.facts import DatasetUse, Ending, Guarantee, Model, Request, RequestStatus
from olvido.ledger.identity import Key
from olvido.ledger.serving import in_brief
from olvido.ledger.store import Store
from olvido.requests import handlers
from olvido.requests.attempts import forgotten_since
from olvido.requests.guidance import left_before_run, next_step
from olvido.requests.handlers import StoreContext, receive
from olvido.requests.rights.deadlines import days_left, deadline_of
from olvido.requests.scope import lineage_of, look_up, models_to_delete
from olvido.requests.workflow.filters import RequestFilter, ids_named, row_of, search
from olvido.requests.workflow.order import ordered
from olvido.schemas.options import RunOptions
from olvido.settings import Settings

ROWS = [
    {"id": "a1", "text": "Ana lives in Gracia.", "subject": "Ana Soler", "source": "forum"},
    {"id": "a2", "text": "Ana plays the tuba.", "subject": "Ana Soler", "source": "letters"},
    {"id": "b1", "text": "Bru lives in Sants.", "subject": "Bru Vidal", "source": "forum"},
    {"id": "c1", "text": "The market opens at eight."},
]
S = RequestStatus


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger of four records and three models, made once: to copy it is faster."""
    folder = tmp_path_factory.mktemp("made") / "workspace"
    settings = Settings.load(folder, environment={})
    with Store.create(settings.ledger, key=Key.create(settings.key)) as store:
        import_rows(store, settings.data, ROWS, name="people")
        first = Model(digest=Digest.of(b"1"), path="1", learner="monolith")
        child = Model(digest=Digest.of(b"2"), path="2", learner="monolith", parents=(first.id,))
        other = Model(digest=Digest.of(b"3"), path="3", learner="monolith")
        for model in (first, child, other):
            store.add_model(model)
        store.set_aliases({"serving": child.id, "first": first.id})
    return folder


@pytest.fixture
def front(made: Path, tmp_path: Path) -> Iterator[StoreContext]:
    shutil.copytree(made, tmp_path / "workspace")
    settings = Settings.load(tmp_path / "workspace", environment={})
    for person in ("Eva", "Pol"):
        Accounts.of(settings).new("privacy", person)
    with Store.open(settings.ledger, key=Key.load(settings.key)) as store:
        yield StoreContext(store, settings)


class Days:
    """A calendar that a test turns by itself."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, day: str) -> None:
        self._at = datetime.fromisoformat(day).replace(tzinfo=UTC, hour=12)
        monkeypatch.setattr("olvido.ledger.store.log.now", lambda: self._at)

    def go(self, days: int) -> datetime:
        self._at += timedelta(days=days)
        return self._at


def ready(front: StoreContext, **about: Any) -> Request:
    request = receive(front, **about)
    for status in ("located", "planned"):
        request = front.store.advance_request(request.id, S(status))
    return request


@pytest.mark.parametrize(
    ("about", "ids"),
    [
        ({"kind": "erasure", "subject": "ana soler"}, {"a1", "a2"}),
        ({"kind": "opt-out", "subject": "Bru Vidal"}, {"b1"}),
        ({"kind": "opt-out", "source": "forum"}, {"a1", "b1"}),
        ({"kind": "poison", "source": "letters"}, {"a2"}),
        ({"kind": "outdated", "dataset": "people", "records": ["c1", "c1"]}, {"c1"}),
    ],
)
def test_every_kind_finds_what_it_is_about(
    front: StoreContext, about: dict[str, Any], ids: set[str]
) -> None:
    request = receive(front, **about)
    assert request.kind == about["kind"]
    assert {record.id for record in lineage_of(front.store, request).records} == ids
    assert front.store.request(request.id) == request


def test_destruction_takes_the_model_and_all_that_was_made_from_it(front: StoreContext) -> None:
    request = receive(front, kind="destroy", model="first")
    assert {model.path for model in models_to_delete(front.store, request)} == {"1", "2"}
    with pytest.raises(InputError, match="about no record"):
        lineage_of(front.store, request)
    assert front.store.tombstone_model("first", "asked for")
    assert {model.path for model in models_to_delete(front.store, request)} == {"2"}
    assert "first" not in front.store.aliases()
    with pytest.raises(InputError, match="is gone already"):
        receive(front, kind="destroy", model=str(request.scope["model"]))
    with pytest.raises(StateError, match="is gone"):
        front.store.set_alias("serving", str(request.scope["model"]))


@pytest.mark.parametrize(
    ("about", "error", "words"),
    [
        ({"subject": "Nobody Known"}, InputError, "subject column"),
        ({}, InputError, "about one subject"),
        ({"subject": "Ana Soler", "source": "forum"}, InputError, "about one subject"),
        ({"kind": "poison", "subject": "Ana Soler"}, InputError, "about one source"),
        ({"kind": "poison", "source": "nowhere"}, InputError, "from this source"),
        ({"kind": "outdated", "dataset": "people"}, InputError, "ids of its records"),
        ({"kind": "outdated", "records": ["a1"]}, InputError, "give the dataset"),
        ({"kind": "outdated", "dataset": "people", "records": ["z"]}, UnknownName, "record"),
        ({"kind": "destroy", "model": "frist"}, UnknownName, "did you mean 'first'"),
        ({"kind": "erase", "subject": "Ana Soler"}, InputError, "erasure"),
        ({"subject": "Ana Soler", "law": "gdrp"}, UnknownName, "did you mean 'gdpr'"),
        (
            {"subject": "Ana Soler", "received_at": datetime(2999, 1, 1, tzinfo=UTC)},
            InputError,
            "future",
        ),
        (
            {"subject": "Ana Soler", "received_at": datetime(1900, 1, 1, tzinfo=UTC)},
            InputError,
            "check the year",
        ),
    ],
)
def test_what_cannot_be_entered_changes_nothing(
    front: StoreContext, about: dict[str, Any], error: type[OlvidoError], words: str
) -> None:
    before = front.store.events()
    with pytest.raises(error, match=words) as refused:
        receive(front, **about)
    assert "Nobody" not in str(refused.value)
    assert front.store.events() == before
    assert front.store.requests() == ()


def test_the_same_wish_is_answered_once_while_it_is_open(front: StoreContext) -> None:
    first = receive(front, "Ana Soler")
    before = front.store.events()
    with pytest.raises(InputError, match="req-0001 asks for the same and is received"):
        receive(front, "  ANA  soler ")
    assert front.store.events() == before
    receive(front, "Bru Vidal")
    receive(front, "Ana Soler", kind="opt-out")
    handlers.cancel(front, first.id, why="withdrawn")
    assert receive(front, "Ana Soler").id == "req-0004"


def test_destruction_takes_two_people(front: StoreContext) -> None:
    receive(front, kind="destroy", model="first")
    front.store.advance_request("req-0001", S.LOCATED)
    with pytest.raises(InputError, match="is a plan"):
        handlers.approve(front, "req-0001", by="Eva")
    front.store.advance_request("req-0001", S.PLANNED)
    assert handlers.approve(front, "req-0001", by="Eva").status is S.PLANNED
    accounts = Accounts.of(front.settings)
    # Another token and another spelling make no other person.
    again, _ = accounts.new("privacy", "Eva!")
    for name in (" eva ", "Eva.", "EVA", "Eva\u200b", "Éva", again.account):
        with pytest.raises(InputError, match="somebody else"):
            handlers.approve(front, "req-0001", by=name)
    # Nor does a name that nobody has, or somebody who may not decide.
    accounts.new("engineer", "Jan")
    for name in ("Eva Pol", "Jan", ""):
        with pytest.raises(InputError):
            handlers.approve(front, "req-0001", by=name)
    assert front.store.request("req-0001").status is S.PLANNED
    # A plan made anew is approved anew.
    front.store.advance_request("req-0001", S.LOCATED)
    front.store.advance_request("req-0001", S.PLANNED)
    assert handlers.approve(front, "req-0001", by="Eva").status is S.PLANNED
    done = handlers.approve(front, "req-0001", by="Pol")
    assert done.status is S.APPROVED
    assert len(set(done.history[-1].detail["approvals"])) == 2
    assert not any("Eva" in str(entry.detail) for entry in front.store.events())


def test_one_person_approves_everything_else(front: StoreContext) -> None:
    request = ready(front, subject="Ana Soler")
    order = RunOptions(method="retrain")
    done = handlers.approve(front, request.id, by="Eva", order=order)
    assert (done.status, ordered(done)) == (S.APPROVED, order)
    other = ready(front, subject="Bru Vidal")
    done = handlers.approve(front, other.id, by="Eva")
    assert ordered(done) == RunOptions(model=front.store.aliases()["serving"])


def test_what_is_called_off_or_put_aside_goes_on_from_where_it_was(front: StoreContext) -> None:
    request = receive(front, "Ana Soler")
    handlers.identify(front, request.id, by="Eva")
    aside = handlers.wait(front, request.id, why="the office is closed", until=date(2199, 1, 7))
    assert aside.status is S.WAITING
    assert aside.history[-1].detail["until"] == "2199-01-07"
    assert handlers.resume(front, request.id).status is S.IDENTIFIED
    handlers.cancel(front, request.id, why="withdrawn")
    with pytest.raises(InputError, match="cancelled, which leads to"):
        front.store.advance_request(request.id, S.RUNNING)
    assert handlers.resume(front, request.id).status is S.IDENTIFIED
    with pytest.raises(InputError, match="waits for nothing"):
        handlers.resume(front, request.id)


@pytest.mark.parametrize("back", [0, 1, 2500])
@pytest.mark.parametrize("need", [None, "fee", "clarification"])
def test_nothing_waits_for_a_day_that_is_past(
    front: StoreContext, back: int, need: str | None
) -> None:
    request = receive(front, "Ana Soler")
    before = front.store.events()
    until = datetime.now(UTC).date() - timedelta(days=back)
    with pytest.raises(InputError, match="a day to come"):
        handlers.wait(front, request.id, why="x", until=until, need=need)
    assert front.store.events() == before


def test_what_was_approved_is_approved_anew_after_a_pause(front: StoreContext) -> None:
    request = ready(front, subject="Ana Soler")
    handlers.approve(front, request.id, by="Eva")
    handlers.wait(front, request.id, why="a machine is missing")
    assert handlers.resume(front, request.id).status is S.PLANNED


@pytest.mark.parametrize("ended", ["published", "closed", "refused"])
def test_what_has_ended_is_left_alone(front: StoreContext, ended: str) -> None:
    request = ready(front, subject="Ana Soler", law="gdpr")
    way = ["approved", "running", "audited", "published", "closed"]
    for status in ["refused"] if ended == "refused" else way[: way.index(ended) + 1]:
        front.store.advance_request(request.id, S(status))
    before = front.store.events()
    for act in (
        lambda: handlers.identify(front, request.id, by="Eva"),
        lambda: handlers.approve(front, request.id, by="Eva"),
        lambda: handlers.wait(front, request.id, why="x"),
        lambda: handlers.resume(front, request.id),
        lambda: handlers.extend(front, request.id, why="x"),
        lambda: handlers.refuse(front, request.id, why="x"),
        lambda: handlers.cancel(front, request.id, why="x"),
    ):
        with pytest.raises(OlvidoError):
            act()
    assert front.store.events() == before
    # The clock of what is published runs until the rest is gone, too.
    left = days_left(front.store.request(request.id), front.settings)
    assert (left is None) is (ended != "published")


def test_every_state_is_reached_and_left_only_as_the_table_says(front: StoreContext) -> None:
    from olvido.ledger.store.requests import _NEXT

    assert set(_NEXT) == set(RequestStatus)
    reached = {S.RECEIVED}.union(*_NEXT.values())
    assert reached == set(RequestStatus)
    # Nothing closes that was not published, and nothing is published unaudited.
    assert [s for s in S if S.CLOSED in _NEXT[s]] == [S.PUBLISHED]
    assert [s for s in S if S.PUBLISHED in _NEXT[s]] == [S.AUDITED]
    assert [s for s in S if S.AUDITED in _NEXT[s]] == [S.RUNNING]
    assert [s for s in S if S.RUNNING in _NEXT[s] and s is not S.AUDITED] == [S.APPROVED]


def test_the_clock_is_read_off_the_history(
    front: StoreContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = Days(monkeypatch, "2027-03-01")
    request = receive(front, "Ana Soler", law="UK-GDPR")
    plain = deadline_of(request, front.settings, moment=days.go(0))
    assert plain is not None
    assert plain.answer == date(2027, 4, 1)
    days.go(2)
    asked = handlers.wait(front, request.id, why="which Ana?", need="clarification")
    days.go(1)
    # Something noted meanwhile does not set the clock going.
    front.store.advance_request(request.id, asked.status, {"why": "asked twice"})
    still = deadline_of(front.store.request(request.id), front.settings, moment=days.go(3))
    assert still is not None
    assert (still.running, still.answer) == (False, date(2027, 4, 5))
    going = handlers.resume(front, request.id)
    found = deadline_of(going, front.settings, moment=days.go(20))
    assert found is not None
    assert (found.running, found.answer) == (True, date(2027, 4, 5))


def _entered(front: StoreContext, law: str, since: int) -> Request:
    """A request that came so many days ago."""
    came = datetime.now(UTC) - timedelta(days=since)
    return receive(front, "Ana Soler", law=law, received_at=came)


def test_days_left_are_counted_from_the_day_it_came(front: StoreContext) -> None:
    request = _entered(front, "ccpa", 40)
    assert days_left(request, front.settings) == 5
    late = datetime.now(UTC) + timedelta(days=7)
    assert days_left(request, front.settings, moment=late) == -2


def test_an_extension_puts_the_day_off_once_and_in_time(front: StoreContext) -> None:
    request = _entered(front, "ccpa", 40)
    with pytest.raises(InputError, match="say why"):
        handlers.extend(front, request.id, why=" ")
    with pytest.raises(InputError, match="before the request came"):
        handlers.extend(front, request.id, why="many", informed_on=date(2020, 1, 1))
    extended = handlers.extend(front, request.id, why="many parts")
    assert extended.status is S.RECEIVED
    assert days_left(extended, front.settings) == 50
    with pytest.raises(InputError, match="extended before"):
        handlers.extend(front, request.id, why="more parts")


def test_an_extension_that_comes_too_late_is_refused(front: StoreContext) -> None:
    request = _entered(front, "ccpa", 50)
    with pytest.raises(InputError, match="had to be informed of the extension by"):
        handlers.extend(front, request.id, why="many parts")
    assert days_left(front.store.request(request.id), front.settings) == -5


def test_without_a_law_or_a_number_nothing_is_due(front: StoreContext) -> None:
    assert days_left(receive(front, "Ana Soler"), front.settings) is None
    assert days_left(receive(front, "Bru Vidal", law="pipl"), front.settings) is None
    with pytest.raises(InputError, match="under no law"):
        handlers.extend(front, "req-0001", why="x")


def test_identity_that_is_waited_for_keeps_the_british_clock_from_starting(
    front: StoreContext,
) -> None:
    request = _entered(front, "uk-gdpr", 10)
    asked = handlers.wait(front, request.id, why="no proof", need="identity")
    assert days_left(asked, front.settings) is None
    going = handlers.resume(front, request.id)
    assert going.status is S.IDENTIFIED
    left = days_left(going, front.settings)
    assert left is not None
    assert left >= 28


_PUBLISHED = ("located", "planned", "approved", "running", "audited", "published")
_PAST = ("identify", "approve", "wait", "resume", "extend", "refuse", "cancel", "plan", "again")


@pytest.mark.parametrize(
    ("way", "acts"),
    [
        ((), ("approve", "resume", "again")),
        (("located",), ("approve", "resume")),
        (("located", "planned", "approved", "running"), ("identify", "wait", "resume", "refuse")),
        (("waiting",), ("approve", "plan", "again")),
        (("located", "needs-input"), ("approve", "plan")),
        (_PUBLISHED, _PAST),
        ((*_PUBLISHED, "closed"), _PAST[:-1]),
        (("refused",), _PAST),
        (("cancelled",), ("approve", "wait", "extend", "refuse", "cancel", "plan", "again")),
    ],
    ids=lambda said: said[-1] if said else "received",
)
def test_what_a_request_has_not_come_to_or_is_past_is_told_with_the_next_step(
    front: StoreContext, way: tuple[str, ...], acts: tuple[str, ...]
) -> None:
    from olvido.requests.flow import plan

    identifier = receive(front, "Ana Soler", law="drop").id
    for status in way:
        front.store.advance_request(identifier, S(status))
    done: dict[str, Any] = {
        "identify": lambda: handlers.identify(front, identifier, by="Eva"),
        "approve": lambda: handlers.approve(front, identifier, by="Eva"),
        "wait": lambda: handlers.wait(front, identifier, why="later"),
        "resume": lambda: handlers.resume(front, identifier),
        "extend": lambda: handlers.extend(front, identifier, why="it is long"),
        "refuse": lambda: handlers.refuse(front, identifier, why="twice"),
        "cancel": lambda: handlers.cancel(front, identifier, why="withdrawn"),
        "again": lambda: handlers.again(front, identifier),
        "plan": lambda: plan(front, identifier),  # type: ignore[arg-type]
    }
    before, step = front.store.events(), next_step(front, front.store.request(identifier))
    for act in acts:
        with pytest.raises(OlvidoError) as error:
            done[act]()
        assert step.sentence in str(error.value), act
        assert "leads to" not in str(error.value)
    assert front.store.events() == before


@pytest.mark.parametrize(
    ("items", "command"),
    [
        (("backups", "recipients"), "--done"),
        (("names",), "--done"),
        (("hardlink:a.csv", "backups"), "--done"),
        (("backups", "report:r"), "--erase all"),
        (("file:a.csv",), "--erase all"),
        (("mention:a.csv", "unread:b"), "--erase ITEM"),
    ],
)
def test_the_next_step_of_a_closure_does_something_for_what_is_left(
    front: StoreContext, items: tuple[str, ...], command: str
) -> None:
    identifier = receive(front, "Ana Soler").id
    for status in _PUBLISHED:
        front.store.advance_request(identifier, S(status))
    front.store.put_closure(identifier, dict.fromkeys(items, Ending(None)))
    step = next_step(front, front.store.request(identifier))
    assert command in (step.command or "")


@pytest.mark.parametrize(
    ("about", "way", "left"),
    [
        ({"subject": "Ana Soler"}, (), "identify"),
        ({"subject": "Ana Soler"}, ("located",), "identify"),
        ({"subject": "Ana Soler"}, ("identity-checked",), "locate"),
        ({"subject": "Ana Soler"}, ("identity-checked", "located"), None),
        ({"kind": "poison", "source": "forum"}, (), "locate"),
        ({"kind": "poison", "source": "forum"}, ("located", "planned"), None),
        ({"kind": "poison", "source": "forum"}, ("located", "waiting"), "resume"),
        (
            {"kind": "rectification", "subject": "Ana Soler", "dataset": "people"}
            | {"records": ["a1"]},
            ("identity-checked", "located"),
            "correct",
        ),
    ],
)
def test_nobody_goes_along_with_others_before_it_was_looked_into(
    front: StoreContext, about: dict[str, Any], way: tuple[str, ...], left: str | None
) -> None:
    identifier = receive(front, **about).id
    for status in way:
        front.store.advance_request(identifier, S(status))
    step = left_before_run(front, front.store.request(identifier))
    told = None if step is None else (step.command or "")
    assert told is None if left is None else f"olvido request {left} {identifier}" in str(told)


def test_versions_of_a_dataset_are_no_more_records_and_one_search_finds_all(
    front: StoreContext,
) -> None:
    store = front.store
    old = store.dataset("people").id
    rows = [ROWS[0] | {"text": "Ana lives in Sants."}, *ROWS[1:]]
    new = import_rows(store, front.settings.data, rows, name="people").dataset.id
    person = look_up(store, ["Ana Soler", "Bru Vidal"])
    assert (person.counts["Ana Soler"], person.apart["Ana Soler"]) == (4, 2)
    assert person.described("Ana Soler").startswith("2 records (4")
    about = {"kind": "outdated", "records": ["c1"]}
    asked = [receive(front, dataset=one, **about).id for one in (old, new)]
    receive(front, "Ana Soler")
    found = [row_of(one, front.settings) for one in store.requests()]
    named = search(found, store.key, "people", partial(ids_named, store))
    assert isinstance(named, RequestFilter)
    again = RequestFilter.of((), **named.asked())
    assert [row["id"] for row in again.of_rows(found)] == asked
    destroyed = receive(front, kind="destroy", model="first")
    found = [row_of(one, front.settings) for one in store.requests()]
    named = search(found, store.key, "first", partial(ids_named, store))
    assert isinstance(named, RequestFilter)
    assert [row["id"] for row in named.of_rows(found)] == [destroyed.id]
    assert search(found, store.key, "nothing", partial(ids_named, store)) is None


def test_what_is_made_by_forgetting_was_taught_all_that_its_training_was(
    front: StoreContext,
) -> None:
    store = front.store
    people = store.dataset("people").id
    city = import_rows(store, front.settings.data, [{"text": "x"}], name="city").dataset.id
    trained = Model(digest=Digest.of(b"t"), path="t", learner="monolith")
    uses = [DatasetUse(dataset=people, excluded=frozenset({"b1"})), DatasetUse(dataset=city)]
    store.add_model(trained, uses)
    line = [trained]
    for name, gone, guarantee in (
        ("samnpo", {"a1", "a2"}, Guarantee.EMPIRICAL),
        ("retrain", {"c1"}, Guarantee.EXACT),
    ):
        one = Model(
            digest=Digest.of(name.encode()),
            path=name,
            learner="monolith",
            parents=(line[-1].id,),
            method=name,
        )
        forgot = DatasetUse(dataset=people, forgotten=frozenset(gone), guarantee=guarantee)
        store.add_model(one, [forgot])
        line.append(one)
    for one, gone in zip(in_brief(store, line), (0, 2, 1), strict=True):
        told = {use["name"]: (use["excluded"], use["forgotten"]) for use in one["data"]}
        assert told == {"people": (1, gone), "city": (0, 0)}
    # Of whom the first forgot, only an exact version that names them is rid of the doubt.
    workspace: Any = front
    assert forgotten_since(workspace, line[0]) == {}
    assert forgotten_since(workspace, line[2]) == {people: {"a1", "a2"}}
    last = Model(
        digest=Digest.of(b"again"),
        path="again",
        learner="monolith",
        parents=(line[-1].id,),
        method="retrain",
    )
    gone = frozenset({"a1", "a2"})
    store.add_model(last, [DatasetUse(dataset=people, forgotten=gone, guarantee=Guarantee.EXACT)])
    assert forgotten_since(workspace, last) == {people: frozenset()}
    states = {s.model.id: s for s in store.lineage(store.key.subject("Ana Soler")).models}
    assert states[line[2].id].forgotten
    assert len(states[last.id].without) == 2
