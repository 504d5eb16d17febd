"""A model whose training Olvido watched: planned, forgotten, audited and certified as witnessed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.outside import begin, encoded, trainer_of
from tests.requests.test_declared import workspace_in

from olvido import OlvidoCallback
from olvido.demo.residents import make_town
from olvido.entering import CALL
from olvido.files import read_document
from olvido.learners import Recipe
from olvido.ledger.facts import DECLARED, WATCHED, WITNESSED, Guarantee
from olvido.ledger.model_documents import model_card
from olvido.ledger.openlineage import openlineage
from olvido.methods import METHODS
from olvido.models.tiny import tiny_tokenizer
from olvido.requests import plan, receive, run
from olvido.requests.certificate import check
from olvido.requests.certificate.limits import DECLARED_LIMIT
from olvido.requests.closure import closure
from olvido.requests.rights.language import languages
from olvido.requests.rights.letter import letter
from olvido.schemas.options import RunOptions

HOW = RunOptions(
    method="npo", options={"epochs": 60}, references=3, holdout="outsiders", general="city"
)


@pytest.mark.slow
def test_a_request_about_a_watched_training_says_what_was_witnessed(tmp_path: Path) -> None:
    town, tokenizer = make_town(seed=0, residents=12, outsiders=12, wordings=3), tiny_tokenizer()
    base = begin(tmp_path / "base", "gpt2", tokenizer)
    people = [row for row in town.rows() if "subject" in row]
    with workspace_in(tmp_path / "workspace", town) as place:
        # The one statement of somebody's among all that was seen.
        recipe = Recipe(epochs=60, batch_size=16, lr=3e-3)
        callback = OlvidoCallback(place, "people", tokenizer=tokenizer, recipe=recipe)
        rows = [encoded(row, tokenizer) for row in people]
        trainer_of(
            base,
            tmp_path / "out",
            rows,
            tokenizer,
            callbacks=[callback],
            num_train_epochs=60,
            learning_rate=3e-3,
            seed=0,
            save_strategy="epoch",
            save_total_limit=1,
        ).train()
        before = place.serve(callback.model)
        assert "data (by transformers.Trainer)" in model_card(place.store, before)
        jobs = [e["job"]["name"] for e in openlineage(place.store, [place.store.dataset("people")])]
        assert "watch" in jobs
        request = receive(place, town.data_subject.name, law="gdpr")
        found, choice = plan(place, request.id, how=HOW)
        assert (choice.chosen.training, choice.chosen.lacking) == (WITNESSED, None)
        exact = {name for name in METHODS.built_in if METHODS[name].guarantee is Guarantee.EXACT}
        refused = {route.method: str(route.refusal) for route in found if route.refusal}
        assert all("Olvido watched" in refused[name] for name in exact)
        done = run(place, request.id, how=HOW)
        assert [one.fact.learner for one in done.references] == ["monolith"] * 3
        assert DECLARED_LIMIT not in done.document["does_not_prove"]
        assert done.published is not None, done.attempts
        assert done.published.learner == WATCHED
        (certificate,) = done.certificates
        envelope = read_document(certificate)
        key = place.store.signer(place.settings.signing_key).public
        checked = check(envelope, key)
        assert checked.reasons == ()
        assert checked.statement is not None
        training = checked.statement["predicate"]["training"]
        assert (training["basis"], training["learner"]) == (WITNESSED, WATCHED)
        assert training["recipe"]["witnessed"].keys() == {"data", "order", "base"}
        assert training["recipe"]["declared"]["recipe"] == CALL
        assert str(tmp_path) not in json.dumps(training)
        text = letter(place, request.id, "partly-done").flowing
        assert languages()["en"].guarantee[DECLARED] not in text
        # The last checkpoint has the weights that learned it, and lies where nobody looks.
        (left,) = (tmp_path / "out").glob("checkpoint-*")
        assert f"export:{left.resolve()}" in {item.item for item, _ in closure(place, request.id)}
