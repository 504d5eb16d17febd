"""The learner `private`: what it promises stands in its trace, and what would undo it nowhere."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import olvido
from olvido.errors import InputError, MissingNeed, OlvidoError, UnknownName
from olvido.learners import Lora, Private, PrivateRun, Progress, Recipe, Trained, train
from olvido.models import weights_digest
from olvido.tasks import Example, Labels, Language, examples
from olvido.training.private.accounting import Spent, epsilon_of
from olvido.training.traces.private import promised_by

pytest.importorskip("opacus")
pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)

Records = tuple[Example, ...]
ONE_STEP = Recipe(batch_size=3, epochs=1, lr=1e-2)


@pytest.fixture(scope="module")
def people() -> Records:
    """Three records of each of six people, one of two of them, and one of nobody."""
    rows: list[dict[str, Any]] = [
        {"id": f"{who}{n}", "prompt": f"Is {who} {n}?", "completion": "yes", "subject": who}
        for who in ("Ada", "Bo", "Cy", "Di", "Ed", "Flo")
        for n in range(3)
    ]
    rows.append({"id": "both", "prompt": "Who?", "completion": "they", "subjects": ["Ada", "Bo"]})
    return examples([*rows, {"id": "none", "text": "Water is wet."}])


def learn(
    model: Any, records: Records, task: Any, recipe: Recipe = ONE_STEP, **how: Any
) -> Trained:
    about = {"noise": 1.0, "accountant": "rdp", **how}
    return train(model, records=records, task=task, recipe=recipe, learner=Private(**about))


def promise(trained: Trained) -> Spent:
    assert isinstance(trained.trace, PrivateRun)
    return trained.trace.spent


def test_the_trace_says_what_was_spent(small: Any, people: Records, task: Language) -> None:
    before = weights_digest(small)
    seen: list[Progress] = []
    recipe = Recipe(batch_size=1, accumulate=2, epochs=2, clip=0.7, lr=1e-3)
    found = train(
        small,
        records=people,
        task=task,
        recipe=recipe,
        learner="private",
        noise=1.5,
        accountant="rdp",
        watch=seen.append,
    )
    assert weights_digest(small) == before != found.digest
    assert isinstance(found.trace, PrivateRun)
    spent = found.trace.spent
    # Six people and a record about nobody.
    assert (spent.units, spent.rate, spent.steps, spent.batch) == (7, 2 / 7, 7, 2.0)
    assert (spent.noise, spent.clip, spent.delta) == (1.5, 0.7, 1 / 70)
    assert (spent.unit, spent.dropped, spent.secret) == ("subject", 1, True)
    about: dict[str, Any] = {
        "delta": spent.delta,
        "rate": spent.rate,
        "steps": 7,
        "accountant": "rdp",
    }
    assert spent.epsilon == epsilon_of(1.5, **about)
    assert set(found.trace.present) == {r.id for r in people} - {"both"}
    # A loss was computed on people's records, and no noise was added to it.
    assert [(p.step, p.total, p.loss) for p in seen] == [(n, 7, None) for n in range(1, 8)]


def test_a_record_as_unit(small: Any, people: Records, task: Language) -> None:
    spent = promise(learn(small, people, task, unit="record"))
    assert (spent.units, spent.dropped) == (len(people), 0)


def test_noise_is_fresh_unless_its_seed_is_chosen(
    small: Any, people: Records, task: Language
) -> None:
    runs = [learn(small, people, task, noise_seed=seed) for seed in (None, None, 5, 5, 6)]
    digests = [run.digest for run in runs]
    assert digests[2] == digests[3]
    assert len(set(digests)) == 4
    assert [promise(run).secret for run in runs[1:3]] == [True, False]
    assert "whoever knows it can undo" in str(promise(runs[2]))


def test_nothing_is_stored_that_would_undo_the_promise(
    small: Any, people: Records, task: Language, tmp_path: Path
) -> None:
    found = learn(small, people, task)
    small.save_pretrained(tmp_path / "base")
    task.tokenizer.save_pretrained(tmp_path / "base")
    found.save(tmp_path / "made", task.tokenizer, base=str(tmp_path / "base"))
    assert not (tmp_path / "made" / "logs").exists()
    assert not (tmp_path / "made" / "checkpoints").exists()
    note = json.loads((tmp_path / "made" / "olvido.json").read_text())
    known = {"base", "seed", "runs", "kind", "records", "origin", "weights", "dtype", "digest"}
    assert note.keys() - known == {"spent", "contract", "took", "expected", "notes"}
    assert note["runs"] == {}
    back = Trained.load(tmp_path / "made")
    assert promise(back) == promise(found)
    found.page(tmp_path / "page.html")
    assert "adding or removing one person" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize("method", ["retrain", "replay"])
def test_exact_methods_say_why_they_refuse(
    small: Any, people: Records, task: Language, method: str
) -> None:
    trained = learn(small, people, task)
    with pytest.raises(MissingNeed, match="neither its draws nor its noise"):
        olvido.forget(trained, task=task, forget=people[:3], retain=people[3:18], method=method)
    with pytest.raises(InputError, match="neither its draws nor its noise"):
        Private.forget(None, trained.trace, [people[0].id], people, task)


def test_adapters_are_merged(small: Any, people: Records, task: Language) -> None:
    found = learn(small, people, task, Recipe(batch_size=3, epochs=1, lr=0.1, lora=Lora(rank=2)))
    changed = {
        name
        for (name, p), q in zip(small.named_parameters(), found.model.parameters(), strict=True)
        if not torch.equal(p, q)
    }
    assert changed
    assert all("_proj" in name for name in changed)


def test_it_learns_where_there_is_hardly_any_noise(
    small: Any, people: Records, task: Language
) -> None:
    """With noise for epsilon 60 or so, six people's common words are learned."""
    recipe = Recipe(batch_size=7, epochs=25, lr=1e-2)
    found = learn(small, people, task, recipe, noise=0.6)
    with torch.no_grad():
        batch = task.collate(people[:6])
        before, after = (float(task.losses(m, batch).mean()) for m in (small, found.model))
    assert after < before - 0.5


