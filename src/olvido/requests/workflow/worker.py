"""The worker: DBOS keeps the finished steps of each request, and resumes after a crash.

A finished step is not repeated; an interrupted one is, and recognises what it had done. Only the
ledger has the status of a request: DBOS knows the progress of its workflow alone.

DBOS decodes a row as the row itself says, and it supports pickle: whoever writes to its tables, or
hands over a workspace, could run code in the worker, which holds both keys. So pickle is disabled
while a worker runs, and tables with anything but JSON, or with workflows of others, are refused
before DBOS reads them.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, Self
from unittest.mock import patch

from olvido.errors import InputError, OlvidoError, Overtaken, StateError
from olvido.extras import extra
from olvido.files import locked
from olvido.ledger.facts import Request, RequestKind, RequestStatus
from olvido.ledger.identity import Key
from olvido.ledger.store import Store
from olvido.ledger.store.engine import database_url
from olvido.requests.handlers import StoreContext
from olvido.requests.not_learned import certify, conclude, concluded, not_learned
from olvido.requests.retention.making import UNPLANNED, Asked, make_due, may_wait, plan_due
from olvido.requests.rights.deadlines import DECISION
from olvido.requests.workflow import forgetting
from olvido.requests.workflow.forgetting import (
    BEAT,
    UNCHANGED,
    WORK,
    alone,
    heard,
    read_result,
)
from olvido.requests.workflow.order import ordered, successor, waiting
from olvido.schemas.plan import Chosen
from olvido.settings import Settings

with extra("service"):
    from sqlalchemy import MetaData, create_engine, inspect, select
    from sqlalchemy.pool import NullPool

_SCHEMA = "dbos"
_VALUES = ("inputs", "output", "error", "value", "message", "context")
"""Columns with the inputs, outputs, messages and errors of workflows."""
_ENDED = ("SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")


def require_plain(url: str, workflow: str) -> None:
    """Check the raw tables, without decoding anything.

    Args:
        url: the URL of DBOS's database; missing tables count as empty.
        workflow: the only workflow that may wait to be resumed.

    Raises:
        StateError: a row holds anything but JSON, or another workflow waits.
    """
    engine = create_engine(url, poolclass=NullPool)
    schema = _SCHEMA if engine.dialect.name == "postgresql" else None
    try:
        with engine.connect() as connection:
            if schema is not None and not inspect(connection).has_schema(schema):
                return
            tables = MetaData()
            tables.reflect(connection, schema=schema)
            for table in tables.sorted_tables:
                for row in connection.execute(select(table)).mappings():
                    if why := _wrong(table.name, row, workflow):
                        raise StateError(
                            f"the workflow's table {table.name} at "
                            f"{engine.url.render_as_string(hide_password=True)} holds {why}: no "
                            "worker wrote that, and nothing was run. Find out who can write there, "
                            "then remove the workflow's tables: the ledger knows what is left to do"
                        )
    finally:
        engine.dispose()


def _wrong(table: str, row: Mapping[Any, Any], workflow: str) -> str | None:
    from dbos import DBOSPortableJSONSerializer

    written = row.get("serialization")
    if written not in (None, DBOSPortableJSONSerializer().name()):
        return f"a value written as {str(written)!r}, where only JSON is read"
    for name in _VALUES:
        value = row.get(name)
        if value is not None and not _is_json(value):
            return f"something in {name!r} that is no JSON"
    waits = table == "workflow_status" and row["status"] not in _ENDED
    if waits and row["name"] != workflow:
        return f"the workflow {str(row['name'])!r}, which is none of Olvido's"
    return None


def _is_json(value: Any) -> bool:
    try:
        json.loads(value)
    except (TypeError, ValueError):
        return False
    return True


@contextmanager
def without_pickle() -> Iterator[None]:
    """Keep DBOS from unpickling in this block, whatever encoding a row names.

    A row may be changed while the worker runs, after the check.
    """
    from dbos._serialization import DefaultSerializer

    def refuse(_self: Any, _text: str) -> None:
        raise StateError("the workflow's tables hold a pickle: it is not read")

    with patch.object(DefaultSerializer, "deserialize", refuse):
        yield


VERSION = "olvido-3"
"""The version of the workflow's steps: DBOS does not resume workflows of another version."""

SILENCE = 60.0
"""Seconds without a sign of life after which the forgetting process is ended and restarted."""

_POLL = 0.1

TRIES = 3
"""Starts of a process that a signal ends: too little memory would end it again and again."""

WORKFLOW = "answer"

_NOTHING = "nothing"
"""The result of the first step where no model has to forget."""

