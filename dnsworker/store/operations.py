"""Operations: one row each, from submission to its one end; and the order of a client's submissions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from dnsworker.errors import InvalidRequest
from dnsworker.names import Name
from dnsworker.operations import Status
from dnsworker.records import Key
from dnsworker.requests.kinds import parse_request
from dnsworker.store import bulk
from dnsworker.store.rows import IDS, chunks, insert_new
from dnsworker.tables import MARIADB, now, operation, submission

#: What is noted of the moment at which an operation comes to a status.
MOMENTS = {Status.ACCEPTED.value: ("accepted_at",), Status.ERROR.value: ("finished_at",)}
#: What an intake, or an end, makes of an operation.
DECIDED = ("status", "zone_id", "revision", "serial", "code", "message", "is_untold")

_ACCEPTED_IN = (
    sa.select(
        operation.c.zone_id, operation.c.id, operation.c.kind, operation.c.revision, operation.c.received_at
    )
    .where(operation.c.zone_id.in_(IDS), operation.c.status == Status.ACCEPTED.value)
    .order_by(operation.c.revision)
)
_UNTOLD = (
    sa.select(operation.c.id)
    .where(operation.c.id.in_(IDS), operation.c.is_untold)
    .with_for_update(skip_locked=True)
)
_TELL = sa.update(operation).values(is_untold=False)
_TELL_THESE = _TELL.where(operation.c.id.in_(IDS))
_TELL_UNTOLD = _TELL.where(operation.c.id.in_(_UNTOLD.scalar_subquery()))
OPEN = (Status.PENDING.value, Status.HELD.value, Status.ACCEPTED.value)


def insert(connection: sa.Connection, row: dict[str, Any]) -> bool:
    """Write a new operation down; False when its id is known already."""
    return insert_new(connection, operation, {"received_at": now(), **row})


def insert_all(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Write new operations down together with what has become of them. Raises `IntegrityError` for known ids.

    All have the same columns.
    """
    ordered = sorted(rows, key=lambda row: str(row["id"]))  # two that insert the same ones wait in one order
    for status in sorted({str(row["status"]) for row in rows}):
        at = ("received_at", *MOMENTS.get(status, ()))
        bulk.put(connection, operation, [row for row in ordered if row["status"] == status], at=at)


