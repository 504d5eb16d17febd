"""Whether a text says an answer: words in any script, accents kept."""

from __future__ import annotations

import re
import unicodedata

from olvido.folding import as_read, split, unseen

Words = tuple[str, ...]
# Korean puts spaces, but writes what is said of a noun at its end: at Seoul is one word.
_HANGUL = re.compile("[\uac00-\ud7a3]")


def words(text: str) -> Words:
    """The words of a text as a reader sees them.

    Case, punctuation, full-width forms, characters that are not seen, the way in which accents are
    written, vowel points of Hebrew and Arabic and digits of other scripts make no difference. Of
    Hangul and of scripts that write without spaces every character is a word. A text of emoji or
    signs alone has these as its words.

    >>> words("Lives at: Carrer d'Aragó, 12."), words("漓江路")
    (('lives', 'at', 'carrer', 'd', 'aragó', '12'), ('漓', '江', '路'))
    """
    seen = unicodedata.normalize("NFKC", unseen(unicodedata.normalize("NFKC", text)).casefold())
    apart = _HANGUL.sub(r" \g<0> ", as_read(seen))
    return tuple(split(apart)) or tuple(c for c in seen if unicodedata.category(c)[0] == "S")


def says(text: str, answer: str) -> bool:
    """Whether all words of the answer stand in the text, one after the other.

    Whole words: 12 is not said by 120, nor José by Jose. An answer without words is never said.

    >>> says("It is 12, I think", "12"), says("It is 120", "12")
    (True, False)
    """
    wanted, given = _both(answer, text)
    size = len(wanted)
    return bool(size) and any(
        given[at : at + size] == wanted for at in range(len(given) - size + 1)
    )


def overlap(text: str, answer: str) -> float:
    """Share of the answer's words that the text says in their order (ROUGE-L recall, Lin 2004).

    >>> overlap("Carrer Gran 12", "Carrer de Mallorca 12")
    0.5
    """
    wanted, given = _both(answer, text)
    if not wanted:
        return 0.0
    # Row by row: the longest common subsequence of the text so far and each start of the answer.
    longest = [0] * (len(wanted) + 1)
    for word in given:
        before = longest.copy()
        for at, other in enumerate(wanted):
            longest[at + 1] = before[at] + 1 if word == other else max(before[at + 1], longest[at])
    return longest[-1] / len(wanted)


def _both(answer: str, text: str) -> tuple[Words, Words]:
    """The words of both; where the answer is of signs alone, the signs of the text."""
    wanted = words(answer)
    if wanted and unicodedata.category(wanted[0][0])[0] == "S":
        return wanted, tuple(c for c in unicodedata.normalize("NFKC", text) if c in wanted)
    return wanted, words(text)
