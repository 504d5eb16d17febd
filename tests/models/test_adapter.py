"""An adapter comes in, is checked with its base, and goes out as PEFT reads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, PrefixTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tests.outside import begin
from tests.sharing import Shared
from transformers import AutoModelForCausalLM

from olvido.errors import DigestMismatch, InputError
from olvido.models import load, save, weights_digest
from olvido.models.adapter import base_of, base_under
from olvido.models.tiny import tiny_tokenizer

LAYERS = {"gpt2": ["c_attn", "c_proj"], "qwen3": ["q_proj", "down_proj"]}
INPUT = torch.arange(20).reshape(2, 10)


def adapter_of(base: Path, folder: Path, kind: str = "gpt2", **how: Any) -> PeftModel:
    """Write an adapter with values, as PEFT does."""
    torch.manual_seed(1)
    config = LoraConfig(
        r=4,
        target_modules=LAYERS[kind],
        fan_in_fan_out=kind == "gpt2",
        task_type="CAUSAL_LM",
        **how,
    )
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.05)
    model.save_pretrained(folder)
    return model.eval()


def _make(folder: Path) -> None:
    for kind in LAYERS:
        base = begin(folder / kind / "base", kind, tiny_tokenizer())
        adapter_of(base, folder / kind / "adapter", kind)


@pytest.fixture(scope="session")
def folder(shared: Shared) -> Path:
    return shared.folder(_make)


@pytest.fixture(params=LAYERS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def base(folder: Path, kind: str) -> Callable[[str], Any]:
    return lambda name: load(folder / kind / "base")


def test_it_is_pefts_model_there_and_back(
    folder: Path, kind: str, base: Callable[[str], Any], tmp_path: Path
) -> None:
    def peft(where: Path) -> Any:
        plain = AutoModelForCausalLM.from_pretrained(folder / kind / "base")
        return PeftModel.from_pretrained(plain, where).eval()

    was = peft(folder / kind / "adapter")
    loaded = load(folder / kind / "adapter", base=base)
    assert torch.equal(loaded.model(INPUT).logits, was(INPUT).logits)
    assert loaded.digest == weights_digest(was)
    trained = {name for name, p in loaded.model.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    save(loaded.model, loaded.tokenizer, tmp_path / "out")
    assert torch.equal(peft(tmp_path / "out")(INPUT).logits, was(INPUT).logits)
    assert load(tmp_path / "out", base=base).digest == loaded.digest
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert "model.safetensors" not in written
    assert base_of(tmp_path / "out")[1] == load(folder / kind / "base").digest


def test_the_base_under_it_is_the_base(folder: Path, kind: str, base: Callable[[str], Any]) -> None:
    loaded = load(folder / kind / "adapter", base=base)
    before = loaded.digest
    assert weights_digest(base_under(loaded.model)) == load(folder / kind / "base").digest
    assert weights_digest(loaded.model) == before


def test_another_base_is_refused_by_its_weights_or_its_layers(folder: Path, tmp_path: Path) -> None:
    own = load(folder / "gpt2" / "adapter", base=lambda _: load(folder / "gpt2" / "base"))
    save(own.model, own.tokenizer, tmp_path / "out")
    other = begin(tmp_path / "other", "gpt2", tiny_tokenizer(), seed=7)
    with pytest.raises(DigestMismatch, match="base"):
        load(tmp_path / "out", base=lambda _: load(other))
    with pytest.raises(InputError, match="not for the base"):
        load(folder / "gpt2" / "adapter", base=lambda _: load(folder / "qwen3" / "base"))
    smaller = begin(tmp_path / "smaller", "gpt2", tiny_tokenizer())
    config = json.loads((smaller / "config.json").read_text()) | {"n_layer": 1}
    (smaller / "config.json").write_text(json.dumps(config))
    weights = load_file(smaller / "model.safetensors")
    save_file(
        {name: tensor for name, tensor in weights.items() if ".h.1." not in name},
        smaller / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(InputError, match="layers differ"):
        load(folder / "gpt2" / "adapter", base=lambda _: load(smaller))


def _with(**values: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return spoil


def _prefix(folder: Path) -> None:
    config = PrefixTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM")
    path = folder / "adapter_config.json"
    values = config.to_dict() | {"peft_type": "PREFIX_TUNING", "task_type": "CAUSAL_LM"}
    path.write_text(json.dumps(values, default=str))


def _pickle(folder: Path) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    (folder / "adapter_model.safetensors").unlink()
    torch.save(tensors, folder / "adapter_model.bin")


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "prefix": (_prefix, "PREFIX_TUNING.*only LoRA"),
    "pickle": (_pickle, "pickle"),
    "no json": (lambda f: (f / "adapter_config.json").write_text("[1") and None, "no JSON"),
    "a list": (lambda f: (f / "adapter_config.json").write_text("[1]") and None, "no JSON object"),
    "head": (_with(modules_to_save=["lm_head"]), "modules_to_save"),
    "biases": (_with(bias="all"), "bias"),
    "changed base": (_with(init_lora_weights="pissa"), "init_lora_weights"),
    "classifier": (_with(task_type="SEQ_CLS"), "task_type"),
    "no base": (_with(base_model_name_or_path=None), "does not say what it is put on"),
    "base away": (_with(base_model_name_or_path="/nowhere/base"), "nowhere.*cannot be loaded"),
    "newer": (_with(of_the_future=1), "of_the_future"),
    "torn": (
        lambda f: (f / "adapter_model.safetensors").write_bytes(b"\0" * 9) and None,
        "cannot be read",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_put_on_a_base_is_refused_by_its_name(
    folder: Path, tmp_path: Path, name: str
) -> None:
    spoil, words = BAD[name]
    copied = tmp_path / "adapter"
    adapter_of(folder / "gpt2" / "base", copied)
    spoil(copied)
    with pytest.raises(InputError, match=words):
        load(copied)


def test_a_quantised_base_is_refused(folder: Path) -> None:
    def quantised(name: str) -> Any:
        found = load(folder / "gpt2" / "base")
        found.model.config.quantization_config = {"load_in_4bit": True}
        return found

    with pytest.raises(InputError, match="quantised"):
        load(folder / "gpt2" / "adapter", base=quantised)
