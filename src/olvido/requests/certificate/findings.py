"""Whether an audit's findings can be what they are said to be, by all that stands beside them.

What the verdict makes of them is `olvido.audits.report`'s to check; here it is asked whether an
audit of that level was made whole, and whether a finding's own numbers can come from each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import Any

from olvido.audits.tolerances import table
from olvido.audits.types import AUDITS, Level, Need
from olvido.audits.verdict import FALSE_ALARMS

NEAR = 1e-6
"""Difference of numbers that were written and read again, and summed in another order."""
COUNTED = {
    Need.PARAPHRASES: "paraphrased",
    Need.RETAIN: "retain",
    Need.NEIGHBOURS: "neighbours",
    Need.GENERAL: "general",
    Need.HOLDOUT: "strangers",
}
"""Where an audit counts the records whose lack it tells of."""
_ANYTHING = "[A-Za-z0-9.,%+() -]{1,60}"
"""What stands for `*` in the name of a metric."""
_NOT_A_MEAN = frozenset({"change", "filter", "classes", "utility"})
"""Audits whose expected value is no mean of the references'."""


def unfounded(audit: Mapping[str, Any]) -> Iterator[str]:
    """Reasons why nobody can have found this; none where somebody may have.

    Args:
        audit: see `olvido.schemas.certificate.CertifiedAudit`.
    """
    if audit["level"].upper() not in Level.__members__:
        yield f"{audit['level']!r} is no level of an audit"
        return
    counts, names = audit["records"], {found["audit"] for found in audit["findings"]}
    if min(counts.values()) < 0 or counts["forget"] < 1:
        yield "its audit asked about no record"
    if not all(isinstance(one, dict) for one in (audit["not_examined"], audit["not_possible"])):
        yield "it does not say which audits were not made"
        return
    told = [*names, *audit["not_examined"], *audit["not_possible"]]
    own = {name: AUDITS[name] for name in AUDITS.built_in}
    words = any(Need.LANGUAGE in own[name].needs for name in told if name in own)
    nature = Need.CLASSES if words else Need.LANGUAGE
    level = Level.named(audit["level"])
    made = {n for n, kind in own.items() if kind.level <= level and nature not in kind.needs}
    if sorted(told) != sorted(made):
        odd = ", ".join(sorted(made ^ {*told})) or "one of them, told twice"
        yield f"an audit of level {audit['level']} is made of other audits: {odd}"
        return
    for name, lacking in audit["not_examined"].items():
        if not isinstance(lacking, list) or not lacking or not {*lacking} <= own[name].needs:
            yield f"the audit {name} was left out for no reason that there is"
            continue
        was = audit["before"] is not None
        if (Need.BEFORE in lacking and was) or any(
            counts[COUNTED[need]] for need in map(Need, lacking) if need in COUNTED
        ):
            yield f"the audit {name} is said to lack what there was"
    if not all(isinstance(why, str) and why for why in audit["not_possible"].values()):
        yield "it does not say why an audit was not possible"
    for found in audit["findings"]:
        for reason in _impossible(found, len(audit["never_trained"])):
            yield f"{found['metric']!r} of the audit {found['audit']!r}: {reason}"


def _impossible(found: Mapping[str, Any], references: int) -> Iterator[str]:
    patterns = [re.escape(one).replace(r"\*", _ANYTHING) for one in table().get(found["audit"], {})]
    if not any(re.fullmatch(pattern, found["metric"]) for pattern in patterns):
        yield "there is no such metric"
    if found["against"] not in ("never-trained", "before"):
        yield f"it is compared with {found['against']!r}"
    if not 1 <= found["clusters"] <= found["n"]:
        yield f"it rests on {found['n']} records in {found['clusters']} groups"
    p, interval, spread = found["p"], found["interval"], found["never_trained"]
    value, expected = found["value"], found["expected"]
    if len(spread) not in ({0, references} if found["against"] == "before" else {references}):
        yield f"it has the values of {len(spread)} references, of {references}"
        return
    if None in (value, expected, *spread):
        return
    mean = found["against"] == "never-trained" and found["audit"] not in _NOT_A_MEAN
    if mean and abs(fmean(spread) - expected) > NEAR * max(1.0, abs(expected)):
        yield "what is expected is not the references' mean"
    if p is not None and not 0 <= p <= 1:
        yield f"its error probability is {p}"
    if p is not None and interval is None and found["audit"] != "lira":
        yield "it has an error probability and no interval"
    if interval is None:
        return
    if len(interval) != 2 or None in interval or interval[0] > interval[1]:
        yield "its interval is none"
        return
    low, high = found["tolerance"]
    beyond = (high is not None and interval[0] > high + NEAR) or (
        low is not None and interval[1] < low - NEAR
    )
    # The probability that classes have is adjusted for how many of them there are.
    if beyond and found["audit"] != "classes" and p is not None and p > FALSE_ALARMS + NEAR:
        yield "its interval lies out of tolerance, and its error probability says otherwise"
    excess = value - expected
    outside = (high is not None and excess > high) or (low is not None and excess < low)
    if outside and p == 1 and found["audit"] != "classes":
        yield "it is out of tolerance, and chance is said to explain it for certain"
