"""A zone's way from one pool to another: two rows of `zone`, of which the old one counts until the end.

    delivering   the new pool has a copy. Changes go to the old one; when the copy is verified, what changed
                 meanwhile is copied too, and verified, until nothing is missing
    removing     in one transaction the new one becomes the zone, and the old one a deleted zone

Everything runs under the locks of both zones, taken in one order: the new one, then the old one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from dnsworker import serials
from dnsworker.desired.effects import apex_ns, difference, primary_nameserver
from dnsworker.desired.writing import Accepted, delete, write
from dnsworker.errors import ConfigError, InvalidRequest, ZoneIsMoving, ZoneNotFound
from dnsworker.operations import Status
from dnsworker.pools import writes_to
from dnsworker.records import Key, RRset
from dnsworker.requests import SETTABLE
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

    #: Operations on the old zone that have ended with it.
    ended: Sequence[str] = ()
    #: Targets that have something new to do.
    targets: Sequence[str] = ()
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


def contents(connection: sa.Connection, known: KnownPool, source: ZoneRow) -> dict[Key, RRset]:
    """What the zone is to hold in the other pool: what it holds, with that pool's apex NS."""
    found = {rrset.key: rrset for rrset in zones.rrsets(connection, source.id)}
    apex = (source.name, "NS")
    found[apex] = apex_ns(known, source.name, found[apex].ttl if apex in found else source.ttl)
    return found


def begin(
    connection: sa.Connection,
    known: KnownPool,
    source: ZoneRow,
    destination: ZoneRow,
    operation_id: str,
    *,
    force: bool,
) -> Accepted:
    """Have the zone delivered to `known` as well. Both are locked."""
    accepted = _copy(connection, known, source, destination, operation_id, force=force)
    moves.begin(
        connection,
        operation_id=operation_id, source_id=source.id, destination_id=destination.id,
        copied_revision=source.revision,
    )  # fmt: skip
    zones.update(connection, source.id, leaves_by=operation_id)
    zones.update(connection, destination.id, arrives_by=operation_id)
    return accepted


def advance(connection: sa.Connection, known: KnownPool, zone: ZoneRow, operation_id: str) -> Step | None:
    """The copy was verified: bring it up to date, or let it be the zone. It is locked; the old one is here.

    None where an operator wants nothing to be written.
    """
    move = moves.get(connection, operation_id)
    source = zones.lock(connection, move.source_id)
    if zone.frozen_at is not None or source.frozen_at is not None:
        return None
    if source.is_deleted:
        gone = f"zone {zone.name} is no longer in pool {move.source}: its creation was taken back"
        return Step(failure=ZoneNotFound(gone))
    is_same = source.revision == move.copied_revision
    if is_same and _is_ahead(zone, source):
        return _take_over(connection, zone, source, move)
    if move.copies < MAX_COPIES:
        accepted = _copy(connection, known, source, zone, operation_id)
        operations.rehome(connection, [operation_id], accepted.zone_id, accepted.revision, accepted.serial)
        moves.update(
            connection, operation_id, copies=move.copies + 1, copied_revision=source.revision
        )  # fmt: skip
        return Step(targets=accepted.targets)
    return _take_over(connection, zone, source, move, _hand_over(connection, known, zone, source, move))


def give_up(connection: sa.Connection, zone: ZoneRow) -> None:
    """The zone stays where it is. `zone` is the copy, locked; somebody deletes it."""
    assert zone.arrives_by is not None
    move = moves.get(connection, zone.arrives_by)
    zones.lock(connection, move.source_id)
    zones.update(connection, move.source_id, leaves_by=None)
    zones.update(connection, zone.id, arrives_by=None)
    moves.update(connection, move.operation_id, phase="given up")


def finish(connection: sa.Connection, zone: ZoneRow) -> None:
    """The zone is gone from where it was. `zone` is the old one, locked."""
    assert zone.leaves_by is not None
    zones.update(connection, zone.id, leaves_by=None)
    moves.update(connection, zone.leaves_by, phase="done")


def _copy(
    connection: sa.Connection,
    known: KnownPool,
    source: ZoneRow,
    destination: ZoneRow,
    operation_id: str,
    *,
    force: bool = False,
) -> Accepted:
    """Make the copy what the zone is, under a serial above all of the old pool's."""
    existing = {rrset.key: rrset for rrset in zones.rrsets(connection, destination.id)}
    changes = difference(existing, contents(connection, known, source))
    wanted = {field: getattr(source, field) for field in SETTABLE} | {"mname": primary_nameserver(known)}
    values = {field: value for field, value in wanted.items() if getattr(destination, field) != value}
    if destination.is_deleted:
        values |= {"created_at": now()}
    elif not changes and not values:
        values = {"mname": destination.mname}  # nothing but a later serial
    return write(
        connection, known, destination, operation_id, changes, values, seen=_highest(source), force=force
    )


def _take_over(
    connection: sa.Connection, zone: ZoneRow, source: ZoneRow, move: Move, targets: Iterable[str] = ()
) -> Step:
    """From here on the copy is the zone, and the old one is deleted."""
    ended = _end_verified(connection, source, move)
    old = next(one for one in pools.read(connection) if one.id == source.pool_id)
    deleted = delete(connection, old, source, move.operation_id)
    zones.update(connection, zone.id, arrives_by=None, updated_at=now())
    operations.rehome(
        connection, [move.operation_id], source.id, deleted.revision, zones.get(connection, zone.id).serial
    )
    moves.update(connection, move.operation_id, phase="removing", left_serial=_highest(source))
    return Step(ended, (*targets, *deleted.targets))


def _end_verified(connection: sa.Connection, source: ZoneRow, move: Move) -> list[str]:
    """What was still on its way in the old pool has been verified in the new one, as part of the copy."""
    open_ones = operations.accepted_in(connection, source.id)
    ids = [row.id for row in open_ones if row.revision <= move.copied_revision]
    with_entries = journal.operations_with_entries(connection, ids)
    showing = set(ids) - with_entries
    showing |= journal.still_showing(connection, source.id, with_entries, source.revision)
    operations.end(connection, [one for one in ids if one in showing], Status.ACTIVE)
    replaced = [one for one in ids if one not in showing]
    message = "a later operation replaced all that it changed"
    operations.end(connection, replaced, Status.SUPERSEDED, message=message)
    return ids


def _hand_over(
    connection: sa.Connection, known: KnownPool, zone: ZoneRow, source: ZoneRow, move: Move
) -> tuple[str, ...]:
    """Repeat on the copy, one by one, what was changed since it was made; whoever waits for it waits there.

    Returns the targets that have something to do.
    """
    entries = journal.since(connection, source.id, move.copied_revision, source.revision)
    apex = (zone.name, "NS")
    done: dict[str, Accepted] = {}
    for _, group in groupby(entries, key=lambda entry: entry.revision):
        rows = [entry for entry in group if entry.key != apex]
        if rows:
            changes = [entry.change for entry in rows]
            done[rows[0].operation_id] = write(connection, known, zone, rows[0].operation_id, changes)
            zone = zones.get(connection, zone.id)
    rest = _copy(connection, known, source, zone, move.operation_id)  # the SOA's values
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
