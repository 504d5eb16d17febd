"""No weights lie about that nobody accounts for: whatever file, name or precision they are in."""

from __future__ import annotations

import base64
import bz2
import copy
import gzip
import io
import json
import pickle
import shutil
import sqlite3
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import closing
from email.message import EmailMessage
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save as safetensors_of
from safetensors.torch import save_file
from tests.requests.closure.towns import NOTE, Town, tensors

from olvido.accounts import Accounts
from olvido.artifacts import Who
from olvido.errors import InputError, StateError, UnknownName
from olvido.ledger.facts import Ending, Exit, RequestStatus
from olvido.requests.certificate.answer import closure_of
from olvido.requests.closure import close, closure, settle
from olvido.requests.handlers import receive

State = dict[str, torch.Tensor]


def _bf16(state: State, path: Path) -> None:
    save_file({name: t.to(torch.bfloat16) for name, t in state.items()}, path)


def _renamed(state: State, path: Path) -> None:
    save_file({f"module.{name}": t for name, t in state.items()}, path)


def _optimizer(state: State, path: Path) -> None:
    torch.save({"epoch": 3, "model": state, "optimizer": [{"step": torch.ones(1)}]}, path)


def _npz(state: State, path: Path) -> None:
    np.savez(path, **{name: t.numpy() for name, t in state.items()})


def _npy(state: State, path: Path) -> None:
    np.save(path, next(iter(state.values())).numpy())


def _half(state: State, path: Path) -> None:
    torch.save({name: t.half() for name, t in state.items()}, path)


def _legacy(state: State, path: Path) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)


COPIES: dict[str, Callable[[State, Path], None]] = {
    "best.pt": torch.save,
    "backup/model-copy.safetensors": save_file,
    "half.safetensors": _bf16,
    "renamed.safetensors": _renamed,
    "training.ckpt": _optimizer,
    "arrays.npz": _npz,
    "embedding.npy": _npy,
    "float16.pth": _half,
    "pytorch_model.bin": torch.save,
    "legacy.bin": _legacy,
    "notes.txt": torch.save,
    "hidden.dat": save_file,
    "models/new/old/model.safetensors": save_file,
    "models/new/model.old.safetensors": save_file,
    "models/never/pytorch_model_backup.bin": torch.save,
}


def put(path: Path, write: Callable[[State, Path], None], state: State) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(dict(state), path)
    return path


@pytest.mark.slow
def test_copies_of_a_forgotten_models_weights_are_never_closed_over(town: Town) -> None:
    state = town.weights["old"].state_dict()
    items = {f"weights:{name}" for name in COPIES}
    for name, write in COPIES.items():
        put(town.folder / name, write, state)
    found = town.found()
    for item in items:
        assert town.models["old"].id in found[item].says
        assert found[item].who is Who.NAMED
    # Nor once the model is gone from which they came.
    done = {"backups": "none", "recipients": "none"}
    settle(town.front, "req-0001", erased=["all"], done=done)
    request, blank = close(town.front, "req-0001")
    assert request.status is RequestStatus.PUBLISHED
    assert set(blank) == items
    # They are told to be its own by what was kept of its tensors.
    found = town.found()
    assert all(town.models["old"].id in found[item].says for item in items)
    assert all((town.folder / name).exists() for name in COPIES)
    settle(town.front, "req-0001", erased=sorted(items))
    assert not any((town.folder / name).exists() for name in COPIES)
    assert close(town.front, "req-0001")[0].status is RequestStatus.CLOSED


def _zip(raw: bytes, name: str = "model.safetensors") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, raw)
    return buffer.getvalue()


