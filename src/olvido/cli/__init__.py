"""The command `olvido`."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException
from typer.main import get_command

from olvido.cli import catalogue, checking, demo, doctor, workspace
from olvido.cli.models import add as models
from olvido.cli.models import audit, budget, compare, forget, learn, privacy, trace, verify
from olvido.cli.output import Shared, complain, fail
from olvido.cli.requests import accounts, certificate, log, retention, rights, service, tokens
from olvido.cli.requests import run as requests
from olvido.errors import InputError, OlvidoError, StateError
from olvido.extras import EXTRAS, is_installed
from olvido.processes import first_to_fail, is_main, world_size

_SHARED = ("learn", "forget", "audit")
"""Commands that several processes may carry out together."""
_STOPPED = 130
"""The exit status after an interrupt, by the shell's custom."""

app = typer.Typer(
    name="olvido",
    help="Make trained models forget, and prove it.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# Every group of commands, in the order in which the help shows them.
app.add_typer(workspace.commands)
app.add_typer(checking.commands, name="data")
app.add_typer(log.commands, name="log")
app.add_typer(workspace.keys, name="key")
app.add_typer(learn.commands)
app.add_typer(models.commands, name="models")
app.add_typer(requests.commands, name="request")
app.add_typer(retention.commands, name="retention")
app.add_typer(certificate.commands, name="certificate")
app.add_typer(rights.notices)
app.add_typer(forget.commands)
app.add_typer(audit.commands)
app.add_typer(privacy.commands)
app.add_typer(trace.commands)
app.add_typer(compare.commands)
app.add_typer(verify.commands)
app.add_typer(budget.commands)
app.add_typer(service.commands)
app.add_typer(accounts.commands, name="account")
app.add_typer(tokens.commands, name="token")
app.add_typer(catalogue.commands)
app.add_typer(doctor.commands)
app.add_typer(demo.commands)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"olvido {version('olvido')}")
        except PackageNotFoundError:
            raise StateError("olvido runs without being installed: use 'pip install'") from None
        raise typer.Exit


@app.callback()
def _before(
    context: typer.Context,
    workspace: Annotated[
        Path | None, typer.Option("--workspace", help="The workspace's folder.", metavar="DIR")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    context.obj = Shared(workspace)
    if world_size() > 1 and context.invoked_subcommand not in _SHARED:
        raise InputError(
            f"{world_size()} processes were started, and only {', '.join(_SHARED)} share their "
            "work among them: run this command by itself"
        )


@cache
def _command() -> Any:
    # Made from the signatures of all commands in 50 ms, and cached.
    command = get_command(app)
    missing = [name for name in ("service", "report") if not is_installed(name)]
    # The backslash keeps the bracket from being read as markup.
    command.epilog = "\n\n".join(
        f"Not installed: {EXTRAS[name].purpose} (pip install 'olvido\\[{name}]')."
        for name in missing
    )
    return command


def run(arguments: Sequence[str]) -> int:
    """Run the command line with these arguments; return the exit status."""
    if ("--workspace", "") in pairwise(arguments) or "--workspace=" in arguments:
        # As a path it would be the current folder.
        complain("--workspace is empty: give the folder of a workspace (is a variable not set?)")
        return 2
    try:
        status = _command()(list(arguments) or ["--help"], "olvido", standalone_mode=False)
    except OlvidoError as error:
        return fail(str(error))
    except TyperException as error:
        return fail(_usage(error))
    except typer.Abort:
        status = _STOPPED
    except OSError as error:
        return fail(f"{error.strerror or error}: {error.filename or 'see that the disk has room'}")
    except RuntimeError:
        # The connection to a process that has failed, and has said why.
        if world_size() == 1 or first_to_fail():
            raise
        return 2
    if status == _STOPPED:
        complain("stopped: what was finished is kept, and the same command goes on or begins again")
    return status if isinstance(status, int) else 0


def _usage(error: TyperException) -> str:
    context = getattr(error, "ctx", None)
    where = context.command_path if context else "olvido"
    return f"{error.format_message().rstrip('.')}; see '{where} --help'"


def _warn(message: Warning | str, *_: object, **__: object) -> None:
    if is_main():
        complain(f"warning: {message}")


def main() -> None:
    """Run the command line and exit with its status."""
    warnings.showwarning = _warn
    # Files that libraries write beside Olvido's own are as private as these.
    os.umask(0o077)
    sys.exit(run(sys.argv[1:]))
