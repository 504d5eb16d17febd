"""What holds the rest in place while a method moves the weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

from torch import Tensor
from torch.nn import Module

from olvido.errors import UnknownName
from olvido.forgetting.gradient.answers import Answers
from olvido.forgetting.gradient.guards.activations import Activations
from olvido.forgetting.gradient.guards.divergence import Divergence
from olvido.forgetting.gradient.guards.elastic import Elastic
from olvido.forgetting.gradient.guards.likelihood import Likelihood
from olvido.forgetting.gradient.guards.replay import Replay
from olvido.forgetting.types import Split
from olvido.tasks import Example, Task


class Guard(Protocol):
    """A loss on what is to be kept.

    Attributes:
        needs_retain: whether it holds on to records that must be given.
        looking: passes over the model as it was that each record costs, in forward-backward units.
        spent: tokens of those made so far.
    """

    needs_retain: ClassVar[bool]
    looking: ClassVar[float]
    spent: float

    def begin(self, before: Module, split: Split, task: Task, seed: int) -> Sequence[Example]:
        """See the model as it was; gives the records that are to be held on to."""
        ...

    def losses(self, now: Answers) -> Tensor:
        """How far each record has gone, differentiable. [B]"""
        ...


GUARDS: dict[str, type[Any]] = {
    "nll": Likelihood,
    "kl": Divergence,
    "hidden": Activations,
    "ewc": Elastic,
    "replay": Replay,
}
"""Guards by the name they are called by; several are joined by +, and `none` is none of them."""


def parts_of(name: str) -> tuple[str, ...]:
    """The guards that `nll+kl` names.

    Raises:
        UnknownName: one of them is none.

    >>> parts_of("nll+kl"), parts_of("none")
    (('nll', 'kl'), ())
    """
    if name == "none":
        return ()
    parts = tuple(name.split("+"))
    for part in parts:
        if part not in GUARDS:
            raise UnknownName("guard", part, [*GUARDS, "none"])
    return parts


class Guards:
    """Several guards as one: their losses add up."""

    def __init__(self, guards: Sequence[Guard]) -> None:
        self._guards = tuple(guards)

    def begin(self, before: Module, split: Split, task: Task, seed: int) -> tuple[Example, ...]:
        """Let each see the model as it was; gives the records of all, each once."""
        found = [e for g in self._guards for e in g.begin(before, split, task, seed)]
        return tuple({example.id: example for example in found}.values())

    @property
    def spent(self) -> float:
        """Tokens of the passes over the model as it was."""
        return sum(guard.spent for guard in self._guards)

    def losses(self, now: Answers) -> Tensor:
        """The sum. [B]"""
        first, *others = (guard.losses(now) for guard in self._guards)
        return sum(others, start=first)