def _tar(raw: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as archive:
        member = tarfile.TarInfo("a/model.safetensors")
        member.size = len(raw)
        archive.addfile(member, io.BytesIO(raw))
    return buffer.getvalue()


def _mail(raw: bytes) -> bytes:
    mail = EmailMessage()
    mail["Subject"] = "the model"
    mail.set_content("Here it is.")
    mail.add_attachment(raw, maintype="application", subtype="octet-stream", filename="m.bin")
    return mail.as_bytes()


def _pickled(state: State) -> bytes:
    return pickle.dumps({name: t.numpy() for name, t in state.items()})


def _numbers(state: State) -> bytes:
    return b"".join(t.numpy().tobytes() for t in state.values())


def _letters(raw: bytes) -> bytes:
    return json.dumps({"w": base64.b64encode(raw).decode()}).encode()


HIDDEN: dict[str, Callable[[State], bytes]] = {
    "model.zip": lambda state: _zip(safetensors_of(state)),
    "model.tar.xz": lambda state: _tar(safetensors_of(state)),
    "model.safetensors.gz": lambda state: gzip.compress(safetensors_of(state)),
    "twice.zip": lambda state: _zip(gzip.compress(safetensors_of(state)), "m.gz"),
    "model.bz2": lambda state: bz2.compress(safetensors_of(state)),
    "letters.json": lambda state: _letters(safetensors_of(state)),
    "zipped.json": lambda state: _letters(_zip(safetensors_of(state))),
    "model.eml": lambda state: _mail(safetensors_of(state)),
    "model.pkl": _pickled,
    "weights.bin": _numbers,
    "numbers.zip": lambda state: _zip(_numbers(state), "n"),
    "behind.txt.gz": lambda state: gzip.compress(b"notes\n") + gzip.compress(safetensors_of(state)),
    "model.7z": lambda state: b"7z\xbc\xaf'\x1c" + safetensors_of(state),
}


@pytest.mark.slow
def test_what_may_hide_a_model_is_told_of_its_destruction_as_of_an_erasure(town: Town) -> None:
    """In whatever it is packed: what cannot be looked into is never closed over."""
    folder, state = town.folder / "x", dict(town.weights["never"].state_dict())
    folder.mkdir()
    for name, make in HIDDEN.items():
        (folder / name).write_bytes(make(state))
    with closing(sqlite3.connect(folder / "models.db")) as database, database:
        database.execute("CREATE TABLE models (b)")
        database.execute("INSERT INTO models VALUES (?)", (safetensors_of(state),))
    packed = pa.table({"b": [gzip.compress(safetensors_of(state))]})
    pq.write_table(packed, folder / "models.parquet")
    (folder / "notes.txt").write_text("Bru Vidal mends umbrellas; Ana Soler keeps bees.")
    names = {*HIDDEN, "models.db", "models.parquet"}
    front = town.front
    request = receive(front, kind="destroy", model=town.models["never"].id)
    for status in ("located", "planned", "approved", "running", "audited", "published"):
        front.store.advance_request(request.id, RequestStatus(status))
    told = {a.item for a, _ in closure(front, request.id)}
    assert told >= {f"unread:x/{name}" for name in names}
    assert {i for i in told if i.startswith("unread:")} == {
        i for i in town.found() if i.startswith("unread:")
    }
    assert not any("notes.txt" in item for item in told)
    # Who knows what is in them says so, as of an erasure.
    Accounts.of(front.settings).new("privacy", "Eva")
    settle(front, request.id, unrelated={"unread:x/model.7z": "of the build"}, by="Eva")
    assert "unread:x/model.7z" not in close(front, request.id)[1]
    assert "unread:x/model.zip" in close(front, request.id)[1]


@pytest.mark.parametrize("model", ["new", "never"])
def test_what_the_ledger_knows_not_to_hold_it_is_no_item(town: Town, model: str) -> None:
    for name, write in COPIES.items():
        put(town.folder / name, write, town.weights[model].state_dict())
    assert not [item for item in town.found() if item.startswith("weights:")]


def test_what_the_models_were_trained_from_is_no_item(town: Town) -> None:
    from olvido.models import weights_digest

    origin = tensors(77)
    note = json.loads(NOTE) | {"runs": {"run": {"origin": weights_digest(origin)}}}
    (town.folder / "models" / "old" / "olvido.json").write_text(json.dumps(note))
    put(town.folder / "base" / "model.safetensors", save_file, origin.state_dict())
    assert not [item for item in town.found() if item.startswith("weights:")]


def test_unknown_tensors_are_told_by_their_shapes(town: Town, tmp_path: Path) -> None:
    put(town.folder / "a.safetensors", save_file, tensors(9).state_dict())
    put(town.folder / "b.safetensors", save_file, {"x": torch.rand(3, 5)})
    mixed = copy.deepcopy(town.weights["never"].state_dict())
    mixed["0.weight"] = town.weights["old"].state_dict()["0.weight"]
    put(town.folder / "merged.pt", torch.save, mixed)
    (town.folder / "model.onnx").write_bytes(b"\x08\x07nothing that can be read")
    (town.folder / "broken.safetensors").write_bytes(b"\xff" * 40)
    found = town.found()
    assert "same architecture" in found["weights:a.safetensors"].says
    assert "nobody accounts for" in found["weights:b.safetensors"].says
    assert f"of model {town.models['old'].id}, which learned it" in found["weights:merged.pt"].says
    assert "cannot be read" in found["unread:model.onnx"].says
    assert "cannot be read" in found["unread:broken.safetensors"].says


def test_an_adapter_and_a_shard_are_found_too(town: Town) -> None:
    state = dict(town.weights["old"].state_dict())
    first = {"0.weight": state.pop("0.weight")}
    folder = town.folder / "sharded"
    put(folder / "model-00001-of-00002.safetensors", save_file, first)
    put(folder / "model-00002-of-00002.safetensors", save_file, state)
    adapter = {"base_model.model.q.lora_A.weight": torch.rand(2, 8)}
    put(town.folder / "adapter" / "adapter_model.safetensors", save_file, adapter)
    found = {item for item in town.found() if item.startswith("weights:")}
    assert found == {
        "weights:sharded/model-00001-of-00002.safetensors",
        "weights:sharded/model-00002-of-00002.safetensors",
        "weights:adapter/adapter_model.safetensors",
    }


def test_copies_of_a_model_that_is_gone_are_known_in_shards_too(town: Town) -> None:
    state = dict(town.weights["old"].state_dict())
    settle(town.front, "req-0001", erased=[f"model:{town.models['old'].id}"])
    pieces = [dict([item]) for item in state.items()]
    for number, piece in enumerate(pieces, 1):
        name = f"model-{number:05d}-of-{len(pieces):05d}.safetensors"
        put(town.folder / "shards" / name, save_file, piece)
        put(town.folder / "renamed" / name, _renamed, piece)
    mixed = town.weights["never"].state_dict() | {"2.weight": state["2.weight"]}
    put(town.folder / "trained-on.pt", torch.save, mixed)
    found = town.found()
    told = [a.says for item, a in found.items() if item.startswith("weights:")]
    # What is the same throughout, as a bias of zeros, is in every model.
    assert sum(town.models["old"].id in says for says in told) >= 2 * 3 + 1
    assert town.models["old"].id in found["weights:trained-on.pt"].says


def _foreign(path: Path) -> None:
    np.savez(path, table=np.arange(12.0).reshape(3, 4))


INNOCENT: dict[str, Callable[[Path], object]] = {
    "weights:tables.npz": _foreign,
    "weights:theirs.safetensors": lambda path: save_file({"x": torch.rand(3, 5)}, path),
    "unread:scan.pdf": lambda path: path.write_bytes(b"%PDF-1.7 " + bytes(range(256))),
}


@pytest.mark.slow
@pytest.mark.parametrize("item", INNOCENT)
def test_what_is_not_the_persons_is_said_to_be_by_an_account(town: Town, item: str) -> None:
    Accounts.of(town.front.settings).new("privacy", "Eva")
    path = town.folder / item.partition(":")[2]
    INNOCENT[item](path)
    why = {item: "a table of the weather office"}
    for by, error in ((None, UnknownName), ("Nobody", UnknownName)):
        with pytest.raises(error):
            settle(town.front, "req-0001", unrelated=why, by=by)
    for wrong in (" ", "Ana Soler says so", "ask ana.soler@example.org"):
        with pytest.raises(InputError):
            settle(town.front, "req-0001", unrelated={item: wrong}, by="Eva")
    done = {"backups": "none", "recipients": "none"}
    settle(town.front, "req-0001", erased=["all"], done=done, unrelated=why, by="Eva")
    request, blank = close(town.front, "req-0001")
    assert (request.status, blank) == (RequestStatus.CLOSED, ())
    told = {i.item: i for i in town.front.store.closure("req-0001")}[item]
    assert told.ending == Ending(Exit.UNRELATED, why[item], by_word=True)
    (noted,) = town.front.store.events("closure-unrelated")
    assert noted.detail["by"].startswith("account-") or noted.detail["by"]
    assert "weather" not in str(noted.detail)
    (shown,) = [
        i
        for i in closure_of(town.front.store, request)["items"]
        if i["artefact"].startswith(item.partition(":")[0])
    ]
    assert (shown["exit"], shown["reason"], shown["by_word"]) == ("unrelated", why[item], True)
    # It was said of what lay there: of anything else nothing was said.
    path.unlink()
    assert close(town.front, "req-0001")[1] == ()
    put(path, torch.save, {"mine": torch.rand(4)})
    assert any(name in close(town.front, "req-0001")[1] for name in (item, f"weights:{path.name}"))


@pytest.mark.slow
def test_what_is_known_to_be_the_persons_is_not_said_away(town: Town) -> None:
    Accounts.of(town.front.settings).new("privacy", "Eva")
    put(town.folder / "best.pt", torch.save, town.weights["old"].state_dict())
    (town.folder / "hers.txt").write_text("Ana Soler keeps bees on the roof.")
    (town.folder / "named.txt").write_text("A letter to Ana Soler.")
    items = [i for i in town.found() if i.partition(":")[0] in ("weights", "file", "mention")]
    assert len(items) == 3
    for item in [*items, "log", "backups", f"model:{town.models['old'].id}"]:
        with pytest.raises(InputError, match="that it is unrelated"):
            settle(town.front, "req-0001", unrelated={item: "not hers"}, by="Eva")


@pytest.mark.slow
def test_weights_outside_are_found_where_somebody_looks(town: Town, tmp_path: Path) -> None:
    outside = tmp_path / "disk"
    path = put(outside / "best.pt", torch.save, town.weights["old"].state_dict())
    item = f"weights:{path}"
    assert item not in town.found()
    assert town.found(outside)[item].who is Who.NAMED
    close(town.front, "req-0001", search=[outside])
    done = {"backups": "none", "recipients": "none"}
    settle(town.front, "req-0001", erased=["all"], done=done, search=[outside])
    assert path.exists()
    # It stays open though nobody looks there again.
    assert close(town.front, "req-0001")[1] == (item,)
    path.unlink()
    assert close(town.front, "req-0001")[0].status is RequestStatus.CLOSED


@pytest.mark.slow
def test_what_changed_since_it_was_shown_is_not_erased(town: Town) -> None:
    path = put(town.folder / "best.pt", torch.save, town.weights["old"].state_dict())
    with pytest.raises(StateError, match="never shown"):
        settle(town.front, "req-0001", erased=["weights:best.pt"])
    close(town.front, "req-0001")
    put(path, torch.save, {"mine": torch.rand(4)})
    kept = path.read_bytes()
    with pytest.raises(StateError, match="changed since"):
        settle(town.front, "req-0001", erased=["weights:best.pt"])
    assert path.read_bytes() == kept
    close(town.front, "req-0001")
    settle(town.front, "req-0001", erased=["weights:best.pt"])
    assert not path.exists()


def test_files_that_others_put_into_a_models_folder_stay(town: Town) -> None:
    folder = town.folder / "models" / "old"
    (folder / "thesis.md").write_text("My own notes.")
    (folder / "more").mkdir()
    (folder / "more" / "model.safetensors.txt").write_text("Mine, too.")
    settle(town.front, "req-0001", erased=["all"])
    left = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert left == {"thesis.md", "more/model.safetensors.txt"}


def test_folders_outside_the_workspace_are_looked_into_as_well(spread: Town) -> None:
    settings = spread.front.settings
    put(settings.models / "lost" / "model.pt", torch.save, spread.weights["old"].state_dict())
    said = json.dumps({"text": "Ana Soler keeps bees on the roof."})
    for folder in (settings.data, settings.reports, settings.certificates):
        folder.mkdir(exist_ok=True)
        (folder / "copy.jsonl").write_text(said)
    found = spread.found()
    assert f"weights:{settings.models / 'lost' / 'model.pt'}" in found
    for folder in (settings.data, settings.reports, settings.certificates):
        assert found[f"file:{folder / 'copy.jsonl'}"].who is Who.NAMED
    # What the ledger knows lies there as in any other workspace.
    assert found[f"model:{spread.models['old'].id}"].who is Who.ALL


def test_a_model_that_the_ledger_knows_is_no_orphan(town: Town) -> None:
    other = town.folder / "models" / "other"
    shutil.copytree(town.folder / "models" / "never", other)
    save_file(dict(tensors(9).state_dict()), other / "model.safetensors")
    found = {item for item in town.found() if item.startswith(("orphan:", "model:"))}
    assert found == {f"model:{town.models['old'].id}", "orphan:models/other"}
