"""EK-FAC here and in Kronfluence, on the same matrices and records, one after the other.

    pip install --no-deps --target build/kronfluence kronfluence einops opt_einsum einconv
    export PYTHONPATH=build/kronfluence
    python benchmarks/influence_peer.py --zoo build/zoo --out build/peer.json

The matrices are those of the blocks of the demo's tiny model: its embedding, which is its head as
well, and its norms are left out, for Kronfluence has no rule for them. Both take a record's mean
loss.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import harness
from olvido.curvature import drawn_targets, fit_ekfac, influences
from olvido.learners import Lora
from olvido.tasks import Example
from olvido.training import recipe as adapters
from zoo import Zoo, town


def peer(
    model: Any, records: tuple[Example, ...], queries: tuple[Example, ...], task: Any, folder: Path
) -> tuple[Any, dict[str, float]]:
    """Kronfluence's scores, and processor seconds and bytes of each part."""
    from kronfluence.analyzer import Analyzer, prepare_model
    from kronfluence.arguments import FactorArguments, ScoreArguments
    from kronfluence.task import Task
    from kronfluence.utils.dataset import DataLoaderKwargs

    class Mean(Task):  # type: ignore[misc]
        """A record's mean loss; drawn targets weigh as they do here."""

        def compute_train_loss(self, batch: Any, model: Any, sample: bool = False) -> Any:
            ids, mask, targets = batch["ids"], batch["mask"], batch["targets"]
            logits = (
                model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1].float()
            )
            wanted = targets[:, 1:]
            held = wanted != -100
            if sample:
                ids = [records[i].id for i in batch["places"].tolist()]
                rows = held.nonzero()[:, 0]
                wanted = wanted.clone()
                wanted[held] = drawn_targets(logits[held], ids, rows, draw)
            each = F.cross_entropy(
                logits.flatten(0, 1), wanted.flatten(), reduction="none", ignore_index=-100
            ).reshape(wanted.shape)
            counts = held.sum(1)
            return (each.sum(1) / (counts.sqrt() if sample else counts)).sum()

        def compute_measurement(self, batch: Any, model: Any) -> Any:
            return self.compute_train_loss(batch, model)

        def get_influence_tracked_modules(self) -> list[str]:
            return tracked(model)

        def get_attention_mask(self, batch: Any) -> Any:
            return batch["mask"]

    class Rows(torch.utils.data.Dataset):  # type: ignore[type-arg]
        """Records, one by one."""

        def __init__(self, rows: tuple[Example, ...]) -> None:
            self.rows = rows

        def __len__(self) -> int:
            return len(self.rows)

        def __getitem__(self, i: int) -> Example:
            return self.rows[i]

    place = {record.id: i for i, record in enumerate(records)}

    def collate(rows: list[Example]) -> dict[str, Any]:
        batch = task.collate(rows)
        return {
            "ids": batch.input_ids,
            "mask": batch.attention_mask,
            "targets": batch.targets,
            "places": torch.tensor([place.get(row.id, -1) for row in rows]),
        }

    mine = Mean()
    ready = prepare_model(model, mine)
    analyzer = Analyzer(
        analysis_name="peer",
        model=ready,
        task=mine,
        cpu=True,
        output_dir=str(folder),
        disable_tqdm=True,
        log_main_process_only=True,
    )
    analyzer.set_dataloader_kwargs(DataLoaderKwargs(collate_fn=collate, num_workers=0))
    began = time.process_time()
    given = {
        "factors_name": "ekfac",
        "dataset": Rows(records),
        "per_device_batch_size": 16,
        "factor_args": FactorArguments(strategy="ekfac"),
    }
    # The targets that are drawn here, in each of the two passes.
    draw = "0/basis"
    analyzer.fit_covariance_matrices(**given)
    analyzer.perform_eigendecomposition("ekfac", factor_args=given["factor_args"])
    draw = "0/curvature"
    analyzer.fit_lambda_matrices(**given)
    fitted = time.process_time()
    analyzer.compute_pairwise_scores(
        scores_name="scores",
        factors_name="ekfac",
        query_dataset=Rows(queries),
        train_dataset=Rows(records),
        per_device_query_batch_size=len(queries),
        per_device_train_batch_size=16,
        score_args=ScoreArguments(damping_factor=None),
    )
    ended = time.process_time()
    found = analyzer.load_pairwise_scores("scores")["all_modules"].numpy()
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file() and "factors" in str(f))
    return found, {"fit": fitted - began, "scores": ended - fitted, "bytes": size}


def here(
    model: Any,
    records: tuple[Example, ...],
    queries: tuple[Example, ...],
    task: Any,
    folder: Path,
    seed: int,
) -> tuple[Any, dict[str, float]]:
    """The same here."""
    names = {f"{name}.weight" for name in tracked(model)}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)
    began = time.process_time()
    curvature = fit_ekfac(model, records, task, seed=seed, folder=folder)
    fitted = time.process_time()
    found = influences(model, records, queries, task, curvature).numpy()
    ended = time.process_time()
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    return found, {"fit": fitted - began, "scores": ended - fitted, "bytes": size}


def tracked(model: Any) -> list[str]:
    """The matrices of the blocks; of their adapters alone where there are any."""
    names = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and "lm_head" not in name
    ]
    return [name for name in names if "lora_" in name] or names


def main() -> None:
    """Measure both and write the ratios."""
    parser = harness.arguments(__doc__)
    parser.add_argument("--zoo", type=Path, required=True)
    parser.add_argument("--records", type=int, default=320)
    parser.add_argument("--queries", type=int, default=10)
    args = harness.parsed(parser)
    torch.manual_seed(0)
    zoo = Zoo(town(), args.zoo)
    records = zoo.town.rows[:: max(1, len(zoo.town.rows) // args.records)][: args.records]
    queries = zoo.town.forget[: args.queries]
    folder = Path(tempfile.mkdtemp())
    given = (records, queries, zoo.town.task)
    try:
        ours, took = here(zoo.knowing(0), *given, folder / "here", 0)
        theirs, peers = peer(zoo.knowing(0), *given, folder / "peer")
        again, _ = here(zoo.knowing(0), *given, folder / "again", 1)
        adapted = [adapters.attach(zoo.knowing(0), Lora(rank=8), seed=0) for _ in range(2)]
        _, own = here(adapted[0], *given, folder / "here, lora", 0)
        _, other = peer(adapted[1], *given, folder / "peer, lora")
    finally:
        shutil.rmtree(folder)
    row = harness.header() | {
        "records": len(records),
        "queries": len(queries),
        "here": took,
        "kronfluence": peers,
        "ratio": {part: peers[part] / took[part] for part in took},
        "correlation": float(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1]),
        "correlation of two seeds here": float(np.corrcoef(ours.ravel(), again.ravel())[0, 1]),
    }
    row["bytes, adapters of rank 8"] = {
        "here": own["bytes"],
        "kronfluence, the same": other["bytes"],
        "kronfluence, the matrices": peers["bytes"],
    }
    harness.finish(row, args)


if __name__ == "__main__":
    main()
