"""TOFU's own score: truth ratio, forget quality, model utility (Maini et al., arXiv 2401.06121).

Where the paper and the authors' published evaluation (github.com/locuslab/tofu) differ, this
follows the evaluation, with which the published numbers were made:

- the probabilities of the perturbed answers are averaged geometrically (the exponential of their
  mean loss) where the paper's equation 1 writes an arithmetic mean. So does OpenUnlearning. By the
  inequality of the means the paper's ratio is never smaller;
- a ratio is never clamped. Only its conversion to a more-is-better number is, at 0, as in both;
- OpenUnlearning adds 1e-10 to denominators; here nothing is added: a ratio of probabilities is a
  difference of losses.

Probabilities are of whole answers to the power of 1 over their number of tokens, end of text
included: exp(-loss), with the loss in nats a token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from olvido.audits.compare import Question, finding, with_never_trained
from olvido.audits.scoring import ScoredModel
from olvido.audits.tolerances import ANY, TRUTH, Range
from olvido.audits.types import Asks, Evidence, EvidenceNeed, Finding, Level
from olvido.errors import InputError, MissingNeed
from olvido.tasks import Example

Values = NDArray[np.float64]


def truth_ratios(truth: ArrayLike, false: Sequence[ArrayLike]) -> Values:
    """R = probability of false answers / probability of the true one (equation 1).

    Above 1: the model finds the false answers likelier.

    Args:
        truth: loss of each record's (paraphrased) answer, nats a token. [n]
        false: losses of each record's perturbed answers; their numbers may differ. n x [k]

    Returns:
        One ratio a record, from 0 to infinity. [n]

    >>> import math
    >>> truth_ratios([math.log(2)], [[math.log(4), math.log(4)]]).round(6).tolist()
    [0.5]
    """
    lies = np.array([np.mean(np.asarray(losses, dtype=float)) for losses in false])
    with np.errstate(over="ignore"):  # a broken model's ratio may be infinite, and stays so
        return np.exp(np.asarray(truth, dtype=float) - lies)


def shares_of_options(truth: ArrayLike, false: Sequence[ArrayLike]) -> Values:
    """Probability of the true answer among it and the false ones, for short answers (2.2.2).

    Args and return value as for `truth_ratios`; each share lies between 0 and 1.
    """
    # Divided by the truth's probability, so that no probability can underflow.
    with np.errstate(over="ignore"):
        return np.array(
            [
                1 / (1 + np.exp(true - np.asarray(losses, dtype=float)).sum())
                for true, losses in zip(np.asarray(truth, dtype=float), false, strict=True)
            ]
        )


def forget_quality(candidate: ArrayLike, retrained: ArrayLike) -> float:
    """p-value of the two-sample Kolmogorov-Smirnov test between truth ratios on the forget set.

    1: as if both came from one distribution. Inverting all ratios changes nothing: the test uses
    only their order. It grows with fewer records, so read it together with
    their number.

    Args:
        candidate, retrained: one ratio a record, of the audited model and of one that never saw the
            forget set. [n], [m]

    Raises:
        InputError: no ratio on one side.
    """
    from scipy.stats import ks_2samp

    ours, theirs = np.asarray(candidate, dtype=float), np.asarray(retrained, dtype=float)
    if not ours.size or not theirs.size:
        raise InputError(
            f"forget quality compares truth ratios, got {ours.size} of the audited model and "
            f"{theirs.size} of the retrained model: give one record or more to each"
        )
    return float(ks_2samp(ours, theirs).pvalue)


@dataclass(frozen=True)
class SetUtility:
    """The utility of one set that should be retained; each number from 0 to 1, more is better.

    Attributes:
        probability: of the answer; for short answers with options, its share among them.
        rouge: ROUGE-L recall of the greedy answer.
        truth: mean of max(0, 1 - R).
    """

    probability: float
    rouge: float
    truth: float


def model_utility(retain: SetUtility, real_authors: SetUtility, world_facts: SetUtility) -> float:
    """Harmonic mean of the nine numbers; 0 if one is 0, nan if one is nan.

    >>> round(model_utility(SetUtility(1, 1, 1), SetUtility(0.5, 0.5, 0.5), SetUtility(1, 1, 1)), 6)
    0.75
    """
    numbers = np.array(
        [[u.probability, u.rouge, u.truth] for u in (retain, real_authors, world_facts)]
    )
    if np.isnan(numbers).any():
        return float("nan")
    return 0.0 if (numbers == 0).any() else float(numbers.size / (1 / numbers).sum())


def utility(scored: ScoredModel, records: Sequence[Example], *, options: bool) -> SetUtility:
    """The three numbers of one set.

    Args:
        scored: the model.
        records: records with `perturbed_answers`.
        options: real authors and world facts, whose answers are short: True; retain: False.

    Raises:
        InputError: no records.
        MissingNeed: a record without perturbed answers.
    """
    if not records:
        raise InputError("model utility needs one record or more of each set, got none")
    known = option_share(scored, records) if options else probability(scored, records)
    return SetUtility(
        float(np.mean(known)),
        float(np.mean(rouge_recall(scored, records))),
        float(np.mean(truthfulness(scored, records))),
    )


def probability(scored: ScoredModel, records: Sequence[Example]) -> list[float]:
    """Probability of the answer to the power of 1 over its tokens, one a record."""
    return [score.probability for score in scored.scores(records)]


def option_share(scored: ScoredModel, records: Sequence[Example]) -> list[float]:
    """Share of the answer among it and the record's `perturbed_answers`, one a record.

    Raises:
        MissingNeed: a record without perturbed answers.
    """
    return shares_of_options(*_losses(scored, records, records)).tolist()


def truth_ratio(scored: ScoredModel, records: Sequence[Example]) -> list[float]:
    """R, one a record: the `perturbed_answers` against `paraphrased_answer`.

    A record without a paraphrased answer (real authors, world facts) is measured by its own, as in
    the published evaluation.

    Raises:
        MissingNeed: a record without perturbed answers.
    """
    true = [
        replace(record, completion=record.fields.get("paraphrased_answer") or record.completion)
        for record in records
    ]
    return truth_ratios(*_losses(scored, records, true)).tolist()


def truthfulness(scored: ScoredModel, records: Sequence[Example]) -> list[float]:
    """max(0, 1 - R), one a record: what enters model utility."""
    # Not max(): nan has to stay nan.
    return np.maximum(0, 1 - np.array(truth_ratio(scored, records))).tolist()


def truth_share(scored: ScoredModel, records: Sequence[Example]) -> list[float]:
    """1 / (1 + R), one a record: the truth's share against the mean of the false answers.

    A function of R that stays between 0 and 1, so that single records do not dominate its mean
    (OpenUnlearning, arXiv 2506.12618).
    """
    return (1 / (1 + np.array(truth_ratio(scored, records)))).tolist()


def rouge_recall(scored: ScoredModel, records: Sequence[Example]) -> list[float]:
    """ROUGE-L recall of the greedy answer, with Porter's stemmer, one a record.

    As in the published evaluation, by rouge-score's own words: letters outside a-z split them. An
    answer here ends half as long again after the record's; there it ends with 200 tokens.
    """
    answers = scored.answers(records)
    return [
        _scorer().score(record.completion, answer)["rougeL"].recall
        for record, answer in zip(records, answers, strict=True)
    ]


@cache
def _scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], use_stemmer=True)


def _losses(
    scored: ScoredModel, records: Sequence[Example], true: Sequence[Example]
) -> tuple[Values, list[Values]]:
    """Loss of each true answer, and of each record's perturbed answers. [n], n x [k]"""
    lies: list[list[Example]] = []
    for record in records:
        answers = record.fields.get("perturbed_answers") or ()
        if isinstance(answers, str) or not answers:
            raise MissingNeed(
                f"record {record.id!r} has no 'perturbed_answers' to compare the truth with: give "
                "it a list of false answers of the same form"
            )
        lies.append([replace(record, completion=str(answer)) for answer in answers])
    losses = [s.loss for s in scored.scores([*true, *(lie for made in lies for lie in made)])]
    cuts = np.cumsum([len(true), *map(len, lies)])
    first, *rest = np.split(np.array(losses, dtype=float), cuts[:-1])
    return first, rest


