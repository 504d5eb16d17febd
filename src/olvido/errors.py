"""Every error that Olvido raises on purpose.

An error says what was expected, what came, and what to do. The command line prints it as one line
and exits with status 2; nothing on disk has changed.

    OlvidoError
    ├── InputError              what the caller gave is wrong
    │   ├── BadRow              a row of data, named by file and line
    │   ├── UnknownName         no such method, option, model, dataset, subject (with the nearest)
    │   ├── AskedBefore             an open request asks for the same
    │   ├── MissingNeed         the method or audit needs something that was not given
    │   └── RefusedArgument     an estimator's argument, a ValueError to scikit-learn as well
    ├── StateError              the state on disk is not what it should be
    │   ├── OutOfReach          the ledger's database does not answer as it should
    │   ├── DigestMismatch      bytes differ from what the ledger recorded
    │   ├── EnvironmentMismatch this machine would not give the same bits
    │   └── MissingExtra        an optional package is not installed
    └── TrainingFailed          the numbers went wrong
        ├── NotFinite           a loss became nan or infinite
        ├── NothingChanged      the weights did not change
        ├── ModelDestroyed      the model no longer does what it should have kept doing
        └── NothingFits         no setting that was tried comes near enough to never having learned
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

__all__ = [
    "AskedBefore",
    "BadRow",
    "DigestMismatch",
    "EnvironmentMismatch",
    "InputError",
    "MissingNeed",
    "ModelDestroyed",
    "NotFinite",
    "NothingChanged",
    "NothingFits",
    "OlvidoError",
    "OutOfReach",
    "Overtaken",
    "RefusedArgument",
    "StateError",
    "TrainingFailed",
    "UnknownName",
]

_LISTED = 40


@dataclass(frozen=True, slots=True)
class ParameterName:
    """A parameter named in a message: each entry point uses its own word for it.

    In Python that is its name; the command line shows its flag, and a page its field.

    Attributes:
        name: its name in the library's functions.
        value: a value of a switch, where the message is about one value.
    """

    name: str
    value: bool | None = None

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name}={self.value}"


@dataclass(frozen=True, slots=True)
class Action:
    """An action named in a message: a page shows its own button.

    Attributes:
        name: of the page's form that does it.
        command: the command line that does it elsewhere.
    """

    name: str
    command: str

    def __str__(self) -> str:
        return f"'{self.command}'"


Term = ParameterName | Action
"""A term that each entry point names in its own words."""
Naming = Callable[[Term], str]
"""How an entry point calls a parameter or an action."""
Words = tuple[str | Term, ...]
"""A message in parts, as an error takes them."""


class Needed(StrEnum):
    """Base of lists of what may be needed: each member is a value, and how a caller provides it.

    >>> class Need(Needed):
    ...     RETAIN = "retain", "give records to keep (", ParameterName("retain"), ")"
    >>> Need("retain"), Need.RETAIN.remedy
    (<Need.RETAIN: 'retain'>, 'give records to keep (retain)')
    """

    words: Words
    """How it is provided, as parts of a message that each entry point words for itself."""

    def __new__(cls, value: str, *words: str | Term) -> Self:
        made = str.__new__(cls, value)
        made._value_, made.words = value, words
        return made

    @property
    def remedy(self) -> str:
        """How it is provided, as text."""
        return rendered(self.words)


class OlvidoError(Exception):
    """Base of all errors that Olvido raises on purpose.

    Args:
        parts: of the message, joined without separators; parameters and actions are named by the
            entry point.

    >>> error = OlvidoError("give records to keep (", ParameterName("retain"), ")")
    >>> str(error), error.rendered(lambda parameter: f"--{parameter.name}")
    ('give records to keep (retain)', 'give records to keep (--retain)')
    """

    def __init__(self, *parts: str | Term) -> None:
        super().__init__(*parts)

    def __str__(self) -> str:
        return self.rendered(str)

    def rendered(self, naming: Naming) -> str:
        """The message, in the words of an entry point."""
        return rendered(self.args, naming)

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own __reduce__ would call __init__ with the message, which is not its
        # argument.
        return _restored, (type(self), self.args, vars(self))


def rendered(parts: Iterable[str | Term], naming: Naming = str) -> str:
    """Join the parts of a message, in the words of an entry point."""
    return "".join(naming(part) if isinstance(part, Term) else str(part) for part in parts)


def _restored(
    kind: type[OlvidoError], args: tuple[Any, ...], attributes: dict[str, Any]
) -> OlvidoError:
    error = kind.__new__(kind, *args)
    vars(error).update(attributes)
    return error


class InputError(OlvidoError):
    """The caller's input is wrong."""


