"""The pages on which a request is entered: one person, under as many names as they have."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, Response
from starlette.concurrency import run_in_threadpool

from olvido.accounts import Right
from olvido.errors import InputError
from olvido.ledger.facts import RequestKind
from olvido.requests import desk
from olvido.requests.laws import laws as known_laws
from olvido.requests.persons import NobodyFound, Person, look_up
from olvido.requests.scope import lineage_of, unsearched, untold
from olvido.serving import status as following
from olvido.serving.boundary.authentication import Caller
from olvido.serving.filing import KINDS, file_quietly
from olvido.serving.rendering import OWN, Filing, in_fields, page

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@router.get("/requests/new")
def blank(request: Request, caller: Filing) -> HTMLResponse:
    """Where a request is entered."""
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
    """Enter a request; what is wrong is told on the same page.

    Names near those that were given are shown with their counts before anything is entered, to
    whoever may see requests. `same` are digests of those that are the same person's.
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
            desk.receive,
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
        counts={name: person.told(name) for name in names},
        records=len(found.records),
        people=len({subject for record in found.records for subject in record.subjects}),
        untold=untold(unsearched(made)),
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
    counts = {} if person is None else {name: person.told(name) for name in person.counts}
    blank = dict.fromkeys(
        (*("subject", "also", "kind", "source"), *("dataset", "record", "law")), ""
    )
    shown = {"why": None, "typed": blank, "near": near, "counts": counts, "laws": laws} | shown
    # Whoever sees no request is offered what they may file, and nothing that would be refused.
    quiet = not caller.may(Right.FOLLOW)
    shown |= {"quiet": quiet, "kinds": KINDS if quiet else tuple(RequestKind)}
    return page(request, "new.html.j2", caller, status=status, **shown)
