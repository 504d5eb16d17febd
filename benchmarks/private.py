"""Time a private step, and its memory, beside a plain step and beside Opacus; a cell a run.

    python benchmarks/private.py speed --out build/private.json

The model has SmolLM2-135M's shape with random weights, fewer layers where --layers says so, and
records are random words, all of one length. Every side takes a whole step (forward, backward,
clipping, noise, AdamW) on the same records, one after the other in turn, so that a busy machine
slows all alike; ratios are taken within a turn. Opacus runs with its own hooks (`hooks`) and with
its ghost clipping (`ghost`); where its rules give no norm that bounds a unit, as of a tied head in
ghost clipping, its time counts all the same. Peak memory is that of two steps, in a process of its
own for each side, above what that process held before it had a model.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.nn import functional as F

import harness
from method_speed import peak, random_smollm2
from olvido.tasks import Example, Language, examples
from olvido.training.loop import Loop
from olvido.training.private.clipping import Clipped
from olvido.training.private.sampling import Secret
from olvido.training.recipe import Lora, Recipe, attach

CLIP, NOISE, RATE, VOCABULARY = 1.0, 1.0, 1e-6, 49152

Step = Callable[[int], None]


def main() -> None:
    """Measure all cells, or one side's memory."""
    parser = harness.arguments(__doc__, seed=0)
    parser.add_argument("part", choices=("speed",))
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--weights", choices=("lora", "full"), default="lora")
    parser.add_argument("--sides", default=",".join(SIDES))
    parser.add_argument("--memory", help="a side, for a process of its own")
    args = harness.parsed(parser)
    if args.memory:
        world = World(args)
        for module in ("opacus.grad_sample", "opacus.optimizers", "peft"):
            importlib.import_module(module)
        before = _forgotten_peak()
        step = SIDES[args.memory](world)
        _forgotten_peak()
        step(0)
        step(1)
        print(json.dumps({"above": peak() - before}))
        return
    found = harness.header(seed=args.seed, cell=measured(args))
    if args.out is None:
        harness.finish(found, args)
    else:
        harness.add(args.out, f"{args.weights}-{args.tokens}", found)


