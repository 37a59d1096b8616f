"""The journal: every change of an RRset, before and after; deliveries, history and restore read it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import sqlalchemy as sa

from dnsworker.names import Name
from dnsworker.plan import RRsetChange
from dnsworker.records import Key, RRset
from dnsworker.store import bulk
from dnsworker.store.rows import IDS, chunks, rrset_of, rrset_to_json
from dnsworker.tables import delivery, journal, operation


@dataclass(frozen=True, slots=True)
class Entry:
    """One row: what one operation did to one RRset."""

    revision: int
    serial: int
    operation_id: str
    key: Key
    change: RRsetChange


_FIRST_OPEN = (
    sa.select(operation.c.zone_id, sa.func.min(operation.c.revision).label("revision"))
    .where(operation.c.zone_id.in_(IDS), operation.c.status == "ACCEPTED")
    .group_by(operation.c.zone_id)
    .subquery("first")
)
_SINCE_OPEN = (
    sa.select(
        journal.c.zone_id, journal.c.revision, journal.c.operation_id, operation.c.status,
        journal.c.name, journal.c.type,
    )
    .join(_FIRST_OPEN, _FIRST_OPEN.c.zone_id == journal.c.zone_id)
    .join(operation, operation.c.id == journal.c.operation_id)
    .where(journal.c.revision >= _FIRST_OPEN.c.revision)
)  # fmt: skip
_SINCE_DELIVERIES = (
    sa.select(
        journal.c.revision, journal.c.serial, journal.c.operation_id,
        journal.c.name, journal.c.type, journal.c.before, journal.c.after, journal.c.zone_id,
    )
    .join(delivery, delivery.c.zone_id == journal.c.zone_id)
    .where(
        delivery.c.target_id == sa.bindparam("target", type_=sa.BigInteger),
        delivery.c.zone_id.in_(IDS),
        journal.c.revision > delivery.c.delivered_revision,
        journal.c.type != "SOA",
    )
    .order_by(journal.c.zone_id, journal.c.revision, journal.c.id)
    .limit(sa.bindparam("limit", type_=sa.Integer))
)  # fmt: skip


class Trace(NamedTuple):
    """Which operation touched an RRset under a revision, and how that operation is now."""

    revision: int
    operation_id: str
    status: str
    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Appended:
    """A row to write."""

    zone_id: int
    revision: int
    serial: int
    operation_id: str
    change: RRsetChange


def append(connection: sa.Connection, rows: Iterable[Appended]) -> None:
    """Write down what operations did; they must have rows by now."""
    values = []
    for row in rows:
        name, type_ = row.change.key
        values.append(
            {
                "zone_id": row.zone_id,
                "revision": row.revision,
                "serial": row.serial,
                "operation_id": row.operation_id,
                "name": name,
                "type": type_,
                "before": rrset_to_json(row.change.before),
                "after": rrset_to_json(row.change.after),
            }
        )
    bulk.put(connection, journal, values, at=("at",))


def since(connection: sa.Connection, zone_id: int, revision: int, until: int | None = None) -> list[Entry]:
    """What was changed after `revision` (up to `until`, included), in order. SOA rows are left out."""
    query = sa.select(
        journal.c.revision, journal.c.serial, journal.c.operation_id,
        journal.c.name, journal.c.type, journal.c.before, journal.c.after,
    ).where(journal.c.zone_id == zone_id, journal.c.revision > revision, journal.c.type != "SOA")  # fmt: skip
    if until is not None:
        query = query.where(journal.c.revision <= until)
    return [_entry(row) for row in connection.execute(query.order_by(journal.c.revision, journal.c.id))]


def since_deliveries(
    connection: sa.Connection, target_id: int, zone_ids: Collection[int], limit: int
) -> dict[int, list[Entry]]:
    """As `since`, for several zones, each from what the target has of it. Those for which it would be more
    than `limit` rows in all are left out."""
    found: dict[int, list[Entry]] = {zone_id: [] for zone_id in sorted(zone_ids)}
    given = {"target": target_id, "ids": list(zone_ids), "limit": limit + 1}
    rows = connection.execute(_SINCE_DELIVERIES, given).all()
    for row in rows:
        found[row.zone_id].append(_entry(row))
    if len(rows) > limit:
        found = {zone_id: entries for zone_id, entries in found.items() if zone_id < rows[-1].zone_id}
    return found


def of_operation(connection: sa.Connection, zone_id: int, operation_id: str) -> list[Entry]:
    """What an operation changed in a zone, its compensation (a later revision) included."""
    query = sa.select(
        journal.c.revision, journal.c.serial, journal.c.operation_id,
        journal.c.name, journal.c.type, journal.c.before, journal.c.after,
    ).where(journal.c.operation_id == operation_id, journal.c.zone_id == zone_id)  # fmt: skip
    return [_entry(row) for row in connection.execute(query.order_by(journal.c.revision, journal.c.id))]


def changed_keys(
    connection: sa.Connection, since: Collection[tuple[int, int]], limit: int
) -> dict[tuple[int, int], list[Key]]:
    """The RRsets changed last after a revision of a zone, by (zone id, revision): newest first, of `limit`
    rows at most (SOA left out)."""
    if connection.dialect.name == "postgresql" and len(since) > 1:
        rows = [{"zone_id": zone_id, "since": revision} for zone_id, revision in since]
        found: dict[tuple[int, int], list[Key]] = {one: [] for one in since}
        for row in connection.execute(_changed_after_each(limit), {"rows": rows}):
            found[row.zone_id, row.since].append((Name(row.name), row.type))
        return {one: list(dict.fromkeys(keys)) for one, keys in found.items()}
    found = {}
    for zone_id, revision in since:
        query = _changed_after(sa.literal(zone_id), sa.literal(revision), limit)
        found[zone_id, revision] = list(
            dict.fromkeys((Name(row.name), row.type) for row in connection.execute(query))
        )
    return found


@cache
def _changed_after_each(limit: int) -> Any:
    given = bulk.given({"zone_id": sa.BigInteger(), "since": sa.BigInteger()})
    last = _changed_after(given.c.zone_id, given.c.since, limit).lateral("last")
    return sa.select(given.c.zone_id, given.c.since, last.c.name, last.c.type).select_from(
        given.join(last, sa.true())
    )


def _changed_after(zone_id: sa.ColumnElement[int], revision: sa.ColumnElement[int], limit: int) -> Any:
    return (
        sa.select(journal.c.name, journal.c.type)
        .where(journal.c.zone_id == zone_id, journal.c.revision > revision, journal.c.type != "SOA")
        .order_by(journal.c.revision.desc())
        .limit(limit)
    )


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


def since_open(connection: sa.Connection, zone_ids: Collection[int]) -> dict[int, list[Trace]]:
    """What was changed in each of the zones since the first of its operations that is on its way."""
    found: dict[int, list[Trace]] = {}
    for zone_id, *row in connection.execute(_SINCE_OPEN, {"ids": list(zone_ids)}):
        found.setdefault(zone_id, []).append(Trace(*row))
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


def _entry(row: Any) -> Entry:
    """Of a row that begins with these columns; taken apart at once, since there are tens of thousands."""
    revision, serial, operation_id, name, type_, before, after, *_ = row
    key = (name, type_)
    return Entry(
        revision, serial, operation_id, key, RRsetChange(rrset_of(key, before), rrset_of(key, after))
    )
