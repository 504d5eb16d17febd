"""`olvido key`: the secret under which people are known, and its next version."""

from __future__ import annotations

import typer

from olvido.cli.given.output import Terminal, command, table

commands = typer.Typer(help="The key under which people are known by digests.")


@commands.command()
@command
def rotate(terminal: Terminal) -> None:
    """Go on under a new secret: digests that the one before made are made anew or destroyed.

    Stop the service and the worker before; addresses of status pages change. A rotation that was
    cut off is finished by saying this again.
    """
    from olvido.ledger.identity import Key

    settings = terminal.settings()
    with terminal.store() as store:
        # What cannot be rotated is told before the key's file is written.
        store.check_entities()
        key = Key.load(settings.key)
        if key.version == store.key.version:
            key = key.next()
            key.save(settings.key)
        before = store.events_count()
        store.rotate(key, store.signer(settings.signing_key))
        entries = store.events_count() - before
    document = {
        "key": str(settings.key),
        "version": key.version,
        "fingerprint": str(key.fingerprint),
        "entries": entries,
    }
    terminal.emit(
        document,
        table(("what", "value"), document.items()),
        f"Keep a copy of {settings.key} elsewhere: copies of the one before open this ledger no "
        "more. Sign the log anew with 'olvido log sign'.",
    )
