"""Every kind of file that Olvido writes or closes over: what it may hold, and how it is erased.

Whoever writes a file names its kind here in the same change, and a test holds every writer to that.
A kind is recognised by its shape and content, wherever the file lies: what only stands in the right
place may be somebody else's.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
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


class Holds(StrEnum):
    """What of a person a file may hold."""

    ROWS = "rows"
    WEIGHTS = "weights"
    SCORES = "scores"
    ACTIVATIONS = "activations"
    NAMES = "names"
    DIGESTS = "digests"


class Way(StrEnum):
    """How a kind is erased."""

    REMOVED = "removed"
    REWRITTEN = "rewritten"
    KEPT = "kept"
    STATED = "stated"


class Who(StrEnum):
    """Who can erase one, the easiest first."""

    ALL = "olvido"
    NAMED = "by-name"
    TEAM = "team"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of artefact.

    Attributes:
        name: what an item of the closure begins with, before its colon.
        says: what it is.
        holds: what it may hold.
        way: how it is erased.
        who: who can, where it lies in the workspace. `ALL` is for what Olvido wrote, and can make
            again or is well without.
        others: whether it holds data of others as well.
        writers: modules that write it; none where it is somebody else's.
        shape: whether a file or folder is one; None where only the ledger, or a look into the file,
            tells.
        told: whether what the records say decides about it, so that their rows have to be there.
    """

    name: str
    says: str
    holds: frozenset[Holds]
    way: Way = Way.REMOVED
    who: Who = Who.NAMED
    others: bool = True
    writers: tuple[str, ...] = ()
    shape: Callable[[Path], bool] | None = None
    told: bool = False


def recognised(path: Path, *, told: bool = False) -> Kind | None:
    """The kind of a file or folder that Olvido wrote; None where it is none, or cannot be read.

    Args:
        path: not a symbolic link.
        told: asked of what the records' words were found in, and of nothing else.
    """
    for kind in KINDS.values():
        if kind.shape is not None and kind.told is told:
            try:
                if kind.shape(path):
                    return kind
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                # Whatever is wrong with it, it is not what that kind's writer wrote.
                continue
    return None


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


def _temporary(path: Path) -> bool:
    return _UNFINISHED.fullmatch(path.name) is not None


def _is_checkpoint(path: Path) -> bool:
    named = CHECKPOINT.fullmatch(path.name)
    if named is None or path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == named[2]


def _is_activations(path: Path) -> bool:
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    about = (header(path) or {}).get("__metadata__", {})
    return {"origin", "layer", "digest", "ids", "contents"} <= about.keys()


def _is_run(path: Path) -> bool:
    return (
        _RUN.fullmatch(path.name) is not None
        and path.is_dir()
        and all(_is_checkpoint(f) or _is_activations(f) or _temporary(f) for f in _files(path))
    )


