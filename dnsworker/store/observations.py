"""What nameservers were last seen to have."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from dnsworker.store.rows import upsert
from dnsworker.tables import now, observation


@dataclass(frozen=True, slots=True)
class Observation:
    """One nameserver and one zone. `verified_revision`: how far its answers were found right."""

    zone_id: int
    nameserver: str
    verified_revision: int
    serial: int | None
    seen_at: datetime | None
    error: str | None


def of_zone(connection: sa.Connection, zone_id: int) -> dict[str, Observation]:
    query = sa.select(observation).where(observation.c.zone_id == zone_id)
    return {row.nameserver: Observation(**row._mapping) for row in connection.execute(query)}


def put(connection: sa.Connection, zone_id: int, seen: Iterable[dict[str, Any]]) -> None:
    """Write what was seen: `nameserver`, `verified_revision`, `serial`, `error`."""
    rows = [{"zone_id": zone_id, "seen_at": now(), **row} for row in seen]
    if rows:
        upsert(connection, observation, rows, update=("verified_revision", "serial", "seen_at", "error"))
