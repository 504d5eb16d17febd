"""SmolLM2 learns twenty TOFU authors privately: what is kept, and what the promise costs so few.

    python benchmarks/private_tofu.py --tofu FOLDER --out build/private-tofu

Each of 20 authors (180-199) is a unit with all 20 pairs, as is each of 16 canaries and each of
117 facts about the world, which are about nobody. Other authors (160-179), whom nobody is taught,
are what the membership attack compares with. Adapters of rank 8 on SmolLM2-135M-Instruct.
"""

from __future__ import annotations

import json
from pathlib import Path

import harness
import olvido
from olvido.benchmark import compare_learners
from olvido.data import tofu
from olvido.training.recipe import Lora

LEARNERS = ("monolith", "private@8", "private@3", "private@1")
RECIPE = olvido.Recipe(
    epochs=6, batch_size=16, lr=2e-3, lora=Lora(rank=8, alpha=16), dtype="bfloat16", clip=1.0
)


def main() -> None:
    """Train with each learner, and print the table."""
    parser = harness.arguments(__doc__, folder=True)
    parser.add_argument("--tofu", default=None, help="folder or hub id of TOFU")
    parser.add_argument("--seeds", type=int, default=1)
    args = harness.parsed(parser)
    found = compare_learners(
        "smollm2",
        records=tofu.rows(args.tofu, authors=range(180, 200)),
        holdout=tofu.rows(args.tofu, authors=range(160, 180)),
        general=tofu.world_facts(args.tofu),
        out=args.out / "runs",
        learners=LEARNERS,
        recipe=RECIPE,
        seeds=args.seeds,
        chat=False,
        stage=lambda name: print(name, flush=True),
        tell=lambda line: print(line, flush=True),
    )
    harness.write(harness.header(**found.document), Path(args.out) / "private_tofu.json")
    print(json.dumps(found.document["rows"], indent=1))


if __name__ == "__main__":
    main()
