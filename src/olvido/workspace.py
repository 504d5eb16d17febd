"""Where algorithms and ledger meet: models are learned, loaded and published in a workspace."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

import torch
from torch.nn import Module

from olvido.errors import DigestMismatch, InputError, StateError, UnknownName
from olvido.learners import Recipe, StepLog, Trained, Watcher, train
from olvido.learners.plan import SlotPlan
from olvido.learners.trace import Origin
from olvido.ledger.digests import Digest
from olvido.ledger.facts import Dataset, Model, Use
from olvido.ledger.identity import Key
from olvido.ledger.rows import load_rows
from olvido.ledger.store import Store
from olvido.models import Loaded, load, save
from olvido.settings import Settings
from olvido.tasks import Example, Language, examples

SERVING, PREVIOUS = "serving", "previous"
_TRACE = "olvido.json"


@dataclass(frozen=True)
class Held:
    """A model of the ledger, ready to be used.

    Attributes:
        fact: what the ledger knows of it.
        trained: its weights, and what its training kept.
        task: how its records become batches.
        tokenizer: its tokenizer.
    """

    fact: Model
    trained: Trained
    task: Language
    tokenizer: Any


class Workspace:
    """A ledger with the folders around it. Use it in a `with` block.

    Args:
        settings: where everything lies.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        self.store = Store.open(settings.ledger, key=Key.load(settings.key))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.store.close()

    def rows(
        self, dataset: Dataset, *, exclude: Collection[str] = (), buried: bool = False
    ) -> tuple[Example, ...]:
        """The records of a dataset that may be used, checked against its root.

        Args:
            dataset: which one.
            exclude: ids of records to leave out.
            buried: with those that carry a tombstone: to forget them, never to learn them.
        """
        rows = load_rows(self.store, self.settings.data, dataset, exclude=exclude, buried=buried)
        return examples(rows, dataset.name)

    def learn(
        self,
        datasets: Sequence[str],
        *,
        model: str,
        recipe: Recipe,
        seed: int | None = None,
        chat: bool | None = None,
        exclude: Collection[str] = (),
        watch: Watcher | None = None,
    ) -> Model:
        """Train a model on datasets and enter it in the ledger with its uses.

        A training that was killed goes on from its last checkpoint when the same is asked again.

        Args:
            datasets: names or ids.
            model: what to start from: a short name, a folder, a hub id, or a model of the ledger.
            recipe: hyper-parameters.
            seed: of the run; None: the workspace's.
            chat: see `Language`.
            exclude: ids of records to leave out.
            watch: called after every step.

        Raises:
            UnknownName: no such dataset or model, or no such record to leave out.
            InputError: two datasets share a record id, or nothing is left to train on.
        """
        seed = self.settings.seed if seed is None else seed
        used = [self.store.dataset(name) for name in dict.fromkeys(datasets)]
        left_out = {d.id: self._left_out(d, exclude) for d in used}
        gone = frozenset[str]().union(*left_out.values())
        for identifier in exclude:
            if identifier not in gone:
                known = {record.id for d in used for record in self.store.records(d.id)}
                raise UnknownName("record to leave out", identifier, known)
        records = examples(
            (e for d in used for e in self.rows(d, exclude=left_out[d.id])), "the datasets together"
        )
        base, parents = self._base(model, seed)
        task = Language(base.tokenizer, chat=chat)
        content = [str(d.root) for d in used], sorted(gone)
        key = [base.digest, *content, task.chat, recipe.to_dict(), seed]
        folder = self.settings.models / f".run-{Digest.of(json.dumps(key).encode()).hex[:16]}"
        trained = train(
            base.model,
            records=records,
            task=task,
            recipe=recipe,
            seed=seed,
            folder=folder,
            watch=watch,
        )
        assert isinstance(trained.trace, StepLog)
        fact = Model(
            digest=Digest.from_str(trained.digest),
            path="",
            learner="monolith",
            parents=parents,
            recipe={"base": base.name, "chat": task.chat, **recipe.to_dict()},
            seed=seed,
            environment=trained.trace.environment,
        )
        uses = [Use(dataset=d.id, excluded=left_out[d.id]) for d in used]
        fact = self._enter(fact, uses, trained, base.tokenizer, _written(trained.trace, base.name))
        if folder.exists():
            # Checkpoints hold what the records taught, and have done their work.
            shutil.rmtree(folder)
        return fact

    def load(self, ref: str) -> Held:
        """A model of the ledger, its weights checked against their digest.

        Args:
            ref: an alias, the beginning of an id, or a digest.

        Raises:
            UnknownName: no such model.
            StateError: its folder is gone, or something in it cannot be read.
            DigestMismatch: its weights are not those that the ledger entered.
        """
        fact = self.store.model(ref)
        folder = self.settings.models / fact.path
        if not folder.is_dir():
            raise StateError(f"the folder of model {fact.id} is gone: restore {folder}")
        try:
            loaded = self._loaded(str(folder), seed=0)
        except InputError as error:
            raise StateError(
                f"model {fact.id} cannot be read any more: restore {folder} from a copy you trust, "
                f"or train it again ({error})"
            ) from error
        if loaded.digest != str(fact.digest):
            raise DigestMismatch(f"model {fact.id} in {folder}", str(fact.digest), loaded.digest)
        task = Language(loaded.tokenizer, chat=fact.recipe.get("chat"))
        try:
            note = json.loads((folder / _TRACE).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise StateError(
                f"what model {fact.id} kept of its training cannot be read ({error}): restore "
                f"{folder / _TRACE}"
            ) from error
        trained = Trained.untraced(loaded.model)
        if note is not None:
            trained = Trained(loaded.model, loaded.digest, self._trace(note))
        return Held(fact, trained, task, loaded.tokenizer)

    def publish(
        self,
        held: Held,
        trained: Trained,
        *,
        method: str,
        options: dict[str, Any],
        uses: Sequence[Use],
        seed: int,
    ) -> Model:
        """Enter a model that forgot, and serve it where the one it was made from is served.

        While another model is served, the aliases stay as they are.
        """
        note = None
        if isinstance(trained.trace, StepLog):
            note = _written(trained.trace, str(held.fact.recipe["base"]))
        fact = Model(
            digest=Digest.from_str(trained.digest),
            path="",
            learner=held.fact.learner,
            parents=(held.fact.id,),
            method=method,
            recipe={
                "base": held.fact.recipe.get("base"),
                "chat": held.task.chat,
                "options": options,
            },
            seed=seed,
            environment=held.fact.environment,
        )
        fact = self._enter(fact, uses, trained, held.tokenizer, note)
        if self.store.aliases().get(SERVING, held.fact.id) == held.fact.id:
            self.store.set_alias(PREVIOUS, held.fact.id)
            self.store.set_alias(SERVING, fact.id)
        return fact

    def training(self, model: Model) -> Model:
        """The model itself or, where it was made by forgetting, the training it descends from."""
        while model.method is not None:
            model = self.store.model(model.parents[0])
        return model

    def left(self, model: Model) -> tuple[Use, ...]:
        """The datasets a model was trained on, with all that was left out or forgotten since."""
        uses = self.store.uses(model.id)
        if model.method is None:
            return uses
        gone = {use.dataset: use.forgotten for use in uses}
        return tuple(
            replace(use, excluded=use.excluded | gone.get(use.dataset, frozenset()))
            for use in self.left(self.store.model(model.parents[0]))
        )

    def serve(self, ref: str) -> Model:
        """Point the alias `serving` to a model."""
        return self.store.set_alias(SERVING, ref)

    def _enter(
        self,
        fact: Model,
        uses: Iterable[Use],
        trained: Trained,
        tokenizer: Any,
        note: dict[str, Any] | None,
    ) -> Model:
        fact = replace(fact, path=fact.id)
        folder = self.settings.models / fact.path
        if not folder.exists():
            save(
                trained.model,
                tokenizer,
                folder,
                notes={_TRACE: json.dumps(note, ensure_ascii=False)},
            )
        return self.store.add_model(fact, list(uses))

    def _left_out(self, dataset: Dataset, ids: Collection[str]) -> frozenset[str]:
        """Those of these records that the dataset holds, and all that carry a tombstone."""
        gone = frozenset(record.id for record in self.store.tombstoned(dataset.id))
        if not ids:
            return gone
        return gone | frozenset(ids) & {record.id for record in self.store.records(dataset.id)}

    def _base(self, name: str, seed: int) -> tuple[Loaded, tuple[str, ...]]:
        known = {m.id for m in self.store.models()} | set(self.store.aliases())
        if name in known:
            held = self.load(name)
            return Loaded(held.trained.model, held.tokenizer, held.fact.id), (held.fact.id,)
        return self._loaded(name, seed=seed), ()

    def _loaded(self, name: str, *, seed: int) -> Loaded:
        found = load(name, seed=seed, dtype=self.settings.dtype)
        return replace(found, model=found.model.to(self.settings.device))

    def _trace(self, note: dict[str, Any]) -> StepLog:
        plan = note["plan"]
        slots = SlotPlan(
            tuple(plan["slots"]),
            tuple(plan["widths"]),
            plan["batch_size"],
            plan["accumulate"],
            plan["epochs"],
            plan["seed"],
            frozenset(plan["absent"]),
        )

        def origin() -> Module:
            return self._base(note["base"], note["seed"])[0].model

        return StepLog(
            Origin(origin, note["origin"]),
            Recipe.from_dict(note["recipe"]),
            note["seed"],
            slots,
            note["environment"],
            tuple(note["losses"]),
            note["tokens"],
            note["seconds"],
        )


def _written(log: StepLog, base: str) -> dict[str, Any]:
    plan = log.plan
    return {
        **log.to_dict(),
        "base": base,
        "losses": list(log.losses),
        "plan": {
            "slots": list(plan.slots),
            "widths": list(plan.widths),
            "batch_size": plan.batch_size,
            "accumulate": plan.accumulate,
            "epochs": plan.epochs,
            "seed": plan.seed,
            "absent": sorted(plan.absent),
        },
    }
