"""Zones, what they hold, and how they stand."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from dnsworker import zonefile
from dnsworker.contents import ZoneContents
from dnsworker.errors import AmbiguousZone, ZoneNotFound
from dnsworker.names import Name
from dnsworker.reports.targets import nameserver_reports, target_reports
from dnsworker.reports.values import text
from dnsworker.standing import Standing, read_standing, zone_status
from dnsworker.store import moves, pools, stops, zones
from dnsworker.store.pools import KnownPool
from dnsworker.store.rows import ZoneRow
from dnsworker.tables import pool, zone


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
        "frozen_at": text(row.frozen_at),
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
        "created_at": text(row.created_at),
        "updated_at": text(row.updated_at),
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
