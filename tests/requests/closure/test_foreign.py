"""Whatever Olvido did not write stays, wherever it lies, and the closure says so."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file
from tests.requests.closure.test_closure import checkpoint
from tests.requests.closure.test_policy import DONE, lines
from tests.requests.closure.towns import HERS, Town, tensors

from olvido import files
from olvido.artifacts import Who
from olvido.data.importing import sweep
from olvido.errors import InputError
from olvido.files import held_folder, new_file, new_folder
from olvido.ledger.facts import Exit, RequestStatus
from olvido.ledger.rows import RowWriter
from olvido.requests.closure import close, settle


@pytest.mark.slow
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
        path = checkpoint(town.folder)
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
    kept = town.front.store.closure("req-0001")
    assert [i.exit for i in kept if i.item.startswith("file:")] == [Exit.ERASED] * 2


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


def test_an_import_is_held_until_its_file_has_its_name(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = town.front.settings.data
    replaced: list[bool] = []
    synced = files._synced

    def slow(path: Any, mode: int | None = None) -> None:
        # Another import begins while this one's file is brought to the disk.
        sweep(data, [], older_than=0.0)
        replaced.append(True)
        synced(path, mode)

    with RowWriter(data) as writer:
        monkeypatch.setattr(files, "_synced", slow)
        writer.publish("0123456789abcdef-v1.parquet")
        monkeypatch.undo()
    assert replaced
    assert (data / "0123456789abcdef-v1.parquet").is_file()
    assert not list(data.glob(".unfinished-*"))


@pytest.mark.slow
def test_what_is_being_written_is_nobodys_to_take(town: Town) -> None:
    run = town.folder / "models" / ".run-0123456789abcdef"
    run.mkdir()
    step = checkpoint(run)
    with ExitStack() as writers:
        model = writers.enter_context(new_folder(town.folder / "models" / "more"))
        answer = writers.enter_context(new_folder(town.folder / "answers" / "req-0009"))
        file = writers.enter_context(new_file(town.folder / "hers.jsonl"))
        # Several processes may share a training: it is under way until the last one ends.
        writers.enter_context(held_folder(run))
        with held_folder(run):
            pass
        save_file(dict(tensors(0).state_dict()), model / "model.safetensors")
        (answer / "letter.txt").write_text("Ana Soler was here.")
        file.write_text(lines(*HERS))
        live = [f"unfinished:{one.relative_to(town.folder)}" for one in (model, answer, file)]
        live.append(f"run:{run.relative_to(town.folder)}")
        found = town.found()
        assert {found[item].who for item in live} == {Who.TEAM}
        settle(town.front, "req-0001", erased=["all"], done=DONE)
        assert close(town.front, "req-0001")[1] == tuple(sorted(live))
        assert step.exists()
    # Each got its name, whole; what nobody holds any more is found as what it is.
    assert (town.folder / "models" / "more" / "model.safetensors").is_file()
    found = town.found()
    assert found[f"run:{run.relative_to(town.folder)}"].who is Who.ALL
    assert {"weights:models/more/model.safetensors", "file:hers.jsonl"} <= found.keys()
    assert "mention:answers/req-0009/letter.txt" in found
