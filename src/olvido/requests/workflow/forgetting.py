"""Forget and audit in a separate process, and write the result to be published to a file.

The worker starts it as `python -m olvido.requests.workflow.forgetting WORKSPACE REQUEST`. It writes
the name of its result to standard output, and ends with the process that started it, so that two
never train for one request.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from olvido.errors import OlvidoError, StateError
from olvido.files import finite, locked, make_folder, read_document, write_document
from olvido.ledger.digests import canonical_json
from olvido.ledger.facts import Request, RequestStatus
from olvido.ledger.serving import SERVING
from olvido.requests.handlers import RequestContext
from olvido.settings import Settings

if TYPE_CHECKING:
    from olvido.schemas.options import RunOptions
    from olvido.workspace import Workspace

BEAT = 0.5
"""Seconds between two signs of life."""

UNCHANGED = "unchanged"
"""The key of a result for which no model was made."""

WORK = "work"
"""The folder of a workspace for files that steps pass on."""


def forget(settings: Settings, identifier: str) -> str:
    """Answer a request up to, and without, publishing; return the result's file name.

    Other waiting requests with the same order that touch the same part of the model are answered
    with it; where that fails, the request is answered alone.

    Raises:
        OlvidoError: as `olvido.requests.run`; the ledger says that the request is running.
    """
    from olvido.requests.flow import attempt
    from olvido.requests.workflow.order import ordered, successor
    from olvido.workspace import Workspace

    with Workspace(settings) as workspace:
        request = workspace.store.request(identifier)
        how = ordered(request)
        if how is None:
            raise StateError(f"request {identifier} was approved without an order")
        how = how.but(model=successor(workspace.store, how.model))
        if (left := _unchanged(workspace, request, how)) is not None:
            return write_result(workspace, identifier, finite({UNCHANGED: left}))
        together = _together(workspace, identifier, how)
        try:
            ready = attempt(workspace, *together, how=how).prepared
        except OlvidoError:
            if len(together) == 1:
                raise
            # No request stays unanswered because of another one.
            ready = attempt(workspace, identifier, how=how).prepared
        return write_result(workspace, identifier, finite(ready.to_dict()))


def _unchanged(workspace: Workspace, request: Request, how: RunOptions) -> dict[str, Any] | None:
    """What the ledger enters where a promise answers a request; None where a model forgets.

    What somebody approved decides, and no run changes a model that was to stay.

    Raises:
        StateError: a plan was approved by which the model stays, and it may not by now.
    """
    from olvido.requests.flow import unchanged

    plans = [step.detail["chosen"] for step in request.history if "chosen" in step.detail]
    if not (plans and plans[-1].get("unchanged")):
        return None
    if (choice := unchanged(workspace, request.id, how)) is None:
        raise StateError(
            f"the approved plan of request {request.id} leaves the model as it is, and by now what "
            "its training promised does not suffice: plan it again"
        )
    model = workspace.store.model(how.model)
    served = workspace.store.aliases().get(SERVING) == model.id
    return {"model": model.id, "served": served, "chosen": choice.chosen.to_dict()}


def write_result(context: RequestContext, identifier: str, document: Mapping[str, Any]) -> str:
    """Write the result to be published for a request; return the file's name.

    The name proves that its writer had the ledger's key, and names the approval: whoever keeps
    the files and the workflow's tables can edit them.
    """
    name = _names(context, identifier, document)[-1]
    write_document(document, context.settings.workspace / WORK / name)
    return name


def read_result(context: RequestContext, identifier: str, name: str) -> dict[str, Any]:
    """Read the result that was written for a request's last approval.

    Raises:
        InputError: it cannot be read.
        StateError: it was changed, or written for something else.
    """
    # Only the name counts: a path in the workflow's tables must lead nowhere else.
    document = read_document(context.settings.workspace / WORK / Path(name).name)
    if name not in _names(context, identifier, document):
        raise StateError(
            f"the result {name!r} is not what was written for request {identifier} as it was last "
            "approved: nothing is published. Cancel and resume the request, and approve its plan "
            "again"
        )
    return document


def _names(context: RequestContext, identifier: str, document: Mapping[str, Any]) -> list[str]:
    """The name of a result under each version of the key, the present one last."""
    steps = context.store.request(identifier).history
    approved = [step.at.isoformat() for step in steps if step.status is RequestStatus.APPROVED]
    message = canonical_json([identifier, approved, document])
    made = context.store.key.ever_derived(b"result", message)
    return [f"{identifier}-{mac.hex()[:32]}.json" for mac in made]


def _together(workspace: Workspace, identifier: str, how: RunOptions) -> tuple[str, ...]:
    """The request, and those answered with it: of equal order, in the same part of the model."""
    from olvido.requests.workflow.batching import batches
    from olvido.requests.workflow.order import ordered, successor, waiting

    store, same = workspace.store, []
    for request in waiting(store):
        other = ordered(request)
        if other is not None and other.but(model=successor(store, other.model)) == how:
            same.append(request)
    for batch in batches(workspace, how.model, same):
        if identifier in batch.requests:
            return (identifier, *(one for one in batch.requests if one != identifier))
    return (identifier,)


def alone(settings: Settings) -> AbstractContextManager[None]:
    """Forget alone: other processes that would forget in this workspace wait."""
    return locked(settings.workspace / WORK / ".forgetting.lock")


@contextmanager
def alive(settings: Settings, identifier: str) -> Iterator[None]:
    """Show signs of life, and end when the process that started this one has ended."""
    parent, ended, sign = os.getppid(), threading.Event(), _sign(settings, identifier)
    make_folder(sign.parent)
    sign.touch()

    def beat() -> None:
        while not ended.wait(BEAT):
            if os.getppid() != parent:
                os._exit(1)
            os.utime(sign)

    threading.Thread(target=beat, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _sign(settings: Settings, identifier: str) -> Path:
    return settings.workspace / WORK / f".{identifier}.alive"


def heard(settings: Settings, identifier: str) -> float:
    """Seconds since the last sign of life; infinite where there was none."""
    try:
        return time.time() - _sign(settings, identifier).stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def main(folder: str, identifier: str) -> int:
    """Forget, and print the result's name as JSON; an error is one line on standard error."""
    settings = Settings.load(Path(folder))
    try:
        with alive(settings, identifier), alone(settings):
            name = forget(settings, identifier)
    except OlvidoError as error:
        sys.stderr.write(json.dumps({"error": str(error)}) + "\n")
        return 2
    sys.stdout.write(json.dumps({"result": name}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
