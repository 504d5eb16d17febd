"""A list is what its filter says, and every count is the length of a list."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olvido.errors import InputError, UnknownName
from olvido.ledger.facts import RequestKind, RequestStatus
from olvido.ledger.identity import Key
from olvido.requests.workflow.filters import ALL, RequestFilter, search
from olvido.requests.workflow.lists import MONTHS, summary

TODAY = date(2026, 11, 29)
KEY = Key(version=1, secret=bytes(32))
LAWS, OWNERS = ("gdpr", "ccpa"), ("acc-1", "acc-2")
PENDING = [status for status in RequestStatus if status.pending]


@st.composite
def rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Requests as a list has them: one that has ended has no days left."""
    made = []
    for number in range(draw(st.integers(0, 12))):
        status = draw(st.sampled_from(list(RequestStatus)))
        answered = status.answers and draw(st.integers(0, 500))
        left = draw(st.none() | st.integers(-9, 20)) if status in PENDING else None
        made.append(
            {
                "id": f"req-{number + 1:04d}",
                "kind": draw(st.sampled_from(list(RequestKind))).value,
                "status": status.value,
                "law": draw(st.sampled_from([None, "gdpr", "ccpa"])),
                "subject": draw(st.none() | st.just(str(KEY.subject("Ana Soler")))),
                "scope": draw(st.sampled_from([{}, {"source": "forum"}, {"records": ["r1"]}])),
                "received": str(TODAY - timedelta(days=draw(st.integers(0, 500)))),
                "answered": str(TODAY - timedelta(days=answered)) if status.answers else None,
                "days_left": left,
            }
        )
    return made


@given(rows())
def test_every_number_of_the_overview_is_the_length_of_its_list(
    found: list[dict[str, Any]],
) -> None:
    told = summary(found, TODAY)

    def listed(**asked: str) -> int:
        return len(RequestFilter.of(LAWS, **asked).of_rows(found))

    assert told["total"] == listed(status=ALL) == len(found)
    assert told["open"] == listed() == sum(told["due"].values())
    assert told["due"] == {name: listed(due=name) for name in told["due"]}
    for by, groups in (("kind", told["kinds"]), ("law", told["laws"])):
        assert sum(group["open"] for group in groups) == told["open"]
        for group in groups:
            one = {by: group[by]}
            assert group["open"] == listed(**one)
            assert (group["late"], group["soon"]) == (
                listed(due="late", **one),
                listed(due="soon", **one),
            )
    assert len(told["months"]) == MONTHS
    for what in ("received", "answered"):
        counted = {m["month"]: m[what] for m in told["months"]}
        assert counted == {m: listed(status=ALL, **{what: m}) for m in counted}
        before = listed(status=ALL, **{what: f"before-{min(counted)}"})
        assert told["earlier"][what] == before
        assert sum(counted.values()) + before == sum(row[what] is not None for row in found)


@given(rows())
def test_a_filter_asks_for_all_that_it_says_and_for_nothing_else(
    found: list[dict[str, Any]],
) -> None:
    for asked in (
        RequestFilter(status="refused"),
        RequestFilter(status=ALL, kind="poison"),
        RequestFilter(law="none"),
        RequestFilter(due="late", law="gdpr"),
        RequestFilter(status=ALL, about="forum"),
        RequestFilter(status=ALL, about="r1", received="2026-11"),
    ):
        shown = asked.of_rows(found)
        assert all(row in found for row in shown)
        tried = [asked.but(**{name: ""}) for name in asked.asked() if name != "status"]
        assert all(len(wider.of_rows(found)) >= len(shown) for wider in tried)
        assert all(row["days_left"] < 0 for row in shown if asked.due == "late")
        assert all(row["kind"] == asked.kind for row in shown if asked.kind)
        assert all((row["law"] or "none") == asked.law for row in shown if asked.law)
        # It is in the address that shows it.
        assert RequestFilter.of(LAWS, **asked.asked()) == asked


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": "opened"},
        {"kind": "forget"},
        {"due": "yesterday"},
        {"received": "november"},
        {"answered": "2026-13"},
        {"received": "after-2026-11"},
    ],
)
def test_what_is_no_filter_is_told_with_what_is(wrong: dict[str, str]) -> None:
    with pytest.raises(InputError, match="expected"):
        RequestFilter.of(LAWS, OWNERS, **wrong)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"law": "gdrp"}, "did you mean 'gdpr'"),
        ({"law": "nolaw", "status": "all"}, "Known: ccpa, gdpr, none"),
        ({"owner": "acc-9"}, "did you mean 'acc-"),
        ({"owner": "Marta"}, "Known: acc-1, acc-2, none"),
    ],
)
def test_a_name_that_is_mistyped_is_not_told_as_having_none(
    wrong: dict[str, str], told: str
) -> None:
    with pytest.raises(UnknownName, match=told):
        RequestFilter.of(LAWS, OWNERS, **wrong)
    for said in ("GDPR", "ccpa", "none"):
        assert RequestFilter.of(LAWS, law=said).law == said.casefold()


def _row(number: int, subject: str | None = None, **scope: Any) -> dict[str, Any]:
    who = None if subject is None else str(KEY.subject(subject))
    return {"id": f"req-{number:04d}", "subject": who, "scope": scope}


def test_a_search_finds_a_number_exactly_one_person_and_what_is_named() -> None:
    private = KEY.pseudonym("mails of Ana Soler")
    found = [
        _row(7, "Núria Puig"),
        _row(8, "Núria Puig"),
        _row(9, source="forum"),
        _row(10, source=private),
        _row(11, dataset="0123456789abcdef", records=["r-17", "r-18"]),
        _row(12, model="ab12"),
    ]
    for number in ("7", "req-0007", " REQ-7 ", "0007"):
        assert search(found, KEY, number) == "req-0007"
    puig = str(KEY.subject("Núria Puig"))
    for said in ("Núria Puig", "  NÚRIA   puig ", "Puig, Núria", puig):
        assert search(found, KEY, said) == RequestFilter(status=ALL, about=puig)
    for said in ("forum", "r-18", "0123456789abcdef", "ab12"):
        assert search(found, KEY, said) == RequestFilter(status=ALL, about=said)
    assert search(found, KEY, "mails of Ana Soler") == RequestFilter(status=ALL, about=private)
    # Neither a part of a name, nor one near it, nor anybody who did not ask.
    for said in ("Núria", "Puig", "Nuria Puigg", "Ana Soler", "9999", "", "  ", "...", "%"):
        assert search(found, KEY, said) is None
