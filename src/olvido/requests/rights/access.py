"""The right of access: write a person's own data down for them, with their use.

The answer is a folder with a document for programs and a page in the person's language. It needs no
model, plan or closure, and changes none. The log says that it was written, by whom and with which
digest, and no word of it; the folder's place is kept, so that a later erasure searches it.

Also the identity check before a person's data are given out or changed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from olvido.errors import Action, DigestMismatch, InputError, ParameterName, StateError, UnknownName
from olvido.files import new_folder, write, write_document
from olvido.ledger.digests import canonical_json
from olvido.ledger.facts import DatasetVersion, Record, Request, RequestKind, RequestStatus, now
from olvido.ledger.lineage import Lineage, ModelState
from olvido.ledger.rows import KEY, row_digest, stored_rows, unpacked
from olvido.ledger.serving import SERVING
from olvido.ledger.store import Store
from olvido.requests.closure.places import GIVEN
from olvido.requests.guidance import EXPORTED, exported, identity_basis, identity_checked, not_now
from olvido.requests.handlers import RequestContext, deciding, demand_kind
from olvido.requests.rights.deadlines import law_of, today
from olvido.requests.rights.language import LetterLanguage, find_language
from olvido.requests.scope import lineage_of, mentions, nameless, names_of, unsearched


def identity_of(context: RequestContext, request: Request, unchecked: str | None) -> str:
    """The sentence that is kept about the identity check.

    Raises:
        InputError: there is neither a check nor a reason, or both, or the reason names somebody.
    """
    if identity_checked(request) is not None:
        if unchecked is not None:
            raise InputError(
                f"of request {request.id} it was checked who asks: leave the reason out (",
                ParameterName("unchecked"),
                ")",
            )
        return identity_basis(request)
    if unchecked is None or not unchecked.strip():
        raise InputError(
            "nobody has noted that it was checked who asks, and the data are the person's alone: "
            "check it and note that (",
            Action("identify", f"olvido request identify {request.id} --by ACCOUNT"),
            "), or say why it needs no check (",
            ParameterName("unchecked"),
            ")",
        )
    nameless(context.store, request, unchecked)
    return f"not checked: {unchecked.strip()}"


FORM = "olvido-access"
VERSION = 1
FILES = ("access.json", "access.html")

_S = RequestStatus
_SAID = ("description", "creator", "legal_basis", "intended_use", "retention", "geography")
_KIND = "what is held is written down for those"
_UNKNOWN = ("outside", "recipients", "learned", "others")


@dataclass(frozen=True, slots=True)
class Given:
    """The answer to a request for access.

    Attributes:
        request: the request as the ledger has it now.
        folder: the folder of the answer.
        digest: SHA-256 of the document.
        records: the number of records about the person.
        withheld: ids of records that are about others as well, and whose rows were left out.
    """

    request: Request
    folder: Path
    digest: str
    records: int
    withheld: tuple[str, ...]


def export(
    context: RequestContext,
    identifier: str,
    folder: Path,
    *,
    by: str,
    language: str = "en",
    shared: Collection[str] = (),
    unchecked: str | None = None,
) -> Given:
    """Write down the data that are held about the person of a request for access.

    Args:
        context: a workspace, or its ledger and settings.
        identifier: the id of the request, whose person's identity was checked.
        folder: a new folder, readable by its owner alone; its place is kept in the ledger.
        by: the responsible account, which must have the right to decide.
        language: the page's: a file in `notices/languages`, or in the workspace's own `notices/`.
        shared: ids of records that are about others as well, and whose rows are included since
            somebody has looked at them. The others' names are never included.
        unchecked: why no identity check is needed, where none was noted.

    Raises:
        UnknownName: no such request, account, language or record that is about others as well.
        InputError: the request is of another kind or has ended, the account may not decide, the
            folder exists or its name names somebody, or the identity was not checked.
        StateError: it waits, or a file of rows is missing or damaged.
        DigestMismatch: a row is not the imported one.
    """
    request = _ready(context, identifier)
    account = deciding(context, by)
    words = find_language(language, context.settings.workspace)
    identity = identity_of(context, request, unchecked)
    place = folder.absolute()
    if place.exists():
        raise InputError(f"{folder} exists already: name a new folder")
    try:
        nameless(context.store, request, str(place))
    except InputError:
        raise InputError(
            "where it is written is kept, and this folder's path names the person or has somebody's"
            " address or number in it: name another, after the number of the request"
        ) from None
    document, withheld = _document(context, request, identity, shared)
    # Logged before anything is written, so that a closure also finds what a crash leaves there.
    context.store.note(GIVEN, {"id": identifier, "path": str(place)})
    with new_folder(place):
        # Its files are written in it, not beside it, where no closure finds what a crash leaves.
        pass
    try:
        write_document(document, place / FILES[0])
        digest = f"sha256:{hashlib.sha256((place / FILES[0]).read_bytes()).hexdigest()}"
        write(place / FILES[1], _page(context, request, document, words))
    except BaseException:
        shutil.rmtree(place)
        raise
    detail = {
        EXPORTED: {
            "by": account,
            "document": digest,
            "language": language,
            "records": len(document["records"]),
            "withheld": len(withheld),
            "identity": identity,
        }
    }
    done = context.store.advance_request(identifier, _S.LOCATED, detail)
    return Given(done, folder, digest, len(document["records"]), withheld)


def close_access(context: RequestContext, identifier: str) -> Request:
    """Close a request for access whose answer was written.

    Raises:
        UnknownName: no such request.
        InputError: it is of another kind.
        StateError: nothing was written for it.
    """
    request = context.store.request(identifier)
    demand_kind(request, RequestKind.ACCESS, _KIND)
    if request.status is _S.CLOSED:
        return request
    written = exported(request)
    if written is None or request.status not in (_S.IDENTIFIED, _S.LOCATED):
        why = "it waits" if written else "nothing was written for the person"
        raise StateError(not_now(context, request, why))
    if request.status is _S.IDENTIFIED:
        request = context.store.advance_request(identifier, _S.LOCATED)
    return context.store.advance_request(identifier, _S.CLOSED, {"document": written["document"]})


def _ready(context: RequestContext, identifier: str) -> Request:
    request = context.store.request(identifier)
    demand_kind(request, RequestKind.ACCESS, _KIND)
    if not request.status.open:
        raise InputError(not_now(context, request, "nothing more is written for it"))
    if request.status in (_S.WAITING, _S.NEEDS_INPUT):
        raise StateError(
            f"request {identifier} waits ({request.history[-1].detail.get('why')}): take it up "
            "again (",
            Action("resume", f"olvido request resume {identifier}"),
            ")",
        )
    return request


def _document(
    context: RequestContext, request: Request, identity: str, shared: Collection[str]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The document as plain values, and the ids of the records that were left out of it."""
    store, settings = context.store, context.settings
    found = lineage_of(store, request)
    law = law_of(request, settings)
    records = list(_records(context, request, found, shared))
    mentioned = mentions(store, settings.data, request)
    contained = {state.model.id for state in found.models if state.contained}
    given_out = [e for e in store.events("model-exported") if e.detail["model"] in contained]
    document = {
        "form": FORM,
        "version": VERSION,
        "request": request.id,
        "made_at": now().isoformat(),
        "received_at": request.received_at.isoformat(),
        "law": None if law is None else {"title": law.title, "articles": list(law.articles)},
        "recourse": None if law is None else law.recourse,
        "identity": identity,
        "records": records,
        "datasets": [_dataset(one) for one in found.datasets],
        "models": [_model(store, state) for state in found.models],
        "models_given_out": len(given_out),
        "mentions": {
            "searched": bool(names_of(request)),
            "records": sum(map(len, mentioned.values())),
            "datasets": len(mentioned),
            "names_not_searched": unsearched(request),
        },
        "cannot_tell": list(_UNKNOWN),
    }
    return document, tuple(r["id"] for r in records if r["row"] is None and not r["gone"])


