"""The page of one request: its status, its evidence, and the acts of the team.

Also the page on which a request is entered, for one person under all their names.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from olvido.accounts import Right
from olvido.audits.page import page as audit_page
from olvido.errors import InputError, StateError, UnknownName
from olvido.files import finite
from olvido.ledger.facts import Exit, RequestKind
from olvido.requests import handlers
from olvido.requests.closure.closing import state_exit
from olvido.requests.rights.access import close_access
from olvido.requests.rights.language import languages
from olvido.requests.rights.letter import REASONED, letter, note
from olvido.requests.rights.rectification import correct
from olvido.requests.rights.registry import laws as known_laws
from olvido.requests.scope import (
    NobodyFound,
    Person,
    lineage_of,
    look_up,
    unsearched,
    unsearched_note,
)
from olvido.requests.workflow import notes
from olvido.service import status as following
from olvido.service import views
from olvido.service.authentication import Caller
from olvido.service.rendering import (
    ACTS,
    EXITS,
    LEFT,
    LETTERS,
    OWN,
    Decide,
    Evidence,
    Filing,
    Follow,
    Work,
    in_fields,
    page,
)
from olvido.service.status import KINDS, file_quietly

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@router.get("/requests/new")
def blank(request: Request, caller: Filing) -> HTMLResponse:
    """The page on which a request is entered."""
    return _new(request, caller)


@router.post("/requests", dependencies=OWN)
async def file_request(
    request: Request,
    caller: Filing,
    subject: Annotated[str, Form(max_length=2000)] = "",
    also: Annotated[str, Form(max_length=20_000)] = "",
    same: Annotated[list[str], Form(max_length=200)] = [],  # noqa: B006
    looked: Annotated[bool, Form()] = False,
    kind: Annotated[str, Form()] = RequestKind.ERASURE.value,
    source: Annotated[str, Form(max_length=2000)] = "",
    dataset: Annotated[str, Form(max_length=2000)] = "",
    record: Annotated[str, Form(max_length=20_000)] = "",
    law: Annotated[str, Form()] = "",
    nothing_found: Annotated[bool, Form()] = False,
) -> Response:
    """Enter a request; errors are shown on the same page.

    A caller who may see requests first gets the names near the given ones, with their counts.
    `same` has the digests of names that belong to the same person.
    """
    tenant, under = caller.tenant, law or None
    others = [name for line in also.splitlines() if (name := line.strip())]
    names = [name for name in (subject.strip(), *others) if name]
    typed = {"subject": subject, "also": also, "kind": kind, "source": source, "law": law}
    typed |= {"dataset": dataset, "record": record}
    records = [one.strip() for one in record.splitlines() if one.strip()]
    try:
        if not caller.may(Right.FOLLOW):
            quiet = [] if source or dataset or records or not subject.strip() else names
            follow = await file_quietly(tenant, quiet, kind=kind, law=under)
            return page(request, "filed.html.j2", caller, status=201, made=None, follow=follow)
        person = await run_in_threadpool(look_up, tenant.store, [*names, *same])
        if person.near and not looked:
            return _new(request, caller, person=person, typed=typed)
        made = await run_in_threadpool(
            handlers.receive,
            tenant,
            names[0] if names else None,
            also=[*names[1:], *same],
            kind=kind,
            source=source or None,
            dataset=dataset.strip() or None,
            records=records,
            law=under,
            nothing_found=nothing_found,
        )
    except NobodyFound as error:
        return _new(request, caller, status=422, why=in_fields(error), typed=typed)
    except InputError as error:
        return _new(request, caller, status=422, why=in_fields(error), typed=typed)
    follow = following.path(tenant.store.key, made.id)
    found = await run_in_threadpool(lineage_of, tenant.store, made)
    return page(
        request,
        "filed.html.j2",
        caller,
        status=201,
        made=made,
        follow=follow,
        counts={name: person.described(name) for name in names},
        records=len(found.records),
        people=len({subject for record in found.records for subject in record.subjects}),
        unsearched_note=unsearched_note(unsearched(made)),
    )


def _new(
    request: Request,
    caller: Caller,
    *,
    status: int = 200,
    person: Person | None = None,
    **shown: Any,
) -> HTMLResponse:
    laws = known_laws(caller.tenant.settings.workspace)
    near = [] if person is None else [(str(s), some) for s, some in person.near.items()]
    counts = {} if person is None else {name: person.described(name) for name in person.counts}
    blank = dict.fromkeys(
        (*("subject", "also", "kind", "source"), *("dataset", "record", "law")), ""
    )
    shown = {"why": None, "typed": blank, "near": near, "counts": counts, "laws": laws} | shown
    # A caller who may not see requests is offered only what they may file.
    quiet = not caller.may(Right.FOLLOW)
    shown |= {"quiet": quiet, "kinds": KINDS if quiet else tuple(RequestKind)}
    return page(request, "new.html.j2", caller, status=status, **shown)


@router.get("/requests/{identifier}")
def one(request: Request, caller: Follow, identifier: str) -> HTMLResponse:
    """One request: clock, scope, plan, progress, closure and evidence."""
    return _one(request, caller, identifier)


@router.get("/requests/{identifier}/progress")
def progress(request: Request, caller: Follow, identifier: str) -> HTMLResponse:
    """The progress of a request, which its page polls while it runs."""
    found = views.request(caller.tenant, caller.tenant.store.request(identifier))
    return page(request, "progress.html.j2", caller, asked=found)


@router.get("/requests/{identifier}/audit")
def audit(caller: Evidence, identifier: str) -> HTMLResponse:
    """The last audit of a request's answer, on its own page."""
    *others, last = views.audits(caller.tenant, identifier)
    html = audit_page(last, others)
    response = HTMLResponse(html)
    # That page has its style inside, and no script.
    response.headers["Content-Security-Policy"] = (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
    )
    return response


