"""The base of the gradient family: a method is one loss on the forget set."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, ClassVar

from torch import Tensor
from torch.nn import Module

from olvido.errors import InputError, ParameterName, require_count
from olvido.learners import Lora, Recipe, Trained, Watcher
from olvido.ledger.facts import Guarantee
from olvido.methods.gradient.answers import FORWARD, Answers, shared_weights_copy, unshare
from olvido.methods.gradient.calibration import remaining_trace, targets
from olvido.methods.gradient.regularisers import RetainRegulariser, RetainRegularisers, regularisers
from olvido.methods.gradient.sampling import mean_rows, retain_draws
from olvido.methods.gradient.steps import EVALUATION_INTERVAL, Known, Steps, step_tokens
from olvido.methods.guarantee import Need
from olvido.methods.types import Cost, Run, Split, StepMetrics, priced
from olvido.models import weights_digest
from olvido.models.adapter import is_on_base
from olvido.models.classifiers.networks import hidden_size
from olvido.registry import Options
from olvido.tasks import Example, Task
from olvido.tasks.scoring import frozen
from olvido.training import recipe as adapters
from olvido.training.environment import deterministic
from olvido.training.loop import Loop


@dataclass(frozen=True)
class Start:
    """Where a run begins.

    Attributes:
        split: the records, with the models that `precompute` and the targets are taken from.
        model: the weights to begin with; not changed.
        recipe: of the steps.
        tokens: spent so far.
        says: what was done so far, in a few words.
    """

    split: Split
    model: Module
    recipe: Recipe
    tokens: float = 0.0
    says: str = ""


Patience = Callable[[Sequence[StepMetrics], int], bool]
"""A stopping rule: from the history and the number of steps, whether to stop early."""


class Descent(Options):
    """Descend a forget loss, with a regulariser on retained records.

    With holdout records the method is calibrated: each forgotten record has a target, the mean loss
    of the holdout records of its topic under the original model. The push on a record fades as it
    nears its target, and the run ends when the mean reaches the targets: that is the loss of "never
    learned", neither less nor more. Without holdout records and without a `target` the run uses all
    its epochs.

    A method defines its loss (`forget_losses`), and where it needs more than that: values of the
    original model (`precompute`), alternative answers (`alternative_targets`), the weight of the
    regulariser (`regulariser_weight`), a change of its gradient (`forget_parts`), the layers that
    move (`trainable_modules`), and whether forget and retain steps alternate (`alternating`).

    Args:
        lr: learning rate (Adam without momentum: momentum would carry the weights past the target);
            None: `base_lr` of the method, scaled by 128 / hidden size, as Adam's updates require
                for matrices whose inputs grow with it (Yang et al. 2022, arXiv 2203.03466, table 3;
                here one rate serves all weights, embeddings too).
        epochs: passes over the forget set, at the most.
        batch_size: forgotten records a step.
        retain_batch: retained records a step.
        retain_weight: weight of the regulariser, relative to 1 for the forget loss.
        regulariser: a retain regulariser: `nll`, `kl`, `ewc`, `hidden`, `replay` (needs no retained
            records), several joined by +, or `none`; or classes or objects of that family.
        project: remove from the forget gradient the component against the regulariser's (Yu et al.
            2020, arXiv 2001.06782; Wang et al. 2025, arXiv 2503.09117, for forgetting).
        target: loss in nats a token at which a record counts as forgotten; None: calibrated.
        dtype: of the forward pass.
        lora_rank: train low-rank adapters of this rank, merged at the end, instead of all weights.
        checkpointing: recompute activations in the backward pass instead of storing them.
        micro_batch: records in memory at once, at the most: batches of both sets are split into
            parts whose gradients are summed; None: whole batches.
    """

    guarantee: ClassVar = Guarantee.EMPIRICAL
    needs = frozenset({Need.RETAIN})
    summary: ClassVar[str]
    loss: ClassVar[str] = ""
    """The loss of a forgotten record, for tables."""
    source: ClassVar[str] = ""
    """The paper that it comes from."""
    suits: ClassVar[str] = ""
    """Strengths of the method, in a line."""
    example: ClassVar[Mapping[str, Any]] = {"target": 2.0, "lr": 6e-4}
    """Options by which a model of a few hundred records forgets some of them: used by the family's
    tests, and a good start for users."""
    base_lr: ClassVar[float] = 1e-4
    alternating: ClassVar[bool] = False
    """Whether forget and retain steps alternate."""
    paired: ClassVar[bool] = False
    """Whether each record has an alternative answer."""
    indirect: ClassVar[bool] = False
    """Whether it only teaches another answer, whatever becomes of the loss of the record's own."""
    evaluates_separately: ClassVar[bool] = False
    """Whether the loss does not compute the answers' loss, which is then evaluated separately."""
    forward_backward_count: ClassVar[float] = 1.0
    """Forward and backward passes over a forgotten record in each step."""
    fades: ClassVar[bool] = True
    """Whether the push on a record fades as it nears its target; a loss that ends at its own least
    value is pushed fully."""
    ends: ClassVar[bool] = True
    """Whether the run ends where the records reach their targets."""
    reference_cost: ClassVar[float] = 0.0
    """Cost of the passes of `precompute` and `alternative_targets` over the forget set, per record,
    in forward-backward passes."""

    lr: float | None = None
    epochs: int = 30
    batch_size: int = 32
    retain_batch: int = 48
    retain_weight: float = 5.0
    regulariser: RetainRegulariser | Sequence[RetainRegulariser] = "nll"
    project: bool = False
    target: float | None = None
    dtype: str = "float32"
    lora_rank: int | None = None
    checkpointing: bool = False
    micro_batch: int | None = None

    def __post_init__(self) -> None:
        """Check the options, and make the recipe and the regularisers that they describe."""
        super().__post_init__()
        self.regularisers = regularisers(self.regulariser)
        if not any(part.needs_retain for part in self.regularisers):
            self.needs = self.needs - {Need.RETAIN}
        require_count("retain_batch", self.retain_batch)
        if not self.retain_weight >= 0:
            raise InputError(f"retain_weight must be 0 or more, got {self.retain_weight}")
        if self.target is not None and not self.target > 0:
            raise InputError(f"target is a loss above 0, in nats a token; got {self.target}")
        if self.project and (not self.regularisers or self.alternating):
            raise InputError(
                ParameterName("project", True),
                " needs a regulariser in the same step to project against",
            )
        rank = self.lora_rank
        self.recipe = Recipe(
            lr=self.base_lr if self.lr is None else self.lr,
            epochs=self.epochs,
            batch_size=self.batch_size,
            schedule="constant",
            warmup=0.0,
            weight_decay=0.0,
            beta1=0.0,
            dtype=self.dtype,
            lora=None if rank is None else Lora(rank=rank, alpha=2 * rank),
            micro_batch=self.micro_batch,
            master_weights=True,
            checkpointing=self.checkpointing,
        )
        self.scaled = self.lr is None
        self.patience: Patience | None = None

    # Hooks of a method.

    def forget_losses(self, now: Answers) -> Tensor:
        """The forget loss of each record. [B]"""
        raise NotImplementedError(f"{type(self).__name__} must define forget_losses")

    def check(self, split: Split, task: Task) -> None:
        """Raise InputError where the method cannot use such records."""

    def precompute(self, original: Module, split: Split, task: Task, seed: int) -> Any:
        """Values of the original model for the loss; available as `Answers.precomputed`."""
        return None

    def alternative_targets(
        self, original: Module, split: Split, task: Task, seed: int
    ) -> Mapping[str, Example]:
        """The alternative answer to each forgotten record, by its id; empty for none."""
        return {}

    def start(self, trained: Trained, split: Split, task: Task, seed: int) -> Start:
        """Where the run begins: with the original weights, unless a method says otherwise."""
        return Start(split, trained.model, self.rate(trained.model))

    def start_cost(self, trained: Trained, split: Split, task: Task) -> float:
        """Predict the tokens of `start`."""
        return 0.0

    def make_regularisers(self) -> RetainRegularisers | None:
        """The retain regularisers; None for none."""
        return RetainRegularisers(self.regularisers) if self.regularisers else None

    def regulariser_weight(self, history: Sequence[StepMetrics]) -> float:
        """The weight of the regulariser, relative to 1 for the forget loss, after these steps."""
        return self.retain_weight

    def forget_parts(
        self, loop: Loop, losses: Sequence[Callable[[], Tensor]]
    ) -> Iterator[Callable[[], Tensor]]:
        """Yield the losses whose gradients make the forgetting part of a step.

        They are one loss in parts (see `Recipe.micro_batch`), yielded all or none. After them their
        gradient lies in the parameters, and may be changed there inside `loop.gradients.whole()`.
        """
        yield from losses

    def trainable_modules(self, model: Module, task: Task) -> Sequence[Module] | None:
        """The modules whose weights may change; None: all."""
        return None

    def cost_fraction(self, model: Module, task: Task) -> float:
        """The share of the model that a step runs through."""
        return 1.0

    def looks(self) -> float:
        """Passes over the original model for each forgotten record; see `reference_cost`."""
        return self.reference_cost

    def epoch_tokens(self, split: Split, task: Task) -> float:
        """Tokens of an epoch over the forget set and its alternative answers."""
        return (2 if self.paired else 1) * float(sum(map(task.width, split.forget)))

    # Shared by all methods.

    def cost(self, trained: Trained, split: Split, task: Task) -> Cost:
        """Predict all epochs, each step with its retain batch; calibrated runs mostly end
        sooner."""
        self.check(split, task)
        once = sum(map(task.width, split.forget))
        parts = self.regularisers
        anchors = (
            split.retain if any(regulariser.needs_retain for regulariser in parts) else split.forget
        )
        rows = mean_rows(len(split.forget), len(anchors), self.retain_batch) if parts else 0.0
        some = anchors[: 4 * self.retain_batch]
        width = fmean(map(task.width, some)) if rows else 0.0
        kept = step_tokens(some, rows, task) if rows else 0.0
        rounds = self._rounds(split)
        cost_fraction = self.cost_fraction(trained.model, task)
        epochs = rounds / -(-len(split.forget) // self.recipe.batch_size)
        forget = self.forward_backward_count * self.epoch_tokens(split, task) * epochs
        steps = cost_fraction * (forget + rounds * kept)
        reference_tokens = self.looks() * once + self._reference_tokens(split, task)
        reference_tokens += (
            FORWARD * once * -(-self.recipe.epochs // EVALUATION_INTERVAL)
            if self.evaluates_separately
            else 0.0
        )
        reference_tokens += (
            sum(g.reference_cost for g in parts) * width * min(len(anchors), rounds * rows)
        )
        reference_tokens += self.start_cost(trained, split, task)
        return priced(trained, split, steps + reference_tokens)

    def run(
        self, trained: Trained, split: Split, task: Task, *, seed: int, watch: Watcher | None
    ) -> Run:
        """Forget on a copy of the model.

        Raises:
            InputError: a record to be forgotten is not in the model's training log.
            NotFinite: a loss became nan; the original model is untouched.
        """
        self.check(split, task)
        remaining = remaining_trace(trained.trace, split)
        original = shared_weights_copy(trained.model).eval()
        total = self._rounds(split) * (2 if self.alternating else 1)
        with deterministic():
            start = self.start(trained, split, task, seed)
            split = start.split
            known = self._prepare(original, split, task, seed)
            model = self.copied(start.model, task, seed)
            loop = Loop(model, start.recipe, total=total, seed=seed, watch=watch, shared=True)
            looked = 0.0 if known.regularisers is None else known.regularisers.spent
            history, tokens, there = Steps(self, loop, split, task, known).descend()
            if known.regularisers is not None:
                tokens += looked + sum(loop.gathered(known.regularisers.spent - looked))
            loop.close()
            model = self.finished(model, trained.model)
        if start.says:
            why = f"{start.says}, then {len(history)} steps of repair"
        elif len(history) < total and not there:
            why = f"given up after {len(history)} of {total} steps, which lead elsewhere"
        elif there:
            why = f"the records reached the loss of never learned ones after {len(history)} steps"
        elif all(map(math.isfinite, known.goals.values())):
            why = f"all {total} steps were used before every record reached its target"
        else:
            why = f"all {total} steps were used; without holdout records there is no target"
        tokens += start.tokens + self._reference_tokens(split, task)
        tokens += self.looks() * sum(map(task.width, split.forget))
        made = None if split.teacher is None else weights_digest(split.teacher)
        return Run(model, remaining, tokens, why, history, sketch=made)

    def rate(self, model: Module) -> Recipe:
        """The recipe, its default rate scaled to the model's width."""
        width = hidden_size(model, otherwise=128)
        return replace(self.recipe, lr=self.recipe.lr * 128 / width) if self.scaled else self.recipe

    def copied(self, original: Module, task: Task, seed: int) -> Any:
        """The module to train: a copy, or adapters on the original weights, whose memory they
        share."""
        lora = self.recipe.lora
        model: Any = None
        if lora is not None and is_on_base(original):
            raise InputError(
                "the model is an adapter on a base, and its own adapter is what is trained: leave ",
                ParameterName("lora_rank"),
                " out",
            )
        if lora is None:
            model = copy.deepcopy(original)
        else:
            model = adapters.attach(shared_weights_copy(original, trained=True), lora, seed=seed)
        trainable_modules = self.trainable_modules(model, task)
        if trainable_modules is not None:
            chosen = {id(p) for module in trainable_modules for p in module.parameters()}
            for parameter in model.parameters():
                parameter.requires_grad_(parameter.requires_grad and id(parameter) in chosen)
        return model

    def finished(self, model: Any, original: Module) -> Module:
        """The plain model with trained weights of its own, and the original's trainable
        parameters."""
        if self.recipe.lora is not None:
            unshare(model)
            model = adapters.merge(model, original)
        for parameter, own in zip(model.parameters(), original.parameters(), strict=True):
            parameter.requires_grad_(own.requires_grad)
        return model.eval()

    def _prepare(self, original: Module, split: Split, task: Task, seed: int) -> Known:
        """Compute once, before the first step, everything that needs the original model."""
        size = self.recipe.batch_size
        alternative_targets = self.alternative_targets(original, split, task, seed)
        seen = frozen(original, (*split.forget, *alternative_targets.values()), task, size)
        if self.target is not None or not (split.holdout or split.never):
            goal = math.inf if self.target is None else self.target
            goals = {example.id: goal for example in split.forget}
        else:
            goals = targets(original, split, task, size)
        regularisers = self.make_regularisers()
        anchors = () if regularisers is None else regularisers.begin(original, split, task, seed)
        return Known(
            original_log_ps={i: log_p for i, (log_p, _) in seen.items()},
            goals=goals,
            alternative_targets=alternative_targets,
            precomputed=self.precompute(original, split, task, seed),
            regularisers=regularisers,
            draws=retain_draws(replace(split, retain=anchors), self.retain_batch, seed),
        )

    def _rounds(self, split: Split) -> int:
        return self.recipe.epochs * -(-len(split.forget) // self.recipe.batch_size)

    def _reference_tokens(self, split: Split, task: Task) -> float:
        """Tokens of the passes over the original model, in forward-backward units."""
        records = [*split.forget]
        if self.target is None and split.holdout:
            records += [*split.holdout, *(split.forget if split.origin is not None else ())]
        return FORWARD * sum(map(task.width, records))
