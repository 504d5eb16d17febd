"""Make the requests that retention rules ask for, one a rule for all that is due.

All are made in one change of the ledger: a crash leaves none of them, or all. A record that is in
an open request is in no second one, and what the team refused or called off is not asked again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from olvido.errors import AskedBefore, OlvidoError
from olvido.ledger.facts import Request, RequestKind, RequestStatus, Wish
from olvido.ledger.store import Store
from olvido.requests.handlers import RequestContext, wait
from olvido.requests.not_learned import not_learned
from olvido.requests.retention.due import Retention, retention
from olvido.requests.retention.rules import read_rules
from olvido.requests.rights.deadlines import today as present_day
from olvido.settings import Settings

if TYPE_CHECKING:
    from olvido.workspace import Workspace

UNPLANNED = (RequestStatus.RECEIVED, RequestStatus.IDENTIFIED, RequestStatus.LOCATED)
_BEFORE = (*UNPLANNED, RequestStatus.PLANNED, RequestStatus.APPROVED)


def make_due(context: RequestContext, *, today: date | None = None) -> tuple[Request, ...]:
    """Enter a request of kind retention for each rule by which something is due; return them.

    Open requests of rules whose records must be kept by now are put aside: whoever takes one up
    again decides. Only one process may do so at a time: the worker does, under its lock.

    Args:
        context: a workspace, or its ledger and settings.
        today: the day; None: the present one in the team's time zone.

    Raises:
        InputError, UnknownName: a rule is wrong, and nothing was entered.
    """
    rules = read_rules(context.settings)
    if not rules.rules and not rules.holds:
        return ()
    found = retention(context, today=today)
    _put_aside(context, found)
    wishes = []
    for records in found.due().values():
        rule = records[0].rule
        assert rule is not None
        versions: dict[str, list[str]] = {}
        for dataset, identifier in sorted(place for kept in records for place in kept.places):
            versions.setdefault(dataset, []).append(identifier)
        first = min(kept.due for kept in records if kept.due is not None)
        scope = {
            "retention": rule.name,
            "says": rule.says,
            "by": rule.by(first).isoformat(),
            "versions": versions,
        }
        wishes.append(Wish(kind=RequestKind.RETENTION, scope=scope))
    made = context.store.add_requests(wishes) if wishes else ()
    for one in made:
        if isinstance(one, AskedBefore):
            raise one
    return tuple(one for one in made if isinstance(one, Request))


def _put_aside(context: RequestContext, found: Retention) -> None:
    """Suspend the open requests of rules that are about records which must be kept by now."""
    held: dict[str, Counter[str]] = {}
    for kept in found.records:
        if kept.asked is not None and kept.stopped is not None:
            held.setdefault(kept.asked, Counter())[kept.stopped] += 1
    for request in context.store.requests(_BEFORE):
        if request.kind is RequestKind.RETENTION and request.id in held:
            why = "; ".join(f"{n} of its records: {why}" for why, n in held[request.id].items())
            wait(context, request.id, why=why)


def may_wait(store: Store, request: Request, settings: Settings) -> bool:
    """Whether an approved request of a rule still waits for a run that happens anyway.

    It goes along with another request in the same part of a model. It does not wait after its last
    day, nor where no model has to forget: that costs nothing.
    """
    if request.kind is not RequestKind.RETENTION or request.status is not RequestStatus.APPROVED:
        return False
    if present_day(settings) >= date.fromisoformat(request.scope["by"]):
        return False
    return not_learned(store, request) is None


@dataclass(frozen=True, slots=True)
class Asked:
    """A request of a rule that nobody has approved yet.

    Attributes:
        request: as the ledger has it now.
        why: why it could not be planned; None where it is planned.
    """

    request: Request
    why: str | None


def plan_due(workspace: Workspace) -> tuple[Asked, ...]:
    """Plan the requests of rules that nobody has planned; they are approved like any other.

    One that cannot be planned stops no other: it keeps its status, and is planned again later.
    """
    from olvido.requests.flow import plan

    store, asked = workspace.store, []
    for request in store.requests(UNPLANNED):
        if request.kind is RequestKind.RETENTION:
            why = None
            try:
                plan(workspace, request.id)
            except OlvidoError as error:
                why = str(error)
            asked.append(Asked(store.request(request.id), why))
    return tuple(asked)
