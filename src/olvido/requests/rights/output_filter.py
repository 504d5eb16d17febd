"""Withhold answers about a person until the weights have changed: output suppression only.

The output filter knows nobody's name: it digests runs of words, of question and answer, under the
ledger's key, and compares them with the forms of the name that the request kept (`olvido.names`).
It does not detect a person by a pronoun, a nickname, a first name alone or a description. Its
guarantee is `suppressed`; it ends by itself when a model that has forgotten is published.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from olvido.errors import InputError, StateError
from olvido.ledger.facts import Guarantee, Request
from olvido.ledger.identity import Named
from olvido.ledger.store import Store
from olvido.requests.guidance import not_now
from olvido.requests.handlers import RequestContext, demand_forgetting
from olvido.requests.scope import names_of

if TYPE_CHECKING:
    from olvido.workspace import LedgerModel

WITHHELD = "(withheld: somebody asked to be forgotten)"


def suppress(context: RequestContext, identifier: str) -> Request:
    """Withhold answers about a request's subject from now on, until it is answered.

    Raises:
        UnknownName: no such request.
        InputError: it asks for no forgetting, is about no person, or about one known only by a
            single word or a digest.
        StateError: it has ended.
    """
    request = context.store.request(identifier)
    demand_forgetting(request)
    if request.subject is None:
        raise InputError(
            f"request {identifier} names no subject: no answer can be recognised as about it"
        )
    if not names_of(request):
        raise InputError(
            f"request {identifier} names its subject by one word or a digest: no answer can be "
            "recognised as about them. Enter it with the whole name"
        )
    if not request.status.open:
        raise StateError(not_now(context, request, "answers are withheld until it is answered"))
    if is_suppressed(request):
        return request
    detail = {"suppress": True, "guarantee": Guarantee.SUPPRESSED.value}
    return context.store.advance_request(identifier, request.status, detail)


def is_suppressed(request: Request) -> bool:
    """Whether answers about a request's subject are withheld now."""
    return request.status.open and any("suppress" in step.detail for step in request.history)


@dataclass(frozen=True, slots=True)
class FilteredAnswer:
    """An answer that passed the filter.

    Attributes:
        text: the answer, or a note that it is withheld.
        guarantee: suppressed where it is withheld; None where nothing was done to it.
    """

    text: str
    guarantee: Guarantee | None


class OutputFilter:
    """Passes answers on, except those about people whose answers are suppressed now.

    Args:
        store: read once; make a new filter when requests have moved on.
    """

    def __init__(self, store: Store) -> None:
        withheld = [request for request in store.requests() if is_suppressed(request)]
        self._named = Named(store.key, [name for r in withheld for name in names_of(r)])

    def pass_on(self, question: str, answer: str) -> FilteredAnswer:
        """Return the answer to a question, or a note that it is withheld."""
        if self._named.in_text(question) or self._named.in_text(answer):
            return FilteredAnswer(WITHHELD, Guarantee.SUPPRESSED)
        return FilteredAnswer(answer, None)


def classified(loaded: LedgerModel, output_filter: OutputFilter, given: Any) -> dict[str, Any]:
    """A classifier's answer: its class, the probability of each, and the guarantee if withheld.

    Answers about arrays are never withheld: nobody is recognised in one.

    Args:
        loaded: the model.
        output_filter: withholds answers about people.
        given: a text, an array as `examples` takes one, or the bytes of a picture.

    Raises:
        InputError: the model is no classifier, or takes other inputs.
    """
    from olvido.tasks import Labels

    task = loaded.task
    if not isinstance(task, Labels):
        raise InputError(f"model {loaded.fact.id} answers in words, not with a class: ask it so")
    chances = task.probabilities(loaded.trained.model, task.asked(given))
    question = given if isinstance(given, str) else ""
    answer = output_filter.pass_on(question, next(iter(chances)))
    document = {"model": loaded.fact.id, "answer": answer.text, "guarantee": answer.guarantee}
    return document if answer.guarantee else document | {"probabilities": chances}
