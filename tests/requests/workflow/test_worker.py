"""Whatever is killed, and wherever: no request lost, no second version, nothing falsely closed.

The worker runs as it is run by people, in a process of its own that is ended by SIGKILL.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.launching import FORKS, IMPORTED

from olvido.accounts import Accounts
from olvido.cli import run
from olvido.errors import InputError, StateError
from olvido.files import locked
from olvido.ledger.digests import Digest
from olvido.ledger.facts import Model, Request, RequestStatus
from olvido.ledger.identity import Key
from olvido.ledger.lineage import Holding
from olvido.ledger.store import Store, engine, schema
from olvido.requests import handlers
from olvido.requests.handlers import StoreContext, receive
from olvido.requests.publishing import Prepared
from olvido.requests.workflow.forgetting import WORK, write_result
from olvido.requests.workflow.order import ordered, successor, waiting
from olvido.requests.workflow.worker import Worker
from olvido.schemas.options import RunOptions
from olvido.settings import Settings

S = RequestStatus
POINTS = (
    "before forget",
    "after forget",
    "before publish",
    "after publish",
    "before closure",
    "after closure",
    "before certify",
    "after certify",
)


STEPS = {
    "forget": "_forgotten",
    "publish": "_published",
    "closure": "_closed",
    "certify": "_certified",
}
FORKS.set_forkserver_preload(
    [
        *IMPORTED,
        "olvido.requests.flow",
        "olvido.requests.closure",
        "olvido.requests.certificate",
        "dbos",
        "sqlalchemy.dialects.postgresql",
        __name__,
    ]
)


@pytest.fixture
def settings(brief: Any, tmp_path: Path) -> Settings:
    """A town whose leaver has asked, with the plan approved: to be retrained without her."""
    shutil.copytree(brief.folder, tmp_path / "workspace")
    (tmp_path / "workspace" / "olvido.toml").write_text("threads = 1\n")
    settings = Settings.load(tmp_path / "workspace", environment={})
    with opened(settings) as store:
        front = StoreContext(store, settings)
        for person in ("Eva", "Pol"):
            Accounts.of(settings).new("privacy", person)
        request = receive(front, brief.town.data_subject.name, law="gdpr")
        for status in (S.LOCATED, S.PLANNED):
            store.advance_request(request.id, status)
        order = RunOptions(model=store.model("serving").id, method="retrain")
        handlers.approve(front, request.id, by="Eva", order=order)
    return settings


@pytest.fixture
def on_postgres(settings: Settings, new_database: Callable[[], str]) -> Settings:
    """The same with its ledger, every row of it, in Postgres; DBOS keeps its tables there too."""
    url = new_database()
    old, new = (engine.connect(engine.database_url(place)) for place in (settings.ledger, url))
    engine.migrate(new)
    with (
        engine.transaction(old, writing=False) as source,
        engine.transaction(new, writing=True) as target,
    ):
        for table in schema.metadata.sorted_tables:
            rows = [dict(row) for row in source.execute(table.select()).mappings()]
            if rows:
                target.execute(table.insert(), rows)
    Path(settings.ledger).unlink()
    toml = settings.workspace / "olvido.toml"
    toml.write_text(f"{toml.read_text()}ledger = {json.dumps(url)}\n")
    return Settings.load(settings.workspace, environment={})


def opened(settings: Settings) -> Store:
    return Store.open(settings.ledger, key=Key.load(settings.key))


class Process:
    """`olvido run` in a process of its own, ended by itself at a point if one is named."""

    def __init__(self, settings: Settings, kill: str | None) -> None:
        self._said = [Path(tempfile.mkstemp(dir=settings.workspace.parent)[1]) for _ in range(2)]
        self._process = FORKS.Process(
            target=run_worker, args=(settings.workspace, self._said, kill)
        )
        self._process.start()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it said and wrote, once it has ended."""
        self._process.join(timeout)
        assert self.returncode is not None, "it did not end"
        out, err = (path.read_text("utf-8") for path in self._said)
        return out, err


def run_worker(workspace: Path, said: list[Path], kill: str | None) -> None:
    """The command in this process.

    With `kill` it ends as by kill -9, right before a step does anything or right after it did all.
    """
    for descriptor, path in enumerate(said, 1):
        os.dup2(os.open(path, os.O_WRONLY), descriptor)
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), line_buffering=True)
    sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), line_buffering=True)
    for name in [name for name in os.environ if name.startswith("OLVIDO_")]:
        del os.environ[name]
    if kill is not None:
        when, step = kill.split()
        real = getattr(Worker, STEPS[step])

        def killed(self: Worker, *args: Any) -> None:
            if when == "after":
                real(self, *args)
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(Worker, STEPS[step], killed)
    sys.exit(run(["--workspace", str(workspace), "run", "--json"]))


