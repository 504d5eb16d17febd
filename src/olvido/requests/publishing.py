"""Publish a new model version from the attempts: it is written down first, then published.

Each step can be repeated after a crash: models are named by their content, and finished steps are
recognised. Also the report of an answered request, as plain values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from olvido.artifact_shapes import remove_model
from olvido.audits import Verdict
from olvido.errors import InputError, Overtaken, StateError
from olvido.files import write_document
from olvido.ledger.digests import Digest
from olvido.ledger.facts import DatasetUse, Guarantee, Model, Request, RequestStatus
from olvido.ledger.serving import SERVING
from olvido.ledger.serving import publish as enter
from olvido.methods import METHODS, Split
from olvido.requests.certificate.answer import ANSWER, answer
from olvido.requests.certificate.limits import limits_of
from olvido.requests.handlers import RequestContext
from olvido.requests.planner import Choice, Route
from olvido.requests.rights.deadlines import DECISION
from olvido.requests.scope import lineage_of
from olvido.requests.tombstones import tombstone
from olvido.requests.types import Attempt
from olvido.workspace import LedgerModel


@dataclass(frozen=True)
class Prepared:
    """What is to be published, in values that a file can hold.

    Attributes:
        requests: ids of the answered requests.
        model: the staged version; None where every attempt failed.
        uses: the records that it forgot, by dataset.
        method: the method that made it.
        verdicts: the verdicts of all attempts.
        documents: the reports, by request.
        served: whether its original model was serving then, whose place it shall take.
    """

    requests: tuple[str, ...]
    model: Model | None
    uses: tuple[DatasetUse, ...]
    method: str | None
    verdicts: tuple[bool, ...]
    documents: Mapping[str, dict[str, Any]]
    served: bool

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "requests": list(self.requests),
            "model": None if self.model is None else _model_to_dict(self.model),
            "uses": [
                {
                    "dataset": use.dataset,
                    "forgotten": sorted(use.forgotten),
                    "guarantee": use.guarantee,
                }
                for use in self.uses
            ],
            "method": self.method,
            "verdicts": list(self.verdicts),
            "documents": dict(self.documents),
            "served": self.served,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read the values of `to_dict`."""
        return cls(
            requests=tuple(values["requests"]),
            model=None if values["model"] is None else _model_from_dict(values["model"]),
            uses=tuple(
                DatasetUse(
                    dataset=use["dataset"],
                    forgotten=frozenset(use["forgotten"]),
                    guarantee=Guarantee(use["guarantee"]),
                )
                for use in values["uses"]
            ),
            method=values["method"],
            verdicts=tuple(values["verdicts"]),
            documents=dict(values["documents"]),
            served=values["served"],
        )


def _model_to_dict(model: Model) -> dict[str, Any]:
    return {
        "digest": str(model.digest),
        "function": model.function and str(model.function),
        "path": model.path,
        "learner": model.learner,
        "parents": list(model.parents),
        "method": model.method,
        "recipe": dict(model.recipe),
        "seed": model.seed,
        "environment": dict(model.environment),
        "created_at": model.created_at.isoformat(),
    }


def _model_from_dict(values: Mapping[str, Any]) -> Model:
    return Model(
        **{
            **values,
            "digest": Digest.from_str(values["digest"]),
            "function": values["function"] and Digest.from_str(values["function"]),
            "parents": tuple(values["parents"]),
            "created_at": datetime.fromisoformat(values["created_at"]),
        }
    )


def _require_agreement(prepared: Prepared) -> None:
    """Check that what is to be published is consistent, before anything of it is entered.

    Raises:
        StateError: reports, uses and the method claim different guarantees, or other weights.
    """
    assert prepared.model is not None
    method, digest = prepared.model.method, str(prepared.model.digest)
    claims = {str(METHODS[method].guarantee if method and method in METHODS else None)}
    claims |= {str(use.guarantee) for use in prepared.uses}
    for document in (prepared.documents[one] for one in prepared.requests):
        last = document["attempts"][-1]
        claims.add(last["outcome"]["guarantee"])
        if (last["method"], document["digest"]["after"]) != (method, digest):
            raise StateError("a report that is to be published is about another model or method")
    if len(claims) > 1:
        raise StateError(
            f"what is to be published claims {' and '.join(sorted(claims))} forgetting"
        )


