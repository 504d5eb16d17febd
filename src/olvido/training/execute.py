"""Carry a planned run out, from its beginning or from any checkpoint of the same run."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from olvido.errors import InputError, StateError
from olvido.models.digest import whole
from olvido.processes import from_main, is_main, world_size
from olvido.tasks import Example, Task
from olvido.training.checkpoint import Checkpoint, CheckpointStore
from olvido.training.contents import digests_of
from olvido.training.log import Log, LoggedStep, beginning, chain_at, linked, said
from olvido.training.loop import Loop, Watcher
from olvido.training.plan import PlannedBatch, Sampler
from olvido.training.recipe import Recipe
from olvido.training.records import by_id, ids_of, only
from olvido.training.sharding import as_sharded

SAFETY = 100
"""Steps between checkpoints against crashes."""


@dataclass(frozen=True)
class RunSpec:
    """Everything that determines a run except the content of its records.

    Attributes:
        origin: digest of the weights it begins with.
        recipe: hyper-parameters.
        seed: of order, dropout and adapters.
        plan: the records of each step.
        environment: the contract under which the bits are the same.
    """

    origin: str
    recipe: Recipe
    seed: int
    plan: Sampler
    environment: Mapping[str, str]

    @property
    def beginning(self) -> bytes:
        """The beginning of its log's hash chain."""
        return beginning(self.origin, self.recipe.to_dict(), self.seed, self.plan, self.environment)


@dataclass(frozen=True)
class RunResult:
    """A run's result, besides the weights.

    Attributes:
        log: of every forward pass, those before the checkpoint included.
        final: digests of the state at the end: weights, optimizer, schedule, random numbers.
        seconds: total seconds, including those before an interruption.
        spent: seconds of the steps done now.
        tokens: tokens of the steps done now.
        start: the first step done now.
        notes: skipped checkpoints and the like.
    """

    log: Log
    final: Mapping[str, str]
    seconds: float
    spent: float
    tokens: int
    start: int
    notes: tuple[str, ...] = field(default=())


def execute(
    model: Module,
    records: Sequence[Example],
    task: Task,
    spec: RunSpec,
    *,
    checkpoints: CheckpointStore | None = None,
    keep: Collection[int] = (),
    safety: int = SAFETY,
    before: int | None = None,
    watch: Watcher | None = None,
) -> RunResult:
    """Train a model in place, step by step as planned.

    It begins with the newest checkpoint in the store that this run shares: after an interruption
    that is its own last one; without some records it is the last one before their
    first use, which is the same state (deterministic replay). Call it under `deterministic`.

    Args:
        model: the run's initial model; parameters that require a gradient are trained.
        records: at least the plan's present ones.
        task: how they become losses.
        spec: determines the run.
        checkpoints: the store of checkpoints.
        keep: steps whose checkpoints stay for a later replay.
        safety: steps between the others.
        before: use no later checkpoint than this, and skip those of other runs; None: the
            checkpoint store is this run's own, and another's checkpoints are refused.
        watch: called after every step.

    Raises:
        InputError: records of the plan are missing, or blanks among normalised batches.
        NotFinite: a loss became nan.
        StateError: the checkpoint store holds another run's checkpoints.
    """
    plan = spec.plan
    records = _present(plan, records)
    known = by_id(records)
    if plan.blank:
        require_row_independence(model, "the definition 'tombstone'", "use definition='drop'")
    if world_size() > 1:
        require_row_independence(model, "sharing a run among processes", "start one process")
    loop = Loop(
        model, spec.recipe, total=plan.total_steps, seed=spec.seed, watch=watch, shared=True
    )
    contents = digests_of(records, task, every=False)
    state: Checkpoint | None = None
    notes: tuple[str, ...] = ()
    if checkpoints is not None:
        state, notes = from_main(partial(_taken_up, checkpoints, spec, contents, before))
        notes += _lacking(state, keep, before, notes)
    log, chain, earlier, start = Log(), b"", 0.0, 0
    if state is not None:
        _restore(loop, state)
        log, chain = Log(state.log), bytes.fromhex(state.chain)
        earlier, start = state.seconds, state.step
    began = clock = time.perf_counter()
    entries: list[tuple[LoggedStep, bytes]] = []
    share = _Share(loop)
    for step, batches in enumerate(plan.steps(start), start=start):
        place = plan.place(step)
        planned = sum(batch.planned for batch in batches)
        losses = [float("nan")] * len(batches)
        parts = [
            partial(share.loss, task, known, batch, rows, counts, planned, losses, number)
            for number, batch in enumerate(batches)
            for rows, counts in share.of(batch)
        ]
        loop.step(step, parts, place=place)
        losses = share.whole(losses)
        rate = spec.recipe.rate(*place)
        now = time.perf_counter()
        for batch, loss in zip(batches, losses, strict=True):
            took = (now - clock) / len(batches)
            facts = step, batch.planned, len(batch.ids), batch.width, loss, took, rate
            entries.append((LoggedStep(*facts, b""), said(batch, contents)))
        clock = now
        done = step + 1
        if done in keep or done % safety == 0:
            log, chain, entries = *_chained(log, chain or spec.beginning, entries), []
        if checkpoints is not None and (done in keep or done % safety == 0):
            spent = earlier + time.perf_counter() - began
            reached = _state(loop, done, spec, chain, log, spent)
            from_main(partial(checkpoints.write, reached, keep=keep))
    log, chain = _chained(log, chain or spec.beginning, entries)
    spent = time.perf_counter() - began
    tokens = sum(entry.rows * entry.width for entry in log if entry.step >= start)
    ended = RunResult(log, final(loop, plan), earlier + spent, spent, tokens, start, notes)
    loop.close()
    # Times and random states are each process's own; a run has one log.
    return from_main(lambda: ended)


