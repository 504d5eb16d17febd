"""What a private training promised answers a request: signed, in plain words, and nothing more.

The workspace is made of facts alone: nothing is trained here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from olvido.data.importing import import_rows
from olvido.errors import InputError, Overtaken, StateError
from olvido.files import read_document
from olvido.ledger.digests import Digest
from olvido.ledger.facts import (
    PRIVATE,
    DatasetUse,
    Ending,
    Exit,
    Guarantee,
    Model,
    Request,
    RequestStatus,
)
from olvido.ledger.identity import Key
from olvido.ledger.lineage import Holding
from olvido.ledger.serving import SERVING, serve
from olvido.ledger.signing import public_file
from olvido.ledger.store import Store
from olvido.requests import receive
from olvido.requests.certificate import check, issue
from olvido.requests.certificate.issue import statement_core
from olvido.requests.closure.inventory import OUTSIDE
from olvido.requests.handlers import StoreContext
from olvido.requests.not_learned import certify, not_learned
from olvido.requests.rights.letter import fitting, letter, state_of
from olvido.schemas.plan import Chosen, Promise
from olvido.settings import Settings
from olvido.training.private.accounting import FALSE_POSITIVES, Spent

from .conftest import PERSON, ROWS, Case

SPENT = Spent(
    epsilon=0.5,
    delta=1e-3,
    unit="subject",
    units=100,
    accountant="rdp",
    rate=0.1,
    noise=4.0,
    clip=1.0,
    steps=10,
    most=8,
)


def promise_of(spent: Spent = SPENT, **changed: Any) -> Promise:
    bound = spent.of_group(1)
    found = Promise(
        refusal=None,
        units=1,
        epsilon=bound.epsilon,
        delta=bound.delta,
        accountant=spent.accountant,
        false_positives=FALSE_POSITIVES,
        true_positives=bound.true_positives(),
        limit=1.0,
        suffices=True,
        says="as promised",
    )
    return found.model_copy(update=changed)


def chosen(promise: Promise | None = None, **changed: Any) -> Chosen:
    found = Chosen(order=(), because="it stays", promise=promise or promise_of(), unchanged=True)
    return found.model_copy(update=changed)


@dataclass
class Place:
    """A ledger whose serving model was trained privately, with an approved request."""

    context: StoreContext
    model: Model
    request: Request

    @property
    def store(self) -> Store:
        return self.context.store

    def certified(self, **changed: Any) -> Request:
        given: dict[str, Any] = {"served": True} | changed
        return certify(self.context, self.request.id, self.model.id, chosen(), **given)

    def state(self, model: Model) -> Holding:
        found = self.store.lineage(self.store.key.subject(PERSON))
        return next(s for s in found.models if s.model.id == model.id).holding

    def closed(self, language: str = "en") -> str:
        """The letter once its closure is whole."""
        found = {"rows:0123456789abcdef": Ending(Exit.ERASED, "3 rows removed"), **OUTSIDE_DONE}
        self.store.put_closure(self.request.id, found)
        self.store.advance_request(self.request.id, RequestStatus.CLOSED)
        issue(self.context, self.request.id)
        return letter(self.context, self.request.id, "done", language=language).text


OUTSIDE_DONE = {name: Ending(Exit.ERASED, "looked through") for name in OUTSIDE}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    settings = Settings.load(tmp_path / "workspace", environment={})
    store = Store.create(settings.ledger, key=Key.create(settings.key))
    dataset = import_rows(store, settings.data, ROWS, name="people").dataset
    made = Model(
        digest=Digest.of(b"private"),
        function=Digest.of(b"function"),
        path="private",
        learner=PRIVATE,
        recipe={"epochs": 1, "privacy": SPENT.to_dict()},
        environment={"torch": "2.13.0"},
    )
    model = store.add_model(made, [DatasetUse(dataset=dataset.id)])
    serve(store, model.id)
    context = StoreContext(store, settings)
    request = receive(context, PERSON, law="gdpr")
    for status in ("located", "planned", "approved"):
        request = store.advance_request(request.id, RequestStatus(status))
    return Place(context, model, request)


def test_the_model_stays_and_no_longer_counts_as_holding(place: Place) -> None:
    request = place.certified()
    assert request.status is RequestStatus.PUBLISHED
    assert place.store.aliases()[SERVING] == place.model.id
    assert [model.id for model in place.store.models()] == [place.model.id]
    assert place.state(place.model) is Holding.FORGOTTEN
    (use,) = place.store.uses(place.model.id)
    assert (use.forgotten, use.guarantee) == ({"r0", "r1", "r2"}, Guarantee.CERTIFIED)
    assert {r.id for r in place.store.tombstoned("people")} == {"r0", "r1", "r2"}
    # Called again after a crash, it changes nothing; the log says it once, and holds.
    assert place.certified() == request
    assert len(place.store.events("records-certified")) == 1
    assert place.store.verify_log().sound
    assert not place.store.differences()
    # The same person again: it was answered, and nobody else was.
    again = receive(place.context, PERSON, law="gdpr")
    found = not_learned(place.store, again)
    assert found is not None
    assert found.guarantee is Guarantee.CERTIFIED
    other = receive(place.context, "person 5", law="gdpr")
    assert not_learned(place.store, other) is None
    serve(place.store, place.model.id)


def test_its_certificate_is_believed_by_both_and_says_what_it_bounds(
    place: Place, second: ModuleType
) -> None:
    place.certified()
    path = issue(place.context, place.request.id)
    assert issue(place.context, place.request.id) == path
    envelope, key = read_document(path), place.store.signer(place.context.settings.signing_key)
    pem = public_file(place.context.settings.signing_key).read_bytes()
    weights = str(place.model.digest)
    checked = check(envelope, key.public, weights)
    assert (checked.reasons, second.check(envelope, pem, weights)) == ((), [])
    assert checked.statement is not None
    found = checked.statement["predicate"]
    assert found["guarantee"]["class"] == "certified"
    bound = found["guarantee"]["bound"]
    assert (bound["epsilon"], bound["delta"], bound["units"]) == (SPENT.epsilon, SPENT.delta, 1)
    assert bound["true_positives"] == SPENT.of_group(1).true_positives(0.01)
    assert found["models"]["before"] == found["models"]["after"]
    assert (found["method"]["name"], found["audit"], found["report"]) == ("private", None, None)
    assert found["forgotten"]["count"] == 3
    assert any("taken out of the weights" in line for line in found["not_proven"])
    assert checked.replay is None


CLAIMED = ("guarantee", "bound")
ALTERED: dict[tuple[str, ...], Any] = {
    (*CLAIMED, "epsilon"): 0.4,
    (*CLAIMED, "delta"): 1e-4,
    (*CLAIMED, "unit"): "record",
    (*CLAIMED, "units"): 2,
    (*CLAIMED, "relation"): "replace one unit",
    (*CLAIMED, "accountant"): "prv",
    (*CLAIMED, "false_positives"): 0.001,
    (*CLAIMED, "true_positives"): 0.011,
    CLAIMED: None,
    ("guarantee", "class"): "exact",
    ("method", "name"): "replay",
    ("models", "after", "id"): "0123456789ab",
    ("models", "after", "weights"): str(Digest.of(b"others")),
    ("training", "learner"): "monolith",
    ("training", "recipe", "privacy", "epsilon"): 0.4,
    ("training", "recipe", "privacy", "secret"): False,
    ("training", "recipe", "privacy"): None,
    ("forgotten", "count"): 2,
    ("report",): str(Digest.of(b"report")),
    ("not_proven",): [],
}


def test_each_altered_part_is_refused_by_both_though_signed_again(
    place: Place, second: ModuleType
) -> None:
    core = statement_core(place.context, place.certified())
    dishonest = Case(place.context, {})  # type: ignore[arg-type]
    unaltered = dishonest.reissued(core)
    pem = public_file(place.context.settings.signing_key).read_bytes()
    assert not check(unaltered, dishonest.key.public).reasons
    assert not second.check(unaltered, pem)
    for (*way, last), value in ALTERED.items():
        changed = copy.deepcopy(core)
        inside: Any = changed
        for name in way:
            inside = inside[name]
        inside[last] = value
        envelope = dishonest.reissued(changed)
        assert check(envelope, dishonest.key.public).reasons, (*way, last)
        assert second.check(envelope, pem), (*way, last)


def test_nothing_is_certified_where_the_ledger_says_otherwise(place: Place) -> None:
    request = place.certified()
    core = statement_core(place.context, request)
    assert core["guarantee"]["bound"]["epsilon"] == SPENT.epsilon
    from sqlalchemy import text

    with place.store._engine.begin() as connection:
        connection.execute(text("update uses set guarantee = 'exact'"))
    with pytest.raises(StateError, match="ledger is not"):
        issue(place.context, request.id)


@pytest.mark.parametrize("language", ["en", "es", "ca"])
def test_the_letter_says_that_nothing_was_changed_and_what_may_be_found_out(
    place: Place, language: str
) -> None:
    place.certified()
    assert state_of(place.context, place.store.request(place.request.id)) == "certified"
    text = " ".join(place.closed(language).split())
    assert {"en": "not change the model", "es": "No hemos cambiado", "ca": "No hem canviat"}[
        language
    ] in text
    # One in a hundred, and what the bound allows then, rounded up.
    right = SPENT.of_group(1).true_positives(0.01)
    assert right == pytest.approx(0.0175, abs=1e-4)
    assert "1.8" in text
    assert fitting(place.context, place.store.request(place.request.id)) == ("done",)


def refused(place: Place, match: str, kind: type[Exception], **given: Any) -> None:
    before = place.store.request(place.request.id), place.store.events_count()
    options: dict[str, Any] = {"served": True, "said": chosen(), "model": place.model.id} | given
    said, model = options.pop("said"), options.pop("model")
    with pytest.raises(kind, match=match):
        certify(place.context, place.request.id, model, said, **options)
    assert (place.store.request(place.request.id), place.store.events_count()) == before


def test_only_a_plan_that_suffices_answers(place: Place) -> None:
    short = chosen(promise_of(suffices=False))
    for said in (short, chosen(unchanged=False), replaced(promise=None)):
        refused(place, "changes the model", StateError, said=said)


def replaced(**changed: Any) -> Chosen:
    return chosen().model_copy(update=changed)


def test_another_serving_model_is_planned_again(place: Place) -> None:
    other = place.store.add_model(
        replace(place.model, digest=Digest.of(b"other"), path="other", seed=1)
    )
    place.store.set_alias(SERVING, other.id)
    refused(place, "serves by now", Overtaken)
    # Asked for by its id it need not serve.
    assert place.certified(served=False).status is RequestStatus.PUBLISHED


def test_a_model_that_is_gone_bounds_nothing(place: Place) -> None:
    place.store.tombstone_model(place.model.id, "destroyed")
    refused(place, "is gone", StateError, served=False)


Child = Callable[[Place, str | None], Model]


def child(place: Place, method: str | None, **use: Any) -> Model:
    """A model made from the private one, by a method or by further training."""
    own = [DatasetUse(dataset=place.store.dataset("people").id, **use)] if use else []
    made = Model(
        digest=Digest.of(f"child {method}".encode()),
        path=f"child-{method}",
        learner=PRIVATE if method else "monolith",
        parents=(place.model.id,),
        method=method,
    )
    return place.store.add_model(made, own)


def test_the_bound_holds_for_what_is_trained_from_the_model_without_the_records(
    place: Place,
) -> None:
    """Closed under post-processing (Dwork and Roth 2014, proposition 2.1)."""
    further = child(place, None)
    place.certified()
    assert place.state(further) is Holding.FORGOTTEN


def test_it_does_not_hold_for_what_read_the_records(place: Place) -> None:
    # A method reads what is retained: so this person's records, while somebody else was forgotten.
    other = child(place, "npo", forgotten=frozenset({"r5"}), guarantee=Guarantee.EMPIRICAL)
    learned = child(place, None, excluded=frozenset({"r5"}))
    place.certified()
    assert place.state(other) is Holding.HOLDS
    assert place.state(learned) is Holding.HOLDS


def test_records_that_a_training_left_out_are_not_certified(place: Place) -> None:
    dataset = place.store.dataset("people").id
    left = child(place, None, excluded=frozenset({"r0"}))
    for model, gone, why in (
        (left.id, {"r0"}, "did not learn"),
        (child(place, "npo", forgotten=frozenset({"r5"}), guarantee=Guarantee.EMPIRICAL).id,
         {"r1"}, "made by forgetting"),
    ):  # fmt: skip
        use = DatasetUse(dataset=dataset, forgotten=frozenset(gone), guarantee=Guarantee.CERTIFIED)
        before = place.store.events_count()
        with pytest.raises(InputError, match=why):
            place.store.certify_records(model, [use], request="req-0001")
        assert place.store.events_count() == before
