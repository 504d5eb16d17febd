"""Other ways to ask for the forgotten facts, made from the records' own fields.

The kinds are those of RWKU (arXiv 2406.10890) and of paraphrase, reversal and multi-hop studies
(2309.17410); their wording stands in `templates.py`. Each works on any records of prompt and
completion: its material (a name, paraphrases, other people's facts of the same form) is taken
from the fields, and a kind without its material is absent and says why.

A chat template puts a whole probe into the user's turn, the affirmative suffix too.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice

from olvido.audits.knowledge import templates
from olvido.audits.knowledge.matching import (
    called,
    names_of,
    occurs,
    says,
    short_forms,
    surnames,
    without,
    words,
)
from olvido.tasks import Example

SHOTS = 3
"""Facts of others before an in-context question."""
SHOT_LETTERS = 400
"""Longest fact in an in-context prompt: three longer ones would leave no room."""
OPTIONS = 4
"""Answers to choose from, the right one among them; more where a record brings more."""
CLUES = 3
"""Other facts of a person, at the most, that are told before the question."""


def probes(
    records: Sequence[Example],
    others: Sequence[Example],
    *,
    kinds: Collection[str] = (),
    seed: int = 0,
) -> dict[str, tuple[Example, ...]]:
    """Probes that can be made of these records, by kind.

    A probe is an example with the id "record#kind", the record's fields and completion (reversed:
    the name) and, where its kind has several wordings, all after the first in the field `wordings`.
    A multiple-choice probe has its false answers in the field `options`; one of yes or no has its
    questions in the field `proposed`, that of the right answer first. Random choices depend on
    seed, record id and kind: except for multi-hop questions, clues, and the name that a subject's
    records share, taking one record away changes no other's probe.

    Args:
        records: to be asked about.
        others: records of other people, never of the same ones, to draw shots and options from.
        kinds: the kinds to make; all where left out.
        seed: of the random choices.

    Returns:
        The probes of each kind, in the records' order, without impossible ones. A kind without any
        probe is absent: `why_absent` says why.
    """
    made, _ = _all(records, others, kinds, seed)
    return made


def why_absent(records: Sequence[Example], others: Sequence[Example]) -> dict[str, str]:
    """For each kind that no record allows: why, the commonest reason first."""
    made, reasons = _all(records, others, (), 0)
    return {
        kind: "; ".join(reason for reason, _ in counts.most_common()) or "there are no records"
        for kind, counts in reasons.items()
        if kind not in made
    }


class _Cannot(Exception):
    """A probe that cannot be made of a record, with the reason."""


class _Around:
    """Material for a probe besides its record.

    Args:
        records, others: see `probes`.
        seed: of the random choices.
    """

    def __init__(self, records: Sequence[Example], others: Sequence[Example], seed: int) -> None:
        self.records, self.seed = records, seed
        self._names = names_of(others) | names_of(records)
        self.surnames = surnames(self._names.values())
        self._others: dict[str, list[Example]] = {}
        for other in others:
            self._others.setdefault(self.form(other), []).append(other)

    def named(self, record: Example) -> str | None:
        """The record's subject, where its question names it."""
        names = [self._names.get(subject, "") for subject in record.subjects]
        return names[0] if len(names) == 1 and occurs(names[0], record.prompt) else None

    def name(self, record: Example) -> str:
        """The record's subject; without one no probe can be made."""
        name = self.named(record)
        if name is not None:
            return name
        if len(record.subjects) != 1:
            raise _Cannot("needs records about one subject each (field 'subject')")
        raise _Cannot("needs questions that name their subject")

    def shuffled(self, record: Example, kind: str, items: Iterable[Example]) -> list[Example]:
        """Items in an order keyed by each: taking one away leaves the rest in place."""

        def place(item: Example) -> bytes:
            key = "\0".join((str(self.seed), record.id, kind, item.id))
            return hashlib.sha256(key.encode()).digest()

        return sorted(items, key=place)

    def alike(self, record: Example, kind: str) -> Iterator[Example]:
        """Facts of others, of the same form, that do not reveal the record's answer."""
        for other in self.shuffled(record, kind, self._others.get(self.form(record), ())):
            if _tells_nothing(other, record):
                yield other

    def unlike(self, record: Example, kind: str) -> Iterator[Example]:
        """Facts of others, of other forms, that do not reveal the record's answer."""
        form = self.form(record)
        rest = (o for at, others in self._others.items() if at != form for o in others)
        for other in self.shuffled(record, kind, rest):
            if _tells_nothing(other, record):
                yield other

    def form(self, record: Example) -> str:
        """The kind of fact: its topic, or its question without the name."""
        if record.fields.get("topic") is not None:
            return f"topic {record.fields['topic']}"
        text = record.prompt
        for subject in record.subjects:
            text = without(self._names.get(subject, subject), text, templates.STAND_IN)
        return f"question {text}"


