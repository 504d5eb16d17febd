"""Forget two TOFU authors from SmolLM2-135M, and compare with a model that never saw them.

    python benchmarks/tofu.py --tofu FOLDER --out build/tofu

Fine-tunes SmolLM2-135M-Instruct on 20 TOFU authors (180-199), fine-tunes it again without authors
198-199 (forget01), forgets these two from the first model with each method, audits every result
against the second, and writes `results.json`. Trained models are kept under --out and used again
when the script is started again.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import resource
import time
from pathlib import Path
from typing import Any

import torch

import olvido
from olvido.audits import Witness
from olvido.errors import ModelDestroyed, OlvidoError
from olvido.learners import Progress, StepLog
from olvido.learners.runs.environment import environment
from olvido.models import save, weights_digest
from olvido.sources import tofu
from olvido.tasks import Language, examples

AUTHORS = range(180, 200)
FORGET = tofu.FORGET_SETS["forget01"]
HOLDOUT = range(170, 175)
OPTIONS: dict[str, Any] = {"dtype": "bfloat16", "retain_batch": 16, "epochs": 10}
"""Of every method: fewer retained records a step than by default, since 20 authors are few."""
RECIPE = olvido.Recipe(epochs=6, batch_size=8, lr=2e-4, weight_decay=0.01, dtype="bfloat16")


def main() -> None:
    """Run the experiment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tofu", default=None, help="folder or hub id of TOFU")
    parser.add_argument("--out", type=Path, required=True, help="models and results go here")
    parser.add_argument("--methods", default="ascent,graddiff,npo,simnpo")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--train-only", action="store_true", help="stop once the models are there")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    rows = tofu.rows(args.tofu, authors=AUTHORS)
    forget = [row for row in rows if _author(row) in FORGET]
    retain = [row for row in rows if _author(row) not in FORGET]
    base = olvido.load("smollm2")
    task = Language(base.tokenizer, chat=False)
    runs = {
        "original": _trained(base, rows, task, seed=0, folder=args.out / "original"),
        "never-trained": _trained(base, retain, task, seed=1, folder=args.out / "never-trained"),
    }
    if args.train_only:
        return
    original, reference = runs["original"][0], runs["never-trained"][0]
    holdout = tofu.rows(args.tofu, authors=HOLDOUT)
    world = tofu.world_facts(args.tofu)
    probes: dict[str, Any] = {
        "forget": forget,
        "retain": retain[::12],
        "general": world[::4],
        "holdout": holdout,
        "reference": Witness(reference, task),
        "before": Witness(original, task),
        "task": task,
    }
    results: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "environment": environment(),
        "cpu": platform.processor() or platform.machine(),
        "records": {"trained": len(rows), "forget": len(forget), "holdout": len(holdout)},
        "recipe": RECIPE.to_dict(),
        "options": OPTIONS,
        "runs": {name: details for name, (_, details) in runs.items()},
        "audits": {},
    }
    results["audits"]["original"] = _audited(probes["before"], probes)
    for method in args.methods.split(","):
        print(f"forgetting by {method}", flush=True)
        results["audits"][method] = _forgotten(
            original, method, forget, retain, holdout, task, probes, runs["never-trained"][1]
        )
        results["peak_memory_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        (args.out / "results.json").write_text(json.dumps(results, indent=1))
        print(json.dumps(results["audits"][method]["verdict"]), flush=True)


def _author(row: dict[str, Any]) -> int:
    return int(row["id"].split("-")[1])


def _trained(
    base: Any, rows: list[dict[str, Any]], task: Language, *, seed: int, folder: Path
) -> tuple[torch.nn.Module, dict[str, Any]]:
    note = folder.with_suffix(".json")
    if folder.is_dir() and note.is_file():
        details = json.loads(note.read_text())
        model = olvido.load(folder).model
        if weights_digest(model) != details["digest"]:
            raise SystemExit(f"{folder} was changed since it was written: remove it")
        return model, details
    print(f"training {folder.name}: {len(rows)} records", flush=True)
    trained = olvido.train(
        base.model, records=rows, task=task, recipe=RECIPE, seed=seed, watch=_say
    )
    assert isinstance(trained.trace, StepLog)
    save(trained.model, base.tokenizer, folder)
    details = {"digest": trained.digest, "seed": seed, **trained.trace.to_dict()}
    details["final_loss"] = trained.trace.losses[-1]
    note.write_text(json.dumps(details, indent=1))
    return trained.model, details


def _say(progress: Progress) -> None:
    if progress.step % 25 == 0:
        left = progress.seconds / progress.step * (progress.total - progress.step)
        print(
            f"  step {progress.step}/{progress.total}, loss {progress.loss:.3f}, "
            f"{left / 60:.1f} min left",
            flush=True,
        )


def _forgotten(
    original: torch.nn.Module,
    method: str,
    forget: list[dict[str, Any]],
    retain: list[dict[str, Any]],
    holdout: list[dict[str, Any]],
    task: Language,
    probes: dict[str, Any],
    retraining: dict[str, Any],
) -> dict[str, Any]:
    destroyed = None
    try:
        outcome = olvido.forget(
            original,
            forget=forget,
            retain=retain,
            holdout=holdout,
            task=task,
            method=method,
            **OPTIONS,
        )
    except ModelDestroyed as error:
        outcome, destroyed = error.outcome, str(error)
    except OlvidoError as error:
        return {"verdict": "refused", "error": str(error)}
    return {
        "outcome": outcome.to_dict(),
        "destroyed": destroyed,
        "share_of_retraining_time": outcome.cost.seconds / retraining["seconds"],
        "share_of_retraining_tokens": outcome.cost.tokens / retraining["tokens"],
        **_audited(outcome.model, probes),
    }


def _audited(model: torch.nn.Module | Witness, probes: dict[str, Any]) -> dict[str, Any]:
    began = time.perf_counter()
    witness = model if isinstance(model, Witness) else Witness(model, probes["task"])
    report = olvido.audit(witness, **probes)
    asked = examples(probes["forget"])[:5]
    answers = [
        {"question": e.prompt, "truth": e.completion, "answer": answer}
        for e, answer in zip(asked, witness.answers(asked), strict=True)
    ]
    return {**report.to_dict(), "audit_seconds": time.perf_counter() - began, "answers": answers}


if __name__ == "__main__":
    main()
