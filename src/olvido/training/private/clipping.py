"""The gradient of a private step: of each unit clipped once, summed, and noised."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn import functional as F

from olvido.errors import InputError
from olvido.tasks import Example, Task
from olvido.tasks.blocks import evaluating
from olvido.training.gradients import Plain
from olvido.training.private.accounting import noise_of_sums
from olvido.training.private.norms import CannotSeparate, Layout
from olvido.training.private.recording import Recording
from olvido.training.private.sampling import Secret

Unit = tuple[Example, ...]
"""The records of one unit that were drawn in a step."""

_RATE = 0.2
"""How fast a clipping bound follows its quantile (Andrew et al. 2021, arXiv 1905.03871)."""

_SHARE = 20
"""The expected units of a step for each standard deviation of the noise of a count, there too."""

_DRAWN = 2**18
"""Numbers of noise that are drawn at once: they stay in a processor's cache."""

_CLOSE = 2e-3
"""Difference of norms, as a share, that rounding may make in 32 bits; in 16 bits 20 times that."""


def require_unmoved(model: Module, before: Mapping[str, Tensor]) -> None:
    """Refuse a model whose buffers are not as they were.

    Raises:
        InputError: a running mean or the like took up records, past clipping and noise.
    """
    for name, buffer in model.named_buffers():
        if name not in before or not torch.equal(buffer, before[name]):
            raise InputError(
                f"private training clips what records do to weights, and {name} of this model is "
                "no weight, but training changes it by the records themselves: use layers that "
                "keep no running values"
            )


