"""Names account for nothing in a model's folder, and no part for the whole of a file."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.requests.closure.test_weights import State, put
from tests.requests.closure.towns import HERS, Town, tensors

from olvido.artifacts.shapes import CARDED
from olvido.ledger.digests import Digest
from olvido.ledger.facts import Model
from olvido.models import function_digest, weights_digest
from olvido.requests.closure.accounted import accounted

RECORD = f"{HERS[0]['prompt']} {HERS[0]['completion']}"


def _checkpoint(folder: Path, state: State, *, torn: bool) -> None:
    buffer = io.BytesIO()
    torch.save({"step": 7, "weights": state, "optimizer": {}}, buffer)
    name = f"step-000000007-{hashlib.sha256(buffer.getvalue()).hexdigest()}.pt"
    (folder / "checkpoints" / "run").mkdir(parents=True)
    path = folder / "checkpoints" / "run" / name
    path.write_bytes(buffer.getvalue() + (b"\0" if torn else b""))


PLANTED: dict[str, Callable[[Path, State], None]] = {
    "a second file": lambda f, old: torch.save(old, f / "pytorch_model.bin"),
    "an adapter": lambda f, old: save_file(old, f / "adapter_model.safetensors"),
    "a shard": lambda f, old: save_file(old, f / "model-00001-of-00002.safetensors"),
    "the weights themselves": lambda f, old: save_file(old, f / "model.safetensors"),
    "a torn checkpoint": lambda f, old: _checkpoint(f, old, torn=True),
    "a vocabulary": lambda f, _: _said(f / "vocab.txt", RECORD),
    "tokens": lambda f, _: _said(f / "added_tokens.json", json.dumps({RECORD: 1})),
    "a path": lambda f, _: _said(f / "config.json", json.dumps({"_name_or_path": RECORD})),
    "a card": lambda f, _: _said(f / "README.md", f"{CARDED}\n{RECORD}"),
}


def _said(path: Path, text: str) -> None:
    path.write_text(text)


@pytest.mark.parametrize("model", ["new", "never"])
def test_nothing_hides_in_a_models_folder_under_a_name_of_its_files(
    town: Town, tmp_path: Path, model: str
) -> None:
    home, clean = town.folder / "models" / model, tmp_path / "clean"
    shutil.copytree(home, clean)
    before = set(town.found())
    for name, plant in PLANTED.items():
        plant(home, dict(town.weights["old"].state_dict()))
        fresh = set(town.found()) - before
        assert any(f":models/{model}/" in item for item in fresh), name
        shutil.rmtree(home)
        shutil.copytree(clean, home)
    assert set(town.found()) == before


def test_a_checkpoint_of_what_is_to_go_is_told_beside_a_model_that_never_learned_it(
    town: Town,
) -> None:
    for model, item in (("old", True), ("never", False)):
        home = town.folder / "models" / "never"
        _checkpoint(home, dict(town.weights[model].state_dict()), torn=False)
        assert any(i.startswith("checkpoint:models/never/") for i in town.found()) is item
        shutil.rmtree(home / "checkpoints")


def test_shards_ensembles_and_vocabularies_that_were_entered_are_accounted_for(
    tmp_path: Path,
) -> None:
    """By the two digests together; a byte more, and no file is."""
    parts = [dict(tensors(seed).state_dict()) for seed in (4, 5)]
    home = tmp_path / "sharded"
    first = {"0.weight": parts[0].pop("0.weight")}
    put(home / "model-00001-of-00002.safetensors", save_file, first)
    put(home / "model-00002-of-00002.safetensors", save_file, parts[0])
    places = dict.fromkeys(first, "model-00001-of-00002.safetensors")
    places |= dict.fromkeys(parts[0], "model-00002-of-00002.safetensors")
    _said(home / "model.safetensors.index.json", json.dumps({"weight_map": places}))
    _said(home / "tokenizer.json", RECORD[:1].join('""'))
    modules = [tensors(4), tensors(5)]
    both = tmp_path / "both"
    for name, module in zip(("member-000", "member-001"), modules, strict=True):
        put(both / name / "model.safetensors", save_file, module.state_dict())
    _said(both / "ensemble.json", json.dumps({"members": ["member-000", "member-001"]}))
    joined = "|".join(map(weights_digest, modules))
    digests = {home: weights_digest(modules[0]), both: str(Digest.of(joined.encode()))}
    for folder, digest in digests.items():
        function = Digest.from_str(function_digest(folder))
        fact = Model(digest=Digest.from_str(digest), path="", learner="monolith", function=function)
        found = {p.relative_to(folder).as_posix() for p in accounted(fact, folder)}
        weights = set(folder.rglob("*.safetensors"))
        names = {p.relative_to(folder).as_posix() for p in weights}
        assert found == names | ({"tokenizer.json"} if folder == home else set())
        put(sorted(weights)[0], save_file, {"0.weight": torch.rand(30, 8)})
        _said(folder / "vocab.txt", "more")
        assert accounted(fact, folder) == frozenset()


def _q8(state: State, path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    kind = gguf.GGMLQuantizationType.Q8_0
    writer = gguf.GGUFWriter(str(path), "llama")
    for name, t in state.items():
        array = t.numpy()
        if array.ndim == 1:
            writer.add_tensor(name, array)
        else:
            packed = gguf.quants.quantize(np.tile(array, (1, 4)), kind)
            writer.add_tensor(name, packed, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _void(state: State, path: Path) -> None:
    bits = {n: t.to(torch.bfloat16).view(torch.int16).numpy().view("V2") for n, t in state.items()}
    np.savez(path, **{n: t.numpy() if t.ndim == 1 else bits[n] for n, t in state.items()})


def _lists(state: State, path: Path) -> None:
    torch.save({n: t if t.ndim == 1 else t.tolist() for n, t in state.items()}, path)


def _strings(state: State, path: Path) -> None:
    said = {n: t.numpy().tobytes().hex() for n, t in state.items() if t.ndim > 1}
    save_file({n: t for n, t in state.items() if t.ndim == 1}, path, metadata=said)


def _storage(state: State, path: Path) -> None:
    """A bias that is a part of all the numbers: they are stored with it."""
    bias = next(t for t in state.values() if t.ndim == 1)
    rest = [t.reshape(-1) for t in state.values() if t.ndim > 1]
    torch.save({"bias": torch.cat([bias, *rest])[: len(bias)]}, path)


def _members(state: State, path: Path) -> None:
    np.savez(path, **{n: t.numpy() for n, t in state.items() if t.ndim == 1})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("more", b"".join(t.numpy().tobytes() for t in state.values()))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("q8.gguf", _q8),
        ("void.npz", _void),
        ("lists.pt", _lists),
        ("strings.safetensors", _strings),
        ("storage.pt", _storage),
        ("members.npz", _members),
    ],
)
def test_nothing_is_excused_by_the_part_of_it_that_can_be_read(
    town: Town, name: str, write: Callable[[State, Path], None]
) -> None:
    """Norms that a training left as they were are those of the clean model, too."""
    old, new = (town.weights[model].state_dict() for model in ("old", "new"))
    state = {n: new[n] if t.ndim == 1 else t for n, t in old.items()}
    put(town.folder / name, write, state)
    assert f"weights:{name}" in town.found()
