"""Import of data: every row is read, checked and digested, then all are added or none."""

from __future__ import annotations

import errno
import gc
import json
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from operator import itemgetter
from pathlib import Path
from typing import Self, TypedDict, Unpack

from olvido.artifact_shapes import temporary
from olvido.data import Row, read_rows
from olvido.data.arrays.rows import said_in
from olvido.data.frames import rows_of
from olvido.data.parsing import Defaults, Fields, RowParser
from olvido.errors import BadRow, InputError, StateError
from olvido.files import begun_file, being_written, publish
from olvido.ledger.digests import merkle_root
from olvido.ledger.facts import DatasetVersion, Documentation, NewRecord
from olvido.ledger.rows import (
    BATCH,
    COLUMNS,
    KEY_BYTES,
    RowWriter,
    StoredRow,
    is_stored,
    row_digest,
)
from olvido.ledger.store import Answers, Store
from olvido.ledger.store.datasets import chunks

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_ABANDONED_SECONDS = 3600.0


class ImportOptions(TypedDict, total=False):
    """Options of an import, all of them optional.

    fields: columns of each part, where they do not have their usual names.
    defaults: source, licence and consent of rows without their own.
    documentation: documentation of the dataset.
    parent: id of the dataset that this one derives from.
    skip_bad: a new file for rows that cannot be used; without it the first one is refused.
    encoding: of a text file that is not UTF-8, by Python's name.
    answers: the id of a request that the import answers, and the text to note there: it is stored
        with the dataset, or neither is.
    tell: called with a line about how a file is read, where that was detected.
    """

    fields: Fields
    defaults: Defaults
    documentation: Documentation
    parent: str
    skip_bad: Path | None
    encoding: str | None
    answers: tuple[str, Answers]
    tell: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ImportResult:
    """The result of an import.

    Attributes:
        dataset, rows: the new version, and its number of rows.
        rejected: rows that were written to the file of bad rows.
        subjects: number of subjects of its rows.
        nameless: rows that name no subject, in which a request cannot find anybody.
        pseudonymous_ids, pseudonymous_sources: number that looked personal and got pseudonyms.
    """

    dataset: DatasetVersion
    rows: int
    rejected: int
    subjects: int
    nameless: int
    pseudonymous_ids: int
    pseudonymous_sources: int


def import_file(
    store: Store, data: Path, path: Path, *, name: str, **options: Unpack[ImportOptions]
) -> ImportResult:
    """Add a file as the next version of the dataset `name`: all of it, or nothing.

    Args:
        store: the ledger.
        data: the workspace's data folder, in which the rows are kept.
        path: a file that `read_rows` reads, or the folder of a saved Hugging Face dataset.
        name: the dataset's name.
        options: see `ImportOptions`.

    Raises BadRow (file, line, reason) or InputError, and StateError when the disk is full.
    """
    rows = read_rows(
        path, encoding=options.get("encoding"), tell=options.get("tell", lambda _: None)
    )
    return _add(store, data, rows, origin=str(path), name=name, options=options)


def import_rows(
    store: Store, data: Path, rows: Iterable[Row], *, name: str, **options: Unpack[ImportOptions]
) -> ImportResult:
    """Add rows from memory as `import_file` adds those of a file; BadRow counts them from 1.

    They may be a table (see `olvido.data.frames`). Rows of `load_rows` can be passed unchanged:
    their subjects stay the same.
    """
    numbered = enumerate(rows_of(rows, name), 1)
    return _add(store, data, numbered, origin=name, name=name, options=options)


def _add(
    store: Store,
    data: Path,
    rows: Iterable[tuple[int, Row | BadRow]],
    *,
    origin: str,
    name: str,
    options: ImportOptions,
) -> ImportResult:
    parser = RowParser(
        origin, store.key, options.get("fields", Fields()), options.get("defaults", Defaults())
    )
    rejects_path = options.get("skip_bad")
    known = [dataset.file for dataset in store.datasets()]
    barred = _Barred(store, origin)
    try:
        sweep(data, known, older_than=time.time() - _ABANDONED_SECONDS)
        with (
            _uncollected(),
            RowWriter(data) as writer,
            Rejects(rejects_path) as rejects,
            ExitStack() as undo,
        ):
            found = _digested(_good(parser, barred, rows, rejects), writer)
            if not found:
                why = rejects.first or "give a file with one record a line"
                raise InputError(f"{origin} holds no row that can be used: {why}")
            root = merkle_root([digest for _, digest, _, _ in found])
            file = f"{root.hex}.parquet"
            undo.callback((data / file).unlink, missing_ok=True)
            writer.publish(file)
            rejects.finish()
            dataset = store.add_dataset(
                name=name,
                root=root,
                file=file,
                rows=len(found),
                records=found,
                forms=parser.forms,
                parent=options.get("parent"),
                documentation=options.get("documentation"),
                barred=barred.list,
                answers=options.get("answers"),
            )
            undo.pop_all()
            rejects.publish()
    except OSError as error:
        if error.errno in _FULL:
            raise StateError(
                f"the disk filled up while {origin} was added, and nothing was added: free space "
                f"for {data} and add it again"
            ) from error
        raise
    subjects = {subject for _, _, people, _ in found for subject in people}
    nameless = sum(not people for _, _, people, _ in found)
    return ImportResult(
        dataset,
        len(found),
        rejects.count,
        len(subjects),
        nameless,
        parser.pseudonymous,
        parser.pseudonymous_sources,
    )


