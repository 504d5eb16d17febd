"""Days from which legal duties apply, and a self-check against the failings that regulators found.

Both are read from `duties.toml`, each line with its source and confidence. The self-check asks
about the seven failings in the European Data Protection Board's report on erasure (Coordinated
Enforcement Framework 2025), each with the ledger's counts. It judges nothing: procedures, training
and the weighing of cases are the work of people.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from olvido.ledger.facts import RequestStatus
from olvido.ledger.store import Store
from olvido.requests.closure.inventory import OUTSIDE
from olvido.requests.rights.deadlines import answered_late, days_left, law_of
from olvido.requests.rights.law import Confidence
from olvido.settings import Settings

_FILE = Path(__file__).parent / "duties.toml"


@dataclass(frozen=True, slots=True)
class Duty:
    """A day from which a legal duty applies.

    Attributes:
        on: the day.
        regime: an act, or the name of a law that requests are entered under.
        article, says: the article, and its content.
        source, confidence: where this was read, and how sure it is.
    """

    on: date
    regime: str
    article: str
    says: str
    source: str
    confidence: Confidence

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self) | {"on": self.on.isoformat(), "confidence": self.confidence.value}


@dataclass(frozen=True, slots=True)
class CommonFailing:
    """One failing that regulators found.

    Attributes:
        name: its name in a word.
        found: what the regulators found.
        ask: the question to ask oneself.
        shown: the ledger's counts about it; empty where the ledger has none.
    """

    name: str
    found: str
    ask: str
    shown: Mapping[str, int]


@cache
def _read() -> dict[str, Any]:
    return tomllib.loads(_FILE.read_text("utf-8"))


def duties() -> tuple[Duty, ...]:
    """All days with their duties, the earliest first.

    >>> [duty.on.year for duty in duties() if duty.article == "6(2), Annex III"]
    [2027]
    """
    found = [Duty(**day | {"confidence": Confidence(day["confidence"])}) for day in _read()["day"]]
    return tuple(sorted(found, key=lambda duty: (duty.on, duty.regime)))


def check_source() -> str:
    """The source of the failings, its date and its confidence, in a line."""
    found = _read()["found"]
    return f"{found['source']}, {found['dated']} (confidence: {found['confidence']})"


def self_check(store: Store, settings: Settings) -> tuple[CommonFailing, ...]:
    """The seven failings, each with the ledger's counts."""
    shown: Mapping[str, Callable[[Store, Settings], dict[str, int]]] = {
        "procedure": _procedure,
        "information": _information,
        "exceptions": _exceptions,
        "retention": _retention,
        "backups": _outside,
        "anonymisation": _hidden,
    }
    return tuple(
        CommonFailing(
            **one, shown=shown[one["name"]](store, settings) if one["name"] in shown else {}
        )
        for one in _read()["failing"]
    )


def _procedure(store: Store, settings: Settings) -> dict[str, int]:
    requests = store.requests()
    left = [days_left(request, settings) for request in requests if request.status.pending]
    return {
        "requests": len(requests),
        "pending": len(left),
        "pending and late": sum(days is not None and days < 0 for days in left),
        "answered late": sum(answered_late(request, settings) for request in requests),
        "without a law, so without a day": sum(request.law is None for request in requests),
    }


def _information(store: Store, settings: Settings) -> dict[str, int]:
    laws = [law_of(request, settings) for request in store.requests()]
    none = sum(law is None for law in laws)
    return {"requests whose letters can name no recourse by themselves": none}


def _exceptions(store: Store, settings: Settings) -> dict[str, int]:
    last = [r.history[-1] for r in store.requests() if r.status is RequestStatus.REFUSED]
    return {
        "refused": len(last),
        "of them without a reason": sum(not s.detail.get("why") for s in last),
    }


def _retention(store: Store, settings: Settings) -> dict[str, int]:
    datasets = store.datasets()
    none = sum(not dataset.documentation.retention for dataset in datasets)
    return {"datasets": len(datasets), "of them without a period of retention": none}


def _outside(store: Store, settings: Settings) -> dict[str, int]:
    items = [
        item
        for request in store.requests()
        for item in store.closure(request.id)
        if item.item in OUTSIDE
    ]
    exits = Counter("open" if item.exit is None else item.exit.value for item in items)
    return {f"backups and recipients: {name}": count for name, count in sorted(exits.items())}


def _hidden(store: Store, settings: Settings) -> dict[str, int]:
    hidden = [
        request
        for request in store.requests()
        if any("suppress" in step.detail for step in request.history)
    ]
    ended = sum(
        request.status in (RequestStatus.PUBLISHED, RequestStatus.CLOSED) for request in hidden
    )
    return {"requests with output withheld": len(hidden), "of them forgotten since": ended}
