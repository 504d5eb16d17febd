"""A DSSE envelope (github.com/secure-systems-lab/dsse, version 1.0.2) around canonical JSON.

The payload is in the one form of RFC 8785, so that a statement has one text and one digest.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

import rfc8785

from olvido.documents import finite
from olvido.ledger.signing import PublicKey, SigningKey

PAYLOAD = "application/vnd.in-toto+json"


class Unbelievable(Exception):
    """An envelope that is not to be believed; the text says why."""


def canonical(value: Any) -> bytes:
    """The form of RFC 8785, with null where a number is not finite."""
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
    """What an envelope says, without asking who signed it; None where it cannot be read."""
    try:
        said = json.loads(_decoded(envelope.get("payload")))
    except (Unbelievable, ValueError):
        return None
    return said if isinstance(said, dict) else None


def unseal(envelope: Mapping[str, Any], key: PublicKey) -> dict[str, Any]:
    """The statement in an envelope, once its signature is found to be the key's.

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
