"""A chain of trainings is repeated from the first that taught a record: as if it never had been."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from olvido.demo import Town
from olvido.errors import DigestMismatch, InputError, StateError
from olvido.learners import Recipe, Trained, train
from olvido.learners.parts import begin, carry_out
from olvido.learners.verifier import verify
from olvido.methods import forget, predict
from olvido.methods.types import Split
from olvido.models import save
from olvido.tasks import Example, Language, examples
from olvido.training.traces.chain import Continued

Records = tuple[Example, ...]


@pytest.fixture(scope="module")
def people(town: Town) -> Records:
    """Three records of each of four residents."""
    return tuple(r for who in town.residents[:4] for r in examples(town.rows_of(who))[:3])


EARLY, LATE = slice(0, 9), slice(6, 12)
"""Nine records are taught first, and six later: three of them were among the first."""

WAYS = {
    "of the first alone": slice(0, 3),
    "of both": slice(6, 9),
    "of the second alone": slice(9, 12),
    "of each": slice(2, 11, 4),
}


@pytest.fixture(scope="module")
def first(small: Any, people: Records, task: Language, short: Recipe) -> Trained:
    return train(small, records=people[EARLY], task=task, recipe=short)


@pytest.fixture(scope="module")
def whole(first: Trained, people: Records, task: Language, short: Recipe) -> Trained:
    return train(first, records=people[LATE], task=task, recipe=short, seed=5)


def by_hand(first: Trained, whole: Trained, people: Records, gone: Records, task: Language) -> str:
    """Both trainings by themselves: the first without them, and from its result the second."""
    ids = {record.id for record in gone}
    earlier = [r for r in people[EARLY] if r.id in ids]
    began = first.model
    if earlier:
        left = [r for r in people[EARLY] if r.id not in ids]
        began = forget(first, forget=earlier, retain=left, task=task, method="retrain").model
    assert isinstance(whole.trace, Continued)
    log: Any = whole.trace.last
    later = [r for r in people[LATE] if r.id not in ids]
    job = begin(
        began,
        later,
        task,
        recipe=log.recipe,
        seed=log.seed,
        plan=log.plan.without(ids & set(log.present)),
    )
    (done,) = carry_out([job])
    return Trained.untraced(done.model).digest


@pytest.mark.parametrize("who", WAYS)
def test_it_forgets_as_if_no_training_had_had_the_records(
    first: Trained, whole: Trained, people: Records, task: Language, who: str
) -> None:
    gone = people[WAYS[who]]
    left = [record for record in people if record not in gone]
    split = Split(gone, tuple(left))
    cost = predict(whole, split, task, method="retrain", options={})
    found = forget(whole, forget=gone, retain=left, task=task, method="retrain")
    assert found.digest == by_hand(first, whole, people, gone, task) != whole.digest
    assert found.cost.tokens == cost.tokens
    assert cost.retraining == 1.0
    assert found.trace.taught == {record.id for record in left}
    # Only the later training is repeated where it alone taught them.
    ids = {record.id for record in gone}
    assert isinstance(whole.trace, Continued)
    before = first.trace.tokens_without(ids) if ids & first.trace.taught else 0
    assert cost.tokens == before + whole.trace.last.tokens_without(ids)


def test_another_day_it_begins_with_what_is_there(
    small: Any,
    whole: Trained,
    first: Trained,
    people: Records,
    task: Language,
    tokenizer: Any,
    tmp_path: Path,
) -> None:
    """The model between both trainings is not in the folder: its training is repeated."""
    save(small, tokenizer, tmp_path / "begun")
    save(first.model, tokenizer, tmp_path / "between")
    with pytest.raises(InputError, match="the training did not begin with"):
        whole.save(tmp_path / "kept", tokenizer, base=str(tmp_path / "between"))
    assert not (tmp_path / "kept").exists()
    whole.save(tmp_path / "kept", tokenizer, base=str(tmp_path / "begun"))
    again = Trained.load(tmp_path / "kept")
    gone, left = people[9:], people[:9]
    here = predict(whole, Split(gone, left), task, method="retrain", options={})
    there = predict(again, Split(gone, left), task, method="retrain", options={})
    assert there.tokens == here.tokens + first.trace.tokens
    for trained in (whole, again):
        found = forget(trained, forget=gone, retain=left, task=task, method="retrain")
        assert found.digest == by_hand(first, whole, people, gone, task)
    with pytest.raises(InputError, match="are missing from retain"):
        forget(again, forget=gone, retain=people[6:9], task=task, method="retrain")


def test_what_an_approximate_method_forgot_between_comes_not_back(
    first: Trained, people: Records, task: Language, short: Recipe
) -> None:
    gone, also, left = people[:1], people[1:2], people[2:9]
    found = forget(first, forget=gone, retain=people[1:9], task=task, method="ascent", epochs=1)
    on = train(
        Trained(found.model, found.digest, found.trace),
        records=people[9:],
        task=task,
        recipe=short,
        seed=5,
    )
    assert gone[0].id not in on.trace.present
    later = forget(on, forget=also, retain=(*left, *people[9:]), task=task, method="retrain")
    assert later.trace.taught == {r.id for r in (*left, *people[9:])}
    both = forget(first, forget=(*gone, *also), retain=left, task=task, method="retrain")
    expected = train(
        Trained(both.model, both.digest, both.trace),
        records=people[9:],
        task=task,
        recipe=short,
        seed=5,
    )
    assert later.digest == expected.digest


@pytest.mark.slow
def test_every_training_of_it_is_verified_in_processes_of_its_own(
    whole: Trained, people: Records, task: Language
) -> None:
    gone, left = people[6:9], [*people[:6], *people[9:]]
    found = forget(whole, forget=gone, retain=left, task=task, method="retrain")
    seen = verify(Trained(found.model, found.digest, found.trace), left, task)
    assert seen.equal
    assert {run.name for run in seen.runs} == {"run", "before-run"}
    # The same claim about the model that still holds them: another first training than the logged.
    assert not verify(Trained(whole.model, whole.digest, found.trace), left, task).equal


@pytest.mark.slow
def test_what_comes_before_an_approximate_method_is_not_said_to_be_verified(
    first: Trained, people: Records, task: Language, short: Recipe
) -> None:
    found = forget(
        first, forget=people[:1], retain=people[1:9], task=task, method="ascent", epochs=1
    )
    edited = Trained(found.model, found.digest, found.trace)
    on = train(edited, records=people[9:], task=task, recipe=short)
    seen = verify(on, people[9:], task)
    assert seen.equal
    assert [run.name for run in seen.runs] == ["run"]
    assert not seen.whole
    whole = verify(first, people[:9], task)
    assert whole.whole
    assert (seen.proven, seen.not_proven) != (whole.proven, whole.not_proven)


@pytest.mark.slow
@pytest.mark.parametrize("learner", ["sharded", "modular"])
def test_a_later_training_in_parts_is_repeated_from_the_new_weights(
    small: Any, people: Records, task: Language, short: Recipe, learner: str
) -> None:
    options = {"shards": 2} if learner == "sharded" else {"per_module": 1, "embedding": "ngrams"}
    first = train(small, records=people[:6], task=task, recipe=short)
    whole = train(first, records=people[3:], task=task, recipe=short, learner=learner, **options)
    gone, left = people[:3], people[3:]
    found = forget(whole, forget=gone, retain=left, task=task, method="retrain")
    less = forget(first, forget=gone, retain=people[3:6], task=task, method="retrain")
    expected = train(
        Trained(less.model, less.digest, less.trace),
        records=people[3:],
        task=task,
        recipe=short,
        learner=learner,
        **options,
    )
    assert found.digest == expected.digest


def test_records_that_are_not_those_of_the_chain_are_refused(
    whole: Trained, people: Records, task: Language
) -> None:
    with pytest.raises(InputError, match="are not in this model"):
        whole.trace.hit(["nobody"])
    altered = examples([{"id": people[10].id, "prompt": "Who?", "completion": "Nobody at all"}])
    left = [*people[1:10], *altered, people[11]]
    with pytest.raises(InputError, match="word for word"):
        forget(whole, forget=people[:1], retain=left, task=task, method="retrain")


def test_a_first_training_that_gives_other_weights_is_noticed(
    small: Any, whole: Trained, people: Records, task: Language, tokenizer: Any, tmp_path: Path
) -> None:
    import torch

    save(small, tokenizer, tmp_path / "begun")
    whole.save(tmp_path / "kept", tokenizer, base=str(tmp_path / "begun"))
    with torch.no_grad():
        next(small.parameters()).add_(0.0)
    again = Trained.load(tmp_path / "kept")
    other = Trained.untraced(small)
    assert other.digest != again.digest
    (tmp_path / "begun" / "model.safetensors").write_bytes(
        (tmp_path / "kept" / "model.safetensors").read_bytes()
    )
    with pytest.raises((StateError, DigestMismatch), match="changed since"):
        forget(again, forget=people[9:], retain=people[:9], task=task, method="retrain")
