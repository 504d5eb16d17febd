"""The pages: plain HTML that works without scripts, by keyboard, on a phone."""

from __future__ import annotations

import secrets
from datetime import date
from functools import cache
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment
from starlette.concurrency import run_in_threadpool

from olvido.accounts import Right
from olvido.audits.report import page as audit_page
from olvido.audits.report.render import environment
from olvido.audits.report.words import day
from olvido.errors import InputError, StateError, UnknownName
from olvido.ledger.facts import RequestKind, RequestStatus
from olvido.requests import desk
from olvido.requests.laws import laws as known_laws
from olvido.serving import status as following
from olvido.serving import views
from olvido.serving.boundary.authentication import (
    COOKIE,
    UNKNOWN,
    Caller,
    Needs,
    Refused,
    address,
    form_token,
    form_token_of,
    own_form,
)
from olvido.serving.filing import file_quietly

MENU = (
    ("Requests", "/", Right.FOLLOW),
    ("New request", "/requests/new", Right.FILE),
    ("Laws", "/laws", Right.FOLLOW),
    ("Models", "/models", Right.LINEAGE),
    ("Data", "/data", Right.LINEAGE),
    ("Log", "/log", Right.EVIDENCE),
)
"""Pages by name, with the right that each asks for."""
ROWS = 50
"""Of a list on a page."""

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

Filing = Annotated[Caller, Depends(Needs(Right.FILE))]
Follow = Annotated[Caller, Depends(Needs(Right.FOLLOW))]
Decide = Annotated[Caller, Depends(Needs(Right.DECIDE))]
Lineage = Annotated[Caller, Depends(Needs(Right.LINEAGE))]
Evidence = Annotated[Caller, Depends(Needs(Right.EVIDENCE))]
Skip = Annotated[int, Query(ge=0, le=2**31)]
OWN = [Depends(own_form)]
"""Of every route that a form goes to."""


@router.get("/style.css")
def style() -> Response:
    """What all of Olvido's pages look like, and what is the service's own."""
    made = _environment()
    text = "\n".join(made.get_template(name).render() for name in ("style.css", "service.css"))
    return Response(text, media_type="text/css", headers={"Cache-Control": "max-age=3600"})


@router.get("/login")
def login(request: Request) -> HTMLResponse:
    """Where a token is given."""
    cookie = request.cookies.get(UNKNOWN) or secrets.token_urlsafe(32)
    shown = page(request, "login.html.j2", form=form_token_of(cookie))
    _keep(request, shown, UNKNOWN, cookie)
    return shown


@router.post("/login", dependencies=OWN)
def sign_in(request: Request, token: Annotated[str, Form(max_length=1000)]) -> Response:
    """Begin a session for whoever has a token; the token itself goes into no cookie."""
    known = request.app.state.authenticator
    try:
        caller, session = known.sign_in(token.strip(), address(request))
    except Refused as error:
        return page(request, "login.html.j2", status=error.status, why=error.why)
    if (before := request.cookies.get(COOKIE)) is not None:
        known.sign_out(before)
    start = next((href for _, href, right in MENU if caller.may(right)), "/requests/new")
    response = RedirectResponse(start, status_code=303)
    _keep(request, response, COOKIE, session)
    response.delete_cookie(UNKNOWN)
    return response


@router.post("/logout", dependencies=OWN)
def sign_out(request: Request) -> Response:
    """End the session, here and for whoever else has its cookie."""
    if (session := request.cookies.get(COOKIE)) is not None:
        request.app.state.authenticator.sign_out(session)
    response = RedirectResponse("/login", status_code=303)
    response.delete_cookie(COOKIE)
    return response


def _keep(request: Request, response: Response, name: str, value: str) -> None:
    """Leave a cookie that scripts cannot read and other sites cannot send."""
    https = request.url.scheme == "https"
    response.set_cookie(name, value, httponly=True, samesite="strict", secure=https)


@router.get("/")
def inbox(
    request: Request,
    caller: Follow,
    only: Annotated[RequestStatus | None, Query(alias="status")] = None,
    skip: Skip = 0,
) -> HTMLResponse:
    """Open requests, those with the fewest days left first."""
    wanted = [one for one in RequestStatus if one.open] if only is None else [only]
    rows = caller.tenant.inbox.rows(wanted)
    shown: dict[str, Any] = {
        "rows": rows[skip : skip + ROWS],
        **_turning(len(rows), skip),
        "only": only,
        "statuses": list(RequestStatus),
    }
    return page(request, "inbox.html.j2", caller, **shown)


