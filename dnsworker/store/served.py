"""What the built-in nameserver serves: zones that were delivered to a `builtin` target.

The same tables are written by the built-in backend and read by the nameserver; neither sees the desired
state, so a change is served when it was delivered and not before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from dnsworker import names
from dnsworker.contents import ZoneContents
from dnsworker.names import Name, sort_key
from dnsworker.plan import RRsetChange
from dnsworker.records import SOA, Key, RRset
from dnsworker.store import bulk
from dnsworker.store.rows import chunks
from dnsworker.tables import served_rrset, served_zone

RRSET = (served_rrset.c.name, served_rrset.c.type, served_rrset.c.ttl, served_rrset.c.data)


class ServedZone:
    """One served zone, read as it is asked for."""

    def __init__(self, engine: sa.Engine, row: Any) -> None:
        self._engine, self._id = engine, row.id
        self.name = Name(row.name)
        self.soa = SOA.from_rdata(row.soa, row.soa_ttl)
        self._nodes: dict[Name, dict[str, RRset]] = {}

    def prefetch(self, connection: sa.Connection, owners: Collection[Name]) -> None:
        """Read these owners in one go."""
        self._nodes.update((owner, {}) for owner in owners)
        for rrset in _rrsets_at(connection, self._id, owners):
            self._nodes[rrset.name][rrset.type] = rrset

    def node(self, name: Name) -> Mapping[str, RRset]:
        if name not in self._nodes:
            with self._engine.connect() as connection:
                self.prefetch(connection, [name])
        return self._nodes[name]

    def has_descendants(self, name: Name) -> bool:
        prefix = sort_key(name)
        query = sa.select(served_rrset.c.name).where(
            served_rrset.c.zone_id == self._id,
            served_rrset.c.sort_key > prefix,
            served_rrset.c.sort_key < prefix[:-1] + "!",
        )
        with self._engine.connect() as connection:
            return connection.execute(query.limit(1)).first() is not None


def closest_zone(
    engine: sa.Engine, qname: Name, wanted: Callable[[Name], Collection[Name]]
) -> ServedZone | None:
    """The served zone that is `qname` or the nearest above it, with the owners that are `wanted` of it."""
    above = [qname]
    while above[-1] != ".":
        above.append(names.parent(above[-1]))
    query = (
        sa.select(served_zone)
        .where(served_zone.c.name.in_(above))
        .order_by(sa.func.length(served_zone.c.name))
    )
    with engine.connect() as connection:
        rows = connection.execute(query).all()
        if not rows:
            return None
        zone = ServedZone(engine, rows[-1])
        zone.prefetch(connection, wanted(zone.name))
        return zone


def contents(connection: sa.Connection, name: Name, target: str | None = None) -> ZoneContents | None:
    """A whole served zone (of one target)."""
    row = _zone_row(connection, name, target)
    if row is None:
        return None
    query = sa.select(*RRSET).where(served_rrset.c.zone_id == row.id).order_by(served_rrset.c.sort_key)
    soa = SOA.from_rdata(row.soa, row.soa_ttl)
    return ZoneContents.of(Name(row.name), soa, [_rrset(found) for found in connection.execute(query)])


def soa(connection: sa.Connection, name: Name, target: str) -> SOA | None:
    row = _zone_row(connection, name, target)
    return None if row is None else SOA.from_rdata(row.soa, row.soa_ttl)


def rrsets(
    connection: sa.Connection, name: Name, target: str, keys: Collection[Key]
) -> dict[Key, RRset] | None:
    """Those of the RRsets that are served; None when the zone isn't."""
    row = _zone_row(connection, name, target)
    if row is None:
        return None
    found = {rrset.key: rrset for rrset in _rrsets_at(connection, row.id, {owner for owner, _ in keys})}
    return {key: found[key] for key in keys if key in found}


def replace_zone(connection: sa.Connection, target: str, zone: ZoneContents) -> None:
    """Serve exactly these contents."""
    remove_zone(connection, zone.name, target)
    row = {"target": target, "name": zone.name, **_soa_values(zone.soa)}
    connection.execute(sa.insert(served_zone).values(row))
    found = _zone_row(connection, zone.name, target)
    _put(connection, found.id, zone.rrsets.values())


def change_zone(
    connection: sa.Connection,
    target: str,
    name: Name,
    current: SOA,
    desired: SOA,
    changes: Iterable[RRsetChange],
) -> bool | None:
    """Carry out the changes if the zone's SOA is exactly `current`; False if it isn't, None without zone."""
    row = _zone_row(connection, name, target)
    if row is None:
        return None
    moved = connection.execute(
        sa.update(served_zone)
        .where(served_zone.c.id == row.id, served_zone.c.soa == current.rdata)
        .values(**_soa_values(desired))
    )
    if moved.rowcount != 1:
        return False
    changes = list(changes)
    gone = [
        {"zone_id": row.id, "name": change.key[0], "type": change.key[1]}
        for change in changes
        if change.is_removal
    ]
    bulk.remove(connection, served_rrset, gone)
    _put(connection, row.id, [change.after for change in changes if change.after is not None])
    return True


def remove_zone(connection: sa.Connection, name: Name, target: str) -> bool:
    """Whether it was served."""
    row = _zone_row(connection, name, target)
    if row is None:
        return False
    connection.execute(sa.delete(served_rrset).where(served_rrset.c.zone_id == row.id))
    connection.execute(sa.delete(served_zone).where(served_zone.c.id == row.id))
    return True


def _zone_row(connection: sa.Connection, name: Name, target: str | None) -> Any:
    query = sa.select(served_zone).where(served_zone.c.name == name)
    if target is not None:
        query = query.where(served_zone.c.target == target)
    return connection.execute(query.order_by(served_zone.c.id).limit(1)).one_or_none()


def _rrsets_at(connection: sa.Connection, zone_id: int, owners: Collection[Name]) -> Iterator[RRset]:
    for chunk in chunks(sorted(owners)):
        query = sa.select(*RRSET).where(served_rrset.c.zone_id == zone_id, served_rrset.c.name.in_(chunk))
        yield from map(_rrset, connection.execute(query))


def _put(connection: sa.Connection, zone_id: int, values: Iterable[RRset]) -> None:
    rows = [
        {
            "zone_id": zone_id, "name": rrset.name, "type": rrset.type, "ttl": rrset.ttl,
            "data": list(rrset.data), "sort_key": sort_key(rrset.name),
        }
        for rrset in values
    ]  # fmt: skip
    bulk.put(connection, served_rrset, rows, update=("ttl", "data"))


def _soa_values(soa: SOA) -> dict[str, Any]:
    return {"soa": soa.rdata, "soa_ttl": soa.ttl, "serial": soa.serial}


def _rrset(row: Any) -> RRset:
    return RRset.trusted(Name(row.name), row.type, row.ttl, tuple(row.data))
