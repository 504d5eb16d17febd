"""What a forgetting did, as it is printed and kept beside the model that forgot."""

from __future__ import annotations

from typing import Literal

from olvido.schemas.base import Number, Part, Plain

VERSION: Literal[1] = 1
"""Of what is kept beside a model; another is refused."""


class CostTaken(Part):
    """What it took; `tokens` count forward-backward passes. None: not known."""

    seconds: float | None
    tokens: Number
    share_of_retraining: float | None


class LossMoved(Part):
    """A mean loss before and after, in nats a token."""

    before: Number
    after: Number


class StepSeen(Part):
    """What a gradient method saw on its way: mean losses in nats a token."""

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
        method: that ran, with its `options`.
        guarantee: what may be claimed, and its `meaning`.
        stopped: why it ended where it did, in a sentence.
        history: what gradient methods saw; `trials`: what a search tried.
    """

    type: Literal["outcome"] = "outcome"
    version: Literal[1] = VERSION
    method: str
    options: Plain
    guarantee: str
    meaning: str
    before: str
    after: str
    cost: CostTaken
    stopped: str
    forget_loss: LossMoved
    retain_loss: LossMoved
    history: tuple[StepSeen, ...] = ()
    trials: tuple[TrialTaken, ...] = ()
