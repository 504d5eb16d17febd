"""Ten people leave one after another: is the tenth forgetting as good as the first?

    python benchmarks/sequence.py --out build/auto --variant npo
    python benchmarks/sequence.py --out build/auto --summary

The demo's fast town and its tiny model. Each data subject is forgotten from what the forgetting
before left behind, with the trace it left; nobody who left is among the records kept. Every step is
audited (level quick) against models that saw none of the ten, and all who left so far are asked for
again. Each step is written when it is done and not done again.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import Any

from safetensors.torch import load_model, save_model

import harness
from leavers import World
from olvido.audits import ScoredModel, Status, audit
from olvido.errors import ModelDestroyed, OlvidoError
from olvido.files import read_document
from olvido.learners import Edited, Trained
from olvido.methods import forget
from olvido.models import weights_digest
from olvido.tasks import Example

LEAVERS = 10
REFERENCES = 3
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "npo": ("npo", {}),
    "npo, aim from the last version": ("npo", {}),
    "npo, kl to and aim from the last version": ("npo", {"regulariser": "kl"}),
    "npo, projected": ("npo", {"project": True}),
    "graddiff": ("graddiff", {}),
    "auto": ("auto", {}),
}
"""The trace remembers what strangers were to the original model trained, unless it is left out."""


def recall(scored: ScoredModel, records: tuple[Example, ...]) -> float:
    """Share of answers every token of which the model would say itself."""
    return fmean(float(score.exact) for score in scored.scores(records))


def run(world: World, folder: Path, variant: str, seed: int) -> list[dict[str, Any]]:
    """One sequence, resumed where it was cut off."""
    method, options = VARIANTS[variant]
    data_subjects = world.town.residents[:LEAVERS]
    all_gone = world.ids(data_subjects)
    stay = tuple(e for e in world.rows if e.id not in all_gone)
    general = tuple(e for e in stay if not e.subjects)
    references = [
        ScoredModel(world.learned(100 + n, data_subjects), world.task) for n in range(REFERENCES)
    ]
    original = ScoredModel(world.learned(seed), world.task)
    model = world.learned(seed)
    again = world.took(seed)["tokens"]
    trace = None if variant.endswith("from the last version") else world.trace(seed)
    rows: list[dict[str, Any]] = []
    for step, person in enumerate(data_subjects, 1):
        gone = world.ids(data_subjects[: step - 1])
        split = world.leaving(person, gone)
        file = folder / f"{step:02d}.json"
        weights = file.with_suffix(".safetensors")
        if file.exists():
            rows.append(read_document(file))
            load_model(model, str(weights))
            continue
        failure = None
        given: Any = model
        if trace is not None:
            given = Trained(model, weights_digest(model), trace.without(gone))
        try:
            outcome = forget(
                given,
                forget=split.forget,
                retain=split.retain,
                holdout=world.calibrating,
                task=world.task,
                method=method,
                seed=seed,
                **options,
            )
        except ModelDestroyed as error:
            outcome, failure = error.outcome, str(error)
        except OlvidoError as error:
            rows.append({"step": step, "failure": str(error)})
            print(rows[-1], flush=True)
            return rows
        model = outcome.model.eval()
        assert trace is None or Edited.of(outcome.trace).losses == trace.losses
        now = ScoredModel(model, world.task)
        report = audit(
            now,
            forget=split.forget,
            retain=stay,
            neighbours=tuple(e for e in split.neighbours if e.id not in all_gone),
            general=general,
            holdout=world.attacked,
            original=original,
            reference=references,
            task=world.task,
        )
        left = [world.leaving(p).forget for p in data_subjects[:step]]
        loss = report.find("likelihood", "loss")
        row = {
            "step": step,
            "failure": failure,
            "verdict": report.verdict.value,
            "failed": sorted({f.audit for f in report.findings if f.status is Status.FAIL}),
            "steps": len(outcome.history),
            "share": outcome.cost.tokens / again,
            "loss": loss.value,
            "never_trained_loss": loss.expected,
            "recall": recall(now, split.forget),
            "recall_of_all_who_left": [recall(now, records) for records in left],
            "loss_of_all_who_left": [
                fmean(s.loss for s in now.scores(records)) for records in left
            ],
            "never_trained_losses": [
                fmean(s.loss for w in references for s in w.scores(records)) for records in left
            ],
            "kept": recall(now, stay),
            "kept_before": recall(original, stay),
            "kept_loss": fmean(s.loss for s in now.scores(stay)),
            "general": recall(now, general),
            "holdout_losses": fmean(s.loss for s in now.scores(world.calibrating)),
        }
        folder.mkdir(parents=True, exist_ok=True)
        save_model(model, str(weights))
        harness.write(row, file)
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def main() -> None:
    """Run one variant, or put all that were run into one document."""
    parser = harness.arguments(__doc__, folder=True, seed=0)
    parser.add_argument("--variant", choices=list(VARIANTS))
    parser.add_argument("--summary", action="store_true")
    args = harness.parsed(parser)
    if args.summary:
        found = harness.pieces(args.out / "sequence", "*/*/all.json")
        harness.finish(harness.header(sequences=found), args, "sequence.json")
        return
    world = World(args.out, "medium")
    folder = (
        args.out / "sequence" / args.variant.replace(",", "").replace(" ", "-") / str(args.seed)
    )
    rows = run(world, folder, args.variant, args.seed)
    result = harness.header(variant=args.variant, seed=args.seed, rows=rows)
    harness.write(result, folder / "all.json")


if __name__ == "__main__":
    main()
