"""Models that never saw the forgotten records: what every audit is measured against."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from itertools import count as numbers

from olvido.errors import MissingNeed
from olvido.forgetting import Cost, Split
from olvido.forgetting.types import priced
from olvido.learners import Recipe, Untraced, Watcher
from olvido.ledger.facts import Model
from olvido.workspace import Held, Workspace


def never_trained(
    workspace: Workspace,
    held: Held,
    ids: Collection[str],
    *,
    count: int,
    stage: Callable[[str], Watcher | None],
) -> tuple[Held, ...]:
    """Models trained like `held` on everything but these records, with other seeds.

    Those that the ledger has already are used; the rest are trained now and entered.

    Raises:
        MissingNeed: it is not known how the model was trained.
    """
    if isinstance(held.trained.trace, Untraced):
        raise MissingNeed(
            f"how model {held.fact.id} was trained is not known, so no never-trained model can be "
            "made to audit against: train it with 'olvido learn'"
        )
    training, gone = _without(workspace, held, ids)
    found = list(_known(workspace, training, gone))[:count]
    taken = {training.seed, *(model.seed for model in found)}
    seeds = (seed for seed in numbers(training.seed + 1) if seed not in taken)
    while len(found) < count:
        watch = stage(f"Training a model that never saw it ({len(found) + 1} of {count})")
        found.append(
            workspace.learn(
                [use.dataset for use in workspace.left(held.fact)],
                model=str(training.recipe["base"]),
                recipe=_recipe(training),
                learner=training.learner,
                options=training.recipe.get("options"),
                seed=next(seeds),
                chat=held.task.chat,
                exclude=gone,
                watch=watch,
            )
        )
    return tuple(workspace.load(model.id) for model in found)


def unpaid(workspace: Workspace, held: Held, split: Split, *, count: int) -> Cost | None:
    """What it takes to train those of `count` never-trained models that the ledger has not yet.

    None where all are there, or where nobody knows how the model was trained.
    """
    log = held.trained.trace
    if isinstance(log, Untraced) or not log.tokens:
        return None
    gone = {example.id for example in split.forget}
    training, excluded = _without(workspace, held, gone)
    missing = count - len(list(_known(workspace, training, excluded)))
    return priced(held.trained, split, missing * log.tokens_without(gone)) if missing > 0 else None


def _without(
    workspace: Workspace, held: Held, ids: Collection[str]
) -> tuple[Model, frozenset[str]]:
    """The training of a model, and all that a model must not have learned to be a reference."""
    uses = workspace.left(held.fact)
    return workspace.training(held.fact), frozenset(ids).union(*(use.excluded for use in uses))


def _recipe(training: Model) -> Recipe:
    """The hyper-parameters among what the ledger wrote down of a training."""
    beside = ("base", "chat", "options")
    return Recipe.from_dict({k: v for k, v in training.recipe.items() if k not in beside})


def _known(workspace: Workspace, training: Model, gone: frozenset[str]) -> Iterator[Model]:
    datasets = {use.dataset for use in workspace.store.uses(training.id)}
    for model in workspace.store.models():
        uses = workspace.store.uses(model.id)
        if (
            model.method is None
            and model.learner == training.learner
            and model.seed != training.seed
            and dict(model.recipe) == dict(training.recipe)
            and {use.dataset for use in uses} == datasets
            and frozenset[str]().union(*(use.excluded for use in uses)) == gone
        ):
            yield model
