"""Per-record gradients of any torch module, through a task.

One forward and one backward pass over a batch, with hooks that store each layer's input and output
gradient; from these the gradient of every record follows without another pass and without being
written out. A parameter that no rule covers (attention that never calls its layers, a custom
scale) is found on the first batch, where the sum over records is compared with autograd's; its
gradients are computed record by record: slower, and the same numbers.

Targets can be drawn from the model's own distribution, each record's separately.

A record's draws depend on its id, the seed and the model's output for it, and on no other record:
in other batches, or without some of them, the rest draw the same. So the curvature of all records
less that of some is the curvature of the rest exactly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn import Module
from torch.nn import functional as F

from olvido.curvature.layers import ByRecord, Factored, by_record, rule_of, sum_of
from olvido.errors import InputError
from olvido.tasks import Language, Task


def drawn_targets(logits: Tensor, ids: Sequence[str], rows: Tensor, draw: str) -> Tensor:
    """A class for each target, with the probability that the model gives it. [N]

    Args:
        logits: of each target. [N, V]
        ids: of the batch's records. [B]
        rows: the record of each target, in ascending order. [N]
        draw: name of the draw; another name draws anew.
    """
    counts = torch.bincount(rows, minlength=len(ids)).tolist()
    uniform = torch.cat(
        [
            torch.rand(count, generator=torch.Generator().manual_seed(_seed(f"{draw}/{name}")))
            for name, count in zip(ids, counts, strict=True)
        ]
    )
    heights = logits.detach().float().softmax(-1).cumsum(-1)
    # Rounding may leave the last height a little off 1.
    wanted = uniform.to(heights).unsqueeze(-1) * heights[:, -1:]
    found = torch.searchsorted(heights, wanted, right=True)[:, 0]
    return found.clamp(max=logits.shape[-1] - 1)


def _seed(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") >> 1


TOLERANCE = 1e-3
"""Relative difference between the sum of the records' gradients and autograd's, beyond which a
parameter is not covered by its layers' rules."""


@dataclass(frozen=True)
class Gradients:
    """The gradients of a batch's records, by the name of the parameter.

    Attributes:
        ids: ids of the records. [B]
        losses: their mean losses, in nats a target. [B]
        counts: their numbers of targets. [B]
        parts: gradients by parameter, in the model's order.
    """

    ids: tuple[str, ...]
    losses: Tensor
    counts: Tensor
    parts: Mapping[str, Factored]

    def norms(self) -> Tensor:
        """Length of each record's gradient over all parameters. [B]"""
        return sum_of([part.norms() for part in self.parts.values()]).sqrt()

    def total(self, weights: Tensor | None = None) -> dict[str, Tensor]:
        """The sum over records, by parameter; weighted by weights [B], if any."""
        scale = torch.ones_like(self.losses) if weights is None else weights
        return {name: part.total(scale) for name, part in self.parts.items()}


@dataclass(frozen=True)
class _Use:
    """Input and output gradient of one layer in one pass."""

    layer: Module
    given: Tensor
    edge: GradientEdge


