"""What a row of data must be, and what becomes of it.

Reasons name columns and kinds of values, never a value: it may be somebody's name.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from olvido.errors import BadRow, InputError
from olvido.ledger.digests import canonical_json
from olvido.ledger.facts import Consent
from olvido.ledger.identity import Key, SubjectId
from olvido.ledger.rows import COLUMNS

_LONGEST_ID = 200
_CONSENTS = frozenset(Consent)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """The columns that hold each part of a record.

    None stands for the part's own name (`subjects` too for the subject), which a row may lack; a
    column that is named here must be there in every row.
    """

    id: str | None = None
    prompt: str | None = None
    completion: str | None = None
    text: str | None = None
    subject: str | None = None
    source: str | None = None
    licence: str | None = None
    consent: str | None = None
    collected_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What holds for rows that do not say it themselves."""

    source: str | None = None
    licence: str | None = None
    consent: Consent = Consent.UNKNOWN


class RowParser:
    """Turns rows of one file into stored rows (see `olvido.ledger.rows`).

    >>> parser = RowParser("data.jsonl", Key(1, bytes(32)), Fields(text="note"), Defaults())
    >>> parser.parse(1, {"note": "Ana lives in Gràcia.", "id": 7})["id"]
    '7'
    >>> parser.parse(2, {"nota": "Ana lives in Gràcia."})
    Traceback (most recent call last):
    olvido.errors.BadRow: data.jsonl, line 2: there is no column 'note'; did you mean 'nota'?
    """

    def __init__(self, origin: str, key: Key, fields: Fields, defaults: Defaults) -> None:
        self._origin = origin
        self._key = key
        self._defaults = defaults
        self._default_consent = str(defaults.consent)
        self._required = [c for c in (getattr(fields, f) for f in fields.__slots__) if c]
        self._id = fields.id or "id"
        self._prompt = fields.prompt or "prompt"
        self._completion = fields.completion or "completion"
        self._text = fields.text or "text"
        self._subjects = (fields.subject,) if fields.subject else ("subject", "subjects")
        self._source = fields.source or "source"
        self._licence = fields.licence or "licence"
        self._consent = fields.consent or "consent"
        self._collected = fields.collected_at or "collected_at"
        self._mapped = {
            self._id,
            self._prompt,
            self._completion,
            self._text,
            *self._subjects,
            self._source,
            self._licence,
            self._consent,
            self._collected,
        }
        self._known_subjects: dict[str | int, str] = {}
        self._lines: dict[str, int] = {}

    def parse(self, line: int, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row as it is stored, absent values left out. Raises BadRow."""
        try:
            return self._parse(line, row)
        except UnicodeEncodeError:
            raise BadRow(self._origin, line, "invalid UTF-8") from None
        except (InputError, TypeError, ValueError) as error:
            raise BadRow(self._origin, line, str(error)) from None

    def _parse(self, line: int, row: Mapping[str, Any]) -> dict[str, Any]:
        for column in self._required:
            if column not in row:
                raise InputError(_no_column(column, row))
        get = row.get
        stored = self._content(row)
        stored["subjects"] = self._subjects_of(row)
        source = _text(get(self._source), self._source) or self._defaults.source
        if source is not None:
            stored["source"] = source
        licence = _text(get(self._licence), self._licence) or self._defaults.licence
        if licence is not None:
            stored["licence"] = licence
        consent = get(self._consent)
        stored["consent"] = self._default_consent if consent is None else self._checked(consent)
        collected = get(self._collected)
        if collected is not None:
            stored["collected_at"] = _iso_date(self._collected, collected)
        if not row.keys() <= self._mapped:
            extras = self._extras(row)
            if extras:
                stored["extras"] = canonical_json(extras).decode()
        stored["id"] = self._new_id(line, row, stored)
        return stored

    def _content(self, row: Mapping[str, Any]) -> dict[str, Any]:
        stored = {}
        text = _text(row.get(self._text), self._text)
        prompt = _text(row.get(self._prompt), self._prompt)
        completion = _text(row.get(self._completion), self._completion)
        if text is not None:
            stored["text"] = text
        elif prompt is None and completion is None:
            raise InputError(
                f"expected {self._text!r}, or {self._prompt!r} and {self._completion!r}, "
                "got none of them; name the columns that hold them (--text, or --prompt and "
                "--completion; in Python, Fields)"
            )
        if prompt is not None and completion is not None:
            stored["prompt"], stored["completion"] = prompt, completion
        elif prompt is not None or completion is not None:
            there, missing = self._prompt, self._completion
            if prompt is None:
                there, missing = missing, there
            raise InputError(f"there is {there!r} but no {missing!r}: a pair needs both")
        return stored

    def _subjects_of(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        value = None
        for column in self._subjects:
            if row.get(column) is not None:
                if value is not None:
                    raise InputError("there are 'subject' and 'subjects': name the column to use")
                value = row[column]
        if value is None:
            return ()
        if type(value) is str or type(value) is int:
            return (self._subject(value),)
        if not isinstance(value, list | tuple) or not all(type(v) in (str, int) for v in value):
            raise InputError(
                f"expected {self._subjects[0]!r} as a name or a list of names, got {_kind(value)}"
            )
        return tuple(sorted({self._subject(name) for name in value}))

    def _subject(self, name: str | int) -> str:
        known = self._known_subjects.get(name)
        if known is None:
            text = str(name)
            known = text if SubjectId.is_one(text) else str(self._key.subject(text))
            self._known_subjects[name] = known
        return known

    def _checked(self, value: object) -> str:
        if not isinstance(value, str) or value not in _CONSENTS:
            raise InputError(
                f"expected {self._consent!r} as one of {', '.join(Consent)}, got another "
                f"{_kind(value)}"
            )
        return str(value)

    def _extras(self, row: Mapping[str, Any]) -> dict[str, Any]:
        extras = {
            name: value
            for name, value in row.items()
            if name not in self._mapped and value is not None
        }
        for name in extras:
            if name in COLUMNS:
                raise InputError(
                    f"column {name!r} has a name that the ledger needs itself: rename the column"
                )
        return extras

    def _new_id(self, line: int, row: Mapping[str, Any], stored: Mapping[str, Any]) -> str:
        value = row.get(self._id)
        if value is None:
            derived = self._key.record_id(canonical_json(stored))
            identifier, copy = derived, 1
            while identifier in self._lines:
                copy += 1
                identifier = f"{derived}-{copy}"
        else:
            if type(value) is not str and type(value) is not int:
                raise InputError(f"expected {self._id!r} as text or integer, got {_kind(value)}")
            identifier = str(value)
            if not identifier.isprintable() or not 0 < len(identifier) <= _LONGEST_ID:
                raise InputError(
                    f"expected {self._id!r} as 1 to {_LONGEST_ID} printable characters, got "
                    f"{len(identifier)} characters or unprintable ones"
                )
            if identifier in self._lines:
                first = self._lines[identifier]
                raise InputError(f"the id in {self._id!r} was used before, in line {first}")
        self._lines[identifier] = line
        return identifier


def _text(value: object, column: str) -> str | None:
    if value is None:
        return None
    if type(value) is not str:
        raise InputError(f"expected {column!r} as text, got {_kind(value)}")
    if not value or value.isspace():
        raise InputError(f"expected {column!r} with some text in it, got an empty one")
    return value


def _iso_date(column: str, value: object) -> str:
    try:
        if isinstance(value, str):
            return datetime.fromisoformat(value).date().isoformat()
    except ValueError:
        raise InputError(
            f"expected {column!r} as a date like 2025-03-31, got something else"
        ) from None
    if isinstance(value, datetime):
        return value.date().isoformat()
    if isinstance(value, date):
        return value.isoformat()
    raise InputError(f"expected {column!r} as a date like 2025-03-31, got {_kind(value)}")


def _no_column(column: str, row: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(column, row, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ": name one that every row has"
    return f"there is no column {column!r}{hint}"


def _kind(value: object) -> str:
    return {str: "text", dict: "object", list: "list", bool: "boolean"}.get(
        type(value), type(value).__name__
    )