class World:
    """The model and the records of every step."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.batch = args, args.batch
        self.task = Language(_tokenizer())
        draw = random.Random(args.seed)
        self.records: list[tuple[Example, ...]] = [
            examples(
                {"id": f"{step}-{n}", "text": " ".join(
                    f"w{draw.randrange(3, VOCABULARY)}" for _ in range(args.tokens - 1))}
                for n in range(args.batch)
            )
            for step in range(8)
        ]  # fmt: skip
        self.recipe = Recipe(batch_size=args.batch, lr=RATE, clip=CLIP)

    def model(self) -> Any:
        """The same weights each time."""
        model = random_smollm2(self.args.layers)
        if self.args.weights == "lora":
            model = attach(model, Lora(rank=8, alpha=16), seed=0)
        return model

    def of(self, number: int) -> Sequence[Example]:
        """The records of a step."""
        return self.records[number % len(self.records)]


def plain(world: World) -> Step:
    """A step of the same loop, without clipping and noise."""
    loop = Loop(world.model(), world.recipe, total=1000, seed=0)

    def step(number: int) -> None:
        batch = world.task.collate(list(world.of(number)))
        loop.step(number, [lambda: world.task.losses(loop.model, batch).mean()])

    return step


def ours(world: World) -> Step:
    """A private step, each record a unit."""
    model = world.model()
    about = {"clip": CLIP, "noise": NOISE, "expected": float(world.batch), "most": world.batch}
    gradients = Clipped(model, world.task, secret=Secret(0), **about)
    assert gradients.prove([(record,) for record in world.of(0)[:2]]) is None
    loop = Loop(model, world.recipe, total=1000, seed=0, gradients=gradients)

    def step(number: int) -> None:
        loop.step(number, gradients.passes([(record,) for record in world.of(number)]))

    return step


def hooks(world: World) -> Step:
    """Opacus: a gradient for each record is formed."""
    from opacus.grad_sample import GradSampleModule
    from opacus.optimizers import DPOptimizer

    model = GradSampleModule(world.model().train())
    optimizer = DPOptimizer(_adamw(model), **_opacus(world))

    def step(number: int) -> None:
        logits, targets = _logits(world, model, number)
        F.cross_entropy(logits, targets, reduction="none").view(world.batch, -1).mean(
            1
        ).mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def ghost(world: World) -> Step:
    """Opacus: norms first, by pairs of positions, then a second backward pass."""
    from opacus.grad_sample import GradSampleModuleFastGradientClipping as Ghost
    from opacus.optimizers import DPOptimizerFastGradientClipping
    from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping

    model: Any = Ghost(world.model().train(), max_grad_norm=CLIP, use_ghost_clipping=True)
    optimizer = DPOptimizerFastGradientClipping(_adamw(model), **_opacus(world))
    criterion = DPLossFastGradientClipping(
        model, optimizer, torch.nn.CrossEntropyLoss(), loss_reduction="mean"
    )

    def step(number: int) -> None:
        logits, targets = _logits(world, model, number)
        criterion(logits, targets, shape=(world.batch, len(targets) // world.batch)).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


SIDES: dict[str, Callable[[World], Step]] = {
    "plain": plain,
    "ours": ours,
    "hooks": hooks,
    "ghost": ghost,
}


def measured(args: argparse.Namespace) -> dict[str, Any]:
    """All sides in turn, in one process, and each side's memory in another."""
    world, failed = World(args), {}
    steps: dict[str, Step] = {}
    for side in args.sides.split(","):
        try:
            steps[side] = SIDES[side](world)
            steps[side](0)
        except Exception as error:  # What a peer cannot do is a result.
            if side in ("plain", "ours"):
                raise
            steps.pop(side, None)
            failed[side] = f"{type(error).__name__}: {error}"[:200]
    seconds: dict[str, list[float]] = {side: [] for side in steps}
    for number in range(1, args.rounds + 1):
        for side, step in steps.items():
            began = time.process_time()
            step(number)
            seconds[side].append(time.process_time() - began)
    del world, steps
    memory = {side: _memory(side, args) for side in seconds}
    row = {
        "weights": args.weights,
        "tokens": args.tokens,
        "batch": args.batch,
        "layers": args.layers,
        "seconds": {side: median(some) for side, some in seconds.items()},
        "over plain": {
            side: harness.interval(_ratios(some, seconds["plain"]))
            for side, some in seconds.items()
        },
        "over ours": {
            side: harness.interval(_ratios(some, seconds["ours"])) for side, some in seconds.items()
        },
        "memory": memory,
        "memory over plain": {
            side: found["above"] / memory["plain"]["above"] for side, found in memory.items()
        },
        "failed": failed,
    }
    print(json.dumps(row), flush=True)
    return row


def _ratios(some: Sequence[float], others: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(some, others, strict=True)]


def _memory(side: str, args: argparse.Namespace) -> dict[str, float]:
    words = [sys.executable, __file__, "speed", "--memory", side]
    for option in ("layers", "batch", "tokens", "weights", "seed", "threads"):
        words += [f"--{option}", str(getattr(args, option))]
    found: dict[str, float] = json.loads(subprocess.check_output(words).splitlines()[-1])
    return found


def _forgotten_peak() -> float:
    """What this process holds now, in MiB; `peak` counts from here on."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def _adamw(model: Any) -> torch.optim.Optimizer:
    some = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.AdamW(some, lr=RATE, fused=True)


def _opacus(world: World) -> dict[str, Any]:
    return {
        "noise_multiplier": NOISE,
        "max_grad_norm": CLIP,
        "expected_batch_size": world.batch,
    }


def _logits(world: World, model: Any, number: int) -> tuple[Any, Any]:
    batch = world.task.collate(list(world.of(number)))
    out = model(input_ids=batch.input_ids, use_cache=False)
    return out.logits[:, :-1].reshape(-1, VOCABULARY), batch.targets[:, 1:].reshape(-1)


def _tokenizer() -> Any:
    """A token for each word."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = {"<unk>": 0, "<s>": 1, "</s>": 2}
    words = {f"w{n}": n for n in range(3, VOCABULARY)}
    made = Tokenizer(models.WordLevel({**special, **words}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="</s>", pad_token="</s>", unk_token="<unk>"
    )


if __name__ == "__main__":
    main()