_S = RequestStatus

Watch = Callable[[str, str], None]
"""A callback with a request's id and the stage that begins."""


class Worker:
    """Answers approved requests. A workspace has one worker at a time; use it in a `with` block.

    Args:
        settings: the workspace's settings.
        watch: called at the beginning of each stage.

    Raises:
        StateError: another worker is running.
    """

    def __init__(self, settings: Settings, *, watch: Watch = lambda *_: None) -> None:
        self.settings, self._watch = settings, watch
        self._left = ExitStack()
        self._left.enter_context(
            locked(
                settings.workspace / WORK / ".worker.lock",
                busy=f"another worker is at work in {settings.workspace}: wait for it, or end it",
            )
        )

    def __enter__(self) -> Self:
        try:
            return self._launched()
        except BaseException:
            self._left.close()
            raise

    def _launched(self) -> Self:
        from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer, PortableWorkflowError

        url = _system_url(self.settings)
        require_plain(url, WORKFLOW)
        self._left.enter_context(without_pickle())
        config: DBOSConfig = {
            "name": "olvido",
            "system_database_url": url,
            "serializer": DBOSPortableJSONSerializer(),
            "application_version": VERSION,
            "executor_id": "worker",
            "log_level": "CRITICAL",
        }
        DBOS(config=config)

        @DBOS.step(name="forget")
        def forget(identifier: str) -> str:
            return self._forgotten(identifier)

        @DBOS.step(name="publish")
        def publish(identifier: str, result: str) -> list[str]:
            return self._published(identifier, result)

        @DBOS.step(name="closure")
        def closure(identifier: str) -> None:
            self._closed(identifier)

        @DBOS.step(name="certify")
        def certify(identifier: str) -> None:
            self._certified(identifier)

        @DBOS.workflow(name=WORKFLOW)
        def answer(identifier: str) -> list[str]:
            try:
                together = publish(identifier, forget(identifier))
                for one in together:
                    closure(one)
                    certify(one)
            except (OlvidoError, OSError, PortableWorkflowError) as error:
                # The last is the error of a step before a crash.
                self._set_aside(identifier, error)
                return [identifier]
            return together

        self._workflow = answer
        DBOS.launch()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        from dbos import DBOS

        DBOS.destroy(destroy_registry=True)
        # DBOS's log handlers hold the present streams, and the next worker would use them.
        logging.getLogger("dbos").handlers.clear()
        self._left.close()

    def ask(self) -> tuple[Asked, ...]:
        """Make the requests that retention rules ask for by now, and plan them; people approve."""
        from olvido.workspace import Workspace

        with self._store() as store:
            make_due(StoreContext(store, self.settings))
            if not any(
                request.kind is RequestKind.RETENTION for request in store.requests(UNPLANNED)
            ):
                return ()
        with Workspace(self.settings) as workspace:
            return plan_due(workspace)

    def work(self) -> tuple[Request, ...]:
        """Resume interrupted requests, answer all waiting ones, and return them afterwards."""
        from dbos import DBOS, PortableWorkflowError, SetWorkflowID

        done: dict[str, None] = {}
        # Requests that DBOS resumed at its launch, whatever their status is by now.
        pending = DBOS.list_workflows(status=["PENDING", "ENQUEUED"], app_version=VERSION)
        for cut_off in pending:
            handle: Any = DBOS.retrieve_workflow(cut_off.workflow_id)
            try:
                done |= dict.fromkeys(handle.get_result(polling_interval_sec=_POLL))
            except PortableWorkflowError as error:
                raise StateError(
                    f"the workflow {cut_off.workflow_id} could not go on: {error}"
                ) from error
        while True:
            with self._store() as store:
                left = [
                    request
                    for request in waiting(store)
                    if request.id not in done and not may_wait(store, request, self.settings)
                ]
                if not left:
                    return tuple(store.request(identifier) for identifier in done)
            request = left[0]
            # If the ledger has moved on since, this is another workflow: one that ended badly, or
            # of another version, must not block a new one.
            with SetWorkflowID(f"{VERSION}:{request.id}:{len(request.history)}"):
                started = DBOS.start_workflow(self._workflow, request.id)
            done |= dict.fromkeys(started.get_result(polling_interval_sec=_POLL))

    def _forgotten(self, identifier: str) -> str:
        self._watch(identifier, "forgetting")
        with self._store() as store:
            request = store.request(identifier)
            order = ordered(request)
            if order is not None and not_learned(store, request, successor(store, order.model)):
                return _NOTHING
        return _subprocess(self.settings, identifier)

    def _published(self, identifier: str, result: str) -> list[str]:
        """Publish, and return the answered requests; none where they have to begin again.

        They have to where one of several was cancelled meanwhile, or where another version was
        published: in the ledger they are still running.
        """
        self._watch(identifier, "publishing")
        # A process that forgets at this moment began with the model that this will replace.
        with alone(self.settings):
            return self._entered(identifier, result)

    def _entered(self, identifier: str, result: str) -> list[str]:
        from olvido.requests.publishing import Prepared, publish

        if result == _NOTHING:
            with self._store() as store:
                conclude(StoreContext(store, self.settings), identifier)
            return [identifier]
        with self._store() as store:
            context = StoreContext(store, self.settings)
            document = read_result(context, identifier, result)
            if (left := document.get(UNCHANGED)) is not None:
                try:
                    certify(
                        context,
                        identifier,
                        left["model"],
                        Chosen.read(left["chosen"]),
                        served=left["served"],
                    )
                except Overtaken:
                    return []
                return [identifier]
            prepared = Prepared.from_dict(document)
            asked = [store.request(one) for one in prepared.requests]
            off = [r.id for r in asked if r.status is _S.CANCELLED and r.id != identifier]
            if off and not any(r.status in (_S.AUDITED, _S.PUBLISHED) for r in asked):
                return []
            # A publication that had begun goes on, without requests that were cancelled since.
            left = tuple(one for one in prepared.requests if one not in off)
            prepared = replace(prepared, requests=left)
            try:
                publish(context, prepared)
            except Overtaken:
                return []
        return list(prepared.requests)

    def _closed(self, identifier: str) -> None:
        from olvido.requests.closure import close, closure

        self._watch(identifier, "looking for what else holds it")
        with self._store() as store:
            context = StoreContext(store, self.settings)
            if store.request(identifier).status is _S.PUBLISHED:
                found = closure(context, identifier)
                store.put_closure(identifier, {a.item: s.ending for a, s in found})
                close(context, identifier, found=found)
        for path in (self.settings.workspace / WORK).glob(f"{identifier}-*.json"):
            path.unlink()

    def _certified(self, identifier: str) -> None:
        from olvido.requests.certificate import issue
        from olvido.workspace import Workspace

        self._watch(identifier, "certifying")
        with Workspace(self.settings) as workspace:
            request = workspace.store.request(identifier)
            answered = request.status in (_S.PUBLISHED, _S.CLOSED)
            if answered and concluded(request) is None:
                issue(workspace, identifier)

    def _set_aside(self, identifier: str, error: Exception) -> None:
        """Mark a request that cannot go on for a decision; a cancelled one stays cancelled."""
        with self._store() as store:
            if store.request(identifier).status in (_S.RUNNING, _S.AUDITED, _S.APPROVED):
                detail = {"for": DECISION, "why": str(error)}
                store.advance_request(identifier, _S.NEEDS_INPUT, detail)

    def _store(self) -> Store:
        return Store.open(self.settings.ledger, key=Key.load(self.settings.key))


