"""Check that a certificate claims no more than its evidence, before it is signed and after.

This includes whether an audit of its level is complete, and whether the numbers of each finding
agree with each other; `olvido.audits.check` checks that the verdict follows from the findings.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from statistics import fmean
from typing import Any, get_args

from olvido.audits.check import check_report
from olvido.audits.tolerances import table
from olvido.audits.types import AUDITS, EvidenceNeed, Level
from olvido.audits.verdict import FALSE_ALARMS
from olvido.errors import InputError
from olvido.ledger.digests import merkle_root
from olvido.ledger.facts import (
    DECLARED,
    PRIVACY,
    PRIVATE,
    WATCHED,
    Exit,
    Guarantee,
    RequestKind,
)
from olvido.methods import METHODS, REGULARISERS
from olvido.methods.guarantee import MEANING
from olvido.methods.influence import INVERSES
from olvido.requests.certificate.answer import DESTROY, EXITS, OPEN, unseen
from olvido.requests.certificate.limits import LONGEST, limits_of
from olvido.requests.closure.inventory import OUTSIDE
from olvido.requests.closure.places import UNDECIDED
from olvido.schemas.certificate import Core
from olvido.training.plan import DEFINITIONS
from olvido.training.private.accounting import FALSE_POSITIVES, RELATION, Spent
from olvido.training.recipe import DTYPES

NEAR = 1e-6
"""Tolerance for numbers that were written, read again, and summed in another order."""
COUNTED = {
    EvidenceNeed.PARAPHRASES: "paraphrased",
    EvidenceNeed.RETAIN: "retain",
    EvidenceNeed.NEIGHBOURS: "neighbours",
    EvidenceNeed.GENERAL: "general",
    EvidenceNeed.HOLDOUT: "controls",
}
"""For each kind of evidence, the count of its records in an audit's report."""
_ANYTHING = "[A-Za-z0-9.,%+() -]{1,60}"
"""The pattern that `*` in the name of a metric stands for."""
_NOT_A_MEAN = frozenset({"change", "filter", "classes", "utility"})
"""Audits whose expected value is no mean of the references'."""


def unfounded(audit: Mapping[str, Any]) -> Iterator[str]:
    """Reasons why no audit can have found this; none where one may have.

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
    named = [*names, *audit["not_examined"], *audit["not_possible"]]
    own = {name: AUDITS[name] for name in AUDITS.built_in}
    words = any(EvidenceNeed.LANGUAGE in own[name].needs for name in named if name in own)
    nature = EvidenceNeed.CLASSES if words else EvidenceNeed.LANGUAGE
    level = Level.named(audit["level"])
    made = {n for n, kind in own.items() if kind.level <= level and nature not in kind.needs}
    if sorted(named) != sorted(made):
        odd = ", ".join(sorted(made ^ {*named})) or "one of them is listed twice"
        yield f"an audit of level {audit['level']} is made of other audits: {odd}"
        return
    for name, lacking in audit["not_examined"].items():
        if not isinstance(lacking, list) or not lacking or not {*lacking} <= own[name].needs:
            yield f"the audit {name} was left out for no reason that there is"
            continue
        was = audit["original"] is not None
        if (EvidenceNeed.ORIGINAL in lacking and was) or any(
            counts[COUNTED[need]] for need in map(EvidenceNeed, lacking) if need in COUNTED
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


NO_RECORDS = str(merkle_root([]))
_PLAIN = re.compile(r"[A-Za-z0-9_.,;+:/() @-]{1,400}")
_METHODS = frozenset(METHODS.built_in) - {"auto"}
_OPTION_WORDS = frozenset({*REGULARISERS, *INVERSES, *DEFINITIONS, *DTYPES, *_METHODS})
"""The pattern of an option's value that is text."""


