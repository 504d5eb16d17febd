"""`olvido request plan` and `run` where nothing is trained: to destroy, or nothing taught."""

from __future__ import annotations

from typing import TYPE_CHECKING

from olvido.cli.given.output import Terminal, table

if TYPE_CHECKING:
    from olvido.schemas.options import RunOptions
    from olvido.workspace import Workspace


def plan_destruction(terminal: Terminal, workspace: Workspace, identifier: str) -> None:
    """Say which models would go."""
    from olvido.requests import destruction

    going = destruction.plan_destruction(workspace, identifier)
    terminal.emit(
        {"requests": [identifier], "destroy": [model.id for model in going]},
        table(("model", "made"), [(model.id, model.created_at) for model in going]),
        f"Next, two people: olvido request approve {identifier} --by NAME",
    )


def destroy(terminal: Terminal, workspace: Workspace, identifier: str) -> bool:
    """Destroy what two people approved, and certify it."""
    from olvido.requests import destruction
    from olvido.requests.certificate import issue

    request, gone = destruction.destroy(workspace, identifier)
    certificate = issue(workspace, identifier)
    terminal.emit(
        {
            "request": request.id,
            "status": request.status,
            "destroyed": [model.id for model in gone],
            "certificate": str(certificate),
        },
        f"Destroyed: {', '.join(model.id for model in gone)}. Certificate: {certificate}",
        f"Next: olvido request close {identifier}",
    )
    return True


def conclude(
    terminal: Terminal, workspace: Workspace, identifiers: list[str], how: RunOptions
) -> bool:
    """Answer at once what no model has to forget for. Whether that was so."""
    from olvido.ledger.facts import RequestStatus
    from olvido.requests import plan, untaught

    store = workspace.store
    if not all(untaught.untaught(store, store.request(one), how.model) for one in identifiers):
        return False
    _, choice = plan(workspace, *identifiers, how=how)
    for identifier in identifiers:
        if store.request(identifier).status is RequestStatus.PLANNED:
            # Whoever runs it by hand approves it.
            store.advance_request(identifier, RequestStatus.APPROVED)
    done = [untaught.conclude(workspace, identifier) for identifier in identifiers]
    terminal.emit(
        {"requests": [{"id": one.id, "status": one.status} for one in done]}
        | {"because": choice.because},
        f"Nothing was to be forgotten: {choice.because}. What lies in files is left to erase.",
        *(f"Next: olvido request close {identifier}" for identifier in identifiers),
    )
    return True
