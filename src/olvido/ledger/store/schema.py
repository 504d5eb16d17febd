"""The tables of the ledger. Once one is released, a change needs a numbered migration beside it."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

VERSION = "0006"
"""The migration that these tables correspond to."""

metadata = MetaData()


def _reference(name: str, target: str, *, key: bool = False, nullable: bool = False) -> Column[int]:
    return Column(
        name,
        Integer,
        ForeignKey(target),
        primary_key=key,
        nullable=nullable,
        autoincrement=False,
    )


def _key() -> Column[int]:
    # The store assigns numbers under its write lock, so that rows can be inserted in bulk.
    return Column("pk", Integer, primary_key=True, autoincrement=False)


# One row: the key that digests the subjects.
ledger = Table(
    "ledger",
    metadata,
    _key(),
    Column("key_version", Integer, nullable=False),
    Column("key_fingerprint", String, nullable=False),
    Column("created_at", String, nullable=False),
)

subjects = Table(
    "subjects", metadata, _key(), Column("subject", String, nullable=False, unique=True)
)

# Loose forms of subjects' names, to find other spellings: keyed digests.
subject_forms = Table(
    "subject_forms",
    metadata,
    Column("form", LargeBinary, primary_key=True),
    _reference("subject", "subjects.pk", key=True),
    sqlite_with_rowid=False,
)

datasets = Table(
    "datasets",
    metadata,
    _key(),
    Column("id", String, nullable=False, unique=True),
    Column("name", String, nullable=False),
    Column("version", Integer, nullable=False),
    Column("root", String, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("file", String, nullable=False),
    Column("parent", String, ForeignKey("datasets.id")),
    Column("documentation", Text, nullable=False),
    Column("created_at", String, nullable=False),
    UniqueConstraint("name", "version"),
)

records = Table(
    "records",
    metadata,
    _key(),
    _reference("dataset", "datasets.pk"),
    Column("id", String, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("source", String),
    Column("licence", String),
    Column("consent", String, nullable=False),
    Column("collected_at", String),
    UniqueConstraint("dataset", "id"),
)

record_subjects = Table(
    "record_subjects",
    metadata,
    _reference("record", "records.pk", key=True),
    _reference("subject", "subjects.pk", key=True),
    Index("ix_record_subjects_subject", "subject"),
    sqlite_with_rowid=False,
)

tombstones = Table(
    "tombstones",
    metadata,
    _reference("record", "records.pk", key=True),
    Column("reason", String, nullable=False),
    Column("at", String, nullable=False),
)

models = Table(
    "models",
    metadata,
    _key(),
    Column("id", String, nullable=False, unique=True),
    Column("digest", String, nullable=False, index=True),
    Column("function", String),
    Column("path", String, nullable=False),
    Column("learner", String, nullable=False),
    Column("method", String),
    Column("recipe", Text, nullable=False),
    Column("seed", Integer, nullable=False),
    Column("environment", Text, nullable=False),
    Column("created_at", String, nullable=False),
)

model_parents = Table(
    "model_parents",
    metadata,
    _reference("model", "models.pk", key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    _reference("parent", "models.pk"),
)

uses = Table(
    "uses",
    metadata,
    _key(),
    _reference("model", "models.pk"),
    _reference("dataset", "datasets.pk"),
    Column("guarantee", String),
    UniqueConstraint("model", "dataset"),
)

use_excluded = Table(
    "use_excluded",
    metadata,
    _reference("record", "records.pk", key=True),
    _reference("use", "uses.pk", key=True),
    Index("ix_use_excluded_use", "use"),
    sqlite_with_rowid=False,
)

use_forgotten = Table(
    "use_forgotten",
    metadata,
    _reference("record", "records.pk", key=True),
    _reference("use", "uses.pk", key=True),
    Index("ix_use_forgotten_use", "use"),
    sqlite_with_rowid=False,
)

model_tombstones = Table(
    "model_tombstones",
    metadata,
    _reference("model", "models.pk", key=True),
    Column("reason", String, nullable=False),
    Column("at", String, nullable=False),
)

aliases = Table(
    "aliases",
    metadata,
    Column("name", String, primary_key=True),
    _reference("model", "models.pk"),
)

requests = Table(
    "requests",
    metadata,
    _key(),
    Column("id", String, nullable=False, unique=True),
    Column("kind", String, nullable=False),
    Column("subject", String),
    Column("law", String),
    Column("received_at", String, nullable=False),
    Column("status", String, nullable=False),
    Column("report", String),
    Column("scope", Text, nullable=False, server_default="{}"),
)

request_steps = Table(
    "request_steps",
    metadata,
    _reference("request", "requests.pk", key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("status", String, nullable=False),
    Column("at", String, nullable=False),
    Column("detail", Text, nullable=False),
)

# Notes of the team on a request, or its owner (an account's id; empty: nobody).
request_notes = Table(
    "request_notes",
    metadata,
    _reference("request", "requests.pk", key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("at", String, nullable=False),
    Column("by", String, nullable=False),
    Column("owner", String),
    Column("text", Text),
)

closure_items = Table(
    "closure_items",
    metadata,
    _reference("request", "requests.pk", key=True),
    Column("item", String, primary_key=True),
    Column("exit", String),
    Column("detail", Text),
    Column("by_word", Boolean, nullable=False),
    Column("at", String, nullable=False),
)

# The suppression list: keyed digests of subjects and of rows' contents not to be imported again.
suppressions = Table(
    "suppressions",
    metadata,
    Column("digest", String, primary_key=True),
    Column("at", String, nullable=False),
)

# An entry's commitment is its leaf in the log's tree. Without its salt, an entry is redacted.
# `state` has the digests of the changed entities before and after; `mac` is by the workspace's key
# over the commitment and the entry before.
log = Table(
    "log",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("detail", Text, nullable=False),
    Column("state", Text),
    Column("commitment", String, nullable=False),
    Column("mac", String, nullable=False),
    Column("salt", LargeBinary),
)

# Signed heads of the log.
checkpoints = Table(
    "checkpoints",
    metadata,
    Column("entries", Integer, primary_key=True, autoincrement=False),
    Column("key", String, primary_key=True),
    Column("note", Text, nullable=False),
)
