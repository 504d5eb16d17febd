"""How much memory scoring, an audit and a forgetting take, in fresh processes side by side.

    python benchmarks/memory.py --out build/memory

Makes random weights of the shape of SmolLM2-135M (float32, or `--dtype bfloat16`) with the
tokenizer of `tiny`: memory and time depend on shapes alone. The audit at level standard, by audits
of each kind, is of four models: a candidate, two references and the original, which are random
perturbations of one another. Each piece runs in a process of its own: scoring one model; the audit
with its models in memory and with their folders, `cheap` without the audit that trains, or of one
audit of the standard level alone; forgetting by `npo`, all weights and adapters; loading one model
with its digest, from files in float32 and in bfloat16 as they are; writing a checkpoint of its size
and reading the one that was written. The peak is the kernel's for the process (VmHWM), with the
pages of mapped files among it; `start` is what the process has before a model, for a checkpoint
with the weights that are written.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

import harness
import olvido
from olvido.benchmark.cell import peak
from olvido.demo.residents import make_town
from olvido.files import finite
from olvido.models import save, weights_digest
from olvido.models.tiny import tiny_tokenizer
from olvido.tasks import Language, examples
from olvido.training.checkpoint import Checkpoint, CheckpointStore, read

SHAPE = {
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "tie_word_embeddings": True,
}
NAMES = ("candidate", "never-1", "never-2", "original")
HALF = "candidate-bfloat16"
"""The last of them in 16 bits, to be loaded alone."""
CHEAP = ("change", "filter", "recall", "quantization", "lens")
"""Audits of each kind: of weights, scores, answers, and of the module itself."""
TRAINED = (*CHEAP, "relearning")
"""Beside them the one that trains every weight of a model with AdamW, as an attacker would."""
CHECKPOINT_MIB = 515
"""Of a checkpoint: the weights of that shape."""


def make(home: Path, seed: int, dtype: str) -> None:
    """Write four models that descend from one, each in a folder."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tiny_tokenizer()
    torch.manual_seed(seed)
    model: Any = LlamaForCausalLM(LlamaConfig(**SHAPE)).to(getattr(torch, dtype))
    for name in NAMES:
        if not (home / name).exists():
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter += 0.1 * parameter.std() * torch.randn_like(parameter)
            save(model, tokenizer, home / name)
    if not (home / HALF).exists():
        save(model.to(torch.bfloat16), tokenizer, home / HALF)


def records() -> dict[str, Any]:
    """A few records of an invented town: enough for batches of the usual size, and for minutes."""
    town = make_town(seed=0, residents=6, outsiders=6, wordings=1)
    data_subject = {row["id"] for row in town.rows_of(town.data_subject)}
    rows = examples(row for row in town.rows() if "subject" in row)
    return {
        "forget": [r for r in rows if r.id in data_subject][:4],
        "retain": [r for r in rows if r.id not in data_subject][:12],
        "holdout": examples(r for person in town.outsiders for r in town.rows_of(person)[:2]),
    }


def score(read: Callable[[str], Any], task: Language, given: dict[str, Any]) -> None:
    """Score and answer what an audit asks of one model."""
    scored = olvido.audits.ScoredModel(read("candidate"), task)
    scored.scores([*given["forget"], *given["retain"], *given["holdout"]])
    scored.answers(given["forget"])


def audited(
    read: Callable[[str], Any], task: Language, given: dict[str, Any], audits: Sequence[str]
) -> str:
    """Audit four models at level standard, and return the digest of what was found."""
    report = olvido.audit(
        read("candidate"),
        reference=[read("never-1"), read("never-2")],
        original=read("original"),
        task=task,
        level="standard",
        audits=audits,
        **given,
    )
    # Of everything but the seconds: models in memory and in folders give the same.
    said = json.dumps(finite(report.to_dict() | {"seconds": 0}), sort_keys=True)
    return sha256(said.encode()).hexdigest()[:16]


