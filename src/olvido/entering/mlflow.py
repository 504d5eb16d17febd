"""A run of MLflow around a model: what its plain files say of the training.

MLflow keeps a run in a folder: `meta.yaml`, a file for each of `params` and `metrics`, and
`artifacts` (mlflow.org/docs, "file store"). Nothing of MLflow is needed to read it.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from olvido.errors import InputError
from olvido.models.adapter import CONFIG as ADAPTER
from olvido.models.elsewhere import CONFIG, Found

META, ARTIFACTS = "meta.yaml", "artifacts"
DEEP = 4
"""Folders between a run and a model of its, at the most."""
LONGEST = 1000
"""Letters of a parameter that are read."""
LARGEST = 10**12
"""The largest number that is taken."""
PARAMS = {
    "base": ("_name_or_path", "model_name_or_path"),
    "epochs": ("num_train_epochs", "epochs"),
    "batch_size": ("per_device_train_batch_size", "batch_size"),
    "peak_lr": ("learning_rate", "lr"),
}
"""What is looked for, by the names that a Trainer and people log it under."""
LOSSES = ("train_loss", "loss")


def is_run(folder: Path) -> bool:
    """Whether a folder is a run of MLflow, or a model that it logged."""
    kept = any((folder / name).is_dir() for name in ("params", "metrics", ARTIFACTS))
    return kept and (folder / META).is_file()


def model_of(folder: Path) -> Path:
    """The model's folder in a run's; any other folder is returned as it is.

    Raises:
        InputError: the run holds no model in Hugging Face format, or several.
    """
    if not is_run(folder):
        return folder
    found = sorted(
        {
            path.parent
            for name in (CONFIG, ADAPTER)
            for path in (folder / ARTIFACTS).rglob(name)
            if any(path.parent.glob("*.safetensors"))
        }
    )
    if not found:
        raise InputError(
            f"{folder} is a run of MLflow without a model in Hugging Face format below "
            f"{ARTIFACTS}/: log the folder that save_pretrained wrote, or give that folder"
        )
    if len(found) > 1:
        shown = ", ".join(str(path) for path in found[:3])
        raise InputError(
            f"{folder} is a run of MLflow with {len(found)} models ({shown}): give the folder of "
            "the one that is meant"
        )
    return found[0]


def with_run(found: Found, folder: Path) -> Found:
    """What is said of a model, with what the run says in whose artifacts it lies, if any.

    What the model's own folder says comes first.
    """
    run = next((one for one in (folder, *folder.parents)[: DEEP + 1] if is_run(one)), None)
    if run is None:
        return found
    said, by = dict(found.said), dict(found.by)

    def say(name: str, value: Any, file: Path) -> None:
        if value is not None and name not in said:
            said[name], by[name] = value, f"{file.parent.name}/{file.name} of an MLflow run"

    for name, keys in PARAMS.items():
        for file in (run / "params" / key for key in keys):
            text = _line(file, last=False)
            say(name, (text or None) if name == "base" else _positive(text), file)
    for file in (run / "metrics" / name for name in LOSSES):
        # Each line is a time, a value, and the step.
        _, value, step, *_ = (*_line(file, last=True).split(), "", "", "")
        say("final_loss", _positive(value), file)
        say("steps", _positive(step), file)
    return Found(said, by, found.unread)


def _line(file: Path, *, last: bool) -> str:
    """The first or last line of a small file, "" where there is none."""
    try:
        lines = file.read_text("utf-8", errors="replace").splitlines() if file.is_file() else []
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error}): restore it") from error
    return lines[-1 if last else 0].strip()[:LONGEST] if lines else ""


def _positive(text: str) -> float | int | None:
    """A number above 0; None for anything else, as if it were not there."""
    try:
        value = float(text)
    except ValueError:
        return None
    if not (math.isfinite(value) and 0 < value <= LARGEST):
        return None
    return int(value) if value.is_integer() else value