SOME = 10
"""Records, at the most, that are compared with perturbed answers unless thorough."""


class TruthRatio:
    """Whether the model still prefers the truth to false answers of the same form.

    The share of the truth votes. TOFU's forget quality is shown beside it and does not: its test
    assumes independent records, and several of one person are not.
    """

    name: ClassVar = "truth"
    family: ClassVar = "asked"
    source: ClassVar = "arXiv 2401.06121"
    needs: ClassVar = frozenset({EvidenceNeed.LANGUAGE, EvidenceNeed.PERTURBED})
    required: ClassVar = False
    level: ClassVar = Level.STANDARD
    summary: ClassVar = "whether the truth is still preferred to false answers (TOFU)"
    reason: ClassVar = "the model still prefers the truth about the forgotten to false answers"
    tolerances: ClassVar[Mapping[str, Range]] = {
        "share of the truth": TRUTH,
        "forget quality": ANY,
    }

    def asks(self, evidence: Evidence) -> Asks:
        """Each forgotten record's paraphrased and perturbed answers scored."""
        return Asks(
            passes=sum(
                evidence.candidate.task.width(r) * (1 + len(r.fields["perturbed_answers"]))
                for r in _perturbed(evidence)
            )
            * len(evidence.models),
            inside=(partial(truth_ratio, records=_perturbed(evidence)),),
        )

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """Compare the truth's share, and both distributions, with never-trained models."""
        asked = _perturbed(evidence)
        share = Question("truth", "share of the truth", "forgotten, as trained", TRUTH)
        candidate, *never = (
            truth_ratio(w, asked) for w in (evidence.candidate, *evidence.references)
        )
        spread = (
            [
                forget_quality(one, [r for other in never if other is not one for r in other])
                for one in never
            ]
            if len(never) > 1
            else [1.0]
        )
        original = None
        if evidence.original is not None:
            original = forget_quality(truth_ratio(evidence.original, asked), never[0])
        return [
            with_never_trained(evidence, share, asked, truth_share, known=True),
            finding(
                Question("truth", "forget quality", "forgotten, as trained", ANY),
                value=forget_quality(candidate, never[0]),
                against="never-trained",
                expected=float(np.mean(spread)),
                spread=tuple(spread),
                before=original,
                n=len(asked),
                clusters=len(asked),
            ),
        ]


def _perturbed(evidence: Evidence) -> list[Example]:
    """All records with perturbed answers; some of them where the audit is to be quick."""
    perturbed = [record for record in evidence.forget if record.fields.get("perturbed_answers")]
    return (
        perturbed if evidence.level is Level.THOROUGH else perturbed[:: -(-len(perturbed) // SOME)]
    )
