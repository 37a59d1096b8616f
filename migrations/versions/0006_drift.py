"""Comparison of zones in which nothing changes, and repairs that come after changes.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

DUE = sa.text("due_at IS NOT NULL")
COMPARED = sa.text("compare_at IS NOT NULL AND due_at IS NULL")
AHEAD = sa.text("state = 'ahead'")


def upgrade() -> None:
    moment = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
    op.add_column("target", sa.Column("repairs_paid_us", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("target", sa.Column("looks_paid_us", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("delivery", sa.Column("priority", sa.SmallInteger(), nullable=False, server_default="0"))
    op.add_column("delivery", sa.Column("compare_at", moment, nullable=True))
    op.add_column("delivery", sa.Column("compared_at", moment, nullable=True))
    # What is there already is compared from now on, at the rate of `DNSWORKER_COMPARE_PER_MINUTE`.
    op.execute("UPDATE delivery SET compare_at = last_attempt_at WHERE state = 'present'")
    op.drop_index("ix_delivery_due", "delivery")
    _index("ix_delivery_due", ["target_id", "priority", "due_at"], DUE)
    _index("ix_delivery_compare", ["target_id", "compare_at"], COMPARED)
    _index("ix_delivery_ahead", ["state"], AHEAD)


def downgrade() -> None:
    op.drop_index("ix_delivery_ahead", "delivery")
    op.drop_index("ix_delivery_compare", "delivery")
    op.drop_index("ix_delivery_due", "delivery")
    _index("ix_delivery_due", ["target_id", "due_at"], DUE)
    op.drop_column("delivery", "compared_at")
    op.drop_column("delivery", "compare_at")
    op.drop_column("delivery", "priority")
    op.drop_column("target", "looks_paid_us")
    op.drop_column("target", "repairs_paid_us")


def _index(name: str, columns: list[str], where: sa.TextClause) -> None:
    op.create_index(name, "delivery", columns, postgresql_where=where, sqlite_where=where)
