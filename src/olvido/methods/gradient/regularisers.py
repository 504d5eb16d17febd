"""Retain regularisers: losses that preserve the retain set while a method moves the weights.

EWC keeps important weights near the original ones, `hidden` keeps one layer's states (the retain
loss of RMU), `kl` keeps the answers' distribution, `nll` continues to learn the retain set, and
`replay` needs no retained records.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import islice
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn import functional as F

from olvido.curvature import diagonal_fisher
from olvido.errors import InputError, ParameterName, UnknownName
from olvido.methods.gradient.answers import (
    FORWARD,
    Answers,
    FrozenReference,
    FrozenReferenceLogits,
    shared_weights_copy,
)
from olvido.methods.gradient.sampling import asked_of_others, retain_draws
from olvido.methods.types import METHODS, Split
from olvido.registry import Options, Registry
from olvido.tasks import Example, Language, Task
from olvido.training.sharding import sharding


class HiddenStatePenalty(Options):
    """Squared distance of a layer's states from those of the original model, each relative to
    their own square (Li et al. 2024, arXiv 2403.03218; there it is absolute, and its weight has to
    be tuned for each model).

    Args:
        layer: index in the task's `layers`; None: the middle one.
    """

    name: ClassVar = "hidden"
    holds: ClassVar = "one layer's states, to those of the original model"
    source: ClassVar = "arXiv 2403.03218"
    needs_retain: ClassVar = True
    reference_cost: ClassVar = FORWARD

    layer: int | None = None

    def begin(self, original: Module, split: Split, task: Task, seed: int) -> Sequence[Example]:
        """Choose the layer."""
        layer = middle(original, task) if self.layer is None else self.layer
        self._layer = layer
        self._original = FrozenReference(
            original, task, lambda m, batch: task.answer_hidden(m, batch, layer)
        )
        return split.retain

    @property
    def spent(self) -> float:
        """Tokens of the passes over the original model."""
        return self._original.spent

    def losses(self, now: Answers) -> Tensor:
        """Relative squared distance of each record. [B]"""
        states, rows = now.hidden(self._layer)
        return away(states, self._original(now.records), rows, len(now.records))


def away(states: Tensor, aim: Tensor, rows: Tensor, size: int) -> Tensor:
    """|states - aim|^2 / |aim|^2 of each token, averaged over each record's.
    [N, D], [N, D] or [D], [N] -> [B]"""
    aim = aim.float()
    apart = (states.float() - aim).square().sum(-1) / aim.square().sum(-1).clamp_min(1e-12)
    total = apart.new_zeros(size).index_add(0, rows, apart)
    return total / rows.bincount(minlength=size)


def middle(model: Module, task: Task) -> int:
    """The middle layer: earlier ones still read, later ones already answer."""
    return max(1, (len(task.layers(model)) - 1) // 2)


class Divergence(Options):
    """Stay close to the original model: KL(before || now) at the answer tokens (Maini et al. 2024,
    arXiv 2401.06121).

    The original model answers once for each record, when it is first drawn.
    """

    name: ClassVar = "kl"
    holds: ClassVar = "the answers' distribution, to the original model"
    source: ClassVar = "arXiv 2401.06121"
    needs_retain: ClassVar = True
    reference_cost: ClassVar = FORWARD

    def begin(self, original: Module, split: Split, task: Task, seed: int) -> Sequence[Example]:
        """Ask nothing yet: the original model answers records when they are drawn."""
        self._original = FrozenReferenceLogits(original, task)
        return split.retain

    @property
    def spent(self) -> float:
        """Tokens of the passes over the original model."""
        return self._original.spent

    def losses(self, now: Answers) -> Tensor:
        """Mean divergence per answer token, one value a record. [B]"""
        return now.tokens.mean(divergence(self._original(now.records), now.tokens.log_probs))


def divergence(original: Tensor, now: Tensor) -> Tensor:
    """KL(before || now) of each token, from logits and log-probabilities. [N, V], [N, V] -> [N]"""
    was = F.log_softmax(original.float(), dim=-1)
    return F.kl_div(now, was, log_target=True, reduction="none").sum(-1)


DRAWS, SIZE = 4, 48
"""Retained records for the Fisher information: number of draws, and records in each."""


class Elastic(Options):
    """Elastic weight consolidation: sum of F (w - w_before)^2 / 2, in nats (Kirkpatrick et al.
    2017, arXiv 1612.00796, equation 3; for forgetting, Heng and Soh 2023, arXiv 2305.10120).

    F is the mean over retained records of each one's own squared gradient. Memory: one more model;
    the original weights are shared.
    """

    name: ClassVar = "ewc"
    holds: ClassVar = "the weights, each by the mean of the records' own squared gradients"
    source: ClassVar = "arXiv 1612.00796"
    needs_retain: ClassVar = True
    reference_cost: ClassVar = 1.0
    spent = 0.0

    def begin(self, anchor: Module, split: Split, task: Task, seed: int) -> Sequence[Example]:
        """Estimate the Fisher information on records near the forgotten ones and on others.

        Raises:
            InputError: the weights will be in shards, and the penalty needs them whole.
        """
        if sharding() is not None:
            raise InputError(
                "the regulariser ewc holds whole weights, and here several processes hold shards "
                "of them: use kl, or one process"
            )
        draws = islice(retain_draws(split, SIZE, seed), DRAWS)
        some = {e.id: e for drawn in draws for e in drawn}
        model = shared_weights_copy(anchor).requires_grad_(True).eval()
        with torch.enable_grad():
            fisher = diagonal_fisher(model, tuple(some.values()), task)
        self.spent += float(sum(map(task.width, some.values())))
        was = dict(anchor.named_parameters())
        self._held: list[tuple[str, Tensor, Tensor]] = [
            (name, was[name].detach(), f) for name, f in fisher.items()
        ]
        return split.retain

    def losses(self, now: Answers) -> Tensor:
        """The penalty, equal for each record, since it depends on the weights alone. [B]

        Raises:
            InputError: other weights than before: adapters stand in their place.
        """
        moving = dict(now.model.named_parameters())
        if missing := [name for name, _, _ in self._held if name not in moving]:
            raise InputError(
                f"the regulariser ewc holds weights, and {missing[0]} is not trained: use kl with "
                "lora_rank"
            )
        total = sum(
            (
                (fisher * (moving[name] - anchor).square()).sum()
                for name, anchor, fisher in self._held
                if moving[name].requires_grad
            ),
            start=torch.zeros((), device=next(now.model.parameters()).device),
        )
        return (total / 2).expand(len(now.records))


class RetainLikelihood(Options):
    """Keep learning the retained records (the retain loss of GradDiff, arXiv 2401.06121)."""

    name: ClassVar = "nll"
    holds: ClassVar = "the loss on retained records: continues to learn them"
    source: ClassVar = "arXiv 2401.06121"
    needs_retain: ClassVar = True
    reference_cost: ClassVar = 0.0
    spent = 0.0

    def begin(self, original: Module, split: Split, task: Task, seed: int) -> Sequence[Example]:
        """Do nothing: this loss needs no original model."""
        return split.retain

    def losses(self, now: Answers) -> Tensor:
        """Mean negative log-likelihood, one value a record. [B]"""
        return -now.log_p / now.count


VARIANTS = 8
"""Other people that each forgotten record's question is asked about."""


