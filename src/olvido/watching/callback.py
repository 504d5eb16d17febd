"""The callback that watches a transformers Trainer: it sees rows pass, and changes nothing."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.nn import Module
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from olvido.entering import Entered, Observation
from olvido.errors import InputError, OlvidoError, ParameterName, StateError
from olvido.files import unfinished_in
from olvido.learners import Recipe
from olvido.ledger.exclusion import barred, named
from olvido.models import save, weights_digest
from olvido.tasks import Example, examples
from olvido.training.traces.seen import Seen
from olvido.watching.rows import Rows, random_numbers_kept, rows_of
from olvido.watching.settings import recipe_of, require_watchable, settings_of
from olvido.workspace import Workspace

TRAINER = "transformers.Trainer"
CHECKPOINT = "model-checkpoint"
"""The kind of the log's entry with a checkpoint that a watched training left."""


@dataclass
class _Watch:
    """A training under way.

    Attributes:
        rows: what may pass.
        began: digest of the weights before the first step.
        base: name of the model that they are, where it can be loaded again.
        since: seconds on a clock when it began.
        hook: sees the batches; to be removed.
        pending: records that passed since the last step.
        steps: the records of each step.
        tokens: tokens that passed.
        checkpoints: digest of the weights by step, and the folders.
    """

    rows: Rows
    began: str
    base: str | None
    since: float
    hook: Any = None
    pending: list[str] = field(default_factory=list)
    steps: list[list[str]] = field(default_factory=list)
    tokens: int = 0
    checkpoints: dict[int, str] = field(default_factory=dict)
    folders: list[Path] = field(default_factory=list)

    def seen(self) -> Seen:
        """All of it, once it has ended."""
        names = tuple(dict.fromkeys(i for step in self.steps for i in step))
        places = {name: place for place, name in enumerate(names)}
        return Seen(
            self.began,
            names,
            tuple(tuple(places[i] for i in step) for step in self.steps),
            self.tokens,
            time.perf_counter() - self.since,
            self.checkpoints,
        )


