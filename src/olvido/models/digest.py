"""Digests of a model: of its weights, whatever file they are in, and of its function."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from olvido.errors import InputError
from olvido.models.ensemble import Ensemble


def weights_digest(model: Module) -> str:
    """SHA-256 over every distinct parameter and persistent buffer: name, dtype, shape, bytes.

    Tied weights count once, so a model keeps its digest through `save_pretrained`. An ensemble's
    digest is over its members' digests, whether or not members share weights in memory.

    Returns:
        `sha256:` and 64 hexadecimal digits.

    >>> a, b = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    >>> weights_digest(a) == weights_digest(a), weights_digest(a) == weights_digest(b)
    (True, False)
    """
    if isinstance(model, Ensemble):
        digests = "|".join(weights_digest(member) for member in model.members)
        return f"sha256:{hashlib.sha256(digests.encode()).hexdigest()}"
    named = {name: parameter.detach() for name, parameter in model.named_parameters()}
    persistent = set(model.state_dict())
    named |= {name: buffer for name, buffer in model.named_buffers() if name in persistent}
    total = hashlib.sha256()
    for name in sorted(named):
        tensor = whole(named[name]).cpu().contiguous()
        total.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        # The array lends its memory: `tobytes` would copy the tensor.
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return f"sha256:{total.hexdigest()}"


def whole(tensor: Tensor) -> Tensor:
    """The tensor, or all of one that is sharded over processes, which all have to ask for it."""
    gather: Callable[[], Tensor] | None = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()


_BESIDE = re.compile(
    r"(.*/)?(model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json"
    r"|activations\.safetensors|canaries\.json|README\.md|LICENSE|\.gitattributes|(logs|checkpoints)/.*)"
)
"""Files that are irrelevant beside the weights' digest, or belong to the past of training."""
_NOTE = "olvido.json"
_PATHS = frozenset(
    {"_name_or_path", "name_or_path", "transformers_version", "is_local", "local_files_only"}
)
"""Top-level members of a configuration with paths of its origin."""
_INNER = "_config"
"""End of a configuration's name, be it a file or a member of another."""


def function_digest(folder: Path, files: Iterable[Path] | None = None) -> str:
    """SHA-256 over everything in a model's folder, except its weights, that affects its output.

    This covers configuration, generation configuration, tokenizer, chat template, adapters, code,
    routes, and the training's trace (`olvido.json`): each file that is not known to be irrelevant,
    by name and content. JSON counts in its canonical form, a configuration without the paths at its
    top, so that a model keeps its digest through `save_pretrained`.

    Args:
        folder: the model's.
        files: files in it that count; None: all.

    Returns:
        `sha256:` and 64 hexadecimal digits.

    Raises:
        InputError: a symbolic link, or JSON that cannot be read.
    """
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*") if files is None else files):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise InputError(f"{path} is a symbolic link: put the file itself in its place")
        if path.is_dir() or not decides(name):
            continue
        content = trace_digest(path).encode() if name == _NOTE else _content(path)
        total.update(f"{name}|{hashlib.sha256(content).hexdigest()}|".encode())
    return f"sha256:{total.hexdigest()}"


def decides(name: str) -> bool:
    """Whether a file of a model's folder counts for the function digest."""
    return _BESIDE.fullmatch(name) is None


def trace_digest(path: Path) -> str:
    """The digest of a trace: of the file, or the one that an export's file names.

    The initial weights count by their own digest, and the training's seconds do not count.
    """
    note = _json(path)
    if isinstance(note, dict):
        if note.keys() == {"exported"}:
            return str(note["exported"])
        note = _without(note, {"base", "digest"})
        if isinstance(runs := note.get("runs"), dict):
            untimed = {"seconds", "setup"}
            note["runs"] = {name: _without(run, untimed) for name, run in runs.items()}
    return f"sha256:{hashlib.sha256(_canonical(note)).hexdigest()}"


def export_note(trace: str) -> str:
    """The `olvido.json` of an exported model: the digest of the trace, which is not exported."""
    return json.dumps({"exported": trace})


def _content(path: Path) -> bytes:
    if path.suffix != ".json":
        return path.read_bytes()
    said = _json(path)
    # Other JSON may have such a name for a word or a route, which counts.
    configures = path.stem == "config" or path.stem.endswith(_INNER)
    return _canonical(_unplaced(said) if configures else said)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} holds no JSON ({error}): restore it") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a repeated name: readers disagree on which of the values counts."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _unplaced(value: Any) -> Any:
    """A configuration without its origin; other members of such a name count."""
    if not isinstance(value, dict):
        return value
    return {
        key: _unplaced(inside) if key.endswith(_INNER) else inside
        for key, inside in _without(value, _PATHS).items()
    }


def _without(value: Any, names: Collection[str]) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: inside for key, inside in value.items() if key not in names}
