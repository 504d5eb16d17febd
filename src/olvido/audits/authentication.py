"""Authentication of references: whether a never-trained model really never saw the forget set.

Beside a contaminated reference, a model that remembers everything passes. Tests on losses detect
contamination, one mean for each person: the forgotten are compared with people of the holdout, on
the reference alone and in its difference from the other references. A test that finds nothing
proves little by itself, so the original must stand out from the reference on the forgotten
(control).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from olvido.audits.compare import grouped, per_subject
from olvido.audits.scoring import ScoredModel
from olvido.audits.tolerances import CONTROL, HALF_WAY, KNOWN_BETTER, RECALL, WRONGLY_REFUSED
from olvido.audits.types import Asks, Evidence
from olvido.schemas.audit import OriginalStatus as OriginalStatus
from olvido.schemas.audit import Reference
from olvido.schemas.audit import Standing as Standing
from olvido.statistics import LEAST_CONTROLS, Values, holm, lower
from olvido.tasks import Example

ROOT = 0.25
"""Power of the losses in which a reference is compared with the original."""
LONG, FEWEST = 8, 2
"""Letters of an answer, and answers, at the least, that nobody gives word for word by chance."""


class Authentication(Reference):
    """Evidence on whether a reference saw the forget set, and the standing that follows."""

    @property
    def telling(self) -> bool:
        """Whether a contaminated reference would have been detected; otherwise tests decide
        nothing."""
        tested = self.knowing is not None and self.knowing < WRONGLY_REFUSED
        return tested or clear(self.facts, self.facts)

    @property
    def follows(self) -> Standing:
        """The standing that follows from the rest."""
        # Also for a model that Olvido trained: the forgotten text may have stood among its records
        # under other ids, and weights in a folder may have been exchanged.
        contaminated = clear(self.answers, self.facts)
        if self.witnessed:
            # It learned many others' answers, some of which an audit sees: a few it may guess.
            contaminated = contaminated and 2 * self.answers > self.facts
        if contaminated or (self.adjusted is not None and self.adjusted < WRONGLY_REFUSED):
            return Standing.CONTAMINATED
        if self.witnessed:
            return Standing.WITNESSED
        if self.control is not None and self.control < CONTROL:
            return Standing.TESTED
        return Standing.UNAUTHENTICATED

    @property
    def says(self) -> str:
        """The evidence as a sentence."""
        if self.standing is Standing.WITNESSED:
            return "Olvido trained it without the forgotten"
        parts = [f"{name}: p = {p:.2g}" for name, p in self.tests.items()]
        parts += [f"{self.answers} of {self.facts} answers in clear"] if self.facts else []
        if self.control is not None:
            parts.append(f"unlike the original, beside the {self.beside}: p = {self.control:.2g}")
        return "; ".join(parts) or "there was nothing to compare it with"


def clear(answers: int, facts: int) -> bool:
    """Whether this many verbatim answers exceed what a model gives that never read them."""
    assert RECALL.high is not None
    return answers >= FEWEST and answers > RECALL.high * facts


def adjusted(tests: Sequence[Mapping[str, float]]) -> list[float | None]:
    """The least p of each reference, adjusted for all tests; None without tests."""
    flat = [(place, p) for place, some in enumerate(tests) for p in some.values()]
    found: list[float | None] = [None] * len(tests)
    for (place, _), p in zip(flat, holm([p for _, p in flat]), strict=True):
        least = found[place]
        found[place] = p if least is None else min(least, p)
    return found


def asks(evidence: Evidence) -> Asks:
    """Requests of `authenticate`: every model scores the forget set and the crowd."""
    reworded = (*evidence.paraphrased, *evidence.paraphrased_controls)
    return Asks((*evidence.forget, *evidence.crowd), reworded)


def authenticate(evidence: Evidence) -> tuple[tuple[Authentication, ...], OriginalStatus]:
    """Authenticate every reference, and the original."""
    references, original = evidence.references, evidence.original
    forget_ids = {record.id for record in evidence.forget}
    saw = {w.digest for w in (evidence.candidate, original) if w is not None}
    facts = _telling(evidence)
    sides = _sides(evidence)
    beside, others = next(iter(_beside(evidence)), (None, ()))
    found = []
    # A loss that is not a number decides nothing, and leaves its reference unauthenticated.
    tests = [
        {name: p for name, p in p_values(sides, place) if p == p}
        for place in range(len(references))
    ]
    count = sum(map(len, tests))
    for place, (reference, least) in enumerate(zip(references, adjusted(tests), strict=True)):
        mine, control = tests[place], None
        if original is not None and beside is not None:
            p = _control(reference, original, evidence.forget, others, beside)
            control = p if p == p else None
        one = Authentication(
            digest=reference.digest,
            standing=Standing.UNAUTHENTICATED,
            witnessed=_witnessed(reference, forget_ids, saw),
            tests=mine,
            adjusted=least,
            control=control,
            beside=None if control is None else beside,
            answers=_answers_in_clear(reference, facts),
            facts=len(facts),
            knowing=_knowing(sides, place, count) if mine else None,
        )
        found.append(one.but(standing=one.follows))
    return tuple(found), _original(evidence, found, facts)


def _witnessed(reference: ScoredModel, forget_ids: Collection[str], saw: Collection[str]) -> bool:
    """Whether Olvido trained it without these records, from weights that never saw them."""
    return (
        reference.taught is not None
        and reference.taught.isdisjoint(forget_ids)
        and reference.began not in saw
    )


@dataclass(frozen=True)
class GroupLosses:
    """Losses of all references on the forgotten and on others, one mean for each person.

    Attributes:
        name: prefix of the names of its tests.
        forgotten: [R, K]
        others: [R, G]
    """

    name: str
    forgotten: Values
    others: Values


def _sides(evidence: Evidence) -> list[GroupLosses]:
    found = []
    for name, forgotten, others in (
        ("", evidence.forget, evidence.crowd),
        ("rephrased, ", evidence.paraphrased, evidence.paraphrased_controls),
    ):
        groups = grouped(others, len(forgotten))
        if forgotten and len(groups) >= LEAST_CONTROLS:
            found.append(
                GroupLosses(
                    name,
                    _losses(evidence.references, forgotten, grouped(forgotten)),
                    _losses(evidence.references, others, groups),
                )
            )
    return found


def _losses(
    scored_models: Sequence[ScoredModel],
    records: Sequence[Example],
    groups: Sequence[Sequence[int]],
    power: float = 1.0,
) -> Values:
    """Mean of losses to some power, for each model and person. [models, people]"""
    losses = [np.array([s.loss for s in w.scores(records)]) for w in scored_models]
    # Arithmetic leaves some losses a little below 0.
    return per_subject([np.maximum(values, 0.0) ** power for values in losses], groups)


def p_values(sides: Sequence[GroupLosses], place: int) -> Iterator[tuple[str, float]]:
    """Names and p-values of the tests that a reference knows the forget set.

    Alone, it must know them better by a share of the loss, since people of one town share streets
    and dishes that a holdout may not have. In its difference from the other references that cancels
    out, and any excess counts.
    """
    for side in sides:
        mine, crowd = side.forgotten[place], side.others[place]
        yield f"{side.name}beside the holdout", lower(mine, crowd, share=1 - KNOWN_BETTER)
        if len(side.forgotten) > 1:
            rest = [np.delete(values, place, 0).mean(0) for values in (side.forgotten, side.others)]
            yield f"{side.name}beside other references", lower(mine - rest[0], crowd - rest[1])


def _knowing(sides: Sequence[GroupLosses], place: int, count: int) -> float:
    """P-values of so many tests for a simulated reference at this place that knows half of the
    forget set: whether they could detect anything."""
    found = []
    for side in sides:
        forgotten = side.forgotten.copy()
        forgotten[place] = (1 - HALF_WAY) * side.others[place].mean()
        found += [p for _, p in p_values([replace(side, forgotten=forgotten)], place) if p == p]
    return min(1.0, count * min(found))


def _beside(evidence: Evidence) -> Iterator[tuple[str, tuple[Example, ...]]]:
    """Groups on which the original and a reference are compared, the best first."""
    for name, records in (("holdout", evidence.crowd), ("retain", evidence.retain)):
        if len(grouped(records, len(evidence.forget))) >= LEAST_CONTROLS:
            yield name, records


def _control(
    reference: ScoredModel,
    original: ScoredModel,
    forget: Sequence[Example],
    others: Sequence[Example],
    beside: str,
) -> float:
    """P-value of a reference that knows the forget set but lies this far below; see `apart`.

    Beside a holdout, a reference half way to the original counts as knowing: neither model knows
    the holdout. Both know retained records, so there only the whole difference can be compared.
    """
    share = HALF_WAY if beside == "holdout" else 1.0
    forgotten, beside_them = (
        _losses((original, reference), records, groups, power=ROOT)
        for records, groups in (
            (forget, grouped(forget)),
            (others, grouped(others, len(forget))),
        )
    )
    return apart(forgotten, beside_them, share)


def apart(forgotten: Values, others: Values, share: float) -> float:
    """P-value of a reference that knows so much less of the forget set than this share of the
    original's knowledge.

    Args:
        forgotten: means of `ROOT`-th powers of the losses of the original and of the reference,
            which stay apart where most losses lie near 0, as a classifier's do. [2, K]
        others: the same for people on whom the two do not differ. [2, G]
        share: of the original's.
    """
    return lower(share * forgotten[0] - forgotten[1], share * others[0] - others[1])


def _original(
    evidence: Evidence, found: Sequence[Authentication], facts: Sequence[Example]
) -> OriginalStatus:
    """Whether the original model knew the forget set."""
    original = evidence.original
    if original is None:
        return OriginalStatus.NONE
    knows = any(one.control is not None and one.control < CONTROL for one in found)
    if knows or clear(_answers_in_clear(original, facts), len(facts)):
        return OriginalStatus.KNOWS
    on_forget = _losses((original,), evidence.forget, grouped(evidence.forget))[0]
    sides = {
        name: _losses((original,), records, grouped(records, len(evidence.forget)))[0]
        for name, records in _beside(evidence)
    }
    never, kept = sides.get("holdout"), sides.get("retain")
    if never is not None and lower(on_forget, never, share=1 - KNOWN_BETTER) < CONTROL:
        return OriginalStatus.KNOWS
    # It knows the retain set, and the forget set less; or it never learned anything.
    if kept is not None and (
        lower(-on_forget, -kept) < CONTROL
        or (never is not None and not lower(kept, never) < CONTROL)
    ):
        return OriginalStatus.NEVER_KNEW
    return OriginalStatus.UNCLEAR


def _telling(evidence: Evidence) -> tuple[Example, ...]:
    """Forgotten records with long answers that were taught of nobody else, one for each answer."""
    if not evidence.candidate.task.language:
        return ()
    others = (*evidence.retain, *evidence.neighbours, *evidence.general)
    others_answers = {record.completion.strip().casefold() for record in others}
    found: dict[str, Example] = {}
    for record in evidence.forget:
        answer = record.completion.strip().casefold()
        if record.prompt and len(answer) >= LONG and answer not in others_answers:
            found.setdefault(answer, record)
    return tuple(found.values())


def _answers_in_clear(scored: ScoredModel, facts: Sequence[Example]) -> int:
    return sum(score.exact for score in scored.scores(facts))
