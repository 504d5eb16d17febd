"""The settings of a workspace: one frozen value, from olvido.toml and OLVIDO_*."""

from __future__ import annotations

import json
import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Self
from zoneinfo import ZoneInfo

from olvido.errors import InputError, UnknownName

FILE = "olvido.toml"
LEDGER = "ledger.db"
"""The default name of the ledger's file."""
DTYPES = ("float32", "bfloat16", "float16", "auto")
"""Types of a model's weights; `auto`: the type of its files."""

_DEFAULTS: Mapping[str, Any] = {
    "ledger": LEDGER,
    "key": "olvido.key",
    "signing_key": "olvido-signing.key",
    "data": "data",
    "models": "models",
    "reports": "reports",
    "certificates": "certificates",
    "device": "cpu",
    "dtype": "float32",
    "threads": None,
    "seed": 0,
    "tofu": None,
    "holidays": (),
    "trusted": (),
    "timezone": "UTC",
    "proxies": (),
    "contact": None,
    "privacy_limit": None,
    "certified_limit": 1.0,
    "reminders": {},
    "retention": (),
}
_PATHS = ("key", "signing_key", "data", "models", "reports", "certificates")
_NUMBERS = ("threads", "seed")
_EPSILONS = ("privacy_limit", "certified_limit")
_LISTS = ("holidays", "proxies", "trusted")
# Variables of the same prefix that are read elsewhere, or name the workspace.
_NOT_SETTINGS = (
    "OLVIDO_WORKSPACE",
    "OLVIDO_CACHE",
    "OLVIDO_SMTP_PASSWORD",
    "OLVIDO_WEBHOOK_SECRET",
)
_TESTING = "OLVIDO_TEST_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one workspace, every path absolute.

    `ledger` is a file or a database URL; `key` is the file of the key that digests subjects,
    `signing_key` of the one that signs checkpoints and certificates; `threads` None leaves the
    choice to torch; `tofu` is a folder, file or hub id of the TOFU benchmark; `holidays` are
    further days without work, and `timezone` sets the days, for the deadlines of requests;
    `trusted` are models (folders, hub ids, ids of the ledger) whose own code may run; `proxies`
    are the addresses and networks before the service whose forwarding headers are trusted;
    `contact` is the team's contact for the status page; `privacy_limit` is the largest epsilon that
    all trainings together may spend on a person, None without a limit; `certified_limit` is the
    largest epsilon at which what a private training promised answers a request, 0 for none;
    `reminders` is a table that `olvido.requests.workflow.reminding` reads; `retention` are tables
    that `olvido.requests.retention.rules` reads.
    """

    workspace: Path
    ledger: str
    key: Path
    signing_key: Path
    data: Path
    models: Path
    reports: Path
    certificates: Path
    device: str
    dtype: str
    threads: int | None
    seed: int
    tofu: str | None
    holidays: frozenset[date]
    trusted: frozenset[str]
    timezone: str
    proxies: tuple[str, ...]
    contact: str | None
    privacy_limit: float | None
    certified_limit: float
    reminders: Mapping[str, Any]
    retention: tuple[Mapping[str, Any], ...]

    @classmethod
    def find(
        cls,
        workspace: Path | None = None,
        *,
        environment: Mapping[str, str] = os.environ,
        start: Path | None = None,
    ) -> Self:
        """The settings of a workspace: the one given, OLVIDO_WORKSPACE, or the nearest above.

        Raises InputError where there is none or a value is wrong, UnknownName for a setting that
        does not exist.
        """
        folder = find_folder(workspace, environment=environment, start=start)
        if folder is None:
            here = (start or Path.cwd()).expanduser().resolve()
            raise InputError(
                f"there is no workspace in {here} or above it: make one with 'olvido init', or "
                "name one with --workspace or OLVIDO_WORKSPACE"
            )
        return cls.load(folder, environment=environment)

    @classmethod
    def load(cls, workspace: Path | str, *, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the settings from this folder's olvido.toml, if any, and the environment over it."""
        workspace = Path(workspace)
        file = workspace / FILE
        try:
            written = tomllib.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{file} is not TOML: {error}") from None
        for name in written:
            if name not in _DEFAULTS:
                raise UnknownName(f"setting in {file}", name, _DEFAULTS)
        values = dict(_DEFAULTS) | {n: _placed(n, v, workspace) for n, v in written.items()}
        for name, text in _from_environment(environment).items():
            values[name] = _placed(name, _number(name, text), Path.cwd())
        return cls(workspace=workspace, **_checked(values, workspace))


def find_folder(
    workspace: Path | None = None,
    *,
    environment: Mapping[str, str] = os.environ,
    start: Path | None = None,
) -> Path | None:
    """The folder of a workspace: the one given, OLVIDO_WORKSPACE, or the nearest above, if any.

    Raises InputError where the given folder is no workspace.
    """
    given = workspace or (
        Path(environment["OLVIDO_WORKSPACE"]) if environment.get("OLVIDO_WORKSPACE") else None
    )
    here = (given or start or Path.cwd()).expanduser().resolve()
    if given is not None:
        if not (here / FILE).is_file():
            raise InputError(f"{here} is no workspace: make it one with 'olvido init {given}'")
        return here
    return next((f for f in (here, *here.parents) if (f / FILE).is_file()), None)


