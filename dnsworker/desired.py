"""How an operation changes what a zone should be: decided from what the zone is, then written in one go.

Everything here runs inside the intake's transaction, under the zone's lock. A refusal is raised before the
first write, so nothing is half done.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dnsworker import names, placement, plan, serials, zonefile
from dnsworker.backend import load_backend
from dnsworker.errors import (
    AmbiguousZone,
    ConfigError,
    InvalidRecord,
    InvalidRequest,
    InvalidZoneFile,
    PoolNotFound,
    RecordExists,
    RecordNotFound,
    ZoneExists,
    ZoneNotFound,
)
from dnsworker.names import Name
from dnsworker.operations import Change
from dnsworker.plan import RRsetChange
from dnsworker.records import SOA, Key, RRset
from dnsworker.requests import (
    SETTABLE,
    CreateZone,
    DeleteZone,
    ImportZone,
    Request,
    RestoreZone,
    UpdateZone,
)
from dnsworker.settings import Settings
from dnsworker.store import deliveries, journal, zones
from dnsworker.store.pools import KnownPool, PoolDirectory
from dnsworker.store.rows import ZoneRow
from dnsworker.tables import now

#: How long after a change the sweep looks whether somebody took care of it.
LOOK_GUARD_S = 10.0


@dataclass(frozen=True, slots=True)
class Accepted:
    """What an operation came to."""

    zone_id: int
    revision: int
    serial: int
    #: Targets that have something to do now.
    targets: tuple[str, ...]


class Desired:
    """Applies operations to the desired state."""

    def __init__(self, directory: PoolDirectory, settings: Settings) -> None:
        self._directory = directory
        self._settings = settings

    def apply(self, connection: sa.Connection, operation_id: str, request: Request) -> Accepted:
        """Raises `InvalidRequest` (nothing was written then)."""
        if isinstance(request, CreateZone):
            return self._create(connection, operation_id, request)
        if isinstance(request, ImportZone):
            return self._import(connection, operation_id, request)
        known, zone = self._existing(connection, request)
        if isinstance(request, DeleteZone):
            return delete(connection, known, zone, operation_id)
        if isinstance(request, UpdateZone):
            return self._update(connection, known, zone, operation_id, request)
        if isinstance(request, RestoreZone):
            changes = _changes_back(connection, zone, request.serial)
        else:
            changes = self._changes(connection, known, zone, request.changes)
        self._check(connection, known, zone, changes, request)
        return write(connection, known, zone, operation_id, changes, force=request.force)

    # --- the zone --------------------------------------------------------------------------------------

    def _existing(self, connection: sa.Connection, request: Request) -> tuple[KnownPool, ZoneRow]:
        """The zone that the request names, locked."""
        name = request.zone_name
        pool_ids = None if request.pool is None else [self._directory.by_name(request.pool).id]
        living = [zone for zone in zones.find(connection, name, pool_ids) if not zone.is_deleted]
        if not living:
            where = "" if request.pool is None else f" in pool {request.pool}"
            raise ZoneNotFound(f"there is no zone {name}{where}; create it first")
        if len(living) > 1:
            in_pools = sorted(self._directory.get(zone.pool_id).pool.name for zone in living)
            raise AmbiguousZone(f"zone {name} is in the pools {', '.join(in_pools)}: say which with pool=")
        zone = zones.lock(connection, living[0].id)
        if zone.is_deleted:  # while we waited for the lock
            raise ZoneNotFound(f"there is no zone {name}; it was just deleted")
        return self._directory.get(zone.pool_id), zone

    def _place(self, connection: sa.Connection, request: Request, email: str) -> tuple[KnownPool, ZoneRow]:
        """The row for a zone that may have to be made, locked."""
        known = self._directory.by_name(request.pool) if request.pool else self._directory.default()
        if not known.target_ids:
            raise PoolNotFound(f"pool {known.pool.name} has no targets")
        mname = Name(primary_nameserver(known))
        return known, zones.lock_or_make(connection, known.id, request.zone_name, mname, email)

    def _create(self, connection: sa.Connection, operation_id: str, request: CreateZone) -> Accepted:
        known, zone = self._place(connection, request, request.email)
        if not zone.is_deleted:
            raise ZoneExists(f"zone {zone.name} exists already in pool {known.pool.name}")
        values = {"email": request.email, "ttl": request.ttl, **_first_values(known)}
        apex = apex_ns(known, zone.name, request.ttl)
        return write(
            connection, known, zone, operation_id, [RRsetChange(None, apex)], values, force=request.force
        )

    def _update(
        self,
        connection: sa.Connection,
        known: KnownPool,
        zone: ZoneRow,
        operation_id: str,
        request: UpdateZone,
    ) -> Accepted:
        wanted = {field: getattr(request, field) for field in SETTABLE if getattr(request, field) is not None}
        values = {field: value for field, value in wanted.items() if getattr(zone, field) != value}
        return write(connection, known, zone, operation_id, [], values, force=request.force)

    def _import(self, connection: sa.Connection, operation_id: str, request: ImportZone) -> Accepted:
        parsed = zonefile.parse_zone(request.text, request.zone_name, 3600)
        if not [rrset for rrset in parsed.rrsets if rrset.key != (request.zone_name, "NS")]:
            raise InvalidZoneFile(f"the zone file for {request.zone} holds no records; nothing was imported")
        email = request.email or _mailbox(parsed.soa) or f"hostmaster@{request.zone.rstrip('.')}"
        known, zone = self._place(connection, request, email)
        ttl = parsed.soa.ttl if parsed.soa else zone.ttl
        existing = {rrset.key: rrset for rrset in zones.rrsets(connection, zone.id)}
        wanted = {rrset.key: rrset for rrset in parsed.rrsets if rrset.key != (zone.name, "NS")}
        apex = existing.get((zone.name, "NS")) or apex_ns(known, zone.name, ttl)
        wanted[apex.key] = apex
        changes = difference(existing, wanted)
        self._check(connection, known, zone, changes, request, is_new=zone.is_deleted)
        values: dict[str, Any] = {}
        if zone.is_deleted:
            values = {"email": email, "ttl": ttl, **_first_values(known)}
        if parsed.soa is not None:
            timers = {
                field: getattr(parsed.soa, field) for field in ("refresh", "retry", "expire", "minimum")
            }
            values |= {field: value for field, value in timers.items() if getattr(zone, field) != value}
        seen = serials.latest(zone.seen_serial, parsed.soa.serial if parsed.soa else None)
        return write(connection, known, zone, operation_id, changes, values, seen=seen, force=request.force)

    # --- records ---------------------------------------------------------------------------------------

    def _changes(
        self, connection: sa.Connection, known: KnownPool, zone: ZoneRow, wishes: Sequence[Change]
    ) -> list[RRsetChange]:
        owners = {Name(wish.name) for wish in wishes}
        outside = next((owner for owner in owners if not names.is_within(owner, zone.name)), None)
        if outside is not None:
            raise InvalidRecord(f"{outside} is not in zone {zone.name}")
        return resolve(wishes, zones.rrsets_at(connection, zone.id, owners), zone.ttl)

    def _check(
        self,
        connection: sa.Connection,
        known: KnownPool,
        zone: ZoneRow,
        changes: Sequence[RRsetChange],
        request: Request,
        *,
        is_new: bool = False,
    ) -> None:
        _check_types(known, changes)
        _check_children(connection, zone, changes)
        check_placement(connection, zone, changes)
        if not (request.force or is_new):
            removals = sum(change.is_removal for change in changes)
            existing = (
                zones.count_rrsets(connection, zone.id) if removals >= self._settings.guard_minimum else 0
            )
            plan.raise_if_unsafe(
                changes,
                existing=existing,
                share=self._settings.guard_share,
                minimum=self._settings.guard_minimum,
                zone=zone.name,
            )


# --- writing ------------------------------------------------------------------------------------------------


def write(
    connection: sa.Connection,
    known: KnownPool,
    zone: ZoneRow,
    operation_id: str,
    changes: Sequence[RRsetChange],
    values: Mapping[str, Any] | None = None,
    *,
    seen: int | None = None,
    force: bool = False,
) -> Accepted:
    """Make the changes the zone's desired state, under a new revision and serial. The zone is locked.

    `values` are columns of the zone that change with it. Nothing to change: the present revision.
    """
    values = dict(values or {})
    if not changes and not values and not zone.is_deleted:
        # Somebody must see that the operation has ended, should this worker die now.
        zones.update(connection, zone.id, look_at=now(LOOK_GUARD_S), looks=0)
        if not force:
            return Accepted(zone.id, zone.revision, zone.serial, ())
        # Nothing to change here, but targets that are blocked are to be brought to it all the same.
        targets = known.target_ids
        deliveries.want(
            connection, zone.id, targets.values(), goal="present", revision=zone.revision, force=True
        )
        return Accepted(zone.id, zone.revision, zone.serial, tuple(targets))
    revision, serial = _next(zone, plan.messages_needed(changes), seen)
    after = {**values, "revision": revision, "serial": serial}
    soa_change = _soa_change(zone, after) if values else None
    zones.put_rrsets(connection, zone.id, [change.after for change in changes if change.after is not None])
    zones.remove_rrsets(connection, zone.id, [change.key for change in changes if change.is_removal])
    journal.append(
        connection, zone.id, revision=revision, serial=serial, operation_id=operation_id,
        changes=[*changes, soa_change] if soa_change else changes,
    )  # fmt: skip
    zones.update(
        connection, zone.id,
        status="PENDING", reason=None, is_deleted=False, deleted_at=None, updated_at=now(),
        seen_serial=serials.latest(zone.seen_serial, seen), look_at=now(LOOK_GUARD_S), looks=0, **after,
    )  # fmt: skip
    deliveries.want(
        connection, zone.id, known.target_ids.values(), goal="present", revision=revision, force=force
    )
    return Accepted(zone.id, revision, serial, tuple(known.target_ids))


def delete(connection: sa.Connection, known: KnownPool, zone: ZoneRow, operation_id: str) -> Accepted:
    """Make the zone's desired state "absent". The row stays, and with it the serial."""
    revision, serial = _next(zone, 1, None)
    gone = [RRsetChange(rrset, None) for rrset in zones.rrsets(connection, zone.id)]
    journal.append(
        connection, zone.id, revision=revision, serial=serial, operation_id=operation_id, changes=gone
    )
    zones.remove_all_rrsets(connection, zone.id)
    zones.update(
        connection, zone.id,
        status="PENDING", reason="is being deleted", is_deleted=True, deleted_at=now(), updated_at=now(),
        revision=revision, serial=serial, look_at=now(LOOK_GUARD_S), looks=0,
    )  # fmt: skip
    deliveries.forget_withheld(connection, zone.id)
    deliveries.want(connection, zone.id, known.target_ids.values(), goal="absent", revision=revision)
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
    deliveries.want(connection, zone_id, known.target_ids.values(), goal="present", revision=revision)
    return zones.get(connection, zone_id)


