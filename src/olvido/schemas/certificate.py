"""The members of a certificate. Anything else is not allowed in one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from olvido.artifacts import KINDS
from olvido.schemas.audit import EvidenceNeed, Ground, OriginalStatus, Standing, Status, Verdict
from olvido.schemas.base import Number, Part, Plain

VERSION: Literal["urn:olvido:forgetting-certificate:v6"] = "urn:olvido:forgetting-certificate:v6"
REST = "everything else"
"""Stands for the later steps of a request that is not closed."""


@dataclass(frozen=True, slots=True)
class Form:
    """Requires a text to match a pattern, or to be of a known kind (`known`)."""

    pattern: str
    known: bool = False

    def fit(self, text: str) -> str:
        """Return the text. Raises ValueError where it has another form."""
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
"""A measure's name: no markup, and no letters that only people's names have."""
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
    """The authentication of a never-trained model; see `olvido.schemas.audit.Reference`."""

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
    """Number of records of each kind in an audit."""

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
    """An item of the data map: a place of the data besides the weights, and its disposition.

    Attributes:
        artefact: its kind, and a digest of its location.
        exit: its disposition, or `open`.
        until: the day on which the item expires by itself.
        reason: why it stays, or how it was disposed of.
        by_word: whether the team's declaration is the only evidence.
    """

    artefact: ArtefactName
    exit: Word
    until: Day | None
    reason: Sentence | None
    by_word: bool


class Closure(Part):
    """All items, the open ones, and those that nobody examined."""

    complete: bool
    open: tuple[ArtefactName, ...]
    items: tuple[ClosureEntry, ...]
    unseen: tuple[ArtefactName, ...]


class Asked(Part):
    """The request, and all others that the same run answered."""

    id: RequestId
    kind: Word
    law: Word | None
    received: Time
    answered: Time
    together: tuple[RequestId, ...]


class Bound(Part):
    """What a private training bounds of the records; what is not proven says what that assumes.

    Attributes:
        epsilon, delta: the distributions of the weights with these units and without them differ by
            no more; `accountant` computed those of one unit.
        unit: what counts as one: `subject` or `record`; `units`: how many these are.
        relation: between the two sets of data.
        false_positives: the share of people who took no part that an attack names as well.
        true_positives: at the most so large a share of those who took part is recognised then.
    """

    epsilon: float
    delta: float
    unit: Word
    units: int
    relation: Label
    accountant: Word
    false_positives: float
    true_positives: float


class Claim(Part):
    """The guarantee, and its meaning."""

    class_: str = Field(alias="class")
    meaning: str
    bound: Bound | None


class ModelVersion(Part):
    """A model by the digests of its weights and of the files that decide its function."""

    id: Annotated[str, Form("[0-9a-f]{12}")]
    weights: Digest
    function: Digest


class Models(Part):
    """The model before and after forgetting; None after: it was destroyed."""

    before: ModelVersion
    after: ModelVersion | None


class DatasetEntry(Part):
    """A dataset with affected records, before and after."""

    id: Annotated[str, Form("[0-9a-f]{16}")]
    version: int
    rows: int
    about: int
    learned: int
    forgotten: int
    root_before: Digest
    root_after: Digest


class Commitment(Part):
    """Number of forgotten records, and the Merkle root over their keyed digests."""

    count: int
    commitment: Digest


class RunCounts(Part):
    """Number of records that the run was given, by kind."""

    forget: int
    retain: int
    holdout: int


class MethodUsed(Part):
    """The method that ran, with its options, and why it ended.

    Attributes:
        origin: digest of the weights that the model was trained from; None: they were unknown, or
            not used.
    """

    name: Word
    olvido: Annotated[str, Form("[0-9][0-9a-z.+-]{0,39}|not installed")]
    options: Plain
    seed: int
    stopped: Sentence
    origin: Digest | None


class TrainingUsed(Part):
    """The training of the model.

    Attributes:
        basis: `witnessed`: Olvido saw it; `declared`: somebody says how it was.
    """

    basis: Literal["witnessed", "declared"]
    learner: Word
    seed: int
    recipe: Plain


class ReferenceSeed(Part):
    """A never-trained model."""

    digest: Digest
    seed: int


class Utility(Part):
    """Utility on the retain set, before and after."""

    measure: Sentence
    before: float | None
    after: float | None
    delta: float | None


class MadeBy(Part):
    """The code, packages and machine that made it."""

    commit: Annotated[str, Form("[0-9a-f]{40}")] | None
    changed: bool | None
    source: Digest
    packages: Digest
    hardware: Digest
    environment: Plain


class Core(Part):
    """The certified content; the log commits to its digest."""

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
    """The log entry of the certificate, and the proof that a signed head includes it."""

    index: int
    at: Time
    salt: Hex
    proof: tuple[Hex, ...]
    checkpoint: str


class Predicate(Core):
    """The certified content, and its place in the log."""

    log: LogPlace


class WeightsDigest(Part):
    """The digest of a model's weights, by in-toto's name for it."""

    weightsSha256: Hex


class Subject(Part):
    """The model that a statement is about."""

    name: str
    digest: WeightsDigest


class Certificate(Part):
    """The signed document: an in-toto statement, whose predicate type has its version."""

    type_: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: tuple[Subject, ...]
    predicateType: Literal["urn:olvido:forgetting-certificate:v6"]
    predicate: Predicate
