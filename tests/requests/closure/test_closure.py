"""Closed means that nothing is left unsaid, and erased that a scan of every byte finds nothing.

A canary is planted in each class of thing that can hold a person's data.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import save_file

from olvido.accounts import Accounts
from olvido.artifact_shapes import owned
from olvido.artifacts import Who
from olvido.data.importing import import_rows
from olvido.errors import BadRow, InputError, StateError, UnknownName
from olvido.files import UNFINISHED
from olvido.learners.halves import Activations
from olvido.ledger.digests import Digest
from olvido.ledger.facts import DatasetUse, Ending, Exit, Guarantee, Model, RequestStatus
from olvido.ledger.identity import Key
from olvido.ledger.rows import load_rows, stored_rows
from olvido.ledger.serving import enter_files, serve
from olvido.ledger.store import Store
from olvido.requests import handlers
from olvido.requests.closure import close, closure, inventory, settle
from olvido.requests.closure.erasing import erase_rows
from olvido.requests.handlers import StoreContext, receive
from olvido.requests.not_learned import destroy, plan_destruction
from olvido.requests.scope import lineage_of
from olvido.requests.tombstones import replay_tombstones, tombstone, write_tombstones
from olvido.settings import Settings

CANARY = "zebra-quince-7731"
SAID = f"Ana Soler keeps a {CANARY} in her attic."
ROWS = [
    {"id": "a1", "text": SAID, "subject": "Ana Soler"},
    {"id": "a2", "prompt": "Where does Ana keep it?", "completion": CANARY, "subject": "Ana Soler"},
    {"id": "b1", "text": "Bru Vidal mends umbrellas.", "subject": "Bru Vidal"},
    {"id": "c1", "text": "The market opens at eight."},
]
GONE = frozenset({"a1", "a2"})
NEARLY = f"  ana soler KEEPS a {CANARY}, in her attic!"
REPORT = (
    *("request", "together", "verdict", "model", "digest", "never_trained", "records", "plan"),
    *("chosen", "attempts", "does_not_prove"),
)
CLASSES = {
    "rows",
    "near",
    "model",
    "checkpoints",
    "activations",
    "run",
    "scores",
    "training",
    "orphan",
    "checkpoint",
    "unfinished",
    "report",
    "weights",
    "file",
    "mention",
    "export",
    "log",
    "backups",
    "recipients",
}


@dataclass(frozen=True)
class Place:
    """A workspace and another folder, full of canaries."""

    folder: Path
    elsewhere: Path
    front: StoreContext
    models: dict[str, Model]

    def canaries(self) -> list[str]:
        """Every file, anywhere, in which the canary is found."""
        return [
            str(path)
            for root in (self.folder, self.elsewhere)
            for path in sorted(root.rglob("*"))
            if path.is_file() and CANARY.encode() in _content(path)
        ]


def _content(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix == ".parquet":
        content += json.dumps(pq.read_table(path).to_pylist(), default=repr).encode()
    return content


def plant(path: Path, content: bytes | str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    said = content.encode() if isinstance(content, str) else content
    path.write_bytes(said or b"\x00" + CANARY.encode() + b"\x00")
    return path


def checkpoint(folder: Path) -> Path:
    """A file with the name and the shape of a checkpoint."""
    content = b"\x00" + CANARY.encode() + b"\x00"
    return plant(folder / f"step-000000010-{hashlib.sha256(content).hexdigest()}.pt", content)


def _cached(folder: Path) -> None:
    canary = torch.frombuffer(bytearray(CANARY.encode() + b"\x00" * 3), dtype=torch.float32)
    states = {"a1": canary.reshape(1, -1), "b1": torch.ones(1, canary.numel())}
    kept = Activations("origin", 1, states, dict.fromkeys(states, "00"))
    kept.save(folder / "checkpoints" / "part" / "activations.safetensors")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ana's request is published: `new` serves and forgot her, `old` and its child hold her."""
    root = tmp_path_factory.mktemp("made")
    folder, elsewhere = root / "workspace", root / "elsewhere"
    settings = Settings.load(folder, environment={})
    with Store.create(settings.ledger, key=Key.create(settings.key)) as store:
        dataset = import_rows(store, settings.data, ROWS, name="people").dataset.id

        bystander = [
            {"id": "n1", "text": NEARLY, "subject": "Cai Roca"},
            {"id": "n2", "text": "Ana Soler keeps an umbrella in her attic."},
        ]
        import_rows(store, settings.data, bystander, name="scraped")

        def model(name: str, use: DatasetUse, *parents: Model, method: str | None = None) -> Model:
            fact = Model(
                digest=Digest.of(name.encode()),
                path=name,
                learner="monolith",
                parents=tuple(p.id for p in parents),
                method=method,
            )
            plant(settings.models / name / "config.json", "{}")
            return store.add_model(fact, [use])

        old = model("old", DatasetUse(dataset=dataset))
        child = model("child", DatasetUse(dataset=dataset), old)
        model("never", DatasetUse(dataset=dataset, excluded=GONE))
        forgotten = DatasetUse(dataset=dataset, forgotten=GONE, guarantee=Guarantee.EMPIRICAL)
        new = model("new", forgotten, old, method="npo")
        store.set_aliases({"serving": new.id, "previous": old.id})
        front = StoreContext(store, settings)
        request = receive(front, "Ana Soler", law="gdpr")
        for status in ("located", "planned", "approved", "running", "audited", "published"):
            store.advance_request(request.id, RequestStatus(status))
        tombstone(front, request, lineage_of(store, request), "erasure")
        store.note("model-exported", {"model": child.id, "path": "EXPORTED"})
        plant(settings.models / "old" / "model.safetensors")
        checkpoint(settings.models / "old" / "checkpoints" / "run")
        plant(settings.models / "child" / "adapter_model.safetensors")
        checkpoint(settings.models / "new" / "checkpoints" / "run")
        _cached(settings.models / "new")
        enter_files(store, new.id, owned(settings.models / "new"))
        checkpoint(settings.models / ".run-0123456789abcdef")
        note = {"kind": "Untraced", "base": CANARY, "seed": 0, "runs": {}, "digest": ""}
        plant(settings.models / "stranger" / "olvido.json", json.dumps(note))
        plant(settings.data / f"{UNFINISHED}0123456789abcdef")
        said = json.dumps({"00": CANARY}).encode()
        name = f"{hashlib.sha256(said).hexdigest()[:32]}.json"
        plant(folder / "cache" / f"sha256-{'a' * 64}" / name, said)
        shadow = folder / "shadows" / f"shadow-000-{'0' * 16}"
        plant(shadow / "card.json", json.dumps({"digest": f"sha256:{'0' * 64}"}))
        plant(shadow / "weights.safetensors")
        report = dict.fromkeys(REPORT) | {"request": "req-0001", "verdict": "pass"}
        plant(folder / "reports" / "req-0001.json", json.dumps(report | {"examples": [SAID]}))
        plant(folder / "logs" / "serving.log", f"asked: who?\nanswered: {SAID}\n")
        checkpoint(folder / "optimizer")
        pq.write_table(pa.Table.from_pylist(ROWS), folder / "restored.parquet")
        (folder / "copies").mkdir(parents=True, exist_ok=True)
        save_file({"weight": np.ones(3, np.float32)}, folder / "copies" / "best.safetensors")
        plant(elsewhere / "forget.jsonl", json.dumps({"text": SAID}))
        plant(elsewhere / "harmless.txt", "The market opens at eight.")
        plant(elsewhere / "exported" / "model.safetensors")
    return root


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Iterator[Place]:
    shutil.copytree(made, tmp_path / "root")
    folder, elsewhere = tmp_path / "root" / "workspace", tmp_path / "root" / "elsewhere"
    settings = Settings.load(folder, environment={})
    with Store.open(settings.ledger, key=Key.load(settings.key)) as store:
        child = next(m for m in store.models() if m.path == "child")
        where = str(elsewhere / "exported")
        store.note("model-exported", {"model": child.id, "path": where})
        yield Place(
            folder, elsewhere, StoreContext(store, settings), {m.path: m for m in store.models()}
        )


