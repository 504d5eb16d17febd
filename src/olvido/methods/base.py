"""The entry point `forget()`: check, work on a copy, compare before and after."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from torch.nn import Module

from olvido.errors import (
    InputError,
    MissingNeed,
    ModelDestroyed,
    NotFinite,
    NothingChanged,
    ParameterName,
    require_seed,
)
from olvido.learners import Trained, Watcher
from olvido.ledger.facts import Guarantee
from olvido.methods.gradient.calibration import holdout_losses, with_holdout_losses
from olvido.methods.guarantee import Need
from olvido.methods.origin.sketch import said
from olvido.methods.origin.weights import Base, module_of, origin_for
from olvido.methods.types import METHODS, Cost, Method, Outcome, Split, priced
from olvido.models import weights_digest
from olvido.models.adapter import is_on_base
from olvido.models.merging import merged
from olvido.registry import options_of, recorded, settings
from olvido.tasks import Example, Task, examples, task_of
from olvido.tasks.base import Row
from olvido.tasks.scoring import mean_loss
from olvido.training.records import ids_of, records_of
from olvido.training.traces.chain import links
from olvido.training.traces.declared import NO_LOG

SAMPLE = 256
"""Retained records, at the most, on which damage is measured."""
MOVED = 1e-3
"""Nats a token by which the forgotten records' loss must rise for anything to have happened."""
BATCH = 64
"""Records a forward pass of that measurement."""
ADAPTER_ALONE = "; the weights of its adapter alone were changed, and the base is as it was"
"""What is said of a model that is an adapter on a base."""
DIALS = ("lr", "epochs", "scale", "mu", "strength")
"""Options by which a method forgets more, and harms more."""
DAMAGE = 1.0
"""Nats a token by which the retained records' loss may rise; past it the model is destroyed."""


def read_split(
    forget: Iterable[Row | Example],
    retain: Iterable[Row | Example],
    holdout: Iterable[Row | Example] = (),
) -> Split:
    """The records of a forgetting, checked.

    Raises:
        InputError: an empty forget set, or a record on two sides.
    """
    split = Split(
        examples(forget, "forget"), records_of(retain, "retain"), examples(holdout, "holdout")
    )
    if not split.forget:
        raise InputError("there is nothing to forget (", ParameterName("forget"), "): give records")
    sides = {name: set(ids_of(getattr(split, name))) for name in ("forget", "retain", "holdout")}
    for one, other in combinations(sides, 2):
        if both := sorted(sides[one] & sides[other]):
            raise InputError(
                f"{len(both)} records stand both in {one} and in {other} (first: {both[0]!r}): "
                "a record can only be on one side"
            )
    return split


def _tell_copies(split: Split, task: Task) -> None:
    """Warn where a retained or holdout record has the content of a forgotten one."""

    forget_contents = {said(example, task) for example in split.forget}
    sides = {
        "to retain": (split.retain, "what they say is kept. Leave out copies, or forget them too"),
        "held out": (split.holdout, "they were seen. Leave them out"),
    }
    for side, (records, remedy) in sides.items():
        both = [example.id for example in records if said(example, task) in forget_contents]
        if both:
            warnings.warn(
                f"{len(both)} records {side} have the same content as records to forget (first: "
                f"{both[0]!r}): {remedy}",
                stacklevel=3,
            )


def with_origin(trained: Trained, split: Split) -> Split:
    """The records with the weights that the model was trained from, where its trace knows them."""
    if split.origin is not None:
        return split
    return replace(split, origin=origin_for(trained, None, ids_of(split.forget)))


def predict(
    trained: Trained,
    split: Split,
    task: Task,
    *,
    method: str | type[Method] | Method,
    options: Mapping[str, Any],
) -> Cost:
    """Predict the cost of a method, before anything runs.

    Raises:
        MissingNeed: the method lacks something it needs.
    """
    chosen = METHODS.make(method, options)
    if chosen.guarantee is not Guarantee.EXACT:
        split = with_origin(trained, split)
    _check_needs(METHODS.name_of(method), chosen, trained, split, task)
    return chosen.cost(trained, split, task)


