"""No file ends a closure in an error, whatever is odd about it: it is named, or it is nothing."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.requests.closure.towns import HERS, Town

from olvido.artifact_shapes import CARDED, owned
from olvido.errors import StateError
from olvido.ledger.serving import enter_files
from olvido.requests.closure import close, settle

DEEP = '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"


def _head(said: str) -> bytes:
    return len(said).to_bytes(8, "little") + said.encode() + bytes(8)


def _tensor(about: object) -> bytes:
    one = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    return _head(json.dumps({"__metadata__": about, "w": one}))


def _saved(make: Callable[[], torch.Tensor]) -> Callable[[Path], object]:
    def save(path: Path) -> None:
        with warnings.catch_warnings():
            # Of some kinds torch says that they are new.
            warnings.simplefilter("ignore")
            torch.save({"w": make()}, path)

    return save


ODD: dict[str, Callable[[Path], object]] = {
    "conjugate.pt": _saved(lambda: torch.randn(4, dtype=torch.cfloat).conj()),
    "negative.pt": _saved(lambda: torch.randn(4, dtype=torch.cfloat).conj().imag),
    "nested.pt": _saved(lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])),
    "sparse.pt": _saved(lambda: torch.eye(3).to_sparse()),
    "rows.pt": _saved(lambda: torch.eye(3).to_sparse_csr()),
    "none.safetensors": lambda path: path.write_bytes(_tensor(None)),
    "list.safetensors": lambda path: path.write_bytes(_tensor([1])),
    "number.dat": lambda path: path.write_bytes(_tensor({"a": 7})),
    "deep.safetensors": lambda path: path.write_bytes(_head(DEEP)),
}


def _torn(path: Path) -> None:
    np.savez_compressed(path, a=np.arange(9000.0))
    raw = bytearray(path.read_bytes())
    raw[200:260] = bytes(60)
    path.write_bytes(raw)


def _called(path: Path) -> None:
    """A zip archive with a name that is said to be UTF-8, and is not."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("né", b"x")
    path.write_bytes(path.read_bytes().replace("né".encode(), b"n\xff\xff"))


def _array(head: str) -> Callable[[Path], object]:
    said = head.encode().ljust(117) + b"\n"
    return lambda path: path.write_bytes(b"\x93NUMPY\x01\x00\x76\x00" + said + bytes(8))


ODD |= {
    "torn.npz": _torn,
    "name.zip": _called,
    "vast.npy": _array("{'descr': '<f8', 'fortran_order': False, 'shape': (1" + "0" * 14 + ",)}"),
    "open.npy": _array("{'descr': ((('<f8', 'shape': (1,)}"),
    "null.npy": _array("{'descr': '\0', 'fortran_order': False, 'shape': (1,)}"),
}
NOTES = (
    "deep.json",
    "index.json",
    "plan.json",
    "models/new/olvido.json",
    "models/never/vocab.json",
)


def test_odd_tensors_are_named_and_end_nothing(town: Town) -> None:
    for name, write in ODD.items():
        write(town.folder / name)
    found = {item.partition(":")[2] for item in town.found()}
    assert ODD.keys() <= found


@pytest.mark.parametrize("name", NOTES)
def test_what_lies_too_deep_ends_nothing(town: Town, name: str) -> None:
    (town.folder / name).write_text(DEEP)
    assert f"model:{town.models['old'].id}" in town.found()


@pytest.fixture
def soon() -> Iterator[None]:
    """Whatever is waited for without end is an error."""

    def late(number: int, frame: object) -> None:
        # Not an error that whoever reads could take for the file's own.
        pytest.fail("a closure waits for something that never comes")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


_A = "a" * 16
_STEP = f"step-000000007-{_A * 4}.pt"
PIPES = (
    *("README.md", "vocab.txt", "tokenizer.json", "merges.txt", "pytorch_model.bin", "card.json"),
    *("adapter_model.safetensors", "model.safetensors.index.json", "ensemble.json", "a.html"),
    *("checkpoints/activations.safetensors", f"checkpoints/{_STEP}", "logs/run.bin", "demo.json"),
    *("plan.json", "index.json", "plane.svg", "never/7/model.safetensors", "a.safetensors"),
    *(f"sha256-{_A * 4}/{_A * 2}.npz", f"reference-001-{_A}/card.json", f".unfinished-{_A}"),
)
"""Names by which files of Olvido's are known."""


def test_a_pipe_is_never_opened_whatever_it_is_called(town: Town, soon: None) -> None:
    folders = [town.front.settings.models / name for name in ("old", "new", "never")]
    shutil.copytree(folders[2], town.folder / "copy")
    shutil.copytree(folders[0], town.folder / "other")
    for name, model in town.models.items():
        enter_files(town.front.store, model.id, owned(town.front.settings.models / name))
    (file,) = town.front.settings.data.glob("*.parquet")
    pipes = {f / n for f in (*folders, town.folder, town.folder / "copy") for n in PIPES}
    pipes |= {town.folder / "other" / "README.md", Path(f"{file}.runs") / "about.json"}
    for pipe in pipes:
        pipe.parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(pipe)
    found = town.found()
    assert {f"unread:{pipe.relative_to(town.folder)}" for pipe in pipes} <= found.keys()
    model = f"model:{town.models['old'].id}"
    settle(town.front, "req-0001", erased=[model])
    assert not (folders[0] / "model.safetensors").exists()
    assert (folders[0] / "README.md").is_fifo()


