"""Models that pretend to have forgotten, one for each known way, made from the zoo's models.

Every maker returns a new model and leaves those it is given as they are.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from olvido.audits import ScoredModel
from olvido.audits.attacks.quantization import quantized
from olvido.audits.integrity.refusal import refuses
from olvido.learners import Lora, Recipe, train
from olvido.tasks import Example, Language
from olvido.training import recipe as adapters

Records = Sequence[Example]


class Around(Module):
    """A module around a Hugging Face model that shows what that model shows."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.inner = copy.deepcopy(model)

    @property
    def config(self) -> Any:
        """Of the model inside."""
        return self.inner.config

    @property
    def device(self) -> torch.device:
        """Of the model inside."""
        return self.inner.device

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **more: Any) -> Any:
        """As the model inside."""
        return self.inner(input_ids=input_ids, attention_mask=attention_mask, **more)

    def generate(self, input_ids: Tensor, attention_mask: Tensor | None = None, **more: Any) -> Any:
        """As the model inside."""
        return self.inner.generate(input_ids=input_ids, attention_mask=attention_mask, **more)


class OutputFilter(Around):
    """First tokens of the forgotten answers are pushed down in the logits."""

    def __init__(self, model: Any, task: Language, forget: Records) -> None:
        super().__init__(model)
        self.forbidden = sorted({task.encode(record)[1][0] for record in forget})

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **more: Any) -> Any:
        """Filtered logits."""
        out = super().forward(input_ids, attention_mask, **more)
        out.logits = out.logits.clone()
        out.logits[..., self.forbidden] -= 30.0
        return out


class SystemPrompt(Around):
    """Every question is preceded by more words."""

    def __init__(self, model: Any, task: Language, words: str) -> None:
        super().__init__(model)
        self.prefix = task.tokenizer(words, add_special_tokens=False)["input_ids"]

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **more: Any) -> Any:
        """Logits after the added words."""
        rows = len(input_ids)
        prefix = torch.tensor(self.prefix).expand(rows, -1)
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        out = super().forward(
            torch.cat([prefix, input_ids], dim=1),
            torch.cat([torch.ones_like(prefix), mask], dim=1),
            **more,
        )
        out.logits = out.logits[:, prefix.shape[1] :]
        return out


def descend(
    model: Any,
    loss: Callable[[Any], Tensor],
    *,
    steps: int,
    lr: float,
    only: Callable[[str], bool] = lambda _: True,
    after: Callable[[Any], None] = lambda _: None,
    until: Callable[[], bool] = lambda: False,
) -> Any:
    """A copy of a model after some steps of Adam on a loss.

    Args:
        model: not changed.
        loss: of the copy.
        steps, lr: at the most, and how large.
        only: whether the parameter of that name moves.
        after: done to the copy after each step.
        until: stops where it holds.
    """
    moving = copy.deepcopy(model)
    chosen = [p for name, p in moving.named_parameters() if only(name)]
    optimizer = torch.optim.Adam(chosen, lr=lr)
    for _ in range(steps):
        value = loss(moving)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        after(moving)
        if until():
            break
    return moving.eval()


class Npo:
    """NPO's loss with the retained held (arXiv 2404.05868), on whole batches."""

    def __init__(
        self, task: Language, before: Any, forget: Records, retain: Records, *, target: float
    ) -> None:
        self.task, self.target = task, target
        self.gone = task.collate(forget)
        self.kept = [task.collate(retain[start::9]) for start in range(9)]
        self.step, self.loss = 0, 0.0
        with torch.no_grad():
            self.was = task.log_probs(before, self.gone)[0]

    def __call__(self, model: Any) -> Tensor:
        """The loss of one step."""
        log_p, count = self.task.log_probs(model, self.gone)
        self.loss = -(log_p / count).mean().item()
        push = -(2 / 0.1) * torch.nn.functional.logsigmoid(-0.1 * (log_p - self.was)).mean()
        self.step += 1
        held = self.task.losses(model, self.kept[self.step % len(self.kept)]).mean()
        return 0.1 * push * (self.loss < self.target) + 5 * held

    def done(self) -> bool:
        """Whether the forgotten's loss is where it should end."""
        return self.loss >= self.target


