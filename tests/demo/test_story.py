"""The story of the demo, told to a program."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from olvido.demo.story import Story, tell
from olvido.errors import InputError
from olvido.learners import Recipe
from olvido.models.tiny import tiny_model

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Telling:
    story: Story
    stages: list[str]
    said: list[str]


@pytest.fixture(scope="session")
def telling(tmp_path_factory: pytest.TempPathFactory) -> Telling:
    """A small town, and the exact method: what is told does not hang on how well one forgets."""
    stages: list[str] = []
    said: list[str] = []

    def stage(title: str) -> None:
        stages.append(title)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("olvido.demo.story.FAST", {"residents": 12, "outsiders": 8, "wordings": 3})
        patch.setattr("olvido.demo.story.FAST_RECIPE", Recipe(epochs=20, batch_size=24, lr=4e-3))
        patch.setattr("olvido.models.base.tiny_model", partial(tiny_model, width=64, layers=2))
        story = tell(
            tmp_path_factory.mktemp("story") / "new" / "folder",
            fast=True,
            method="retrain",
            references=1,
            stage=stage,
            say=said.append,
        )
    return Telling(story, stages, said)


def test_the_story_is_told_in_its_order(telling: Telling) -> None:
    begun = [
        *("Adding the records", "Training the model from scratch", "Planning"),
        *("Training a model that never saw it (1 of 1)", "Forgetting by retrain"),
        *("Auditing retrain", "Writing the report"),
    ]
    assert telling.stages == begun
    who = telling.story.document["resident"]
    parts = ["None of these people exists", f"knows of {who}", "asks to be forgotten", "The ledger"]
    told = "\n".join(telling.said)
    places = [told.index(part) for part in parts]
    assert places == sorted(places)
    assert f"finds {5 * 3} records in residents" in told


def test_what_was_measured_is_written_down(telling: Telling) -> None:
    story = telling.story
    assert json.loads((story.folder / "demo.json").read_text("utf-8")) == story.document
    assert story.report == story.folder / "report.html"
    assert story.report.is_file()
    document = story.document
    assert (document["method"], document["guarantee"]) == ("retrain", "exact")
    assert (document["people"], document["seed"], document["fast"]) == (12, 0, True)
    assert set(document["recall"]) == {"as_trained", "paraphrased", "neighbours", "city"}
    assert document["request"]["attempts"][0]["method"] == "retrain"


def test_the_same_questions_are_asked_of_every_model(telling: Telling) -> None:
    answers = telling.story.document["answers"]
    assert set(answers) == {
        "forgotten, as trained",
        "forgotten, rephrased",
        "a neighbour",
        "the city",
    }
    for asked in answers.values():
        assert asked
        for one in asked:
            assert set(one) == {"question", "truth", "before", "after", "never_trained"}
    losses = telling.story.document["losses"]
    assert set(losses) == {"before", "after", "never_trained"}
    assert len({len(of["forgotten"]) for of in losses.values()}) == 1


def test_retraining_knows_as_little_as_never_trained(telling: Telling) -> None:
    recall = telling.story.document["recall"]["as_trained"]
    assert recall["before"] > 0.5
    assert recall["after"] < 0.3
    assert telling.story.document["cost"]["share_of_retraining_tokens"] == pytest.approx(
        1, abs=0.05
    )


def test_a_taken_folder_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "letter").touch()
    with pytest.raises(InputError, match="is not empty"):
        tell(tmp_path, fast=True)
    assert [path.name for path in tmp_path.iterdir()] == ["letter"]
