"""The purge of what is older than it has to be kept: a part of each sweep, bounded, by one worker at a time.

Separate from the sweep, which finds what is to be done now; here nothing is ever urgent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from dnsworker.settings import Settings
from dnsworker.store import retention

log = logging.getLogger(__name__)

#: Between two batches, however many workers sweep; and between two rounds.
NEXT_S, ROUND_S = 1.0, 3600.0


#: Purges the next rows from a position on: how many went, how far it got, and in how many seconds to go on.
Step = Callable[[sa.Connection, Any], tuple[int, Any, float]]


class Retention:
    """What one process does for it. How far it is stands in the database."""

    def __init__(self, engine: sa.Engine, settings: Settings) -> None:
        self._engine = engine
        self._days, self._serials = settings.keep_days, settings.keep_serials

    def advance(self) -> int:
        """Purge the next rows of each kind, where it is due; how many went."""
        count = 0
        steps: tuple[Step, ...] = (self._trim, self._forget, self._forget_clients)
        for what, step in zip(retention.KINDS, steps, strict=True):
            with self._engine.begin() as connection:
                position = retention.take_turn(connection, what)
                if position is None:
                    continue
                purged, position, again_s = step(connection, position)
                retention.note_turn(connection, what, position, again_s)
            if purged:
                log.info("purged %d old rows: %s", purged, what)
            count += purged
        return count

    def _trim(self, connection: sa.Connection, position: list[int]) -> tuple[int, Any, float]:
        """Zone after zone, by their ids; what isn't finished is gone on with."""
        before = retention.moment_before(connection, self._days)
        after = position[0] if position else 0
        ids, end = retention.long_lived(connection, after, before, self._serials)
        count = 0
        for zone_id in ids:
            done = retention.trim(connection, zone_id, before, self._serials)
            count += done.rows + retention.forget(connection, done.operations, before)
            if done.is_more or count >= retention.ROWS_AT_ONCE:
                return count, [zone_id - 1 if done.is_more else zone_id], NEXT_S
        return count, [] if end is None else [end], ROUND_S if end is None else NEXT_S

    def _forget(self, connection: sa.Connection, position: Any) -> tuple[int, Any, float]:
        """Each once, when it is old enough; one with rows in the journal goes with the last of these."""
        before = retention.moment_before(connection, self._days)
        reached: dict[str, list[str]] = dict(position or {})
        count, is_more = 0, False
        for status in retention.ENDED:
            rows = retention.ended(connection, status, reached.get(status), before)
            count += retention.forget(connection, [row.id for row in rows], before)
            if rows:
                reached[status] = [rows[-1].finished_at.isoformat(), rows[-1].id]
            is_more = is_more or len(rows) == retention.ROWS_AT_ONCE
        return count, reached, NEXT_S if is_more else ROUND_S

    def _forget_clients(self, connection: sa.Connection, position: list[str]) -> tuple[int, Any, float]:
        before = retention.moment_before(connection, self._days)
        count, end = retention.forget_clients(connection, position, before)
        return count, end or [], ROUND_S if end is None else NEXT_S
