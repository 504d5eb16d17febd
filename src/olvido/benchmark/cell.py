"""One cell of a comparison, in a process of its own: `python -m olvido.benchmark.cell`.

It reads its specification from standard input, so that no record is written down on the way, and
writes one document. A separate process has its own peak of memory. Its input was pickled by the
starting process, so that custom methods and metrics arrive whole.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from torch.nn import Module

from olvido.audits import Audit, Report, Status, audit
from olvido.errors import ModelDestroyed, OlvidoError
from olvido.files import write_document
from olvido.methods import Method, Outcome, forget
from olvido.models import load
from olvido.models.stored import ModelSlot, StoredModel
from olvido.tasks import Example, Language

ORIGINAL, NEVER = "original", "never trained"
"""Rows that no method made: the original model, and each never-trained one as a candidate."""


@dataclass(frozen=True)
class CellSpec:
    """The specification of a cell.

    Attributes:
        model: a folder or hub id.
        references: folders or hub ids of never-trained models.
        records: forget set, retain set and so on, by name.
        row: its row in the table: the method's name, `ORIGINAL` or `NEVER`.
        method: the method's name, or the method itself; None for `ORIGINAL` and `NEVER`.
        options: options of a named method.
        seed: the method's seed; for `NEVER`, the index of the reference.
        level: the audit's level.
        chat: whether the tokenizer's chat template is used; None: where there is one.
        dtype: type of the weights; `device`: their device.
        cache: a folder of models' scores and answers.
        out: the document to write.
        metrics: further audits.
        base: what the model was trained from, for a method that begins there; None: for none.
    """

    model: str
    references: tuple[str, ...]
    records: Mapping[str, Sequence[Example]]
    row: str
    method: str | Method | None
    seed: int
    out: str
    cache: str
    options: Mapping[str, Any] = field(default_factory=dict)
    metrics: Sequence[str | Audit] = ()
    level: str = "quick"
    chat: bool | None = None
    dtype: str = "float32"
    device: str = "cpu"
    base: str | None = None


def carry_out(order: CellSpec) -> dict[str, Any]:
    """Forget, measure, and audit."""
    slot = ModelSlot()

    def stored(name: str) -> StoredModel:
        read = partial(load, name, dtype=order.dtype, device=order.device)
        return StoredModel(read, slot, name=name)

    original = stored(order.model)
    task = Language(original.tokenizer, chat=order.chat)
    records = order.records
    candidate: Module | StoredModel | Outcome = original
    made: dict[str, Any] = {"method": order.row, "seed": order.seed, "failure": None}
    if order.method is not None:
        began = peak()
        try:
            outcome = forget(
                original.module,
                forget=records["forget"],
                retain=records["retain"],
                holdout=records["calibrating"],
                base=None if order.base is None else stored(order.base).module,
                task=task,
                method=order.method,
                seed=order.seed,
                **order.options,
            )
        except ModelDestroyed as error:
            outcome, made["failure"] = error.outcome, str(error)
        except OlvidoError as error:
            return made | {"verdict": "fail", "failure": str(error), "audit": None}
        candidate = outcome
        most = peak()
        document = outcome.to_dict()
        made |= {
            name: document[name] for name in ("cost", "stopped", "options", "trials", "history")
        }
        made["memory"] = {"peak": most, "before": began}
    references = [stored(name) for name in order.references]
    if order.row == NEVER:
        candidate = references.pop(order.seed)
    report = audit(
        candidate,
        forget=records["forget"],
        retain=records["retain"],
        neighbours=records["neighbours"],
        general=records["general"],
        holdout=records["attacked"],
        # The original model cannot be compared with itself.
        original=original,
        reference=references,
        task=task,
        level=order.level,
        metrics=order.metrics,
        cache=Path(order.cache),
    )
    verdict = "fail" if made["failure"] else report.verdict.value
    failed = _failed(report)
    return made | {"verdict": verdict, "failed": failed, "audit": report.to_dict(texts=False)}


def peak() -> int | None:
    """The peak memory of this process since it began, in bytes.

    It is the kernel's value for this process (VmHWM); `getrusage` would begin with the memory of
    the process that started it. None where there is no such value.
    """
    try:
        lines = Path("/proc/self/status").read_text("ascii").splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), None)


def _failed(report: Report) -> list[str]:
    failed: dict[str, list[str]] = {}
    for found in report.findings:
        if found.votes and found.status is Status.FAIL:
            failed.setdefault(found.audit, []).append(found.metric)
    return [f"{audit} ({', '.join(metrics)})" for audit, metrics in failed.items()]


def main(given: BinaryIO) -> None:
    """Read a specification, carry it out, and write the result."""
    asked: CellSpec = pickle.load(given)
    write_document(carry_out(asked), Path(asked.out))


if __name__ == "__main__":
    main(sys.stdin.buffer)
