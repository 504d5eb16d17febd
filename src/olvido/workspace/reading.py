"""What a ledger's workspace holds: records and models, read and checked against their digests."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from torch.nn import Module

from olvido.data.stored import StoredRows
from olvido.errors import DigestMismatch, InputError, StateError
from olvido.learners import Trained
from olvido.learners.trained import read_trace
from olvido.ledger.exclusion import chain_of, left_in, training_of
from olvido.ledger.facts import DatasetUse, DatasetVersion, Model
from olvido.ledger.identity import Key
from olvido.ledger.rows import load_rows
from olvido.ledger.store import Store
from olvido.models import Loaded, function_digest, load
from olvido.models.adapter import is_on_base
from olvido.settings import Settings
from olvido.tasks import TASKS, Example, Language, Task, alike, examples
from olvido.tasks.encodings import HELD
from olvido.training.records import Records, by_id, ids_of, joined, leaving, only, records_of


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


class Reading:
    """A ledger with the folders around it, as far as they are read.

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
            seed = training_of(self.store, fact).seed
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

    def left(self, model: Model, *, chain: bool = True) -> tuple[DatasetUse, ...]:
        """The datasets a model was trained on, without what was left out or forgotten since."""
        return left_in(self.store, model, chain=chain)

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

    def chain(self, model: Model) -> tuple[Model, ...]:
        """The trainings that a model descends from, the first first."""
        return chain_of(self.store, model)

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

    def refuse_holding(self, models: Sequence[str]) -> None:
        """Refuse models that hold records to be forgotten: descendants would hold them too."""
        for state in self.store.lineage_of_tombstoned().models:
            if state.model.id in models and state.contained:
                raise StateError(
                    f"model {state.model.id} holds {len(state.contained)} records that were to be "
                    "forgotten: begin with a model that forgot them"
                )

    def _together(
        self, datasets: Sequence[DatasetVersion], left_out: Mapping[str, Collection[str]]
    ) -> Sequence[Example]:
        """The records of all these datasets, without those that are left out of each."""
        parts = (self.rows(dataset, exclude=left_out[dataset.id]) for dataset in datasets)
        return records_of(joined(*parts), "the datasets together")

    def _require_alike(self, begun: Model, records: Sequence[Example]) -> None:
        """Refuse records that share an id, and nothing else, with what the model learned before:
        nobody could be forgotten in what would be made."""
        ids = set(ids_of(records))
        if any(not ids.isdisjoint(r.id for r in self.store.records(use.dataset))
               for use in self.left(begun)):  # fmt: skip
            _in_both(begun, self.held(begun, tombstoned=True), records)

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