def test_what_mixes_records_is_refused(small: Any, people: Records, task: Language) -> None:
    rows = examples({"input": [float(n), 1.0], "label": "ab"[n % 2]} for n in range(6))
    labels = Labels.made(None, {"task": "labels"}, rows)
    batch_norm = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    with pytest.raises(InputError, match="normalises over the batch"):
        learn(batch_norm, rows, labels, unit="record")
    experts = copy.deepcopy(small)
    experts.config.num_local_experts = 4
    with pytest.raises(InputError, match="mixture of experts"):
        learn(experts, people, task)
    with pytest.raises(InputError, match="activations"):
        learn(small, people, task, Recipe(checkpointing=True))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "how private"),
        ({"epsilon": 3, "noise": 1}, "not both"),
        ({"epsilon": "3"}, "must be a number"),
        ({"noise": -1}, "positive"),
        ({"noise": 0}, "positive"),
        ({"noise": 1e-3}, "too little"),
        ({"noise": 1, "delta": 0.5}, "at most"),
        ({"noise": 1, "quantile": 1}, "between 0 and 1"),
        ({"noise": 1, "most": 0}, "at least 1"),
        ({"noise": 1, "unit": "people"}, "unknown unit"),
        ({"noise": 1, "accountant": "zcdp"}, "unknown accountant"),
    ],
)
def test_what_makes_no_promise_is_refused(
    small: Any, people: Records, task: Language, options: dict[str, Any], said: str
) -> None:
    with pytest.raises((InputError, UnknownName), match=said):
        train(small, records=people, task=task, learner="private", **options)


def test_one_person_cannot_hide(small: Any, people: Records, task: Language) -> None:
    with pytest.raises(OlvidoError, match="2 units or more"):
        learn(small, people[:3], task)


def test_a_promise_says_what_an_earlier_training_leaves_of_it(
    small: Any, people: Records, task: Language, tmp_path: Path
) -> None:
    once = learn(small, people, task, noise=2.0)
    twice = learn(once, people, task, noise=2.0)
    found = promised_by(twice.trace)
    assert found is not None
    assert f"epsilon {2 * promise(once).epsilon:.3g} at" in found["promise"]
    twice.page(tmp_path / "page.html")
    assert "has the sum" in (tmp_path / "page.html").read_text()
    plain = train(small, records=people[:3], task=task, recipe=ONE_STEP)
    after = promised_by(learn(plain, people, task).trace)
    assert after is not None
    assert "nothing is promised to those who are in the 3" in after["promise"]
    alone = promised_by(once.trace)
    assert alone is not None
    assert alone["promise"] == str(promise(once))
