"""What a certificate holds, member by member. What is not named here has no place in one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from olvido.artifacts import KINDS
from olvido.requests.limits import SAID

VERSION = "urn:olvido:forgetting-certificate:v4"

ANY = object()
"""Any JSON value."""
_DIGEST = re.compile(r"sha256:(?!0{64})[0-9a-f]{64}")
_HEX = re.compile(r"[0-9a-f]{64}")
_TIME = re.compile(
    r"[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}(\.[0-9]{1,6})?[+-][0-9]{2}:[0-9]{2}"
)
_DATE = re.compile(r"[0-9]{4}(-[0-9]{2}){2}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REQUEST = re.compile(r"req-[0-9]{4,9}")
_WORD = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_LABEL = re.compile(r"[A-Za-z0-9@.,:%'+() -]{1,120}")
"""What a measure is called: no markup, and no letters that only names have."""
_PROBE = re.compile(r"[^\x00-\x1f\x7f<>]{1,120}")
REST = "everything else"
"""What a request that is not closed has not yet been through."""
_ARTEFACT = re.compile(rf"({'|'.join([*KINDS, REST])})(:[0-9a-f]{{12,16}})?")
_MODEL: Mapping[str, Any] = {
    "id": re.compile(r"[0-9a-f]{12}"),
    "weights": _DIGEST,
    "function": _DIGEST,
}
_NUMBER = (None, float)

_FINDING: Mapping[str, Any] = {
    **dict.fromkeys(("audit", "against", "prior", "status"), _WORD),
    "metric": _LABEL,
    "probe": _PROBE,
    "says": SAID,
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
    "reasons": [SAID],
    "grounds": [{"ground": _LABEL, "about": _LABEL, "says": SAID, "details": [SAID]}],
    "findings": [_FINDING],
    "not_examined": ANY,
    "not_possible": ANY,
    "suspect": _DIGEST,
    "before": (None, _DIGEST),
    "never_trained": [_DIGEST],
    "references": [
        {
            "digest": _DIGEST,
            "standing": str,
            "witnessed": bool,
            "tests": {_LABEL: float},
            "adjusted": _NUMBER,
            "control": _NUMBER,
            "beside": (None, _WORD),
            "answers": int,
            "facts": int,
            "knowing": _NUMBER,
        }
    ],
    "original": str,
    "level": _WORD,
    "tolerances": _DIGEST,
    "records": dict.fromkeys(
        ("forget", "paraphrased", "retain", "neighbours", "general", "strangers"), int
    ),
}
"""An audit's report without its exhibits."""

_ITEM: Mapping[str, Any] = {
    "artefact": _ARTEFACT,
    "exit": _WORD,
    "until": (None, _DATE),
    "reason": (None, SAID),
    "by_word": bool,
}

CORE: Mapping[str, Any] = {
    "request": {
        "id": _REQUEST,
        "kind": _WORD,
        "law": (None, _WORD),
        "received": _TIME,
        "answered": _TIME,
        "together": [_REQUEST],
    },
    "guarantee": {
        "class": str,
        "meaning": str,
        "bound": (None, {"epsilon": float, "delta": float, "assumptions": [str]}),
    },
    "models": {"before": _MODEL, "after": (None, _MODEL)},
    "datasets": [
        {
            "id": re.compile(r"[0-9a-f]{16}"),
            "version": int,
            "rows": int,
            "about": int,
            "learned": int,
            "forgotten": int,
            "root_before": _DIGEST,
            "root_after": _DIGEST,
        }
    ],
    "forgotten": {"count": int, "commitment": _DIGEST},
    "records": {"forget": int, "retain": int, "holdout": int},
    "method": {
        "name": _WORD,
        "olvido": re.compile(r"[0-9][0-9a-z.+-]{0,39}|not installed"),
        "options": ANY,
        "seed": int,
        "stopped": SAID,
    },
    "training": {"learner": _WORD, "seed": int, "recipe": ANY},
    "audit": (None, AUDIT),
    "references": [{"digest": _DIGEST, "seed": int}],
    "utility": [
        {"measure": SAID, "before": _NUMBER, "after": _NUMBER, "delta": _NUMBER},
    ],
    "closure": {"complete": bool, "open": [_ARTEFACT], "items": [_ITEM], "unseen": [_ARTEFACT]},
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
        (first, *_) = shape
        if isinstance(first, re.Pattern):
            # Of names that are not known: every one of this form, with what one holds.
            for name, item in value.items():
                yield from misfits(name, first, f"a name in {where}")
                yield from misfits(item, shape[first], f"{where}[{name!r}]")
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
            known = (
                "one of the known kinds" if shape is _ARTEFACT else f"of the form {shape.pattern}"
            )
            yield f"{where} is not {known}"
    elif not (type(value) is shape or (shape is float and type(value) is int)):
        yield f"{where} is no {shape.__name__}"
