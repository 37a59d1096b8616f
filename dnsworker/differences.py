"""A zone in the database against the same zone at a target, and what explains each difference.

Separate from the deliveries, which act on differences: here they are only told, without a claim.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from dnsworker import comparison, serials
from dnsworker.capabilities import Capabilities
from dnsworker.contents import ZoneContents
from dnsworker.names import sort_key
from dnsworker.plan import RRsetChange
from dnsworker.pools import Pool
from dnsworker.records import SOA, Key, RRset
from dnsworker.store import deliveries, journal, withholding, zones
from dnsworker.store.deliveries import DeliveryRow
from dnsworker.store.rows import ZoneRow
from dnsworker.store.withholding import Withheld

#: While a zone is changed, what was read at a target belongs to no one moment of the database: read again.
ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Side:
    """What the database has of a zone, for one target."""

    zone: ZoneRow
    delivery: DeliveryRow
    desired: dict[Key, RRset]
    #: What was changed since the target's last state, and under which revision.
    fresh: dict[Key, int]
    withheld: dict[Key, Withheld]

    @property
    def moment(self) -> tuple[int, int, str]:
        """The same as long as nothing moves."""
        return self.zone.revision, self.delivery.delivered_revision, self.delivery.state


@dataclass(frozen=True, slots=True)
class Difference:
    """What leads from the target's contents to the database's, in canonical order, by what explains it."""

    #: The target positively has no such zone.
    is_missing: bool
    serial: int | None
    #: On its way there by the journal.
    pending: tuple[RRsetChange, ...] = ()
    #: Refused by the target, which has what it had before.
    withheld: tuple[RRsetChange, ...] = ()
    #: Nothing explains it.
    drift: tuple[RRsetChange, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.pending or self.withheld or self.drift)


def read_side(connection: sa.Connection, zone_id: int, target_id: int) -> Side | None:
    """None where the target was never meant to have the zone."""
    rows = {row.target_id: row for row in deliveries.of_zone(connection, zone_id)}
    if target_id not in rows:
        return None
    zone, row = zones.get(connection, zone_id), rows[target_id]
    entries = journal.since(connection, zone_id, row.delivered_revision, zone.revision)
    return Side(
        zone,
        row,
        {rrset.key: rrset for rrset in zones.rrsets(connection, zone_id)},
        {entry.key: entry.revision for entry in entries},
        {one.key: one for one in withholding.withheld_in(connection, zone_id, target_id)},
    )


def settled(
    read_database: Callable[[], Side | None], read_target: Callable[[], ZoneContents | None]
) -> tuple[Side, ZoneContents | None] | None:
    """Both sides as of one moment, or of the last try where the zone never stands still."""
    side, contents = read_database(), None
    for _ in range(ATTEMPTS):
        if side is None:
            return None
        contents = read_target()
        again = read_database()
        if again is not None and again.moment == side.moment:
            break
        side = again
    return None if side is None else (side, contents)


def compare(side: Side, contents: ZoneContents | None, capabilities: Capabilities, pool: Pool) -> Difference:
    """What the target has to be given, or to lose, to have what the database has."""
    name = side.zone.name
    found = contents or ZoneContents(soa=side.zone.soa, rrsets={}, name=name)
    changes = comparison.foreign_changes(
        comparison.side_by_side(found, side.desired), side.desired, name, capabilities
    )
    pending, refused, drift = [], [], []
    for change in sorted(changes, key=_in_order):
        row, revision = side.withheld.get(change.key), side.fresh.get(change.key, 0)
        if pool.ignores(change.key, name):
            continue
        if row and revision <= row.revision and comparison.is_same(change.before, row.accepted):
            refused.append(change)
        elif revision:
            pending.append(change)
        else:
            drift.append(change)
    if contents is None:
        return Difference(True, None, tuple(pending), tuple(refused), tuple(drift))
    soa = _soa_change(side, contents.soa, capabilities, pool)
    if soa is not None:
        is_behind = side.delivery.delivered_revision < side.zone.revision
        (pending if is_behind else drift).insert(0, soa)
    return Difference(False, contents.soa.serial, tuple(pending), tuple(refused), tuple(drift))


def lines(change: RRsetChange) -> list[str]:
    """`- …` for each record that only the target has, `+ …` for each that only the database has."""
    before, after = comparison.records_of(change.before), comparison.records_of(change.after)
    name, type_ = change.key
    return [
        f"{sign} {name} {ttl} IN {type_} {value}"
        for sign, records in (("-", before - after), ("+", after - before))
        for ttl, value in sorted(records)
    ]


def _soa_change(side: Side, soa: SOA, capabilities: Capabilities, pool: Pool) -> RRsetChange | None:
    wanted = side.zone.soa
    if capabilities.sets_serial or soa.rdata == wanted.rdata:
        return None
    others_count = capabilities.signer_counts or pool.is_shared
    is_alike = soa.with_serial(wanted.serial).rdata == wanted.rdata
    if others_count and is_alike and serials.is_ahead(soa.serial, wanted.serial):
        return None

    def rrset(one: SOA) -> RRset:
        return RRset.trusted(side.zone.name, "SOA", one.ttl, (one.rdata,))

    return RRsetChange(rrset(soa), rrset(wanted))


def _in_order(change: RRsetChange) -> tuple[str, str]:
    return sort_key(change.key[0]), change.key[1]
