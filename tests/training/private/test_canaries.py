"""Canaries come of a public seed alone, and their coins are committed to before they are read."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from olvido.artifact_shapes import COINS
from olvido.errors import DigestMismatch, InputError, StateError
from olvido.tasks import Labels, Language, TextLabels
from olvido.training.private.canaries import Canaries, canaries
from olvido.training.private.sampling import Secret


def test_texts_have_words_of_their_own(task: Language) -> None:
    made = canaries(task, 60, seed=1)
    assert made == canaries(task, 60, seed=1) != canaries(task, 60, seed=2)
    words = Counter(word for record in made for word in record.completion.split())
    assert max(words.values()) == 1
    assert len({record.id for record in made}) == 60
    # About nobody: each is a unit of its own, and nobody in the ledger.
    assert all(record.subjects == () for record in made)
    assert all(task.width(record) > 0 for record in made)


def test_more_texts_than_words_repeat_them_evenly(task: Language) -> None:
    made = canaries(task, 400, seed=0)
    words = Counter(word for record in made for word in record.completion.split())
    assert max(words.values()) - min(words.values()) <= 1
    assert len({record.completion for record in made}) == 400


def test_classes_are_random(tokenizer: Any) -> None:
    texts = canaries(TextLabels(tokenizer, ["no", "yes"]), 40, seed=0)
    assert {record.completion for record in texts} == {"no", "yes"}
    assert len({record.prompt for record in texts}) == 40
    task = Labels(["a", "b", "c"], shape=(2, 3))
    for kind, lowest in (("float32", -9.0), ("uint8", 0)):
        arrays = canaries(task, 40, seed=0, kind=kind)
        inputs = np.stack([record.fields["input"] for record in arrays])
        assert (inputs.shape, str(inputs.dtype)) == ((40, 2, 3), kind)
        assert inputs.min() >= lowest
        assert inputs.std() > 0.5
        assert {record.completion for record in arrays} == {"a", "b", "c"}


def test_what_has_no_form_is_refused(task: Language) -> None:
    with pytest.raises(InputError, match="train without canaries"):
        canaries(Labels(["a", "b"]), 3, seed=0, kind="float32")
    with pytest.raises(InputError, match="train without canaries"):
        canaries(task, 3, seed=0, kind="float32")


def test_coins_are_fair_and_fresh(task: Language) -> None:
    made = canaries(task, 200, seed=0)
    coins = [Canaries.thrown(made, task, 0, Secret()).coins for _ in range(40)]
    there = np.array([one.there for one in coins if one is not None])
    assert there.shape == (40, 200)
    # 8000 coins: six standard deviations are 0.034.
    assert abs(there.mean() - 0.5) < 0.034
    assert abs(np.corrcoef(there)[np.triu_indices(40, 1)]).max() < 0.4


def thrown(task: Language, folder: Path) -> Canaries:
    made = Canaries.thrown(canaries(task, 9, seed=3), task, 3, Secret())
    assert made.coins is not None
    (folder / COINS).write_text(made.coins.text)
    return made


def test_the_note_has_no_coins_and_their_file_is_held_to_it(task: Language, tmp_path: Path) -> None:
    made = thrown(task, tmp_path)
    note = json.loads(json.dumps(made.to_note()))
    assert "coins" not in note
    back = Canaries(**note)
    assert back.coins is None
    assert back.with_coins(tmp_path) == made
    assert back.records(task) == canaries(task, 9, seed=3)
    stored = json.loads((tmp_path / COINS).read_text())
    stored["there"] = stored["there"][::-1] + "1"
    (tmp_path / COINS).write_text(json.dumps(stored))
    with pytest.raises(DigestMismatch):
        back.with_coins(tmp_path)
    (tmp_path / COINS).unlink()
    assert back.with_coins(tmp_path).coins is None


def test_other_canaries_than_those_of_the_training_are_noticed(
    task: Language, tmp_path: Path
) -> None:
    note = thrown(task, tmp_path).to_note()
    with pytest.raises(StateError, match="come out otherwise"):
        Canaries(**note | {"seed": 4}).records(task)
