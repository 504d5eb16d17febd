"""What the role that files requests and sees none is told: the same, whatever is the case.

Whether a person is in the data, whether somebody asked for them before, and which datasets, records
and models there are: none of it may be learned by filing. Every filing is in the log.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime

from starlette.concurrency import run_in_threadpool

from olvido.errors import AskedBefore, InputError
from olvido.ledger.facts import RequestKind
from olvido.ledger.identity import SubjectId
from olvido.requests import desk
from olvido.requests.calendar import today
from olvido.requests.desk import Office
from olvido.requests.laws import Clock, deadline, find_law
from olvido.requests.persons import look_up
from olvido.serving.status import Receipt

KINDS = (RequestKind.ERASURE, RequestKind.OPT_OUT, RequestKind.ACCESS)
"""What may be filed for a person."""
STEP = 0.25
"""Seconds: an answer comes at a multiple of this, so that its time tells nothing."""


async def file_quietly(office: Office, names: Sequence[str], *, kind: str, law: str | None) -> str:
    """Enter a request about a person, under all their names.

    Gives the path of the page on which it can be followed. One that asks for the same as an open
    one is noted there.

    Raises:
        InputError: it names no person, another kind, or a law that is not known; after the same
            time, too.
    """
    began = time.monotonic()
    try:
        receipt = await run_in_threadpool(_file, office, names, kind, law)
    finally:
        spent = time.monotonic() - began
        await asyncio.sleep(STEP * math.ceil(spent / STEP) - spent)
    return receipt.path(office.store.key)


def _file(office: Office, names: Sequence[str], kind: str, law: str | None) -> Receipt:
    # An id of somebody is what those have who see requests: here it would tell who is known.
    if kind not in KINDS or not names or any(map(SubjectId.is_one, names)):
        raise InputError(
            f"expected a request of kind {' or '.join(KINDS)} about a subject, got something else: "
            "whoever may see requests can enter other kinds"
        )
    at = datetime.now(UTC)
    try:
        due = _due(office, kind, law, at)
    except InputError:
        raise InputError("expected a law by its short name, like gdpr, or none") from None
    store = office.store
    try:
        known = any(look_up(store, names).counts.values())
        first, *also = names
        made = desk.receive(
            office,
            first,
            also=also,
            kind=kind,
            law=law,
            received_at=at,
            nothing_found=not known,
        )
    except AskedBefore as error:
        store.note("request-filed-again", {"id": error.request})
        return Receipt(error.request, at, due, first=False)
    return Receipt(made.id, at, due, first=True)


def _due(office: Office, kind: str, law: str | None, at: datetime) -> date | None:
    if law is None:
        return None
    settings = office.settings
    return deadline(
        find_law(law, workspace=settings.workspace).concerning(kind),
        Clock(received=today(settings, at)),
        today=today(settings, at),
        holidays=settings.holidays,
    ).answer
