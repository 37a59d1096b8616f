"""What an operator may stop: a target, all targets, a zone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
TEXT = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")
ARE_FROZEN = sa.text("frozen_at IS NOT NULL")


def upgrade() -> None:
    op.create_table(
        "pause",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("paused_at", MOMENT, nullable=False),
        sa.Column("paused_until", MOMENT, nullable=True),
        sa.Column("pause_reason", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_pause"),
    )
    op.add_column("target", sa.Column("paused_at", MOMENT, nullable=True))
    op.add_column("target", sa.Column("pause_reason", TEXT, nullable=True))
    op.add_column("zone", sa.Column("frozen_at", MOMENT, nullable=True))
    op.add_column("zone", sa.Column("freeze_reason", TEXT, nullable=True))
    op.create_index(
        "ix_zone_frozen_at", "zone", ["frozen_at"], postgresql_where=ARE_FROZEN, sqlite_where=ARE_FROZEN
    )


def downgrade() -> None:
    op.drop_index("ix_zone_frozen_at", "zone")
    op.drop_column("zone", "freeze_reason")
    op.drop_column("zone", "frozen_at")
    op.drop_column("target", "pause_reason")
    op.drop_column("target", "paused_at")
    op.drop_table("pause")
