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
from olvido.errors import OlvidoError
from olvido.reporting.render import environment
from olvido.reporting.words import day
from olvido.serving.boundary.authentication import CALLER, Caller, Needs, form_token, own_form

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

Filing = Annotated[Caller, Depends(Needs(Right.FILE))]
Follow = Annotated[Caller, Depends(Needs(Right.FOLLOW))]
Decide = Annotated[Caller, Depends(Needs(Right.DECIDE))]
Work = Annotated[Caller, Depends(Needs(Right.WORK))]
Lineage = Annotated[Caller, Depends(Needs(Right.LINEAGE))]
Evidence = Annotated[Caller, Depends(Needs(Right.EVIDENCE))]
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
    "reason": "What is needed, or why, in that language",
}
"""What stands beside each field of the forms, by the name of the parameter that it gives."""


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
    """What an error says, for whoever filled in a form: parameters are called as its fields are."""
    return error.told(lambda p: f"“{FIELDS[p.name]}”" if p.name in FIELDS else str(p))


def error_page(request: Request, status: int, why: str) -> HTMLResponse:
    """What went wrong, on a page."""
    caller, title = request.scope.get(CALLER), HTTPStatus(status).phrase
    return page(request, "error.html.j2", caller, status=status, title=title, why=why)


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
    made = environment("olvido.serving")
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
