"""Zones that move from one pool to another, and targets whose zones are removed before they are.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def upgrade() -> None:
    op.add_column("zone", sa.Column("leaves_by", sa.String(64), nullable=True))
    op.add_column("zone", sa.Column("arrives_by", sa.String(64), nullable=True))
    op.add_column("target", sa.Column("purging", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("target", sa.Column("purging_since", MOMENT, nullable=True))
    op.create_table(
        "move",
        sa.Column("operation_id", sa.String(64), nullable=False),
        sa.Column("source_id", BIG_ID, nullable=False),
        sa.Column("destination_id", BIG_ID, nullable=False),
        sa.Column("phase", sa.String(16), nullable=False),
        sa.Column("copies", sa.Integer(), nullable=False),
        sa.Column("copied_revision", sa.BigInteger(), nullable=False),
        sa.Column("left_serial", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["source_id"], ["zone.id"], name="fk_move_source_id"),
        sa.ForeignKeyConstraint(["destination_id"], ["zone.id"], name="fk_move_destination_id"),
        sa.PrimaryKeyConstraint("operation_id", name="pk_move"),
    )


def downgrade() -> None:
    op.drop_table("move")
    op.drop_column("target", "purging_since")
    op.drop_column("target", "purging")
    op.drop_column("zone", "arrives_by")
    op.drop_column("zone", "leaves_by")
