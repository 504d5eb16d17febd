"""The entry point `audit()`: score everything once, run every audit, and fail closed."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, Required, TypedDict, Unpack

from torch.nn import Module

from olvido.audits.authentication import asks, authenticate
from olvido.audits.compare import grouped
from olvido.audits.references import forecast
from olvido.audits.scoring import HasTrace, ScoredModel
from olvido.audits.types import (
    AUDITS,
    Asks,
    Audit,
    CannotEvaluate,
    Evidence,
    EvidenceNeed,
    Finding,
    Level,
    Shadow,
)
from olvido.audits.unfit import described, refuse_beginnings, refuse_copies, refuse_echoes
from olvido.audits.verdict import Report, doubts, judge, settle
from olvido.errors import InputError, MissingNeed, ParameterName
from olvido.models.stored import ModelSlot, StoredModel
from olvido.statistics import LEAST_CONTROLS
from olvido.tasks import Example, Task, examples, task_of
from olvido.tasks.base import Row

FEW = 4
"""Records of each control subject where asking costs more than a score."""

NATURES = frozenset({EvidenceNeed.LANGUAGE, EvidenceNeed.CLASSES})
"""Needs that a model's kind meets or not, and that no argument can provide."""

Model = Module | ScoredModel | HasTrace | StoredModel | str | Path | Callable[[], Any]
"""A model as an argument: a module, one with its scores, one with its training's trace; or one that
is loaded for its turn alone: its folder or hub id, or a callable that loads."""

Given = str | type[Audit] | Audit
"""An audit as an argument: a name that `olvido audits` lists, a class, or an object."""

AuditWatcher = Callable[[str, int, int], None]
"""A progress callback: the stage, steps done, steps in all."""


def audit(
    model: Model,
    *,
    forget: Iterable[Row | Example],
    reference: Model | Sequence[Model],
    retain: Iterable[Row | Example] = (),
    neighbours: Iterable[Row | Example] = (),
    general: Iterable[Row | Example] = (),
    holdout: Iterable[Row | Example] = (),
    original: Model | None = None,
    tokenizer: Any | None = None,
    task: str | type[Task] | Task | None = None,
    audits: Sequence[Given] | None = None,
    metrics: Sequence[Given] = (),
    level: str = "quick",
    shadows: Sequence[Shadow] = (),
    cache: Path | None = None,
    tokenizers: tuple[Any, Any] | None = None,
    watch: AuditWatcher | None = None,
) -> Report:
    """Audit a forgetting against models that never saw the data.

    Args:
        model: the candidate; it is not changed. Here and below, a `ScoredModel` in place of a
            module keeps its scores for the next audit, and a result of `train` or `forget` brings
            its trace. Of models given by folder, hub id or a callable that loads (`StoredModel`),
            one at a time is in memory.
        forget: the forget set; rows may have `paraphrases`, questions never trained on.
        reference: never-trained models of different seeds; three or more show the variance between
            seeds. Each is authenticated: by its trace, or by tests beside the holdout.
        retain: the retain set.
        neighbours, general: retained records near the forgotten, and general knowledge.
        holdout: similar records that no model saw. Those of five people or more show how far chance
            carries a model from never-trained ones; without them point estimates decide.
        original: the original model: without it nothing passes but beside references with a trace.
        tokenizer: the tokenizer of all these models; or pass a `task`.
        task: how records become batches: a name, a class or an object of `olvido.tasks`.
        audits: names that `olvido audits` lists, classes or objects; None: all of Olvido's own at
            this level whose evidence was passed. A required audit that lacks its evidence, or was
            not asked for, makes the verdict unknown.
        metrics: further audits beside these, one's own or other packages': names, classes or
            objects, whatever their level. Their findings are shown and do not vote.
        level: effort: `quick`, `standard` or `thorough`.
        shadows: models whose members are known; see `olvido.audits.attacks.shadows`.
        cache: a folder of each model's scores and answers, by digests. They reveal the records:
            remove the folder when those are to be forgotten everywhere.
        tokenizers: the candidate's own and that of the original model: they show a system prompt
            that a chat template adds.
        watch: a progress callback.

    Raises:
        InputError: no records or no audits, records that cannot be read, or a reference that is the
            candidate, the original model, another reference, a sketch, or weights that the model
            was trained from and that know less of what is kept.
        MissingNeed: no reference, or an audit asked for by name lacks its evidence.
        UnknownName: no such audit or level.
    """
    return PreparedAudit(
        model,
        forget=forget,
        reference=reference,
        retain=retain,
        neighbours=neighbours,
        general=general,
        holdout=holdout,
        original=original,
        tokenizer=tokenizer,
        task=task,
        audits=audits,
        metrics=metrics,
        level=level,
        shadows=shadows,
        cache=cache,
        tokenizers=tokenizers,
    ).run(watch)


