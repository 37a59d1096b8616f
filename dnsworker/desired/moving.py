"""A zone's way from one pool to another: two rows of `zone`, of which the old one counts until the end.

    delivering   the new pool has a copy. Changes go to the old one; when the copy is verified, what changed
                 meanwhile is copied too, and verified, until nothing is missing
    removing     in one transaction the new one becomes the zone, and the old one a deleted zone

Everything runs under the locks of both zones. The intake waits for both, in the order of their ids; a
settlement, which has others locked already, comes again when it doesn't get the second at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from dnsworker import serials
from dnsworker.desired.draft import Draft, drafting
from dnsworker.desired.effects import apex_ns, difference, primary_nameserver
from dnsworker.desired.writing import Accepted, delete, write
from dnsworker.errors import ConfigError, InvalidRequest, ZoneIsMoving, ZoneNotFound
from dnsworker.pools import writes_to
from dnsworker.records import Key, RRset
from dnsworker.requests.zones import SETTABLE
from dnsworker.store import journal, moves, operations, pools, zones
from dnsworker.store.moves import Move
from dnsworker.store.pools import KnownPool
from dnsworker.store.rows import ZoneRow
from dnsworker.tables import now

#: So often the copy is brought up to date before the rest is handed over unverified: a zone that changes all
#: the time would never come to rest.
MAX_COPIES = 4


@dataclass(frozen=True, slots=True)
class Step:
    """What a move has come to."""

    #: Operations that were on their way in the old pool, and are part of the copy that was verified.
    left: Sequence[str] = ()
    source: ZoneRow | None = None
    #: Targets that have something new to do.
    targets: Sequence[str] = ()
    #: Nothing is missing any more: the caller ends those operations, and lets the copy be the zone.
    take_over: bool = False
    #: Why there is nothing to move any more.
    failure: InvalidRequest | None = None


def raise_if_leaving(zone: ZoneRow) -> None:
    if zone.leaves_by is not None:
        raise ZoneIsMoving(
            f"zone {zone.name} is being moved to another pool (operation {zone.leaves_by}): "
            "wait for that, or cancel it"
        )


def raise_if_taken(zone: ZoneRow, pool: str) -> None:
    """Of the row that a zone would be made in."""
    if zone.arrives_by is not None:
        raise ZoneIsMoving(
            f"zone {zone.name} is on its way to pool {pool} (operation {zone.arrives_by}); until it is there "
            "it is changed where it is"
        )
    if zone.is_deleted and zone.leaves_by is not None:
        raise ZoneIsMoving(
            f"zone {zone.name} was moved away from pool {pool} and is still being removed there "
            f"(operation {zone.leaves_by}): wait for that"
        )


def raise_if_one_server(source: KnownPool, destination: KnownPool) -> None:
    """The removal would take away what was just delivered."""
    places = {}
    for target in source.pool.targets:
        if (place := _place(target)) is not None:
            places[place] = target.name
    for target in destination.pool.targets:
        if (name := places.get(_place(target) or ())) is not None:
            raise InvalidRequest(
                f"target {target.name} of pool {destination.pool.name} and target {name} of "
                f"{source.pool.name} are one server: no zone can be moved between these pools"
            )


def _place(target: Any) -> tuple[str, ...] | None:
    try:
        return writes_to(target)
    except ConfigError:
        return None  # its backend isn't installed here


def contents(draft: Draft, known: KnownPool, source: ZoneRow) -> dict[Key, RRset]:
    """What the zone is to hold in the other pool: what it holds, with that pool's apex NS."""
    found = {rrset.key: rrset for rrset in draft.rrsets(source.id)}
    apex = (source.name, "NS")
    found[apex] = apex_ns(known, source.name, found[apex].ttl if apex in found else source.ttl)
    return found


def begin(
    draft: Draft,
    known: KnownPool,
    source: ZoneRow,
    destination: ZoneRow,
    operation_id: str,
    *,
    force: bool,
) -> Accepted:
    """Have the zone delivered to `known` as well."""
    accepted = _copy(draft, known, source, destination, operation_id, force=force)
    moves.begin(
        draft.connection,
        operation_id=operation_id, source_id=source.id, destination_id=destination.id,
        copied_revision=source.revision,
    )  # fmt: skip
    zones.update(draft.connection, source.id, leaves_by=operation_id)
    zones.update(draft.connection, destination.id, arrives_by=operation_id)
    draft.alter(source.id, leaves_by=operation_id)
    draft.alter(destination.id, arrives_by=operation_id)
    return accepted


