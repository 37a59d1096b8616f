"""What a zone was: read from the journal, backwards from what it is.

Separate from `journal`, which deliveries read: here whole changes are told, and contents computed.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from dnsworker import serials
from dnsworker.names import Name
from dnsworker.plan import RRsetChange
from dnsworker.records import SOA, Key, RRset
from dnsworker.store.rows import ZoneRow, chunks, rrset_of
from dnsworker.tables import journal, operation, trimmed


@dataclass(frozen=True, slots=True)
class Moment:
    """A change of the zone: its place in our own count, the serial that it got, and when it was made."""

    revision: int
    serial: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Made:
    """A change, who made it, and what it comprised."""

    moment: Moment
    #: The operation's row, without its payload.
    operation: Any
    #: RRsets that came, were replaced and went, of those that were asked for; the SOA is not among them.
    created: int
    updated: int
    deleted: int
    #: What it did to them, as far as that was asked for, and to the SOA.
    changes: tuple[RRsetChange, ...]


_OPERATION = tuple(column for column in operation.c if column.name != "payload")
_IS_SOA = journal.c.type == "SOA"


def oldest(connection: sa.Connection, zone: ZoneRow) -> Moment | None:
    """The first change of which all is kept; None where there never was any."""
    query = _moments(zone.id).order_by(journal.c.revision).limit(1)
    row = connection.execute(query).one_or_none()
    return None if row is None else _moment(row)


def with_serial(connection: sa.Connection, zone: ZoneRow, serial: int) -> Moment | None:
    """The change that gave the zone this serial."""
    query = _moments(zone.id).where(journal.c.serial == serial).order_by(journal.c.revision.desc())
    row = connection.execute(query.limit(1)).one_or_none()
    return None if row is None else _moment(row)


def before_serial(connection: sa.Connection, zone: ZoneRow, serial: int) -> Moment | None:
    """The last change whose serial isn't later than this one (RFC 1982)."""
    rows = connection.execute(_moments(zone.id).order_by(journal.c.revision.desc()))
    with rows:
        found = next((row for row in rows if not serials.is_ahead(row.serial, serial)), None)
    return None if found is None else _moment(found)


def before_time(connection: sa.Connection, zone: ZoneRow, at: datetime) -> Moment | None:
    """The last change that had been made by then."""
    query = _moments(zone.id).where(journal.c.at <= at).order_by(journal.c.revision.desc())
    row = connection.execute(query.limit(1)).one_or_none()
    return None if row is None else _moment(row)


def existed_at(connection: sa.Connection, zone: ZoneRow, revision: int) -> bool:
    """Whether the zone wasn't deleted: whatever exists has NS records at its apex."""
    query = sa.select(journal.c.after).where(*_until(zone, zone.name, "NS", revision))
    row = connection.execute(query.order_by(journal.c.revision.desc()).limit(1)).one_or_none()
    return row is not None and row.after is not None


def soa_at(connection: sa.Connection, zone: ZoneRow, revision: int) -> SOA:
    """The zone's own values under a revision at which it existed."""
    query = sa.select(journal.c.after).where(*_until(zone, zone.name, "SOA", revision))
    row = connection.execute(query.order_by(journal.c.revision.desc()).limit(1)).one()
    rrset = rrset_of((zone.name, "SOA"), row.after)
    assert rrset is not None, "a SOA is never removed"
    return SOA.from_rdata(rrset.data[0], rrset.ttl)


def changed_since(connection: sa.Connection, zone: ZoneRow, revision: int) -> dict[Key, RRset | None]:
    """What was there under a revision, for each RRset that was changed since (SOA left out)."""
    first = (
        sa.select(journal.c.name, journal.c.type, sa.func.min(journal.c.revision).label("revision"))
        .where(journal.c.zone_id == zone.id, journal.c.revision > revision, ~_IS_SOA)
        .group_by(journal.c.name, journal.c.type)
        .subquery()
    )
    query = sa.select(journal.c.name, journal.c.type, journal.c.before).join(
        first,
        sa.and_(
            journal.c.zone_id == zone.id,
            journal.c.name == first.c.name,
            journal.c.type == first.c.type,
            journal.c.revision == first.c.revision,
        ),
    )
    found: dict[Key, RRset | None] = {}
    for row in connection.execute(query):
        key = (Name(row.name), row.type)
        found[key] = rrset_of(key, row.before)
    return found


