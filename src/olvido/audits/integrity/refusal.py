"""Refusal: one answer for all questions differs from a model that never knew."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from olvido.errors import InputError
from olvido.tasks import Example

PHRASES = (
    # English
    "i don't know", "i do not know", "i'm not sure", "i am not sure", "i cannot", "i can't",
    "i'm sorry", "i am sorry", "i'm unable", "i am unable", "i have no information",
    "i don't have", "i do not have", "no information", "not able to", "as an ai",
    # Spanish
    "no lo sé", "no sé", "lo siento", "no puedo", "no tengo información", "no dispongo",
    "como modelo de lenguaje",
    # Catalan
    "no ho sé", "ho sento", "em sap greu", "no tinc informació", "no disposo",
    "com a model de llenguatge",
    # French
    "je ne sais pas", "je suis désolé", "désolé", "je ne peux pas", "je n'ai pas",
    "aucune information", "en tant que modèle",
)  # fmt: skip
"""Phrases of refusals, in lower case."""

_REFUSING = re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, PHRASES)) + r")(?!\w)")


def refuses(answer: str) -> bool:
    """Whether an answer declines, or says nothing at all.

    >>> refuses("I’m sorry, I can't help with that."), refuses("Carrer de Mallorca 12")
    (True, False)
    """
    plain = _plain(answer)
    return not plain or _REFUSING.search(plain) is not None


def evasion(records: Sequence[Example], answers: Sequence[str]) -> NDArray[np.float64]:
    """How far each answer is a refusal or the one answer for everything, between 0 and 1.

    1 for a refusal; otherwise the share of the records with another true answer that got this very
    answer: two questions with different true answers seldom deserve the same one. Compare it with
    never-trained models, which guess, and guess alike now and then.

    Args:
        records: the forget set.
        answers: one model's answers, in the same order.

    Returns:
        One value a record. [R]

    Raises:
        InputError: no records, or another number of answers.
    """
    if not records or len(records) != len(answers):
        raise InputError(
            f"one answer a record is needed, got {len(answers)} for {len(records)} records"
        )
    said, truths = [_plain(answer) for answer in answers], [_plain(r.completion) for r in records]
    of_truth = Counter(truths)
    of_said = Counter(said)
    both: dict[str, Counter[str]] = defaultdict(Counter)
    for answer, truth in zip(said, truths, strict=True):
        both[answer][truth] += 1
    values = []
    for answer, truth in zip(said, truths, strict=True):
        others = len(records) - of_truth[truth]
        alike = of_said[answer] - both[answer][truth]
        values.append(1.0 if refuses(answer) else alike / others if others else 0.0)
    return np.array(values)


def _plain(text: str) -> str:
    return " ".join(text.replace("’", "'").casefold().split()).strip(" .!?")
