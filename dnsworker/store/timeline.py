"""Pages of what there is and was, for people who leaf through it: zones, a zone's operations, what each did.

Separate from what work needs, which reads by key. A page begins after the last thing of the one before, so
that the hundredth costs as much as the first.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from dnsworker.names import Name
from dnsworker.operations import ZoneStatus
from dnsworker.store.census import FEW
from dnsworker.tables import journal, operation, pool, zone

#: All but the payload, which may be a whole zone file.
OPERATION = tuple(column for column in operation.c if column.name != "payload")
LIVING = tuple(one.value for one in ZoneStatus if one is not ZoneStatus.DELETED)


def zones(
    connection: sa.Connection,
    limit: int,
    *,
    status: str | None = None,
    since: str = "",
    after: tuple[str, int] | None = None,
) -> list[Any]:
    """Zones by name: all that live, or those in a status; from the name `since` on, or after (name, id)."""
    found: list[Any] = []
    for one in LIVING if status is None else (status,):  # each by its part of the index
        query = (
            sa.select(
                zone.c.id, zone.c.name, pool.c.name.label("pool"), zone.c.status, zone.c.reason,
                zone.c.serial, zone.c.updated_at,
            )
            .join(pool, pool.c.id == zone.c.pool_id)
            .where(zone.c.status == one, zone.c.name >= (after[0] if after else since))
        )  # fmt: skip
        if after is not None:
            query = query.where(sa.or_(zone.c.name > after[0], zone.c.id > after[1]))
        found += connection.execute(query.order_by(zone.c.name, zone.c.id).limit(limit))
    # Put in order by the database's own idea of it, which isn't Python's.
    order = _ranks(connection, [row.name for row in found]) if status is None else {}
    return sorted(found, key=lambda row: (order.get(row.name, 0), row.id))[:limit] if order else found


def _ranks(connection: sa.Connection, names: list[str]) -> dict[str, int]:
    query = sa.select(zone.c.name).where(zone.c.name.in_(names)).order_by(zone.c.name)
    return {name: rank for rank, name in enumerate(connection.execute(query).scalars())}


def operations(
    connection: sa.Connection, name: Name, limit: int, *, before: tuple[datetime, str] | None = None
) -> list[Any]:
    """What was ever asked of the zones of that name, refused or not, newest first; rows of `OPERATION`.

    `before`: the `received_at` and id of the last one seen.
    """
    query = sa.select(*OPERATION).where(operation.c.zone == name)
    if before is not None:
        at, operation_id = before
        column = operation.c.received_at
        query = query.where(column <= at, sa.or_(column < at, operation.c.id < operation_id))
    return list(
        connection.execute(query.order_by(operation.c.received_at.desc(), operation.c.id.desc()).limit(limit))
    )


def changes(connection: sa.Connection, operation_id: str, limit: int) -> list[Any]:
    """The first of the RRsets that an operation changed, in order, its compensation included."""
    query = sa.select(
        journal.c.id, journal.c.zone_id, journal.c.revision, journal.c.serial, journal.c.name,
        journal.c.type, journal.c.before, journal.c.after,
    ).where(journal.c.operation_id == operation_id)  # fmt: skip
    # As they come from the index: an import may have written a hundred thousand.
    found = connection.execute(query.limit(limit)).all()
    return sorted(found, key=lambda row: (row.revision, row.id))


def count_changes(connection: sa.Connection, operation_id: str) -> int:
    """How many RRsets an operation changed; at most one more than `FEW`."""
    query = sa.select(journal.c.id).where(journal.c.operation_id == operation_id).limit(FEW + 1).subquery()
    return connection.execute(sa.select(sa.func.count()).select_from(query)).scalar_one()


def has_operation(connection: sa.Connection, operation_id: str) -> bool:
    query = sa.select(sa.literal(1)).select_from(operation).where(operation.c.id == operation_id)
    return connection.execute(query).first() is not None


def known_names(connection: sa.Connection, names: Collection[Name]) -> dict[Name, bool]:
    """Those of the names that zones have or had, and whether one of them lives."""
    found: dict[Name, bool] = {}
    query = sa.select(zone.c.name, zone.c.is_deleted).where(zone.c.name.in_(sorted(names)))
    for row in connection.execute(query):
        found[Name(row.name)] = found.get(Name(row.name), False) or not row.is_deleted
    return found
