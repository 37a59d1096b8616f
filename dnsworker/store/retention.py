"""What old rows may go: by index, a bounded number at a time.

    journal      revisions that are old enough, beyond those that every zone keeps, and that nobody needs any
                 more. The last row of each RRset that was there then stays, so that whatever is there has one
    operation    with the last of its journal rows; one that had none, when it is old enough
    submission   a client that submitted nothing for a zone for so long is another client

Separate from the tables' own modules because each of these rules looks at several of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from dnsworker.operations import Status
from dnsworker.store import bulk, zones
from dnsworker.store.rows import chunks, insert_or_ignore, upsert
from dnsworker.tables import (
    delivery,
    journal,
    move,
    now,
    operation,
    purge,
    submission,
    trimmed,
    withheld,
    zone,
)

#: Kinds of rows that are purged, each with a position of its own.
KINDS = ("journal", "operation", "submission")
#: Zones, by their ids, that are looked at in one go; and rows.
ZONES_AT_ONCE, ROWS_AT_ONCE = 2_000, 2_000
#: Rows that one statement deletes: of more, PostgreSQL reads a table that isn't very large from end to end.
DELETED_AT_ONCE = 100
#: Zones that are locked in one transaction.
TRIMMED_AT_ONCE = 20
ENDED = (Status.ACTIVE.value, Status.SUPERSEDED.value, Status.ERROR.value)
DAY_S = 86_400


def take_turn(connection: sa.Connection, what: str) -> Any:
    """How far the purge of these rows has got, locked; None while it isn't due, or somebody is at it."""
    query = sa.select(purge.c.position).where(purge.c.what == what)
    if connection.execute(query).one_or_none() is None:
        first = {"what": what, "position": [], "due_at": now()}
        insert_or_ignore(connection, purge, [first])
    due = query.where(purge.c.due_at <= now()).with_for_update(skip_locked=True)
    row = connection.execute(due).one_or_none()
    return None if row is None else row.position


def note_turn(connection: sa.Connection, what: str, position: Any, again_s: float) -> None:
    connection.execute(
        sa.update(purge).where(purge.c.what == what).values(position=position, due_at=now(again_s))
    )


def moment_before(connection: sa.Connection, days: float) -> datetime:
    """So long ago, by the database's clock."""
    at: datetime = connection.execute(sa.select(now(-days * DAY_S))).scalar_one()
    return at


# --- journal ------------------------------------------------------------------------------------------------


def long_lived(
    connection: sa.Connection, after: int, before: datetime, keep_serials: int
) -> tuple[list[int], int | None]:
    """Of the next slice of zones, those that have old revisions beyond what is kept; and where the slice
    ends (None: there are no zones beyond). One that is being moved keeps all."""
    first = connection.execute(sa.select(sa.func.min(zone.c.id)).where(zone.c.id > after)).scalar()
    if first is None:
        return [], None
    end = first + ZONES_AT_ONCE
    whole = sa.select(trimmed.c.revision).where(trimmed.c.zone_id == zone.c.id)
    oldest = (
        sa.select(journal.c.at)
        .where(
            journal.c.zone_id == zone.c.id,
            journal.c.revision >= sa.func.coalesce(whole.correlate(zone).scalar_subquery(), 0),
            journal.c.revision <= zone.c.revision - keep_serials,
        )
        .order_by(journal.c.revision)
        .limit(1)
        .correlate(zone)
        .scalar_subquery()
    )
    query = sa.select(zone.c.id).where(
        zone.c.id >= first, zone.c.id < end, zone.c.revision > keep_serials,
        zone.c.leaves_by.is_(None), zone.c.arrives_by.is_(None), oldest < before,
    )  # fmt: skip
    found = list(connection.execute(query.order_by(zone.c.id).limit(TRIMMED_AT_ONCE)).scalars())
    return found, found[-1] if len(found) == TRIMMED_AT_ONCE else end - 1


@dataclass(frozen=True, slots=True)
class Trimmed:
    """What went of a zone's journal."""

    rows: int
    operations: set[str]
    #: Whether there may be more to go.
    is_more: bool


def trim(connection: sa.Connection, zone_id: int, before: datetime, keep_serials: int) -> Trimmed:
    """Let go of the oldest revisions of a zone's journal, as far as they may go.

    Under the zone's lock, so that no restore reads what is just going; a zone that somebody has locked is
    left for the next time.
    """
    nothing = Trimmed(0, set(), is_more=False)
    locked = zones.lock_all(connection, [zone_id], wait=False)
    if not locked:
        return nothing
    first = connection.execute(sa.select(trimmed.c.revision).where(trimmed.c.zone_id == zone_id)).scalar()
    last = _last_expendable(connection, zone_id, locked[0].revision - keep_serials)
    mine = sa.and_(journal.c.zone_id == zone_id, journal.c.revision >= (first or 0))
    rows = connection.execute(
        sa.select(journal.c.revision, journal.c.at, journal.c.name)
        .where(mine, journal.c.revision <= last)
        .order_by(journal.c.revision)
        .limit(ROWS_AT_ONCE)
    ).all()
    young = next((row.revision for row in rows if row.at >= before), None)
    may_be_cut = rows[-1].revision if len(rows) == ROWS_AT_ONCE and young is None else None
    ends = sorted({row.revision for row in rows if young is None or row.revision < young})
    if len(ends) > 1 and ends[-1] == may_be_cut:
        ends.pop()
    if not ends:
        return nothing
    end = ends[-1]
    names = {row.name for row in rows if row.revision <= end}
    if end == may_be_cut:  # a single one, and a large one: all of it goes at once
        whole = sa.select(journal.c.name).where(journal.c.zone_id == zone_id, journal.c.revision == end)
        names |= set(connection.execute(whole).scalars())
    doomed = _superseded(connection, zone_id, names, end)
    for chunk in chunks(sorted(doomed), DELETED_AT_ONCE):
        connection.execute(sa.delete(journal).where(journal.c.id.in_(chunk)))
    kept = {"zone_id": zone_id, "revision": end + 1}
    upsert(connection, trimmed, [kept], update=("revision",))
    return Trimmed(len(doomed), set(doomed.values()), is_more=may_be_cut is not None)


