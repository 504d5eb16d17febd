"""Shadow models: trained for the attack alone, each on half of the people, so that for every record
some models are known to have learned it and as many are known not to have."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from torch.nn import Module

from olvido.audits.references import ReferenceTraining, carried_out
from olvido.audits.scoring import ScoredModel
from olvido.audits.types import Shadow
from olvido.errors import InputError, require_count
from olvido.learners import Recipe
from olvido.models.stored import ModelSlot
from olvido.tasks import Example, Task


def require_pairs(count: int) -> None:
    """Refuse a number of shadows that cannot be divided into pairs.

    Raises:
        InputError: it is odd, or less than two.
    """
    if count < 2 or count % 2:
        raise InputError(f"shadows come in pairs: give an even number of 2 or more, got {count}")
    require_count("shadows", count, most=1_000)


def train_shadows(
    model: Module,
    *,
    pool: Sequence[Example],
    always: Sequence[Example] = (),
    task: Task,
    recipe: Recipe,
    count: int,
    folder: Path,
    slot: ModelSlot | None = None,
    seed: int = 0,
    workers: int = 1,
    watch: Callable[[int, int], None] | None = None,
) -> tuple[Shadow, ...]:
    """Train shadow models, or load those that lie in the folder already.

    They come in pairs that share the people of the pool between them, so that every record is
    learned by exactly half of them (Carlini et al. 2022, arXiv 2112.03570, section 4).

    Args:
        model: the model that the candidate's training began with.
        pool: the records whose membership is to be attacked: the forget set and similar records;
            each person's records stay together.
        always: records that every shadow learns besides.
        task, recipe: of the candidate's training.
        count: the number of shadows, even.
        folder: each shadow lies in a folder of its own here and is not trained again: a stopped run
            continues. Half of them learned the forget set: remove the folder when those records are
            to be forgotten everywhere.
        slot: one of them at a time is loaded into it; None: a slot of their own.
        seed: of the division and of the trainings.
        workers: shadows trained at a time.
        watch: called with the number of shadows ready, and their total.

    Raises:
        InputError: an odd number, a pool of fewer than two people, or a record in both.
    """
    require_pairs(count)
    people = sorted({_person(record) for record in pool})
    if len(people) < 2:
        raise InputError(
            f"the pool of shadow models holds {len(people)} people, at least two are needed: "
            "add records of others (holdout, retain)"
        )
    if twice := {r.id for r in pool} & {r.id for r in always}:
        raise InputError(f"record {min(twice)!r} is in the pool and is always learned as well")
    members = [_members(pool, number, seed) for number in range(count)]
    ids = {record.id for record in pool}
    trainings = []
    for number, own in enumerate(members):
        learned = {record.id for record in own}
        card = {"members": sorted(learned), "others": sorted(ids - learned)}
        trainings.append(
            ReferenceTraining(
                "shadow", number, model, (*own, *always), seed=seed + number, card=card
            )
        )
    made = carried_out(
        trainings, task=task, recipe=recipe, folder=folder, slot=slot, workers=workers, watch=watch
    )
    return tuple(
        Shadow(ScoredModel(one, task), frozenset(t.card["members"]), frozenset(t.card["others"]))
        for one, t in zip(made, trainings, strict=True)
    )


def _members(pool: Sequence[Example], number: int, seed: int) -> list[Example]:
    """The people that one shadow learns: each of a pair learns those that the other lacks."""

    def holds(person: str) -> bool:
        # Keyed by pair and person: other people in the pool change nobody's place.
        pair = hashlib.sha256(f"{seed}|{number // 2}|{person}".encode()).digest()
        return (pair[0] + number) % 2 == 0

    return [record for record in pool if holds(_person(record))]


def _person(record: Example) -> str:
    return "|".join(record.subjects) or record.id