class GenerativeReplay(Divergence):
    """KL to the original on similar questions that the model generates itself.

    They are the forgotten records' questions about others, with the model's own answers; no data
    is needed (rehearsal by generated samples: Shin et al. 2017, arXiv 1705.08690).
    """

    name: ClassVar = "replay"
    holds: ClassVar = (
        "what the model says about others: their questions are made up, so nothing has to be "
        "retained"
    )
    source: ClassVar = "arXiv 1705.08690"
    needs_retain: ClassVar = False
    reference_cost: ClassVar = FORWARD * (VARIANTS + 1)

    def begin(self, original: Module, split: Split, task: Task, seed: int) -> Sequence[Example]:
        """Generate the questions and answers.

        Raises:
            InputError: records without text, or without a question whose names could be swapped.
        """
        super().begin(original, split, task, seed)
        if not isinstance(task, Language):
            raise InputError("the regulariser replay makes up questions: it needs records of text")
        found = [
            example
            for variant in range(VARIANTS)
            for example in asked_of_others(
                original, task, split.forget, variant=variant, seed=seed
            ).values()
        ]
        if not found:
            raise InputError(
                "the regulariser replay found no question in which a name could be swapped: give ",
                ParameterName("retain"),
                " and another ",
                ParameterName("regulariser"),
            )
        return found


