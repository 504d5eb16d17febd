"""From an answered request to its certificate, once: the same evidence gives the same file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from olvido.documents import read_document, write_document
from olvido.errors import InputError, StateError
from olvido.forgetting.guarantee import MEANING
from olvido.ledger.digests import Digest, merkle_root, records_root
from olvido.ledger.facts import Guarantee, Model, Request, RequestKind
from olvido.ledger.signing import SigningKey
from olvido.ledger.store import Store
from olvido.requests.certificate.check import KIND, detail_of
from olvido.requests.certificate.claims import DESTROY, overclaims, utility
from olvido.requests.certificate.closing import closure_of
from olvido.requests.certificate.envelope import seal, statement_of
from olvido.requests.certificate.provenance import made_by, release
from olvido.requests.certificate.shape import AUDIT, VERSION
from olvido.requests.desk import Office
from olvido.requests.limits import LIMITS
from olvido.requests.scope import lineage_of
from olvido.requests.untaught import concluded


def issue(office: Office, identifier: str) -> Path:
    """Certify an answered request; what was certified already is not certified again.

    The log commits to the certificate before it is signed, and the certificate carries the proof.

    Args:
        office: a workspace, or its front.
        identifier: of the request.

    Returns:
        The file, named after the request and what it says.

    Raises:
        UnknownName: no such request.
        StateError: it was not answered, or its evidence does not carry what would be claimed; then
            nothing is written and nothing is signed.
    """
    request = office.store.request(identifier)
    key = office.store.signer(office.settings.signing_key)
    core = statement_core(office, request)
    if known := _issued(office, core):
        return known
    if reasons := overclaims(core):
        raise StateError(
            f"request {identifier} cannot be certified: {'; '.join(reasons)}. A certificate claims "
            "no more than its evidence: answer the request again, or audit it"
        )
    detail = detail_of(core)
    said = [entry.seq for entry in office.store.events(KIND) if entry.detail == detail]
    number = said[0] if said else office.store.note(KIND, detail)
    path = office.settings.certificates / _name(identifier, str(detail["statement"]))
    write_document(seal(_statement(office, core, number, key), key), path)
    return path


def certificates_of(office: Office, identifier: str) -> tuple[Path, ...]:
    """The files of a request's certificates, the oldest first. Raises UnknownName."""
    office.store.request(identifier)
    found = [
        office.settings.certificates / _name(identifier, str(entry.detail["statement"]))
        for entry in office.store.events(KIND)
        if entry.detail["request"] == identifier
    ]
    return tuple(path for path in found if path.is_file())


def certificate_about(office: Office, model: str) -> Path | None:
    """The newest certificate of how a model version forgot; None where there is none."""
    for entry in reversed(office.store.events(KIND)):
        name = _name(str(entry.detail["request"]), str(entry.detail["statement"]))
        path = office.settings.certificates / name
        said = statement_of(read_document(path)) if path.is_file() else None
        after = said and said["predicate"]["models"]["after"]
        if after and after["id"] == model:
            return path
    return None


def _issued(office: Office, core: Mapping[str, Any]) -> Path | None:
    """The certificate of the same report and closure, whatever code made it."""
    for path in certificates_of(office, core["request"]["id"]):
        said = statement_of(read_document(path))
        told = said["predicate"] if said else {}
        if all(told.get(name) == core[name] for name in ("report", "closure", "models")):
            return path
    return None


def _name(identifier: str, digest: str) -> str:
    return f"{identifier}-{digest.removeprefix('sha256:')[:16]}.json"


def _statement(
    office: Office, core: dict[str, Any], number: int, key: SigningKey
) -> dict[str, Any]:
    found = office.store.prove_entry(number, key)
    assert found.entry.salt is not None
    models = core["models"]
    shown = models["after"] or models["before"]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {
                "name": f"model {shown['id']}",
                "digest": {"weightsSha256": shown["weights"].removeprefix("sha256:")},
            }
        ],
        "predicateType": VERSION,
        "predicate": core
        | {
            "log": {
                "index": number - 1,
                "at": found.entry.at.isoformat(),
                "salt": found.entry.salt.hex(),
                "proof": [step.hex() for step in found.proof],
                "checkpoint": found.checkpoint.note,
            }
        },
    }


