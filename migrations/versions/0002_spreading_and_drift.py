"""What a provider is still spreading to its servers, and what somebody else changed and we leave.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")


def upgrade() -> None:
    op.add_column("delivery", sa.Column("unconfirmed", sa.JSON(none_as_null=True)))
    op.add_column("delivery", sa.Column("drift", TEXT))


def downgrade() -> None:
    op.drop_column("delivery", "drift")
    op.drop_column("delivery", "unconfirmed")