class Clipped(Plain):
    """Gradients of units, each clipped to one length, in a sum with Gaussian noise.

    The gradient of a unit is the mean over its drawn records, all of which count before it is
    clipped, whichever passes they are in (Abadi et al. 2016, arXiv 1607.00133; for units of several
    records arXiv 2407.07737, ULS). A step is divided by the number of units that it expects.

    Args:
        model: the model, with its adapters.
        task: how records become losses.
        clip: the longest gradient of a unit.
        noise: standard deviation, in clipping bounds; see `Spent`.
        expected: units expected in a step.
        most: records in memory at once.
        secret: randomness of the noise.
        quantile: of norms, that the clipping bound follows; None: it is constant.

    Attributes:
        clip: the bound of the next step.
        one_pass: whether all units of a batch share one backward pass.
    """

    clipped = True

    def __init__(
        self,
        model: Module,
        task: Task,
        *,
        clip: float,
        noise: float,
        expected: float,
        most: int,
        secret: Secret,
        quantile: float | None = None,
    ) -> None:
        self.model, self.task, self.clip = model, task, clip
        self._expected, self._most, self._secret = expected, most, secret
        self._quantile = quantile
        # Fourfold noise of a count costs sums 3% of theirs, where a twentieth is too little.
        self._of_counts = max(expected / _SHARE, 2 * noise)
        self._noise = noise if quantile is None else noise_of_sums(noise, self._of_counts)
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        # The head may be computed for targets alone, so that their rows have to be known.
        self._picks = hasattr(task, "answer_logits")
        self._recording = Recording(model)
        self.one_pass = self._recording.whole
        self._step = 0
        self._sums: dict[int, Tensor] = {}
        self._short = 0.0
        self._then: Callable[[Tensor], None] | None = None

    def passes(self, drawn: Sequence[Unit]) -> Iterator[Callable[[], Tensor]]:
        """The losses of a step, for `Loop.step`: of several whole units together, or of one."""
        if not self.one_pass:
            yield from (self._alone_later(unit) for unit in drawn)
            return
        some: list[Unit] = []
        for unit in sorted(drawn, key=lambda unit: max(map(self.task.width, unit))):
            if len(unit) > self._most:
                yield self._alone_later(unit)
                continue
            if sum(map(len, some)) + len(unit) > self._most:
                yield self._together_later(some)
                some = []
            some = [*some, unit]
        if some:
            yield self._together_later(some)

    def add(self, loss: Tensor) -> None:
        """Add the clipped gradients of the units whose losses were computed last."""
        if self._then is not None:
            with torch.autocast(loss.device.type, enabled=False):
                self._then(loss)
            self._then = None

    def finish(self, loss: float | None) -> float | None:
        """Noise the sums, of no unit too, and divide them by the expected number of units."""
        made = self._secret.generator(self._step, "noise", self._parameters[0].device)
        # Some at a time: as much memory as a weight takes would cost more time than its noise.
        noise = torch.empty(_DRAWN, device=made.device)
        for parameter in self._parameters:
            total = self._sums.pop(id(parameter), None)
            if total is None:
                total = torch.zeros(parameter.shape, device=made.device)
            total = total.contiguous()
            for part in total.view(-1).split(_DRAWN):
                some = noise[: len(part)].normal_(0, self._noise * self.clip, generator=made)
                part += some
            parameter.grad = total.div_(self._expected).to(parameter.dtype)
        if self._quantile is not None:
            count = torch.empty(1, device=made.device).normal_(0, self._of_counts, generator=made)
            share = 0.5 + (self._short + float(count)) / self._expected
            self.clip *= math.exp(-_RATE * (min(max(share, 0.0), 1.0) - self._quantile))
        self._short = 0.0
        self._step += 1
        return 0.0 if loss is None else loss

    def close(self) -> None:
        """Take the hooks from the model."""
        self._recording.close()

    def prove(self, units: Sequence[Unit]) -> str | None:
        """Compare a few units together and one by one, before the first step.

        Returns:
            Why units have to go one by one, where they have to.

        Raises:
            InputError: records change each other's losses, so that no norm bounds a person's part.
        """
        records = [record for unit in units for record in unit]
        self._require_still(records)
        if not self.one_pass:
            return f"there is no rule for {self._recording.unknown}"
        with evaluating(self.model):
            self._train_without_chance(records)
            batch = self.task.collate(records).to(self._parameters[0].device)
            with torch.no_grad():
                own = self._own_losses(records, batch)
                self._picks = self._picks and self._alike(self._losses(records)[0], own)
                both = self._losses(records)[0]
                each = torch.cat([self._losses([record])[0] for record in records])
            if not self._alike(both, each):
                raise InputError(
                    "private training needs records that do not see each other, and here the loss "
                    "of a record changes with the records beside it: leave out what mixes them "
                    "(packed sequences, statistics over a batch, routing with limited capacity)"
                )
            reason = self._differing(units)
        self.one_pass = reason is None
        return reason

    def _require_still(self, records: Sequence[Example]) -> None:
        """Refuse a model that keeps something of the records it reads, which nothing would clip."""
        before = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        with evaluating(self.model), torch.no_grad():
            self.model.train()
            self._own_losses(records, self.task.collate(records).to(self._parameters[0].device))
        require_unmoved(self.model, before)

    def _train_without_chance(self, records: Sequence[Example]) -> None:
        """Let the model work as in training, without dropout; where chance is left, as later."""
        self.model.train()
        for module in self.model.modules():
            if isinstance(module, torch.nn.modules.dropout._DropoutNd):
                module.eval()
        with torch.no_grad():
            both = [self._losses(records)[0] for _ in range(2)]
        if not torch.equal(*both):
            self.model.eval()

    def _differing(self, units: Sequence[Unit]) -> str | None:
        """Why the rules for layers give other gradients than plain derivatives, if they do."""
        loss, layout = self._forward(units)
        try:
            parts = self._recording.contributions(loss, layout)
        except CannotSeparate:
            return "a layer does not keep records apart by rows"
        norms = self._squares(parts, layout).sqrt()
        for number, unit in enumerate(units):
            plain = self._alone(unit)[0]
            factors = F.one_hot(torch.tensor(number), layout.units).to(norms)
            apart = total = 0.0
            for parameter, gradient in zip(self._parameters, plain, strict=True):
                part = parts.get(id(parameter))
                found = torch.zeros_like(gradient) if part is None else part[1].weighted(factors)
                apart += float((found - gradient).square().sum())
                total += float(gradient.square().sum())
            close = self._close * total**0.5 + 1e-6
            if not (apart**0.5 <= close and abs(float(norms[number]) - total**0.5) <= close):
                return "a weight is used outside of its layer"
        return None

    def _alike(self, one: Tensor, other: Tensor) -> bool:
        return torch.allclose(one, other, rtol=self._close, atol=self._close)

    @property
    def _close(self) -> float:
        return _CLOSE * (1 if all(p.dtype.itemsize >= 4 for p in self.model.parameters()) else 20)

    def _together_later(self, units: Sequence[Unit]) -> Callable[[], Tensor]:
        """The loss of several units, whose gradients one backward pass separates."""

        def compute() -> Tensor:
            loss, layout = self._forward(units)
            self._then = lambda total: self._take_together(total, layout, units)
            return loss

        return compute

    def _take_together(self, loss: Tensor, layout: Layout, units: Sequence[Unit]) -> None:
        try:
            parts = self._recording.contributions(loss, layout)
        except CannotSeparate:
            for unit in units:
                self._take(*self._alone(unit))
            return
        factors = self._factors(self._squares(parts, layout))
        for parameter, part in parts.values():
            self._sum(parameter, part.weighted(factors))

    def _alone_later(self, unit: Unit) -> Callable[[], Tensor]:
        """The loss of one unit, of as many records as it has, by plain automatic derivatives."""

        def compute() -> Tensor:
            gradients, loss = self._alone(unit)
            self._then = lambda _: self._take(gradients, loss)
            return loss

        return compute

    def _alone(self, unit: Unit) -> tuple[list[Tensor], Tensor]:
        """The gradient of one unit, and its loss; its records pass some at a time."""
        made = [torch.zeros_like(p, dtype=torch.float32) for p in self._parameters]
        total = torch.zeros((), device=self._parameters[0].device)
        for start in range(0, len(unit), self._most):
            loss = self._losses(unit[start : start + self._most])[0].sum() / len(unit)
            total += loss.detach()
            with torch.autocast(loss.device.type, enabled=False):
                found = torch.autograd.grad(loss, self._parameters, allow_unused=True)
            for sum_, gradient in zip(made, found, strict=True):
                if gradient is not None:
                    sum_ += gradient
        return made, total

    def _take(self, gradients: Sequence[Tensor], _: Tensor) -> None:
        square = torch.stack([gradient.square().sum() for gradient in gradients]).sum()
        (factor,) = self._factors(square[None])
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            self._sum(parameter, gradient * factor)

    def _factors(self, squares: Tensor) -> Tensor:
        """By how much each unit's gradient is shortened. [U]"""
        norms = squares.sqrt()
        if self._quantile is not None:
            self._short += float((norms <= self.clip).sum()) - len(norms) / 2
        return (self.clip / norms.clamp_min(1e-12)).clamp_max(1.0)

    def _squares(self, parts: Any, layout: Layout) -> Tensor:
        found = [part.squares() for _, part in parts.values()]
        return torch.stack(found).sum(0) if found else layout.rows.new_zeros(layout.units).float()

    def _sum(self, parameter: Tensor, part: Tensor) -> None:
        before = self._sums.get(id(parameter))
        self._sums[id(parameter)] = part if before is None else before.add_(part)

    def _forward(self, units: Sequence[Unit]) -> tuple[Tensor, Layout]:
        """The summed mean losses of units, and whose each row and each target is."""
        records = [record for unit in units for record in unit]
        numbers = torch.tensor([n for n, unit in enumerate(units) for _ in unit])
        with self._recording.on():
            losses, picked = self._losses(records)
        numbers = numbers.to(losses.device)
        weights = 1 / torch.tensor([len(unit) for unit in units for _ in unit]).to(losses)
        layout = Layout(numbers, None if picked is None else numbers[picked], len(units))
        return (losses * weights).sum(), layout

    def _losses(self, records: Sequence[Example]) -> tuple[Tensor, Tensor | None]:
        """The mean loss of each record's targets, and the row of each target."""
        batch = self.task.collate(records).to(self._parameters[0].device)
        if not self._picks:
            return self._own_losses(records, batch), None
        logits, targets, rows = self.task.answer_logits(self.model, batch)
        each = F.cross_entropy(logits.float(), targets, reduction="none")
        total = each.new_zeros(len(records)).index_add(0, rows, each)
        count = torch.bincount(rows, minlength=len(records)).clamp_min(1)
        return total / count, rows

    def _own_losses(self, records: Sequence[Example], batch: Any) -> Tensor:
        """The loss of each record, as the task defines it."""
        losses = self.task.losses(self.model, batch)
        if losses.shape != (len(records),):
            raise InputError(
                f"private training needs one loss a record, and the task {self.task.name} gave "
                f"{tuple(losses.shape)} for {len(records)} records: leave packing out"
            )
        return losses