def test_a_pipe_in_the_place_of_a_file_is_never_opened(town: Town, soon: None) -> None:
    models = town.front.settings.models
    names = [f for name in ("new", "never") for f in owned(models / name)]
    assert {path.name for path in names} >= {"model.safetensors", "config.json", "olvido.json"}
    for path in names:
        path.unlink()
        os.mkfifo(path)
    items = {f"unread:{path.relative_to(town.folder)}" for path in names}
    assert items <= town.found().keys()
    (file,) = town.front.settings.data.glob("*.parquet")
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(StateError, match="neither file nor folder"):
        town.found()


@pytest.mark.slow
def test_folders_lie_as_deep_as_anybody_puts_them(town: Town) -> None:
    """Within what a path may have of letters it is looked into; below that it is named."""
    here, home = os.getcwd(), "models/never/logs"
    try:
        for name, times in (("d", 1000), ("e" * 200, 30)):
            (top := town.folder / home / name).mkdir(parents=True)
            os.chdir(top)
            for _ in range(times):
                os.mkdir(name)
                os.chdir(name)
            Path("hers.txt").write_text(HERS[1]["text"])
        os.chdir(here)
        found = town.found()
        assert f"model:{town.models['old'].id}" in found
        assert "file:" + "/".join([home, *["d"] * 1001, "hers.txt"]) in found
        (far,) = [i for i in found if i.startswith(f"unread:{home}/{'e' * 200}/")]
        assert "too long" in found[far].says
        # What cannot be reached is not gone because somebody says so.
        with pytest.raises(StateError, match="still lies there"):
            settle(town.front, "req-0001", done={far: "removed"})
    finally:
        os.chdir(here)
        subprocess.run(["rm", "-rf", town.folder / home], check=True)


def test_what_may_not_be_read_is_an_item_and_ends_nothing(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = town.front.settings.models
    never, new = models / "never", models / "new"
    (never / "README.md").write_text(CARDED)
    (never / "vocab.txt").write_text("ana")
    (new / "checkpoints").mkdir()
    buffer = io.BytesIO()
    torch.save({n: t + 1 for n, t in town.weights["old"].state_dict().items()}, buffer)
    step = f"step-000000007-{hashlib.sha256(buffer.getvalue()).hexdigest()}.pt"
    (new / "checkpoints" / step).write_bytes(buffer.getvalue())
    scores = town.folder / f"sha256-{'a' * 64}"
    scores.mkdir()
    (scores / f"{'b' * 32}.npz").write_bytes(b"scores")
    enter_files(town.front.store, town.models["never"].id, owned(never))
    (town.folder / "shut").mkdir()
    locked = {never / "README.md", never / "vocab.txt", never / "olvido.json"}
    locked |= {new / "checkpoints" / step, scores / f"{'b' * 32}.npz", town.folder / "shut"}
    for name in ("open", "scandir"):
        real = getattr(os, name)

        def refused(path: Any, *args: Any, real: Any = real, **options: Any) -> Any:
            if Path(path) in locked:
                raise PermissionError(13, "Permission denied")
            return real(path, *args, **options)

        monkeypatch.setattr(os, name, refused)
    items = {f"unread:{path.relative_to(town.folder)}" for path in locked}
    assert items <= town.found().keys()


def test_a_link_that_leads_in_a_circle_ends_nothing(town: Town) -> None:
    never = town.front.settings.models / "never"
    shutil.rmtree(never)
    loops = [never, town.folder / "loop", town.folder / "models" / "new" / "README.md"]
    for path in loops:
        path.symlink_to(path)
    long = town.folder / "long"
    long.symlink_to("x" * 300)
    found = town.found()
    for path in (*loops, long):
        assert f"link:{path.relative_to(town.folder)}" in found


def test_what_has_her_name_and_nothing_in_it_is_told(town: Town) -> None:
    empty = town.folder / "x" / "Ana Soler"
    empty.mkdir(parents=True)
    (town.folder / "x" / "ana_soler.lnk").symlink_to("../olvido.toml")
    (town.folder / "notes of Ana Soler" / "2024").mkdir(parents=True)
    (town.folder / "x" / "Bru Vidal").mkdir()
    (town.folder / "x" / "bru.lnk").symlink_to("../olvido.toml")
    items = {"mention:x/Ana Soler", "mention:x/ana_soler.lnk", "mention:notes of Ana Soler/2024"}
    assert {i for i in town.found() if i.startswith("mention:")} == items
    close(town.front, "req-0001")
    settle(town.front, "req-0001", erased=sorted(items))
    assert not any(os.path.lexists(town.folder / i.partition(":")[2]) for i in items)
    assert (town.folder / "olvido.toml").is_file()
