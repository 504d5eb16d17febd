"""The frozen hyper-parameters of a training: with a dataset and a seed they determine the run.

Low-rank adapters are put on a copy of a model, trained, and merged into its weights.
"""

from __future__ import annotations

import math
import numbers
import reprlib
import sys
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch.nn import Module

from olvido.errors import InputError, ParameterName, UnknownName, require_count

SCHEDULES = ("cosine", "linear", "constant")
OPTIMIZERS = ("adamw", "sgd")
DTYPES = ("float32", "bfloat16")
_RANK = 65_536
"""An upper bound: no layer is as wide, and a larger rank than a layer's width gains nothing."""


def require_numbers(given: object, *, whole: Iterable[str], real: Iterable[str] = ()) -> None:
    """Refuse what is no number, or none that a float can hold.

    Raises:
        InputError: the field, and what it takes.
    """
    for kind, names, what in (
        (numbers.Integral, whole, "a whole number"),
        (numbers.Real, real, "a number"),
    ):
        for name in names:
            value = getattr(given, name)
            fits = isinstance(value, kind) and not isinstance(value, bool)
            if not fits or (abs(value) > sys.float_info.max and value != math.inf):
                raise InputError(ParameterName(name), f" must be {what}, got {reprlib.repr(value)}")


@dataclass(frozen=True, kw_only=True)
class Lora:
    """Low-rank adapters trained in place of the weights, and merged into them at the end.

    They are merged because an adapter that can be taken off again has forgotten nothing (Hu et al.
    2021, arXiv 2106.09685, for the parametrisation).

    Attributes:
        rank: width of the adapters.
        alpha: scale; the update is multiplied by alpha / rank.
        dropout: on the adapters' input.
        top_layers: adapt only this many of the last layers; None: all.
    """

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    top_layers: int | None = None

    def __post_init__(self) -> None:
        require_numbers(self, whole=("rank",), real=("alpha", "dropout"))
        if self.top_layers is not None:
            require_numbers(self, whole=("top_layers",))
        require_count("rank", self.rank, most=_RANK)
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout must lie in [0, 1), got {self.dropout}")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is trained.

    Attributes:
        epochs: times each record is seen.
        batch_size: records a forward pass.
        accumulate: forward passes an optimizer step.
        lr: peak learning rate.
        schedule: `cosine`, `linear` (both down to zero) or `constant`.
        warmup: share of all steps in which the rate rises from zero.
        optimizer: `adamw` or `sgd` (with momentum beta1).
        weight_decay, beta1, beta2: of the optimizer.
        clip: largest gradient norm.
        dtype: of the forward pass; weights and optimizer stay in the model's own type.
        lora: train adapters instead of all weights.
        micro_batch: records in memory at once, at the most: a batch is split into parts whose
            gradients are summed. None: whole batches.
        master_weights: the optimizer moves float32 copies of weights in 16 bits, which are rounded
            after every step: without, a step shorter than their distance is lost.
        checkpointing: recompute activations in the backward pass instead of storing them.
    """

    epochs: int = 3
    batch_size: int = 16
    accumulate: int = 1
    lr: float = 5e-5
    schedule: str = "cosine"
    warmup: float = 0.1
    optimizer: str = "adamw"
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.98
    clip: float = 1.0
    dtype: str = "float32"
    lora: Lora | None = None
    micro_batch: int | None = None
    master_weights: bool = False
    checkpointing: bool = False

    def __post_init__(self) -> None:
        require_numbers(
            self,
            whole=("epochs", "batch_size", "accumulate"),
            real=("lr", "warmup", "weight_decay", "beta1", "beta2", "clip"),
        )
        if not isinstance(self.lora, Lora | None):
            raise InputError(
                f'lora must be an object such as {{"rank": 16}}, or null, got '
                f"{reprlib.repr(self.lora)}"
            )
        for name, known in (
            ("schedule", SCHEDULES),
            ("optimizer", OPTIMIZERS),
            ("dtype", DTYPES),
        ):
            if getattr(self, name) not in known:
                raise UnknownName(name, str(getattr(self, name)), known)
        for name in ("epochs", "batch_size", "accumulate"):
            require_count(ParameterName(name), getattr(self, name))
        if self.micro_batch is not None:
            require_numbers(self, whole=("micro_batch",))
            require_count(ParameterName("micro_batch"), self.micro_batch)
        for name in ("master_weights", "checkpointing"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(
                    ParameterName(name),
                    f" must be true or false, got {reprlib.repr(getattr(self, name))}",
                )
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise InputError(ParameterName("lr"), f" must be a positive number, got {self.lr}")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise InputError(f"weight_decay must be 0 or more, got {self.weight_decay}")
        if not self.clip > 0:
            raise InputError(f"clip must be positive, got {self.clip}")
        if not 0 <= self.warmup < 1:
            raise InputError(f"warmup is a share of the steps in [0, 1), got {self.warmup}")

    def rate(self, step: int, total: int) -> float:
        """Learning rate of a step, counted from 0, in a run of `total` steps."""
        rising = self.warmup * total
        if step < rising:
            return self.lr * (step + 1) / (rising + 1)
        left = 1 - (step - rising) / max(total - rising, 1)
        if self.schedule == "cosine":
            return self.lr * 0.5 * (1 - math.cos(math.pi * left))
        return self.lr * left if self.schedule == "linear" else self.lr

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for the ledger.

        What came later is left out where it is not used: a recipe of an earlier version keeps its
        digest, and its log can be replayed.
        """
        values = asdict(self)
        return {k: v for k, v in values.items() if k not in _LATER or v != _LATER[k]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Read a recipe that `to_dict` wrote.

        Raises:
            UnknownName: no recipe has a parameter of this name.

        >>> Recipe.from_dict(Recipe(lora=Lora(rank=4)).to_dict()).lora.rank
        4
        """
        given = dict(values)
        _require_known("recipe option", given, cls)
        if isinstance(given.get("lora"), Mapping):
            _require_known("lora option", given["lora"], Lora)
            given["lora"] = Lora(**given["lora"])
        return cls(**given)


_LATER = {"micro_batch": None, "master_weights": False, "checkpointing": False}
"""Parameters that recipes did not always have, with the value that changes nothing."""


def _require_known(kind: str, names: Iterable[str], cls: type[Recipe] | type[Lora]) -> None:
    known = [f.name for f in fields(cls)]
    for name in names:
        if name not in known:
            raise UnknownName(kind, name, known)


RECIPES = {
    "tiny": Recipe(epochs=8, batch_size=48, lr=2e-3, weight_decay=0.1),
    "smollm2": Recipe(epochs=6, batch_size=8, lr=2e-4),
    "mlp": Recipe(epochs=30, batch_size=16, lr=4e-3, weight_decay=0.0),
    "convnet": Recipe(epochs=15, batch_size=16, lr=4e-3, weight_decay=0.0),
}
"""Recipes with which a named model memorises its training data; all but `smollm2` start
untrained."""


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
        # By name, since peft limits layers only by name; the head is left alone.
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
        model: a result of `attach`.
        like: the model before `attach` froze its weights; they become as trainable as there.
    """
    plain = model.merge_and_unload()
    for parameter, before in zip(plain.parameters(), like.parameters(), strict=True):
        parameter.requires_grad_(before.requires_grad)
    return plain
