"""Watching a transformers Trainer changes nothing, and sees which records each step used."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from tests.outside import begin, encoded, trainer_of
from tests.sharing import Shared
from transformers import AutoModelForCausalLM, Trainer, TrainerCallback

from olvido import OlvidoCallback
from olvido.data.importing import import_rows
from olvido.demo.residents import Town, make_town
from olvido.errors import InputError, MissingNeed, OlvidoError, StateError, UnknownName
from olvido.learners import Declared, Recipe, Watched
from olvido.ledger.facts import DECLARED, WATCHED, WITNESSED
from olvido.ledger.identity import Key
from olvido.ledger.store import Store
from olvido.methods import forget
from olvido.models import load, weights_digest
from olvido.models.tiny import tiny_tokenizer
from olvido.requests.references import lacking_references
from olvido.settings import Settings
from olvido.training.traces.chain import Continued
from olvido.workspace import Workspace

ROWS = 40
HOW: dict[str, Any] = {"num_train_epochs": 2, "learning_rate": 1e-3, "warmup_steps": 1}


@pytest.fixture(scope="session")
def base(shared: Shared) -> Path:
    return shared.folder(lambda folder: begin(folder / "base", "gpt2", tiny_tokenizer())) / "base"


@pytest.fixture(scope="session")
def town() -> Town:
    return make_town(seed=0, residents=6, outsiders=2, wordings=2)


@pytest.fixture(scope="session")
def people(town: Town) -> list[dict[str, Any]]:
    return [row for row in town.rows() if "subject" in row][:ROWS]


@pytest.fixture
def place(tmp_path: Path, people: list[dict[str, Any]]) -> Iterator[Workspace]:
    settings = Settings.load(tmp_path / "workspace", environment={})
    Store.create(settings.ledger, key=Key.create(settings.key)).close()
    with Workspace(settings) as workspace:
        import_rows(workspace.store, settings.data, people, name="people")
        yield workspace


@pytest.fixture
def rows(people: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows as a trainer takes them."""
    return [encoded(row, tiny_tokenizer()) for row in people]


Make = Callable[..., Trainer]


@pytest.fixture
def trainer(base: Path, tmp_path: Path, rows: list[dict[str, Any]]) -> Make:
    def make(*callbacks: TrainerCallback, dataset: Any = rows, **how: Any) -> Trainer:
        torch.manual_seed(0)
        return trainer_of(
            base, tmp_path / "out", dataset, tiny_tokenizer(), callbacks=callbacks, **{**HOW, **how}
        )

    return make


def watching(place: Workspace, **how: Any) -> OlvidoCallback:
    return OlvidoCallback(place, "people", tokenizer=tiny_tokenizer(), **how)


def seen(place: Workspace, callback: OlvidoCallback) -> Watched:
    trace = place.load(callback.model).trained.trace
    assert isinstance(trace, Watched)
    return trace


class Spy(TrainerCallback):  # type: ignore[misc]
    """What really passed, by the trainer's own inputs: the ids of each optimizer step."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._names = {tuple(row["input_ids"]): row["id"] for row in rows}
        assert len(self._names) == len(rows)
        self.steps: list[list[str]] = []

    def over(self, trainer: Trainer) -> Trainer:
        """Watch a trainer's own step, which is none of the seams that the callback uses."""
        step = trainer.training_step

        def spied(model: Any, inputs: Any, *rest: Any, **further: Any) -> Any:
            masks = inputs["attention_mask"].bool()
            names = [
                self._names[tuple(ids[mask].tolist())]
                for ids, mask in zip(inputs["input_ids"], masks, strict=True)
            ]
            while len(self.steps) <= trainer.state.global_step:
                self.steps.append([])
            self.steps[trainer.state.global_step] += names
            return step(model, inputs, *rest, **further)

        trainer.training_step = spied
        return trainer


WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulating": {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 4},
    "by length": {"train_sampling_strategy": "group_by_length"},
    "half an epoch": {"max_steps": 4, "per_device_train_batch_size": 4},
    "checkpoints": {"save_strategy": "steps", "save_steps": 2, "save_total_limit": 1},
}
SLOW_WAYS = {
    "workers": {"dataloader_num_workers": 2, "dataloader_prefetch_factor": 4},
    "recomputing": {"activation_checkpointing": True, "bf16": True},
}