def decide(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Write what has become of operations that have rows and are open: `DECIDED`, by `id`."""
    _DECIDE.carry_out(connection, rows)


def _decided(row: Any) -> dict[str, Any]:
    is_accepted, has_ended = row.status == Status.ACCEPTED.value, row.status == Status.ERROR.value
    return {name: getattr(row, name) for name in DECIDED} | {
        "accepted_at": sa.case((is_accepted, now()), else_=operation.c.accepted_at),
        "finished_at": sa.case((has_ended, now()), else_=operation.c.finished_at),
    }


_DECIDE = bulk.Change(
    operation,
    {name: operation.c[name].type for name in ("id", *DECIDED)},
    where=lambda row: [operation.c.id == row.id, operation.c.finished_at.is_(None)],
    values=_decided,
    key="id",
)


def known(connection: sa.Connection, operation_ids: Collection[str]) -> dict[str, Any]:
    """Those of the operations that have rows, locked in the order of their ids."""
    found: dict[str, Any] = {}
    for chunk in chunks(sorted(operation_ids)):
        query = sa.select(operation).where(operation.c.id.in_(chunk)).order_by(operation.c.id)
        found |= {row.id: row for row in connection.execute(query.with_for_update())}
    return found


def get(connection: sa.Connection, operation_id: str) -> Any:
    return connection.execute(sa.select(operation).where(operation.c.id == operation_id)).one_or_none()


def lock(connection: sa.Connection, operation_id: str) -> Any:
    query = sa.select(operation).where(operation.c.id == operation_id).with_for_update()
    return connection.execute(query).one_or_none()


def rehome(
    connection: sa.Connection, operation_ids: Sequence[str], zone_id: int, revision: int, serial: int
) -> None:
    """Open operations are judged by another zone, or revision, from now on: theirs has moved."""
    _set(connection, operation_ids, zone_id=zone_id, revision=revision, serial=serial)


def refuse(connection: sa.Connection, operation_id: str, error: InvalidRequest) -> None:
    end(connection, [operation_id], Status.ERROR, code=error.code, message=error.message)


def foredoom(connection: sa.Connection, operation_id: str, error: InvalidRequest) -> None:
    """The operation will be refused with this as soon as it is its turn."""
    _set(connection, [operation_id], code=error.code, message=error.message)


def end(
    connection: sa.Connection,
    operation_ids: Sequence[str],
    status: Status,
    *,
    code: str | None = None,
    message: str | None = None,
) -> None:
    """Give open operations their end, and note that it is still to be told."""
    _set(
        connection, operation_ids,
        status=status, code=code, message=message, finished_at=now(), is_untold=True,
    )  # fmt: skip


def accepted_in_all(connection: sa.Connection, zone_ids: Collection[int]) -> dict[int, list[Any]]:
    """As `accepted_in`, of several zones; only those that have some."""
    found: dict[int, list[Any]] = {}
    for row in connection.execute(_ACCEPTED_IN, {"ids": list(zone_ids)}):
        found.setdefault(row.zone_id, []).append(row)
    return found


def accepted_in(connection: sa.Connection, zone_id: int) -> list[Any]:
    """The zone's operations that are on their way, in the order in which they took effect."""
    query = (
        sa.select(
            operation.c.id,
            operation.c.kind,
            operation.c.revision,
            operation.c.serial,
            operation.c.received_at,
        )
        .where(operation.c.zone_id == zone_id, operation.c.status == Status.ACCEPTED.value)
        .order_by(operation.c.revision)
    )
    return list(connection.execute(query))


def in_error(connection: sa.Connection, operation_ids: Collection[str]) -> set[str]:
    """Those of the operations that ended in ERROR."""
    found: set[str] = set()
    for chunk in chunks(sorted(operation_ids)):
        query = sa.select(operation.c.id).where(
            operation.c.id.in_(chunk), operation.c.status == Status.ERROR.value
        )
        found.update(connection.execute(query).scalars())
    return found


def wishes(connection: sa.Connection, operation_ids: Sequence[str]) -> dict[str, set[Key] | None]:
    """The RRsets that each operation speaks of; None for one that speaks of all."""
    found: dict[str, set[Key] | None] = {}
    for chunk in chunks(operation_ids):
        whole = operation.c.kind.in_(("import_zone", "restore_zone"))
        payload = sa.case((whole, sa.null()), else_=operation.c.payload)
        query = sa.select(operation.c.id, operation.c.kind, payload.label("payload"))
        for row in connection.execute(query.where(operation.c.id.in_(chunk))):
            if row.payload is None:
                found[row.id] = None
            else:
                changes = parse_request(row.kind, row.payload).changes
                found[row.id] = {(Name(one.name), one.type) for one in changes}
    return found


def pending(connection: sa.Connection, limit: int, *, besides: Collection[str] = ()) -> list[Any]:
    """Operations that were submitted straight into the database, oldest first: id and zone.

    Those on the zones `besides` are left out.
    """
    query = (
        sa.select(operation.c.id, operation.c.zone)
        .where(operation.c.status == Status.PENDING.value, operation.c.zone.not_in(sorted(besides)))
        .order_by(operation.c.received_at, operation.c.id)
        .limit(limit)
    )
    return list(connection.execute(query))


def untold(connection: sa.Connection, older_than_s: float, limit: int) -> list[str]:
    """Ended operations whose end was not told to waiters yet."""
    query = (
        sa.select(operation.c.id)
        .where(operation.c.is_untold == sa.true(), operation.c.finished_at <= now(-older_than_s))
        .order_by(operation.c.finished_at)
        .limit(limit)
    )
    return list(connection.execute(query).scalars())


def told(connection: sa.Connection, operation_ids: Iterable[str]) -> None:
    """Those that somebody else notes as told at this moment are left to them: two that each wait for a row of
    the other's are a deadlock."""
    given = {"ids": list(operation_ids)}
    if connection.dialect.name not in MARIADB:
        connection.execute(_TELL_UNTOLD, given)
    elif ids := list(connection.execute(_UNTOLD, given).scalars()):  # no UPDATE looks into its own table
        connection.execute(_TELL_THESE, {"ids": ids})


def lock_order(connection: sa.Connection, client: str, zone: str) -> Any:
    """How far the client's operations on the zone have been taken, locked."""
    return lock_orders(connection, [(client, zone)])[client, zone]


def lock_orders(
    connection: sa.Connection, positions: Collection[tuple[str, str]]
) -> dict[tuple[str, str], Any]:
    """How far the operations of these (client, zone) pairs have been taken, locked in the pairs' order."""
    keys = [{"client": client, "zone": zone} for client, zone in sorted(positions)]
    found = {(row.client, row.zone): row for row in _POSITIONS.find(connection, keys)}
    if missing := [key for key in keys if (key["client"], key["zone"]) not in found]:
        rows = [key | {"last_number": 0, "voids": []} for key in missing]
        bulk.put(connection, submission, rows, update=(), at=("updated_at",))
        found |= {(row.client, row.zone): row for row in _POSITIONS.find(connection, missing)}
    return found


_POSITIONS = bulk.Search(
    submission,
    list(submission.c),
    by=("client", "zone"),
    locked_by=[submission.c.client, submission.c.zone],
)


def set_orders(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Write how far clients' operations have been taken: client, zone, last_number, voids of each."""
    bulk.put(connection, submission, rows, update=("last_number", "voids", "updated_at"), at=("updated_at",))


def set_order(connection: sa.Connection, client: str, zone: str, last_number: int, voids: list[int]) -> None:
    set_orders(connection, [{"client": client, "zone": zone, "last_number": last_number, "voids": voids}])


def held_beyond(connection: sa.Connection, lasts: Mapping[tuple[str, str], int]) -> list[Any]:
    """What waits for its turn, of these (client, zone) pairs that have been taken to these numbers."""
    rows = [
        {"client": client, "zone": zone, "number": last} for (client, zone), last in sorted(lasts.items())
    ]
    return sorted(_HELD.find(connection, rows), key=lambda row: (row.received_at, row.id))


_HELD = bulk.Search(
    operation,
    list(operation.c),
    by=("client", "zone", "number"),
    above="number",
    where=operation.c.status == Status.HELD.value,
)


def oldest_open(connection: sa.Connection, limit: int = 1) -> list[str]:
    """The operations that have been without an end for longest: the first in the index of each status."""
    first = [
        sa.select(operation.c.id, operation.c.received_at)
        .where(operation.c.status == sa.literal_column(f"'{status}'"))
        .order_by(operation.c.received_at)
        .limit(limit)
        .subquery()
        for status in OPEN
    ]
    found = connection.execute(sa.union_all(*map(sa.select, first))).all()
    return [row.id for row in sorted(found, key=lambda row: row.received_at)][:limit]


def oldest_received(connection: sa.Connection) -> dict[str, datetime]:
    """When the oldest operation came that is still in each of the open statuses; without those of none."""
    first = [
        sa.select(sa.func.min(operation.c.received_at))
        .where(operation.c.status == sa.literal_column(f"'{status}'"))
        .scalar_subquery()
        for status in OPEN
    ]
    row = connection.execute(sa.select(*first)).one()
    return {status: moment for status, moment in zip(OPEN, row, strict=True) if moment is not None}


def overdue_holds(connection: sa.Connection, older_than_s: float, limit: int) -> list[tuple[str, str]]:
    """(client, zone) pairs with an operation held for longer than the grace."""
    query = (
        sa.select(operation.c.client, operation.c.zone)
        .where(operation.c.status == Status.HELD.value, operation.c.received_at <= now(-older_than_s))
        .distinct()
        .limit(limit)
    )
    return [(row.client, row.zone) for row in connection.execute(query)]


def _set(connection: sa.Connection, operation_ids: Sequence[str], **values: Any) -> None:
    connection.execute(
        sa.update(operation)
        .where(operation.c.id.in_(operation_ids), operation.c.status.in_(OPEN))
        .values(**values)
    )
