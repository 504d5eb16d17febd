"""Shadows know who their members are, resume, and let single records be found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from olvido.audits import Status
from olvido.audits.attacks.lira import Attack, confidence, true_positives
from olvido.audits.attacks.shadows import train_shadows
from olvido.audits.references import CARD, WEIGHTS
from olvido.audits.types import Shadow
from olvido.errors import InputError, MissingNeed
from olvido.learners import Recipe
from olvido.tasks import Example

RECIPE = Recipe(epochs=12, batch_size=16, lr=3e-3)
COUNT = 4


@pytest.fixture(scope="module")
def pool(world: Any) -> tuple[Example, ...]:
    return (*world.forget, *world.holdout)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shadows")


@pytest.fixture(scope="module")
def shadows(world: Any, pool: tuple[Example, ...], folder: Path) -> tuple[Shadow, ...]:
    return train_shadows(
        world.fresh(0),
        pool=pool,
        task=world.task,
        recipe=RECIPE,
        count=COUNT,
        folder=folder,
        workers=2,
    )


def test_every_record_is_learned_by_half_of_them_and_people_stay_whole(
    shadows: tuple[Shadow, ...], pool: tuple[Example, ...]
) -> None:
    ids = {record.id for record in pool}
    for shadow in shadows:
        assert shadow.members | shadow.others == ids
        assert not shadow.members & shadow.others
        for record in pool:
            same = {r.id for r in pool if r.subjects == record.subjects}
            assert same <= shadow.members or same <= shadow.others
    for record in pool:
        assert sum(record.id in shadow.members for shadow in shadows) == COUNT / 2


def test_a_shadow_knows_its_members_and_nobody_else(
    shadows: tuple[Shadow, ...], pool: tuple[Example, ...]
) -> None:
    for shadow in shadows:
        known = [score.loss for score in shadow.scored.scores(pool)]
        inside = [loss for r, loss in zip(pool, known, strict=True) if r.id in shadow.members]
        outside = [loss for r, loss in zip(pool, known, strict=True) if r.id in shadow.others]
        assert np.mean(inside) + 1 < np.mean(outside)


def test_what_is_trained_is_not_trained_again(
    world: Any,
    pool: tuple[Example, ...],
    folder: Path,
    shadows: tuple[Shadow, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr("olvido.audits.references.train", never)
    again = train_shadows(
        world.fresh(0), pool=pool, task=world.task, recipe=RECIPE, count=COUNT, folder=folder
    )
    assert [s.scored.digest for s in again] == [s.scored.digest for s in shadows]
    assert [s.members for s in again] == [s.members for s in shadows]
    # Another recipe is another training, whatever lies there.
    with pytest.raises(AssertionError, match="trained again"):
        train_shadows(
            world.fresh(0),
            pool=pool,
            task=world.task,
            recipe=Recipe(epochs=2),
            count=COUNT,
            folder=folder,
        )


def test_a_shadow_that_was_altered_is_refused(
    world: Any, pool: tuple[Example, ...], tmp_path: Path
) -> None:
    quick = Recipe(epochs=1, batch_size=64, lr=1e-3)

    def made() -> tuple[Shadow, ...]:
        return train_shadows(
            world.fresh(0), pool=pool[::9], task=world.task, recipe=quick, count=2, folder=tmp_path
        )

    made()
    one, other = sorted(home for home in tmp_path.iterdir() if (home / CARD).exists())
    (one / WEIGHTS).write_bytes((other / WEIGHTS).read_bytes())
    with pytest.raises(InputError, match="does not hold the weights"):
        made()


@pytest.mark.parametrize(
    ("count", "people", "match"), [(3, 9, "pairs"), (0, 9, "pairs"), (2, 1, "at least two")]
)
def test_bad_input(
    world: Any, pool: tuple[Example, ...], tmp_path: Path, count: int, people: int, match: str
) -> None:
    with pytest.raises(InputError, match=match):
        train_shadows(
            world.fresh(0),
            pool=pool if people > 1 else world.forget,
            task=world.task,
            recipe=RECIPE,
            count=count,
            folder=tmp_path,
        )
    assert list(tmp_path.iterdir()) == []


def test_a_record_cannot_be_learned_by_half_and_by_all(
    world: Any, pool: tuple[Example, ...], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="always"):
        train_shadows(
            world.fresh(0),
            pool=pool,
            always=world.forget[:1],
            task=world.task,
            recipe=RECIPE,
            count=2,
            folder=tmp_path,
        )


def test_the_ratio_is_that_of_two_normal_curves() -> None:
    draw = np.random.default_rng(0)
    member = np.array([[True, False], [False, True], [True, False], [False, True]])
    seen = draw.normal(0, 1, (4, 2)) + 3 * member
    record = Example("r", "?", "!")
    attack = Attack([record], [record], seen, member)
    inside = np.array([seen[[0, 2], 0].mean(), seen[[1, 3], 1].mean()])
    outside = np.array([seen[[1, 3], 0].mean(), seen[[0, 2], 1].mean()])
    spread = np.sqrt(np.mean(np.where(member, seen - inside, seen - outside) ** 2))
    value = np.array([0.7, 2.5])
    expected = norm.logpdf(value, inside, spread) - norm.logpdf(value, outside, spread)

    class Fixed:
        def scores(self, _: object) -> list[object]:
            return [type("S", (), {"loss": np.log1p(np.exp(-v))})() for v in value]

    found = attack.ratios(Fixed())  # type: ignore[arg-type]
    np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-9)


def test_true_positives_by_hand() -> None:
    others = np.arange(100.0)
    assert true_positives(np.array([98.5, 99.5, 97.0, 10.0]), others, 0.01) == 0.5
    assert true_positives(np.array([98.5, 99.5, 97.0, 10.0]), others, 0.0) == 0.25


def test_confidence_is_finite_where_a_model_is_certain(world: Any) -> None:
    assert np.isfinite(confidence(world_witness(world), world.forget)).all()


def world_witness(world: Any) -> object:
    class Certain:
        def scores(self, records: object) -> list[object]:
            return [type("S", (), {"loss": loss})() for loss in (0.0, 1e-30, 1e-3, 50.0, 800.0)]

    return Certain()


@pytest.mark.slow
def test_the_unchanged_model_is_caught_and_one_that_never_saw_them_is_not(
    world: Any, shadows: tuple[Shadow, ...]
) -> None:
    caught = world.report(world.before, audits=["lira"], shadows=shadows)
    assert {f.status for f in caught.findings if "memorised" in f.metric} == {Status.FAIL}
    spared = world.report(world.stranger, audits=["lira"], shadows=shadows)
    assert Status.FAIL not in {f.status for f in spared.findings}
    assert {f.metric.partition(", ")[2] for f in spared.findings} == {"memorised", "over-forgotten"}


def test_without_shadows_there_is_no_such_attack(world: Any) -> None:
    with pytest.raises(MissingNeed, match=r"more evidence: .*\(shadows\)"):
        world.report(world.stranger, audits=["lira"])


@pytest.mark.slow
def test_who_trained_beside_whom_changes_nothing(
    world: Any, pool: tuple[Example, ...], shadows: tuple[Shadow, ...], tmp_path: Path
) -> None:
    alone = train_shadows(
        world.fresh(0), pool=pool, task=world.task, recipe=RECIPE, count=2, folder=tmp_path
    )
    assert [s.scored.digest for s in alone] == [s.scored.digest for s in shadows[:2]]
