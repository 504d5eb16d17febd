"""The API: JSON in, JSON out, described by its OpenAPI document."""

from __future__ import annotations

import base64
import binascii
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from olvido.accounts import Right
from olvido.errors import InputError
from olvido.ledger.facts import RequestKind
from olvido.ledger.serving import in_brief
from olvido.requests import handlers
from olvido.requests.rights.registry import laws as known_laws
from olvido.requests.scope import MOST, look_up, unsearched
from olvido.requests.workflow import notes
from olvido.requests.workflow.filters import ALL, RequestFilter
from olvido.schemas.options import RunOptions
from olvido.service import lineage, status, views
from olvido.service.authentication import Caller, RequiresRight
from olvido.service.pages import Wanted
from olvido.service.status import file_quietly

router = APIRouter(
    prefix="/api",
    responses={
        401: {"description": "No token, or one that is not known."},
        403: {"description": "The token's role may not do this."},
        404: {"description": "No such thing in this workspace."},
        408: {"description": "The body did not come in time."},
        409: {"description": "The state of things does not allow it."},
        413: {"description": "The body is too long."},
        422: {"description": "The input is wrong."},
        429: {"description": "Too many requests; see Retry-After."},
        503: {"description": "The ledger cannot be used now."},
    },
)

Filing = Annotated[Caller, Depends(RequiresRight(Right.FILE))]
Follow = Annotated[Caller, Depends(RequiresRight(Right.FOLLOW))]
Decide = Annotated[Caller, Depends(RequiresRight(Right.DECIDE))]
Work = Annotated[Caller, Depends(RequiresRight(Right.WORK))]
Lineage = Annotated[Caller, Depends(RequiresRight(Right.LINEAGE))]
Evidence = Annotated[Caller, Depends(RequiresRight(Right.EVIDENCE))]
Number = Annotated[int, Query(ge=1, le=500, description="How many at the most.")]
Skip = Annotated[int, Query(ge=0, le=2**31, description="How many to pass over.")]

Id = Annotated[str, Path(pattern=r"^req-[0-9]{4,12}$", description="Of the request.")]
Text = Annotated[str, Field(min_length=1, max_length=2000)]


class RequestBody(BaseModel):
    """The body of a call; an unknown entry is refused, never ignored."""

    model_config = ConfigDict(extra="forbid")


class NewRequest(RequestBody):
    """A new request. A subject's names are digested at once and kept nowhere."""

    kind: RequestKind = RequestKind.ERASURE
    subject: Text | None = None
    also: Annotated[list[Text], Field(max_length=MOST - 1)] = []
    source: Text | None = None
    dataset: Text | None = None
    records: Annotated[list[Text], Field(max_length=1000)] = []
    model: Text | None = None
    law: Text | None = None
    nothing_found: bool = False


class ModelInput(RequestBody):
    """One input of a classifier: a text, an array (nested lists, or its `dtype`, `shape` and `data`
    in base64), or a picture's file in base64."""

    text: Annotated[str, Field(min_length=1, max_length=100_000)] | None = None
    input: list[Any] | dict[str, Any] | None = None
    picture: Annotated[str, Field(min_length=1)] | None = None

    @property
    def value(self) -> Any:
        """What is given. Raises InputError for none or several, or what is no base64."""
        given = {n: v for n, v in self if v is not None}
        if len(given) != 1:
            raise InputError(
                f"expected one of text, input and picture, got {', '.join(given) or 'none'}"
            )
        if self.picture is None:
            return next(iter(given.values()))
        try:
            return base64.b64decode(self.picture, validate=True)
        except binascii.Error as error:
            raise InputError(f"the picture is no base64 ({error})") from None


class SearchText(RequestBody):
    """The number of a request, a person, or a source, dataset, record or model."""

    text: Text


class Why(RequestBody):
    """A reason, without names: it is kept."""

    why: Text


class NewNote(RequestBody):
    """A note, without names: it is kept."""

    text: Text


class Owner(RequestBody):
    """The owner of a request: the id or label of an account; null for nobody."""

    owner: Annotated[str, Field(max_length=200)] | None


class WaitingBody(Why):
    """Why a request is suspended, and until when."""

    until: date | None = None
    need: Text | None = None


class Extension(Why):
    """Why the answer takes longer, and when the person was informed."""

    informed_on: date | None = None


