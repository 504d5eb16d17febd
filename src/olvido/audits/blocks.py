"""The audit in plain words: what was forgotten, what was retained, what leaks, what it cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from olvido.audits.types import AUDITS
from olvido.reporting.words import day, duration, listed, mean, number, percent, several, yes_or_no

Found = Mapping[str, Any]

FAMILIES = {
    "asked": "Asked as in training",
    "turned": "Asked in other ways",
    "membership": "Can an attacker tell that it was there?",
    "recovery": "Does it come back?",
    "hidden": "Is it still inside?",
    "kept": "What was to be kept",
    "speech": "Does it still speak?",
    "honesty": "Is the model what it is said to be?",
    "other": "Other audits",
}
"""Groups of audits by the question that they answer, in the order in which people ask."""

PLAIN: dict[str, tuple[str, Callable[[float | None], str]]] = {
    "exact match": ("answers right word for word", percent),
    "probability": ("probability of the right answer", percent),
    "ROUGE-L": ("words of the right answer in its own", percent),
    "repetition": ("word pairs said twice", percent),
    "names said": ("names of the questions that its answers repeat", percent),
    "loss": ("surprise at the right answer (nats a token)", number),
    "weights changed": ("the weights changed", yes_or_no),
    "share of the change in the last layer": ("share of the change in the last layer", percent),
    "share of the truth": ("share of the truth", percent),
}
"""Metrics in plain words, and how to format their values; others are shown by their names."""

SHARES = frozenset(
    {
        *("adapter", "classes", "clues", "formats", "lens", "probes", "refusal"),
        *("relearning", "quantization", "retained", "same-form", "unrelated"),
    }
)
"""Audits whose other metrics are shares of a whole."""

LEAKS = ("turned", "membership", "recovery", "hidden", "other")
"""Groups of audits that attack."""

WORST = ("fail", "unknown", "pass", "silent")
"""Statuses, the worst first."""


@dataclass(frozen=True)
class Line:
    """One decisive number.

    Attributes:
        metric: in plain words.
        probe: what it was measured on.
        value, never, before: of this model, of never-trained ones, and of the original, as text.
        status: of the finding.
    """

    metric: str
    probe: str
    value: str
    never: str
    before: str | None
    status: str


@dataclass(frozen=True)
class QuestionBlock:
    """One of the answers that everybody asks for.

    Attributes:
        heading: the question.
        status: of the worst finding that votes; None where nothing was examined.
        says: the answer, in a sentence.
        lines: the decisive numbers.
        prices: costs, by name.
        absent: audits of this block that did not run.
        more: findings that have no line of their own.
    """

    heading: str
    status: str | None
    says: str
    lines: tuple[Line, ...] = ()
    more: int = 0
    prices: tuple[tuple[str, str], ...] = ()
    absent: tuple[str, ...] = ()


def family(audit: str) -> str:
    """The family of an audit, a key of `FAMILIES`."""
    found = AUDITS[audit].family if audit in AUDITS else "other"
    return found if found in FAMILIES else "other"


def of(findings: Sequence[Found], *families: str) -> list[Found]:
    """The findings of these families."""
    return [found for found in findings if family(str(found["audit"])) in families]


def worst(findings: Sequence[Found]) -> str | None:
    """The worst status among those that vote."""
    seen = {found["status"] for found in findings if found.get("votes", True)}
    return next((status for status in WORST if status in seen), None)


def headline(document: Mapping[str, Any]) -> str:
    """The verdict in one sentence."""
    if document["verdict"] == "pass":
        return "This model passed: it knows the forgotten no better than models that never saw it"
    if document["verdict"] == "unknown":
        return "This audit could not decide, and that is not a pass"
    said = {
        "honesty": "it is not what it is said to be",
        "asked": "asked directly, it does not answer like models that never saw the forgotten",
        "turned": "it gives the forgotten away when asked in other ways",
        "membership": "an attacker can tell that the forgotten was there",
        "recovery": "the forgotten can be brought back",
        "hidden": "the forgotten is still inside",
        "kept": "it lost what it was to keep",
        "speech": "its answers are not fluent language",
    }
    failed = [f for f in document["findings"] if f["status"] == "fail" and f.get("votes", True)]
    why = [words for name, words in said.items() if of(failed, name)]
    # A sentence stays readable with three reasons; all of them follow it.
    return "This model did not pass" + (f": {listed(why[:3])}" if why else "")


def examined(document: Mapping[str, Any]) -> str:
    """The audit's material, in a sentence or two."""
    records = document.get("records") or {}
    never = len(document["never_trained"])
    parts = []
    if forgotten := records.get("forget"):
        parts.append(f"{several(forgotten, 'record')} to be forgotten")
    rest = sum(count for kind, count in records.items() if kind != "forget" and count)
    if rest:
        parts.append(f"{several(rest, 'other')} beside them" if parts else several(rest, "record"))
    parts.append(
        f"{several(never, 'model')} that never saw the forgotten, as the mark to meet"
        if never
        else "no model that never saw the forgotten"
    )
    text = f"Examined: {listed(parts)}"
    if level := document.get("level"):
        text += f", at the level “{level}”"
    if date := document.get("date"):
        text += f", on {day(str(date))}"
    if seconds := document.get("seconds"):
        text += f", in {duration(seconds)}"
    return f"{text}."


