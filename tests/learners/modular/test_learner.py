"""Modules: who taught what lies in one adapter, and leaves with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from olvido.errors import InputError, UnknownName
from olvido.learners import Lora, Placement, Recipe, Trained, train
from olvido.methods import Guarantee, forget
from olvido.models import weights_digest
from olvido.models.routed import Routed
from olvido.tasks import Example, Labels, Language

from .conftest import RECIPE

Records = tuple[Example, ...]
pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)


def learn(base: Any, records: Records, task: Any, recipe: Recipe = RECIPE, **options: Any) -> Any:
    return train(
        base,
        records=records,
        task=task,
        recipe=recipe,
        learner="modular",
        **{"per_module": 2, "embedding": "ngrams", **options},
    )


def parts(trained: Any) -> dict[str, set[str]]:
    assert isinstance(trained.trace, Placement)
    return {part.name: set(part.log.present) for part in trained.trace.parts}


def test_every_person_is_in_one_module(modular: Trained, everybody: Records) -> None:
    homes = parts(modular)
    assert len(homes) == 3
    for subjects in {record.subjects for record in everybody}:
        own = {record.id for record in everybody if record.subjects == subjects}
        assert sum(bool(own & ids) for ids in homes.values()) == 1
    served = modular.model
    assert isinstance(served, Routed)
    assert set(served.router.ids) == {record.id for record in everybody}


@torch.no_grad()
def test_each_module_learned_its_people_and_the_base_learned_nobody(
    base: Any, modular: Trained, everybody: Records, task: Language
) -> None:
    before, after = (
        float(task.losses(model, task.collate(everybody)).mean()) for model in (base, modular.model)
    )
    assert after < before - 0.5
    bare: Any = modular.model
    for name in parts(modular):
        bare = bare.without_module(name)
    assert float(task.losses(bare, task.collate(everybody)).mean()) == pytest.approx(before)


@pytest.mark.slow
def test_an_adapter_is_what_plain_training_of_the_top_layers_gives(
    base: Any, everybody: Records, task: Language
) -> None:
    """The same adapter trained by a plain loop over the whole model, without any cache."""
    recipe = Recipe(epochs=2, batch_size=8, lr=1e-2, lora=Lora(rank=4, top_layers=2))
    found = learn(base, everybody, task, recipe, per_module=99)
    plain = train(base, records=everybody, task=task, recipe=recipe)
    (part,) = found.trace.parts
    assert part.log.losses == pytest.approx(plain.trace.losses, abs=2e-3)  # type: ignore[union-attr]
    batch = task.collate(everybody)
    with torch.no_grad():
        ours, theirs = task.losses(found.model, batch), task.losses(plain.model, batch)
    assert torch.allclose(ours, theirs, atol=2e-2)


@pytest.mark.slow
@pytest.mark.parametrize("definition", ["drop", "tombstone"])
def test_leaving_equals_never_having_come(
    modular: Trained, everybody: Records, task: Language, definition: str
) -> None:
    forget_ids = [r for r in everybody if r.subjects == everybody[0].subjects]
    kept = [r for r in everybody if r not in forget_ids]
    outcomes = [
        forget(modular, forget=forget_ids, retain=kept, task=task, method=m, definition=definition)
        for m in ("module", "retrain")
    ]
    one, all_again = outcomes
    assert one.digest == all_again.digest != modular.digest
    assert one.guarantee is Guarantee.EXACT
    assert one.cost.tokens < 0.5 * all_again.cost.tokens
    # Of whoever left, nothing is kept: no row, no state, no place in a run.
    left = {record.id for record in forget_ids}
    assert not left & set(one.model.router.ids)  # type: ignore[union-attr]
    assert isinstance(one.trace, Placement)
    for part in one.trace.parts:
        assert part.log.checkpoints is not None
        content = part.log.checkpoints.cache.read_bytes()
        assert not [i for i in left if i.encode() in content]
    # The model that was asked keeps working as it did.
    assert weights_digest(modular.model) == modular.digest


@pytest.mark.slow
def test_kept_states_that_were_altered_are_computed_again(
    base: Any, everybody: Records, task: Language
) -> None:
    trained = learn(base, everybody[:30], task)
    kept, forget_ids = everybody[1:30], everybody[:1]
    expected = forget(trained, forget=forget_ids, retain=kept, task=task, method="module")
    for part in trained.trace.parts:
        cache = part.log.checkpoints.cache
        cache.write_bytes(cache.read_bytes()[:-1] + b"x")
    found = forget(trained, forget=forget_ids, retain=kept, task=task, method="module")
    assert found.digest == expected.digest
    assert "computed activations again" in found.stopped
    assert "computed" not in expected.stopped


@pytest.mark.slow
def test_a_source_is_a_module_and_is_dropped_whole(
    base: Any, everybody: Records, task: Language
) -> None:
    labelled = tuple(
        replace(r, fields={**r.fields, "source": f"paper {n % 3}"})
        for n, r in enumerate(everybody[:30])
    )
    trained = learn(base, labelled, task, by="source")
    assert sorted(map(len, parts(trained).values())) == [10, 10, 10]
    forget_ids = [r for r in labelled if r.fields["source"] == "paper 1"]
    kept = [r for r in labelled if r not in forget_ids]
    dropped = forget(trained, forget=forget_ids, retain=kept, task=task, method="drop")
    again = forget(trained, forget=forget_ids, retain=kept, task=task, method="retrain")
    assert dropped.digest == again.digest
    assert dropped.cost.tokens == 0
    with pytest.raises(InputError, match="would stay in module-"):
        forget(
            trained, forget=forget_ids[1:], retain=(*kept, forget_ids[0]), task=task, method="drop"
        )
    with pytest.raises(InputError, match="have no 'publisher'"):
        learn(base, labelled, task, by="publisher")


def test_two_beside_each_other_are_two_after_each_other(
    base: Any, modular: Trained, everybody: Records, task: Language
) -> None:
    assert learn(base, everybody, task, workers=2).digest == modular.digest


def test_what_modules_cannot_do_is_refused(base: Any, everybody: Records, task: Language) -> None:
    with pytest.raises(InputError, match="plain text without a question"):
        learn(base, (Example("t", "", "Just a text."), *everybody), task)
    with pytest.raises(InputError, match="modules are for language models"):
        learn(base, everybody, Labels(2))
    with pytest.raises(InputError, match="per_module must be at least 1"):
        learn(base, everybody, task, per_module=0)
    with pytest.raises(UnknownName, match="did you mean 'ngrams'"):
        learn(base, everybody, task, embedding="ngram")
