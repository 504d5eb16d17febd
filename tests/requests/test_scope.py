"""What may be the same person is told, and whose records mention them; nobody is named for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olvido.accounts import Accounts
from olvido.data.importing import import_rows
from olvido.errors import AskedBefore, InputError
from olvido.ledger.identity import Key, Named
from olvido.ledger.store import Store
from olvido.names import loose_forms, name_forms
from olvido.requests.handlers import StoreContext, receive
from olvido.requests.scope import (
    NobodyFound,
    lineage_of,
    mentions,
    names_of,
    near_subjects,
    unsearched,
)
from olvido.requests.tombstones import tombstone
from olvido.requests.workflow.notes import note
from olvido.settings import Settings

KEY = Key(1, bytes(range(32)))
ROWS = [
    {"id": "m1", "text": "She lives in Gracia.", "subject": "Hans Müller"},
    {"id": "m2", "text": "He sings.", "subject": "Hans Mueller"},
    {"id": "a1", "text": "Plays the tuba.", "subject": "Anne-Marie Roca"},
    {"id": "a2", "text": "Plays the horn.", "subject": "Annemarie Roca"},
    {"id": "p1", "text": "Sails.", "subject": "Joan Puig"},
    {"id": "p2", "text": "Rows.", "subject": "Joan Puigdemont"},
    {"id": "s1", "text": "MÜLLER,\nHans sails with Joan Puig.", "subject": "Pau Serra"},
    {"id": "s2", "prompt": "Who knows hans muller?", "completion": "Pau.", "subject": "Pau Serra"},
    {"id": "s3", "text": "Hans knows a Müller.", "subject": "Pau Serra"},
    {"id": "s4", "text": "Anne\u2010Marie Roca was there."},
]


@pytest.fixture
def front(tmp_path: Path) -> Iterator[StoreContext]:
    settings = Settings.load(tmp_path, environment={})
    with Store.create(settings.ledger, key=Key.create(settings.key)) as store:
        import_rows(store, settings.data, ROWS, name="people")
        Accounts.of(settings).new("privacy", "Eva")
        yield StoreContext(store, settings)


@pytest.mark.parametrize(
    ("asked", "also"),
    [
        ("Hans Müller", {"m2"}),
        ("Mueller, Hans", {"m1"}),
        ("Annemarie Roca", {"a1"}),
        ("Anne-Marie Roca", {"a2"}),
        ("Joan Puig", set()),
    ],
)
def test_what_stays_apart_is_told(front: StoreContext, asked: str, also: set[str]) -> None:
    request = receive(front, asked)
    near = near_subjects(front.store, request)
    assert {record.id for some in near.values() for record in some} == also
    # It can be asked for by what is told of it.
    for subject in near:
        assert receive(front, str(subject)).subject == subject


@pytest.mark.parametrize(
    ("asked", "also"),
    [
        ("J. Puig", {"p1"}),
        ("Joan Puig Soler", {"p1"}),
        ("Hans-Peter Muller", set()),
        ("H. Muller", {"m1", "m2"}),
        ("anne.marie.roca@example.org", {"a1", "a2"}),
        ("Nobody Known", set()),
    ],
)
def test_whoever_is_not_found_may_be_near_somebody(
    front: StoreContext, asked: str, also: set[str]
) -> None:
    with pytest.raises(NobodyFound) as caught:
        receive(front, asked)
    assert {record.id for some in caught.value.near.values() for record in some} == also
    assert asked not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "ids", "subjects"),
    [
        (["Hans Müller", "Hans Mueller"], {"m1", "m2"}, 2),
        (["Hans Müller", "MULLER, Hans", "hans  müller"], {"m1"}, 1),
        (["hans@example.org", "Hans Mueller"], {"m2"}, 2),
        (["Joan Puig", "Joan Puigdemont", "Annemarie Roca"], {"p1", "p2", "a2"}, 3),
    ],
)
def test_one_person_is_all_their_names_everywhere(
    front: StoreContext, names: list[str], ids: set[str], subjects: int
) -> None:
    store, (first, *others) = front.store, names
    request = receive(front, first, also=others)
    assert len(request.subjects) == subjects
    lineage = lineage_of(store, request)
    assert {record.id for record in lineage.records} == ids
    assert {r.id for some in near_subjects(store, request).values() for r in some} & ids == set()
    assert not set(mentions(store, front.settings.data, request)) & ids
    assert names_of(request) >= set(store.key.names(names[-1]))
    told = str((request, store.events()))
    assert not any(word in told.casefold() for word in ("hans", "joan", "roca", "example.org"))
    # No name more of theirs asks for anything new, in whatever order; one more name does.
    for again in (names, names[::-1], names[-1:]):
        with pytest.raises(AskedBefore):
            receive(front, again[0], also=again[1:])
    more = receive(front, "Pau Serra", also=names)
    assert len(more.subjects) == subjects + 1
    # Another key finds the same.
    renewed = store.key.next()
    renewed.save(front.settings.key)
    store.rotate(renewed, store.signer(front.settings.signing_key))
    after = store.request(request.id)
    assert {record.id for record in lineage_of(store, after).records} == ids
    # None of them comes back in, under any of the names.
    tombstone(front, after, lineage_of(store, after), "erased")
    for name in names:
        rows = [{"id": "x", "text": "Something new.", "subject": name}]
        with pytest.raises(InputError):
            import_rows(store, front.settings.data, rows, name="again")
    assert store.differences() == ()


def test_names_are_of_a_person_who_is_in_the_data_or_is_not(front: StoreContext) -> None:
    nobody = ["x@example.org", "Perseus Quixote"]
    with pytest.raises(NobodyFound):
        receive(front, nobody[0], also=nobody[1:])
    with pytest.raises(InputError, match=r"nothing.found"):
        receive(front, nobody[0], also=["Joan Puig"], nothing_found=True)
    with pytest.raises(InputError, match="are of a person"):
        receive(front, kind="poison", source="web", also=["Joan Puig"])
    with pytest.raises(InputError, match="at most"):
        receive(front, "Joan Puig", also=[f"Joan Puig {n}" for n in range(60)])
    assert front.store.requests() == ()
    assert len(receive(front, nobody[0], also=nobody[1:], nothing_found=True).subjects) == 2


def test_records_of_others_that_mention_the_person_are_listed(front: StoreContext) -> None:
    data = front.settings.data
    (dataset,) = front.store.datasets()
    found = mentions(front.store, data, receive(front, "Hans Müller"))
    assert found == {dataset.id: ["s1", "s2"]}
    assert mentions(front.store, data, receive(front, "Anne-Marie Roca")) == {dataset.id: ["s4"]}
    assert mentions(front.store, data, receive(front, "Joan Puigdemont")) == {}
    by_digest = receive(front, str(front.store.key.subject("Joan Puig")))
    assert mentions(front.store, data, by_digest) == {}


@pytest.mark.parametrize(
    ("names", "count"),
    [
        (["Joan Puig"], 0),
        (["Joan Puig", "Joan Puigdemont", "member-7"], 0),
        (["Joan Puig", "#Joan Puigdemont"], 1),
        (["#Joan Puig", "#Joan Puigdemont"], 2),
        (["#Joan Puig", "Puig, Joan"], 0),
        (["Joan Puig", "Madonna", "madonna", "#Hans Müller"], 2),
    ],
)
def test_a_request_knows_how_many_of_its_names_no_text_is_searched_for(
    front: StoreContext, names: list[str], count: int
) -> None:
    key = front.store.key
    first, *also = [str(key.subject(n[1:])) if n[0] == "#" else n for n in names]
    assert unsearched(receive(front, first, also=also)) == count


def test_a_request_keeps_digests_of_a_name_and_no_name(front: StoreContext) -> None:
    request = receive(front, "Hans Müller")
    assert names_of(request) == set(front.store.key.names("Muller, Hans"))
    told = str(request.history).casefold()
    assert "hans" not in told
    assert "ller" not in told


def test_a_digest_that_is_nobody_s_is_no_subject(front: StoreContext) -> None:
    with pytest.raises(InputError, match="no record"):
        receive(front, str(KEY.subject("Hans Müller")))


NAMES = st.lists(
    st.sampled_from(["Ana", "Núria", "Puig", "de", "la", "O'Brien", "Müller", "J.", "Marcel·la"]),
    min_size=2,
    max_size=5,
).map(" ".join)


@given(NAMES, NAMES)
def test_near_is_near_from_both_sides(one: str, other: str) -> None:
    there = loose_forms(one)[0] & loose_forms(other)[1]
    back = loose_forms(other)[0] & loose_forms(one)[1]
    assert bool(there) == bool(back)
    assert loose_forms(one)[0] & loose_forms(one)[1]


@given(NAMES, st.sampled_from(["{}", "Ask {}.", "«{}», 12", "x\n{}\ny", "{}’s house"]))
def test_a_whole_name_is_found_wherever_it_stands(name: str, around: str) -> None:
    named = Named(KEY, KEY.names(name))
    assert named.in_text(around.format(name))
    assert named.in_text(around.format(name.upper().replace("'", "\u2019")))
    assert not named.in_text(around.format("Somebody Else"))


@given(NAMES)
def test_no_single_word_is_a_name(name: str) -> None:
    assert all(len(form) > 1 for form in name_forms(name))
    for word in name.split():
        assert name_forms(word) == frozenset() or "'" in word or "·" in word


NAMING = [
    *("Joan Puig rang", "ask PUIG, Joan", "JoanPuig rang", "joanpuig", "joan_puig.pdf"),
    *("?q=joan%20puig", "joan+puig", "Joan&nbsp;Puig", "Jo\u00adan Puig", "Madonna called"),
    *(
        "madonna's letter",
        "from rosanavarro",
        "rosa.navarro wrote",
        "Rosa Navarro",
        "MariaJoseRoca",
    ),
    *("600123456 rang", "+34 600 12 34 56", "(93) 217 32 15 40", "write to ana@example.org."),
    *("see ?q=Joan%2520Puig", "Joan&amp;nbsp;Puig", "Joan <b>Puig</b>", "Jo<wbr>an Puig"),
    *("joanp'uig", "madonna2 called", "madonnas brother", "김민수는 전화했다", "tel600123456"),
    *("_600123456", "x-600123456", "600123456x", "\u2116600123456"),
    *("DNI 12345678Z", "12345678 Z", "X-1234567-L", "IBAN ES91 2100 0418 4502 0005 1332"),
]
NAMELESS = [
    *("the person called on 2026-11-30 at 14:05", "a puig is a hill", "to the legal department"),
    *("records r-000017 and model 6f0a1b2c3d4e were checked", "on 201126 a letter came", "OK"),
    *("years 2019 2020 2021", "server 192.168.100.200", "paid 100.00 200.00 300.00 EUR"),
    *("pages 100 101 102", "dump 202611291230 was removed", "123456789 bytes", "7f" * 32),
    *("12,500 rows of 3 datasets, 1 000 000 000 tokens", "ticket 20261130", "see r-4f2a91c0b1d2"),
]


@pytest.mark.parametrize("text", [*NAMING, "half a \ud800 character"])
def test_a_note_that_names_the_person_or_has_a_number_is_not_kept(
    front: StoreContext, text: str
) -> None:
    also = ["Madonna", "rosa.navarro", "Maria José Roca", "김민수"]
    request = receive(front, "Joan Puig", also=also)
    with pytest.raises(InputError) as refusal:
        note(front, request.id, text, by="Eva")
    assert text.split()[-1] not in str(refusal.value)
    assert front.store.request(request.id).history == request.history


@pytest.mark.parametrize("text", NAMELESS)
def test_a_note_that_names_nobody_is_kept(front: StoreContext, text: str) -> None:
    request = receive(front, "Joan Puig", also=["Madonna", "rosa.navarro"])
    note(front, request.id, text, by="Eva")