class AuditRecords(TypedDict, total=False):
    """The records of an audit; see `audit`."""

    forget: Required[Iterable[Row | Example]]
    retain: Iterable[Row | Example]
    neighbours: Iterable[Row | Example]
    general: Iterable[Row | Example]
    holdout: Iterable[Row | Example]


class PreparedAudit:
    """An audit that is prepared, and can predict its duration before it starts.

    Arguments and errors are those of `audit`.
    """

    def __init__(
        self,
        model: Model,
        *,
        reference: Model | Sequence[Model],
        original: Model | None = None,
        tokenizer: Any | None = None,
        task: str | type[Task] | Task | None = None,
        audits: Sequence[Given] | None = None,
        metrics: Sequence[Given] = (),
        level: str = "quick",
        shadows: Sequence[Shadow] = (),
        cache: Path | None = None,
        tokenizers: tuple[Any, Any] | None = None,
        **records: Unpack[AuditRecords],
    ) -> None:
        given: list[Given] = [*(AUDITS.built_in if audits is None else audits), *metrics]
        if not given:
            raise InputError(
                ParameterName("audits"),
                " asks for nothing: name some, or leave it out for all of them",
            )
        parts = {AUDITS.name_of(one): AUDITS.make(one) for one in given}
        asked = {AUDITS.name_of(one) for one in ([] if audits is None else audits)}
        asked |= {AUDITS.name_of(one) for one in metrics}
        wanted = Level.named(level)
        if isinstance(reference, str) or not isinstance(reference, Sequence):
            reference = [reference]
        references = list(reference)
        if not references:
            raise MissingNeed(
                "an audit needs at least one model that never saw the data, better three of "
                "different seeds: give them (",
                ParameterName("reference"),
                ")",
            )
        forgotten = examples(records["forget"], "forget")
        if not forgotten:
            raise InputError(
                "there is nothing to examine (", ParameterName("forget"), "): give records"
            )
        task = task_of(tokenizer, task)

        slot = ModelSlot()

        def scored(asked: Model) -> ScoredModel:
            if isinstance(asked, ScoredModel):
                return asked
            if isinstance(asked, Module):
                return ScoredModel(asked, task, cache=cache)
            if isinstance(asked, str | Path) or callable(asked):
                asked = StoredModel(asked, slot)
            if isinstance(asked, StoredModel):
                return ScoredModel(asked, task, cache=cache, **described(asked.name))
            return ScoredModel.of(asked, task, cache=cache)

        def read(
            name: Literal["retain", "neighbours", "general", "holdout"],
        ) -> tuple[Example, ...]:
            return examples(records.get(name, ()), name)

        never_members = read("holdout")
        controls = _people(never_members, task, wanted.control_tokens, len(forgotten))
        few = tuple(
            controls[place]
            for group in grouped(controls, len(forgotten))
            for place in group[: FEW if wanted < Level.THOROUGH else None]
        )
        self.evidence = Evidence(
            candidate=scored(model),
            references=tuple(map(scored, references)),
            original=None if original is None else scored(original),
            forget=forgotten,
            retain=_some(read("retain"), task, wanted.retain_tokens),
            neighbours=_some(read("neighbours"), task, wanted.retain_tokens),
            general=_some(read("general"), task, wanted.retain_tokens),
            holdout=never_members,
            paraphrased=rephrased(forgotten),
            controls=controls,
            few=few,
            crowd=_people(never_members, task, wanted.crowd, len(forgotten)),
            paraphrased_controls=rephrased(few),
            shadows=tuple(shadows),
            level=wanted,
            tokenizers=tokenizers,
        )
        refuse_copies(self.evidence)
        refuse_beginnings(self.evidence)
        self.chosen, self.missing = self._choose(parts, asked)
        self.reasons = {name: part.reason for name, part in parts.items()}

    def _choose(
        self, parts: Mapping[str, Audit], asked: Collection[str]
    ) -> tuple[dict[str, Audit], dict[str, tuple[EvidenceNeed, ...]]]:
        """The audits that run, and those that lack something."""
        chosen: dict[str, Audit] = {}
        missing: dict[str, tuple[EvidenceNeed, ...]] = {}
        for name, part in parts.items():
            lacking = tuple(sorted(need for need in part.needs if not self.evidence.has(need)))
            if lacking and name in asked:
                first, *others = lacking
                more = (part for need in others for part in ("; ", *need.words))
                raise MissingNeed(f"audit {name!r} needs more evidence: ", *first.words, *more)
            # Audits of language are no part of the audit of a classifier, nor the other way round.
            above = part.level > self.evidence.level and name not in asked
            if above or not NATURES.isdisjoint(lacking):
                continue
            if lacking:
                missing[name] = lacking
            else:
                chosen[name] = part
        return chosen, missing

    @property
    def required(self) -> list[str]:
        """The audits without which nothing passes."""
        own = {name: AUDITS[name] for name in AUDITS.built_in}
        return [
            name
            for name, kind in own.items()
            if kind.required
            and (
                EvidenceNeed.LANGUAGE not in kind.needs or self.evidence.has(EvidenceNeed.LANGUAGE)
            )
        ]

    def _asks(self) -> list[Asks]:
        return [asks(self.evidence), *(one.asks(self.evidence) for one in self.chosen.values())]

    def forecast(self) -> float:
        """Seconds that `run` will take on this machine, as an upper estimate."""
        return forecast(self.evidence, self._asks())

    def run(self, watch: AuditWatcher | None = None) -> Report:
        """Score, compare and judge.

        Raises:
            InputError: a reference gives every record the score of the candidate or the original
            model.
        """
        began = time.perf_counter()
        evidence = self.evidence
        asked = self._asks()
        # One pass over everything for each model, so that records of like length share a batch.
        rounds = len(evidence.models) + len(self.chosen)
        for number, scored in enumerate(evidence.models):
            texts = [record for ask in asked for record in (*ask.scored, *ask.answered)]
            if scored is not evidence.original:
                texts += [record for ask in asked for record in ask.controls]
            scored.scores(texts)
            scored.answers([record for ask in asked for record in ask.answered])
            for look in (one for ask in asked for one in ask.inside):
                with suppress(CannotEvaluate):
                    look(scored)
            if watch is not None:
                watch("models", number + 1, rounds)
        refuse_echoes(evidence)
        authenticated, original = authenticate(evidence)
        findings: list[Finding] = []
        unexamined: dict[str, str] = {}
        for number, (name, chosen) in enumerate(self.chosen.items()):
            try:
                found = chosen.run(evidence)
                findings += found
                if not found:
                    unexamined[name] = "there is nothing of the kind in these models or records"
            except CannotEvaluate as error:
                unexamined[name] = str(error)
            if watch is not None:
                watch(name, len(evidence.models) + number + 1, rounds)
        required = self.required
        missing = self.missing | {
            name: () for name in required if name not in {**self.chosen, **self.missing}
        }
        settled = settle(findings)
        own = {name: AUDITS[name].reason for name in AUDITS.built_in}
        meaning = {**own, **self.reasons}
        doubted = doubts(authenticated, original)
        verdict, grounds = judge(settled, missing, required, meaning, doubted)
        return Report(
            verdict=verdict,
            grounds=grounds,
            findings=settled,
            not_examined=missing,
            not_possible=unexamined,
            candidate=evidence.candidate.digest,
            original=evidence.original.digest if evidence.original else None,
            never_trained=tuple(w.digest for w in evidence.references),
            references=authenticated,
            original_status=original,
            level=evidence.level.name.lower(),
            records={
                "forget": len(evidence.forget),
                "paraphrased": len(evidence.paraphrased),
                "retain": len(evidence.retain),
                "neighbours": len(evidence.neighbours),
                "general": len(evidence.general),
                "controls": len(evidence.controls),
            },
            seconds=time.perf_counter() - began,
        )


