"""The right to rectification: corrected rows replace wrong ones in a new version of the dataset.

The wrong rows are then forgotten like outdated facts: planned, run, audited, published, closed. A
further training has to learn the new version; until then no letter says that it was learned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from olvido.data import read_rows
from olvido.data.conversations import as_pair
from olvido.data.importing import import_rows
from olvido.data.parsing import several
from olvido.data.reading import lines_of
from olvido.errors import BadRow, InputError, StateError
from olvido.ledger.facts import DatasetVersion, Request, RequestKind, RequestStatus
from olvido.ledger.identity import Key
from olvido.ledger.rows import load_rows
from olvido.ledger.serving import SERVING
from olvido.ledger.store import Store
from olvido.requests.guidance import not_now
from olvido.requests.handlers import RequestContext, deciding, demand_kind
from olvido.requests.rights.access import identity_of
from olvido.requests.scope import corrections

_S = RequestStatus
_SAID = ("prompt", "completion", "text")
_PEOPLE = ("subject", "subjects")


def correct(
    context: RequestContext,
    identifier: str,
    right: Path | str,
    *,
    by: str,
    unchecked: str | None = None,
    encoding: str | None = None,
) -> tuple[Request, DatasetVersion]:
    """Enter the corrected rows of a rectification as the next version of their dataset.

    It has all rows of the newest version, with the file's rows in place of the wrong ones.

    Args:
        context: a workspace, or its ledger and settings.
        identifier: the id of a request that is not planned yet.
        right: a file of rows with the ids of the request and the columns that change, as the
            dataset names them, or such rows of JSON as text, one a line; nothing else of it is
            kept.
        by: the responsible account, which must have the right to decide.
        unchecked: why no identity check is needed, where none was noted.
        encoding: the encoding of a file that is not UTF-8.

    Raises:
        UnknownName: no such request or account.
        InputError: the request is of another kind, or too far on, or it was entered already; the
            file has other ids, unknown columns, other people, or changes nothing that is learned;
            the identity was not checked. Nothing is changed then.
        BadRow: a row of the file cannot be used.
        StateError: the rows of the newest version are others than those that were meant, or are
            damaged.
    """
    store = context.store
    request = store.request(identifier)
    _require_ready(context, request)
    account = deciding(context, by)
    identity = identity_of(context, request, unchecked)
    named = store.dataset(request.scope["dataset"])
    base = store.dataset(named.name)
    rows = {row["id"]: row for row in load_rows(store, context.settings.data, base)}
    wanted = request.scope["records"]
    if missing := [one for one in wanted if one not in rows]:
        raise StateError(
            f"{len(missing)} of its records are not in version {base.version} of dataset "
            f"{base.name!r} any more: enter a request for the version that has them"
        )
    if base.id != named.id:
        meant = {row["id"]: row for row in load_rows(store, context.settings.data, named)}
        if any(_said(meant.get(one, {})) != _said(rows[one]) for one in wanted):
            raise StateError(
                f"version {base.version} of dataset {base.name!r} says something else of its "
                "records already: look at it, and enter a request for what is still wrong"
            )
    if isinstance(right, str):
        origin = "what was entered"
        read = lines_of(right, origin)
    else:
        origin = str(right)
        read = read_rows(right, encoding=encoding)
    changed = _corrected(store.key, origin, read, {one: rows[one] for one in wanted})

    def entered(request: Request, made: DatasetVersion) -> dict[str, Any]:
        # Another program may have entered a version meanwhile.
        _require_ready(context, request)
        if made.version != base.version + 1:
            raise StateError(
                f"another version of dataset {base.name!r} came in meanwhile: enter it again"
            )
        detail = {"by": account, "from": base.id, "dataset": made.id, "identity": identity}
        return {"corrected": detail}

    made = import_rows(
        store,
        context.settings.data,
        [changed.get(one, row) for one, row in rows.items()],
        name=base.name,
        parent=base.id,
        documentation=base.documentation,
        answers=(identifier, entered),
    ).dataset
    return store.request(identifier), made


def learned(store: Store, request: Request) -> bool:
    """Whether the serving model has learned the corrected rows; False where none were entered."""
    steps = corrections(request)
    serving = store.alias(SERVING)
    if not steps or serving is None:
        return False
    found = store.lineage_of_records(
        steps[-1].detail["corrected"]["dataset"], request.scope["records"]
    )
    states = {state.model.id: state for state in found.models}
    state = states.get(serving.id)
    return state is not None and len(state.contained) == len(found.records)


def _require_ready(context: RequestContext, request: Request) -> None:
    demand_kind(request, RequestKind.RECTIFICATION, "what is right is entered for those")
    if corrections(request):
        raise InputError(not_now(context, request, "what is right was entered already"))
    if request.status not in (_S.RECEIVED, _S.IDENTIFIED, _S.LOCATED):
        why = "what is right is entered before it is planned"
        raise InputError(not_now(context, request, why))


def _corrected(
    key: Key,
    origin: str,
    rows: Iterable[tuple[int, Mapping[str, Any] | BadRow]],
    wrong: Mapping[str, Mapping[str, Any]],
) -> dict[str, dict[str, Any]]:
    """The corrected rows by id. Raises InputError and BadRow."""
    right: dict[str, dict[str, Any]] = {}
    for line, row in rows:
        if isinstance(row, BadRow):
            raise row
        identifier = str(row.get("id", "")).strip()
        identifier = identifier if identifier in wrong else key.pseudonym(identifier)
        if identifier not in wrong:
            raise BadRow(origin, line, "its id is none of those that the request is about")
        if identifier in right:
            raise BadRow(origin, line, "its id stands twice: give each record one row")
        old = wrong[identifier]
        said = {name: value for name, value in row.items() if name not in ("id", *_PEOPLE)}
        if unknown := sorted(set(said) - set(old)):
            raise BadRow(
                origin,
                line,
                f"the record has no column {unknown[0]!r}: give those that change, of "
                f"{', '.join(sorted(set(old) - {'id', 'subjects'}))}",
            )
        for name in _SAID:
            if not isinstance(said.get(name, ""), str | None):
                raise BadRow(origin, line, f"expected text in column {name!r}, in quotes")
        people = [who for name in _PEOPLE if row.get(name) for who in _people(row[name])]
        if any(str(key.subject(who)) not in old["subjects"] for who in people):
            raise BadRow(
                origin, line, "whom a record is about is not corrected so: leave that column out"
            )
        new = {**old, **said}
        try:
            said_now = _said(new)
        except InputError as error:
            raise BadRow(origin, line, str(error)) from None
        if key.content(*said_now) == key.content(*_said(old)):
            raise BadRow(
                origin,
                line,
                "it says the same as the record, but for case, accents or signs: give what is "
                "right in the columns that are learned (prompt, completion, text or messages)",
            )
        right[identifier] = new
    if left := sorted(wrong.keys() - right.keys()):
        raise InputError(
            f"{origin} has no row for {len(left)} of {len(wrong)} records of the request: give one "
            "with the same id for each"
        )
    return right


def _people(value: Any) -> Sequence[str]:
    return [str(one) for one in value] if isinstance(value, list) else several(str(value))


def _said(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(as_pair(row).get(name) for name in _SAID)
