"""By what name the records call their subject, and texts without that name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from olvido.tasks import Example

_WORD = r"[^\W\d_a-z][\w-]*"
_PARTICLES = "al bin da de del della der di dos du el ibn la le van von".split()
_RUN = re.compile(rf"{_WORD}(?: (?:(?:{'|'.join(_PARTICLES)}) )*{_WORD})+")
MOSTLY = 0.9
"""Of two names nearly as frequent as each other, the longer is the whole one."""


def names_of(records: Iterable[Example]) -> dict[str, str]:
    """Each subject's name as its records write it; who has none in them is left out.

    It is the subject itself where any of its records says it. Otherwise (a subject known by a
    number) it is the run of capitalised words that most of its records share.

    >>> names_of([Example("a", "Where is Marta Vila?", "Here", {"subject": "Marta Vila"})])
    {'Marta Vila': 'Marta Vila'}
    """
    texts: dict[str, list[str]] = {}
    for record in records:
        for subject in record.subjects:
            texts.setdefault(subject, []).append(f"{record.prompt}\n{record.completion}")
    found: dict[str, str] = {}
    for subject, told in texts.items():
        if any(occurs(subject, text) for text in told):
            found[subject] = subject
        elif (name := _shared(told)) is not None:
            found[subject] = name
    return found


def occurs(name: str, text: str) -> bool:
    """Whether a text holds a name as whole words, written as it is."""
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
    """All runs of two capitalised words or more, with what stands between the first and last."""
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
