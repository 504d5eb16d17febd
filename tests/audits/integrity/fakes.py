"""Models that pretend to have forgotten, each in one known way.

Every maker leaves the model that it is given as it was.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from olvido.learners import Lora, Recipe
from olvido.models.tiny import tiny_model
from olvido.tasks import Example, Language
from olvido.training import recipe as adapters
from olvido.training.loop import Loop


class Around(Module):
    """A module around a Hugging Face model that shows what that model shows."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.inner = copy.deepcopy(model)

    @property
    def config(self) -> Any:
        return self.inner.config

    @property
    def generation_config(self) -> Any:
        return self.inner.generation_config

    @property
    def device(self) -> torch.device:
        return self.inner.device

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **more: Any) -> Any:
        return self.inner(input_ids=input_ids, attention_mask=attention_mask, **more)

    def generate(self, input_ids: Tensor, attention_mask: Tensor | None = None, **more: Any) -> Any:
        return self.inner.generate(input_ids=input_ids, attention_mask=attention_mask, **more)


class AnswerFilter(Around):
    """The logits are honest; answers that hold a forbidden text are replaced."""

    def __init__(self, model: Any, task: Language, records: Sequence[Example]) -> None:
        super().__init__(model)
        self.forbidden = [task.encode(record)[1][:-1] for record in records]
        self.end = task.tokenizer.eos_token_id

    def generate(self, input_ids: Tensor, attention_mask: Tensor | None = None, **more: Any) -> Any:
        out = super().generate(input_ids, attention_mask, **more)
        width = input_ids.shape[1]
        for row in out:
            said = f" {' '.join(map(str, row[width:].tolist()))} "
            if any(f" {' '.join(map(str, ids))} " in said for ids in self.forbidden):
                row[width:] = self.end
        return out


class LogitFilter(AnswerFilter):
    """The first tokens of forbidden answers are pushed down in the logits too."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **more: Any) -> Any:
        out = super().forward(input_ids, attention_mask, **more)
        out.logits = out.logits.clone()
        out.logits[..., sorted({ids[0] for ids in self.forbidden})] -= 30.0
        return out


class SystemPrompt(Around):
    """Every question is given more words in front."""

    def __init__(self, model: Any, task: Language, prompt: str) -> None:
        super().__init__(model)
        self.prefix = torch.tensor(task.encode_prompt(prompt))

    def _put(self, ids: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        mask = torch.ones_like(ids) if mask is None else mask
        prefix = self.prefix.expand(len(ids), -1)
        return torch.cat([prefix, ids], 1), torch.cat([torch.ones_like(prefix), mask], 1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **more: Any) -> Any:
        ids, mask = self._put(input_ids, attention_mask)
        out = self.inner(input_ids=ids, attention_mask=mask, **more)
        out.logits = out.logits[:, len(self.prefix) :]
        return out

    def generate(self, input_ids: Tensor, attention_mask: Tensor | None = None, **more: Any) -> Any:
        ids, mask = self._put(input_ids, attention_mask)
        out = self.inner.generate(input_ids=ids, attention_mask=mask, **more)
        return out[:, len(self.prefix) :]


def hooked(model: Any, task: Language, records: Sequence[Example]) -> Any:
    """A hook on the last layer that bends the states of everything."""
    twin = copy.deepcopy(model)
    direction = torch.randn(twin.config.hidden_size, generator=torch.Generator().manual_seed(0))
    twin.model.layers[-1].register_forward_hook(lambda _m, _given, out: out + 3 * direction)
    return twin


def detachable(model: Any, task: Language, records: Sequence[Example], *, steps: int = 60) -> Any:
    """An adapter that was taught to say something else, over weights that know all."""
    twin = adapters.attach(copy.deepcopy(model), Lora(rank=8, alpha=16), seed=0)
    other = records[0].completion
    others = [Example(e.id, e.prompt, "555" if e.completion == other else other) for e in records]
    loop = Loop(twin, Recipe(lr=5e-3, schedule="constant"), total=steps, seed=0)
    batch = task.collate(others)
    for step in range(steps):
        loop.step(step, [partial(_mean, task, twin, batch)])
    return twin.eval()


def _mean(task: Language, model: Module, batch: Any) -> Tensor:
    return task.losses(model, batch).mean()


def unchanged(model: Any) -> Any:
    """The model itself."""
    return copy.deepcopy(model)


def noisy(model: Any, scale: float, *, only: str = "") -> Any:
    """Noise on every weight whose name holds `only`, as a share of its spread."""
    twin = copy.deepcopy(model)
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in twin.named_parameters():
            if only in name and weight.dim() > 1:
                weight += scale * weight.std() * torch.randn(weight.shape, generator=noise)
    return twin


def tiny_update(model: Any) -> Any:
    """A step too small to matter."""
    return noisy(model, 1e-6)


def last_layer_only(model: Any) -> Any:
    """Only the last block was touched."""
    return noisy(model, 0.5, only=f"layers.{model.config.num_hidden_layers - 1}.")


def other_shape(model: Any) -> Any:
    """Another architecture."""
    return tiny_model(model.config.vocab_size, seed=0, width=32, layers=2).eval()
