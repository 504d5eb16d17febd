"""Where laws are found: those that come with Olvido, and a team's own beside them."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from olvido.errors import InputError, UnknownName
from olvido.requests.laws.law import Law

FOLDER = "laws"
"""The folder of a workspace that holds a team's own laws."""

_OURS = Path(__file__).parent / "data"


def laws(workspace: Path | None = None) -> tuple[Law, ...]:
    """All laws in all versions, by name, the newest version first.

    Args:
        workspace: whose own files in `laws/` are read too. A file of the same name and version as
            one that comes with Olvido takes its place.

    Raises:
        InputError: a file cannot be read or lacks something; two say the same name and version.
    """
    found: dict[tuple[str, int], Law] = {}
    for folder in (_OURS, *([workspace / FOLDER] if workspace else [])):
        own: dict[tuple[str, int], Path] = {}
        for path in sorted(folder.glob("*.toml")) if folder.is_dir() else ():
            law = _read(path, path.stat().st_mtime_ns)
            key = law.name, law.version
            if key in own:
                raise InputError(
                    f"{path} and {own[key]} both say they are version {law.version} of "
                    f"{law.name!r}: give one another version"
                )
            own[key], found[key] = path, law
    return tuple(sorted(found.values(), key=lambda law: (law.name, -law.version)))


@lru_cache(maxsize=1024)
def _read(path: Path, _changed: int) -> Law:
    """A file is read again only when it has changed: an inbox asks for its laws by the thousand."""
    return Law.read(path)


def find_law(name: str, version: int | None = None, *, workspace: Path | None = None) -> Law:
    """The law of that name, in any spelling of its letters; None: its newest version.

    Raises:
        UnknownName: no such law; the nearest is named.
        InputError: no such version.

    >>> find_law("GDPR").answer.unit
    <Unit.CALENDAR_MONTH: 'calendar month'>
    """
    known = laws(workspace)
    same = [law for law in known if law.name == name.casefold()]
    if not same:
        raise UnknownName("law", name, {law.name for law in known})
    for law in same:
        if version in (None, law.version):
            return law
    listed = ", ".join(str(law.version) for law in reversed(same))
    raise InputError(f"law {name!r} has no version {version}: its versions are {listed}")
