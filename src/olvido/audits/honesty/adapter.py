"""Adapters that come off again: what they hid is back as soon as they are gone."""

from __future__ import annotations

import copy
from typing import Any

from torch.nn import Module

from olvido.models.composite.ensemble import Ensemble
from olvido.models.composite.routed import Routed
from olvido.models.sending import sendable


def detached(model: Module) -> Module | None:
    """The model with every PEFT adapter taken off, as anybody who holds its files can have it.

    Args:
        model: not changed; the detached one shares its tensors where adapters lie beside the
            weights, and has its own where they were merged in a way that can be undone.

    Returns:
        None where nothing comes off, and for Olvido's own composite models: there a module is
        taken out for good, not put on over what should be forgotten.
    """
    from peft import PeftModel
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    kinds: Any = (PeftModel, BaseTunerLayer, AuxiliaryTrainingWrapper)
    if isinstance(model, Ensemble | Routed) or not any(
        isinstance(m, kinds) for m in model.modules()
    ):
        return None
    undone = any(isinstance(m, BaseTunerLayer) and m.merged for m in model.modules())
    twin: Any = copy.deepcopy(model) if undone else sendable(model)
    for name, module in list(twin.named_modules(remove_duplicate=False)):
        if isinstance(module, BaseTunerLayer):
            if module.merged:
                module.unmerge()
            _replace(twin, name, module.get_base_layer())
        elif isinstance(module, AuxiliaryTrainingWrapper):
            _replace(twin, name, module.original_module)
    if isinstance(twin, PeftModel):
        return _inside(twin)
    for name, module in list(twin.named_modules()):
        if isinstance(module, PeftModel):
            _replace(twin, name, _inside(module))
    return twin


def _inside(model: Any) -> Any:
    inner = model.get_base_model()
    # Left behind by the adapter, it would make a plain model look like an adapted one.
    for left in ("peft_config", "_hf_peft_config_loaded"):
        vars(inner).pop(left, None)
    return inner


def _replace(root: Any, name: str, module: Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(root.get_submodule(parent), child, module)
