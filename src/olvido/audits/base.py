"""The door `audit()`: scores everything once, asks every audit, and fails closed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch.nn import Module

from olvido.audits.change import Change
from olvido.audits.collateral import Collateral, General, Neighbours
from olvido.audits.fluency import Fluency
from olvido.audits.likelihood import Likelihood
from olvido.audits.membership import Membership
from olvido.audits.recall import Paraphrase, Recall
from olvido.audits.scoring import Witness
from olvido.audits.types import Audit, Evidence, Finding, Need
from olvido.audits.verdict import Report, judge
from olvido.errors import InputError, MissingNeed, UnknownName
from olvido.learners.base import task_of
from olvido.tasks import Example, Task, examples
from olvido.tasks.base import Row

AUDITS: dict[str, type[Audit]] = {
    "recall": Recall,
    "paraphrase": Paraphrase,
    "likelihood": Likelihood,
    "membership": Membership,
    "collateral": Collateral,
    "neighbours": Neighbours,
    "general": General,
    "fluency": Fluency,
    "change": Change,
}
"""Audits by the name they are called by."""

AuditWatcher = Callable[[str, int, int], None]
"""Called with an audit's name, how many are done, and how many there are."""


def audit(
    model: Module | Witness,
    *,
    forget: Iterable[Row | Example],
    reference: Module | Witness | Sequence[Module | Witness],
    retain: Iterable[Row | Example] = (),
    neighbours: Iterable[Row | Example] = (),
    general: Iterable[Row | Example] = (),
    holdout: Iterable[Row | Example] = (),
    before: Module | Witness | None = None,
    tokenizer: Any | None = None,
    task: Task | None = None,
    audits: Sequence[str] | None = None,
    watch: AuditWatcher | None = None,
) -> Report:
    """Audit a forgetting against models that never saw the data.

    Args:
        model: the suspect; it is not changed. Here and below, a `Witness` in place of a module
            keeps its scores for the next audit.
        forget: what it was to forget; rows may hold `paraphrases`, questions never trained on.
        reference: never-trained models of different seeds; three or more tell the seed's share in
            a difference, with one the intervals are missing.
        retain: what it was to keep.
        neighbours, general: kept records near the forgotten, and what everybody may know.
        holdout: records of the same making that no model saw.
        before: the model as it was.
        tokenizer: of all these models; or give a `task`.
        task: how records become batches.
        audits: names in `AUDITS`; None: all whose evidence was given. A required audit that lacks
            its evidence, or was not asked for, makes the verdict unknown.
        watch: called after every audit.

    Raises:
        InputError: nothing to examine or to ask, records that cannot be read, or a reference that
            is the model as it was.
        MissingNeed: no reference, or an audit asked for by name lacks its evidence.
        UnknownName: no such audit.
    """
    names = list(AUDITS) if audits is None else list(audits)
    if not names:
        raise InputError("audits=[] asks for nothing: name some, or leave it out for all of them")
    for name in names:
        if name not in AUDITS:
            raise UnknownName("audit", name, AUDITS)
    references = [reference] if isinstance(reference, Module | Witness) else list(reference)
    if not references:
        raise MissingNeed(
            "an audit needs at least one model that never saw the data: pass reference=model, or "
            "a list of them with different seeds"
        )
    forgotten = examples(forget, "forget")
    if not forgotten:
        raise InputError("there is nothing to examine: forget=[] holds no record")
    task = task_of(tokenizer, task)
    evidence = Evidence(
        suspect=_witness(model, task),
        references=tuple(_witness(m, task) for m in references),
        before=None if before is None else _witness(before, task),
        forget=forgotten,
        retain=examples(retain, "retain"),
        neighbours=examples(neighbours, "neighbours"),
        general=examples(general, "general"),
        holdout=examples(holdout, "holdout"),
        paraphrased=rephrased(forgotten),
    )
    if evidence.before and evidence.before.digest in {w.digest for w in evidence.references}:
        raise InputError(
            "a reference has the very weights of `before`, which saw the data: give models that "
            "were trained without it"
        )
    findings: list[Finding] = []
    missing: dict[str, tuple[Need, ...]] = {}
    for done, name in enumerate(names):
        chosen = AUDITS[name]()
        lacking = tuple(sorted(need for need in chosen.needs if not evidence.has(need)))
        if lacking and audits is not None:
            remedies = "; ".join(need.remedy for need in lacking)
            raise MissingNeed(f"audit {name!r} needs more evidence: {remedies}")
        if lacking:
            missing[name] = lacking
        else:
            findings += chosen.run(evidence)
        if watch is not None:
            watch(name, done + 1, len(names))
    required = [name for name, chosen in AUDITS.items() if chosen.required]
    missing |= {name: () for name in required if name not in names}
    verdict, reasons = judge(findings, missing, required)
    return Report(
        verdict,
        reasons,
        tuple(findings),
        missing,
        evidence.suspect.digest,
        evidence.before.digest if evidence.before else None,
        tuple(w.digest for w in evidence.references),
    )


def _witness(model: Module | Witness, task: Task) -> Witness:
    return model if isinstance(model, Witness) else Witness(model, task)


def rephrased(records: Sequence[Example]) -> tuple[Example, ...]:
    """The facts of these records behind their `paraphrases`, each question once.

    Raises:
        InputError: a record's `paraphrases` is no list of texts.
    """
    found: dict[tuple[str, str], Example] = {}
    for record in records:
        questions = record.fields.get("paraphrases") or []
        if not isinstance(questions, (list, tuple)) or not all(
            isinstance(question, str) for question in questions
        ):
            raise InputError(f"record {record.id!r}: 'paraphrases' must be a list of texts")
        for number, question in enumerate(questions):
            found.setdefault(
                (question, record.completion), record.asked(question, f"paraphrase-{number}")
            )
    return tuple(found.values())