def _records(
    context: RequestContext, request: Request, found: Lineage, shared: Collection[str]
) -> Iterator[dict[str, Any]]:
    """The records about the person, each with its row from the dataset's file."""
    own, seen = set(map(str, request.subjects)), set()
    for dataset in found.datasets:
        about = [record for record in found.records if record.dataset == dataset.id]
        rows = _rows(context, dataset, about)
        for record in about:
            row = rows.get(record.id)
            others = {str(one) for one in record.subjects} - own
            if others:
                seen.add(record.id)
            given = row if not others or record.id in shared else None
            yield {
                "id": record.id,
                "dataset": dataset.id,
                "source": record.source,
                "licence": record.licence,
                "consent": record.consent.value,
                "collected_at": record.collected_at and record.collected_at.isoformat(),
                "held_since": dataset.created_at.isoformat(),
                "not_used_since": record.tombstone and record.tombstone.at.isoformat(),
                "also_about": len(others),
                "gone": row is None,
                "row": given,
            }
    for identifier in shared:
        if identifier not in seen:
            raise UnknownName("record that is about others as well", identifier, seen)


def _rows(
    context: RequestContext, dataset: DatasetVersion, records: Sequence[Record]
) -> dict[str, dict[str, Any]]:
    """The rows of records that the file still has, checked against the digests of their import."""
    digests = {record.id: record.digest.raw for record in records}
    found: dict[str, dict[str, Any]] = {}
    for row in stored_rows(context.settings.data / dataset.file, digests, keys=True):
        own = row_digest(row.pop(KEY, b""), canonical_json(row))
        if own != digests[row["id"]]:
            what = f"record {row['id']!r} of dataset {dataset.name!r} version {dataset.version}"
            raise DigestMismatch(what, digests[row["id"]].hex(), own.hex())
        # The row's other subjects are never included; its other metadata have entries of their own.
        apart = ("id", "subjects", "source", "licence", "consent", "collected_at")
        found[row["id"]] = {k: v for k, v in unpacked(row).items() if k not in apart}
    return found


