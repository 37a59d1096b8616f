"""Notices that the database is an older copy of the one that this worker knew, before anything is delivered.

An old database takes for drift what it has forgotten to have delivered, and would remove it. What a worker
knew is in its memory, and in Redis for those that are started later.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from datetime import UTC, datetime

import sqlalchemy as sa

from dnsworker.database import reading
from dnsworker.redis_budget import AWAY, connect
from dnsworker.store import lineage
from dnsworker.store.lineage import Mark

log = logging.getLogger(__name__)

KEY = "dnsworker:newest:{database}"


class Lineage:
    """What one process knows of its database's journal. Safe for threads."""

    def __init__(self, engine: sa.Engine, redis_url: str | None, keep_days: float) -> None:
        """`keep_days`: for so long no row of the journal is purged. Raises `ConfigError`."""
        self._keep_days = keep_days
        self._engine, self._reading = engine, reading(engine)
        self._guard = threading.Lock()
        self._mark: Mark | None = None
        self._redis = connect(redis_url) if redis_url else None
        place = engine.url.render_as_string(hide_password=True)
        self._key = KEY.format(database=hashlib.sha256(place.encode()).hexdigest()[:16])

    def recall(self) -> None:
        """Take up what the workers before us knew."""
        if self._redis is None:
            return
        try:
            kept = self._redis.get(self._key)
        except AWAY as exc:
            log.info("what the database was is not to be had from Redis: %s", exc)
            return
        if isinstance(kept, bytes):
            journal_id, operation_id, *at = kept.decode().split(" ")
            # A version that purged nothing kept no time.
            noted_at = datetime.fromisoformat(at[0]) if at else datetime.now(UTC)
            self._mark = Mark(int(journal_id), operation_id, noted_at)

    def holds(self, connection: sa.Connection) -> bool:
        """Whether the database is still the one that it was; notes how far it is."""
        mark = self._mark
        if mark is None:
            newest = lineage.newest(connection)
        else:
            newest = lineage.newest_after(connection, mark, self._keep_days)
        if mark is not None and newest is None:
            return False
        self._mark = newest
        return True

    def look(self) -> None:
        """Doubt everything where the database is another; let others know how far it is."""
        with self._reading.connect() as connection:
            is_same = self.holds(connection)
        if not is_same:
            self.doubt()
        if self._redis is not None and (mark := self._mark) is not None:
            try:
                self._redis.set(self._key, f"{mark.journal_id} {mark.operation_id} {mark.at.isoformat()}")
            except AWAY as exc:
                log.debug("how far the database is can't be kept in Redis: %s", exc)

    def doubt(self) -> None:
        """Have all targets compared before anything is written there, unless another thread has."""
        with self._guard, self._engine.begin() as connection:
            if self.holds(connection):
                return
            count = lineage.doubt_everything(connection)
            self._mark = lineage.newest(connection)
        log.error(
            "the database is not the one that it was: the end of its journal is missing. Was it restored "
            "from a backup? %d deliveries are compared with their targets before anything is written there",
            count,
        )

    def close(self) -> None:
        if self._redis is not None:
            self._redis.close()
