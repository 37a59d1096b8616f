"""Zones and their desired RRsets."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from dnsworker.names import Name, sort_key
from dnsworker.records import Key, RRset
from dnsworker.store import bulk
from dnsworker.store.rows import CHUNK, ZoneRow, chunks, insert_or_ignore
from dnsworker.tables import now, recordset, zone

ZONE = tuple(zone.c)
RRSET = (recordset.c.name, recordset.c.type, recordset.c.ttl, recordset.c.data)


def find(connection: sa.Connection, name: Name, pool_ids: Collection[int] | None = None) -> list[ZoneRow]:
    """The zones of that name, deleted ones included, in the given pools (None: in all)."""
    query = sa.select(*ZONE).where(zone.c.name == name).order_by(zone.c.id)
    if pool_ids is not None:
        query = query.where(zone.c.pool_id.in_(pool_ids))
    return [ZoneRow.of(row) for row in connection.execute(query)]


def get(connection: sa.Connection, zone_id: int) -> ZoneRow:
    return ZoneRow.of(connection.execute(sa.select(*ZONE).where(zone.c.id == zone_id)).one())


def lock(connection: sa.Connection, zone_id: int) -> ZoneRow:
    """The zone, locked until the transaction ends: everything that changes a zone goes through here."""
    return ZoneRow.of(
        connection.execute(sa.select(*ZONE).where(zone.c.id == zone_id).with_for_update()).one()
    )


def lock_or_make(connection: sa.Connection, pool_id: int, name: Name, mname: Name, email: str) -> ZoneRow:
    """The zone's row, locked; made as a tombstone if the name was never used in the pool."""
    query = sa.select(*ZONE).where(zone.c.pool_id == pool_id, zone.c.name == name).with_for_update()
    found = connection.execute(query).one_or_none()
    if found is not None:
        return ZoneRow.of(found)
    row = {
        "pool_id": pool_id, "name": name, "status": "DELETED", "is_deleted": True, "revision": 0, "serial": 0,
        "mname": mname, "email": email, "ttl": 3600, "refresh": 3600, "retry": 600, "expire": 86400,
        "minimum": 3600, "looks": 0, "created_at": now(), "updated_at": now(),
    }  # fmt: skip
    insert_or_ignore(connection, zone, [row])
    return ZoneRow.of(connection.execute(query).one())


def update(connection: sa.Connection, zone_id: int, **values: Any) -> None:
    connection.execute(sa.update(zone).where(zone.c.id == zone_id).values(**values))


def held_below(connection: sa.Connection, pool_id: int, apex: Name, names: Collection[Name]) -> set[Name]:
    """Those of the names, all below `apex`, that are zones of their own in the pool."""
    query = sa.select(zone.c.name).where(zone.c.pool_id == pool_id, zone.c.is_deleted.is_(False))
    # Many are asked about by an import: then the zones below are fewer.
    below = zone.c.name.endswith("" if apex == "." else f".{apex}", autoescape=True)
    query = query.where(zone.c.name.in_(sorted(names)) if len(names) <= CHUNK else below)
    return {Name(name) for name in connection.execute(query).scalars()}.intersection(names)


def rrsets(connection: sa.Connection, zone_id: int) -> list[RRset]:
    """All desired RRsets, in the order of `names.sort_key`."""
    query = sa.select(*RRSET).where(recordset.c.zone_id == zone_id)
    query = query.order_by(recordset.c.sort_key, recordset.c.type)
    return [_rrset(row) for row in connection.execute(query)]


def rrsets_at(connection: sa.Connection, zone_id: int, names: Collection[Name]) -> dict[Key, RRset]:
    """The desired RRsets of these owners."""
    found: dict[Key, RRset] = {}
    for chunk in chunks(sorted(names)):
        query = sa.select(*RRSET).where(recordset.c.zone_id == zone_id, recordset.c.name.in_(chunk))
        found.update((rrset.key, rrset) for rrset in map(_rrset, connection.execute(query)))
    return found


def names_below(connection: sa.Connection, zone_id: int, name: Name, limit: int = 1000) -> list[Name]:
    """Owners strictly below `name`, `limit` at most."""
    prefix = sort_key(name)
    query = (
        sa.select(recordset.c.name)
        .where(
            recordset.c.zone_id == zone_id,
            recordset.c.sort_key > prefix,
            # "!" follows the blank that ends every label: all that starts with the prefix lies between
            recordset.c.sort_key < prefix[:-1] + "!",
        )
        .distinct()
        .limit(limit)
    )
    return [Name(found) for found in connection.execute(query).scalars()]


def count_rrsets(connection: sa.Connection, zone_id: int, limit: int | None = None) -> int:
    """How many RRsets are desired; of more than `limit`, so many."""
    some = sa.select(sa.literal(1)).where(recordset.c.zone_id == zone_id).limit(limit)
    return connection.execute(sa.select(sa.func.count()).select_from(some.subquery())).scalar_one()


def put_rrsets(connection: sa.Connection, zone_id: int, values: Iterable[RRset]) -> None:
    rows = [
        {
            "zone_id": zone_id,
            "name": rrset.name,
            "type": rrset.type,
            "ttl": rrset.ttl,
            "data": list(rrset.data),
            "sort_key": sort_key(rrset.name),
        }
        for rrset in values
    ]
    bulk.put(connection, recordset, rows, update=("ttl", "data"))


def remove_rrsets(connection: sa.Connection, zone_id: int, keys: Sequence[Key]) -> None:
    rows = [{"zone_id": zone_id, "name": name, "type": type_} for name, type_ in keys]
    bulk.remove(connection, recordset, rows)


def remove_all_rrsets(connection: sa.Connection, zone_id: int) -> None:
    connection.execute(sa.delete(recordset).where(recordset.c.zone_id == zone_id))


def take_for_a_look(connection: sa.Connection, limit: int, again_s: float) -> list[int]:
    """Zones whose nameservers should be asked again by now; due again in `again_s`, should that fail."""
    query = sa.select(zone.c.id).where(zone.c.look_at <= now()).order_by(zone.c.look_at).limit(limit)
    found = list(connection.execute(query.with_for_update(skip_locked=True)).scalars())
    if found:
        connection.execute(sa.update(zone).where(zone.c.id.in_(found)).values(look_at=now(again_s)))
    return found


def _rrset(row: Any) -> RRset:
    return RRset.trusted(Name(row.name), row.type, row.ttl, tuple(row.data))
