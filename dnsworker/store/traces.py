"""What a trace needs to know of operations; separate because nobody asks for it but who makes spans."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa

from dnsworker.store.rows import IDS, chunks
from dnsworker.tables import journal, operation

_OF = sa.select(operation.c.id, operation.c.kind, operation.c.zone, operation.c.traceparent).where(
    operation.c.id.in_(IDS)
)
_CARRIED = (
    sa.select(journal.c.revision, journal.c.operation_id)
    .where(
        journal.c.zone_id == sa.bindparam("zone_id"),
        journal.c.revision > sa.bindparam("low"),
        journal.c.revision <= sa.bindparam("high"),
    )
    .distinct()
    .order_by(journal.c.revision)
    .limit(sa.bindparam("limit"))
)


@dataclass(frozen=True, slots=True)
class Traced:
    """An operation, and what came with it."""

    id: str
    kind: str
    zone: str
    traceparent: str | None


def of(connection: sa.Connection, operation_ids: Collection[str]) -> dict[str, Traced]:
    """By id; without those that have no row."""
    found: dict[str, Traced] = {}
    for chunk in chunks(sorted(operation_ids)):
        found |= {row.id: Traced(**row._mapping) for row in connection.execute(_OF, {"ids": chunk})}
    return found


def between(connection: sa.Connection, zone_id: int, low: int, high: int, limit: int) -> list[str]:
    """The operations that led a zone from one revision to another, the first ones first."""
    given = {"zone_id": zone_id, "low": low, "high": high, "limit": limit}
    return list(dict.fromkeys(row.operation_id for row in connection.execute(_CARRIED, given)))
