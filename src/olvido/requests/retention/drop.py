"""Take a list of hashed identifiers that was fetched from a platform, as California's (DROP).

A broker hashes the identifiers that its own data hold, and who is on the list wants to be deleted
(California Civil Code, section 1798.99.86, as `laws/drop.toml` reports it). Olvido does not know
the platform's file format: it takes a table with the hashes in a column that the team names, and
compares them with SHA-256 of a column of the rows, without blanks around it and in small letters.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from olvido.data import read_rows
from olvido.errors import AskedBefore, BadRow, InputError
from olvido.ledger.facts import Request
from olvido.ledger.rows import stored_rows, subjects_of, unpacked
from olvido.requests.handlers import RequestContext, wish
from olvido.requests.rights.deadlines import today
from olvido.requests.rights.law import add
from olvido.requests.rights.registry import find_law
from olvido.requests.workflow.intake import moment

LAW = "drop"
TAKEN = "drop-taken"
"""The kind of the log's entry about a list: its day and counts, and no hash."""
_HASH = re.compile(r"[0-9a-f]{64}")
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a list.

    Attributes:
        requests: the requests that were entered, one a person.
        hashes: the number of different hashes on it.
        found: how many of them a record has.
        asked: people who have an open request already.
        unclear: records with such an identifier that are about nobody, or about several people:
            somebody has to look at them.
    """

    requests: tuple[Request, ...]
    hashes: int
    found: int
    asked: int
    unclear: tuple[tuple[str, str], ...]


def hashed(identifier: str) -> str:
    """SHA-256 of an identifier without blanks around it, in small letters; in hexadecimal digits.

    >>> hashed(" Ana@Example.org ") == hashed("ana@example.org")
    True
    """
    return hashlib.sha256(identifier.strip().lower().encode()).hexdigest()


def take(
    context: RequestContext, path: Path, *, hashes: str, column: str, fetched: date | None = None
) -> Taken:
    """Enter a request under the law `drop` for each person whose identifier is on a list.

    The same list again enters nothing for people whose request is open.

    Args:
        context: a workspace, or its ledger and settings.
        path: a table, as CSV.
        hashes: its column with the hashes.
        column: the column of the rows with the identifiers, in clear.
        fetched: the day on which it was fetched, from which the law counts; None: today.

    Raises:
        InputError: it has no such column or rows that are no SHA-256, each named by its line; no
            dataset has the other column; or the day is in the future. Nothing was entered.
    """
    settings, store = context.settings, context.store
    day = fetched or today(settings)
    if day > today(settings):
        raise InputError(f"a list cannot have been fetched in the future, got {day}")
    wanted = _read(path, hashes)
    people: dict[str, None] = {}
    unclear, found, known = [], set[str](), False
    for dataset in store.datasets():
        gone = {record.id for record in store.tombstoned(dataset.id)}
        for row in map(unpacked, stored_rows(settings.data / dataset.file)):
            known = known or column in row
            value = row.get(column)
            if row["id"] in gone or not isinstance(value, str) or hashed(value) not in wanted:
                continue
            found.add(hashed(value))
            about = subjects_of(row, store.key)
            if len(about) == 1:
                people[about[0]] = None
            else:
                unclear.append((dataset.id, row["id"]))
    if not known:
        raise InputError(
            f"no row of any dataset has the column {column!r}: name the one with the identifiers"
        )
    at = None if fetched is None else moment(day.isoformat(), settings)
    wishes = [wish(context, who, law=LAW, received_at=at) for who in sorted(people)]
    tried = store.add_requests(wishes, only_try=True)
    fresh = [w for w, t in zip(wishes, tried, strict=True) if not isinstance(t, AskedBefore)]
    made = store.add_requests(fresh) if fresh else ()
    for one in made:
        if isinstance(one, AskedBefore):
            # Somebody entered it since it was tried.
            raise one
    requests = tuple(one for one in made if isinstance(one, Request))
    taken = Taken(requests, len(wanted), len(found), len(wishes) - len(fresh), tuple(unclear))
    store.note(
        TAKEN,
        {
            "fetched": day.isoformat(),
            "hashes": taken.hashes,
            "found": taken.found,
            "requests": [request.id for request in requests],
        },
    )
    return taken


def fetching(context: RequestContext) -> Mapping[str, Any] | None:
    """The day of the newest list, and by when the law wants the next fetched; None before any."""
    days = [date.fromisoformat(entry.detail["fetched"]) for entry in context.store.events(TAKEN)]
    if not days:
        return None
    term = find_law(LAW, workspace=context.settings.workspace).fetch
    if term is None or term.number is None or term.unit is None:
        return {"fetched": max(days).isoformat(), "next": None, "days_left": None}
    by = add(max(days), term.number, term.unit, context.settings.holidays)
    left = (by - today(context.settings, datetime.now(UTC))).days
    return {"fetched": max(days).isoformat(), "next": by.isoformat(), "days_left": left}


def _read(path: Path, hashes: str) -> frozenset[str]:
    """The hashes of a list. Raises InputError."""
    found: set[str] = set()
    wrong: list[int] = []
    for line, row in read_rows(path):
        if isinstance(row, BadRow):
            raise row
        if hashes not in row:
            raise InputError(
                f"{path}, line {line}: no column {hashes!r}; there are {', '.join(map(str, row))}"
            )
        said = str(row[hashes]).strip().lower()
        if _HASH.fullmatch(said):
            found.add(said)
        else:
            wrong.append(line)
    if wrong:
        lines = ", ".join(map(str, wrong[:_SHOWN])) + (", ..." if wrong[_SHOWN:] else "")
        raise InputError(
            f"{len(wrong)} rows of {path} have no SHA-256 of 64 hexadecimal digits in {hashes!r} "
            f"(lines {lines}), so nothing was entered"
        )
    if not found:
        raise InputError(f"{path} has no rows: give a table with the hashes, one a row")
    return frozenset(found)
