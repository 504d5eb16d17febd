"""The first schema of a release, with all tables; earlier ones were never released.

Numbered schema changes are applied in order by `olvido.ledger.store.engine.migrate`.
"""

from __future__ import annotations

from alembic import op

from olvido.ledger.store import schema

revision = "0006"
down_revision = None


def upgrade() -> None:
    """Create every table. At a release the tables are written here; later releases change them."""
    schema.metadata.create_all(op.get_bind())
