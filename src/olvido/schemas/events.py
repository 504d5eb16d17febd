"""What happened to a request: one class for each status that it comes to, with what that says.

An event is kept in the request's history and in the log. Beside what its status says, any of them
may note what happened where the request stands: that its answer takes longer, that answers about
the person are withheld, or what it was taken up again from.
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
    """What every event may note.

    Attributes:
        why: the reason, as somebody gave it.
        extended: the day on which the person was told that the answer takes longer.
        suppress: whether answers about the person are withheld from now on, under `guarantee`.
        resumed: the status from which it was taken up again.
        exported: what was given to the person who asked; `corrected`: what is right, entered.
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
    """Somebody asked; kept are the law's words of that day."""

    status: Literal["received"] = "received"
    law: Plain | None = None
    calendar: Plain | None = None
    repeats: str | None = None


class IdentityChecked(_Event):
    """An account checked who asks."""

    status: Literal["identity-checked"] = "identity-checked"
    by: str | None = None


class Located(_Event):
    """It is known how many records and which models it touches, or which models would go."""

    status: Literal["located"] = "located"
    records: int | None = None
    models: tuple[str, ...] = ()
    destroy: tuple[str, ...] = ()


class Planned(_Event):
    """Every way was priced and one was chosen; or it was approved by one of two people."""

    status: Literal["planned"] = "planned"
    model: str | None = None
    routes: tuple[Way, ...] | None = None
    chosen: Chosen | None = None
    untaught: Plain | None = None
    destroy: tuple[str, ...] = ()
    approvals: tuple[str, ...] = ()


class Approved(_Event):
    """It may be carried out, as the `order` says (`olvido.schemas.options.RunOptions`)."""

    status: Literal["approved"] = "approved"
    approvals: tuple[str, ...] = ()
    order: Plain | None = None


class Running(_Event):
    """It is being carried out; otherwise than it was planned, with the plan that is run."""

    status: Literal["running"] = "running"
    model: str | None = None
    methods: tuple[str, ...] = ()
    routes: tuple[Way, ...] | None = None
    chosen: Chosen | None = None
    destroy: tuple[str, ...] = ()


class AuditedEvent(_Event):
    """What was made may be published: by which method, or how many models are left."""

    status: Literal["audited"] = "audited"
    method: str | None = None
    left: int | None = None


class Published(_Event):
    """A model that has forgotten serves, one was destroyed, or none had to forget.

    Attributes:
        answer: what was done, as its certificate repeats it.
        model: the new version; `verdicts` of all attempts.
        destroyed: the models that went.
        untaught: why none had to forget.
    """

    status: Literal["published"] = "published"
    answer: Plain | None = None
    model: str | None = None
    verdicts: tuple[bool, ...] = ()
    destroyed: tuple[str, ...] = ()
    untaught: Plain | None = None


class Closed(_Event):
    """Everything that held the data has its exit: how many of each; or the person was told."""

    status: Literal["closed"] = "closed"
    erased: int | None = None
    awaiting_expiry: Annotated[int | None, Field(alias="awaiting-expiry")] = None
    cannot: int | None = None
    unrelated: int | None = None
    document: str | None = None


class NeedsInput(_Event):
    """The person or the team has to say something first.

    Attributes:
        for_: what: identity, fee or clarification of the person; a decision of the team.
        until: the day on which to look again.
        model, verdicts: of a run that ended without anything to publish.
    """

    status: Literal["needs-input"] = "needs-input"
    for_: Annotated[str | None, Field(alias="for")] = None
    until: str | None = None
    model: str | None = None
    verdicts: tuple[bool, ...] = ()


class Waiting(_Event):
    """It is put aside until a day."""

    status: Literal["waiting"] = "waiting"
    until: str | None = None


class Refused(_Event):
    """It is refused, and the person is told why."""

    status: Literal["refused"] = "refused"


class Cancelled(_Event):
    """It is called off."""

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
    """What reads and describes all of them."""
    return TypeAdapter(Event)


def event(status: str, detail: Mapping[str, Any]) -> Event:
    """What happened to a request, from what is kept of it.

    Raises:
        InputError: this status says no such thing.
    """
    try:
        return events().validate_python({"status": str(status), **detail})
    except ValidationError as error:
        raise InputError(
            f"a request that is {status} cannot say this: {'; '.join(wrong(error))}"
        ) from error
