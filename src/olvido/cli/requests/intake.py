"""`olvido request`: the team's acts on a request that need no model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

import typer

from olvido.cli.output import Terminal, command, table
from olvido.errors import InputError

if TYPE_CHECKING:
    from olvido.ledger.facts import Record, Request
    from olvido.ledger.identity import SubjectId
    from olvido.requests.handlers import StoreContext
    from olvido.settings import Settings

commands = typer.Typer(help="Requests of data subjects, from intake to closing.")

Id = Annotated[str, typer.Argument(metavar="ID", help="Of the request.")]
_Why = Annotated[str, typer.Option("--why", help="The reason, without names: it is kept.")]
_By = Annotated[str, typer.Option("--by", help="Whose account does this: see 'olvido token list'.")]


@contextmanager
def opened_context(terminal: Terminal) -> Iterator[StoreContext]:
    """The workspace's ledger and settings, without its models."""
    from olvido.requests.handlers import StoreContext

    settings = terminal.settings()
    with terminal.store() as store:
        yield StoreContext(store, settings)


@commands.command()
@command
def new(
    terminal: Terminal,
    subject: Annotated[
        str | None,
        typer.Option("--subject", help="The person, as the data's subject column names them."),
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option("--also", metavar="NAME", help="Another name of the same person, or e-mail."),
    ] = None,
    kind: Annotated[
        str,
        typer.Option(
            "--kind", help="erasure, opt-out, poison, outdated, destroy, access or rectification."
        ),
    ] = "erasure",
    law: Annotated[
        str | None, typer.Option("--law", help="The law it falls under: see 'olvido laws'.")
    ] = None,
    received: Annotated[
        str | None, typer.Option("--received", metavar="DAY", help="When it came; now if not said.")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--source", help="For opt-out and poison: the source.")
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", help="For outdated and rectification: the dataset."),
    ] = None,
    record: Annotated[
        list[str] | None,
        typer.Option("--record", metavar="ID", help="For outdated and rectification: a record."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="For destroy: the model, with its descendants.")
    ] = None,
    nothing_found: Annotated[
        bool,
        typer.Option("--nothing-found", help="Enter it although no record is about the subject."),
    ] = False,
) -> None:
    """Enter a request. A name is digested at once and kept nowhere."""
    from olvido.requests.handlers import receive
    from olvido.requests.scope import NobodyFound, look_up, unsearched, unsearched_note
    from olvido.requests.workflow.intake import moment

    with opened_context(terminal) as context:
        names = [] if subject is None else [subject, *(also or ())]
        person = look_up(context.store, names)
        try:
            request = receive(
                context,
                subject,
                also=also or (),
                kind=kind,
                source=source,
                dataset=dataset,
                records=record or (),
                model=model,
                law=law,
                received_at=None if received is None else moment(received, context.settings),
                nothing_found=nothing_found,
            )
        except NobodyFound as error:
            hints = [f" {hint}" for hint in also_meant(error.near)]
            raise InputError(*error.args, *(["."] if hints else []), *hints) from None
        following = "plan" if model else "locate"
        if kind in ("access", "rectification"):
            following = "identify"
        found = [{"name": name, "records": person.counts[name]} for name in person.counts]
        show(
            terminal,
            context,
            request,
            *(f"{name}: {person.described(name)}" for name in person.counts),
            *also_meant(person.near),
            *filter(None, [unsearched_note(unsearched(request))]),
            f"Next: olvido request {following} {request.id}"
            + (" --by ACCOUNT" if following == "identify" else ""),
            found=found,
            unsearched=unsearched(request),
        )


def also_meant(near: Mapping[SubjectId, Sequence[Record]]) -> tuple[str, ...]:
    """Lines about subjects with near names: other spellings of the person, or other people.

    Somebody has to see in the rows whether they are the same person.
    """
    return tuple(
        f"Did you also mean {subject}? {len(records)} records are about that subject, whose name "
        f"is near this one: {', '.join(record.id for record in records[:3])}"
        f"{', ...' if len(records) > 3 else ''}. If it is the same person, give the name "
        "as those rows have it, too (--also), so that texts are searched for it, or else that "
        "subject."
        for subject, records in near.items()
        if records
    )


@commands.command()
@command
def identify(terminal: Terminal, identifier: Id, by: _By) -> None:
    """Note that the identity of who asks was checked."""
    from olvido.requests import handlers

    with opened_context(terminal) as context:
        request = handlers.identify(context, identifier, by=by)
        following = {
            "access": f"export {identifier} --out FOLDER --by ACCOUNT",
            "rectification": f"correct {identifier} --rows FILE --by ACCOUNT",
        }.get(request.kind, f"locate {identifier}")
        show(terminal, context, request, f"Next: olvido request {following}")


@commands.command()
@command
def wait(
    terminal: Terminal,
    identifier: Id,
    why: _Why,
    until: Annotated[
        str | None, typer.Option("--until", metavar="DAY", help="When to look at it again.")
    ] = None,
    need: Annotated[
        str | None,
        typer.Option("--for", help="What the person has to give: identity, fee or clarification."),
    ] = None,
) -> None:
    """Suspend a request; a question to the person stops the clock where the law says so."""
    from olvido.requests import handlers

    with opened_context(terminal) as context:
        look = None if until is None else day(until)
        request = handlers.wait(context, identifier, why=why, until=look, need=need)
        show(terminal, context, request, f"Later: olvido request resume {identifier}")


