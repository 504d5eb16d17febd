"""The monolith: one model, all records, every weight (or one adapter)."""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor
from torch.nn import Module

from olvido.errors import InputError
from olvido.learners import adapters, checkpoint
from olvido.learners.checkpoint import Checkpoint
from olvido.learners.environment import deterministic, environment
from olvido.learners.loop import Loop, Watcher
from olvido.learners.plan import PlannedBatch, SlotPlan
from olvido.learners.recipe import Recipe
from olvido.learners.trace import Origin, StepLog, Trace
from olvido.models import weights_digest
from olvido.tasks import Example, Task


class Monolith:
    """Train one model on all records.

    Args:
        recipe: hyper-parameters.
        seed: of order, dropout and adapters.
        plan: places of the records, where another run's are to be kept; None: drawn anew.
        folder: where checkpoints go; a run found there is resumed.
        checkpoint_every: steps between checkpoints.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        seed: int = 0,
        plan: SlotPlan | None = None,
        folder: Path | None = None,
        checkpoint_every: int = 100,
    ) -> None:
        self.recipe, self.seed, self.plan = recipe, seed, plan
        self.folder, self.checkpoint_every = folder, checkpoint_every

    def run(
        self, model: Module, records: Sequence[Example], task: Task, watch: Watcher | None = None
    ) -> tuple[Module, Trace]:
        """Train a copy of `model`; the model itself stays as it was.

        Returns:
            The trained copy, adapters merged, and its step log.

        Raises:
            InputError: the plan's records are not all given.
            NotFinite: a loss became nan.
            StateError: the folder holds another run, or a checkpoint whose bytes changed.
        """
        plan = self.plan or make_plan(records, task, self.recipe, self.seed)
        by_id = {record.id: record for record in records}
        missing = [i for i in plan.present if i not in by_id]
        if missing:
            raise InputError(
                f"{len(missing)} records of the run were not given (first: {missing[0]!r}): pass "
                "all of them, or take them out of the plan"
            )
        origin = Origin(lambda: model, weights_digest(model))
        contract = environment(next(model.parameters()).device)
        taught = [by_id[i] for i in plan.present]
        run = _run_digest(origin, self.recipe, self.seed, plan, taught, contract)
        learning = copy.deepcopy(model)
        with deterministic():
            if self.recipe.lora is not None:
                learning = adapters.attach(learning, self.recipe.lora, seed=self.seed)
            loop = Loop(learning, self.recipe, total=plan.total_steps, seed=self.seed, watch=watch)
            losses, seconds, tokens = self._steps(loop, plan, by_id, task, run)
            if self.recipe.lora is not None:
                learning = adapters.merge(learning, model)
        learning.eval()
        return learning, StepLog(
            origin, self.recipe, self.seed, plan, contract, tuple(losses), tokens, seconds
        )

    def _steps(
        self, loop: Loop, plan: SlotPlan, by_id: dict[str, Example], task: Task, run: str
    ) -> tuple[list[float | None], float, int]:
        losses: list[float | None] = []
        before = 0.0
        if self.folder is not None and (state := checkpoint.latest(self.folder, run=run)):
            loop.model.load_state_dict(state.model)
            loop.optimizer.load_state_dict(state.optimizer)
            losses, before = list(state.losses), state.seconds
        began = time.perf_counter()
        for step, batches in enumerate(plan.steps(len(losses)), start=len(losses)):
            planned = sum(batch.planned for batch in batches)

            def loss(batch: PlannedBatch, planned: int = planned) -> Tensor:
                rows = task.collate([by_id[i] for i in batch.ids], width=batch.width)
                return task.losses(loop.model, rows.to(loop.device)).sum() / planned

            losses.append(
                loop.step(step, [lambda batch=b: loss(batch) for b in batches if b.ids])  # type: ignore[misc]
            )
            if self.folder is not None and (step + 1) % self.checkpoint_every == 0:
                checkpoint.write(
                    self.folder,
                    Checkpoint(
                        step + 1,
                        run,
                        loop.model.state_dict(),
                        loop.optimizer.state_dict(),
                        tuple(losses),
                        before + time.perf_counter() - began,
                    ),
                )
        tokens = sum(len(b.ids) * b.width for batches in plan.steps() for b in batches)
        return losses, before + time.perf_counter() - began, tokens


def make_plan(records: Sequence[Example], task: Task, recipe: Recipe, seed: int) -> SlotPlan:
    """Give every record its place."""
    return SlotPlan(
        tuple(record.id for record in records),
        tuple(task.width(record) for record in records),
        recipe.batch_size,
        recipe.accumulate,
        recipe.epochs,
        seed,
    )


def _run_digest(
    origin: Origin,
    recipe: Recipe,
    seed: int,
    plan: SlotPlan,
    taught: Sequence[Example],
    contract: dict[str, str],
) -> str:
    texts = [[record.prompt, record.completion] for record in taught]
    content = [origin.digest, recipe.to_dict(), seed, plan.digest, texts, contract]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