def _is_scores(path: Path) -> bool:
    return (
        _SCORES.fullmatch(path.name) is not None
        and path.is_dir()
        and all(_scored(f) or _temporary(f) for f in _files(path))
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


def _is_training(path: Path) -> bool:
    return (
        path.is_dir()
        and {f.name for f in path.iterdir()} == set(CARD)
        and _document(path / CARD[0]).get("digest", "").startswith("sha256:")
    )


def _is_curvature(path: Path) -> bool:
    if not path.is_dir() or not (path / "index.json").is_file():
        return False
    index = _document(path / "index.json")
    named = {"index.json", *index.get("digests", {})}
    return {"files", "digests", "note"} <= index.keys() and {
        f.name for f in path.iterdir()
    } == named


def _is_trial(path: Path) -> bool:
    if path.suffix != ".safetensors":
        return False
    return {"method", "options", "history", "distance", "side"} <= _document(
        path.with_suffix(".json")
    ).keys()


def _is_comparison(path: Path) -> bool:
    if not path.is_dir() or not (path / "plan.json").is_file():
        return False
    plan = _document(path / "plan.json")
    known = {"plan.json", "comparison.json", "plane.svg", "index.html", "never", "cells"}
    return {"model", "records", "reference", "base", "level", "chat"} == plan.keys() and {
        f.name for f in path.iterdir() if not _temporary(f)
    } <= known


def _is_orphan(path: Path) -> bool:
    if not path.is_dir() or not (path / NOTE).is_file():
        return False
    return {"kind", "base", "seed", "runs", "digest"} <= _document(path / NOTE).keys()


def _is_report(path: Path) -> bool:
    return {"request", "verdict", "attempts", "does_not_prove"} <= _document(path).keys()


def _is_result(path: Path) -> bool:
    return (
        _RESULT.fullmatch(path.name) is not None
        and {"requests", "verdicts", "documents"} <= _document(path).keys()
    )


def _is_page(path: Path) -> bool:
    if path.suffix != ".html" or not path.is_file():
        return False
    with path.open("rb") as file:
        return GENERATOR.encode() in file.read(4096)


def _is_demo(path: Path) -> bool:
    told = {"resident", "people", "seed", "fast"}
    return path.name == "demo.json" and told <= _document(path).keys()


def _is_tombstones(path: Path) -> bool:
    return _document(path).get("form") == "olvido-tombstones"


def _is_envelope(path: Path) -> bool:
    found = _document(path)
    return {"payload", "payloadType", "signatures"} == found.keys()


_H = Holds
_KNOWN = (
    # Known from the ledger.
    Kind(
        "rows",
        "rows of the records in a dataset's file",
        frozenset({_H.ROWS}),
        way=Way.REWRITTEN,
        who=Who.ALL,
        writers=("olvido.ledger.rows",),
    ),
    Kind(
        "near",
        "rows that say nearly the same, about somebody else or nobody",
        frozenset({_H.ROWS}),
        way=Way.REWRITTEN,
        told=True,
    ),
    Kind(
        "model",
        "a model that learned it, with checkpoints, optimizer states and adapters",
        frozenset({_H.WEIGHTS}),
        who=Who.ALL,
        writers=(
            "olvido.models.base",
            "olvido.models.composite.adapter",
            "olvido.models.composite.language_ensemble",
            "olvido.models.composite.routed",
            "olvido.models.composite.router",
            "olvido.learners.storage",
        ),
    ),
    Kind(
        "checkpoints",
        "checkpoints of a training from before the forgetting, with optimizer states",
        frozenset({_H.WEIGHTS}),
        who=Who.ALL,
        writers=("olvido.learners.runs.checkpoint",),
    ),
    Kind(
        "activations",
        "activations of the records, beside a model",
        frozenset({_H.ACTIVATIONS}),
        way=Way.REWRITTEN,
        who=Who.ALL,
        writers=("olvido.learners.modular.activations",),
    ),
    Kind(
        "export",
        "a copy of a model that learned it, written by 'olvido models export'",
        frozenset({_H.WEIGHTS}),
        who=Who.ALL,
        writers=("olvido.cli.weights.models",),
    ),
    Kind(
        "log",
        "the ledger and its log",
        frozenset({_H.DIGESTS}),
        way=Way.KEPT,
        who=Who.TEAM,
    ),
    Kind(
        "backups",
        "copies of this workspace, or of the files it was made from, kept elsewhere",
        frozenset({_H.ROWS, _H.WEIGHTS}),
        way=Way.STATED,
        who=Who.TEAM,
    ),
    Kind(
        "recipients",
        "others to whom the data, or a model that learned them, were given",
        frozenset({_H.ROWS, _H.WEIGHTS}),
        way=Way.STATED,
        who=Who.TEAM,
    ),
    # Weights and what stands for them, recognised by their shape.
    Kind(
        "unfinished",
        "what a writer that was broken off left: rows of an import, weights, or anything else",
        frozenset({_H.ROWS, _H.WEIGHTS, _H.SCORES, _H.ACTIVATIONS}),
        who=Who.ALL,
        writers=("olvido.files", "olvido.ledger.importing", "olvido.ledger.rows"),
        shape=_temporary,
    ),
    Kind(
        "run",
        "checkpoints of a training that was broken off",
        frozenset({_H.WEIGHTS, _H.ACTIVATIONS}),
        who=Who.ALL,
        writers=("olvido.learners.runs.checkpoint",),
        shape=_is_run,
    ),
    Kind(
        "scores",
        "what a model said of each text",
        frozenset({_H.SCORES, _H.ROWS}),
        who=Who.ALL,
        writers=("olvido.audits.scoring.cache",),
        shape=_is_scores,
    ),
    Kind(
        "training",
        "a reference or shadow model that an audit trained",
        frozenset({_H.WEIGHTS}),
        who=Who.ALL,
        writers=("olvido.audits.trainings",),
        shape=_is_training,
    ),
    Kind(
        "curvature",
        "a model's curvature, measured on what it was taught",
        frozenset({_H.WEIGHTS}),
        who=Who.ALL,
        writers=("olvido.curvature.storage",),
        shape=_is_curvature,
    ),
    Kind(
        "comparison",
        "a comparison of methods, with its never-trained models and answers",
        frozenset({_H.WEIGHTS, _H.ROWS}),
        who=Who.ALL,
        writers=("olvido.comparison.base", "olvido.comparison.cell"),
        shape=_is_comparison,
    ),
    Kind(
        "orphan",
        "a model of Olvido's that the ledger does not know",
        frozenset({_H.WEIGHTS}),
        who=Who.ALL,
        writers=("olvido.learners.storage",),
        shape=_is_orphan,
    ),
    Kind(
        "checkpoint",
        "a checkpoint with its optimizer state",
        frozenset({_H.WEIGHTS}),
        who=Who.ALL,
        writers=("olvido.learners.runs.checkpoint",),
        shape=_is_checkpoint,
    ),
    Kind(
        "cache",
        "activations of records",
        frozenset({_H.ACTIVATIONS}),
        who=Who.ALL,
        writers=("olvido.learners.modular.activations",),
        shape=_is_activations,
    ),
    Kind(
        "trial",
        "the weights of a trial of a search",
        frozenset({_H.WEIGHTS}),
        who=Who.ALL,
        writers=("olvido.forgetting.search.shelf",),
        shape=_is_trial,
    ),
    Kind(
        "weights",
        "tensors that nobody accounts for",
        frozenset({_H.WEIGHTS}),
        # A model that `forget --out` saved looks like anybody's.
        writers=("olvido.models.base", "olvido.models.smollm2"),
    ),
    # Documents of Olvido's: an item where what they say is found in them.
    Kind(
        "report",
        "the report of a request",
        frozenset({_H.ROWS}),
        who=Who.ALL,
        writers=("olvido.requests.publishing",),
        shape=_is_report,
        told=True,
    ),
    Kind(
        "result",
        "what a worker made, until it is published",
        frozenset({_H.ROWS}),
        who=Who.ALL,
        writers=("olvido.requests.workflow.forgetting",),
        shape=_is_result,
        told=True,
    ),
    Kind(
        "page",
        "a page with the texts that it is about",
        frozenset({_H.ROWS}),
        who=Who.ALL,
        writers=(
            "olvido.audits.report.render",
            "olvido.audits.report.page",
            "olvido.attribution.page",
            "olvido.comparison.page",
            "olvido.demo.report",
        ),
        shape=_is_page,
        told=True,
    ),
    Kind(
        "demo",
        "what the demo says of its town",
        frozenset({_H.ROWS, _H.NAMES}),
        who=Who.ALL,
        writers=("olvido.demo.story",),
        shape=_is_demo,
        told=True,
    ),
    Kind(
        "tombstones",
        "a list of all that is buried",
        frozenset({_H.DIGESTS}),
        writers=("olvido.requests.burial",),
        shape=_is_tombstones,
        told=True,
    ),
    Kind(
        "certificate",
        "a signed certificate",
        frozenset({_H.DIGESTS}),
        writers=("olvido.requests.certificate.issue",),
        shape=_is_envelope,
        told=True,
    ),
    # What others wrote, or Olvido for others to keep.
    Kind(
        "file",
        "a file with rows of the records",
        frozenset({_H.ROWS}),
        way=Way.REWRITTEN,
        writers=(
            "olvido.ledger.importing",
            "olvido.demo.story",
            "olvido.cli.data",
            "olvido.requests.closure.erasing",
        ),
        told=True,
    ),
    Kind(
        "mention",
        "a file that names the person",
        frozenset({_H.NAMES}),
        writers=("olvido.cli.answering.notice", "olvido.cli.answering.log"),
        told=True,
    ),
    Kind(
        "link",
        "a symbolic link that leads where nobody looked",
        frozenset(Holds),
        others=False,
        told=True,
    ),
    Kind("unread", "what could not be looked into", frozenset(Holds), told=True),
)

KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _KNOWN}
"""Every kind by its name. What is recognised by its shape is asked in this order."""

APART: Mapping[str, str] = {
    "olvido.accounts": "names of people on the team, and digests of how they prove who they are",
    "olvido.artifacts": "gives what is being removed the name of what is unfinished",
    "olvido.requests.closure.copies.rewriting": "only makes the bytes that another module writes",
    "olvido.ledger.identity": "the key, which is the workspace's own",
    "olvido.ledger.signing": "the signing key and its public half",
    "olvido.cli.workspace": "settings",
    "olvido.documents": "only writes what another module hands it",
    "olvido.ledger.inverted": "keyed digests of runs of words, removed with the rows they are of",
    "olvido.learners.fresh": "a run on its way to another process, in a temporary folder",
    "olvido.models.wheels": "a model as its package brings it, in the cache",
    "olvido.models.composite.embedding": "a model as its package brings it, in the cache",
}
"""Modules that write files which hold nothing of what records say, and why."""
