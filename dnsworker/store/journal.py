"""The journal: every change of an RRset, before and after; deliveries, history and restore read it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dnsworker.names import Name
from dnsworker.plan import RRsetChange
from dnsworker.records import Key
from dnsworker.store.rows import chunks, rrset_of, rrset_to_json
from dnsworker.tables import journal, now, operation


@dataclass(frozen=True, slots=True)
class Entry:
    """One row: what one operation did to one RRset."""

    revision: int
    serial: int
    operation_id: str
    key: Key
    change: RRsetChange


def append(
    connection: sa.Connection,
    zone_id: int,
    *,
    revision: int,
    serial: int,
    operation_id: str,
    changes: Sequence[RRsetChange],
) -> None:
    rows = [
        {
            "zone_id": zone_id,
            "revision": revision,
            "serial": serial,
            "operation_id": operation_id,
            "name": change.key[0],
            "type": change.key[1],
            "before": rrset_to_json(change.before),
            "after": rrset_to_json(change.after),
        }
        for change in changes
    ]
    if rows:
        connection.execute(sa.insert(journal).values(at=now()), rows)


def since(connection: sa.Connection, zone_id: int, revision: int, until: int | None = None) -> list[Entry]:
    """What was changed after `revision` (up to `until`, included), in order. SOA rows are left out."""
    query = sa.select(
        journal.c.revision, journal.c.serial, journal.c.operation_id,
        journal.c.name, journal.c.type, journal.c.before, journal.c.after,
    ).where(journal.c.zone_id == zone_id, journal.c.revision > revision, journal.c.type != "SOA")  # fmt: skip
    if until is not None:
        query = query.where(journal.c.revision <= until)
    return [_entry(row) for row in connection.execute(query.order_by(journal.c.revision, journal.c.id))]


def of_operation(connection: sa.Connection, operation_id: str) -> list[Entry]:
    """What an operation changed, its compensation (a later revision) included."""
    query = sa.select(
        journal.c.revision, journal.c.serial, journal.c.operation_id,
        journal.c.name, journal.c.type, journal.c.before, journal.c.after,
    ).where(journal.c.operation_id == operation_id)  # fmt: skip
    return [_entry(row) for row in connection.execute(query.order_by(journal.c.revision, journal.c.id))]


def changed_keys(connection: sa.Connection, zone_id: int, after: int, limit: int) -> list[Key]:
    """The RRsets changed last after a revision, newest first, `limit` rows at most (SOA left out)."""
    query = (
        sa.select(journal.c.name, journal.c.type)
        .where(journal.c.zone_id == zone_id, journal.c.revision > after, journal.c.type != "SOA")
        .order_by(journal.c.revision.desc())
        .limit(limit)
    )
    return list(dict.fromkeys((Name(row.name), row.type) for row in connection.execute(query)))


def changed_later(
    connection: sa.Connection, zone_id: int, revision: int, keys: Collection[Key], besides: str
) -> set[Key]:
    """Those of the keys that another operation than `besides` changed after `revision`."""
    wanted = set(keys)
    found: set[Key] = set()
    for chunk in chunks(sorted({name for name, _ in wanted})):
        query = sa.select(journal.c.name, journal.c.type).where(
            journal.c.zone_id == zone_id,
            journal.c.revision > revision,
            journal.c.name.in_(chunk),
            journal.c.operation_id != besides,
        )
        found.update((Name(row.name), row.type) for row in connection.execute(query))
    return found & wanted


def operations_with_entries(connection: sa.Connection, operation_ids: Iterable[str]) -> set[str]:
    """Those of the operations that changed anything."""
    found: set[str] = set()
    for chunk in chunks(list(operation_ids)):
        query = sa.select(journal.c.operation_id).where(journal.c.operation_id.in_(chunk)).distinct()
        found.update(connection.execute(query).scalars())
    return found


def still_showing(
    connection: sa.Connection, zone_id: int, operation_ids: Iterable[str], until: int
) -> set[str]:
    """Those of the operations of which at least one RRset was not changed again up to revision `until`.

    What an operation did that ended in ERROR doesn't count: it was taken back.
    """
    later = journal.alias("later")
    found: set[str] = set()
    for chunk in chunks(list(operation_ids)):
        replaced = (
            sa.select(sa.literal(1))
            .select_from(later.join(operation, operation.c.id == later.c.operation_id))
            .where(
                later.c.zone_id == journal.c.zone_id,
                later.c.name == journal.c.name,
                later.c.type == journal.c.type,
                later.c.revision > journal.c.revision,
                later.c.revision <= until,
                operation.c.status != "ERROR",
            )
        )
        query = (
            sa.select(journal.c.operation_id)
            .where(journal.c.zone_id == zone_id, journal.c.operation_id.in_(chunk), ~replaced.exists())
            .distinct()
        )
        found.update(connection.execute(query).scalars())
    return found


def revision_of_serial(connection: sa.Connection, zone_id: int, serial: int) -> int | None:
    """The revision under which the zone had that serial; None when the journal doesn't know it."""
    query = sa.select(sa.func.max(journal.c.revision))
    query = query.where(journal.c.zone_id == zone_id, journal.c.serial == serial)
    return connection.execute(query).scalar()


def _entry(row: Any) -> Entry:
    key = (Name(row.name), row.type)
    change = RRsetChange(rrset_of(key, row.before), rrset_of(key, row.after))
    return Entry(row.revision, row.serial, row.operation_id, key, change)
