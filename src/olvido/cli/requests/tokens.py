"""`olvido token`: tokens for the service, each with a role."""

from __future__ import annotations

from typing import Annotated

import typer

from olvido.cli.output import Terminal, command, table

commands = typer.Typer(help="Make, list and revoke tokens of the service.")


@commands.command()
@command
def new(
    terminal: Terminal,
    role: Annotated[str, typer.Option("--role", help="requester, privacy, engineer or auditor.")],
    label: Annotated[str, typer.Option("--label", help="Whose it is: one person, one account.")],
) -> None:
    """Make a token. It is shown once, and only its digest is kept."""
    from olvido.accounts import Accounts

    made, secret = Accounts.of(terminal.settings()).new(role, label)
    document = {
        "id": made.id,
        "role": made.role.value,
        "account": made.account,
        "label": made.label,
        "token": secret,
    }
    advice = "Write it down now: it cannot be shown again."
    terminal.emit(document, table(("what", "value"), document.items()), advice)


@commands.command("list")
@command
def listing(terminal: Terminal) -> None:
    """Show the tokens that are valid, without their secrets."""
    from olvido.accounts import Accounts

    found = [
        {
            "id": t.id,
            "role": t.role.value,
            "account": t.account,
            "label": t.label,
            "created_at": t.created_at,
        }
        for t in Accounts.of(terminal.settings()).tokens()
    ]
    columns = ("id", "role", "account", "label", "created_at")
    terminal.emit({"tokens": found}, table(columns, [tuple(row.values()) for row in found]))


@commands.command()
@command
def revoke(
    terminal: Terminal, identifier: Annotated[str, typer.Argument(metavar="ID", help="Of it.")]
) -> None:
    """Make a token invalid, at once and for good."""
    from olvido.accounts import Accounts

    gone = Accounts.of(terminal.settings()).revoke(identifier)
    document = {"id": gone.id, "role": gone.role.value, "label": gone.label, "revoked": True}
    terminal.emit(document, table(("what", "value"), document.items()))
