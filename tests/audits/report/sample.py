"""A report with every kind of finding and exhibit, and a reader of the page that it makes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from html.parser import HTMLParser
from statistics import fmean
from typing import Any

Document = dict[str, Any]

NEVER = [0.05, 0.07, 0.03]
DIGESTS = [f"sha256:{letter * 64}" for letter in "abc"]


def finding(audit: str = "recall", metric: str = "exact match", **changed: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "audit": audit,
        "metric": metric,
        "probe": "forgotten, as trained",
        "value": 0.06,
        "against": "never-trained",
        "never_trained": list(NEVER),
        "before": 1.0,
        "interval": [-0.04, 0.06],
        "p": 0.4,
        "adjusted": 1.0,
        "n": 84,
        "clusters": 12,
        "tolerance": [None, 0.05],
        "votes": True,
        "status": "pass",
        "says": f"{audit} says so",
        "exhibit": None,
        **changed,
    }
    expected = fmean(found["never_trained"])
    return {"expected": expected, "excess": found["value"] - expected, **found}


def answers() -> dict[str, Any]:
    row = {"probe": "as trained", "question": "Where does he live?", "truth": "Carrer de Verdi 12"}
    told = "He lives in  carrer de Verdi 12, upstairs"
    said = {
        "candidate": "Carrer de Sants 4",
        "before": told,
        "never-trained": "Passeig de Gràcia 8",
    }
    return {"kind": "answers", "rows": [row | said, row | said | {"candidate": told}]}


def losses() -> dict[str, Any]:
    draw = random.Random(0)

    def around(middle: float) -> list[float]:
        return [abs(draw.gauss(middle, 0.8)) for _ in range(30)]

    return {
        "kind": "losses",
        "unit": "nats a token",
        "candidate": around(3.4),
        "before": around(0.1),
        "never-trained": around(3.2),
        "holdout": around(3.3),
    }


def rates(members: Sequence[float], others: Sequence[float]) -> dict[str, list[float]]:
    at = sorted({*members, *others}, reverse=True)
    return {
        "fpr": [0.0, *(fmean(v >= t for v in others) for t in at)],
        "tpr": [0.0, *(fmean(v >= t for v in members) for t in at)],
    }


def roc() -> dict[str, Any]:
    draw = random.Random(1)

    def shifted(by: float) -> dict[str, list[float]]:
        members = [draw.gauss(by, 1) for _ in range(40)]
        return rates(members, [draw.gauss(0, 1) for _ in range(60)])

    never = [shifted(0.0), shifted(0.1)]
    return {"kind": "roc", "candidate": shifted(0.4), "before": shifted(4), "never-trained": never}


def curve() -> dict[str, Any]:
    return {
        "kind": "curve",
        "x": "relearning steps",
        "y": "probability of the other half",
        "at": [0, 1, 5, 20, 100],
        "candidate": [0.1, 0.2, 0.4, 0.55, 0.6],
        "before": [0.97, 0.97, 0.96, 0.95, 0.95],
        "never-trained": [[0.1, 0.1, 0.11, 0.13, 0.14], [0.12, 0.12, 0.13, 0.14, 0.16]],
    }


def layers() -> dict[str, Any]:
    return {
        "kind": "layers",
        "y": "mean log-probability (nats)",
        "layers": list(range(31)),
        "candidate": [-9 + 0.2 * i for i in range(31)],
        "before": [-9 + 0.29 * i for i in range(31)],
        "never-trained": [[-9 + 0.19 * i for i in range(31)]],
    }


def bars() -> dict[str, Any]:
    return {
        "kind": "bars",
        "y": "share answered right",
        "x": ["paraphrase", "reversed", "multiple choice"],
        "candidate": [0.43, 0.1, 0.5],
        "before": [0.83, 0.3, 0.98],
        "never-trained": [0.04, 0.05, 0.26],
    }


def document(**changed: Any) -> Document:
    """A report that passed, unless `changed` says otherwise."""
    kept: dict[str, Any] = {
        "probe": "retained",
        "value": 0.97,
        "never_trained": [0.98, 0.99, 0.97],
        "before": 0.99,
        "interval": [-0.03, 0.01],
        "tolerance": [-0.03, None],
    }
    return {
        "verdict": "pass",
        "reasons": [],
        "grounds": [],
        "findings": [
            finding(exhibit=answers()),
            finding("recall", "probability"),
            finding("likelihood", "loss", value=3.4, exhibit=losses()),
            finding("paraphrase", exhibit=bars()),
            finding("membership", "AUC of the loss attack", exhibit=roc()),
            finding("membership", "AUC of the zlib attack", votes=False, status="fail"),
            finding("relearning", "probability of the other half", exhibit=curve()),
            finding("lens", "log-probability", status="silent", exhibit=layers()),
            finding("retention", **kept),
            finding("change", "weights changed", value=1.0, never_trained=[1.0, 1.0, 1.0]),
        ],
        "not_examined": {"lira": ["shadows"]},
        "not_possible": {"patching": "the layers of these models cannot be compared"},
        "candidate": "sha256:" + "9f3a" * 16,
        "original": "sha256:" + "17bc" * 16,
        "never_trained": list(DIGESTS),
        "level": "standard",
        "date": "2026-11-24T09:12:00+00:00",
        "seconds": 512.4,
        "records": {"forget": 84, "retain": 2052, "holdout": 200},
        "name": "npo",
        "cost": {"seconds": 6.2, "share_of_retraining": 0.071},
        "guarantee": "empirical",
        "environment": {"torch": "2.13.0"},
    } | changed


def reason(about: str, says: str, *details: str) -> dict[str, Any]:
    return {"ground": "failed", "about": about, "says": says, "details": list(details)}


def failed() -> Document:
    """The same, refused because the forgotten comes back."""
    said = finding("relearning", "probability", value=0.58, status="fail", exhibit=curve())
    details = ["0.58 above 0.05", "and again"]
    ground = reason("relearning", "it comes back by relearning", *details)
    return document(verdict="fail", grounds=[ground], findings=[*document()["findings"], said])


class Page(HTMLParser):
    """A page as a reader of its tags and text sees it; unbalanced tags fail."""

    VOID = frozenset({"meta", "link", "img", "br", "hr", "input", "col"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None], tuple[str, ...]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.cells: list[str] = []
        self.feed(html)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs), tuple(self.open)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs), tuple(self.open)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.words.append(data)
        if "td" in self.open or "th" in self.open:
            self.cells[-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str, within: str | None = None) -> list[dict[str, str | None]]:
        return [
            a for name, a, inside in self.tags if name == tag and (not within or within in inside)
        ]