def _turning(total: int, skip: int) -> dict[str, Any]:
    """Where in a long list a page stands, and where those before and after it begin."""
    return {
        "total": total,
        "skip": skip,
        "next": skip + ROWS if skip + ROWS < total else None,
        "previous": max(0, skip - ROWS) if skip else None,
    }


@router.get("/requests/new")
def blank(request: Request, caller: Filing) -> HTMLResponse:
    """Where a request is entered."""
    return _new(request, caller)


@router.post("/requests", dependencies=OWN)
async def file_request(
    request: Request,
    caller: Filing,
    subject: Annotated[str, Form(max_length=2000)] = "",
    kind: Annotated[str, Form()] = RequestKind.ERASURE.value,
    source: Annotated[str, Form(max_length=2000)] = "",
    law: Annotated[str, Form()] = "",
) -> Response:
    """Enter a request; what is wrong is told on the same page."""
    tenant, about, under = caller.tenant, subject or None, law or None
    made = None
    try:
        if not caller.may(Right.FOLLOW):
            about = None if source else about
            follow = await file_quietly(tenant, about, kind=kind, law=under)
        else:
            made = await run_in_threadpool(
                desk.receive, tenant, about, kind=kind, source=source or None, law=under
            )
            follow = following.path(tenant.store.key, made.id)
    except InputError as error:
        return _new(request, caller, status=422, why=str(error))
    return page(request, "filed.html.j2", caller, status=201, made=made, follow=follow)


def _new(request: Request, caller: Caller, *, status: int = 200, **shown: Any) -> HTMLResponse:
    laws = known_laws(caller.tenant.settings.workspace)
    return page(request, "new.html.j2", caller, status=status, laws=laws, **shown)


@router.get("/requests/{identifier}")
def one(request: Request, caller: Follow, identifier: str) -> HTMLResponse:
    """One request: clock, scope, plan, progress, closure and evidence."""
    return _one(request, caller, identifier)


@router.get("/requests/{identifier}/progress")
def progress(request: Request, caller: Follow, identifier: str) -> HTMLResponse:
    """How far a request has come: what the page asks for again and again while it runs."""
    found = views.request(caller.tenant, caller.tenant.store.request(identifier))
    return page(request, "progress.html.j2", caller, asked=found)


@router.get("/requests/{identifier}/audit")
def audit(caller: Evidence, identifier: str) -> HTMLResponse:
    """The last audit of a request's answer, on its own page."""
    *others, last = views.audits(caller.tenant, identifier)
    html = audit_page(last, others)
    response = HTMLResponse(html)
    # That page carries its style inside; it has no script.
    response.headers["Content-Security-Policy"] = (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
    )
    return response


@router.get("/requests/{identifier}/certificate")
def certificate(request: Request, caller: Evidence, identifier: str) -> HTMLResponse:
    """The newest certificate of a request, for people."""
    found = views.certificate(caller.tenant, identifier)
    return page(request, "certificate.html.j2", caller, identifier=identifier, **found)


@router.post("/requests/{identifier}/{act}", dependencies=OWN)
def act(
    request: Request,
    caller: Decide,
    identifier: str,
    act: str,
    why: Annotated[str, Form(max_length=2000)] = "",
    until: Annotated[str, Form()] = "",
    need: Annotated[str, Form()] = "",
) -> Response:
    """What the team decides; what is wrong is told on the request's page."""
    by = caller.token.account
    acts = {
        "identify": lambda: desk.identify(caller.tenant, identifier, by=by),
        "approve": lambda: views.approve(caller.tenant, identifier, by=by),
        "wait": lambda: desk.wait(
            caller.tenant, identifier, why=why, until=_day(until), need=need or None
        ),
        "resume": lambda: desk.resume(caller.tenant, identifier),
        "extend": lambda: desk.extend(caller.tenant, identifier, why=why),
        "refuse": lambda: desk.refuse(caller.tenant, identifier, why=why),
        "cancel": lambda: desk.cancel(caller.tenant, identifier, why=why),
    }
    if act not in acts:
        raise UnknownName("action", act, acts)
    try:
        acts[act]()
    except (InputError, StateError) as error:
        if isinstance(error, UnknownName):
            raise
        return _one(request, caller, identifier, status=422, why=str(error))
    return RedirectResponse(f"/requests/{identifier}", status_code=303)


