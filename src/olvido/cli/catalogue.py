"""`olvido methods`, `audits`, `learners`, `laws`: lists of what is available."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from olvido.cli.output import Terminal, command, table
from olvido.errors import InputError
from olvido.settings import find_folder

commands = typer.Typer()


@commands.command()
@command
def methods(terminal: Terminal) -> None:
    """Show every unlearning method, with its guarantee, needs and options."""
    from olvido.methods import METHODS

    found: list[dict[str, Any]] = [
        {
            "name": name,
            "guarantee": method.guarantee.value,
            "needs": sorted(need.value for need in method.needs),
            "options": list(METHODS.options(name)),
            "summary": method.summary,
        }
        for name, method in METHODS.items()
    ]
    rows = [
        (m["name"], m["guarantee"], ", ".join(m["needs"]), ", ".join(m["options"]), m["summary"])
        for m in found
    ]
    columns = ("name", "guarantee", "needs", "options", "what it does")
    terminal.emit({"methods": found}, table(columns, rows))


@commands.command()
@command
def audits(terminal: Terminal) -> None:
    """Show every audit, with the evidence it needs."""
    from olvido.audits import AUDITS

    found: list[dict[str, Any]] = [
        {
            "name": name,
            "required": audit.required,
            "needs": sorted(need.value for need in audit.needs),
            "summary": audit.summary,
        }
        for name, audit in AUDITS.items()
    ]
    rows = [
        (
            a["name"],
            "always" if a["required"] else "where given",
            ", ".join(a["needs"]),
            a["summary"],
        )
        for a in found
    ]
    terminal.emit({"audits": found}, table(("name", "asked", "needs", "what it asks"), rows))


@commands.command()
@command
def learners(terminal: Terminal) -> None:
    """Show every learner, a way to train."""
    from olvido.learners import LEARNERS

    found = [
        {"name": name, "options": list(LEARNERS.options(name)), "summary": learner.summary}
        for name, learner in LEARNERS.items()
    ]
    rows = [(f["name"], ", ".join(f["options"]), f["summary"]) for f in found]
    terminal.emit({"learners": found}, table(("name", "options", "what it does"), rows))


@commands.command()
@command
def laws(
    terminal: Terminal,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Show all that one law says.")
    ] = None,
    days: Annotated[
        bool, typer.Option("--days", help="Show the days from which legal duties apply, by act.")
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Show the failings that regulators found, with the ledger's counts."
        ),
    ] = False,
) -> None:
    """Show every law: the time to answer, its article, and how sure that is."""
    from olvido.requests.rights.registry import find_law
    from olvido.requests.rights.registry import laws as known

    if (name is not None) + days + check > 1:
        raise InputError("give one of NAME, --days and --check")
    if days:
        _days(terminal)
        return
    if check:
        _check(terminal)
        return
    folder = find_folder(terminal.workspace)
    if name is not None:
        law = find_law(name, workspace=folder)
        document = law.to_dict()
        shown = [
            (what, _said(value)) for what, value in document.items() if value not in (None, [])
        ]
        terminal.emit(document, table(("what", "value"), shown))
        return
    found = known(folder)
    rows = [
        (
            law.name,
            law.jurisdiction,
            law.answer if law.erasure else f"{law.answer} (no right to erasure)",
            "" if law.extension is None else f"+{law.extension}",
            law.stop,
            law.confidence,
        )
        for law in found
    ]
    columns = (
        "name",
        "where",
        "answer within",
        "extension",
        "clock stops",
        "confidence",
        "read on",
    )
    terminal.emit(
        {"laws": [law.to_dict() for law in found]},
        table(columns, rows),
        "Not legal advice. 'olvido laws NAME' shows articles, sources and when they were read.",
    )


def _days(terminal: Terminal) -> None:
    from olvido.requests.rights.duties import duties

    found = [duty.to_dict() for duty in duties()]
    columns = ("on", "regime", "article", "says", "confidence")
    rows = [tuple(duty[name] for name in columns) for duty in found]
    terminal.emit(
        {"days": found},
        table(columns, rows),
        "Not legal advice. --json says where each was read.",
    )


def _check(terminal: Terminal) -> None:
    from olvido.requests.rights.duties import check_source, self_check

    settings = terminal.settings()
    with terminal.store() as store:
        points = self_check(store, settings)
    rows = [
        (p.name, p.ask, "\n".join(f"{name}: {count}" for name, count in p.shown.items()))
        for p in points
    ]
    terminal.emit(
        {"points": [asdict(point) for point in points], "source": check_source()},
        table(("failing", "ask yourselves", "the ledger shows"), rows),
        f"Failings found by {check_source()}. The ledger's counts answer none of the questions.",
    )


def _said(value: Any) -> Any:
    if isinstance(value, list):
        return "\n".join(map(str, value))
    if isinstance(value, dict):
        said = {name: _said(one) for name, one in value.items() if one not in (None, [])}
        return "\n".join(
            f"{name}:\n  {str(one).replace(chr(10), chr(10) + '  ')}"
            if isinstance(value[name], dict | list)
            else f"{name}: {one}"
            for name, one in said.items()
        )
    return value
