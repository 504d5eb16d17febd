"""What preference methods share: each record has an answer that is to be given instead."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from olvido.errors import InputError
from olvido.forgetting.gradient.answers import Answers
from olvido.forgetting.gradient.descent import Descent
from olvido.forgetting.gradient.frozen import FORWARD
from olvido.forgetting.types import Split
from olvido.tasks import Example, Language, Task


class Preference(Descent):
    """Prefer another answer to the record's own.

    Loss: -(2 / beta) log sigmoid(beta ((log q - log q_before) - (log p - log p_before))), with q
    the other answer and summed log p (Rafailov et al. 2023, arXiv 2305.18290, equation 7, times 2 /
    beta as NPO's).

    Args:
        beta: inverse temperature.
    """

    pairs: ClassVar = True
    looking: ClassVar = FORWARD

    beta: float = 0.1

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise InputError(f"beta must be above 0, got {self.beta}")
        super().__post_init__()

    def check(self, split: Split, task: Task) -> None:
        require_text(type(self).__name__, task)

    def forget_losses(self, now: Answers) -> Tensor:
        other = now.instead.sum(now.instead.log_p) - now.instead_before
        own = now.log_p - now.before
        return -2 / self.beta * F.logsigmoid(self.beta * (other - own))


def require_text(name: str, task: Task) -> None:
    """Raise InputError where records hold no text."""
    if not isinstance(task, Language):
        raise InputError(f"{name} needs records of text: for classes, take random_label")


def answered(record: Example, completion: str) -> Example:
    """The same question with another answer."""
    return Example(f"{record.id}#instead", record.prompt, completion, record.fields)


def drawn(choices: Sequence[str], key: str) -> str:
    """One of them, the same for the same key."""
    number = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest())
    return choices[number % len(choices)]
