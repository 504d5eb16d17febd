"""How a file or folder that Olvido wrote is known: by its shape and content, wherever it lies."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from olvido.files import UNFINISHED, unfinished_in

CHECKPOINT = re.compile(r"step-(\d{9})-([0-9a-f]{64})\.pt")
"""A checkpoint's name: its step, and SHA-256 of its bytes."""
CARD = ("card.json", "weights.safetensors")
"""The two files of a training that an audit kept."""
NOTE = "olvido.json"
"""What a model's folder says of its training."""
GENERATOR = '<meta name="generator" content="Olvido">'
"""Stands in every page that is written to a file."""

_RUN = re.compile(r"\.run-[0-9a-f]{16}")
_SCORES = re.compile(r"sha256-[0-9a-f]{64}")
_SCORED = re.compile(r"[0-9a-f]{32}")
_RESULT = re.compile(r"req-\d+-[0-9a-f]{16}\.json")
_UNFINISHED = re.compile(rf"{re.escape(UNFINISHED)}[0-9a-f]{{16}}")
_PART = r"(member-\d+/|base/|modules/[a-z0-9-]+/)?"
_SHARD = r"(-\d{5}-of-\d{5})?"
_OWNED = re.compile(
    rf"{_PART}((model|pytorch_model|adapter_model){_SHARD}\.(safetensors|bin)(\.index\.json)?"
    r"|(model\.safetensors|pytorch_model\.bin)\.index\.json"
    r"|(adapter_config|config|generation_config|special_tokens_map|added_tokens)\.json"
    r"|(tokenizer|tokenizer_config|vocab|ensemble|routed|router|olvido)\.json"
    r"|tokenizer\.model|merges\.txt|chat_template\.(jinja|json)|router\.safetensors|README\.md)"
    r"|logs/[^/]+\.bin"
    r"|checkpoints/([^/]+/)?(step-\d{9}-[0-9a-f]{64}\.pt|activations\.safetensors|\..+)"
)
"""What `save_pretrained` and the trace put into a model's folder."""
_HEADER = 100_000_000
"""Bytes that a safetensors file may describe itself with."""
_READ = 64_000_000
"""Bytes of a document that is read to recognise it."""


def owned(folder: Path) -> Iterator[Path]:
    """The files in a model's folder that its writers put there; whatever else lies in it is not.

    A composite model has members, or a base and modules, in folders of their own.
    """
    for path in _files(folder) if folder.is_dir() else ():
        within = path.relative_to(folder)
        if not path.is_symlink() and _OWNED.fullmatch(within.as_posix()):
            part = within.parts[0]
            if part.startswith("member-") and not (folder / "ensemble.json").is_file():
                continue
            if part in ("base", "modules") and not (folder / "routed.json").is_file():
                continue
            if path.name == "README.md" and "olvido" not in path.read_text("utf-8", "replace"):
                continue
            yield path


def remove_model(folder: Path) -> None:
    """Remove a model's files; what somebody else put into its folder stays there."""
    for path in list(owned(folder)):
        path.unlink()
    inner = sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True)
    for path in (*inner, folder) if folder.is_dir() else ():
        if not path.is_symlink() and not any(path.iterdir()):
            path.rmdir()


def remove(path: Path) -> None:
    """Remove a file, a link or a folder that is all Olvido's; a crash leaves it whole or gone.

    A folder is first given the name of what is unfinished, under which its rest is found again.
    """
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    going = unfinished_in(path.parent)
    path.rename(going)
    shutil.rmtree(going)


def header(path: Path) -> dict[str, Any] | None:
    """What a safetensors file says of itself; None where it is none."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_HEADER, path.stat().st_size - 8):
            return None
        said = file.read(length)
    if not said.startswith(b"{"):
        return None
    try:
        found = json.loads(said)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())


def _document(path: Path, suffix: str = ".json") -> dict[str, Any]:
    if path.suffix != suffix or not path.is_file() or path.stat().st_size > _READ:
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    return found if isinstance(found, dict) else {}


def temporary(path: Path) -> bool:
    return _UNFINISHED.fullmatch(path.name) is not None


def is_checkpoint(path: Path) -> bool:
    named = CHECKPOINT.fullmatch(path.name)
    if named is None or path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == named[2]


def is_activations(path: Path) -> bool:
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    about = (header(path) or {}).get("__metadata__", {})
    return {"origin", "layer", "digest", "ids", "contents"} <= about.keys()


def is_run(path: Path) -> bool:
    return (
        _RUN.fullmatch(path.name) is not None
        and path.is_dir()
        and all(is_checkpoint(f) or is_activations(f) or temporary(f) for f in _files(path))
    )


def is_scores(path: Path) -> bool:
    return (
        _SCORES.fullmatch(path.name) is not None
        and path.is_dir()
        and all(_scored(f) or temporary(f) for f in _files(path))
    )


def _scored(path: Path) -> bool:
    named = _SCORED.match(path.name)
    if named is None or path.is_symlink():
        return False
    if path.name.endswith((".npz.unreadable", ".json.unreadable")):
        return True
    if path.suffix not in (".npz", ".json") or not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32] == path.stem


def is_training(path: Path) -> bool:
    return (
        path.is_dir()
        and {f.name for f in path.iterdir()} == set(CARD)
        and _document(path / CARD[0]).get("digest", "").startswith("sha256:")
    )


def is_curvature(path: Path) -> bool:
    if not path.is_dir() or not (path / "index.json").is_file():
        return False
    index = _document(path / "index.json")
    named = {"index.json", *index.get("digests", {})}
    return {"files", "digests", "note"} <= index.keys() and {
        f.name for f in path.iterdir()
    } == named


def is_trial(path: Path) -> bool:
    if path.suffix != ".safetensors":
        return False
    return {"method", "options", "history", "distance", "side"} <= _document(
        path.with_suffix(".json")
    ).keys()


def is_comparison(path: Path) -> bool:
    if not path.is_dir() or not (path / "plan.json").is_file():
        return False
    plan = _document(path / "plan.json")
    known = {"plan.json", "comparison.json", "plane.svg", "index.html", "never", "cells"}
    return {"model", "records", "reference", "base", "level", "chat"} == plan.keys() and {
        f.name for f in path.iterdir() if not temporary(f)
    } <= known


def is_orphan(path: Path) -> bool:
    if not path.is_dir() or not (path / NOTE).is_file():
        return False
    return {"kind", "base", "seed", "runs", "digest"} <= _document(path / NOTE).keys()


def is_report(path: Path) -> bool:
    return {"request", "verdict", "attempts", "does_not_prove"} <= _document(path).keys()


def is_result(path: Path) -> bool:
    return (
        _RESULT.fullmatch(path.name) is not None
        and {"requests", "verdicts", "documents"} <= _document(path).keys()
    )


def is_page(path: Path) -> bool:
    if path.suffix != ".html" or not path.is_file():
        return False
    with path.open("rb") as file:
        return GENERATOR.encode() in file.read(4096)


def is_demo(path: Path) -> bool:
    told = {"resident", "people", "seed", "fast"}
    return path.name == "demo.json" and told <= _document(path).keys()


def is_tombstones(path: Path) -> bool:
    return _document(path).get("form") == "olvido-tombstones"


def is_envelope(path: Path) -> bool:
    found = _document(path)
    return {"payload", "payloadType", "signatures"} == found.keys()