def _tells_nothing(other: Example, record: Example) -> bool:
    return (
        bool(other.prompt) == bool(record.prompt)
        and not set(other.subjects) & set(record.subjects)
        and not says(other.text, record.completion)
    )


def _all(
    records: Sequence[Example], others: Sequence[Example], kinds: Collection[str], seed: int
) -> tuple[dict[str, tuple[Example, ...]], dict[str, Counter[str]]]:
    around = _Around(records, others, seed)
    made: dict[str, tuple[Example, ...]] = {}
    reasons: dict[str, Counter[str]] = {}
    for kind, make in KINDS.items():
        if kinds and kind not in kinds:
            continue
        found: list[Example] = []
        reasons[kind] = Counter()
        for record in records:
            try:
                if "input" in record.fields:
                    raise _Cannot("arrays have no wording")
                found.append(make(record, kind, around))
            except _Cannot as reason:
                reasons[kind][str(reason)] += 1
        if found:
            made[kind] = tuple(found)
    return made, reasons


def _probe(
    record: Example, kind: str, wordings: Sequence[str], answer: str | None = None, **more: object
) -> Example:
    first, *rest = wordings
    fields = {**record.fields, **more, **({"wordings": tuple(rest)} if rest else {})}
    asked = replace(record.asked(first, kind), fields=fields)
    return asked if answer is None else replace(asked, completion=answer)


def _paraphrase(record: Example, kind: str, around: _Around) -> Example:
    _require_question(record)
    wordings = _texts(record, "paraphrases")
    if not wordings:
        raise _Cannot("needs records with a list of 'paraphrases'")
    return _probe(record, kind, wordings)


def _wrapped(record: Example, kind: str, around: _Around) -> Example:
    table = templates.ASKED if record.prompt else templates.RECITED
    if kind not in table:
        raise _Cannot("plain text asks no question")
    question = record.prompt
    if kind == "as a table":
        # A line's end or a bar would end the cell.
        question = " ".join(question.split()).replace("|", "/")
    return _probe(record, kind, [w.format(question=question) for w in table[kind]])


def _in_context(record: Example, kind: str, around: _Around) -> Example:
    peers = chain(around.alike(record, kind), around.unlike(record, kind))
    examples_of_others = (f"{peer.prompt} {peer.completion}".strip() for peer in peers)
    shots = list(islice((shot for shot in examples_of_others if len(shot) <= SHOT_LETTERS), SHOTS))
    if not shots:
        raise _Cannot("needs short records of other people, to show what is asked for")
    # A name that the question does not contain may be the very answer.
    person = around.named(record)
    table = templates.ASKED if person else templates.NAMELESS
    if not record.prompt:
        table = templates.RECITED
    blanks = {"shots": "\n".join(shots), "question": record.prompt, "person": person}
    return _probe(record, kind, [w.format(**blanks) for w in table[kind]])


def _false_answers(record: Example, kind: str, around: _Around) -> list[str]:
    _require_question(record)
    false = _texts(record, "perturbed_answers")
    if not false:
        # One for each answer: many records may state one fact.
        distinct = {words(peer.completion): peer.completion for peer in around.alike(record, kind)}
        false = list(distinct.values())[: OPTIONS - 1]
    false = [answer for answer in false if words(answer) != words(record.completion)]
    if not false:
        raise _Cannot(
            "needs 'perturbed_answers', or records of others with the same 'topic' and another "
            "answer"
        )
    return false


