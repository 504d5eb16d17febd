"""Proxies that judge a search's trial: cheap, on records that no trial trains on or is audited
with.

Finished trials are stored in a folder, so that an interrupted search continues.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch
from torch.nn import Module
from torch.nn import functional as F

from olvido.errors import InputError, StateError
from olvido.files import finite, new_file, read_document, write_document
from olvido.methods.gradient.calibration import targets
from olvido.methods.types import Side, Split, StepMetrics, Trial
from olvido.models import weights_digest
from olvido.tasks import Example, Task
from olvido.tasks.sampling import nearest

BATCH = 64
NEAR, FAR = 48, 96
"""Retained records, at the most, for measuring damage: near the forgotten ones, and all."""
PUT_ASIDE = 8
"""One in so many retained records is held out."""
ANSWERED = 32
"""Forgotten records, at the most, whose answers are generated for fluency."""


class Band(NamedTuple):
    """A proxy's tolerated range, and its meaning in a sentence for people."""

    low: float
    high: float
    says: str


BANDS: Mapping[str, Band] = {
    "loss": Band(-0.15, 0.15, "loss on the forgotten beside never learned, as a share of it"),
    "probability": Band(-math.inf, 0.05, "probability of the forgotten above never learned"),
    "recall": Band(-math.inf, 0.05, "share of the forgotten still said, above never learned"),
    "membership": Band(
        -0.15, 0.15, "AUC of telling the forgotten from non-members, beside expected"
    ),
    "kept": Band(-0.02, math.inf, "change in the share of kept records that are said"),
    "kept loss": Band(-math.inf, 0.10, "rise of the kept records' loss, nats a token"),
    "neighbours": Band(-0.03, math.inf, "change in the share of near records that are said"),
    "neighbours loss": Band(-math.inf, 0.20, "rise of the near records' loss, nats a token"),
    "strangeness": Band(
        -math.inf, 2.0, "rise of the perplexity of answers under the base, nats a token"
    ),
}
"""The audits' tolerances, and less where a target calibrated on holdout records is off by the
difference (docs/results/search.md)."""
FORGETTING = ("loss", "probability", "recall", "membership")
"""Proxies of forgetting; the remaining proxies measure side effects."""


class Seen(NamedTuple):
    """One model's loss on a record in nats a token, and whether it would give the answer."""

    loss: float
    recalled: float


@torch.no_grad()
def observe(model: Module, records: Sequence[Example], task: Task) -> dict[str, Seen]:
    """A model's loss and recall of records, by their ids."""
    device = next(model.parameters()).device
    model.eval()
    found: dict[str, Seen] = {}
    for batch in task.batches(records, BATCH):
        logits, answers, rows = task.answer_logits(model, batch.to(device))
        size = len(batch.ids)
        loss = F.cross_entropy(logits.float(), answers, reduction="none")
        missed = (logits.argmax(-1) != answers).float()
        total, wrong = (
            torch.zeros(size, device=device).index_add(0, rows, v) for v in (loss, missed)
        )
        losses = (total / torch.bincount(rows, minlength=size)).tolist()
        recalled = (wrong == 0).float().tolist()
        found |= {i: Seen(a, b) for i, a, b in zip(batch.ids, losses, recalled, strict=True)}
    return found


@dataclass(frozen=True)
class Expected:
    """Mean proxies of the forget set under models that never learned it."""

    loss: float
    probability: float
    recall: float
    membership_auc: float