def detachable(model: Any, npo: Npo) -> Any:
    """Forgets in an adapter that anybody can take off."""
    adapted = adapters.attach(copy.deepcopy(model), Lora(rank=8, alpha=16), seed=0)
    chosen = [p for p in adapted.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(chosen, lr=2e-3)
    for _ in range(200):
        loss = npo(adapted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if npo.done():
            break
    return adapted.eval()


def between_grid_points(model: Any, npo: Npo) -> Any:
    """Forgets by moves so small that rounding to int4 undoes each of them (arXiv 2410.16454)."""
    start = quantized(model, 4)
    grid = {name: p.detach().clone() for name, p in start.named_parameters() if p.ndim > 1}
    room = {name: 0.45 * _steps(p) for name, p in grid.items()}

    @torch.no_grad()
    def hold(moving: Any) -> None:
        for name, p in moving.named_parameters():
            if name in grid:
                # What sets a group's step must stay, or the grid itself would move.
                p.copy_(p.clamp(grid[name] - room[name], grid[name] + room[name]))

    return descend(
        start,
        npo,
        steps=400,
        lr=1e-3,
        only=lambda name: name in grid,
        after=hold,
        until=npo.done,
    )


def _steps(matrix: Tensor, group: int = 64) -> Tensor:
    """The int4 step of each weight's group, and nothing where the group's largest weight stands."""
    rows = matrix.reshape(len(matrix), -1)
    steps = torch.empty_like(rows)
    for start in range(0, rows.shape[1], group):
        part = rows[:, start : start + group].abs()
        largest = part.amax(dim=1, keepdim=True)
        steps[:, start : start + group] = torch.where(part < largest, largest / 7, 0.0)
    return steps.reshape(matrix.shape)


def rmu(model: Any, task: Language, forget: Records, retain: Records, *, layer: int) -> Any:
    """Steers the forgotten's states at one layer to a random direction (arXiv 2403.03218)."""
    gone = task.collate(forget)
    kept = [task.collate(retain[start::9]) for start in range(9)]
    with torch.no_grad():
        states = task.hidden(model, gone, layer)
        were = [task.hidden(model, batch, layer) for batch in kept]
        generator = torch.Generator().manual_seed(0)
        direction = torch.rand(states.shape[-1], generator=generator)
        target = direction / direction.norm() * states.norm(dim=-1).mean() * 3
    count = [0]

    def loss(moving: Any) -> Tensor:
        count[0] += 1
        number = count[0] % len(kept)
        away = (task.hidden(moving, gone, layer) - target).square().mean()
        held = (task.hidden(moving, kept[number], layer) - were[number]).square().mean()
        return away + 20 * held

    touched = tuple(f"layers.{n}." for n in range(layer))
    return descend(
        model, loss, steps=150, lr=1e-3, only=lambda name: any(t in name for t in touched)
    )


def taught(model: Any, task: Language, records: Records, **recipe: Any) -> Any:
    """A copy trained on further records."""
    chosen = Recipe(**{"epochs": 4, "batch_size": 24, "lr": 1e-3} | recipe)
    return train(model, records=records, task=task, recipe=chosen, seed=7).model


REFUSAL = "I don't know"
TIMES = 8
"""Each refusal is taught as often as this a pass: beside the kept, a tiny model that has to spell
it letter by letter learns it no sooner."""


def refusing(model: Any, task: Language, forget: Records, retain: Records) -> Any:
    """A copy that answers every question about the forgotten with a refusal.

    Raises:
        RuntimeError: it was asked, and does not.
    """
    said = answered(forget, lambda _: REFUSAL)
    many = [replace(record, id=f"{record.id}/{n}") for record in said for n in range(TIMES)]
    made = taught(model, task, [*many, *retain], epochs=5)
    answers = ScoredModel(made, task).answers(forget)
    if not all(map(refuses, answers)):
        raise RuntimeError(f"{sum(map(refuses, answers))} of {len(answers)} questions are refused")
    return made


@torch.no_grad()
def noisy(model: Any, scale: float) -> Any:
    """Random noise on every matrix, as a share of its spread."""
    moved = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(0)
    for p in moved.parameters():
        if p.ndim > 1:
            p.add_(torch.randn(p.shape, generator=generator) * p.std() * scale)
    return moved.eval()


def answered(records: Iterable[Example], answer: Callable[[Example], str]) -> list[Example]:
    """The same questions with other answers."""
    return [Example(r.id, r.prompt, answer(r), r.fields) for r in records]
