"""What the ledger knows: frozen values without behaviour of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any, Final, Literal, NamedTuple

from olvido.errors import InputError
from olvido.ledger.digests import Digest, canonical_json
from olvido.ledger.identity import SubjectId


class Consent(StrEnum):
    """Whether the subject agreed to the use of a record."""

    GRANTED = "granted"
    WITHDRAWN = "withdrawn"
    UNKNOWN = "unknown"
    NOT_REQUIRED = "not-required"


class SourceClass(StrEnum):
    """Where a dataset comes from, as the documentation of training data asks."""

    PUBLIC = "public"
    LICENSED = "licensed"
    SCRAPED = "scraped"
    USER = "user"
    SYNTHETIC = "synthetic"
    OTHER = "other"


class Guarantee(StrEnum):
    """What a forgetting may claim, the weakest first.

    suppressed: output only; empirical: passed these audits; certified: within epsilon and delta
    under stated assumptions; destroyed: the model is gone; exact: equal to never having learned.
    """

    SUPPRESSED = "suppressed"
    EMPIRICAL = "empirical"
    CERTIFIED = "certified"
    DESTROYED = "destroyed"
    EXACT = "exact"

    @classmethod
    def weakest(cls, guarantees: set[Guarantee]) -> Guarantee:
        """The least of several claims, which is all that may be said of them together.

        >>> str(Guarantee.weakest({Guarantee.EXACT, Guarantee.EMPIRICAL}))
        'empirical'
        """
        return next(guarantee for guarantee in cls if guarantee in guarantees)


class RequestKind(StrEnum):
    """What somebody wishes."""

    ERASURE = "erasure"
    OPT_OUT = "opt-out"
    POISON = "poison"
    OUTDATED = "outdated"
    DESTROY = "destroy"
    ACCESS = "access"
    RECTIFICATION = "rectification"

    @property
    def forgets(self) -> bool:
        """Whether models are changed for it; where not, nothing is planned, run or erased."""
        return self is not RequestKind.ACCESS


class RequestStatus(StrEnum):
    """How far a request has come."""

    RECEIVED = "received"
    IDENTIFIED = "identity-checked"
    LOCATED = "located"
    PLANNED = "planned"
    APPROVED = "approved"
    RUNNING = "running"
    AUDITED = "audited"
    PUBLISHED = "published"
    CLOSED = "closed"
    NEEDS_INPUT = "needs-input"
    WAITING = "waiting"
    REFUSED = "refused"
    CANCELLED = "cancelled"

    @property
    def open(self) -> bool:
        """Whether the models are still to be changed, or something is waited for."""
        return self not in _ENDED

    @property
    def pending(self) -> bool:
        """Whether the person's answer is not whole yet: one that is published is not closed."""
        return self.open or self is RequestStatus.PUBLISHED

    @property
    def answers(self) -> bool:
        """Whether the person is told by this that it was done, or that it will not be."""
        return self in (RequestStatus.PUBLISHED, RequestStatus.CLOSED, RequestStatus.REFUSED)


_ENDED = frozenset(
    {
        RequestStatus.PUBLISHED,
        RequestStatus.CLOSED,
        RequestStatus.REFUSED,
        RequestStatus.CANCELLED,
    }
)


class Exit(StrEnum):
    """How what holds forgotten data leaves a request, or what the team says never held them."""

    ERASED = "erased"
    AWAITING_EXPIRY = "awaiting-expiry"
    CANNOT = "cannot"
    UNRELATED = "unrelated"


def now() -> datetime:
    """This moment in UTC, to the second: what the ledger dates its facts with."""
    return datetime.now(UTC).replace(microsecond=0)


@dataclass(frozen=True, slots=True)
class Tombstone:
    """Why and when a record stopped being used."""

    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Record:
    """One training example as the ledger knows it: everything but its content.

    `id` is unique within `dataset`; `digest` covers the row as stored, under the record's key.
    """

    dataset: str
    id: str
    digest: Digest
    subjects: tuple[SubjectId, ...] = ()
    source: str | None = None
    licence: str | None = None
    consent: Consent = Consent.UNKNOWN
    collected_at: date | None = None
    tombstone: Tombstone | None = None


