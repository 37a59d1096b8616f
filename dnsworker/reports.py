"""What operations, zones and targets look like to whoever asks: queries, the CLI, the database client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from dnsworker import zonefile
from dnsworker.contents import ZoneContents
from dnsworker.errors import AmbiguousZone, OperationNotFound, ZoneNotFound
from dnsworker.names import Name
from dnsworker.operations import NameserverReport, Outcome, Status, TargetReport
from dnsworker.operations import submitted_at as when_submitted
from dnsworker.pools import Limits
from dnsworker.settlement import Settled
from dnsworker.standing import SPREADING, Standing, read_standing, read_standings, zone_status
from dnsworker.store import comparisons, moves, operations, pools, purges, stops, zones
from dnsworker.store.census import REFUSED, Census
from dnsworker.store.moves import Move
from dnsworker.store.pools import KnownPool
from dnsworker.store.rows import ZoneRow
from dnsworker.tables import now, operation, pool, target, withheld, zone

#: Frozen zones that `status` names.
FROZEN_SHOWN = 5
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


def _rows(connection: sa.Connection, operation_ids: Sequence[str]) -> dict[str, Any]:
    return {row.id: row for row in connection.execute(_ROWS, {"ids": list(operation_ids)})}


def _outcomes(
    connection: sa.Connection,
    rows: Mapping[str, Any],
    operation_ids: Sequence[str],
    standings: Mapping[int, Standing],
) -> list[Outcome]:
    outcomes = []
    for operation_id in operation_ids:
        row = rows.get(operation_id)
        if row is None:
            raise OperationNotFound(f"no operation {operation_id}")
        standing = standings.get(row.zone_id)
        if standing is None:
            outcomes.append(_outcome(row, row.pool, [], []))
            continue
        move = moves.get(connection, row.id) if row.kind == "move_zone" else None
        targets = target_reports(standing, row.revision, operation_id)
        nameservers = nameserver_reports(standing, row.revision)
        pool_name = move.destination if move is not None else standing.known.pool.name
        outcomes.append(_outcome(row, pool_name, targets, nameservers, move))
    return outcomes


def find_zone(connection: sa.Connection, name: Name, pool_name: str | None) -> tuple[ZoneRow, KnownPool]:
    """The living zone of that name. Raises `ZoneNotFound`, `AmbiguousZone`."""
    directory = {known.id: known for known in pools.read(connection)}
    living = [
        row
        for row in zones.find(connection, name)
        if not row.is_deleted
        and pool_name in (None, directory[row.pool_id].pool.name)
        and (row.arrives_by is None or pool_name is not None)  # it isn't there yet
    ]
    if not living:
        raise ZoneNotFound(f"there is no zone {name}" + (f" in pool {pool_name}" if pool_name else ""))
    if len(living) > 1:
        names = ", ".join(sorted(directory[row.pool_id].pool.name for row in living))
        raise AmbiguousZone(f"zone {name} is in the pools {names}: say which with pool=")
    return living[0], directory[living[0].pool_id]


def show_zone(connection: sa.Connection, name: Name, pool_name: str | None) -> dict[str, Any]:
    """A zone, its SOA values, and how far each target and nameserver is."""
    return zone_report(connection, *find_zone(connection, name, pool_name))


def zone_report(connection: sa.Connection, row: ZoneRow, known: KnownPool) -> dict[str, Any]:
    """As `show_zone`; of one that is deleted what is left of it."""
    standing = read_standing(connection, known, row)
    move = moves.of_zone(connection, row)
    return {
        "name": row.name,
        "pool": known.pool.name,
        "status": row.status,
        "reason": _reason(standing, row),
        "frozen": None if row.frozen_at is None else stops.frozen_text(row.freeze_reason),
        "frozen_at": _text(row.frozen_at),
        "moving": move and f"{move.words} (operation {move.operation_id})",
        "serial": row.serial,
        "email": row.email,
        "ttl": row.ttl,
        "refresh": row.refresh,
        "retry": row.retry,
        "expire": row.expire,
        "minimum": row.minimum,
        "primary": row.mname,
        "rrsets": zones.count_rrsets(connection, row.id),
        "created_at": _text(row.created_at),
        "updated_at": _text(row.updated_at),
        "targets": [one.model_dump(mode="json") for one in target_reports(standing, row.revision)],
        "nameservers": [one.model_dump(mode="json") for one in nameserver_reports(standing, row.revision)],
    }


def _reason(standing: Standing, row: ZoneRow) -> str | None:
    """Why the zone isn't ACTIVE; an operator's order may be newer than the last settlement."""
    if any(one.is_ordered for one in standing.standstills.values()):
        return zone_status(standing, row)[1]
    return row.reason


def list_records(
    connection: sa.Connection,
    name: Name,
    pool_name: str | None,
    owner: str | None = None,
    type_: str | None = None,
) -> list[dict[str, Any]]:
    """The zone's desired RRsets in canonical order, optionally only one owner's (absolute) or type's."""
    row, _ = find_zone(connection, name, pool_name)
    found = (
        zones.rrsets(connection, row.id)
        if owner is None
        else sorted(zones.rrsets_at(connection, row.id, [Name(owner)]).values(), key=lambda one: one.type)
    )
    return [rrset.to_json() for rrset in found if type_ in (None, rrset.type)]