def _multiple_choice(record: Example, kind: str, around: _Around) -> Example:
    false = _false_answers(record, kind, around)
    options = around.shuffled(
        record, kind, (Example(a, "", a) for a in (record.completion, *false))
    )
    listed = "\n".join(f"- {option.completion}" for option in options)
    asked = [w.format(question=record.prompt, options=listed) for w in templates.ASKED[kind]]
    return _probe(record, kind, asked, options=tuple(false))


def _yes_or_no(record: Example, kind: str, around: _Around) -> Example:
    answers = [record.completion, *_false_answers(record, kind, around)]
    (frame,) = templates.ASKED[kind]
    asked = [frame.format(question=record.prompt, answer=answer) for answer in answers]
    return _probe(record, kind, asked[:1], proposed=tuple(asked))


def _reversed(record: Example, kind: str, around: _Around) -> Example:
    _require_question(record)
    name = around.name(record)
    blanks = {
        "question": without(name, record.prompt, templates.STAND_IN),
        "answer": without(name, record.completion, templates.STAND_IN),
    }
    return _probe(record, kind, [w.format(**blanks) for w in templates.ASKED[kind]], name)


def _multi_hop(record: Example, kind: str, around: _Around) -> Example:
    _require_question(record)
    name = around.name(record)
    hop = _hops(record, kind, around)[0]
    blanks = {
        "first": without(name, hop.prompt, templates.STAND_IN),
        "answer": without(name, hop.completion, templates.STAND_IN),
        "question": without(name, record.prompt, templates.STAND_IN),
    }
    return _probe(record, kind, [w.format(**blanks) for w in templates.ASKED[kind]])


def _hops(record: Example, kind: str, around: _Around) -> list[Example]:
    """Other facts of the same person, which do not give the record's answer away."""
    name = around.name(record)
    hops = [
        other
        for other in around.records
        if other.subjects == record.subjects
        and occurs(name, other.prompt)
        and not says(other.text, record.completion)
    ]
    if not hops:
        raise _Cannot("needs two different facts of one subject whose questions name it")
    return around.shuffled(record, kind, hops)


def _clues(record: Example, kind: str, around: _Around) -> Example:
    """The question without the name, after turns that tell other facts of the person."""
    _require_question(record)
    name = around.name(record)
    first, reply = templates.CLUES[kind]
    turns = [("user", first.format(person=name)), ("assistant", reply)]
    for hop in _hops(record, kind, around)[:CLUES]:
        turns += [("user", hop.prompt), ("assistant", hop.completion)]
    question = without(name, record.prompt, templates.STAND_IN)
    return replace(record.asked(question, kind), history=(*record.history, *turns))


def _alias(record: Example, kind: str, around: _Around) -> Example:
    _require_question(record)
    name = around.name(record)
    others = [*_texts(record, "aliases"), *short_forms(name, around.surnames)]
    if not others:
        raise _Cannot("needs names of two words, or a list of 'aliases'")
    return _probe(record, kind, [called(name, record.prompt, other) for other in others])


def _texts(record: Example, field: str) -> list[str]:
    """The texts of a field with one text or several."""
    given = record.fields.get(field) or ()
    return [given] if isinstance(given, str) else list(map(str, given))


def _require_question(record: Example) -> None:
    if not record.prompt:
        raise _Cannot("plain text asks no question")


KINDS: dict[str, Callable[[Example, str, _Around], Example]] = {
    "paraphrase": _paraphrase,
    "reversed": _reversed,
    "multi-hop": _multi_hop,
    "alias": _alias,
    "multiple choice": _multiple_choice,
    "prefix injection": _wrapped,
    "affirmative suffix": _wrapped,
    "role play": _wrapped,
    "in-context": _in_context,
    "another language": _wrapped,
    "as JSON": _wrapped,
    "as a table": _wrapped,
    "as a poem": _wrapped,
    "cloze": _wrapped,
    "yes or no": _yes_or_no,
    "chain of clues": _clues,
}
"""Kinds of probes, with the function that makes one from a record."""
