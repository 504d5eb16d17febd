"""Requests that go on to their closure: more states, scopes, exits, and what may not come back."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_RENAMED = {"done": "published", "failed": "needs-input"}


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
    """Rename today's states, and make room for what follows them."""
    op.add_column("requests", sa.Column("scope", sa.Text, nullable=False, server_default="{}"))
    for table in ("requests", "request_steps"):
        for old, new in _RENAMED.items():
            statement = sa.text(f"UPDATE {table} SET status = :new WHERE status = :old")
            op.get_bind().execute(statement, {"new": new, "old": old})
    # A law was any text before, and is a name in small letters now.
    op.execute("UPDATE requests SET law = lower(law)")
    op.create_table(
        "model_tombstones",
        _reference("model", "models.pk", key=True),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("at", sa.String, nullable=False),
    )
    op.create_table(
        "closure_items",
        _reference("request", "requests.pk", key=True),
        sa.Column("item", sa.String, primary_key=True),
        sa.Column("exit", sa.String),
        sa.Column("detail", sa.Text),
        sa.Column("at", sa.String, nullable=False),
    )
    op.create_table(
        "suppressions",
        sa.Column("digest", sa.String, primary_key=True),
        _reference("request", "requests.pk"),
        sa.Column("at", sa.String, nullable=False),
    )
