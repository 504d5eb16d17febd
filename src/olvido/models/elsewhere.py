"""What lies beside the weights of a model trained elsewhere, and whether it can be entered.

Whatever is read here was said by whoever trained the model: it is declared. Pickles are not read.
"""

from __future__ import annotations

import codecs
import json
import os
import reprlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yaml import YAMLError

from olvido.errors import InputError
from olvido.models.adapter import CONFIG as ADAPTER
from olvido.models.adapter import is_adapter, read_adapter
from olvido.models.base import HUB_ID, Loaded
from olvido.models.classifiers.networks import DOCUMENT as NETWORK
from olvido.models.classifiers.pretrained import IMAGES, kind_of
from olvido.models.folder import TOKENIZERS, read_config, require_own

CONFIG, STATE, CARD = "config.json", "trainer_state.json", "README.md"
PICKLES = ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth")
"""What a Trainer leaves as pickles: reading one can run code."""
_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "generation_config.json")
_MOST, _STEPS, _LARGEST = 1_000_000, 10**12, sys.float_info.max
"""The largest counts of a recipe, of steps, and of all numbers that are taken."""
CAUSAL = ("ForCausalLM", "LMHeadModel")
"""Ends of the names of architectures that go on with a text."""


@dataclass(frozen=True)
class Found:
    """What a model's folder says of its training.

    Attributes:
        said: values by name: `base`, `steps`, `epochs`, `batch_size`, `peak_lr`, `final_loss`,
            `licence`, `datasets`, `kind`.
        by: the file that says each.
        unread: files that were not read, with the reason.
    """

    said: Mapping[str, Any] = field(default_factory=dict)
    by: Mapping[str, str] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)


def local(name: str | Path) -> Path:
    """The folder of a model that is to be entered; a hub's snapshot is fetched, without pickles.

    Raises:
        InputError: there is no such folder, or the hub cannot be reached.
    """
    text = os.path.expanduser(str(name))
    if Path(text).is_dir():
        return Path(text)
    if not HUB_ID.fullmatch(text) or Path(text).parent.is_dir():
        raise InputError(f"there is no folder {text!r}: give a model's folder, or a hub id")
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(text, allow_patterns=["*.json", "*.safetensors", "*.model",
                                  "*.txt", "*.jinja", "*.py", CARD])  # fmt: skip
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"{text!r} cannot be had from the hub ({reason}): download it, and give its folder"
        ) from error
    return Path(found)


def require_enterable(folder: Path, *, code: bool = False) -> None:
    """Refuse a folder without a language model or classifier in one piece; no weights are read.

    Args:
        folder: in Hugging Face format.
        code: whether its own code may run.

    Raises:
        InputError: what is missing, or what kind of model it is and why that one is refused.
    """
    require_own(folder, code=code)
    for name in (*_SETTINGS, "tokenizer.json"):
        _read(folder / name)
    for path in sorted(folder.glob("tokenizer*.json")):
        with path.open("rb") as file:
            if file.read(3) == codecs.BOM_UTF8:
                raise InputError(
                    f"{path} begins with a byte order mark, which no tokenizer is read with: save "
                    "it as UTF-8 without one"
                )
    if (folder / NETWORK).is_file():
        _require_weights(folder)
        return
    if is_adapter(folder):
        read_adapter(folder)
        return
    if (folder / ADAPTER).is_file():
        raise InputError(
            f"{folder} holds a model ({CONFIG}) and an adapter ({ADAPTER}), and it is unknown "
            "which of them was trained: put one of them elsewhere"
        )
    if not (folder / CONFIG).is_file():
        raise InputError(f"{folder} has no {CONFIG}: give a folder that save_pretrained wrote")
    config = _read(folder / CONFIG)
    _require_known(config, folder / CONFIG)
    kind = kind_of(config)
    if kind is None:
        _require_causal(config, code=code)
    if not config.get("auto_map"):
        _require_values(folder)
    _require_weights(folder)
    if kind != IMAGES and not any((folder / name).is_file() for name in TOKENIZERS):
        raise InputError(
            f"{folder} holds no tokenizer, and without it no record can be put to the model: save "
            "the tokenizer that it was trained with into the same folder"
        )


