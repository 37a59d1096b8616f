"""Zones and their desired RRsets."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa

from dnsworker.names import Name, sort_key
from dnsworker.records import Key, RRset
from dnsworker.store import bulk
from dnsworker.store.rows import IDS, ZoneRow, chunks, lock_first_free
from dnsworker.tables import now, recordset, zone

ZONE = tuple(zone.c)
#: What `store` writes of a zone.
KEPT = (
    "status", "reason", "is_deleted", "revision", "serial", "seen_serial",
    "mname", "email", "ttl", "refresh", "retry", "expire", "minimum",
)  # fmt: skip
#: For so long others' locks are waited for together, and for so long they aren't after one that took longer.
LOCK_WAIT_S, IMPATIENT_S = 0.25, 5.0
#: PostgreSQL's code for that.
LOCK_NOT_AVAILABLE = "55P03"
_SEVERAL = sa.select(*ZONE).where(zone.c.id.in_(IDS))
_LOCK = _SEVERAL.order_by(zone.c.id).with_for_update()
_LOCK_FREE = _SEVERAL.order_by(zone.c.id).with_for_update(skip_locked=True)
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


def ids_named(connection: sa.Connection, names: Collection[Name]) -> dict[Name, list[int]]:
    """The ids of the zones of these names in all pools, deleted ones included; nothing is locked."""
    found: dict[Name, list[int]] = {name: [] for name in names}
    for chunk in chunks(sorted(found)):
        query = sa.select(zone.c.id, zone.c.name).where(zone.c.name.in_(chunk))
        for row in connection.execute(query):
            found[Name(row.name)].append(row.id)
    return found


def lock_all(connection: sa.Connection, zone_ids: Collection[int], *, wait: bool = True) -> list[ZoneRow]:
    """The zones, locked in the order of their ids; without `wait` those that nobody else has locked."""
    found: list[ZoneRow] = []
    for chunk in chunks(sorted(zone_ids)):
        rows = connection.execute(_LOCK if wait else _LOCK_FREE, {"ids": chunk})
        found += [ZoneRow.of(row) for row in rows]
    return found


def make(connection: sa.Connection, wanted: Collection[tuple[int, Name, Name, str]]) -> list[int]:
    """Rows for names that were never used in a pool, as tombstones: (pool id, name, mname, email) of each.

    Returns the ids, those of rows that somebody else has just made included.
    """
    rows = [_tombstone(*one) for one in sorted(wanted)]
    _put_tombstones(connection, rows)
    keys = [{"pool_id": row["pool_id"], "name": row["name"]} for row in rows]
    return [row.id for row in _AT.find(connection, keys)]


def get_all(connection: sa.Connection, zone_ids: Collection[int]) -> dict[int, ZoneRow]:
    """Several zones, by id."""
    return {row.id: ZoneRow.of(row) for row in connection.execute(_SEVERAL, {"ids": list(zone_ids)})}


def lock_free(connection: sa.Connection, zone_ids: Collection[int]) -> dict[int, ZoneRow]:
    """Those of the zones that can be locked within a moment, locked; a single one is waited for.

    Call it before anything else is locked.
    """
    if len(zone_ids) == 1:
        return {row.id: row for row in lock_all(connection, zone_ids)}
    return {row.id: row for row in lock_soon(connection, zone_ids)}


def lock_soon(connection: sa.Connection, zone_ids: Collection[int]) -> list[ZoneRow]:
    """Those of the zones that can be locked within a moment, locked. Call it before anything else is locked.

    Under load somebody has most of them locked most of the time, for some milliseconds: whoever took only
    what is free would come away with nothing, again and again. But nobody waits for long: all would wait for
    the one into which a large file is just taken in. After that what is free will do, for a while.
    """
    if len(zone_ids) < 2:
        rows = lock_all(connection, zone_ids, wait=False)
        if rows or not zone_ids:
            return rows
    if connection.dialect.name == "postgresql" and _patience.is_left:
        try:
            return _lock_in_time(connection, zone_ids)
        except sa.exc.OperationalError as exc:
            if getattr(exc.orig, "pgcode", None) != LOCK_NOT_AVAILABLE:
                raise
            _patience.use_up()
    return lock_all(connection, zone_ids, wait=False)


def _lock_in_time(connection: sa.Connection, zone_ids: Collection[int]) -> list[ZoneRow]:
    with connection.begin_nested():  # what comes after a time-out is as if nothing had been tried
        connection.execute(_SET_LOCK_TIMEOUT, {"value": f"{int(LOCK_WAIT_S * 1000)}ms"})
        rows = lock_all(connection, zone_ids)
        connection.execute(_SET_LOCK_TIMEOUT, {"value": "0"})
    return rows


class _Patience:
    """Of this process, for locks: used up by one that wasn't to be had, and back some time later."""

    def __init__(self) -> None:
        self._back_at = float("-inf")

    @property
    def is_left(self) -> bool:
        return time.monotonic() >= self._back_at

    def use_up(self) -> None:
        self._back_at = time.monotonic() + IMPATIENT_S