def forget(
    model: Module | Trained,
    *,
    forget: Iterable[Row | Example],
    retain: Iterable[Row | Example] = (),
    holdout: Iterable[Row | Example] = (),
    reference: Module | Sequence[Module] = (),
    base: Base | None = None,
    tokenizer: Any | None = None,
    task: str | type[Task] | Task | None = None,
    method: str | type[Method] | Method = "npo",
    seed: int = 0,
    watch: Watcher | None = None,
    **options: Any,
) -> Outcome:
    """Make a copy of a model forget records.

    Args:
        model: any Hugging Face causal model, or a result of `train()`; it is not changed. PEFT
            adapters are merged into the weights first, so that none can be taken off again. Where a
            trace says that the base never learned the records (`Trained`), the adapter stays one,
            and its weights alone are changed.
        forget: the forget set.
        retain: the retain set; exact methods need all of it, the others a sample.
        holdout: similar records that the model never saw; they tell a method where to stop (see
            `Descent`).
        reference: models that never learned the forget set, if any: a better stopping criterion.
            Never the ones that the result is audited against.
        base: the weights that the model was trained from, where no trace of its training knows
            them: a module, a loaded model, or a name as `olvido.load` takes it. Methods such as
            `arithmetic` begin there; for others it says, as a reference does, where never learned
            lies.
        tokenizer: the model's tokenizer; or pass a `task`.
        task: how records become losses: a name, a class or an object of `olvido.tasks`.
        method: a name that `olvido methods` lists (`auto` searches for what comes nearest to never
            having learned), or a class or an object of `olvido.methods` or of one's own.
        seed: of order and sampling.
        watch: called after every step.
        options: options of a method passed by name or class.

    Raises:
        InputError: an empty forget set, unreadable or overlapping records, or an object that is no
            method.
        UnknownName: no such method or option.
        MissingNeed: the method needs an argument that was not passed.
        NothingChanged: the weights, or the loss on the forget set, did not change.
        ModelDestroyed: the retain set is lost as well; its `outcome` has the damaged model.
        NotFinite: a loss became nan.
        NothingFits: a search found no setting that comes near enough to never having learned.
    """
    chosen, name = METHODS.make(method, options), METHODS.name_of(method)
    recorded_options = settings(chosen)
    if isinstance(method, str):
        # An option that the caller gave is recorded even where it is the default.
        recorded_options = {option: recorded(value) for option, value in options.items()}
    require_seed(seed)
    never = (reference,) if isinstance(reference, Module) else tuple(reference)
    split = replace(read_split(forget, retain, holdout), never=never)
    task = task_of(tokenizer, task)
    trained = model if isinstance(model, Trained) else Trained.untraced(merged(model))
    _require_trainable(trained.model)
    if trained.trace.single and chosen.guarantee is not Guarantee.EXACT:
        origin = origin_for(trained, base, ids_of(split.forget))
        split = replace(split, origin=origin)
        informed = split.holdout or split.never or Need.ORIGIN in chosen.needs
        if base is not None and origin is not None and not informed:
            split = replace(split, never=(module_of(origin),))
    _tell_copies(split, task)
    _check_needs(name, chosen, trained, split, task)
    sample = split.retain[:: max(1, -(-len(split.retain) // SAMPLE))]
    before = _losses(trained.model, split.forget, sample, task)
    if not math.isfinite(before[0]) and chosen.guarantee is not Guarantee.EXACT:
        raise NotFinite(
            f"the records' loss is {before[0]} before anything was forgotten: the model's weights "
            "are no numbers (nan or infinite). Give the original model saved whole"
        )
    began = time.perf_counter()
    if chosen.guarantee is not Guarantee.EXACT and not split.never:
        split = replace(split, holdout_losses=holdout_losses(trained, split.holdout, task))
    run = chosen.run(trained, split, task, seed=seed, watch=watch)
    seconds = time.perf_counter() - began
    after = _losses(run.model, split.forget, sample, task)
    digest = weights_digest(run.model)
    if digest == trained.digest:
        raise NothingChanged(f"{name} left every weight as it was: raise {_dials(chosen)}")
    spent = priced(trained, split, run.tokens)
    outcome = Outcome(
        model=run.model,
        digest=digest,
        before=trained.digest,
        trace=with_holdout_losses(run.trace, split, task) if split.holdout_losses else run.trace,
        method=name,
        options=recorded_options,
        guarantee=chosen.guarantee,
        cost=Cost(run.tokens, run.seconds + seconds, spent.retraining),
        stopped=f"{run.stopped}{ADAPTER_ALONE if is_on_base(run.model) else ''}",
        forget_loss=(before[0], after[0]),
        retain_loss=(before[1], after[1]),
        history=run.history,
        trials=run.trials,
        origin=None if split.origin is None else split.origin.digest,
        sketch=run.sketch,
    )
    _check_effect(outcome, _dials(chosen))
    return outcome


def _require_trainable(model: Module) -> None:
    """Raise InputError where every weight is frozen, as PEFT loads an adapter for use alone."""
    if is_on_base(model) and not any(parameter.requires_grad for parameter in model.parameters()):
        raise InputError(
            "every weight of the adapter is frozen, so that nothing can be forgotten in it: load "
            "it with olvido.load, or with is_trainable=True"
        )


def _check_needs(name: str, method: Method, trained: Trained, split: Split, task: Task) -> None:
    trace = trained.trace
    given: dict[Need, object] = {
        Need.RETAIN: split.retain,
        Need.HOLDOUT: split.holdout or split.never,
        Need.LANGUAGE: task.language,
        Need.ORIGIN: split.origin,
    }
    elsewhere = [why for link in links(trace) if (why := NO_LOG.get(link.learner or ""))]
    if elsewhere and not trace.offers and method.guarantee is Guarantee.EXACT:
        raise MissingNeed(f"{name} cannot be used: {elsewhere[0]}")
    if not trace.single and method.guarantee is not Guarantee.EXACT:
        raise MissingNeed(
            f"{name} changes one set of weights, and this model is {trace.learner}: it forgets "
            "exactly, train again the parts concerned"
        )
    have = trace.offers.union(need for need, there in given.items() if there)
    for need in sorted(method.needs):
        if need not in have:
            raise MissingNeed(f"{name} needs ", *need.words)


def _dials(method: Method) -> str:
    """The options by which a method forgets more, in words."""
    names = options_of(type(method)).keys() & {*DIALS}
    return " or ".join(sorted(names, key=DIALS.index)) or "what it goes by"


def _check_effect(outcome: Outcome, dials: str) -> None:
    """Refuse an effect that is no forgetting; exact methods may leave the loss unchanged."""
    (forgot_from, forgot_to), (kept_from, kept_to) = outcome.forget_loss, outcome.retain_loss
    # A nan loss compares false with everything: in this order it counts as destruction.
    damaged = not (kept_to <= kept_from + DAMAGE or kept_from != kept_from)
    # An exact method gives the result of training without the records, whatever that is.
    if damaged and outcome.guarantee is not Guarantee.EXACT:
        error = ModelDestroyed(
            f"{outcome.method} destroyed what should be kept: the retained records' loss went from "
            f"{kept_from:.2f} to {kept_to:.2f} nats a token. Lower {dials}, or give records "
            "that the model never saw to stop by (holdout)"
        )
        error.outcome = outcome
        raise error
    if outcome.guarantee is Guarantee.EMPIRICAL and not forgot_to > forgot_from + MOVED:
        raise NothingChanged(
            f"{outcome.method} forgot nothing: the records' loss went from {forgot_from:.4f} to "
            f"{forgot_to:.4f} nats a token. Raise {dials}"
        )


def _losses(
    model: Module, forget: Sequence[Example], retain: Sequence[Example], task: Task
) -> tuple[float, float]:
    return mean_loss(model, forget, task, BATCH), mean_loss(model, retain, task, BATCH)
