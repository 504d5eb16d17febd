"""Render pages: their frame, their menu by rights, and the labels of forms."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment

from olvido.accounts import Right
from olvido.errors import Action, OlvidoError, Term
from olvido.ledger.facts import Exit
from olvido.reporting.render import environment
from olvido.reporting.words import day
from olvido.service.authentication import CALLER, Caller, RequiresRight, form_token, own_form

MENU = (
    ("Requests", "/", Right.FOLLOW),
    ("Overview", "/overview", Right.FOLLOW),
    ("New request", "/requests/new", Right.FILE),
    ("Laws", "/laws", Right.FOLLOW),
    ("Models", "/models", Right.LINEAGE),
    ("Data", "/data", Right.LINEAGE),
    ("Log", "/log", Right.EVIDENCE),
)
"""Pages by name, with the right that each needs."""

Filing = Annotated[Caller, Depends(RequiresRight(Right.FILE))]
Follow = Annotated[Caller, Depends(RequiresRight(Right.FOLLOW))]
Decide = Annotated[Caller, Depends(RequiresRight(Right.DECIDE))]
Work = Annotated[Caller, Depends(RequiresRight(Right.WORK))]
Lineage = Annotated[Caller, Depends(RequiresRight(Right.LINEAGE))]
Evidence = Annotated[Caller, Depends(RequiresRight(Right.EVIDENCE))]
OWN = [Depends(own_form)]
"""The dependencies of every route that a form is sent to."""

ROWS = 50
"""The entries of a list on one page."""
Skip = Annotated[int, Query(ge=0, le=2**31)]


def within(skip: int, total: int) -> int:
    """The offset, or that of the last page where it is past the end of a list."""
    return min(skip, max(0, total - 1) // ROWS * ROWS)


def turning(total: int, skip: int) -> dict[str, Any]:
    """The place of a page in a long list, and the offsets of its neighbours."""
    return {
        "total": total,
        "skip": skip,
        "last": min(skip + ROWS, total),
        "next": skip + ROWS if skip + ROWS < total else None,
        "previous": max(0, skip - ROWS) if skip else None,
    }


FIELDS = {
    "subject": "Who it is about, as the data names them",
    "source": "Or which source, for opt-out and poison",
    "law": "Under which law",
    "nothing_found": "No record is about them: enter it, to be answered that nothing is held",
    "why": "Why, without names: it is kept",
    "reason": "Why, in the letter's language",
}
"""The label of each form field, by its parameter."""

ACTS = {
    "identify": "Identity was checked",
    "approve": "Approve the plan",
    "resume": "Go on",
    "wait": "Put aside",
    "extend": "The person was informed it takes longer",
    "refuse": "Refuse",
    "cancel": "Call off",
    "close": "It was sent: close it",
    "correct": "Enter what is right",
}
"""The button of each act of the team."""

EXITS = {
    Exit.CANNOT: "It stays, and why",
    Exit.AWAITING_EXPIRY: "It ends by itself, on a day",
    Exit.ERASED: "It was erased or searched elsewhere, and how",
    Exit.UNRELATED: "None of the data is in it, and why you know: it is looked at now, which may "
    "take minutes",
}
"""The label of each exit in forms."""
LEFT = {
    Exit.CANNOT: "stays",
    Exit.AWAITING_EXPIRY: "ends by itself",
    Exit.ERASED: "erased",
    Exit.UNRELATED: "unrelated",
}
"""The exit in a word or two."""

_WORDS = {
    **FIELDS,
    "cannot": EXITS[Exit.CANNOT],
    "done": EXITS[Exit.ERASED],
    "expires": EXITS[Exit.AWAITING_EXPIRY],
}
_ELSEWHERE = {"search": "'olvido request close ID --search FOLDER' on the command line"}
"""Parameters that no page has, and their command."""

LETTERS = {
    "received": "The request was received",
    "needs-information": "Something is needed of the person",
    "extension": "The answer takes longer",
    "done": "It is done",
    "partly-done": "It is done in part: something is still open",
    "refused": "It is refused",
}
"""The content of each kind of letter, for choosing one."""


def in_fields(error: OlvidoError) -> str:
    """The text of an error for a form, with the names of its fields and buttons."""
    return error.rendered(_on_the_page)


def _on_the_page(term: Term) -> str:
    words = ACTS if isinstance(term, Action) else _WORDS
    found = words.get(term.name)
    return _ELSEWHERE.get(term.name, str(term)) if found is None else f"“{found}”"


def start_of(caller: Caller) -> str:
    """The start page of a caller: the first one of the menu that they may see."""
    return next((href for _, href, right in MENU if caller.may(right)), "/requests/new")


def error_page(
    request: Request, status: int, why: str, known: Caller | None = None
) -> HTMLResponse:
    """An error as a page; `known` is a caller who lacks the right."""
    caller, title = request.scope.get(CALLER), HTTPStatus(status).phrase
    someone = caller or known
    start = "/" if someone is None else start_of(someone)
    shown = {"title": title, "why": why, "start": start}
    return page(request, "error.html.j2", caller, status=status, **shown)


def page(
    request: Request,
    template: str,
    caller: Caller | None = None,
    *,
    status: int = 200,
    **shown: Any,
) -> HTMLResponse:
    """A page from its template."""
    around: dict[str, Any] = {"caller": caller, "menu": MENU, "here": request.url.path}
    around |= {"why": None, "form": form_token(request)}
    around["workspace"] = caller and caller.tenant.settings.workspace.name
    html = pages_environment().get_template(template).render(around | shown)
    return HTMLResponse(html, status_code=status)


@cache
def pages_environment() -> Environment:
    made = environment("olvido.service")
    made.filters["day"] = day
    made.filters["briefly"] = briefly
    made.filters["twice"] = lambda value: (value, value)
    return made


def briefly(detail: Mapping[str, Any]) -> str:
    """The detail of an entry in a line; long and nested values as their length.

    >>> briefly({"id": "req-0001", "items": {"a": 1, "b": 2}})
    'id: req-0001, items: 2'
    >>> briefly({"chat": False, "lora": None})
    'chat: no, lora: none'
    """
    return ", ".join(f"{name}: {_brief(value)}" for name, value in detail.items())


def _brief(value: Any) -> str:
    if isinstance(value, (list, dict)):
        return str(len(value))
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return str(value)[:40]
