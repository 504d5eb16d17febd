"""Planted frauds against the audit of a private promise, and accusations of an honest learner.

    python benchmarks/private_audit.py frauds --out docs/results/private_audit.json
    python benchmarks/private_audit.py honest --out docs/results/private_audit.json
    python benchmarks/private_audit.py ideal --out docs/results/private_audit.json

`frauds` trains a small language model on invented people with each fraud and without, seed by
seed, and audits it. `honest` trains a linear classifier without any. `ideal` draws what a perfect
attack on the weights of one training would see, with the promised noise, a half, a quarter and none
of it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from harness import add, arguments, header, parsed, show, table
from olvido.audits import PrivacyAudit, audit_privacy
from olvido.audits.promise.bound import at_least, ceiling, p_value
from olvido.demo.residents import make_town
from olvido.learners import Private, PrivateRun, Recipe, train
from olvido.models.tiny import tiny_model, tiny_tokenizer
from olvido.tasks import Labels, Language, examples
from olvido.training.private.accounting import epsilon_of

sys.path.append(str(Path(__file__).parents[1]))
from tests.training.private.frauds import (
    FRAUDS,
    Fraud,
    accumulation_clipped_once,
    without_the_tied_part,
)

EPSILON = 1.0
CANARIES = 100
REFUTED = 0.05


def honest(_: pytest.MonkeyPatch) -> None:
    """No fraud."""


CASES: dict[str, Fraud] = {
    "none": honest,
    **{fraud.__name__.replace("_", " "): fraud for fraud in FRAUDS},
    "without the tied part, and gradients compared first": without_the_tied_part,
    "accumulation clipped once, and gradients compared first": accumulation_clipped_once,
}
"""The frauds by their names. Two of them the learner sees before its first step, where its
comparison is not taken out as well."""


def audited(name: str, seed: int) -> dict[str, Any]:
    """Train with a fraud, and audit with it installed, as somebody who does not know would."""
    tokenizer = tiny_tokenizer()
    town = make_town(seed=seed, residents=40, outsiders=1, wordings=1)
    rows = examples(town.rows_of(who)[seed % 3] for who in town.residents)
    base = tiny_model(len(tokenizer), seed=seed, width=32, layers=2).eval()
    with pytest.MonkeyPatch.context() as patch:
        CASES[name](patch)
        made = train(
            base,
            records=rows,
            task=Language(tokenizer),
            recipe=Recipe(batch_size=32, epochs=10, lr=4e-3),
            learner=Private(epsilon=EPSILON, accountant="rdp", canaries=CANARIES),
            seed=seed,
        )
        found = audit_privacy(made, tokenizer=tokenizer)
    assert isinstance(made.trace, PrivateRun)
    return kept(found) | {"fraud": name, "seed": seed, "notes": list(made.trace.notes)}


def kept(found: PrivacyAudit) -> dict[str, Any]:
    """What is kept of an audit."""
    return {
        "outcome": found.outcome.value,
        "right": found.right,
        "guesses": found.guesses,
        "at_least": found.at_least,
        "ceiling": found.ceiling,
        "by_guesses": found.p < REFUTED,
        "by_step": [step.promise for step in found.steps if not step.holds],
    }


def frauds(seeds: int) -> list[dict[str, Any]]:
    """Every fraud and none, with each seed."""
    found = []
    for name in CASES:
        for seed in range(seeds):
            found.append(audited(name, seed))
            print(found[-1], flush=True)
    return found


def shown(found: Sequence[dict[str, Any]]) -> str:
    """The frauds in a table."""
    names = dict.fromkeys(one["fraud"] for one in found)
    lines = []
    for name in names:
        some = [one for one in found if one["fraud"] == name]
        of = len(some)
        lines.append([
            name,
            f"{sum(one['outcome'] == 'refuted' for one in some)} of {of}",
            f"{sum(bool(one['by_step']) for one in some)} of {of}",
            f"{sum(one['by_guesses'] for one in some)} of {of}",
            f"{np.mean([one['right'] for one in some]):.1f} of {some[0]['guesses']}",
            f"{min(one['at_least'] for one in some):.2f} to "
            f"{max(one['at_least'] for one in some):.2f}",
        ])  # fmt: skip
    return table(
        ["fraud", "refuted", "by the step", "by guesses", "right guesses, mean", "epsilon shown"],
        lines,
    )


def linear(runs: int) -> list[dict[str, Any]]:
    """Honest trainings of a linear classifier, each audited."""
    found = []
    for seed in range(runs):
        draw = np.random.default_rng(seed)
        rows = examples(
            {
                "id": str(n),
                "input": draw.standard_normal(60).astype(np.float32),
                "label": "ab"[n % 2],
            }
            for n in range(20)
        )
        torch.manual_seed(seed)
        made = train(
            nn.Sequential(nn.Linear(60, 2)),
            records=rows,
            task=(task := Labels(["a", "b"], shape=(60,))),
            recipe=Recipe(batch_size=20, epochs=5, lr=0.1, optimizer="sgd", beta1=0.0),
            learner=Private(noise=3.0, accountant="rdp", canaries=80),
            seed=seed,
        )
        found.append(kept(audit := audit_privacy(made, task=task)) | {"epsilon": audit.epsilon})
    return found


def ideal(runs: int) -> list[dict[str, Any]]:
    """What shows of canaries whose gradients are at right angles to all others, summed over steps.

    Nobody who sees the last weights alone, of a training whose steps add up, sees more.
    """
    draw, found = np.random.default_rng(0), []
    rate, steps, people = 0.1, 100, 1000
    for canaries in (200, 1000):
        delta = 1 / (10 * (people + canaries))
        for noise in (1.0, 2.0):
            epsilon = epsilon_of(noise, delta=delta, rate=rate, steps=steps, accountant="prv")
            count = canaries // 2
            for share in (1.0, 0.5, 0.25, 0.0):
                rights = [_right(draw, canaries, rate, steps, share * noise) for _ in range(runs)]
                p = [p_value(right, count, canaries, epsilon, delta) for right in rights]
                bounds = [at_least(right, count, canaries, delta) for right in rights]
                found.append({
                    "canaries": canaries,
                    "epsilon": epsilon,
                    "ceiling": ceiling(count, canaries, delta),
                    "noise": noise,
                    "share": share,
                    "refuted": sum(one < REFUTED for one in p),
                    "runs": runs,
                    "at_least": float(np.mean(bounds)),
                })  # fmt: skip
    return found


def _right(draw: np.random.Generator, m: int, rate: float, steps: int, noise: float) -> int:
    there: NDArray[np.bool_] = draw.integers(2, size=m).astype(bool)
    seen = draw.binomial(steps, rate, size=m) * there + draw.normal(0, noise * steps**0.5, size=m)
    # Ties are broken by chance.
    order = np.lexsort((draw.random(m), -seen))
    return int(there[order[: m // 4]].sum() + (~there[order[-(m // 4) :]]).sum())


def main() -> None:
    """Measure one part, and add it to the file of results."""
    parser = arguments(__doc__)
    parser.add_argument("part", choices=["frauds", "honest", "ideal"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--runs", type=int, default=200)
    args = parsed(parser)
    began = time.monotonic()
    parts: dict[str, Callable[[], Iterable[dict[str, Any]]]] = {
        "frauds": lambda: frauds(args.seeds),
        "honest": lambda: linear(args.runs),
        "ideal": lambda: ideal(args.runs),
    }
    found = list(parts[args.part]())
    about = header(seeds=args.seeds, runs=args.runs, seconds=round(time.monotonic() - began))
    if args.part == "frauds":
        show(shown(found))
    elif args.part == "ideal":
        show(table(list(found[0]), [[_short(v) for v in one.values()] for one in found]))
    else:
        refuted = sum(one["outcome"] == "refuted" for one in found)
        print(refuted, "of", len(found), "refuted; largest bound",
              max(one["at_least"] for one in found), "promised", found[0]["epsilon"])  # fmt: skip
    if args.out is not None:
        add(args.out, args.part, {"about": about, "found": found})


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