@router.post("/requests", tags=["requests"], status_code=201)
async def file_request(caller: Filing, sent: NewRequest) -> dict[str, Any]:
    """Enter a request; return its id and the status page for the person.

    A caller who may not see requests gets that page alone, whatever is in the data.
    """
    if not caller.may(Right.FOLLOW):
        other = sent.source or sent.dataset or sent.records or sent.model
        names = [] if other or sent.subject is None else [sent.subject, *sent.also]
        return {"follow": await file_quietly(caller.tenant, names, kind=sent.kind, law=sent.law)}
    return await run_in_threadpool(_entered, caller, sent)


def _entered(caller: Caller, sent: NewRequest) -> dict[str, Any]:
    names = [] if sent.subject is None else [sent.subject, *sent.also]
    person = look_up(caller.tenant.store, names)
    made = handlers.receive(
        caller.tenant,
        sent.subject,
        also=sent.also,
        kind=sent.kind,
        source=sent.source,
        dataset=sent.dataset,
        records=sent.records,
        model=sent.model,
        law=sent.law,
        nothing_found=sent.nothing_found,
    )
    return {
        "id": made.id,
        "status": made.status.value,
        "received_at": made.received_at.isoformat(),
        "follow": status.path(caller.tenant.store.key, made.id),
        "found": [person.counts[name] for name in names],
        "near": [{"subject": str(who), "records": len(some)} for who, some in person.near.items()],
        "unsearched": unsearched(made),
    }


@router.get("/requests", tags=["requests"])
def requests(caller: Follow, wanted: Wanted, limit: Number = 100, skip: Skip = 0) -> dict[str, Any]:
    """Requests that are not closed, or those that pass the filter; the fewest days left first."""
    return _listed(caller, wanted, limit, skip)


@router.get("/requests/summary", tags=["requests"])
def summary(caller: Follow) -> dict[str, Any]:
    """Numbers of open, late and due requests, by kind and law; those received by month."""
    return caller.tenant.inbox.summary()


@router.post("/requests/search", tags=["requests"])
def search(caller: Follow, sent: SearchText, limit: Number = 100, skip: Skip = 0) -> dict[str, Any]:
    """Requests of any status by number, by exactly this person, or by their object.

    A name is digested at once and kept nowhere.
    """
    found = caller.tenant.inbox.search(sent.text)
    if isinstance(found, RequestFilter):
        return _listed(caller, found, limit, skip)
    rows = [
        row for row in caller.tenant.inbox.rows(RequestFilter(status=ALL)) if row["id"] == found
    ]
    return {"total": len(rows), "requests": rows[skip : skip + limit]}


def _listed(caller: Caller, wanted: RequestFilter, limit: int, skip: int) -> dict[str, Any]:
    rows = caller.tenant.inbox.rows(wanted)
    return {"total": len(rows), "requests": rows[skip : skip + limit]}


@router.get("/requests/{identifier}", tags=["requests"])
def request(caller: Follow, identifier: Id) -> dict[str, Any]:
    """One request, with its history and its clock."""
    return views.request(caller.tenant, caller.tenant.store.request(identifier))


@router.get("/requests/{identifier}/report", tags=["evidence"])
def report(caller: Evidence, identifier: Id) -> dict[str, Any]:
    """The report of a request: what was done and what the audits found."""
    return views.report(caller.tenant, identifier)


@router.get("/requests/{identifier}/closure", tags=["evidence"])
def closure(caller: Evidence, identifier: Id) -> dict[str, Any]:
    """The artefacts that hold or held the data, with their exits; null: still open."""
    return {"request": identifier, "items": views.closure(caller.tenant, identifier)}


@router.get("/requests/{identifier}/certificate", tags=["evidence"])
def certificate(caller: Evidence, identifier: Id) -> dict[str, Any]:
    """The newest certificate: its envelope, its statement, and whether it holds."""
    return views.certificate(caller.tenant, identifier)


@router.post("/requests/{identifier}/identify", tags=["requests"])
def identify(caller: Decide, identifier: Id) -> dict[str, Any]:
    """Note that the identity of who asks was checked."""
    return _moved(caller, handlers.identify(caller.tenant, identifier, by=caller.token.account))


@router.post("/requests/{identifier}/approve", tags=["requests"])
def approve(caller: Decide, identifier: Id, sent: RunOptions | None = None) -> dict[str, Any]:
    """Approve the plan for the worker, with or without options of its own.

    Destruction takes two people.
    """
    by = caller.token.account
    return _moved(caller, views.approve(caller.tenant, identifier, by=by, how=sent))


@router.post("/requests/{identifier}/wait", tags=["requests"])
def wait(caller: Decide, identifier: Id, sent: WaitingBody) -> dict[str, Any]:
    """Suspend a request until a day or until the person has answered."""
    moved = handlers.wait(caller.tenant, identifier, why=sent.why, until=sent.until, need=sent.need)
    return _moved(caller, moved)