@pytest.mark.parametrize(
    "way", [*WAYS, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW_WAYS)]
)
def test_watching_changes_no_bit_and_sees_the_order(
    place: Workspace, trainer: Make, rows: list[dict[str, Any]], base: Path, way: str
) -> None:
    how = (WAYS | SLOW_WAYS)[way]
    alone = trainer(**how)
    alone.train()
    spy, callback = Spy(rows), watching(place)
    watched = spy.over(trainer(callback, **how))
    watched.train()
    assert weights_digest(watched.model) == weights_digest(alone.model)
    trace = seen(place, callback)
    assert [[trace.seen.records[p] for p in step] for step in trace.seen.steps] == spy.steps
    assert trace.seen.began == load(base).digest
    assert set(trace.present) == {name for step in spy.steps for name in step}
    assert place.store.model(callback.model).digest.hex in weights_digest(alone.model)
    (use,) = place.store.uses(callback.model)
    assert len(use.excluded) == ROWS - len(trace.present)
    assert list(place.settings.workspace.glob(".unfinished-*")) == []


def test_what_was_seen_is_witnessed_and_the_rest_is_named(
    place: Workspace, trainer: Make, base: Path
) -> None:
    callback = watching(place)
    with pytest.raises(StateError, match=r"trainer\.train"):
        _ = callback.model
    trainer(callback).train()
    made = callback.entered
    assert made is not None
    basis = {one.what: one.basis for one in made.statements}
    for name in ("data", "order", "seconds", "base", "lr", "epochs", "weights of the base"):
        assert basis[name] == WITNESSED, name
    assert DECLARED not in basis.values()
    fact = place.store.model(callback.model)
    assert (fact.learner, fact.training) == (WATCHED, WITNESSED)
    assert fact.recipe["declared"] == {}
    # Nobody has to say what a retrained model is made with.
    loaded = place.load(callback.model)
    assert lacking_references(place, loaded, loaded.trained.trace.present[:2], count=1) is None
    assert fact.recipe["base"] == str(base.resolve())
    assert any("base learned before" in line for line in made.unknown)
    trace = seen(place, callback)
    assert trace.tokens > 0
    assert trace.seconds > 0
    assert trace.origin is not None
    assert weights_digest(trace.origin.module()) == trace.seen.began
    assert 0 < trace.tokens_without(trace.present[:10]) < trace.tokens


def test_the_recipe_is_the_trainers_and_where_it_has_no_like_nothing_is_guessed(
    place: Workspace, trainer: Make
) -> None:
    callback = watching(place)
    trainer(callback, weight_decay=0.5, adam_beta2=0.9, max_grad_norm=2.0).train()
    recipe = place.store.model(callback.model).recipe
    known = {n: recipe[n] for n in ("epochs", "batch_size", "lr", "schedule", "clip", "beta2")}
    assert known == {"epochs": 2, "batch_size": 16, "lr": 1e-3, "schedule": "cosine", "clip": 2.0,
                     "beta2": 0.9}  # fmt: skip
    assert (recipe["weight_decay"], recipe["optimizer"]) == (0.5, "adamw")
    for how in (
        {"optim": "adafactor"},
        {"lr_scheduler_type": "polynomial"},
        {"max_steps": 4, "per_device_train_batch_size": 4},
    ):
        callback = watching(place)
        trainer(callback, **how).train()
        fact = place.store.model(callback.model)
        assert "recipe" not in fact.recipe["witnessed"], how
        assert callback.entered is not None
        assert any(line.startswith("recipe unknown (") for line in callback.entered.unknown), how
    given = watching(place, recipe=Recipe(epochs=1, lr=1e-4))
    trainer(given, optim="adafactor", seed=5).train()
    fact = place.store.model(given.model)
    assert fact.recipe["declared"]["recipe"] == "whoever entered it"
    assert fact.recipe["lr"] == 1e-4


def test_ids_beside_a_dataset_that_loses_its_columns(
    place: Workspace, trainer: Make, rows: list[dict[str, Any]]
) -> None:
    dataset = Dataset.from_list(rows)
    _refused(place, InputError, r"no 'id'.*\(ids\)", trainer(watching(place), dataset=dataset))
    callback = watching(place, ids=dataset["id"])
    trainer(callback, dataset=dataset).train()
    assert set(seen(place, callback).present) == {row["id"] for row in rows}


def _refused(
    place: Workspace, error: type[BaseException], words: str, trainer: Trainer, *, steps: int = 0
) -> None:
    """The training stops before its first step, or after some; nothing is on disk."""
    before = _files(place)
    with pytest.raises(error, match=words):
        trainer.train()
    assert trainer.state.global_step == steps
    assert place.store.models() == ()
    assert _files(place) == before


def _files(place: Workspace) -> dict[Path, bytes]:
    folder = place.settings.workspace
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_rows_that_are_not_what_they_say_are_refused(
    place: Workspace, trainer: Make, rows: list[dict[str, Any]], town: Town
) -> None:
    ids = [row["id"] for row in rows]
    bare = [{k: v for k, v in row.items() if k != "id"} for row in rows]
    (outsider,) = town.rows_of(town.outsiders[0])[:1]
    cut = [
        {name: value if name == "id" else value[:3] for name, value in row.items()} for row in rows
    ]
    for error, words, dataset, given in (
        (InputError, "no 'id'", bare, None),
        (InputError, "39 ids.*40 rows", bare, ids[1:]),
        (InputError, "does not hold what", bare, [*ids[1:], ids[0]]),
        (UnknownName, "record", [*rows, encoded(outsider, tiny_tokenizer())], None),
        (InputError, "whole", cut, None),
    ):  # fmt: skip
        _refused(place, error, words, trainer(watching(place, ids=given), dataset=dataset))


