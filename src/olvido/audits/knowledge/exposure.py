"""Exposure: how far the truth stands out among alternatives of the same form.

Source: Carlini et al. 2019 (The Secret Sharer, arXiv 1802.08232), definitions 2 to 4 and section
4.3. A canary is a random sequence planted in the training data; a record's answer is compared in
the same way with alternative answers.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from string import ascii_lowercase
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from olvido.audits.compare import Question, with_never_trained
from olvido.audits.knowledge.matching import words
from olvido.audits.scoring import ScoredModel
from olvido.audits.tolerances import EXPOSURE, Range
from olvido.audits.types import Asks, Evidence, EvidenceNeed, Finding, Level
from olvido.errors import InputError, MissingNeed
from olvido.tasks import Example

ALTERNATIVES = 63
"""Alternatives for each answer: with it they are 64, and no exposure is above 6 bits."""
MOSTLY_DIGITS = 0.5
"""Share of digits that makes an answer a number: any other number is an alternative."""
AGREE = 3
"""Other people's numbers that reveal a common digit; three agree by chance once in a hundred."""
TRIES = 20
"""Draws for each alternative wanted: forms with few possibilities repeat themselves."""


def canaries(
    n: int,
    seed: int,
    form: tuple[str, str] = ("The code of locker @@@@ is", "### ### ###"),
) -> tuple[Example, ...]:
    """Random records to plant in training data, no two alike.

    Args:
        n: how many.
        seed: same seed and form, same canaries; the first ones stay when more are asked for.
        form: prompt and completion. # is a random digit, @ a random letter from a to z.

    Raises:
        InputError: the completion has no random character, or the form has fewer than n values.

    >>> canaries(2, 0, ("The PIN is", "##"))[1].prompt
    'The PIN is'
    """
    if "#" not in form[1] and "@" not in form[1]:
        raise InputError(f"the completion of a canary holds # or @ to draw, got {form[1]!r}")
    text = form[0] + form[1]
    possible = 10 ** text.count("#") * len(ascii_lowercase) ** text.count("@")
    if n > possible:
        raise InputError(f"expected a form with {n} possibilities, {form!r} has {possible}")
    draw = random.Random(f"olvido-canaries-{seed}-{form!r}")
    made: dict[tuple[str, str], Example] = {}
    while len(made) < n:
        prompt, completion = (_filled(part, draw) for part in form)
        number = len(made)
        fields = {"topic": "canary", "subject": f"canary {number}"}
        example = Example(f"canary-{seed}-{number}", prompt, completion, fields)
        made.setdefault((prompt, completion), example)
    return tuple(made.values())


def with_alternatives(
    records: Sequence[Example],
    others: Sequence[Example],
    *,
    n: int = ALTERNATIVES,
    seed: int = 0,
) -> tuple[Example, ...]:
    """The records with alternative answers in the field `alternatives`.

    A number gets other digits, except those that all numbers of its shape share at their place (a
    dialling code is part of the form, and no secret). Otherwise the alternatives are other people's
    answers to questions of the same topic, then permutations of the answer's own words, up to
    `n`.

    Args:
        records: with an answer each.
        others: records of others; those with the same `topic` count.
        n: alternatives wanted for each record.
        seed: seed of the draw, with the record's id: no record changes another's alternatives.

    Returns:
        The records with any alternative, in order.
    """
    made = ((record, _alternatives(record, others, n, seed)) for record in records)
    return tuple(
        replace(record, fields={**record.fields, "alternatives": found})
        for record, found in made
        if found
    )


def exposure_of(truth: float, alternatives: ArrayLike) -> float:
    """log2(number of candidates) - log2(rank of the truth among them), in bits.

    Equal losses share their ranks. A model that knows nothing has the exposure of
    chance: 1.44 bits on average over evenly spread ranks, 1 where all losses are equal.

    Args:
        truth: summed loss of the answer, in nats (its log-perplexity).
        alternatives: summed losses of the alternative answers, in nats. [R - 1]

    Returns:
        From 0 (the least likely) to log2(R) (the likeliest).

    >>> exposure_of(1.0, [2.0, 3.0, 4.0])
    2.0
    """
    losses = np.asarray(alternatives, dtype=float)
    if math.isnan(truth) or np.isnan(losses).any():
        return float("nan")
    rank = 1 + (losses < truth).sum() + (losses == truth).sum() / 2
    return math.log2(losses.size + 1) - math.log2(rank)