@router.post("/requests/{identifier}/resume", tags=["requests"])
def resume(caller: Decide, identifier: Id) -> dict[str, Any]:
    """Resume a request that was suspended."""
    return _moved(caller, handlers.resume(caller.tenant, identifier))


@router.post("/requests/{identifier}/extend", tags=["requests"])
def extend(caller: Decide, identifier: Id, sent: Extension) -> dict[str, Any]:
    """Note that the person was informed that the answer takes longer."""
    return _moved(
        caller,
        handlers.extend(caller.tenant, identifier, why=sent.why, informed_on=sent.informed_on),
    )


@router.post("/requests/{identifier}/refuse", tags=["requests"])
def refuse(caller: Decide, identifier: Id, sent: Why) -> dict[str, Any]:
    """Refuse a request, with the reason that the person is given."""
    return _moved(caller, handlers.refuse(caller.tenant, identifier, why=sent.why))


@router.post("/requests/{identifier}/cancel", tags=["requests"])
def cancel(caller: Decide, identifier: Id, sent: Why) -> dict[str, Any]:
    """Cancel a request; a run under way publishes nothing."""
    return _moved(caller, handlers.cancel(caller.tenant, identifier, why=sent.why))


@router.post("/requests/{identifier}/notes", tags=["requests"])
def add_note(caller: Work, identifier: Id, sent: NewNote) -> dict[str, Any]:
    """Add a note to a request; a text that names somebody is refused."""
    by = caller.token.account
    return _moved(caller, notes.note(caller.tenant, identifier, sent.text, by=by))


@router.post("/requests/{identifier}/owner", tags=["requests"])
def assign(caller: Work, identifier: Id, sent: Owner) -> dict[str, Any]:
    """Set the owner of a request: the account that works on it."""
    by = caller.token.account
    return _moved(caller, notes.assign(caller.tenant, identifier, sent.owner, by=by))


def _moved(caller: Caller, found: Any) -> dict[str, Any]:
    return views.request(caller.tenant, found)


@router.get("/laws", tags=["laws"])
def laws(caller: Follow) -> dict[str, Any]:
    """Every law, with its source, its date, and the confidence of the reading."""
    return {"laws": [law.to_dict() for law in known_laws(caller.tenant.settings.workspace)]}


@router.get("/models", tags=["models"])
def models(caller: Lineage, limit: Number = 100, skip: Skip = 0) -> dict[str, Any]:
    """The models that the ledger knows, parents before their children."""
    store = caller.tenant.store
    known = store.models()
    return {"total": len(known), "models": in_brief(store, known[skip : skip + limit])}


@router.get("/models/{ref}", tags=["models"])
def model(caller: Lineage, ref: str) -> dict[str, Any]:
    """One model by alias, id, the beginning of its id, or digest, with its descendants."""
    store = caller.tenant.store
    return lineage.model(store, ref, lineage.named(store))


@router.post("/models/{ref}/answer", tags=["models"])
async def answer(caller: Work, ref: str, sent: ModelInput) -> dict[str, Any]:
    """A classifier's answer to one input: the class, and the probability of each.

    The model is loaded for the call, and its weights are checked against the ledger.
    """
    return await run_in_threadpool(lineage.answer, caller.tenant, ref, sent.value)


@router.get("/datasets", tags=["data"])
def datasets(caller: Lineage) -> dict[str, Any]:
    """Every dataset in every version, the oldest first."""
    return {"datasets": [lineage.dataset(found) for found in caller.tenant.store.datasets()]}


@router.get("/datasets/{ref}", tags=["data"])
def dataset(caller: Lineage, ref: str) -> dict[str, Any]:
    """One dataset by id, or by name in its newest version: counts, models and requests."""
    return lineage.one_dataset(caller.tenant.store, ref)


@router.get("/log", tags=["evidence"])
def log(
    caller: Evidence,
    after: Annotated[int, Query(ge=0, le=2**62, description="The entry after which to begin.")] = 0,
    limit: Number = 100,
) -> dict[str, Any]:
    """The ledger's log, the oldest entry first, and whether it is unchanged."""
    found = caller.tenant.store.events_between(after=after, limit=limit)
    check, at = caller.tenant.checked.log()
    return {
        "checked_at": at.isoformat(),
        "sound": check.sound,
        "reason": check.reason,
        "head": str(check.head),
        "entries": [views.entry(entry) for entry in found],
    }
