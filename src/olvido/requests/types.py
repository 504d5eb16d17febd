"""The inputs and results of answering a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from olvido.audits import Report, ScoredModel, Verdict
from olvido.learners import Watcher
from olvido.ledger.facts import Guarantee, Model, Request
from olvido.methods import Outcome
from olvido.requests.planner import Choice, Route
from olvido.schemas.plan import Promise
from olvido.tasks import Example
from olvido.tasks.sampling import halves
from olvido.workspace import LedgerModel

Stage = Callable[[str], Watcher | None]
"""Called with the name of a stage; returns a callback for its progress."""


@dataclass(frozen=True)
class ProbeSets:
    """Records an audit asks about besides the forget set and the retain set.

    Attributes:
        holdout: records of the same kind that no model has seen; a method stops by half of them
            and the audit attacks with the other half.
        neighbours: retained records near the forget set.
        general: common knowledge.
    """

    holdout: tuple[Example, ...] = ()
    neighbours: tuple[Example, ...] = ()
    general: tuple[Example, ...] = ()

    @property
    def calibrating(self) -> tuple[Example, ...]:
        """Half of the holdout, for the method to stop by."""
        return halves(self.holdout)[0]

    @property
    def attacked(self) -> tuple[Example, ...]:
        """The other half, about other people, for the audit."""
        return halves(self.holdout)[1]


@dataclass(frozen=True)
class Attempt:
    """One method that was tried, and its audit.

    Attributes:
        method, options: the method that ran, and its options.
        outcome: its result; None where it failed outright.
        report: the audit; None where there was nothing to audit, or no need: an exactly
            unlearned model equals a retrained one in any audit.
        failure: why it failed outright; None where it did not.
    """

    method: str
    options: Mapping[str, Any]
    outcome: Outcome | None
    report: Report | None
    failure: str | None

    @property
    def passed(self) -> bool:
        """Whether this may be published."""
        if self.failure is not None or self.outcome is None:
            return False
        exact = self.outcome.guarantee is Guarantee.EXACT
        if self.report is None:
            return exact
        # A failed audit contradicts even exactness: a person has to look before the model serves.
        return self.report.passed or (exact and self.report.verdict is not Verdict.FAIL)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for reports."""
        return {
            "method": self.method,
            "options": dict(self.options),
            "failure": self.failure,
            "outcome": None if self.outcome is None else self.outcome.to_dict(),
            "audit": None if self.report is None else self.report.to_dict(texts=False),
            "verdict": "pass" if self.passed else "fail",
        }


@dataclass(frozen=True)
class Destroyed:
    """A model that was destroyed for a request, with all that was made from it.

    Attributes:
        request: as the ledger has it now.
        models: whose weights, checkpoints and names are gone.
        certificate: the signed certificate's file.
    """

    request: Request
    models: tuple[Model, ...]
    certificate: Path


@dataclass(frozen=True)
class NothingToForget:
    """Requests about records that no model in use has learned: only files remain to be erased.

    Attributes:
        requests: as the ledger has them now.
        because: why no model has to forget, in a sentence.
    """

    requests: tuple[Request, ...]
    because: str


@dataclass(frozen=True)
class Unchanged:
    """Requests that a private training's promise answers: the model stays as it is.

    Attributes:
        requests: as the ledger has them now.
        model: the model, by its entry in the ledger.
        promises: what its training bounds of each request's records.
        certificates: the signed certificates' files.
    """

    requests: tuple[Request, ...]
    model: Model
    promises: tuple[Promise, ...]
    certificates: tuple[Path, ...]


@dataclass(frozen=True)
class ReferenceModel:
    """A retrained model of the ledger, which is loaded when it is compared with.

    Attributes:
        fact: its entry in the ledger.
        scored: its scores, with the trace of its training.
    """

    fact: Model
    scored: ScoredModel


@dataclass(frozen=True)
class RequestOutcome:
    """The result of a run.

    Attributes:
        requests: as the ledger has them now.
        before: the model that was asked to forget.
        references: the retrained models that the attempts were compared with.
        published: the new version; None where every attempt failed.
        attempts: the attempts in their order.
        plan: all routes with their predicted cost, the choice, and its reason.
        document: all of this as plain values; its `path` says where it was written.
        certificates: the signed certificates' files; none where nothing was published.
    """

    requests: tuple[Request, ...]
    before: LedgerModel
    references: tuple[ReferenceModel, ...]
    published: Model | None
    attempts: tuple[Attempt, ...]
    plan: tuple[Route, ...]
    choice: Choice
    document: dict[str, Any]
    paths: tuple[Path, ...]
    certificates: tuple[Path, ...]

    @property
    def request(self) -> Request:
        """The first request; most are answered alone."""
        return self.requests[0]

    @property
    def path(self) -> Path:
        """The file of the first request's report."""
        return self.paths[0]
