"""How a file or folder that Olvido wrote is recognised: by shape and content, wherever it lies."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Set
from pathlib import Path
from typing import Any

from olvido.files import UNFINISHED, digest_at, everything_in, is_plain, open_plain

CHECKPOINT = re.compile(r"step-(\d{9})-([0-9a-f]{64})\.pt")
"""A checkpoint's name: its step, and SHA-256 of its bytes."""
ACTIVATIONS = "activations.safetensors"
"""The name of activations of records."""
CARD = ("card.json", "weights.safetensors")
"""The two files of a training that an audit made and kept for reuse."""
CARDED = "from a ledger, by Olvido"
"""A text in the card of every exported model."""
NOTE = "olvido.json"
"""The file in a model's folder that describes its training."""
COINS = "canaries.json"
"""The file in the folder of a private model that says which canaries took part."""
GENERATOR = '<meta name="generator" content="Olvido">'
"""A line of every HTML page that is written to a file."""
ACCESS = '<meta name="olvido" content="access">'
"""A further line of the page that answers a right-of-access request."""

_HEAD = re.compile(
    rf"""\s*<!doctype html>
<html lang="[^"\n]*">
<head>
<meta charset="utf-8">
{re.escape(GENERATOR)}
({re.escape(ACCESS)}
)?<meta name="viewport" content="width=device-width, initial-scale=1">
<title>[^\n]*</title>
<style>
"""
)
"""The beginning of every page; the line of the generator alone may stand in anybody's page."""
_TRAINED = re.compile(r"(reference|shadow)-\d{3,}-[0-9a-f]{16}")
_REPORT = frozenset(
    "request together verdict model digest never_trained records plan chosen attempts "
    "does_not_prove".split()
)
_AUDIT = frozenset(
    "verdict reasons grounds findings not_examined not_possible candidate original never_trained "
    "references original level tolerances records seconds".split()
)
_DEMO = frozenset(
    "verdict reasons method guarantee escalated resident recall cost people answers losses request "
    "environment date seconds seed fast report".split()
)
_TRIAL = frozenset(
    "method options proxies side distance seconds tokens stopped taken history".split()
)
_PLAN = frozenset("model records reference base level chat device".split())
_PLANNED = frozenset("forget retain calibrating attacked neighbours general".split())
_CURVED = frozenset("files digests note".split())
_CURVED_NOTE = frozenset("weights seed records".split())
"""The keys of these documents; a file with a few usual words among its keys may be anybody's."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CURVED_PART = re.compile(r"part-\d{5}\.safetensors")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_RUN = re.compile(r"\.run-[0-9a-f]{16}")
_SCORES = re.compile(r"sha256-[0-9a-f]{64}")
_SCORED = re.compile(r"[0-9a-f]{32}")
_RESULT = re.compile(r"req-\d+-[0-9a-f]{32}\.json")
_UNFINISHED = re.compile(rf"{re.escape(UNFINISHED)}[0-9a-f]{{16}}")
_PART = r"(member-\d+/|base/|modules/[a-z0-9-]+/)?"
_SHARD = r"(-\d{5}-of-\d{5})?"
_OWNED = re.compile(
    rf"{_PART}((model|pytorch_model|adapter_model){_SHARD}\.(safetensors|bin)(\.index\.json)?"
    r"|(model\.safetensors|pytorch_model\.bin)\.index\.json"
    r"|(adapter_config|adapter_base|config|preprocessor_config|generation_config)\.json"
    r"|(special_tokens_map|added_tokens)\.json"
    r"|(tokenizer|tokenizer_config|vocab|ensemble|network|routed|router)\.json"
    r"|(olvido|outcome|canaries)\.json"
    r"|tokenizer\.model|spiece\.model|sentencepiece\.bpe\.model|vocab\.txt"
    r"|merges\.txt|chat_template\.(jinja|json)|router\.safetensors|README\.md)"
    r"|logs/(?P<run>[^/]+)\.bin"
    r"|checkpoints/([^/]+/)?(step-\d{9}-[0-9a-f]{64}\.pt|activations\.safetensors"
    rf"|{_UNFINISHED.pattern})"
)
"""Names of the files that `save_pretrained` and the trace put into a model's folder."""
_LEFT = re.compile(
    rf"{_OWNED.pattern}|card\.json|weights\.safetensors|index\.json|part-\d{{5}}\.safetensors"
    r"|about\.json|(runs|ends|places)\.npy"
)
"""Files that an interrupted write leaves in a folder: recognised by name, content may be torn."""
_HEADER = 100_000_000
"""Largest header of a safetensors file, in bytes."""
_MARKS = (NOTE, CARD[0], "index.json", "plan.json")
"""Files by which folders are recognised."""
_READ = 64_000_000
"""Bytes that are read, at the most, to recognise a document."""


