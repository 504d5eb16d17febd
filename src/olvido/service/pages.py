"""The pages: plain HTML that works without scripts, by keyboard, on a phone.

The pages of many requests: the overview, the inbox with its filters, and the search.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Form, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from olvido.ledger.facts import Model, RequestKind, RequestStatus
from olvido.ledger.serving import in_brief
from olvido.requests.handlers import RequestContext
from olvido.requests.rights.deadlines import today
from olvido.requests.rights.language import languages, preferred
from olvido.requests.rights.registry import laws as known_laws
from olvido.requests.workflow.filters import ALL, OPEN, RequestFilter, laws_asked
from olvido.requests.workflow.lists import as_csv, exported
from olvido.service import lineage, views
from olvido.service import status as following
from olvido.service.authentication import (
    COOKIE,
    DEVICE,
    UNKNOWN,
    Caller,
    RequestRefused,
    address,
    form_token_of,
)
from olvido.service.rendering import (
    OWN,
    ROWS,
    Evidence,
    Follow,
    Lineage,
    Skip,
    page,
    pages_environment,
    start_of,
    turning,
    within,
)

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


def wanted(
    caller: Follow,
    status: Annotated[
        str, Query(max_length=20, description="open, all, or the status of a request.")
    ] = OPEN,
    kind: Annotated[str, Query(max_length=20, description="What is asked.")] = "",
    law: Annotated[str, Query(max_length=100, description="Its short name, or none.")] = "",
    due: Annotated[
        str, Query(max_length=20, description="late, soon (in 7 days), later, or none.")
    ] = "",
    received: Annotated[
        str, Query(max_length=20, description="A month or day: 2026-11, before-2026-11.")
    ] = "",
    answered: Annotated[str, Query(max_length=20, description="The same for the answer.")] = "",
    owner: Annotated[str, Query(max_length=40, description="The id of an account, or none.")] = "",
    about: Annotated[
        str,
        Query(
            max_length=2000,
            description="A subject's digest, or a source, dataset, record or model; no name.",
        ),
    ] = "",
) -> RequestFilter:
    """The filter in an address."""
    tenant = caller.tenant
    return RequestFilter.of(
        laws_asked(tenant.settings, tenant.inbox.rows(RequestFilter(status=ALL))) if law else (),
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


Wanted = Annotated[RequestFilter, Depends(wanted)]


def list_address(asked: RequestFilter, path: str = "/", **more: object) -> str:
    """The address of a list, as a page or a file."""
    said = urlencode(asked.asked() | {name: str(value) for name, value in more.items()})
    return f"{path}?{said}" if said else path


@router.get("/")
def inbox(request: Request, caller: Follow, asked: Wanted, skip: Skip = 0) -> HTMLResponse:
    """Open requests, or those that pass the filter; the fewest days left first."""
    return _inbox(request, caller, asked, skip)


@router.get("/requests.csv")
def table(caller: Follow, asked: Wanted) -> Response:
    """The requests as a table, without names and digests of names."""
    return _file(as_csv(caller.tenant.inbox.rows(asked)), "csv")


@router.get("/requests.json")
def document(caller: Follow, asked: Wanted) -> Response:
    """The requests as JSON for programs."""
    found = {"requests": exported(caller.tenant.inbox.rows(asked))}
    return _file(json.dumps(found, ensure_ascii=False, indent=1), "json")


def _file(text: str, ending: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="requests.{ending}"'}
    media = {"csv": "text/csv", "json": "application/json"}[ending]
    return Response(text, media_type=media, headers=headers)


@router.get("/overview")
def overview(request: Request, caller: Follow) -> HTMLResponse:
    """The numbers of open, late and due requests, and of those received by month."""
    found = caller.tenant.inbox.summary()
    most = max(month[what] for month in found["months"] for what in ("received", "answered"))
    return page(request, "overview.html.j2", caller, found=found, most=max(1, most), link=_link)


@router.post("/search", dependencies=OWN)
def search(
    request: Request, caller: Follow, text: Annotated[str, Form(max_length=2000)] = ""
) -> Response:
    """Go to the request with this number, or to those about this; the text is kept nowhere.

    It comes in a form's body, since browsers and proxies keep addresses.
    """
    found = caller.tenant.inbox.search(text)
    if found is None:
        return _inbox(request, caller, RequestFilter(), 0, nothing=True)
    where = list_address(found) if isinstance(found, RequestFilter) else f"/requests/{found}"
    return RedirectResponse(where, status_code=303)


def _inbox(
    request: Request, caller: Caller, asked: RequestFilter, skip: int, **more: Any
) -> HTMLResponse:
    rows = caller.tenant.inbox.rows(asked)
    skip = within(skip, len(rows))
    shown: dict[str, Any] = {
        "rows": rows[skip : skip + ROWS],
        **turning(len(rows), skip),
        "asked": asked,
        "nothing": False,
        "narrowed": asked != RequestFilter(),
        "kinds": list(RequestKind),
        "laws": sorted({law.name for law in known_laws(caller.tenant.settings.workspace)}),
        "statuses": list(RequestStatus),
        "owners": caller.tenant.accounts.labels(),
        "address": list_address,
    }
    return page(request, "inbox.html.j2", caller, **shown | more)


def _link(**asked: str) -> str:
    return list_address(RequestFilter().but(**asked))


DEVICE_LASTS = 365 * 24 * 3600
"""Seconds for which a browser keeps the cookie of an earlier sign-in."""

Ref = Annotated[str, Path(max_length=200)]
"""The name or id of a dataset or a model."""


@router.get("/style.css")
def style() -> Response:
    """The style sheet: that of all of Olvido's pages, and the service's own."""
    made = pages_environment()
    text = "\n".join(made.get_template(name).render() for name in ("style.css", "service.css"))
    return Response(text, media_type="text/css", headers={"Cache-Control": "max-age=3600"})


@router.get("/login")
def login(request: Request) -> HTMLResponse:
    """The page for signing in."""
    cookie = request.cookies.get(UNKNOWN) or secrets.token_urlsafe(32)
    shown = page(request, "login.html.j2", form=form_token_of(cookie))
    _keep(request, shown, UNKNOWN, cookie)
    return shown


@router.post("/login", dependencies=OWN)
def sign_in(
    request: Request,
    account: Annotated[str, Form(max_length=200)] = "",
    password: Annotated[str, Form(max_length=1000)] = "",
    token: Annotated[str, Form(max_length=1000)] = "",
) -> Response:
    """Begin a session by a password or a token; neither goes into a cookie."""
    known, device = request.app.state.authenticator, None
    try:
        if token.strip():
            caller, session = known.sign_in(token.strip(), address(request))
        else:
            caller, session, device = known.sign_in_with_password(
                account, password, address(request), request.cookies.get(DEVICE)
            )
    except RequestRefused as error:
        return page(request, "login.html.j2", status=error.status, why=error.why)
    if (before := request.cookies.get(COOKIE)) is not None:
        known.sign_out(before)
    response = RedirectResponse(start_of(caller), status_code=303)
    _keep(request, response, COOKIE, session)
    if device is not None:
        _keep(request, response, DEVICE, device, lasts=DEVICE_LASTS)
    response.delete_cookie(UNKNOWN)
    return response


@router.post("/logout", dependencies=OWN)
def sign_out(request: Request) -> Response:
    """End the session, here and for every other holder of its cookie."""
    if (session := request.cookies.get(COOKIE)) is not None:
        request.app.state.authenticator.sign_out(session)
    response = RedirectResponse("/login", status_code=303)
    response.delete_cookie(COOKIE)
    return response


def _keep(
    request: Request, response: Response, name: str, value: str, *, lasts: int | None = None
) -> None:
    """Set a cookie that scripts cannot read and other sites cannot send."""
    https = request.url.scheme == "https"
    response.set_cookie(name, value, max_age=lasts, httponly=True, samesite="strict", secure=https)


@router.get("/status/{identifier}/{secret}")
def follow(request: Request, identifier: str, secret: str) -> HTMLResponse:
    """The status page of a request, for the person; nobody else knows its address."""
    known = request.app.state.authenticator
    found = following.find(known.tenants, identifier, secret)
    known.visit(address(request), None if found is None else secret)
    if found is None:
        raise RequestRefused(404, "there is no such page: check the address that you were given")
    return _status(request, found[0], views.public(*found))


@router.get("/status/{sealed}")
def follow_receipt(request: Request, sealed: Annotated[str, Path(max_length=100)]) -> HTMLResponse:
    """The status page of a receipt: only the receipt, until the identity was checked."""
    known = request.app.state.authenticator
    found = following.Receipt.find(known.tenants, sealed)
    known.visit(address(request), None if found is None else sealed)
    if found is None:
        raise RequestRefused(404, "there is no such page: check the address that you were given")
    return _status(request, found[0], views.receipt(*found))


def _status(request: Request, context: RequestContext, asked: dict[str, Any]) -> HTMLResponse:
    """The status page, in the language of the parameter `lang` or the browser's."""
    settings = context.settings
    known = languages(settings.workspace)
    wanted = request.query_params.get("lang", "")
    words = known.get(wanted) or preferred(request.headers.get("accept-language", ""), known)
    law = asked["law"]
    shown = asked | {
        "says": words.state(asked["kind"], asked["state"]),
        "received": words.day(today(settings, datetime.fromisoformat(asked["received_at"]))),
        "due": asked["due"] and words.day(date.fromisoformat(asked["due"])),
        "recourse": law and (words.recourse.get(law.name) or f"{law.title}: {law.recourse}."),
        "contact": settings.contact,
    }
    return page(
        request,
        "status.html.j2",
        asked=shown,
        words=words,
        lang=words.code,
        languages=[one for one in known.values() if one is not words],
    )


