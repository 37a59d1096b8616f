"""What `status` shows of deliveries and refusals stands in indexes.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

DUE = sa.text("due_at IS NOT NULL")
BLOCKED = sa.text("state IN ('foreign', 'ahead', 'held')")
KEY = ["target_id", "priority", "due_at"]


def upgrade() -> None:
    op.drop_index("ix_delivery_due", "delivery")
    _index("ix_delivery_due", KEY, DUE, postgresql_include=["attempts"])
    _index("ix_delivery_blocked", ["state", "target_id"], BLOCKED)
    op.create_index("ix_withheld_at", "withheld", ["at"])


def downgrade() -> None:
    op.drop_index("ix_withheld_at", "withheld")
    op.drop_index("ix_delivery_blocked", "delivery")
    op.drop_index("ix_delivery_due", "delivery")
    _index("ix_delivery_due", KEY, DUE)


def _index(name: str, columns: list[str], where: sa.TextClause, **options: Any) -> None:
    op.create_index(name, "delivery", columns, postgresql_where=where, sqlite_where=where, **options)
