"""Exact unlearning: retrain the affected parts without the records, bit for bit the same
as never having learned them.

Retrain starts over and is the oracle for every other method. Replay starts at the last checkpoint
before the first use of a forgotten record, shards at the slice with the records, modules retrain
the affected adapters, and drop removes whole modules without training.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from olvido.errors import InputError, UnknownName, require_count
from olvido.learners import Trained, Watcher
from olvido.learners.base import forget_exactly
from olvido.ledger.facts import Guarantee
from olvido.methods.guarantee import Need
from olvido.methods.types import Cost, Run, Split
from olvido.registry import Options
from olvido.tasks import Task
from olvido.training.plan import DEFINITIONS
from olvido.training.records import ids_of, joined
from olvido.training.traces.steps import Again


class Exact(Options):
    """Retrain the parts that the records affected, and nothing else.

    With the origin, recipe, seed, places and order of the original run, the result equals, bit for
    bit, a training of the same plan in which the records were absent from the start.

    Args:
        definition: of the absence. `drop` leaves the records' rows out of their batches,
            `tombstone` fills them with a blank of weight 0, which needs layers that do not mix the
            rows of a batch.
        workers: parts that are trained at a time.
    """

    guarantee: ClassVar = Guarantee.EXACT
    needs = frozenset({Need.STEP_LOG})
    summary: ClassVar[str]
    loss: ClassVar[str]
    source: ClassVar[str] = "[exact unlearning](../explanation/exact.md)"
    suits: ClassVar[str]
    example: ClassVar[Mapping[str, Any]] = {}
    from_start: ClassVar = False

    definition: str = "drop"
    workers: int = 1

    def __post_init__(self) -> None:
        """Check the options."""
        super().__post_init__()
        if self.definition not in DEFINITIONS:
            raise UnknownName("definition", self.definition, DEFINITIONS)
        require_count("workers", self.workers, most=1_024)

    def cost(self, trained: Trained, split: Split, task: Task) -> Cost:
        """Predict from the measured cost of the logged runs."""
        forget_ids = {example.id for example in split.forget}
        ahead = self._again(trained, forget_ids)
        tokens, seconds = sum(run.tokens for run in ahead), [run.seconds for run in ahead]
        whole = trained.trace.tokens_without(forget_ids)
        took = max(sum(seconds) / self.workers, *seconds, 0.0)
        return Cost(tokens, took, tokens / whole if whole else None)

    def run(
        self, trained: Trained, split: Split, task: Task, *, seed: int, watch: Watcher | None
    ) -> Run:
        """Retrain; `seed` is the logged run's own and is not redrawn.

        Raises:
            InputError: a forgotten record was not in the run, or a retained one was not passed.
            EnvironmentMismatch: on this machine the run would not give the same bits.
        """
        forget_ids = {example.id for example in split.forget}
        self._require_retained(trained, split, forget_ids)
        training, absent = trained.trace.leaving(forget_ids)
        model, trace, done = forget_exactly(
            trained.model,
            training,
            absent,
            joined(split.forget, split.retain),
            task,
            definition=self.definition,
            from_start=self.from_start,
            workers=self.workers,
            watch=watch,
        )
        steps = sum(one.log.plan.total_steps - one.result.start for one in done)
        planned = sum(one.log.plan.total_steps for one in done)
        notes = [note for one in done for note in one.result.notes]
        stopped = self._stopped(steps, planned, len(done))
        return Run(
            model, trace, sum(one.result.tokens for one in done), "; ".join([stopped, *notes])
        )

    def _stopped(self, steps: int, planned: int, runs: int) -> str:
        if steps == planned and runs == 1:
            return f"all {planned} steps were run again"
        return f"{steps} of {planned} steps were run again, in {runs} run{'s'[: runs != 1]}"

    def _again(self, trained: Trained, forget_ids: set[str]) -> tuple[Again, ...]:
        """The runs to repeat.

        Raises:
            InputError: a forgotten record was not in them, or one cannot be repeated.
        """
        return trained.trace.again(
            forget_ids, definition=self.definition, from_start=self.from_start
        )

    def _require_retained(self, trained: Trained, split: Split, forget_ids: set[str]) -> None:
        retain_ids = set(ids_of(split.retain))
        staying = [i for run in self._again(trained, forget_ids) for i in run.staying]
        if missing := [i for i in staying if i not in retain_ids]:
            raise InputError(
                "an exact method needs every record that stays in what is trained again: "
                f"{len(missing)} of {len(staying)} are missing from retain (first: {missing[0]!r})"
            )


class Modules(Exact):
    """Retrain the affected adapters on a base that learned nothing; the router loses the records'
    rows and the cache their activations (S3T, arXiv 2406.16257, has adapters learn shards slice by
    slice)."""

    name: ClassVar = "module"
    summary: ClassVar = (
        "train again the modules of the records, and remove their rows from the router"
    )
    loss: ClassVar = "none: their modules are trained again"
    suits: ClassVar = "a pretrained model whose people leave one by one (learner `modular`)"
    needs = frozenset({Need.MODULES})


class DropModule(Modules):
    """Remove modules whose records are all forgotten (a source, a domain)."""

    name: ClassVar = "drop"
    summary: ClassVar = "remove whole modules, all of whose records are forgotten"
    loss: ClassVar = "none: whole modules are removed"
    suits: ClassVar = "a source, a licence or a domain that is removed whole"

    def cost(self, trained: Trained, split: Split, task: Task) -> Cost:
        """Predict a cost without training.

        Raises:
            InputError: other records would remain in an affected module.
        """
        for run in self._again(trained, {example.id for example in split.forget}):
            if run.staying:
                raise InputError(
                    f"{len(run.staying)} records would stay in {run.name}: drop takes out whole "
                    "modules, use 'module' to train it again without some"
                )
        return super().cost(trained, split, task)

    def run(
        self, trained: Trained, split: Split, task: Task, *, seed: int, watch: Watcher | None
    ) -> Run:
        """Remove the modules. Raises InputError where records would remain in one."""
        self.cost(trained, split, task)
        return super().run(trained, split, task, seed=seed, watch=watch)

    def _stopped(self, steps: int, planned: int, runs: int) -> str:
        return "whole modules were taken out, and nothing was trained"


class ReplayRun(Exact):
    """Replay from the last checkpoint before the records' first use: until then the run is the
    same.

    "Unlearning at Scale" (arXiv 2508.12220) replays a log of each step; here the plan
    determines the steps, and the log's hash chain identifies the checkpoints that both runs share.
    """

    name: ClassVar = "replay"
    summary: ClassVar = "train again from the last checkpoint before the records were used"
    loss: ClassVar = (
        "none: the run is done again from the last checkpoint that knows nothing of them"
    )
    source: ClassVar = "arXiv 2508.12220"
    suits: ClassVar = "records that came late in a training that kept checkpoints"
    needs = frozenset({Need.STEP_LOG, Need.CHECKPOINTS})


class Retrain(Exact):
    """Run the whole logged training again from its start without the records.

    Bourtoule et al. 2021 (arXiv 1912.03817) compare theirs with it; it needs no assumptions.
    """

    name: ClassVar = "retrain"
    summary: ClassVar = "train again from the start without the records"
    loss: ClassVar = "none: the logged training is run again from its start"
    source: ClassVar = "Bourtoule et al. 2021, arXiv 1912.03817"
    suits: ClassVar = "the gold standard, and references for audits"
    from_start: ClassVar = True


class RetrainShard(Exact):
    """SISA's way to forget (Bourtoule et al. 2021, arXiv 1912.03817)."""

    name: ClassVar = "shard"
    summary: ClassVar = "train again the shards of the records, from before they were added"
    loss: ClassVar = "none: their shards are trained again, from before they were added"
    source: ClassVar = "Bourtoule et al. 2021, arXiv 1912.03817"
    suits: ClassVar = "a model whose people leave one by one (learner `sharded`)"
    needs = frozenset({Need.SHARDS})
