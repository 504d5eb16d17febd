"""Low-rank adapters: put on a copy of a model, trained, and merged into its weights."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch.nn import Module

from olvido.errors import InputError
from olvido.learners.recipe import Lora


def attach(model: Any, lora: Lora, *, seed: int) -> Any:
    """Wrap a model so that only its new adapters are trained. The model is changed in place.

    Raises:
        InputError: the model has fewer layers than `top_layers`, or is no language model.
    """
    if not hasattr(model, "get_output_embeddings"):
        raise InputError(
            f"adapters are put on language models, not on a {type(model).__name__}: train all its "
            "weights"
        )
    from peft import LoraConfig, get_peft_model
    from transformers.pytorch_utils import Conv1D

    layers = None
    if lora.top_layers is not None:
        depth = int(model.config.num_hidden_layers)
        if not 1 <= lora.top_layers <= depth:
            raise InputError(f"top_layers must lie between 1 and {depth}, got {lora.top_layers}")
        layers = list(range(depth - lora.top_layers, depth))
    adapted = {
        name.rsplit(".", 1)[-1]: type(module)
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D))
        and module is not model.get_output_embeddings()
    }
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        # By name, since peft limits layers only where it is given names; the head is left alone.
        target_modules=sorted(adapted),
        fan_in_fan_out=Conv1D in adapted.values(),
        layers_to_transform=layers,
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # peft asks transformers for an attribute that transformers has renamed.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        torch.manual_seed(seed)
        return get_peft_model(model, config)


def merge(model: Any, like: Module) -> Module:
    """The plain model with its adapters' update added to its weights.

    Args:
        model: as `attach` gave it.
        like: the model before `attach`, which froze its weights; they are as trainable as there.
    """
    plain = model.merge_and_unload()
    for parameter, before in zip(plain.parameters(), like.parameters(), strict=True):
        parameter.requires_grad_(before.requires_grad)
    return plain