def _require_known(config: Mapping[str, Any], path: Path) -> None:
    """Refuse settings whose kind is not said, or whose weights would be quantised."""
    kind, named = config.get("model_type"), config.get("architectures")
    if not isinstance(kind, str) or not kind:
        raise InputError(
            f"{path} does not say the kind of the model ('model_type', such as \"llama\"): save it "
            "with save_pretrained again"
        )
    if not isinstance(named, list | str | None):
        raise InputError(
            f"{path}: 'architectures' must be a list of names, got {_shown(named)}: save the model "
            "with save_pretrained again"
        )
    if config.get("quantization_config") is not None:
        raise InputError(
            f"{path} says that the weights are quantised (quantization_config), and such weights "
            "cannot be entered: save them in float32 or in 16 bits"
        )


def _require_values(folder: Path) -> None:
    """Refuse settings with a value that their kind does not take; no weights are read."""
    import torch
    from huggingface_hub.errors import StrictDataclassError

    path = folder / CONFIG
    values = _read(path)
    for name in ("dtype", "torch_dtype"):
        value = values.get(name)
        known = isinstance(value, str) and isinstance(
            getattr(torch, value.removeprefix("torch."), None), torch.dtype
        )
        if value is not None and not known and value != "auto":
            raise InputError(
                f"{path}: {name!r} must be a type of weights, such as float32 or bfloat16, got "
                f"{_shown(value)}"
            )
    try:
        config = read_config(folder)
        layers = getattr(config.get_text_config(decoder=True), "num_hidden_layers", 1)
    except RecursionError:
        raise InputError(f"{path} is nested too deeply to be read: restore it") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError,
            StrictDataclassError) as error:  # fmt: skip
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path} holds a value that a model of this kind does not take ({reason}): save the "
            "model with save_pretrained again"
        ) from error
    if isinstance(layers, int) and layers < 1:
        raise InputError(
            f"{path} says that the model has {_shown(layers)} layers (num_hidden_layers), and it "
            "takes one at least: restore the file"
        )


def _require_causal(config: Mapping[str, Any], *, code: bool) -> None:
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    kind = config.get("model_type")
    said = config.get("architectures") or ()
    named = [said] if isinstance(said, str) else [str(one) for one in said]
    shown = f"{', '.join(named) or 'a model'} of kind {kind!r}"
    only = "only language models and classifiers can be entered so far"
    if config.get("is_encoder_decoder"):
        raise InputError(
            f"{shown} is an encoder with a decoder, which reads a question whole and does not go "
            f"on with a text: {only}, those that continue a text token by token"
        )
    own = bool(config.get("auto_map"))
    known = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or (own and code)
    if named and not any(one.endswith(CAUSAL) for one in named):
        known = False
    if not known:
        raise InputError(
            f"{shown} neither goes on with a text nor chooses a class (an encoder without a head): "
            f"{only}. What such a model computes can be taught to a head that forgets (see 'Heads "
            "on frozen features')"
        )
    if not own and getattr(AutoConfig.for_model(str(kind)), "is_encoder_decoder", False):
        raise InputError(f"{shown} is an encoder with a decoder: {only}")


def _require_weights(folder: Path) -> None:
    for index in sorted(folder.glob("*.safetensors.index.json")):
        weight_map = _read(index).get("weight_map")
        if not isinstance(weight_map, dict):
            raise InputError(
                f"{index} has no 'weight_map' from tensors to files: save the model with "
                "save_pretrained again"
            )
        named = {str(one) for one in weight_map.values()}
        if absent := sorted(one for one in named if not (folder / one).is_file()):
            raise InputError(
                f"{index} names {len(named)} files of weights, and {len(absent)} are missing "
                f"(first: {absent[0]}): copy them into the folder"
            )
    if not any(folder.glob("*.safetensors")):
        raise InputError(
            f"{folder} holds no weights (*.safetensors): save the model with save_pretrained"
        )


