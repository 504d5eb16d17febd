"""Several processes share a run: the same bits every time, on all of them, and one that writes."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.launching import launched

from olvido.data.importing import import_rows
from olvido.demo.residents import Town
from olvido.errors import EnvironmentMismatch
from olvido.learners import Recipe, StepLog, Trained, train
from olvido.learners.trained import read_trace
from olvido.ledger.identity import Key
from olvido.ledger.store import Store
from olvido.methods import forget
from olvido.models import save
from olvido.models.merging import picklable
from olvido.settings import Settings
from olvido.tasks import Language, examples
from olvido.workspace import Workspace

pytestmark = pytest.mark.slow

RECIPE = Recipe(epochs=3, batch_size=4, lr=2e-3)
WORLD = 2

# Run by every process; what it found goes into a file of its own.
SHARED = """
import io, json, os, pickle, sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import torch
from olvido import cli
from olvido.errors import InputError, NotFinite
from olvido.methods import forget
from olvido.learners import train
from olvido.learners.parts import begin, carry_out
from olvido.learners.trained import write_trace
from olvido.models import weights_digest
from olvido.models.tiny import tiny_tokenizer
from olvido.processes import is_main
from olvido.tasks import Language, examples

folder = Path(sys.argv[1])
torch.set_num_threads(1)
dropping, plain, rows, recipe = pickle.loads((folder / "given").read_bytes())
task, records = Language(tiny_tokenizer()), examples(rows)
found, seen = {}, []


class CutOff(Exception):
    pass


def cut(progress):
    if progress.step == 7:
        raise CutOff


def taught(**given):
    return train(dropping, **{"records": records, "task": task, "recipe": recipe, **given})


one, two = taught(replay_points=2, safety=2), taught(watch=seen.append)
found["digests"] = [one.digest, two.digest]
found["final"] = dict(one.trace.final)
found["losses"], found["watched"] = one.trace.losses, [progress.loss for progress in seen]

try:
    taught(safety=2, folder=folder / "run", watch=cut)
except CutOff:
    seen = []
    found["digests"].append(taught(safety=2, folder=folder / "run", watch=seen.append).digest)
    found["resumed"] = seen[0].step

plan = one.trace.plan
gone = max(plan.slots, key=lambda i: plan.first_use([i]))
kept = [record for record in records if record.id != gone]
leaving = [record for record in records if record.id == gone]
outcome = forget(one, forget=leaving, retain=kept, task=task, method="replay")
job = begin(dropping, kept, task, recipe=recipe, seed=0, plan=plan.without([gone]))
found["replayed"] = [outcome.digest, weights_digest(carry_out([job])[0].model)]
found["stopped"], found["gone"] = outcome.stopped, gone


class Broken(Language):
    def losses(self, model, batch):
        return super().losses(model, batch) * (float("nan") if gone in batch.ids else 1.0)


found["refused"] = []
for task_, more in ((Broken(task.tokenizer), {}), (task, {"learner": "sharded", "workers": 2})):
    try:
        taught(task=task_, **({"shards": 2} | more if more else {}))
    except (NotFinite, InputError) as error:
        found["refused"].append(str(error))

summed = train(plain, records=records, task=task, recipe=recipe)
learn = ["learn", "people", "--model", str(folder / "small"), "--epochs", "1", "--json"]
found["commands"] = []
for arguments in (learn, ["models", "--json"]):
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = cli.run(["--workspace", str(folder / "workspace"), *arguments])
    found["commands"].append([status, out.getvalue(), err.getvalue()])

if is_main():
    (folder / "trace").mkdir()
    write_trace(one.trace, folder / "trace", base="dropping", seed=0)
    (folder / "summed").write_bytes(pickle.dumps(summed.model))
(folder / f"{os.environ['RANK']}.json").write_text(json.dumps(found))
"""


@pytest.fixture(scope="module")
def rows(town: Town) -> list[dict[str, Any]]:
    """Fifteen records of one resident, and eight of another."""
    mine, others = town.rows_of(town.data_subject), town.rows_of(town.residents[1])
    return [dict(row) for row in (*mine, *others[:8])]


SHARDS = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
}
"""What accelerate's launcher makes of a configuration file with fsdp_version 2."""


