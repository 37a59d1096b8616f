"""What a target may be asked: its budget, and how long it rests."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
TEXT = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")


def upgrade() -> None:
    op.add_column("target", sa.Column("rests_until", MOMENT, nullable=True))
    op.add_column("target", sa.Column("rest_reason", TEXT, nullable=True))
    op.add_column("target", sa.Column("paid_us", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("target", "paid_us")
    op.drop_column("target", "rest_reason")
    op.drop_column("target", "rests_until")
