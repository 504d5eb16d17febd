"""`olvido init`: make a workspace.

`olvido key`: the secret that digests people's names, and its next version.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from olvido.cli.output import Terminal, command, table
from olvido.errors import StateError
from olvido.files import make_folder, write
from olvido.settings import FILE, Settings, template

commands = typer.Typer()


@commands.command()
@command
def init(
    terminal: Terminal,
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Its folder; default the current one.")
    ] = None,
) -> None:
    """Make a workspace: its settings, its ledger, the ledger's key, and the key that signs."""
    from olvido.ledger.identity import Key
    from olvido.ledger.signing import SigningKey, public_file
    from olvido.ledger.store import Store
    from olvido.ledger.store.engine import database_url, shown, sqlite_file
    from olvido.requests.workflow.forgetting import alone

    root = (folder or terminal.workspace or Path.cwd()).expanduser().resolve()
    settings_file = root / FILE
    if settings_file.exists():
        raise StateError(f"{root} is a workspace already: use it, or name another folder")
    make_folder(root)
    settings = Settings.load(root)
    with ExitStack() as undo:
        key = Key.create(settings.key)
        undo.callback(settings.key.unlink)
        SigningKey.create(settings.signing_key)
        undo.callback(settings.signing_key.unlink)
        undo.callback(public_file(settings.signing_key).unlink)
        Store.create(settings.ledger, key=key).close()
        # From here on the ledger needs its key.
        undo.pop_all()
    for made in (settings.data, settings.models, settings.reports):
        make_folder(made)
    with alone(settings):
        # Its lock file exists from the start: a command that is refused later makes no file.
        pass
    ledger = database_url(settings.ledger)
    # Every command needs the address of a server; a password belongs into no file.
    written = sqlite_file(ledger) is None and ledger.password is None
    write(settings_file, template(**({"ledger": settings.ledger} if written else {})))
    places = {
        "workspace": settings.workspace,
        "settings": settings_file,
        "ledger": shown(ledger),
        "key": settings.key,
        "signing key": settings.signing_key,
        "public key": public_file(settings.signing_key),
    }
    terminal.emit(
        places,
        table(("what", "where"), places.items()),
        "Keep a copy of the keys apart from the ledger: without the first nobody is found again, "
        "without the second nothing can be signed. Whoever shall check what you sign needs the "
        "public key."
        + (
            ""
            if ledger.password is None
            else " The ledger's URL has a password and was written nowhere: set OLVIDO_LEDGER "
            "for every command."
        ),
    )


keys = typer.Typer(help="The key that digests people's names.")


@keys.command()
@command
def rotate(terminal: Terminal) -> None:
    """Change to a new secret: the old one's digests are made anew or destroyed.

    Stop the service and the worker before; addresses of status pages change. An interrupted
    rotation is finished by running this again.
    """
    from olvido.ledger.identity import Key

    settings = terminal.settings()
    with terminal.store() as store:
        # A ledger that cannot be rotated is refused before the key's file is written.
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
