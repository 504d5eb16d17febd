"""Lists of hashed identifiers: whoever is on them is asked for, once, and in the law's days."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from olvido.data.importing import import_rows
from olvido.errors import InputError
from olvido.ledger.identity import Key
from olvido.ledger.store import Store
from olvido.requests.handlers import StoreContext
from olvido.requests.retention.drop import fetching, take
from olvido.requests.rights.deadlines import deadline_of
from olvido.requests.scope import lineage_of
from olvido.settings import Settings

ROWS = [
    {"id": "a1", "text": "Ana sings.", "subject": "Ana Soler", "mail": "Ana@example.org "},
    {"id": "a2", "text": "Ana swims.", "subject": "Ana Soler"},
    {"id": "b", "text": "Bru swims.", "subject": "Bru Vidal", "mail": "bru@example.org"},
    {"id": "c", "text": "A club.", "subject": "Ana Soler; Bru Vidal", "mail": "club@example.org"},
    {"id": "d", "text": "A shop.", "mail": "shop@example.org"},
]


@pytest.fixture
def front(tmp_path: Path) -> Iterator[StoreContext]:
    place = Settings.load(tmp_path / "workspace", environment={})
    with Store.create(place.ledger, key=Key.create(place.key)) as store:
        import_rows(store, place.data, ROWS, name="people")
        yield StoreContext(store, place)


def listed(folder: Path, *identifiers: str) -> Path:
    """A list as a platform would make it: by the standard library alone."""
    lines = [hashlib.sha256(one.encode()).hexdigest() for one in identifiers]
    (folder / "list.csv").write_text("\n".join(["sha256", *lines]) + "\n")
    return folder / "list.csv"


def test_whoever_is_on_it_is_asked_for_once_with_all_records(
    front: StoreContext, tmp_path: Path
) -> None:
    path = listed(tmp_path, "ana@example.org", "nobody@example.org")
    taken = take(front, path, hashes="sha256", column="mail", fetched=date(2026, 11, 2))
    assert (taken.hashes, taken.found, taken.asked, taken.unclear) == (2, 1, 0, ())
    (request,) = taken.requests
    assert {r.id for r in lineage_of(front.store, request).records} == {"a1", "a2", "c"}
    due = deadline_of(request, front.settings)
    # Forty-five days from the day on which it was fetched.
    assert due is not None
    assert (request.law, due.answer) == ("drop", date(2026, 12, 17))
    again = take(front, path, hashes="sha256", column="mail", fetched=date(2026, 11, 2))
    assert (again.requests, again.asked) == ((), 1)
    assert len(front.store.requests()) == 1


def test_the_next_list_is_due_in_the_laws_days(front: StoreContext, tmp_path: Path) -> None:
    assert fetching(front) is None
    path = listed(tmp_path, "nobody@example.org")
    for day in (date(2026, 11, 2), date(2026, 9, 1)):
        take(front, path, hashes="sha256", column="mail", fetched=day)
    said = fetching(front)
    assert said is not None
    assert (said["fetched"], said["next"]) == ("2026-11-02", "2026-12-17")
    # No hash is kept: those of e-mail addresses can be guessed.
    kept = str([entry.detail for entry in front.store.events()])
    assert hashlib.sha256(b"nobody@example.org").hexdigest() not in kept


def test_what_is_about_nobody_or_several_people_is_told_and_not_asked(
    front: StoreContext, tmp_path: Path
) -> None:
    path = listed(tmp_path, "club@example.org", "shop@example.org")
    taken = take(front, path, hashes="sha256", column="mail")
    assert {identifier for _, identifier in taken.unclear} == {"c", "d"}
    assert (taken.found, taken.requests) == (2, ())


@pytest.mark.parametrize(
    ("text", "hashes", "column", "words"),
    [
        ("sha256\nabc\n" + "0" * 64 + "\n", "sha256", "mail", "lines 2"),
        ("sha256\n" + "0" * 64 + "\n", "hash", "mail", "no column 'hash'; there are sha256"),
        ("sha256\n" + "0" * 64 + "\n", "sha256", "email", "no row of any dataset"),
        ("sha256\n", "sha256", "mail", "has no rows"),
    ],
)
def test_a_wrong_list_enters_nothing(
    front: StoreContext, tmp_path: Path, text: str, hashes: str, column: str, words: str
) -> None:
    (tmp_path / "list.csv").write_text(text)
    before = front.store.events()
    with pytest.raises(InputError) as refused:
        take(front, tmp_path / "list.csv", hashes=hashes, column=column)
    assert words in str(refused.value)
    assert front.store.events() == before


def test_a_list_from_the_future_is_refused(front: StoreContext, tmp_path: Path) -> None:
    path = listed(tmp_path, "ana@example.org")
    with pytest.raises(InputError, match="future"):
        take(front, path, hashes="sha256", column="mail", fetched=date(2999, 1, 1))
    assert front.store.requests() == ()