@contextmanager
def _uncollected() -> Iterator[None]:
    """Suspend the garbage collector: an import makes no cycles, and it would cost a sixth."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


class _Barred:
    """Refuses suppressed records: by subject, and by content."""

    def __init__(self, store: Store, origin: str) -> None:
        self.list, self._key, self._origin = store.suppressed(), store.key, origin

    def check(self, line: int, row: StoredRow) -> None:
        """Raise BadRow for a row that may not be imported again."""
        if not self.list:
            return
        named = dict(zip(COLUMNS, row, strict=True))
        said, subjects = said_in(named), named["subjects"]
        if (
            self.list.isdisjoint(subjects)
            and self._key.content(*said) not in self.list
            and self._key.content(*said, about=subjects) not in self.list
        ):
            return
        raise Suppressed(
            self._origin,
            line,
            "it was to be forgotten and may not be brought in again: take it out of the file, or "
            "leave such rows out with 'olvido data add --skip-bad FILE'",
        )


class Suppressed(BadRow):
    """A row that somebody asked to forget."""


def _good(
    parser: RowParser,
    barred: _Barred,
    rows: Iterable[tuple[int, Row | BadRow]],
    rejects: Rejects,
) -> Iterator[tuple[StoredRow, bytes]]:
    for line, row in rows:
        try:
            if isinstance(row, BadRow):
                raise row
            stored, canonical = parser.parse(line, row)
            barred.check(line, stored)
        except Suppressed as bad:
            # Its content must not be written down again.
            rejects.add(bad, bad)
        except BadRow as bad:
            rejects.add(bad, row if isinstance(row, BadRow) else parser.without_persons(row))
        else:
            yield stored, canonical


def _digested(rows: Iterable[tuple[StoredRow, bytes]], writer: RowWriter) -> list[NewRecord]:
    """Write every row, and yield the ledger's data of each, in the order of their ids."""
    found: list[NewRecord] = []
    rests: dict[tuple[str | None, ...], tuple[str | None, ...]] = {}
    for chunk in chunks(rows, BATCH):
        drawn = secrets.token_bytes(KEY_BYTES * len(chunk))
        keys = [drawn[at : at + KEY_BYTES] for at in range(0, len(drawn), KEY_BYTES)]
        stored, canonicals = zip(*chunk, strict=True)
        writer.add(stored, drawn)
        digests = map(row_digest, keys, canonicals)
        ids, _, _, _, subjects, *provenances, _ = zip(*stored, strict=True)
        # Few rows differ in these, so that most share one tuple.
        shared = [rests.setdefault(rest, rest) for rest in zip(*provenances, strict=True)]
        found.extend(zip(ids, digests, subjects, shared, strict=True))
    found.sort(key=itemgetter(0))
    return found


class Rejects:
    """The rows that cannot be used, each as a JSON line with `line`, `reason` and `row`.

    Without a path the first one is raised instead.
    """

    def __init__(self, path: Path | None) -> None:
        """Raise InputError where the file exists: somebody may have put work into it."""
        if path is not None and path.exists():
            raise InputError(f"the file for bad rows {path} exists: name a new one")
        self._path = path
        self._writing, self._file = None, None
        if path is not None:
            self._writing, begun = begun_file(path.parent)
            # It is locked until it has its name, after the file was closed.
            self._held = os.dup(begun.fileno())
            self._file = TextIOWrapper(begun, encoding="utf-8")
        self.count = 0
        self.first: BadRow | None = None

    def add(self, bad: BadRow, row: Row | BadRow) -> None:
        """Write a bad row. Raises it where there is no file for it."""
        if self._file is None:
            raise bad
        self.count += 1
        self.first = self.first or bad
        content = None if isinstance(row, BadRow) else dict(row)
        entry = {"line": bad.line, "reason": bad.reason, "row": content}
        self._file.write(json.dumps(entry, default=str) + "\n")

    def finish(self) -> None:
        """Sync the file; nothing after this can fill the disk."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def publish(self) -> None:
        """Rename the file to its final name, if it is not empty."""
        if self.count and self._writing is not None and self._path is not None:
            publish(self._writing, self._path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None and self._writing is not None:
            self._file.close()
            os.close(self._held)
            self._writing.unlink(missing_ok=True)


def sweep(data: Path, known: Iterable[str], *, older_than: float) -> None:
    """Remove files of killed imports: unfinished ones that nobody is writing, at once.

    A finished file that the ledger does not know is removed by its age. A file with another name
    than imports give belongs to somebody else, and stays.

    Args:
        data: the workspace's data folder.
        known: names of the datasets' files.
        older_than: seconds since the epoch; a younger file may be about to be entered.
    """
    kept = set(known)
    for path in data.iterdir() if data.is_dir() else ():
        if path.name in kept or path.is_symlink() or not path.is_file():
            continue
        if temporary(path):
            if not being_written(path):
                path.unlink(missing_ok=True)
        elif is_stored(path) and path.stat().st_mtime < older_than:
            path.unlink(missing_ok=True)