class PerRecord:
    """Computes the per-record gradients of one model's trainable parameters.

    The records' losses are the task's: the mean negative log-likelihood of a record's
    targets. The model runs in evaluation mode, without dropout, and is left unchanged.

    Args:
        model: the model; only its trainable parameters count.
        task: turns records into batches.
        names: names of those to use; None: all.

    Raises:
        InputError: no parameter requires a gradient.
    """

    def __init__(self, model: Module, task: Task, *, names: Collection[str] | None = None) -> None:
        self.model, self.task = model, task
        self.parameters = {
            name: p
            for name, p in model.named_parameters()
            if p.requires_grad and (names is None or name in names)
        }
        if not self.parameters:
            raise InputError("no parameter of the model requires a gradient: there is none to take")
        self.device = next(iter(self.parameters.values())).device
        self._names = {id(p): name for name, p in self.parameters.items()}
        self.uncovered: frozenset[str] | None = None
        """Parameters that no rule covers; None before the first batch."""

    def __call__(self, batch: Any, *, sampled: str | None = None) -> Gradients:
        """The gradients of a batch's records.

        Args:
            batch: a batch of the task.
            sampled: names a draw (see `draws`): targets are drawn from the model instead of taken
                from the records, and each gradient is scaled by the root of its number of targets,
                so that its expected square is the Gauss-Newton curvature of the record's mean loss
                (Martens 2020, arXiv 1412.1193: for softmax it is the Fisher of the model's own
                distribution).
        """
        batch = batch.to(self.device)
        if self.uncovered is None:
            # A task may test a model on its first batch; no hook may see that.
            with evaluating(self.model), torch.no_grad():
                self.task.answer_logits(self.model, batch)
        owners = torch.arange(len(batch.ids), device=self.device)
        if isinstance(self.task, Language):
            cut = self.task.windows(self.model, batch)
            owners = owners if cut.owners is None else cut.owners
        with evaluating(self.model), self._watching(len(owners)) as seen, torch.enable_grad():
            losses, counts, rows = self._losses(batch, sampled)
            order = by_record(len(losses), rows, owners)
            if self.uncovered is None:
                self.uncovered = self._not_covered(losses, seen, order)
            scaled = losses if sampled is None else losses * counts.sqrt()
            covered = self.parameters.keys() - self.uncovered
            found = self._by_rule(scaled, seen, order, covered, keep=bool(self.uncovered))
            found |= self._one_by_one(scaled, self.uncovered)
        parts = {name: found[name] for name in self.parameters}
        return Gradients(tuple(batch.ids), losses.detach(), counts, parts)

    def _losses(self, batch: Any, sampled: str | None) -> tuple[Tensor, Tensor, Tensor]:
        logits, targets, rows = self.task.answer_logits(self.model, batch)
        if sampled is not None:
            targets = drawn_targets(logits, batch.ids, rows, sampled)
        wide = logits if logits.dtype == torch.float64 else logits.float()
        nll = F.cross_entropy(wide, targets, reduction="none")
        size = len(batch.ids)
        counts = torch.bincount(rows, minlength=size).to(nll)
        return nll.new_zeros(size).index_add(0, rows, nll) / counts, counts, rows

    @contextmanager
    def _watching(self, size: int) -> Iterator[list[_Use]]:
        """Record inputs and output gradients of every trainable layer with a rule."""
        seen: list[_Use] = []

        def keep(layer: Module, inputs: tuple[Any, ...], output: Any) -> None:
            if inputs and isinstance(output, Tensor) and output.requires_grad:
                # The graph edge at this moment: in-place changes of the output come after.
                seen.append(_Use(layer, inputs[0].detach(), get_gradient_edge(output)))

        def unfold(layer: Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            # A table of positions is looked up once for all records; their gradients are not
            # separate.
            if inputs and isinstance(inputs[0], Tensor) and inputs[0].shape[:1] == (1,):
                return (inputs[0].expand(size, *inputs[0].shape[1:]), *inputs[1:])
            return inputs

        handles = []
        for layer in self.model.modules():
            if rule_of(layer) is not None and self._own(layer):
                handles.append(layer.register_forward_hook(keep))
                if isinstance(layer, torch.nn.Embedding):
                    handles.append(layer.register_forward_pre_hook(unfold))
        try:
            yield seen
        finally:
            for handle in handles:
                handle.remove()

    def _own(self, layer: Module) -> dict[str, str]:
        """The layer's trainable parameters: its own name for each, and the model's."""
        own = layer.named_parameters(recurse=False)
        return {name: self._names[id(p)] for name, p in own if id(p) in self._names}

    def _by_rule(
        self,
        losses: Tensor,
        seen: Sequence[_Use],
        order: ByRecord,
        names: Collection[str],
        *,
        keep: bool,
    ) -> dict[str, Factored]:
        """The gradients of these parameters from one backward pass; `keep` keeps its graph."""
        used = [use for use in seen if any(name in names for name in self._own(use.layer).values())]
        edges = [use.edge for use in used]
        back: Sequence[Tensor | None] = ()
        if edges:
            back = torch.autograd.grad(losses.sum(), edges, retain_graph=keep, allow_unused=True)
        found: dict[str, Factored] = {}
        for use, gradient in zip(used, back, strict=True):
            rule, own = rule_of(use.layer), self._own(use.layer)
            if gradient is None or rule is None:
                continue
            for local, part in rule(use.layer, use.given, gradient.detach(), order).items():
                name = own.get(local)
                if name is not None and name in names:
                    found[name] = found[name].joined(part) if name in found else part
        for name in names:
            if name not in found:
                shape = self.parameters[name].shape
                found[name] = Factored(shape, direct=losses.new_zeros(len(losses), *shape))
        return found

    def _one_by_one(self, losses: Tensor, names: Collection[str]) -> dict[str, Factored]:
        """One backward pass for each record, for parameters that no rule covers."""
        some = {name: p for name, p in self.parameters.items() if name in names}
        if not some:
            return {}
        rows = [
            torch.autograd.grad(loss, list(some.values()), retain_graph=True, allow_unused=True)
            for loss in losses
        ]
        found: dict[str, Factored] = {}
        for column, (name, p) in zip(zip(*rows, strict=True), some.items(), strict=True):
            filled = [torch.zeros_like(p) if one is None else one for one in column]
            found[name] = Factored(p.shape, direct=torch.stack(filled).detach())
        return found

    def _not_covered(self, losses: Tensor, seen: Sequence[_Use], order: ByRecord) -> frozenset[str]:
        """Parameters whose per-record gradients do not sum up to autograd's.

        The sum has unequal weights, so that a position assigned to the wrong record is noticed.
        """
        weights = torch.linspace(0.5, 1.5, len(losses), device=losses.device, dtype=losses.dtype)
        parameters = list(self.parameters.values())
        expected = torch.autograd.grad(
            (losses * weights).sum(), parameters, retain_graph=True, allow_unused=True
        )
        found = self._by_rule(losses, seen, order, self.parameters.keys(), keep=True)
        return frozenset(
            name
            for (name, p), whole in zip(self.parameters.items(), expected, strict=True)
            if not _close(
                found[name].total(weights), torch.zeros_like(p) if whole is None else whole
            )
        )


def _close(found: Tensor, expected: Tensor) -> bool:
    gap = torch.linalg.vector_norm(found - expected)
    return bool(gap <= TOLERANCE * torch.linalg.vector_norm(expected))


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """Evaluation mode inside; every part's own mode after."""
    before = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training
