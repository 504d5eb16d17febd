"""States of a run on disk: whole or absent, and refused when their bytes have changed."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from olvido.errors import DigestMismatch, StateError

_NAME = re.compile(r"step-(\d{9})-([0-9a-f]{64})\.pt")
KEPT = 2
"""Checkpoints kept beside each other: one to fall back on while the next is written."""


@dataclass(frozen=True)
class Checkpoint:
    """A run after `step` optimizer steps.

    Attributes:
        step: steps done.
        run: digest of everything that determines the run; another run's state is refused.
        model, optimizer: their state dictionaries.
        losses: of the steps so far.
        seconds: spent so far.
    """

    step: int
    run: str
    model: dict[str, Any]
    optimizer: dict[str, Any]
    losses: tuple[float | None, ...]
    seconds: float


def write(folder: Path, state: Checkpoint) -> Path:
    """Write a checkpoint named by its step and the digest of its bytes, atomically."""
    buffer = io.BytesIO()
    torch.save(
        {
            "step": state.step,
            "run": state.run,
            "model": state.model,
            "optimizer": state.optimizer,
            "losses": list(state.losses),
            "seconds": state.seconds,
        },
        buffer,
    )
    content = buffer.getvalue()
    path = folder / f"step-{state.step:09d}-{hashlib.sha256(content).hexdigest()}.pt"
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f".{path.name}.tmp"
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)
    for old in list(_newest_first(folder))[KEPT:]:
        old.unlink()
    return path


def latest(folder: Path, *, run: str) -> Checkpoint | None:
    """The newest checkpoint of a run, or None where there is none.

    Raises:
        DigestMismatch: its bytes have changed since it was written.
        StateError: the folder holds another run's checkpoints.
    """
    for path in _newest_first(folder):
        return read(path, run=run)
    return None


def read(path: Path, *, run: str) -> Checkpoint:
    """Read one checkpoint and check it.

    Raises:
        DigestMismatch: its bytes have changed since it was written.
        StateError: it belongs to another run.
    """
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise StateError(f"{path} is not a checkpoint: expected step-NUMBER-DIGEST.pt")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != match[2]:
        raise DigestMismatch(f"checkpoint {path}", match[2], found)
    state = torch.load(io.BytesIO(content), weights_only=True)
    if state["run"] != run:
        raise StateError(
            f"{path} belongs to another run (other records, recipe, seed, model or environment): "
            "give an empty folder for checkpoints"
        )
    return Checkpoint(
        state["step"],
        state["run"],
        state["model"],
        state["optimizer"],
        tuple(state["losses"]),
        state["seconds"],
    )


def _newest_first(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from sorted((p for p in folder.iterdir() if _NAME.fullmatch(p.name)), reverse=True)
