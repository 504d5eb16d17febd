"""The workspace joins algorithms and ledger: models are learned, loaded and published in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from torch.nn import Module

from olvido.artifact_shapes import owned, remove_model
from olvido.data.arrays.rows import array_in
from olvido.data.stored import StoredRows
from olvido.entering import Entered, Entry, Observation
from olvido.errors import DigestMismatch, InputError, Overtaken, ParameterName, StateError
from olvido.learners import (
    LEARNERS,
    Learner,
    Recipe,
    Trained,
    Watcher,
    train,
)
from olvido.learners.trained import read_trace, write_trace
from olvido.ledger.digests import Digest
from olvido.ledger.exclusion import barred, named, refuse_tombstoned
from olvido.ledger.facts import DECLARED, DatasetUse, DatasetVersion, Model
from olvido.ledger.identity import Key
from olvido.ledger.rows import load_rows, stored_rows
from olvido.ledger.serving import PREVIOUS, SERVING, enter_files, serve
from olvido.ledger.store import Store
from olvido.models import Loaded, function_digest, load, save
from olvido.models.adapter import is_on_base
from olvido.models.classifiers.networks import Architecture, is_factory, usual
from olvido.processes import from_main, under_way
from olvido.registry import plain, settings
from olvido.settings import Settings
from olvido.tasks import TASKS, Example, Labels, Language, Task, alike, examples, require_for
from olvido.tasks.encodings import HELD
from olvido.training.records import Records, by_id, ids_of, joined, leaving, only, records_of
from olvido.training.traces.chain import Continued

__all__ = ["PREVIOUS", "SERVING", "LedgerModel", "Workspace"]


@dataclass(frozen=True)
class LedgerModel:
    """A loaded model of the ledger.

    Attributes:
        fact: its entry in the ledger.
        trained: its weights, and the trace of its training.
        task: the task that makes batches of its records.
        tokenizer: its tokenizer; None for a network.
    """

    fact: Model
    trained: Trained
    task: Task
    tokenizer: Any


class Workspace:
    """A ledger with the folders around it. Use it in a `with` block.

    Args:
        settings: the paths and the way to compute.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        self.store = Store.open(settings.ledger, key=Key.load(settings.key))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.store.close()

    def rows(
        self, dataset: DatasetVersion, *, exclude: Collection[str] = (), tombstoned: bool = False
    ) -> Sequence[Example]:
        """The records of a dataset that may be used, checked against its root.

        More than `HELD` are not held in memory, but read when they are asked for.

        Args:
            dataset: the dataset.
            exclude: ids of records to leave out.
            tombstoned: whether to include tombstoned records: to forget them, never to learn them.
        """
        where = self.store, self.settings.data, dataset
        if dataset.rows > HELD:
            return Records.of(StoredRows(*where, exclude=exclude, tombstoned=tombstoned))
        return examples(load_rows(*where, exclude=exclude, tombstoned=tombstoned), dataset.name)

    def learn(
        self,
        datasets: Sequence[str],
        *,
        model: str,
        recipe: Recipe,
        seed: int | None = None,
        task: Mapping[str, Any] | None = None,
        exclude: Collection[str] = (),
        learner: str | type[Learner] | Learner = "monolith",
        options: Mapping[str, Any] | None = None,
        watch: Watcher | None = None,
    ) -> Model:
        """Train a model on datasets and enter it in the ledger with its uses.

        A training that was killed resumes from its last checkpoint when the same call is repeated.
        Several processes may share it (see `olvido.processes`): only the main one writes.

        Args:
            datasets: names or ids.
            model: the model to start from: a short name, a folder, a hub id, or one of the ledger;
                or a network, with or without its shape and classes (`mlp`, `mlp[64,10]`).
            recipe: hyper-parameters.
            seed: the run's seed; None: the workspace's.
            task: what is noted of it (`Task.noted`), such as `chat` or `classes`; the rest follows
                from the model and the records.
            exclude: ids of records to leave out.
            learner: see `olvido.train`.
            options: the learner's options, where it is no object.
            watch: called after every step.

        Raises:
            UnknownName: no such dataset, model, learner or option, or no such record to leave out.
            InputError: two datasets share a record id, or no record remains to train on.
            StateError: the model to start from holds records that were to be forgotten.
            Overtaken: a record got a tombstone during the training; the new model is removed.
        """
        seed = self.settings.seed if seed is None else seed
        chosen, name = LEARNERS.make(learner, options), LEARNERS.name_of(learner)
        options = plain(settings(chosen) if options is None else options, name)
        used = [self.store.dataset(name) for name in dict.fromkeys(datasets)]
        without = named(self.store, used, exclude)
        left_out = {d.id: without[d.id] | barred(self.store, d) for d in used}
        gone = frozenset[str]().union(*left_out.values())
        records = self._together(used, left_out)
        if not records:
            raise InputError("there are no records to train on")
        base, known = self.begin(self._whole(model, task or {}, records), seed)
        parents = () if known is None else (known.fact.id,)
        self.refuse_holding(parents)
        require_for(base.noted["task"], records)
        if "chat" in (task or {}) and base.noted["task"] != Language.name:
            raise InputError(
                "a chat template is for language models, and this one is for the task "
                f"{base.noted['task']}: leave ",
                ParameterName("chat", True),
                " out",
            )
        noted = {**base.noted, **(task or {})}
        made = TASKS.find(noted["task"]).made(base.tokenizer, noted, records)
        if known is not None:
            _require_same_chat(self.training(known.fact), made)
            self._require_alike(known.fact, records)
        content = [str(d.root) for d in used], sorted(gone)
        key = [base.digest, *content, made.noted, recipe.to_dict(), seed, name, options]
        folder = self.settings.models / f".run-{Digest.of(json.dumps(key).encode()).hex[:16]}"
        with under_way(folder):
            trained = train(
                base.model if known is None else known.trained,
                records=records,
                task=made,
                recipe=recipe,
                seed=seed,
                folder=folder,
                watch=watch,
                learner=chosen,
            )
        fact = Model(
            digest=Digest.from_str(trained.digest),
            path="",
            learner=name,
            parents=parents,
            recipe={"base": base.name, **made.noted, **recipe.to_dict()}
            | ({"options": options} if options else {}),
            seed=seed,
            environment=trained.trace.environment,
        )
        uses = [DatasetUse(dataset=d.id, excluded=left_out[d.id]) for d in used]

        def entered() -> Model:
            def cleared() -> None:
                # Checkpoints hold what the records taught, and are not needed any more.
                if folder.exists():
                    shutil.rmtree(folder)

            try:
                found = self._enter(fact, uses, trained, base.tokenizer, *self._began(fact))
            except Overtaken:
                cleared()
                raise
            cleared()
            return found

        return from_main(entered)

    def _together(
        self, datasets: Sequence[DatasetVersion], left_out: Mapping[str, Collection[str]]
    ) -> Sequence[Example]:
        """The records of all these datasets, without those that are left out of each."""
        parts = (self.rows(dataset, exclude=left_out[dataset.id]) for dataset in datasets)
        return records_of(joined(*parts), "the datasets together")

    def usual(self, datasets: Sequence[str]) -> str:
        """The model that these datasets are learned by where nobody names one.

        Raises:
            UnknownName: no such dataset.
        """
        used = [self.store.dataset(name) for name in dict.fromkeys(datasets)]
        first = next((row for d in used for row in stored_rows(self.settings.data / d.file)), {})
        array = array_in(first)
        return "tiny" if array is None else usual(array["shape"])

    def enter(
        self,
        folder: str | Path,
        *,
        learned: Sequence[str],
        base: str | None = None,
        recipe: Recipe | Path | str | None = None,
        unknown_data: bool = False,
        exclude: Collection[str] = (),
        chat: bool | None = None,
        observed: Observation | None = None,
    ) -> Entered:
        """Enter a model that was trained elsewhere: what it learned is declared, not witnessed.

        Args:
            folder: in Hugging Face format, or a hub id; it is copied and not changed.
            learned: names or ids of the datasets that it learned.
            base: the model that its training began with, as `learn` takes it; None: the one that
                its card names, which is recorded and not loaded.
            recipe: hyper-parameters of its training, or a JSON file of them; with a base, Olvido
                trains the retrained models that an audit needs.
            unknown_data: it learned more than these datasets.
            exclude: ids of their records that it did not learn.
            chat: see `Language`.
            observed: what `OlvidoCallback` saw of its training, which is witnessed.

        Raises:
            UnknownName: no such dataset, model, or record to leave out.
            InputError: the folder holds no causal language model with a tokenizer that fits, no
                dataset is named, the base is of another shape, or the recipe is none.
            StateError: it, or its base, holds records that were to be forgotten.
        """
        if not learned:
            raise InputError(
                "what the model learned is not said, and without it nobody can be found in it: "
                "name its datasets (",
                ParameterName("learned"),
                ")",
            )

        def begin(name: str) -> tuple[Loaded, LedgerModel | None]:
            there = str(Path(name).resolve()) if Path(name).is_dir() else name
            return self.begin(there, self.settings.seed)

        used = [self.store.dataset(name) for name in dict.fromkeys(learned)]
        left_out = named(self.store, used, exclude)
        refuse_tombstoned(self.store, used, left_out)
        entry = Entry.read(
            folder,
            load=lambda name: self._loaded(name, seed=0, base=lambda own: begin(base or own)[0]),
            trusted=self.settings.trusted,
            own=self.settings.models,
            recipe=recipe,
            observed=observed,
        )
        records = self._together(used, left_out)
        begun: Loaded | None = None
        known: LedgerModel | None = None
        if (begins := base or entry.on) is not None:
            begun, known = begin(begins)
        parents = () if known is None else (known.fact.id,)
        self.refuse_holding(parents)
        entry = entry.declaring(
            [dataset.name for dataset in used],
            records,
            base=begun,
            named=base is not None,
            chat=chat,
            unknown_data=unknown_data,
            left_out=sum(map(len, left_out.values())),
            withdrawn=sum(len(self.store.withdrawn(d.id) - left_out[d.id]) for d in used),
        )
        fact = replace(entry.fact, parents=parents, seed=self.settings.seed)
        uses = [DatasetUse(dataset=d.id, excluded=left_out[d.id]) for d in used]
        trained = entry.trained
        if known is not None and known.trained.trace.learner is not None:
            trained = replace(trained, trace=Continued(known.trained.trace, trained.trace))
        made = self._enter(fact, uses, trained, entry.tokenizer, *self._began(fact))
        datasets = {use.dataset for use in uses}
        others = [
            model.id
            for model in self.store.models()
            if (model.digest, model.method) == (made.digest, None)
            and {use.dataset for use in self.store.uses(model.id)} != datasets
        ]
        return entry.entered(made, others)

    def load(self, ref: str) -> LedgerModel:
        """Load a model of the ledger, with its weights checked against their digest.

        Args:
            ref: an alias, the beginning of an id, or a digest.

        Raises:
            UnknownName: no such model.
            StateError: its folder is missing, or something in it cannot be read.
            DigestMismatch: its weights, or the files that decide how it answers, are not those
                that the ledger entered.
        """
        fact = self.store.model(ref)
        folder = self.settings.models / fact.path
        if fact.tombstone is not None:
            raise StateError(f"model {fact.id} is gone: {fact.tombstone.reason}")
        if not folder.is_dir():
            raise StateError(f"the folder of model {fact.id} is gone: restore {folder}")
        try:
            # Checked before anything is read that its code or configuration could have changed.
            if (function := function_digest(folder)) != str(fact.function):
                what = f"configuration, tokenizer or olvido.json of model {fact.id} in {folder}"
                raise DigestMismatch(what, str(fact.function), function)
            seed = self.training(fact).seed
            loaded = self._loaded(str(folder), seed=0, base=lambda on: self.begin(on, seed)[0])
        except InputError as error:
            raise StateError(
                f"model {fact.id} cannot be read any more: restore {folder} from a copy you trust, "
                f"or train it again ({error})"
            ) from error
        if loaded.digest != str(fact.digest):
            raise DigestMismatch(f"model {fact.id} in {folder}", str(fact.digest), loaded.digest)
        kind = TASKS.find(fact.recipe.get("task", Language.name))
        task = kind.made(loaded.tokenizer, fact.recipe)
        trace = read_trace(
            folder, lambda base, drawn: self.begin(base, drawn)[0].model, self._loader
        )
        trained = Trained(loaded.model, loaded.digest, trace)
        return LedgerModel(fact, trained, task, loaded.tokenizer)

    def stage(
        self,
        loaded: LedgerModel,
        trained: Trained,
        *,
        method: str,
        options: dict[str, Any],
        seed: int,
    ) -> Model:
        """Write a model that forgot to a folder named by its derivation; it is not entered yet.

        Staging the same again changes nothing.
        """
        fact = Model(
            digest=Digest.from_str(trained.digest),
            path="",
            learner=loaded.fact.learner,
            parents=(loaded.fact.id,),
            method=method,
            recipe={
                "base": loaded.fact.recipe.get("base"),
                **loaded.task.noted,
                "options": options,
            },
            seed=seed,
            environment=loaded.fact.environment,
        )
        return self._written(fact, trained, loaded.tokenizer, *self._began(fact))

    def training(self, model: Model) -> Model:
        """The model itself or, if forgetting made it, the training that it descends from."""
        while model.method is not None:
            model = self.store.model(model.parents[0])
        return model

    def left(self, model: Model, *, chain: bool = True) -> tuple[DatasetUse, ...]:
        """The datasets a model was trained on, with all records left out or forgotten since.

        Args:
            model: of the ledger.
            chain: also those of the models that it was trained from.
        """
        uses = {use.dataset: use for use in self.store.uses(model.id)}
        if model.method is None and not chain:
            return tuple(uses.values())
        inherited = {
            use.dataset: use
            for parent in model.parents
            for use in self.left(self.store.model(parent), chain=chain)
        }
        if model.method is None:
            # What either training learned, the model holds.
            both = {d: uses[d].excluded & inherited[d].excluded for d in uses if d in inherited}
            found = {**inherited, **uses}
            return tuple(
                replace(use, excluded=both.get(name, use.excluded)) for name, use in found.items()
            )
        return tuple(
            replace(use, excluded=use.excluded | uses[name].forgotten) if name in uses else use
            for name, use in inherited.items()
        )

    def held(
        self,
        model: Model,
        *,
        without: Mapping[str, Collection[str]] | None = None,
        tombstoned: bool = False,
    ) -> Sequence[Example]:
        """The records that a model learned and has not forgotten, each once.

        Args:
            model: of the ledger.
            without: ids of records to leave out, by dataset.
            tombstoned: see `rows`.

        Raises:
            InputError: one id names two records of different content, in two of its datasets.
        """
        found: list[Sequence[Example]] = []
        for use in self.left(model):
            excluded = use.excluded.union((without or {}).get(use.dataset, ()))
            records = self.rows(
                self.store.dataset(use.dataset), exclude=excluded, tombstoned=tombstoned
            )
            for earlier in found:
                records = leaving(records, _in_both(model, earlier, records))
            found.append(records)
        return joined(*found)

    def _require_alike(self, begun: Model, records: Sequence[Example]) -> None:
        """Refuse records that share an id, and nothing else, with what the model learned before:
        nobody could be forgotten in what would be made."""
        ids = set(ids_of(records))
        if any(not ids.isdisjoint(r.id for r in self.store.records(use.dataset))
               for use in self.left(begun)):  # fmt: skip
            _in_both(begun, self.held(begun, tombstoned=True), records)

    def chain(self, model: Model) -> tuple[Model, ...]:
        """The trainings that a model descends from, each from the one before, the first first."""
        training = self.training(model)
        before = [self.store.model(parent) for parent in training.parents]
        return (*(link for parent in before for link in self.chain(parent)), training)

    def serve(self, ref: str) -> Model:
        """Point the alias `serving` to a model, and `previous` to the one before, at once.

        Raises:
            UnknownName: no such model.
            StateError: it holds records that were to be forgotten, or was removed.
        """
        return serve(self.store, ref)

    def _enter(
        self,
        fact: Model,
        uses: Iterable[DatasetUse],
        trained: Trained,
        tokenizer: Any,
        base: str | None,
        seed: int,
    ) -> Model:
        written = self._written(fact, trained, tokenizer, base, seed)
        try:
            return self.store.add_model(written, list(uses))
        except Overtaken:
            # It learned records that were to be forgotten meanwhile: nobody may have it.
            remove_model(self.settings.models / written.path)
            raise

    def _written(
        self, fact: Model, trained: Trained, tokenizer: Any, base: str | None, seed: int
    ) -> Model:
        fact = replace(fact, path=fact.id)
        folder = self.settings.models / fact.path
        if not folder.exists():

            def fill(unfinished: Path) -> None:
                write_trace(trained.trace, unfinished, base=base, seed=seed)
                # Before the folder gets its name, so that a named one always has its digests.
                enter_files(self.store, fact.id, owned(unfinished))

            save(trained.model, tokenizer, folder, fill=fill)
        return replace(fact, function=Digest.from_str(function_digest(folder)))

    def refuse_holding(self, models: Sequence[str]) -> None:
        """Refuse models that hold records to be forgotten: descendants would hold them too."""
        for state in self.store.lineage_of_tombstoned().models:
            if state.model.id in models and state.contained:
                raise StateError(
                    f"model {state.model.id} holds {len(state.contained)} records that were to be "
                    "forgotten: begin with a model that forgot them"
                )

    def _whole(self, model: str, noted: Mapping[str, Any], records: Sequence[Example]) -> str:
        """The name of a model to start from; of a network with the shape and number of classes."""
        if not is_factory(model):
            return model
        require_for(Labels.name, records)
        task = Labels.made(None, noted, records)
        assert task.shape is not None
        return str(Architecture(model, task.shape, len(task.classes)))

    def begin(self, name: str, seed: int) -> tuple[Loaded, LedgerModel | None]:
        """The whole model that a training begins with, also as this ledger knows it, if it does.

        Raises:
            InputError: it is an adapter, or cannot be loaded.
        """
        known = {m.id for m in self.store.models()} | set(self.store.aliases())
        if Path(name).resolve().parent == self.settings.models.resolve():
            name = Path(name).name
        if name in known:
            loaded = self.load(name)
            if is_on_base(loaded.trained.model):
                raise InputError(
                    f"model {loaded.fact.id} is an adapter on a base, and a training begins with a "
                    "whole model: merge it (merge_and_unload), enter that, and begin with it"
                )
            noted = {"task": loaded.task.name, **loaded.task.noted}
            model, tokenizer = loaded.trained.model, loaded.tokenizer
            return Loaded(model, tokenizer, loaded.fact.id, noted=noted), loaded
        return self._loaded(name, seed=seed), None

    def _began(self, fact: Model) -> tuple[str | None, int]:
        """The name and the seed of the weights that a model's first training began with."""
        parents = tuple(map(self.store.model, fact.parents))
        first = fact if fact.method is None and not parents else self.chain(parents[0])[0]
        return first.recipe.get("base"), first.seed

    def _module(self, ref: str) -> Module:
        return self.load(ref).trained.model

    def _loader(self, digest: str) -> Callable[[], Module] | None:
        """How to load the model of the ledger with these weights; None: its folder is gone."""
        for model in self.store.models():
            there = (self.settings.models / model.path).is_dir()
            if str(model.digest) == digest and model.tombstone is None and there:
                return partial(self._module, model.id)
        return None

    def _loaded(
        self, name: str, *, seed: int, base: Callable[[str], Loaded] | None = None
    ) -> Loaded:
        s = self.settings
        return load(name, seed=seed, dtype=s.dtype, device=s.device, trusted=s.trusted, base=base)


def _in_both(model: Model, earlier: Sequence[Example], later: Sequence[Example]) -> set[str]:
    """The ids of the records that two trainings share.

    Raises:
        InputError: one of them names two records of different content.
    """
    both = set(ids_of(earlier)).intersection(ids_of(later))
    before, now = by_id(only(earlier, both)), by_id(only(later, both))
    if odd := [i for i in sorted(both) if not alike(before[i], now[i])]:
        raise InputError(
            f"model {model.id} learned another record of the id {odd[0]!r} than this one, and "
            "nobody could be forgotten in a chain of both: begin with a model that did not learn "
            "it, or give what was corrected an id of its own"
        )
    return both


def _require_same_chat(before: Model, task: Task) -> None:
    """Refuse a training whose records would become other tokens than those of the one before."""
    if before.learner != DECLARED and before.recipe.get("chat") != task.noted.get("chat"):
        kind = {True: "--chat", False: "--no-chat"}[bool(before.recipe.get("chat"))]
        raise InputError(
            f"model {before.id} was trained with {kind}, and a chain of trainings is repeated with "
            f"one template: train on with {kind}"
        )