@router.get("/requests/{identifier}/certificate")
def certificate(request: Request, caller: Evidence, identifier: str) -> HTMLResponse:
    """The newest certificate of a request, for people."""
    found = views.certificate(caller.tenant, identifier)
    return page(request, "certificate.html.j2", caller, identifier=identifier, left=LEFT, **found)


@router.get("/requests/{identifier}/report.json")
def report_file(caller: Evidence, identifier: str) -> Response:
    """A request's report as a file."""
    return _file(views.report(caller.tenant, identifier), f"{identifier}-report.json")


@router.get("/requests/{identifier}/certificate.json")
def certificate_file(caller: Evidence, identifier: str) -> Response:
    """The newest certificate of a request: the signed envelope alone, to be verified anywhere."""
    found = views.certificate(caller.tenant, identifier)
    return _file(found["envelope"], found["file"])


def _file(document: Any, name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    text = json.dumps(finite(document), ensure_ascii=False, indent=1)
    return Response(text, media_type="application/json", headers=headers)


@router.post("/requests/{identifier}/letter", dependencies=OWN)
def write_letter(
    request: Request,
    caller: Decide,
    identifier: str,
    kind: Annotated[str, Form(max_length=100)],
    language: Annotated[str, Form(max_length=100)] = "en",
    reason: Annotated[str, Form(max_length=2000)] = "",
    law: Annotated[str, Form(max_length=100)] = "",
) -> HTMLResponse:
    """Write a letter to the person, to be printed or kept; an untrue one is refused."""
    try:
        made = letter(
            caller.tenant,
            identifier,
            kind,
            language=language,
            reason=reason or None,
            law=law or None,
        )
    except (InputError, StateError) as error:
        return _one(request, caller, identifier, status=422, why=in_fields(error))
    note(caller.tenant, made)
    file = f"data:text/plain;charset=utf-8;base64,{b64encode(made.text.encode()).decode()}"
    return page(request, "letter.html.j2", caller, letter=made, file=file)


@router.post("/requests/{identifier}/exit", dependencies=OWN)
def give_exit(
    request: Request,
    caller: Decide,
    identifier: str,
    item: Annotated[str, Form(max_length=2000)],
    exit: Annotated[Exit, Form()],
    why: Annotated[str, Form(max_length=2000)] = "",
    until: Annotated[str, Form(max_length=20)] = "",
) -> Response:
    """Give an item the exit that the team declares; this erases nothing."""
    said = until if exit is Exit.AWAITING_EXPIRY else why
    return _acted(
        request,
        caller,
        identifier,
        lambda: state_exit(caller.tenant, identifier, item, exit, said, by=caller.token.account),
        at="#closure",
    )


@router.post("/requests/{identifier}/note", dependencies=OWN)
def add_note(
    request: Request,
    caller: Work,
    identifier: str,
    text: Annotated[str, Form(max_length=8000)] = "",
) -> Response:
    """Add a note to a request; errors are shown on the request's page."""
    return _acted(
        request,
        caller,
        identifier,
        lambda: notes.note(caller.tenant, identifier, text, by=caller.token.account),
        at="#notes",
    )


@router.post("/requests/{identifier}/owner", dependencies=OWN)
def assign(
    request: Request,
    caller: Work,
    identifier: str,
    owner: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Set the owner of a request: the account that works on it."""
    return _acted(
        request,
        caller,
        identifier,
        lambda: notes.assign(caller.tenant, identifier, owner, by=caller.token.account),
        at="#notes",
    )


def _acted(
    request: Request,
    caller: Caller,
    identifier: str,
    act: Callable[[], object],
    *,
    at: str = "",
) -> Response:
    """Run an act and show the request; errors are shown on the request's page."""
    try:
        act()
    except (InputError, StateError) as error:
        return _one(request, caller, identifier, status=422, why=in_fields(error))
    return RedirectResponse(f"/requests/{identifier}{at}", status_code=303)


@router.post("/requests/{identifier}/correct", dependencies=OWN)
def enter_right(
    request: Request,
    caller: Decide,
    identifier: str,
    rows: Annotated[str, Form(max_length=60_000)] = "",
) -> Response:
    """Enter the corrected rows of a rectification; on an error nothing is changed."""
    return _acted(
        request,
        caller,
        identifier,
        lambda: correct(caller.tenant, identifier, rows, by=caller.token.account),
    )


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
    """Run an act of the team; errors are shown on the request's page."""
    by = caller.token.account
    acts = {
        "identify": lambda: handlers.identify(caller.tenant, identifier, by=by),
        "approve": lambda: views.approve(caller.tenant, identifier, by=by),
        "wait": lambda: handlers.wait(
            caller.tenant, identifier, why=why, until=_day(until), need=need or None
        ),
        "resume": lambda: handlers.resume(caller.tenant, identifier),
        "extend": lambda: handlers.extend(caller.tenant, identifier, why=why),
        "refuse": lambda: handlers.refuse(caller.tenant, identifier, why=why),
        "cancel": lambda: handlers.cancel(caller.tenant, identifier, why=why),
        "close": lambda: close_access(caller.tenant, identifier),
    }
    if act not in acts:
        raise UnknownName("action", act, acts)
    return _acted(request, caller, identifier, acts[act])


def _one(
    request: Request, caller: Caller, identifier: str, *, status: int = 200, **shown: Any
) -> HTMLResponse:
    found = caller.tenant.store.request(identifier)
    report = views.report_of(caller.tenant, found) if caller.may(Right.EVIDENCE) else None
    datasets = {found.scope.get("dataset"), *found.scope.get("versions", ())} - {None}
    shown |= {
        "asked": views.request(caller.tenant, found),
        "plan": views.plan(found),
        "report": report,
        "attempts": views.attempts(report) if report else [],
        "closure": views.closure(caller.tenant, identifier),
        "decides": caller.may(Right.DECIDE),
        "works": caller.may(Right.WORK),
        "workers": caller.tenant.accounts.who_may(Right.WORK),
        "lineage": caller.may(Right.LINEAGE),
        "languages": languages(caller.tenant.settings.workspace),
        "letters": LETTERS,
        "reasoned": REASONED,
        "acts": ACTS,
        "exits": EXITS,
        "left": LEFT,
        "datasets": {one: caller.tenant.store.dataset(one) for one in datasets},
        "laws": known_laws(caller.tenant.settings.workspace),
        "follow": following.path(caller.tenant.store.key, identifier),
    }
    return page(request, "request.html.j2", caller, status=status, **shown)


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise InputError("expected a day as 2026-12-31, got something else") from None
