"""Find laws: those of the package, and a team's own beside them."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from olvido.errors import InputError, UnknownName
from olvido.requests.rights.law import Law

FOLDER = "laws"
"""The folder of a workspace that holds a team's own laws."""

_OURS = Path(__file__).parent / "laws"


def laws(workspace: Path | None = None) -> tuple[Law, ...]:
    """All laws in all versions, by name, the newest version first.

    Args:
        workspace: a workspace whose own files in `laws/` are read too. A file of the same name
            and version as one of the package replaces it.

    Raises:
        InputError: a file cannot be read or lacks something; two say the same name and version.
    """
    found = dict(_read(_OURS, _stamp(_OURS)))
    if workspace is not None and (workspace / FOLDER).is_dir():
        found |= _read(workspace / FOLDER, _stamp(workspace / FOLDER))
    return tuple(sorted(found.values(), key=lambda law: (law.name, -law.version)))


def _stamp(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """A stamp that changes whenever a file does."""
    files = sorted(folder.glob("*.toml"))
    return tuple((f.name, (s := f.stat()).st_mtime_ns, s.st_size) for f in files)


@lru_cache(maxsize=64)
def _read(folder: Path, stamp: tuple[tuple[str, int, int], ...]) -> dict[tuple[str, int], Law]:
    """The laws of a folder, cached while its files stay unchanged."""
    found: dict[tuple[str, int], Law] = {}
    paths: dict[tuple[str, int], Path] = {}
    for name, _, _ in stamp:
        path = folder / name
        law = Law.read(path)
        key = law.name, law.version
        if key in found:
            raise InputError(
                f"{path} and {paths[key]} both say they are version {law.version} of "
                f"{law.name!r}: give one another version"
            )
        found[key], paths[key] = law, path
    return found


def find_law(name: str, version: int | None = None, *, workspace: Path | None = None) -> Law:
    """The law of that name, in upper or lower case; version None: the newest.

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
