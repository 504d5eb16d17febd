"""`olvido log`: show, sign, prove and redact the log of a workspace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from olvido.cli.arguments import require_new_file
from olvido.cli.output import Terminal, command, table

commands = typer.Typer()


@commands.callback(invoke_without_command=True)
@command
def listing(terminal: Terminal) -> None:
    """Show the log of the workspace, entry by entry; sign it, prove it, or redact entries."""
    from olvido.ledger.digests import canonical_json

    with terminal.store() as store:
        events = store.events()
    found = [
        {
            "entry": event.seq,
            "at": event.at.isoformat(),
            "kind": event.kind,
            "detail": dict(event.detail),
            "commitment": str(event.commitment),
        }
        for event in events
    ]
    rows = [(e.seq, e.at, e.kind, canonical_json(dict(e.detail)).decode()[:100]) for e in events]
    terminal.emit({"entries": found}, table(("entry", "at", "kind", "detail"), rows))


@commands.command()
@command
def sign(
    terminal: Terminal,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="A new file to write it to.")
    ] = None,
) -> None:
    """Sign the head of the log. Keep the output elsewhere: it reveals a log that was cut off."""
    from olvido.files import write

    settings = terminal.settings()
    require_new_file(out)
    with terminal.store() as store:
        signed = store.sign_log(store.signer(settings.signing_key))
    if out is not None:
        write(out, signed.note)
    document = {"entries": signed.entries, "head": str(signed.head), "checkpoint": signed.note}
    terminal.emit(document, signed.note.rstrip("\n"))


@commands.command()
@command
def prove(
    terminal: Terminal,
    entry: Annotated[int, typer.Argument(help="The number of the entry.")],
    since: Annotated[
        int | None,
        typer.Option("--since", help="Prove as well that the log begins with so many entries."),
    ] = None,
) -> None:
    """Prove by a signed head that an entry is in the log, to somebody without the log."""
    settings = terminal.settings()
    with terminal.store() as store:
        key = store.signer(settings.signing_key)
        growth = None
        if since is not None:
            # Wrong arguments shall fail before anything is signed.
            store.prove_growth(since, store.events_count())
        found = store.prove_entry(entry, key)
        if since is not None:
            signed = store.sign_log(key)
            proof = [step.hex() for step in store.prove_growth(since, signed.entries)]
            growth = {"from": since, "to": signed.entries, "proof": proof, "head": signed.note}
    document = {
        "entry": found.entry.seq,
        "commitment": str(found.entry.commitment),
        "proof": [step.hex() for step in found.proof],
        "checkpoint": found.checkpoint.note,
        "growth": growth,
    }
    terminal.emit(document, table(("what", "value"), document.items()))


@commands.command()
@command
def redact(
    terminal: Terminal,
    entries: Annotated[list[int], typer.Argument(help="Their numbers.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept in the log.")],
) -> None:
    """Destroy the content of entries and their leaves' salts, and sign that: the tree stays."""
    settings = terminal.settings()
    with terminal.store() as store:
        store.redact(entries, reason, store.signer(settings.signing_key))
    terminal.emit(
        {"redacted": entries, "reason": reason},
        f"The content of {len(entries)} entries cannot be read any more, except from a backup.",
    )