# A record on its way into the ledger: id, digest, subjects, and (source, licence, consent, date).
# Plain tuples, for millions of them pass through.
NewRecord = tuple[str, bytes, tuple[str, ...], tuple[str | None, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Documentation:
    """What a dataset's owner says of it, in the terms that regulators ask for.

    `collected_from` and `collected_until` are days as 2025-03-31; `special_categories` whether it
    holds what GDPR, Article 9, protects; `opt_out` how reservations of rights were looked for and
    kept; `transform` what was done to the data since. None: not said.
    """

    description: str | None = None
    creator: str | None = None
    licence: str | None = None
    source_class: SourceClass = SourceClass.OTHER
    url: str | None = None
    legal_basis: str | None = None
    language: str | None = None
    intended_use: str | None = None
    retention: str | None = None
    collected_from: str | None = None
    collected_until: str | None = None
    geography: str | None = None
    modality: str | None = None
    special_categories: bool | None = None
    consent_reference: str | None = None
    opt_out: str | None = None
    transform: str | None = None

    def __post_init__(self) -> None:
        days = [day for day in (self.collected_from, self.collected_until) if day is not None]
        for day in days:
            try:
                date.fromisoformat(day)
            except ValueError:
                raise InputError(f"expected a day like 2025-03-31, got {day!r}") from None
        if days != sorted(days):
            raise InputError(f"it was collected from {days[0]} and until {days[1]}: swap the days")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetVersion:
    """A version of a set of records.

    `root` is the Merkle root over the records' digests, `file` the name of the Parquet file in
    the workspace's data folder.
    """

    name: str
    version: int
    root: Digest
    rows: int
    file: str
    parent: str | None
    documentation: Documentation
    created_at: datetime

    @property
    def id(self) -> str:
        """Sixteen hexadecimal digits of its root."""
        return dataset_id(self.root)


def dataset_id(root: Digest) -> str:
    """The id of the dataset with this Merkle root.

    >>> dataset_id(Digest("0123456789abcdef" * 4))
    '0123456789abcdef'
    """
    return root.hex[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetUse:
    """What one model's own training or forgetting did with one dataset.

    `excluded` are the ids of records deliberately left out of it; `forgotten` those it made the
    weights forget, under `guarantee`. What parents had learned is inherited and not repeated.
    """

    dataset: str
    excluded: frozenset[str] = frozenset()
    forgotten: frozenset[str] = frozenset()
    guarantee: Guarantee | None = None

    def __post_init__(self) -> None:
        if bool(self.forgotten) != (self.guarantee is not None):
            raise InputError(
                f"a use of {self.dataset} forgets {len(self.forgotten)} records under the "
                f"guarantee {self.guarantee}: give both forgotten records and guarantee, or neither"
            )


Training = Literal["witnessed", "declared"]
DECLARED: Final = "declared"
WITNESSED: Final = "witnessed"
"""What is known of a training: somebody said how it was (also its learner's name), or Olvido saw
it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One version of a model's weights and how they came to be.

    `path` is relative to the workspace's models folder unless absolute; `parents` are ids of
    models it started from; `method` is None unless it was made by forgetting; `tombstone` says why
    its weights are gone, where they are; `function` is the digest of all else in its folder that
    decides what it computes, None where nothing was written.
    """

    digest: Digest
    path: str
    learner: str
    parents: tuple[str, ...] = ()
    method: str | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    environment: Mapping[str, Any] = field(default_factory=dict)
    created_at: datetime = field(default_factory=now)
    tombstone: Tombstone | None = None
    function: Digest | None = None

    @property
    def training(self) -> Training:
        """Whether its training, or that of the model it was made from, is declared or witnessed."""
        return DECLARED if self.learner == DECLARED else WITNESSED

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits that name this derivation of these weights.

        Two ways to the same bits (training without a record, forgetting it exactly) are two
        models with one digest.

        >>> weights = Digest.of(b"")
        >>> trained = Model(digest=weights, path="a", learner="monolith", seed=1)
        >>> trained.id == Model(digest=weights, path="b", learner="monolith", seed=1).id
        True
        """
        derivation = {
            "digest": str(self.digest),
            "parents": list(self.parents),
            "learner": self.learner,
            "method": self.method,
            "recipe": dict(self.recipe),
            "seed": self.seed,
        }
        return Digest.of(canonical_json(derivation)).hex[:12]


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One entry of a request's history."""

    status: RequestStatus
    at: datetime
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a request says before it is one: see `Request`; `detail` is what its first step keeps.

    `received_at` is None for now.
    """

    kind: RequestKind
    subject: SubjectId | None = None
    scope: Mapping[str, Any] = field(default_factory=dict)
    law: str | None = None
    received_at: datetime | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.received_at is not None and self.received_at.tzinfo is None:
            raise InputError(f"expected received_at with a time zone, got {self.received_at}")


@dataclass(frozen=True, slots=True)
class RequestNote:
    """What the team said of a request: a text, or in `owner` who works on it from then on.

    `by` and `owner` are ids of accounts; an empty owner is nobody.
    """

    at: datetime
    by: str
    owner: str | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Somebody's wish that a subject, source or fact be forgotten, or a model destroyed.

    `subject` is whom it is about, by the first of their names; `scope` has the others (`also`).
    Where that is nobody, `scope` says what it is about: a `source`, `records` of a `dataset`, or a
    `model`. A rectification is about some of a person's records, in all `versions` of a dataset.
    """

    id: str
    kind: RequestKind
    subject: SubjectId | None
    scope: Mapping[str, Any] = field(default_factory=dict)
    law: str | None
    received_at: datetime
    status: RequestStatus
    history: tuple[HistoryEntry, ...]
    report: str | None
    notes: tuple[RequestNote, ...] = ()

    @property
    def subjects(self) -> tuple[SubjectId, ...]:
        """Everybody in the data who is this person: one for each name that is another subject."""
        others = [SubjectId.from_str(one) for one in self.scope.get("also", ())]
        return () if self.subject is None else (self.subject, *others)

    @property
    def owner(self) -> str | None:
        """The id of the account that works on it, None where nobody does."""
        named = [note.owner for note in self.notes if note.owner is not None]
        return (named[-1] if named else None) or None


@dataclass(frozen=True, slots=True)
class RequestBrief:
    """What a list shows of a request, as the ledger writes it.

    `steps` counts its history; `answered_at` is when it was first answered, None if it was not.
    """

    id: str
    kind: str
    status: str
    law: str | None
    subject: str | None
    scope: str
    received_at: str
    steps: int
    answered_at: str | None
    owner: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UseBrief:
    """What a list shows of what a model did with a dataset: records are counted."""

    dataset: str
    name: str
    version: int
    excluded: int
    forgotten: int
    guarantee: Guarantee | None


class Ending(NamedTuple):
    """How something left a request: see `ClosureItem`."""

    exit: Exit | None
    detail: str | None = None
    by_word: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosureItem:
    """One thing that holds what a request wants forgotten, and how it left.

    `item` names it (`rows:...`, `model:...`); `exit` None is a blank, with which nothing is closed;
    `detail` is the reason, or the date of expiry; `by_word` whether the team says so and Olvido did
    not see it.
    """

    item: str
    exit: Exit | None
    detail: str | None
    at: datetime
    by_word: bool = False

    @property
    def ending(self) -> Ending:
        """How it left."""
        return Ending(self.exit, self.detail, self.by_word)


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One entry of the ledger's log: what happened.

    `commitment` is its leaf in the log's tree: a digest of the entry under `salt`. An entry that
    was redacted has no salt any more, and its content is gone. `state` is JSON: keyed digests of
    what it changed.
    """

    seq: int
    at: datetime
    kind: str
    detail: Mapping[str, Any]
    commitment: Digest
    salt: bytes | None = field(repr=False)
    state: str | None = field(default=None, repr=False)
