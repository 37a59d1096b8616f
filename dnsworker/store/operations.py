"""Operations: one row each, from submission to its one end; and the order of a client's submissions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from dnsworker.errors import InvalidRequest
from dnsworker.names import Name
from dnsworker.operations import Status
from dnsworker.records import Key
from dnsworker.requests import parse_request
from dnsworker.store.rows import chunks, insert_new, insert_or_ignore
from dnsworker.tables import now, operation, submission

OPEN = (Status.PENDING.value, Status.HELD.value, Status.ACCEPTED.value)


def insert(connection: sa.Connection, row: dict[str, Any]) -> bool:
    """Write a new operation down; False when its id is known already."""
    return insert_new(connection, operation, {"received_at": now(), **row})


def get(connection: sa.Connection, operation_id: str) -> Any:
    return connection.execute(sa.select(operation).where(operation.c.id == operation_id)).one_or_none()


def lock(connection: sa.Connection, operation_id: str) -> Any:
    query = sa.select(operation).where(operation.c.id == operation_id).with_for_update()
    return connection.execute(query).one_or_none()


def hold(connection: sa.Connection, operation_id: str, message: str) -> None:
    _set(connection, [operation_id], status=Status.HELD, message=message)


def accept(connection: sa.Connection, operation_id: str, *, zone_id: int, revision: int, serial: int) -> None:
    _set(
        connection, [operation_id],
        status=Status.ACCEPTED, message=None, accepted_at=now(),
        zone_id=zone_id, revision=revision, serial=serial,
    )  # fmt: skip


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


def accepted_in(connection: sa.Connection, zone_id: int) -> list[Any]:
    """The zone's operations that are on their way, in the order in which they took effect."""
    query = (
        sa.select(operation.c.id, operation.c.kind, operation.c.revision, operation.c.serial)
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


def pending(connection: sa.Connection, limit: int) -> list[str]:
    """Operations that were submitted straight into the database, oldest first."""
    query = (
        sa.select(operation.c.id)
        .where(operation.c.status == Status.PENDING.value)
        .order_by(operation.c.received_at, operation.c.id)
        .limit(limit)
    )
    return list(connection.execute(query).scalars())


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
    query = sa.select(operation.c.id).where(operation.c.id.in_(list(operation_ids)), operation.c.is_untold)
    ids = list(connection.execute(query.with_for_update(skip_locked=True)).scalars())
    if ids:
        connection.execute(sa.update(operation).where(operation.c.id.in_(ids)).values(is_untold=False))


def lock_order(connection: sa.Connection, client: str, zone: str) -> Any:
    """How far the client's operations on the zone have been taken, locked."""
    query = sa.select(submission).where(submission.c.client == client, submission.c.zone == zone)
    found = connection.execute(query.with_for_update()).one_or_none()
    if found is None:
        row = {"client": client, "zone": zone, "last_number": 0, "voids": [], "updated_at": now()}
        insert_or_ignore(connection, submission, [row])
        found = connection.execute(query.with_for_update()).one()
    return found


def set_order(connection: sa.Connection, client: str, zone: str, last_number: int, voids: list[int]) -> None:
    connection.execute(
        sa.update(submission)
        .where(submission.c.client == client, submission.c.zone == zone)
        .values(last_number=last_number, voids=voids, updated_at=now())
    )


def held_with_number(connection: sa.Connection, client: str, zone: str, number: int) -> Any:
    query = sa.select(operation).where(
        operation.c.client == client,
        operation.c.zone == zone,
        operation.c.number == number,
        operation.c.status == Status.HELD.value,
    )
    return connection.execute(query.order_by(operation.c.received_at).limit(1)).one_or_none()


def held_up_to(connection: sa.Connection, client: str, zone: str, number: int) -> list[Any]:
    query = sa.select(operation.c.id, operation.c.number, operation.c.zone).where(
        operation.c.client == client,
        operation.c.zone == zone,
        operation.c.number <= number,
        operation.c.status == Status.HELD.value,
    )
    return list(connection.execute(query))


def lowest_held(connection: sa.Connection, client: str, zone: str) -> int | None:
    query = sa.select(sa.func.min(operation.c.number)).where(
        operation.c.client == client, operation.c.zone == zone, operation.c.status == Status.HELD.value
    )
    return connection.execute(query).scalar()


def oldest_open(connection: sa.Connection) -> str | None:
    """The operation that has been without an end for longest: the first in the index of each status."""
    first = [
        sa.select(operation.c.id, operation.c.received_at)
        .where(operation.c.status == sa.literal_column(f"'{status}'"))
        .order_by(operation.c.received_at)
        .limit(1)
        .subquery()
        for status in OPEN
    ]
    found = connection.execute(sa.union_all(*map(sa.select, first))).all()
    return min(found, key=lambda row: row.received_at).id if found else None


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
