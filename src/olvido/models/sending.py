"""Modules on their way to another process."""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import TypeVar

from torch.nn import Module

CAPTURE = "transformers.utils.output_capturing"
"""Its hooks stay on a model that was once asked for hidden states, and cannot be pickled."""
INSTALLED = "_output_capturing_hooks_installed"

M = TypeVar("M", bound=Module)


def sendable(model: M) -> M:
    """A module over the same tensors that can be pickled: without transformers' hooks for hidden
    states, which it installs again when it needs them."""
    tensors = {id(t): t for t in (*model.parameters(), *model.buffers())}
    twin = copy.deepcopy(model, dict(tensors))
    for module in twin.modules():
        module._forward_hooks = OrderedDict(
            (key, hook)
            for key, hook in module._forward_hooks.items()
            if getattr(hook, "__module__", None) != CAPTURE
        )
        if INSTALLED in vars(module):
            delattr(module, INSTALLED)
    return twin
