"""What a certificate holds, member by member. What is not named here has no place in one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

VERSION = "urn:olvido:forgetting-certificate:v1"

ANY = object()
"""Any JSON value."""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_HEX = re.compile(r"[0-9a-f]{64}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?[+-]\d\d:\d\d")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_MODEL: Mapping[str, Any] = {"id": re.compile(r"[0-9a-f]{12}"), "weights": _DIGEST}
_NUMBER = (None, float)

_FINDING: Mapping[str, Any] = {
    **dict.fromkeys(("audit", "metric", "probe", "against", "prior", "status", "says"), str),
    **dict.fromkeys(("value", "expected", "before", "excess", "p", "adjusted"), _NUMBER),
    "never_trained": [_NUMBER],
    "interval": (None, [_NUMBER]),
    "n": int,
    "clusters": int,
    "tolerance": [_NUMBER],
    "votes": bool,
}

AUDIT: Mapping[str, Any] = {
    "verdict": str,
    "reasons": [str],
    "grounds": [{"ground": str, "about": str, "says": str, "details": [str]}],
    "findings": [_FINDING],
    "not_examined": ANY,
    "not_possible": ANY,
    "suspect": _DIGEST,
    "before": (None, _DIGEST),
    "never_trained": [_DIGEST],
    "level": str,
    "tolerances": _DIGEST,
    "records": ANY,
}
"""An audit's report without its exhibits."""

_ITEM: Mapping[str, Any] = {
    "artefact": str,
    "exit": str,
    "until": (None, _DATE),
    "reason": (None, str),
}

CORE: Mapping[str, Any] = {
    "request": {
        "id": str,
        "kind": str,
        "law": (None, str),
        "received": _TIME,
        "answered": _TIME,
        "together": [str],
    },
    "guarantee": {
        "class": str,
        "meaning": str,
        "bound": (None, {"epsilon": float, "delta": float, "assumptions": [str]}),
    },
    "models": {"before": _MODEL, "after": (None, _MODEL)},
    "datasets": [
        {
            "id": str,
            "version": int,
            "rows": int,
            "about": int,
            "forgotten": int,
            "root_before": _DIGEST,
            "root_after": _DIGEST,
        }
    ],
    "forgotten": {"count": int, "commitment": _DIGEST},
    "method": {"name": str, "olvido": str, "options": ANY, "seed": int, "stopped": str},
    "training": {"learner": str, "seed": int, "recipe": ANY},
    "audit": (None, AUDIT),
    "references": [{"digest": _DIGEST, "seed": int}],
    "utility": [
        {"measure": str, "before": _NUMBER, "after": _NUMBER, "delta": _NUMBER},
    ],
    "closure": {"complete": bool, "open": [str], "items": [_ITEM]},
    "made_by": {
        "commit": (None, _COMMIT),
        "changed": (None, bool),
        "source": _DIGEST,
        "packages": _DIGEST,
        "hardware": _DIGEST,
        "environment": ANY,
    },
    "report": (None, _DIGEST),
    "not_proven": [str],
}
"""What is certified; the log commits to its digest."""

LOG: Mapping[str, Any] = {
    "index": int,
    "at": _TIME,
    "salt": _HEX,
    "proof": [_HEX],
    "checkpoint": str,
}
"""Where the log says that this was certified, and the way from there to a signed head."""

STATEMENT: Mapping[str, Any] = {
    "_type": re.compile("https://in-toto.io/Statement/v1"),
    "subject": [{"name": str, "digest": {"weightsSha256": _HEX}}],
    "predicateType": re.compile(re.escape(VERSION)),
    "predicate": {**CORE, "log": LOG},
}


def misfits(value: Any, shape: Any, where: str = "it") -> Iterator[str]:
    """What is missing, too much, or of another kind than it should be."""
    if shape is ANY:
        return
    if isinstance(shape, tuple):
        if value is not None:
            yield from misfits(value, shape[1], where)
    elif isinstance(shape, Mapping):
        if not isinstance(value, dict):
            yield f"{where} is no object"
            return
        for name in sorted(shape.keys() - value.keys()):
            yield f"{where} lacks {name!r}"
        for name in sorted(value.keys() - shape.keys()):
            yield f"{where} has {name!r}, which has no place there"
        for name in shape.keys() & value.keys():
            yield from misfits(value[name], shape[name], f"{where}.{name}")
    elif isinstance(shape, list):
        if not isinstance(value, list):
            yield f"{where} is no list"
            return
        for place, item in enumerate(value):
            yield from misfits(item, shape[0], f"{where}[{place}]")
    elif isinstance(shape, re.Pattern):
        if not isinstance(value, str) or shape.fullmatch(value) is None:
            yield f"{where} is not of the form {shape.pattern}"
    elif not (type(value) is shape or (shape is float and type(value) is int)):
        yield f"{where} is no {shape.__name__}"
