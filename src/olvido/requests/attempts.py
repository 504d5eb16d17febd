"""Try unlearning methods in turn, each audited against the same evidence, until one passes.

Every audit compares with retrained models, which never saw the forget set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from olvido.audits import Report, ScoredModel, audit
from olvido.errors import ModelDestroyed, StateError, TrainingFailed
from olvido.learners import Trained
from olvido.ledger.facts import DatasetUse, Guarantee, Model, Request
from olvido.ledger.lineage import Lineage
from olvido.ledger.serving import SERVING
from olvido.methods import METHODS, Outcome, Split, forget
from olvido.requests.planner import Choice, Route
from olvido.requests.publishing import Prepared, document
from olvido.requests.references import REFERENCES, never_trained
from olvido.requests.types import Attempt, ProbeSets, ReferenceModel, Stage
from olvido.schemas.options import RunOptions
from olvido.workspace import LedgerModel, Workspace


def tried(
    workspace: Workspace,
    loaded: LedgerModel,
    split: Split,
    choice: Choice,
    *,
    how: RunOptions,
    probes: ProbeSets,
    stage: Stage,
) -> tuple[tuple[Attempt, ...], tuple[ReferenceModel, ...]]:
    """Try methods in order; the last attempt passed if any did. Also the references compared with.

    Args:
        workspace: where the retrained models are found, or trained.
        loaded: the model that shall forget.
        split: the forget set and the retain set.
        choice: methods in their order.
        how: the references, the level and the seed.
        probes: further records for the audit.
        stage: called with the name of each stage.
    """
    count = how.references or REFERENCES
    evaluator = _Evaluator(workspace, loaded, split, probes, count, how.level, stage)
    attempts: list[Attempt] = []
    for name, options in choice.order:
        if METHODS.find(name).guarantee is not Guarantee.EXACT or how.references is not None:
            evaluator.require_references()
        attempts.append(_attempt(loaded, evaluator, split, name, options, how.seed, stage))
        if attempts[-1].passed:
            break
    return tuple(attempts), evaluator.never


@dataclass
class _Evaluator:
    """Audits every attempt against the same evidence, once there are references."""

    workspace: Workspace
    loaded: LedgerModel
    split: Split
    probes: ProbeSets
    references: int
    level: str | None
    stage: Stage
    never: tuple[ReferenceModel, ...] = ()

    def require_references(self) -> None:
        """Train the references that are missing."""
        if not self.never:
            ids = [example.id for example in self.split.forget]
            self.never = never_trained(
                self.workspace, self.loaded, ids, count=self.references, stage=self.stage
            )

    @cached_property
    def _evidence(self) -> dict[str, Any]:
        task = self.loaded.task
        return {
            "forget": self.split.forget,
            "retain": self.split.retain,
            "neighbours": self.probes.neighbours,
            "general": self.probes.general,
            "holdout": self.probes.attacked,
            "original": ScoredModel.of(self.loaded.trained, task),
            "reference": [other.scored for other in self.never],
            "task": task,
        }

    def evaluate(self, outcome: Outcome) -> Report | None:
        """The audit's report; None where no reference was asked for."""
        if not self.never:
            return None
        usual = "quick" if outcome.guarantee is Guarantee.EXACT else "standard"
        return audit(outcome, level=self.level or usual, **self._evidence)


def _attempt(
    loaded: LedgerModel,
    evaluator: _Evaluator,
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
            loaded.trained,
            forget=split.forget,
            retain=split.retain,
            holdout=split.holdout,
            task=loaded.task,
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
    if evaluator.never:
        stage(f"Auditing {name}")
    return Attempt(name, options, outcome, evaluator.evaluate(outcome), failure)


def forgotten_since(workspace: Workspace, model: Model) -> dict[str, frozenset[str]]:
    """Records, by dataset, that versions of a model forgot less than exactly, unless a later
    training taught them again."""
    line = [model]
    while line[-1].parents:
        line.append(workspace.store.model(line[-1].parents[0]))
    found: dict[str, frozenset[str]] = {}
    for version in reversed(line):
        for use in workspace.store.uses(version.id):
            before = found.get(use.dataset, frozenset())
            if version.method is None:
                found |= {use.dataset: before & use.excluded} if use.dataset in found else {}
            elif use.guarantee is Guarantee.EXACT:
                found[use.dataset] = before - use.forgotten
            else:
                found[use.dataset] = before | use.forgotten
    return found


def prepare(
    workspace: Workspace,
    loaded: LedgerModel,
    attempts: Sequence[Attempt],
    never: Sequence[ReferenceModel],
    lineages: Sequence[Lineage],
    split: Split,
    planned: tuple[Sequence[Route], Choice],
    seed: int,
    asked: Sequence[Request],
) -> Prepared:
    """Stage the model that passed, and write its report; the ledger knows nothing of it yet."""
    last, fact, uses = attempts[-1], None, []
    if last.passed:
        assert last.outcome is not None
        outcome = last.outcome
        fact = workspace.stage(
            loaded,
            Trained(outcome.model, outcome.digest, outcome.trace),
            method=outcome.method,
            options=dict(outcome.options),
            seed=seed,
            sketch=outcome.sketch,
        )
        gone = {example.id for example in split.forget}
        # Records that an earlier version forgot by other methods took no part in the retraining.
        also = forgotten_since(workspace, loaded.fact)
        exact = outcome.guarantee is Guarantee.EXACT
        taught = frozenset(outcome.trace.present) if exact else None
        for use in workspace.left(loaded.fact):
            ids = gone & {record.id for record in workspace.store.records(use.dataset)}
            if taught is not None:
                ids |= also.get(use.dataset, frozenset()) - taught
            if ids:
                uses.append(
                    DatasetUse(
                        dataset=use.dataset, forgotten=frozenset(ids), guarantee=outcome.guarantee
                    )
                )
    identifiers = [request.id for request in asked]
    documents = {
        identifier: document(
            identifier,
            identifiers,
            loaded,
            [reference.fact for reference in never],
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
        served=workspace.store.aliases().get(SERVING) == loaded.fact.id,
    )
