"""A low-rank adapter as a value: taken off a model, stored in a folder, put on a base, or beside
others.

A model may have many adapters, none of which is active by itself: a row gets one only where its
name is passed along (`adapter_names` of a PEFT layer). Models that differ in their adapters share
all other tensors.
"""

from __future__ import annotations

import copy
import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import Parameter

from olvido.errors import InputError
from olvido.files import write_document
from olvido.models.digest import weights_digest

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
BASE = "adapter_base.json"
"""The file beside an adapter with the name of its base, and the digest of the base's weights."""
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

        # Left to itself, PEFT asks the hub whether the vocabulary was changed.
        state = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
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


PLAIN = {
    "bias": "none",
    "lora_bias": False,
    "modules_to_save": None,
    "trainable_token_indices": None,
    "layer_replication": None,
    "megatron_config": None,
    "exclude_modules": None,
    "target_parameters": None,
}
"""Settings of LoRA that an adapter on a base has as they are here."""
STARTS = (True, False, None, "gaussian")
"""Ways to begin an adapter that leave the base's weights as they are."""


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter, and no model."""
    return (folder / CONFIG).is_file() and not (folder / "config.json").is_file()


def read_adapter(folder: Path) -> Adapter:
    """Read a LoRA adapter that anybody wrote.

    Raises:
        InputError: it is none, or of a kind that cannot be put on a base here.
    """
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8-sig"))
    except RecursionError:
        raise InputError(f"{path} is nested too deeply to be read: restore it") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no JSON ({error}): restore it") from error
    if not isinstance(config, dict):
        raise InputError(f"{path} is no JSON object: restore it")
    if config.get("peft_type") != "LORA":
        raise InputError(
            f"{folder} is an adapter of the kind {config.get('peft_type')!r}, and only LoRA can be "
            "used: merge it into its base (merge_and_unload), and give the result"
        )
    odd = [name for name, usual in PLAIN.items() if (config.get(name) or usual) != usual]
    odd += [] if config.get("init_lora_weights", True) in STARTS else ["init_lora_weights"]
    odd += [] if config.get("task_type") in (None, "CAUSAL_LM") else ["task_type"]
    if odd:
        raise InputError(
            f"{path} has {', '.join(odd)}, and only plain LoRA on a language model can be used: "
            "merge it into its base (merge_and_unload), and give the result"
        )
    if not (folder / WEIGHTS).is_file():
        pickled = " (a pickle is not read)" if any(folder.glob("adapter_model.bin")) else ""
        raise InputError(
            f"{folder} has no {WEIGHTS}{pickled}: save the adapter with save_pretrained"
        )
    try:
        return Adapter(config, load_file(folder / WEIGHTS))
    except (OSError, SafetensorError) as error:
        raise InputError(f"{folder / WEIGHTS} cannot be read ({error}): restore it") from error


def base_of(folder: Path) -> tuple[str | None, str | None]:
    """The name of an adapter's base, and the digest of its weights; None where nobody wrote it.

    Raises:
        InputError: the file that says so is damaged.
    """
    if not (folder / BASE).is_file():
        name = read_adapter(folder).config.get("base_model_name_or_path")
        return (name if isinstance(name, str) and name else None), None
    try:
        said = json.loads((folder / BASE).read_text(encoding="utf-8"))
        return str(said["name"]), str(said["digest"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"{folder / BASE} cannot be read ({error}): restore it") from error


def on_base(base: Any, adapter: Adapter, name: str) -> Any:
    """The base with the adapter on it, which alone is trainable.

    Args:
        base: a language model; it is changed in place.
        adapter: matrices for its layers.
        name: the base's, for messages and for the adapter's own settings.

    Raises:
        InputError: the base is quantised, or the adapter is for another architecture.
    """
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
    from peft import set_peft_model_state_dict as put

    if getattr(base.config, "quantization_config", None) is not None:
        raise InputError(
            f"the base {name!r} is quantised, and its weights cannot be used: give the base in "
            "float32 or in 16 bits"
        )
    wrong = f"the adapter is not for the base {name!r}"
    known = {field.name for field in fields(LoraConfig)}
    if newer := sorted(n for n, value in adapter.config.items() if value and n not in known):
        raise InputError(
            f"the adapter's {CONFIG} has {', '.join(newer)}, which the installed peft does not "
            "know: install a newer one, or merge the adapter where it was trained"
        )
    try:
        config = LoraConfig.from_peft_type(
            **{n: value for n, value in adapter.config.items() if n in known}
        )
        config.inference_mode, config.base_model_name_or_path = False, None
        with warnings.catch_warnings():
            # peft asks transformers for an attribute that transformers has renamed.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            model = get_peft_model(base, config)
    except (AttributeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{wrong} ({reason}): give the base that it was trained on") from error
    # PEFT notes the path that the base was loaded from.
    config.base_model_name_or_path = name
    made = get_peft_model_state_dict(model, save_embedding_layers=False)
    shapes = {key: tuple(tensor.shape) for key, tensor in made.items()}
    given = {key: tuple(tensor.shape) for key, tensor in adapter.state.items()}
    if odd := sorted({*shapes.items()} ^ {*given.items()}):
        raise InputError(
            f"{wrong}, their layers differ (first: {odd[0][0]}): give the base that it was trained "
            "on"
        )
    put(model, dict(adapter.state))
    return model.eval()


def is_on_base(model: Any) -> bool:
    """Whether a model is one LoRA adapter on a base."""
    from peft import PeftModel

    return isinstance(model, PeftModel) and list(model.peft_config) == ["default"]


def save_on_base(model: Any, folder: Path) -> None:
    """Write the adapter of a `peft.PeftModel`, and which base it is on, into a folder."""
    name = model.peft_config["default"].base_model_name_or_path
    found = Adapter.of(model)
    found = replace(found, config={**found.config, "base_model_name_or_path": name})
    save_file(dict(found.state), folder / WEIGHTS, metadata={"format": "pt"})
    write_document(found.config, folder / CONFIG)
    if name:
        write_document({"name": name, "digest": weights_digest(base_under(model))}, folder / BASE)


def base_under(model: Any) -> Any:
    """The base of a `peft.PeftModel` without its adapter, over the same tensors."""
    bare = shared_weights_copy(model.get_base_model())
    for path, layer in adapted_layers(bare):
        bare.set_submodule(path, layer.get_base_layer())
    return bare


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
