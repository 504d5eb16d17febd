"""The zoo of the audit of the audit: tiny models of which it is known what they saw."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_model, save_model

from olvido.demo.residents import make_town
from olvido.demo.story import FAST, FAST_RECIPE
from olvido.learners import Recipe, train
from olvido.methods import forget
from olvido.models.tiny import tiny_model, tiny_tokenizer
from olvido.tasks import Example, Language, examples

NEVER = 34
"""Models that never saw the data subject; the first four are the references."""
REFERENCES = 4
KNOWING = 8
"""Models that learned the data subject with everybody else."""


@dataclass(frozen=True)
class Town:
    """The records, and how they become models."""

    task: Language
    rows: tuple[Example, ...]
    forget: tuple[Example, ...]
    retain: tuple[Example, ...]
    neighbours: tuple[Example, ...]
    general: tuple[Example, ...]
    outsiders: tuple[Example, ...]
    recipe: Recipe = FAST_RECIPE
    width: int = 128
    layers: int = 4

    def blank(self, seed: int) -> Any:
        """Random weights of this town's shape."""
        size = len(self.task.tokenizer)
        return tiny_model(size, seed=seed, width=self.width, layers=self.layers)

    def evidence(self) -> dict[str, Any]:
        """What every audit is given besides models."""
        return {
            "forget": self.forget,
            "retain": self.retain,
            "neighbours": self.neighbours,
            "general": self.general,
            "holdout": self.outsiders,
            "task": self.task,
        }


def town(seed: int = 0, people: Mapping[str, int] = FAST, **shape: Any) -> Town:
    """A town of that seed; the demo's fast one where nothing is said."""
    made = make_town(seed=seed, **people)
    rows = examples(made.rows())
    data_subject = {row["id"] for row in made.rows_of(made.data_subject)}
    near = {row["id"] for n in made.neighbours() for row in made.rows_of(n)}
    kept = tuple(e for e in rows if e.id not in data_subject)
    return Town(
        Language(tiny_tokenizer()),
        rows,
        tuple(e for e in rows if e.id in data_subject),
        kept,
        tuple(e for e in kept if e.id in near),
        tuple(e for e in kept if not e.subjects),
        examples(row for person in made.outsiders for row in made.rows_of(person)),
        **shape,
    )


def _keep(model: Any, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".unfinished")
    save_model(model, str(unfinished))
    unfinished.rename(file)


def _read(model: Any, file: Path) -> Any:
    load_model(model, str(file))
    return model.eval()


@dataclass(frozen=True)
class Zoo:
    """Models on disk, made where they are missing."""

    town: Town
    folder: Path

    def never(self, number: int) -> Any:
        """One that never saw the data subject."""
        return self._learned(f"never-{number:02d}", self.town.retain, seed=100 + number)

    def knowing(self, number: int) -> Any:
        """One that learned everybody."""
        return self._learned(f"knowing-{number:02d}", self.town.rows, seed=200 + number)

    def _learned(self, name: str, records: tuple[Example, ...], *, seed: int) -> Any:
        file = self.folder / f"{name}.safetensors"
        model = self.town.blank(seed)
        if not file.exists():
            began = time.perf_counter()
            made = train(
                model, records=records, task=self.town.task, recipe=self.town.recipe, seed=seed
            )
            _keep(made.model, file)
            print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)
        return _read(model, file)

    def exact(self, method: str) -> Any:
        """A model that forgot exactly: the logged training replayed, or run from its start."""
        file = self.folder / f"exact-{method}.safetensors"
        if not file.exists():
            made = train(
                self.town.blank(200),
                records=self.town.rows,
                task=self.town.task,
                recipe=self.town.recipe,
                seed=200,
                replay_points=2,
            )
            forgot = forget(
                made,
                forget=self.town.forget,
                retain=self.town.retain,
                task=self.town.task,
                method=method,
            )
            _keep(forgot.model, file)
        return _read(self.town.blank(200), file)
