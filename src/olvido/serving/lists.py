"""The pages of many requests: the overview, the inbox with its filters, and the search."""

from __future__ import annotations

import json
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from olvido.ledger.facts import RequestKind, RequestStatus
from olvido.requests.laws import laws as known_laws
from olvido.requests.listing import ALL, OPEN, Filter, as_csv, exported, laws_asked
from olvido.serving.boundary.authentication import Caller
from olvido.serving.rendering import OWN, ROWS, Follow, Skip, page, turning, within

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


def wanted(
    caller: Follow,
    status: Annotated[
        str, Query(max_length=20, description="open, all, or how far a request has come.")
    ] = OPEN,
    kind: Annotated[str, Query(max_length=20, description="What is asked.")] = "",
    law: Annotated[str, Query(max_length=100, description="Its short name, or none.")] = "",
    due: Annotated[
        str, Query(max_length=20, description="late, soon (in 7 days), later, or none.")
    ] = "",
    received: Annotated[
        str, Query(max_length=20, description="A month or day: 2026-11, before-2026-11.")
    ] = "",
    answered: Annotated[str, Query(max_length=20, description="The same of the answer.")] = "",
    owner: Annotated[str, Query(max_length=40, description="The id of an account, or none.")] = "",
    about: Annotated[
        str,
        Query(
            max_length=2000,
            description="A subject's digest, or a source, dataset, record or model; no name.",
        ),
    ] = "",
) -> Filter:
    """The filter that an address asks for."""
    tenant = caller.tenant
    return Filter.of(
        laws_asked(tenant.settings, tenant.inbox.rows(Filter(status=ALL))) if law else (),
        tenant.accounts.labels() if owner else (),
        status=status,
        kind=kind,
        law=law,
        due=due,
        received=received,
        answered=answered,
        owner=owner,
        about=about,
    )


Wanted = Annotated[Filter, Depends(wanted)]


def address(asked: Filter, path: str = "/", **more: object) -> str:
    """Where a list is shown, or had as a file."""
    said = urlencode(asked.asked() | {name: str(value) for name, value in more.items()})
    return f"{path}?{said}" if said else path


@router.get("/")
def inbox(request: Request, caller: Follow, asked: Wanted, skip: Skip = 0) -> HTMLResponse:
    """Open requests, or those asked for; the fewest days left first."""
    return _inbox(request, caller, asked, skip)


@router.get("/requests.csv")
def table(caller: Follow, asked: Wanted) -> Response:
    """Those requests as a table: no name, and no digest of one."""
    return _file(as_csv(caller.tenant.inbox.rows(asked)), "csv")


@router.get("/requests.json")
def document(caller: Follow, asked: Wanted) -> Response:
    """The same for programs."""
    found = {"requests": exported(caller.tenant.inbox.rows(asked))}
    return _file(json.dumps(found, ensure_ascii=False, indent=1), "json")


def _file(text: str, ending: str) -> Response:
    told = {"Content-Disposition": f'attachment; filename="requests.{ending}"'}
    media = {"csv": "text/csv", "json": "application/json"}[ending]
    return Response(text, media_type=media, headers=told)


@router.get("/overview")
def overview(request: Request, caller: Follow) -> HTMLResponse:
    """How many requests are open, late or due soon, and what came month by month."""
    found = caller.tenant.inbox.summary()
    most = max(month[what] for month in found["months"] for what in ("received", "answered"))
    return page(request, "overview.html.j2", caller, found=found, most=max(1, most), link=_link)


@router.post("/search", dependencies=OWN)
def search(
    request: Request, caller: Follow, text: Annotated[str, Form(max_length=2000)] = ""
) -> Response:
    """Go to the request with this number, or to those about this; what was written is kept nowhere.

    It comes in a form's body: an address would be remembered by browsers and proxies.
    """
    found = caller.tenant.inbox.search(text)
    if found is None:
        return _inbox(request, caller, Filter(), 0, nothing=True)
    where = address(found) if isinstance(found, Filter) else f"/requests/{found}"
    return RedirectResponse(where, status_code=303)


def _inbox(request: Request, caller: Caller, asked: Filter, skip: int, **more: Any) -> HTMLResponse:
    rows = caller.tenant.inbox.rows(asked)
    skip = within(skip, len(rows))
    shown: dict[str, Any] = {
        "rows": rows[skip : skip + ROWS],
        **turning(len(rows), skip),
        "asked": asked,
        "nothing": False,
        "narrowed": asked != Filter(),
        "kinds": list(RequestKind),
        "laws": sorted({law.name for law in known_laws(caller.tenant.settings.workspace)}),
        "statuses": list(RequestStatus),
        "owners": caller.tenant.accounts.labels(),
        "address": address,
    }
    return page(request, "inbox.html.j2", caller, **shown | more)


def _link(**asked: str) -> str:
    return address(Filter().but(**asked))