def start(settings: Settings, *, kill: str | None = None) -> Process:
    """A worker that has begun."""
    return Process(settings, kill)


def look(settings: Settings) -> tuple[Request, int, str]:
    """The request, how many models there are, and which serves; all of it sound."""
    with opened(settings) as store:
        assert store.verify_log().sound
        (request,) = store.requests()
        return request, len(store.models()), store.aliases()["serving"]


def require_unfinished(settings: Settings, before: str) -> None:
    """After a crash: the request is there, open or published, and there is one version or two."""
    request, models, serving = look(settings)
    assert request.status in (S.APPROVED, S.RUNNING, S.AUDITED, S.PUBLISHED)
    assert models in (1, 2)
    if request.status in (S.APPROVED, S.RUNNING):
        assert (models, serving) == (1, before)


def require_answered(settings: Settings, before: str, name: str) -> None:
    """One new version serves, which never learned her; what else holds her is listed, and blank."""
    request, models, serving = look(settings)
    assert (request.status, models) == (S.PUBLISHED, 2)
    assert serving != before
    counts = [step.status for step in request.history]
    assert (counts.count(S.PUBLISHED), counts.count(S.CLOSED)) == (1, 0)
    with opened(settings) as store:
        assert store.aliases() == {"serving": serving, "previous": before}
        lineage = store.lineage(store.key.subject(name))
        states = {state.model.id: state.holding for state in lineage.models}
        assert states == {before: Holding.HOLDS, serving: Holding.WITHOUT}
        assert all(record.tombstone for record in lineage.records)
        items = {item.item: item.exit for item in store.closure(request.id)}
        assert items[f"model:{before}"] is None
        assert {"backups", "recipients", "log"} < set(items)
        assert waiting(store) == ()
    folders = {path.name for path in settings.models.iterdir()}
    assert folders == {before, serving}
    assert not list((settings.workspace / WORK).glob("*.json"))
    assert len(list(settings.certificates.iterdir())) == 1
    assert json.loads((settings.reports / f"{request.id}.json").read_text())["verdict"] == "pass"


@pytest.mark.slow
def test_killed_at_every_boundary_it_goes_on_by_itself(settings: Settings, brief: Any) -> None:
    _, _, before = look(settings)
    for point in POINTS:
        process = start(settings, kill=point)
        _, err = process.communicate(timeout=300)
        assert process.returncode == -signal.SIGKILL, (point, err)
        require_unfinished(settings, before)
    done = start(settings)
    out, err = done.communicate(timeout=300)
    assert done.returncode == 0, err
    require_answered(settings, before, brief.town.data_subject.name)
    (answered,) = json.loads(out)["requests"]
    assert answered["status"] == "published"


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_by_itself(settings: Settings, brief: Any) -> None:
    _, _, before = look(settings)
    chance = random.Random(1)
    for _ in range(3):
        process = start(settings)
        time.sleep(chance.uniform(0.5, 6.0))
        process.kill()
        process.communicate()
        require_unfinished(settings, before)
    done = start(settings)
    _, err = done.communicate(timeout=300)
    assert done.returncode == 0, err
    require_answered(settings, before, brief.town.data_subject.name)


def test_killed_on_postgres_it_goes_on_by_itself(on_postgres: Settings, brief: Any) -> None:
    _, _, before = look(on_postgres)
    process = start(on_postgres)
    # In the midst of forgetting, as a rule.
    time.sleep(random.Random(2).uniform(2.0, 4.0))
    process.kill()
    process.communicate()
    require_unfinished(on_postgres, before)
    process = start(on_postgres, kill="after publish")
    _, err = process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL, err
    require_unfinished(on_postgres, before)
    done = start(on_postgres)
    _, err = done.communicate(timeout=300)
    assert done.returncode == 0, err
    require_answered(on_postgres, before, brief.town.data_subject.name)
    # Neither the ledger nor what DBOS remembers fell back to files.
    assert not list(on_postgres.workspace.rglob("*.db"))


def approved(settings: Settings, name: str, **order: Any) -> str:
    """Another request, with the same order as the first unless said otherwise."""
    with opened(settings) as store:
        front = StoreContext(store, settings)
        request = receive(front, name, law="gdpr")
        for status in (S.LOCATED, S.PLANNED):
            store.advance_request(request.id, status)
        same = {"model": store.model("serving").id, "method": "retrain"} | order
        handlers.approve(front, request.id, by="Eva", order=RunOptions(**same))
        return request.id