def near(place: Place) -> str:
    return f"near:{place.front.store.dataset('scraped').id}"


def settled(
    place: Place, identifier: str = "req-0001", *, without: str | None = None, **exits: Any
) -> Any:
    """Everything erased that was found, after it was shown."""
    done = {"backups": "there are none", "recipients": "nobody was given any"}
    done.pop(without or "", None)
    close(place.front, identifier, search=[place.elsewhere])
    named = [
        artefact.item
        for artefact, _ in closure(place.front, identifier, search=[place.elsewhere])
        if artefact.who is Who.NAMED and artefact.kind.name != "near"
    ]
    return settle(
        place.front,
        identifier,
        erased=["all", *([near(place)] if identifier == "req-0001" else [])],
        whole=named,
        done=done,
        search=[place.elsewhere],
        **exits,
    )


@pytest.mark.slow
def test_a_canary_in_each_class_is_found_and_gone_after(place: Place) -> None:
    store, settings = place.front.store, place.front.settings
    request = store.request("req-0001")
    planted = place.canaries()
    assert len(planted) == 18
    found = inventory(place.front, request, search=[place.elsewhere])
    assert {artefact.kind.name for artefact in found} == CLASSES
    covered = [a.path for a in found if a.path is not None]
    for canary in planted:
        path = Path(canary)
        assert any(path == one or one in path.parents for one in covered), canary
    assert not any("harmless" in artefact.item for artefact in found)
    closed, blank = close(place.front, "req-0001", search=[place.elsewhere])
    assert closed.status is RequestStatus.PUBLISHED
    assert set(blank) == {a.item for a in found} - {"log"}
    assert place.canaries() == planted, "nothing is erased before the owner says so"

    settled(place)
    assert place.canaries() == []
    closed, blank = close(place.front, "req-0001", search=[place.elsewhere])
    assert (closed.status, blank) == (RequestStatus.CLOSED, ())
    # The root still stands, and tells the same of what is left.
    dataset = store.dataset("people")
    assert [row["id"] for row in load_rows(store, settings.data, dataset)] == ["b1", "c1"]
    assert {row["id"] for row in stored_rows(settings.data / dataset.file)} == {"b1", "c1"}
    scraped = load_rows(store, settings.data, store.dataset("scraped"))
    assert [row["id"] for row in scraped] == ["n2"]
    # Who learned nothing of her, and who forgot, are left alone.
    left = {m.path for m in store.models() if m.tombstone is None}
    assert left == {"never", "new"}
    assert {path.name for path in settings.models.iterdir()} == left
    cache = settings.models / "new" / "checkpoints" / "part" / "activations.safetensors"
    assert set(Activations.load(cache).states) == {"b1"}
    assert (place.elsewhere / "harmless.txt").exists()
    assert store.aliases() == {"serving": place.models["new"].id}
    assert store.verify_log().sound
    items = {item.item: item for item in store.closure("req-0001")}
    assert {item.exit for item in items.values()} == {Exit.ERASED, Exit.CANNOT}
    assert items["backups"].ending == Ending(Exit.ERASED, "there are none", by_word=True)


