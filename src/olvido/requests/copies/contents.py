"""The content of a person's record, in folded words, and whether it identifies the person."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from olvido.data.conversations import MESSAGES, exchanges_of
from olvido.names import unseen, words
from olvido.requests.copies.escapes import unescaped
from olvido.requests.copies.runs import Lexicon

LEAST_WORDS = 8
"""A record of fewer words, or of fewer than six different ones, does not identify a person."""
LEAST_ANSWER = 5
"""Nor does one whose last part, the answer, is shorter, unless it is a long number."""

GLUE = frozenset(
    "prompt completion question answer q a text content contents role value from input output "
    "inputs outputs instruction response respond reply message messages query target label "
    "labels id source user assistant human gpt bot model system chatgpt ai im start end eot "
    "header s inst sys eos bos begin of turn th td tr p br div span li ul b i strong em h1 h2 "
    "h3 h4 null none true false nan pregunta respuesta resposta usuari usuario frage antwort "
    "question reponse domanda risposta pergunta subject subjects licence license consent "
    "collected at n t r x cell type code markdown completions prompts answers questions "
    "string str data row index".split()
)
"""Words that programs write between a question and its answer: columns, roles, template marks."""

MARKUP = frozenset(
    "html head body title meta link style script header footer main nav section article aside "
    "div span p a b i u s em strong small sub sup code pre blockquote br hr img ul ol li dl dt dd "
    "table thead tbody tfoot tr td th caption col figure figcaption form label input button xml "
    "version encoding doctype utf 8 lang class href src alt name charset content type rel width "
    "height document doc root svg path d w t r".split()
)
"""Names of elements and attributes that any page has."""

_BARE = re.compile(r"""[\s{}\[\]()<>"'`,;:.]|[^\W_]""")
_SIGNS, _LINES = 2, 4
_FRAME = re.compile(r"""[\s{}\[\]()<>"'`,;:|]|[^\W_]""")
_RUN = re.compile(r"(.)\1+")

_DIFFERENT = 6
_LONG_NUMBER = re.compile(r"\d{6}")
_CONTENTS = (("prompt", "completion"), ("text",))


@dataclass(frozen=True, slots=True)
class Content:
    """One form in which a file can contain a whole record.

    Attributes:
        runs: the runs of words, in their order; a pair has two.
        strong: whether it identifies the person by itself; else it counts only beside the name.
        ids: ids of the records with just this content.
        stopped: whether it ends with a stop, a quote or a bracket.
        own: all values of those records, as runs: the other values of a row of the person.
        keys: the names of those values.
    """

    runs: tuple[int, ...]
    strong: bool
    ids: tuple[str, ...]
    stopped: bool
    own: frozenset[tuple[int, ...]]
    keys: frozenset[str]


def content_of(row: Mapping[str, Any]) -> str:
    """The content of a row in folded words: equal for two rows of equal content.

    >>> content_of({"prompt": "Who is Ana?", "completion": "A baker."})
    'who is ana a baker'
    """
    return " ".join(word for parts in _texts(row) for text in parts for word in words(text))


def contents_of(
    rows: Sequence[Mapping[str, Any]], common: Callable[[str], int] | None
) -> tuple[Lexicon, list[tuple[int, ...]], list[Content]]:
    """The words, the runs and the contents of a person's records."""
    texts = [(row, parts) for row in rows for parts in _texts(row)]
    values = [[w for v in leaves(row) if (w := tuple(words(v)))] for row, _ in texts]
    forms = {
        (number, form): [tuple(words(form_of(part))) for part in parts]
        for number, (_, parts) in enumerate(texts)
        for form, form_of in (("raw", str), ("unescaped", unescaped))
    }
    known = [w for some in values for value in some for w in value]
    known += [w for some in forms.values() for part in some for w in part]
    keys = frozenset(str(key) for row in rows for key in row)
    lexicon = Lexicon([*known, *GLUE, *MARKUP, *(word for key in keys for word in words(key))])
    runs: dict[tuple[int, ...], int] = {}
    found: dict[tuple[int, ...], tuple[list[str], set[tuple[int, ...]], bool, bool]] = {}
    for (number, _), parts in forms.items():
        row, texts_of = texts[number]
        numbered = [run for part in parts if (run := tuple(lexicon.numbered(part)))]
        if not numbered:
            continue
        whole = tuple(runs.setdefault(run, len(runs)) for run in numbered)
        strong = len(numbered) == len(texts_of) and _strong(parts)
        if strong and common is not None:
            strong = common(content_of(row)) == 0
        ids, own, was, stopped = found.setdefault(whole, ([], set(), True, True))
        if str(row["id"]) not in ids:
            ids.append(str(row["id"]))
        own.update(tuple(lexicon.numbered(value)) for value in values[number])
        stopped = stopped and not texts_of[-1].rstrip()[-1:].isalnum()
        found[whole] = ids, own, was and strong, stopped
    contents = [
        Content(whole, strong, tuple(ids), stopped, frozenset(own), keys)
        for whole, (ids, own, strong, stopped) in found.items()
    ]
    return lexicon, list(runs), contents


def _strong(parts: Sequence[Sequence[str]]) -> bool:
    said = [word for part in parts for word in part]
    # In a script without spaces every character counts as a word: two or three make a real one.
    size = sum(0.5 if len(word) == 1 and ord(word) > 0xE00 else 1 for word in said)
    answer = parts[-1]
    enough = len(answer) >= LEAST_ANSWER or any(_LONG_NUMBER.search(w) for w in answer)
    return size >= LEAST_WORDS and len(set(said)) >= _DIFFERENT and enough


def _texts(row: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The contents of a row, each a text or a pair: of a conversation every exchange is one."""
    if row.get(MESSAGES) is not None:
        return list(exchanges_of(row))
    contents = [tuple(row.get(name) for name in names) for names in _CONTENTS]
    return [tuple(map(str, parts)) for parts in contents if None not in parts]


def leaves(value: object) -> list[str]:
    """Every single value of a row as text."""
    if isinstance(value, Mapping):
        return [leaf for item in value.values() for leaf in leaves(item)]
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in leaves(item)]
    return [] if value is None else [str(value)]


def signs_in(text: str) -> int:
    """The number of characters with meaning that are no letters: emoji, flags, notes, and invisible
    ones."""
    if text.isascii():
        return 0
    return len(text) - len(unseen(text)) + sum(map(_is_said, text))


def draws(lines: Iterable[str]) -> bool:
    """Whether lines without words have meaning in signs: emoji, a drawing.

    Brackets, quotes and commas are format, and so are lines of one or two signs, which separate
    columns and sections: a file has four at most. Dots and dashes in many orders are Morse, and
    many invisible characters have meaning.

    >>> draws(["{", "},", "-----", "| --- |"]), draws(["^_^ =="]), draws(["€ €"])
    (False, True, True)
    >>> draws([".- -... -. -"]), draws(["\\u200b\\u200c" * 8])
    (True, True)
    """
    seen: set[str] = set()
    for line in lines:
        if len({_RUN.sub(r"\1", word) for word in _FRAME.sub(" ", line).split()}) > _SIGNS:
            return True
        if len(line) - len(unseen(line)) > _LINES:
            return True
        signs = set(_BARE.sub("", line))
        if not signs:
            continue
        if len(signs) > _SIGNS or any(_is_said(sign) for sign in signs):
            return True
        seen.add(line.strip())
    return len(seen) > _LINES


def _is_said(sign: str) -> bool:
    return not sign.isascii() and unicodedata.category(sign)[0] == "S"
