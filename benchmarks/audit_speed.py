"""The standard audit of one forgotten author on SmolLM2-135M: how long, and against one by one?

    python benchmarks/audit_speed.py --tofu FOLDER --out build/audit-speed

Fine-tunes SmolLM2-135M (adapters on the top eight layers, merged) on three TOFU authors: the model
as it was; and four times on two of them: three references and a suspect that never saw the third.
Audits that suspect at level standard. Then the metrics that a scoring pass feeds are computed one
by one, each with a pass of its own over full logits and padded batches in the order of the records,
as published suites do; their values are compared and the times stand side by side. Models that are
there already are not made again.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

import olvido
from olvido.audits.base import Examination
from olvido.audits.membership.attacks import loss_attack, min_k, min_k_plus_plus, zlib_attack
from olvido.audits.memory.extraction import exact_memorisation, extraction_strength
from olvido.audits.memory.recall import exact, probability
from olvido.audits.memory.truth import truth_ratio
from olvido.audits.scoring import Score, Witness
from olvido.audits.scoring.score import look
from olvido.documents import write_document
from olvido.learners.runs.environment import environment
from olvido.models import save
from olvido.sources import tofu
from olvido.tasks import Example, Language, examples

AUTHORS = range(193, 196)
LEAVER = 195
STRANGERS = range(180, 190)
RECIPE = olvido.Recipe(
    epochs=6,
    batch_size=4,
    lr=3e-3,
    dtype="bfloat16",
    lora=olvido.Lora(rank=16, alpha=32, top_layers=8),
)
ONE_BY_ONE: dict[str, Callable[[Any, Sequence[Example]], Sequence[float]]] = {
    "exact match": exact,
    "probability": probability,
    "loss attack": loss_attack,
    "zlib": zlib_attack,
    "min-k": min_k,
    "min-k++": min_k_plus_plus,
    "extraction strength": extraction_strength,
    "exact memorisation": exact_memorisation,
    "truth ratio": truth_ratio,
}


class Plain(Witness):
    """Scores as a suite of separate metrics does: all logits, padded, nothing kept."""

    @torch.no_grad()
    def scores(self, records: Sequence[Example]) -> list[Score]:
        """A pass of its own over every record, in batches of 32 in the order given."""
        found: list[Score] = []
        task: Any = self.task
        for start in range(0, len(records), 32):
            batch = task.collate(records[start : start + 32])
            logits = self.model(
                input_ids=batch.input_ids, attention_mask=batch.attention_mask
            ).logits
            F.cross_entropy(logits[:, :-1].transpose(1, 2), batch.targets[:, 1:], reduction="none")
            for row in range(len(batch.ids)):
                at = torch.nonzero(batch.targets[row] != -100).flatten()
                seen = look(logits[row, at - 1], batch.targets[row, at])
                found.append(Score(*(column.numpy() for column in seen)))
        return found


def main() -> None:
    """Run the experiment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tofu", default=None, help="folder or hub id of TOFU")
    parser.add_argument("--out", type=Path, required=True, help="models and results go here")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--models", action="store_true", help="make the models and stop")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    base = olvido.load("smollm2")
    task = Language(base.tokenizer, chat=False)
    rows = examples(tofu.rows(args.tofu, authors=AUTHORS))
    leaver = f"{LEAVER}"
    gone = tuple(r for r in rows if r.id.split("-")[1].lstrip("0") == leaver)
    kept = tuple(r for r in rows if r not in gone)
    assert len(gone) == 20, [r.id for r in rows[:3]]

    def learned(name: str, records: Sequence[Example], seed: int) -> Any:
        folder = args.out / name
        if not folder.is_dir():
            began = time.perf_counter()
            made = olvido.train(
                base.model, records=records, task=task, recipe=RECIPE, seed=seed
            ).model
            save(made, base.tokenizer, folder)
            print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)
        return olvido.load(folder).model

    before = learned("before", rows, 0)
    references = [learned(f"never-{seed}", kept, seed) for seed in (1, 2, 3)]
    suspect = learned("never-4", kept, 4)
    if args.models:
        return
    general = examples([*tofu.real_authors(args.tofu), *tofu.world_facts(args.tofu)])
    holdout = examples(tofu.rows(args.tofu, authors=STRANGERS))
    evidence = {"forget": gone, "retain": kept, "general": general, "holdout": holdout}
    results: dict[str, Any] = {
        "command": "python benchmarks/audit_speed.py --tofu FOLDER --out build/audit-speed",
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {args.threads} threads",
        "environment": environment(),
        "audits": {},
    }
    for name, model in (("never trained", suspect),):
        made = Examination(
            model,
            before=before,
            reference=references,
            task=Language(base.tokenizer, chat=False),
            level="standard",
            **evidence,
        )
        foretold = made.forecast()
        print(f"{name}: about {foretold:.0f} s", flush=True)
        spent: list[tuple[str, float]] = []
        began = time.perf_counter()

        def told(what: str, done: int, total: int) -> None:
            spent.append((what, time.perf_counter() - began))  # noqa: B023
            print(f"  {what} {spent[-1][1]:.0f} s", flush=True)  # noqa: B023

        report = made.run(told)
        results["audits"][name] = report.to_dict(texts=False) | {
            "forecast": foretold,
            "stages": spent,
        }
        print(name, report.verdict, f"{report.seconds:.0f} s", report.reasons, flush=True)
        write_document(results, args.out / "audit_speed.json")
    results["one by one"] = _one_by_one(suspect, task, (*gone, *holdout[:60]), gone)
    write_document(results, args.out / "audit_speed.json")
    print(json.dumps(results["one by one"], indent=1))


def _one_by_one(
    model: Any, task: Language, records: Sequence[Example], gone: Sequence[Example]
) -> dict[str, Any]:
    """The same values twice: every metric with passes of its own, and all from one pass."""

    def values(witness: Any) -> tuple[dict[str, Any], float]:
        began = time.perf_counter()
        found = {
            name: list(measure(witness, gone if name == "truth ratio" else records))
            for name, measure in ONE_BY_ONE.items()
        }
        return found, time.perf_counter() - began

    Witness(model, task).scores(records[:4])  # the first pass of a process pays for more
    together, fast = values(Witness(model, task))
    apart, slow = values(Plain(model, task))
    far = {
        name: float(np.abs(np.array(together[name]) - np.array(apart[name])).max())
        for name in ONE_BY_ONE
    }
    return {
        "records": len(records),
        "metrics": len(ONE_BY_ONE),
        "together seconds": fast,
        "one by one seconds": slow,
        "ratio": slow / fast,
        "largest difference": far,
    }


if __name__ == "__main__":
    main()