_patience = _Patience()
_SET_LOCK_TIMEOUT = sa.select(sa.func.set_config("lock_timeout", sa.bindparam("value"), True))


def lock_or_make(connection: sa.Connection, pool_id: int, name: Name, mname: Name, email: str) -> ZoneRow:
    """The zone's row, locked; made as a tombstone if the name was never used in the pool."""
    query = sa.select(*ZONE).where(zone.c.pool_id == pool_id, zone.c.name == name).with_for_update()
    found = connection.execute(query).one_or_none()
    if found is not None:
        return ZoneRow.of(found)
    _put_tombstones(connection, [_tombstone(pool_id, name, mname, email)])
    return ZoneRow.of(connection.execute(query).one())


def _tombstone(pool_id: int, name: Name, mname: Name, email: str) -> dict[str, Any]:
    return {
        "pool_id": pool_id, "name": name, "status": "DELETED", "is_deleted": True, "revision": 0, "serial": 0,
        "mname": mname, "email": email, "ttl": 3600, "refresh": 3600, "retry": 600, "expire": 86400,
        "minimum": 3600, "looks": 0,
    }  # fmt: skip


def _put_tombstones(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Those that somebody else has made stay as they are."""
    bulk.put(connection, zone, rows, update=(), at=("created_at", "updated_at"))


def store(
    connection: sa.Connection,
    rows: Sequence[ZoneRow],
    *,
    look_s: float,
    created: Collection[int] = (),
    deleted: Collection[int] = (),
) -> None:
    """Write what has become of zones that are locked; the sweep looks at them in `look_s`.

    `created` and `deleted` are the ids of those that came into being, or ceased to be, at this moment.
    """
    stored = [{"id": row.id, "look_s": look_s} | {name: getattr(row, name) for name in KEPT} for row in rows]
    _STORE.carry_out(connection, stored)
    for ids, values in (
        (created, {"created_at": now(), "deleted_at": None}),
        (deleted, {"deleted_at": now()}),
    ):
        for chunk in chunks(sorted(ids)):
            connection.execute(sa.update(zone).where(zone.c.id.in_(chunk)).values(**values))


def _stored(row: Any) -> dict[str, Any]:
    is_new = row.revision > zone.c.revision
    moments = {"updated_at": sa.case((is_new, now()), else_=zone.c.updated_at), "look_at": now(row.look_s)}
    return {name: getattr(row, name) for name in KEPT} | moments | {"looks": 0}


_STORE = bulk.Change(
    zone,
    {name: zone.c[name].type for name in ("id", *KEPT)} | {"look_s": sa.Float()},
    where=lambda row: [zone.c.id == row.id],
    values=_stored,
    key="id",
)


def update(connection: sa.Connection, zone_id: int, **values: Any) -> None:
    connection.execute(sa.update(zone).where(zone.c.id == zone_id).values(**values))


def look_within(connection: sa.Connection, zone_ids: Sequence[int], seconds: float) -> None:
    """Have the nameservers asked in so many seconds, unless somebody does it before. The zones are locked."""
    if zone_ids:
        values = {"look_at": now(seconds), "looks": 0}
        connection.execute(sa.update(zone).where(zone.c.id.in_(zone_ids)).values(values))


_LOOKED = bulk.Change(
    zone,
    {
        "id": sa.BigInteger(), "seen_serial": sa.BigInteger(), "status": sa.String(), "reason": sa.Text(),
        "looks": sa.Integer(), "again_s": sa.Float(),
    },
    where=lambda given: [zone.c.id == given.id],
    values=lambda given: {
        "seen_serial": given.seen_serial, "status": given.status, "reason": given.reason,
        "looks": given.looks,
        "look_at": sa.case((given.again_s.is_not(None), now(given.again_s))),
    },
    key="id",
)  # fmt: skip


def note_looks(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    """What looks have shown of several zones, which are locked: `id`, `seen_serial`, `status`, `reason`,
    `looks`, and `again_s`, in how many seconds to look again (None: not by the clock)."""
    _LOOKED.carry_out(connection, rows)


def held_below(connection: sa.Connection, pool_id: int, apex: Name) -> set[Name]:
    """All zones of the pool below `apex`."""
    below = zone.c.name.endswith("" if apex == "." else f".{apex}", autoescape=True)
    query = sa.select(zone.c.name).where(zone.c.pool_id == pool_id, zone.c.is_deleted.is_(False), below)
    return {Name(name) for name in connection.execute(query).scalars()}


def living_among(connection: sa.Connection, places: Collection[tuple[int, Name]]) -> set[tuple[int, Name]]:
    """Those of the places, each a pool's id and a name, at which there is a zone."""
    keys = [{"pool_id": pool_id, "name": name} for pool_id, name in sorted(places)]
    return {(row.pool_id, Name(row.name)) for row in _AT.find(connection, keys) if not row.is_deleted}


_AT = bulk.Search(zone, [zone.c.id, zone.c.pool_id, zone.c.name, zone.c.is_deleted], by=("pool_id", "name"))


def rrsets(connection: sa.Connection, zone_id: int) -> list[RRset]:
    """All desired RRsets, in the order of `names.sort_key`."""
    query = sa.select(*RRSET).where(recordset.c.zone_id == zone_id)
    query = query.order_by(recordset.c.sort_key, recordset.c.type)
    return [_rrset(row) for row in connection.execute(query)]


def rrsets_of_all(connection: sa.Connection, zone_ids: Collection[int], limit: int) -> dict[int, list[RRset]]:
    """All desired RRsets of several zones, `limit` of them at most: the zones beyond that are left out."""
    found: dict[int, list[RRset]] = {zone_id: [] for zone_id in sorted(zone_ids)}
    rows = connection.execute(_OF_ALL, {"ids": list(zone_ids), "limit": limit + 1}).all()
    for row in rows:
        found[row.zone_id].append(_rrset(row))
    if len(rows) > limit:
        found = {zone_id: rrsets for zone_id, rrsets in found.items() if zone_id < rows[-1].zone_id}
    return found


_OF_ALL = (
    sa.select(recordset.c.zone_id, *RRSET)
    .where(recordset.c.zone_id.in_(IDS))
    .order_by(recordset.c.zone_id, recordset.c.sort_key, recordset.c.type)
    .limit(sa.bindparam("limit", type_=sa.Integer))
)


def rrsets_at(connection: sa.Connection, zone_id: int, names: Collection[Name]) -> dict[Key, RRset]:
    """The desired RRsets of these owners."""
    found: dict[Key, RRset] = {}
    for chunk in chunks(sorted(names)):
        query = sa.select(*RRSET).where(recordset.c.zone_id == zone_id, recordset.c.name.in_(chunk))
        found.update((rrset.key, rrset) for rrset in map(_rrset, connection.execute(query)))
    return found


def rrsets_of(
    connection: sa.Connection, wanted: Mapping[int, Collection[Name]]
) -> Iterator[tuple[int, RRset]]:
    """The desired RRsets of these owners in several zones, each with the zone's id."""
    if connection.dialect.name == "postgresql" and len(wanted) > 1:
        rows = [{"zone_id": zone_id, "name": name} for zone_id, names in wanted.items() for name in names]
        for row in connection.execute(_of_each(), {"rows": rows}):
            yield row.zone_id, _rrset(row)
        return
    for zone_id, names in wanted.items():
        for rrset in rrsets_at(connection, zone_id, names).values():
            yield zone_id, rrset


@cache
def _of_each() -> Any:
    given = bulk.given({"zone_id": sa.BigInteger(), "name": sa.Text()})
    is_asked = sa.and_(recordset.c.zone_id == given.c.zone_id, recordset.c.name == given.c.name)
    return sa.select(recordset.c.zone_id, *RRSET).select_from(given.join(recordset, is_asked))


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


def put_rrsets(connection: sa.Connection, values: Iterable[tuple[int, RRset]]) -> None:
    """Make these the desired RRsets, each with the id of its zone."""
    rows = [
        {
            "zone_id": zone_id,
            "name": rrset.name,
            "type": rrset.type,
            "ttl": rrset.ttl,
            "data": list(rrset.data),
            "sort_key": sort_key(rrset.name),
        }
        for zone_id, rrset in values
    ]
    bulk.put(connection, recordset, rows, update=("ttl", "data"))


def remove_rrsets(connection: sa.Connection, keys: Iterable[tuple[int, Key]]) -> None:
    rows = [{"zone_id": zone_id, "name": name, "type": type_} for zone_id, (name, type_) in keys]
    bulk.remove(connection, recordset, rows)


def remove_all_rrsets(connection: sa.Connection, zone_id: int) -> None:
    connection.execute(sa.delete(recordset).where(recordset.c.zone_id == zone_id))


def take_for_a_look(connection: sa.Connection, limit: int, again_s: float) -> list[int]:
    """Zones whose nameservers should be asked again by now; due again in `again_s`, should that fail."""
    rows = lock_first_free(
        connection, [zone.c.id], where=[zone.c.look_at <= now()], by=zone.c.look_at, limit=limit
    )
    found = [row.id for row in rows]
    if found:
        connection.execute(sa.update(zone).where(zone.c.id.in_(found)).values(look_at=now(again_s)))
    return found


def _rrset(row: Any) -> RRset:
    return RRset.trusted(Name(row.name), row.type, row.ttl, tuple(row.data))
