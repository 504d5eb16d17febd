"""`olvido account`: accounts that sign in to the service with a password."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from olvido.cli.output import Terminal, command, table
from olvido.errors import InputError

commands = typer.Typer(help="Make, list and close accounts that sign in with a password.")

_Label = Annotated[str, typer.Argument(metavar="ACCOUNT", help="Its label or id.")]


def _password() -> str:
    """A password that is typed twice and not shown, or one line of standard input."""
    if not sys.stdin.isatty():
        if not (line := sys.stdin.readline().rstrip("\r\n")):
            raise InputError(
                "expected the password as a line of standard input, got none: write it there, or "
                "run the command at a terminal, which asks for it"
            )
        return line
    first = typer.prompt("Password", hide_input=True, err=True)
    if typer.prompt("Again", hide_input=True, err=True) != first:
        raise InputError("the two passwords are not the same: run the command again")
    return str(first)


@commands.command()
@command
def new(
    terminal: Terminal,
    role: Annotated[str, typer.Option("--role", help="requester, privacy, engineer or auditor.")],
    label: Annotated[str, typer.Option("--label", help="Who it is: one person, one account.")],
) -> None:
    """Make an account with a password, which is asked for or read from standard input."""
    from olvido.accounts import Accounts

    accounts = Accounts.of(terminal.settings())
    made = accounts.set_password(label, _password(), role=role)
    _show(terminal, made.account, made.label, made.role.value)


@commands.command()
@command
def password(terminal: Terminal, account: _Label) -> None:
    """Change an account's password; whoever is signed in with the old one is signed out."""
    from olvido.accounts import Accounts

    made = Accounts.of(terminal.settings()).set_password(account, _password())
    _show(terminal, made.account, made.label, made.role.value)


@commands.command("list")
@command
def listing(terminal: Terminal) -> None:
    """Show every account, with the role of its password and the number of its tokens."""
    from olvido.accounts import Accounts

    found = Accounts.of(terminal.settings()).overview()
    columns = ("id", "label", "password", "tokens")
    terminal.emit({"accounts": found}, table(columns, [tuple(row.values()) for row in found]))


@commands.command()
@command
def close(terminal: Terminal, account: _Label) -> None:
    """Remove an account's password and tokens; its label stays for its past acts."""
    from olvido.accounts import Accounts

    closed = Accounts.of(terminal.settings()).close(account)
    document = {"id": closed.id, "label": closed.label, "closed": True}
    terminal.emit(document, table(("what", "value"), document.items()))


def _show(terminal: Terminal, account: str, label: str, role: str) -> None:
    document = {"id": account, "label": label, "role": role}
    terminal.emit(document, table(("what", "value"), document.items()))