class OlvidoCallback(TrainerCallback):
    """Watches a transformers `Trainer` (or one made of it), and enters the model that it makes.

    It sees the tokens that pass through the model, finds the records that they are of, and changes
    nothing: the weights are the same, bit for bit, without it. What it saw is witnessed: the data,
    the order of the records, the steps and their seconds, the weights at the beginning, at the
    checkpoints and at the end. A training that fails or is broken off enters nothing.

    Every row of the training's data set needs the id of its record: as a field `id`, or in `ids`.
    Its tokens have to hold what the record says.

    Args:
        workspace: where the data sets are known, and the model is entered.
        learned: the data set that is taught, or several.
        ids: the id of each row's record, in the order of the rows; None: rows have a field `id`.
        tokenizer: the model's; None: the trainer's `processing_class`.
        base: the model that the training begins with, as `Workspace.learn` takes it; None: the one
            that the model was loaded from, if its weights are still the same.
        recipe: hyper-parameters for retrained models, where the trainer's have no like here.
        chat: see `Language`.

    Attributes:
        entered: the model and what is stated of it, once the training has ended.
    """

    def __init__(
        self,
        workspace: Workspace,
        learned: str | Sequence[str],
        *,
        ids: Sequence[Any] | None = None,
        tokenizer: Any | None = None,
        base: str | None = None,
        recipe: Recipe | None = None,
        chat: bool | None = None,
    ) -> None:
        names = [learned] if isinstance(learned, str) else list(learned)
        if not names:
            raise InputError("name a data set that is taught (", ParameterName("learned"), ")")
        self._workspace, self._ids, self._tokenizer = workspace, ids, tokenizer
        self._base, self._recipe, self._chat = base, recipe, chat
        self._used = tuple(workspace.store.dataset(name) for name in dict.fromkeys(names))
        self._watch: _Watch | None = None
        self.entered: Entered | None = None

    @property
    def model(self) -> str:
        """The id of the model that was entered.

        Raises:
            StateError: none was.
        """
        if self.entered is None:
            raise StateError("no training that was watched has ended: call trainer.train() first")
        return self.entered.model.id

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        model: Any = None,
        processing_class: Any = None,
        train_dataloader: Any = None,
        **further: Any,
    ) -> None:
        """Check everything, and match the rows with records.

        Raises:
            InputError: the training cannot be watched, or a row is of no record.
            UnknownName: a row names a record that the data sets lack.
            StateError: a row is of a record that may not be taught.
        """
        if self.entered is not None:
            raise InputError("this callback watched a training already: make one for each")
        require_watchable(args, state)
        self._tokenizer = self._tokenizer or processing_class
        if self._tokenizer is None:
            raise InputError(
                "the tokenizer is not known: give it to the trainer as processing_class, or here (",
                ParameterName("tokenizer"),
                ")",
            )
        _require_whole(model, self._workspace.settings.dtype)
        before, began = self._watch, weights_digest(model)
        if before is not None and before.began != began:
            raise StateError(
                "a training of this model was broken off, and what it taught is still in the "
                "weights: load the model again, and begin anew"
            )
        with random_numbers_kept():
            rows = rows_of(
                train_dataloader.dataset,
                train_dataloader.collate_fn,
                self._tokenizer,
                self._records(),
                self._ids,
            )
            self._require_allowed(rows)
            base = self._begun_with(model, began)
        self._stop()
        self._watch = watch = _Watch(rows, began, base, time.perf_counter())
        watch.hook = model.register_forward_pre_hook(self._passes, with_kwargs=True)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **further: Any
    ) -> None:
        """Keep which records the step used."""
        watch = self._watching()
        watch.steps.append(watch.pending)
        watch.pending = []

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        model: Any = None,
        **further: Any,
    ) -> None:
        """Keep the digest of a checkpoint's weights."""
        watch = self._watching()
        watch.checkpoints[state.global_step] = weights_digest(model)
        watch.folders.append(Path(args.output_dir) / f"checkpoint-{state.global_step}")

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        model: Any = None,
        optimizer: Any = None,
        **further: Any,
    ) -> None:
        """Enter the model.

        Raises:
            InputError: it cannot be entered, as where a weight is no number.
            Overtaken: a record that it learned was to be forgotten meanwhile.
        """
        watch = self._watching()
        self._stop()
        seen, (recipe, lacking) = watch.seen(), recipe_of(args, state, optimizer)
        if len(seen.steps) != state.global_step or not seen.records:
            raise StateError(
                f"the trainer says that it took {state.global_step} steps, and {len(seen.steps)} "
                "with records were seen: nothing is entered"
            )
        observed = Observation(TRAINER, seen, settings_of(args), recipe, lacking)
        store, taught = self._workspace.store, frozenset(seen.records)
        held = named(store, self._used, taught)
        others = {r.id for d in self._used for r in store.records(d.id) if r.id not in held[d.id]}
        with self._saved(model) as folder:
            self.entered = self._workspace.enter(
                folder,
                learned=[dataset.id for dataset in self._used],
                base=watch.base,
                recipe=self._recipe,
                exclude=others,
                chat=self._chat,
                observed=observed,
            )
        for path in filter(Path.is_dir, watch.folders):
            # The closure of a later request has to look there.
            store.note(CHECKPOINT, {"model": self.entered.model.id, "path": str(path.resolve())})

    def _passes(self, model: Module, given: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        """See a batch on its way into the model; nothing is returned, so that nothing changes."""
        if not (model.training and torch.is_grad_enabled()):
            return
        watch = self._watching()
        batch = {"input_ids": given[0], **named} if given else named
        watch.pending += watch.rows.in_batch(batch)
        watch.tokens += batch["input_ids"].numel()

    def _watching(self) -> _Watch:
        if self._watch is None:
            raise StateError("the training began without this callback: give it to the Trainer")
        return self._watch

    def _stop(self) -> None:
        if self._watch is not None:
            self._watch.hook.remove()

    def _records(self) -> dict[str, Example]:
        rows = (row for d in self._used for row in self._workspace.rows(d, tombstoned=True))
        return {one.id: one for one in examples(rows, "the datasets together")}

    def _require_allowed(self, rows: Rows) -> None:
        """Raise StateError where a row is of a record that nothing may be taught from."""
        store = self._workspace.store
        held = named(store, self._used, rows.ids)
        for dataset in self._used:
            if gone := held[dataset.id] & barred(store, dataset):
                raise StateError(
                    f"{len(gone)} rows are of records of {dataset.name!r} that were to be "
                    "forgotten, or whose subjects withdrew their consent: take them out of the "
                    "training's data set"
                )

    def _begun_with(self, model: Any, began: str) -> str | None:
        """The name of a model that has these weights; None where none is known.

        Raises:
            InputError: it was named, and has other weights.
            StateError: it holds records that were to be forgotten.
        """
        name = self._base or str(getattr(model, "name_or_path", "") or "")
        if self._base is None and not Path(name).is_dir():
            return None
        try:
            there = str(Path(name).resolve()) if Path(name).is_dir() else name
            loaded, known = self._workspace.begin(there, self._workspace.settings.seed)
        except OlvidoError:
            if self._base is not None:
                raise
            return None
        if loaded.digest != began:
            if self._base is None:
                return None
            raise InputError(
                f"the training does not begin with {name!r}, whose weights are others: give the "
                "model that it begins with"
            )
        self._workspace.refuse_holding(() if known is None else (known.fact.id,))
        return there

    @contextmanager
    def _saved(self, model: Any) -> Iterator[Path]:
        """The model in a folder of its own, for as long as it is entered."""
        folder = unfinished_in(self._workspace.settings.workspace)
        try:
            save(model, self._tokenizer, folder)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _require_whole(model: Any, dtype: str) -> None:
    """Refuse a model whose weights could not be compared with those that are entered."""
    if hasattr(model, "peft_config"):
        raise InputError(
            "the training trains an adapter, and only whole models can be watched so far: train "
            "the model itself, or enter the adapter afterwards ('olvido models add')"
        )
    types = {str(p.dtype).removeprefix("torch.") for p in model.parameters()}
    if dtype != "auto" and types != {dtype}:
        raise InputError(
            f"the model's weights are in {', '.join(sorted(types))}, and the workspace computes in "
            f"{dtype}: set dtype in olvido.toml to that of the model, or to auto"
        )
