"""The audit of the audit: whom does it acquit, whom does it convict, and which metrics can tell?

    python benchmarks/audit_of_audits.py zoo --out build/zoo            # trains the models, resumes
    python benchmarks/audit_of_audits.py innocent --out build/zoo       # false alarms
    python benchmarks/audit_of_audits.py fakes --out build/zoo          # planted pretenders
    python benchmarks/audit_of_audits.py metrics --out build/zoo        # faithfulness, robustness

The town is that of `olvido demo --fast`: 40 residents, of whom the first is to be forgotten, and 20
outsiders whom no model is taught. Each piece is written when it is done and not done again.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model
from torch.nn import Module

from olvido.demo.residents import make_town
from olvido.demo.story import FAST, FAST_RECIPE
from olvido.learners import train
from olvido.models.tiny import tiny_model, tiny_tokenizer
from olvido.tasks import Example, Language, examples

NEVER = 34
"""Models that never saw the leaver; the first four are the references."""
REFERENCES = 4
KNOWING = 8
"""Models that learned the leaver with everybody else."""


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

    def blank(self, seed: int) -> Any:
        """Random weights of the demo's shape."""
        return tiny_model(len(self.task.tokenizer), seed=seed)

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


def town() -> Town:
    """The demo's fast town."""
    made = make_town(seed=0, **FAST)
    rows = examples(made.rows())
    leaver = {row["id"] for row in made.rows_of(made.leaver)}
    near = {row["id"] for n in made.neighbours() for row in made.rows_of(n)}
    kept = tuple(e for e in rows if e.id not in leaver)
    return Town(
        Language(tiny_tokenizer()),
        rows,
        tuple(e for e in rows if e.id in leaver),
        kept,
        tuple(e for e in kept if e.id in near),
        tuple(e for e in kept if not e.subjects),
        examples(row for person in made.outsiders for row in made.rows_of(person)),
    )


@dataclass(frozen=True)
class Zoo:
    """Models on disk, made where they are missing."""

    town: Town
    folder: Path

    def never(self, number: int) -> Any:
        """One that never saw the leaver."""
        return self._learned(f"never-{number:02d}", self.town.retain, seed=100 + number)

    def knowing(self, number: int) -> Any:
        """One that learned everybody."""
        return self._learned(f"knowing-{number:02d}", self.town.rows, seed=200 + number)

    def _learned(self, name: str, records: tuple[Example, ...], *, seed: int) -> Any:
        file = self.folder / f"{name}.safetensors"
        model = self.town.blank(seed)
        if file.exists():
            load_model(model, str(file))
            return model.eval()
        began = time.perf_counter()
        model = train(
            model, records=records, task=self.town.task, recipe=FAST_RECIPE, seed=seed
        ).model
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(".unfinished")
        save_model(model, str(unfinished))
        unfinished.rename(file)
        print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)
        return model.eval()


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["zoo"])
    parser.add_argument("--out", type=Path, required=True, help="models and results go here")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    zoo = Zoo(town(), args.out)
    if args.part == "zoo":
        for number in range(max(NEVER, KNOWING)):
            if number < NEVER:
                zoo.never(number)
            if number < KNOWING:
                zoo.knowing(number)


if __name__ == "__main__":
    main()
