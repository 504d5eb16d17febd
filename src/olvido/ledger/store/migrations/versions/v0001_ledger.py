"""The first schema: subjects, datasets, records, models, requests and the log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def _pk() -> sa.Column[int]:
    return sa.Column("pk", sa.Integer, primary_key=True, autoincrement=False)


def _reference(name: str, target: str, *, key: bool = False) -> sa.Column[int]:
    return sa.Column(
        name,
        sa.Integer,
        sa.ForeignKey(target),
        primary_key=key,
        nullable=False,
        autoincrement=False,
    )


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "ledger",
        _pk(),
        sa.Column("key_version", sa.Integer, nullable=False),
        sa.Column("key_fingerprint", sa.String, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
    )
    op.create_table("subjects", _pk(), sa.Column("subject", sa.String, nullable=False, unique=True))
    _create_data()
    _create_models()
    op.create_table(
        "requests",
        _pk(),
        sa.Column("id", sa.String, nullable=False, unique=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("subject", sa.String),
        sa.Column("law", sa.String),
        sa.Column("received_at", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("report", sa.String),
    )
    op.create_table(
        "request_steps",
        _reference("request", "requests.pk", key=True),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("at", sa.String, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )
    op.create_table(
        "log",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("digest", sa.String, nullable=False),
    )


def _create_data() -> None:
    op.create_table(
        "datasets",
        _pk(),
        sa.Column("id", sa.String, nullable=False, unique=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("root", sa.String, nullable=False),
        sa.Column("salt", sa.LargeBinary, nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("file", sa.String, nullable=False),
        sa.Column("parent", sa.String, sa.ForeignKey("datasets.id")),
        sa.Column("documentation", sa.Text, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.UniqueConstraint("name", "version"),
    )
    op.create_table(
        "records",
        _pk(),
        _reference("dataset", "datasets.pk"),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("source", sa.String),
        sa.Column("licence", sa.String),
        sa.Column("consent", sa.String, nullable=False),
        sa.Column("collected_at", sa.String),
        sa.UniqueConstraint("dataset", "id"),
    )
    op.create_table(
        "record_subjects",
        _reference("record", "records.pk", key=True),
        _reference("subject", "subjects.pk", key=True),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_record_subjects_subject", "record_subjects", ["subject"])
    op.create_table(
        "tombstones",
        _reference("record", "records.pk", key=True),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("at", sa.String, nullable=False),
    )


def _create_models() -> None:
    op.create_table(
        "models",
        _pk(),
        sa.Column("id", sa.String, nullable=False, unique=True),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("path", sa.String, nullable=False),
        sa.Column("learner", sa.String, nullable=False),
        sa.Column("method", sa.String),
        sa.Column("recipe", sa.Text, nullable=False),
        sa.Column("seed", sa.Integer, nullable=False),
        sa.Column("environment", sa.Text, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
    )
    op.create_index("ix_models_digest", "models", ["digest"])
    op.create_table(
        "model_parents",
        _reference("model", "models.pk", key=True),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        _reference("parent", "models.pk"),
    )
    op.create_table(
        "uses",
        _pk(),
        _reference("model", "models.pk"),
        _reference("dataset", "datasets.pk"),
        sa.Column("guarantee", sa.String),
        sa.UniqueConstraint("model", "dataset"),
    )
    for name in ("use_excluded", "use_forgotten"):
        op.create_table(
            name,
            _reference("record", "records.pk", key=True),
            _reference("use", "uses.pk", key=True),
            sqlite_with_rowid=False,
        )
        op.create_index(f"ix_{name}_use", name, ["use"])
    op.create_table(
        "aliases",
        sa.Column("name", sa.String, primary_key=True),
        _reference("model", "models.pk"),
    )
