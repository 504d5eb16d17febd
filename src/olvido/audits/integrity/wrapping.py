"""Wrapping: code, prompts or adapters between a model's weights and its output.

Data that a filter, a hook or a prompt hides is not forgotten: whoever has the weights has it. An
adapter can be removed, and then what it hid is back.
"""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any

import torch
from torch.nn import Module

from olvido.audits.integrity.weights import merged
from olvido.errors import InputError
from olvido.models.classifiers.pretrained import Pretrained
from olvido.models.ensemble import Ensemble
from olvido.models.merging import CAPTURE, picklable
from olvido.models.routed import Routed

TRUSTED = ("torch", "transformers", "peft", "accelerate", "olvido")
"""Packages whose code may stand between weights and output."""
CALLED = ("__call__", "forward", "generate")
"""Methods through which a model is queried."""
ATTENTION = ("eager", "sdpa")
STEERING = (
    "bad_words_ids", "suppress_tokens", "begin_suppress_tokens", "forced_bos_token_id",
    "forced_eos_token_id", "sequence_bias", "guidance_scale", "watermarking_config",
    "no_repeat_ngram_size", "exponential_decay_length_penalty", "constraints", "force_words_ids",
    "prefix_allowed_tokens_fn", "min_length", "min_new_tokens", "remove_invalid_values",
)  # fmt: skip
"""Generation settings that change the chosen token, whatever the weights say."""


def between(model: Module) -> tuple[str, ...]:
    """Everything between a model's weights and its output, as sentences; empty: nothing found.

    This covers hooks, methods replaced on an object or in a class, modules around or inside a
    Hugging Face model that come from no package in `TRUSTED`, and settings that steer generation. A
    module of
    plain torch may be of any class: it is its own author's. Olvido's composite models are trusted,
    their parts are not.

    Args:
        model: not changed.
    """
    found = [*_hooks(model), *_replaced(model), *_generation(model)]
    inner = None if isinstance(model, Ensemble | Routed) else hugging_face(model)
    if inner is not None:
        found += _foreign(model.inner if type(model) is Pretrained else model, inner)
    return tuple(dict.fromkeys(found))


def bare(model: Module) -> Module:
    """Remake a model from its weights alone.

    A Hugging Face model is remade from its transformers class, its configuration and its weights; a
    wrapper gives the model inside; adapters are merged first. Any other module is a copy over the
    same tensors without hooks and without methods replaced on the object. Olvido's composite models
    are returned unchanged.

    Args:
        model: not changed.

    Raises:
        InputError: a wrapper around several models, or weights that do not fit the class.
    """
    if isinstance(model, Ensemble | Routed):
        return model
    inner = hugging_face(model)
    if inner is None:
        return _unhooked(model)
    return model.over(_rebuilt(inner)) if type(model) is Pretrained else _rebuilt(inner)


def hugging_face(model: Module) -> Any | None:
    """The Hugging Face or PEFT model that this is or wraps; None: there is none.

    Raises:
        InputError: it wraps several.
    """
    from peft import PeftModel
    from transformers import PreTrainedModel

    kinds: Any = (PreTrainedModel, PeftModel)
    if isinstance(model, kinds):
        return model
    found = [m for name, m in model.named_modules() if isinstance(m, kinds)]
    # A model's body is one too: count only outermost ones.
    inside = {id(part) for one in found for part in one.modules() if part is not one}
    outermost = [one for one in found if id(one) not in inside]
    if len(outermost) > 1:
        raise InputError(
            f"a {type(model).__name__} wraps {len(outermost)} models, and it is unknown which "
            "of them answers: pass the one that is to be audited"
        )
    return outermost[0] if outermost else None


def _rebuilt(model: Any) -> Module:
    from transformers import GenerationConfig

    plain = merged(model)
    if hasattr(plain, "get_base_model"):
        # Learned prompts have no weights to be merged into.
        plain = plain.get_base_model()
    made_by = _made_by(type(plain))
    # Anybody can register a kind of attention under a name of their own.
    kind = getattr(plain.config, "_attn_implementation", None)
    with torch.random.fork_rng(devices=[]):
        fresh: Any = made_by._from_config(
            copy.deepcopy(plain.config),
            dtype=plain.dtype,
            attn_implementation=kind if kind in ATTENTION else "eager",
        )
    fresh.generation_config = GenerationConfig.from_model_config(plain.config)
    weights = plain.state_dict()
    try:
        fresh.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(
            f"the weights of the {type(model).__name__} are not those of a {made_by.__name__}: "
            f"{' '.join(str(error).split())[:300]}. Something was built into the model: give a "
            "plain one"
        ) from error
    return fresh.to(plain.device).train(model.training)


def _made_by(kind: type[Any]) -> Any:
    """The first class of transformers that a class is or inherits from.

    Raises:
        InputError: no such class can be instantiated.
    """
    for parent in kind.__mro__:
        if parent.__module__.startswith("transformers.models."):
            return parent
    raise InputError(
        f"{kind.__name__} ({kind.__module__}) comes from no model of transformers, so what its "
        "weights say by themselves is unknown: pass a model of a class of transformers"
    )


