"""Issue the certificate of an answered request, once: the same evidence gives the same file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from olvido.artifact_shapes import owned
from olvido.errors import StateError
from olvido.files import read_document, write_document
from olvido.ledger.facts import DECLARED, WITNESSED, Guarantee, Request, RequestStatus
from olvido.ledger.signing import SigningKey
from olvido.methods.guarantee import MEANING
from olvido.requests.certificate.answer import BOUND, answered, closure_of, report_of
from olvido.requests.certificate.check import KIND, check, detail_of, seal, statement_of
from olvido.requests.certificate.claims import overclaims, utility
from olvido.requests.certificate.limits import limits_of
from olvido.requests.guidance import not_now
from olvido.requests.handlers import RequestContext, demand_forgetting
from olvido.schemas.certificate import VERSION, CertifiedAudit, CertifiedFinding


def issue(context: RequestContext, identifier: str) -> Path:
    """Certify an answered request; what was certified already is not certified again.

    Its content was logged when the request was answered. The log commits to the certificate before
    it is signed, and the certificate carries the proof.

    Args:
        context: a workspace, or its ledger and settings.
        identifier: the request's id.

    Returns:
        The certificate's file, named after the request and the digest of the statement.

    Raises:
        UnknownName: no such request.
        InputError: it asks for no forgetting.
        StateError: it was not answered, the log, the ledger and the report disagree, the evidence
            does not carry what would be claimed, or what was made does not hold itself; then
            nothing is written.
    """
    store = context.store
    request = store.request(identifier)
    demand_forgetting(request)
    key = store.signer(context.settings.signing_key)
    if not (found := store.verify_log()).sound:
        raise StateError(
            f"nothing is certified from a log that is not sound ({found.reason}): see 'olvido data "
            "check', and restore the ledger from a copy you trust"
        )
    core = statement_core(context, request)
    store.check_entities([dataset["id"] for dataset in core["datasets"]], found)
    if reasons := overclaims(core):
        raise StateError(
            f"request {identifier} cannot be certified: {'; '.join(reasons)}. A certificate claims "
            "no more than its evidence: answer the request again, or audit it"
        )
    if known := _issued(context, core, key):
        return known
    detail = detail_of(core)
    said = [entry.seq for entry in store.events(KIND) if entry.detail == detail]
    path = context.settings.certificates / _name(identifier, str(detail["statement"]))
    # An entry that was logged when the clock was wrong does not hold; another entry may.
    for number in [*said, 0]:
        log = _place(context, number or store.note(KIND, detail), key)
        envelope = seal(statement_about(core, log), key)
        checked = check(envelope, key.public)
        if checked.holds:
            write_document(envelope, path)
            return path
    raise StateError(
        f"request {identifier} cannot be certified, since its certificate would not hold: "
        f"{'; '.join(checked.reasons)}. Set the clock of this machine, then issue it again"
    )


def certificates_of(context: RequestContext, identifier: str) -> tuple[Path, ...]:
    """The files of a request's certificates, the oldest first. Raises UnknownName."""
    context.store.request(identifier)
    found = [
        context.settings.certificates / _name(identifier, str(entry.detail["statement"]))
        for entry in context.store.events(KIND)
        if entry.detail["request"] == identifier
    ]
    return tuple(path for path in dict.fromkeys(found) if path.is_file())


def uncertified(context: RequestContext, identifier: str) -> str:
    """Why a request has no certificate, and what is next, in a sentence for whoever asks.

    Raises UnknownName.
    """
    from olvido.requests.not_learned import concluded  # which needs this package

    request = context.store.request(identifier)
    if (why := concluded(request)) is not None:
        none = "nothing was forgotten for it, so no forgetting can be certified"
        return not_now(context, request, f"{none} ({why['because']})")
    if request.status not in (RequestStatus.PUBLISHED, RequestStatus.CLOSED):
        return not_now(context, request, "it has no certificate yet, since it is not answered")
    if not request.kind.forgets:
        return not_now(context, request, f"one of kind {request.kind} is answered without one")
    return (
        f"request {identifier} has no certificate yet: issue it with 'olvido certificate issue "
        f"{identifier}'"
    )