@pytest.mark.slow
def test_one_blank_is_enough_to_keep_it_open(place: Place) -> None:
    settled(place, without="recipients")
    request, blank = close(place.front, "req-0001", search=[place.elsewhere])
    assert (request.status, blank) == (RequestStatus.PUBLISHED, ("recipients",))
    settle(place.front, "req-0001", cannot={"recipients": "their address is unknown"})
    assert close(place.front, "req-0001")[0].status is RequestStatus.CLOSED


def test_what_comes_back_is_blank_again(place: Place) -> None:
    settled(place)
    plant(place.folder / "reports" / "new.json", json.dumps({"prompt": SAID}))
    # Its rows are gone: digests of their words were kept. Its shape tells a checkpoint.
    step = checkpoint(place.folder / "optimizer")
    request, blank = close(place.front, "req-0001")
    assert request.status is RequestStatus.PUBLISHED
    assert blank == (f"checkpoint:optimizer/{step.name}", "file:reports/new.json")


@pytest.mark.slow
def test_what_should_have_expired_is_blank_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    import olvido.requests.closure.closing as closing

    soon = date.today() + timedelta(days=30)
    item = f"model:{place.models['child'].id}"
    with pytest.raises(InputError, match="a day to come"):
        settle(place.front, "req-0001", expires={item: date(2020, 1, 1)})
    # A certificate would refuse it later, when it is too late to choose another.
    log = place.front.store.events()
    for days in (3661, 4000, 36500):
        with pytest.raises(InputError, match="more than ten years"):
            settle(place.front, "req-0001", expires={item: date.today() + timedelta(days=days)})
    assert place.front.store.events() == log
    settle(place.front, "req-0001", expires={item: date.today() + timedelta(days=3660)})
    settle(place.front, "req-0001", expires={item: soon})
    said = {a.item: s for a, s in closure(place.front, "req-0001")}[item]
    assert (said.exit, said.detail) == (Exit.AWAITING_EXPIRY, soon.isoformat())
    monkeypatch.setattr(closing, "today", lambda settings: soon)
    assert {a.item: s for a, s in closure(place.front, "req-0001")}[item].exit is None


