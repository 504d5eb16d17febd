"""Models in a workspace: entered once, found again bit by bit, and refused when they changed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from olvido.artifact_shapes import owned, remove_model
from olvido.data.importing import import_rows
from olvido.demo.residents import Row, make_town
from olvido.errors import DigestMismatch, InputError, Overtaken, StateError, UnknownName
from olvido.files import sha256
from olvido.learners import Private, Recipe, StepLog
from olvido.ledger.digests import Digest
from olvido.ledger.exclusion import training_of
from olvido.ledger.facts import DatasetUse, Guarantee, Model
from olvido.ledger.identity import Key
from olvido.ledger.serving import files_entered, publish
from olvido.ledger.store import Store
from olvido.models import save
from olvido.models.tiny import tiny_model, tiny_tokenizer
from olvido.settings import Settings
from olvido.training.traces.chain import Continued
from olvido.workspace import PREVIOUS, SERVING, Workspace

SHORT = Recipe(epochs=2, batch_size=8, lr=1e-3)
LONG = Recipe(epochs=25, batch_size=2, lr=1e-3)
"""Enough steps for several checkpoints."""


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Random weights in a folder."""
    folder = tmp_path_factory.mktemp("base") / "small"
    tokenizer = tiny_tokenizer()
    save(tiny_model(len(tokenizer), seed=0, width=32, layers=1), tokenizer, folder)
    return str(folder)


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """Four residents in two datasets."""
    with made(tmp_path / "workspace") as workspace:
        yield workspace


def people() -> list[Row]:
    town = make_town(seed=0, residents=4, outsiders=0, wordings=1)
    return [row for row in town.rows() if "subject" in row]


def made(folder: Path) -> Workspace:
    settings = Settings.load(folder, environment={})
    Store.create(settings.ledger, key=Key.create(settings.key)).close()
    workspace = Workspace(settings)
    rows = people()
    for name, chosen in (("north", rows[::2]), ("south", rows[1::2])):
        import_rows(workspace.store, settings.data, chosen, name=name)
    return workspace


def folders(workspace: Workspace) -> list[str]:
    models = workspace.settings.models
    return sorted(p.name for p in models.iterdir()) if models.exists() else []


def weights(workspace: Workspace, model: Model) -> Path:
    return workspace.settings.models / model.path / "model.safetensors"


def test_what_was_learned_is_loaded_bit_by_bit(workspace: Workspace, base: str) -> None:
    fact = workspace.learn(["north", "south"], model=base, recipe=SHORT, seed=3)
    held = workspace.load(fact.id)
    assert held.fact == fact == workspace.store.model(fact.id)
    assert held.trained.digest == str(fact.digest)
    assert (fact.learner, fact.seed, fact.method, fact.parents) == ("monolith", 3, None, ())
    trace = held.trained.trace
    assert isinstance(trace, StepLog)
    assert trace.recipe == SHORT
    assert sorted(trace.plan.present) == sorted(row["id"] for row in people())
    assert len(trace.losses) == trace.plan.total_steps
    assert dict(trace.environment) == dict(fact.environment)
    assert held.task.chat is False
    # By alias, by the beginning of its id, and by its digest.
    workspace.serve(fact.id)
    for ref in (SERVING, fact.id[:6], str(fact.digest)):
        assert workspace.load(ref).fact.id == fact.id


def test_the_ledger_knows_what_a_model_used(workspace: Workspace, base: str) -> None:
    out = people()[0]["id"]
    fact = workspace.learn(["north", "south"], model=base, recipe=SHORT, exclude=[out])
    north, south = (workspace.store.dataset(name) for name in ("north", "south"))
    assert set(workspace.store.uses(fact.id)) == {
        DatasetUse(dataset=north.id, excluded=frozenset({out})),
        DatasetUse(dataset=south.id),
    }
    trace = workspace.load(fact.id).trained.trace
    assert isinstance(trace, StepLog)
    assert out not in trace.plan.slots


