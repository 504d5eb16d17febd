"""Methods are tried in turn, each audited against the same evidence, until one passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from olvido.audits import Report, Witness, audit
from olvido.errors import ModelDestroyed, StateError, TrainingFailed
from olvido.forgetting import METHODS, Outcome, Split, forget
from olvido.learners import Placement, StepLog, Trace, Trained
from olvido.ledger.facts import Guarantee, Model, Request, Use
from olvido.ledger.lineage import Lineage
from olvido.ledger.serving import SERVING
from olvido.requests.document import document
from olvido.requests.planner import Choice, Route
from olvido.requests.publishing import Prepared
from olvido.requests.references import never_trained
from olvido.requests.types import Attempt, Probes, Stage
from olvido.schemas.options import RunOptions
from olvido.workspace import Held, Workspace

REFERENCES = 3
"""Never-trained models that an empirical forgetting is audited against."""


def tried(
    workspace: Workspace,
    held: Held,
    split: Split,
    choice: Choice,
    *,
    how: RunOptions,
    probes: Probes,
    stage: Stage,
) -> tuple[tuple[Attempt, ...], tuple[Held, ...]]:
    """The attempts in their order, the last of which passed if any did; and who they were held to.

    Args:
        workspace: where never-trained models are found, or trained.
        held: the model that shall forget.
        split: what it shall forget and keep.
        choice: methods in their order.
        how: with which references, level and seed.
        probes: further records for the audit.
        stage: told what begins.
    """
    count = how.references or REFERENCES
    examiner = _Examiner(workspace, held, split, probes, count, how.level, stage)
    attempts: list[Attempt] = []
    for name, options in choice.order:
        if METHODS.find(name).guarantee is not Guarantee.EXACT or how.references is not None:
            examiner.summon()
        attempts.append(_attempt(held, examiner, split, name, options, how.seed, stage))
        if attempts[-1].passed:
            break
    return tuple(attempts), examiner.never


@dataclass
class _Examiner:
    """Audits every attempt against the same evidence, once there is somebody to compare with."""

    workspace: Workspace
    held: Held
    split: Split
    probes: Probes
    references: int
    level: str | None
    stage: Stage
    never: tuple[Held, ...] = ()

    def summon(self) -> None:
        """Have the never-trained models made, where they are not there yet."""
        if not self.never:
            ids = [example.id for example in self.split.forget]
            self.never = never_trained(
                self.workspace, self.held, ids, count=self.references, stage=self.stage
            )

    @cached_property
    def _evidence(self) -> dict[str, Any]:
        task = self.held.task
        return {
            "forget": self.split.forget,
            "retain": self.split.retain,
            "neighbours": self.probes.neighbours,
            "general": self.probes.general,
            "holdout": self.probes.attacked,
            "before": Witness.of(self.held.trained, task),
            "reference": [Witness.of(other.trained, task) for other in self.never],
            "task": task,
        }

    def examine(self, outcome: Outcome) -> Report | None:
        """The audit's report; None where no never-trained model was asked for."""
        if not self.never:
            return None
        usual = "quick" if outcome.guarantee is Guarantee.EXACT else "standard"
        return audit(outcome.model, level=self.level or usual, **self._evidence)


def _attempt(
    held: Held,
    examiner: _Examiner,
    split: Split,
    name: str,
    options: Mapping[str, Any],
    seed: int,
    stage: Stage,
) -> Attempt:
    watch = stage(f"Forgetting by {name}")
    failure = None
    try:
        outcome: Outcome | None = forget(
            held.trained,
            forget=split.forget,
            retain=split.retain,
            holdout=split.holdout,
            task=held.task,
            method=name,
            seed=seed,
            watch=watch,
            **options,
        )
    except ModelDestroyed as error:
        outcome, failure = error.outcome, str(error)
    except (TrainingFailed, StateError) as error:
        return Attempt(name, options, None, None, str(error))
    assert outcome is not None
    if examiner.never:
        stage(f"Auditing {name}")
    return Attempt(name, options, outcome, examiner.examine(outcome), failure)


def forgotten_since(workspace: Workspace, model: Model) -> dict[str, frozenset[str]]:
    """Records, by dataset, that versions since a model's training forgot less than exactly."""
    found: dict[str, frozenset[str]] = {}
    line = []
    while model.method is not None:
        line.append(model)
        model = workspace.store.model(model.parents[0])
    for version in reversed(line):
        for use in workspace.store.uses(version.id):
            before = found.get(use.dataset, frozenset())
            exact = use.guarantee is Guarantee.EXACT
            found[use.dataset] = before - use.forgotten if exact else before | use.forgotten
    return found


def learned_by(trace: Trace) -> frozenset[str]:
    """Ids of the records that have a place in a training, by its log; of all parts of a model."""
    logs = [part.log for part in trace.parts] if isinstance(trace, Placement) else [trace]
    return frozenset(i for log in logs if isinstance(log, StepLog) for i in log.plan.present)


def prepare(
    workspace: Workspace,
    held: Held,
    attempts: Sequence[Attempt],
    never: Sequence[Held],
    lineages: Sequence[Lineage],
    split: Split,
    planned: tuple[Sequence[Route], Choice],
    seed: int,
    asked: Sequence[Request],
) -> Prepared:
    """Stage what passed, and say all there is to say of it; the ledger knows nothing of it yet."""
    last, fact, uses = attempts[-1], None, []
    if last.passed:
        assert last.outcome is not None
        outcome = last.outcome
        fact = workspace.stage(
            held,
            Trained(outcome.model, outcome.digest, outcome.trace),
            method=outcome.method,
            options=dict(outcome.options),
            seed=seed,
        )
        gone = {example.id for example in split.forget}
        # Whom an earlier version forgot by other means had no part in what was trained again.
        also = forgotten_since(workspace, held.fact)
        taught = learned_by(outcome.trace) if outcome.guarantee is Guarantee.EXACT else None
        for use in workspace.left(held.fact):
            ids = gone & {record.id for record in workspace.store.records(use.dataset)}
            if taught is not None:
                ids |= also.get(use.dataset, frozenset()) - taught
            if ids:
                uses.append(
                    Use(dataset=use.dataset, forgotten=frozenset(ids), guarantee=outcome.guarantee)
                )
    identifiers = [request.id for request in asked]
    documents = {
        identifier: document(
            identifier,
            identifiers,
            held,
            never,
            [dataset.name for dataset in lineage.datasets],
            *planned,
            attempts,
            fact,
            split,
        )
        for identifier, lineage in zip(identifiers, lineages, strict=True)
    }
    return Prepared(
        tuple(identifiers),
        fact,
        tuple(uses),
        last.method if last.passed else None,
        tuple(attempt.passed for attempt in attempts),
        documents,
        served=workspace.store.aliases().get(SERVING) == held.fact.id,
    )
