"""An audit's report as one page: for a lawyer first, for an engineer after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from olvido.audits.blocks import FAMILIES, blocks, examined, family, headline
from olvido.audits.types import AUDITS, EvidenceNeed, Status
from olvido.errors import InputError
from olvido.reporting import plane as planes
from olvido.reporting.exhibits import answers, exhibit
from olvido.reporting.render import html_of, write_html
from olvido.reporting.words import MARKS, number

VERDICTS = {"pass": "Passed", "fail": "Not passed", "unknown": "Unknown"}

RECORDS = {
    "forget": "to be forgotten",
    "paraphrased": "to be forgotten, in other words",
    "retain": "to be kept",
    "neighbours": "to be kept, nearest to the forgotten",
    "general": "general knowledge",
    "controls": "holdout: no model ever saw them",
}
"""The kinds of records in an audit."""

GUARANTEES = {
    "exact": "equal to a training in which the records never took part. That rests on how the "
    "model was made, which no audit can see: this page only fails to contradict it",
    "certified": "within epsilon and delta of such a training, under stated assumptions. That "
    "rests on a proof, which no audit can see: this page only fails to contradict it",
    "empirical": "passed the audits named, and promises nothing beyond them",
    "suppressed": "hidden at the output; the weights still hold it, and it was not forgotten",
    "destroyed": "the model itself is gone",
}
"""The meaning of a guarantee on a page that knows no more than audits do."""


def write_page(
    document: Mapping[str, Any], path: Path, *, others: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Write one self-contained HTML page without scripts or external resources.

    The page is complete before the file is touched; a failure leaves the old file.

    Args:
        document: an audit's report (`Report.to_dict()`).
        path: the file to write or to replace; its folder exists.
        others: reports of other methods on the same task, for comparison.

    Raises:
        InputError: the document is no report of an audit, or contradicts itself.
    """
    write_html(page(document, others), path)


def page(document: Mapping[str, Any], others: Sequence[Mapping[str, Any]] = ()) -> str:
    """The page as HTML; arguments and errors are those of `write_page`."""
    _check(document)
    return html_of("olvido.audits", "page.html.j2", **_view(document, others))


def _check(document: Mapping[str, Any]) -> None:
    for key in ("verdict", "grounds", "findings", "candidate", "never_trained"):
        if key not in document:
            raise InputError(
                f"this is no report of an audit: it has no {key!r}; give the document that "
                "Report.to_dict() or `olvido audit --json` made"
            )
    if document["verdict"] not in VERDICTS:
        raise InputError(
            f"the verdict of a report is {', '.join(VERDICTS)}, not {document['verdict']!r}"
        )
    for found in document["findings"]:
        if found["status"] not in MARKS:
            raise InputError(
                f"the status of a finding is {', '.join(MARKS)}, not {found['status']!r}"
            )
        if (document["verdict"], found["status"]) == ("pass", "fail") and found.get("votes", True):
            raise InputError(
                f"this report contradicts itself: it passed, though {found['metric']!r} of the "
                f"audit {found['audit']!r} failed; audit the model again"
            )


def _view(document: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The template's values, in its order."""
    findings = [_found(found, place) for place, found in enumerate(document["findings"])]
    plane = planes.plane_of(document, others)
    tallies = {
        status.value: sum(found["status"] == status.value for found in findings)
        for status in Status
    }
    return {
        "document": {"original": None, "records": {}, **document},
        "name": document.get("name"),
        "kinds": RECORDS,
        "headline": headline(document),
        "verdict_in_words": VERDICTS[document["verdict"]],
        "examined": examined(document),
        "reasons": [(reason["says"], reason["details"]) for reason in document["grounds"]],
        "blocks": blocks(document),
        "statuses": {status.value: status.meaning for status in Status},
        "tallies": tallies,
        "findings_all_vote": all(found["votes"] for found in findings),
        "guarantee": document.get("guarantee"),
        "guarantee_means": GUARANTEES.get(document.get("guarantee") or ""),
        "missing": [_missing(*pair) for pair in (document.get("not_examined") or {}).items()]
        + [(audit, [why]) for audit, why in (document.get("not_possible") or {}).items()],
        "families": [
            {
                "key": key,
                "heading": heading,
                "audits": _by_audit([f for f in findings if family(f["audit"]) == key]),
                "shown": [
                    f
                    for f in findings
                    if family(f["audit"]) == key and (f["drawn"] or f["answers"] or f["undrawn"])
                ],
            }
            for key, heading in FAMILIES.items()
            if any(family(f["audit"]) == key for f in findings)
        ],
        "plane": plane,
        "plane_picture": None if plane is None else planes.draw("plane", plane),
        "tolerances": list(
            dict.fromkeys(
                (f["audit"], f["metric"], tuple(f["tolerance"]), f["votes"]) for f in findings
            )
        ),
        "settings": {
            heading: document[key]
            for key, heading in (("options", "Options"), ("environment", "Environment"))
            if document.get(key)
        },
    }


def _found(found: Mapping[str, Any], place: int) -> dict[str, Any]:
    """A finding as the template's values, with its exhibit."""
    shown = found.get("exhibit")
    kind = None if shown is None else str(shown.get("kind"))
    drawn = (
        None
        if shown is None or kind == "answers"
        else exhibit(shown, f"exhibit-{place}", str(found["audit"]))
    )
    return {
        **dict.fromkeys(("before", "interval", "p", "adjusted", "clusters", "expected")),
        "votes": True,
        "against": "never-trained",
        "tolerance": (None, None),
        "excess": None,
        "says": "",
        **found,
        "audit": str(found["audit"]),
        "drawn": drawn,
        "answers": answers(shown) if shown is not None and kind == "answers" else None,
        "undrawn": kind if shown is not None and drawn is None and kind != "answers" else None,
        "spread": [number(value) for value in found["never_trained"]],
    }


def _by_audit(findings: Sequence[dict[str, Any]]) -> list[tuple[str, str | None, list[Any]]]:
    groups: dict[str, list[Any]] = {}
    for found in findings:
        groups.setdefault(found["audit"], []).append(found)
    return [
        (name, AUDITS[name].summary if name in AUDITS else None, found)
        for name, found in groups.items()
    ]


def _missing(audit: str, needs: Sequence[str]) -> tuple[str, list[str]]:
    """An audit that did not run, and the evidence that it lacked."""
    known = {need.value: need.remedy for need in EvidenceNeed}
    return audit, [known.get(need, need) for need in needs] or ["it was not asked for"]