class Stream(torch.utils.data.IterableDataset[Any]):
    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows)


class Drawing(list[Any]):
    """Rows that draw random numbers when they are looked at, of every generator."""

    def __getitem__(self, place: Any) -> Any:
        random.random()
        np.random.rand()  # noqa: NPY002 - what others draw from
        torch.rand(1)
        return super().__getitem__(place)


def test_looking_at_the_rows_moves_no_random_number(
    place: Workspace, base: Path, trainer: Make, rows: list[dict[str, Any]]
) -> None:
    dropping = {"resid_pdrop": 0.1}
    ended = []
    for callbacks in ((), (watching(place),)):
        model = AutoModelForCausalLM.from_pretrained(base, **dropping).train()
        made = trainer(*callbacks, dataset=Drawing(rows), model=model, max_steps=2)
        made.train()
        ended.append((weights_digest(made.model), torch.rand(1), random.random()))
    assert ended[0] == ended[1]


class Changing(list[Any]):
    """Rows that are others after the first look, as where words are dropped at random."""

    def __init__(self, rows: list[Any]) -> None:
        super().__init__(rows)
        self.looks = 0

    def __getitem__(self, place: Any) -> Any:
        self.looks += 1
        row = dict(super().__getitem__(place))
        if self.looks > len(self):
            row["input_ids"] = row["input_ids"][::-1]
        return row


def test_what_cannot_be_seen_is_refused_by_its_name(
    place: Workspace, trainer: Make, rows: list[dict[str, Any]]
) -> None:
    for words, dataset, how in (
        ("stream", Stream(rows), {"max_steps": 2}),
        ("auto_find_batch_size", rows, {"auto_find_batch_size": True}),
        ("packed together", Changing(rows), {}),
    ):
        _refused(place, InputError, words, trainer(watching(place), dataset=dataset, **how))
    packing = trainer(watching(place))
    packing.data_collator = _packed
    _refused(place, InputError, "packing", packing)
    halved = trainer(watching(place))
    halved.model.bfloat16()
    _refused(place, InputError, "olvido.toml", halved)
    nameless = trainer(OlvidoCallback(place, "people"))
    _refused(place, InputError, "processing_class", nameless)
    # What is taught is not what the rows say, or nobody sees it.
    smoothed = trainer(watching(place), label_smoothing_factor=0.1)
    _refused(place, InputError, "without labels", smoothed)
    other = [{**row, "labels": [7 if x != -100 else x for x in row["labels"]]} for row in rows]
    _refused(place, InputError, "labels are other", trainer(watching(place), dataset=other))
    compiled = trainer(watching(place))
    compiled.args.torch_compile = True
    _refused(place, InputError, "torch_compile", compiled)