def forgotten(
    read: Callable[[str], Any], task: Language, given: dict[str, Any], rank: int | None
) -> None:
    """Take two steps of forgetting; what came of it does not matter here."""
    some = {"forget": given["forget"][:8], "retain": given["retain"][:8]}
    how: dict[str, Any] = {"epochs": 1, "batch_size": 4, "retain_batch": 4, "lora_rank": rank}
    try:
        olvido.forget(read("original"), task=task, method="npo", **some, **how)
    except olvido.OlvidoError as error:
        print(error, file=sys.stderr)


def loaded(home: Path, name: str, dtype: str) -> None:
    """Load a model, and take the digest of its weights."""
    weights_digest(olvido.load(home / name, dtype=dtype).model)


def written(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    """Write a checkpoint of these weights alone."""
    state = Checkpoint(1, "", "", weights, {}, [torch.get_rng_state()], b"log", 0.0)
    CheckpointStore(folder).write(state)


def read_again(folder: Path) -> None:
    """Read the checkpoint that was written."""
    for path in CheckpointStore(folder):
        read(path)
        return
    raise SystemExit(f"{folder} has no checkpoint: measure the piece `write` first")


def piece(args: argparse.Namespace) -> None:
    """Measure one piece in this process."""
    home, given = args.out / "models", records()
    task, weights = Language(tiny_tokenizer()), dict[str, torch.Tensor]()
    if args.piece == "write":
        weights = {"weights": torch.ones(CHECKPOINT_MIB * 2**18)}
    start = peak()

    def module(name: str) -> Any:
        return olvido.load(home / name, dtype=args.dtype).model

    def folder(name: str) -> Any:
        return lambda: olvido.load(home / name, dtype=args.dtype)

    clock, found = harness.Clock(), None
    if args.piece == "score":
        score(module, task, given)
    elif args.piece.startswith("audit"):
        how = folder if args.piece.endswith("folders") else module
        one = args.piece.split("-")[1]
        audits = CHEAP if one == "cheap" else (one,) if one in TRAINED else TRAINED
        found = audited(how, task, given, audits)
    elif args.piece == "load":
        loaded(home, "candidate", "float32")
    elif args.piece == "load-half":
        loaded(home, HALF, "bfloat16")
    elif args.piece == "write":
        written(args.out / "checkpoints", weights)
    elif args.piece == "read":
        read_again(args.out / "checkpoints")
    else:
        forgotten(module, task, given, 8 if args.piece == "lora" else None)
    spent = clock.read()
    result = {"start": start, "peak": peak(), "findings": found} | spent
    harness.write(harness.header(piece=args.piece, dtype=args.dtype, **result), args.measured)


PIECES = (
    "score", "audit-cheap-modules", "audit-cheap-folders", "audit-modules", "audit-folders",
    *(f"audit-{name}-folders" for name in TRAINED),
    "lora", "full", "load", "load-half", "write", "read",
)  # fmt: skip


def main() -> None:
    """Measure every piece that was not measured yet, and print the tables."""
    parser = harness.arguments(__doc__, folder=True, threads=2, seed=0)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--pieces", nargs="+", choices=PIECES, default=list(PIECES))
    parser.add_argument("--piece", help=argparse.SUPPRESS)
    parser.add_argument("--measured", type=Path, help=argparse.SUPPRESS)
    args = harness.parsed(parser)
    if args.piece is not None:
        piece(args)
        return
    make(args.out / "models", args.seed, args.dtype)
    found = {}
    for name in args.pieces:
        file = args.out / f"{name}.json"
        if not file.exists():
            alone = [*sys.argv[1:], "--piece", name, "--measured", str(file)]
            subprocess.run([sys.executable, __file__, *alone], check=True)
        found[name] = harness.read(file)
        print(name, found[name]["peak"] // 2**20, round(found[name]["seconds"], 1), flush=True)
    harness.finish(
        harness.header(seed=args.seed, dtype=args.dtype, pieces=found), args, "memory.json"
    )
    rows = [
        (
            name,
            *(f"{one[k] / 2**20:.0f}" for k in ("start", "peak")),
            f"{one['processor_seconds']:.0f}",
        )
        for name, one in found.items()
    ]
    harness.show(harness.table(("piece", "start, MiB", "peak, MiB", "processor, s"), rows))


if __name__ == "__main__":
    main()
