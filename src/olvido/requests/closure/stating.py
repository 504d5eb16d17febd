"""Exits by the team's word: nothing is erased, and only what is called unrelated is looked into."""

from __future__ import annotations

from datetime import date

from olvido.artifacts import KINDS, Way
from olvido.errors import InputError, StateError, UnknownName
from olvido.ledger.facts import Ending, Exit, RequestStatus
from olvido.requests.calendar import today
from olvido.requests.closure.closing import settle
from olvido.requests.desk import Office
from olvido.requests.limits import sayable
from olvido.requests.scope import nameless


def state_exit(
    office: Office, identifier: str, item: str, exit: Exit, said: str, *, by: str
) -> None:
    """Give something in a closure its exit by the team's word; nothing is erased by that.

    Args:
        office: with the request, whose closure is open.
        identifier: of the request.
        item: one that has no exit yet.
        exit: that it ends by itself, that it stays, that somebody erased it where Olvido cannot
            look, or that none of the data is in it, which is looked at now: see `settle`.
        said: the day on which it ends, why it stays, how it was erased, or why the team knows.
        by: the id or label of the account that says so.

    Raises:
        UnknownName: no such item.
        InputError: it has its exit, there is no reason or none that a certificate can say, the day
            is none to come, or it is for Olvido to erase.
        StateError: the request's closure is not open.
    """
    request = office.store.request(identifier)
    if request.status is not RequestStatus.PUBLISHED:
        raise StateError(
            f"request {identifier} is {request.status}: exits are given between publishing and "
            "closing"
        )
    known = {found.item: found for found in office.store.closure(identifier)}
    if item not in known:
        raise UnknownName("item of the closure", item, known)
    if known[item].exit is not None:
        raise InputError(f"{item} has its exit already: {known[item].exit}")
    if exit is Exit.ERASED and KINDS[item.partition(":")[0]].way is not Way.STATED:
        raise InputError(
            f"{item} lies where Olvido looks, and is erased there: 'olvido request close "
            f"{identifier} --erase {item}'"
        )
    if exit is Exit.UNRELATED:
        settle(office, identifier, unrelated={item: said}, by=by)
        return
    if not said.strip():
        raise InputError(f"say of {item} how it was erased, until when it lasts, or why it stays")
    sayable(item, said)
    nameless(office.store, request, said)
    if exit is Exit.AWAITING_EXPIRY:
        try:
            late = date.fromisoformat(said) <= today(office.settings)
        except ValueError:
            raise InputError("expected a day as 2026-12-31, got something else") from None
        if late:
            raise InputError(f"{item} would have expired on {said}: give a day to come")
    ending = Ending(exit, said, by_word=exit is Exit.ERASED)
    office.store.put_closure(identifier, {item: ending})