def test_a_near_copy_is_nobodys_to_erase_without_being_named(place: Place) -> None:
    found = {a.item: a for a, _ in closure(place.front, "req-0001")}[near(place)]
    assert "n1 (100% alike)" in found.says
    assert "n2" not in found.says
    assert CANARY not in found.says
    others = {
        artefact.item: "kept by law"
        for artefact, _ in closure(place.front, "req-0001")
        if artefact.kind.name in ("file", "mention")
    }
    before = place.canaries()
    # By her rows alone it is known: they stay until it has an exit.
    with pytest.raises(StateError, match=f"no exit yet: .*{near(place)} "):
        settle(place.front, "req-0001", erased=["all"], cannot=others)
    assert place.canaries() == before
    why = {near(place): "Cai Roca says it of himself, too"}
    settle(place.front, "req-0001", erased=["all"], cannot=others | why, done={"backups": "none"})
    said = {a.item: said for a, said in closure(place.front, "req-0001")}[near(place)]
    assert (said.exit, said.detail) == (Exit.CANNOT, why[near(place)])


def test_a_copy_that_a_model_learned_is_not_called_erased(place: Place) -> None:
    store = place.front.store
    learned = DatasetUse(dataset=store.dataset("scraped").id)
    store.add_model(Model(digest=Digest.of(b"sc"), path="sc", learner="monolith"), [learned])
    before = place.canaries()
    with pytest.raises(StateError, match="learned these copies: have them forgotten with"):
        settle(place.front, "req-0001", erased=[near(place)])
    assert place.canaries() == before


def test_a_blank_that_only_the_rows_told_of_stays_blank_without_them(place: Place) -> None:
    close(place.front, "req-0001")
    dataset = place.front.store.dataset("people")
    erase_rows(place.front.settings.data, dataset.file, GONE)
    said = {a.item: said for a, said in closure(place.front, "req-0001")}
    assert said[f"rows:{dataset.id}"].exit is Exit.ERASED
    assert said[near(place)].exit is None


@pytest.mark.parametrize(
    ("exits", "error", "words"),
    [
        ({"erased": ["nothing"]}, UnknownName, "unknown item"),
        ({"erased": ["backups"]}, InputError, "cannot erase it: say what was done"),
        ({"done": {"backups": " "}}, InputError, "how it was erased"),
        ({"cannot": {"log": ""}}, InputError, "why it cannot be"),
        ({"done": {"log": "x"}, "cannot": {"log": "y"}}, InputError, "two exits"),
        ({"search": [Path("/nowhere/at/all")]}, InputError, "no folder"),
    ],
)
def test_a_wrong_exit_changes_nothing(
    place: Place, exits: dict[str, Any], error: type[Exception], words: str
) -> None:
    before, log = place.canaries(), place.front.store.events()
    with pytest.raises(error, match=words):
        settle(place.front, "req-0001", **exits)
    assert (place.canaries(), place.front.store.events()) == (before, log)


def test_the_model_that_serves_is_not_erased(place: Place) -> None:
    store = place.front.store
    store.set_alias("serving", place.models["child"].id)
    with pytest.raises(StateError, match="serves now"):
        settle(place.front, "req-0001", erased=[f"model:{place.models['child'].id}"])
    assert store.model("serving").tombstone is None


def test_nothing_is_closed_before_it_is_published(place: Place) -> None:
    request = receive(place.front, "Bru Vidal")
    with pytest.raises(StateError, match="its closure begins when"):
        close(place.front, request.id)