def take_back(
    connection: sa.Connection, known: KnownPool, zone: ZoneRow, operation_id: str
) -> tuple[int, list[Key]]:
    """Undo what an operation did, where no later one changed it since; the zone is locked.

    Returns how many RRsets went back, and those that had to stay because something now stands beside them.
    """
    entries = journal.of_operation(connection, operation_id)
    done = {entry.key: entry for entry in entries if entry.key[1] != "SOA"}
    if not done:
        return 0, []
    revision = max(entry.revision for entry in done.values())
    later = journal.changed_later(connection, zone.id, revision, done, operation_id)
    # What was there before may be another rejected operation's: that one never takes effect either.
    before = journal.before_rejections(
        connection, zone.id, {key: entry.revision for key, entry in done.items() if key not in later}
    )
    current = zones.rrsets_at(connection, zone.id, {name for name, _ in before})
    back = [
        RRsetChange(current.get(key), value) for key, value in before.items() if current.get(key) != value
    ]
    stuck: list[Key] = []
    try:
        check_placement(connection, zone, back)
    except InvalidRecord:
        back, stuck = _placeable(connection, zone, back)
    if back:
        write(connection, known, zone, operation_id, back)
    return len(back), stuck


def _next(zone: ZoneRow, parts: int, seen: int | None) -> tuple[int, int]:
    last = zone.serial if zone.revision else None
    highest = serials.latest(zone.seen_serial, seen)
    serial = serials.next_serial(last, parts=parts, unix_time=int(time.time()), highest_seen=highest)
    return zone.revision + 1, serial