def export_zone(connection: sa.Connection, name: Name, pool_name: str | None) -> str:
    """The zone as a zone file (RFC 1035, section 5)."""
    row, _ = find_zone(connection, name, pool_name)
    return zonefile.zone_text(ZoneContents.of(row.name, row.soa, zones.rrsets(connection, row.id)))


def list_zones(
    connection: sa.Connection,
    *,
    pool_name: str | None = None,
    status: str | None = None,
    after: str | None = None,
    limit: int = 1000,
) -> list[dict[str, Any]]:
    """Zones by name, from `after` on; deleted ones only when asked for by status."""
    query = (
        sa.select(zone.c.name, pool.c.name.label("pool"), zone.c.status, zone.c.reason, zone.c.serial)
        .join(pool, pool.c.id == zone.c.pool_id)
        .order_by(zone.c.name)
        .limit(limit)
    )
    query = query.where(zone.c.status == status) if status else query.where(zone.c.is_deleted.is_(False))
    if pool_name is not None:
        query = query.where(pool.c.name == pool_name)
    if after is not None:
        query = query.where(zone.c.name > after)
    return [dict(row._mapping) for row in connection.execute(query)]


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
    return [_plain(row) for row in connection.execute(query)]


def show_targets(connection: sa.Connection, census: Census | None = None) -> list[dict[str, Any]]:
    """All targets, by pool and name."""
    query = (
        sa.select(
            target.c.id, target.c.name, pool.c.name.label("pool"), target.c.failures, target.c.open_until,
            target.c.last_error, target.c.last_error_at,
            sa.case((target.c.rests_until > now(), target.c.rests_until)).label("rests_until"),
            target.c.purging_since,
        )
        .join(pool, pool.c.id == target.c.pool_id)
        .where(target.c.is_removed.is_(False))
        .order_by(pool.c.name, target.c.name)
    )  # fmt: skip
    rows = connection.execute(query).all()
    waiting = (census or Census(connection)).deliveries(row.id for row in rows)
    purging = pools.read_purging(connection)
    every = [*pools.read(connection), *purging.values()]
    known = {one.name: one for entry in every for one in entry.pool.targets}
    paused = stops.of_targets(connection)
    found = []
    for row in rows:
        stop = paused.get(row.id)
        one = known.get(row.name)
        limits = one.limits if one else Limits()
        document = _plain(row) | {"type": one.type if one else None}
        del document["id"]
        document |= waiting[row.id]
        document["oldest_due_at"] = _text(document["oldest_due_at"])
        document["paused"] = stop and stop.reason
        document["paused_until"] = stop and _text(stop.until)
        document["zones_left"] = purges.holds(connection, row.id) if row.name in purging else None
        document["breaker"] = "open" if row.open_until is not None else "closed"
        document["concurrency"] = limits.concurrency
        document["requests_per_second"] = limits.requests_per_second
        document["burst"] = limits.budget.burst if limits.budget else None
        found.append(document)
    return found


def status(connection: sa.Connection) -> dict[str, Any]:
    """The whole system on one screen; `counted_at` says how old the oldest of its numbers are (None: not)."""
    census = Census(connection)
    oldest = next(iter(operations.oldest_open(connection)), None)
    all_paused = stops.of_all(connection)
    found = {
        "at": _text(connection.execute(sa.select(now())).scalar()),
        "alarm": comparisons.mass_ahead(connection, census),
        "zones": census.zones(),
        "operations": census.operations(),
        "oldest_operation": oldest and show_operation(connection, oldest).model_dump(mode="json"),
        "all_paused": all_paused and {"reason": all_paused.reason, "until": _text(all_paused.until)},
        "frozen": {
            "zones": census.frozen(),
            "first": [
                {"zone": row.name, "reason": stops.frozen_text(row.freeze_reason), "at": _text(row.frozen_at)}
                for row in stops.frozen_zones(connection, FROZEN_SHOWN)
            ],
        },
        "withheld": {"rrsets": census.withheld(), "latest": latest_refusals(connection)},
        "targets": show_targets(connection, census),
    }
    return found | {"counted_at": _text(census.counted_at)}