class Yardstick:
    """The reference values of all trials, computed once.

    Held-out retained records are no part of `split`, with which trials run: no regulariser uses
    them, so that they show side effects.

    Args:
        original: the original model.
        split: forget set and retain set, with holdout records or never-trained models.
        task: how records become batches.
    """

    def __init__(self, original: Module, split: Split, task: Task) -> None:
        self._task, self._forget, self._holdout = task, split.forget, split.holdout
        near = nearest(split.forget, split.retain, PUT_ASIDE * len(split.forget))
        self._near = near[::PUT_ASIDE][:NEAR]
        aside = {record.id for record in self._near}
        far = tuple(record for record in split.retain if record.id not in aside)
        self._far = far[::PUT_ASIDE][:FAR]
        aside |= {record.id for record in self._far}
        self.split = replace(split, retain=tuple(r for r in split.retain if r.id not in aside))
        """The records that trials run with."""
        self._asked = tuple(r for r in split.forget if r.prompt)[:ANSWERED]
        self._speaks = task.language and bool(self._asked)
        self._original = original
        self._original_seen = observe(original, [*self._near, *self._far], task)
        self.expected = self._expect(original, split)
        self._read = self._split_holdout(split) if self._speaks else 0.0

    @property
    def reference_cost(self) -> float:
        """Tokens of one evaluation, all forward."""
        probes = (*self._forget, *self._holdout, *self._near, *self._far)
        # An answer is generated and then scored.
        return float(
            sum(map(self._task.width, probes)) + 2 * sum(map(self._task.width, self._asked))
        )

    def measure(self, model: Module) -> dict[str, float]:
        """Every proxy of a model that has forgotten."""
        expected = self.expected
        now = observe(model, [*self._forget, *self._holdout, *self._near, *self._far], self._task)
        on_forget = [now[r.id] for r in self._forget]
        found = {
            "loss": fmean(s.loss for s in on_forget) / expected.loss - 1,
            "probability": fmean(math.exp(-s.loss) for s in on_forget) - expected.probability,
            "recall": fmean(s.recalled for s in on_forget) - expected.recall,
        }
        if self._holdout:
            strange = [now[r.id].loss for r in self._holdout]
            found["membership"] = (
                membership_auc([s.loss for s in on_forget], strange) - expected.membership_auc
            )
        for name, records in (("kept", self._far), ("neighbours", self._near)):
            if records:
                was, are = ([seen[r.id] for r in records] for seen in (self._original_seen, now))
                found[name] = fmean(s.recalled for s in are) - fmean(s.recalled for s in was)
                found[f"{name} loss"] = fmean(s.loss for s in are) - fmean(s.loss for s in was)
        if self._speaks:
            found["strangeness"] = self._perplexity(model, self._asked) - self._read
        return found

    def judge(self, proxies: Mapping[str, float]) -> tuple[Side, float]:
        """The side on which proxies miss their bands, and the worst miss; 1 is the band's end."""
        worst = 0.0
        out: dict[str, bool] = {}
        for name, value in proxies.items():
            low, high = self.band(name)
            end = high if value > 0 else -low
            share = abs(value) / end if math.isfinite(end) else 0.0
            if not math.isfinite(value):
                share = math.inf
            worst = max(worst, share)
            if share > 1:
                out[name] = value > 0
        if not out:
            return Side.GOOD, worst
        if worst == math.inf or any(name not in FORGETTING for name in out):
            return Side.HARM, worst
        # The loss decides the side; if it is in its band, any other proxy does.
        more = (
            out["loss"]
            if "loss" in out
            else not any(name in ("probability", "recall") or not out[name] for name in out)
        )
        return (Side.TOO_MUCH if more else Side.TOO_LITTLE), worst

    def band(self, name: str) -> tuple[float, float]:
        """The tolerated range, of one record at the least: of few, one is a large share."""
        low, high, _ = BANDS[name]
        asked = {"recall": self._forget, "kept": self._far, "neighbours": self._near}
        one = 1.01 / len(asked[name]) if asked.get(name) else 0.0
        return min(low, -one), max(high, one)

    def _expect(self, original: Module, split: Split) -> Expected:
        goals = targets(original, split, self._task, BATCH)
        if not split.never:
            strange = observe(original, self._holdout, self._task)
            losses = [s.loss for s in strange.values()]
            return Expected(
                fmean(goals.values()),
                fmean(math.exp(-loss) for loss in losses),
                fmean(s.recalled for s in strange.values()),
                # Proxies of a run that ends at its targets.
                membership_auc(list(goals.values()), losses),
            )
        on_forget, areas = [], []
        for model in split.never:
            seen = observe(model, [*split.forget, *self._holdout], self._task)
            on_forget += [seen[r.id] for r in split.forget]
            if self._holdout:
                own, others = (
                    [seen[r.id].loss for r in records] for records in (split.forget, self._holdout)
                )
                areas.append(membership_auc(own, others))
        return Expected(
            fmean(goals.values()),
            fmean(math.exp(-s.loss) for s in on_forget),
            fmean(s.recalled for s in on_forget),
            fmean(areas) if areas else 0.5,
        )

    def _split_holdout(self, split: Split) -> float:
        """The perplexity of answers from models that never learned them."""
        if split.never:
            return fmean(self._perplexity(model, self._asked) for model in split.never)
        asked = [record for record in self._holdout if record.prompt]
        return self._perplexity(self._original, asked[:: max(1, len(asked) // ANSWERED)])

    def _perplexity(self, model: Module, asked: Sequence[Example]) -> float:
        """Mean loss of the original model on answers as plain text, without the question."""
        answers = self._task.generate(model, asked, BATCH)
        said = [
            Example(f"{r.id}/said", "", answer.strip() or "?", r.fields)
            for r, answer in zip(asked, answers, strict=True)
        ]
        return fmean(s.loss for s in observe(self._original, said, self._task).values())


def membership_auc(some: Sequence[float], others: Sequence[float]) -> float:
    """Probability that one of `some` is larger than one of `others`, a tie counting half.

    >>> membership_auc([1.0, 2.0], [1.0, 1.0])
    0.75
    """
    pairs = [(a > b) + (a == b) / 2 for a in some for b in others]
    return sum(pairs) / len(pairs)


class TrialStore:
    """A search's trials on disk: their numbers, and the weights of a good trial.

    The weights have forgotten the forget set and nothing else; the numbers name nobody.

    Args:
        folder: made where it is missing.
        origin: the digest of the original model.
        split, task, seed: the search's. Another search has other keys, and may share the folder.
    """

    def __init__(self, folder: Path, origin: str, split: Split, task: Task, seed: int) -> None:
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is no folder: name one for the trials")
        self._folder = folder
        whole = hashlib.sha256(f"{origin}|{seed}".encode())
        for side in (split.forget, split.retain, split.holdout):
            whole.update(b"|")
            for record in side:
                whole.update(hashlib.sha256(record.id.encode()).digest())
                whole.update(hashlib.sha256(task.content(record)).digest())
        for model in split.never:
            whole.update(weights_digest(model).encode())
        self._search = whole.hexdigest()

    def read(
        self, method: str, options: Mapping[str, Any]
    ) -> tuple[Trial, tuple[StepMetrics, ...]] | None:
        """A finished trial with its history; None where it has not finished."""
        file = self._file(method, options)
        if not file.exists():
            return None
        found = read_document(file)
        try:
            history = tuple(StepMetrics(*moment) for moment in found.pop("history"))
            distance = float("inf") if found["distance"] is None else found["distance"]
            return Trial(**found | {"side": Side(found["side"]), "distance": distance}), history
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"{file} is no finished trial ({error}): remove it") from error

    def write(self, trial: Trial, history: Sequence[StepMetrics], model: Module | None) -> None:
        """Store a finished trial, and its model if passed."""
        file = self._file(trial.method, trial.options)
        if model is not None:
            from safetensors.torch import save_model

            with new_file(file.with_suffix(".safetensors")) as unfinished:
                save_model(model, str(unfinished))
        moments = [[m.step, m.forget, m.retain] for m in history]
        write_document(replace(trial, taken=False).to_dict() | {"history": moments}, file)

    def model(self, trial: Trial, like: Module) -> Module | None:
        """The model of a finished trial, in a copy of `like`; None where it was not stored."""
        file = self._file(trial.method, trial.options).with_suffix(".safetensors")
        if not file.exists():
            return None
        from safetensors.torch import load_model

        model = copy.deepcopy(like)
        load_model(model, str(file))
        return model.eval()

    def _file(self, method: str, options: Mapping[str, Any]) -> Path:
        asked = json.dumps([self._search, method, finite(options)], sort_keys=True)
        return self._folder / f"{method}-{hashlib.sha256(asked.encode()).hexdigest()[:16]}.json"
