"""A low-rank adapter as a value: taken off a model, stored in a folder, put beside others.

A model may have many adapters, none of which is active by itself: a row gets one only where its
name is passed along (`adapter_names` of a PEFT layer). Models that differ in their adapters share
all other tensors.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import Parameter

from olvido.errors import InputError
from olvido.files import write_document

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+")
"""A module's name, such as `module-003`: safe as a folder, and never an attribute's name."""
FILED = "base_model.model."
"""PEFT's prefix of a layer's path."""
KINDS = ("lora_A", "lora_B")
"""The two matrices of an adapter on a layer."""
TEMPLATE = "template"


@dataclass(frozen=True)
class Adapter:
    """One LoRA adapter (Hu et al. 2021, https://arxiv.org/abs/2106.09685) off its model.

    Attributes:
        config: the fields of a `peft.LoraConfig`, as plain values.
        state: its matrices by PEFT's names.
    """

    config: Mapping[str, Any]
    state: Mapping[str, Tensor]

    @classmethod
    def of(cls, model: Any, name: str = "default") -> Adapter:
        """The adapter of this name on a `peft.PeftModel`; its tensors are copied."""
        from peft import get_peft_model_state_dict

        state = get_peft_model_state_dict(model, adapter_name=name)
        copied = {key: tensor.detach().cpu().clone() for key, tensor in sorted(state.items())}
        return cls(_plain(model.peft_config[name]), copied)

    def renumbered(self, by: int) -> Adapter:
        """The adapter moved to layers this many places higher up."""

        def moved(path: str) -> str:
            return re.sub(r"\.layers\.(\d+)\.", lambda m: f".layers.{int(m[1]) + by}.", path)

        layers = self.config.get("layers_to_transform")
        config = dict(self.config)
        if layers is not None:
            config["layers_to_transform"] = [layer + by for layer in layers]
        return Adapter(config, {moved(path): tensor for path, tensor in self.state.items()})

    def save(self, folder: Path) -> None:
        """Write PEFT's two files into a new folder; `PeftModel.from_pretrained` reads it."""
        folder.mkdir(parents=True)
        save_file(dict(self.state), folder / WEIGHTS, metadata={"format": "pt"})
        write_document(self.config, folder / CONFIG)

    @classmethod
    def load(cls, folder: Path) -> Adapter:
        """Read an adapter that `save` or PEFT wrote."""
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        return cls(config, load_file(folder / WEIGHTS))


def _plain(config: Any) -> dict[str, Any]:
    """A PEFT config as strict JSON has it; sets are sorted, where PEFT leaves their order open."""
    values = {
        key: sorted(value) if isinstance(value, (set, frozenset)) else value
        for key, value in config.to_dict().items()
    }
    # The path of its training means nothing elsewhere.
    return {**values, "base_model_name_or_path": None, "inference_mode": True}


def shared_weights_copy(model: Any) -> Any:
    """A copy of a model's structure over the same tensors, to which adapters can be added."""
    memo: dict[int, Any] = {id(t): t for t in (*model.parameters(), *model.buffers())}
    for _, layer in adapted_layers(model):
        # Adapters are shared as well and never change: a copy per adapter takes seconds.
        for child in layer.children():
            if isinstance(child, torch.nn.ModuleDict):
                memo |= {id(inner): inner for inner in child.values()}
    return copy.deepcopy(model, memo)


def put_on(model: Any, adapters: Mapping[str, Adapter]) -> None:
    """Add adapters to a shared-weights copy, inactive; existing tensors are shared and unchanged.

    Raises:
        InputError: a name that is no module's or is taken, a kind of adapter that cannot share a
            batch with others, or matrices that do not fit this model.
    """
    bare = stripped(model)
    moulds: dict[str, Any] = {}
    for name, adapter in adapters.items():
        if not NAME.fullmatch(name):
            raise InputError(
                "a module is named by lower-case words and numbers joined by hyphens, such as "
                f"module-003; got {name!r}"
            )
        if name in names(model):
            raise InputError(f"there is a module {name} already: take it away first")
        # PEFT searches the whole model for every adapter it adds, which for the hundredth takes
        # half
        # a second: so it adds one of each kind to a copy without adapters.
        kind = json.dumps(adapter.config, sort_keys=True, default=str)
        if kind not in moulds:
            moulds[kind] = _template_adapter(bare, name, adapter)
        _cast(model, name, adapter, moulds[kind])


def _template_adapter(bare: Any, name: str, adapter: Adapter) -> Any:
    """A copy with one adapter of this kind, without values."""
    from peft import LoraConfig, inject_adapter_in_model

    config, usual = LoraConfig.from_peft_type(**adapter.config), LoraConfig()
    odd = [
        option
        for option in ("use_dora", "bias", "modules_to_save")
        if getattr(config, option) != getattr(usual, option)
    ]
    if odd:
        raise InputError(f"module {name}: only plain LoRA is served, this one has {', '.join(odd)}")
    template = shared_weights_copy(bare)
    # PEFT freezes these tensors, which belong to other models too.
    trainable = {parameter: parameter.requires_grad for parameter in bare.parameters()}
    try:
        inject_adapter_in_model(config, template, TEMPLATE, low_cpu_mem_usage=True)
    except ValueError as error:
        raise InputError(f"module {name} does not fit this model: {error}") from error
    finally:
        for parameter, before in trainable.items():
            parameter.requires_grad_(before)
    return template


def _cast(model: Any, name: str, adapter: Adapter, template: Any) -> None:
    """Put an adapter where the template has its own."""
    left = dict(adapter.state)
    for path, form in adapted_layers(template):
        layer = model.get_submodule(path)
        if not hasattr(layer, "base_layer"):
            layer = shared_weights_copy(form)
            layer.set_adapter([])
            layer.delete_adapter(TEMPLATE)
            model.set_submodule(path, layer)
        for kept in (*layer.adapter_layer_names, *layer.other_param_names):
            if TEMPLATE in getattr(form, kept):
                getattr(layer, kept)[name] = copy.deepcopy(getattr(form, kept)[TEMPLATE])
        for kind in KINDS:
            linear, key = getattr(layer, kind)[name], f"{FILED}{path}.{kind}.weight"
            expected, given = tuple(linear.weight.shape), left.pop(key, None)
            if given is None or tuple(given.shape) != expected:
                came = "nothing" if given is None else tuple(given.shape)
                raise InputError(
                    f"module {name} does not fit this model: {key} should have shape {expected}, "
                    f"got {came}"
                )
            linear.weight = Parameter(given.to(layer.weight.device, copy=True))
    if left:
        raise InputError(f"module {name} does not fit this model, which has no {min(left)}")
    config = copy.copy(template.peft_config[TEMPLATE])
    model.peft_config = {**getattr(model, "peft_config", {}), name: config}


def take_off(model: Any, name: str) -> None:
    """Remove an adapter from a copy; a layer without adapters is the original again."""
    for path, layer in adapted_layers(model):
        layer.delete_adapter(name)
        if not layer.lora_A:
            model.set_submodule(path, layer.base_layer)
    del model.peft_config[name]
    if not model.peft_config:
        del model.peft_config


def stripped(model: Any) -> Any:
    """A shared-weights copy without any adapter."""
    bare = shared_weights_copy(model)
    for name in names(bare):
        take_off(bare, name)
    return bare


def names(model: Any) -> list[str]:
    """The adapters on a model."""
    return sorted(getattr(model, "peft_config", {}))


def adapter_on(model: Any, name: str) -> Adapter:
    """The adapter of this name, as a value that shares its tensors."""
    state = {
        f"{FILED}{path}.{kind}.weight": getattr(layer, kind)[name].weight.detach()
        for path, layer in adapted_layers(model)
        for kind in KINDS
        if name in getattr(layer, kind)
    }
    return Adapter(_plain(model.peft_config[name]), state)


def adapted_layers(model: Any) -> list[tuple[str, Any]]:
    """Path and layer of every layer with adapters."""
    if not names(model):
        return []
    from peft.tuners.lora import LoraLayer

    return [(path, m) for path, m in model.named_modules() if isinstance(m, LoraLayer)]
