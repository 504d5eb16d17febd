"""What is written is whole, durable and its owner's alone; a lock has one holder."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from olvido.errors import StateError
from olvido.files import locked, make_folder, new_file, new_folder, write, write_document


def _arrays(path: Path) -> None:
    with new_folder(path) as folder:
        np.save(folder / "a.npy", np.arange(3))
        (folder / "deeper").mkdir()
        (folder / "deeper" / "b.txt").write_text("b")


def _tensors(path: Path) -> None:
    with new_file(path) as unfinished:
        save_file({"a": torch.zeros(2)}, unfinished)


WRITERS: dict[str, Callable[[Path], None]] = {
    "bytes": lambda path: write(path, b"\x00\xff"),
    "text": lambda path: write(path, "é"),
    "document": lambda path: write_document({"a": 1}, path),
    "new": lambda path: write(path, "a", new=True),
    "tensors": _tensors,
    "folder": _arrays,
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_is_written_outlives_a_power_cut(name: str, disk: Any, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / "made" / "on the way" / "here")
    assert not disk.lost(tmp_path)


@pytest.mark.parametrize("name", WRITERS)
def test_only_its_owner_can_read_it(name: str, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        WRITERS[name](tmp_path / "made" / "here")
    finally:
        os.umask(before)
    for path in tmp_path.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


BREAKS = [
    *(("fsync", name) for name in WRITERS),
    *(("replace", name) for name in WRITERS if name != "new"),
    ("link", "new"),
    *(("write_bytes", name) for name in ("bytes", "text", "document", "new")),
]


@pytest.mark.parametrize(("broken", "name"), BREAKS)
def test_a_failure_leaves_what_was_there_and_nothing_else(
    broken: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    before = [] if name in ("new", "folder") else ["here"]
    for there in before:
        (tmp_path / there).write_text("as it was")
    monkeypatch.setattr(Path if broken == "write_bytes" else os, broken, refuse)
    with pytest.raises(OSError):
        WRITERS[name](tmp_path / "here")
    assert os.listdir(tmp_path) == before
    assert all((tmp_path / there).read_text() == "as it was" for there in before)


def test_a_new_file_replaces_nothing(tmp_path: Path) -> None:
    write(tmp_path / "key", "first", new=True)
    with pytest.raises(FileExistsError):
        write(tmp_path / "key", "second", new=True)
    assert os.listdir(tmp_path) == ["key"]
    assert (tmp_path / "key").read_text() == "first"


def test_a_folder_replaces_no_folder_with_content(tmp_path: Path) -> None:
    _arrays(tmp_path / "a")
    (tmp_path / "a" / "mine").touch()
    with pytest.raises(OSError):
        _arrays(tmp_path / "a")
    assert os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a" / "mine").exists()


def test_a_folder_that_is_there_keeps_its_permissions(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    make_folder(tmp_path)
    write(tmp_path / "a", "")
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


HOLD = """
import sys
from pathlib import Path
from olvido.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_lock_is_held_by_one_and_ends_with_its_process(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    with (
        pytest.raises(StateError, match="somebody is at it"),
        locked(tmp_path / "lock", busy="somebody is at it"),
    ):
        pytest.fail("two hold it")
    holder.kill()
    holder.wait()
    with locked(tmp_path / "lock"):
        pass
