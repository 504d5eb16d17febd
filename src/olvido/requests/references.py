"""Retrained models for the audit of a request: found in the ledger, or trained and entered.

A chain of trainings is repeated as one: each of its references is a chain of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import fields
from itertools import count as numbers
from typing import Any

from olvido.audits import ScoredModel
from olvido.entering import CALL
from olvido.errors import InputError, MissingNeed
from olvido.learners import Recipe, Watcher
from olvido.ledger.exclusion import training_of
from olvido.ledger.facts import DECLARED, Model
from olvido.methods import Cost, Split
from olvido.methods.types import priced
from olvido.models import Loaded
from olvido.models.stored import ModelSlot, StoredModel
from olvido.requests.types import ReferenceModel
from olvido.workspace import LedgerModel, Workspace

REFERENCES = 3
"""The number of retrained models that an empirical forgetting is audited against."""


def never_trained(
    workspace: Workspace,
    loaded: LedgerModel,
    ids: Collection[str],
    *,
    count: int,
    stage: Callable[[str], Watcher | None],
) -> tuple[ReferenceModel, ...]:
    """Return models trained like `loaded` on everything but these records, with other seeds.

    A chain of trainings is repeated from the first that taught one of these records. Models that
    the ledger has already are used; the rest are trained now and entered. Where nobody declared how
    a model was trained elsewhere, they are models that were entered with it. One of them at a time
    is in memory.

    Raises:
        MissingNeed: it is not known how the model was trained, and too few were entered.
        InputError: one that was entered has another vocabulary.
    """
    if lacking := lacking_references(workspace, loaded, ids, count=count):
        raise MissingNeed(lacking)
    line = repeated(workspace, loaded.fact, ids)
    if not all(_repeatable(training) for training, _ in line):
        ((training, gone),) = line
        found = _entered(workspace, training, gone)[:count]
        for model in found:
            _require_same_vocabulary(loaded, workspace.load(model.id))
        return _references(workspace, found)
    bases = [str(line[0][0].recipe["base"])] * count
    for number, (training, gone) in enumerate(line, start=1):
        of = f", training {number} of {len(line)}" if len(line) > 1 else ""
        found = _made(workspace, training, gone, bases, stage=stage, of=of)
        bases = [model.id for model in found]
    return _references(workspace, found)


def _made(
    workspace: Workspace,
    training: Model,
    gone: frozenset[str],
    bases: Sequence[str],
    *,
    stage: Callable[[str], Watcher | None],
    of: str,
) -> list[Model]:
    """One model for each of these bases, trained like this one without these records."""
    known = _found(workspace, training, gone, bases)
    taken = {training.seed, *(model.seed for model in known if model is not None)}
    seeds = (seed for seed in numbers(training.seed + 1) if seed not in taken)
    made = []
    for number, (base, there) in enumerate(zip(bases, known, strict=True), start=1):
        if there is None:
            watch = stage(f"Training a model that never saw it ({number} of {len(bases)}{of})")
            there = workspace.learn(
                [use.dataset for use in workspace.store.uses(training.id)],
                model=base,
                recipe=_recipe(training),
                learner=_learner(training),
                options=training.recipe.get("options"),
                seed=next(seeds),
                task=_noted(training),
                exclude=gone,
                watch=watch,
            )
        made.append(there)
    return made


def _found(
    workspace: Workspace, training: Model, gone: frozenset[str], bases: Sequence[str]
) -> list[Model | None]:
    """For each of these bases a model of the ledger that was trained so, none of them twice."""
    left = list(_known(workspace, training, gone, frozenset(bases)))
    found: list[Model | None] = []
    for base in bases:
        fits = next((model for model in left if model.recipe["base"] == base), None)
        if fits is not None:
            left.remove(fits)
        found.append(fits)
    return found


def _references(workspace: Workspace, found: Sequence[Model]) -> tuple[ReferenceModel, ...]:
    slot = ModelSlot()
    return tuple(_reference(workspace, model, slot) for model in found)


def _reference(workspace: Workspace, model: Model, slot: ModelSlot) -> ReferenceModel:
    def read() -> Loaded:
        found = workspace.load(model.id)
        folder = workspace.settings.models / model.path
        return Loaded(found.trained.model, found.tokenizer, str(folder))

    loaded = workspace.load(model.id)
    stored = StoredModel(read, slot, name=f"model {model.id}")
    return ReferenceModel(loaded.fact, ScoredModel.of(loaded.trained, loaded.task, stored=stored))


def lacking_references(
    workspace: Workspace, loaded: LedgerModel, ids: Collection[str], *, count: int
) -> str | None:
    """Why there can be no such references, and both ways to have some; None where there can."""
    if loaded.trained.trace.learner is None:
        return (
            f"how model {loaded.fact.id} was trained is not known: no never-trained model can be "
            "made to audit against: train it with 'olvido learn'"
        )
    line = repeated(workspace, loaded.fact, ids)
    unknown = [(training, gone) for training, gone in line if not _repeatable(training)]
    if not unknown:
        return None
    training, gone = unknown[0]
    entered = _entered(workspace, training, gone) if len(line) == 1 else []
    if len(entered) >= count:
        return None
    return (
        f"an audit compares with models that never saw the {len(gone)} records, {count} of them, "
        f"and there are {len(entered)}: model {training.id} was trained elsewhere, and nobody said "
        "both what it began with and how it was trained. Enter it again with both ('olvido models "
        "add FOLDER --learned DATASET --base MODEL --recipe FILE'), and they are trained here; or "
        "enter models that were trained elsewhere without these records ('olvido models add FOLDER "
        "--learned DATASET --without FILE')"
    )


def _repeatable(training: Model) -> bool:
    """Whether a training like this one can be run here: one elsewhere needs base and recipe."""
    said = {name for name, by in training.recipe.get("declared", {}).items() if by == CALL}
    return not training.elsewhere or {"base", "recipe"} <= said.union(
        training.recipe.get("witnessed", {})
    )


def _learner(training: Model) -> str:
    return "monolith" if training.elsewhere else training.learner


def _entered(workspace: Workspace, training: Model, gone: frozenset[str]) -> list[Model]:
    """Models that were trained elsewhere on the same data without these records, by declaration;
    the same weights count once."""
    found = {
        model.digest: model
        for model in _same_data(workspace, training, gone)
        if model.elsewhere and model.digest != training.digest
    }
    return list(found.values())


def _require_same_vocabulary(loaded: LedgerModel, other: LedgerModel) -> None:
    """Raise InputError where losses a token could not be compared."""
    theirs, own = (one.task.classes or one.tokenizer.get_vocab() for one in (other, loaded))
    if theirs != own:
        raise InputError(
            f"model {other.fact.id} has another vocabulary or other classes than model "
            f"{loaded.fact.id}, and cannot be compared with it: enter one that was trained with "
            "the same tokenizer, or the same classes in their order"
        )


def unpaid(workspace: Workspace, loaded: LedgerModel, split: Split, *, count: int) -> Cost | None:
    """Predict the cost of training the retrained models, of `count`, that the ledger lacks.

    None where it lacks none, or where it is unknown how the model was trained.
    """
    log = loaded.trained.trace
    gone = {example.id for example in split.forget}
    line = repeated(workspace, loaded.fact, gone)
    if not log.tokens or not all(
        training.learner != DECLARED and _repeatable(training) for training, _ in line
    ):
        return None
    bases: Sequence[str] = [str(line[0][0].recipe["base"])] * count
    for training, excluded in line:
        known = _found(workspace, training, excluded, bases)
        bases = [model.id for model in known if model is not None]
    missing = count - len(bases)
    return (
        priced(loaded.trained, split, missing * log.tokens_without(gone)) if missing > 0 else None
    )


def repeated(
    workspace: Workspace, model: Model, ids: Collection[str]
) -> tuple[tuple[Model, frozenset[str]], ...]:
    """The trainings of a model, from the first that taught one of these records on, each with the
    records that no reference for it may have learned.

    A training is repeated as well if a later version forgot what it taught, or if the model that it
    made is gone: nothing can begin there.
    """
    store, version, hit = workspace.store, model, 0
    left_in_all = {use.dataset: use.excluded for use in workspace.left(model)}
    line: list[tuple[Model, frozenset[str]]] = []
    while True:
        training = training_of(workspace.store, version)
        own = {use.dataset for use in store.uses(training.id)}
        there = {record.id for name in own for record in store.records(name)}
        left = frozenset[str]().union(
            *(use.excluded for use in workspace.left(version, chain=False) if use.dataset in own)
        )
        gone = there.intersection(ids).union(*(left_in_all[name] for name in own))
        line.append((training, left | gone))
        lost = not (workspace.settings.models / version.path).is_dir()
        if not gone <= left or (lost and version is not model):
            hit = len(line)
        if not training.parents:
            return tuple(reversed(line[: max(hit, 1)]))
        version = store.model(training.parents[0])


def _recipe(training: Model) -> Recipe:
    """The hyper-parameters among what the ledger wrote down of a training."""
    names = {field.name for field in fields(Recipe)}
    return Recipe.from_dict({k: v for k, v in training.recipe.items() if k in names})


def _noted(training: Model) -> dict[str, Any]:
    """What the ledger wrote down of a training's task."""
    beside = {
        "base",
        "options",
        "declared",
        "unknown_data",
        "privacy",
        *(f.name for f in fields(Recipe)),
    }
    return {name: value for name, value in training.recipe.items() if name not in beside}