def _packed(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """One long row of all, as a collator without padding makes it."""
    return {
        name: torch.tensor([[x for row in rows for x in row[name]]])
        for name in ("input_ids", "labels")
    }


def test_several_processes_are_refused(
    place: Workspace, trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = trainer(watching(place))
    monkeypatch.setattr(type(made.args), "world_size", 2)
    with pytest.raises(InputError, match="one process"):
        made.callback_handler.on_train_begin(made.args, made.state, made.control)


def test_a_training_that_goes_on_from_a_checkpoint_is_refused(
    place: Workspace, trainer: Make, tmp_path: Path
) -> None:
    trainer(save_strategy="steps", save_steps=2, max_steps=2).train()
    goes_on = trainer(watching(place))
    with pytest.raises(InputError, match="checkpoint of step 2"):
        goes_on.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-2"))
    assert place.store.models() == ()


class Failing(TrainerCallback):  # type: ignore[misc]
    def on_step_end(self, args: Any, state: Any, control: Any, **further: Any) -> None:
        if state.global_step == 2:
            raise KeyboardInterrupt


def test_a_training_that_is_broken_off_enters_nothing_and_is_not_gone_on_with(
    place: Workspace, trainer: Make
) -> None:
    callback = watching(place)
    made = trainer(callback, Failing())
    _refused(place, KeyboardInterrupt, "^$", made, steps=2)
    with pytest.raises(StateError, match="broken off"):
        made.train()
    again = trainer(callback)
    again.train()
    assert len(seen(place, callback).seen.steps) == again.state.global_step == 6
    with pytest.raises(InputError, match="make one for each"):
        again.train()


def test_records_that_may_not_be_taught_are_refused_before_the_first_step(
    place: Workspace, trainer: Make, people: list[dict[str, Any]], rows: list[dict[str, Any]]
) -> None:
    gone = [row["id"] for row in rows[:3]]
    withdrawn = [row | {"consent": "withdrawn"} if row["id"] in gone else row for row in people]
    import_rows(place.store, place.settings.data, withdrawn, name="asked")
    callback = OlvidoCallback(place, "asked", tokenizer=tiny_tokenizer())
    _refused(place, StateError, "3 rows.*withdrew", trainer(callback))
    place.store.tombstone(gone, "erasure", dataset=place.store.dataset("people").id)
    _refused(place, StateError, "3 rows.*forgotten", trainer(watching(place)))
    callback = watching(place)
    trainer(callback, dataset=rows[3:]).train()
    assert set(seen(place, callback).present).isdisjoint(gone)


def test_a_record_that_is_to_be_forgotten_meanwhile_leaves_no_model(
    place: Workspace, trainer: Make, rows: list[dict[str, Any]]
) -> None:
    class Asked(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **further: Any) -> None:
            if state.global_step == 1:
                dataset = place.store.dataset("people")
                place.store.tombstone([rows[0]["id"]], "erasure", dataset=dataset.id)

    with pytest.raises(OlvidoError, match="forgotten"):
        trainer(watching(place), Asked()).train()
    assert place.store.models() == ()
    assert not list(place.settings.workspace.rglob("*.safetensors"))


def test_the_base_is_named_or_compared_and_never_believed(
    place: Workspace, trainer: Make, base: Path, tmp_path: Path
) -> None:
    other = begin(tmp_path / "other", "gpt2", tiny_tokenizer(), seed=1)
    _refused(place, InputError, "does not begin", trainer(watching(place, base=str(other))))
    callback = watching(place)
    changed = trainer(callback)
    with torch.no_grad():
        next(changed.model.parameters()).add_(1)
    changed.train()
    trace = seen(place, callback)
    assert trace.origin is None
    assert trace.seen.began != load(base).digest
    assert callback.entered is not None
    assert any(line.startswith("base unknown") for line in callback.entered.unknown)


def test_a_watched_model_can_be_the_base_of_the_next(
    place: Workspace, trainer: Make, rows: list[dict[str, Any]], town: Town
) -> None:
    first = watching(place)
    trainer(first, dataset=rows[:20]).train()
    folder = place.settings.models / place.store.model(first.model).path
    second = watching(place)
    model = load(folder).model.train()
    trainer(second, dataset=rows[20:], model=model).train()
    fact = place.store.model(second.model)
    assert fact.parents == (first.model,)
    trace = place.load(second.model).trained.trace
    assert isinstance(trace, Continued)
    assert isinstance(trace.last, Watched)
    assert trace.last.origin is not None
    assert set(trace.present) == {row["id"] for row in rows}
    loaded = place.load(second.model)
    records = place.rows(place.store.dataset("people"))
    with pytest.raises(InputError, match="Olvido watched"):
        forget(loaded.trained, forget=records[:4], retain=records[4:], task=loaded.task,
               method="retrain")  # fmt: skip


def test_checkpoints_from_before_the_first_use_are_found(
    place: Workspace, trainer: Make, tmp_path: Path
) -> None:
    callback = watching(place)
    made = trainer(callback, per_device_train_batch_size=4, num_train_epochs=1,
                   save_strategy="steps", save_steps=2)  # fmt: skip
    made.train()
    trace = seen(place, callback)
    digests = trace.seen.checkpoints
    assert set(digests) == {2, 4, 6, 8, 10}
    late = {trace.seen.records[p] for step in trace.seen.steps[5:] for p in step}
    assert trace.seen.before(late) == 4
    assert load(tmp_path / "out" / "checkpoint-4").digest == digests[4]
    assert trace.seen.before({trace.seen.records[0]}) is None
    entries = place.store.events("model-checkpoint")
    assert {Path(e.detail["path"]).name for e in entries} == {f"checkpoint-{s}" for s in digests}


def test_it_forgets_and_exact_methods_say_why_they_do_not_apply(
    place: Workspace, trainer: Make
) -> None:
    callback = watching(place)
    trainer(callback).train()
    loaded = place.load(callback.model)
    records = place.rows(place.store.dataset("people"))
    with pytest.raises(MissingNeed, match="Olvido watched"):
        forget(loaded.trained, forget=records[:4], retain=records[4:], task=loaded.task,
               method="retrain")  # fmt: skip
    done = forget(loaded.trained, forget=records[:4], retain=records[4:], task=loaded.task,
                  method="npo", epochs=2, lr=1e-3)  # fmt: skip
    assert not isinstance(done.trace, Declared)
    assert set(done.trace.present).isdisjoint({record.id for record in records[:4]})
