"""The first schema that is kept: all tables as they are; what came before was never released.

Numbered schema changes are applied in order by `olvido.ledger.store.engine.migrate`.
"""

from __future__ import annotations

from alembic import op

from olvido.ledger.store import schema

revision = "0006"
down_revision = None


def upgrade() -> None:
    """Create every table. A release writes them down here, where later ones change them."""
    schema.metadata.create_all(op.get_bind())
