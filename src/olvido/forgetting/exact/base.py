"""What all exact methods share: the trained parts concerned are done again without the records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from olvido.errors import InputError, MissingNeed, UnknownName, require_count
from olvido.forgetting.guarantee import Need
from olvido.forgetting.types import Cost, Run, Split
from olvido.learners import Placement, StepLog, Trained, Untraced, Watcher
from olvido.learners.base import learner_of
from olvido.learners.runs.plan import DEFINITIONS
from olvido.ledger.facts import Guarantee
from olvido.registry import Options
from olvido.tasks import Task


class Exact(Options):
    """Do again what the records had a part in, and nothing else.

    Same origin, recipe, seed, places and order: the result equals, bit for bit, a training of the
    same plan in which the records were absent from the start.

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
    source: ClassVar[str] = "[`exact.md`](exact.md)"
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
        """Predicted from what the runs concerned were measured to take."""
        gone = {example.id for example in split.forget}
        tokens, seconds = self._ahead(trained, gone, from_start=self.from_start)
        assert not isinstance(trained.trace, Untraced)
        again = trained.trace.tokens_without(gone)
        return Cost(tokens, seconds, tokens / again if again else None)

    def run(
        self, trained: Trained, split: Split, task: Task, *, seed: int, watch: Watcher | None
    ) -> Run:
        """Train again; `seed` is the logged run's own and is not redrawn.

        Raises:
            InputError: a forgotten record was not in the run, or a kept one was not given.
            EnvironmentMismatch: here the same run would not give the same bits.
        """
        gone = {example.id for example in split.forget}
        self._require_kept(trained, split, gone)
        model, trace, done = learner_of(trained.trace).forget(
            trained,
            gone,
            (*split.forget, *split.retain),
            task,
            definition=self.definition,
            from_start=self.from_start,
            workers=self.workers,
            watch=watch,
        )
        steps = sum(one.log.plan.total_steps - one.executed.start for one in done)
        planned = sum(one.log.plan.total_steps for one in done)
        notes = [note for one in done for note in one.executed.notes]
        stopped = self._stopped(steps, planned, len(done))
        return Run(
            model, trace, sum(one.executed.tokens for one in done), "; ".join([stopped, *notes])
        )

    def _stopped(self, steps: int, planned: int, runs: int) -> str:
        if steps == planned and runs == 1:
            return f"all {planned} steps were run again"
        return f"{steps} of {planned} steps were run again, in {runs} run{'s'[: runs != 1]}"

    def _ahead(self, trained: Trained, gone: set[str], *, from_start: bool) -> tuple[int, float]:
        """Tokens and seconds of the runs to be done again."""
        tokens, seconds, longest = 0, 0.0, 0.0
        for log, ids in _concerned(trained, gone, everything=from_start):
            plan = log.without(ids, definition=self.definition)
            if not plan.present and isinstance(trained.trace, Placement):
                continue
            start = 0 if from_start else log.restart(plan)
            some, took = log.predict(plan, start)
            tokens, seconds, longest = tokens + some, seconds + took, max(longest, took)
        return tokens, max(seconds / self.workers, longest)

    def _require_kept(self, trained: Trained, split: Split, gone: set[str]) -> None:
        given = {example.id for example in split.retain}
        logs = _concerned(trained, gone, everything=self.from_start)
        kept = [i for log, _ in logs for i in log.present if i not in gone]
        if missing := [i for i in kept if i not in given]:
            raise InputError(
                "an exact method needs every record that stays in what is trained again: "
                f"{len(missing)} of {len(kept)} are missing from retain (first: {missing[0]!r})"
            )


def _concerned(
    trained: Trained, gone: set[str], *, everything: bool
) -> list[tuple[StepLog, tuple[str, ...]]]:
    """The runs to be done again, each with the records that leave it."""
    trace = trained.trace
    if isinstance(trace, StepLog):
        trace.without(gone)
        return [(trace, tuple(gone))]
    if not isinstance(trace, Placement):
        raise MissingNeed("an exact method needs ", *Need.STEP_LOG.words)
    hit = trace.hit(gone)
    return [
        (part.log, hit.get(part.name, ())) for part in trace.parts if everything or part.name in hit
    ]