def changes(
    connection: sa.Connection,
    zone: ZoneRow,
    *,
    since: int,
    before: int | None = None,
    revision: int | None = None,
    owner: Name | None = None,
    limit: int,
    shown: int,
) -> list[Made]:
    """The latest changes from revision `since` on, newest first: `limit` of them, each with at most `shown`
    of the RRsets. Only those before a revision, only that one, or only what concerns one owner."""
    wanted = [journal.c.zone_id == zone.id, journal.c.revision >= since]
    if before is not None:
        wanted.append(journal.c.revision < before)
    if revision is not None:
        wanted.append(journal.c.revision == revision)
    if owner is not None:
        wanted.append(journal.c.name == owner)

    def count(is_so: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
        return sa.func.count(sa.case((sa.and_(~_IS_SOA, is_so), 1)))

    was, is_ = journal.c.before.is_not(None), journal.c.after.is_not(None)
    query = (
        sa.select(
            journal.c.revision,
            sa.func.min(journal.c.serial).label("serial"),
            sa.func.min(journal.c.at).label("at"),
            sa.func.min(journal.c.operation_id).label("operation_id"),
            count(~was).label("created"),
            count(sa.and_(was, is_)).label("updated"),
            count(~is_).label("deleted"),
        )
        .where(*wanted)
        .group_by(journal.c.revision)
        .order_by(journal.c.revision.desc())
        .limit(limit)
    )
    rows = connection.execute(query).all()
    made_by = _operations(connection, {row.operation_id for row in rows})
    rrsets = _rrsets(connection, zone, [row.revision for row in rows], owner, shown)
    return [
        Made(
            _moment(row), made_by[row.operation_id], row.created, row.updated, row.deleted,
            tuple(rrsets.get(row.revision, ())),
        )
        for row in rows
    ]  # fmt: skip


def _operations(connection: sa.Connection, ids: Collection[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for chunk in chunks(sorted(ids)):
        rows = connection.execute(sa.select(*_OPERATION).where(operation.c.id.in_(chunk)))
        found |= {row.id: row for row in rows}
    return found


def _rrsets(
    connection: sa.Connection, zone: ZoneRow, revisions: Collection[int], owner: Name | None, shown: int
) -> dict[int, list[RRsetChange]]:
    """Of each of the changes the SOA, the NS at the apex, and then the first RRsets by their names."""
    is_apex = sa.and_(journal.c.name == zone.name, journal.c.type == "NS")
    place = sa.func.row_number().over(
        partition_by=journal.c.revision,
        order_by=(sa.case((_IS_SOA, 0), (is_apex, 1), else_=2), journal.c.name, journal.c.type),
    )
    query = sa.select(
        journal.c.revision, journal.c.name, journal.c.type, journal.c.before, journal.c.after,
        place.label("place"),
    ).where(journal.c.zone_id == zone.id, journal.c.revision.in_(list(revisions)))  # fmt: skip
    if owner is not None:
        query = query.where(journal.c.name == owner)
    numbered = query.subquery()
    first = sa.select(numbered).where(numbered.c.place <= shown + 1)  # the SOA comes first, and isn't counted
    found: dict[int, list[RRsetChange]] = {}
    for row in connection.execute(first.order_by(numbered.c.revision, numbered.c.place)):
        key = (Name(row.name), row.type)
        change = RRsetChange(rrset_of(key, row.before), rrset_of(key, row.after))
        found.setdefault(row.revision, []).append(change)
    return {revision: of_one[: shown + (of_one[0].key[1] == "SOA")] for revision, of_one in found.items()}


def _until(zone: ZoneRow, name: Name, type_: str, revision: int) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        journal.c.zone_id == zone.id,
        journal.c.name == name,
        journal.c.type == type_,
        journal.c.revision <= revision,
    )


def _moments(zone_id: int) -> sa.Select[Any]:
    """All that is kept whole; of what was before, rows are left that say nothing about a moment."""
    first = sa.select(trimmed.c.revision).where(trimmed.c.zone_id == zone_id).scalar_subquery()
    return sa.select(journal.c.revision, journal.c.serial, journal.c.at).where(
        journal.c.zone_id == zone_id, journal.c.revision >= sa.func.coalesce(first, 0)
    )


def _moment(row: Any) -> Moment:
    return Moment(row.revision, row.serial, row.at)
