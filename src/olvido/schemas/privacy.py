"""The document of an audit of a promise of privacy."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from olvido.schemas.base import Count, Number, Part


class Outcome(StrEnum):
    """What an audit of a promise shows; no audit can confirm one."""

    REFUTED = "refuted"
    NOT_REFUTED = "not refuted"


class StepCheck(Part):
    """One property that a private step has to have.

    Attributes:
        promise: the property, in words.
        off: how far the step was from it.
        most: how far rounding and chance may carry it.
        holds: whether it was no further.
    """

    promise: str
    off: Number
    most: Number
    holds: bool


class PrivacyAudit(Part):
    """An audit of a promise of privacy, from one training with canaries.

    Attributes:
        outcome: refuted, by the guesses or by a step that breaks the promise; or not refuted.
        model, began: digests of the trained weights, and of those that the training began with.
        epsilon, delta, unit, relation: the promise.
        canaries: all of them; `there` is the number of those that took part.
        guesses: guesses, and `right` ones; their number was fixed before anybody looked.
        score: what the guesses rest on.
        at_least: the epsilon that the guesses show, with this confidence.
        ceiling: the largest that so many guesses can show, all of them right.
        p: the largest probability of so many right guesses where the promise holds.
        steps: properties of the step of the learner that is installed where the audit ran.
        says: the result in words.
    """

    type: Literal["privacy-audit"] = "privacy-audit"
    version: Literal[1] = 1
    outcome: Outcome
    model: str
    began: str
    epsilon: float
    delta: float
    unit: str
    relation: str
    canaries: Count
    there: Count
    guesses: Count
    right: Count
    score: str
    at_least: float
    ceiling: float
    confidence: float = Field(default=0.95)
    p: float
    steps: tuple[StepCheck, ...]
    says: str
