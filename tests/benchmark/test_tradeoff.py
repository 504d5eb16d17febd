"""Learners side by side: what is refused before anything trains, and what is measured and said."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from olvido.audits import ScoredModel
from olvido.audits.knowledge.exposure import canaries
from olvido.benchmark import tradeoff
from olvido.benchmark.outlook import MEASURES, remarks_on, rows_of
from olvido.benchmark.tradeoff import BEFORE, PLANTED, compare_learners, compared, measured
from olvido.errors import InputError, MissingExtra, MissingNeed, OlvidoError, UnknownName
from olvido.files import read_document
from olvido.learners import Private, Recipe, train
from olvido.methods import Split
from olvido.tasks import Language, examples

pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)

CITY = examples([{"id": f"c{n}", "prompt": f"Stop {n} is", "completion": f"{n}"} for n in range(4)])
QUIET = {"noise": 2.0, "accountant": "rdp", "noise_seed": 0}


@pytest.fixture
def asked(small: Any, tokenizer: Any, split: Split, tmp_path: Path) -> dict[str, Any]:
    """A comparison that would work."""
    return {
        "model": small,
        "tokenizer": tokenizer,
        "records": split.forget,
        "general": CITY,
        "holdout": split.holdout[:6],
        "learners": ["monolith"],
        "recipe": Recipe(epochs=1, batch_size=8, lr=1e-3),
        "out": tmp_path / "compared",
    }


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any training is an error."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("something was trained")

    monkeypatch.setattr(tradeoff, "train", refuse)


@pytest.mark.parametrize(
    ("learners", "error", "says"),
    [
        (["private@x"], InputError, "such as private@3; got 'x'"),
        (["private@-1"], InputError, "positive number"),
        (["private@0"], InputError, "positive number"),
        (["private@inf"], InputError, "positive number"),
        (["private@nan"], InputError, "positive number"),
        (["private@"], InputError, "got ''"),
        (["private"], InputError, "write it behind an @"),
        ([Private()], InputError, "write it behind an @"),
        (["sharded@3"], InputError, "only private has an epsilon"),
        (["shard@3"], UnknownName, "did you mean 'sharded'"),
        (["nobody"], UnknownName, "nobody"),
        (["monolith", "monolith"], InputError, "each once"),
        ([], InputError, "one or more"),
    ],
)
def test_learners_that_cannot_be_are_refused(
    learners: Any, error: type[OlvidoError], says: str
) -> None:
    with pytest.raises(error, match=says.replace("(", r"\(")):
        compared(learners)


def test_an_epsilon_stands_behind_an_at() -> None:
    named, made = compared(["private@0.5", Private(epsilon=3, unit="record")])
    assert (named.row, getattr(named.learner, "epsilon", None)) == ("private@0.5", 0.5)
    assert made.row == "private (epsilon=3, unit=record)"


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        (lambda asked: {"holdout": asked["records"][:2]}, InputError, "of whom nothing is learned"),
        (lambda _: {"holdout": ()}, MissingNeed, "holdout"),
        (lambda _: {"records": ()}, MissingNeed, "records"),
        (lambda _: {"tokenizer": None}, MissingNeed, "tokenizer"),
        (lambda _: {"learners": ["monolith", "private@101"]}, InputError, "at most 100"),
        (lambda _: {"seeds": 0}, InputError, "seeds"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_trained(
    asked: dict[str, Any], wrong: Callable[[Any], Any], error: type[OlvidoError], says: str
) -> None:
    with pytest.raises(error, match=says):
        compare_learners(**asked | wrong(asked))
    assert not asked["out"].exists()


@pytest.mark.usefixtures("untrained")
def test_without_an_accountant_nothing_is_trained(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opacus.accountants.utils", None)
    with pytest.raises(MissingExtra, match="private"):
        compare_learners(**asked | {"learners": ["monolith", "private@2.75"]})
    assert not asked["out"].exists()


@pytest.mark.slow
def test_a_promise_is_said_before_and_kept_beside_what_is_measured(asked: dict[str, Any]) -> None:
    pytest.importorskip("opacus")
    said: list[str] = []
    learner = Private(**QUIET)
    asked |= {"learners": ["monolith", learner], "seeds": 2, "tell": said.append}
    found = compare_learners(**asked).document
    assert [row["learner"] for row in found["rows"]][::2] == ["monolith", BEFORE]
    assert [row["runs"] for row in found["rows"]] == [2, 2, 1]
    promise = found["rows"][1]["promise"]
    # One person, four records of nobody, and a canary a person.
    assert promise["units"] == 1 + len(CITY) + PLANTED
    assert [promise["promise"] in line for line in said] == [True]
    assert all(row[key]["mean"] is not None for row in found["rows"] for key in MEASURES)
    assert read_document(asked["out"] / "learners.json") == found
    page = (asked["out"] / "index.html").read_text("utf-8")
    for shown in (f"n = {promise['units']}", f"epsilon {promise['epsilon']:.3g}", "unit subject"):
        assert shown in page
    assert not any(record.completion in page for record in asked["records"])


@pytest.mark.slow
def test_a_comparison_continues_and_trains_nothing_twice(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = compare_learners(**asked).document
    seeds: list[int] = []

    def counted(*given: Any, seed: int, **how: Any) -> Any:
        seeds.append(seed)
        return train(*given, seed=seed, **how)

    monkeypatch.setattr(tradeoff, "train", counted)
    assert compare_learners(**asked).document == first
    assert seeds == []
    more = compare_learners(**asked | {"seeds": 2}).document
    assert seeds == [1]
    assert more["cells"][: len(first["cells"])] == first["cells"]
    before = (asked["out"] / "learners.json").read_bytes()
    with pytest.raises(InputError, match="another comparison"):
        compare_learners(**asked | {"recipe": Recipe(epochs=2)})
    assert (asked["out"] / "learners.json").read_bytes() == before
    (other := asked["out"].parent / "other").mkdir()
    (other / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="something else"):
        compare_learners(**asked | {"out": other})
    assert [path.name for path in other.iterdir()] == ["mine.txt"]


@pytest.mark.slow
def test_a_training_that_fails_is_a_row(asked: dict[str, Any]) -> None:
    found = compare_learners(**asked | {"recipe": Recipe(epochs=1, lr=1e30)}).document
    row = found["rows"][-1]
    assert row["learner"] == "monolith"
    assert row["failures"]
    assert row["extraction"] is None


@pytest.mark.slow
def test_what_was_learned_by_heart_is_found_and_the_rest_is_not(
    fresh: Any, task: Language, split: Split
) -> None:
    planted, absent = (made := canaries(16, 0))[:8], made[8:]
    records = (*split.forget, *CITY, *planted)
    model = train(
        fresh, records=records, task=task, recipe=Recipe(epochs=60, batch_size=16, lr=3e-3)
    ).model
    sides = {"records": (*split.forget, *CITY), "general": CITY, "holdout": split.holdout}
    found = measured(ScoredModel(model, task), sides, planted, absent)
    assert found["general"] == 1.0
    assert found["extraction"] > 0.95 > found["extraction_holdout"]
    assert found["membership"] > 0.95
    assert found["exposure"] > 5.9
    assert found["exposure_absent"] < 4
    # Nothing was learned of anybody: what is measured of members and of others is alike.
    chance = measured(ScoredModel(fresh, task), sides, absent, planted)
    assert chance["general"] == 0.0
    assert abs(chance["membership"] - 0.5) < 0.25


def _cell(learner: str, general: float, promise: Any = None) -> dict[str, Any]:
    numbers = {**dict.fromkeys(MEASURES, 0.5), "general": general}
    made = {"learner": learner, "seed": 0, "failure": None, "promise": promise}
    return made | {"seconds": 1.0, "measured": numbers}


def test_remarks_say_where_quality_is_gone_and_what_looking_cost() -> None:
    promise = {"epsilon": 8.0, "delta": 1e-3, "unit": "subject", "units": 90, "batch": 9.0}
    strict = promise | {"epsilon": 1.0}
    cells = [
        _cell("monolith", 0.9),
        _cell("private@8", 0.6, promise),
        _cell("private@1", 0.1, strict),
        {k: v for k, v in _cell(BEFORE, 0.0).items() if k != "seconds"},
    ]
    rows = rows_of(cells)
    assert [row["learner"] for row in rows] == ["monolith", "private@8", "private@1", BEFORE]
    said = " ".join(remarks_on(rows, cells))
    assert "keeps 90%, and private@1 10%" in said
    assert "private@8 60%" not in said
    # Basic composition: epsilons and deltas of all trainings on the same records are summed.
    assert "epsilon 9 at delta 0.002" in said
    assert "promise nothing" in said
    assert "promise nothing" not in " ".join(remarks_on(rows[1:], cells[1:]))
