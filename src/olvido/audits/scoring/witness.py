"""A model that is asked, and remembers what it said: each text once, for all audits together."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch.nn import Module

from olvido.audits.scoring.cache import Shelf
from olvido.audits.scoring.score import Score, look
from olvido.errors import DigestMismatch
from olvido.learners.trace import Trace, Untraced, taught
from olvido.models import weights_digest
from olvido.tasks import Example, Task
from olvido.tasks.shared import WORTH

BATCH = 64
FEWEST, PADDED = 8, 1.25
"""Rows, at the least, of a batch that is cut where a row is longer than its first by this factor:
fewer leave the processor idle between them."""

T = TypeVar("T")


class Traced(Protocol):
    """A model with what is known of its making: what `train` and `forget` give."""

    @property
    def model(self) -> Module:
        """The module."""
        ...

    @property
    def digest(self) -> str:
        """Of its weights."""
        ...

    @property
    def trace(self) -> Trace:
        """What its training kept."""
        ...


class Witness:
    """A model that is asked, and remembers what it said.

    Args:
        model: evaluated as it is; never changed.
        task: how records become batches.
        cache: a folder that keeps what models said, by their digests; None: memory alone.
        taught: ids of all records that Olvido itself taught the model; None: nobody saw to that.
        began: digest of the weights that this training began with.
    """

    def __init__(
        self,
        model: Module,
        task: Task,
        *,
        cache: Path | None = None,
        taught: Collection[str] | None = None,
        began: str | None = None,
    ) -> None:
        self.model, self.task = model, task
        self.taught = None if taught is None else frozenset(taught)
        self.began = began
        self._shelf = None if cache is None else Shelf(cache, self.digest)
        self._found: dict[bytes, Any] = {}
        self._scores: dict[bytes, Score] = {}
        self._answers: dict[bytes, str] = {}
        if self._shelf is not None:
            self._scores, self._answers = self._shelf.read()

    @classmethod
    def of(cls, trained: Traced, task: Task, *, cache: Path | None = None) -> Witness:
        """A model whose training Olvido saw, as its trace tells.

        Raises:
            DigestMismatch: its weights are not those that were trained.
        """
        taught, began = _history(trained.trace)
        witness = cls(trained.model, task, cache=cache, taught=taught, began=began)
        if witness.digest != trained.digest:
            raise DigestMismatch("a model that was given with its trace", trained.digest,
                                 witness.digest)  # fmt: skip
        return witness

    @cached_property
    def digest(self) -> str:
        """Of the weights, as they were when it was first asked for."""
        return weights_digest(self.model)

    @torch.no_grad()
    def scores(self, records: Sequence[Example]) -> list[Score]:
        """Scores of the records, in order; what was scored before costs nothing."""
        keys = [self._key(record) for record in records]
        fresh = dict(zip(keys, records, strict=True))
        # By number and not by id: audits ask about one record in many wordings.
        asked = {f"{i}": key for i, key in enumerate(fresh) if key not in self._scores}
        if asked:
            found: dict[bytes, Score] = {}
            training = self.model.training
            self.model.eval()
            device = next(self.model.parameters()).device
            numbered = [replace(fresh[key], id=i) for i, key in asked.items()]
            batches = (self.task.batches(some, BATCH) for some in _alike(numbered, self.task))
            for batch in chain.from_iterable(batches):
                logits, targets, rows = self.task.answer_logits(self.model, batch.to(device))
                cuts = torch.bincount(rows.cpu(), minlength=len(batch.ids)).cumsum(0)[:-1].numpy()
                columns = (np.split(c.numpy(), cuts) for c in look(logits, targets))
                for i, *arrays in zip(batch.ids, *columns, strict=True):
                    found[asked[i]] = Score(*arrays)
            self.model.train(training)
            self._scores |= found
            if self._shelf is not None:
                self._shelf.add_scores(found)
        return [self._scores[key] for key in keys]

    def answers(self, records: Sequence[Example]) -> list[str]:
        """Greedy answers, in order; only those that the scores do not tell are generated."""
        keys = [self._key(record) for record in records]
        for key, record, score in zip(keys, records, self.scores(records), strict=True):
            if score.exact and record.prompt:
                self._answers.setdefault(key, record.completion)
        fresh = dict(zip(keys, records, strict=True))
        asked = {key: record for key, record in fresh.items() if key not in self._answers}
        if asked:
            training = self.model.training
            self.model.eval()
            texts = self.task.generate(self.model, list(asked.values()), BATCH)
            self.model.train(training)
            found = dict(zip(asked, texts, strict=True))
            self._answers |= found
            if self._shelf is not None:
                self._shelf.add_answers(found)
        return [self._answers[key] for key in keys]

    def once(self, what: str, records: Sequence[Example], find: Callable[[], T]) -> T:
        """What was found out about this model before, or is now: `find` runs once for `what` and
        these records. For what costs more than a score: a copy that was rounded or relearned.
        """
        total = hashlib.sha256(what.encode())
        for record in records:
            total.update(self._key(record))
        key = total.digest()
        if key not in self._found:
            self._found[key] = find()
        found: T = self._found[key]
        return found

    def _key(self, record: Example) -> bytes:
        return hashlib.sha256(self.task.fingerprint(record)).digest()


def _history(trace: Trace) -> tuple[frozenset[str] | None, str | None]:
    """Ids of all that a training taught, forgotten by other means since or not, and the digest of
    the weights it began with; nothing where there is no trace."""
    if isinstance(trace, Untraced):
        return None, None
    return taught(trace), trace.origin.digest


def _alike(records: Sequence[Example], task: Task) -> Iterator[list[Example]]:
    """Records that are best read together: answers to one long question, which is then read once,
    and others of about one length, since what a row is padded with is read as well."""
    by_prompt: dict[str, list[Example]] = {}
    for record in records:
        by_prompt.setdefault(record.prompt, []).append(record)
    rest: list[Example] = []
    for prompt, same in by_prompt.items():
        if prompt and (len(same) - 1) * min(map(task.width, same)) > WORTH:
            yield same
        else:
            rest += same
    widths = {record.id: task.width(record) for record in rest}
    rest.sort(key=lambda record: widths[record.id])
    start = 0
    for end, record in enumerate(rest):
        if end - start >= FEWEST and widths[record.id] > PADDED * widths[rest[start].id]:
            yield rest[start:end]
            start = end
    if rest:
        yield rest[start:]
