"""What every page of the service has around it, and who may see it."""

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
"""Pages by name, with the right that each asks for."""

Filing = Annotated[Caller, Depends(RequiresRight(Right.FILE))]
Follow = Annotated[Caller, Depends(RequiresRight(Right.FOLLOW))]
Decide = Annotated[Caller, Depends(RequiresRight(Right.DECIDE))]
Work = Annotated[Caller, Depends(RequiresRight(Right.WORK))]
Lineage = Annotated[Caller, Depends(RequiresRight(Right.LINEAGE))]
Evidence = Annotated[Caller, Depends(RequiresRight(Right.EVIDENCE))]
OWN = [Depends(own_form)]
"""Of every route that a form goes to."""

ROWS = 50
"""Of a list on a page."""
Skip = Annotated[int, Query(ge=0, le=2**31)]


def within(skip: int, total: int) -> int:
    """Where the last page begins, for who skips past the end of a list."""
    return min(skip, max(0, total - 1) // ROWS * ROWS)


def turning(total: int, skip: int) -> dict[str, Any]:
    """Where in a long list a page stands, and where those before and after it begin."""
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
"""What stands beside each field of the forms, by the name of the parameter that it gives."""

ACTS = {
    "identify": "Identity was checked",
    "approve": "Approve the plan",
    "resume": "Go on",
    "wait": "Put aside",
    "extend": "The person was told it takes longer",
    "refuse": "Refuse",
    "cancel": "Call off",
    "close": "It was sent: close it",
    "correct": "Enter what is right",
}
"""What stands on the button of each act of the team."""

EXITS = {
    Exit.CANNOT: "It stays, and why",
    Exit.AWAITING_EXPIRY: "It ends by itself, on a day",
    Exit.ERASED: "It was erased or searched elsewhere, and how",
    Exit.UNRELATED: "None of the data is in it, and why you know: it is looked at now, which may "
    "take minutes",
}
"""What is said of how something leaves, by its exit."""
LEFT = {
    Exit.CANNOT: "stays",
    Exit.AWAITING_EXPIRY: "ends by itself",
    Exit.ERASED: "erased",
    Exit.UNRELATED: "unrelated",
}
"""How something left, in a word or two."""

_WORDS = {
    **FIELDS,
    "cannot": EXITS[Exit.CANNOT],
    "done": EXITS[Exit.ERASED],
    "expires": EXITS[Exit.AWAITING_EXPIRY],
}
_ELSEWHERE = {"search": "'olvido request close ID --search FOLDER' on the command line"}
"""What no page can be given, and what can."""

LETTERS = {
    "received": "The request was received",
    "needs-information": "Something is needed of the person",
    "extension": "The answer takes longer",
    "done": "It is done",
    "partly-done": "It is done in part: something is still open",
    "refused": "It is refused",
}
"""What a letter says, by its kind, for whoever chooses one."""


def in_fields(error: OlvidoError) -> str:
    """What an error says to whoever filled in a form: its fields and buttons are called as here."""
    return error.rendered(_on_the_page)


def _on_the_page(term: Term) -> str:
    words = ACTS if isinstance(term, Action) else _WORDS
    found = words.get(term.name)
    return _ELSEWHERE.get(term.name, str(term)) if found is None else f"“{found}”"


def start_of(caller: Caller) -> str:
    """Where somebody begins: the first page of the menu that they may see."""
    return next((href for _, href, right in MENU if caller.may(right)), "/requests/new")


def error_page(
    request: Request, status: int, why: str, known: Caller | None = None
) -> HTMLResponse:
    """What went wrong, on a page; `known` is who may not do what was asked."""
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
    """What stands in an entry, in a line: what is long or has parts by how many.

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