def _last_expendable(connection: sa.Connection, zone_id: int, last: int) -> int:
    """The last revision that no delivery, no open operation and no question about the present needs."""
    newest = sa.select(sa.func.max(journal.c.revision)).where(journal.c.zone_id == zone_id)
    behind = sa.select(sa.func.min(delivery.c.delivered_revision)).where(
        delivery.c.zone_id == zone_id, delivery.c.goal == "present", delivery.c.delivered_revision > 0
    )
    is_open = sa.and_(operation.c.zone_id == zone_id, operation.c.status == sa.literal_column("'ACCEPTED'"))
    open_ = sa.select(sa.func.min(operation.c.revision)).where(is_open)
    row = connection.execute(sa.select(*(one.scalar_subquery() for one in (newest, behind, open_)))).one()
    bounds = [last, *(bound - less for bound, less in zip(row, (1, 0, 1), strict=True) if bound is not None)]
    return int(min(bounds))


def _superseded(connection: sa.Connection, zone_id: int, names: Collection[str], end: int) -> dict[int, str]:
    """Rows of these owners up to a revision that say nothing about what was there then: id → operation."""
    doomed: dict[int, str] = {}
    for chunk in chunks(sorted(names)):
        is_removal = journal.c.after.is_(None).label("is_removal")
        columns = (journal.c.id, journal.c.name, journal.c.type, journal.c.operation_id, is_removal)
        query = sa.select(*columns).where(
            journal.c.zone_id == zone_id, journal.c.name.in_(chunk), journal.c.revision <= end
        )
        last: dict[tuple[str, str], Any] = {}
        for row in connection.execute(query.order_by(journal.c.revision, journal.c.id)):
            if (earlier := last.get((row.name, row.type))) is not None:
                doomed[earlier.id] = earlier.operation_id
            last[row.name, row.type] = row
        doomed |= {row.id: row.operation_id for row in last.values() if row.is_removal}
    return doomed


# --- operations ---------------------------------------------------------------------------------------------


def ended(connection: sa.Connection, status: str, after: list[str] | None, before: datetime) -> list[Any]:
    """The next operations that have ended so before a moment, in the order of their ends. `after`: the end
    and the id of the last one that was read."""
    query = sa.select(operation.c.id, operation.c.finished_at).where(
        operation.c.status == status, operation.c.finished_at < before
    )
    if after is not None:
        at, operation_id = datetime.fromisoformat(after[0]), after[1]
        query = query.where(
            operation.c.finished_at >= at,
            sa.or_(operation.c.finished_at > at, operation.c.id > operation_id),
        )
    query = query.order_by(operation.c.finished_at, operation.c.id)
    return list(connection.execute(query.limit(ROWS_AT_ONCE)))


def forget(connection: sa.Connection, operation_ids: Iterable[str], before: datetime) -> int:
    """Let go of those of the operations that ended before a moment, and of which nothing else speaks."""
    count = 0
    for chunk in chunks(sorted(operation_ids), DELETED_AT_ONCE):
        is_kept = sa.or_(
            *(sa.exists().where(table.c.operation_id == operation.c.id) for table in (journal, withheld)),
            sa.exists().where(
                move.c.operation_id == operation.c.id, move.c.phase.in_(("delivering", "removing"))
            ),
        )
        query = sa.select(operation.c.id).where(
            operation.c.id.in_(chunk), operation.c.status.in_(ENDED), operation.c.finished_at < before,
            operation.c.is_untold.is_(sa.false()), ~is_kept,
        )  # fmt: skip
        ids = list(connection.execute(query.order_by(operation.c.id)).scalars())
        if ids:
            connection.execute(sa.delete(move).where(move.c.operation_id.in_(ids)))
            connection.execute(sa.delete(operation).where(operation.c.id.in_(ids)))
        count += len(ids)
    return count


# --- clients ------------------------------------------------------------------------------------------------


def forget_clients(
    connection: sa.Connection, after: list[str], before: datetime
) -> tuple[int, list[str] | None]:
    """Of the next clients' positions let go of those that are old; how many those were, and how far it got
    (None: to the end)."""
    query = sa.select(submission.c.client, submission.c.zone, submission.c.updated_at)
    if after:
        client, zone_name = after
        query = query.where(
            submission.c.client >= client,  # for databases that don't see it in the next line
            sa.or_(submission.c.client > client, submission.c.zone > zone_name),
        )
    rows = connection.execute(
        query.order_by(submission.c.client, submission.c.zone).limit(ROWS_AT_ONCE)
    ).all()
    old = [{"client": row.client, "zone": row.zone} for row in rows if row.updated_at < before]
    free = _FREE.find(connection, old) if old else []
    doomed = [{"client": row.client, "zone": row.zone} for row in free if row.updated_at < before]
    bulk.remove(connection, submission, doomed)
    end = [rows[-1].client, rows[-1].zone] if len(rows) == ROWS_AT_ONCE else None
    return len(doomed), end


#: Locked in the order in which the intake locks them.
_FREE = bulk.Search(
    submission,
    [submission.c.client, submission.c.zone, submission.c.updated_at],
    by=("client", "zone"),
    locked_by=[submission.c.client, submission.c.zone],
)