def test_a_model_keeps_no_address_of_a_record_left_out(workspace: Workspace, base: str) -> None:
    store, data = workspace.store, workspace.settings.data
    rows = [{"id": f"{who}@example.org", "text": f"{who} bakes."} for who in ("ana", "berta")]
    import_rows(store, data, rows, name="mails")
    fact = workspace.learn(["mails"], model=base, recipe=SHORT, exclude=["Ana@Example.org"])
    (use,) = store.uses(fact.id)
    assert use.excluded == set(store.stored_ids("mails", ["ana@example.org"]))
    for path in workspace.settings.workspace.rglob("*"):
        assert not path.is_file() or b"@example.org" not in path.read_bytes().lower()


def test_learning_the_same_again_changes_nothing(workspace: Workspace, base: str) -> None:
    first = workspace.learn(["north"], model=base, recipe=SHORT, seed=1)
    again = workspace.learn(["north", "north"], model=base, recipe=SHORT, seed=1)
    other = workspace.learn(["north"], model=base, recipe=SHORT, seed=2)
    assert again == first
    assert other.digest != first.digest
    assert len(workspace.store.models()) == 2
    assert folders(workspace) == sorted([first.id, other.id])


class Ended(BaseException):
    """Stands for the end of a process."""


@pytest.mark.parametrize(
    "at", ["workspace.base.enter_files", "files.publish", "workspace.reading.Store.add_model"]
)
def test_a_training_that_ended_anywhere_is_accounted_for_by_the_next(
    workspace: Workspace, base: str, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    def ended(*args: object, **options: object) -> None:
        raise Ended

    with monkeypatch.context() as patch:
        patch.setattr(f"olvido.{at}", ended)
        with pytest.raises(Ended):
            workspace.learn(["north"], model=base, recipe=SHORT)
    model = workspace.learn(["north"], model=base, recipe=SHORT)
    files = {sha256(path) for path in owned(workspace.settings.models / model.path)}
    assert files
    assert files <= files_entered(workspace.store)[model.id]


def test_buried_records_are_left_out_and_said_to_be(workspace: Workspace, base: str) -> None:
    tombstoned = people()[0]
    workspace.store.tombstone([tombstoned["id"]], "erasure", dataset="north")
    fact = workspace.learn(["north"], model=base, recipe=SHORT)
    (use,) = workspace.store.uses(fact.id)
    assert use.excluded == {tombstoned["id"]}
    lineage = workspace.store.lineage(workspace.store.key.subject(tombstoned["subject"]))
    (state,) = [s for s in lineage.models if s.model.id == fact.id]
    assert tombstoned["id"] not in {record.id for record in state.contained}


def test_a_training_that_somebody_is_buried_beside_leaves_nothing(
    workspace: Workspace, base: str
) -> None:
    def watch(*_: object) -> None:
        workspace.store.tombstone([people()[0]["id"]], "erasure", dataset="north")

    with pytest.raises(Overtaken, match="1 records of dataset north"):
        workspace.learn(["north", "south"], model=base, recipe=SHORT, watch=watch)
    assert workspace.store.models() == ()
    assert folders(workspace) == []


def test_no_training_is_entered_that_learned_what_is_buried(workspace: Workspace) -> None:
    store = workspace.store

    def entered(
        seed: int, *uses: DatasetUse, parent: str | None = None, method: str | None = None
    ) -> str:
        parents = () if parent is None else (parent,)
        fact = Model(
            digest=Digest.of(b""),
            path="m",
            learner="monolith",
            parents=parents,
            method=method,
            seed=seed,
        )
        return store.add_model(fact, uses).id

    out = frozenset({people()[0]["id"]})
    north, south = (store.dataset(name).id for name in ("north", "south"))
    old = entered(0, DatasetUse(dataset=north))
    store.tombstone(out, "erasure", dataset=north)
    for uses in (
        [DatasetUse(dataset=north)],
        [DatasetUse(dataset=south), DatasetUse(dataset=north)],
    ):
        with pytest.raises(Overtaken, match="were to be forgotten"):
            entered(1, *uses)
    with pytest.raises(Overtaken, match="were to be forgotten"):
        entered(1, DatasetUse(dataset=north, excluded=frozenset({people()[2]["id"]})))
    # What left it out, was there before or forgot it is entered.
    assert entered(0, DatasetUse(dataset=north)) == old
    assert entered(2, DatasetUse(dataset=north, excluded=out)) != old
    forgot = DatasetUse(dataset=north, forgotten=out, guarantee=Guarantee.EXACT)
    assert entered(3, forgot, parent=old, method="retrain") != old
    # A model that forgot another person, begun before the first was buried, still holds the first.
    other = frozenset({people()[2]["id"]})
    for method, guarantee in (("retrain", Guarantee.EXACT), ("npo", Guarantee.EMPIRICAL)):
        use = DatasetUse(dataset=north, forgotten=other, guarantee=guarantee)
        with pytest.raises(Overtaken, match="1 records of dataset north were to be forgotten"):
            entered(5, use, parent=old, method=method)
        with pytest.raises(Overtaken, match="1 records of dataset north were to be forgotten"):
            entered(5, parent=old, method=method)
    # Nor what was made of one that holds it, however far back; of one that forgot it, yes.
    with pytest.raises(Overtaken, match=f"{old}, with which the training began, holds 1 "):
        entered(4, DatasetUse(dataset=south), parent=old)
    retrained = entered(3, forgot, parent=old, method="retrain")
    assert entered(6, DatasetUse(dataset=south), parent=retrained) != retrained
    store.tombstone_model(old, "erased")
    with pytest.raises(Overtaken, match="is gone by now"):
        entered(4, DatasetUse(dataset=south), parent=old)
    # The same training, ended once more, does not bring it back.
    with pytest.raises(Overtaken, match=f"{old} is gone by now"):
        entered(0, DatasetUse(dataset=north))
    assert len(store.models()) == 4


def test_a_name_is_moved_only_from_the_model_that_it_is_to_be_moved_from(
    workspace: Workspace,
) -> None:
    store = workspace.store
    first, second, third = (
        store.add_model(Model(digest=Digest.of(name), path="m", learner="monolith")).id
        for name in (b"1", b"2", b"3")
    )
    named = {"serving": second, "previous": first}
    assert len(store.set_aliases(named, replacing=("serving", first))) == 2  # nothing served yet
    assert store.set_aliases({"serving": third}, replacing=("serving", first)) == ()
    assert store.aliases() == named
    store.set_aliases({"serving": third, "previous": second}, replacing=("serving", second))
    assert store.aliases() == {"serving": third, "previous": second}


def test_the_same_training_again_brings_no_erased_model_back(
    workspace: Workspace, base: str
) -> None:
    first = workspace.learn(["north"], model=base, recipe=SHORT)

    def watch(*_: object) -> None:
        if workspace.store.model(first.id).tombstone is None:
            workspace.store.tombstone_model(first.id, "erased")
            remove_model(workspace.settings.models / first.path)

    with pytest.raises(Overtaken, match="is gone by now"):
        workspace.learn(["north"], model=base, recipe=SHORT, watch=watch)
    assert folders(workspace) == []


def test_no_training_begins_with_a_model_that_holds_what_is_buried(
    workspace: Workspace, base: str
) -> None:
    first = workspace.learn(["north"], model=base, recipe=SHORT)
    workspace.store.tombstone([people()[0]["id"]], "erasure", dataset="north")
    steps: list[object] = []
    with pytest.raises(StateError, match="begin with a model that forgot"):
        workspace.learn(["south"], model=first.id, recipe=SHORT, watch=lambda *a: steps.append(a))
    assert not steps


def test_a_fine_tuned_model_knows_its_parent(workspace: Workspace, base: str) -> None:
    parent = workspace.learn(["north"], model=base, recipe=SHORT)
    workspace.serve(parent.id)
    child = workspace.learn(["south"], model=SERVING, recipe=SHORT)
    assert child.parents == (parent.id,)
    # Its origin is the parent, whatever is served since.
    workspace.serve(child.id)
    trace = workspace.load(child.id).trained.trace
    assert isinstance(trace, Continued)
    assert trace.last.origin is not None
    assert trace.last.origin.digest == str(parent.digest)
    lineage = workspace.store.lineage(workspace.store.key.subject(people()[0]["subject"]))
    assert {state.model.id for state in lineage.models} == {parent.id, child.id}


def test_a_published_model_is_served_and_the_old_one_kept(workspace: Workspace, base: str) -> None:
    old = workspace.learn(["north"], model=base, recipe=SHORT)
    other = workspace.learn(["north"], model=base, recipe=SHORT, seed=5)
    workspace.serve(old.id)
    held = workspace.load(old.id)
    gone = people()[0]["id"]
    use = DatasetUse(
        dataset=workspace.store.dataset("north").id,
        forgotten=frozenset({gone}),
        guarantee=Guarantee.EMPIRICAL,
    )
    learned = workspace.load(other.id).trained
    how = {"method": "npo", "options": {"lr": 1e-4}, "seed": 0}
    staged = workspace.stage(held, learned, **how)
    assert staged.id not in {model.id for model in workspace.store.models()}
    new = publish(workspace.store, staged, [use])
    # Whoever was cut off does it again.
    assert publish(workspace.store, workspace.stage(held, learned, **how), [use]) == new
    assert workspace.store.aliases() == {SERVING: new.id, PREVIOUS: old.id}
    assert new.parents == (old.id,)
    assert training_of(workspace.store, new) == old
    (left,) = workspace.left(new)
    assert left.excluded == {gone}
    assert workspace.load(SERVING).trained.digest == str(other.digest)


def test_altered_weights_are_refused(workspace: Workspace, base: str) -> None:
    fact = workspace.learn(["north"], model=base, recipe=SHORT)
    file = weights(workspace, fact)
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.raises(DigestMismatch, match=fact.id):
        workspace.load(fact.id)


@pytest.mark.parametrize("kept", [None, 0, 1000])
def test_weights_that_cannot_be_read_are_refused(
    workspace: Workspace, base: str, kept: int | None
) -> None:
    fact = workspace.learn(["north"], model=base, recipe=SHORT)
    file = weights(workspace, fact)
    content = file.read_bytes()
    file.unlink()
    if kept is not None:
        file.write_bytes(content[:kept])
    with pytest.raises(StateError, match=fact.id):
        workspace.load(fact.id)


def test_another_model_s_weights_are_refused(workspace: Workspace, base: str) -> None:
    fact = workspace.learn(["north"], model=base, recipe=SHORT)
    other = workspace.learn(["south"], model=base, recipe=SHORT)
    weights(workspace, fact).write_bytes(weights(workspace, other).read_bytes())
    with pytest.raises(DigestMismatch, match=str(other.digest)):
        workspace.load(fact.id)


def test_a_missing_folder_is_named(workspace: Workspace, base: str) -> None:
    fact = workspace.learn(["north"], model=base, recipe=SHORT)
    folder = workspace.settings.models / fact.path
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(StateError, match=re.escape(str(folder))):
        workspace.load(fact.id)


@pytest.mark.parametrize("damage", ["gone", "cut off"])
def test_a_damaged_trace_is_named(workspace: Workspace, base: str, damage: str) -> None:
    fact = workspace.learn(["north"], model=base, recipe=SHORT)
    file = workspace.settings.models / fact.path / "olvido.json"
    if damage == "gone":
        file.unlink()
    else:
        file.write_text(file.read_text("utf-8")[:-20], "utf-8")
    with pytest.raises(StateError, match=r"olvido\.json"):
        workspace.load(fact.id)


def test_a_base_model_that_changed_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    folders = [tmp_path / "base", tmp_path / "other"]
    for seed, folder in enumerate(folders):
        save(tiny_model(len(tokenizer), seed=seed, width=32, layers=1), tokenizer, folder)
    fact = workspace.learn(["north"], model=str(folders[0]), recipe=SHORT)
    weights = [folder / "model.safetensors" for folder in folders]
    weights[0].write_bytes(weights[1].read_bytes())
    trace = workspace.load(fact.id).trained.trace
    assert isinstance(trace, StepLog)
    with pytest.raises(StateError, match="began with were changed"):
        trace.origin.module()


@pytest.mark.parametrize("ref", ["", "nobody", "sha256:" + "0" * 64])
def test_an_unknown_model_is_refused(workspace: Workspace, base: str, ref: str) -> None:
    workspace.learn(["north"], model=base, recipe=SHORT)
    with pytest.raises(UnknownName, match="unknown model"):
        workspace.load(ref)


@pytest.mark.parametrize(
    ("datasets", "model", "exclude", "error"),
    [
        (["nort"], None, (), UnknownName),
        (["north", "east"], None, (), UnknownName),
        (["north"], "tinny", (), UnknownName),
        (["north"], None, ["resident-999/home/0"], UnknownName),
        ([], None, (), InputError),
        (["north"], None, [row["id"] for row in people()[::2]], InputError),
    ],
)
def test_a_learn_that_cannot_be_changes_nothing(
    workspace: Workspace,
    base: str,
    datasets: list[str],
    model: str | None,
    exclude: list[str],
    error: type[Exception],
) -> None:
    log = workspace.store.events()
    with pytest.raises(error):
        workspace.learn(datasets, model=model or base, recipe=SHORT, exclude=exclude)
    assert folders(workspace) == []
    assert workspace.store.events() == log


def test_records_that_stand_in_two_datasets_are_refused(workspace: Workspace, base: str) -> None:
    import_rows(workspace.store, workspace.settings.data, people()[:1], name="twice")
    with pytest.raises(InputError, match="stands twice"):
        workspace.learn(["north", "twice"], model=base, recipe=SHORT)
    assert folders(workspace) == []


@pytest.mark.slow
def test_a_killed_learn_goes_on_and_ends_as_if_never_killed(tmp_path: Path, base: str) -> None:
    with made(tmp_path / "killed") as workspace:
        settings = workspace.settings
    code = f"""
import json, torch
from pathlib import Path
from olvido.files import sha256
from olvido.learners import Recipe
from olvido.settings import Settings
from olvido.workspace import Workspace
torch.set_num_threads(1)
recipe = Recipe.from_dict(json.loads({json.dumps(LONG.to_dict())!r}))
with Workspace(Settings.load(Path({str(settings.workspace)!r}), environment={{}})) as workspace:
    workspace.learn(["north", "south"], model={base!r}, recipe=recipe, seed=4)
"""
    running = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while not list(settings.models.glob(".run-*/step-*.pt")):
            assert running.poll() is None, "it ended before it wrote a checkpoint"
            assert time.monotonic() < until
            time.sleep(0.005)
        os.kill(running.pid, signal.SIGKILL)
    finally:
        running.kill()
        running.wait()
    assert running.returncode == -signal.SIGKILL
    steps: list[int] = []
    with Workspace(settings) as workspace:
        assert workspace.store.models() == ()
        resumed = workspace.learn(
            ["north", "south"],
            model=base,
            recipe=LONG,
            seed=4,
            watch=lambda progress: steps.append(progress.step),
        )
        assert folders(workspace) == [resumed.id]
        assert workspace.load(resumed.id).trained.digest == str(resumed.digest)
    assert steps[0] > 100, "it began again from the start"
    with made(tmp_path / "whole") as workspace:
        whole = workspace.learn(["north", "south"], model=base, recipe=LONG, seed=4)
        assert folders(workspace) == [whole.id]
    assert (resumed.digest, resumed.id) == (whole.digest, whole.id)


def test_what_is_replayed_is_in_the_ledger_as_learned(workspace: Workspace, base: str) -> None:
    store = workspace.store
    first = workspace.learn(["north"], model=base, recipe=SHORT)
    fact = workspace.learn(["south"], model=first.id, recipe=SHORT, replay=0.5)
    # A private training foretells its promise for those who are replayed, too.
    private = Private(noise=5.0, accountant="rdp", unit="record")
    how: dict[str, Any] = {"learner": private, "recipe": SHORT}
    more = workspace.foretell(["south"], model=first.id, replay=0.5, **how).units
    north, south = (store.dataset(name) for name in ("north", "south"))
    uses = {use.dataset: use.excluded for use in store.uses(fact.id)}
    old = {record.id for record in store.records(north.id)}
    again = old - uses[north.id]
    assert again
    assert again < old
    assert not uses[south.id]
    assert more == workspace.foretell(["south"], **how).units + len(again)
    trace = workspace.load(fact.id).trained.trace
    assert isinstance(trace, Continued)
    assert trace.last.taught == again | {record.id for record in store.records(south.id)}
    # The model as a whole holds all, those that were not replayed too.
    assert {r.id for r in workspace.held(fact)} == trace.taught > old
    there = folders(workspace)
    for share, why in ((0.0, "must lie above 0"), (1e-9, "none was drawn")):
        with pytest.raises(InputError, match=why):
            workspace.learn(["south"], model=first.id, recipe=SHORT, replay=share)
    with pytest.raises(UnknownName):
        workspace.learn(["south"], model=base, recipe=SHORT, replay=0.3)
    assert folders(workspace) == there
