"""What an algorithm may know of a model and of its data, and nothing more."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import Module

from olvido.errors import InputError

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Example:
    """The content of one record, as a task sees it.

    Attributes:
        id: the record's id; two examples with the same id are the same record.
        prompt: what the model is given; empty for plain text.
        completion: what it has to answer, or the plain text itself.
        fields: everything else the row held (`paraphrases`, `topic`, ...).
    """

    id: str
    prompt: str
    completion: str
    fields: Row = field(default_factory=dict, compare=False)

    def asked(self, prompt: str, suffix: str) -> Example:
        """The same fact behind another question."""
        return Example(f"{self.id}#{suffix}", prompt, self.completion, self.fields)


def examples(rows: Iterable[Row | Example], name: str = "rows") -> tuple[Example, ...]:
    """Read plain dictionaries as examples.

    A row holds `prompt` and `completion` (or `question` and `answer`), or `text`; `id` may be left
    out, then it is derived from the content.

    Args:
        rows: the dictionaries; examples pass through.
        name: what to call them in an error.

    Raises:
        InputError: a row lacks its text, holds something else than text, or repeats an id.

    >>> examples([{"prompt": "Who?", "completion": "Ada"}])[0].completion
    'Ada'
    """
    read: list[Example] = []
    seen: set[str] = set()
    for number, row in enumerate(rows):
        example = row if isinstance(row, Example) else _example(row, f"{name}[{number}]")
        if example.id in seen:
            raise InputError(
                f"{name}[{number}]: the id {example.id!r} stands twice; ids are unique"
            )
        seen.add(example.id)
        read.append(example)
    return tuple(read)


def _example(row: Row, where: str) -> Example:
    if not isinstance(row, Mapping):
        raise InputError(f"{where}: expected a dictionary, got {type(row).__name__}")
    for prompt_key, completion_key in (("prompt", "completion"), ("question", "answer")):
        if prompt_key in row or completion_key in row:
            prompt, completion = row.get(prompt_key), row.get(completion_key)
            break
    else:
        if "text" not in row:
            raise InputError(
                f"{where}: expected 'prompt' and 'completion', or 'text'; got {sorted(row)}"
            )
        prompt_key, completion_key, prompt, completion = "prompt", "text", "", row["text"]
    for key, value in ((prompt_key, prompt), (completion_key, completion)):
        if not isinstance(value, str):
            raise InputError(f"{where}: {key!r} must be text, got {type(value).__name__}")
    assert isinstance(prompt, str)
    assert isinstance(completion, str)
    if not completion.strip():
        raise InputError(f"{where}: {completion_key!r} is empty; there is nothing to learn from it")
    if "id" in row and not isinstance(row["id"], str):
        raise InputError(f"{where}: 'id' must be text, got {type(row['id']).__name__}")
    content = json.dumps([prompt, completion], ensure_ascii=False)
    record_id = row["id"] if "id" in row else hashlib.sha256(content.encode()).hexdigest()[:16]
    return Example(record_id, prompt, completion, dict(row))


@dataclass(frozen=True)
class Batch:
    """Records made ready for one forward pass, padded on the right.

    Attributes:
        ids: the records' ids, in row order. [B]
        input_ids: token ids. [B, T]
        attention_mask: 1 where a token stands, 0 where padding does. [B, T]
        targets: the token to be predicted *at* each position by the position before it, -100 where
            there is none (prompt, padding, first token). [B, T]
    """

    ids: tuple[str, ...]
    input_ids: Tensor
    attention_mask: Tensor
    targets: Tensor

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return Batch(
            self.ids,
            self.input_ids.to(device),
            self.attention_mask.to(device),
            self.targets.to(device),
        )


class Task(Protocol):
    """All that an algorithm may know of a model."""

    def width(self, example: Example) -> int:
        """How many tokens a record takes, padding included."""
        ...

    def collate(self, records: Sequence[Example], *, width: int | None = None) -> Batch:
        """One batch of these records in this order, padded to `width` tokens."""
        ...

    def batches(self, records: Sequence[Example], size: int) -> Iterator[Batch]:
        """All records in batches of at most `size`, those of like length together."""
        ...

    def losses(self, model: Module, batch: Batch) -> Tensor:
        """Mean negative log-likelihood per target token, one per record, differentiable. [B]"""
        ...

    def log_probs(self, model: Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Summed log-probability of the targets and their number, one per record. [B], [B]"""
        ...

    def answer_logits(self, model: Module, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Logits where there is a target: logits [N, V], targets [N], row of each [N]."""
        ...

    def logits(self, model: Module, batch: Batch) -> Tensor:
        """All logits. [B, T, V]"""
        ...

    def hidden(self, model: Module, batch: Batch, layer: int) -> Tensor:
        """Hidden states after a layer (0: the embeddings). [B, T, D]"""
        ...

    def generate(self, model: Module, records: Sequence[Example], size: int) -> list[str]:
        """Greedy answers to the records' prompts, stopped near the length of the completions."""
        ...
