"""Statements that are compiled once for all engines of a run, and not once in each test.

An engine keeps its compiled statements by its dialect, and every engine has a dialect object of its own. Here
those that know the same of their servers are equal, and all engines keep their statements in one place.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import registry
from sqlalchemy.util import LRUCache

#: As many as an engine's own would hold, for each of a few kinds of servers.
_compiled: LRUCache[Any, Any] = LRUCache(4000)


class _Alike:
    """A dialect that equals others of its class whose servers said the same at the first connection."""

    _known: frozenset[Any] | None = None

    def initialize(self, connection: sa.Connection) -> None:
        super().initialize(connection)  # type: ignore[misc]
        plain = (bool, int, str, tuple, type(None))
        self._known = frozenset(item for item in vars(self).items() if isinstance(item[1], plain))

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return type(self) is type(other) and self._known is not None and self._known == other._known

    def __hash__(self) -> int:
        return hash(type(self))

    @classmethod
    def engine_created(cls, engine: sa.Engine) -> None:
        engine.update_execution_options(compiled_cache=_compiled)


def _alike(name: str) -> type[_Alike]:
    dialect = sa.make_url(f"{name}://").get_dialect()
    return type(f"Alike{dialect.__name__}", (_Alike, dialect), {"supports_statement_cache": True})


SQLite, PostgreSQL, MariaDB = map(_alike, ("sqlite", "postgresql+psycopg2", "mariadb+pymysql"))


def share_compiled() -> None:
    """From now on, in this process."""
    registry.register("sqlite", __name__, "SQLite")
    registry.register("postgresql.psycopg2", __name__, "PostgreSQL")
    registry.register("mariadb.pymysql", __name__, "MariaDB")
