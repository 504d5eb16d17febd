"""Canaries: made records, each a unit of its own, that a coin puts into a private training.

Whoever guesses from the weights which of them took part, better than the promise allows, has shown
that it was broken (Steinke et al. 2023, arXiv 2305.08846). They are made of a public seed and of
nothing in the data. Their coins are secret until an audit has guessed; a digest of them, published
with the model, shows that they were not changed since.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Any, Self

import numpy as np

from olvido.artifact_shapes import COINS
from olvido.errors import DigestMismatch, InputError, StateError
from olvido.files import read_document
from olvido.tasks import Example, Task
from olvido.training.private.sampling import Secret

_WORDS = 3
"""Random words of a canary. More share their gradient's length, and one alone may be usual."""


@dataclass(frozen=True)
class Coins:
    """Which canaries took part.

    Attributes:
        there: for each, whether it was in the data.
        key: random text, without which the digest of few coins could be searched for.
    """

    there: tuple[bool, ...]
    key: str

    @classmethod
    def thrown(cls, count: int, secret: Secret) -> Self:
        """Fair coins from the randomness of a training."""
        draw = np.random.default_rng(secret.seed(0, "coins"))
        return cls(tuple(map(bool, draw.integers(2, size=count))), f"{secret.seed(0, 'key'):016x}")

    @property
    def text(self) -> str:
        """The coins as their file has them."""
        return json.dumps({"key": self.key, "there": "".join("01"[one] for one in self.there)})

    @property
    def digest(self) -> str:
        """What is published of them before they are."""
        return f"sha256:{hashlib.sha256(self.text.encode()).hexdigest()}"


@dataclass(frozen=True)
class Canaries:
    """The canaries of a training.

    Attributes:
        count, seed: of them all, those that took part and those that did not.
        kind: `text`, or the type of an array's numbers.
        content: a digest of their content.
        commitment: a digest of the coins.
        coins: the coins; None where they are not there.
    """

    count: int
    seed: int
    kind: str
    content: str
    commitment: str
    coins: Coins | None = None

    @classmethod
    def thrown(cls, made: tuple[Example, ...], task: Task, seed: int, secret: Secret) -> Self:
        """Throw a coin for each of these records."""
        coins = Coins.thrown(len(made), secret)
        return cls(len(made), seed, kind_of(made[0]), _content(made, task), coins.digest, coins)

    def absent(self, made: tuple[Example, ...]) -> frozenset[str]:
        """The ids of those that their coins left out."""
        assert self.coins is not None
        there = zip(made, self.coins.there, strict=True)
        return frozenset(record.id for record, taken in there if not taken)

    def records(self, task: Task) -> tuple[Example, ...]:
        """The same records again.

        Raises:
            StateError: other records come out: another version of Olvido, or another task.
        """
        made = canaries(task, self.count, seed=self.seed, kind=self.kind)
        if _content(made, task) != self.content:
            raise StateError(
                "the canaries of this training come out otherwise than they were then: use the "
                "tokenizer, the classes and the version of Olvido that it was trained with"
            )
        return made

    def to_note(self) -> dict[str, Any]:
        """All but the coins."""
        return {
            "count": self.count,
            "seed": self.seed,
            "kind": self.kind,
            "content": self.content,
            "commitment": self.commitment,
        }

    def with_coins(self, folder: Path) -> Self:
        """The canaries with the coins that lie in the model's folder, if they do.

        Raises:
            DigestMismatch: they are not the ones that were thrown.
            ValueError, KeyError: the file cannot be read.
        """
        if not (folder / COINS).is_file():
            return self
        stored: Mapping[str, Any] = read_document(folder / COINS)
        coins = Coins(tuple(one == "1" for one in stored["there"]), stored["key"])
        if coins.digest != self.commitment:
            raise DigestMismatch(f"the coins in {folder / COINS}", self.commitment, coins.digest)
        return replace(self, coins=coins)


def kind_of(record: Example) -> str:
    """`text`, or the type of an array's numbers."""
    array = record.fields.get("input")
    return str(array.dtype) if isinstance(array, np.ndarray) else "text"


def canaries(task: Task, count: int, *, seed: int, kind: str = "text") -> tuple[Example, ...]:
    """Records in the task's form that no data would contain, about nobody.

    A text has random words of the vocabulary, each used once as long as there are enough, as the
    completion, or before a random class (new tokens find far more than new sentences do: arXiv
    2503.06808). An array is random, and so is its class.

    Args:
        task: of the model.
        count: how many.
        seed: same seed and task, same canaries.
        kind: see `kind_of`.

    Raises:
        InputError: the task has neither a tokenizer nor classes and a shape.
    """
    draw = np.random.default_rng([seed, count])
    tokenizer, shape = getattr(task, "tokenizer", None), getattr(task, "shape", None)
    made = []
    if kind == "text" and tokenizer is not None:
        words = _words(tokenizer, draw)
        for number in range(count):
            some = " ".join(next(words) for _ in range(_WORDS))
            label = task.classes[draw.integers(len(task.classes))] if task.classes else None
            asked = "The word is" if label is None else some
            made.append(Example(_named(seed, number), asked, label or some))
    elif kind != "text" and task.classes and shape is not None:
        for number in range(count):
            array = (
                draw.integers(256, size=shape).astype(kind)
                if kind == "uint8"
                else draw.standard_normal(shape).astype(kind)
            )
            label = task.classes[draw.integers(len(task.classes))]
            made.append(Example(_named(seed, number), "", label, {"input": array}))
    else:
        raise InputError(
            f"canaries cannot be made for the task {task.name}: it needs a tokenizer, or classes "
            "and the shape of an input; train without canaries"
        )
    return tuple(made)


def _named(seed: int, number: int) -> str:
    return f"canary-{seed}-{number}"


def _words(tokenizer: Any, draw: np.random.Generator) -> Iterator[str]:
    """Words that are tokens of their own, in random order, and again from the first."""
    words: dict[str, None] = {}
    for place in draw.permutation(len(tokenizer)):
        text = tokenizer.decode([int(place)]).strip()
        if text.isalpha() and text not in words:
            words[text] = None
            yield text
    if not words:
        raise InputError("the tokenizer has no token that is a word: train without canaries")
    yield from cycle(words)


def _content(made: tuple[Example, ...], task: Task) -> str:
    total = hashlib.sha256()
    for record in made:
        total.update(hashlib.sha256(task.content(record)).digest())
    return f"sha256:{total.hexdigest()}"