def overclaims(core: Mapping[str, Any]) -> list[str]:
    """Reasons why an answer must not be certified; none where every claim has its evidence.

    Args:
        core: what is to be certified, see `olvido.schemas.certificate.Core`.
    """
    if wrong := Core.misfits(core):
        return wrong
    return [
        reason
        for rule in (_guarantee, _made, _models, _audit, _records, _closure, _times)
        for reason in rule(core)
    ]


def _guarantee(core: Mapping[str, Any]) -> Iterator[str]:
    claimed, method = core["guarantee"]["class"], core["method"]["name"]
    if claimed not in list(Guarantee):
        yield f"{claimed!r} is no guarantee: {', '.join(Guarantee)} are"
        return
    guarantee = Guarantee(claimed)
    if core["guarantee"]["meaning"] != MEANING[guarantee]:
        yield f"it says of {claimed} more or else than it means: {MEANING[guarantee]}"
    training = core["training"]
    if core["not_proven"] != list(limits_of(guarantee, training["basis"])):
        yield f"it does not say what {claimed} leaves unproven"
    if (training["basis"] == DECLARED) != (training["learner"] == DECLARED):
        yield "its training is declared by its learner and witnessed by its basis, or the other way"
    if training["basis"] == DECLARED and guarantee in (Guarantee.EXACT, Guarantee.CERTIFIED):
        yield f"nobody witnessed the training, so that no forgetting of it can be {claimed}"
    if training["learner"] == WATCHED and guarantee is Guarantee.EXACT:
        yield "another trainer trained the model, so that no step of it can be repeated exactly"
    if core["request"]["kind"] not in [kind for kind in RequestKind if kind.forgets]:
        yield f"{core['request']['kind']!r} is no kind of request"
    known = {name: kind.guarantee for name, kind in METHODS.items()}
    known |= {DESTROY: Guarantee.DESTROYED, PRIVATE: Guarantee.CERTIFIED}
    if method not in known:
        yield f"the method {method!r} is not known, so nothing can be claimed of it"
    elif known[method] is not guarantee:
        yield f"the method {method} gives {known[method]} forgetting, not {claimed}"
    if (core["report"] is None) != (method in (DESTROY, PRIVATE)):
        yield "every run has a report, and nothing is run where a model is destroyed or stays"
    bound = core["guarantee"]["bound"]
    if (bound is not None) != (guarantee is Guarantee.CERTIFIED):
        yield "a bound belongs to a certified forgetting, and to no other"
    elif bound is not None:
        yield from _bound(bound, training)


def _bound(bound: Mapping[str, Any], training: Mapping[str, Any]) -> Iterator[str]:
    """Check that a bound follows from what the training promised one unit."""
    try:
        spent = Spent.from_dict(dict(training["recipe"][PRIVACY]))
        due = spent.of_group(bound["units"])
    except (KeyError, TypeError, ValueError, InputError, OverflowError):
        yield "its bound is of a training that promised nothing, or of no unit of it"
        return
    if training["learner"] != PRIVATE or not spent.secret:
        yield "its bound is of a training whose noise was not secret, or which had none"
    if not (0 < due.epsilon < math.inf and 0 < due.delta < 1):
        yield "its training promises nothing of so many units"
    if (bound["unit"], bound["relation"], bound["accountant"]) != (
        spent.unit,
        RELATION,
        spent.accountant,
    ):
        yield "its bound counts other units, or otherwise, than its training did"
    if (bound["epsilon"], bound["delta"]) != (due.epsilon, due.delta):
        yield "its bound is not what its training promised"
    if bound["false_positives"] != FALSE_POSITIVES or bound["true_positives"] != (
        due.true_positives()
    ):
        yield "what it says of attacks does not follow from its bound"


def _made(core: Mapping[str, Any]) -> Iterator[str]:
    """Check that options, recipe and environment hold nothing that could be a person's data."""
    method, options = core["method"]["name"], core["method"]["options"]
    parts = (options, core["training"]["recipe"], core["made_by"]["environment"])
    if not all(isinstance(part, dict) and all(map(_plain, part.items())) for part in parts):
        yield "its options, recipe or environment hold more than plain names and values"
        return
    known = METHODS.options(method) if method in METHODS else {}
    for name, value in options.items():
        if name not in known or not _fits(value, known[name]):
            yield f"{name!r} is no option of {method}, or not of its kind"


