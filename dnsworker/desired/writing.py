"""Writing a zone's desired state: RRsets, journal, serial and the targets' goals, in one go.

Into a draft, whose zones are locked; the intake, deliveries and settlements write here.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dnsworker import plan, serials
from dnsworker.desired.draft import LOOK_GUARD_S, Draft
from dnsworker.desired.rules import check_placement, placeable
from dnsworker.errors import InvalidRecord
from dnsworker.plan import RRsetChange
from dnsworker.records import SOA, Key, RRset
from dnsworker.requests.zones import SETTABLE
from dnsworker.store import agenda, deliveries, journal, zones
from dnsworker.store.deliveries import Wanted
from dnsworker.store.journal import Entry
from dnsworker.store.pools import KnownPool
from dnsworker.store.rows import ZoneRow
from dnsworker.tables import now


@dataclass(frozen=True, slots=True)
class Accepted:
    """What an operation came to."""

    zone_id: int
    revision: int
    serial: int
    #: Targets that have something to do now.
    targets: tuple[str, ...]


def write(
    draft: Draft,
    known: KnownPool,
    zone: ZoneRow,
    operation_id: str,
    changes: Sequence[RRsetChange],
    values: Mapping[str, Any] | None = None,
    *,
    seen: int | None = None,
    kept: int | None = None,
    force: bool = False,
) -> Accepted:
    """Make the changes the zone's desired state, under a new revision and serial.

    `values` are columns of the zone that change with it; `kept` is the serial that these very contents have
    somewhere, and get if all that we know is behind it. Nothing to change: the present revision.
    """
    values = dict(values or {})
    if not changes and not values and not zone.is_deleted:
        draft.alter(zone.id)  # somebody must see that the operation has ended, should this worker die now
        if not force:
            return Accepted(zone.id, zone.revision, zone.serial, ())
        # Nothing to change here, but targets that are blocked are to be brought to it all the same.
        targets = known.target_ids
        draft.want(zone.id, targets.values(), goal="present", revision=zone.revision, force=True)
        return Accepted(zone.id, zone.revision, zone.serial, tuple(targets))
    revision, serial = _next(zone, plan.messages_needed(changes), seen)
    if kept and _may_keep(kept, zone):
        serial = kept
    after = {**values, "revision": revision, "serial": serial}
    soa_change = _soa_change(zone, after) if values else None
    draft.change(zone.id, changes)
    row = draft.alter(
        zone.id, status="PENDING", reason=None, is_deleted=False,
        seen_serial=serials.latest(zone.seen_serial, seen), **after,
    )  # fmt: skip
    draft.append(row, operation_id, [*changes, soa_change] if soa_change else changes)
    draft.want(zone.id, known.target_ids.values(), goal="present", revision=revision, force=force)
    return Accepted(zone.id, revision, serial, tuple(known.target_ids))


def delete(
    draft: Draft, known: KnownPool, zone: ZoneRow, operation_id: str, *, force: bool = False
) -> Accepted:
    """Make the zone's desired state "absent". The row stays, and with it the serial.

    A target that is blocked is left alone until `force`.
    """
    gone = [RRsetChange(rrset, None) for rrset in draft.rrsets(zone.id)]
    draft.empty(zone.id)
    revision, serial = _next(zone, 1, None)
    row = draft.alter(
        zone.id,
        status="PENDING",
        reason="is being deleted",
        is_deleted=True,
        revision=revision,
        serial=serial,
    )
    draft.append(row, operation_id, gone)
    draft.want(zone.id, known.target_ids.values(), goal="absent", revision=revision, force=force)
    return Accepted(zone.id, revision, serial, tuple(known.target_ids))


def lift(
    connection: sa.Connection, known: KnownPool, zone_id: int, *, above: int | None = None, parts: int = 1
) -> ZoneRow:
    """Raise the zone's serial without changing its contents, at all targets: above one seen somewhere, or
    to make room for a plan of `parts` messages. Takes the zone's lock."""
    zone = zones.lock(connection, zone_id)
    if zone.is_deleted:
        return zone
    is_room = parts <= 1 and (above is None or serials.is_ahead(zone.serial, above))
    if is_room:
        return zone
    revision, serial = _next(zone, parts, above)
    zones.update(
        connection, zone_id,
        revision=revision, serial=serial, seen_serial=serials.latest(zone.seen_serial, above),
        updated_at=now(), look_at=now(LOOK_GUARD_S), looks=0,
    )  # fmt: skip
    # Whoever lifts goes on by himself; for the other targets nobody waits.
    wanted = [Wanted(zone_id, one, "present", revision) for one in known.target_ids.values()]
    deliveries.want(connection, wanted, priority=agenda.REPAIR)
    return zones.get(connection, zone_id)


