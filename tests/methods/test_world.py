"""Two processes learn, forget and audit as one does, with whole weights and with shards of them."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.launching import launched

pytestmark = pytest.mark.slow

# The same work for one process and for two; the latter do it twice, whole and sharded.
WORK = """
from olvido.audits import audit
from olvido.errors import InputError
from olvido.learners import Lora, Recipe, train
from olvido.methods import forget
from olvido.models.tiny import tiny_tokenizer
from olvido.processes import world_size
from olvido.tasks import Language, examples

RECIPE = Recipe(epochs=4, batch_size=8, lr=5e-3)
VARIANTS = {
    "npo": {},
    "lora": {"lora_rank": 4, "regulariser": "kl", "lr": 2e-3, "epochs": 2},
    "one layer": {"regulariser": "hidden"},
    "recomputed": {"checkpointing": True},
    "small": {"micro_batch": 2},
    "projected": {"project": True, "lr": 1e-4, "epochs": 3},
    "own components": {"method": "repselect", "epochs": 4, "retain_weight": 0.5},
    "worst nearby": {"method": "samnpo", "lr": 1e-4, "epochs": 3},
}


def work(small, forgotten, kept, folder):
    task = Language(tiny_tokenizer())
    first, second = examples(forgotten), examples(kept)
    trained = train(small, records=(*first, *second), task=task, recipe=RECIPE)
    found = {"learned": (trained.model, trained.trace.losses)}
    common = {"forget": first, "retain": second, "task": task, "epochs": 1, "lr": 3e-4,
              "batch_size": 6, "retain_batch": 12}
    for name, options in VARIANTS.items():
        done = forget(trained, **{"method": "npo", **common, **options})
        found[name] = done.model, [done.forget_loss, done.retain_loss,
                                   *((m.forget, m.retain or 0.0) for m in done.history)]
    adapted = Recipe(epochs=2, batch_size=7, lr=5e-3, lora=Lora(rank=2), micro_batch=3)
    lora = train(trained.model, records=second, task=task, recipe=adapted, folder=folder,
                 replay_points=2, safety=2)
    found["adapters"] = lora.model, lora.trace.losses
    never = train(small, records=second, task=task, recipe=RECIPE, seed=1)
    report = audit(found["npo"][0], forget=first, retain=second, reference=never,
                   original=trained, task=task)
    values = [(f.value, f.expected) for f in report.findings]
    found["audited"] = found["npo"][0], values
    refused = []
    sides = {"forget": first, "retain": second[:-3], "holdout": second[-3:], "task": task}
    refusing = [{"method": "npo", "regulariser": "ewc", "lr": 3e-4}, {"method": "auto"}]
    for options in refusing if world_size() > 1 else ():
        try:
            forget(trained, **sides, **options)
        except InputError as error:
            refused.append(str(error))
    found["refused"] = refused
    return found
"""

LAUNCHED = """
import os, pickle, sys, warnings
from pathlib import Path
import torch
from olvido.processes import is_main

torch.set_num_threads(1)
warnings.simplefilter("ignore")
sys.path.insert(0, sys.argv[1])
from work import work

folder = Path(sys.argv[1])
given = pickle.loads((folder / "given").read_bytes())
found = {}
for name, on in (("whole", "false"), ("sharded", "true")):
    os.environ |= {"ACCELERATE_USE_FSDP": on, "FSDP_VERSION": "2",
                   "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
                   "FSDP_RESHARD_AFTER_FORWARD": "true"}
    found[name] = work(*given, folder / name)
if is_main():
    (folder / "found").write_bytes(pickle.dumps(found))
"""


@pytest.fixture(scope="module")
def results(
    tmp_path_factory: pytest.TempPathFactory, small: Any, town: Any
) -> dict[str, dict[str, Any]]:
    """What one process found, and two with whole weights and with shards."""
    place = tmp_path_factory.mktemp("world")
    (place / "work.py").write_text(WORK)
    (place / "launched.py").write_text(LAUNCHED)
    rows = [[dict(r) for r in town.rows_of(who)] for who in (town.data_subject, town.residents[1])]
    given = (small, *rows)
    (place / "given").write_bytes(pickle.dumps(given))
    launched(place / "launched.py", str(place), world=2)
    space: dict[str, Any] = {}
    exec(WORK, space)
    alone = space["work"](*given, place / "alone")
    return {"alone": alone, "place": {"": place}, **pickle.loads((place / "found").read_bytes())}


NAMES = ("learned", "npo", "lora", "one layer", "recomputed", "small", "projected",
         "own components", "worst nearby", "adapters", "audited")  # fmt: skip


@pytest.mark.parametrize("mode", ["whole", "sharded"])
@pytest.mark.parametrize("name", NAMES)
def test_two_processes_find_what_one_finds(
    results: dict[str, dict[str, Any]], mode: str, name: str
) -> None:
    (alone, expected), (model, values) = results["alone"][name], results[mode][name]
    assert type(model) is type(alone)
    pairs = zip(model.named_parameters(), alone.named_parameters(), strict=True)
    for (one, weight), (other, aim) in pairs:
        assert one == other
        assert (weight - aim).abs().max() < 1e-5, one
    assert torch.tensor(values) == pytest.approx(torch.tensor(expected), abs=1e-5)


@pytest.mark.parametrize("mode", ["whole", "sharded"])
def test_every_adapter_moves(results: dict[str, dict[str, Any]], mode: str) -> None:
    before = dict(results[mode]["learned"][0].named_parameters())
    for name in ("lora", "adapters"):
        after = dict(results[mode][name][0].named_parameters())
        still = {n for n in before if n.endswith("proj.weight") and before[n].equal(after[n])}
        assert not still
        assert before["model.embed_tokens.weight"].equal(after["model.embed_tokens.weight"])


@pytest.mark.parametrize("mode", ["whole", "sharded"])
def test_a_checkpoint_holds_adapters_whole_and_no_base(
    results: dict[str, dict[str, Any]], mode: str
) -> None:
    folder: Path = results["place"][""] / mode
    written = sorted(folder.rglob("step-*.pt"))
    assert written
    state = torch.load(written[-1], weights_only=True)
    alone = torch.load(sorted((folder.parent / "alone").rglob("step-*.pt"))[-1], weights_only=True)
    assert set(state["weights"]) == set(alone["weights"])
    assert all("lora_" in name for name in state["weights"])
    for name, tensor in state["weights"].items():
        assert tensor.shape == alone["weights"][name].shape
    assert state["optimizer"].keys() == alone["optimizer"].keys()


def test_what_shards_or_several_clocks_cannot_do_is_said(
    results: dict[str, dict[str, Any]],
) -> None:
    assert results["whole"]["refused"] == [results["sharded"]["refused"][1]]
    assert "ewc holds whole weights" in results["sharded"]["refused"][0]
    assert "a search goes by the clock" in results["sharded"]["refused"][1]