def _people(records: Sequence[Example], task: Task, tokens: int, size: int) -> tuple[Example, ...]:
    """Records of some people, or of some groups as large as the forgotten's.

    As many people as fit, and five at the least, each with as many records as the forgotten have,
    or fewer where five people would not fit.
    """
    groups = [[records[place] for place in group] for group in grouped(records, size)]
    if not groups:
        return ()
    width = max(1, round(fmean(map(task.width, groups[0]))))
    each = min(size, max(4, tokens // (LEAST_CONTROLS * width)))
    count = max(LEAST_CONTROLS, tokens // (each * width))
    return tuple(record for group in groups[:count] for record in sorted(group, key=_drawn)[:each])


def _some(records: Sequence[Example], task: Task, tokens: int) -> tuple[Example, ...]:
    """As many of the records as fit, the same whatever their order, in their original order."""
    kept: set[str] = set()
    for record in sorted(records, key=_drawn):
        tokens -= task.width(record)
        if tokens < 0 and kept:
            break
        kept.add(record.id)
    return tuple(record for record in records if record.id in kept)


def _drawn(record: Example) -> bytes:
    return sha256(record.id.encode()).digest()


def rephrased(records: Sequence[Example]) -> tuple[Example, ...]:
    """The facts of these records behind their `paraphrases`, each question once.

    Raises:
        InputError: a record's `paraphrases` is no list of texts.
    """
    found: dict[tuple[object, ...], Example] = {}
    for record in records:
        questions = record.fields.get("paraphrases") or []
        if not isinstance(questions, (list, tuple)) or not all(
            isinstance(question, str) for question in questions
        ):
            raise InputError(f"record {record.id!r}: 'paraphrases' must be a list of texts")
        for number, question in enumerate(questions):
            found.setdefault(
                (record.history, question, record.completion),
                record.asked(question, f"paraphrase-{number}"),
            )
    return tuple(found.values())
