"""The standard audit of one forgotten author on SmolLM2-135M: how long, and against one by one?

    python benchmarks/audit_speed.py --tofu FOLDER --out build/audit-speed

Fine-tunes SmolLM2-135M (adapters on the top eight layers, merged) on three TOFU authors: the model
as it was; and again and again on two of them: references, and a candidate, that never saw the
third. Audits that candidate at level standard, and counts the tokens that go through the models on
the way, which at the speed of bare passes would take the time called floor. Then the metrics that a
scoring pass feeds are computed one by one, each with a pass of its own over full logits and padded
batches in the order of the records, as published suites do; their values are compared and the times
stand side by side. Models that are there already are not made again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

import harness
import olvido
from olvido.audits.attacks.membership import loss_attack, min_k, min_k_plus_plus, zlib_attack
from olvido.audits.base import PreparedAudit
from olvido.audits.knowledge.extraction import exact_memorisation, extraction_strength
from olvido.audits.knowledge.recall import exact, probability
from olvido.audits.knowledge.truth import truth_ratio
from olvido.audits.scoring import Score, ScoredModel, score_logits
from olvido.data import tofu
from olvido.models import save
from olvido.tasks import Example, Language, examples

AUTHORS = range(193, 196)
LEAVER = 195
HOLDOUT = range(180, 190)
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


class Plain(ScoredModel):
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
                seen = score_logits(logits[row, at - 1], batch.targets[row, at])
                found.append(Score(*(column.numpy() for column in seen)))
        return found


def main() -> None:
    """Run the experiment."""
    parser = harness.arguments(__doc__, folder=True, threads=2)
    parser.add_argument("--tofu", default=None, help="folder or hub id of TOFU")
    parser.add_argument("--references", type=int, default=3, help="never-trained models")
    parser.add_argument("--models", action="store_true", help="make the models and stop")
    args = harness.parsed(parser)
    args.out.mkdir(parents=True, exist_ok=True)
    base = olvido.load("smollm2")
    task = Language(base.tokenizer, chat=False)
    rows = examples(tofu.rows(args.tofu, authors=AUTHORS))
    data_subject = f"{LEAVER}"
    gone = tuple(r for r in rows if r.id.split("-")[1].lstrip("0") == data_subject)
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
    count = args.references
    references = [learned(f"never-{seed}", kept, seed) for seed in range(1, count + 1)]
    candidate = learned(f"never-{count + 1}", kept, count + 1)
    if args.models:
        return
    general = examples([*tofu.real_authors(args.tofu), *tofu.world_facts(args.tofu)])
    holdout = examples(tofu.rows(args.tofu, authors=HOLDOUT))
    evidence = {"forget": gone, "retain": kept, "general": general, "holdout": holdout}
    results = harness.header(references=count, audits={})
    tokens = _counting()
    for name, model in (("never trained", candidate),):
        made = PreparedAudit(
            model,
            original=before,
            reference=references,
            task=Language(base.tokenizer, chat=False),
            level="standard",
            **evidence,
        )
        foretold = made.forecast()
        print(f"{name}: about {foretold:.0f} s", flush=True)
        spent: list[dict[str, Any]] = []
        start = (time.perf_counter(), time.process_time())

        def passed(what: str, start: tuple[float, float] = start) -> dict[str, Any]:
            return {
                "stage": what,
                "seconds": time.perf_counter() - start[0],
                "cpu seconds": time.process_time() - start[1],
                "read": tokens.read,
                "learned": tokens.learned,
            }

        def told(what: str, done: int, total: int) -> None:
            spent.append(passed(what))  # noqa: B023
            print(spent[-1], flush=True)  # noqa: B023

        report = made.run(told)
        whole = passed("all")
        # A step of learning is a pass forward and two back.
        floor = (whole["read"] + 3 * whole["learned"]) * _seconds_a_token(candidate, task, gone)
        results["audits"][name] = report.to_dict(texts=False) | {
            "forecast": foretold,
            "stages": spent,
            "all": whole,
            "floor in cpu seconds": floor,
        }
        print(name, report.verdict, whole, f"floor {floor:.0f} s", report.reasons, flush=True)
        harness.finish(results, args, "audit_speed.json")
    results["one by one"] = _one_by_one(candidate, task, (*gone, *holdout[:60]), gone)
    harness.finish(results, args, "audit_speed.json")
    print(json.dumps(results["one by one"], indent=1))


@dataclass
class _Count:
    """Tokens that went through any model: only read, and learned from."""

    read: int = 0
    learned: int = 0


def _counting() -> _Count:
    """Counted where tokens become vectors: a hook on a candidate would be found by its audit."""
    count, plain = _Count(), F.embedding

    def counted(ids: Any, *args: Any, **more: Any) -> Any:
        if torch.is_grad_enabled():
            count.learned += ids.numel()
        else:
            count.read += ids.numel()
        return plain(ids, *args, **more)

    F.embedding = counted
    return count


@torch.no_grad()
def _seconds_a_token(model: Any, task: Language, records: Sequence[Example]) -> float:
    """Processor time of one token in a bare pass over a batch without padding."""
    ids = task.collate(records).input_ids[:, :48].repeat(2, 1)
    times = []
    for _ in range(4):
        began = time.process_time()
        model.base_model(input_ids=ids, use_cache=False)
        times.append((time.process_time() - began) / ids.numel())
    return min(times)


def _one_by_one(
    model: Any, task: Language, records: Sequence[Example], gone: Sequence[Example]
) -> dict[str, Any]:
    """The same values twice: every metric with passes of its own, and all from one pass."""

    def values(scored: Any) -> tuple[dict[str, Any], float, float]:
        began, busy = time.perf_counter(), time.process_time()
        found = {
            name: list(measure(scored, gone if name == "truth ratio" else records))
            for name, measure in ONE_BY_ONE.items()
        }
        return found, time.perf_counter() - began, time.process_time() - busy

    ScoredModel(model, task).scores(records[:4])  # the first pass of a process pays for more
    together, fast, fast_cpu = values(ScoredModel(model, task))
    apart, slow, slow_cpu = values(Plain(model, task))
    far = {
        name: float(np.abs(np.array(together[name]) - np.array(apart[name])).max())
        for name in ONE_BY_ONE
    }
    return {
        "records": len(records),
        "metrics": len(ONE_BY_ONE),
        "together": {"seconds": fast, "cpu seconds": fast_cpu},
        "one by one": {"seconds": slow, "cpu seconds": slow_cpu},
        "ratio": slow / fast,
        "ratio of cpu seconds": slow_cpu / fast_cpu,
        "largest difference": far,
    }


if __name__ == "__main__":
    main()