def _system_url(settings: Settings) -> str:
    """The URL of DBOS's own tables: beside an SQLite ledger, or in the ledger's Postgres."""
    url = database_url(settings.ledger)
    if url.get_backend_name() == "sqlite":
        return f"sqlite:///{settings.workspace / WORK / 'workflow.db'}"
    return url.render_as_string(hide_password=False)


def _subprocess(settings: Settings, identifier: str) -> str:
    """Run the forgetting in a separate process, restarted where a signal ended it."""
    for _ in range(TRIES):
        child = subprocess.Popen(
            [sys.executable, "-m", forgetting.__name__, str(settings.workspace), identifier],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        out, err = _attended(child, settings, identifier)
        if child.returncode == 0:
            return str(json.loads(out.splitlines()[-1])["result"])
        if child.returncode == 2:
            raise InputError(json.loads(err.splitlines()[-1])["error"])
        if child.returncode > 0:
            raise StateError(f"forgetting broke off: {' '.join(err.split())[-500:]}")
    raise StateError(f"forgetting was ended by signal {-child.returncode}, {TRIES} times")


def _attended(child: subprocess.Popen[str], settings: Settings, identifier: str) -> tuple[str, str]:
    """Return the output of the process. It is ended where it shows no sign of life."""
    began = time.time()
    while True:
        try:
            return child.communicate(timeout=BEAT)
        except subprocess.TimeoutExpired:
            if min(heard(settings, identifier), time.time() - began) > SILENCE:
                child.kill()
