"""What the status page shows stands in indexes, and when a revision arrived beside the revision.

Revision ID: 0011
Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0011"
down_revision = "0009"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
ENDED = sa.text("finished_at IS NOT NULL")


def upgrade() -> None:
    op.add_column("delivery", sa.Column("delivered_at", MOMENT, nullable=True))
    op.add_column("observation", sa.Column("verified_at", MOMENT, nullable=True))
    op.create_index("ix_zone_status_name", "zone", ["status", "name"])
    op.drop_index("ix_zone_status", "zone")
    # Nothing read by (zone_id, revision); by the name, also what was refused is found.
    op.create_index("ix_operation_zone_received_at", "operation", ["zone", "received_at"])
    op.drop_index("ix_operation_zone_id_revision", "operation")
    op.create_index(
        "ix_operation_ended",
        "operation",
        ["status", "finished_at"],
        postgresql_where=ENDED,
        sqlite_where=ENDED,
    )


def downgrade() -> None:
    op.drop_index("ix_operation_ended", "operation")
    op.create_index("ix_operation_zone_id_revision", "operation", ["zone_id", "revision"])
    op.drop_index("ix_operation_zone_received_at", "operation")
    op.create_index("ix_zone_status", "zone", ["status"])
    op.drop_index("ix_zone_status_name", "zone")
    op.drop_column("observation", "verified_at")
    op.drop_column("delivery", "delivered_at")