def blocks(document: Mapping[str, Any]) -> list[QuestionBlock]:
    """The four answers, in the order in which they are asked."""
    findings = document["findings"]
    return [
        _block(
            "What was forgotten",
            document,
            ("asked", "honesty"),
            {
                "pass": "Asked directly, it knows no more of the forgotten than models that never "
                "saw it.",
                "fail": "Asked directly, it does not answer like models that never saw the "
                "forgotten."
                if worst(of(findings, "asked")) == "fail"
                else "Its answers are as they should be, but it is not what it is said to be.",
                "unknown": "Whether it was forgotten could not be decided.",
                "silent": "The model never knew it, so finding it gone proves nothing.",
            },
        ),
        _block(
            "What was kept",
            document,
            ("kept", "speech"),
            {
                "pass": "What was to stay is still there."
                if of(findings, "kept")
                else "Its answers are fluent; what was to stay was not examined.",
                "fail": "It lost things that it was to keep."
                if worst(of(findings, "kept")) == "fail"
                else "What was asked of it is there, but it no longer answers in fluent language."
                if of(findings, "kept")
                else "It no longer answers in fluent language; what was to stay was not examined.",
                "unknown": "Whether the rest was kept could not be decided.",
                "silent": "Nothing that it knew was asked for, so nothing is known.",
            },
        ),
        _block(
            "What still leaks",
            document,
            LEAKS,
            {
                "pass": "No attack that decides got more out of it than out of models that never "
                "saw the forgotten; one that is only shown did."
                if any(f["status"] == "fail" for f in of(findings, *LEAKS))
                else "No attack that was tried got more out of it than out of models that never "
                "saw the forgotten.",
                "fail": "Under attack it gives away what it was to forget, or that it was there.",
                "unknown": "Whether it leaks could not be decided.",
                "silent": "The model never knew it, so an attack that fails proves nothing.",
            },
        ),
        _cost(document),
    ]


def _block(
    heading: str,
    document: Mapping[str, Any],
    families: Sequence[str],
    says: Mapping[str, str],
) -> QuestionBlock:
    findings = of(document["findings"], *families)
    missing = [*(document.get("not_examined") or ()), *(document.get("not_possible") or ())]
    absent = tuple(audit for audit in missing if family(audit) in families)
    status = worst(findings)
    if status is None:
        return QuestionBlock(
            heading,
            None,
            "Nothing that votes was examined, so nothing is known."
            if findings
            else "This was not examined, so nothing is known.",
            absent=absent,
        )
    chosen = decisive(findings)
    return QuestionBlock(
        heading,
        status,
        says[status],
        tuple(map(_line, chosen)),
        len(findings) - len(chosen),
        absent=absent,
    )


def decisive(findings: Sequence[Found], most: int = 4) -> list[Found]:
    """The worst finding of each audit; where there are many, of the worst audits."""
    chosen: dict[str, Found] = {}
    ranked = sorted(findings, key=_rank)
    for found in ranked:
        chosen.setdefault(str(found["audit"]), found)
    kept = sorted(chosen.values(), key=_rank)[:most]
    return [found for found in findings if any(found is one for one in kept)]


def _rank(found: Found) -> tuple[bool, int]:
    return (not found.get("votes", True), WORST.index(found["status"]))


def _line(found: Found) -> Line:
    metric = str(found["metric"])
    plain, shown = PLAIN.get(metric, (metric, percent if found["audit"] in SHARES else number))
    before = found.get("before")
    return Line(
        plain,
        str(found["probe"]),
        shown(found["value"]),
        shown(mean(found["never_trained"])),
        None if before is None else shown(before),
        str(found["status"]),
    )


def _cost(document: Mapping[str, Any]) -> QuestionBlock:
    heading = "What it cost"
    audited = [("this audit", duration(document["seconds"]))] if document.get("seconds") else []
    cost = document.get("cost")
    if not cost:
        says = "The cost of the forgetting was not given to this audit."
        return QuestionBlock(heading, None, says, prices=tuple(audited))
    seconds, share = cost.get("seconds"), cost.get("share_of_retraining")
    says = "What training again would have cost is not known."
    if share is not None:
        says = f"The forgetting took {percent(share)} of what training again takes."
    return QuestionBlock(
        heading, None, says, prices=(("the forgetting", duration(seconds)), *audited)
    )