def _require_current(context: RequestContext, prepared: Prepared) -> None:
    """Check that the original model is still the serving one, before anything is entered.

    Raises:
        Overtaken: another version was published since this one was begun. This one still holds
            what that one forgot; its files are removed.
    """
    fact, store = prepared.model, context.store
    assert fact is not None
    if fact.id in {model.id for model in store.models()}:
        return  # It was entered before a crash; the serving model came after it.
    serving = store.aliases().get(SERVING)
    if prepared.served and serving not in fact.parents:
        remove_model(context.settings.models / fact.path)
        raise Overtaken(
            f"model {serving} was published while {' and '.join(prepared.requests)} was being "
            "answered in the one before it, and nothing more was published: run it again"
        )


def publish(
    context: RequestContext, prepared: Prepared
) -> tuple[tuple[Request, ...], Model | None]:
    """Enter the new version, serve it, set tombstones on the records, and move the requests on.

    Called again after a crash, this goes on where it was. If a request was cancelled meanwhile,
    the first step fails and nothing is published.

    Raises:
        InputError: a request is not where this can be published.
        Overtaken: another version is served by now; run it again.
    """
    store, status = context.store, RequestStatus
    asked = [store.request(identifier) for identifier in prepared.requests]
    for request in asked:
        if request.status not in (
            status.RUNNING,
            status.AUDITED,
            status.PUBLISHED,
            status.NEEDS_INPUT,
        ):
            raise InputError(f"request {request.id} is {request.status}: nothing is published")
    published = None
    if prepared.model is not None:
        _require_agreement(prepared)
        _require_current(context, prepared)
        for request in asked:
            if request.status is not status.PUBLISHED:
                store.advance_request(request.id, status.AUDITED, {"method": prepared.method})
        published = enter(store, prepared.model, prepared.uses)
        reason = "; ".join(sorted({request.kind.value for request in asked}))
        for request in asked:
            tombstone(context, request, lineage_of(store, request), reason)
    outcome: dict[str, Any] = {
        "model": published.id if published else None,
        "verdicts": list(prepared.verdicts),
    }
    if published is None:
        outcome |= {"for": DECISION, "why": "every attempt failed"}
    following = status.PUBLISHED if published else status.NEEDS_INPUT
    ended = []
    for request in asked:
        path, document = (
            context.settings.reports / f"{request.id}.json",
            prepared.documents[request.id],
        )
        write_document(document, path)
        if request.status in (status.PUBLISHED, status.NEEDS_INPUT):
            ended.append(request)
            continue
        said = (
            {} if published is None else {ANSWER: answer(store, request, published, document, path)}
        )
        ended.append(store.advance_request(request.id, following, outcome | said, report=str(path)))
    return tuple(ended), published


def document(
    identifier: str,
    together: Sequence[str],
    loaded: LedgerModel,
    never: Iterable[Model],
    datasets: Sequence[str],
    found: Sequence[Route],
    choice: Choice,
    tried: Sequence[Attempt],
    published: Model | None,
    split: Split,
) -> dict[str, Any]:
    """The report of a request.

    Args:
        identifier: the request's id.
        together: ids of all requests that were answered in the same run.
        loaded: the model that was asked to forget.
        never: the references' entries in the ledger, where an audit needed them.
        datasets: names of the records' datasets.
        found, choice: every route with its price, and the chosen ones.
        tried: the attempts in their order.
        published: the new version, if any.
        split: the forget set and the retain set.
    """
    return {
        "request": identifier,
        "together": list(together),
        "verdict": Verdict.PASS.value if published else Verdict.FAIL.value,
        "model": {"before": loaded.fact.id, "after": published.id if published else None},
        "digest": {"before": str(loaded.fact.digest), "after": published and str(published.digest)},
        "training": loaded.fact.training,
        "never_trained": [
            {
                "id": one.id,
                "seed": one.seed,
                "digest": str(one.digest),
                "training": one.training,
            }
            for one in never
        ],
        "records": {
            "forgotten": len(split.forget),
            "retained": len(split.retain),
            "holdout": len(split.holdout),
            "datasets": list(datasets),
        },
        "plan": [route.way.to_dict() for route in found],
        "chosen": choice.chosen.to_dict(),
        "attempts": [attempt.to_dict() for attempt in tried],
        "does_not_prove": list(
            limits_of(METHODS.find(tried[-1].method).guarantee, loaded.fact.training)
        ),
    }