def require_fitting(loaded: Loaded, folder: Path) -> None:
    """Refuse weights that the model does not use, and ids that it has no embedding for.

    Raises:
        InputError: how many weights and the first, or the largest id and the rows there are.
    """
    if loaded.unused:
        raise InputError(
            f"{folder} holds {len(loaded.unused)} weights that its model does not use (first: "
            f"{loaded.unused[0]}), so it is not the model that was trained: see that {CONFIG} is "
            "the one that was saved with them, or save both with save_pretrained"
        )
    if loaded.noted["task"] != "language":
        return
    model, tokenizer = loaded.model, loaded.tokenizer
    rows = int(model.get_input_embeddings().weight.shape[0])
    # A pad token that was added to the tokenizer alone is never put to the model.
    ids = [i for token, i in tokenizer.get_vocab().items() if token != tokenizer.pad_token]
    if not ids or max(ids) >= rows:
        raise InputError(
            f"the tokenizer in {folder} does not fit its model: it has ids up to "
            f"{max(ids, default='none')}, and the model has embeddings for {rows} tokens. Put "
            "the tokenizer there that the model was trained with"
        )


def found_in(folder: Path) -> Found:
    """What a model's folder says of itself. Raises InputError where a file of it is damaged."""
    config, state = _read(folder / CONFIG), _read(folder / STATE)
    adapter = _read(folder / ADAPTER)
    said: dict[str, Any] = {}
    by: dict[str, str] = {}

    def say(name: str, value: Any, file: str) -> None:
        if value not in (None, "", [], ()) and name not in said:
            said[name], by[name] = value, file

    say("kind", config.get("model_type"), CONFIG)
    if adapter:
        say("kind", "LoRA adapter", ADAPTER)
        say("base", _text(adapter.get("base_model_name_or_path")), ADAPTER)
        say("rank", _count(adapter.get("r"), most=_MOST), ADAPTER)
    say("steps", _count(state.get("global_step"), most=_STEPS), STATE)
    say("epochs", _count(state.get("epoch"), most=_MOST), STATE)
    say("batch_size", _count(state.get("train_batch_size"), most=_MOST), STATE)
    logged = state.get("log_history")
    history = [one for one in logged if isinstance(one, dict)] if isinstance(logged, list) else []
    rates = [_number(one.get("learning_rate")) for one in history]
    losses = [_number(one.get("loss")) for one in history]
    say("peak_lr", max((rate for rate in rates if rate is not None), default=None), STATE)
    say("final_loss", next((loss for loss in losses[::-1] if loss is not None), None), STATE)
    unread = {name: "a pickle can run code" for name in PICKLES if (folder / name).is_file()}
    card: Mapping[str, Any] = {}
    try:
        card = _card(folder / CARD)
    except (OSError, ValueError, RecursionError, YAMLError) as error:
        unread[CARD] = f"its front matter is no YAML object ({type(error).__name__})"
    say("base", _text(card.get("base_model")), CARD)
    say("licence", _text(card.get("license")), CARD)
    say("datasets", _text(card.get("datasets")), CARD)
    return Found(said, by, unread)


def _card(path: Path) -> Mapping[str, Any]:
    """The front matter of a model card; empty where there is none.

    Raises:
        OSError, ValueError, RecursionError, YAMLError: it cannot be read.
    """
    from huggingface_hub.repocard import metadata_load

    return dict(metadata_load(path) or {}) if path.is_file() else {}


def _text(value: Any) -> str | None:
    """One name, or several joined."""
    several = value if isinstance(value, list) else [value]
    return ", ".join(str(one) for one in several if isinstance(one, str)) or None


def _number(value: Any) -> float | int | None:
    real = isinstance(value, int | float) and not isinstance(value, bool)
    # Compared, since a whole number of JSON can be too large for a float.
    return value if real and -_LARGEST <= value <= _LARGEST else None


def _count(value: Any, *, most: int) -> float | int | None:
    """A count that a training can have had; None for any other value, as if it were not there."""
    found = _number(value)
    return found if found is not None and 0 < found <= most else None


def _shown(value: Any) -> str:
    return reprlib.repr(value)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except RecursionError:
        raise InputError(f"{path} is nested too deeply to be read: restore it") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no JSON ({error}): restore it") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} is no JSON object: restore it")
    return found
