"""What nameservers were last seen to have."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from dnsworker.store import bulk
from dnsworker.store.rows import IDS
from dnsworker.tables import observation

_OF_ZONES = sa.select(observation).where(observation.c.zone_id.in_(IDS))


@dataclass(frozen=True, slots=True)
class Observation:
    """One nameserver and one zone. `verified_revision`: how far its answers were found right."""

    zone_id: int
    nameserver: str
    verified_revision: int
    serial: int | None
    seen_at: datetime | None
    error: str | None
    #: When it was first found right up to there: the database's to say.
    verified_at: datetime | None = None


def of_zones(connection: sa.Connection, zone_ids: Collection[int]) -> dict[int, dict[str, Observation]]:
    """Of several zones, by zone and nameserver."""
    found: dict[int, dict[str, Observation]] = {}
    for row in connection.execute(_OF_ZONES, {"ids": list(zone_ids)}):
        found.setdefault(row.zone_id, {})[row.nameserver] = Observation(**row._mapping)
    return found


def put(connection: sa.Connection, seen: Iterable[Observation]) -> None:
    """Write what was seen; when is the database's to say."""
    rows = [
        {
            "zone_id": one.zone_id, "nameserver": one.nameserver,
            "verified_revision": one.verified_revision, "serial": one.serial, "error": one.error,
        }
        for one in seen
    ]  # fmt: skip
    bulk.put(connection, observation, rows, update=_seen_again, at=("seen_at", "verified_at"))


def _seen_again(new: Any) -> dict[str, Any]:
    """`verified_at` stays where nothing more was found right than before."""
    is_same = observation.c.verified_revision == new.verified_revision
    return {
        "verified_at": sa.case((is_same, observation.c.verified_at), else_=new.verified_at),
        **{name: new[name] for name in ("verified_revision", "serial", "seen_at", "error")},
    }