@router.get("/laws")
def laws(request: Request, caller: Follow) -> HTMLResponse:
    """Every law, with the confidence of its reading."""
    found = known_laws(caller.tenant.settings.workspace)
    return page(request, "laws.html.j2", caller, laws=found)


@router.get("/models")
def models(request: Request, caller: Lineage, skip: Skip = 0) -> HTMLResponse:
    """Every model and how it was made, the newest first."""
    store = caller.tenant.store
    known = store.models()[::-1]
    skip = within(skip, len(known))
    shown: dict[str, Any] = {
        "models": in_brief(store, known[skip : skip + ROWS]),
        **turning(len(known), skip),
    }
    return page(request, "models.html.j2", caller, **shown)


@router.get("/models/{ref}")
def model(request: Request, caller: Lineage, ref: Ref) -> HTMLResponse:
    """One model: how it was made, its origins and descendants, and its requests."""
    store = caller.tenant.store
    known = lineage.named(store)
    found = lineage.model(store, ref, known)
    return _with_lineage(request, caller, "model.html.j2", found, known)


@router.get("/data")
def data(request: Request, caller: Lineage) -> HTMLResponse:
    """Every dataset."""
    found = [lineage.dataset(one) for one in caller.tenant.store.datasets()]
    return page(request, "data.html.j2", caller, datasets=found)