def owned(folder: Path) -> Iterator[Path]:
    """The files in a model's folder that its writers put there; other files in it are not Olvido's.

    A composite model has members, or a base and modules, in folders of their own.
    """
    runs = None
    for path in _files(folder):
        within = path.relative_to(folder)
        named = _OWNED.fullmatch(within.as_posix())
        if named is None or not is_plain(path):
            continue
        part = within.parts[0]
        if part.startswith("member-") and not os.path.isfile(folder / "ensemble.json"):
            continue
        if part in ("base", "modules") and not os.path.isfile(folder / "routed.json"):
            continue
        if part == "logs":
            runs = _runs(folder) if runs is None else runs
            if named["run"] not in runs:
                continue
        if path.name == "README.md" and not _is_carded(path):
            continue
        yield path


def _is_carded(path: Path) -> bool:
    try:
        return CARDED.encode() in _read(path)
    except OSError:
        return False


def _runs(folder: Path) -> frozenset[str]:
    """The names of the runs whose logs lie in a model's folder; none where it has no note."""
    try:
        return frozenset(_document(folder / NOTE)["runs"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return frozenset()


def remove(path: Path, parts: Iterable[Path]) -> tuple[Path, ...]:
    """Remove a file or, of a folder, the files that Olvido wrote; return the files of others.

    These stay, with their folders. The file by which a folder is recognised is removed last: after
    a crash the rest is found again.

    Args:
        path: a file, a link or a folder.
        parts: the files to remove, in it or itself.
    """
    goes = sorted(
        dict.fromkeys(parts), key=lambda part: part.parent == path and part.name in _MARKS
    )
    for part in goes:
        if os.path.isdir(part) and not os.path.islink(part):
            part.rmdir()
        else:
            part.unlink(missing_ok=True)
    emptied = {home for part in goes for home in part.parents if path in (home, *home.parents)}
    for home in sorted(emptied, key=lambda home: -len(home.parts)):
        if not any(home.iterdir()):
            home.rmdir()
    return () if os.path.islink(path) else tuple(_files(path))


def checkpoints_of(folder: Path) -> Iterator[Path]:
    """The checkpoints in a model's folder."""
    return (path for path in owned(folder) if CHECKPOINT.fullmatch(path.name))


def activations_of(folder: Path) -> Iterator[Path]:
    """The activations of records in a model's folder."""
    return (path for path in owned(folder) if path.name == ACTIVATIONS)


def remove_model(folder: Path) -> tuple[Path, ...]:
    """Remove a model's files; return the files that somebody else put into its folder, which
    stay."""
    return remove(folder, list(owned(folder)))


def header(path: Path) -> dict[str, Any] | None:
    """The header of a safetensors file; None where the file is not one."""
    with open_plain(path) as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_HEADER, os.fstat(file.fileno()).st_size - 8):
            return None
        said = file.read(length)
    if not said.startswith(b"{"):
        return None
    try:
        found = json.loads(said)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    return found if isinstance(found.get("__metadata__", {}), dict) else None


def _files(folder: Path) -> Iterator[Path]:
    """Everything in a folder that is not itself a folder: files, links and special files."""
    return (p for p in everything_in(folder) if os.path.islink(p) or not os.path.isdir(p))


def _document(path: Path, suffix: str = ".json") -> dict[str, Any]:
    if path.suffix != suffix or not os.path.isfile(path) or path.stat().st_size > _READ:
        return {}
    found = json.loads(_read(path).decode())
    return found if isinstance(found, dict) else {}


def _read(path: Path, most: int = -1) -> bytes:
    with open_plain(path) as file:
        return file.read(most)


def _plain(folder: Path) -> Iterator[Path]:
    return filter(is_plain, _files(folder))


def _keys(path: Path) -> Set[str]:
    """The names in a JSON object; none where the file holds no JSON object."""
    try:
        return _document(path).keys()
    except (OSError, ValueError, RecursionError):
        return frozenset()


def temporary(path: Path) -> bool:
    return _UNFINISHED.fullmatch(path.name) is not None


def is_unfinished(path: Path) -> bool:
    return temporary(path) and (not os.path.isdir(path) or any(unfinished_parts(path)))


def unfinished_parts(path: Path) -> Iterator[Path]:
    for part in _plain(path):
        if temporary(part) or _LEFT.fullmatch(part.relative_to(path).as_posix()):
            yield part


def is_checkpoint(path: Path) -> bool:
    named = CHECKPOINT.fullmatch(path.name)
    return named is not None and digest_at(path) == named[2]


def is_activations(path: Path) -> bool:
    if path.suffix != ".safetensors" or not os.path.isfile(path):
        return False
    about = (header(path) or {}).get("__metadata__", {})
    return {"origin", "layer", "digest", "ids", "contents"} <= about.keys()


def is_run(path: Path) -> bool:
    return _RUN.fullmatch(path.name) is not None and any(run_parts(path))


def run_parts(path: Path) -> Iterator[Path]:
    return (f for f in _plain(path) if temporary(f) or is_checkpoint(f) or is_activations(f))


def is_scores(path: Path) -> bool:
    return _SCORES.fullmatch(path.name) is not None and any(scores_parts(path))


def scores_parts(path: Path) -> Iterator[Path]:
    return (f for f in _plain(path) if temporary(f) or _scored(f))


def _scored(path: Path) -> bool:
    named = _SCORED.match(path.name)
    if named is None:
        return False
    if path.name.endswith((".npz.unreadable", ".json.unreadable")):
        return True
    return path.suffix in (".npz", ".json") and (digest_at(path) or "")[:32] == path.stem


def is_training(path: Path) -> bool:
    """Recognise a training by its folder's name: a card with a digest may be anybody's."""
    if _TRAINED.fullmatch(path.name) is None or not os.path.isdir(path):
        return False
    return _DIGEST.fullmatch(_document(path / CARD[0]).get("digest", "")) is not None


def training_parts(path: Path) -> Iterator[Path]:
    return (f for f in _plain(path) if f.parent == path and f.name in CARD)


def is_curvature(path: Path) -> bool:
    """Recognise curvature by its whole index: lists of files with digests may be anybody's."""
    index = _document(path / "index.json")
    return (
        index.keys() == _CURVED
        and index["note"].keys() == _CURVED_NOTE
        and set(index["files"].values()) <= index["digests"].keys()
        and all(
            _CURVED_PART.fullmatch(name) and _SHA256.fullmatch(digest)
            for name, digest in index["digests"].items()
        )
    )


def curvature_parts(path: Path) -> Iterator[Path]:
    digests = _document(path / "index.json")["digests"]
    for name, digest in digests.items():
        part = path / name
        if part.parent == path and digest_at(part) == digest:
            yield part
    yield path / "index.json"


def is_trial(path: Path) -> bool:
    if path.suffix != ".safetensors" or not os.path.isfile(path):
        return False
    said = _document(path.with_suffix(".json"))
    named = re.fullmatch(r"(.+)-[0-9a-f]{16}", path.stem)
    return named is not None and said.keys() == _TRIAL and said["method"] == named[1]


def is_comparison(path: Path) -> bool:
    """Recognise a comparison by its whole plan: a few of its words may stand in anybody's file."""
    plan = _document(path / "plan.json")
    return (
        plan.keys() == _PLAN
        and _DIGEST.fullmatch(plan["model"]) is not None
        and plan["records"].keys() == _PLANNED
        and all(_SHA256.fullmatch(digest) for digest in plan["records"].values())
    )


def comparison_parts(path: Path) -> Iterator[Path]:
    """A comparison's plan, results, never-trained models with their logs, and cells."""
    deeper = (part.relative_to(path).parts for part in _plain(path))
    for name in sorted({names[1] for names in deeper if names[0] == "never" and names[2:]}):
        if name.isdecimal():
            yield from owned(path / "never" / name)
    for part in _plain(path):
        within = part.relative_to(path)
        keys = _keys(part)
        match within.parts:
            case ("plan.json",):
                yield part
            case ("comparison.json",) if {"never_trained", "cells", "rows"} <= keys:
                yield part
            case ("index.html",) if is_page(part):
                yield part
            case ("plane.svg",) if _read(part).lstrip().startswith(b"<svg"):
                yield part
            case ("never", _) if {"tokens", "seconds"} == keys:
                yield part
            case ("cells", _) if {"method", "seed", "verdict", "audit"} <= keys:
                yield part
            case _ if temporary(part):
                yield part


def is_orphan(path: Path) -> bool:
    return {"kind", "base", "seed", "runs", "digest"} <= _document(path / NOTE).keys()


def is_report(path: Path) -> bool:
    said = _document(path).keys()
    return said >= _REPORT or said >= _AUDIT


def is_result(path: Path) -> bool:
    return (
        _RESULT.fullmatch(path.name) is not None
        and {"requests", "verdicts", "documents"} <= _document(path).keys()
    )


def is_page(path: Path) -> bool:
    if path.suffix != ".html" or not os.path.isfile(path):
        return False
    return _HEAD.match(_read(path, 4096).decode("utf-8", "replace")) is not None


def is_access(path: Path) -> bool:
    if path.suffix == ".html":
        return is_page(path) and ACCESS.encode() in _read(path, 4096)
    return _document(path).get("form") == "olvido-access"


def is_demo(path: Path) -> bool:
    return path.name == "demo.json" and _document(path).keys() >= _DEMO


def is_tombstones(path: Path) -> bool:
    return _document(path).get("form") == "olvido-tombstones"


def is_envelope(path: Path) -> bool:
    found = _document(path)
    return {"payload", "payloadType", "signatures"} == found.keys()