def _soa_change(zone: ZoneRow, after: Mapping[str, Any]) -> RRsetChange:
    """The journal's record of a change of the zone's own values."""

    def rrset(soa: SOA) -> RRset:
        return RRset.trusted(zone.name, "SOA", soa.ttl, (soa.rdata,))

    fields = {field: after.get(field, getattr(zone, field)) for field in (*SETTABLE, "mname", "serial")}
    email = fields.pop("email")
    changed = SOA(rname=SOA.email_to_rname(email), **fields)
    return RRsetChange(None if zone.is_deleted else rrset(zone.soa), rrset(changed))


# --- deciding -----------------------------------------------------------------------------------------------


def resolve(wishes: Iterable[Change], current: Mapping[Key, RRset], default_ttl: int) -> list[RRsetChange]:
    """What the wishes come to in a zone that holds `current`.

    Raises `RecordExists`, `RecordNotFound`. A wish for what is there already changes nothing.
    """
    changes = []
    for wish in wishes:
        key = (Name(wish.name), wish.type)
        before = current.get(key)
        if wish.action == "create" and before is not None:
            raise RecordExists(f"{wish.name} {wish.type} exists already; use put or update to replace it")
        if wish.action in ("update", "delete") and before is None:
            hint = "; use create or put" if wish.action == "update" else ""
            raise RecordNotFound(f"there is no {wish.name} {wish.type}{hint}")
        after = None
        if wish.action != "delete":
            ttl = wish.ttl if wish.ttl is not None else (before.ttl if before else default_ttl)
            after = RRset.trusted(key[0], wish.type, ttl, wish.data)
        if before != after:
            changes.append(RRsetChange(before, after))
    return changes


