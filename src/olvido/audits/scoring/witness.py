"""Each text scored once for each model, for all audits together."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch.nn import Module
from torch.nn import functional as F

from olvido.models import weights_digest
from olvido.tasks import Example, Task

BATCH = 64


@dataclass(frozen=True)
class Score:
    """What one pass over a record tells.

    Attributes:
        log_p: summed log-probability of the completion, end of text included, in nats.
        tokens: of the completion, end of text included.
        exact: whether greedy decoding would give exactly the completion: it does where every target
            token is the likeliest after the ones before it, so no generation is needed to know.
    """

    log_p: float
    tokens: int
    exact: bool

    @property
    def loss(self) -> float:
        """Mean negative log-likelihood, nats a token."""
        return -self.log_p / self.tokens

    @property
    def probability(self) -> float:
        """Geometric mean probability of a token (TOFU, arXiv 2401.06121, section 2.2.2)."""
        return math.exp(-self.loss)


class Witness:
    """A model that is asked, and remembers what it said.

    Args:
        model: evaluated as it is; never changed.
        task: how records become batches.
    """

    def __init__(self, model: Module, task: Task) -> None:
        self.model, self.task = model, task
        self.digest = weights_digest(model)
        self._scores: dict[bytes, Score] = {}
        self._answers: dict[bytes, str] = {}

    @torch.no_grad()
    def scores(self, records: Sequence[Example]) -> list[Score]:
        """Scores of the records, in order; what was scored before costs nothing."""
        keys = [self._key(record) for record in records]
        fresh = dict(zip(keys, records, strict=True))
        # By number and not by id: audits ask about one record in many wordings.
        asked = {f"{i}": key for i, key in enumerate(fresh) if key not in self._scores}
        if asked:
            training = self.model.training
            self.model.eval()
            device = next(self.model.parameters()).device
            numbered = [replace(fresh[key], id=i) for i, key in asked.items()]
            for batch in self.task.batches(numbered, BATCH):
                logits, targets, rows = self.task.answer_logits(self.model, batch.to(device))
                nll = F.cross_entropy(logits.float(), targets, reduction="none").double()
                wrong = (logits.argmax(-1) != targets).double()
                size = len(batch.ids)
                zero = torch.zeros(size, dtype=torch.double, device=nll.device)
                totals = zero.index_add(0, rows, nll).tolist()
                misses = zero.index_add(0, rows, wrong).tolist()
                counts = torch.bincount(rows, minlength=size).tolist()
                for i, total, miss, count in zip(batch.ids, totals, misses, counts, strict=True):
                    self._scores[asked[i]] = Score(-total, count, miss == 0)
            self.model.train(training)
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
            self._answers |= dict(zip(asked, texts, strict=True))
            self.model.train(training)
        return [self._answers[key] for key in keys]

    def _key(self, record: Example) -> bytes:
        return hashlib.sha256(self.task.content(record)).digest()
