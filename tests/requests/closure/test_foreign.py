"""Whatever Olvido did not write stays, wherever it lies, and the closure says so."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from tests.requests.closure.test_policy import DONE, lines
from tests.requests.closure.test_writers import WRITTEN
from tests.requests.closure.towns import HERS, Town, tensors

from olvido.errors import InputError
from olvido.ledger.facts import Exit, RequestStatus
from olvido.ledger.rows import RowWriter, sweep
from olvido.requests.closure import close, closure, settle

NAMES = ("thesis.md", "photo.png", "data.bin", ".hidden", "notes", "a b.csv", "step-1.pt", "x.json")


def filled(town: Town) -> tuple[list[Path], set[Path]]:
    """Every kind of file and folder, twice, beside the models; and the folders that go."""
    homes = [town.folder / "some", town.front.settings.models]
    for home in homes:
        home.mkdir(exist_ok=True)
    made = {write(home) for home in homes for write in WRITTEN.values()}
    town.front.store.note(
        "model-exported", {"model": town.models["old"].id, "path": str(town.folder / "export")}
    )
    (town.folder / "export").mkdir()
    (town.folder / "export" / "config.json").write_text("{}")
    gone = {path for path in made if path.is_dir()} | {town.folder / "export", homes[1] / "old"}
    return homes, gone


def planted(homes: list[Path], seed: int) -> dict[Path, bytes]:
    """Files of others at random places below some folders, also in folders of their own."""
    drawn = random.Random(seed)
    folders = sorted({f for h in homes for f in (h, *h.rglob("*")) if f.is_dir()})
    files: dict[Path, bytes] = {}
    for folder in folders:
        for name in drawn.sample(NAMES, 2):
            home = folder / "mine" if drawn.random() < 0.3 else folder
            home.mkdir(exist_ok=True)
            content = drawn.choice((b"Mine.", drawn.randbytes(64), b"{}", b""))
            (home / name).write_bytes(content)
            files[home / name] = content
    return files


@pytest.mark.parametrize("seed", range(3))
def test_files_of_others_stay_in_folders_of_every_kind_and_are_told(town: Town, seed: int) -> None:
    homes, going = filled(town)
    own = {path for home in homes for path in home.rglob("*") if path.is_file()}
    files = planted([*homes, town.folder / "export"], seed)
    shown = town.found()
    # Bytes that nobody can read are told as that, before the rows go.
    unread = {item: "mine" for item in shown if item.startswith("unread:")}
    settle(town.front, "req-0001", erased=["all"], done=DONE, cannot=unread)
    assert {p: p.read_bytes() for p in files if p.is_file()} == files
    # All that Olvido wrote of her, or that holds what she taught, is gone: what a folder is known
    # by as well. A trial's tensors leave their description behind.
    assert not {p for p in own if p.exists() and p.parent.name not in ("new", "never", "trials")}
    # Every file in a folder that went is an item, and the folder's exit says that it stays.
    found = {a.item: said for a, said in closure(town.front, "req-0001")}
    named = {town.folder / item.partition(":")[2] for item in found}
    assert {p for p in files if any(folder in p.parents for folder in going)} <= named
    assert "stays:" in str(found["comparison:some/compared"].detail)
    request, _ = close(town.front, "req-0001")
    assert request.status is RequestStatus.PUBLISHED


def test_what_stayed_is_settled_by_name(town: Town) -> None:
    home = WRITTEN["comparison"](town.folder / "some")
    (home / "cells" / "thesis.md").write_text("Mine.")
    settle(town.front, "req-0001", erased=["all"], done=DONE)
    item = "foreign:some/compared/cells/thesis.md"
    assert close(town.front, "req-0001")[1] == (item,)
    with pytest.raises(InputError, match="--whole"):
        settle(town.front, "req-0001", erased=["all", item])
    settle(town.front, "req-0001", cannot={item: "it is Bru's"})
    assert close(town.front, "req-0001")[0].status is RequestStatus.CLOSED
    assert (home / "cells" / "thesis.md").read_text() == "Mine."


def test_a_folder_that_was_half_removed_is_found_again(town: Town, tmp_path: Path) -> None:
    for kind in ("comparison", "curvature", "training", "orphan", "scores", "run"):
        home = WRITTEN[kind](town.folder / kind)
        marks = {"plan.json", "index.json", "card.json", "olvido.json"}
        inner = sorted(p for p in home.rglob("*") if p.is_file())
        for path in [p for p in inner if p.name not in marks][:1]:
            if len(inner) > 1:
                path.unlink()
        assert f"{kind}:{home.relative_to(town.folder)}" in town.found(), kind


@pytest.mark.parametrize("kind", ["file", "rows", "model", "weights", "checkpoint"])
def test_another_name_of_a_file_is_told(town: Town, tmp_path: Path, kind: str) -> None:
    from safetensors.torch import save_file

    away = tmp_path / "away"
    away.mkdir()
    settings, store = town.front.settings, town.front.store
    if kind == "file":
        path, item = town.folder / "hers.jsonl", "file:hers.jsonl"
        path.write_text(lines(*HERS))
    elif kind == "rows":
        dataset = store.dataset("people")
        path, item = settings.data / dataset.file, f"rows:{dataset.id}"
    elif kind == "model":
        path = settings.models / "old" / "model.safetensors"
        item = f"model:{town.models['old'].id}"
    elif kind == "weights":
        path, item = town.folder / "copy.safetensors", "weights:copy.safetensors"
        save_file(dict(tensors(0).state_dict()), path)
    else:
        path = WRITTEN["checkpoint"](town.folder)
        item = f"checkpoint:{path.relative_to(town.folder)}"
    os.link(path, away / "other")
    before = (away / "other").read_bytes()
    assert f"hardlink:{item}" in town.found()
    # Where it is looked for as well it is no riddle, and an item of its own.
    if kind != "rows":
        assert f"hardlink:{item}" not in town.found(away)
    close(town.front, "req-0001")
    erased = ["all", *([item] if kind == "weights" else [])]
    settle(town.front, "req-0001", erased=erased, done=DONE)
    assert (away / "other").read_bytes() == before
    blank = close(town.front, "req-0001")[1]
    assert blank == (f"hardlink:{item}",)
    with pytest.raises(InputError, match="say what was done"):
        settle(town.front, "req-0001", erased=list(blank))
    settle(town.front, "req-0001", done={blank[0]: "removed on the backup disk"})
    assert close(town.front, "req-0001")[0].status is RequestStatus.CLOSED


def test_names_in_the_workspace_alone_are_no_riddle(town: Town) -> None:
    path = town.folder / "hers.jsonl"
    path.write_text(lines(*HERS))
    os.link(path, town.folder / "again.jsonl")
    assert not any(item.startswith("hardlink:") for item in town.found())
    settle(town.front, "req-0001", erased=["all"], done=DONE)
    request, blank = close(town.front, "req-0001")
    assert (request.status, blank) == (RequestStatus.CLOSED, ())
    said = {i.item: i.exit for i in town.front.store.closure("req-0001")}
    assert said["file:again.jsonl"] is said["file:hers.jsonl"] is Exit.ERASED


def test_an_import_under_way_is_open_and_left_alone_until_it_is_dead(town: Town) -> None:
    data = town.front.settings.data
    foreign = data / "survey.parquet"
    foreign.write_bytes(b"Mine.")
    os.utime(foreign, (0, 0))
    with RowWriter(data):
        (live,) = data.glob(".unfinished-*")
        dead = data / ".unfinished-0123456789abcdef"
        dead.write_bytes(b"torn")
        sweep(data, [], older_than=0.0)
        assert (live.exists(), dead.exists(), foreign.exists()) == (True, False, True)
        item = f"unfinished:{live.relative_to(town.folder)}"
        assert "being written" in town.found()[item].says
        unread = {i: "mine" for i in town.found() if i.startswith("unread:")}
        settle(town.front, "req-0001", erased=["all"], done=DONE, cannot=unread)
        assert live.exists()
        assert close(town.front, "req-0001")[1] == (item,)
    assert close(town.front, "req-0001")[0].status is RequestStatus.CLOSED
    sweep(data, [town.front.store.dataset("people").file], older_than=2e9)
    assert foreign.read_bytes() == b"Mine."
