"""Check whether a certificate is to be believed: by signature, log, and its own evidence.

A certificate is a DSSE envelope (github.com/secure-systems-lab/dsse, version 1.0.2) around
canonical JSON (RFC 8785), so that a statement has one text and one digest.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from olvido.errors import InputError
from olvido.extras import extra
from olvido.files import finite
from olvido.ledger.digests import Digest, canonical_json, included
from olvido.ledger.facts import Guarantee
from olvido.ledger.signing import LogCheckpoint, PublicKey, SigningKey
from olvido.ledger.store.log import commit
from olvido.requests.certificate.claims import overclaims
from olvido.schemas.certificate import Certificate

with extra("service"):
    import rfc8785

PAYLOAD = "application/vnd.in-toto+json"


class Unbelievable(Exception):
    """Raised for an envelope that is not to be believed; the text says why."""


def canonical(value: Any) -> bytes:
    """Write a value as canonical JSON (RFC 8785), with null for a number that is not finite."""
    return rfc8785.dumps(finite(value))


def seal(statement: Mapping[str, Any], key: SigningKey) -> dict[str, Any]:
    """Sign a statement."""
    payload = canonical(statement)
    signature = key.sign(_encoded(PAYLOAD, payload))
    return {
        "payloadType": PAYLOAD,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [
            {"keyid": key.public.id, "sig": base64.b64encode(signature).decode()},
        ],
    }


def statement_of(envelope: Mapping[str, Any]) -> dict[str, Any] | None:
    """The statement in an envelope, its signature unchecked; None where it cannot be read."""
    try:
        said = json.loads(_decoded(envelope.get("payload")))
    except (Unbelievable, ValueError):
        return None
    return said if isinstance(said, dict) else None


def unseal(envelope: Mapping[str, Any], key: PublicKey) -> dict[str, Any]:
    """Return the statement in an envelope, after a check that the key signed it.

    Raises:
        Unbelievable: anything about it is not as it should be.
    """
    if envelope.keys() != {"payloadType", "payload", "signatures"}:
        raise Unbelievable("it is no DSSE envelope: it has other members")
    if envelope["payloadType"] != PAYLOAD:
        raise Unbelievable(f"its payload is not of the type {PAYLOAD}")
    signatures = envelope["signatures"]
    if not isinstance(signatures, list) or len(signatures) != 1:
        raise Unbelievable("it does not have one signature")
    signature = signatures[0]
    if not isinstance(signature, dict) or signature.keys() != {"keyid", "sig"}:
        raise Unbelievable("its signature is no key's id and signature")
    if signature["keyid"] != key.id:
        raise Unbelievable("it names another key than the one it is checked with")
    payload = _decoded(envelope["payload"])
    if not key.verifies(_encoded(PAYLOAD, payload), _decoded(signature["sig"])):
        raise Unbelievable("its signature is not that of the key over its content")
    try:
        statement = json.loads(payload)
        same = isinstance(statement, dict) and canonical(statement) == payload
    except (ValueError, RecursionError) as error:
        raise Unbelievable(f"its content is no JSON ({error})") from error
    if not same:
        raise Unbelievable("its content is not in canonical form")
    return dict(statement)


def _encoded(kind: str, payload: bytes) -> bytes:
    """The pre-authentication encoding, over which the signature is made."""
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)


def _decoded(text: Any) -> bytes:
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise Unbelievable("it holds something that is no base64") from error
    if base64.b64encode(content).decode() != text:
        raise Unbelievable("it holds base64 that is not in its one form")
    return content


KIND = "certificate-issued"
"""The kind of the log's entry that commits to a certificate."""


@dataclass(frozen=True)
class CertificateCheck:
    """The result of checking a certificate.

    Attributes:
        reasons: why the certificate is not to be believed; none where it holds.
        statement: its statement; None where the key did not sign it.
        weights: digest of the weights of the model that came with it; None where none did.
    """

    reasons: tuple[str, ...]
    statement: Mapping[str, Any] | None
    weights: str | None

    @property
    def holds(self) -> bool:
        """Whether the certificate is to be believed."""
        return not self.reasons

    @property
    def replay(self) -> str | None:
        """The command that retrains the model to compare it; None where that is impossible."""
        if self.statement is None or not self.holds:
            return None
        predicate = self.statement["predicate"]
        if predicate["guarantee"]["class"] != Guarantee.EXACT:
            return None
        return f"olvido verify-exact {predicate['models']['after']['id']}"


def detail_of(core: Mapping[str, Any]) -> dict[str, str | None]:
    """The detail of the log's entry about a certificate."""
    return {
        "request": core["request"]["id"],
        "report": core["report"],
        "statement": str(Digest.of(canonical(core))),
    }


def check(
    envelope: Mapping[str, Any],
    key: PublicKey,
    weights: str | None = None,
    function: str | None = None,
) -> CertificateCheck:
    """Look for reasons not to believe a certificate, without workspace or network.

    Args:
        envelope: the certificate's file, parsed.
        key: the public key of the expected issuer, known from elsewhere.
        weights, function: digests of the model that comes with it (`weights_digest`,
            `function_digest`).
    """
    try:
        statement = unseal(envelope, key)
    except Unbelievable as error:
        return CertificateCheck((str(error),), None, weights)
    if wrong := Certificate.misfits(statement):
        return CertificateCheck(tuple(wrong), statement, weights)
    core = {name: value for name, value in statement["predicate"].items() if name != "log"}
    reasons = overclaims(core)
    if reasons:
        return CertificateCheck(tuple(reasons), statement, weights)
    reasons += _logged(core, statement["predicate"]["log"], key)
    models = core["models"]
    shown = models["after"] or models["before"]
    subject = {
        "name": f"model {shown['id']}",
        "digest": {"weightsSha256": shown["weights"].removeprefix("sha256:")},
    }
    if statement["subject"] != [subject]:
        reasons.append("its subject is another model than the one that it tells of")
    if weights is not None and models["after"] is None:
        reasons.append("it says that the model was destroyed, and here one is")
    elif weights is not None and weights != models["after"]["weights"]:
        reasons.append(
            f"it is about another model, whose weights are {models['after']['weights']}; this "
            f"one's are {weights}"
        )
    elif function is not None and function != (models["after"] or {}).get("function"):
        reasons.append(
            "the files that decide how its model answers (configuration, tokenizer, template, "
            f"olvido.json) are others: the digest of this one's is {function}"
        )
    return CertificateCheck(tuple(reasons), statement, weights)


def _logged(core: Mapping[str, Any], log: Mapping[str, Any], key: PublicKey) -> list[str]:
    """What is wrong with a certificate's place in the log."""
    try:
        checkpoint = LogCheckpoint.read(log["checkpoint"])
        at, answered = (
            datetime.fromisoformat(time) for time in (log["at"], core["request"]["answered"])
        )
    except (InputError, ValueError) as error:
        return [f"its place in the log cannot be read: {error}"]
    if not checkpoint.signed_by(key):
        return ["the head of its log is not signed with the key"]
    text = canonical_json(detail_of(core)).decode()
    leaf = commit(bytes.fromhex(log["salt"]), log["index"] + 1, log["at"], KIND, text)
    proof = [bytes.fromhex(step) for step in log["proof"]]
    if not included(leaf.raw, log["index"], checkpoint.entries, proof, checkpoint.head):
        return ["the log does not commit to what it says"]
    if at < answered:
        return ["it was logged before the request was answered"]
    if at > datetime.now(UTC) + timedelta(days=1):
        return [f"it was logged on {at.date()}, which is still to come"]
    return []
