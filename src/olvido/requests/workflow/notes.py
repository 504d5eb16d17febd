"""The owner of a request, and the team's notes about it, kept in the ledger and its log."""

from __future__ import annotations

from olvido.accounts import Accounts, Right
from olvido.errors import InputError
from olvido.ledger.facts import Request
from olvido.requests.handlers import RequestContext
from olvido.requests.scope import nameless

LONGEST = 2000
"""The greatest number of characters of a note."""


def note(context: RequestContext, identifier: str, text: str, *, by: str) -> Request:
    """Add a note to a request of any status; it is kept as it is written.

    Args:
        context: the ledger and settings with the request.
        identifier: the request's id.
        text: the note, without names.
        by: the id or label of an account that may work on requests.

    Raises:
        InputError: the note is empty, too long or names somebody (`nameless`), or the account may
            not work on requests.
        UnknownName: there is no such request or account.
    """
    request, said = context.store.request(identifier), text.strip()
    if not 0 < len(said) <= LONGEST:
        raise InputError(f"expected a note of 1 to {LONGEST} characters, got {len(said)}")
    nameless(context.store, request, said)
    return context.store.note_request(identifier, by=_account(context, by), text=said)


def assign(context: RequestContext, identifier: str, owner: str | None, *, by: str) -> Request:
    """Set the owner of a request; None: nobody any more. The same owner again changes nothing.

    Args:
        context: the ledger and settings with the request.
        identifier: the request's id.
        owner, by: ids or labels of accounts that may work on requests.

    Raises:
        InputError: an account may not work on requests.
        UnknownName: there is no such request or account.
    """
    request, actor = context.store.request(identifier), _account(context, by)
    named = _account(context, owner) if owner else ""
    if (request.owner or "") == named:
        return request
    return context.store.note_request(identifier, by=actor, owner=named)


def _account(context: RequestContext, name: str) -> str:
    return Accounts.of(context.settings).named(name, Right.WORK).id
