"""What holds the rest in place while a method moves the weights: retain regularisers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import ClassVar, Protocol

from torch import Tensor
from torch.nn import Module

from olvido.errors import UnknownName
from olvido.forgetting.gradient.answers import Answers
from olvido.forgetting.types import METHODS, Split
from olvido.registry import Registry
from olvido.tasks import Example, Task


class Regulariser(Protocol):
    """A loss on what is to be kept: one small file and one line in `olvido.methods`.

    Its constructor takes its options, keyword-only, each with a default.

    Attributes:
        name: that it is called by.
        needs_retain: whether it holds on to records that must be given.
        looking: passes over the model as it was that each record costs, in forward-backward units.
        spent: tokens of those made so far.
    """

    name: ClassVar[str]
    needs_retain: ClassVar[bool]
    looking: ClassVar[float]

    @property
    def spent(self) -> float:
        """Tokens of the passes made so far."""
        ...

    def begin(self, before: Module, split: Split, task: Task, seed: int) -> Sequence[Example]:
        """See the model as it was; gives the records that are to be held on to."""
        ...

    def losses(self, now: Answers) -> Tensor:
        """How far each record has gone, differentiable. [B]"""
        ...


REGULARISERS: Registry[Regulariser] = Registry(
    "guard", ("needs_retain", "looking", "begin", "losses"), home=METHODS.home
)
"""Retain regularisers by the name they are called by, as `guard=` takes them; several are joined by
+, and `none` is none of them."""

Guard = str | type[Regulariser] | Regulariser
"""A retain regulariser by its name (several joined by +), its class, or an object."""


def regularisers(given: Guard | Sequence[Guard]) -> tuple[Regulariser, ...]:
    """The retain regularisers that are meant.

    Raises:
        UnknownName: one of them is none; the nearest is named.
        InputError: something that is no regulariser.

    >>> [part.name for part in regularisers("nll+kl")], regularisers("none")
    (['nll', 'kl'], ())
    """
    if isinstance(given, str):
        names = () if given == "none" else given.split("+")
        for name in names:
            if name not in REGULARISERS:
                raise UnknownName("guard", name, [*REGULARISERS, "none"])
        return tuple(REGULARISERS.make(name) for name in names)
    if isinstance(given, Sequence):
        return tuple(part for one in given for part in regularisers(one))
    return (REGULARISERS.make(given),)


class Guards:
    """Several guards as one: their losses add up. Each run has copies of its own."""

    def __init__(self, guards: Sequence[Regulariser]) -> None:
        self._guards = tuple(map(copy.copy, guards))

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