@router.get("/data/{ref:path}")
def dataset(request: Request, caller: Lineage, ref: Ref) -> HTMLResponse:
    """One dataset: its content, its documentation, its models, and its requests."""
    store = caller.tenant.store
    found = lineage.one_dataset(store, ref)
    found["requests"] = [{"id": one} for one in found["requests"]]
    return _with_lineage(request, caller, "dataset.html.j2", found, lineage.named(store))


def _with_lineage(
    request: Request,
    caller: Caller,
    template: str,
    found: dict[str, Any],
    known: Mapping[str, Model],
) -> HTMLResponse:
    """A page with a drawing and the newest requests, as the inbox has them."""
    rows = {row["id"]: row for row in caller.tenant.inbox.rows(RequestFilter(status=ALL))}
    shown: dict[str, Any] = {
        "found": found,
        "drawing": lineage.lineage(caller.tenant.store, found["id"], known),
        "rows": [rows[one["id"]] | one for one in found["requests"][:ROWS]],
        "most": ROWS,
    }
    return page(request, template, caller, **shown)


@router.get("/log")
def log(
    request: Request, caller: Evidence, before: Annotated[int | None, Query(ge=1, le=2**62)] = None
) -> HTMLResponse:
    """The newest entries of the log, and whether it is unchanged."""
    shown = caller.tenant.store.events_between(before=before, limit=ROWS, newest=True)
    older = shown[-1].seq if shown and shown[-1].seq > 1 else None
    entries = [views.entry(entry) for entry in shown]
    check, at = caller.tenant.checked.log()
    return page(request, "log.html.j2", caller, check=check, at=at, entries=entries, older=older)
