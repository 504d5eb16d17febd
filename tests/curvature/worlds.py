"""Small models of many kinds, each with records and the task that asks it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from olvido.learners import Lora
from olvido.models.tiny import tiny_model
from olvido.tasks import Example, Labels, Language, Task, examples
from olvido.training import recipe as adapters


@dataclass(frozen=True)
class World:
    """A model, records, and how they meet."""

    model: Any
    records: tuple[Example, ...]
    task: Task


class Convolutions(nn.Module):
    """Strides, padding, groups, two norms, and a step in place."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.deep = nn.Conv2d(4, 4, 3, groups=2, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.last = nn.LayerNorm(4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.deep(self.relu(self.norm(self.first(x))))
        return self.head(self.last(seen.mean((2, 3))))


class Unruly(nn.Module):
    """Attention with the sequence first that never calls its layers, a scale of its own, a layer
    used twice, one never used, and a table of positions looked up once for all."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(4, 6)
        self.attention = nn.MultiheadAttention(6, 2)
        self.scale = nn.Parameter(torch.ones(6))
        self.twice = nn.Linear(6, 6)
        self.never = nn.Linear(6, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.table(torch.arange(4).unsqueeze(0))
        by_position = x.transpose(0, 1)
        seen, _ = self.attention(by_position, by_position, by_position)
        # Sequence first, and as many positions as records: rows that stand for positions.
        seen = self.twice(torch.tanh(self.twice(seen))).transpose(0, 1)
        return self.head(seen.mean(1) * self.scale)


def arrays(count: int, shape: tuple[int, ...], classes: int) -> tuple[Example, ...]:
    """Random arrays with random classes."""
    draw = torch.Generator().manual_seed(5)
    return examples(
        {
            # Unequal spreads: a curvature that is the same everywhere would show nothing.
            "input": torch.randn(shape, generator=draw) * torch.logspace(-0.4, 0.4, shape[-1]),
            "label": int(torch.randint(classes, (1,), generator=draw)),
        }
        for _ in range(count)
    )


def convolutions() -> World:
    torch.manual_seed(1)
    model = Convolutions()
    model(torch.randn(16, 1, 6, 6))  # the norm's mean and spread
    return World(model.eval(), arrays(5, (1, 6, 6), 3), Labels(3))


def unruly() -> World:
    torch.manual_seed(2)
    return World(Unruly().eval(), arrays(4, (4, 6), 3), Labels(3))


def softmax(count: int = 60, width: int = 6, classes: int = 3) -> World:
    """Multinomial regression: a convex loss."""
    torch.manual_seed(3)
    return World(
        nn.Linear(width, classes).eval(), arrays(count, (width,), classes), Labels(classes)
    )


def languages(
    tokenizer: Any, records: tuple[Example, ...], gpt2: Any
) -> dict[str, Callable[[], World]]:
    """Language models: tied and rotary, transposed with biases and positions, adapters alone."""
    task = Language(tokenizer)
    chosen = (*records[:3], *records[-2:])

    def llama() -> World:
        return World(tiny_model(len(tokenizer), seed=0, width=32, layers=1).eval(), chosen, task)

    def lora() -> World:
        base = tiny_model(len(tokenizer), seed=0, width=32, layers=1)
        model = adapters.attach(base, Lora(rank=2, alpha=4), seed=0)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.05)
        return World(model.eval(), chosen, task)

    return {"llama": llama, "gpt2": lambda: World(gpt2, chosen, task), "lora": lora}
