"""Train again without the records: the oracle that every other method is measured against."""

from __future__ import annotations

from typing import ClassVar

from olvido.errors import InputError, MissingNeed
from olvido.forgetting.guarantee import Need
from olvido.forgetting.types import Cost, Run, Split
from olvido.learners import StepLog, Trained, Watcher
from olvido.learners.environment import environment, require_same
from olvido.learners.monolith import Monolith
from olvido.learners.plan import SlotPlan
from olvido.ledger.facts import Guarantee
from olvido.tasks import Task


class Retrain:
    """Run the logged training again with holes where the forgotten records stood.

    Same origin, recipe, seed and order: the result equals, bit for bit, a run of the same plan from
    which the records were absent from the start (Bourtoule et al. 2021, arXiv 1912.03817, call this
    the naive baseline; it needs no assumption at all).
    """

    guarantee: ClassVar = Guarantee.EXACT
    needs: ClassVar = frozenset({Need.RETAIN, Need.STEP_LOG})
    summary: ClassVar = "train again from the start without the records"

    def cost(self, trained: Trained, split: Split, task: Task) -> Cost:
        """All of the logged run but the forgotten records' rows."""
        log = _step_log(trained)
        plan = _plan_without(log, split)
        rows = len(plan.present) / max(len(log.plan.present), 1)
        return Cost(log.tokens * rows, log.seconds * rows, 1.0)

    def run(
        self, trained: Trained, split: Split, task: Task, *, seed: int, watch: Watcher | None
    ) -> Run:
        """Train again; `seed` is the logged run's own and is not redrawn.

        Raises:
            InputError: a forgotten record was not in the run, or a kept one was not given.
            EnvironmentMismatch: here the same run would not give the same bits.
        """
        log = _step_log(trained)
        require_same(log.environment, environment(next(trained.model.parameters()).device))
        plan = _plan_without(log, split)
        learner = Monolith(log.recipe, seed=log.seed, plan=plan)
        model, trace = learner.run(log.origin.module(), split.retain, task, watch)
        tokens = trace.tokens if isinstance(trace, StepLog) else 0
        return Run(model, trace, tokens, f"all {plan.total_steps} steps were run again")


def _step_log(trained: Trained) -> StepLog:
    if not isinstance(trained.trace, StepLog):
        raise MissingNeed(f"retrain needs {Need.STEP_LOG.remedy}")
    return trained.trace


def _plan_without(log: StepLog, split: Split) -> SlotPlan:
    plan = log.plan.without(example.id for example in split.forget)
    given = {example.id for example in split.retain}
    missing = [i for i in plan.present if i not in given]
    if missing:
        raise InputError(
            f"retrain needs every record that is kept: {len(missing)} of {len(plan.present)} are "
            f"missing from retain (first: {missing[0]!r})"
        )
    return plan
