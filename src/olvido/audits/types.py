"""Evidence for an audit, and the interface of audits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from olvido.audits.scoring import ScoredModel
from olvido.errors import UnknownName
from olvido.registry import Registry
from olvido.schemas.audit import EvidenceNeed as EvidenceNeed
from olvido.schemas.audit import Finding as Finding
from olvido.schemas.audit import Status as Status
from olvido.tasks import Example

if TYPE_CHECKING:
    from olvido.audits.tolerances import Range


class CannotEvaluate(Exception):
    """These models or records do not allow an audit; the text says why."""


class Level(IntEnum):
    """How much an audit tries: each level includes the ones before it."""

    QUICK = 1
    STANDARD = 2
    THOROUGH = 3

    @classmethod
    def named(cls, name: str) -> Level:
        """The level of that name.

        Raises:
            UnknownName: there is none.
        """
        if name.upper() not in cls.__members__:
            raise UnknownName("level", name, [level.name.lower() for level in cls])
        return cls[name.upper()]

    @property
    def retain_tokens(self) -> int:
        """Tokens, at the most, of each kind of retained records that are asked."""
        return {Level.QUICK: 2_500, Level.STANDARD: 2_500, Level.THOROUGH: 50_000}[self]

    @property
    def control_tokens(self) -> int:
        """Tokens, approximately at the most, of control subjects."""
        return {Level.QUICK: 2_500, Level.STANDARD: 2_500, Level.THOROUGH: 50_000}[self]

    @property
    def crowd(self) -> int:
        """Tokens, approximately at the most, of people for authenticating references."""
        return {Level.QUICK: 5_000, Level.STANDARD: 5_000, Level.THOROUGH: 50_000}[self]

    @property
    def probes(self) -> int:
        """Tokens, approximately at the most, of questions asked in other ways."""
        return {Level.QUICK: 0, Level.STANDARD: 4_000, Level.THOROUGH: 200_000}[self]

    @property
    def beside(self) -> int:
        """Tokens, at the most, of the same questions about control subjects."""
        return {Level.QUICK: 0, Level.STANDARD: 5_000, Level.THOROUGH: 200_000}[self]


@dataclass(frozen=True)
class Shadow:
    """A model trained for the attack alone, with known members.

    Attributes:
        scored: the model.
        members: ids of the records that it learned.
        others: ids of similar records that it did not learn.
    """

    scored: ScoredModel
    members: frozenset[str]
    others: frozenset[str]


@dataclass(frozen=True)
class Evidence:
    """Everything that an audit may use. It never learns which method ran.

    Attributes:
        candidate: the model under audit.
        references: models that never saw the forgotten records.
        original: the original model, if passed.
        forget, retain, neighbours, general, holdout: the probes.
        paraphrased: the forgotten facts behind questions that were never trained on.
        controls: records of control subjects from the holdout, who show how far chance carries: a
            few people with about as many records.
        few: some records of each control subject, for tests that cost more than a score;
            `paraphrased_controls` are theirs, rephrased.
        crowd: holdout records for the authentication of references: more people.
        shadows: models with known members, for attacks record by record.
        level: effort.
        tokenizers: the candidate's and the original model's, where they were passed separately.
    """

    candidate: ScoredModel
    references: tuple[ScoredModel, ...]
    original: ScoredModel | None
    forget: tuple[Example, ...]
    retain: tuple[Example, ...]
    neighbours: tuple[Example, ...]
    general: tuple[Example, ...]
    holdout: tuple[Example, ...]
    paraphrased: tuple[Example, ...]
    controls: tuple[Example, ...]
    few: tuple[Example, ...]
    crowd: tuple[Example, ...]
    paraphrased_controls: tuple[Example, ...]
    shadows: tuple[Shadow, ...]
    level: Level
    tokenizers: tuple[Any, Any] | None = None

    def has(self, need: EvidenceNeed) -> bool:
        """Whether a piece of evidence was passed."""
        return {
            EvidenceNeed.LANGUAGE: self.candidate.task.language,
            EvidenceNeed.CLASSES: bool(self.candidate.task.classes),
            EvidenceNeed.PARAPHRASES: bool(self.paraphrased),
            EvidenceNeed.PERTURBED: any(r.fields.get("perturbed_answers") for r in self.forget),
            EvidenceNeed.ORIGINAL: self.original is not None,
            EvidenceNeed.RETAIN: bool(self.retain),
            EvidenceNeed.NEIGHBOURS: bool(self.neighbours),
            EvidenceNeed.GENERAL: bool(self.general),
            EvidenceNeed.HOLDOUT: bool(self.holdout),
            EvidenceNeed.SHADOWS: bool(self.shadows),
        }[need]

    @property
    def models(self) -> tuple[ScoredModel, ...]:
        """Every model that is queried: candidate, references, and the original model."""
        return (self.candidate, *self.references, *([self.original] if self.original else []))


@dataclass(frozen=True)
class Asks:
    """An audit's queries, to predict its cost and to share one pass.

    Attributes:
        scored: records whose completions every model scores.
        controls: records that all models but the original score.
        answered: records that every model answers as well.
        passes: tokens of all other forward passes; a training step counts three.
        inside: called with every model while it is loaded, and before `run`: for what `run` will
            ask of it beyond these records, so that a stored model need not be loaded again. What
            they find is kept by the model (`scores`, `answers`, `once`); an error that says
            the audit cannot be evaluated is left to `run`.
    """

    scored: tuple[Example, ...] = ()
    controls: tuple[Example, ...] = ()
    answered: tuple[Example, ...] = ()
    passes: int = 0
    inside: tuple[Callable[[ScoredModel], object], ...] = ()


class Audit(Protocol):
    """One test of a forgetting: one small file and one line in `olvido.audits`.

    To write one, begin with `olvido.audits.Metric`, which implements all of this. A custom audit
    runs where it is asked for by name, class or object, whatever the level, and its findings do not
    vote.

    Attributes:
        name: its name in the registry.
        family: its section on a page, see `olvido.audits.blocks.FAMILIES`.
        source: the paper that it comes from.
        needs: evidence without which it cannot run.
        required: whether a verdict needs it.
        level: the lowest at which it runs by default.
        summary: one line for people.
        reason: the meaning of its failure, for people.
        tolerances: ranges of its findings, by metric; `*` stands for any words.
    """

    name: ClassVar[str]
    family: ClassVar[str]
    source: ClassVar[str]
    needs: ClassVar[frozenset[EvidenceNeed]]
    required: ClassVar[bool]
    level: ClassVar[Level]
    summary: ClassVar[str]
    reason: ClassVar[str]
    tolerances: ClassVar[Mapping[str, Range]]

    def asks(self, evidence: Evidence) -> Asks:
        """The queries of `run`."""
        ...

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """Evaluate the evidence and return findings."""
        ...


AUDITS: Registry[Audit] = Registry(
    "audit",
    ("asks", "needs", "required", "level", "family", "summary", "reason", "tolerances", "run"),
    home=__package__,
    group="olvido.audits",
)
"""Audits by name, in the order in which their reasons are given."""
