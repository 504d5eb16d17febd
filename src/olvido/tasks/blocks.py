"""The blocks of a transformer, found without a list of architectures, and run only as needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.nn import Module, ModuleList

from olvido.errors import InputError

_EXACT, _COARSE = 1e-3, 0.1
"""Rounding errors, as a share of the logits' spread, in 32 bits and more and in fewer: far above
the effect of other rows on experts (3e-7), below an encoder's (7e-3 untrained)."""


class _Reached(Exception):
    """A block was reached, and the rest of the model is not needed."""


def blocks_of(model: Any) -> list[Module]:
    """The one list of modules that is as long as the model's configured depth; empty where there is
    none, or more than one."""
    depth = getattr(getattr(model, "config", None), "num_hidden_layers", None)
    found = [m for m in model.modules() if isinstance(m, ModuleList) and len(m) == depth]
    return list(found[0]) if len(found) == 1 else []


def given_to(block: Module, run: Callable[[], Any]) -> Tensor:
    """The input of a block when the model runs, which stops there. [B, T, D]"""
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


def plain_model(model: Any) -> Any:
    """The Hugging Face model inside a PEFT wrapper, or the model itself.

    Raises:
        InputError: a soft prompt or prefix stands before the input, which the inner model lacks.
    """
    for name, config in getattr(model, "peft_config", {}).items():
        if getattr(config, "is_prompt_learning", False):
            raise InputError(
                f"adapter {name!r} is a soft prompt ({config.peft_type.value}), which cannot be "
                "merged into the weights: give the base model, or train a LoRA adapter"
            )
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """Put a model into evaluation mode, and restore each part's mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def require_causal(model: Module, inputs: Mapping[str, Any], logits: Tensor) -> None:
    """Refuse a model that reads the tokens it is to predict: an encoder's losses are meaningless.

    It is tested on one row rather than looked up, so that no list of architectures can become
    outdated: other tokens in its second half must not change the logits of the first half, but for
    rounding.

    Args:
        model: in evaluation mode.
        inputs: one row: `input_ids` and `attention_mask` [1, T].
        logits: the model's output for it. [1, T, V]

    Raises:
        InputError: it is no causal model.
    """
    length = int(inputs["attention_mask"].sum())
    kept = length // 2
    if not kept:
        return
    ids = inputs["input_ids"].clone()
    ids[0, kept:length] = (ids[0, kept:length] + 1) % logits.shape[-1]
    before = logits[0, :kept].float()
    apart = model(**{**inputs, "input_ids": ids}).logits[0, :kept].float() - before
    allowed = _EXACT if logits.dtype.itemsize >= 4 else _COARSE
    if float(apart.abs().max()) > allowed * float(before.std()):
        raise InputError(
            f"{type(model).__name__} is no causal language model: what it says of a token changes "
            "with the tokens after it, so that it reads the answers it is asked for. Give a model "
            "that was made to continue a text"
        )


def body_and_head(model: Module) -> tuple[Any, Any]:
    """The transformer and the head behind it; None twice where they cannot be separated."""
    plain = plain_model(model)
    body = getattr(plain, "base_model", None)
    head = plain.get_output_embeddings() if hasattr(plain, "get_output_embeddings") else None
    return (None, None) if body is plain else (body, head)
