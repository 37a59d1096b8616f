"""The journal: every change of an RRset, before and after; deliveries, history and restore read it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dnsworker.names import Name
from dnsworker.plan import RRsetChange
from dnsworker.records import Key, RRset
from dnsworker.store import bulk
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
    bulk.put(connection, journal, rows, same={"at": now()})


def since(connection: sa.Connection, zone_id: int, revision: int, until: int | None = None) -> list[Entry]:
    """What was changed after `revision` (up to `until`, included), in order. SOA rows are left out."""
    query = sa.select(
        journal.c.revision, journal.c.serial, journal.c.operation_id,
        journal.c.name, journal.c.type, journal.c.before, journal.c.after,
    ).where(journal.c.zone_id == zone_id, journal.c.revision > revision, journal.c.type != "SOA")  # fmt: skip
    if until is not None:
        query = query.where(journal.c.revision <= until)
    return [_entry(row) for row in connection.execute(query.order_by(journal.c.revision, journal.c.id))]


def of_operation(connection: sa.Connection, zone_id: int, operation_id: str) -> list[Entry]:
    """What an operation changed in a zone, its compensation (a later revision) included."""
    query = sa.select(
        journal.c.revision, journal.c.serial, journal.c.operation_id,
        journal.c.name, journal.c.type, journal.c.before, journal.c.after,
    ).where(journal.c.operation_id == operation_id, journal.c.zone_id == zone_id)  # fmt: skip
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
    """Those of the keys that another operation than `besides` changed after `revision`.

    What an operation did that ended in ERROR doesn't count: it was taken back.
    """
    wanted = set(keys)
    found: set[Key] = set()
    for chunk in chunks(sorted({name for name, _ in wanted})):
        query = (
            sa.select(journal.c.name, journal.c.type)
            .join(operation, operation.c.id == journal.c.operation_id)
            .where(
                journal.c.zone_id == zone_id,
                journal.c.revision > revision,
                journal.c.name.in_(chunk),
                journal.c.operation_id != besides,
                operation.c.status != "ERROR",
            )
        )
        found.update((Name(row.name), row.type) for row in connection.execute(query))
    return found & wanted


def last_entries(connection: sa.Connection, zone_id: int, keys: Collection[Key]) -> dict[Key, Entry]:
    """The last change of each of the RRsets."""
    wanted = set(keys)
    found: dict[Key, Entry] = {}
    for chunk in chunks(sorted({name for name, _ in wanted})):
        query = sa.select(
            journal.c.revision, journal.c.serial, journal.c.operation_id,
            journal.c.name, journal.c.type, journal.c.before, journal.c.after,
        ).where(journal.c.zone_id == zone_id, journal.c.name.in_(chunk))  # fmt: skip
        for row in connection.execute(query.order_by(journal.c.revision, journal.c.id)):
            if (Name(row.name), row.type) in wanted:
                found[Name(row.name), row.type] = _entry(row)
    return found


def keys_of_operations(
    connection: sa.Connection, operation_ids: Iterable[str], names: Collection[Name]
) -> dict[str, set[Key]]:
    """Which RRsets of these owners each of the operations changed."""
    found: dict[str, set[Key]] = {}
    for chunk in chunks(list(operation_ids)):
        query = sa.select(journal.c.operation_id, journal.c.name, journal.c.type)
        for row in connection.execute(query.where(journal.c.operation_id.in_(chunk))):
            if row.name in names:
                found.setdefault(row.operation_id, set()).add((Name(row.name), row.type))
    return found


def before_rejections(
    connection: sa.Connection, zone_id: int, revisions: Mapping[Key, int]
) -> dict[Key, RRset | None]:
    """What each RRset was before the change under that revision and all that ended in ERROR before it."""
    value: dict[Key, RRset | None] = {}
    is_found: set[Key] = set()
    for chunk in chunks(sorted({name for name, _ in revisions})):
        query = (
            sa.select(
                journal.c.revision, journal.c.name, journal.c.type, journal.c.before, operation.c.status
            )
            .join(operation, operation.c.id == journal.c.operation_id)
            .where(journal.c.zone_id == zone_id, journal.c.name.in_(chunk))
            .order_by(journal.c.revision.desc(), journal.c.id.desc())
        )
        for row in connection.execute(query):
            key = (Name(row.name), row.type)
            if key in is_found or row.revision > revisions.get(key, -1):
                continue
            if row.revision == revisions[key] or row.status == "ERROR":
                value[key] = rrset_of(key, row.before)
            else:
                is_found.add(key)
    return value


def hidden_by_later(
    connection: sa.Connection, zone_id: int, operation_ids: Iterable[str], until: int, ahead: int
) -> set[str]:
    """Those of the operations of which some witness shows what a later one put in the place of theirs,
    while enough of them have come to `until` only, and the first to `ahead`.

    The later one is on its way itself, or was rejected, and what was there before comes back after `until`.
    """
    other, back = journal.alias("other"), journal.alias("back")
    comes_back = sa.select(sa.literal(1)).where(
        back.c.operation_id == other.c.operation_id,
        back.c.name == other.c.name,
        back.c.type == other.c.type,
        back.c.revision > until,
    )
    found: set[str] = set()
    for chunk in chunks(list(operation_ids)):
        hidden = (
            sa.select(sa.literal(1))
            .select_from(other.join(operation, operation.c.id == other.c.operation_id))
            .where(
                other.c.zone_id == journal.c.zone_id,
                other.c.name == journal.c.name,
                other.c.type == journal.c.type,
                other.c.revision > journal.c.revision,
                other.c.revision <= ahead,
                sa.or_(
                    sa.and_(operation.c.status == "ACCEPTED", other.c.revision > until),
                    sa.and_(operation.c.status == "ERROR", comes_back.exists()),
                ),
            )
        )
        query = (
            sa.select(journal.c.operation_id)
            .where(journal.c.zone_id == zone_id, journal.c.operation_id.in_(chunk), hidden.exists())
            .distinct()
        )
        found.update(connection.execute(query).scalars())
    return found


def was_removed_since(connection: sa.Connection, zone_id: int, key: Key, revision: int) -> bool:
    """Whether the RRset was taken away after a revision."""
    query = sa.select(sa.literal(1)).where(
        journal.c.zone_id == zone_id,
        journal.c.name == key[0],
        journal.c.type == key[1],
        journal.c.revision > revision,
        journal.c.after.is_(None),
    )
    return connection.execute(query.limit(1)).first() is not None


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
