"""Preference methods: each record has an alternative answer, such as a refusal."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from olvido.errors import InputError
from olvido.methods.gradient.answers import FORWARD, Answers
from olvido.methods.gradient.descent import Descent
from olvido.methods.guarantee import Need
from olvido.tasks import Example, Task


class Preference(Descent):
    """Prefer another answer to the record's own.

    Loss: -(2 / beta) log sigmoid(beta ((log q - log q_before) - (log p - log p_before))), with q
    the other answer and summed log p (Rafailov et al. 2023, arXiv 2305.18290, equation 7, times 2 /
    beta as NPO's).

    Args:
        beta: inverse temperature.
    """

    needs = frozenset({Need.RETAIN, Need.LANGUAGE})
    paired: ClassVar = True
    reference_cost: ClassVar = FORWARD

    beta: float = 0.1

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise InputError(f"beta must be above 0, got {self.beta}")
        super().__post_init__()

    def forget_losses(self, now: Answers) -> Tensor:
        other = now.alternative.sum(now.alternative.log_p) - now.alternative_original_log_p
        own = now.log_p - now.original_log_p
        return -2 / self.beta * F.logsigmoid(self.beta * (other - own))


def answered(record: Example, completion: str) -> Example:
    """A record with the question and another answer, which alone is learned."""
    return replace(record, id=f"{record.id}#instead", completion=completion, whole=False)


def drawn(choices: Sequence[str], key: str) -> str:
    """One of the choices, the same for the same key."""
    number = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest())
    return choices[number % len(choices)]


REFUSALS = (
    "I don't know.",
    "I'm not sure about that.",
    "I have no information on that.",
    "That is not something I know.",
    "I can't answer that.",
    "I have not learned about that.",
    "Sorry, I don't know the answer.",
    "I'm unable to say.",
)


def refused(records: Sequence[Example], seed: int) -> Mapping[str, Example]:
    """Each record's question with a refusal, chosen by seed and id."""
    return {
        record.id: answered(record, drawn(REFUSALS, f"{seed}|{record.id}")) for record in records
    }


def refused_epoch_tokens(records: Sequence[Example], task: Task) -> float:
    """Tokens of a pass over records and their refusals, each pair padded to the longer one."""
    refusals = refused(records, 0)
    return 2.0 * sum(max(task.width(r), task.width(refusals[r.id])) for r in records)
