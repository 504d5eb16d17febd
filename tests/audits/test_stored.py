"""An audit of models in folders has one of them in memory, and finds what it finds of modules."""

import copy
import shutil
import weakref
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch.nn import Module

from olvido.audits import Level, audit
from olvido.audits.attacks import relearning
from olvido.audits.base import PreparedAudit
from olvido.audits.integrity.change import change
from olvido.audits.integrity.weights import cosine
from olvido.audits.scoring import ScoredModel
from olvido.errors import DigestMismatch, InputError, StateError, UnknownName
from olvido.models import load, save, weights_digest
from olvido.models.stored import ModelSlot, StoredModel


@pytest.fixture(scope="module")
def folders(kin: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The evidence with each model in a folder."""
    home = tmp_path_factory.mktemp("stored")

    def stored(model: Module, name: str) -> Path:
        save(model, kin["task"].tokenizer, home / name)
        return home / name

    return kin | {
        "model": stored(kin["model"], "candidate"),
        "original": stored(kin["original"], "original"),
        "reference": [stored(one, f"never-{n}") for n, one in enumerate(kin["reference"])],
    }


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(relearning.STEPS, Level.THOROUGH, (0, 2, 10))


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many loaded models were alive after each load."""
    alive: list[weakref.ref[Module]] = []
    counts: list[int] = []
    read = StoredModel.load

    def counted(self: StoredModel) -> Module:
        module = read(self)
        alive.append(weakref.ref(module))
        counts.append(sum(one() is not None for one in alive))
        return module

    monkeypatch.setattr(StoredModel, "load", counted)
    return counts


@pytest.mark.slow(but=["quick"])
@pytest.mark.parametrize("level", ["quick", "thorough"])
def test_all_audits_find_the_same_to_the_last_bit_with_one_model_in_memory(
    folders: dict[str, Any], kin: Any, few_steps: None, loads: list[int], level: str
) -> None:
    in_memory, in_folders = (audit(**given, level=level) for given in (kin, folders))
    assert in_folders.to_dict() | {"seconds": 0} == in_memory.to_dict() | {"seconds": 0}
    assert max(loads) == 1
    # For its digest, for its turn, and again after each copy that an audit trains or rounds.
    assert len(loads) <= 8 * 4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fluency", "patching", "probes", "retention"])
def test_an_audit_by_itself_needs_no_pass_before_it(
    folders: dict[str, Any], kin: Any, loads: list[int], name: str
) -> None:
    prepared = [PreparedAudit(**given, level="thorough") for given in (kin, folders)]
    made, stored = (list(one.chosen[name].run(one.evidence)) for one in prepared)
    assert stored == made
    assert max(loads) == 1


@pytest.mark.slow
def test_a_callable_is_a_model_too(folders: dict[str, Any], loads: list[int]) -> None:
    given = folders | {
        "model": partial(load, folders["model"]),
        "reference": [lambda one=one: load(one).model for one in folders["reference"]],
        "audits": ["recall", "change"],
    }
    found, expected = audit(**given), audit(**folders | {"audits": ["recall", "change"]})
    assert found.to_dict() | {"seconds": 0} == expected.to_dict() | {"seconds": 0}


@pytest.fixture
def folder(kin: Any, tmp_path: Path) -> Path:
    save(kin["original"], kin["task"].tokenizer, tmp_path / "model")
    return tmp_path / "model"


def exchange(folder: Path, factor: float = 2.0) -> None:
    """Multiply one number of the weights, in place."""
    file = folder / "model.safetensors"
    weights = {name: tensor.clone() for name, tensor in load_file(file).items()}
    next(iter(weights.values())).view(-1)[:1] *= factor
    save_file(weights, file, metadata={"format": "pt"})


def other(kin: Any, slot: ModelSlot) -> StoredModel:
    return StoredModel(lambda: copy.deepcopy(kin["model"]), slot)


def test_a_folder_that_changes_between_two_loads_is_noticed(kin: Any, folder: Path) -> None:
    slot = ModelSlot()
    stored = StoredModel(folder, slot)
    digest = stored.digest
    assert other(kin, slot).module is not None
    exchange(folder)
    with pytest.raises(DigestMismatch, match="model") as refused:
        _ = stored.module
    assert digest in str(refused.value)
    with pytest.raises(DigestMismatch):
        stored.weights()


def test_a_folder_that_vanishes_is_one_line(kin: Any, folder: Path) -> None:
    slot = ModelSlot()
    stored = StoredModel(folder, slot)
    scored = ScoredModel(stored, kin["task"])
    scores = scored.scores(kin["forget"][:2])
    assert other(kin, slot).module is not None
    shutil.rmtree(folder)
    # What is known already needs no model.
    assert scored.scores(kin["forget"][:2]) == scores
    with pytest.raises(StateError, match="put them back") as refused:
        scored.scores(kin["forget"])
    assert "\n" not in str(refused.value)
    with pytest.raises(UnknownName):
        _ = StoredModel(folder).module


def test_a_folder_that_is_only_touched_is_the_same_model(kin: Any, folder: Path) -> None:
    stored = StoredModel(folder)
    digest = stored.digest
    exchange(folder, factor=1.0)
    assert weights_digest(stored.module) == digest
    assert stored.weights() is not None


def test_what_a_callable_gives_is_a_model(kin: Any) -> None:
    with pytest.raises(InputError, match="gave a str"):
        _ = StoredModel(lambda: "model").module  # type: ignore[arg-type,return-value]


def test_the_weights_in_the_files_are_those_of_the_module(kin: Any, folder: Path) -> None:
    for dtype in ("float32", "bfloat16"):
        stored = StoredModel(partial(load, folder, dtype=dtype))
        state, weights = stored.module.state_dict(), stored.weights()
        assert weights is not None
        assert list(weights) == list(state)
        assert all(weights[name].read().equal(state[name]) for name in state)
        assert all(weights[name].dtype is state[name].dtype for name in state)


def test_weights_that_no_file_holds_as_they_are_loaded_come_from_the_module(
    kin: Any, folder: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    adapted: Any = get_peft_model(
        load(folder).model,
        LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False),
    )
    adapted.save_pretrained(tmp_path / "adapted")
    kin["task"].tokenizer.save_pretrained(tmp_path / "adapted")
    stored = StoredModel(tmp_path / "adapted")
    assert stored.digest
    assert stored.weights() is None
    base = StoredModel(folder)
    expected = change(stored.module, base.module)
    # As text, since a number that is none equals nothing.
    assert repr(change(stored, base)) == repr(expected)
    assert cosine(base, StoredModel(folder)) == cosine(base.module, base.module)


def test_a_model_that_is_taken_is_loaded_anew(folder: Path) -> None:
    stored = StoredModel(folder)
    scored_digest = stored.digest
    taken = stored.take()
    with torch.no_grad():
        next(taken.parameters()).mul_(2)
    assert stored.module is not taken
    assert weights_digest(stored.module) == scored_digest == weights_digest(load(folder).model)
