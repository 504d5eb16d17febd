"""One language of letters: a file with its words and templates. A new file is a new language."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date
from pathlib import Path
from typing import Any, Self

from olvido.errors import InputError, UnknownName
from olvido.ledger.facts import Guarantee, RequestKind, RequestStatus

KINDS = ("received", "needs-information", "extension", "done", "partly-done", "refused")
"""What there is to write about."""

OWN = (
    *("access-received", "access-extension", "access-done"),
    *("rectification-received", "rectification-done", "rectification-partly-done"),
)
"""Templates of a kind of request that has words of its own for what there is to write about."""

ACCESS = (
    *("title", "request", "records", "none", "dataset", "since", "source", "licence", "consent"),
    *("consent-granted", "consent-withdrawn", "consent-unknown", "consent-not-required"),
    *("collected", "unused", "gone", "shared", "withheld", "unsaid", "why", "description"),
    *("purpose", "basis", "retention", "creator", "models", "no-models", "model", "made", "state"),
    *("learned", "uses", "serves", "holds", "forgotten", "without", "destroyed", "recipients"),
    *("given-out", "mentions", "mentioned", "unsearched", "unknown", "cannot-outside"),
    *("cannot-recipients", "cannot-learned", "cannot-others", "rights", "ask"),
)
"""What the page says on which a person's own data are told."""

NOT_LEARNED = "not-learned"
"""Stands among the guarantees for what no model in use had learned."""

OWN_STATES = tuple(
    f"rectification-{state}"
    for state in ("planned", "approved", "running", "audited", "published", "not-learned")
)
"""States that a kind of request has words of its own for."""

IN_PART = "closed-in-part"
"""Stands among the states for what was closed with something left."""

LETTERS = {
    RequestStatus.NEEDS_INPUT: "needs-information",
    RequestStatus.REFUSED: "refused",
}
"""States of which a letter says more, and its kind: `STATE-letter` is told once it was written."""

DECIDING = "deciding"
"""Stands among the states for what needs a decision of the team."""

PAGE = ("title", "skip", "received", "due", "turn", "contact", "keep")
"""What the page says on which a request is followed."""

FOLDER = "notices"
"""The folder of a workspace that holds a team's own languages."""

_OURS = Path(__file__).parent / "languages"


_STATES = (
    *(status.value for status in RequestStatus),
    *(f"{status}-letter" for status in LETTERS),
    *(NOT_LEARNED, DECIDING, IN_PART),
    *OWN_STATES,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterLanguage:
    """The words of one language.

    Attributes:
        code: its tag, which is the file's name.
        name: what it calls itself.
        dated: how it writes a day, with {day}, {month} and {year}; `months` from January on.
        asked: what was asked for, by kind of request.
        guarantee: what was done to the model, by what may be claimed; `untaught` where nothing had
            to be.
        recourse: where the person may turn, by name of law: the law's own recourse in this
            language. A law without one is quoted as its file has it.
        laws: names of laws; one that is missing keeps its title.
        artefacts: what else holds data, in plain words, by kind; one that is missing keeps its
            name.
        page: words of the page on which a request is followed, by name (`PAGE`).
        states: how far a request has come, to whoever asked, by status; `untaught` where nothing
            in use had to change, `deciding` where the team has to decide, `closed-in-part` where
            something is left, `needs-input-letter` and `refused-letter` where a letter was written.
        access: words of the page on which a person's own data are told, by name (`ACCESS`).
        notices: the letters' templates (Jinja), by kind; `OWN` are those of a kind of request.
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
        """How far a request of a kind has come."""
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
            ("guarantee", [*(guarantee.value for guarantee in Guarantee), NOT_LEARNED]),
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
    """All languages by their tags; a workspace's own take the place of those that come along."""
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
