"""How Alembic reaches the database: over the connection that `dnsworker.database.upgrade` hands it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context
from alembic.ddl.mysql import MariaDBImpl, MySQLImpl

from dnsworker.tables import metadata

#: A table, column or index is there; there is none to drop.
IS_DONE = (1050, 1060, 1061, 1051, 1091)


class _Repeatable(MySQLImpl):
    """MariaDB commits each statement by itself: what an upgrade that broke off has done is passed over.

    So a migration there is DDL, or a statement that may be repeated.
    """

    def _exec(self, construct: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return super()._exec(construct, *arguments, **options)
        except sa.exc.DBAPIError as exc:
            if exc.orig is not None and exc.orig.args[0] in IS_DONE:
                return None
            raise

    def create_table(self, table: sa.Table, **options: Any) -> None:
        """Whatever the server's defaults are: text is compared octet by octet, trailing blanks too."""
        is_mariadb = getattr(self.dialect, "is_mariadb", False)
        wanted = {
            "engine": "InnoDB",
            "charset": "utf8mb4",
            "collate": "utf8mb4_nopad_bin" if is_mariadb else "utf8mb4_0900_bin",
        }
        for name, value in wanted.items():
            table.dialect_kwargs[f"{self.dialect.name}_{name}"] = value
        super().create_table(table, **options)


class _RepeatableMySQL(_Repeatable):
    __dialect__ = "mysql"


class _RepeatableMariaDB(_Repeatable, MariaDBImpl):
    __dialect__ = "mariadb"


connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
