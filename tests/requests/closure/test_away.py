"""What lay in a folder that is not there now may be back with its disk: nothing closes over it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.requests.closure.test_policy import DONE, lines
from tests.requests.closure.towns import HERS, Town

from olvido.artifacts import Who
from olvido.ledger.facts import Exit, RequestStatus
from olvido.requests import receive
from olvido.requests.closure import close, closure, settle
from olvido.requests.closure.places import GIVEN


def exits(town: Town, *search: Path) -> dict[str, Exit | None]:
    return {a.item: said.exit for a, said in closure(town.front, "req-0001", search=search)}


@pytest.mark.slow
def test_a_folder_of_the_settings_or_of_her_answer_that_is_away_is_open(spread: Town) -> None:
    front, settings = spread.front, spread.front.settings
    folders = [settings.reports, settings.certificates, settings.reports.parent / "answer"]
    folders[-1].mkdir()
    front.store.note(GIVEN, {"id": "req-0001", "path": str(folders[-1])})
    # Those of others hold nothing of hers but what is found in them, and are often thrown away.
    bru = receive(front, "Bru Vidal", kind="access", law="gdpr").id
    front.store.note(GIVEN, {"id": bru, "path": str(folders[-1].with_name("bru"))})
    for folder in folders:
        (folder / "hers.jsonl").write_text(lines(*HERS))
        folder.rename(folder.with_suffix(".away"))
    items = {f"unread:{folder}" for folder in folders}
    found = spread.found()
    assert {i for i in found if i.startswith("unread:")} == items
    assert {found[item].who for item in items} == {Who.TEAM}
    close(front, "req-0001")
    folders[0].with_suffix(".away").rename(folders[0])
    # Back again it is looked into; one that there never was is answered with an empty folder.
    folders[1].mkdir()
    shown = exits(spread)
    assert shown[f"file:{folders[0] / 'hers.jsonl'}"] is None
    assert [shown[f"unread:{folder}"] for folder in folders] == [Exit.ERASED, Exit.ERASED, None]
    close(front, "req-0001")
    answered = DONE | {f"unread:{folders[2]}": "she took it with her"}
    named = [f"file:{folders[0] / 'hers.jsonl'}"]
    settle(front, "req-0001", erased=["all", *named], done=answered)
    assert close(front, "req-0001")[0].status is RequestStatus.CLOSED


@pytest.mark.parametrize("kind", ["file", "weights", "mention"])
def test_what_was_found_elsewhere_is_gone_only_where_its_folder_is_there(
    town: Town, tmp_path: Path, kind: str
) -> None:
    disk = tmp_path / "disk" / "team"
    disk.mkdir(parents=True)
    made = {"file": disk / "hers.jsonl", "weights": disk / "w.safetensors"}
    made["mention"] = disk / "letter.txt"
    made["file"].write_text(lines(*HERS))
    made["mention"].write_text("Ana Soler was here.")
    shutil.copy(town.folder / "models" / "old" / "model.safetensors", made["weights"])
    path, item = made[kind], f"{kind}:{made[kind]}"
    close(town.front, "req-0001", search=[disk])
    (tmp_path / "disk").rename(tmp_path / "away")
    assert exits(town)[item] is None
    (tmp_path / "away").rename(tmp_path / "disk")
    path.unlink()
    assert exits(town)[item] is Exit.ERASED


def test_what_was_removed_in_the_workspace_with_its_folder_is_gone(town: Town) -> None:
    (town.folder / "some" / "more").mkdir(parents=True)
    (town.folder / "some" / "more" / "hers.jsonl").write_text(lines(*HERS))
    close(town.front, "req-0001")
    shutil.rmtree(town.folder / "some")
    assert exits(town)["file:some/more/hers.jsonl"] is Exit.ERASED


def test_an_export_on_a_disk_that_is_away_is_open(town: Town, tmp_path: Path) -> None:
    disk, old = tmp_path / "disk" / "team", town.models["old"].id
    disk.mkdir(parents=True)
    for name in ("deploy", "removed"):
        town.front.store.note("model-exported", {"model": old, "path": str(disk / name)})
    shutil.copytree(town.folder / "models" / "old", disk / "deploy")
    (tmp_path / "disk").rename(tmp_path / "away")
    found = town.found()
    assert found[f"export:{disk / 'deploy'}"].who is Who.TEAM
    (tmp_path / "away").rename(tmp_path / "disk")
    found = town.found()
    assert found[f"export:{disk / 'deploy'}"].who is Who.NAMED
    assert f"export:{disk / 'removed'}" not in found