def template(**given: str) -> str:
    """The text of a new olvido.toml: the given values, and the defaults as comments.

    >>> "# device" in template(), 'ledger = "x"' in template(ledger="x").splitlines()
    (True, True)
    """
    lines = [
        "# Settings of this Olvido workspace. Every line shows a default; uncomment to change."
    ]
    for name, value in _DEFAULTS.items():
        if name in given:
            lines.append(f"{name} = {json.dumps(given[name])}")
            continue
        shown = f'"{value}"' if isinstance(value, str) else "[]" if value == () else value
        lines.append(f"# {name} = {'...' if value is None else shown}")
    return "\n".join(lines) + "\n"


def _from_environment(environment: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for variable, value in environment.items():
        if not variable.startswith("OLVIDO_") or variable.startswith(_TESTING):
            continue
        name = variable.removeprefix("OLVIDO_").lower()
        if variable in _NOT_SETTINGS or value == "":
            continue
        if name not in _DEFAULTS:
            known = [f"OLVIDO_{known.upper()}" for known in _DEFAULTS]
            raise UnknownName("environment variable", variable, [*known, *_NOT_SETTINGS])
        found[name] = value
    return found


def _number(name: str, text: str) -> Any:
    if name in _LISTS:
        return [day.strip() for day in text.split(",")]
    if name in _EPSILONS:
        try:
            return float(text)
        except ValueError:
            return text
    return int(text) if name in _NUMBERS and text.lstrip("-").isdecimal() else text


def _epsilon(name: str, value: Any) -> float | None:
    if value is None and _DEFAULTS[name] is None:
        return None
    number = float(value) if type(value) in (int, float) else math.nan
    # Where nothing shall be answered by a promise, the limit is 0; a budget of 0 is no budget.
    allowed = number >= 0 if name == "certified_limit" else number > 0
    if not (allowed and number < math.inf):
        least = "of at least 0" if name == "certified_limit" else "above 0"
        raise InputError(f"expected {name!r} as an epsilon {least}, got {value!r}")
    return number


def _placed(name: str, value: Any, base: Path) -> Any:
    """Resolve a path relative to its place: the folder of olvido.toml, or the current folder."""
    is_path = name in _PATHS or (name == "ledger" and "://" not in str(value))
    return str(base / Path(value).expanduser()) if is_path and isinstance(value, str) else value


def _checked(values: Mapping[str, Any], workspace: Path) -> dict[str, Any]:
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if name == "holidays":
            checked[name] = _days(value)
            continue
        if name == "reminders":
            if not isinstance(value, dict):
                raise InputError(f"expected 'reminders' as a table in {FILE}: [reminders]")
            checked[name] = dict(value)
            continue
        if name == "retention":
            if not isinstance(value, (list, tuple)) or not all(isinstance(v, dict) for v in value):
                raise InputError(f"expected 'retention' as tables in {FILE}: [[retention]]")
            checked[name] = tuple(map(dict, value))
            continue
        if name == "proxies":
            checked[name] = _addresses(value)
            continue
        if name in _EPSILONS:
            checked[name] = _epsilon(name, value)
            continue
        if name == "trusted":
            if not isinstance(value, (list, tuple)) or not all(type(v) is str for v in value):
                raise InputError(f"expected 'trusted' as a list of names, got {value!r}")
            checked[name] = frozenset(value)
            continue
        expected = int if name in _NUMBERS else str
        optional = _DEFAULTS[name] is None and value is None
        if not optional and type(value) is not expected:
            kind = "a whole number" if expected is int else "text"
            raise InputError(f"expected the setting {name!r} as {kind}, got {value!r}")
        checked[name] = _placed(name, value, workspace)
    if checked["dtype"] not in DTYPES:
        raise UnknownName("dtype", checked["dtype"], DTYPES)
    try:
        ZoneInfo(checked["timezone"])
    except (OSError, ValueError, KeyError):
        raise InputError(
            f"expected 'timezone' as a name like Europe/Madrid, got {checked['timezone']!r}"
        ) from None
    if checked["threads"] is not None and checked["threads"] < 1:
        raise InputError(f"expected 'threads' as 1 or more, got {checked['threads']}")
    return checked | {name: Path(checked[name]) for name in _PATHS}


def _days(value: Any) -> frozenset[date]:
    """Days from a list of dates, in TOML or as text."""
    try:
        return frozenset(
            day if type(day) is date else date.fromisoformat(day) for day in _listed(value)
        )
    except (TypeError, ValueError):
        raise InputError(
            f"expected 'holidays' as a list of days like [2027-01-01], got {value!r}"
        ) from None


def _addresses(value: Any) -> tuple[str, ...]:
    """Addresses and networks from a list of texts."""
    try:
        for one in (found := tuple(_listed(value))):
            ip_network(one)
    except (TypeError, ValueError):
        raise InputError(
            "expected 'proxies' as a list of addresses and networks like "
            f'["127.0.0.1", "10.0.0.0/24"], got {value!r}'
        ) from None
    return found


def _listed(value: Any) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise TypeError
    return value