def difference(current: Mapping[Key, RRset], desired: Mapping[Key, RRset]) -> list[RRsetChange]:
    """What leads from `current` to `desired`."""
    keys = dict.fromkeys([*current, *desired])
    pairs = ((current.get(key), desired.get(key)) for key in keys)
    return [RRsetChange(before, after) for before, after in pairs if before != after]


def primary_nameserver(known: KnownPool) -> str:
    """The name that the SOA gives as the primary: the first of the pool's NS records."""
    return min(known.pool.ns_records, key=lambda record: record.priority).hostname


def apex_ns(known: KnownPool, zone: Name, ttl: int) -> RRset:
    """The NS RRset of every zone in the pool."""
    return RRset(zone, "NS", ttl, [record.hostname for record in known.pool.ns_records])


def check_placement(connection: sa.Connection, zone: ZoneRow, changes: Sequence[RRsetChange]) -> None:
    """Raises `InvalidRecord` when the zone with the changes holds what can't stand together."""
    if not changes:
        return
    view = _ZoneAfter(connection, zone, changes)
    placement.check_placement(changes, view)


class _ZoneAfter:
    """The zone as it would be with some changes, as far as `placement` asks."""

    def __init__(self, connection: sa.Connection, zone: ZoneRow, changes: Sequence[RRsetChange]) -> None:
        self._connection, self._zone = connection, zone
        self.apex = zone.name
        needed = placement.names_needed([change.key for change in changes], zone.name)
        self._types: dict[Name, set[str]] = {}
        for name, type_ in zones.rrsets_at(connection, zone.id, needed):
            self._types.setdefault(name, set()).add(type_)
        for change in changes:
            types = self._types.setdefault(change.key[0], set())
            if change.is_removal:
                types.discard(change.key[1])
            else:
                types.add(change.key[1])
        self._added = [change.key[0] for change in changes if not change.is_removal]

    def types_at(self, name: Name) -> set[str]:
        return self._types.get(name, set())

    def has_descendants(self, name: Name) -> bool:
        if any(added != name and names.is_within(added, name) for added in self._added):
            return True
        below = zones.names_below(self._connection, self._zone.id, name)
        return any(self._types.get(found, {"?"}) for found in below)


