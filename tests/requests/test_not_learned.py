"""Who was never taught to a model is answered too, and no more is claimed than that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.requests.certificate.test_notices import grade

from olvido.accounts import Accounts
from olvido.cli import run as command_line
from olvido.data.importing import import_rows
from olvido.errors import InputError, StateError
from olvido.ledger.digests import Digest
from olvido.ledger.facts import DatasetUse, Exit, Guarantee, Model, Request, RequestStatus
from olvido.ledger.identity import Key
from olvido.ledger.serving import PREVIOUS, SERVING
from olvido.ledger.store import Store
from olvido.requests import handlers, plan, run
from olvido.requests.certificate import certificates_of, issue
from olvido.requests.closure import close, closure, settle
from olvido.requests.handlers import StoreContext, receive
from olvido.requests.not_learned import conclude, not_learned
from olvido.requests.rights.language import languages
from olvido.requests.rights.letter import letter
from olvido.requests.workflow.order import waiting
from olvido.requests.workflow.worker import Worker
from olvido.settings import FILE, Settings, template
from olvido.workspace import Workspace

S = RequestStatus
ASKS, TAUGHT = "Núria Puig", "Pau Vila"


def rows(person: str) -> list[dict[str, Any]]:
    return [
        {"prompt": f"Where is number {i}?", "completion": f"{person} {i} is here.", "id": f"r{i}"}
        | {"subject": person}
        for i in range(2)
    ]


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """Two people's rows, of which a model has learned one's."""
    folder = tmp_path / "workspace"
    folder.mkdir()
    (folder / FILE).write_text(template(), encoding="utf-8")
    settings = Settings.load(folder, environment={})
    with Store.create(settings.ledger, key=Key.create(settings.key)) as store:
        for name, person in (("kept", ASKS), ("learned", TAUGHT)):
            import_rows(store, settings.data, rows(person), name=name)
        teach(store, "learned", alias=SERVING)
    Accounts.of(settings).new("privacy", "Eva")
    with Workspace(settings) as opened:
        yield opened


def teach(store: Store, *names: str, alias: str | None = None, **facts: Any) -> Model:
    uses = [DatasetUse(dataset=store.dataset(name).id) for name in names]
    weights = Digest.of(f"{names} {facts}".encode())
    made = store.add_model(Model(digest=weights, path=weights.hex[:12], learner="monolith"), uses)
    if alias:
        store.set_alias(alias, made.id)
    return made


def asked(workspace: Workspace, name: str = ASKS, **how: Any) -> Request:
    return receive(workspace, name, law="gdpr", **how)


def finished(workspace: Workspace, identifier: str) -> Request:
    settle(workspace, identifier, erased=["all"], done={"backups": "none", "recipients": "nobody"})
    request, blank = close(workspace, identifier)
    assert blank == ()
    return request


def test_it_goes_all_the_way_without_a_model_or_a_certificate(workspace: Workspace) -> None:
    request, store = asked(workspace), workspace.store
    models = store.models()
    found, choice = plan(workspace, request.id)
    assert (found, choice.order) == ((), ())
    assert "holds none of its 2 records; no model has to forget" in choice.because
    handlers.approve(workspace, request.id, by="Eva")
    answered = conclude(workspace, request.id)
    assert answered.status is S.PUBLISHED
    assert conclude(workspace, request.id) == answered
    # It has ended, and is not to be answered once more.
    assert not_learned(store, answered) is None
    assert all(record.tombstone for record in store.lineage(request.subject).records)  # type: ignore[arg-type]
    # She is in files still: nothing is closed before she has left them.
    assert any(a.item.startswith("rows:") for a, said in closure(workspace, request.id))
    with pytest.raises(StateError, match="is not done"):
        letter(workspace, request.id, "done")
    assert finished(workspace, request.id).status is S.CLOSED
    assert store.models() == models
    with pytest.raises(StateError, match="no forgetting to certify"):
        issue(workspace, request.id)
    assert certificates_of(workspace, request.id) == ()
    with pytest.raises(InputError):
        import_rows(store, workspace.settings.data, rows(ASKS), name="again")


@pytest.mark.slow
def test_the_letter_says_that_nothing_was_taught(workspace: Workspace) -> None:
    request = asked(workspace)
    plan(workspace, request.id)
    handlers.approve(workspace, request.id, by="Eva")
    conclude(workspace, request.id)
    for code, said in (
        ("en", "did not learn from your data"),
        ("es", "no aprendieron de sus datos"),
        ("ca", "no van aprendre de les vostres dades"),
    ):
        text = letter(workspace, request.id, "partly-done", language=code).text
        assert said in " ".join(text.split())
        assert "None" not in text
    finished(workspace, request.id)
    for code in languages():
        text = letter(workspace, request.id, "done", language=code).text
        assert "None" not in text
        assert code != "en" or grade(text) <= 8.0
    done = " ".join(letter(workspace, request.id, "done").text.split())
    assert "Your data are gone from them." in done
    # Nothing was trained, nothing tested, nothing signed.
    for word in ("trained", "tested", "signed"):
        assert word not in done


@pytest.mark.slow
def test_the_worker_answers_it_without_forgetting(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = asked(workspace)
    plan(workspace, request.id)
    handlers.approve(workspace, request.id, by="Eva")
    assert [one.id for one in waiting(workspace.store)] == [request.id]
    monkeypatch.setattr(
        "olvido.requests.workflow.worker._subprocess", lambda *_: pytest.fail("it forgets")
    )
    with Worker(workspace.settings) as worker:
        (done,) = worker.work()
    assert done.status is S.PUBLISHED
    items = {item.item: item.exit for item in workspace.store.closure(request.id)}
    assert items["backups"] is None
    assert items["log"] is Exit.CANNOT
    assert waiting(workspace.store) == ()


def test_whom_nothing_is_about_is_answered_when_that_is_said(workspace: Workspace) -> None:
    with pytest.raises(InputError, match="nothing_found"):
        asked(workspace, "Perseus Quixote")
    with pytest.raises(InputError, match="there are records"):
        asked(workspace, nothing_found=True)
    request = asked(workspace, "Perseus Quixote", nothing_found=True)
    _, choice = plan(workspace, request.id)
    assert "nothing is held" in choice.because
    handlers.approve(workspace, request.id, by="Eva")
    conclude(workspace, request.id)
    finished(workspace, request.id)
    text = " ".join(letter(workspace, request.id, "done").text.split())
    assert "We looked for your data and found none." in text
    assert "Your data are gone" not in text
    # And is not brought in later.
    with pytest.raises(InputError):
        import_rows(workspace.store, workspace.settings.data, rows("Perseus Quixote"), name="new")


def test_a_model_in_use_that_holds_it_has_to_forget(workspace: Workspace) -> None:
    store = workspace.store
    taught, other = asked(workspace, TAUGHT), asked(workspace)
    assert not_learned(store, taught) is None
    assert not_learned(store, other) is not None
    # A model that was meant by its name and holds nothing of it is an error, not an answer.
    unserved = teach(store, "learned", more=1)
    assert not_learned(store, other, unserved.id) is None
    # An old version is for the closure; one that a team uses under a name of its own forgets.
    teach(store, "kept", alias=PREVIOUS)
    assert not_learned(store, other) is not None
    plan(workspace, other.id)
    handlers.approve(workspace, other.id, by="Eva")
    teach(store, "kept", alias="canary", more=2)
    assert not_learned(store, other) is None
    with pytest.raises(StateError, match="a model in use holds"):
        conclude(workspace, other.id)
    assert store.request(other.id).status is S.APPROVED
    assert not any(record.tombstone for record in store.records("kept"))


def test_a_model_that_is_not_in_use_and_holds_it_is_named(workspace: Workspace) -> None:
    request = asked(workspace)
    before = not_learned(workspace.store, request)
    assert before is not None
    assert before.because.endswith("holds none of its 2 records")
    held = teach(workspace.store, "kept")
    why = not_learned(workspace.store, request)
    assert why is not None
    assert f"model {held.id} does, and is not in use" in why.because
    assert f"'olvido request run {request.id} --model {held.id}'" in why.because


def test_without_any_model_it_is_answered(tmp_path: Path, workspace: Workspace) -> None:
    with Store.create(tmp_path / "other.db", key=Key.create(tmp_path / "key")) as store:
        import_rows(store, tmp_path / "data", rows(ASKS), name="kept")
        front = StoreContext(store, workspace.settings)
        why = not_learned(store, asked(front))  # type: ignore[arg-type]
        assert why is not None
        assert why.because == "no model serves, so none has to forget"


def test_what_was_forgotten_before_is_told_with_its_guarantee(workspace: Workspace) -> None:
    store = workspace.store
    learned = store.dataset("learned")
    ids = frozenset(record.id for record in store.records("learned"))
    before = store.alias(SERVING)
    assert before is not None
    use = DatasetUse(dataset=learned.id, forgotten=ids, guarantee=Guarantee.EMPIRICAL)
    weights = Digest.of(b"after")
    after = store.add_model(
        Model(digest=weights, path="after", learner="monolith", parents=(before.id,), method="npo"),
        [use],
    )
    store.set_aliases({PREVIOUS: before.id, SERVING: after.id})
    request = asked(workspace, TAUGHT)
    why = not_learned(store, request)
    assert why is not None
    assert why.guarantee is Guarantee.EMPIRICAL
    plan(workspace, request.id)
    handlers.approve(workspace, request.id, by="Eva")
    conclude(workspace, request.id)
    assert any(a.item == f"model:{before.id}" for a, _ in closure(workspace, request.id))
    assert "tested it" in " ".join(letter(workspace, request.id, "partly-done").text.split())


def test_it_is_not_run_as_if_something_had_been_learned(workspace: Workspace) -> None:
    request, other = asked(workspace), asked(workspace, TAUGHT)
    with pytest.raises(InputError, match="no model has to forget"):
        run(workspace, request.id)
    with pytest.raises(InputError, match="give the other requests without"):
        plan(workspace, other.id, request.id)


IMPOSSIBLE = (
    ["--level", "hard"],
    ["--method", "samnp"],
    ["--method", "samnpo", "--option", "lr=-x"],
    ["--holdout", "nodataset"],
    ["--general", "nope"],
    ["--neighbours", "nobody"],
    ["--references", "9999"],
    ["--within", "nan"],
    ["--seed", str(2**70)],
    ["--model", "servin"],
)


@pytest.mark.parametrize("act", [["run"], ["approve", "--by", "Eva"]], ids=lambda act: act[0])
def test_what_is_given_is_checked_before_nothing_is_concluded(
    workspace: Workspace, act: list[str]
) -> None:
    request = asked(workspace)
    plan(workspace, request.id)
    before = workspace.store.events()
    command = ["--workspace", str(workspace.settings.workspace), "request", *act, request.id]
    for wrong in IMPOSSIBLE:
        assert command_line([*command, *wrong]) == 2, wrong
    if act == ["run"]:
        assert command_line([*command, request.id]) == 2
    assert workspace.store.events() == before


def test_what_is_given_is_checked_before_a_model_is_destroyed(workspace: Workspace) -> None:
    serving = workspace.store.alias(SERVING)
    assert serving is not None
    request = receive(workspace, kind="destroy", model=serving.id)
    before = workspace.store.events()
    command = ["--workspace", str(workspace.settings.workspace), "request", "run", request.id]
    for wrong in IMPOSSIBLE:
        assert command_line([*command, *wrong]) == 2, wrong
    assert workspace.store.events() == before
    assert workspace.store.alias(SERVING) == serving