def approximate_exposure_of(truth: float, alternatives: ArrayLike) -> float:
    """-log2 of the probability that an alternative's loss is no larger, in bits.

    The losses of alternatives are assumed to be skew-normal (section 4.3), fitted by their first
    three moments; the drawn alternatives then stand for all possible ones, and the number has no
    bound.

    Args:
        truth, alternatives: as for `exposure_of`; at least 3 alternatives.

    Raises:
        InputError: fewer than 3 alternatives.
    """
    losses = np.asarray(alternatives, dtype=float)
    if losses.size < 3:
        raise InputError(f"a skew-normal is fitted to 3 losses or more, got {losses.size}")
    if math.isnan(truth) or np.isnan(losses).any():
        return float("nan")
    if losses.std() == 0:
        return exposure_of(truth, losses)
    return max(0.0, -_log_cdf(truth, *skew_normal(losses)) / math.log(2))


def skew_normal(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Shape, location and scale of the skew-normal with the values' mean, variance and skewness.

    The skewness of a skew-normal stays below 0.9953; larger values than 0.99 are set to 0.99.
    Source: Azzalini 1985; the moments are given in closed form there.
    """
    mean, spread = float(values.mean()), float(values.std())
    skew = float(np.clip(((values - mean) ** 3).mean() / spread**3, -0.99, 0.99))
    part = abs(skew) ** (2 / 3)
    delta = math.copysign(
        math.sqrt(math.pi / 2 * part / (part + ((4 - math.pi) / 2) ** (2 / 3))), skew
    )
    scale = spread / math.sqrt(1 - 2 * delta**2 / math.pi)
    shape = delta / math.sqrt(1 - delta**2)
    return shape, mean - scale * delta * math.sqrt(2 / math.pi), scale


def exposure(scored: ScoredModel, records: Sequence[Example]) -> list[float]:
    """`exposure_of` each record's completion among its `alternatives`.

    Raises:
        MissingNeed: a record without alternatives.
    """
    return [exposure_of(truth, losses) for truth, losses in _losses(scored, records)]


def approximate_exposure(scored: ScoredModel, records: Sequence[Example]) -> list[float]:
    """`approximate_exposure_of` each record's completion among its `alternatives`.

    Raises:
        MissingNeed: a record without alternatives.
        InputError: a record with fewer than 3.
    """
    return [approximate_exposure_of(truth, losses) for truth, losses in _losses(scored, records)]


class Exposure:
    """Exposure of the forgotten answers among alternatives."""

    name: ClassVar = "exposure"
    family: ClassVar = "turned"
    source: ClassVar = "arXiv 1802.08232"
    needs: ClassVar = frozenset({EvidenceNeed.LANGUAGE, EvidenceNeed.RETAIN})
    required: ClassVar = False
    level: ClassVar = Level.THOROUGH
    summary: ClassVar = "how far the truth stands out among answers that it might have been"
    reason: ClassVar = "the truth about the forgotten stands out among answers it might have been"
    tolerances: ClassVar[Mapping[str, Range]] = {"exposure in bits": EXPOSURE}

    def asks(self, evidence: Evidence) -> Asks:
        """Every forgotten answer and its alternatives scored; by the references for controls
        too."""

        def tokens(records: Sequence[Example]) -> int:
            width = evidence.candidate.task.width
            return sum(
                width(record) * (1 + len(record.fields["alternatives"]))
                for record in _of(evidence, records)
            )

        return Asks(
            passes=len(evidence.models) * tokens(evidence.forget)
            + (len(evidence.references) + 1) * tokens(evidence.controls),
            inside=(partial(_scored, evidence),),
        )

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """Compare bits of exposure with never-trained models."""
        asked = _of(evidence, evidence.forget)
        if not asked:
            return []
        question = Question("exposure", "exposure in bits", "forgotten, as trained", EXPOSURE)
        beside = _of(evidence, evidence.controls)
        return [
            with_never_trained(evidence, question, asked, exposure, controls=beside, known=True)
        ]


def _scored(evidence: Evidence, scored: ScoredModel) -> None:
    sides = (evidence.forget, () if scored is evidence.original else evidence.controls)
    for records in sides:
        if asked := _of(evidence, records):
            _losses(scored, asked)


def _of(evidence: Evidence, records: Sequence[Example]) -> tuple[Example, ...]:
    """One record of each fact of each person, with its alternatives: each is scored 64 times."""
    facts = {(r.subjects, r.completion): r for r in reversed(records)}
    return with_alternatives(tuple(facts.values())[::-1], evidence.retain)


def _losses(
    scored: ScoredModel, records: Sequence[Example]
) -> list[tuple[float, NDArray[np.float64]]]:
    texts: list[Example] = []
    for record in records:
        if not record.fields.get("alternatives"):
            raise MissingNeed(
                f"record {record.id!r} has no 'alternatives': make them by with_alternatives()"
            )
        texts += [
            replace(record, completion=answer)
            for answer in (record.completion, *record.fields["alternatives"])
        ]
    losses = np.array([-score.log_p for score in scored.scores(texts)])
    cuts = np.cumsum([1 + len(record.fields["alternatives"]) for record in records])
    return [(float(part[0]), part[1:]) for part in np.split(losses, cuts[:-1]) if part.size]


def _alternatives(record: Example, others: Sequence[Example], n: int, seed: int) -> tuple[str, ...]:
    draw = random.Random(f"olvido-alternatives-{seed}-{record.id}")
    answer = record.completion
    signs = [sign for sign in answer if sign.isalnum()]
    found: dict[tuple[str, ...], str] = {}
    if sum(sign.isdecimal() for sign in signs) >= MOSTLY_DIGITS * len(signs):
        form = _form(answer, _of_the_same_topic(record, others, seed))
        candidates: Iterable[str] = (_digits(form, draw) for _ in range(TRIES * n))
    else:
        parts = answer.split()
        turned = (" ".join(draw.sample(parts, len(parts))) for _ in range(TRIES * n))
        candidates = chain(_of_the_same_topic(record, others, seed), turned)
    for text in candidates:
        if len(found) == n:
            break
        if words(text) != words(answer):
            found.setdefault(words(text), text)
    return tuple(found.values())


def _of_the_same_topic(record: Example, others: Sequence[Example], seed: int) -> list[str]:
    topic = record.fields.get("topic")
    alike = [
        other
        for other in others
        if topic is not None
        and other.fields.get("topic") == topic
        and not set(other.subjects) & set(record.subjects)
    ]

    def place(other: Example) -> bytes:
        return hashlib.sha256(f"{seed}\0{record.id}\0{other.id}".encode()).digest()

    return [other.completion for other in sorted(alike, key=place)]


def _form(answer: str, others: Sequence[str]) -> str:
    """The answer with # for each digit that is not shared by all numbers of its shape."""
    blank = _blank(answer)
    alike = [other for other in others if _blank(other) == blank]
    if len(alike) < AGREE:
        return blank
    signs = zip(blank, answer, zip(*alike, strict=True), strict=True)
    return "".join(sign if set(column) == {sign} else mark for mark, sign, column in signs)


def _blank(text: str) -> str:
    return "".join("#" if sign.isdecimal() else sign for sign in text)


def _filled(form: str, draw: random.Random) -> str:
    return "".join(
        draw.choice(ascii_lowercase) if sign == "@" else sign for sign in _digits(form, draw)
    )


def _digits(form: str, draw: random.Random) -> str:
    return "".join(str(draw.randrange(10)) if sign == "#" else sign for sign in form)


def _log_cdf(value: float, shape: float, location: float, scale: float) -> float:
    """log P(X <= value) of a skew-normal, far into either tail.

    scipy's own is a difference of two numbers that agree to the last bit in the lower tail.
    """
    from scipy.integrate import quad
    from scipy.stats import norm

    z = (value - location) / scale
    if math.isinf(z):
        return z if z < 0 else 0.0

    def log_density(at: float) -> float:
        return math.log(2) + float(norm.logpdf(at)) + float(norm.logcdf(shape * at))

    if z > 0:
        upper, _ = quad(lambda at: math.exp(log_density(at)), z, math.inf)
        return math.log1p(-upper)
    # In units of the density at z and of its slope there, the tail is of ordinary size.
    peak, width = log_density(z), 1 / (1 - z * (1 + max(shape, 0) ** 2))
    tail, _ = quad(lambda far: math.exp(log_density(z - width * far) - peak), 0, math.inf)
    return peak + math.log(width * tail)
