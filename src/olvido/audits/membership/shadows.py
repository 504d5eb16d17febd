"""Shadow models: trained for the attack alone, each on half of the people, so that for every record
some models are known to have learned it and as many are known not to have."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.nn import Module

from olvido.audits.scoring import Witness
from olvido.audits.types import Shadow
from olvido.documents import write_document
from olvido.errors import InputError
from olvido.learners import Recipe, train
from olvido.learners.parallel import side_by_side
from olvido.models import weights_digest
from olvido.models.sending import sendable
from olvido.tasks import Example, Task

WEIGHTS, CARD = "weights.safetensors", "shadow.json"


def train_shadows(
    model: Module,
    *,
    pool: Sequence[Example],
    always: Sequence[Example] = (),
    task: Task,
    recipe: Recipe,
    count: int,
    folder: Path,
    seed: int = 0,
    workers: int = 1,
) -> tuple[Shadow, ...]:
    """Train shadows, or take those that lie in the folder already.

    They come in pairs that share the people of the pool between them, so that every record is
    learned by exactly half of them (Carlini et al. 2022, arXiv 2112.03570, section 4).

    Args:
        model: what the suspect's training began with.
        pool: the records whose membership is to be attacked, the forgotten and others of the same
            making; people stay whole.
        always: what every shadow learns besides.
        task, recipe: of the suspect's training.
        count: how many, an even number.
        folder: each shadow lies in a folder of its own here, and one that is there is not trained
            again: a run that was stopped goes on.
        seed: of the division and of the trainings.
        workers: trained at a time.

    Raises:
        InputError: an odd number, a pool of fewer than two people, or a record in both.
    """
    if count < 2 or count % 2:
        raise InputError(f"shadows come in pairs: give an even number of 2 or more, got {count}")
    people = sorted({_person(record) for record in pool})
    if len(people) < 2:
        raise InputError(
            f"the pool of shadow models holds {len(people)} people, at least two are needed: "
            "add records of others (holdout, retain)"
        )
    if twice := {r.id for r in pool} & {r.id for r in always}:
        raise InputError(f"record {min(twice)!r} is in the pool and is always learned as well")
    base = weights_digest(model)
    plans = [_Plan(number, pool, always, seed) for number in range(count)]
    folder.mkdir(parents=True, exist_ok=True)
    homes = [folder / plan.name(base, task, recipe) for plan in plans]
    sent = sendable(model)
    jobs = [
        partial(_train, sent, plan, task, recipe, seed, home)
        for plan, home in zip(plans, homes, strict=True)
        if not (home / CARD).is_file()
    ]
    for _ in side_by_side(jobs, workers=workers):
        pass
    return tuple(_read(home, model, task) for home in homes)


@dataclass(frozen=True)
class _Plan:
    """Who is a member of one shadow."""

    number: int
    pool: Sequence[Example]
    always: Sequence[Example]
    seed: int

    @property
    def members(self) -> list[Example]:
        return [record for record in self.pool if self._holds(_person(record))]

    def _holds(self, person: str) -> bool:
        # Keyed by pair and person: who else is in the pool changes nobody's place.
        pair = hashlib.sha256(f"{self.seed}|{self.number // 2}|{person}".encode()).digest()
        return (pair[0] + self.number) % 2 == 0

    def name(self, base: str, task: Task, recipe: Recipe) -> str:
        """A folder's name that another base, recipe, seed or record would change."""
        total = hashlib.sha256(
            json.dumps([base, recipe.to_dict(), self.seed, self.number], sort_keys=True).encode()
        )
        for record in (*self.members, *self.always):
            total.update(hashlib.sha256(record.id.encode() + b"\0").digest())
            total.update(hashlib.sha256(task.fingerprint(record)).digest())
        return f"shadow-{self.number:03d}-{total.hexdigest()[:16]}"


def _train(model: Module, plan: _Plan, task: Task, recipe: Recipe, seed: int, home: Path) -> None:
    members = plan.members
    learned = [*members, *plan.always]
    torch.set_num_threads(1)
    trained = train(model, records=learned, task=task, recipe=recipe, seed=seed + plan.number)
    ids = {record.id for record in members}
    unfinished = Path(tempfile.mkdtemp(prefix=f".{home.name}-", dir=home.parent))
    try:
        save_file(_distinct(trained.model), str(unfinished / WEIGHTS))
        card = {"members": sorted(ids), "others": sorted({r.id for r in plan.pool} - ids)}
        write_document(card | {"digest": trained.digest}, unfinished / CARD)
        # An empty folder of the same name, left by another process, gives way.
        os.replace(unfinished, home)
    finally:
        if unfinished.exists():
            shutil.rmtree(unfinished)


def _read(home: Path, model: Module, task: Task) -> Shadow:
    card: dict[str, Any] = json.loads((home / CARD).read_text(encoding="utf-8"))
    twin = copy.deepcopy(sendable(model))
    twin.load_state_dict(load_file(str(home / WEIGHTS)), strict=False)
    witness = Witness(twin.eval(), task)
    if witness.digest != card["digest"]:
        raise InputError(
            f"{home} does not hold the weights that were trained there: remove it, and it is "
            "trained again"
        )
    return Shadow(witness, frozenset(card["members"]), frozenset(card["others"]))


def _distinct(model: Module) -> dict[str, torch.Tensor]:
    """Every tensor once: tied weights share memory, which safetensors refuses."""
    found, seen = {}, set()
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() not in seen or not tensor.numel():
            seen.add(tensor.data_ptr())
            found[name] = tensor.contiguous()
    return found


def _person(record: Example) -> str:
    return "|".join(record.subjects) or record.id
