"""What a certificate holds, member by member. What is not named here has no place in one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from olvido.artifacts import KINDS
from olvido.schemas.audit import EvidenceNeed, Ground, OriginalStatus, Standing, Status, Verdict
from olvido.schemas.base import Number, Part, Plain

VERSION: Literal["urn:olvido:forgetting-certificate:v4"] = "urn:olvido:forgetting-certificate:v4"
REST = "everything else"
"""What a request that is not closed has not yet been through."""


@dataclass(frozen=True, slots=True)
class Form:
    """Holds a text, all of it, to a pattern, or to being of a known kind (`known`)."""

    pattern: str
    known: bool = False

    def fit(self, text: str) -> str:
        """The text. Raises ValueError where it is of another form."""
        if re.fullmatch(self.pattern, text) is None:
            raise ValueError("one of the known kinds" if self.known else f"form {self.pattern}")
        return text

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.fit, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "pattern": f"^({self.pattern})$"}


Digest = Annotated[str, Form(r"sha256:(?!0{64})[0-9a-f]{64}")]
Hex = Annotated[str, Form(r"[0-9a-f]{64}")]
Time = Annotated[
    str,
    Form(
        r"[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}(\.[0-9]{1,6})?[+-][0-9]{2}:[0-9]{2}",
    ),
]
Day = Annotated[str, Form(r"[0-9]{4}(-[0-9]{2}){2}")]
RequestId = Annotated[str, Form(r"req-[0-9]{4,9}")]
Word = Annotated[str, Form(r"[a-z][a-z0-9_-]{0,39}")]
Label = Annotated[str, Form(r"[A-Za-z0-9@.,:%'+() -]{1,120}")]
"""What a measure is called: no markup, and no letters that only names have."""
Probe = Annotated[str, Form(r"[^\x00-\x1f\x7f<>]{1,120}")]
SENTENCE = r"[^\x00-\x1f\x7f]{0,1000}"
Sentence = Annotated[str, Form(SENTENCE)]
"""One line of at most a thousand characters."""
ArtefactName = Annotated[
    str, Form(rf"({'|'.join([*KINDS, REST])})(:[0-9a-f]{{12,16}})?", known=True)
]


class CertifiedFinding(Part):
    """A finding of an audit; see `olvido.schemas.audit.Measured`."""

    audit: Word
    metric: Label
    probe: Probe
    value: Number
    against: Word
    expected: Number
    never_trained: tuple[Number, ...]
    before: float | None
    excess: Number
    interval: tuple[Number, ...] | None
    p: float | None
    adjusted: float | None
    n: int
    clusters: int
    tolerance: tuple[float | None, ...]
    votes: bool
    prior: Status
    status: Status
    says: Sentence


class CertifiedReason(Part):
    """Why an audit's verdict is no pass; see `olvido.schemas.audit.Reason`."""

    ground: Ground
    about: Label
    says: Sentence
    details: tuple[Sentence, ...]


class CertifiedReference(Part):
    """What is known of a never-trained model; see `olvido.schemas.audit.Reference`."""

    digest: Digest
    standing: Standing
    witnessed: bool
    tests: dict[Label, float]
    adjusted: float | None
    control: float | None
    beside: Word | None
    answers: int
    facts: int
    knowing: float | None


class Counts(Part):
    """How many records of each kind an audit looked at."""

    forget: int
    paraphrased: int
    retain: int
    neighbours: int
    general: int
    controls: int


class CertifiedAudit(Part):
    """An audit's report without its exhibits; see `olvido.schemas.audit.Audited`."""

    verdict: Verdict
    reasons: tuple[Sentence, ...]
    grounds: tuple[CertifiedReason, ...]
    findings: tuple[CertifiedFinding, ...]
    not_examined: dict[str, tuple[EvidenceNeed, ...]]
    not_possible: dict[str, str]
    candidate: Digest
    original: Digest | None
    never_trained: tuple[Digest, ...]
    references: tuple[CertifiedReference, ...]
    original_status: OriginalStatus
    level: Word
    tolerances: Digest
    records: Counts


