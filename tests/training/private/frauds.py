"""What goes wrong in private training elsewhere, as changes to the learner here.

Each is a function of pytest's `MonkeyPatch`, which takes it back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from torch import Tensor

from olvido.training.private import clipping
from olvido.training.private.clipping import Clipped, Unit
from olvido.training.private.sampling import Secret

Fraud = Callable[[pytest.MonkeyPatch], None]


def no_noise(patch: pytest.MonkeyPatch) -> None:
    begin = Clipped.__init__

    def quiet(self: Clipped, *args: Any, **options: Any) -> None:
        begin(self, *args, **options)
        self._noise = 0.0

    patch.setattr(Clipped, "__init__", quiet)


def clipped_after_averaging(patch: pytest.MonkeyPatch) -> None:
    def factors(self: Clipped, squares: Tensor) -> Tensor:
        return (self.clip / squares.mean().sqrt()).clamp_max(1.0).expand(len(squares))

    patch.setattr(Clipped, "_factors", factors)


def without_the_tied_part(patch: pytest.MonkeyPatch) -> None:
    def squares(self: Any) -> Tensor:
        return self.lookups.squares() + self.products.squares()

    patch.setattr("olvido.training.private.norms.Tied.squares", squares)


def divided_by_the_realised_size(patch: pytest.MonkeyPatch) -> None:
    passes = Clipped.passes

    def counting(self: Clipped, drawn: Sequence[Unit]) -> Any:
        self._expected = max(len(drawn), 1)
        return passes(self, drawn)

    patch.setattr(Clipped, "passes", counting)


def one_seed_for_all_steps(patch: pytest.MonkeyPatch) -> None:
    seed = Secret.seed
    patch.setattr(Secret, "seed", lambda self, step, what, bits=63: seed(self, 0, what, bits))


def accumulation_clipped_once(patch: pytest.MonkeyPatch) -> None:
    forward = Clipped._forward

    def as_one(self: Clipped, units: Sequence[Unit]) -> Any:
        loss, layout = forward(self, units)
        one = clipping.Layout(layout.rows * 0, None if layout.picked is None
                              else layout.picked * 0, 1)  # fmt: skip
        return loss, one

    patch.setattr(Clipped, "_forward", as_one)


def unproved(fraud: Fraud) -> Fraud:
    """The same where nobody compares a few gradients before the first step.

    That comparison sees these two, and lets units go one by one, where nothing is wrong.
    """

    def both(patch: pytest.MonkeyPatch) -> None:
        fraud(patch)
        patch.setattr(Clipped, "prove", lambda self, units: None)

    both.__name__ = fraud.__name__
    return both


FRAUDS: tuple[Fraud, ...] = (
    no_noise,
    clipped_after_averaging,
    unproved(without_the_tied_part),
    divided_by_the_realised_size,
    one_seed_for_all_steps,
    unproved(accumulation_clipped_once),
)
