"""What an operation would do, from the code that does it: it is taken in, told of, and rolled back.

Separate from the intake because what is told is told as the history does it.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from dnsworker.errors import Forbidden
from dnsworker.history import becomes, rrset_changes, settings_changes
from dnsworker.intake import Arrival, Batch, Intake
from dnsworker.operations import Preview, Status
from dnsworker.plan import RRsetChange
from dnsworker.records import SOA, Key, RRset
from dnsworker.requests.questions import DryRunQuery
from dnsworker.store import history, operations, pools, zones
from dnsworker.store.rows import ZoneRow

#: RRsets that are told one by one.
SHOWN = 1_000


def foresee(
    intake: Intake, query: DryRunQuery, user: str | None, within: sa.Connection | None = None
) -> Preview:
    """What would become of the operation now. Nothing of it stays, nobody is woken.

    Raises `NoAnswer`, or what the database raises.
    """
    request = query.request
    operation_id = query.id or str(uuid.uuid4())
    arrival = Arrival(operation_id, request.kind, request.payload(), user)
    about: dict[str, Any] = {"kind": request.kind, "zone": request.zone, "pool": request.pool}
    with intake.rehearse(arrival, within) as (connection, batch):
        reused = batch.taken.reused.get(operation_id)
        fate = batch.taken.fates.get(operation_id)
        if reused is not None:
            return Preview(**about, code=reused.code, message=reused.message)
        assert fate is not None, "what was taken in has a fate"
        here = _living(batch)
        current = None if here is None else here.serial
        if fate.status is Status.ERROR:
            if fate.code == Forbidden.__name__:
                return Preview(**about, code=fate.code, message=fate.message)  # not even whether there is one
            return Preview(**about, code=fate.code, message=fate.message, current_serial=current)
        row = operations.get(connection, operation_id)
        zone = zones.get(connection, row.zone_id)
        known = next(one for one in pools.read(connection) if one.id == zone.pool_id)
        about |= {"pool": known.pool.name, "current_serial": current, "serial": fate.serial}
        made = history.changes(connection, zone, since=0, revision=row.revision, limit=1, shown=SHOWN)
        if not made or made[0].operation.id != operation_id or operation_id not in batch.new:
            return Preview(**about, targets=list(batch.taken.targets))
        done = made[0]
        if request.kind == "move_zone" and here is not None:
            changes = _as_seen_from(connection, here, done.changes)
            rrsets = rrset_changes(changes)
            return Preview(
                **about, becomes="moved", updated=len(rrsets), rrsets=rrsets,
                settings=settings_changes(changes), targets=list(batch.taken.targets),
            )  # fmt: skip
        return Preview(
            **about, becomes=becomes(zone.name, done.changes), created=done.created, updated=done.updated,
            deleted=done.deleted, rrsets=rrset_changes(done.changes), settings=settings_changes(done.changes),
            targets=list(batch.taken.targets),
        )  # fmt: skip


def _living(batch: Batch) -> ZoneRow | None:
    """The zone as it was found, where there is one that counts."""
    living = [row for row in batch.found if not row.is_deleted and row.arrives_by is None]
    return living[0] if len(living) == 1 else None


def _as_seen_from(
    connection: sa.Connection, source: ZoneRow, changes: tuple[RRsetChange, ...]
) -> tuple[RRsetChange, ...]:
    """What a move changes for who asks for the zone: of all that is new at its targets, SOA and apex NS."""
    apex: Key = (source.name, "NS")
    soa: Key = (source.name, "SOA")
    before = zones.rrsets_at(connection, source.id, {source.name}) | {soa: _soa_rrset(source.soa, source)}
    seen = [replace(one, before=before.get(one.key)) for one in changes if one.key in (apex, soa)]
    return tuple(one for one in seen if one.before != one.after)


def _soa_rrset(soa: SOA, zone: ZoneRow) -> RRset:
    return RRset.trusted(zone.name, "SOA", soa.ttl, (soa.rdata,))