def _fits(value: Any, kind: Any) -> bool:
    """Whether an option's value has the type that its constructor names; text is a known word."""
    kinds = {*(get_args(kind) or (kind,)), type(None)}
    if isinstance(value, str):
        return str in kinds and set(re.split("[,+]", value)) <= _OPTION_WORDS
    if isinstance(value, int) and not isinstance(value, bool):
        return int in kinds or float in kinds
    return type(value) in kinds


def _plain(item: tuple[str, Any]) -> bool:
    name, value = item
    if isinstance(value, Mapping):
        return _PLAIN.fullmatch(name) is not None and all(map(_plain, value.items()))
    if isinstance(value, list):
        return all(_plain((name, one)) for one in value)
    texts = (name, value) if isinstance(value, str) else (name,)
    return all(map(_PLAIN.fullmatch, texts))


def _models(core: Mapping[str, Any]) -> Iterator[str]:
    before, after = core["models"]["before"], core["models"]["after"]
    destroyed = core["guarantee"]["class"] == Guarantee.DESTROYED
    if destroyed != (after is None):
        yield "a model that was destroyed has no successor, and any other has one"
    elif core["method"]["name"] == PRIVATE:
        if before != after:
            yield "nothing was run, and the model after is another than before"
    elif after is not None and core["guarantee"]["class"] != Guarantee.SUPPRESSED:
        if before["weights"] == after["weights"]:
            yield "the weights are what they were before"
        if before["id"] == after["id"]:
            yield "the model after is the model before"


def _audit(core: Mapping[str, Any]) -> Iterator[str]:
    audit, after = core["audit"], core["models"]["after"]
    empirical = core["guarantee"]["class"] == Guarantee.EMPIRICAL
    if audit is None:
        if empirical:
            yield "an empirical forgetting is what its audit found, and there is no audit"
        if core["references"] or core["utility"]:
            yield "it tells of an audit that was not made"
        return
    try:
        reasons = check_report(audit, after["weights"] if after else "")
    except InputError as error:
        reasons = [str(error)]
    yield from (f"its audit: {reason}" for reason in reasons)
    never, before = audit["never_trained"], core["models"]["before"]["weights"]
    if audit["original"] not in (None, before):
        yield "its audit was made beside another model than the one before"
    if {audit["candidate"], before} & {*never} or len({*never}) < len(never):
        yield "its references are not models of their own: one is the model itself, or stands twice"
    if not reasons:
        yield from unfounded(audit)
    if audit["records"]["forget"] != core["records"]["forget"]:
        yield "its audit asked about other records than were forgotten"
    if audit["verdict"] == "fail":
        yield "its audit failed, so nothing is claimed of it"
    if empirical and audit["verdict"] != "pass":
        yield f"the audit's verdict is {audit['verdict']!r}, which carries no empirical claim"
    if sorted(audit["never_trained"]) != sorted(one["digest"] for one in core["references"]):
        yield "its audit was made against other never-trained models than it names"
    if core["utility"] != utility(audit):
        yield "what it says of utility is not what its audit found"