def certificate_about(context: RequestContext, model: str) -> Path | None:
    """The newest certificate of how a model version forgot; None where there is none."""
    for entry in reversed(context.store.events(KIND)):
        name = _name(str(entry.detail["request"]), str(entry.detail["statement"]))
        path = context.settings.certificates / name
        said = statement_of(read_document(path)) if path.is_file() else None
        after = said and said["predicate"]["models"]["after"]
        if after and after["id"] == model:
            return path
    return None


def _issued(context: RequestContext, core: Mapping[str, Any], key: SigningKey) -> Path | None:
    """The valid certificate of the same answer and closure, whichever code version made it."""
    for path in certificates_of(context, core["request"]["id"]):
        checked = check(read_document(path), key.public)
        if checked.holds and checked.statement is not None:
            predicate = checked.statement["predicate"]
            if all(predicate[name] == core[name] for name in ("report", "closure", "models")):
                return path
    return None


def _name(identifier: str, digest: str) -> str:
    return f"{identifier}-{digest.removeprefix('sha256:')[:16]}.json"


def _place(context: RequestContext, number: int, key: SigningKey) -> dict[str, Any]:
    """The log's entry that commits to the certificate, with the proof: a `LogPlace`."""
    found = context.store.prove_entry(number, key)
    assert found.entry.salt is not None
    return {
        "index": number - 1,
        "at": found.entry.at.isoformat(),
        "salt": found.entry.salt.hex(),
        "proof": [step.hex() for step in found.proof],
        "checkpoint": found.checkpoint.note,
    }


def statement_about(core: Mapping[str, Any], log: Mapping[str, Any]) -> dict[str, Any]:
    """The statement to be signed: its content, its model, and its place in the log."""
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
        "predicate": {**core, "log": dict(log)},
    }


def statement_core(context: RequestContext, request: Request) -> dict[str, Any]:
    """All content of a certificate but its place in the log.

    Raises:
        StateError: the request was not answered, by a new version or by destroying its model; or
            what was logged then is not what ledger and report say now.
    """
    from olvido.requests.not_learned import concluded  # which needs this package

    if why := concluded(request):
        raise StateError(
            f"nothing was forgotten for request {request.id} ({why['because']}), so there is no "
            "forgetting to certify: its letter says so"
        )
    done, entry = answered(context.store, request)
    guarantee, audit, bound = Guarantee(done["guarantee"]), None, done.get(BOUND)
    basis = DECLARED if done["training"]["learner"] == DECLARED else WITNESSED
    if guarantee is Guarantee.DESTROYED:
        _require_gone(context, request)
    elif done["report"] is not None:
        report = report_of(context.settings.reports / f"{request.id}.json", done)
        audit = _audit(report["attempts"][-1]["audit"])
    return {
        **{name: value for name, value in done.items() if name != BOUND},
        "request": {**done["request"], "answered": entry.at.isoformat()},
        "guarantee": {"class": guarantee.value, "meaning": MEANING[guarantee], "bound": bound},
        "training": {"basis": basis, **done["training"]},
        "audit": audit,
        "utility": utility(audit),
        "closure": closure_of(context.store, request),
        "not_proven": list(limits_of(guarantee, basis)),
    }


def _require_gone(context: RequestContext, request: Request) -> None:
    """Raise StateError unless a model that was destroyed is gone."""
    model = context.store.model(request.scope["model"])
    # Files that others put into its folder stay there.
    if model.tombstone is None or any(owned(context.settings.models / model.path)):
        raise StateError(f"model {model.id} was not destroyed: there is nothing to certify")


def _audit(report: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """An audit's report without the data for its charts."""
    if report is None:
        return None
    findings = [
        {name: found[name] for name in CertifiedFinding.model_fields}
        for found in report["findings"]
    ]
    return {name: report[name] for name in CertifiedAudit.model_fields} | {"findings": findings}