@commands.command()
@command
def resume(terminal: Terminal, identifier: Id) -> None:
    """Resume a request that was suspended or cancelled."""
    from olvido.requests import handlers

    with opened_context(terminal) as context:
        show(terminal, context, handlers.resume(context, identifier))


@commands.command()
@command
def extend(
    terminal: Terminal,
    identifier: Id,
    why: _Why,
    informed_on: Annotated[
        str | None,
        typer.Option(
            "--informed-on", metavar="DAY", help="When the person was informed; default today."
        ),
    ] = None,
) -> None:
    """Note that the person was informed that the answer takes longer, where the law allows it."""
    from olvido.requests import handlers

    with opened_context(terminal) as context:
        since = None if informed_on is None else day(informed_on)
        show(terminal, context, handlers.extend(context, identifier, why=why, informed_on=since))


@commands.command()
@command
def suppress(terminal: Terminal, identifier: Id) -> None:
    """Withhold answers about the subject until the weights have changed: output only."""
    from olvido.requests.rights.output_filter import suppress as withhold
    from olvido.requests.scope import unsearched, unsearched_note

    with opened_context(terminal) as context:
        request = withhold(context, identifier)
        show(
            terminal,
            context,
            request,
            "Suppressed, not forgotten: 'olvido models ask' and the output filter withhold "
            "answers, and the weights are unchanged.",
            *filter(None, [unsearched_note(unsearched(request))]),
        )


@commands.command()
@command
def refuse(terminal: Terminal, identifier: Id, why: _Why) -> None:
    """Refuse a request, and show what the law requires the letter to say."""
    from olvido.requests import handlers
    from olvido.requests.rights.deadlines import law_of

    with opened_context(terminal) as context:
        request = handlers.refuse(context, identifier, why=why)
        law = law_of(request, context.settings)
        duties = [] if law is None else [*law.refused, f"recourse: {law.recourse}"]
        show(terminal, context, request, *(f"Tell the person {line}." for line in duties))


@commands.command()
@command
def cancel(terminal: Terminal, identifier: Id, why: _Why) -> None:
    """Cancel a request; a run under way publishes nothing. 'resume' takes it up again."""
    from olvido.requests import handlers

    with opened_context(terminal) as context:
        show(terminal, context, handlers.cancel(context, identifier, why=why))


@commands.command()
@command
def again(terminal: Terminal, identifier: Id) -> None:
    """Enter a closed request anew, where its law requires that for data that came in since."""
    from olvido.requests import handlers

    with opened_context(terminal) as context:
        request = handlers.again(context, identifier)
        show(terminal, context, request, f"Next: olvido request locate {request.id}")


@commands.command("show")
@command
def show_one(terminal: Terminal, identifier: Id) -> None:
    """Show one request: its deadline, the identity check, and the next step."""
    from dataclasses import asdict

    from olvido.requests.guidance import next_step
    from olvido.requests.rights.letter import fitting

    with opened_context(terminal) as context:
        request = context.store.request(identifier)
        step, letters = next_step(context, request), fitting(context, request)
    document = described(request, context.settings)
    shown = [(what, value) for what, value in document.items() if value not in (None, {}, [])]
    terminal.emit(
        document | {"next": asdict(step), "letters": list(letters)},
        table(("what", "value"), shown),
        step.sentence,
        f"Letters that fit: {', '.join(letters) or 'none'}",
    )


def described(request: Request, settings: Settings) -> dict[str, Any]:
    """A request as plain values."""
    from olvido.accounts import Accounts
    from olvido.requests.guidance import identity_basis
    from olvido.requests.rights.deadlines import again_by, as_received, days_left, deadline_of

    due, because, left = None, None, days_left(request, settings)
    found = deadline_of(request, settings) if request.status.pending else None
    if found is not None:
        due, because = found.answer and found.answer.isoformat(), found.because
    last = request.history[-1]
    repeat = again_by(request, settings)
    labels = Accounts.of(settings).labels()
    return {
        "id": request.id,
        "kind": request.kind.value,
        "status": request.status.value,
        "law": request.law,
        "subject": None if request.subject is None else str(request.subject),
        "scope": dict(request.scope),
        "received_at": request.received_at.isoformat(),
        "identity": identity_basis(request),
        "due": due,
        "days_left": left,
        "because": because,
        "again_by": repeat and repeat.isoformat(),
        "repeats": request.history[0].detail.get("repeats"),
        "timezone": None if request.law is None else as_received(request, settings).timezone,
        "why": last.detail.get("why"),
        "until": last.detail.get("until"),
        "owner": request.owner and labels.get(request.owner, request.owner),
        "notes": [
            f"{one.at:%Y-%m-%d}, {labels.get(one.by, one.by)}: {one.text}"
            for one in request.notes
            if one.text is not None
        ],
        "report": request.report,
    }


def show(
    terminal: Terminal, context: StoreContext, request: Request, *advice: str, **more: Any
) -> None:
    """Print a request; `more` is only in the JSON document."""
    document = described(request, context.settings)
    shown = [(what, value) for what, value in document.items() if value not in (None, {}, [])]
    terminal.emit(document | more, table(("what", "value"), shown), *advice)


def day(text: str) -> date:
    """Read a day from the command line."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InputError(f"expected a day like 2026-11-24, got {text!r}") from None
