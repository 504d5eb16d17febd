"""Forget two TOFU authors from SmolLM2-135M with every method, and score them as TOFU does.

    python benchmarks/tofu.py cells --tofu FOLDER --out build/tofu      # resumes
    python benchmarks/tofu.py table --out build/tofu

Fine-tunes SmolLM2-135M-Instruct on 20 TOFU authors (180-199), fine-tunes it again without authors
198-199 (forget01), and forgets these two from the first model with each setting. Each result is
scored beside the second model: forget quality, model utility, a loss attack, what the weights say
in int4, and what comes back of one half of the forgotten facts after 100 steps of relearning the
other. Models and scores are written when they are made, and not made again.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, harmonic_mean
from typing import Any

import torch

import harness
import olvido
from olvido.audits import ScoredModel
from olvido.audits.attacks.membership import loss_attack
from olvido.audits.attacks.quantization import quantized
from olvido.audits.attacks.relearn_sets import halves
from olvido.audits.attacks.relearning import relearn
from olvido.audits.knowledge.truth import (
    SetUtility,
    forget_quality,
    model_utility,
    probability,
    rouge_recall,
    truth_ratio,
    utility,
)
from olvido.data import tofu
from olvido.errors import ModelDestroyed, OlvidoError
from olvido.files import read_document
from olvido.learners import Progress, StepLog, Trained
from olvido.methods import forget
from olvido.statistics import auc
from olvido.tasks import Example, Language, examples

AUTHORS = range(180, 200)
FORGET = tofu.FORGET_SETS["forget01"]
CALIBRATING, ATTACKED = range(170, 173), range(173, 175)
"""Authors nobody was taught: those that tell a method where to stop, and those of the attack."""
RECIPE = olvido.Recipe(epochs=6, batch_size=8, lr=2e-4, weight_decay=0.01, dtype="bfloat16")
TERMS: dict[str, Any] = {
    "dtype": "bfloat16",
    "lr": 5e-5,
    "batch_size": 8,
    "retain_batch": 8,
    "epochs": 8,
}
"""Of every method: small batches, since 20 authors are few, and as many steps as they make."""
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "npo, projected": ("npo", {**TERMS, "project": True}),
    "npo, projected, 12 passes": ("npo", {**TERMS, "project": True, "epochs": 12}),
    "graddiff, projected": ("graddiff", {**TERMS, "project": True}),
} | {
    name: (name, TERMS)
    for name in (
        "graddiff", "simnpo", "rmu", "npo", "undial", "samnpo", "altpo", "repselect", "pdu",
        "scrub",
    )
}  # fmt: skip
STEPS, BATCH, RATE = 100, 4, 5e-4 * 128 / 576
"""Of relearning: those of the thorough audit."""


class Bench:
    """The records, and both models.

    Args:
        where: folder or hub id of TOFU.
        folder: of the models.
        authors: whom the original learns.
        leaving: those of them who leave.
        seeds: of the original and of the model that never sees who leaves.
        recipe: of both.
        never: name of the second model.
    """

    def __init__(
        self,
        where: str,
        folder: Path,
        *,
        authors: range = AUTHORS,
        leaving: Sequence[int] = FORGET,
        seeds: tuple[int, int] = (0, 1),
        recipe: olvido.Recipe = RECIPE,
        never: str = "never-trained",
    ) -> None:
        rows = tofu.rows(where, authors=authors)
        self.folder, self.recipe = folder, recipe
        gone = {f"tofu-author-{author}" for author in leaving}
        self.forget = examples(row for row in rows if row["subject"] in gone)
        self.retain = examples(row for row in rows if row["subject"] not in gone)
        self.calibrating = examples(tofu.rows(where, authors=CALIBRATING))
        self.attacked = examples(tofu.rows(where, authors=ATTACKED))
        self.kept = self.retain[::12]
        self.authors = examples(tofu.real_authors(where)[::4])
        self.facts = examples(tofu.world_facts(where)[::4])
        self.base = olvido.load("smollm2")
        self.task = Language(self.base.tokenizer, chat=False)
        self.trained = self.learned((*self.retain, *self.forget), seeds[0], "original")
        self.original = self.trained.model
        self.never = self.learned(self.retain, seeds[1], never).model
        self.retraining = read_document(folder / f"{never}.json")

    def learned(self, records: tuple[Example, ...], seed: int, name: str) -> Trained:
        """The base after these records, from the folder where it is there."""
        folder, note = self.folder / name, self.folder / f"{name}.json"
        if folder.is_dir() and note.is_file():
            trained = Trained.load(folder)
            if trained.digest != read_document(note)["digest"]:
                raise SystemExit(f"{folder} was changed since it was written: remove it")
            return trained
        print(f"training {name}: {len(records)} records", flush=True)
        ordered = sorted(records, key=lambda record: record.id)
        trained = olvido.train(
            self.base.model,
            records=ordered,
            task=self.task,
            recipe=self.recipe,
            seed=seed,
            watch=_say,
        )
        assert isinstance(trained.trace, StepLog)
        trained.save(folder, self.base.tokenizer, base="smollm2")
        details = {"digest": trained.digest, "seed": seed, **trained.trace.to_dict()}
        details |= {"tokens": trained.trace.tokens, "final_loss": trained.trace.losses[-1]}
        harness.write(details, note)
        return trained

    def utilities(self, scored: ScoredModel) -> dict[str, SetUtility]:
        """The three numbers of each set that was to be kept."""
        return {
            "retain": utility(scored, self.kept, options=False),
            "real authors": utility(scored, self.authors, options=True),
            "world facts": utility(scored, self.facts, options=True),
        }

    def scored(self, model: torch.nn.Module) -> dict[str, Any]:
        """Everything that is told of one model."""
        began = time.perf_counter()
        scored = ScoredModel(model.eval(), self.task)
        sets = self.utilities(scored)
        lessons, tested = halves(self.forget, seed=0)
        coarse = ScoredModel(quantized(model, 4), self.task)
        *_, (_, moved) = relearn(
            model, lessons, self.task, steps=(STEPS,), lr=RATE, batch=BATCH, seed=0
        )
        after = ScoredModel(moved, self.task)
        return {
            "ratios": truth_ratio(scored, self.forget),
            "probability": fmean(probability(scored, self.forget)),
            "rouge": fmean(rouge_recall(scored, self.forget)),
            "attack": auc(loss_attack(scored, self.forget), loss_attack(scored, self.attacked)),
            "utility": model_utility(*sets.values()),
            "utilities": {name: vars(found) for name, found in sets.items()},
            "int4": fmean(probability(coarse, self.forget)),
            "relearned": fmean(probability(after, tested)),
            "not relearned": fmean(probability(scored, tested)),
            "answers": [
                {"question": e.prompt, "truth": e.completion, "answer": answer}
                for e, answer in zip(self.forget[:4], scored.answers(self.forget[:4]), strict=True)
            ],
            "seconds_of_scoring": time.perf_counter() - began,
        }

    def forgotten(self, name: str) -> dict[str, Any]:
        """One setting: what it cost, and its scores."""
        method, options = SETTINGS[name]
        row: dict[str, Any] = {"setting": name, "method": method, "options": options}
        try:
            outcome = forget(
                self.original,
                forget=self.forget,
                retain=self.retain,
                holdout=self.calibrating,
                task=self.task,
                method=method,
                **options,
            )
        except OlvidoError as error:
            row |= {"error": type(error).__name__, "says": str(error)}
            if not isinstance(error, ModelDestroyed):
                return row
            outcome = error.outcome
        row |= {
            "steps": len(outcome.history),
            "stopped": outcome.stopped,
            "seconds": outcome.cost.seconds,
            "share_by_tokens": outcome.cost.tokens / self.retraining["tokens"],
            "share_by_time": (outcome.cost.seconds or 0.0) / self.retraining["seconds"],
            "forget_loss": outcome.forget_loss,
            "retain_loss": outcome.retain_loss,
        }
        print(json.dumps(row), flush=True)
        row |= self.scored(outcome.model)
        row["peak_memory_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        return row


def main() -> None:
    """Do what is missing, or print the table."""
    parser = harness.arguments(__doc__, folder=True)
    parser.add_argument("what", choices=["train", "cells", "table"])
    parser.add_argument("--tofu", default=None, help="folder or hub id of TOFU")
    parser.add_argument("--settings", default="", help="with semicolons; all where left out")
    args = harness.parsed(parser)
    if args.what == "table":
        harness.show(table(args.out))
        return
    bench = Bench(args.tofu, args.out)
    if args.what == "train":
        return
    cells = args.out / "cells"
    for name in ("never trained", "original", *_chosen(args.settings)):

        def cell(name: str = name) -> dict[str, Any]:
            if name in SETTINGS:
                return bench.forgotten(name)
            model = bench.original if name == "original" else bench.never
            return {"setting": name, **bench.scored(model)}

        file = cells / f"{name}.json".replace(" ", "").replace(",", "-")
        harness.once(file, cell, lambda row: summary(row, never(cells)))


def never(cells: Path) -> dict[str, Any]:
    """The scores of the model that never saw what is forgotten."""
    return read_document(cells / "nevertrained.json")


def _chosen(settings: str) -> list[str]:
    return settings.split(";") if settings else list(SETTINGS)


def summary(row: dict[str, Any], never: dict[str, Any]) -> dict[str, Any]:
    """The numbers of the table."""
    if "ratios" not in row:
        return {"error": row["error"]}
    return {
        "p": forget_quality(row["ratios"], never["ratios"]),
        "probability": row["probability"],
        "rouge": row["rouge"],
        "attack": row["attack"],
        "utility": row["utility"] / never["utility"],
        "of eight": eight(row) / eight(never),
        "int4": row["int4"],
        "not relearned": row["not relearned"],
        "relearned": row["relearned"],
        "share": row.get("share_by_tokens"),
    }


def eight(row: dict[str, Any]) -> float:
    """Model utility without the ROUGE of real authors: a small model gets one of 25 right, and one
    more or less would move the harmonic mean of nine by a third."""
    told = row["utilities"]
    numbers = [told[s][k] for s in told for k in told[s] if (s, k) != ("real authors", "rouge")]
    return harmonic_mean(numbers)


def table(out: Path) -> str:
    """All that was done so far, as Markdown, and as one document beside it."""
    rows = harness.pieces(out / "cells")
    by_name = {row["setting"]: row for row in rows}
    columns = ["setting", "forget quality p", "probability", "ROUGE-L", "attack's AUC"]
    columns += ["utility, of retrained's", "of eight of its nine numbers", "in int4"]
    columns += ["other half, before and after 100 steps", "share of retraining (tokens)", "steps"]
    lines: list[list[object]] = []
    for name in ("never trained", "original", *SETTINGS):
        if name not in by_name:
            continue
        row = by_name[name]
        said = summary(row, by_name["never trained"])
        if "p" not in said:
            lines.append([name, f"{row['error']}: {row['says']}", *[""] * 9])
            continue
        share = "" if said["share"] is None else f"{said['share']:.1%}"
        lines.append(
            [
                *(name, f"{said['p']:.2g}", f"{said['probability']:.3f}", f"{said['rouge']:.3f}"),
                *(f"{said['attack']:.3f}", f"{said['utility']:.1%}", f"{said['of eight']:.1%}"),
                *(f"{said['int4']:.3f}", f"{said['not relearned']:.3f}, {said['relearned']:.3f}"),
                *(share, row.get("steps", "")),
            ]
        )
    trainings = {
        name: {
            key: read_document(out / f"{name}.json")[key]
            for key in ("digest", "seed", "tokens", "seconds", "final_loss")
        }
        for name in ("original", "never-trained")
    }
    document = harness.header(recipe=RECIPE.to_dict(), trainings=trainings, cells=rows)
    harness.write(document, out / "tofu.json")
    return harness.table(columns, lines)


def _say(progress: Progress) -> None:
    if progress.step % 25 == 0:
        left = progress.seconds / progress.step * (progress.total - progress.step)
        print(
            f"  step {progress.step}/{progress.total}, loss {progress.loss:.3f}, "
            f"{left / 60:.1f} min left",
            flush=True,
        )


if __name__ == "__main__":
    main()
