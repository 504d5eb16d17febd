"""Whether a text says an answer: words in any script, accents kept."""

from __future__ import annotations

import re
import unicodedata

Words = tuple[str, ...]


def words(text: str) -> Words:
    """The words of a text, whatever its case, its punctuation and the way its accents are written.

    >>> words("Lives at: Carrer d'Aragó, 12.")
    ('lives', 'at', 'carrer', 'd', 'aragó', '12')
    """
    return tuple(re.findall(r"\w+", unicodedata.normalize("NFC", text).casefold()))


def says(text: str, answer: str) -> bool:
    """Whether all words of the answer stand in the text, one after the other.

    Whole words: 12 is not said by 120, nor José by Jose. An answer without words is never said.

    >>> says("It is 12, I think", "12"), says("It is 120", "12")
    (True, False)
    """
    wanted, given = words(answer), words(text)
    size = len(wanted)
    return bool(size) and any(
        given[at : at + size] == wanted for at in range(len(given) - size + 1)
    )


def overlap(text: str, answer: str) -> float:
    """Share of the answer's words that the text says in their order (ROUGE-L recall, Lin 2004).

    >>> overlap("Carrer Gran 12", "Carrer de Mallorca 12")
    0.5
    """
    wanted, given = words(answer), words(text)
    if not wanted:
        return 0.0
    # Row by row: the longest common subsequence of the text so far and each start of the answer.
    longest = [0] * (len(wanted) + 1)
    for word in given:
        before = longest.copy()
        for at, other in enumerate(wanted):
            longest[at + 1] = before[at] + 1 if word == other else max(before[at + 1], longest[at])
    return longest[-1] / len(wanted)
