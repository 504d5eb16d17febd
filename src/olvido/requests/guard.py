"""To withhold answers about a person while the weights are still to change: output, and no more.

The guard knows nobody's name: it digests every run of words, of question and answer, under the
ledger's key, and compares the digests with those whose answers are withheld. It does not know a
person by a pronoun, a nickname or a description. What it does is suppression and is called so; it
ends by itself when a model that has forgotten is published.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from olvido.errors import InputError, StateError
from olvido.ledger.facts import Guarantee, Request
from olvido.ledger.identity import Key
from olvido.ledger.store import Store
from olvido.requests.desk import Office

LONGEST = 8
"""Words of the longest name that is recognised."""

WITHHELD = "(withheld: somebody asked to be forgotten)"

_EDGES = ".,;:!?()[]{}<>\"'«»“”‘’¿¡…-–—"
_POSSESSIVES = ("'s", "’s")


def suppress(office: Office, identifier: str) -> Request:
    """Withhold answers about a request's subject from now on, until it is answered.

    Raises:
        UnknownName: no such request.
        InputError: it is about no person, whom alone a guard can recognise.
        StateError: it has ended.
    """
    request = office.store.request(identifier)
    if request.subject is None:
        raise InputError(
            f"request {identifier} names no subject: no answer can be told to be about it"
        )
    if not request.status.open:
        raise StateError(f"request {identifier} has ended: it is {request.status}")
    if is_suppressed(request):
        return request
    detail = {"suppress": True, "guarantee": Guarantee.SUPPRESSED.value}
    return office.store.advance_request(identifier, request.status, detail)


def is_suppressed(request: Request) -> bool:
    """Whether answers about a request's subject are withheld now."""
    return request.status.open and any("suppress" in step.detail for step in request.history)


@dataclass(frozen=True, slots=True)
class Answer:
    """What may be said.

    Attributes:
        text: the answer, or that it is withheld.
        guarantee: suppressed where it is withheld; None where nothing was done to it.
    """

    text: str
    guarantee: Guarantee | None


class Guard:
    """Lets answers through, but for those about people whose answers are withheld now.

    Args:
        store: read once; a guard that lasts is made anew when requests move on.
    """

    def __init__(self, store: Store) -> None:
        self._key = store.key
        self._withheld = frozenset(
            str(request.subject) for request in store.requests() if is_suppressed(request)
        )

    def pass_on(self, question: str, answer: str) -> Answer:
        """The answer to a question, if it may be given."""
        if self._withheld and any(
            name in self._withheld
            for text in (question, answer)
            for name in _names(text, self._key)
        ):
            return Answer(WITHHELD, Guarantee.SUPPRESSED)
        return Answer(answer, None)


def _names(text: str, key: Key) -> Iterator[str]:
    """The digest of every run of words that could be a name, with points and without."""
    raw = text.split()
    bare = [_bare(word) for word in raw]
    for first in range(len(raw)):
        for last in range(first + 1, min(first + LONGEST, len(raw)) + 1):
            run = " ".join(raw[first:last])
            for form in {run, _bare(run), " ".join(bare[first:last])}:
                if form.strip():
                    yield str(key.subject(form))


def _bare(word: str) -> str:
    stripped = word.strip(_EDGES)
    for ending in _POSSESSIVES:
        stripped = stripped.removesuffix(ending)
    return stripped