@pytest.mark.slow
def test_who_is_approved_together_is_answered_together_whatever_is_killed(
    settings: Settings, brief: Any
) -> None:
    names = [brief.town.data_subject.name, brief.town.residents[1].name]
    assert names[0] != names[1]
    second = approved(settings, names[1])
    process = start(settings, kill="after publish")
    _, err = process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL, err
    done = start(settings)
    out, err = done.communicate(timeout=300)
    assert done.returncode == 0, err
    assert {one["id"] for one in json.loads(out)["requests"]} == {"req-0001", second}
    with opened(settings) as store:
        # One forgetting, one new version, and nobody in it.
        assert len(store.models()) == 2
        serving = store.aliases()["serving"]
        for name in names:
            states = {s.model.id: s.holding for s in store.lineage(store.key.subject(name)).models}
            assert states[serving] is Holding.WITHOUT
        for request in store.requests():
            assert request.status is S.PUBLISHED
            assert [step.status for step in request.history].count(S.RUNNING) == 1
            assert {item.item for item in store.closure(request.id)} > {"backups", "recipients"}
            report = json.loads((settings.reports / f"{request.id}.json").read_text())
            assert report["together"] == ["req-0001", second]
        assert store.verify_log().sound
    assert len(list(settings.certificates.iterdir())) == 2
    assert not list((settings.workspace / WORK).glob("*.json"))