def _one(
    request: Request, caller: Caller, identifier: str, *, status: int = 200, **shown: Any
) -> HTMLResponse:
    found = caller.tenant.store.request(identifier)
    report = views.report_of(caller.tenant, found) if caller.may(Right.EVIDENCE) else None
    shown |= {
        "asked": views.request(caller.tenant, found),
        "plan": views.plan(found),
        "report": report,
        "attempts": views.attempts(report) if report else [],
        "closure": views.closure(caller.tenant, identifier),
        "decides": caller.may(Right.DECIDE),
        "follow": following.path(caller.tenant.store.key, identifier),
    }
    return page(request, "request.html.j2", caller, status=status, **shown)


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise InputError(f"expected a day as 2026-12-31, got {text[:20]!r}") from None


@router.get("/status/{identifier}/{secret}")
def follow(request: Request, identifier: str, secret: str) -> HTMLResponse:
    """How far a request has come, for whoever asked; nobody else knows the address."""
    known = request.app.state.authenticator
    found = following.find(known.tenants, identifier, secret)
    known.visit(address(request), None if found is None else secret)
    if found is None:
        raise Refused(404, "there is no such page: check the address that you were given")
    return page(request, "status.html.j2", asked=views.public(*found))


@router.get("/status/{sealed}")
def follow_receipt(request: Request, sealed: Annotated[str, Path(max_length=100)]) -> HTMLResponse:
    """The same, for who was given a receipt: no more than that, until it is known who asks."""
    known = request.app.state.authenticator
    found = following.Receipt.find(known.tenants, sealed)
    known.visit(address(request), None if found is None else sealed)
    if found is None:
        raise Refused(404, "there is no such page: check the address that you were given")
    return page(request, "status.html.j2", asked=views.receipt(*found))


@router.get("/laws")
def laws(request: Request, caller: Follow) -> HTMLResponse:
    """Every law, with the confidence of its reading."""
    found = known_laws(caller.tenant.settings.workspace)
    return page(request, "laws.html.j2", caller, laws=found)


@router.get("/models")
def models(request: Request, caller: Lineage, skip: Skip = 0) -> HTMLResponse:
    """Every model, and how each came to be, the newest first."""
    store = caller.tenant.store
    known = store.models()[::-1]
    shown: dict[str, Any] = {
        "models": views.models(store, known[skip : skip + ROWS]),
        # A parent may stand on another page.
        "page_of": {one.id: n - n % ROWS for n, one in enumerate(known)},
        **_turning(len(known), skip),
    }
    return page(request, "models.html.j2", caller, **shown)


@router.get("/data")
def data(request: Request, caller: Lineage) -> HTMLResponse:
    """Every dataset."""
    found = [views.dataset(one) for one in caller.tenant.store.datasets()]
    return page(request, "data.html.j2", caller, datasets=found)


@router.get("/log")
def log(
    request: Request, caller: Evidence, before: Annotated[int | None, Query(ge=1, le=2**62)] = None
) -> HTMLResponse:
    """The newest entries of the log, and whether it is as it was written."""
    shown = caller.tenant.store.events_between(before=before, limit=ROWS, newest=True)
    older = shown[-1].seq if shown and shown[-1].seq > 1 else None
    entries = [views.entry(entry) for entry in shown]
    check, at = caller.tenant.checked.log()
    return page(request, "log.html.j2", caller, check=check, at=at, entries=entries, older=older)


def error_page(request: Request, status: int, why: str) -> HTMLResponse:
    """What went wrong, on a page."""
    return page(request, "error.html.j2", status=status, title=HTTPStatus(status).phrase, why=why)


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
    html = _environment().get_template(template).render(around | shown)
    return HTMLResponse(html, status_code=status)


@cache
def _environment() -> Environment:
    made = environment("olvido.serving")
    made.filters["day"] = day
    return made
