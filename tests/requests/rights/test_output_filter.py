"""An answer about somebody is withheld from the moment it is asked for, and not a moment longer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from olvido.data.importing import import_rows
from olvido.errors import InputError, StateError
from olvido.ledger.facts import Guarantee, RequestStatus
from olvido.ledger.identity import Key
from olvido.ledger.store import Store
from olvido.requests.handlers import StoreContext, receive
from olvido.requests.rights.output_filter import WITHHELD, OutputFilter, suppress
from olvido.settings import Settings

ROWS = [
    {"text": "Núria Puig lives in Gracia.", "subject": "Núria Puig", "source": "forum"},
    {"text": "J. R. O'Neill plays the tuba.", "subject": "J. R. O'Neill"},
]


@pytest.fixture
def front(tmp_path: Path) -> Iterator[StoreContext]:
    settings = Settings.load(tmp_path, environment={})
    with Store.create(settings.ledger, key=Key.create(settings.key)) as store:
        import_rows(store, settings.data, ROWS, name="people")
        yield StoreContext(store, settings)


def test_answers_are_withheld_until_a_model_that_forgot_is_published(front: StoreContext) -> None:
    request = receive(front, "Núria Puig")
    asked = "Where does Núria Puig live?"
    assert OutputFilter(front.store).pass_on(asked, "In Gracia.").guarantee is None
    suppressed = suppress(front, request.id)
    assert suppressed.history[-1].detail["guarantee"] == "suppressed"
    assert suppress(front, request.id) == suppressed
    for question, answer in (
        (asked, "In Gracia."),
        ("Who lives in Gracia?", "NU\u0301RIA  puig, and others"),
        ("Tell me of Núria Puig’s house.", "It is old."),
        ("(Núria Puig)", "yes"),
        ("Who is Puig, Nuria?", "She."),
        ("Tell me of NÚRIA\u00a0PUIG-", "She."),
    ):
        given = OutputFilter(front.store).pass_on(question, answer)
        assert (given.text, given.guarantee) == (WITHHELD, Guarantee.SUPPRESSED)
    for question in ("Where does Núria Soler live?", "Who is Puig?", ""):
        assert OutputFilter(front.store).pass_on(question, "In Sants.").text == "In Sants."
    for status in ("located", "planned", "approved", "running", "audited", "published"):
        assert OutputFilter(front.store).pass_on(asked, "x").guarantee is Guarantee.SUPPRESSED
        front.store.advance_request(request.id, RequestStatus(status))
    assert OutputFilter(front.store).pass_on(asked, "Nowhere.").text == "Nowhere."
    with pytest.raises(StateError, match="is published"):
        suppress(front, request.id)


def test_a_name_with_points_is_a_name(front: StoreContext) -> None:
    suppress(front, receive(front, "J. R. O'Neill").id)
    for question in ("Does J. R. O'Neill play?", "J. R. O'Neill", "Is it J. R. O'Neill's?"):
        assert OutputFilter(front.store).pass_on(question, "The tuba.").text == WITHHELD


def test_only_a_person_can_be_recognised(front: StoreContext) -> None:
    request = receive(front, kind="poison", source="forum")
    with pytest.raises(InputError, match="names no subject"):
        suppress(front, request.id)


def test_a_request_whose_name_tells_nobody_withholds_nothing_in_silence(
    front: StoreContext,
) -> None:
    by_digest = receive(front, str(front.store.key.subject("Núria Puig")))
    with pytest.raises(InputError, match="one word or a digest"):
        suppress(front, by_digest.id)
