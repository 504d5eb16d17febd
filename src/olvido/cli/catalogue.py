"""`olvido methods`, `audits`, `learners`: what there is, read off the tables themselves."""

from __future__ import annotations

from typing import Any

import typer

from olvido.cli.output import Terminal, command, table

commands = typer.Typer()


@commands.command()
@command
def methods(terminal: Terminal) -> None:
    """Show every way to forget, with its guarantee, needs and options."""
    from olvido.forgetting import METHODS, options_of

    found: list[dict[str, Any]] = [
        {
            "name": name,
            "guarantee": method.guarantee.value,
            "needs": sorted(need.value for need in method.needs),
            "options": list(options_of(name)),
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
    """Show every way to train."""
    from olvido.learners import LEARNERS, options_of

    found = [
        {"name": name, "options": list(options_of(name)), "summary": learner.summary}
        for name, learner in LEARNERS.items()
    ]
    rows = [(f["name"], ", ".join(f["options"]), f["summary"]) for f in found]
    terminal.emit({"learners": found}, table(("name", "options", "what it does"), rows))
