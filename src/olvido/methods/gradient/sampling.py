"""Sampling of retained records, and questions about others made without data.

Half of a step's retained records are near the forgotten ones, half from all. Names in questions are
swapped for similar ones.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from olvido.methods.types import Split
from olvido.tasks import Example, Language
from olvido.tasks.sampling import nearest, shuffled

NEAR_SHARE = 0.5
"""Share of a step's retained records that are drawn from near the forgotten ones: damage begins
there."""
NEAR_PER_FORGOTTEN = 8
"""Retained records that count as near, for each forgotten one."""


def retain_draws(split: Split, size: int, seed: int) -> Iterator[tuple[Example, ...]]:
    """Endless batches of at most `size` distinct retained records.

    Near and far, every record comes once before any comes twice, in an order keyed by record id.
    """
    near = nearest(split.forget, split.retain, NEAR_PER_FORGOTTEN * len(split.forget))
    close = _epochs(near, round(size * NEAR_SHARE), f"{seed}|near")
    wide = _epochs(split.retain, size - round(size * NEAR_SHARE), f"{seed}|all")
    for some, others in zip(close, wide, strict=True):
        yield tuple({example.id: example for example in (*some, *others)}.values())


def mean_rows(forgotten: int, retained: int, size: int) -> float:
    """How many distinct records such a draw has in the mean.

    >>> mean_rows(20, 1000, 16), mean_rows(20, 20, 16)
    (15.936, 12.8)
    """
    close = min(round(size * NEAR_SHARE), NEAR_PER_FORGOTTEN * forgotten, retained)
    wide = min(size - round(size * NEAR_SHARE), retained)
    # A near record is among the wide ones as often as any other.
    return close + wide - close * wide / retained


def _epochs(records: Sequence[Example], size: int, key: str) -> Iterator[Sequence[Example]]:
    size = min(size, len(records))
    epoch = 0
    while True:
        order = shuffled(records, f"{key}|{epoch}")
        for start in range(0, len(order), max(size, 1)):
            yield order[start : start + size]
        epoch += 1


WORD = re.compile(r"[^\W\d_]+")
NEAREST = 16
"""Words among which a name's substitute is drawn."""
STARTS = ("▁", "Ġ")
"""Prefixes by which tokenizers mark a token that begins a word."""


class Swaps:
    """Substitutes for the names in a question, near in the model's own embeddings.

    Names are words with a capital letter that do not begin the question; without such, its longest
    word is the name. Their substitutes are words of the vocabulary, so no record but
    the question itself is needed.

    Args:
        model: the model whose embeddings define nearness.
        task: the task whose tokenizer defines words.
        seed: of the draws; the same name has the same substitute in all questions of a variant.
    """

    def __init__(self, model: Any, task: Language, seed: int) -> None:
        self.task, self.seed = task, seed
        self._table: Tensor = model.get_input_embeddings().weight.detach()

    @cached_property
    def _words(self) -> tuple[list[str], Tensor]:
        """Whole words of the vocabulary and their embeddings. [W], [W, D]"""
        tokenizer = self.task.tokenizer
        pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        found = {
            i: piece[1:]
            for i, piece in enumerate(pieces)
            if piece and piece[0] in STARTS and len(piece) > 3 and WORD.fullmatch(piece[1:])
        }
        return list(found.values()), F.normalize(self._table[list(found)].float(), dim=-1)

    def swapped(self, prompt: str, variant: int) -> str:
        """The question with other names; the unchanged question where no word is known."""
        chosen = names_of(prompt)
        return WORD.sub(
            lambda m: self._instead(m[0], chosen, variant) if m[0] in chosen else m[0], prompt
        )

    def _instead(self, name: str, taken: set[str], variant: int) -> str:
        words, table = self._words
        ids = self.task.tokenizer(" " + name, add_special_tokens=False)["input_ids"]
        own = F.normalize(self._table[ids].float().mean(0), dim=-1)
        alike = [
            words[i]
            for i in (table @ own).argsort(descending=True, stable=True).tolist()
            if words[i] not in taken and words[i][0].isupper() == name[0].isupper()
        ][:NEAREST]
        if not alike:
            return name
        key = f"{self.seed}|{variant}|{name}".encode()
        number = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest())
        return alike[number % len(alike)]


def names_of(prompt: str) -> set[str]:
    """Words that name somebody or something.

    >>> sorted(names_of("Where does Jordi Esteve live?"))
    ['Esteve', 'Jordi']
    >>> names_of("what is forgotten here")
    {'forgotten'}
    """
    words = WORD.findall(prompt)
    named = {word for word in words[1:] if word[0].isupper()}
    return named or set(sorted(words, key=len)[-1:])


def asked_of_others(
    model: Any, task: Language, records: Sequence[Example], *, variant: int, seed: int
) -> Mapping[str, Example]:
    """Each record's question about somebody else, with the model's own answer, by record id.

    Records without a question, whose question does not change, or whose answer is empty
    have none.
    """
    swaps = Swaps(model, task, seed)
    asked = {}
    for record in records:
        prompt = swaps.swapped(record.prompt, variant)
        if prompt != record.prompt:
            asked[record.id] = record.asked(prompt, f"neighbour{variant}")
    with torch.no_grad():
        answers = task.generate(model, list(asked.values()), 64) if asked else []
    return {
        i: replace(e, completion=answer, fields={})
        for (i, e), answer in zip(asked.items(), answers, strict=True)
        if answer.strip()
    }
