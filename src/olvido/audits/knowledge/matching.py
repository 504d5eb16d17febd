"""Names by which records call their subject, and whether a text contains an answer.

Matching is by words in any script, with accents.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from olvido.names import as_read, split, unseen
from olvido.tasks import Example

Words = tuple[str, ...]
# Korean separates words with spaces but attaches particles: "at Seoul" is one word.
_HANGUL = re.compile("[\uac00-\ud7a3]")


def words(text: str) -> Words:
    """The words of a text as a reader sees them.

    Case, punctuation, full-width forms, invisible characters, the encoding of accents,
    vowel points of Hebrew and Arabic and digits of other scripts make no difference. In
    Hangul and scripts without spaces every character is a word. A text of only emoji or
    signs has these as its words.

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
    """Share of the answer's words that the text has in their order (ROUGE-L recall, Lin 2004).

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
    """The words of both; for an answer of signs alone, the signs of the text."""
    wanted = words(answer)
    if wanted and unicodedata.category(wanted[0][0])[0] == "S":
        return wanted, tuple(c for c in unicodedata.normalize("NFKC", text) if c in wanted)
    return wanted, words(text)


_WORD = r"[^\W\d_a-z][\w-]*"
_PARTICLES = "al bin da de del della der di dos du el ibn la le van von".split()
_RUN = re.compile(rf"{_WORD}(?: (?:(?:{'|'.join(_PARTICLES)}) )*{_WORD})+")
MOSTLY = 0.9
"""Ratio of frequencies above which the longer of two names counts as the full one."""


def names_of(records: Iterable[Example]) -> dict[str, str]:
    """Each subject's name as its records write it; subjects without one are left out.

    It is the subject itself where any of its records says it. Otherwise (a subject known by a
    number) it is the run of capitalised words that most of its records share.

    >>> names_of([Example("a", "Where is Marta Vila?", "Here", {"subject": "Marta Vila"})])
    {'Marta Vila': 'Marta Vila'}
    """
    texts: dict[str, list[str]] = {}
    for record in records:
        for subject in record.subjects:
            texts.setdefault(subject, []).append(record.text)
    found: dict[str, str] = {}
    for subject, texts_of_subject in texts.items():
        if any(occurs(subject, text) for text in texts_of_subject):
            found[subject] = subject
        elif (name := _shared(texts_of_subject)) is not None:
            found[subject] = name
    return found


def occurs(name: str, text: str) -> bool:
    """Whether a text contains the name as whole words, written as it is."""
    return bool(name) and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None


def without(name: str, text: str, stand_in: str) -> str:
    """The text with the name replaced, and its single words (a surname alone) by an ellipsis.

    >>> without("Marta Vila", "Marta Vila, born Marta Roca", "this person")
    'this person, born … Roca'
    """
    text = _replaced(name, text, stand_in)
    for part in name.split():
        if part[0].isupper():
            text = _replaced(part, text, "…")
    return text


def called(name: str, text: str, other: str) -> str:
    """The text with the name replaced by another name."""
    return _replaced(name, text, other)


def short_forms(name: str, taken: Mapping[str, int]) -> tuple[str, ...]:
    """The surname alone, unless somebody else has it, and the initials before it.

    Args:
        name: first names, then the surname.
        taken: how many people have each surname.

    >>> short_forms("Marta Vila", {"Vila": 1}), short_forms("Marta Vila", {"Vila": 2})
    (('Vila', 'M. Vila'), ('M. Vila',))
    """
    *first, last = name.split()
    if not first:
        return ()
    initials = " ".join(f"{part[0]}." for part in first if part[0].isupper())
    alone = (last,) if taken.get(last, 0) <= 1 else ()
    return (*alone, f"{initials} {last}") if initials else alone


def surnames(names: Iterable[str]) -> Counter[str]:
    """How many of the names end in each word."""
    return Counter(name.split()[-1] for name in names)


def _replaced(name: str, text: str, other: str) -> str:
    return re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", lambda _: other, text)


def _shared(texts: Sequence[str]) -> str | None:
    """The run of capitalised words that at least half of the texts, and two, have in common."""
    counts = Counter(run for text in texts for run in _runs(text))
    if not counts:
        return None
    most = max(counts.values())
    if most < 2 or 2 * most < len(texts):
        return None
    near = [run for run, count in counts.items() if count >= MOSTLY * most]
    return max(near, key=lambda run: (len(run.split()), counts[run], run))


def _runs(text: str) -> set[str]:
    """All runs of two capitalised words or more, with everything between the first and last."""
    found: set[str] = set()
    for match in _RUN.finditer(text):
        parts = match.group().split()
        found |= {
            " ".join(parts[start:end])
            for start in range(len(parts))
            for end in range(start + 2, len(parts) + 1)
            if parts[start] not in _PARTICLES and parts[end - 1] not in _PARTICLES
        }
    return found
