"""The built-in nameserver's view of the database: what was delivered to `builtin` targets."""

from __future__ import annotations

import sqlalchemy as sa

from dnsworker import database
from dnsworker.answers import ZoneView, relevant_names
from dnsworker.contents import ZoneContents
from dnsworker.names import Name
from dnsworker.store import served


class DatabaseSource:
    """A `ZoneSource` (see `dnsworker.nameserver`) over the served tables."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = database.reading(engine)

    def find(self, qname: Name) -> ZoneView | None:
        """The closest zone, with all owners read that the answer can need."""
        return served.closest_zone(self._engine, qname, lambda zone: relevant_names(qname, zone))

    def contents(self, zone: Name) -> ZoneContents | None:
        with self._engine.connect() as connection:
            return served.contents(connection, zone)
