"""The languages of letters: one file of words and templates each. A new file adds a language."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date
from pathlib import Path
from typing import Any, Self

from olvido.errors import InputError, UnknownName
from olvido.ledger.facts import DECLARED, Guarantee, RequestKind, RequestStatus

KINDS = ("received", "needs-information", "extension", "done", "partly-done", "refused")
"""The kinds of letters."""

OWN = (
    *("access-received", "access-extension", "access-done"),
    *("rectification-received", "rectification-done", "rectification-partly-done"),
)
"""Letter templates that apply to one kind of request only."""

ACCESS = (
    *("title", "request", "records", "none", "dataset", "since", "source", "licence", "consent"),
    *("consent-granted", "consent-withdrawn", "consent-unknown", "consent-not-required"),
    *("collected", "unused", "gone", "shared", "withheld", "unsaid", "why", "description"),
    *("purpose", "basis", "retention", "creator", "models", "no-models", "model", "made", "state"),
    *("learned", "uses", "serves", "holds", "forgotten", "bounded", "without", "destroyed"),
    *("recipients", "given-out", "mentions", "mentioned", "unsearched", "unknown"),
    *("cannot-outside", "cannot-recipients", "cannot-learned", "cannot-others", "rights", "ask"),
)
"""Keys of the words on the access page, which shows a person their own data."""

NOT_LEARNED = "not-learned"
"""The key among the guarantees for records that no model in use had learned."""

BOUND = "bound"
"""The key among the guarantees for what an attack can do where a promise bounds it, with {wrong}
and {right} of 100 people."""

OWN_STATES = tuple(
    f"rectification-{state}"
    for state in ("planned", "approved", "running", "audited", "published", "not-learned")
)
"""States that have words for one kind of request only."""

IN_PART = "closed-in-part"
"""The key among the states for a request that was closed with remaining items."""

LETTERS = {
    RequestStatus.NEEDS_INPUT: "needs-information",
    RequestStatus.REFUSED: "refused",
}
"""States with a letter of their own, and its kind; `STATE-letter` applies once it was written."""

DECIDING = "deciding"
"""The key among the states for a request that needs a decision of the team."""

PAGE = ("title", "skip", "received", "due", "turn", "contact", "keep")
"""Keys of the words on the status page, on which the person follows the request."""

FOLDER = "notices"
"""The folder of a workspace that holds a team's own languages."""

_OURS = Path(__file__).parent / "languages"


_STATES = (
    *(status.value for status in RequestStatus),
    *(f"{status}-letter" for status in LETTERS),
    *(NOT_LEARNED, Guarantee.CERTIFIED.value, DECIDING, IN_PART),
    *OWN_STATES,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterLanguage:
    """The words of one language.

    Attributes:
        code: its tag, which is the file's name.
        name: its name for itself.
        dated: the format of a day, with {day}, {month} and {year}; `months` from January on.
        asked: what was asked for, by kind of request.
        guarantee: what was done to the model, by guarantee; `not-learned` where nothing had to be,
            `declared` is added where it was trained elsewhere, `bound` where a promise is known.
        recourse: where the person may turn, by name of law: the law's own recourse in this
            language. A law without one is quoted as its file has it.
        laws: names of laws; one that is missing keeps its title.
        artefacts: what else holds data, in plain words, by kind; one that is missing keeps its
            name.
        page: the words of the status page, by key (`PAGE`).
        states: the person's view of each status; also `not-learned` where no model in use had to
            change, `certified` where a promise answers, `deciding` where the team has to decide,
            `closed-in-part` where items remain, `needs-input-letter` and `refused-letter` where a
            letter was written.
        access: the words of the access page, by key (`ACCESS`).
        notices: the letters' templates (Jinja), by kind; `OWN` are for one kind of request only.
    """

    code: str
    name: str
    dated: str
    months: tuple[str, ...]
    asked: Mapping[str, str]
    guarantee: Mapping[str, str]
    recourse: Mapping[str, str]
    laws: Mapping[str, str]
    artefacts: Mapping[str, str]
    page: Mapping[str, str]
    states: Mapping[str, str]
    access: Mapping[str, str]
    notices: Mapping[str, str]

    def state(self, kind: str, state: str) -> str:
        """The words for a state, for a kind of request."""
        return self.states.get(f"{kind}-{state}", self.states[state])

    def template(self, letter: str, kind: str) -> str:
        """The template of a letter about a request of a kind."""
        return self.notices.get(f"{kind}-{letter}", self.notices[letter])

    def day(self, day: date) -> str:
        """A day as people write it."""
        return self.dated.format(day=day.day, month=self.months[day.month - 1], year=day.year)

    @classmethod
    def read(cls, path: Path) -> Self:
        """The language in a TOML file. Raises InputError where it is not whole."""
        try:
            found: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path} is no language in TOML: {error}") from None
        names = {field.name for field in fields(cls)} - {"code"}
        if wrong := sorted(found.keys() ^ names):
            raise InputError(f"{path}: {wrong[0]!r} is missing or has no place in a language")
        for table, needed in (
            ("asked", [kind.value for kind in RequestKind]),
            ("guarantee", [*(one.value for one in Guarantee), NOT_LEARNED, DECLARED, BOUND]),
            ("page", PAGE),
            ("states", _STATES),
            ("access", ACCESS),
            ("notices", (*KINDS, *OWN)),
        ):
            for name in needed:
                if not str(found[table].get(name, "")).strip():
                    raise InputError(f"{path}: {table!r} lacks {name!r}")
        if len(found["months"]) != 12:
            raise InputError(f"{path}: expected 12 months, got {len(found['months'])}")
        return cls(code=path.stem, **found | {"months": tuple(found["months"])})


def languages(workspace: Path | None = None) -> dict[str, LetterLanguage]:
    """All languages by their tags; a workspace's own files replace those of the package."""
    folders = [_OURS, *([workspace / FOLDER] if workspace else [])]
    files = [path for folder in folders for path in sorted(folder.glob("*.toml"))]
    return {path.stem: LetterLanguage.read(path) for path in files}


def preferred(accepted: str, known: Mapping[str, LetterLanguage]) -> LetterLanguage:
    """The language of a browser's `Accept-LetterLanguage` (RFC 9110, 12.5.4); English where none
    fits.

    >>> preferred("fr-CA, es-MX;q=0.8, en;q=0.5", languages()).code
    'es'
    """
    wanted = []
    for part in accepted.split(",")[:20]:
        tag, _, quality = part.partition(";")
        try:
            weight = float(quality.strip().removeprefix("q=") or 1)
        except ValueError:
            continue
        wanted.append((-weight, tag.strip().partition("-")[0].casefold()))
    fits = [
        tag for weight, tag in sorted(wanted, key=lambda w: w[0]) if weight < 0 and tag in known
    ]
    return known[fits[0] if fits else "en"]


def find_language(code: str, workspace: Path | None = None) -> LetterLanguage:
    """The language of that tag. Raises UnknownName."""
    known = languages(workspace)
    if code not in known:
        raise UnknownName("language", code, known)
    return known[code]
