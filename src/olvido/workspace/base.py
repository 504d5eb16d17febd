"""The work of a workspace: models are learned, entered, staged and published in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from olvido.artifact_shapes import owned, remove_model
from olvido.data.arrays.rows import array_in
from olvido.entering import Entered, Entry, Observation
from olvido.errors import InputError, Overtaken, ParameterName
from olvido.learners import (
    LEARNERS,
    Learner,
    Private,
    Recipe,
    Spent,
    Trained,
    Watcher,
    train,
)
from olvido.learners.trained import write_trace
from olvido.ledger.digests import Digest
from olvido.ledger.exclusion import barred, named, refuse_sketch, refuse_tombstoned, training_of
from olvido.ledger.facts import DECLARED, PRIVACY, DatasetUse, DatasetVersion, Model
from olvido.ledger.rows import stored_rows
from olvido.ledger.serving import enter_files, serve
from olvido.models import Loaded, function_digest, save
from olvido.models.classifiers.networks import Architecture, is_factory, usual
from olvido.processes import from_main, under_way
from olvido.registry import plain, settings
from olvido.tasks import TASKS, Example, Labels, Language, Task, require_for
from olvido.training.records import ids_of
from olvido.training.traces.chain import Continued
from olvido.training.traces.private import promised_by
from olvido.workspace.budget import require_within
from olvido.workspace.reading import LedgerModel, Reading
from olvido.workspace.replay import replayed


class Workspace(Reading):
    """A ledger with the folders around it. Use it in a `with` block.

    Args:
        settings: the paths and the way to compute.
    """

    def learn(
        self,
        datasets: Sequence[str],
        *,
        model: str,
        recipe: Recipe,
        seed: int | None = None,
        task: Mapping[str, Any] | None = None,
        exclude: Collection[str] = (),
        replay: float | None = None,
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
            replay: the share of what the model learned before that is taught again, see
                `olvido.learners.replayed`; None: nothing.
            learner: see `olvido.train`.
            options: the learner's options, where it is no object.
            watch: called after every step.

        Raises:
            UnknownName: no such dataset, model, learner or option, or no such record to leave out.
            InputError: two datasets share a record id, or no record remains to train on.
            StateError: the model to start from holds records that were to be forgotten, or a
                person's budget of privacy would be passed.
            Overtaken: a record got a tombstone during the training; the new model is removed.
        """
        seed = self.settings.seed if seed is None else seed
        chosen, name = LEARNERS.make(learner, options), LEARNERS.name_of(learner)
        options = plain(settings(chosen) if options is None else options, name)
        again = replayed(self, model, datasets, replay, seed)
        used, left_out, records = self._to_learn(datasets, exclude, again)
        if (limit := self.settings.privacy_limit) is not None:
            spent = chosen.foretell(records, recipe) if isinstance(chosen, Private) else None
            require_within(limit, self.store, records, spent)
        gone = frozenset[str]().union(*left_out.values())
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
            _require_same_chat(training_of(self.store, known.fact), made)
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
            | ({"options": options} if options else {})
            | ({} if (promised := promised_by(trained.trace)) is None else {PRIVACY: promised}),
            seed=seed,
            environment=trained.trace.environment,
        )
        # A private training leaves out what would make a person part of two units.
        dropped = set(ids_of(records)) - trained.trace.taught
        uses = [
            DatasetUse(dataset=d.id, excluded=left_out[d.id] | self._in(d, dropped)) for d in used
        ]

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

    def foretell(
        self,
        datasets: Sequence[str],
        *,
        learner: Private,
        recipe: Recipe,
        model: str = "",
        replay: float | None = None,
        seed: int | None = None,
    ) -> Spent:
        """What a private training on these datasets will promise; nothing is trained.

        Arguments are those of `learn`.

        Raises:
            UnknownName: no such dataset, or no such model to replay of.
            InputError: no records, too few people, or a promise of nothing.
        """
        seed = self.settings.seed if seed is None else seed
        again = replayed(self, model, datasets, replay, seed)
        return learner.foretell(self._to_learn(datasets, again=again)[-1], recipe)

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
                dataset is named, the base is of another shape, the recipe is none, or a model that
                did not learn all is a forgetting's sketch.
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
        if exclude:
            refuse_sketch(self.store, entry.loaded.digest)
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

    def stage(
        self,
        loaded: LedgerModel,
        trained: Trained,
        *,
        method: str,
        options: dict[str, Any],
        seed: int,
        sketch: str | None = None,
    ) -> Model:
        """Write a model that forgot to a folder named by its derivation; it is not entered yet.

        Staging the same again changes nothing. The digest of the sketch that the method made, if
        any, goes with it: such weights are no reference of any audit.
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
                **({} if sketch is None else {"sketch": sketch}),
            },
            seed=seed,
            environment=loaded.fact.environment,
        )
        return self._written(fact, trained, loaded.tokenizer, *self._began(fact))

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

    def _to_learn(
        self,
        datasets: Sequence[str],
        exclude: Collection[str] = (),
        again: Mapping[str, frozenset[str]] = MappingProxyType({}),
    ) -> tuple[list[DatasetVersion], dict[str, frozenset[str]], Sequence[Example]]:
        """Datasets, those of `again` among them, what of each is left out, and what remains.

        Raises:
            InputError: none remains.
        """
        used = [self.store.dataset(name) for name in dict.fromkeys((*datasets, *again))]
        without = named(self.store, used, exclude)
        left_out = {
            d.id: without[d.id] | barred(self.store, d) | again.get(d.id, frozenset()) for d in used
        }
        records = self._together(used, left_out)
        if not records:
            raise InputError("there are no records to train on")
        return used, left_out, records

    def _in(self, dataset: DatasetVersion, ids: Collection[str]) -> frozenset[str]:
        """Those of these records that are in a dataset."""
        if not ids:
            return frozenset()
        return frozenset(r.id for r in self.store.records(dataset.id) if r.id in ids)

    def _whole(self, model: str, noted: Mapping[str, Any], records: Sequence[Example]) -> str:
        """The name of a model to start from; of a network with the shape and number of classes."""
        if not is_factory(model):
            return model
        require_for(Labels.name, records)
        task = Labels.made(None, noted, records)
        assert task.shape is not None
        return str(Architecture(model, task.shape, len(task.classes)))

    def _began(self, fact: Model) -> tuple[str | None, int]:
        """The name and the seed of the weights that a model's first training began with."""
        parents = tuple(map(self.store.model, fact.parents))
        first = fact if fact.method is None and not parents else self.chain(parents[0])[0]
        return first.recipe.get("base"), first.seed


def _require_same_chat(before: Model, task: Task) -> None:
    """Refuse a training whose records would become other tokens than those of the one before."""
    if before.learner != DECLARED and before.recipe.get("chat") != task.noted.get("chat"):
        kind = {True: "--chat", False: "--no-chat"}[bool(before.recipe.get("chat"))]
        raise InputError(
            f"model {before.id} was trained with {kind}, and a chain of trainings is repeated with "
            f"one template: train on with {kind}"
        )
