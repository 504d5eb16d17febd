"""`olvido methods`, `audits`, `learners`, `laws`: what there is, read off the tables themselves."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from olvido.cli.given.output import Terminal, command, table
from olvido.settings import find_folder

commands = typer.Typer()


@commands.command()
@command
def methods(terminal: Terminal) -> None:
    """Show every way to forget, with its guarantee, needs and options."""
    from olvido.forgetting import options_of, ways

    found: list[dict[str, Any]] = [
        {
            "name": name,
            "guarantee": method.guarantee.value,
            "needs": sorted(need.value for need in method.needs),
            "options": list(options_of(name)),
            "summary": method.summary,
        }
        for name, method in ways().items()
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
    """Show every way to train."""
    from olvido.learners import LEARNERS, options_of

    found = [
        {"name": name, "options": list(options_of(name)), "summary": learner.summary}
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
) -> None:
    """Show every law: how long there is to answer, where it says so, and how sure that is."""
    from olvido.requests.laws import find_law
    from olvido.requests.laws import laws as known

    folder = find_folder(terminal.workspace)
    if name is not None:
        law = find_law(name, workspace=folder)
        document = law.to_dict()
        shown = [(what, _said(value)) for what, value in document.items() if value is not None]
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


def _said(value: Any) -> Any:
    if isinstance(value, list):
        return "\n".join(map(str, value))
    if isinstance(value, dict):
        return "\n".join(f"{name}: {said}" for name, said in value.items() if said is not None)
    return value
