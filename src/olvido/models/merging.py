"""A model as one set of weights that may move."""

from __future__ import annotations

import copy
from typing import Any

from torch.nn import Module

from olvido.errors import InputError
from olvido.models.composite.ensemble import Ensemble
from olvido.models.composite.routed import Routed


def merged(model: Module) -> Module:
    """The model with its adapters in its weights, and free to learn if all of it was frozen.

    What is forgotten in an adapter comes back as soon as the adapter is taken off; so adapters are
    merged before anything is forgotten. Olvido's own composites stay as they are: their modules
    are taken out for good.

    Args:
        model: not changed; what needs no change is given back as it is.

    Raises:
        InputError: an adapter cannot be merged.
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
        try:
            model = made.merge_and_unload()
        except (AttributeError, ValueError, NotImplementedError) as error:
            raise InputError(
                f"the model's adapter cannot be merged into its weights ({error}): give the base "
                "model, or train a LoRA adapter"
            ) from error
        # Merging leaves weights frozen that were frozen under the adapter: all of them.
    if any(parameter.requires_grad for parameter in model.parameters()):
        return model
    return copy.deepcopy(model).requires_grad_(True)