class Regulariser(Protocol):
    """A loss on the retain set: one small file and one line in `olvido.methods`.

    Its constructor takes its options, keyword-only, each with a default.

    Attributes:
        name: its name in the registry.
        needs_retain: whether it needs retained records.
        reference_cost: passes over the original model that each record costs, in forward-backward
            units.
        spent: tokens of the passes so far.
    """

    name: ClassVar[str]
    needs_retain: ClassVar[bool]
    reference_cost: ClassVar[float]

    @property
    def spent(self) -> float:
        """Tokens of the passes so far."""
        ...

    def begin(self, original: Module, split: Split, task: Task, seed: int) -> Sequence[Example]:
        """Prepare with the original model; return the records to draw from."""
        ...

    def losses(self, now: Answers) -> Tensor:
        """The loss of each record, differentiable. [B]"""
        ...


REGULARISERS: Registry[Regulariser] = Registry(
    "regulariser", ("needs_retain", "reference_cost", "begin", "losses"), home=METHODS.home
)
"""Retain regularisers by name, as `regulariser=` takes them; several are joined by +, and `none`
is none of them."""

RetainRegulariser = str | type[Regulariser] | Regulariser
"""A retain regulariser by its name (several joined by +), its class, or an object."""


def regularisers(given: RetainRegulariser | Sequence[RetainRegulariser]) -> tuple[Regulariser, ...]:
    """The retain regularisers for names, classes or objects.

    Raises:
        UnknownName: there is no such regulariser; the nearest is named.
        InputError: an object is no regulariser.

    >>> [part.name for part in regularisers("nll+kl")], regularisers("none")
    (['nll', 'kl'], ())
    """
    if isinstance(given, str):
        names = () if given == "none" else given.split("+")
        for name in names:
            if name not in REGULARISERS:
                raise UnknownName("regulariser", name, [*REGULARISERS, "none"])
        return tuple(REGULARISERS.make(name) for name in names)
    if isinstance(given, Sequence):
        return tuple(part for one in given for part in regularisers(one))
    return (REGULARISERS.make(given),)


class RetainRegularisers:
    """Several regularisers as one: their losses are summed. Each run has copies of its own."""

    def __init__(self, regularisers: Sequence[Regulariser]) -> None:
        self._regularisers = tuple(map(copy.copy, regularisers))

    def begin(self, original: Module, split: Split, task: Task, seed: int) -> tuple[Example, ...]:
        """Prepare each with the original model; return the records of all, each once."""
        found = [e for g in self._regularisers for e in g.begin(original, split, task, seed)]
        return tuple({example.id: example for example in found}.values())

    @property
    def spent(self) -> float:
        """Tokens of the passes over the original model."""
        return sum(regulariser.spent for regulariser in self._regularisers)

    def losses(self, now: Answers) -> Tensor:
        """The sum of all losses. [B]"""
        first, *others = (regulariser.losses(now) for regulariser in self._regularisers)
        return sum(others, start=first)
