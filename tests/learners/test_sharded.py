"""Shards forget within themselves: the same bits as if somebody had never been, and little work."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from olvido.demo.residents import Town
from olvido.errors import EnvironmentMismatch, InputError, StateError, UnknownName
from olvido.learners import Progress, Recipe, Trained, train
from olvido.learners.parts import begin, carry_out
from olvido.learners.sharded import Sharded
from olvido.methods import Outcome, forget
from olvido.models import weights_digest
from olvido.tasks import Example, Language, examples
from olvido.training.traces.base import MemberRun, Placement

Records = tuple[Example, ...]
RECIPE = Recipe(epochs=3, batch_size=2, lr=2e-3)
"""Two stages of two passes each: 4 steps over one resident, 8 over two."""
BOUNDARY, STEPS = 4, 12


class CutOff(Exception):
    """Stands for whatever ends a run in the middle."""


@pytest.fixture(scope="module")
def people(town: Town) -> Records:
    """Four records of each of six residents."""
    return examples(row for r in town.residents[:6] for row in town.rows_of(r)[:4])


@pytest.fixture(scope="module")
def taught(small: Any, people: Records, task: Language) -> Trained:
    """Three shards of two residents each, one a slice."""
    return train(
        small,
        records=people,
        task=task,
        recipe=RECIPE,
        seed=7,
        learner="sharded",
        shards=3,
        slices=2,
    )


def placed(trained: Trained | Outcome) -> Placement:
    assert isinstance(trained.trace, Placement)
    return trained.trace


def ids(part: MemberRun, slice_: int) -> set[str]:
    """The records that a part learned in one of its slices."""
    plan = part.log.plan
    return {i for i, number in zip(plan.slots, plan.slices, strict=True) if number == slice_}


def members(trained: Trained | Outcome) -> list[str]:
    served: Any = trained.model
    return [weights_digest(member) for member in served.members]


@dataclass(frozen=True)
class Leaving:
    """Forgets records of a model of shards."""

    people: Records
    task: Language

    def __call__(
        self, trained: Trained, forget_ids: set[str], method: str = "shard", **options: Any
    ) -> Outcome:
        return forget(
            trained,
            forget=[r for r in self.people if r.id in forget_ids],
            retain=[r for r in self.people if r.id not in forget_ids],
            task=self.task,
            method=method,
            **options,
        )


@pytest.fixture(scope="module")
def leaving(people: Records, task: Language) -> Leaving:
    return Leaving(people, task)


def never(
    small: Any, people: Records, task: Language, part: MemberRun, forget_ids: set[str]
) -> str:
    """The digest of a shard that was trained without some, who are not even given."""
    plan = part.log.plan.without(forget_ids)
    kept = [record for record in people if record.id in plan.present]
    log = part.log
    job = begin(small, kept, task, recipe=log.recipe, seed=log.seed, plan=plan, threads=1)
    return weights_digest(carry_out([job])[0].model)


def test_every_resident_is_learned_in_one_shard_and_one_slice(
    taught: Trained, people: Records
) -> None:
    parts = placed(taught).parts
    assert [part.name for part in parts] == ["shard-000", "shard-001", "shard-002"]
    homes = [ids(part, slice_) for part in parts for slice_ in (0, 1)]
    whose = [{r.subjects for r in people if r.id in home} for home in homes]
    assert [len(home) for home in homes] == [4] * 6
    assert [len(owners) for owners in whose] == [1] * 6
    assert len(set[Any]().union(*whose)) == 6
    assert {part.log.plan.total_steps for part in parts} == {STEPS}
    assert len(set(members(taught))) == 3


@pytest.mark.parametrize("definition", ["drop", "tombstone"])
@pytest.mark.parametrize("slice_", [0, 1])
def test_only_the_shard_that_was_hit_changes(
    small: Any,
    taught: Trained,
    people: Records,
    task: Language,
    leaving: Leaving,
    slice_: int,
    definition: str,
) -> None:
    hit = placed(taught).parts[1]
    forget_ids = set(sorted(ids(hit, slice_))[:2])
    found = leaving(taught, forget_ids, definition=definition)
    old, new = members(taught), members(found)
    assert (new[0], new[2]) == (old[0], old[2])
    if definition == "drop":
        assert new[1] == never(small, people, task, hit, forget_ids) != old[1]
    assert placed(found).parts[::2] == placed(taught).parts[::2]
    assert set(placed(found).present) == set(placed(taught).present) - forget_ids
    # Whoever came in with the last slice costs the last stage alone.
    steps = STEPS - (BOUNDARY if slice_ else 0)
    again = placed(found).parts[1].log
    assert found.cost.tokens == sum(e.rows * e.width for e in again.log if e.step >= STEPS - steps)
    assert ("all 12 steps" if steps == STEPS else "8 of 12 steps") in found.stopped
    # The model that was given is as it was.
    assert members(taught) == old


def test_the_same_model_as_retraining_everything_for_less(
    taught: Trained, leaving: Leaving
) -> None:
    first, second, _ = placed(taught).parts
    forget_ids = ids(first, 1) | set(sorted(ids(second, 0))[:1])
    cheap, dear = leaving(taught, forget_ids), leaving(taught, forget_ids, method="retrain")
    assert cheap.digest == dear.digest != taught.digest
    assert "20 of 24 steps were run again, in 2 runs" in cheap.stopped
    assert "36 of 36 steps were run again, in 3 runs" in dear.stopped
    assert cheap.cost.tokens < 0.7 * dear.cost.tokens
    assert dear.cost.retraining == pytest.approx(1.0)


def test_leaving_one_after_the_other_is_leaving_together(
    taught: Trained, leaving: Leaving, people: Records
) -> None:
    part = placed(taught).parts[0]
    one, other = set(sorted(ids(part, 1))[:1]), set(sorted(ids(part, 0))[:2])
    half = leaving(taught, one)
    left = replace(leaving, people=tuple(r for r in people if r.id not in one))
    twice = left(Trained(half.model, half.digest, half.trace), other)
    assert twice.digest == leaving(taught, one | other).digest != half.digest


def test_a_shard_that_nobody_is_left_in_is_taken_out(taught: Trained, leaving: Leaving) -> None:
    empty, *rest = placed(taught).parts
    found = leaving(taught, set(empty.log.present))
    assert placed(found).parts == tuple(rest)
    assert members(found) == members(taught)[1:]
    assert found.cost.tokens == 0
    # The next one leaves what is left.
    forget_ids = set(rest[0].log.present)
    left = tuple(r for r in leaving.people if r.id not in empty.log.plan.slots)
    found = replace(leaving, people=left)(
        Trained(found.model, found.digest, found.trace), forget_ids
    )
    assert members(found) == members(taught)[2:]


def test_where_everybody_leaves_the_base_is_left(
    small: Any, taught: Trained, leaving: Leaving, people: Records
) -> None:
    found = leaving(taught, {record.id for record in people})
    assert found.digest == weights_digest(small)
    assert placed(found).parts == ()
    assert found.model is not small


def test_bad_input_is_named(
    small: Any, taught: Trained, people: Records, task: Language, leaving: Leaving
) -> None:
    with pytest.raises(UnknownName, match="unknown aggregation 'votes': did you mean 'vote'"):
        Sharded(aggregation="votes")
    with pytest.raises(InputError, match=r"7 shards need at least as many subjects, .* are 6"):
        Sharded(shards=7).run(small, people, task, recipe=RECIPE)
    stranger = Example("stranger", "Where does nobody live?", "Nowhere")
    with pytest.raises(InputError, match=r"1 records to forget are not in this model \(first: 'st"):
        forget(taught, forget=[stranger], retain=people, task=task, method="shard")
    part = placed(taught).parts[0]
    forget_ids = [record for record in people if record.id in ids(part, 1)]
    kept = [record for record in people if record.id not in ids(part, 1)]
    lacking = [record for record in kept if record.id not in sorted(ids(part, 0))[:3]]
    with pytest.raises(InputError, match="3 of 4 are missing from retain"):
        forget(taught, forget=forget_ids, retain=lacking, task=task, method="shard")
    # Of the shards that nobody leaves nothing is asked.
    near = [record for record in kept if record.id in ids(part, 0)]
    whole = forget(taught, forget=forget_ids, retain=kept, task=task, method="shard")
    assert (
        forget(taught, forget=forget_ids, retain=near, task=task, method="shard").digest
        == whole.digest
    )


@pytest.mark.parametrize("slice_", [0, 1])
def test_what_stays_must_be_given_as_it_was_taught(
    taught: Trained, people: Records, task: Language, slice_: int
) -> None:
    part = placed(taught).parts[0]
    forget_ids, kept = ids(part, 1), ids(part, 0)
    if slice_:
        # A kept record behind the checkpoint, a kept record before it: neither may differ.
        forget_ids, kept = set(sorted(forget_ids)[:1]), set(sorted(forget_ids)[1:])
    altered = min(kept)
    given = [
        replace(r, completion=f"{r.completion}?") if r.id == altered else r
        for r in people
        if r.id not in forget_ids
    ]
    leave = [record for record in people if record.id in forget_ids]
    with pytest.raises(InputError, match="not, word for word, those that the model was trained on"):
        forget(taught, forget=leave, retain=given, task=task, method="shard")


def test_another_environment_is_refused(taught: Trained, leaving: Leaving) -> None:
    trace = placed(taught)
    parts = tuple(
        replace(p, log=replace(p.log, environment={**p.log.environment, "blas": "other"}))
        for p in trace.parts
    )
    given = replace(taught, trace=replace(trace, parts=parts))
    with pytest.raises(EnvironmentMismatch, match="blas: recorded 'other'"):
        leaving(given, ids(trace.parts[0], 1))


@pytest.fixture
def own(taught: Trained, people: Records, task: Language, tmp_path: Path, small: Any) -> Trained:
    """The same model with its checkpoints in a folder that the test may damage."""
    given = {"learner": "sharded", "shards": 3, "slices": 2, "folder": tmp_path}
    found = train(small, records=people, task=task, recipe=RECIPE, seed=7, **given)
    assert found.digest == taught.digest
    return found


@pytest.mark.parametrize("damage", ["gone", "altered"])
def test_without_its_checkpoint_a_shard_begins_earlier_and_says_so(
    own: Trained, taught: Trained, leaving: Leaving, tmp_path: Path, damage: str
) -> None:
    part = placed(own).parts[0]
    (file,) = (tmp_path / part.name).glob("step-*")
    if damage == "gone":
        file.unlink()
    else:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    found = leaving(own, ids(part, 1))
    whole = leaving(taught, ids(part, 1))
    assert found.digest == whole.digest
    assert "all 12 steps were run again" in found.stopped
    said = f"checkpoint after step {BOUNDARY} is gone" if damage == "gone" else "match its digest"
    assert found.stopped.count("checkpoint") == 1 + (damage == "altered")
    assert said in found.stopped
    assert whole.stopped == "8 of 12 steps were run again, in 1 run"


def cut_at(step: int) -> Callable[[Progress], None]:
    def watch(progress: Progress) -> None:
        if progress.step == step:
            raise CutOff

    return watch


@pytest.mark.parametrize("step", [3, 12, 18, 36])
def test_a_training_that_was_cut_off_gives_the_same_bits(
    small: Any, taught: Trained, people: Records, task: Language, tmp_path: Path, step: int
) -> None:
    given: Mapping[str, Any] = {
        "records": people,
        "task": task,
        "recipe": RECIPE,
        "seed": 7,
        "learner": "sharded",
        "shards": 3,
        "slices": 2,
        "folder": tmp_path,
    }
    with pytest.raises(CutOff):
        train(small, watch=cut_at(step), **given)
    seen: list[Progress] = []
    found = train(small, watch=seen.append, **given)
    assert found.digest == taught.digest
    assert [part.log.final for part in placed(found).parts] == [
        part.log.final for part in placed(taught).parts
    ]
    # Every shard goes on from its own last slice.
    done = [BOUNDARY if step > 12 * n + BOUNDARY else 0 for n in range(3)]
    expected = [12 * n + s for n in range(3) for s in range(done[n] + 1, STEPS + 1)]
    assert [progress.step for progress in seen] == expected
    assert {progress.total for progress in seen} == {36}


def test_another_training_does_not_go_on_from_these_checkpoints(
    small: Any, own: Trained, people: Records, task: Language, tmp_path: Path
) -> None:
    with pytest.raises(StateError, match="give an empty folder"):
        Sharded(shards=3, slices=2).run(small, people, task, recipe=RECIPE, seed=8, folder=tmp_path)
