"""The plan of a forgetting: every method with its predicted cost, and the chosen one."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from olvido.schemas.base import Part


class Base(StrEnum):
    """Whether forgetting can begin with the weights that the model was trained from."""

    CLEAN = "clean"
    """It can: they know the language, and none of the people."""
    CLASSES = "classes"
    """The model is no language model: for others no measurement says so."""
    UNKNOWN = "unknown"
    """Nobody said what the model was trained from."""
    NOTHING_KEPT = "nothing kept"
    """No record is kept from which the weights could learn how answers look."""
    GONE = "gone"
    """They cannot be loaded, or are others by now."""
    UNINFORMED = "uninformed"
    """They answer no better than by chance."""
    KNOWS = "knows somebody"
    """They know one of the people themselves, who would stay."""


class Way(Part):
    """One method, with its predicted cost.

    Attributes:
        method: its name; `guarantee` is its claim, `summary` its description.
        applies: whether it is applicable; `refusal` says why not.
        seconds: predicted; None: unknown. `share_of_retraining` likewise.
    """

    method: str
    guarantee: str
    summary: str
    applies: bool
    refusal: str | None
    seconds: float | None
    share_of_retraining: float | None


class Promise(Part):
    """What a private training bounds of the records to be forgotten, while the weights stay.

    Attributes:
        refusal: why nothing is bounded; the numbers are None then. None: they hold.
        units: of the training, added or removed where the records are left out.
        epsilon, delta: for all of these together; `accountant` computed those of one unit.
        false_positives: the share of people who took no part that an attack names as well.
        true_positives: at the most so large a share of those who took part is recognised then.
        limit: the largest epsilon that answers a request (`certified_limit`); None: not noted.
        suffices: whether the promise is within it.
        says: all of this in words.
    """

    refusal: str | None
    units: int | None
    epsilon: float | None
    delta: float | None
    accountant: str | None
    false_positives: float | None
    true_positives: float | None
    limit: float | None = None
    suffices: bool = False
    says: str


class Chosen(Part):
    """The methods to try, and why.

    Attributes:
        order: methods, the first to be tried first.
        because: the reason, in a sentence.
        most_seconds: predicted, if all of them have to be tried; None: unknown.
        most_share_of_retraining: likewise. Audits are in neither.
        training: `witnessed` or `declared`: whether Olvido saw the training of the model, or
            somebody said what it learned. None: no model has to forget.
        lacking: why the audit cannot be made yet, and what to do. None: it can.
        promise: what the model bounds unchanged. None: its last training was not private.
        unchanged: whether the model stays as it is, since its promise suffices.
        base: whether forgetting can begin with what the model was trained from, or why not. None:
            it was not asked.
    """

    order: tuple[str, ...]
    because: str
    most_seconds: float | None = None
    most_share_of_retraining: float | None = None
    training: Literal["witnessed", "declared"] | None = None
    lacking: str | None = None
    promise: Promise | None = None
    unchanged: bool = False
    base: Base | None = None


class Group(Part):
    """Requests that are answered together, since they affect the same part of a model."""

    requests: tuple[str, ...]
    parts: tuple[str, ...]
    because: str


class Plan(Part):
    """The document that `olvido request plan --json` prints."""

    type: Literal["plan"] = "plan"
    version: Literal[1] = 1
    requests: tuple[str, ...]
    routes: tuple[Way, ...]
    chosen: Chosen
    together: tuple[Group, ...] = ()