def _unhooked(model: Module) -> Module:
    replica = picklable(model)
    for module in replica.modules():
        for kind in ("_forward_hooks", "_forward_pre_hooks"):
            getattr(module, kind).clear()
        for name in _own_methods(module):
            vars(module).pop(name)
    return replica


def _hooks(model: Module) -> Iterator[str]:
    shared = torch.nn.modules.module
    for kind in ("_global_forward_hooks", "_global_forward_pre_hooks"):
        if getattr(shared, kind):
            yield "a hook on every module of the process"
    for name, module in model.named_modules():
        every = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
        if any(getattr(hook, "__module__", None) != CAPTURE for hook in every):
            yield f"a hook on {name or 'the whole model'}"


def _replaced(model: Module) -> Iterator[str]:
    for name, module in model.named_modules():
        where = name or "the whole model"
        for method, function in _own_methods(module).items():
            if not _trusted(function):
                yield f"{method} was replaced on {where}"
        kind = type(module)
        for method in CALLED:
            function = inspect.getattr_static(kind, method, None)
            package = kind.__module__.partition(".")[0]
            if function is not None and package in TRUSTED and not _trusted(function):
                yield f"{kind.__name__}.{method} was replaced ({where})"


def _foreign(model: Module, inner: Any) -> Iterator[str]:
    """Classes of untrusted packages, around a Hugging Face model or inside it."""
    path = next(name for name, module in model.named_modules() if module is inner)
    for name, module in model.named_modules():
        kind = type(module)
        if kind.__module__.partition(".")[0] in TRUSTED:
            continue
        if module is not inner and (not name or path.startswith(f"{name}.")):
            yield f"a wrapper stands around the model: {kind.__name__} ({kind.__module__})"
        else:
            where = name or "the model"
            yield f"{where} is a {kind.__name__} ({kind.__module__}), unknown to transformers"


def _generation(model: Module) -> Iterator[str]:
    for name, module in model.named_modules():
        config = getattr(module, "generation_config", None)
        if config is None or not hasattr(config, "to_diff_dict"):
            continue
        changed: Mapping[str, Any] = config.to_diff_dict()
        for setting in STEERING:
            if changed.get(setting):
                yield f"the generation setting {setting} steers what {name or 'the model'} says"
        if changed.get("repetition_penalty", 1.0) != 1.0:
            yield f"the generation setting repetition_penalty steers {name or 'the model'}"


def _own_methods(module: Module) -> dict[str, Callable[..., Any]]:
    """Methods set on the object itself, in place of those of its class."""
    kind = type(module)
    return {
        name: value
        for name, value in vars(module).items()
        if callable(value) and callable(getattr(kind, name, None)) and not inspect.isclass(value)
    }


def _trusted(function: Any) -> bool:
    """Whether a function, with all functions that it wraps, lies in a trusted package.

    By file and not by `__module__`, which anybody can write into a function.
    """
    functions = [function]
    while (wrapped := getattr(functions[-1], "__wrapped__", None)) is not None:
        functions.append(wrapped)
    files = [
        getattr(getattr(getattr(one, "__func__", one), "__code__", None), "co_filename", None)
        for one in functions
    ]
    return all(file is not None and os.path.abspath(file).startswith(_FOLDERS) for file in files)


def _folders() -> tuple[str, ...]:
    specs = [find_spec(name) for name in TRUSTED]
    found = [spec.submodule_search_locations or [] for spec in specs if spec is not None]
    return tuple(f"{os.path.abspath(folder)}{os.sep}" for folders in found for folder in folders)


_FOLDERS = _folders()


def detached(model: Module) -> Module | None:
    """The model without its PEFT adapters, as anybody who has its files can make it.

    Args:
        model: not changed; the result shares its tensors where adapters lie beside the weights, and
            has its own where they were merged reversibly.

    Returns:
        None where there is no removable adapter, and for Olvido's own composite models: they remove
        a module for good, and do not add one over what should be forgotten.
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
    replica: Any = copy.deepcopy(model) if undone else picklable(model)
    for name, module in list(replica.named_modules(remove_duplicate=False)):
        if isinstance(module, BaseTunerLayer):
            if module.merged:
                module.unmerge()
            _replace(replica, name, module.get_base_layer())
        elif isinstance(module, AuxiliaryTrainingWrapper):
            _replace(replica, name, module.original_module)
    if isinstance(replica, PeftModel):
        return _inside(replica)
    for name, module in list(replica.named_modules()):
        if isinstance(module, PeftModel):
            _replace(replica, name, _inside(module))
    return replica


def _inside(model: Any) -> Any:
    inner = model.get_base_model()
    # Left behind by the adapter, it would make a plain model look like an adapted one.
    for left in ("peft_config", "_hf_peft_config_loaded"):
        vars(inner).pop(left, None)
    return inner


def _replace(root: Any, name: str, module: Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(root.get_submodule(parent), child, module)
