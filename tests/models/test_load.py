"""A model is named and read whole, or refused in one line; it is written whole or not at all."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from olvido.errors import InputError, UnknownName
from olvido.models import load, save, weights_digest


@pytest.fixture(scope="module")
def saved(fresh: Any, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "saved"

    def fill(unfinished: Path) -> None:
        (unfinished / "README.md").write_text("made for a test\n", encoding="utf-8")

    save(fresh, tokenizer, folder, fill=fill)
    return folder


def test_a_saved_model_comes_back_the_same(saved: Path, fresh: Any, tokenizer: Any) -> None:
    loaded = load(saved)
    assert loaded.digest == weights_digest(fresh)
    assert not loaded.model.training
    assert loaded.tokenizer.get_vocab() == tokenizer.get_vocab()
    assert loaded.tokenizer("Marta lives")["input_ids"] == tokenizer("Marta lives")["input_ids"]
    assert (saved / "README.md").read_text() == "made for a test\n"


def test_half_precision_is_kept_by_saving(saved: Path, tokenizer: Any, tmp_path: Path) -> None:
    half = load(saved, dtype="bfloat16")
    assert {p.dtype for p in half.model.parameters()} == {torch.bfloat16}
    save(half.model, tokenizer, tmp_path / "half")
    assert load(tmp_path / "half", dtype="bfloat16").digest == half.digest


@pytest.mark.parametrize("stored", ["float32", "bfloat16", "float16"])
def test_the_type_of_the_files_is_kept_where_none_is_asked_for(
    saved: Path, tokenizer: Any, tmp_path: Path, stored: str
) -> None:
    made = load(saved, dtype=stored)
    save(made.model, tokenizer, tmp_path / "stored")
    found = load(tmp_path / "stored", dtype="auto")
    assert {str(p.dtype) for p in found.model.parameters()} == {f"torch.{stored}"}
    assert found.digest == made.digest


@pytest.mark.parametrize("name", ["tiny", "a folder"])
def test_half_precision_rounds_weights_and_no_positions(saved: Path, name: str) -> None:
    where = saved if name == "a folder" else name
    half, whole = (load(where, dtype=dtype).model for dtype in ("bfloat16", "float32"))
    positions = dict(whole.named_buffers())
    assert positions
    assert all(buffer.equal(positions[name]) for name, buffer in half.named_buffers())
    weights = dict(half.named_parameters())
    assert all(weights[n].equal(w.to(torch.bfloat16)) for n, w in whole.named_parameters())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "auto"])
def test_weights_of_the_type_asked_for_stay_in_their_file(
    saved: Path, tokenizer: Any, tmp_path: Path, dtype: str
) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("what is mapped into memory is read from /proc")
    kind = "float32" if dtype == "auto" else dtype
    save(load(saved, dtype=kind).model, tokenizer, tmp_path / kind)
    loaded = load(tmp_path / kind, dtype=dtype)
    # A second copy in memory would be no part of the file's mapping.
    starts = [
        tuple(int(end, 16) for end in line.split()[0].split("-"))
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.endswith(f"{tmp_path / kind / 'model.safetensors'}")
    ]
    for parameter in loaded.model.parameters():
        assert any(start <= parameter.data_ptr() < end for start, end in starts)


def test_the_seed_of_tiny(tokenizer: Any) -> None:
    assert load("tiny", seed=1).digest == load("tiny", seed=1).digest != load("tiny", seed=2).digest


def test_an_existing_folder_is_never_overwritten(fresh: Any, tokenizer: Any, saved: Path) -> None:
    before = {path: path.read_bytes() for path in saved.iterdir()}
    with pytest.raises(InputError, match="exists already"):
        save(fresh, tokenizer, saved)
    assert {path: path.read_bytes() for path in saved.iterdir()} == before


def test_a_failed_save_leaves_nothing_behind(
    fresh: Any, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(folder: Path) -> None:
        (folder / "tokenizer.json").write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(tokenizer, "save_pretrained", full)
    with pytest.raises(OSError, match="disk full"):
        save(fresh, tokenizer, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["tny", "Tiny", "tiny1"])
def test_an_unknown_name_is_answered_with_the_nearest(name: str) -> None:
    with pytest.raises(UnknownName, match="did you mean 'tiny'"):
        load(name)


@pytest.mark.parametrize("name", ["./nowhere", "/no/where", "nowhere", "~/nowhere"])
def test_a_path_that_is_not_there(name: str) -> None:
    with pytest.raises(UnknownName, match="unknown model"):
        load(name)


@pytest.mark.parametrize("name", ["held/nowhere", "a/b/c", "held/", "held/no where"])
def test_a_path_that_is_not_there_is_not_looked_for_on_a_hub(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "held").mkdir()
    monkeypatch.chdir(tmp_path)
    # Whoever asks the network here fails.
    monkeypatch.setattr("olvido.models.base.read_causal_whole", None)
    with pytest.raises(InputError, match=r"held|a/b/c"):
        load(name)


@pytest.mark.parametrize("device", ["banana", "cuda:99", "cpu:x", "", "xla"])
def test_a_device_that_is_not_here_is_one_line(device: str) -> None:
    with pytest.raises(InputError, match="this machine has cpu") as refused:
        load("tiny", device=device)
    assert "\n" not in str(refused.value)


def test_an_unknown_dtype() -> None:
    with pytest.raises(UnknownName, match="did you mean 'float32'"):
        load("tiny", dtype="float8")


def without_everything(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def without_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def cut_short(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def without_one_weight(folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    del weights["model.layers.0.self_attn.q_proj.weight"]
    save_file(weights, path, metadata={"format": "pt"})


def of_another_shape(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "intermediate_size": 100}))


def with_broken_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def of_no_known_kind(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "no-such-thing"}')


@pytest.mark.parametrize(
    "spoil",
    [
        without_everything,
        without_tokenizer,
        without_weights,
        cut_short,
        without_one_weight,
        of_another_shape,
        with_broken_config,
        of_no_known_kind,
    ],
)
def test_a_folder_that_holds_no_whole_model_is_refused_in_one_line(
    saved: Path, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    folder = tmp_path / "spoilt"
    shutil.copytree(saved, folder)
    spoil(folder)
    with pytest.raises(InputError) as caught:
        load(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    assert "save_pretrained" in message