def _placeable(
    connection: sa.Connection, zone: ZoneRow, changes: Iterable[RRsetChange]
) -> tuple[list[RRsetChange], list[Key]]:
    fits: list[RRsetChange] = []
    stuck: list[Key] = []
    for change in changes:
        try:
            check_placement(connection, zone, [*fits, change])
        except InvalidRecord:
            stuck.append(change.key)
        else:
            fits.append(change)
    return fits, stuck


def _check_types(known: KnownPool, changes: Sequence[RRsetChange]) -> None:
    """Refuses early what a target of the pool can't hold at all."""
    wanted = {change.key[1] for change in changes if not change.is_removal}
    for target in known.pool.targets:
        try:
            types = load_backend(target.type).capabilities.types
        except ConfigError:
            continue  # this worker hasn't got the adapter; the one that delivers will say what is refused
        if types is not None and wanted - types:
            missing = ", ".join(sorted(wanted - types))
            raise InvalidRecord(f"target {target.name} ({target.type}) can't hold records of type {missing}")


def _check_children(connection: sa.Connection, zone: ZoneRow, changes: Sequence[RRsetChange]) -> None:
    """Records of a zone that we hold below this one belong there, not here (NS and DS at its top aside)."""
    added = {change.key for change in changes if not change.is_removal}
    above = {name: {name, *names.ancestors(name, zone.name)} - {zone.name} for name, _ in added}
    candidates = set().union(*above.values()) if above else set()
    children = zones.held_below(connection, zone.pool_id, candidates) if candidates else set()
    for name, type_ in added if children else ():
        inside = above[name] & children
        if inside and not (name in inside and type_ in ("NS", "DS")) and type_ not in ("A", "AAAA"):
            child = max(inside, key=len)
            raise InvalidRecord(
                f"{name} {type_} belongs to the zone {child}, which this pool holds: change it there"
            )


def _changes_back(connection: sa.Connection, zone: ZoneRow, serial: int) -> list[RRsetChange]:
    """What brings back the contents under an earlier serial."""
    revision = journal.revision_of_serial(connection, zone.id, serial)
    if revision is None:
        raise InvalidRequest(
            f"the journal of {zone.name} has no serial {serial}; see `dnsworker zone history`"
        )
    collapsed = plan.collapse_changes(entry.change for entry in journal.since(connection, zone.id, revision))
    return [RRsetChange(change.after, change.before) for change in collapsed]


def _mailbox(soa: SOA | None) -> str | None:
    """The address that a zone file's SOA gives; None where its rname can't be one."""
    if soa is None:
        return None
    try:
        SOA.email_to_rname(soa.email)
    except InvalidRequest:
        return None
    return soa.email


def _first_values(known: KnownPool) -> dict[str, Any]:
    defaults = {"refresh": 3600, "retry": 600, "expire": 86400, "minimum": 3600}
    return {"mname": primary_nameserver(known), "created_at": now(), **defaults}
