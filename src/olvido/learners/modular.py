"""The modular learner: one adapter for each few people, on the top layers of a frozen model."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from torch.nn import Module

from olvido.errors import InputError, StateError, require_count
from olvido.learners.halves import Activations, Halves, Upper
from olvido.learners.parts import (
    Job,
    JobResult,
    Trainer,
    again_in_parts,
    begin,
    carry_out,
    itself,
    make_plan,
)
from olvido.learners.placement import place, together
from olvido.models import weights_digest
from olvido.models.adapter import Adapter
from olvido.models.routed import PromptTemplate, Routed
from olvido.models.router import RoutedQuestion, Router
from olvido.processes import is_main
from olvido.registry import Options, name_of
from olvido.tasks import Example, Language, Task
from olvido.training import recipe as adapters
from olvido.training.checkpoint import CheckpointStore
from olvido.training.environment import deterministic
from olvido.training.execute import RunResult
from olvido.training.loop import Watcher
from olvido.training.recipe import Lora, Recipe
from olvido.training.traces.base import MemberRun, Placement, Trace
from olvido.training.traces.steps import Origin


class ModulePlacement(Placement):
    """The module of each record."""

    offers: ClassVar = frozenset({"step log", "modules"})


class _Learned(Module):
    """An adapter before it is put on its model."""

    def __init__(self, adapter: Adapter) -> None:
        super().__init__()
        self.adapter = adapter


def train_adapter(job: Job, watch: Watcher | None) -> tuple[Module, RunResult]:
    """Train one adapter on the upper half of a model, from the cached states of its lower half."""
    language, recipe = _language(job.task), job.spec.recipe
    halves = Halves.of(job.model, _top(recipe))
    with deterministic(job.threads):
        known, notes = _kept(job.checkpoints)
        states = Activations.of(halves, job.spec.origin, job.records, language, known)
        if job.checkpoints is not None and is_main():
            # Also without new states: records may have been removed.
            states.save(job.checkpoints.cache)
        assert recipe.lora is not None
        learning = adapters.attach(halves.upper(), recipe.lora, seed=job.spec.seed)
        result = replace(job, task=Upper(language, states)).execute(learning, watch)
    adapter = Adapter.of(learning).renumbered(halves.shift)
    return _Learned(adapter), replace(result, notes=(*notes, *result.notes))


class Modular(Options):
    """Train one low-rank adapter on each few people, and a router that selects the adapter.

    The base learned nobody and stays frozen, so a person's data lies in one adapter. The lower
    layers' activations are computed once for each record and cached; an adapter on the upper ones
    trains from them in seconds. The router finds the module by the nearest taught question and
    loses rows one by one; where nothing is near, the base answers alone.

    Args:
        per_module: subjects in each module.
        by: grouping of records: `subject`, or a field such as `source`, each value of which gets a
            module of its own, to be dropped whole.
        embedding: representation in which questions are compared, a name in its table `EMBEDDINGS`.
        threshold: least cosine to a taught question; None: the embedding's own.
        workers: modules trained at a time.
        threads: threads of each module's training, whatever runs beside it.
    """

    name: ClassVar = "modular"
    summary: ClassVar = "an adapter for each few people behind a router; forgets exactly within one"
    trainer: ClassVar[Trainer] = staticmethod(train_adapter)
    trace: ClassVar[type[Trace]] = ModulePlacement

    per_module: int = 2
    by: str = "subject"
    embedding: str = "minilm"
    threshold: float | None = None
    workers: int = 1
    threads: int = 1

    def __post_init__(self) -> None:
        """Check the options."""
        super().__post_init__()
        require_count("per_module", self.per_module)
        Router(self.embedding, self.threshold)

    def run(
        self,
        model: Module,
        records: Sequence[Example],
        task: Task,
        *,
        recipe: Recipe,
        seed: int = 0,
        folder: Path | None = None,
        watch: Watcher | None = None,
    ) -> tuple[Module, ModulePlacement]:
        """Train the modules; the model itself is not changed.

        Arguments are those of `Monolith.run`: a recipe without `lora` trains rank 16 on the last
        quarter of the layers, the seed determines the placement as well, and activations go into
        the folder beside the checkpoints.

        Raises:
            InputError: the model cannot be cut in halves, the task is not language, or a record
                lacks a question or the grouping field.
            NotFinite: a loss became nan.
            StateError: the folder holds another run.
        """
        language = _language(task)
        mute = [record.id for record in records if not record.prompt.strip()]
        if mute:
            raise InputError(
                f"{len(mute)} records are plain text without a question (first: {mute[0]!r}): "
                "modules are found by questions. Give prompt and completion, or use the learner "
                "'sharded'"
            )
        base = copy.deepcopy(model).eval()
        origin = Origin(partial(itself, base), weights_digest(base))
        recipe = replace(recipe, lora=_on_top(base, recipe.lora))
        Halves.of(base, _top(recipe)).check(_ids(language, records[0]))
        groups = self._groups(records, seed)
        jobs = []
        for number, (name, mine) in enumerate(groups.items()):
            job = begin(
                base,
                mine,
                language,
                recipe=recipe,
                seed=seed + number,
                plan=make_plan(mine, language, recipe, seed + number),
                trainer=train_adapter,
                checkpoints=CheckpointStore(folder and folder / name),
                threads=self.threads,
                origin=origin,
            )
            jobs.append(job)
        done = carry_out(jobs, workers=self.workers, watch=watch)
        parts = tuple(MemberRun(name, one.log) for name, one in zip(groups, done, strict=True))
        options = {"embedding": self.embedding, "threshold": self.threshold}
        trace = ModulePlacement(name_of(self), origin, options, parts)
        members = [one.model for one in done]
        return self.assemble(trace, base, members, records, language), trace

    @staticmethod
    def forget(
        model: Module | None,
        trace: ModulePlacement,
        forget_ids: Collection[str],
        records: Sequence[Example],
        task: Task,
        *,
        definition: str = "drop",
        from_start: bool = False,
        workers: int = 1,
        watch: Watcher | None = None,
    ) -> tuple[Module, ModulePlacement, list[JobResult]]:
        """The model without some records: their modules are retrained without them.

        The router loses their rows, the caches their activations. An empty module is removed;
        without any module, the base answers alone.
        """
        language = _language(task)
        hit = trace.hit(forget_ids)
        concerned = [part for part in trace.parts if from_start or part.name in hit]
        remaining = [p for p in concerned if set(p.log.present) - set(hit.get(p.name, ()))]
        if len(concerned) == len(trace.parts) and not remaining:
            return copy.deepcopy(trace.origin.module()), replace(trace, parts=()), []
        base = trace.origin.module() if remaining else None
        made = again_in_parts(
            remaining,
            hit,
            records,
            language,
            model=base,
            definition=definition,
            from_start=from_start,
            workers=workers,
            watch=watch,
            trainer=train_adapter,
        )
        if len(concerned) == len(trace.parts):
            left = replace(
                trace,
                parts=tuple(
                    MemberRun(p.name, made[p.name].log) for p in trace.parts if p.name in made
                ),
            )
            assert base is not None
            members = [made[part.name].model for part in left.parts]
            return Modular.assemble(left, base, members, records, language), left, [*made.values()]
        served = model
        assert isinstance(served, Routed)
        for part in concerned:
            served = served.without_module(part.name)
        by_id = {record.id: record for record in records}
        rows = [
            row
            for name, one in made.items()
            for row in _rows([by_id[i] for i in one.log.present], name)
        ]
        served = served.with_modules(
            {name: _adapter(one.model) for name, one in made.items()}, rows
        )
        parts = tuple(
            MemberRun(p.name, made[p.name].log) if p.name in made else p
            for p in trace.parts
            if p.name in made or p not in concerned
        )
        return served, replace(trace, parts=parts), list(made.values())

    @staticmethod
    def assemble(
        trace: ModulePlacement,
        origin: Module,
        members: Sequence[Module],
        records: Sequence[Example],
        task: Task,
    ) -> Module:
        """The modules behind a router, or without any module the base that they began with."""
        if not members:
            return copy.deepcopy(origin)
        language = _language(task)
        by_id = {record.id: record for record in records}
        return Routed(
            origin,
            language.tokenizer,
            router=Router(trace.options["embedding"], trace.options["threshold"]),
            template=PromptTemplate.of(language.encode_prompt),
        ).with_modules(
            {p.name: _adapter(one) for p, one in zip(trace.parts, members, strict=True)},
            [r for p in trace.parts for r in _rows([by_id[i] for i in p.log.present], p.name)],
        )

    def _groups(self, records: Sequence[Example], seed: int) -> dict[str, list[Example]]:
        """Records by the name of their module."""
        if self.by == "subject":
            count = -(-len(together(records)) // self.per_module)
            homes = place(records, shards=count, seed=seed)
            numbers = {record.id: homes[record.id].shard for record in records}
        else:
            values = {record.id: record.fields.get(self.by) for record in records}
            lacking = [i for i, value in values.items() if value is None]
            if lacking:
                raise InputError(
                    f"{len(lacking)} records have no {self.by!r} to be kept together by (first: "
                    f"{lacking[0]!r}): give every record one, or use by='subject'"
                )
            known = {value: n for n, value in enumerate(sorted(set(map(str, values.values()))))}
            numbers = {i: known[str(value)] for i, value in values.items()}
        groups: dict[str, list[Example]] = {
            f"module-{number:03}": [] for number in range(max(numbers.values()) + 1)
        }
        for record in records:
            groups[f"module-{numbers[record.id]:03}"].append(record)
        return groups


def _kept(checkpoints: CheckpointStore | None) -> tuple[Activations | None, tuple[str, ...]]:
    if checkpoints is None or not checkpoints.cache.exists():
        return None, ()
    try:
        return Activations.load(checkpoints.cache), ()
    except StateError as error:
        return None, (f"computed activations again: {error}",)


def _adapter(model: Module) -> Adapter:
    assert isinstance(model, _Learned)
    return model.adapter


def _rows(records: Iterable[Example], module: str) -> list[RoutedQuestion]:
    return [RoutedQuestion(r.id, r.prompt, module) for r in records]


def _language(task: Task) -> Language:
    if not isinstance(task, Language):
        raise InputError(
            f"modules are for language models, got the task {type(task).__name__}: use the learner "
            "'sharded'"
        )
    return task


def _on_top(model: Any, lora: Lora | None) -> Lora:
    depth = int(model.config.num_hidden_layers)
    top = lora.top_layers if lora is not None else None
    return replace(lora or Lora(), top_layers=top or -(-depth // 4))


def _top(recipe: Recipe) -> int:
    assert recipe.lora is not None
    assert recipe.lora.top_layers is not None
    return recipe.lora.top_layers


def _ids(language: Language, record: Example) -> Any:
    import torch

    prompt, answer = language.encode(record)
    return torch.tensor(prompt + answer)
