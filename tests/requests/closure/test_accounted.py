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
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.requests.closure.test_weights import State, put
from tests.requests.closure.towns import HERS, Town, tensors

from olvido.artifact_shapes import CARDED, owned
from olvido.data.inverted import index_path
from olvido.ledger.serving import enter_files, files_entered
from olvido.requests.closure import settle
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
    "a note beside the weights": lambda f, _: _noted(f / "model.safetensors"),
    "a member": lambda f, _: _said(f / "tokenizer.json", json.dumps({"base": {"text": RECORD}})),
    "a word that stands twice": lambda f, _: _said(
        f / "vocab.json", f'{{"a": {json.dumps(RECORD)}, "a": 1}}'
    ),
    "a card": lambda f, _: _said(f / "README.md", f"{CARDED}\n{RECORD}"),
}


def _noted(path: Path) -> None:
    save_file(load_file(path), path, metadata={"note": RECORD})


def _said(path: Path, text: str) -> None:
    path.write_text(text)


@pytest.mark.slow
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


def _activations(folder: Path, state: State, **about: str) -> None:
    names = ("origin", "layer", "digest", "contents")
    (folder / "checkpoints").mkdir(exist_ok=True)
    said = dict.fromkeys(names, "x") | {"ids": "[]"} | about
    save_file(state, folder / "checkpoints" / "activations.safetensors", metadata=said)


def _step(folder: Path, content: bytes) -> None:
    (folder / "checkpoints").mkdir(exist_ok=True)
    name = f"step-000000007-{hashlib.sha256(content).hexdigest()}.pt"
    (folder / "checkpoints" / name).write_bytes(content)


def _near(state: State) -> bytes:
    return _saved({n: t + 1e-3 for n, t in state.items()})


KEPT: dict[str, Callable[[Path, State], None]] = {
    "as in mid-training": lambda f, old: _step(f, _near(old)),
    "a text": lambda f, _: _step(f, RECORD.encode()),
    "weights in a cache": lambda f, old: _activations(f, {n: t * 2 for n, t in old.items()}),
    "a record in a cache": lambda f, _: _activations(f, {"0": torch.zeros(2)}, origin=RECORD),
}


@pytest.mark.parametrize("kept", KEPT)
def test_what_a_training_kept_is_excused_only_as_the_ledger_entered_it(
    town: Town, kept: str
) -> None:
    """Whatever it is called: by its bytes, or by being a clean model's weights."""
    home, store = town.folder / "models" / "never", town.front.store
    never = dict(town.weights["never"].state_dict())
    _step(home, _near(never))
    _activations(home, {"0": torch.rand(3, 2)})
    (home / "vocab.txt").write_text("Ana Soler")
    enter_files(store, town.models["never"].id, owned(home))
    before = set(town.found())
    assert not [item for item in before if "models/never" in item]
    KEPT[kept](home, dict(town.weights["old"].state_dict()))
    assert any(":models/never/checkpoints" in item for item in set(town.found()) - before)


BACKED_UP: dict[str, tuple[str, Callable[[Town], bytes], bool]] = {
    "its own": ("never", lambda town: _near(_state(town, "never")), False),
    "its own, unreadable": ("never", lambda town: b"no tensors at all", False),
    "of one that goes": ("never", lambda town: _saved(_state(town, "old")), True),
    "from before the forgetting": ("new", lambda town: _near(_state(town, "old")), True),
}


def _state(town: Town, model: str) -> State:
    return dict(town.weights[model].state_dict())


