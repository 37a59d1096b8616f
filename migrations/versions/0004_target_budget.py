"""What a target may be asked: its budget, and how long it rests."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("target", sa.Column("rests_until", sa.DateTime(timezone=True), nullable=True))
    op.add_column("target", sa.Column("rest_reason", sa.Text(), nullable=True))
    op.add_column("target", sa.Column("paid_us", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("target", "paid_us")
    op.drop_column("target", "rest_reason")
    op.drop_column("target", "rests_until")