@pytest.fixture(scope="module", params=[{}, SHARDS], ids=["whole", "sharded"])
def folder(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    gpt2: Any,
    small: Any,
    tokenizer: Any,
    rows: list[dict[str, Any]],
) -> Path:
    """What two processes left behind."""
    place = tmp_path_factory.mktemp("world")
    (place / "given").write_bytes(pickle.dumps((picklable(gpt2), picklable(small), rows, RECIPE)))
    save(small, tokenizer, place / "small")
    settings = Settings.load(place / "workspace", environment={})
    settings.workspace.mkdir()
    (settings.workspace / "olvido.toml").write_text("")
    Store.create(settings.ledger, key=Key.create(settings.key)).close()
    with Workspace(settings) as workspace:
        import_rows(workspace.store, settings.data, rows, name="people")
    (place / "shared.py").write_text(SHARED)
    launched(place / "shared.py", str(place), world=WORLD, environment=request.param)
    return place


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Any]:
    """What the main process found."""
    return dict(json.loads((folder / "0.json").read_text()))


def test_all_processes_find_the_same(folder: Path, found: dict[str, Any]) -> None:
    other = json.loads((folder / "1.json").read_text())
    assert {**other, "commands": None} == {**found, "commands": None}


def test_the_same_records_give_the_same_bits_also_after_a_crash(
    found: dict[str, Any], gpt2: Any, rows: list[dict[str, Any]], task: Language
) -> None:
    first, second, resumed = found["digests"]
    assert first == second == resumed
    assert found["resumed"] == 7
    # Whole batches are logged, of which every process has its part.
    assert found["losses"] == pytest.approx(found["watched"], rel=1e-5)
    assert len(found["losses"]) == 18


def test_replay_equals_training_without_the_record(found: dict[str, Any]) -> None:
    replayed, never = found["replayed"]
    assert replayed == never != found["digests"][0]
    assert "of 18 steps were run again, in 1 run" in found["stopped"]
    assert "gone" not in found["stopped"]


def test_gradients_are_summed_as_if_by_one_process(
    folder: Path, small: Any, rows: list[dict[str, Any]], task: Language
) -> None:
    summed = pickle.loads((folder / "summed").read_bytes())
    alone = train(small, records=rows, task=task, recipe=RECIPE).model
    flat = [
        torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
        for model in (summed, alone, small)
    ]
    assert (flat[0] - flat[1]).norm() < 1e-3 * (flat[1] - flat[2]).norm()


def test_what_goes_wrong_in_one_process_ends_all(found: dict[str, Any]) -> None:
    nan, workers = found["refused"]
    assert "the loss became nan at step" in nan
    assert "2 processes share every run here" in workers


def test_another_number_of_processes_is_refused_by_name(
    folder: Path, found: dict[str, Any], gpt2: Any, rows: list[dict[str, Any]], task: Language
) -> None:
    trace = read_trace(folder / "trace", lambda base, seed: gpt2)
    assert isinstance(trace, StepLog)
    assert dict(trace.final) == found["final"]
    records = examples(rows)
    leaving = [record for record in records if record.id == found["gone"]]
    kept = [record for record in records if record.id != found["gone"]]
    given = Trained(gpt2, "not asked", trace)
    with pytest.raises(EnvironmentMismatch, match="world_size: recorded '2', here '1'") as refused:
        forget(given, forget=leaving, retain=kept, task=task, method="replay")
    assert ("sharding: recorded 'fsdp2" in str(refused.value)) == ("sharding" in trace.environment)


def test_the_main_process_alone_enters_what_was_learned(
    folder: Path, found: dict[str, Any]
) -> None:
    other = json.loads((folder / "1.json").read_text())
    learned, models = zip(found["commands"], other["commands"], strict=True)
    assert [status for status, _, _ in learned] == [0, 0]
    made = json.loads(learned[0][1])
    assert learned[1] == [0, "", ""]
    with Workspace(Settings.load(folder / "workspace", environment={})) as workspace:
        assert [model.id for model in workspace.store.models()] == [made["id"]]
        held = workspace.load("serving")
        assert workspace.store.verify_log().sound
        lying = [path.name for path in workspace.settings.models.iterdir()]
    assert held.trained.digest == made["digest"]
    assert held.fact.environment["world_size"] == "2"
    assert lying == [made["id"]]
    # No other command shares its work.
    assert [(status, out) for status, out, _ in models] == [(2, ""), (2, "")]
    # Said once, by whichever process was the first to fail.
    (line,) = (err for _, _, err in models if err)
    assert "only learn, forget, audit share their work" in line