def _made_like(training: Model) -> dict[str, Any]:
    """All that decides how a training like this one is done, but its seed and its base."""
    beside = {"options": training.recipe.get("options")} | _noted(training)
    return beside | {"learner": _learner(training), **_recipe(training).to_dict()}


def _known(
    workspace: Workspace, training: Model, gone: frozenset[str], bases: Collection[str]
) -> Iterator[Model]:
    """Models that Olvido trained like this one without these records, from one of these bases."""
    for model in _same_data(workspace, training, gone):
        if (
            model.learner == _learner(training)
            and model.seed != training.seed
            and model.recipe.get("base") in bases
            and _made_like(model) == _made_like(training)
        ):
            yield model


def _same_data(workspace: Workspace, training: Model, gone: frozenset[str]) -> Iterator[Model]:
    """Trained models whose weights are there, of the same datasets without these records alone.

    Records of withdrawn consent make no difference: only a model from elsewhere can have them.
    """
    datasets = {use.dataset for use in workspace.store.uses(training.id)}
    withdrawn = frozenset[str]().union(*map(workspace.store.withdrawn, datasets))
    for model in workspace.store.models():
        uses = workspace.store.uses(model.id)
        if (
            model.method is None
            and model.tombstone is None
            and {use.dataset for use in uses} == datasets
            and frozenset[str]().union(*(use.excluded for use in uses)) | withdrawn
            == gone | withdrawn
        ):
            yield model
