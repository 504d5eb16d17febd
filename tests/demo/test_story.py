"""The story of the demo, told to a program."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from olvido.demo.clearing import fresh_folder
from olvido.demo.story import Story, tell
from olvido.errors import InputError
from olvido.files import UNFINISHED
from olvido.learners import Recipe
from olvido.settings import FILE


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
        patch.setattr("olvido.demo.story.FAST", {"residents": 12, "outsiders": 8, "told": 3})
        patch.setattr("olvido.demo.story.FAST_RECIPE", Recipe(epochs=10, batch_size=32, lr=2e-3))
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


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir()], ids=["absent", "empty"])
def test_a_free_place_is_taken(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    make(tmp_path / "place")
    assert fresh_folder(tmp_path / "place") == tmp_path / "place"


def test_an_earlier_demo_is_removed(telling: Telling, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    for name in (".olvido-demo", FILE):
        (place / name).write_bytes((telling.story.folder / name).read_bytes())
    assert not fresh_folder(place).exists()


def test_a_whole_demo_is_removed_and_one_that_was_broken_off(
    telling: Telling, tmp_path: Path
) -> None:
    place = Path(shutil.copytree(telling.story.folder, tmp_path / "place"))
    assert not fresh_folder(place).exists()
    # As Ctrl-C leaves it, in the midst of a training and of an import.
    shutil.copytree(telling.story.folder, place)
    for name in ("demo.json", "report.html"):
        (place / name).unlink()
    content = b"weights"
    step = f"step-000000010-{hashlib.sha256(content).hexdigest()}.pt"
    for path in (
        *(place / "models" / ".run-0123456789abcdef" / step,),
        *(place / "data" / f"{UNFINISHED}0123456789abcdef",),
    ):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    (place / "work").mkdir()
    assert not fresh_folder(place).exists()


@pytest.mark.parametrize(
    "name",
    [
        *("thesis.md", "models/notes.txt", "files/mine.jsonl", "files/forget.jsonl"),
        *("data/survey.parquet", "reports/mine.json", "report.html", "link"),
    ],
)
def test_a_demo_with_something_of_others_in_it_is_left_as_it_is(
    telling: Telling, tmp_path: Path, name: str
) -> None:
    place = Path(shutil.copytree(telling.story.folder, tmp_path / "place"))
    if name == "link":
        (place / name).symlink_to(telling.story.folder)
    else:
        (place / name).write_text('{"text": "Mine.", "source": "me"}\n')
    before = {p: p.read_bytes() for p in place.rglob("*") if p.is_file()}
    with pytest.raises(InputError, match=re.escape(name)):
        fresh_folder(place)
    assert {p: p.read_bytes() for p in place.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("held", [["letter"], [FILE], [".olvido-demo"]])
def test_what_somebody_else_made_is_left_alone(tmp_path: Path, held: list[str]) -> None:
    for name in held:
        (tmp_path / name).touch()
    with pytest.raises(InputError, match="holds something else"):
        fresh_folder(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(held)


def test_a_taken_folder_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "letter").touch()
    with pytest.raises(InputError, match="is not empty"):
        tell(tmp_path, fast=True)
    assert [path.name for path in tmp_path.iterdir()] == ["letter"]