def take_back(draft: Draft, known: KnownPool, zone: ZoneRow, operation_id: str) -> tuple[int, list[Key]]:
    """Undo what an operation did to RRsets and the SOA, where no later one changed it since; the zone is
    locked.

    Returns how many RRsets went back, and those that had to stay because something now stands beside them.
    """
    connection = draft.connection
    entries = journal.of_operation(connection, zone.id, operation_id)
    done = {entry.key: entry for entry in entries if entry.key[1] != "SOA"}
    values = _values_before(zone, entries)
    if not done and not values:
        return 0, []
    revision = max(entry.revision for entry in entries)
    later = journal.changed_later(connection, zone.id, revision, done, operation_id)
    # What was there before may be another rejected operation's: that one never takes effect either.
    before = journal.before_rejections(
        connection, zone.id, {key: entry.revision for key, entry in done.items() if key not in later}
    )
    current = draft.rrsets_at(zone.id, {name for name, _ in before})
    back = [
        RRsetChange(current.get(key), value) for key, value in before.items() if current.get(key) != value
    ]
    stuck: list[Key] = []
    try:
        check_placement(draft, zone, back)
    except InvalidRecord:
        back, stuck = placeable(draft, zone, back)
    if back or values:
        write(draft, known, zone, operation_id, back, values)
    return len(back), stuck


def _values_before(zone: ZoneRow, entries: Sequence[Entry]) -> dict[str, Any]:
    """The zone's own values as they were before the operation, where they still are what it made of them."""
    changes = [entry.change for entry in entries if entry.key[1] == "SOA"]
    if not changes or changes[0].before is None or changes[0].after is None:
        return {}
    before, after = (SOA.from_rdata(one.data[0], one.ttl) for one in (changes[0].before, changes[0].after))
    fields = ("mname", "ttl", "refresh", "retry", "expire", "minimum")
    found = {
        field: getattr(before, field)
        for field in fields
        if getattr(before, field) != getattr(after, field) == getattr(zone, field)
    }
    if before.rname != after.rname == zone.soa.rname:
        found["email"] = before.email
    return found


def _next(zone: ZoneRow, parts: int, seen: int | None) -> tuple[int, int]:
    last = zone.serial if zone.revision else None
    highest = serials.latest(zone.seen_serial, seen)
    serial = serials.next_serial(last, parts=parts, unix_time=int(time.time()), highest_seen=highest)
    return zone.revision + 1, serial


def _may_keep(serial: int, zone: ZoneRow) -> bool:
    """Whether it is later than all that we wrote under the name, and nothing later was seen anywhere."""
    last, seen = zone.serial if zone.revision else None, zone.seen_serial
    is_later = last is None or serials.is_ahead(serial, last)
    return is_later and (seen in (None, serial) or serials.is_ahead(serial, seen))


def _soa_change(zone: ZoneRow, after: Mapping[str, Any]) -> RRsetChange:
    """The journal's record of a change of the zone's own values."""

    def rrset(soa: SOA) -> RRset:
        return RRset.trusted(zone.name, "SOA", soa.ttl, (soa.rdata,))

    fields = {field: after.get(field, getattr(zone, field)) for field in (*SETTABLE, "mname", "serial")}
    email = fields.pop("email")
    changed = SOA(rname=SOA.email_to_rname(email), **fields)
    return RRsetChange(None if zone.is_deleted else rrset(zone.soa), rrset(changed))