class ClosureEntry(Part):
    """What held the data besides the weights, and how it left.

    Attributes:
        artefact: its kind, and a digest of its place.
        exit: how it left, or `open`.
        until: the day on which it ends by itself.
        reason: why it stays, or how it left.
        by_word: whether that is the team's word alone.
    """

    artefact: ArtefactName
    exit: Word
    until: Day | None
    reason: Sentence | None
    by_word: bool


class Closure(Part):
    """All of these, those that are open, and those that nobody looked into."""

    complete: bool
    open: tuple[ArtefactName, ...]
    items: tuple[ClosureEntry, ...]
    unseen: tuple[ArtefactName, ...]


class Asked(Part):
    """The request, and all that were answered in the same run."""

    id: RequestId
    kind: Word
    law: Word | None
    received: Time
    answered: Time
    together: tuple[RequestId, ...]


class Bound(Part):
    """What a certified forgetting guarantees, and under which assumptions."""

    epsilon: float
    delta: float
    assumptions: tuple[str, ...]


class Claim(Part):
    """The guarantee, and what it means."""

    class_: str = Field(alias="class")
    meaning: str
    bound: Bound | None


class ModelVersion(Part):
    """A model by the digests of its weights and of the files that decide its function."""

    id: Annotated[str, Form("[0-9a-f]{12}")]
    weights: Digest
    function: Digest


class Models(Part):
    """The model that was asked to forget and the one that has; None: it was destroyed."""

    before: ModelVersion
    after: ModelVersion | None


class DatasetEntry(Part):
    """A dataset with records that were asked about, before and after."""

    id: Annotated[str, Form("[0-9a-f]{16}")]
    version: int
    rows: int
    about: int
    learned: int
    forgotten: int
    root_before: Digest
    root_after: Digest


class Commitment(Part):
    """How many records were forgotten, and the Merkle root over their keyed digests."""

    count: int
    commitment: Digest


class RunCounts(Part):
    """How many records the run was given."""

    forget: int
    retain: int
    holdout: int


class MethodUsed(Part):
    """The method that ran, with its options, and why it ended."""

    name: Word
    olvido: Annotated[str, Form("[0-9][0-9a-z.+-]{0,39}|not installed")]
    options: Plain
    seed: int
    stopped: Sentence


class TrainingUsed(Part):
    """How the model had been trained."""

    learner: Word
    seed: int
    recipe: Plain


class ReferenceSeed(Part):
    """A never-trained model."""

    digest: Digest
    seed: int


class Utility(Part):
    """What was kept, before and after."""

    measure: Sentence
    before: float | None
    after: float | None
    delta: float | None


class MadeBy(Part):
    """By which code, packages and machine it was made."""

    commit: Annotated[str, Form("[0-9a-f]{40}")] | None
    changed: bool | None
    source: Digest
    packages: Digest
    hardware: Digest
    environment: Plain


class Core(Part):
    """What is certified; the log commits to its digest."""

    request: Asked
    guarantee: Claim
    models: Models
    datasets: tuple[DatasetEntry, ...]
    forgotten: Commitment
    records: RunCounts
    method: MethodUsed
    training: TrainingUsed
    audit: CertifiedAudit | None
    references: tuple[ReferenceSeed, ...]
    utility: tuple[Utility, ...]
    closure: Closure
    made_by: MadeBy
    report: Digest | None
    not_proven: tuple[str, ...]


class LogPlace(Part):
    """Where the log says that this was certified, and the way from there to a signed head."""

    index: int
    at: Time
    salt: Hex
    proof: tuple[Hex, ...]
    checkpoint: str


class Predicate(Core):
    """What is certified, and its place in the log."""

    log: LogPlace


class WeightsDigest(Part):
    """The digest of a model's weights, as in-toto names digests."""

    weightsSha256: Hex


class Subject(Part):
    """The model that a statement is about."""

    name: str
    digest: WeightsDigest


class Certificate(Part):
    """What is signed: an in-toto statement, whose predicate type has its version."""

    type_: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: tuple[Subject, ...]
    predicateType: Literal["urn:olvido:forgetting-certificate:v4"]
    predicate: Predicate