def statement_core(office: Office, request: Request) -> dict[str, Any]:
    """All that a certificate says, but where the log says so.

    Raises:
        StateError: the request was not answered, by a new version or by destroying its model.
    """
    if request.kind is RequestKind.DESTROY:
        return _destroyed(office, request)
    if why := concluded(request):
        raise StateError(
            f"nothing was forgotten for request {request.id} ({why['because']}), so there is no "
            "forgetting to certify: its letter says so"
        )
    path = office.settings.reports / f"{request.id}.json"
    if request.report is None:
        raise StateError(
            f"request {request.id} has no report yet (it is {request.status}): run it with "
            f"'olvido request run {request.id}'"
        )
    try:
        content, report = path.read_bytes(), read_document(path)
    except (OSError, InputError) as error:
        raise StateError(f"the report {path} cannot be read ({error}): restore it") from error
    if report["model"]["after"] is None:
        raise StateError(f"request {request.id} was not answered: nothing was published")
    store = office.store
    model = store.model(str(report["model"]["after"]))
    attempt = report["attempts"][-1]
    training = _training(store, model)
    guarantee = Guarantee(attempt["outcome"]["guarantee"])
    audit = _audit(attempt["audit"])
    datasets, forgotten = _datasets(office, request, model)
    return {
        "request": _request(request, model.created_at, report["together"]),
        "guarantee": {"class": guarantee.value, "meaning": MEANING[guarantee], "bound": None},
        "models": {
            "before": {"id": report["model"]["before"], "weights": report["digest"]["before"]},
            "after": {"id": model.id, "weights": str(model.digest)},
        },
        "datasets": datasets,
        "forgotten": forgotten,
        "method": {
            "name": attempt["method"],
            "olvido": release(),
            "options": dict(model.recipe.get("options") or {}),
            "seed": model.seed,
            "stopped": attempt["outcome"]["stopped"],
        },
        "training": _taught(training),
        "audit": audit,
        "references": [
            {"digest": one["digest"], "seed": one["seed"]} for one in report["never_trained"]
        ]
        if audit
        else [],
        "utility": utility(audit),
        "closure": closure_of(office.store, request),
        "made_by": made_by({k: str(v) for k, v in training.environment.items()}),
        "report": str(Digest.of(content)),
        "not_proven": list(LIMITS[guarantee]),
    }


def _destroyed(office: Office, request: Request) -> dict[str, Any]:
    """What there is to say where the whole model was destroyed."""
    model = office.store.model(request.scope["model"])
    folder = office.settings.models / model.path
    if model.tombstone is None or folder.exists():
        raise StateError(f"model {model.id} was not destroyed: there is nothing to certify")
    training, claimed = _training(office.store, model), Guarantee.DESTROYED
    return {
        "request": _request(request, model.tombstone.at, [request.id]),
        "guarantee": {"class": claimed.value, "meaning": MEANING[claimed], "bound": None},
        "models": {"before": {"id": model.id, "weights": str(model.digest)}, "after": None},
        "datasets": [],
        "forgotten": {"count": 0, "commitment": str(merkle_root([]))},
        "method": {
            "name": DESTROY,
            "olvido": release(),
            "options": {},
            "seed": 0,
            "stopped": "the weights and all that descends from them were removed",
        },
        "training": _taught(training),
        "audit": None,
        "references": [],
        "utility": [],
        "closure": closure_of(office.store, request),
        "made_by": made_by({k: str(v) for k, v in training.environment.items()}),
        "report": None,
        "not_proven": list(LIMITS[claimed]),
    }


def _request(request: Request, answered: datetime, together: Sequence[str]) -> dict[str, Any]:
    return {
        "id": request.id,
        "kind": request.kind.value,
        "law": request.law,
        "received": request.received_at.isoformat(),
        "answered": answered.isoformat(),
        "together": list(together),
    }


def _taught(training: Model) -> dict[str, Any]:
    return {
        "learner": training.learner,
        "seed": training.seed,
        # What it began from may be a path of this machine.
        "recipe": {name: v for name, v in training.recipe.items() if name != "base"},
    }


def _training(store: Store, model: Model) -> Model:
    """The training that a model descends from; itself, where it was not made by forgetting."""
    while model.method is not None:
        model = store.model(model.parents[0])
    return model


def _audit(report: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """An audit's report without what is only drawn."""
    if report is None:
        return None
    findings = [
        {name: found[name] for name in AUDIT["findings"][0]} for found in report["findings"]
    ]
    return {name: report[name] for name in AUDIT} | {"findings": findings}


def _datasets(
    office: Office, request: Request, model: Model
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The datasets that the records asked about stand in, and a commitment to what was forgotten.

    It is the Merkle root over the records' salted digests, by dataset and id.
    """
    store = office.store
    lineage = lineage_of(store, request)
    gone = {use.dataset: use.forgotten for use in store.uses(model.id)}
    rows, leaves = [], []
    for dataset in lineage.datasets:
        about = [record for record in lineage.records if record.dataset == dataset.id]
        taught = [record for record in about if record.id in gone.get(dataset.id, ())]
        leaves += [(dataset.id, record.id, record.digest.raw) for record in taught]
        left = {r.id: r.digest.raw for r in store.records(dataset.id) if r.tombstone is None}
        rows.append(
            {
                "id": dataset.id,
                "version": dataset.version,
                "rows": dataset.rows,
                "about": len(about),
                "forgotten": len(taught),
                "root_before": str(dataset.root),
                "root_after": str(records_root(left)),
            }
        )
    commitment = merkle_root([leaf for *_, leaf in sorted(leaves)])
    return rows, {"count": len(leaves), "commitment": str(commitment)}
