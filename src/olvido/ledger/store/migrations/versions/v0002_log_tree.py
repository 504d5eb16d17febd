"""The log's chain becomes a Merkle tree over salted commitments, with signed checkpoints."""

from __future__ import annotations

import hashlib
import json
import secrets

import sqlalchemy as sa
from alembic import op

from olvido.errors import StateError

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Follow the chain to its end, commit to every entry, and note where the chain ended."""
    connection = op.get_bind()
    old = connection.execute(
        sa.text("SELECT seq, at, kind, detail, digest FROM log ORDER BY seq")
    ).all()
    head = f"sha256:{'0' * 64}"
    for place, row in enumerate(old, 1):
        head = f"sha256:{_sha256([head, place, row.at, row.kind, row.detail])}"
        if (row.seq, row.digest) != (place, head):
            raise StateError(
                f"entry {place} of the log, or the one before, was changed: restore the ledger "
                "from a copy you trust before this Olvido opens it"
            )
    op.drop_table("log")
    op.create_table(
        "log",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("commitment", sa.String, nullable=False),
        sa.Column("salt", sa.LargeBinary),
    )
    op.create_table(
        "checkpoints",
        sa.Column("entries", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("note", sa.Text, nullable=False),
    )
    entries = [(row.seq, row.at, row.kind, row.detail) for row in old]
    if old:
        note = json.dumps({"chain": head}, separators=(",", ":"))
        entries.append((len(old) + 1, old[-1].at, "log-became-tree", note))
    log = sa.table("log", *map(sa.column, ("seq", "at", "kind", "detail", "commitment", "salt")))
    for seq, at, kind, detail in entries:
        salt = secrets.token_bytes(32)
        content = _canonical([seq, at, kind, detail])
        commitment = f"sha256:{hashlib.sha256(salt + content).hexdigest()}"
        connection.execute(
            sa.insert(log).values(
                seq=seq, at=at, kind=kind, detail=detail, commitment=commitment, salt=salt
            )
        )


def _sha256(value: list[object]) -> str:
    return hashlib.sha256(_canonical(value)).hexdigest()


def _canonical(value: list[object]) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
