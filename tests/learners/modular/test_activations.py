"""Kept states: each record's own, gone with it, and never trusted when altered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from olvido.errors import StateError
from olvido.learners.halves import Activations, Halves
from olvido.tasks import Example, Language


@pytest.fixture
def records(everybody: tuple[Example, ...]) -> tuple[Example, ...]:
    return everybody[:6]


def made(base: Any, records: Any, task: Language, known: Activations | None = None) -> Activations:
    return Activations.of(Halves.of(base, 2), "origin", records, task, known)


def test_they_are_what_the_lower_layers_make(base: Any, records: Any, task: Language) -> None:
    found = made(base, records, task)
    for record in records:
        batch = task.collate([record])
        with torch.no_grad():
            expected = task.hidden(base, batch, 2)[0, : len(found.states[record.id])]
        assert torch.allclose(found.states[record.id], expected, atol=1e-5)


def test_nobodys_bits_depend_on_who_else_is_there(base: Any, records: Any, task: Language) -> None:
    whole = made(base, records, task)
    fewer = made(base, records[2:], task)
    assert whole.without({r.id for r in records[:2]}).digest == fewer.digest
    assert whole.digest != fewer.digest


def test_only_what_is_of_the_same_record_is_used_again(
    base: Any, records: Any, task: Language
) -> None:
    known = made(base, records, task)
    poisoned = Activations(
        known.origin,
        known.layer,
        {i: torch.zeros_like(s) for i, s in known.states.items()},
        known.contents,
    )
    other = replace(records[0], completion="somewhere else")
    found = made(base, (other, *records[1:]), task, poisoned)
    assert float(found.states[other.id].abs().sum()) > 0
    assert float(found.states[records[1].id].abs().sum()) == 0
    elsewhere = Activations("another", known.layer, poisoned.states, known.contents)
    assert made(base, records, task, elsewhere).digest == known.digest


def test_they_come_back_from_disk(base: Any, records: Any, task: Language, tmp_path: Path) -> None:
    found = made(base, records, task)
    path = tmp_path / "new" / "cache.safetensors"
    found.save(path)
    assert Activations.load(path).digest == found.digest
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    # Written again without somebody, nothing of them is left in the file.
    forget_ids = records[0].id
    state = found.states[forget_ids].numpy().tobytes()
    assert state in path.read_bytes()
    found.without({forget_ids}).save(path)
    assert state not in path.read_bytes()
    assert forget_ids.encode() not in path.read_bytes()


@pytest.mark.parametrize("where", [0, 200, -4])
def test_altered_bytes_are_refused(
    base: Any, records: Any, task: Language, tmp_path: Path, where: int
) -> None:
    path = tmp_path / "cache.safetensors"
    made(base, records, task).save(path)
    content = bytearray(path.read_bytes())
    content[where] ^= 1
    path.write_bytes(content)
    with pytest.raises(StateError, match=r"cannot be read|do not match"):
        Activations.load(path)
    with pytest.raises(StateError, match="cannot be read"):
        Activations.load(tmp_path / "nowhere")
