"""A request to a model whose base is known: planned from there, carried out, audited, certified."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.requests.conftest import RECIPE, Place, _learn
from tests.sharing import Shared

from olvido.audits import Verdict
from olvido.demo.residents import make_town
from olvido.files import read_document
from olvido.learners import train
from olvido.ledger.facts import RequestStatus
from olvido.models import load, save
from olvido.models.tiny import tiny_model, tiny_tokenizer
from olvido.requests import plan, receive, run
from olvido.requests.certificate import check
from olvido.requests.planner import ROOTED
from olvido.schemas.options import RunOptions
from olvido.schemas.plan import Base
from olvido.tasks import Language
from olvido.workspace import Workspace

HOW = RunOptions(references=2, holdout="outsiders", general="city")


@pytest.fixture(scope="module")
def rooted(shared: Shared) -> Place:
    """A model of the town on a base that another town taught to speak."""
    town = make_town(seed=0, residents=12, outsiders=8, wordings=3)

    def fill(folder: Path) -> None:
        tokenizer = tiny_tokenizer()
        fresh = tiny_model(len(tokenizer), seed=0, width=64, layers=2)
        rows = make_town(seed=1, residents=12, outsiders=0, wordings=3).rows()
        recipe = replace(RECIPE, epochs=10, lr=3e-3)
        taught = train(fresh, records=rows, task=Language(tokenizer), recipe=recipe)
        save(taught.model, tokenizer, folder / "base")
        recipe = replace(RECIPE, epochs=12, lr=3e-3)
        _learn(Place(folder / "workspace", town), folder / "base", recipe)

    return Place(shared.folder(fill) / "workspace", town)


@pytest.mark.slow
def test_a_request_begins_at_the_base_and_ends_as_the_audit_says(
    rooted: Place, opened: Callable[[Place], tuple[Place, Workspace]]
) -> None:
    """The plan takes the base and says so, what it gives is audited, and the certificate is that of
    the attempt that passed: never of one that failed."""
    place, workspace = opened(rooted)
    request = receive(workspace, place.town.data_subject.name, law="gdpr")
    _, choice = plan(workspace, request.id, how=HOW)
    assert [name for name, _ in choice.order] == [ROOTED, "retrain"]
    assert choice.chosen.base is Base.CLEAN
    assert choice.because.startswith(f"{ROOTED} (")
    done = run(workspace, request.id, how=HOW)
    first = done.attempts[0]
    assert first.method == ROOTED
    assert first.outcome is not None
    assert first.outcome.origin == load(rooted.folder.parent / "base").digest
    assert first.outcome.sketch is not None
    assert first.outcome.sketch not in {str(one.fact.digest) for one in done.references}
    assert first.outcome.forget_loss[1] > first.outcome.forget_loss[0] + 2
    assert first.report is not None
    assert first.report.level == "standard"
    assert first.passed == (first.report.verdict is Verdict.PASS)
    assert done.request.status is RequestStatus.PUBLISHED
    assert done.published is not None
    *failed, last = done.attempts
    assert last.passed
    assert not any(one.passed for one in failed)
    assert done.published.method == last.method
    assert [one["method"] for one in done.document["attempts"]] == [a.method for a in done.attempts]
    (certificate,) = done.certificates
    key = workspace.store.signer(workspace.settings.signing_key).public
    found = check(read_document(certificate), key)
    assert found.reasons == ()
    assert found.statement is not None
    assert found.statement["predicate"]["guarantee"]["class"] == last.outcome.guarantee.value
    # Where it is its model that is published, nobody enters its sketch as a reference later.
    assert done.published.recipe.get("sketch") == last.outcome.sketch
