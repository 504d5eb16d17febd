"""Curvatures in a folder: measured once for a model, reused by attribution and by influence
removal."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from torch.nn import Module

from olvido.curvature.ekfac import BATCH, Ekfac, fit_ekfac, mark, read
from olvido.curvature.storage import about
from olvido.errors import InputError, require_count
from olvido.models import weights_digest
from olvido.tasks import Example, Task


def factors_at(path: str | None) -> Path | None:
    """The folder that an option names.

    Raises:
        InputError: the option is no text.
    """
    if path is None:
        return None
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"factors names a folder of curvatures, and {folder} is none")
    return folder


def find_ekfac(
    model: Module, folder: Path, *, leaving: Sequence[Example] = (), task: Task | None = None
) -> Ekfac | None:
    """The curvature of these weights in a folder; None where there is none.

    Of several, the one measured on the fewest removed records; of these the one measured on the
    most records.

    Args:
        model: the model with the trainable parameters.
        folder: see `fit_ekfac`.
        leaving: removed records, and the `task` that reads them.

    Raises:
        StateError: the folder's content cannot be read.
        DigestMismatch: it was changed.
    """
    weights = weights_digest(model)
    wanted = {name for name, p in model.named_parameters() if p.requires_grad}
    marks = set() if task is None else {mark(record, task) for record in leaving}
    fit: list[tuple[int, int, Path]] = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        note = about(path)
        if note is None or note.get("weights") != weights or wanted != set(note["names"]):
            continue
        known = note["records"]
        met = sum(one in marks for one in known)
        if met < len(known):
            fit.append((met, -len(known), path))
    return read(min(fit)[2]) if fit else None


def store_ekfac(
    model: Module,
    records: Sequence[Example],
    task: Task,
    folder: Path,
    *,
    parts: int = 2,
    seed: int = 0,
    batch_size: int = BATCH,
) -> list[Ekfac]:
    """Measure a model's curvature in parts, so that a removal finds one without the removed
    records.

    The parts are disjoint, each subject's records in one of them: as much work as measuring all
    together. A removal is cheaper and better with it (`Ekfac.without` leaves the basis as the
    removed subjects have turned it).

    Args:
        model, records, task, folder, seed, batch_size: see `fit_ekfac`.
        parts: 2 or more.

    Raises:
        InputError: a part without records.
    """
    require_count("parts", parts, least=2)
    shares: list[list[Example]] = [[] for _ in range(parts)]
    for record in records:
        whose = min(record.subjects, default=record.id)
        shares[hashlib.sha256(whose.encode()).digest()[0] % parts].append(record)
    if not all(shares):
        raise InputError(
            f"{len(records)} records do not go into {parts} parts by their subjects: give fewer "
            "parts, and records of several subjects"
        )
    return [
        fit_ekfac(model, share, task, seed=seed, batch_size=batch_size, folder=folder)
        for share in shares
    ]
