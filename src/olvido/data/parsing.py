"""Validation of data rows, and their stored form.

Error messages name columns and kinds of values, never a value: it may be somebody's name.
"""

from __future__ import annotations

import ast
import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from olvido.data.arrays.rows import ArrayRows
from olvido.data.conversations import MESSAGES, as_pair
from olvido.data.encodings import not_encodable
from olvido.errors import BadRow, InputError
from olvido.ledger.digests import canonical_json
from olvido.ledger.facts import Consent
from olvido.ledger.identity import Key, SubjectId
from olvido.ledger.personal import Naming
from olvido.ledger.rows import COLUMNS, StoredRow, canonical_row, unpacked

_LONGEST_ID = 200
_CONSENTS = frozenset(Consent)
_TEXTS = ("prompt", "completion", "text", "source", "licence")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """The columns of each part of a record.

    None stands for the part's own name (`subjects` too for the subject), which a row may lack; a
    named column must be in every row.
    """

    id: str | None = None
    prompt: str | None = None
    completion: str | None = None
    text: str | None = None
    input: str | None = None
    label: str | None = None
    subject: str | None = None
    source: str | None = None
    licence: str | None = None
    consent: str | None = None
    collected_at: str | None = None

    def __post_init__(self) -> None:
        for part in self.__slots__:
            if getattr(self, part) == "":
                raise InputError(f"expected the name of the column that holds {part!r}, got none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """Values for rows that do not have their own."""

    source: str | None = None
    licence: str | None = None
    consent: Consent = Consent.UNKNOWN


class RowParser:
    """Turns rows of one file into stored rows (see `olvido.ledger.rows`).

    >>> parser = RowParser("data.jsonl", Key(1, bytes(32)), Fields(text="note"), Defaults())
    >>> stored, canonical = parser.parse(1, {"note": "Ana lives in Gràcia.", "id": 7})
    >>> stored[0], canonical.decode()
    ('7', '{"consent":"unknown","id":"7","subjects":[],"text":"Ana lives in Gràcia."}')
    >>> parser.parse(2, {"nota": "Ana lives in Gràcia."})
    Traceback (most recent call last):
    olvido.errors.BadRow: data.jsonl, line 2: there is no column 'note'; did you mean 'nota'?
    """

    def __init__(self, origin: str, key: Key, fields: Fields, defaults: Defaults) -> None:
        self._origin = origin
        self._key = key
        self._default_source = defaults.source or None
        self._default_licence = defaults.licence or None
        self._default_consent = str(defaults.consent)
        self._required = [c for c in (getattr(fields, f) for f in fields.__slots__) if c]
        self._id = fields.id or "id"
        self._texts = tuple(getattr(fields, part) or part for part in _TEXTS)
        self._subjects = (fields.subject,) if fields.subject else ("subject", "subjects")
        self._consent = fields.consent or "consent"
        self._collected = fields.collected_at or "collected_at"
        self._mapped = {self._id, *self._texts, *self._subjects, self._consent, self._collected}
        self._arrays = ArrayRows(fields.input or "input", fields.label or "label")
        chosen = (fields.prompt, fields.completion, fields.text)
        self._takes_pairs = not any(chosen)
        self._known_subjects: dict[str | int, tuple[str, ...]] = {}
        self.forms: dict[str, frozenset[bytes]] = {}
        """Stored forms of the subjects' names so far, see `Key.near`."""
        self._names: dict[str, tuple[str, ...]] = {}
        self._naming: dict[tuple[str, ...], Naming] = {}
        self._pseudonyms: dict[str, str] = {}
        self._innocent: set[tuple[str, tuple[str, ...]]] = set()
        self.pseudonymous = 0
        """Number of ids that were replaced by pseudonyms."""
        self._lines: dict[str, int] = {}

    def parse(self, line: int, row: Mapping[str, Any]) -> tuple[StoredRow, bytes]:
        """The row as it is stored, and its canonical JSON. Raises BadRow."""
        try:
            return self._parse(line, row)
        except UnicodeEncodeError as error:
            raise BadRow(self._origin, line, not_encodable(error)) from None
        except (InputError, TypeError, ValueError) as error:
            raise BadRow(self._origin, line, str(error)) from None

    def _parse(self, line: int, row: Mapping[str, Any]) -> tuple[StoredRow, bytes]:
        if self._takes_pairs and ("question" in row or MESSAGES in row):
            row = as_pair(row)
        for column in self._required:
            if column not in row:
                raise InputError(_no_column(column, row))
        get = row.get
        texts = [get(column) for column in self._texts]
        for value in texts:
            if value is not None and (type(value) is not str or not value or value.isspace()):
                wrong = next(c for c, v in zip(self._texts, texts, strict=True) if v is value)
                raise InputError(_no_text(wrong, value))
        prompt, completion, text, source, licence = texts
        form = None
        if prompt is completion is text is None and self._arrays.has(row):
            row, form = self._arrays.read(row)
        elif (prompt is None) is not (completion is None) or (prompt is None and text is None):
            raise InputError(self._no_content(prompt, completion))
        consent, collected, given = get(self._consent), get(self._collected), get(self._id)
        people = self._subjects_of(row)
        if form is not None and self._is_personal(row["label"], people):
            raise InputError(
                f"{self._arrays.label!r} names somebody, and the ledger keeps no names: give a "
                "number, or another name of the class"
            )
        source = source or self._default_source
        # Checked once: many rows of the same people come from one source.
        if source is not None and (
            source in self._pseudonyms or (source, people) not in self._innocent
        ):
            source = self._source(source, people)
        content: StoredRow = (
            prompt,
            completion,
            text,
            people,
            source,
            licence or self._default_licence,
            self._default_consent if consent is None else self._checked(consent),
            None if collected is None else _iso_date(self._collected, collected),
            None if row.keys() <= self._mapped else self._extras(row),
        )
        identifier = self._derived_id(content) if given is None else self._given_id(given, people)
        found = (identifier, *content)
        canonical = canonical_row(found)
        self._arrays.require_alike(form, first=not self._lines)
        self._lines[identifier] = line
        self.pseudonymous += given is not None and identifier != str(given)
        return found, canonical

    def without_persons(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """An unusable row for the file of bad rows: ids, sources and subjects as the ledger would
        store them, and none where it could not."""
        clean = dict(row)
        try:
            people = self._subjects_of(row)
        except (InputError, TypeError, ValueError):
            people = None
        for column in self._subjects:
            if clean.get(column) is not None:
                clean[column] = people and list(people)
        for column in (self._id, self._texts[_TEXTS.index("source")]):
            value = clean.get(column)
            if value is not None and people is None:
                clean[column] = None
            elif value is not None and self._is_personal(str(value), people or ()):
                clean[column] = self._key.pseudonym(str(value))
        return clean

    def _no_content(self, prompt: str | None, completion: str | None) -> str:
        for_prompt, for_completion, for_text, *_ = self._texts
        if prompt is not None:
            return f"there is {for_prompt!r} but no {for_completion!r}: a pair needs both"
        if completion is not None:
            return f"there is {for_completion!r} but no {for_prompt!r}: a pair needs both"
        return (
            f"expected {for_text!r}, or {for_prompt!r} and {for_completion!r}, or 'messages', or "
            f"{self._arrays.input!r} and {self._arrays.label!r}, got none of them; "
            "name its columns so, or say which hold them ('olvido data add' has --text, --prompt "
            "and --completion, --input and --label)"
        )

    def _subjects_of(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        value = None
        for column in self._subjects:
            named = row.get(column)
            if named is not None:
                if value is not None:
                    raise InputError("there are 'subject' and 'subjects': name the column to use")
                value = named
        if value is None:
            return ()
        if type(value) is str or type(value) is int:
            return self._known_subjects.get(value) or self._people(value)
        if not isinstance(value, list | tuple) or not all(type(v) in (str, int) for v in value):
            raise InputError(
                f"expected {self._subjects[0]!r} as a name or a list of names, got {_kind(value)}"
            )
        return tuple(sorted({subject for name in value for subject in self._people(name)}))

    def _people(self, cell: str | int) -> tuple[str, ...]:
        """The subjects in a cell: most name one, and their rows share the tuple."""
        known = self._known_subjects.get(cell)
        if known is None:
            # A value that is no text is reported with its position.
            str(cell).encode()
            people = {self._subject(name) for name in several(str(cell))}
            known = self._known_subjects[cell] = tuple(sorted(people))
        return known

    def _subject(self, name: str) -> str:
        if SubjectId.is_one(name):
            return self._key.current(name)
        subject = str(self._key.subject(name))
        kept = self._key.kept(name)
        self.forms[subject] = kept | self.forms[subject] if subject in self.forms else kept
        self._names[subject] = (*self._names.get(subject, ()), name)
        return subject

    @property
    def pseudonymous_sources(self) -> int:
        """The number of sources that were replaced by pseudonyms."""
        return len(set(self._pseudonyms.values()))

    def _source(self, source: str, people: tuple[str, ...]) -> str:
        """The source, or its pseudonym once it is known to be personal."""
        if source not in self._pseudonyms:
            if not self._is_personal(source, people):
                self._innocent.add((source, people))
                return source
            self._pseudonyms[source] = self._key.pseudonym(source)
        return self._pseudonyms[source]

    def _is_personal(self, text: str, people: tuple[str, ...]) -> bool:
        """Whether an id or a source seems personal, or names a subject of its row."""
        naming = self._naming.get(people)
        if naming is None:
            names = [name for subject in people for name in self._names.get(subject, ())]
            naming = self._naming[people] = Naming(names)
        return naming.personal(text)

    def _checked(self, value: object) -> str:
        if not isinstance(value, str) or value not in _CONSENTS:
            raise InputError(
                f"expected {self._consent!r} as one of {', '.join(Consent)}, got another "
                f"{_kind(value)}"
            )
        return str(value)

    def _extras(self, row: Mapping[str, Any]) -> str | None:
        extras = {
            name: value
            for name, value in row.items()
            if name not in self._mapped and value is not None
        }
        for name in extras:
            if name in COLUMNS or (name == MESSAGES and not self._takes_pairs):
                raise InputError(
                    f"column {name!r} has a name that the ledger needs itself: rename the column"
                )
        try:
            return canonical_json(extras).decode() if extras else None
        except UnicodeEncodeError:
            raise
        except (TypeError, ValueError, RecursionError):
            wrong = next(name for name, value in extras.items() if not _is_json(value))
            raise InputError(
                f"column {wrong!r} holds what JSON has no form for (nan, infinity, or no plain "
                "value): make it text, or leave it out"
            ) from None

    def _derived_id(self, content: StoredRow) -> str:
        derived = self._key.record_id(canonical_row((None, *content)))
        identifier, copy = derived, 1
        while identifier in self._lines:
            copy += 1
            identifier = f"{derived}-{copy}"
        return identifier

    def _given_id(self, value: object, people: tuple[str, ...]) -> str:
        if type(value) is not str and type(value) is not int:
            raise InputError(f"expected {self._id!r} as text or integer, got {_kind(value)}")
        identifier = str(value)
        if not identifier.isprintable() or not 0 < len(identifier) <= _LONGEST_ID:
            raise InputError(
                f"expected {self._id!r} as 1 to {_LONGEST_ID} printable characters, got "
                f"{len(identifier)} characters or unprintable ones"
            )
        if self._is_personal(identifier, people):
            identifier = self._key.pseudonym(identifier)
        if identifier in self._lines:
            first = self._lines[identifier]
            raise InputError(f"the id in {self._id!r} was used before, in line {first}")
        return identifier


class ClearParser(RowParser):
    """Reads rows as the ledger would, and keeps names in clear: nothing is stored.

    >>> ClearParser("x.csv").content(1, {"id": 7, "question": "Who?", "answer": "Ana Soler"})["id"]
    '7'
    """

    def __init__(self, origin: str) -> None:
        super().__init__(origin, Key(1, bytes(32)), Fields(), Defaults())

    def content(self, line: int, row: Mapping[str, Any]) -> dict[str, Any]:
        """The ledger's content of such a row; without an id where it had none.

        Raises:
            BadRow: the ledger would not take it.
        """
        stored, _ = self.parse(line, row)
        kept = {
            name: value for name, value in zip(COLUMNS, stored, strict=True) if value is not None
        }
        if row.get(self._id) is None:
            del kept["id"]
        return unpacked(kept | {"subjects": list(kept["subjects"])})

    def _subject(self, name: str) -> str:
        # Refused where the ledger would refuse it.
        super()._subject(name)
        return name

    def _is_personal(self, text: str, people: tuple[str, ...]) -> bool:
        # A row that is not stored needs no pseudonyms.
        return False


def several(cell: str) -> list[str]:
    """The names in a cell: one, a list in JSON or Python syntax, or separated by ; or |.

    Raises InputError where it has several that cannot be separated.

    >>> several("Ana Soler"), several('["Ana Soler", "Joan Puig"]'), several("Ana Soler; Joan Puig")
    (['Ana Soler'], ['Ana Soler', 'Joan Puig'], ['Ana Soler', 'Joan Puig'])
    """
    text = cell.strip()
    if (text[:1], text[-1:]) in _LISTS:
        names = _listed(text)
    elif ";" in text or "|" in text or "；" in text:
        names = [name for name in map(str.strip, _BETWEEN.split(text)) if name]
    else:
        names = [cell]
        parts = text.split(",")
        if len(parts) > 2 and all(len(part.split()) > 1 for part in parts):
            raise InputError(_SEVERAL)
    if not names or any(not name.strip() for name in names):
        raise InputError("expected the name of a subject, got an empty one")
    return names


def _listed(text: str) -> list[str]:
    # Of "['Ana' 'Joan']", as numpy prints it, Python would make one word.
    if _GLUED.search(text):
        raise InputError(_SEVERAL)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        try:
            found = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise InputError(_SEVERAL) from None
    if not isinstance(found, list | tuple | set) or not all(type(v) in (str, int) for v in found):
        raise InputError(_SEVERAL)
    return [name for value in found for name in several(str(value))]


_LISTS = {("[", "]"), ("{", "}")}
_BETWEEN = re.compile("[;|；]")
_GLUED = re.compile(r"""['"]\s*['"]""")
_SEVERAL = (
    "expected the name of one subject, or of several as a JSON list or with ';' between them, got "
    "something else that may be several"
)


def _is_json(value: object) -> bool:
    try:
        canonical_json(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _no_text(column: str, value: object) -> str:
    if type(value) is not str:
        return f"expected {column!r} as text, got {_kind(value)}"
    return f"expected {column!r} with some text in it, got an empty one"


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