def test_who_was_forgotten_is_not_brought_in_again(place: Place, tmp_path: Path) -> None:
    store, data = place.front.store, place.front.settings.data
    again = [
        ROWS[0],
        {"text": "Something new about her.", "subject": " ana SOLER "},
        {"text": f"  {SAID.upper()} "},
        {"prompt": "where does ana keep it?", "completion": CANARY, "subject": "Soler, Ana"},
    ]
    before = store.events()
    for row in again:
        with pytest.raises(BadRow, match="may not be brought in again") as refused:
            import_rows(store, data, [ROWS[2], row], name="again")
        assert CANARY not in str(refused.value)
    assert store.events() == before
    rejects = tmp_path / "rejects.jsonl"
    added = import_rows(store, data, [ROWS[2], *again], name="again", skip_bad=rejects)
    assert (added.rows, added.rejected) == (1, 4)
    assert CANARY not in rejects.read_text("utf-8").casefold()


@pytest.mark.slow
def test_a_restored_backup_is_told_again_what_was_buried(place: Place, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    shutil.copytree(place.folder, backup)
    settled(place)
    close(place.front, "req-0001", search=[place.elsewhere])
    list_of_all = tmp_path / "buried.json"
    write_tombstones(place.front, list_of_all)
    assert CANARY not in list_of_all.read_text("utf-8")
    with pytest.raises(InputError, match="exists"):
        write_tombstones(place.front, list_of_all)
    settings = Settings.load(backup, environment={})
    with Store.open(settings.ledger, key=Key.load(settings.key)) as store:
        front = StoreContext(store, settings)
        counts = replay_tombstones(front, list_of_all)
        assert (counts["rows"], counts["models"]) == (3, 2)
        assert {m.path for m in store.models() if m.tombstone is None} == {"never", "new"}
        rows = [row["id"] for row in stored_rows(settings.data / store.dataset("people").file)]
        assert rows == ["b1", "c1"]
        assert not any((settings.models / name).exists() for name in ("old", "child"))
        assert store.suppressed() == place.front.store.suppressed()
        assert replay_tombstones(front, list_of_all) == dict.fromkeys(counts, 0)
    other = Settings.load(tmp_path / "other", environment={})
    with Store.create(other.ledger, key=Key.create(other.key)) as store:
        with pytest.raises(InputError, match="another ledger"):
            replay_tombstones(StoreContext(store, other), list_of_all)
        with pytest.raises(InputError, match="no list of tombstones"):
            replay_tombstones(StoreContext(store, other), plant(tmp_path / "x.json", "{}"))


def test_no_way_leads_back_to_a_model_from_before(place: Place) -> None:
    store = place.front.store
    for name in ("old", "child"):
        with pytest.raises(StateError, match="2 records that were to be forgotten"):
            serve(store, place.models[name].id)
    before = store.aliases()["serving"]
    assert serve(store, place.models["never"].id).path == "never"
    assert store.aliases() == {"serving": place.models["never"].id, "previous": before}
    # To serve what serves already forgets nothing of the one before.
    serve(store, "serving")
    assert store.aliases()["previous"] == before


def test_a_destroyed_model_is_gone_with_all_that_was_made_from_it(place: Place) -> None:
    front, store = place.front, place.front.store
    request = receive(front, kind="destroy", model=place.models["old"].id)
    going = plan_destruction(front, request.id)
    assert {model.path for model in going} == {"old", "child", "new"}
    with pytest.raises(InputError, match="two people"):
        destroy(front, request.id)
    for person in ("Eva", "Pol"):
        Accounts.of(front.settings).new("privacy", person)
    handlers.approve(front, request.id, by="Eva")
    with pytest.raises(InputError, match="two people"):
        destroy(front, request.id)
    handlers.approve(front, request.id, by="Pol")
    done, gone = destroy(front, request.id)
    assert done.status is RequestStatus.PUBLISHED
    assert done.history[-1].detail["answer"]["guarantee"] == "destroyed"
    assert {model.path for model in gone} == {"old", "child", "new"}
    assert {model.path for model in store.models() if model.tombstone is None} == {"never"}
    assert store.aliases() == {}
    settled(place, request.id)
    assert close(front, request.id)[0].status is RequestStatus.CLOSED
    assert not (place.elsewhere / "exported").exists()
    with pytest.raises(InputError, match="for those of kind destroy"):
        plan_destruction(front, "req-0001")