def _dataset(found: DatasetVersion) -> dict[str, Any]:
    about = asdict(found.documentation)
    said = {name: about[name] for name in _SAID}
    days = {"from": about["collected_from"], "until": about["collected_until"]}
    return {
        "id": found.id,
        "name": found.name,
        "version": found.version,
        "held_since": found.created_at.isoformat(),
        "source_class": found.documentation.source_class.value,
        "collected": days,
        "special_categories": about["special_categories"],
        **said,
    }


def _model(store: Store, state: ModelState) -> dict[str, Any]:
    model = state.model
    about = {
        r.dataset for r in (*state.contained, *(r for r, _ in state.forgotten), *state.without)
    }
    uses = [use for use in store.uses(model.id) if use.dataset in about]
    serving = store.aliases().get(SERVING)
    return {
        "id": model.id,
        "made_at": model.created_at.isoformat(),
        "serves": model.id == serving,
        "gone": model.tombstone is not None,
        "holding": state.holding.value,
        "guarantee": state.guarantee and state.guarantee.value,
        "training": model.training,
        "records_learned": len(state.contained),
        "records_forgotten": len(state.forgotten),
        "records_without": len(state.without),
        "uses": len(uses),
    }


def _page(
    context: RequestContext, request: Request, document: Mapping[str, Any], words: LetterLanguage
) -> str:
    from olvido.reporting.render import environment

    law = law_of(request, context.settings)
    names = {one["id"]: f"{one['name']} {one['version']}" for one in document["datasets"]}

    def day(text: str) -> str:
        at = datetime.fromisoformat(text)
        # A bare day has no time zone.
        return words.day(at.date() if at.tzinfo is None else today(context.settings, at))

    pages = environment("olvido.requests.rights")
    pages.filters["text"] = _text
    html = pages.get_template("access.html.j2").render(
        answer=document,
        words=words,
        say=words.access,
        names=names,
        made=words.day(today(context.settings)),
        day=day,
        recourse=law and (words.recourse.get(law.name) or f"{law.title}: {law.recourse}."),
        contact=context.settings.contact,
    )
    return html.encode(errors="replace").decode()


def _text(value: Any) -> str:
    """A value of a row as text for people."""
    if isinstance(value, list):
        return "\n".join(map(_text, value))
    if isinstance(value, dict) and value.keys() == {"role", "content"}:
        return "{role}: {content}".format_map(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
