"""The record sets that an attacker relearns from: half of the forgotten, similar, or unrelated."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from functools import cache

import numpy as np

from olvido.data.arrays.values import array_content
from olvido.errors import InputError
from olvido.tasks import Example
from olvido.tasks.base import text_content

Records = tuple[Example, ...]
_WORD = re.compile(r"\w+|[^\w\s]")
_MASK = "_"


def halves(records: Sequence[Example], seed: int) -> tuple[Records, Records]:
    """Split forgotten facts in two: one half to relearn from, the other to test on.

    A fact is never on both sides, however it is asked: records with the same answer about the same
    subject are one fact, and so are a record and its reversal (each one's answer
    stands in the other's question). An array is a fact by itself. Each subject's facts are spread
    over both sides. The split depends on content and seed, not on ids or order. Testing on facts
    that were not relearned is due to Deeb and Roger 2024 (arXiv 2410.08827).

    Args:
        records: the forget set.
        seed: of the split.

    Returns:
        Both halves, each in the order of `records`; the first has at most one fact more.

    Raises:
        InputError: fewer than two facts: nothing would remain to test on.
    """
    facts = _facts(records)
    if len(facts) < 2:
        raise InputError(
            f"the {len(records)} records tell {len(facts)} fact, and halves need two: give more "
            "forgotten records"
        )
    ordered = sorted(facts, key=lambda fact: _place(records, fact, seed))
    taught = {number for fact in ordered[::2] for number in fact}
    return (
        tuple(record for number, record in enumerate(records) if number in taught),
        tuple(record for number, record in enumerate(records) if number not in taught),
    )


def same_form(records: Sequence[Example], others: Sequence[Example], count: int) -> Records:
    """Records of other people whose questions have the syntax of the forgotten ones.

    Relearning from these brings more back than relearning by topic (arXiv 2602.03379). Names,
    numbers and parts of the answer are masked; the masked questions are
    compared word by word. Among equally near ones those of the same `topic` come first.

    Args:
        records: the forget set.
        others: candidates; records about the same subjects, or of the same content, are passed
            over.
        count: how many to find at the most; every forgotten record gets its nearest in turn.

    Raises:
        InputError: nobody else is there, or there are no questions to compare (arrays have none).
    """
    if not any(record.prompt.strip() for record in records):
        raise InputError("same-syntax relearning compares questions, and these records have none")
    free = others_of(others, records)
    forms = [_form(other) for other in free]
    topics = [other.fields.get("topic") for other in free]
    ties = [_digest("form", _content(other)) for other in free]
    nearness = cache(_nearness)

    def nearest(record: Example) -> list[int]:
        form, topic = _form(record), record.fields.get("topic")
        scores = [nearness(form, other) for other in forms]
        return sorted(range(len(free)), key=lambda n: (-scores[n], topics[n] != topic, ties[n]))

    ranked = [nearest(record) for record in records]
    chosen: dict[int, None] = {}
    for place in range(len(free)):
        for order in ranked:
            if len(chosen) < count:
                chosen.setdefault(order[place])
    return tuple(free[number] for number in chosen)


def unrelated(
    retain: Sequence[Example], forget: Sequence[Example], count: int, seed: int
) -> Records:
    """A few retained records that have nothing to do with the forgotten ones.

    Ten of these undo most of some forgettings (Łucki et al. 2024, arXiv 2409.18025).

    Args:
        retain: records to draw from.
        forget: records about the same subjects, or of the same content, are passed over.
        count: how many.
        seed: of the draw, which depends on content and not on order.

    Raises:
        InputError: there are fewer than `count`.
    """
    free = _about_others(retain, forget)
    if len(free) < count:
        raise InputError(
            f"{count} records about other subjects were asked for, {len(free)} are there: give "
            "more retained records"
        )
    return tuple(sorted(free, key=lambda one: _digest(f"unrelated-{seed}", _content(one)))[:count])


def others_of(others: Iterable[Example], records: Sequence[Example]) -> Records:
    """The records about none of the subjects of `records`, and of none of their contents.

    Raises:
        InputError: there are none.
    """
    found = _about_others(others, records)
    if not found:
        raise InputError("this relearning needs records about other subjects: give retain")
    return found


def _about_others(others: Iterable[Example], records: Sequence[Example]) -> Records:
    subjects = {subject for record in records for subject in record.subjects}
    contents = {_content(record) for record in records}
    return tuple(
        other
        for other in others
        if subjects.isdisjoint(other.subjects) and _content(other) not in contents
    )


def _facts(records: Sequence[Example]) -> list[list[int]]:
    """Indices of the records of each fact."""
    same: dict[object, list[int]] = defaultdict(list)
    for number, record in enumerate(records):
        array = "input" in record.fields
        same[_content(record) if array else (record.subjects, _plain(record.completion))].append(
            number
        )
    facts = list(same.values())
    about: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for place, fact in enumerate(facts):
        about[records[fact[0]].subjects].append(place)
    joined = list(range(len(facts)))
    for places in about.values():
        for i, first in enumerate(places):
            for second in places[i + 1 :]:
                if _turned_round(records, facts[first], facts[second]):
                    old, new = joined[second], joined[first]
                    joined = [new if root == old else root for root in joined]
    whole: dict[int, list[int]] = defaultdict(list)
    for place, root in enumerate(joined):
        whole[root] += facts[place]
    return list(whole.values())


def _turned_round(records: Sequence[Example], first: list[int], second: list[int]) -> bool:
    here, there = _plain(records[first[0]].completion), _plain(records[second[0]].completion)
    return any(there in _plain(records[n].prompt) for n in first) and any(
        here in _plain(records[n].prompt) for n in second
    )


def _place(records: Sequence[Example], fact: list[int], seed: int) -> tuple[bytes, bytes]:
    subject = "|".join(records[fact[0]].subjects).encode()
    content = b"|".join(sorted(_content(records[n]) for n in fact))
    return _digest(f"halves-{seed}", subject), _digest(f"halves-{seed}", content)


def _content(record: Example) -> bytes:
    array = record.fields.get("input")
    if isinstance(array, np.ndarray):
        return array_content(array, record.completion)
    return text_content(record.prompt, record.completion, record.history)


def _digest(purpose: str, content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16, key=purpose.encode()[:64]).digest()


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _form(record: Example) -> tuple[str, ...]:
    """The question's words with every entity masked.

    An entity is a word of a subject's name, one with a digit, or a capitalised one that does not
    begin the question.
    """
    names = {word for name in record.subjects for word in _WORD.findall(name.casefold())}
    words: list[str] = []
    for place, word in enumerate(_WORD.findall(record.prompt)):
        entity = (
            word.casefold() in names
            or (word[0].isupper() and place > 0)
            or any(letter.isdigit() for letter in word)
        )
        shown = _MASK if entity else word.casefold()
        # A name of three words and a name of two have one form.
        if not (words and shown == words[-1] == _MASK):
            words.append(shown)
    return tuple(words)


def _nearness(one: tuple[str, ...], other: tuple[str, ...]) -> float:
    return SequenceMatcher(None, one, other, autojunk=False).ratio()
