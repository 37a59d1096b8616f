"""How the pages come to the database: one snapshot for each reading, and one word for all that may be wrong.

Separate so that no page has to know how a database can fail, and each says it alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa

from dnsworker import database
from dnsworker.credentials import mask_url
from dnsworker.errors import ConfigError
from dnsworker.settings import Settings

T = TypeVar("T")

#: Readings at a time; who comes later waits. A page is one reading.
AT_ONCE = 4


class DatabaseAway(Exception):
    """The database can't be read now; why, in one line for people."""


class Reader:
    """Reads from the database of the settings. Safe for threads; connects when something is read."""

    def __init__(self, settings: Settings) -> None:
        self._engine = database.connect(settings.database(), pool_size=AT_ONCE)
        self._is_checked = False

    def read(self, query: Callable[[sa.Connection], T]) -> T:
        """What `query` finds in one snapshot. Raises `DatabaseAway`, and what `query` raises besides."""
        try:
            try:
                return self._read(query)
            except database.AWAY as exc:
                # The database has been restarted since the connection was made: a new one may do.
                if not getattr(exc, "connection_invalidated", False):
                    raise
                return self._read(query)
        except database.AWAY as exc:
            self._is_checked = False
            raise DatabaseAway(_reason(exc)) from exc

    def check(self) -> None:
        """Whether the database is there, and of this version. Raises `DatabaseAway`."""
        self.read(lambda connection: connection.execute(sa.select(1)).scalar())

    def close(self) -> None:
        self._engine.dispose()

    def _read(self, query: Callable[[sa.Connection], T]) -> T:
        if not self._is_checked:  # while it was away it may have been upgraded, or be another one
            try:
                database.check_version(self._engine)
            except ConfigError as exc:
                raise DatabaseAway(exc.message) from exc
            self._is_checked = True
        with database.snapshot(self._engine) as connection:
            return query(connection)


def _reason(error: Exception) -> str:
    """The first line of what the driver said; SQLAlchemy wraps it and adds the statement."""
    said = str(getattr(error, "orig", None) or error).strip()
    return mask_url(said.splitlines()[0]) if said else type(error).__name__