class BadRow(InputError):
    """A row of data cannot be read.

    Args:
        file: the file the row stands in.
        line: its line or row number, counted from 1.
        reason: what was expected and what came.
    """

    def __init__(self, file: str, line: int, reason: str) -> None:
        self.file, self.line, self.reason = file, line, reason
        super().__init__(f"{file}, line {line}: {reason}")


class UnknownName(InputError):
    """Something was named that does not exist.

    `unnamed` is the message without the name, for callers to whom the name must not be repeated.

    >>> str(UnknownName("method", "ngo", ["npo", "retrain"]))
    "unknown method 'ngo': did you mean 'npo'? Known: npo, retrain"
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name, self.known = kind, name, sorted(known)
        near = difflib.get_close_matches(name, self.known, n=1, cutoff=0.5)
        hint = f": did you mean {near[0]!r}?" if near else "."
        listed = ", ".join(self.known[:_LISTED]) or "none yet"
        if len(self.known) > _LISTED:
            listed += f" and {len(self.known) - _LISTED} more"
        self.unnamed = f"there is no such {kind}{hint} Known: {listed}"
        super().__init__(f"unknown {kind} {name!r}{hint} Known: {listed}")


class AskedBefore(InputError):
    """An open request asks for the same.

    Args:
        request: its id.
        status: how far it is.
    """

    def __init__(self, request: str, status: str) -> None:
        self.request = request
        super().__init__(
            f"request {request} asks for the same and is {status}: it is answered there, and its "
            "time runs from the day it came"
        )


class MissingNeed(InputError):
    """A method or an audit needs something that was not given."""


class RefusedArgument(InputError, ValueError):
    """An argument of an estimator is wrong; scikit-learn's tools know it as their own kind."""


class StateError(OlvidoError):
    """The state on disk is not what it should be."""


class Overtaken(StateError):
    """A run that began before a request to forget ended after it."""


class OutOfReach(StateError):
    """The ledger's database cannot be used now."""


class DigestMismatch(StateError):
    """Bytes on disk differ from what was recorded."""

    def __init__(self, what: str, expected: str, found: str) -> None:
        super().__init__(
            f"{what} does not match its digest: expected {expected}, found {found}. "
            "Restore it from a copy you trust, or train it again."
        )


class EnvironmentMismatch(StateError):
    """This machine or these libraries would not give the same bits."""


def require_count(
    name: str | ParameterName, value: int, *, least: int = 1, most: int = 1_000_000
) -> None:
    """Refuse a count outside its bounds.

    Args:
        name: of the parameter.
        value: the argument.
        least, most: the smallest and largest that are allowed.

    Raises:
        InputError: it is no integer within the bounds.

    >>> require_count("epochs", 0)
    Traceback (most recent call last):
    olvido.errors.InputError: epochs must be at least 1, got 0
    """
    if value < least:
        raise InputError(name, f" must be at least {least:,}, got {value}")
    if value > most:
        raise InputError(name, f" must be at most {most:,}, got {value}")


def require_seed(seed: int) -> None:
    """Refuse a seed that does not fit into a signed 64-bit integer.

    Raises:
        InputError: it does not fit.
    """
    require_count(ParameterName("seed"), seed, least=-(2**63), most=2**63 - 1)


class MissingExtra(StateError):
    """A package that comes with an extra of Olvido is not installed.

    Args:
        extra: the extra that brings it.
        package: the module that is missing.
        purpose: what needs it.

    >>> str(MissingExtra("report", "matplotlib", "charts"))
    "the package 'matplotlib' is not installed: for charts, run pip install 'olvido[report]'"
    """

    def __init__(self, extra: str, package: str, purpose: str) -> None:
        self.extra = extra
        super().__init__(
            f"the package {package!r} is not installed: for {purpose}, run "
            f"pip install 'olvido[{extra}]'"
        )


class TrainingFailed(OlvidoError):
    """The numbers went wrong while weights were being changed."""


class NotFinite(TrainingFailed):
    """A loss or a gradient became nan or infinite."""


class NothingChanged(TrainingFailed):
    """A method returned the weights that it was called with."""


class ModelDestroyed(TrainingFailed):
    """Forgetting damaged the model beyond what was to be forgotten.

    Attributes:
        outcome: the method's result, for whoever wants to audit it all the same.
    """

    outcome: Any = None


class NothingFits(TrainingFailed):
    """A search found no setting that comes near enough to never having learned.

    Attributes:
        trials: what was tried.
    """

    trials: Any = ()
