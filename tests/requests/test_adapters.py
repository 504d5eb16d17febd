"""Adapters that were trained elsewhere: entered, asked to forget, certified, and given out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tests.outside import begin, encoded, train_outside, trainer_of
from tests.requests.test_declared import CITY, workspace_in
from tests.sharing import Shared
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from olvido.accounts import Accounts
from olvido.artifact_shapes import owned
from olvido.cli import app
from olvido.demo.residents import Town, make_town
from olvido.errors import DigestMismatch, InputError, StateError
from olvido.learners import Declared, Lora, Recipe
from olvido.ledger.facts import DECLARED, WITNESSED, RequestKind
from olvido.models import load
from olvido.models.adapter import is_adapter
from olvido.models.tiny import tiny_tokenizer
from olvido.requests import answer
from olvido.requests.handlers import approve
from olvido.requests.not_learned import plan_destruction
from olvido.workspace import Workspace

RECIPE = Recipe(epochs=20, batch_size=16, lr=5e-3)
INPUT = torch.arange(20).reshape(2, 10)


@dataclass(frozen=True)
class Outside:
    """A base that learned of the city, and an adapter on it that learned of its people."""

    folder: Path
    town: Town

    @property
    def base(self) -> Path:
        return self.folder / "base"

    @property
    def adapter(self) -> Path:
        return self.folder / "adapter"


def _town() -> Town:
    return make_town(seed=0, residents=6, outsiders=6, wordings=2)


def _make(folder: Path) -> None:
    town, tokenizer = _town(), tiny_tokenizer()
    begin(folder / "begun", "qwen3", tokenizer)
    city = [row for row in town.rows() if row["topic"] in CITY]
    train_outside(folder / "begun", folder / "base", city, tokenizer, epochs=20)
    torch.manual_seed(1)
    config = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(folder / "base"), config)
    rows = [encoded(row, tokenizer) for row in town.rows() if "subject" in row]
    how = {"num_train_epochs": 60, "learning_rate": 5e-3}
    trainer_of(folder / "base", folder / "out", rows, tokenizer, model=model, **how).train()
    model.save_pretrained(folder / "adapter")


@pytest.fixture(scope="session")
def outside(shared: Shared) -> Outside:
    return Outside(shared.folder(_make), _town())


@pytest.fixture
def place(tmp_path: Path, outside: Outside) -> Iterator[Workspace]:
    with workspace_in(tmp_path / "workspace", outside.town) as workspace:
        yield workspace


@pytest.fixture
def named(outside: Outside, tmp_path: Path) -> Path:
    """A copy of the adapter whose settings name the base where it lies now."""
    copied = shutil.copytree(outside.adapter, tmp_path / "adapter")
    path = copied / "adapter_config.json"
    values = json.loads(path.read_text()) | {"base_model_name_or_path": str(outside.base)}
    path.write_text(json.dumps(values))
    return Path(copied)


def test_an_adapter_stays_one_and_is_checked_with_its_base(
    place: Workspace, outside: Outside
) -> None:
    made = place.enter(outside.adapter, learned=["people"], base=str(outside.base), recipe=RECIPE)
    folder = place.settings.models / made.model.path
    assert is_adapter(folder)
    assert not (folder / "model.safetensors").exists()
    basis = {one.what: (one.value, one.basis) for one in made.statements}
    assert basis["kind"] == ("LoRA adapter", WITNESSED)
    assert basis["base"][1] == DECLARED
    assert basis["weights of the base"] == (load(outside.base).digest, WITNESSED)
    assert made.exchange is not None
    assert made.exchange.known
    loaded = place.load(made.model.id)
    assert isinstance(loaded.trained.model, PeftModel)
    assert isinstance(loaded.trained.trace, Declared)
    assert loaded.trained.trace.origin is not None
    loaded.trained.trace.origin.module()
    # A retrained model has an adapter of the same size.
    assert Recipe.from_dict({"lora": made.model.recipe["lora"]}).lora == Lora(rank=16, alpha=32)
    weights = next(folder.glob("adapter_model.safetensors")).read_bytes()
    (folder / "adapter_model.safetensors").write_bytes(weights[:-4] + b"\1\2\3\4")
    with pytest.raises(DigestMismatch):
        place.load(made.model.id)


def test_a_base_that_is_named_by_the_adapter_is_found_and_looked_after(
    place: Workspace, named: Path, outside: Outside
) -> None:
    made = place.enter(named, learned=["people"])
    (base,) = (one for one in made.statements if one.what == "base")
    assert (base.basis, base.by) == (DECLARED, "adapter_config.json")
    assert place.load(made.model.id).trained.trace.origin is not None
    assert any(line.startswith("recipe unknown") for line in made.unknown)
    assert not any("names another base" in line for line in made.unknown)


def test_another_base_than_the_one_it_names_is_said(
    place: Workspace, named: Path, outside: Outside
) -> None:
    made = place.enter(named, learned=["people"], base=str(outside.folder / "begun"))
    assert any("names another base" in line for line in made.unknown)


def test_a_base_that_changed_or_went_is_told(
    place: Workspace, outside: Outside, tmp_path: Path
) -> None:
    base = shutil.copytree(outside.base, tmp_path / "base")
    made = place.enter(outside.adapter, learned=["people"], base=str(base))
    begin(tmp_path / "other", "qwen3", tiny_tokenizer(), seed=9)
    shutil.copy(tmp_path / "other" / "model.safetensors", base / "model.safetensors")
    with pytest.raises(DigestMismatch, match="the base"):
        place.load(made.model.id)
    shutil.rmtree(base)
    with pytest.raises(StateError, match="cannot be loaded"):
        place.load(made.model.id)


def test_a_model_of_the_ledger_can_be_the_base(place: Workspace, outside: Outside) -> None:
    base = place.enter(outside.base, learned=["city"]).model
    made = place.enter(outside.adapter, learned=["people"], base=base.id).model
    assert made.parents == (base.id,)
    assert isinstance(place.load(made.id).trained.model, PeftModel)


def _files(workspace: Workspace) -> dict[Path, bytes]:
    folder = workspace.settings.workspace
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_cannot_be_entered_changes_nothing(
    place: Workspace, outside: Outside, named: Path, tmp_path: Path
) -> None:
    other = begin(tmp_path / "other", "gpt2", tiny_tokenizer())
    lost = shutil.copytree(named, tmp_path / "lost")
    config = json.loads((lost / "adapter_config.json").read_text())
    (lost / "adapter_config.json").write_text(
        json.dumps(config | {"base_model_name_or_path": str(tmp_path / "nowhere")})
    )
    both = shutil.copytree(named, tmp_path / "both")
    shutil.copy(outside.base / "config.json", both)
    quantised = shutil.copytree(outside.base, tmp_path / "quantised")
    settings = json.loads((quantised / "config.json").read_text())
    settings["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (quantised / "config.json").write_text(json.dumps(settings))
    before = _files(place)
    for words, folder, base in (
        (f"not for the base .{other}", named, other),
        ("nowhere.*cannot be loaded", lost, None),
        ("a model .config.json. and an adapter", both, None),
        ("cannot be loaded.*quant", named, quantised),
    ):
        with pytest.raises(InputError, match=words):
            place.enter(folder, learned=["people"], base=base and str(base))
        assert _files(place) == before, words
    assert place.store.models() == ()


def test_it_goes_out_as_peft_reads_it(place: Workspace, outside: Outside, tmp_path: Path) -> None:
    """The command's folder gives the same logits on the same base, bit for bit."""
    made = place.enter(outside.adapter, learned=["people"], base=str(outside.base)).model
    workspace, out = place.settings.workspace, tmp_path / "out"
    (workspace / "olvido.toml").touch()
    words = ["--workspace", str(workspace), "models", "export", made.id, str(out)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output

    def peft(folder: Path) -> Any:
        base = AutoModelForCausalLM.from_pretrained(outside.base)
        return PeftModel.from_pretrained(base, folder).eval()

    assert torch.equal(peft(out)(INPUT).logits, peft(outside.adapter)(INPUT).logits)
    assert "declared, not witnessed" in (out / "README.md").read_text()


def test_destroying_takes_all_of_its_files(place: Workspace, outside: Outside) -> None:
    made = place.enter(outside.adapter, learned=["people"], base=str(outside.base)).model
    folder = place.settings.models / made.path
    assert {path.name for path in owned(folder)} == {path.name for path in folder.iterdir()}
    request = place.store.add_request(
        RequestKind.DESTROY, scope={"model": made.id}, law="gdpr", detail={}
    )
    plan_destruction(place, request.id)
    for name in ("Marta", "Joan"):
        Accounts.of(place.settings).new("privacy", name)
        approve(place, request.id, by=name)
    answer(place, request.id)
    assert not folder.exists()
