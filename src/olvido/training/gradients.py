"""How a step's gradients are put together: in one process, or summed over several."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor

T = TypeVar("T")


class Gradients(Protocol):
    """How the losses of a step become the gradient that the optimizer follows.

    Attributes:
        rank, world: this process among those that share a step, and their number.
        together: whether every process has to run the model as often as the others.
        clipped: whether the gradient is as long as it may be, so that the loop does not clip it.
    """

    rank: int
    world: int
    together: bool
    clipped: bool

    def loss(self, compute: Callable[[], Tensor]) -> Tensor:
        """Compute one of the step's losses."""
        ...

    def add(self, loss: Tensor) -> None:
        """Add a loss's gradient to the step's."""
        ...

    def whole(self) -> AbstractContextManager[None]:
        """Inside, the parameters' `grad` is the step's gradient so far, and may be changed."""
        ...

    def finish(self, loss: float | None) -> float | None:
        """Complete the gradient in the parameters.

        Args:
            loss: the sum of this process's losses; None for none.

        Returns:
            The step's loss; None where no process had any.
        """
        ...


class Plain:
    """One process has all of a step."""

    rank, world, together, clipped = 0, 1, False, False

    def loss(self, compute: Callable[[], Tensor]) -> Tensor:
        """Compute it."""
        return compute()

    def add(self, loss: Tensor) -> None:
        """Accumulate its gradient."""
        loss.backward()

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Leave the gradient as it is: it is whole."""
        yield

    def finish(self, loss: float | None) -> float | None:
        """Leave the gradient as it is."""
        return loss


class Summed(Plain):
    """Every process has a part of a step's losses; gradients are summed in the same order each
    time.

    This avoids DistributedDataParallel, which averages, and waits for a gradient from every
    process, while a step here may have left one of them without a record.

    Args:
        accelerator: of the processes.
        parameters: whose gradients are summed.
    """

    def __init__(self, accelerator: Accelerator, parameters: Sequence[Any]) -> None:
        self.rank, self.world = accelerator.process_index, accelerator.num_processes
        self._device, self._parameters = accelerator.device, parameters

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Sum the gradient so far; afterwards the main process alone holds it, so that it enters
        the step's sum once."""
        self._sum()
        yield
        if self.rank:
            for parameter in self._parameters:
                parameter.grad = None

    def finish(self, loss: float | None) -> float | None:
        """Sum losses and gradients; a loss that is no number leaves the gradients unsummed."""
        total = summed_loss(loss, self._device)
        # A process that raised by itself would leave the others waiting for its gradients.
        if total is not None and math.isfinite(total):
            self._sum()
        return total

    def _sum(self) -> None:
        from accelerate.utils import reduce

        for parameter in self._parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            parameter.grad = reduce(parameter.grad, "sum")


def summed_loss(loss: float | None, device: torch.device) -> float | None:
    """A loss summed over all processes; None where none of them has one."""
    from accelerate.utils import reduce

    counted = torch.tensor([loss or 0.0, loss is not None], dtype=torch.float64)
    total, several = reduce(counted.to(device), "sum").tolist()
    return float(total) if several else None


def shares(
    rows: Sequence[T], gradients: Gradients, most: int | None = None
) -> list[tuple[Sequence[T], bool]]:
    """This process's passes over the rows of a batch, and whether each counts.

    Rows are dealt out in turn, so that of rows in order of length every process has some of each.

    Args:
        rows: of the whole batch.
        gradients: how the processes share a step.
        most: rows in memory at once, the recipe's `micro_batch`; None: all of a batch.

    Returns:
        At most `most` rows each. Where all processes go together, one without rows of its own runs
        another's, which do not count.

    >>> shares("abcde", Plain(), 2)
    [('ab', True), ('cd', True), ('e', True)]
    """
    mine = rows[gradients.rank :: gradients.world]
    longest = len(rows[:: gradients.world]) if gradients.together else len(mine)
    most = most or max(longest, 1)
    parts = [mine[start : start + most] for start in range(0, longest, most)]
    return [(part, True) if part else (rows[:1], False) for part in parts]
