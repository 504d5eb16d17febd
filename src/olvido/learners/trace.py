"""What a training kept so that it can forget."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch.nn import Module

from olvido.errors import StateError
from olvido.learners.plan import SlotPlan
from olvido.learners.recipe import Recipe
from olvido.models import weights_digest


@dataclass(frozen=True)
class Untraced:
    """Nothing is known of how the model was trained; only methods that need no trace apply."""


@dataclass(frozen=True)
class Origin:
    """The weights a run began with.

    Attributes:
        load: gives the module, which training never touches (it works on a copy).
        digest: of its weights when the run began.
    """

    load: Callable[[], Module]
    digest: str

    def module(self) -> Module:
        """The module, once its weights are known to be those the run began with.

        Raises:
            StateError: they have been changed since.
        """
        model = self.load()
        found = weights_digest(model)
        if found != self.digest:
            raise StateError(
                f"the weights this run began with were changed since (expected {self.digest}, "
                f"found {found}): load them again"
            )
        return model


@dataclass(frozen=True)
class StepLog:
    """All that determines a run, and what it measured.

    Attributes:
        origin: the weights it began with.
        recipe: its hyper-parameters.
        seed: of order, dropout and adapters.
        plan: which records stand in which step.
        environment: the contract under which the bits are the same.
        losses: one a step; None for a step whose records are all absent.
        tokens: processed forward and backward, padding included.
        seconds: wall-clock time of the steps.
    """

    origin: Origin
    recipe: Recipe
    seed: int
    plan: SlotPlan
    environment: Mapping[str, str]
    losses: tuple[float | None, ...]
    tokens: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """What can be written down: everything but the weights and the losses."""
        return {
            "origin": self.origin.digest,
            "recipe": self.recipe.to_dict(),
            "seed": self.seed,
            "plan": self.plan.digest,
            "records": len(self.plan.present),
            "steps": len(self.losses),
            "environment": dict(self.environment),
            "tokens": self.tokens,
            "seconds": self.seconds,
        }


Trace = StepLog | Untraced


@dataclass(frozen=True)
class Trained:
    """Weights, and what was kept so that they can forget.

    Attributes:
        model: the module, in evaluation mode.
        digest: of its weights.
        trace: what the training kept.
    """

    model: Module
    digest: str
    trace: Trace

    @classmethod
    def untraced(cls, model: Module) -> Trained:
        """A model that came from elsewhere."""
        return cls(model, weights_digest(model), Untraced())
