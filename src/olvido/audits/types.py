"""What an audit looks at and what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    """An audit finds that these models or records do not allow it; the text says why."""


class Level(IntEnum):
    """How much is tried: each holds the ones before it."""

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
        """Tokens, at the most, of each kind of records that were to be kept and are asked."""
        return {Level.QUICK: 2_500, Level.STANDARD: 2_500, Level.THOROUGH: 50_000}[self]

    @property
    def control_tokens(self) -> int:
        """Tokens, at about the most, of people who play the forgotten's part."""
        return {Level.QUICK: 2_500, Level.STANDARD: 2_500, Level.THOROUGH: 50_000}[self]

    @property
    def crowd(self) -> int:
        """Tokens, at about the most, of people beside whom references are authenticated."""
        return {Level.QUICK: 5_000, Level.STANDARD: 5_000, Level.THOROUGH: 50_000}[self]

    @property
    def probes(self) -> int:
        """Tokens, at about the most, of questions asked in other ways."""
        return {Level.QUICK: 0, Level.STANDARD: 4_000, Level.THOROUGH: 200_000}[self]

    @property
    def beside(self) -> int:
        """Tokens, at the most, of the same questions about people who play the forgotten's part."""
        return {Level.QUICK: 0, Level.STANDARD: 5_000, Level.THOROUGH: 200_000}[self]


@dataclass(frozen=True)
class Shadow:
    """A model trained for the attack alone, of whose records it is known which it learned.

    Attributes:
        scored: the model.
        members: ids of the records that it learned.
        others: ids of records of the same making that it did not learn.
    """

    scored: ScoredModel
    members: frozenset[str]
    others: frozenset[str]


@dataclass(frozen=True)
class Evidence:
    """Everything an audit may look at. It never learns which method ran.

    Attributes:
        candidate: the model under audit.
        references: models that never saw the forgotten records.
        original: the original model, where given.
        forget, retain, neighbours, general, holdout: the probes.
        paraphrased: the forgotten facts behind questions that were never trained on.
        controls: those of the holdout that play the forgotten's part, to tell from how far chance
            carries: a few people with about as many records.
        few: some records of each stranger, for what costs more than a score;
            `paraphrased_controls` are theirs, rephrased.
        crowd: those of the holdout beside whom references are authenticated: more people.
        shadows: models with known members, for attacks record by record.
        level: how much is tried.
        tokenizers: of the candidate and of the original model, where they were given apart.
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
        """Whether a piece of evidence was given."""
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
        """Every model that is asked: candidate, references, and the original model."""
        return (self.candidate, *self.references, *([self.original] if self.original else []))


@dataclass(frozen=True)
class Asks:
    """What an audit is going to put to the models: what it costs, and all of it in one pass.

    Attributes:
        scored: records whose completions every model scores.
        controls: records that all score but the original model.
        answered: records that every model answers as well.
        passes: tokens of all other forward passes; a training step counts three.
    """

    scored: tuple[Example, ...] = ()
    controls: tuple[Example, ...] = ()
    answered: tuple[Example, ...] = ()
    passes: int = 0


class Audit(Protocol):
    """One test of a forgetting: one small file and one line in `olvido.audits`.

    Whoever writes one of their own begins with `olvido.audits.Metric`, which has all of this. An
    audit that Olvido does not bring runs where it is asked for by name, class or object, whatever
    the level, and its findings do not vote.

    Attributes:
        name: that it is called by.
        family: where a page shows it, see `olvido.audits.blocks.FAMILIES`.
        source: the paper that it comes from.
        needs: evidence without which it cannot run.
        required: whether a verdict needs it.
        level: the lowest at which it runs unasked.
        summary: one line for people.
        reason: what it means when it fails, for people.
        tolerances: what its findings are held to, by metric; `*` stands for any words.
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
        """What `run` will ask."""
        ...

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """Look at the evidence and say what was found."""
        ...


AUDITS: Registry[Audit] = Registry(
    "audit",
    ("asks", "needs", "required", "level", "family", "summary", "reason", "tolerances", "run"),
    home=__package__,
    group="olvido.audits",
)
"""Audits by the name they are called by, in the order in which their reasons are given."""
