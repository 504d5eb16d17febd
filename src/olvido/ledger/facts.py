"""The facts in the ledger, as frozen values without behaviour."""

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
    """The guarantees of a forgetting, the weakest first.

    suppressed: output only; empirical: passed these audits; certified: within epsilon and delta
    under stated assumptions; destroyed: the model was removed; exact: equal to a retrained model.
    """

    SUPPRESSED = "suppressed"
    EMPIRICAL = "empirical"
    CERTIFIED = "certified"
    DESTROYED = "destroyed"
    EXACT = "exact"

    @classmethod
    def weakest(cls, guarantees: set[Guarantee]) -> Guarantee:
        """The weakest of several guarantees: the guarantee of all of them together.

        >>> str(Guarantee.weakest({Guarantee.EXACT, Guarantee.EMPIRICAL}))
        'empirical'
        """
        return next(guarantee for guarantee in cls if guarantee in guarantees)


class RequestKind(StrEnum):
    """The kinds of requests."""

    ERASURE = "erasure"
    OPT_OUT = "opt-out"
    POISON = "poison"
    OUTDATED = "outdated"
    DESTROY = "destroy"
    ACCESS = "access"
    RECTIFICATION = "rectification"
    RETENTION = "retention"

    @property
    def forgets(self) -> bool:
        """Whether requests of this kind change models; if not, nothing is planned or erased."""
        return self is not RequestKind.ACCESS


class RequestStatus(StrEnum):
    """The status of a request."""

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
        """Whether the models are still to be changed, or the request waits for something."""
        return self not in _ENDED

    @property
    def pending(self) -> bool:
        """Whether the answer is not complete yet: a published request is not closed."""
        return self.open or self is RequestStatus.PUBLISHED

    @property
    def answers(self) -> bool:
        """Whether this status answers the person: it was done, or will not be."""
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
    """The end of an item in a closure: its removal, or the declaration that it holds no data."""

    ERASED = "erased"
    AWAITING_EXPIRY = "awaiting-expiry"
    CANNOT = "cannot"
    UNRELATED = "unrelated"


def now() -> datetime:
    """The present in UTC, to the second, as the ledger's timestamps are."""
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


# A record for import into the ledger: id, digest, subjects, and (source, licence, consent, date).
# A plain tuple, for there may be millions.
NewRecord = tuple[str, bytes, tuple[str, ...], tuple[str | None, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Documentation:
    """The documentation of a dataset by its owner, in the terms that regulators ask for.

    `collected_from` and `collected_until` are days as 2025-03-31; `special_categories`: whether it
    holds data that GDPR, Article 9, protects; `opt_out`: how reservations of rights were searched
    for and respected; `transform`: the processing since. None: not stated.
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
    """The use of one dataset in one model's own training or forgetting.

    `excluded` are the ids of records deliberately left out of it; `forgotten` those it made the
    weights forget, under `guarantee`; of a training, those of which its weights hold no more than
    it promised, `certified` since a request. The uses of parents are inherited and not repeated.
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
WATCHED: Final = "watched"
"""The learner's name of a training that another trainer ran while Olvido watched."""
PRIVATE: Final = "private"
"""The learner's name of a training with differential privacy, which keeps no log."""
PRIVACY: Final = "privacy"
"""The key of its promise in a model's recipe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One version of a model's weights and how they came to be.

    `path` is relative to the workspace's models folder unless absolute; `parents` are ids of
    models it started from; `method` is None unless it was made by forgetting; `tombstone` says why
    its weights were removed, if they were; `function` is the digest of all other files in its
    folder that decide what it computes, None where nothing was written.
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
    def elsewhere(self) -> bool:
        """Whether others trained it, or what it was made from, so that no log can be replayed."""
        return self.learner in (DECLARED, WATCHED)

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits that identify this derivation of these weights.

        Two derivations of the same bits (training without a record, forgetting it exactly) are two
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
    """The content of a request to be entered: see `Request`; `detail` is for its first step.

    `received_at` None means now.
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
    """A note of the team on a request: a text, or in `owner` its new owner.

    `by` and `owner` are ids of accounts; an empty owner is nobody.
    """

    at: datetime
    by: str
    owner: str | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request that a subject, source or fact be forgotten, or a model destroyed.

    `subject` is the person, by the first of their names; `scope` has the other names (`also`).
    Without a person, `scope` has the object: a `source`, `records` of a `dataset`, or a `model`.
    A rectification is about some of a person's records, in all `versions` of a dataset.
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
        """The subjects in the data that are this person: one for each different name."""
        others = [SubjectId.from_str(one) for one in self.scope.get("also", ())]
        return () if self.subject is None else (self.subject, *others)

    @property
    def owner(self) -> str | None:
        """The id of the account that works on the request, None where nobody does."""
        named = [note.owner for note in self.notes if note.owner is not None]
        return (named[-1] if named else None) or None


@dataclass(frozen=True, slots=True)
class RequestBrief:
    """A request without its history, for lists.

    `steps` counts its history; `answered_at` is the time of its first answer, None without one.
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
    """A model's use of a dataset with counts of records, for lists."""

    dataset: str
    name: str
    version: int
    excluded: int
    forgotten: int
    guarantee: Guarantee | None


class Ending(NamedTuple):
    """The exit of an item: see `ClosureItem`."""

    exit: Exit | None
    detail: str | None = None
    by_word: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosureItem:
    """One artefact that holds or held a request's data, and its exit.

    `item` names it (`rows:...`, `model:...`); `exit` None means open, and no request is closed with
    an open item; `detail` is the reason, or the date of expiry; `by_word` says whether the team
    declares the exit and Olvido did not see it.
    """

    item: str
    exit: Exit | None
    detail: str | None
    at: datetime
    by_word: bool = False

    @property
    def ending(self) -> Ending:
        """The exit with its detail."""
        return Ending(self.exit, self.detail, self.by_word)


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One entry of the ledger's log: an event.

    `commitment` is its leaf in the log's tree: a digest of the entry under `salt`. A redacted entry
    has lost its salt and its content. `state` is JSON: keyed digests of the entities that it
    changed.
    """

    seq: int
    at: datetime
    kind: str
    detail: Mapping[str, Any]
    commitment: Digest
    salt: bytes | None = field(repr=False)
    state: str | None = field(default=None, repr=False)
