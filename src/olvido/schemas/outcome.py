"""The outcome of a forgetting, as it is printed and stored beside the model that forgot."""

from __future__ import annotations

from typing import Literal

from olvido.schemas.base import Number, Part, Plain

OUTCOME = "outcome.json"
"""File beside a saved model that describes the forgetting."""
VERSION: Literal[1] = 1
"""Version of the outcome document; other versions are refused."""


class CostTaken(Part):
    """The cost; `tokens` count forward-backward passes. None: unknown."""

    seconds: float | None
    tokens: Number
    share_of_retraining: float | None


class LossMoved(Part):
    """A mean loss before and after, in nats a token."""

    before: Number
    after: Number


class StepSeen(Part):
    """Metrics of a gradient method's step: mean losses in nats a token."""

    step: int
    forget: Number
    retain: float | None


class TrialTaken(Part):
    """One setting that a search tried; see `olvido.methods.types.Trial`."""

    method: str
    options: Plain
    proxies: dict[str, Number]
    side: Literal["good", "too little", "too much", "harm"]
    distance: Number
    seconds: Number
    tokens: Number
    stopped: str
    taken: bool


class OutcomeDocument(Part):
    """A model that has forgotten, and how, without its weights.

    Attributes:
        before, after: digests of the weights.
        origin: digest of the weights that the model was trained from; None: they were unknown.
        sketch: digest of the model that was made of them, no reference for an audit; None: none.
        method: the method that ran, with its `options`.
        guarantee: the guarantee, and its `meaning`.
        stopped: why it ended, in a sentence.
        history: metrics of gradient methods; `trials`: a search's trials.
    """

    type: Literal["outcome"] = "outcome"
    version: Literal[1] = VERSION
    method: str
    options: Plain
    guarantee: str
    meaning: str
    before: str
    after: str
    origin: str | None = None
    sketch: str | None = None
    cost: CostTaken
    stopped: str
    forget_loss: LossMoved
    retain_loss: LossMoved
    history: tuple[StepSeen, ...] = ()
    trials: tuple[TrialTaken, ...] = ()
