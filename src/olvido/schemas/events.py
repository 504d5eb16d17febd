"""Events in a request's history: one class for each status, with its details.

An event is stored in the request's history and in the log. Besides the details of its status, any
of them may note what else happened in this status: that its answer takes longer, that answers about
the person are withheld, or the status from which it was resumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from olvido.errors import InputError
from olvido.schemas.base import Part, Plain, wrong
from olvido.schemas.plan import Chosen, Way


class _Event(Part):
    """Members that every event may have.

    Attributes:
        why: the reason, as somebody entered it.
        extended: the day on which the person was informed that the answer takes longer.
        suppress: whether answers about the person are withheld from now on, under `guarantee`.
        resumed: the status from which it was resumed.
        exported: the export for the data subject; `corrected`: the right values, entered.
        names, whole, near: keyed digests of the person's names, as `olvido.requests.scope` keeps
            them; `unsearched`: how many names texts cannot be searched for.
    """

    why: str | None = None
    extended: str | None = None
    suppress: bool | None = None
    guarantee: str | None = None
    resumed: str | None = None
    exported: Plain | None = None
    corrected: Plain | None = None
    names: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()
    near: tuple[str, ...] = ()
    unsearched: int = 0


class Received(_Event):
    """Somebody made a request; the law's words of that day are stored with it."""

    status: Literal["received"] = "received"
    law: Plain | None = None
    calendar: Plain | None = None
    repeats: str | None = None


class IdentityChecked(_Event):
    """An account checked the identity of the person who asks."""

    status: Literal["identity-checked"] = "identity-checked"
    by: str | None = None


class Located(_Event):
    """The affected records and models are known, or the models to destroy."""

    status: Literal["located"] = "located"
    records: int | None = None
    models: tuple[str, ...] = ()
    destroy: tuple[str, ...] = ()


class Planned(_Event):
    """Every method was priced and one was chosen; or one of two people approved it."""

    status: Literal["planned"] = "planned"
    model: str | None = None
    routes: tuple[Way, ...] | None = None
    chosen: Chosen | None = None
    not_learned: Plain | None = None
    destroy: tuple[str, ...] = ()
    approvals: tuple[str, ...] = ()


class Approved(_Event):
    """The request may be carried out under its `order` (`olvido.schemas.options.RunOptions`)."""

    status: Literal["approved"] = "approved"
    approvals: tuple[str, ...] = ()
    order: Plain | None = None


class Running(_Event):
    """The request is being carried out; if not as planned, with the actual plan."""

    status: Literal["running"] = "running"
    model: str | None = None
    methods: tuple[str, ...] = ()
    routes: tuple[Way, ...] | None = None
    chosen: Chosen | None = None
    destroy: tuple[str, ...] = ()


class AuditedEvent(_Event):
    """The result may be published: with its method, or the number of remaining models."""

    status: Literal["audited"] = "audited"
    method: str | None = None
    left: int | None = None


class Published(_Event):
    """A model that has forgotten serves, one was destroyed, or none had to forget.

    Attributes:
        answer: the result, as its certificate repeats it.
        model: the new version; `verdicts` of all attempts.
        destroyed: the destroyed models.
        not_learned: why no model had to forget.
    """

    status: Literal["published"] = "published"
    answer: Plain | None = None
    model: str | None = None
    verdicts: tuple[bool, ...] = ()
    destroyed: tuple[str, ...] = ()
    not_learned: Plain | None = None


class Closed(_Event):
    """Every item of the data map has its disposition, with counts; or the person was informed."""

    status: Literal["closed"] = "closed"
    erased: int | None = None
    awaiting_expiry: Annotated[int | None, Field(alias="awaiting-expiry")] = None
    cannot: int | None = None
    unrelated: int | None = None
    document: str | None = None


class NeedsInput(_Event):
    """The person or the team has to provide something first.

    Attributes:
        for_: the missing input: identity, fee or clarification of the person; a decision of the
        team.
        until: the day of the next check.
        model, verdicts: of a run that ended without anything to publish.
    """

    status: Literal["needs-input"] = "needs-input"
    for_: Annotated[str | None, Field(alias="for")] = None
    until: str | None = None
    model: str | None = None
    verdicts: tuple[bool, ...] = ()


class Waiting(_Event):
    """The request is suspended until a day."""

    status: Literal["waiting"] = "waiting"
    until: str | None = None


class Refused(_Event):
    """The request is refused, and the person is informed why."""

    status: Literal["refused"] = "refused"


class Cancelled(_Event):
    """The request is cancelled."""

    status: Literal["cancelled"] = "cancelled"


Event = Annotated[
    Received
    | IdentityChecked
    | Located
    | Planned
    | Approved
    | Running
    | AuditedEvent
    | Published
    | Closed
    | NeedsInput
    | Waiting
    | Refused
    | Cancelled,
    Field(discriminator="status"),
]


@cache
def events() -> TypeAdapter[Event]:
    """The type adapter that reads and describes all events."""
    return TypeAdapter(Event)


def event(status: str, detail: Mapping[str, Any]) -> Event:
    """Read an event of a request from its stored form.

    Raises:
        InputError: this status has no such details.
    """
    try:
        return events().validate_python({"status": str(status), **detail})
    except ValidationError as error:
        raise InputError(
            f"a request that is {status} cannot say this: {'; '.join(wrong(error))}"
        ) from error
