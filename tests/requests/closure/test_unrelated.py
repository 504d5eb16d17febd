"""What the team says to be unrelated: said of bytes that were looked at, and of nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.requests.closure.test_weights import put
from tests.requests.closure.towns import HERS, Town

from olvido.accounts import Accounts
from olvido.errors import InputError, StateError
from olvido.ledger.facts import Exit
from olvido.requests.certificate.answer import closure_of
from olvido.requests.closure import close, closure, settle
from olvido.requests.rights.letter import fitting

SEEN: dict[str, Callable[[Path], object]] = {
    "weights:copy.safetensors": lambda path: save_file({"x": torch.rand(3, 5)}, path),
    "weights:copy.pt": lambda path: torch.save({"x": torch.rand(3, 5)}, path),
    "unread:scan.pdf": lambda path: path.write_bytes(b"%PDF-1.7 " + bytes(range(256))),
}


@pytest.fixture
def town(town: Town) -> Town:
    Accounts.of(town.front.settings).new("privacy", "Eva")
    return town


def said(town: Town, item: str, *search: Path) -> Exit | None:
    found = {a.item: s.exit for a, s in closure(town.front, "req-0001", search=search)}
    return found[item if item in found else town.front.store.sealed(item)]


def outside(town: Town, tmp_path: Path) -> dict[str, Path]:
    """Files of others on a disk of their own, by the items that they are."""
    (tmp_path / "disk").mkdir()
    made: dict[str, Path] = {}
    for item, write in SEEN.items():
        kind, _, name = item.partition(":")
        made[f"{kind}:{tmp_path / 'disk' / name}"] = tmp_path / "disk" / name
        write(tmp_path / "disk" / name)
    return made


def changed(town: Town, path: Path) -> None:
    """Other bytes, of the same kind of file."""
    if path.suffix == ".pdf":
        path.write_bytes(b"%PDF-1.7 " + bytes(range(255)))
    else:
        put(path, torch.save, town.weights["old"].state_dict())


@pytest.mark.slow
def test_what_was_not_looked_at_in_this_run_is_not_said_away(town: Town, tmp_path: Path) -> None:
    made = outside(town, tmp_path)
    close(town.front, "req-0001", search=[tmp_path / "disk"])
    for item in made:
        with pytest.raises(InputError, match="search"):
            settle(town.front, "req-0001", unrelated={item: "theirs"}, by="Eva")
        assert said(town, item) is None
    assert not town.front.store.events("closure-unrelated")


@pytest.mark.slow
def test_what_lies_outside_is_unrelated_as_long_as_its_bytes_are(
    town: Town, tmp_path: Path
) -> None:
    made, disk = outside(town, tmp_path), tmp_path / "disk"
    why = dict.fromkeys(made, "theirs")
    settle(town.front, "req-0001", unrelated=why, by="Eva", search=[disk])
    assert {said(town, item, *search) for item in made for search in ([], [disk])} == {
        Exit.UNRELATED
    }
    for path in made.values():
        changed(town, path)
    for search in ([], [disk]):
        assert {said(town, item, *search) for item in made} == {None}
    for path in made.values():
        path.unlink()
    assert {said(town, item) for item in made} == {Exit.UNRELATED}


@pytest.mark.slow
def test_what_lies_there_is_not_believed_to_be_erased_before_somebody_looked(
    town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import olvido.requests.closure.closing as closing

    made, disk = outside(town, tmp_path), tmp_path / "disk"
    made[f"file:{disk / 'copy.txt'}"] = disk / "copy.txt"
    (disk / "copy.txt").write_text(HER_WORDS)
    made[f"link:{disk / 'away'}"] = disk / "away"
    (disk / "away").symlink_to("/nowhere/at/all")
    made["file:here.txt"] = town.folder / "here.txt"
    (town.folder / "here.txt").write_text(HER_WORDS)
    close(town.front, "req-0001", search=[disk])
    before = town.front.store.closure("req-0001")
    for item in made:
        search = [disk] if item.startswith("link") else []
        with pytest.raises(StateError, match="still lies there"):
            settle(town.front, "req-0001", done={item: "deleted by hand"}, search=search)
    assert town.front.store.closure("req-0001") == before
    # What ends by itself and did not is seen without a look into the file.
    soon = date.today() + timedelta(days=3)
    settle(town.front, "req-0001", expires=dict.fromkeys(made, soon), search=[disk])
    assert {said(town, item) for item in made} == {Exit.AWAITING_EXPIRY}
    with monkeypatch.context() as later:
        later.setattr(closing, "today", lambda settings: soon)
        assert {said(town, item) for item in made} == {None}
    # Without her words it is a file as any other, and whoever looks sees it.
    (disk / "copy.txt").write_text("The market opens at eight.")
    for path in made.values():
        if path.name != "copy.txt":
            path.unlink()
    settle(town.front, "req-0001", done=dict.fromkeys(made, "by hand"), search=[disk])
    assert {said(town, item) for item in made} == {Exit.ERASED}


def _folder_link(path: Path) -> None:
    (path.parent.parent / "away").mkdir()
    path.symlink_to(path.parent.parent / "away")


def _file_link(path: Path) -> None:
    (path.parent.parent / "away.pdf").write_bytes(b"nothing")
    path.symlink_to(path.parent.parent / "away.pdf")


def _socket(path: Path) -> None:
    os.mknod(path, 0o140600)


NO_BYTES: dict[str, Callable[[Path], object]] = {
    "link:to-a-folder": _folder_link,
    "link:to-a-file": _file_link,
    "link:to-nothing": lambda path: path.symlink_to("/nowhere/at/all"),
    "unread:pipe": os.mkfifo,
    "unread:socket": _socket,
}


@pytest.mark.slow
def test_what_has_no_bytes_of_its_own_is_never_unrelated(town: Town) -> None:
    for item, make in NO_BYTES.items():
        make(town.folder / item.partition(":")[2])
    close(town.front, "req-0001")
    for item in NO_BYTES:
        with pytest.raises(InputError):
            settle(town.front, "req-0001", unrelated={item: "of the build"}, by="Eva")
        assert said(town, item) is None


def test_a_file_that_may_not_be_read_is_never_unrelated(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = {town.folder / name for name in ("locked.bin", "locked.pt", "locked.pdf")}
    for path in locked:
        path.write_bytes(b"harmless")
    opened = os.open

    def refused(path: Any, *args: Any, **options: Any) -> int:
        if path in locked:
            raise PermissionError(13, "Permission denied")
        return opened(path, *args, **options)

    monkeypatch.setattr(os, "open", refused)
    items = [i for i in town.found() if "locked" in i]
    assert len(items) == 3
    for item in items:
        with pytest.raises(InputError):
            settle(town.front, "req-0001", unrelated={item: "a lock"}, by="Eva")


@pytest.mark.slow
def test_a_new_version_of_the_key_changes_nothing_of_it(town: Town) -> None:
    for item, write in SEEN.items():
        write(town.folder / item.partition(":")[2])
    why = dict.fromkeys(SEEN, "theirs")
    settle(town.front, "req-0001", unrelated=why, by="Eva")
    signer = town.front.store.signer(town.front.settings.signing_key)
    for _ in range(2):
        town.front.store.rotate(town.front.store.key.next(), signer)
    assert {said(town, item) for item in SEEN} == {Exit.UNRELATED}
    for item in SEEN:
        changed(town, town.folder / item.partition(":")[2])
    assert {said(town, item) for item in SEEN} == {None}


HER_WORDS = f"{HERS[1]['text']}\n{HERS[0]['prompt']} {HERS[0]['completion']}\n"
WORDS: dict[str, Callable[[Path], object]] = {
    **dict.fromkeys(
        ("ana.pt", "chat.h5", "list.msgpack", "a.onnx", "b.safetensors"),
        lambda path: path.write_text(HER_WORDS),
    ),
    "texts.npy": lambda path: np.save(path, np.array([HER_WORDS])),
    "texts.npz": lambda path: np.savez(path, x=np.array([HER_WORDS]), y=np.arange(3.0)),
    "about.safetensors": lambda path: save_file({"x": torch.rand(3)}, path, {"about": HER_WORDS}),
    "beside.pt": lambda path: torch.save({"x": torch.rand(3), "about": HER_WORDS}, path),
}


@pytest.mark.slow
def test_words_under_a_tensors_name_are_found_and_not_said_away(town: Town) -> None:
    for name, write in WORDS.items():
        write(town.folder / name)
    (town.folder / "clean.pt").write_text("The market opens at eight.")
    found = town.found()
    assert {f"file:{name}" for name in WORDS} <= set(found)
    assert not [item for item in found if "clean.pt" in item]
    for name in WORDS:
        for item in [i for i in found if i.endswith(f":{name}")]:
            with pytest.raises(InputError, match="that it is unrelated"):
                settle(town.front, "req-0001", unrelated={item: "our logo"}, by="Eva")


BLIND: dict[str, bytes] = {
    "model.onnx": b"\x08\x07nothing that can be read",
    "broken.safetensors": b"\xff" * 40,
    "model.h5": b"\x89HDF\r\n\x1a\n" + bytes(64),
    "model.gguf": b"GGUF" + bytes(64),
}


@pytest.mark.slow
def test_of_tensors_that_cannot_be_read_nobody_says_that_all_is_done(town: Town) -> None:
    for name, content in BLIND.items():
        (town.folder / name).write_bytes(content)
    why = {f"unread:{name}": "our logo" for name in BLIND}
    done = {"backups": "none", "recipients": "none"}
    settle(town.front, "req-0001", erased=["all"], done=done, unrelated=why, by="Eva")
    request, blank = close(town.front, "req-0001")
    assert blank == ()
    told = closure_of(town.front.store, request)
    assert len(told["unseen"]) == len(BLIND)
    assert fitting(town.front, request) == ("partly-done",)
