"""What may not come back is a list of digests: which request barred one is nobody's business."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the list anew. Nothing had written to it yet."""
    op.drop_table("suppressions")
    op.create_table(
        "suppressions",
        sa.Column("digest", sa.String, primary_key=True),
        sa.Column("at", sa.String, nullable=False),
    )
