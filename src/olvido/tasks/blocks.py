"""The blocks of a transformer, found without a list of architectures, and run only so far."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import Module, ModuleList


class _Reached(Exception):
    """A block was reached: nothing from it on is asked for."""


def blocks_of(model: Any) -> list[Module]:
    """The one list of modules that is as long as the model says it is deep; empty where there is
    none, or more than one."""
    depth = getattr(getattr(model, "config", None), "num_hidden_layers", None)
    found = [m for m in model.modules() if isinstance(m, ModuleList) and len(m) == depth]
    return list(found[0]) if len(found) == 1 else []


def given_to(block: Module, run: Callable[[], Any]) -> Tensor:
    """What a block is given when the model is run, which then stops. [B, T, D]"""
    seen: list[Tensor] = []

    def stop(_module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append(args[0] if args else kwargs["hidden_states"])
        raise _Reached

    handle = block.register_forward_pre_hook(stop, with_kwargs=True)
    try:
        run()
    except _Reached:
        pass
    finally:
        handle.remove()
    return seen[0]
