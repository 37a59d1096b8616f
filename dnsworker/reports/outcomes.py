"""Operations as they stand, or as they have ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from dnsworker.errors import OperationNotFound
from dnsworker.operations import NameserverReport, Outcome, Status, TargetReport
from dnsworker.reports.targets import nameserver_reports, target_reports
from dnsworker.reports.values import plain, submitted_at, text
from dnsworker.settlement import Settled
from dnsworker.standing import Standing, read_standings
from dnsworker.store import moves, pools, zones
from dnsworker.store.moves import Move
from dnsworker.tables import operation

#: Of an operation, all but what was asked for: a whole zone file, perhaps, and whoever waits looks often.
OUTCOME = tuple(column for column in operation.c if column.name != "payload")
_ROWS = sa.select(*OUTCOME).where(operation.c.id.in_(sa.bindparam("ids", expanding=True)))


def show_operation(connection: sa.Connection, operation_id: str) -> Outcome:
    """An operation as it stands, with each target and nameserver. Raises `OperationNotFound`."""
    return show_operations(connection, [operation_id])[0]


def show_operations(connection: sa.Connection, operation_ids: Sequence[str]) -> list[Outcome]:
    """Several of them, in the order asked for."""
    rows = _rows(connection, operation_ids)
    zone_ids = {row.zone_id for row in rows.values() if row.zone_id is not None}
    directory = {known.id: known for known in pools.read(connection)} if zone_ids else {}
    subjects = {one.id: (directory[one.pool_id], one) for one in zones.get_all(connection, zone_ids).values()}
    standings = read_standings(connection, subjects) if subjects else {}
    return _outcomes(connection, rows, operation_ids, standings)


def show_ended(connection: sa.Connection, settled: Sequence[Settled]) -> list[Outcome]:
    """The operations that have ended with these settlements."""
    ids = [operation_id for one in settled for operation_id in one.ended]
    standings = {one.zone.id: one.standing for one in settled}
    return _outcomes(connection, _rows(connection, ids), ids, standings) if ids else []


def list_operations(
    connection: sa.Connection, *, zone_name: str | None = None, status: str | None = None, limit: int = 50
) -> list[dict[str, Any]]:
    """The latest operations, newest first."""
    columns = (
        operation.c.id, operation.c.kind, operation.c.zone, operation.c.pool, operation.c.status,
        operation.c.serial, operation.c.code, operation.c.message, operation.c.comment,
        operation.c.submitter, operation.c.received_at, operation.c.finished_at,
    )  # fmt: skip
    query = sa.select(*columns).order_by(operation.c.received_at.desc()).limit(limit)
    if zone_name is not None:
        query = query.where(operation.c.zone == zone_name)
    if status is not None:
        query = query.where(operation.c.status == status)
    return [plain(row) for row in connection.execute(query)]


def _rows(connection: sa.Connection, operation_ids: Sequence[str]) -> dict[str, Any]:
    return {row.id: row for row in connection.execute(_ROWS, {"ids": list(operation_ids)})}


def _outcomes(
    connection: sa.Connection,
    rows: Mapping[str, Any],
    operation_ids: Sequence[str],
    standings: Mapping[int, Standing],
) -> list[Outcome]:
    outcomes = []
    reached = {zone_id: standing.reached_by_all for zone_id, standing in standings.items()}
    reports: dict[tuple[int, int], tuple[list[TargetReport], list[NameserverReport]]] = {}
    for operation_id in operation_ids:
        row = rows.get(operation_id)
        if row is None:
            raise OperationNotFound(f"no operation {operation_id}")
        standing = standings.get(row.zone_id)
        if standing is None:
            outcomes.append(_outcome(row, row.pool, [], []))
            continue
        move = moves.get(connection, row.id) if row.kind == "move_zone" else None
        # Up to what all have come to, the same is told of each operation.
        revision = max(row.revision or 0, reached[row.zone_id])
        if (row.zone_id, revision) not in reports or standing.withheld:
            reports[row.zone_id, revision] = (
                target_reports(standing, revision, operation_id),
                nameserver_reports(standing, revision),
            )
        targets, nameservers = reports[row.zone_id, revision]
        pool_name = move.destination if move is not None else standing.known.pool.name
        outcomes.append(_outcome(row, pool_name, targets, nameservers, move))
    return outcomes


def _outcome(
    row: Any,
    pool_name: str | None,
    targets: list[TargetReport],
    nameservers: list[NameserverReport],
    move: Move | None = None,
) -> Outcome:
    message = row.message
    if message is None and row.status == Status.ACCEPTED.value:
        message = _waiting_for(targets, nameservers)
        if move is not None:
            message = f"{move.words}: {message}"
    return Outcome(
        id=row.id, kind=row.kind, zone=row.zone, pool=pool_name, status=Status(row.status), code=row.code,
        message=message, serial=row.serial, comment=row.comment, submitter=row.submitter, digest=row.digest,
        submitted_at=submitted_at(row),
        accepted_at=row.accepted_at, finished_at=row.finished_at, targets=targets, nameservers=nameservers,
    )  # fmt: skip


def _waiting_for(targets: list[TargetReport], nameservers: list[NameserverReport]) -> str:
    """Why an accepted operation isn't ACTIVE yet."""
    for one in targets:
        if not one.is_current:
            again = f"; next attempt at {text(one.next_attempt_at)}" if one.next_attempt_at else ""
            return (
                f"target {one.target}: {one.last_error}{again}"
                if one.last_error
                else f"on its way to {one.target}"
            )
    for server in nameservers:
        if not server.is_current:
            return f"nameserver {server.nameserver}: {server.error or 'not asked yet'}"
    return "is being settled"