@pytest.mark.slow
def test_where_one_of_several_is_called_off_the_other_begins_again(
    settings: Settings, brief: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = approved(settings, brief.town.residents[1].name)
    answered: list[list[str]] = []

    def forget(_: Any, identifier: str) -> str:
        with opened(settings) as store:
            together = [request.id for request in waiting(store)]
            assert identifier == together[0]
            for one in together:
                store.advance_request(one, S.RUNNING)
            if second in together:
                handlers.cancel(StoreContext(store, settings), second, why="withdrawn")
        answered.append(together)
        return nothing_done(settings, identifier, together)

    replaced(monkeypatch, forget)
    with Worker(settings) as worker:
        (done,) = worker.work()
    assert answered == [["req-0001", second], ["req-0001"]]
    assert (done.id, done.status) == ("req-0001", S.NEEDS_INPUT)
    with opened(settings) as store:
        assert store.request(second).status is S.CANCELLED


@pytest.mark.slow
def test_who_waited_leaves_the_model_that_serves_by_then(settings: Settings) -> None:
    with opened(settings) as store:
        first = store.model("serving")

        def made(name: str, parent: str, **how: Any) -> str:
            fact = Model(
                digest=Digest.of(name.encode()),
                path=name,
                learner="monolith",
                parents=(parent,),
                **how,
            )
            return store.add_model(fact).id

        assert successor(store, first.id) == successor(store, "serving") == first.id
        once = made("once", first.id, method="retrain")
        twice = made("twice", once, method="npo")
        store.set_alias("serving", twice)
        assert {successor(store, model) for model in (first.id, once, twice, "serving")} == {twice}
        # A further training is another model, and what was ordered of the first is of the first.
        trained = made("trained", twice)
        store.set_alias("serving", trained)
        assert successor(store, first.id) == first.id
        assert successor(store, trained) == trained


def nothing_done(settings: Settings, identifier: str, together: list[str]) -> str:
    """Write what a forgetting that changed no model would have, under the name it would have."""
    document = {"requests": together, "model": None, "uses": [], "method": None}
    document |= {"verdicts": [], "documents": {one: {} for one in together}, "served": True}
    with opened(settings) as store:
        return write_result(StoreContext(store, settings), identifier, document)


def replaced(monkeypatch: pytest.MonkeyPatch, forget: Callable[..., str]) -> None:
    monkeypatch.setattr("olvido.requests.workflow.worker._subprocess", forget)


@pytest.mark.slow
@pytest.mark.parametrize("error", [InputError, OSError])
def test_what_cannot_go_on_needs_a_decision_and_says_why(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def refuse(*_: Any) -> str:
        raise error("the model holds nothing of hers")

    replaced(monkeypatch, refuse)
    with Worker(settings) as worker:
        (done,) = worker.work()
    assert done.status is S.NEEDS_INPUT
    assert done.history[-1].detail["why"] == "the model holds nothing of hers"
    with opened(settings) as store:
        front = StoreContext(store, settings)
        assert waiting(store) == ()
        # Somebody decides: the plan is approved anew, and that is another workflow.
        handlers.resume(front, done.id)
        handlers.approve(front, done.id, by="Pol", order=RunOptions(model="serving"))
        assert [request.id for request in waiting(store)] == [done.id]


@pytest.mark.slow
def test_what_is_called_off_meanwhile_is_not_published(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forget(_: Any, identifier: str) -> str:
        with opened(settings) as store:
            store.advance_request(identifier, S.RUNNING)
            handlers.cancel(StoreContext(store, settings), identifier, why="withdrawn")
        return nothing_done(settings, identifier, [identifier])

    replaced(monkeypatch, forget)
    before = look(settings)
    with Worker(settings) as worker:
        (done,) = worker.work()
    assert done.status is S.CANCELLED
    assert look(settings)[1:] == before[1:]
    assert not (settings.reports / f"{done.id}.json").exists()


@pytest.mark.slow
def test_what_was_begun_before_another_version_was_published_is_begun_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever was answered meanwhile is in what was made, and is not served again."""
    _, _, before = look(settings)
    made = Model(
        digest=Digest.of(b"made"),
        path="made",
        learner="monolith",
        parents=(before,),
        method="retrain",
    )
    begun: list[str] = []

    def forget(_: Any, identifier: str) -> str:
        with opened(settings) as store:
            begun.append(store.aliases()["serving"])
            store.advance_request(identifier, S.RUNNING)
            if len(begun) > 1:
                return nothing_done(settings, identifier, [identifier])
            folder = settings.models / made.path
            shutil.copytree(settings.models / store.model(before).path, folder)
            fact = replace(made, digest=Digest.of(b"another"), path="another")
            store.set_alias("serving", store.add_model(fact).id)
            document = {
                "attempts": [{"method": "retrain", "outcome": {"guarantee": "exact"}}],
                "digest": {"after": str(made.digest)},
            }
            ready = Prepared(
                (identifier,), made, (), "retrain", (True,), {identifier: document}, served=True
            )
            return write_result(StoreContext(store, settings), identifier, ready.to_dict())

    replaced(monkeypatch, forget)
    with Worker(settings) as worker:
        (done,) = worker.work()
    assert done.status is S.NEEDS_INPUT  # nothing passed the second time, and that is told
    with opened(settings) as store:
        assert begun == [before, store.aliases()["serving"]]
        assert made.id not in {model.id for model in store.models()}
        assert store.verify_log().sound
    assert not (settings.models / made.path).exists()


@pytest.mark.slow
def test_nothing_is_published_while_somebody_else_forgets(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[bool] = []

    def forget(_: Any, identifier: str) -> str:
        with opened(settings) as store:
            store.advance_request(identifier, S.RUNNING)
        return nothing_done(settings, identifier, [identifier])

    def publish(*_: Any) -> None:
        try:
            with locked(settings.workspace / WORK / ".forgetting.lock", busy="taken"):
                held.append(False)
        except StateError:
            held.append(True)

    replaced(monkeypatch, forget)
    monkeypatch.setattr("olvido.requests.publishing.publish", publish)
    with Worker(settings) as worker:
        monkeypatch.setattr(worker, "_closed", lambda _: None)
        monkeypatch.setattr(worker, "_certified", lambda _: None)
        worker._published("req-0001", forget(settings, "req-0001"))
    assert held == [True]


def test_one_worker_at_a_time(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    replaced(monkeypatch, lambda *_: pytest.fail("nothing is begun"))
    with opened(settings) as store:
        handlers.cancel(StoreContext(store, settings), "req-0001", why="withdrawn")
    with Worker(settings) as worker:
        with pytest.raises(StateError, match="another worker"):
            Worker(settings)
        assert worker.work() == ()


def test_an_order_is_read_as_it_was_approved(settings: Settings) -> None:
    with opened(settings) as store:
        request = store.request("req-0001")
        order = ordered(request)
        assert order is not None
        assert order == RunOptions(model=store.model("serving").id, method="retrain")
        assert RunOptions.read(order.to_dict()) == order
        store.advance_request(request.id, S.APPROVED, {"order": {"modle": "x"}})
        with pytest.raises(InputError, match="cannot be read"):
            ordered(store.request(request.id))


@pytest.mark.slow
def test_it_starts_in_a_process_that_imported_nothing_before() -> None:
    code = "import olvido.requests.workflow.worker"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
