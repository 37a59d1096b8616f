"""Cancelling an operation that no target has received anything of, or a move that isn't the zone's end yet.

Separate from the settlement, which ends operations by what targets said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dnsworker import desired, rejection
from dnsworker.database import reading
from dnsworker.errors import Cancelled, OperationNotFound, TooLate
from dnsworker.operations import Status
from dnsworker.store import deliveries, moves, operations, pools, zones
from dnsworker.store.deliveries import DeliveryRow

#: An operation moves on at most twice before it can be cancelled or has ended.
TRIES = 5


@dataclass(frozen=True, slots=True)
class Cancellation:
    """What was cancelled."""

    #: Whether it has ended; else it will when it is taken in.
    has_ended: bool
    #: Operations that depended on it, and have ended with it.
    dependents: tuple[str, ...] = ()
    #: Targets that have something new to do.
    targets: tuple[str, ...] = ()


def cancel(engine: sa.Engine, operation_id: str, reason: str | None = None) -> Cancellation:
    """End an operation with `Cancelled`, and take back what it did to the desired state.

    Raises `OperationNotFound`, or `TooLate` with who has something of it already.
    """
    error = Cancelled("cancelled by operator" + (f": {reason}" if reason else ""))
    for _ in range(TRIES):
        with reading(engine).connect() as connection:
            row = operations.get(connection, operation_id)
        if row is None:
            raise OperationNotFound(f"no operation {operation_id}")
        if Status(row.status).is_final:
            raise TooLate(f"operation {operation_id} has ended already: {row.status}")
        with engine.begin() as connection:
            done = HOW[Status(row.status)](connection, row, error)
        if done is not None:
            return done
    raise TooLate(f"operation {operation_id} kept moving on; try again")


# None where it has moved on since it was looked at: what is to be locked first is another then.


def _foredoom(connection: sa.Connection, row: Any, error: Cancelled) -> Cancellation | None:
    """Its place in the order isn't known yet: it ends as soon as it is taken in."""
    if operations.lock(connection, row.id).status != Status.PENDING.value:
        return None
    operations.foredoom(connection, row.id, error)
    return Cancellation(has_ended=False)


def _void(connection: sa.Connection, row: Any, error: Cancelled) -> Cancellation | None:
    """It ends now, and its number with it: whatever waits for that goes on without."""
    # As the intake, which ends what is held under the lock of the client's position.
    order = operations.lock_order(connection, row.client, row.zone)
    if operations.lock(connection, row.id).status != Status.HELD.value:
        return None
    operations.refuse(connection, row.id, error)
    voids = sorted({*order.voids, row.number})
    operations.set_order(connection, row.client, row.zone, order.last_number, voids)
    return Cancellation(has_ended=True)


def _take_back(connection: sa.Connection, row: Any, error: Cancelled) -> Cancellation | None:
    # As the settlement, which ends what is accepted under the zone's lock.
    sides = {row.zone_id} if row.kind != "move_zone" else moves.both_sides(connection, row.id)
    (zone,) = [one for one in zones.lock_all(connection, sides) if one.id == row.zone_id]
    row = operations.lock(connection, row.id)
    if row.status != Status.ACCEPTED.value or row.zone_id != zone.id:
        return None
    is_arriving = zone.arrives_by == row.id  # a move: what its targets have by now is removed again
    if row.kind == "move_zone" and not is_arriving:
        move = moves.get(connection, row.id)
        raise TooLate(f"operation {row.id} can't be cancelled: the zone is {move.words}")
    known = next(one for one in pools.read(connection) if one.id == zone.pool_id)
    for target, delivery in deliveries.lock_of_zone(connection, zone.id):
        is_asked = target in known.target_ids and not is_arriving  # and not one that is being purged
        if is_asked and (reason := _reason_to_refuse(target, delivery, row)):
            raise TooLate(f"operation {row.id} can't be cancelled: {reason}")
    if row.kind != "delete_zone":
        operations.refuse(connection, row.id, error)
        why = f"the zone's creation was {error.message}"
        dependents, targets = rejection.undo(connection, known, zone, row, why)
        return Cancellation(True, tuple(dependents), targets)
    if not zone.is_deleted or zone.revision != row.revision:
        raise TooLate(f"operation {row.id} can't be cancelled: {zone.name} was created anew since")
    operations.refuse(connection, row.id, error)
    with desired.drafting(connection) as draft:
        desired.take_back(draft, known, zone, row.id)
    return Cancellation(True, (), tuple(known.target_ids))


def _reason_to_refuse(target: str, delivery: DeliveryRow, row: Any) -> str | None:
    """Who has received something of the operation, or may have."""
    if delivery.delivered_revision >= row.revision:
        return f"target {target} has it already"
    if delivery.owner is not None:
        return (
            f"a worker is at work for target {target} and may be sending it; "
            "try again in a moment, or pause the target first"
        )
    was_tried = delivery.last_attempt_at is not None and delivery.last_attempt_at >= row.accepted_at
    if was_tried and delivery.must_read:
        said = f" ({delivery.last_error})" if delivery.last_error else ""
        return f"an attempt at target {target} broke off and may have reached it{said}"
    return None


HOW = {Status.PENDING: _foredoom, Status.HELD: _void, Status.ACCEPTED: _take_back}
