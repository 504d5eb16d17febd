"""Relearning: train a little on other things, and see what comes back by itself."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from torch import Tensor
from torch.nn import Module

from olvido.errors import InputError, require_count
from olvido.learners import Lora, Recipe, adapters
from olvido.learners.runs.environment import deterministic
from olvido.learners.runs.loop import Loop
from olvido.tasks import Example, Task


def relearn(
    model: Module,
    records: Sequence[Example],
    task: Task,
    *,
    steps: Sequence[int],
    lr: float,
    batch: int,
    seed: int,
    lora: Lora | None = None,
) -> Iterator[tuple[int, Module]]:
    """Train a copy of a model on records, and show it on the way.

    Everything is trained, also what came frozen: whoever tries to bring knowledge back asks no
    leave. AdamW at a constant rate, without decay. Same weights, records and seed: same bits.

    Args:
        model: not changed.
        records: what it is trained on, in an order drawn from `seed` and their ids alone.
        task: how they become losses.
        steps: rising counts of steps at which to show the copy; 0 shows it untrained.
        lr: learning rate.
        batch: records a step.
        seed: of the order, of dropout, and of adapters.
        lora: train adapters of this kind instead of all weights, which takes a quarter of the
            memory; they stay on the copy.

    Yields:
        The number of steps done, and the copy, in evaluation mode. It is one and the same object
        each time, and moves on: look at it before asking for the next.

    Raises:
        InputError: no records, no steps, or steps that do not rise.
        NotFinite: a loss became nan.
    """
    if not records:
        raise InputError("there are no records to relearn from")
    if not steps or list(steps) != sorted(set(steps)) or steps[0] < 0:
        raise InputError(f"steps must be rising counts of 0 or more, got {list(steps)}")
    require_count("batch", batch)
    if lora is not None and (hasattr(model, "peft_config") or not hasattr(model, "config")):
        raise InputError(
            f"adapters go on a plain Hugging Face model, this is a {type(model).__name__}: merge "
            "its adapters first, or relearn all weights (lora=None)"
        )
    recipe = Recipe(
        lr=lr, batch_size=batch, schedule="constant", warmup=0.0, weight_decay=0.0, lora=lora
    )
    return _relearned(model, records, task, list(steps), recipe, seed)


def _relearned(
    model: Module,
    records: Sequence[Example],
    task: Task,
    steps: Sequence[int],
    recipe: Recipe,
    seed: int,
) -> Iterator[tuple[int, Module]]:
    moving = copy.deepcopy(model)
    for parameter in moving.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    if recipe.lora is not None:
        moving = adapters.attach(moving, recipe.lora, seed=seed)
    # The loop itself and not the door `train`: that lays one run out from end to end, while this
    # one is looked at in between with its optimizer's state kept.
    loop = Loop(moving, recipe, total=steps[-1], seed=seed)
    drawn = _drawn(records, recipe.batch_size, seed)
    done = 0
    for count in steps:
        with deterministic():
            while done < count:
                loop.step(done, [_loss_of(moving, task, next(drawn), loop)])
                done += 1
        yield done, moving.eval()


def _loss_of(
    model: Module, task: Task, records: Sequence[Example], loop: Loop
) -> Callable[[], Tensor]:
    batch = task.collate(records).to(loop.device)
    return partial(_mean_loss, model, task, batch)


def _mean_loss(model: Module, task: Task, batch: object) -> Tensor:
    return task.losses(model, batch).mean()


def _drawn(records: Sequence[Example], size: int, seed: int) -> Iterator[list[Example]]:
    """Batch after batch without end; each pass over the records in an order of its own."""
    ordered = sorted(records, key=lambda record: record.id)
    passes = 0
    while True:
        random.Random(f"olvido-relearn-{seed}-{passes}").shuffle(ordered)
        for start in range(0, len(ordered), size):
            yield ordered[start : start + size]
        ordered.sort(key=lambda record: record.id)
        passes += 1
