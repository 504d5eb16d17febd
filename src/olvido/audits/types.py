"""What an audit looks at and what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from olvido.audits.scoring import Witness
from olvido.errors import Parameter, UnknownName, Words, told
from olvido.registry import Registry
from olvido.tasks import Example

if TYPE_CHECKING:
    from olvido.audits.tolerances import Range


class CannotExamine(Exception):
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
    def kept(self) -> int:
        """Tokens, at the most, of each kind of records that were to be kept and are asked."""
        return {Level.QUICK: 2_500, Level.STANDARD: 2_500, Level.THOROUGH: 50_000}[self]

    @property
    def strangers(self) -> int:
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


class Need(StrEnum):
    """Evidence that an audit cannot do without."""

    LANGUAGE = "language"
    CLASSES = "classes"
    PERTURBED = "perturbed answers"
    SHADOWS = "shadows"
    PARAPHRASES = "paraphrases"
    BEFORE = "before"
    RETAIN = "retain"
    NEIGHBOURS = "neighbours"
    GENERAL = "general"
    HOLDOUT = "holdout"

    @property
    def remedy(self) -> str:
        """How a caller provides it, for people."""
        return told(self.words)

    @property
    def words(self) -> Words:
        """The same, for a message in a door's own words."""
        return _REMEDY[self]


_REMEDY: dict[Need, Words] = {
    Need.LANGUAGE: ("it asks questions in words, and this model answers with a class",),
    Need.CLASSES: ("it asks class by class, and this model answers in words",),
    Need.PERTURBED: ("give the forgotten rows a 'perturbed_answers' list of false answers",),
    Need.SHADOWS: ("give models whose members are known (", Parameter("shadows"), ")"),
    Need.PARAPHRASES: (
        "give the forgotten rows a 'paraphrases' list of questions never trained on",
    ),
    Need.BEFORE: ("give the model as it was (", Parameter("before"), ")"),
    Need.RETAIN: ("give records that were to be kept (", Parameter("retain"), ")"),
    Need.NEIGHBOURS: ("give kept records near the forgotten ones (", Parameter("neighbours"), ")"),
    Need.GENERAL: ("give what everybody may know (", Parameter("general"), ")"),
    Need.HOLDOUT: (
        "give records of the same making that no model ever saw (",
        Parameter("holdout"),
        ")",
    ),
}


class Status(StrEnum):
    """What a finding means for the verdict."""

    PASS = "pass"
    FAIL = "fail"
    UNKNOWN = "unknown"
    SILENT = "silent"

    @property
    def meaning(self) -> str:
        """One sentence for people."""
        return _STATUS[self]


_STATUS = {
    Status.PASS: "within tolerance of what it is compared with",
    Status.FAIL: "out of tolerance",
    Status.UNKNOWN: "evidence is missing; this can never pass",
    Status.SILENT: "the original knew it no better than the references: its absence proves nothing",
}


@dataclass(frozen=True)
class Finding:
    """One number, what it is compared with, and what follows.

    Attributes:
        audit: the audit that found it.
        metric: what was measured, in the metric's own unit.
        probe: the records it was measured on.
        value: of the suspect.
        against: what it is compared with: `never-trained` or `before`.
        expected: the value there; for never-trained models, their mean.
        spread: the value of each never-trained model.
        before: of the model as it was, where given.
        interval: 95% interval of value - expected; None where nothing tells how far chance carries.
        p: how likely chance alone carries a model this far out of tolerance; None: not known, and
            the point estimate decides.
        n: probes scored; `clusters` independent facts or subjects among them.
        low, high: tolerated range of value - expected; None: open on that side.
        votes: whether it counts in the verdict; see `tolerances.ADVISORY`.
        prior: the status that it has unless its numbers decide: `silent` where the original knew
            nothing, `unknown` where more than half of what that knew is there, or more than half
            of what was to be kept is gone, if it is out of tolerance at all.
        status: see `Status`.
        says: a sentence for people.
        failing: the sentence instead, where it fails and numbers say too little.
        exhibit: what a page draws beside it, as plain values with a `kind`.
        adjusted: `p`, adjusted for how many findings vote.
    """

    audit: str
    metric: str
    probe: str
    value: float
    against: str
    expected: float
    spread: tuple[float, ...]
    before: float | None
    interval: tuple[float, float] | None
    p: float | None
    n: int
    clusters: int
    low: float | None
    high: float | None
    votes: bool
    status: Status
    says: str
    failing: str = ""
    exhibit: Mapping[str, Any] | None = None
    adjusted: float | None = None
    prior: Status = Status.PASS

    @property
    def excess(self) -> float:
        """How far the suspect is from what is expected."""
        return self.value - self.expected

    @property
    def outside(self) -> bool:
        """Whether the excess is out of tolerance; what is not a number always is."""
        return not (
            (self.low is None or self.excess >= self.low)
            and (self.high is None or self.excess <= self.high)
            and self.excess == self.excess
        )

    def to_dict(self, *, texts: bool = True) -> dict[str, Any]:
        """As plain values, for reports; see `Report.to_dict`."""
        shown = self.exhibit
        if shown is not None and not texts and shown["kind"] == "answers":
            shown = None
        return {
            "audit": self.audit,
            "metric": self.metric,
            "probe": self.probe,
            "value": self.value,
            "against": self.against,
            "expected": self.expected,
            "never_trained": list(self.spread),
            "before": self.before,
            "excess": self.excess,
            "interval": None if self.interval is None else list(self.interval),
            "p": self.p,
            "adjusted": self.adjusted,
            "n": self.n,
            "clusters": self.clusters,
            "tolerance": [self.low, self.high],
            "votes": self.votes,
            "prior": self.prior.value,
            "status": self.status.value,
            "says": self.says,
            "exhibit": None if shown is None else dict(shown),
        }


