"""Import several requests from one file: all are entered, or none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeGuard
from zoneinfo import ZoneInfo

from olvido.data import read_rows
from olvido.data.parsing import several
from olvido.errors import AskedBefore, BadRow, InputError, UnknownName
from olvido.ledger.facts import Request, RequestKind, Wish
from olvido.requests.handlers import RequestContext, wish
from olvido.requests.scope import look_up
from olvido.settings import Settings

COLUMNS = (
    "kind",
    "subject",
    "also",
    "source",
    "dataset",
    "record",
    "model",
    "law",
    "received",
    "nothing_found",
)
"""The columns of a row; `also` and `record` may have several values, as a list or split by `;`."""
SHOWN = 20
"""The number of errors that are shown; further ones are counted."""
_READ_APART = ("subject", "also", "record")
_YES, _NO = ("yes", "true", "1"), ("no", "false", "0")


@dataclass(frozen=True, slots=True)
class Entered:
    """A row that became a request: its line, and the number of records that each name found."""

    line: int
    request: Request
    found: tuple[int, ...]


def import_requests(
    context: RequestContext, path: Path, *, encoding: str | None = None
) -> tuple[Entered, ...]:
    """Enter the requests of a file (CSV, or another with rows), all in one change of the ledger.

    Args:
        context: a workspace, or its ledger and settings.
        path: the file; its columns are among `COLUMNS`.
        encoding: the encoding of a file that is not UTF-8.

    Raises:
        InputError: it has no rows, or rows that cannot be entered: each is named by its line, and
            nothing was entered.
    """
    wishes: list[tuple[int, Wish, tuple[int, ...]]] = []
    wrong: dict[int, str] = {}
    for line, row in read_rows(path, encoding=encoding):
        try:
            if isinstance(row, BadRow):
                raise InputError(row.reason)
            wishes.append((line, *_wish(context, row)))
        except InputError as error:
            wrong[line] = str(error)
    if not wishes and not wrong:
        raise InputError(f"{path} has no rows: give one request a row, under {', '.join(COLUMNS)}")
    made = context.store.add_requests([asked for _, asked, _ in wishes], only_try=bool(wrong))
    lines = {one.id: line for (line, _, _), one in zip(wishes, made, strict=True) if _entered(one)}
    for (line, _, _), one in zip(wishes, made, strict=True):
        if isinstance(one, AskedBefore):
            # The request with a number of this change does not exist yet.
            same = lines.get(one.request)
            wrong[line] = str(one) if same is None else f"line {same} asks for the same"
    if wrong:
        mistakes = [f"line {line}: {wrong[line]}" for line in sorted(wrong)]
        more = f"; and {len(mistakes) - SHOWN} more" if len(mistakes) > SHOWN else ""
        rows = len({*wrong, *(line for line, *_ in wishes)})
        raise InputError(
            f"{len(wrong)} of {rows} rows of {path} cannot be entered, so none was: "
            f"{'; '.join(mistakes[:SHOWN])}{more}"
        )
    return tuple(
        Entered(line, request, found)
        for (line, _, found), request in zip(wishes, made, strict=True)
        if _entered(request)
    )


def _entered(one: Request | AskedBefore) -> TypeGuard[Request]:
    return isinstance(one, Request)


def _wish(context: RequestContext, row: Mapping[str, Any]) -> tuple[Wish, tuple[int, ...]]:
    """The request of a row, and the number of records that each of its names found."""
    for name in row:
        if name not in COLUMNS:
            raise UnknownName("column", str(name), COLUMNS)
    said = {name: _text(row.get(name)) for name in COLUMNS if name not in _READ_APART}
    also, records = _several(row.get("also")), _several(row.get("record"))
    answer = said["nothing_found"].casefold()
    if answer not in ("", *_YES, *_NO):
        raise InputError("expected nothing_found as yes or no, got something else")
    subject = _person(row.get("subject"))
    asked = wish(
        context,
        subject,
        also=also,
        kind=said["kind"] or RequestKind.ERASURE.value,
        source=said["source"] or None,
        dataset=said["dataset"] or None,
        records=records,
        model=said["model"] or None,
        law=said["law"] or None,
        received_at=moment(said["received"], context.settings) if said["received"] else None,
        nothing_found=answer in _YES,
    )
    names = [] if subject is None else [subject, *also]
    counts = look_up(context.store, names).counts
    return asked, tuple(counts[name] for name in names)


def _person(value: Any) -> str | None:
    """The one person that a row is about, if any: read like the subject column of data."""
    if not isinstance(value, str | int | None) or isinstance(value, bool):
        raise InputError("expected subject as text: the name of one person")
    found = _several(value)
    if len(found) > 1:
        raise InputError(
            f"expected subject as the name of one person, got {len(found)}: give each person a "
            "row, and other names of the same one under also"
        )
    return found[0].strip() if found else None


def _text(value: Any) -> str:
    """A cell as text, also if the format reads it as yes, no or a number."""
    if isinstance(value, list | dict):
        raise InputError("expected one text in each column but also and record, got several")
    return "" if value is None else str(value).strip()


def _several(value: Any) -> list[str]:
    if isinstance(value, list):
        return [text for one in value if (text := _text(one))]
    return several(text) if (text := _text(value)) else []


def moment(text: str, settings: Settings) -> datetime:
    """The moment at which a day begins in the team's time zone. Raises InputError."""
    try:
        begins = date.fromisoformat(text)
    except ValueError:
        raise InputError(f"expected a day like 2026-11-24, got {text[:20]!r}") from None
    return datetime(begins.year, begins.month, begins.day, tzinfo=ZoneInfo(settings.timezone))