def _chained(
    log: Log, chain: bytes, entries: Sequence[tuple[LoggedStep, bytes]]
) -> tuple[Log, bytes]:
    """A log with more passes, and the chain after them.

    The chain begins with the plan's digest, for which every record must have been measured. Passes
    wait for it, so that a first step does not; nothing is written before it is there.
    """
    linked_entries = []
    for entry, one in entries:
        chain = linked(chain, one)
        linked_entries.append(entry._replace(chain=chain))
    return log + linked_entries, chain


class _Share:
    """One process's part of every batch: all rows where there is but one process."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def of(self, batch: PlannedBatch) -> list[tuple[Sequence[str | None], bool]]:
        """Its passes over the rows, and whether each counts; none where no record is in a pass,
        since blanks teach nothing."""
        if not batch.ids:
            return []
        passes = self._loop.passes(batch.rows)
        if not self._loop.gradients.together:
            return [(rows, counts) for rows, counts in passes if any(i is not None for i in rows)]
        return passes

    def loss(
        self,
        task: Task,
        known: Mapping[str, Example],
        batch: PlannedBatch,
        rows: Sequence[str | None],
        counts: bool,
        planned: int,
        losses: list[float],
        number: int,
    ) -> Tensor:
        """These rows' part of the step's loss, added to `losses`."""
        made = task.collate([None if i is None else known[i] for i in rows], width=batch.width)
        found = task.losses(self._loop.model, made.to(self._loop.device))
        if None in rows or not counts:
            found = found * torch.tensor([float(counts and i is not None) for i in rows]).to(found)
        loss = found.sum() / planned
        if counts:
            before = losses[number]
            value = float(loss.detach())
            losses[number] = value if math.isnan(before) else before + value
        return loss

    def whole(self, losses: list[float]) -> list[float]:
        """Every batch's loss, summed over processes; nan where none has any."""
        if self._loop.gradients.world == 1:
            return losses
        from accelerate.utils import reduce

        part = torch.tensor(losses, dtype=torch.float64)
        some = torch.stack([part.nan_to_num(0.0), (~part.isnan()).double()])
        total, parts = reduce(some.to(self._loop.device), "sum").tolist()
        return [loss if count else float("nan") for loss, count in zip(total, parts, strict=True)]


def require_row_independence(model: Module, what: str, instead: str) -> None:
    """Refuse an operation on rows of a batch that other rows would be affected by.

    Args:
        model: the model whose layers are inspected.
        what: the operation that needs independent rows.
        instead: what to do otherwise.

    Raises:
        InputError: a layer mixes the rows of a batch.
    """
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            raise InputError(
                f"{what} needs rows that do not see each other: {name} "
                f"({type(module).__name__}) normalises over the batch; {instead}"
            )
    if getattr(getattr(model, "config", None), "expert_capacity", None):
        raise InputError(
            f"{what} needs rows that do not see each other: experts of limited capacity choose "
            f"among a batch's rows; {instead}"
        )