def advance(
    connection: sa.Connection, known: KnownPool, zone: ZoneRow, source: ZoneRow, operation_id: str
) -> Step | None:
    """The copy was verified: bring it up to date, or let it be the zone. Both are locked.

    None where an operator wants nothing to be written.
    """
    move = moves.get(connection, operation_id)
    if zone.frozen_at is not None or source.frozen_at is not None:
        return None
    if source.is_deleted:
        gone = f"zone {zone.name} is no longer in pool {move.source}: its creation was taken back"
        return Step(failure=ZoneNotFound(gone))
    is_same = source.revision == move.copied_revision and _is_ahead(zone, source)
    if not is_same and move.copies < MAX_COPIES:
        with drafting(connection) as draft:
            draft.hold([zone, source])
            accepted = _copy(draft, known, source, zone, operation_id)
        operations.rehome(connection, [operation_id], accepted.zone_id, accepted.revision, accepted.serial)
        moves.update(connection, operation_id, copies=move.copies + 1, copied_revision=source.revision)
        return Step(targets=accepted.targets)
    targets = () if is_same else _hand_over(connection, known, zone, source, move)
    left = [
        row.id
        for row in operations.accepted_in(connection, source.id)
        if row.revision <= move.copied_revision
    ]
    return Step(left, source, targets, take_over=True)


def take_over(connection: sa.Connection, zone: ZoneRow, source: ZoneRow, operation_id: str) -> Sequence[str]:
    """From here on the copy is the zone, and the old one is deleted. Returns the targets that had it."""
    old = next(one for one in pools.read(connection) if one.id == source.pool_id)
    with drafting(connection) as draft:
        draft.hold([source])
        deleted = delete(draft, old, source, operation_id)
    zones.update(connection, zone.id, arrives_by=None, updated_at=now())
    serial = zones.get(connection, zone.id).serial
    operations.rehome(connection, [operation_id], source.id, deleted.revision, serial)
    moves.update(connection, operation_id, phase="removing", left_serial=_highest(source))
    return deleted.targets


def give_up(connection: sa.Connection, zone: ZoneRow) -> None:
    """The zone stays where it is. `zone` is the copy, which somebody deletes; both are locked."""
    assert zone.arrives_by is not None
    move = moves.get(connection, zone.arrives_by)
    zones.update(connection, move.source_id, leaves_by=None)
    zones.update(connection, zone.id, arrives_by=None)
    moves.update(connection, move.operation_id, phase="given up")


def finish(connection: sa.Connection, zone: ZoneRow) -> None:
    """The zone is gone from where it was. `zone` is the old one, locked."""
    assert zone.leaves_by is not None
    zones.update(connection, zone.id, leaves_by=None)
    moves.update(connection, zone.leaves_by, phase="done")


def _copy(
    draft: Draft,
    known: KnownPool,
    source: ZoneRow,
    destination: ZoneRow,
    operation_id: str,
    *,
    force: bool = False,
) -> Accepted:
    """Make the copy what the zone is, under a serial above all of the old pool's."""
    existing = {rrset.key: rrset for rrset in draft.rrsets(destination.id)}
    changes = difference(existing, contents(draft, known, source))
    wanted = {field: getattr(source, field) for field in SETTABLE} | {"mname": primary_nameserver(known)}
    values = {field: value for field, value in wanted.items() if getattr(destination, field) != value}
    if not changes and not values:
        values = {"mname": destination.mname}  # nothing but a later serial
    return write(draft, known, destination, operation_id, changes, values, seen=_highest(source), force=force)


def _hand_over(
    connection: sa.Connection, known: KnownPool, zone: ZoneRow, source: ZoneRow, move: Move
) -> tuple[str, ...]:
    """Repeat on the copy, one by one, what was changed since it was made; whoever waits for it waits there.

    Returns the targets that have something to do.
    """
    entries = journal.since(connection, source.id, move.copied_revision, source.revision)
    apex = (zone.name, "NS")
    done: dict[str, Accepted] = {}
    with drafting(connection) as draft:
        draft.hold([zone, source])
        for _, group in groupby(entries, key=lambda entry: entry.revision):
            rows = [entry for entry in group if entry.key != apex]
            if rows:
                changes, maker = [entry.change for entry in rows], rows[0].operation_id
                done[maker] = write(draft, known, draft.zone(zone.id), maker, changes)
        rest = _copy(draft, known, source, draft.zone(zone.id), move.operation_id)  # the SOA's values
    for row in operations.accepted_in(connection, source.id):
        if row.revision > move.copied_revision:
            accepted = done.get(row.id, rest)
            operations.rehome(connection, [row.id], zone.id, accepted.revision, accepted.serial)
    return rest.targets


def _highest(zone: ZoneRow) -> int:
    """The latest serial that anybody may have seen."""
    highest = serials.latest(zone.serial, zone.seen_serial)
    assert highest is not None
    return highest


def _is_ahead(zone: ZoneRow, source: ZoneRow) -> bool:
    return serials.is_ahead(zone.serial, _highest(source))