def _saved(state: State) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("kept", BACKED_UP)
def test_a_checkpoint_in_a_backup_copy_is_taken_as_beside_its_model(town: Town, kept: str) -> None:
    """By its bytes, which the ledger has as that model's; one of what is to go goes with it."""
    model, content, goes = BACKED_UP[kept]
    home, copies = town.folder / "models" / model, town.folder / "backup"
    _step(home, content(town))
    _activations(home, {"0": torch.rand(3, 2)})
    enter_files(town.front.store, town.models[model].id, owned(home))
    shutil.copytree(home, copies / "yesterday's")
    shutil.copytree(home, copies / "named otherwise" / "deep")
    found = [i for i in town.found() if i.startswith("checkpoint:backup/")]
    assert len(found) == 2 * goes
    settle(town.front, "req-0001", erased=["all"])
    assert len([*copies.rglob("step-*.pt")]) == 2 * (not goes)
    assert len([*copies.rglob("activations.safetensors")]) == 2


def test_a_record_that_was_in_a_file_before_it_was_entered_is_found(town: Town) -> None:
    home = town.folder / "models" / "never"
    weights = home / "model.safetensors"
    save_file(dict(town.weights["never"].state_dict()), weights, metadata={"by": RECORD})
    _said(home / "tokenizer.json", json.dumps({"added_tokens": [{"content": RECORD}]}))
    enter_files(town.front.store, town.models["never"].id, owned(home))
    items = {item for item in town.found() if ":models/never/" in item}
    assert items == {"file:models/never/model.safetensors", "file:models/never/tokenizer.json"}


def test_files_are_accounted_for_by_the_bytes_that_were_entered(town: Town) -> None:
    never, store = town.models["never"], town.front.store
    home = town.folder / "models" / "never"
    _said(home / "vocab.txt", "ana")
    _said(home / "tokenizer.json", "{}")
    enter_files(store, never.id, [home / "vocab.txt"])
    enter_files(store, never.id, owned(home))
    entered = files_entered(store)[never.id]
    names = {p.name for p in accounted(never, home, entered)}
    # Short JSON says where things lie: it is looked into.
    assert names == {"model.safetensors", "vocab.txt", "tokenizer.json"}
    (home / "vocab.txt").write_text("ana ")
    save_file(dict(tensors(2).state_dict()), home / "model.safetensors", metadata={"a": "b"})
    assert {p.name for p in accounted(never, home, entered)} == {"tokenizer.json"}
    assert accounted(never, home, frozenset()) == {}


def test_what_lies_beside_the_rows_of_a_dataset_is_looked_into(town: Town) -> None:
    data = town.front.settings.data
    (file,) = data.glob("*.parquet")
    assert not [item for item in town.found() if ":data/" in item]
    table = pq.read_table(file)
    pq.write_table(table.replace_schema_metadata({"note": RECORD}), file)
    index = index_path(data, file.name)
    index.mkdir()
    np.save(index / "runs.npy", town.weights["old"].state_dict()["0.weight"].numpy())
    _said(index / "about.json", json.dumps({"note": RECORD}))
    items = {item for item in town.found() if ":data/" in item}
    kinds = (f"file:data/{file.name}", f"weights:data/{index.name}/runs.npy")
    assert items == {*kinds, f"file:data/{index.name}/about.json"}


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


def _single(state: State, path: Path) -> None:
    """All the numbers, each a tensor: it is the same throughout."""
    numbers = [x for t in state.values() if t.ndim > 1 for x in t.reshape(-1)]
    bias = {n: t for n, t in state.items() if t.ndim == 1}
    save_file({f"n.{i}": x.reshape(1) for i, x in enumerate(numbers)} | bias, path)


def _throughout(state: State, path: Path) -> None:
    numbers = torch.cat([t.reshape(-1) for t in state.values() if t.ndim > 1])
    bias = {n: t for n, t in state.items() if t.ndim == 1}
    torch.save([bias, [torch.full((3,), float(x)) for x in numbers[:40]]], path)


def _names(state: State, path: Path) -> None:
    said = {t.numpy().tobytes().hex(): torch.zeros(1) for t in state.values() if t.ndim > 1}
    save_file(said | {n: t for n, t in state.items() if t.ndim == 1}, path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("single.safetensors", _single),
        ("throughout.pt", _throughout),
        ("names.safetensors", _names),
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
