"""Reading causal language models in Hugging Face format: settings and weights, and no code."""

from __future__ import annotations

import codecs
import json
import logging
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import safe_open

from olvido.errors import InputError

TOKENIZERS = (
    *("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "spiece.model"),
    *("vocab.json", "vocab.txt"),
)
"""The files of which a tokenizer has one at least."""


def read_causal(
    where: str | Path, *, code: bool = False, dtype: str = "float32", device: str = "cpu"
) -> Any:
    """A causal language model from a folder or a hub id, in evaluation mode.

    Weights on the CPU in the type of their files are those files, mapped into memory: pages are
    read as they are needed.

    Args:
        where: folder or hub id.
        code: whether its own code may run.
        dtype: the type of its weights; `auto`: that of their files.
        device: where each weight is put as soon as it is read.

    Raises:
        InputError: the folder has files that no model needs, see `require_own`.
        OSError, ValueError, KeyError, RuntimeError, SafetensorError: it cannot be read, or weights
            are missing.
    """
    return read_causal_whole(where, code=code, dtype=dtype, device=device)[0]


def read_causal_whole(
    where: str | Path, *, code: bool = False, dtype: str = "float32", device: str = "cpu"
) -> tuple[Any, tuple[str, ...]]:
    """The model of `read_causal`, and the names of tensors in its files that it does not use.

    Those that its architecture is known to leave aside, as buffers of old versions, are not named.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoModelForCausalLM

    try:
        return read_whole(where, AutoModelForCausalLM, code=code, dtype=dtype, device=device)
    except ValueError:
        odd = is_odd(Path(where))
        config = (
            read_config(Path(where))
            if odd
            else AutoConfig.from_pretrained(str(where), trust_remote_code=code)
        )
        if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
            raise ValueError(
                f"its kind is {config.model_type!r}, which does not go on with a text word by word "
                "(an encoder, or an encoder with a decoder)"
            ) from None
        raise


def read_whole(
    where: str | Path, auto: Any, *, code: bool, dtype: str, device: str
) -> tuple[Any, tuple[str, ...]]:
    """A model that a class of transformers reads, and the names of tensors that it does not use.

    Arguments and errors are those of `read_causal`; `auto` is that class.
    """
    from transformers.utils.logging import disable_progress_bar

    require_own(Path(where), code=code)
    disable_progress_bar()
    given = {"config": read_config(Path(where))} if is_odd(Path(where)) else {}
    with _without_report():
        model, report = auto.from_pretrained(
            str(where),
            dtype=dtype,
            device_map={"": device},
            output_loading_info=True,
            use_safetensors=True,
            trust_remote_code=code,
            # They are refused below, in other words.
            ignore_mismatched_sizes=True,
            **given,
        )
    if absent := sorted(report["missing_keys"]):
        # transformers would fill them with random numbers and continue.
        raise ValueError(f"{len(absent)} weights are missing (first: {absent[0]})")
    if odd := sorted(report["mismatched_keys"]):
        name, stored, built = odd[0]
        raise ValueError(
            f"{len(odd)} weights have other shapes than its config.json says (first: {name} is "
            f"{tuple(stored)} in the file, and {tuple(built)} by config.json)"
        )
    return model.eval(), tuple(sorted(report["unexpected_keys"]))


@contextmanager
def _without_report() -> Iterator[None]:
    """Keep transformers from printing a table of what it could not load: that is refused here."""

    def keep(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        return "LOAD REPORT" not in text or "CONVERSION" in text

    logger = logging.getLogger("transformers.modeling_utils")
    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)


def read_config(folder: Path) -> Any:
    """The settings in a folder's `config.json`, of a kind that transformers knows.

    Raises:
        AttributeError, KeyError, TypeError, ValueError, StrictDataclassError: a value is none that
            its kind takes.
    """
    from transformers import CONFIG_MAPPING

    values = _read(folder / "config.json")
    if not values.get("auto_map", values):
        del values["auto_map"]
    return CONFIG_MAPPING[values["model_type"]].from_dict(values)


def is_odd(folder: Path) -> bool:
    """Whether transformers stumbles on `config.json`: a byte order mark, or an empty `auto_map`."""
    path = folder / "config.json"
    if not path.is_file():
        return False
    values = _read(path)
    marked = path.read_bytes().startswith(codecs.BOM_UTF8)
    return "model_type" in values and (marked or not values.get("auto_map", values))


_SETTINGS = ("config.json", "tokenizer_config.json", "processor_config.json")
_REPEATED = re.compile(r"(^|_)(n|num)_.*(layers?|blocks?|experts)$|_layers$|depth$")
_MODULES = 1000
"""Number of layers up to which settings are accepted without comparing the weights."""


def require_own(folder: Path, *, code: bool = False) -> None:
    """Refuse a folder with code, with links out of it, or with settings beyond its weights.

    Nothing is loaded, built or run. A hub id, which is no folder, is not checked.

    Args:
        folder: in Hugging Face format.
        code: whether its own code may run.

    Raises:
        InputError: the reason, in a line.
    """
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.is_symlink() and not _inside(path, folder):
            raise InputError(
                f"{path} is a link that leads out of the folder: copy the file into its place"
            )
    for name in _SETTINGS:
        if _read(folder / name).get("auto_map") and not code:
            raise InputError(
                f"{folder / name} brings code of its own (auto_map), and code from a model's "
                "folder is not run: use a model of an architecture that transformers knows, or "
                "name this one under 'trusted' in olvido.toml"
            )
    for index in sorted(folder.glob("*.index.json")):
        named = _read(index).get("weight_map", {})
        if not isinstance(named, dict):
            raise InputError(
                f"{index} has no 'weight_map' from tensors to files: save the model with "
                "save_pretrained again"
            )
        for file in named.values():
            if not isinstance(file, str) or Path(file).name != file:
                raise InputError(f"{index} names weights outside of its folder: {file!r}")
    weights = sorted(folder.glob("*.safetensors"))
    if not weights and any(folder.glob("*.bin")):
        raise InputError(
            f"{folder} holds its weights as a pickle (.bin), which can run code when it is read: "
            "save the model as safetensors where you trust it"
        )
    _require_size(folder, weights)


def _require_size(folder: Path, weights: list[Path]) -> None:
    """Refuse settings with more layers than the weights can have: building them takes hours."""
    try:
        most = [
            (name, value)
            for name, value in _numbers(_read(folder / "config.json"))
            if value > _MODULES and _REPEATED.search(name)
        ]
    except RecursionError:
        raise InputError(_deep(folder / "config.json")) from None
    if not most:
        return
    tensors = sum(_count(path) for path in weights)
    for name, value in most:
        if value > tensors:
            raise InputError(
                f"{folder / 'config.json'} says {name} = {value}, and its weights are {tensors} "
                "tensors: the folder is damaged, or not what it says it is"
            )


def weights_in(folder: Path) -> int | None:
    """The number of weights in a model's folder, read from its files' headers; None without any.

    Raises:
        SafetensorError: a file is damaged.
    """
    files = sorted(folder.rglob("*.safetensors"))
    if not files:
        return None
    total = 0
    for path in files:
        with safe_open(path, "pt") as file:
            names = list(file.keys())
            total += sum(math.prod(file.get_slice(name).get_shape()) for name in names)
    return total


def stored_types(folder: Path) -> frozenset[str]:
    """The types of the weights in a model's files, in torch's words for those with a fraction.

    Raises:
        SafetensorError: a file is damaged.
    """
    found: set[str] = set()
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            names = list(file.keys())
            found |= {file.get_slice(name).get_dtype() for name in names}
    return frozenset(_TYPES[one] for one in found if one in _TYPES)


_TYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64"}


def _count(path: Path) -> int:
    with safe_open(path, "pt") as file:
        return len(file.keys())


def _numbers(values: Any) -> Iterator[tuple[str, int]]:
    for name, value in values.items() if isinstance(values, dict) else ():
        if type(value) is int:
            yield str(name), value
        yield from _numbers(value)


def read_settings(folder: Path) -> dict[str, Any]:
    """The values in a folder's `config.json` as they stand there; empty where it has none."""
    return _read(folder / "config.json")


def _read(path: Path) -> dict[str, Any]:
    """The content of a JSON file; empty where it is missing or its reader will report the error."""
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (FileNotFoundError, ValueError):
        return {}
    except RecursionError:
        raise InputError(_deep(path)) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): restore the file") from error
    return found if isinstance(found, dict) else {}


def _deep(path: Path) -> str:
    return f"{path} is nested too deeply to be read: restore the file"


def _inside(path: Path, folder: Path) -> bool:
    """Whether a link stays in its folder, or in the store of the hub's cache beside it."""
    target, home = path.resolve(), folder.resolve()
    return home in target.parents or target.parent == home.parent.parent / "blobs"
