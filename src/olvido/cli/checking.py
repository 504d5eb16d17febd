"""`olvido data check`: whether rows, tables and log are unchanged, and which files are unknown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from olvido.cli.data import Name, commands
from olvido.cli.output import Terminal, command, table

if TYPE_CHECKING:
    from olvido.ledger.digests import Digest
    from olvido.ledger.facts import DatasetVersion
    from olvido.ledger.signing import LogCheckpoint
    from olvido.ledger.store import Store
    from olvido.settings import Settings

__all__ = ["commands"]

_ROWS = (
    "rows that were written and never entered, or that a ledger from a backup does not have: add "
    "the file again that they came from, or remove them (an import does when they are an hour old)"
)
_GONE = "files in the folder of a model that is gone: look at them, and remove them"


@commands.command()
@command
def check(
    terminal: Terminal,
    name: Name = None,
    head: Annotated[
        str | None,
        typer.Option("--head", help="A head of the log that you wrote down before."),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", metavar="FILE", help="What 'olvido log sign' printed before."),
    ] = None,
) -> bool:
    """Check rows, log, and tables against the log; exit status 1 where anything is wrong.

    Files in the workspace's folders that the ledger does not know are listed, and are no fault.
    """
    from olvido.errors import StateError
    from olvido.ledger.digests import Digest

    settings = terminal.settings()
    known_head = Digest.from_str(head) if head else None
    known = [_believed(settings, checkpoint)] if checkpoint else []
    with terminal.store() as store:
        found = []
        try:
            chosen = [store.dataset(name)] if name else list(store.datasets())
        except StateError as error:
            chosen = []
            found.append({"what": "datasets", "sound": False, "reason": str(error)})
        with terminal.progress() as progress:
            bar = progress.add_task("Checking rows", total=len(chosen))
            for dataset in chosen:
                found.append(_checked(store, settings.data, dataset))
                progress.advance(bar)
        found += _ledger(store, known_head, known)
        try:
            left = [] if name else _leftovers(store, settings)
        except StateError:
            # A table that cannot be read is reported above; its files are unknown.
            left = []
    sound = all(entry["sound"] for entry in found)
    rows = [(f["what"], "sound" if f["sound"] else "BROKEN", f["reason"]) for f in found]
    rows += [(note["path"], "unknown", note["says"]) for note in left]
    terminal.emit(
        {"sound": sound, "checks": found, "unknown": left},
        table(("what", "state", "reason"), rows),
        f"Head of the log: {found[-1]['head']}. Sign it with 'olvido log sign', and keep it "
        "elsewhere.",
    )
    return sound


def _ledger(
    store: Store, known_head: Digest | None, known: list[LogCheckpoint]
) -> list[dict[str, Any]]:
    """The results of comparing the tables with the log, and last of checking the log."""
    from olvido.errors import StateError

    try:
        log = store.verify_log(known_head, known)
        different = store.differences() if log.sound else ()
    except StateError as error:
        return [{"what": "log", "sound": False, "reason": str(error), "head": None}]
    unsaid = None if log.sound else "not compared: the log, which says what they were, is not sound"
    tables = {"what": "tables", "sound": log.sound and not different, "reason": unsaid}
    found = [tables, *({"what": d.what, "sound": False, "reason": str(d)} for d in different)]
    whole = {"sound": log.sound, "reason": log.reason, "head": str(log.head)}
    return [*found, {"what": f"log ({log.entries} entries)"} | whole]


def _believed(settings: Settings, file: Path) -> LogCheckpoint:
    """Read a signed head from its file, and check that this workspace signed it."""
    from olvido.errors import InputError
    from olvido.ledger.signing import LogCheckpoint, PublicKey, public_file

    try:
        found = LogCheckpoint.read(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise InputError(
            f"the checkpoint {file} cannot be read ({reason}): give a file that 'olvido log sign' "
            "wrote"
        ) from error
    if not found.signed_by(PublicKey.load(public_file(settings.signing_key))):
        raise InputError(
            f"the checkpoint {file} was not signed with this workspace's key: give one that "
            "'olvido log sign' made here"
        )
    return found


def _checked(store: Store, data: Path, dataset: DatasetVersion) -> dict[str, Any]:
    from olvido.errors import StateError
    from olvido.ledger.rows import load_rows

    reason = None
    try:
        load_rows(store, data, dataset)
    except StateError as error:
        reason = str(error)
    what = f"dataset {dataset.name} version {dataset.version}"
    return {"what": what, "sound": reason is None, "reason": reason}


def _leftovers(store: Store, settings: Settings) -> list[dict[str, str]]:
    """Files and folders among data and models that the ledger does not know, as plain values."""
    from olvido.data.inverted import index_path
    from olvido.ledger.rows import is_stored
    from olvido.requests.closure.places import leftovers

    data, models = settings.data, settings.models
    files = [dataset.file for dataset in store.datasets()]
    known = {name for file in files for name in (file, index_path(data, file).name)}
    found = [
        (one.path, _ROWS if is_stored(one.path) else one.says) for one in leftovers(data, known)
    ]
    there = {model.path: model.tombstone is None for model in store.models()}
    found += [(one.path, one.says) for one in leftovers(models, there)]
    gone = (models / path for path, alive in there.items() if not alive)
    found += [(folder, _GONE) for folder in gone if folder.is_dir()]
    return [{"path": str(path), "says": says} for path, says in found]