def latest_refusals(connection: sa.Connection, limit: int = 5) -> list[dict[str, Any]]:
    """The latest of the RRsets that targets refuse and do without."""
    latest = sa.select(withheld).where(REFUSED).order_by(withheld.c.at.desc()).limit(limit).subquery()
    query = (
        sa.select(
            zone.c.name.label("zone"), target.c.name.label("target"), latest.c.name, latest.c.type,
            latest.c.message, latest.c.operation_id.label("operation"), latest.c.at,
        )
        .join(zone, zone.c.id == latest.c.zone_id)
        .join(target, target.c.id == latest.c.target_id)
        .order_by(latest.c.at.desc())
    )  # fmt: skip
    return [_plain(row) for row in connection.execute(query)]


def target_reports(
    standing: Standing, revision: int | None, operation_id: str | None = None
) -> list[TargetReport]:
    """How far each target of the zone is with a revision (and what it refuses of the operation)."""
    reports = []
    for name, row in standing.rows.items():
        refused = [
            {"name": one.key[0], "type": one.key[1], "message": one.message, "operation": one.operation_id}
            for one in standing.withheld
            if one.target_id == row.target_id and operation_id in (None, one.operation_id)
        ]
        stopped = standing.standstills.get(name)
        reason = row.last_error or (stopped.reason if stopped else None)
        if stopped is not None and stopped.is_ordered:
            reason = stopped.reason
        if reason is None and row.unconfirmed:
            reason = SPREADING
        budget = standing.known.pool.target(name).limits.budget
        if reason is None and budget and row.due_at is not None and row.owner is None:
            reason = f"waits its turn within {budget}"
        next_attempt = row.due_at
        if next_attempt is not None and stopped is not None:
            if stopped.until is not None:
                next_attempt = max(next_attempt, stopped.until)
            elif stopped.is_ordered:
                next_attempt = None
        serial = None if row.soa is None else int(row.soa.split()[2])
        reports.append(
            TargetReport(
                target=name,
                serial=serial,
                delivered_at=row.delivered_at,
                state=row.state,
                attempts=row.attempts,
                withheld=refused,
                is_current=row.confirmed_revision >= (revision or 0)
                and row.state not in ("foreign", "creating"),
                last_error=reason,
                next_attempt_at=next_attempt,
                last_repair=row.last_repair,
                last_repair_at=row.last_repair_at,
                drift=row.drift,
                ds_records=row.ds_records or [],
            )
        )
    return reports


def nameserver_reports(standing: Standing, revision: int | None) -> list[NameserverReport]:
    """What each nameserver of the zone last answered, against a revision."""
    reports = []
    for one in standing.witnesses:
        seen = standing.seen.get(one.name)
        reports.append(
            NameserverReport(
                nameserver=one.name,
                is_current=standing.verified(one) >= (revision or 0),
                serial=seen.serial if seen else None,
                verified_at=seen.verified_at if seen and seen.verified_revision else None,
                seen_at=seen.seen_at if seen else None,
                error=seen.error if seen else None,
            )
        )
    return reports


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
            again = f"; next attempt at {_text(one.next_attempt_at)}" if one.next_attempt_at else ""
            return (
                f"target {one.target}: {one.last_error}{again}"
                if one.last_error
                else f"on its way to {one.target}"
            )
    for server in nameservers:
        if not server.is_current:
            return f"nameserver {server.nameserver}: {server.error or 'not asked yet'}"
    return "is being settled"


def submitted_at(row: Any) -> datetime:
    """When an operation was submitted, of which the row has the id and `received_at`.

    A UUIDv7 (RFC 9562, section 5.7) says when it was made; else when it arrived is all that is known. The
    id is a submitter's: it may name any time up to the year 10889.
    """
    moment = when_submitted(row.id, row.received_at)
    assert moment is not None, "a row has one"
    return moment


def _plain(row: Any) -> dict[str, Any]:
    return {
        key: _text(value) if isinstance(value, datetime) else value for key, value in row._mapping.items()
    }


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds")
