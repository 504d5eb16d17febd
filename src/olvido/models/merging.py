"""A model as one set of trainable weights, and modules in picklable form."""

from __future__ import annotations

import copy
from collections import Counter, OrderedDict
from typing import Any, TypeVar

from torch.nn import Module

from olvido.errors import InputError
from olvido.models.ensemble import Ensemble
from olvido.models.routed import Routed


def merged(model: Module) -> Module:
    """The model with its adapters merged, and trainable if all of it was frozen.

    Data forgotten in an adapter comes back as soon as the adapter is taken off; so adapters are
    merged before a forgetting. Olvido's own composites stay unchanged: their modules are removed
    for good.

    Args:
        model: not changed; returned itself where nothing is to be merged.

    Raises:
        InputError: an adapter cannot be merged, is switched off, or lies on shared weights, where
            merging would change other layers as well.
    """
    from peft import PeftModel
    from peft.tuners.tuners_utils import BaseTunerLayer

    if isinstance(model, Ensemble | Routed):
        return model
    if any(isinstance(m, PeftModel | BaseTunerLayer) for m in model.modules()):
        made: Any = copy.deepcopy(model)
        if not isinstance(made, PeftModel):
            raise InputError(
                "the model holds adapter layers outside a PeftModel: merge them, or wrap it whole"
            )
        _require_own_weights(made)
        try:
            model = made.merge_and_unload()
        except (AttributeError, ValueError, RuntimeError) as error:
            raise InputError(
                f"the model's adapter cannot be merged into its weights ({error}): give the base "
                "model, or train a LoRA adapter"
            ) from error
        # Merging leaves the weights frozen that were frozen under the adapter: all except those
        # that
        # were trained beside it.
        return model.requires_grad_(True)
    if any(parameter.requires_grad for parameter in model.parameters()):
        return model
    return copy.deepcopy(model).requires_grad_(True)


def _require_own_weights(model: Any) -> None:
    """Refuse adapters whose merging would change the model's function."""
    from peft.tuners.trainable_tokens.layer import TrainableTokensLayer
    from peft.tuners.tuners_utils import BaseTunerLayer

    held = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    for name, layer in model.named_modules():
        if not isinstance(layer, BaseTunerLayer):
            continue
        if layer.disable_adapters:
            raise InputError(
                f"the model's adapter is switched off (at {name}): switch it on, or give the base "
                "model"
            )
        base = layer.get_base_layer().parameters()
        if not isinstance(layer, TrainableTokensLayer) and any(held[id(p)] > 1 for p in base):
            raise InputError(
                f"the model's adapter lies on weights that are tied to others (at {name}): merged "
                "into them, it would change both; untie them, or train an adapter elsewhere"
            )


CAPTURE = "transformers.utils.output_capturing"
"""Its hooks stay on a model after a request for hidden states, and cannot be pickled."""
INSTALLED = "_output_capturing_hooks_installed"

M = TypeVar("M", bound=Module)


def picklable(model: M) -> M:
    """A picklable module over the same tensors: without transformers' hooks for hidden states,
    which it installs again when it needs them."""
    tensors = {id(t): t for t in (*model.parameters(), *model.buffers())}
    replica = copy.deepcopy(model, dict(tensors))
    for module in replica.modules():
        module._forward_hooks = OrderedDict(
            (key, hook)
            for key, hook in module._forward_hooks.items()
            if getattr(hook, "__module__", None) != CAPTURE
        )
        if INSTALLED in vars(module):
            delattr(module, INSTALLED)
    return replica