def trained_tensors(model: Module) -> dict[str, Tensor]:
    """The tensors that a run changes: parameters with a gradient, and persistent buffers."""
    found = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    persistent = model.state_dict().keys()
    return found | {name: b for name, b in model.named_buffers() if name in persistent}


def put_tensors(model: Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy tensors of these names into a model."""
    here = dict(model.named_parameters()) | dict(model.named_buffers())
    with torch.no_grad():
        for name, tensor in tensors.items():
            here[name].copy_(as_sharded(tensor, here[name]))


def final(loop: Loop, plan: Sampler) -> dict[str, str]:
    """SHA-256 of everything that the next step would depend on."""
    rates = [group["lr"] for group in loop.optimizer.param_groups]
    return {
        "weights": _digest(trained_tensors(loop.model)),
        "optimizer": _digest(loop.state()),
        "schedule": _digest([plan.total_steps, plan.boundaries, rates]),
        "rng": _digest(_random_states(loop.device)),
    }


def _random_states(device: torch.device) -> list[Tensor]:
    on_device = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *on_device]


def _present(plan: Sampler, records: Sequence[Example]) -> Sequence[Example]:
    known, present = set(ids_of(records)), set(plan.present)
    if known == present:
        return records
    missing = [i for i in plan.present if i not in known]
    if missing:
        raise InputError(
            f"{len(missing)} records of the run were not given (first: {missing[0]!r}): pass "
            "all of them, or take them out of the plan"
        )
    return only(records, present)


def _taken_up(
    checkpoints: CheckpointStore, spec: RunSpec, contents: Mapping[str, bytes], before: int | None
) -> tuple[Checkpoint | None, tuple[str, ...]]:
    def shared(state: Checkpoint) -> bool:
        at = chain_at(spec.beginning, spec.plan, contents, [state.step])
        same = (state.beginning, state.chain) == (spec.beginning.hex(), at[state.step])
        if not same and before is None:
            raise StateError(
                f"{checkpoints.folder} has another run's checkpoints (other records, recipe, seed, "
                "model or environment): give an empty folder for checkpoints"
            )
        return same

    limit = spec.plan.total_steps if before is None else before
    return checkpoints.newest(before=limit, usable=shared)


def _lacking(
    state: Checkpoint | None, keep: Collection[int], before: int | None, notes: tuple[str, ...]
) -> tuple[str, ...]:
    """A note where a replay could have begun later, had a checkpoint not been lost."""
    expected = max((step for step in keep if before is not None and step <= before), default=0)
    start = 0 if state is None else state.step
    if notes or start >= expected:
        return ()
    return (f"began at step {start}: the checkpoint after step {expected} is gone",)


def _state(
    loop: Loop, step: int, spec: RunSpec, chain: bytes, log: Log, seconds: float
) -> Checkpoint:
    return Checkpoint(
        step,
        spec.beginning.hex(),
        chain.hex(),
        _gathered(trained_tensors(loop.model)),
        _gathered(loop.state()),
        _random_states(loop.device),
        log.packed,
        seconds,
    )


def _gathered(values: Any) -> Any:
    """Nested values whose tensors are whole in the main process, which writes them, gathered one by
    one; the others keep what they have."""
    if isinstance(values, Tensor):
        found = whole(values)
        return found if is_main() else values
    if isinstance(values, Mapping):
        return {key: _gathered(value) for key, value in values.items()}
    return [_gathered(value) for value in values] if isinstance(values, list) else values


def _restore(loop: Loop, state: Checkpoint) -> None:
    put_tensors(loop.model, state.weights)
    loop.restore(state.optimizer)
    torch.set_rng_state(state.rng[0])
    if loop.device.type == "cuda":
        torch.cuda.set_rng_state(state.rng[1], loop.device)


def _digest(value: Any) -> str:
    """SHA-256 of nested plain values and tensors."""
    total = hashlib.sha256()

    def add(item: Any) -> None:
        if isinstance(item, Tensor):
            tensor = whole(item.detach()).cpu().contiguous()
            total.update(f"{tensor.dtype}|{tuple(tensor.shape)}|".encode())
            total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
        elif isinstance(item, Mapping):
            total.update(f"{{{len(item)}".encode())
            for key in sorted(item, key=str):
                total.update(f"{key}:".encode())
                add(item[key])
        elif isinstance(item, list | tuple):
            total.update(f"[{len(item)}".encode())
            for part in item:
                add(part)
        else:
            total.update(f"{json.dumps(item)}|".encode())

    add(value)
    return total.hexdigest()