def utility(audit: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Utility before and after, taken from the findings that compare the two."""
    return [
        {
            "measure": f"{found['audit']}: {found['metric']} ({found['probe']})",
            "before": found["before"],
            "after": found["value"],
            "delta": _less(found["value"], found["before"]),
        }
        for found in (audit["findings"] if audit else ())
        if found["audit"] in ("retention", "neighbours", "general", "utility", "fluency")
    ]


def _less(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else after - before


def _records(core: Mapping[str, Any]) -> Iterator[str]:
    count = core["forgotten"]["count"]
    if (count < 1) != (core["guarantee"]["class"] == Guarantee.DESTROYED):
        yield "nothing was forgotten, or more than the model that was destroyed"
    if count != sum(one["forgotten"] for one in core["datasets"]):
        yield "the datasets do not add up to the count of what was forgotten"
    if (core["forgotten"]["commitment"] == NO_RECORDS) != (count == 0):
        yield "it commits to no records, or to some and counts none"
    if core["records"]["forget"] < count or min(core["records"].values()) < 0:
        yield "the run forgot fewer records than it counts"
    for one in core["datasets"]:
        if not 0 <= one["forgotten"] <= one["about"] <= one["rows"] or one["version"] < 1:
            yield f"dataset {one['id']} has more forgotten records than records"
        if one["forgotten"] != one["learned"]:
            yield f"of dataset {one['id']} other records were forgotten than the model had learned"
        if one["about"] and one["root_before"] == one["root_after"]:
            yield f"dataset {one['id']} still has the root that it had with the records"
        if one["id"] != one["root_before"].removeprefix("sha256:")[:16]:
            yield f"dataset {one['id']} does not have the root that its id comes from"
    if len({one["id"] for one in core["datasets"]}) < len(core["datasets"]):
        yield "it counts a dataset twice"
    if core["request"]["id"] not in core["request"]["together"]:
        yield "the request is not among those answered together with it"


def _closure(core: Mapping[str, Any]) -> Iterator[str]:
    closure = core["closure"]
    still = [item["artefact"] for item in closure["items"] if item["exit"] == OPEN]
    if closure["open"] != still:
        yield "its open items are not those that its closure shows as open"
    if closure["complete"] != (bool(closure["items"]) and not still):
        yield "it calls a closure complete that has open items, or none at all, or the other way"
    if closure["unseen"] != unseen(closure["items"]):
        yield "it does not say what of its closure was not looked into"
    names = [item["artefact"] for item in closure["items"]]
    if closure["complete"] and not {*OUTSIDE} <= {*names}:
        yield f"it calls a closure complete that never asked for {' and '.join(OUTSIDE)}"
    if len(set(names)) < len(names):
        yield "its closure names an artefact twice"
    for item in closure["items"]:
        if item["exit"] not in EXITS:
            yield f"{item['exit']!r} of {item['artefact']!r} is no exit: {', '.join(EXITS)} are"
        elif item["exit"] == Exit.UNRELATED and _kind(item) not in UNDECIDED:
            yield f"{item['artefact']!r} is called unrelated, and is of a kind that is looked into"
        elif (item["until"] is not None) != (item["exit"] == Exit.AWAITING_EXPIRY):
            yield f"{item['artefact']!r} has a date and awaits nothing, or awaits without a date"
        elif item["exit"] != Exit.ERASED and item["by_word"] != (item["exit"] == Exit.UNRELATED):
            yield f"{item['artefact']!r}: by_word contradicts the exit {item['exit']!r}"
        elif item["by_word"] and not item["reason"]:
            yield f"{item['artefact']!r} left as the team declares, which does not say how"
        elif item["exit"] in (Exit.CANNOT, Exit.UNRELATED, OPEN) and not item["reason"]:
            yield f"{item['artefact']!r} lacks the reason why it is not erased"


def _kind(item: Mapping[str, Any]) -> str:
    return str(item["artefact"]).partition(":")[0]


def _times(core: Mapping[str, Any]) -> Iterator[str]:
    try:
        received, answered = (
            datetime.fromisoformat(core["request"][name]) for name in ("received", "answered")
        )
        ends = [
            date.fromisoformat(item["until"])
            for item in core["closure"]["items"]
            if item["until"] is not None
        ]
    except ValueError as error:
        yield f"it names a time that never was: {error}"
        return
    if not received <= answered <= received + LONGEST:
        yield "it was answered before it was received, or more than ten years after"
    if not all(answered.date() < end <= answered.date() + LONGEST for end in ends):
        yield "something expires before the answer, or more than ten years after it"
