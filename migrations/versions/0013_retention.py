"""What was purged of the journal, and how far the purge has got.

Revision ID: 0013
Revises: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0013"
down_revision = "0011"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def upgrade() -> None:
    op.create_table(
        "trimmed",
        sa.Column("zone_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("zone_id", name="pk_trimmed"),
        sa.ForeignKeyConstraint(["zone_id"], ["zone.id"], name="fk_trimmed_zone_id"),
    )
    op.create_table(
        "purge",
        sa.Column("what", sa.String(16), nullable=False),
        sa.Column("position", sa.JSON(), nullable=False),
        sa.Column("due_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("what", name="pk_purge"),
    )


def downgrade() -> None:
    op.drop_table("purge")
    op.drop_table("trimmed")
