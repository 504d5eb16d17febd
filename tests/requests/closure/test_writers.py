"""What Olvido's own code wrote of a person, each kind of it, is found, and nothing of others goes.

Nothing stands in for a writer here: see `written`.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
from tests.requests.closure.test_policy import DONE
from tests.requests.closure.towns import HERS, Town
from tests.requests.closure.written import Written, written

from olvido.artifacts import KINDS, Kind, Who, parts, recognised
from olvido.errors import InputError
from olvido.ledger.facts import RequestStatus
from olvido.requests.closure import Artefact, close, closure, settle
from olvido.requests.scope import lineage_of

pytestmark = pytest.mark.slow

OTHERS = {
    "log",
    "backups",
    "recipients",
    "near",
    "names",
    "arrays",
    "foreign",
    "hardlink",
    "link",
    "unread",
}
"""Kinds that no module writes: of the ledger, of what others wrote, or of what nobody knows."""
UNTRIED = {
    ("weights", "olvido.models.smollm2"),
    ("model", "olvido.models.classifiers.networks"),
    ("model", "olvido.models.classifiers.pretrained"),
    ("unfinished", "olvido.watching.callback"),
}
"""Writers that need a package from elsewhere, a classifier, or a Trainer."""
CLASSIFIERS = {"arrays"}
"""Kinds that only a dataset of arrays has: see tests.cli.test_classifiers."""
TENSORS = (".safetensors", ".pt", ".npz", ".bin", ".npy")


@dataclass
class Found:
    """All that was written, and what closures say of it: of two requests, by item."""

    written: Written
    items: dict[str, Artefact]
    clean: Collection[Path]

    @cached_property
    def covered(self) -> set[Path]:
        """The files that are items, or parts of one."""
        places = [(a.path, a.kind) for a in self.items.values() if a.path is not None]
        return {f for path, kind in places for f in (path, *parts(path, kind))}

    def home(self, kind: str) -> Path:
        """Where one of a kind lies."""
        return next(a.path for a in self.items.values() if a.kind.name == kind and a.path)

    def copy(self, kind: str, folder: Path) -> Path:
        """The same, put into another folder."""
        folder.mkdir(parents=True, exist_ok=True)
        home = self.home(kind)
        if home.is_dir():
            return Path(shutil.copytree(home, folder / home.name))
        if kind == "trial":
            shutil.copy2(home.with_suffix(".json"), folder)
        return Path(shutil.copy2(home, folder))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Found:
    root = tmp_path_factory.mktemp("written").resolve()
    done = written(root)
    # What others put there, so that every kind there is is found.
    thesis, pipe = done.folder / "compared" / "cells" / "thesis.md", done.folder / "pipe"
    thesis.write_text("Mine.")
    os.link(done.file("hers"), root / "hers.jsonl")
    (done.folder / "away").symlink_to(root)
    os.mkfifo(pipe)
    items: dict[str, Artefact] = {}
    clean: set[Path] = set()
    with done.opened() as workspace:
        store = workspace.store
        for identifier in done.requests:
            items |= {artefact.item: artefact for artefact, _ in closure(workspace, identifier)}
        lineages = [lineage_of(store, store.request(one)) for one in done.requests]
        holding = {m.id for lineage in lineages for m in lineage.holding()}
        clean = {workspace.settings.models / m.path for m in store.models() if m.id not in holding}
    thesis.unlink()
    pipe.unlink()
    return Found(done, items, clean)


def _kind(path: Path) -> Kind:
    """What a file is called where no item is made of it."""
    return recognised(path, by_content=True) or KINDS["file"]


def test_every_kind_there_is_was_written(made: Found) -> None:
    files = [path for path in made.written.folder.rglob("*") if path.is_file()]
    there = {a.kind.name for a in made.items.values()} | {_kind(path).name for path in files}
    assert set(KINDS) - there == CLASSIFIERS, "let its own code write it, in tests.requests.closure"
    assert {kind.name for kind in KINDS.values() if not kind.writers} == OTHERS


def test_every_writer_in_the_table_wrote_its_kind(made: Found) -> None:
    seen: set[tuple[str, str]] = set()
    for artefact in made.items.values():
        if artefact.path is not None:
            wrote = made.written.recorder.by(artefact.path)
            seen |= {(artefact.kind.name, module) for module in wrote}
    for path in made.written.folder.rglob("*"):
        if path.is_file() and path not in made.covered:
            seen |= {(_kind(path).name, m) for m in made.written.recorder.by(path)}
    named = {(kind.name, writer) for kind in KINDS.values() for writer in kind.writers}
    assert named - seen == UNTRIED


def test_what_was_written_is_of_a_kind_that_names_its_writer(made: Found) -> None:
    for artefact in made.items.values():
        wrote = set() if artefact.path is None else made.written.recorder.by(artefact.path)
        if artefact.kind.writers and wrote:
            assert wrote & set(artefact.kind.writers), artefact.item


def test_whatever_may_hold_somebody_is_found(made: Found) -> None:
    """Tensors but of a model that holds nobody, and all in which a name stands in clear."""
    names = [made.written.town.data_subject.name, made.written.second]
    for path in made.written.folder.rglob("*"):
        if not path.is_file() or path.is_symlink() or path in made.covered:
            continue
        if path.suffix in TENSORS:
            assert any(home in path.parents for home in made.clean), path
        said = path.read_bytes()
        assert not any(name.encode() in said for name in names), path


def test_documents_that_quote_somebody_are_known_as_olvidos(made: Found, town: Town) -> None:
    """Reports of requests quote nobody today; one that does is found as what it is."""
    said = f"{HERS[0]['prompt']} {HERS[0]['completion']}"
    kept = {"report": "reports/req-0002.json", "result": "work/req-0002-*.json"}
    for kind, pattern in kept.items():
        (path,) = made.written.folder.glob(pattern)
        document = json.loads(path.read_text()) | {"reason": said}
        there = town.folder / path.relative_to(made.written.folder)
        there.parent.mkdir(exist_ok=True)
        there.write_text(json.dumps(document))
        found = town.found()[f"{kind}:{there.relative_to(town.folder)}"]
        assert found.who is Who.ALL


SHAPED = sorted(k.name for k in KINDS.values() if k.shape is not None and not k.by_content)


def test_the_same_is_found_in_every_folder(made: Found, spread: Town, tmp_path: Path) -> None:
    settings, elsewhere = spread.front.settings, tmp_path / "elsewhere"
    places = [spread.folder / "some", settings.models, settings.reports, elsewhere]
    paths = {made.copy(kind, place): kind for place in places for kind in SHAPED}
    found = spread.found(elsewhere)
    home = spread.folder.resolve()
    for path, kind in paths.items():
        inside = home in path.parents
        item = f"{kind}:{path.relative_to(home) if inside else path}"
        assert found[item].who is (KINDS[kind].who if inside else Who.NAMED), item


NAMES = ("thesis.md", "photo.png", "data.bin", ".hidden", "notes", "a b.csv", "step-1.pt", "x.json")


def filled(made: Found, town: Town) -> tuple[list[Path], set[Path]]:
    """Every kind of file and folder, twice, beside the models; and the folders that go."""
    homes = [town.folder / "some", town.front.settings.models]
    for home in homes:
        home.mkdir(exist_ok=True)
    own = {made.copy(kind, home / kind) for home in homes for kind in SHAPED}
    town.front.store.note(
        "model-exported", {"model": town.models["old"].id, "path": str(town.folder / "export")}
    )
    shutil.copytree(homes[1] / "old", town.folder / "export")
    (town.folder / "export" / "olvido.json").unlink()
    gone = {path for path in own if path.is_dir()} | {town.folder / "export", homes[1] / "old"}
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
def test_files_of_others_stay_in_folders_of_every_kind_and_are_told(
    made: Found, town: Town, seed: int
) -> None:
    homes, going = filled(made, town)
    own = {path for home in homes for path in home.rglob("*") if path.is_file()}
    files = planted([*homes, town.folder / "export"], seed)
    shown = town.found()
    # Bytes that nobody can read are told as that, before the rows go.
    unread = {item: "mine" for item in shown if item.startswith("unread:")}
    close(town.front, "req-0001")
    unknown = [item for item in shown if item.startswith("orphan:")]
    settle(town.front, "req-0001", erased=["all", *unknown], done=DONE, cannot=unread)
    assert {p: p.read_bytes() for p in files if p.is_file()} == files
    # All that Olvido wrote of her, or that holds what she taught, is gone: what a folder is known
    # by as well. A trial's tensors leave their description behind.
    assert not {p for p in own if p.exists() and p.parent.name not in ("new", "never", "trial")}
    # Every file in a folder that went is an item, and the folder's exit says that it stays.
    found = {a.item: said for a, said in closure(town.front, "req-0001")}
    named = {town.folder / item.partition(":")[2] for item in found}
    assert {p for p in files if any(folder in p.parents for folder in going)} <= named
    compared = town.front.store.sealed("comparison:some/comparison/compared")
    assert "stay" in str(found[compared].detail)
    request, _ = close(town.front, "req-0001")
    assert request.status is RequestStatus.PUBLISHED


def test_what_stayed_is_settled_by_name(made: Found, town: Town) -> None:
    home = made.copy("comparison", town.folder / "some")
    (home / "cells" / "thesis.md").write_text("Mine.")
    settle(town.front, "req-0001", erased=["all"], done=DONE)
    item = "foreign:some/compared/cells/thesis.md"
    assert close(town.front, "req-0001")[1] == (item,)
    with pytest.raises(InputError, match="--whole"):
        settle(town.front, "req-0001", erased=["all", item])
    settle(town.front, "req-0001", cannot={item: "it is Bru's"})
    assert close(town.front, "req-0001")[0].status is RequestStatus.CLOSED
    assert (home / "cells" / "thesis.md").read_text() == "Mine."


def test_a_folder_that_was_half_removed_is_found_again(made: Found, town: Town) -> None:
    for kind in ("comparison", "curvature", "training", "orphan", "scores", "run"):
        home = made.copy(kind, town.folder / kind)
        marks = {"plan.json", "index.json", "card.json", "olvido.json"}
        inner = sorted(p for p in home.rglob("*") if p.is_file())
        for path in [p for p in inner if p.name not in marks][:1]:
            if len(inner) > 1:
                path.unlink()
        assert f"{kind}:{home.relative_to(town.folder)}" in town.found(), kind
