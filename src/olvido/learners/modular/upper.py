"""The task of a model's upper half: the same records, beginning from their kept states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from olvido.learners.modular.activations import Activations
from olvido.tasks import Batch, Example, Language


@dataclass(frozen=True)
class UpperBatch(Batch):
    """A batch of the upper half.

    Attributes:
        states: that it begins with, zero where nothing stands. [B, T, D]
    """

    states: Tensor

    def to(self, device: torch.device | str) -> UpperBatch:
        """The same batch on another device."""
        plain = super().to(device)
        return replace(
            self,
            input_ids=plain.input_ids,
            attention_mask=plain.attention_mask,
            targets=plain.targets,
            states=self.states.to(device),
        )


class Upper(Language):
    """How records become losses of the upper half of a model.

    Args:
        language: the task of the whole.
        activations: of every record that will be asked for.
    """

    def __init__(self, language: Language, activations: Activations) -> None:
        super().__init__(language.tokenizer, max_tokens=language.max_tokens, chat=language.chat)
        self._states = activations.states
        self._like = next(iter(self._states.values()), torch.zeros(1, 1))

    def collate(self, records: Sequence[Example | None], *, width: int | None = None) -> UpperBatch:
        """One batch of these records in this order, padded on the right to `width` tokens."""
        plain = super().collate(records, width=width)
        states = self._like.new_zeros(*plain.input_ids.shape, self._like.shape[-1])
        for row, record in enumerate(records):
            if record is not None:
                own = self._states[record.id]
                states[row, : len(own)] = own
        return UpperBatch(plain.ids, plain.input_ids, plain.attention_mask, plain.targets, states)

    def answer_logits(self, model: Module, batch: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Logits where there is a target: logits [N, V], targets [N], row of each [N]."""
        whole: Any = model
        if hasattr(model, "get_base_model"):
            whole = whole.get_base_model()
        rows, columns = torch.nonzero(batch.targets != -100, as_tuple=True)
        states = whole.base_model(
            inputs_embeds=batch.states, attention_mask=batch.attention_mask, use_cache=False
        ).last_hidden_state
        head = whole.get_output_embeddings()
        return head(states[rows, columns - 1]), batch.targets[rows, columns], rows
