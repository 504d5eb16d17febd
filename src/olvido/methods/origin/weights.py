"""The weights that a model was trained from: found in its trace, or given, and checked."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn import Module

from olvido.errors import InputError, ParameterName
from olvido.learners import Trained
from olvido.learners.parts import itself
from olvido.methods.gradient.answers import shared_weights_copy
from olvido.models import Loaded, load, weights_digest
from olvido.models.adapter import adapted_layers, base_under, is_on_base
from olvido.models.base import require_base, require_finite
from olvido.training.traces.chain import origin_of
from olvido.training.traces.steps import Origin

Base = Module | Loaded | Trained | str | Path
"""A base: a module, a loaded or trained model, or the name of one as `olvido.load` takes it."""


def origin_for(trained: Trained, base: Base | None, ids: Collection[str]) -> Origin | None:
    """The weights that a model was trained from, before it was taught any of these records.

    Args:
        trained: the model. Of an adapter on a base, the origin is the model with an adapter of no
            effect.
        base: what the caller names as its base; None: the one that the trace knows.
        ids: of the forget set.

    Raises:
        InputError: the base is not the model's, or another than the trace knows.
    """
    model: Any = trained.model
    given = None if base is None else _module(base, model)
    if given is not None:
        require_base(_name(base), given, model)
        require_finite(given, "of the base ", "give the weights that the training began with")
    if is_on_base(model) and not _plain(model):
        # Without its matrices such an adapter is not its base yet.
        return None
    if is_on_base(model):
        began: Module = without_effect(model)
        known: Origin | None = Origin(partial(itself, began), weights_digest(base_under(model)))
    elif trained.trace.single:
        known = origin_of(trained.trace, ids)
    else:
        known = None
    if given is None:
        return known
    digest = weights_digest(given)
    if known is not None and known.digest != digest:
        raise InputError(
            f"the model was trained from the weights {known.digest}, and the base given has "
            f"{digest}: leave it out (",
            ParameterName("base"),
            "), or give that one",
        )
    if is_on_base(model):
        return known
    # The one that was given is there; the one that the trace knows may have been moved.
    return Origin(partial(itself, given), digest)


def module_of(origin: Origin) -> Module:
    """The origin's module, checked to have its weights; of an adapter, those of its base.

    Raises:
        StateError: they were changed since.
    """
    model: Any = origin.load()
    return model if is_on_base(model) else origin.module()


def _plain(model: Any) -> bool:
    """Whether an adapter does nothing but add the product of its two matrices."""
    config = model.peft_config["default"]
    return not (getattr(config, "use_dora", False) or getattr(config, "lora_bias", False))


def without_effect(model: Any) -> Any:
    """A `peft.PeftModel` that answers as its base: the directions that its adapter reads are kept,
    and what it adds along them is zero.

    The base's tensors are shared.
    """
    made = shared_weights_copy(model, trained=True)
    with torch.no_grad():
        for _, layer in adapted_layers(made):
            for matrix in layer.lora_B.values():
                matrix.weight.data = torch.zeros_like(matrix.weight)
    return made.eval()


def _module(base: Base, model: Module) -> Module:
    if isinstance(base, Module):
        return base
    if isinstance(base, Trained):
        return base.model
    if isinstance(base, Loaded):
        found: Module = base.model
        return found
    some = next(model.parameters())
    dtype = str(some.dtype).removeprefix("torch.")
    loaded: Module = load(base, dtype=dtype, device=str(some.device)).model
    return loaded


def _name(base: object) -> str:
    if isinstance(base, Module | Trained):
        return f"what was given ({type(base).__name__})"
    return repr(base.name if isinstance(base, Loaded) else str(base))