@dataclass(frozen=True)
class Shadow:
    """A model trained for the attack alone, of whose records it is known which it learned.

    Attributes:
        witness: the model.
        members: ids of the records that it learned.
        others: ids of records of the same making that it did not learn.
    """

    witness: Witness
    members: frozenset[str]
    others: frozenset[str]


@dataclass(frozen=True)
class Evidence:
    """Everything an audit may look at. It never learns which method ran.

    Attributes:
        suspect: the model under audit.
        references: models that never saw the forgotten records.
        before: the model as it was, where given.
        forget, retain, neighbours, general, holdout: the probes.
        paraphrased: the forgotten facts behind questions that were never trained on.
        strangers: those of the holdout that play the forgotten's part, to tell from how far chance
            carries: a few people with about as many records.
        few: some records of each stranger, for what costs more than a score;
            `paraphrased_strangers` are theirs, rephrased.
        crowd: those of the holdout beside whom references are authenticated: more people.
        shadows: models with known members, for attacks record by record.
        level: how much is tried.
        tokenizers: of the suspect and of the model as it was, where they were given apart.
    """

    suspect: Witness
    references: tuple[Witness, ...]
    before: Witness | None
    forget: tuple[Example, ...]
    retain: tuple[Example, ...]
    neighbours: tuple[Example, ...]
    general: tuple[Example, ...]
    holdout: tuple[Example, ...]
    paraphrased: tuple[Example, ...]
    strangers: tuple[Example, ...]
    few: tuple[Example, ...]
    crowd: tuple[Example, ...]
    paraphrased_strangers: tuple[Example, ...]
    shadows: tuple[Shadow, ...]
    level: Level
    tokenizers: tuple[Any, Any] | None = None

    def has(self, need: Need) -> bool:
        """Whether a piece of evidence was given."""
        return {
            Need.LANGUAGE: hasattr(self.suspect.task, "tokenizer"),
            Need.CLASSES: hasattr(self.suspect.task, "classes"),
            Need.PARAPHRASES: bool(self.paraphrased),
            Need.PERTURBED: any(r.fields.get("perturbed_answers") for r in self.forget),
            Need.BEFORE: self.before is not None,
            Need.RETAIN: bool(self.retain),
            Need.NEIGHBOURS: bool(self.neighbours),
            Need.GENERAL: bool(self.general),
            Need.HOLDOUT: bool(self.holdout),
            Need.SHADOWS: bool(self.shadows),
        }[need]

    @property
    def witnesses(self) -> tuple[Witness, ...]:
        """Every model that is asked: suspect, references, and the model as it was."""
        return (self.suspect, *self.references, *([self.before] if self.before else []))


@dataclass(frozen=True)
class Asks:
    """What an audit is going to put to the models: what it costs, and all of it in one pass.

    Attributes:
        scored: records whose completions every model scores.
        strangers: records that all score but the model as it was.
        answered: records that every model answers as well.
        passes: tokens of all other forward passes; a training step counts three.
    """

    scored: tuple[Example, ...] = ()
    strangers: tuple[Example, ...] = ()
    answered: tuple[Example, ...] = ()
    passes: int = 0


class Audit(Protocol):
    """One test of a forgetting: one small file and one line in `olvido.audits`.

    Whoever writes one of their own begins with `olvido.audits.Metric`, which has all of this. An
    audit that Olvido does not bring runs where it is asked for by name, class or object, whatever
    the level, and its findings do not vote.

    Attributes:
        name: that it is called by.
        family: where a page shows it, see `olvido.audits.report.blocks.FAMILIES`.
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
    needs: ClassVar[frozenset[Need]]
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
