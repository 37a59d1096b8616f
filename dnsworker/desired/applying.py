"""What each kind of operation does to a zone: decided from what it is, refused before the first write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dnsworker import names, plan, serials
from dnsworker.contents import ZoneContents
from dnsworker.desired import moving
from dnsworker.desired.draft import Contended, Draft, Place
from dnsworker.desired.effects import apex_ns, difference, primary_nameserver, resolve
from dnsworker.desired.importing import check_not_empty, read_import
from dnsworker.desired.restoring import read_restoration
from dnsworker.desired.rules import check_children, check_ignored, check_placement, check_timers, check_types
from dnsworker.desired.writing import Accepted, delete, write
from dnsworker.errors import (
    AmbiguousZone,
    InvalidRecord,
    InvalidRequest,
    PoolNotFound,
    ZoneExists,
    ZoneNotFound,
)
from dnsworker.names import Name
from dnsworker.operations import Change
from dnsworker.placement import names_needed
from dnsworker.plan import RRsetChange
from dnsworker.requests.request import Request
from dnsworker.requests.zones import (
    SETTABLE,
    CreateZone,
    DeleteZone,
    ImportZone,
    MoveZone,
    RestoreZone,
    UpdateZone,
)
from dnsworker.settings import Settings
from dnsworker.store import zones
from dnsworker.store.pools import KnownPool, PoolDirectory
from dnsworker.store.rows import ZoneRow


class Desired:
    """Applies operations to the desired state."""

    def __init__(self, directory: PoolDirectory, settings: Settings) -> None:
        self._directory = directory
        self._settings = settings

    def apply(self, draft: Draft, operation_id: str, request: Request) -> Accepted:
        """Raises `InvalidRequest` (nothing was written then)."""
        if isinstance(request, CreateZone):
            return self._create(draft, operation_id, request)
        if isinstance(request, ImportZone):
            return self._import(draft, operation_id, request)
        if isinstance(request, RestoreZone):
            return self._restore(draft, operation_id, request)
        known, zone = self._existing(draft, request)
        if isinstance(request, MoveZone):
            return self._move(draft, known, zone, operation_id, request)
        if isinstance(request, DeleteZone):
            moving.raise_if_leaving(zone)
            return delete(draft, known, zone, operation_id, force=request.force)
        if isinstance(request, UpdateZone):
            return self._update(draft, known, zone, operation_id, request)
        changes = self._changes(draft, known, zone, request.changes)
        self._check(draft, known, zone, changes, request)
        return write(draft, known, zone, operation_id, changes, force=request.force)

    def prepare(self, draft: Draft, requests: Sequence[Request]) -> None:
        """Read in few statements what `apply` will look at for all of these; it reads what is missing itself.

        The zones that exist are held by the draft.
        """
        places: dict[Place, None] = {}
        possible: set[tuple[int, Name]] = set()
        for request in requests:
            keys = [(Name(wish.name), wish.type) for wish in request.changes]
            for zone in draft.named(request.zone_name) if keys else ():
                needed = names_needed(keys, zone.name)
                places |= dict.fromkeys((zone.id, name) for name in needed)
                possible |= {(zone.pool_id, name) for name in needed - {zone.name}}
        draft.read(places)
        draft.ask_living(possible)

    def make_missing(self, draft: Draft, requests: Sequence[Request]) -> None:
        """Make the rows of zones that these may create, before anything is applied.

        Clients' positions are locked by now, and zones are locked before positions: so nobody is waited for.
        Raises `Contended` when somebody else makes one of them at this moment, and is at work on it.
        """
        wanted = {}
        for request in requests:
            if not isinstance(request, CreateZone | ImportZone):
                continue
            try:
                known = self._home(request)
            except InvalidRequest:
                continue  # `apply` says so
            if not draft.named(request.zone_name, [known.id]):
                mname, name = Name(primary_nameserver(known)), request.zone_name
                email = request.email or f"hostmaster@{name.rstrip('.')}"
                wanted[known.id, name] = (known.id, name, mname, email)
        if wanted:
            ids = zones.make(draft.connection, wanted.values())
            rows = zones.lock_all(draft.connection, ids, wait=False)
            if len(rows) < len(ids):
                raise Contended
            draft.hold(rows)

    # --- the zone --------------------------------------------------------------------------------------

    def _existing(self, draft: Draft, request: Request) -> tuple[KnownPool, ZoneRow]:
        """The zone that the request names, locked. One that is on its way to a pool isn't there yet."""
        name = request.zone_name
        pool_ids = None if request.pool is None else [self._directory.by_name(request.pool).id]
        living = [zone for zone in draft.named(name, pool_ids) if not zone.is_deleted]
        here = [zone for zone in living if zone.arrives_by is None]
        if not here:
            for zone in living:
                moving.raise_if_taken(zone, self._directory.get(zone.pool_id).pool.name)
            where = "" if request.pool is None else f" in pool {request.pool}"
            raise ZoneNotFound(f"there is no zone {name}{where}; create it first")
        if len(here) > 1:
            in_pools = sorted(self._directory.get(zone.pool_id).pool.name for zone in here)
            raise AmbiguousZone(f"zone {name} is in the pools {', '.join(in_pools)}: say which with pool=")
        return self._directory.get(here[0].pool_id), here[0]

    def _place(self, draft: Draft, request: Request, email: str) -> tuple[KnownPool, ZoneRow]:
        """The row for a zone that may have to be made, locked."""
        known = self._home(request)
        return known, _row_in(draft, known, request.zone_name, email)

    def _home(self, request: Request) -> KnownPool:
        """The pool of a zone that may have to be made."""
        known = self._directory.by_name(request.pool) if request.pool else self._directory.default()
        _raise_if_empty(known)
        return known

    def _create(self, draft: Draft, operation_id: str, request: CreateZone) -> Accepted:
        known, zone = self._place(draft, request, request.email)
        if not zone.is_deleted:
            raise ZoneExists(f"zone {zone.name} exists already in pool {known.pool.name}")
        values = {"email": request.email, "ttl": request.ttl, **_first_values(known)}
        apex = apex_ns(known, zone.name, request.ttl)
        return write(draft, known, zone, operation_id, [RRsetChange(None, apex)], values, force=request.force)

    def _update(
        self,
        draft: Draft,
        known: KnownPool,
        zone: ZoneRow,
        operation_id: str,
        request: UpdateZone,
    ) -> Accepted:
        wanted = {field: getattr(request, field) for field in SETTABLE if getattr(request, field) is not None}
        values = {field: value for field, value in wanted.items() if getattr(zone, field) != value}
        check_timers(zone, values)
        return write(draft, known, zone, operation_id, [], values, force=request.force)

    def _move(
        self, draft: Draft, source: KnownPool, zone: ZoneRow, operation_id: str, request: MoveZone
    ) -> Accepted:
        moving.raise_if_leaving(zone)
        known = self._directory.by_name(request.to)
        if known.id == source.id:
            raise InvalidRequest(f"zone {zone.name} is in pool {known.pool.name} already")
        moving.raise_if_one_server(source, known)
        _raise_if_empty(known)
        there = _row_in(draft, known, zone.name, zone.email)
        if not there.is_deleted:
            raise ZoneExists(f"pool {known.pool.name} has a zone {zone.name} of its own")
        if zone.frozen_at is not None or there.frozen_at is not None:
            raise InvalidRequest(f"zone {zone.name} is frozen by operator: thaw it first")
        arriving = moving.contents(draft, known, zone).values()
        changes = [RRsetChange(None, rrset) for rrset in arriving]
        check_types(known, changes)
        check_ignored(known, zone.name, changes)
        check_children(draft, there, changes)
        return moving.begin(draft, known, zone, there, operation_id, force=request.force)

    def _import(self, draft: Draft, operation_id: str, request: ImportZone) -> Accepted:
        wish = read_import(request)
        known, zone = self._place(draft, request, wish.email)
        existing = {rrset.key: rrset for rrset in draft.rrsets(zone.id)}
        wanted = {key: rrset for key, rrset in wish.rrsets.items() if not known.pool.ignores(key, zone.name)}
        apex = (zone.name, "NS")
        if apex not in wanted:
            wanted[apex] = existing.get(apex) or apex_ns(known, zone.name, wish.ttl or zone.ttl)
        if not request.force:
            is_new = zone.is_deleted
            check_not_empty(zone.name, existing, wanted, is_new=is_new, is_adopted=request.adopt)
        changes = difference(existing, wanted)
        after = ZoneContents(soa=zone.soa, rrsets=wanted, name=zone.name)
        self._check(draft, known, zone, changes, request, after=after, is_new=zone.is_deleted)
        values: dict[str, Any] = {}
        if zone.is_deleted:
            values = {**_first_values(known), "email": wish.email, "ttl": wish.ttl or zone.ttl}
        values |= {field: value for field, value in wish.soa.items() if getattr(zone, field) != value}
        return write(
            draft, known, zone, operation_id, changes, values,
            seen=serials.latest(zone.seen_serial, wish.serial),
            kept=wish.serial if wish.is_whole and zone.is_deleted else None,
            force=request.force,
        )  # fmt: skip

    def _restore(self, draft: Draft, operation_id: str, request: RestoreZone) -> Accepted:
        known, zone = self._restorable(draft, request)
        back = read_restoration(draft, zone, request)
        self._check(draft, known, zone, back.changes, request, is_new=zone.is_deleted)
        return write(
            draft, known, zone, operation_id, back.changes, back.values, force=request.force
        )  # fmt: skip

    def _restorable(self, draft: Draft, request: RestoreZone) -> tuple[KnownPool, ZoneRow]:
        """The zone that is to be what it was; where there is none any more, the one that there was."""
        try:
            return self._existing(draft, request)
        except ZoneNotFound:
            pool_ids = None if request.pool is None else [self._directory.by_name(request.pool).id]
            gone = [zone for zone in draft.named(request.zone_name, pool_ids) if zone.revision]
            if not gone:
                raise
        if len(gone) > 1:
            in_pools = sorted(self._directory.get(zone.pool_id).pool.name for zone in gone)
            raise AmbiguousZone(
                f"zone {request.zone} was in the pools {', '.join(in_pools)}: say which with pool="
            )
        known = self._directory.get(gone[0].pool_id)
        moving.raise_if_taken(gone[0], known.pool.name)
        _raise_if_empty(known)
        return known, gone[0]

    # --- records ---------------------------------------------------------------------------------------

    def _changes(
        self, draft: Draft, known: KnownPool, zone: ZoneRow, wishes: Sequence[Change]
    ) -> list[RRsetChange]:
        owners = {Name(wish.name) for wish in wishes}
        outside = next((owner for owner in owners if not names.is_within(owner, zone.name)), None)
        if outside is not None:
            raise InvalidRecord(f"{outside} is not in zone {zone.name}")
        return resolve(wishes, draft.rrsets_at(zone.id, owners), zone.ttl)

    def _check(
        self,
        draft: Draft,
        known: KnownPool,
        zone: ZoneRow,
        changes: Sequence[RRsetChange],
        request: Request,
        *,
        after: ZoneContents | None = None,
        is_new: bool = False,
    ) -> None:
        check_types(known, changes)
        check_ignored(known, zone.name, changes)
        check_children(draft, zone, changes)
        check_placement(draft, zone, changes, after)
        if not (request.force or is_new):
            removals = sum(change.is_removal for change in changes)
            enough = plan.enough_to_be_safe(
                removals, self._settings.guard_share, self._settings.guard_minimum
            )
            existing = draft.count_rrsets(zone.id, enough) if enough else 0
            plan.raise_if_unsafe(
                changes,
                existing=existing,
                share=self._settings.guard_share,
                minimum=self._settings.guard_minimum,
                zone=zone.name,
            )


def _row_in(draft: Draft, known: KnownPool, name: Name, email: str) -> ZoneRow:
    """The pool's row of that name, locked; made as a tombstone if there is none."""
    zone = draft.made(known.id, name, Name(primary_nameserver(known)), email)
    moving.raise_if_taken(zone, known.pool.name)
    return zone


def _raise_if_empty(known: KnownPool) -> None:
    if not known.target_ids:
        raise PoolNotFound(f"pool {known.pool.name} has no targets")


def _first_values(known: KnownPool) -> dict[str, Any]:
    defaults = {"refresh": 3600, "retry": 600, "expire": 86400, "minimum": 3600}
    return {"mname": Name(primary_nameserver(known)), **defaults}
