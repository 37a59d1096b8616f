"""Deliveries: what each target should have, what it is known to have, who is at work on it, and when.

A delivery is claimed by moving its `epoch` on. Every later write names the epoch it was claimed under, so a
worker that was paused and replaced changes nothing; `ClaimLost` tells it to stop.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from dnsworker.errors import Behind, OperationNotFound
from dnsworker.store import bulk
from dnsworker.store.agenda import CHANGE
from dnsworker.store.rows import IDS
from dnsworker.tables import delivery, now, operation, target, withheld

#: States in which nothing is written to the target until an operator has decided.
BLOCKED = ("foreign", "ahead", "held")
#: There is nothing of ours; `emptied`: the zone stays, because the target can't remove it.
AWAY = ("absent", "emptied", "foreign", "never")
#: Our zone was complete there when we looked last.
THERE = ("present", "ahead", "held")
#: The state of a delivery that isn't blocked any more.
RELEASED: sa.ColumnElement[str] = sa.case(
    (delivery.c.state == "foreign", "never"),
    (delivery.c.state.in_(BLOCKED), "present"),
    else_=delivery.c.state,
)


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A row of `delivery`; see `dnsworker.tables`."""

    zone_id: int
    target_id: int
    goal: str
    wanted_revision: int
    state: str
    delivered_revision: int
    delivered_at: datetime | None
    soa: str | None
    must_read: bool
    force: bool
    unconfirmed: list[Any] | None
    owner: int | None
    epoch: int
    lease_until: datetime | None
    due_at: datetime | None
    priority: int
    compare_at: datetime | None
    compared_at: datetime | None
    attempts: int
    last_code: str | None
    last_error: str | None
    last_attempt_at: datetime | None
    last_repair_at: datetime | None
    last_repair: str | None
    drift: str | None
    ds_records: list[str] | None

    @classmethod
    def of(cls, row: Any) -> DeliveryRow:
        return cls(**row._mapping)

    @property
    def is_current(self) -> bool:
        """Has the target what is wanted?"""
        arrived = self.confirmed_revision >= self.wanted_revision
        return arrived and self.state in (("present",) if self.goal == "present" else AWAY)

    @property
    def confirmed_revision(self) -> int:
        """Up to which revision the target has what it was given, on all its servers."""
        if self.unconfirmed:
            return min(int(revision) for _, revision, _ in self.unconfirmed) - 1
        return self.delivered_revision


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a target should have of a zone."""

    zone_id: int
    target_id: int
    goal: str
    revision: int
    #: Whether it may overwrite what it finds there.
    force: bool = False


def want(connection: sa.Connection, wanted: Sequence[Wanted], *, priority: int = CHANGE) -> None:
    """Set what targets should have. Due at once, except where a back-off or an operator is waited for.

    As a `REPAIR` it doesn't hold up what is due already as a change. Takes the rows' locks in the order of
    their keys.
    """
    in_order = sorted(wanted, key=lambda one: (one.zone_id, one.target_id))
    for force, several in groupby(in_order, key=lambda one: one.force):
        rows = [
            {
                "zone_id": one.zone_id, "target_id": one.target_id, "goal": one.goal,
                "wanted_revision": one.revision, "state": "never", "delivered_revision": 0,
                "must_read": False, "force": force, "epoch": 0, "attempts": 0, "priority": priority,
            }
            for one in several
        ]  # fmt: skip
        bulk.put(connection, delivery, rows, update=_wanted_anew(force, priority), at=("due_at",))


@cache
def _wanted_anew(force: bool, priority: int) -> Callable[[Any], dict[str, Any]]:
    # Not `in_`: a statement for several rows at once takes no lists.
    is_blocked = sa.or_(delivery.c.state == "ahead", delivery.c.state == "held")
    due = sa.case(
        *([] if force else [(is_blocked, sa.null())]),
        (sa.and_(delivery.c.attempts > 0, delivery.c.due_at.is_not(None)), delivery.c.due_at),
        else_=now(),
    )
    is_urgent = sa.and_(delivery.c.due_at.is_not(None), delivery.c.priority == CHANGE)
    first = sa.case((is_urgent, CHANGE), else_=priority)  # before `due_at`: MariaDB sets one by one

    def update(new: Any) -> dict[str, Any]:
        values = {"goal": new.goal, "wanted_revision": new.wanted_revision, "priority": first, "due_at": due}
        if force:  # drift that was only reported is to go, too
            must_read = sa.or_(delivery.c.must_read, delivery.c.drift.is_not(None))
            values |= {"force": True, "must_read": must_read}
        return values

    return update


def hasten_followers(connection: sa.Connection, zone_id: int) -> list[str]:
    """Make those due that wait for another target, their primary; returns the targets' names."""
    waiting = sa.and_(
        delivery.c.zone_id == zone_id,
        delivery.c.last_code == Behind.__name__,
        delivery.c.owner.is_(None),
        delivery.c.due_at.is_not(None),
    )
    query = sa.select(target.c.name).join(delivery, delivery.c.target_id == target.c.id).where(waiting)
    names = list(connection.execute(query).scalars())
    if names:
        connection.execute(sa.update(delivery).where(waiting).values(due_at=now()))
    return names


def note_ds_records(connection: sa.Connection, zone_id: int, target_id: int, found: Sequence[str]) -> None:
    """What the target's signer wants the parent to have. Whoever delivers may write it: it is only shown."""
    connection.execute(
        sa.update(delivery).where(is_of(zone_id, target_id)).values(ds_records=list(found) or None)
    )


def doubt(connection: sa.Connection, zone_id: int, target_id: int) -> bool:
    """Have the target read and compared again, once nobody is at work on it; whether that was the case."""
    done = connection.execute(
        sa.update(delivery)
        .where(is_of(zone_id, target_id), delivery.c.owner.is_(None))
        .values(must_read=True, due_at=now(), last_attempt_at=now())
    )
    return done.rowcount == 1


def of_zone(connection: sa.Connection, zone_id: int) -> list[DeliveryRow]:
    query = sa.select(delivery).where(delivery.c.zone_id == zone_id).order_by(delivery.c.target_id)
    return [DeliveryRow.of(row) for row in connection.execute(query)]


def of_zones(connection: sa.Connection, zone_ids: Collection[int]) -> list[DeliveryRow]:
    """Of several zones, by zone and target."""
    return [DeliveryRow.of(row) for row in connection.execute(_OF_ZONES, {"ids": list(zone_ids)})]


def lock_of_zone(connection: sa.Connection, zone_id: int) -> list[tuple[str, DeliveryRow]]:
    """The zone's deliveries with the names of their targets, locked: nobody claims one until the commit."""
    query = sa.select(delivery).where(delivery.c.zone_id == zone_id).order_by(delivery.c.target_id)
    rows = [DeliveryRow.of(row) for row in connection.execute(query.with_for_update())]
    names = sa.select(target.c.id, target.c.name).where(target.c.id.in_([row.target_id for row in rows]))
    known = {row.id: row.name for row in connection.execute(names)}
    return [(known[row.target_id], row) for row in rows]


def retry_operation(connection: sa.Connection, operation_id: str) -> list[str]:
    """Make what an operation waits for due now, refused RRsets and blocked targets included.

    Returns the names of the targets to wake. Raises `OperationNotFound`.
    """
    row = connection.execute(
        sa.select(operation.c.zone_id).where(operation.c.id == operation_id)
    ).one_or_none()
    if row is None:
        raise OperationNotFound(f"no operation {operation_id}")
    if row.zone_id is None:
        return []
    refused = sa.select(withheld.c.target_id).where(
        withheld.c.zone_id == row.zone_id, withheld.c.operation_id == operation_id
    )
    connection.execute(
        sa.update(delivery)
        .where(
            delivery.c.zone_id == row.zone_id,
            sa.or_(
                delivery.c.due_at.is_not(None),
                delivery.c.target_id.in_(refused),
                delivery.c.state.in_(BLOCKED),
            ),
        )
        .values(
            due_at=now(),
            priority=CHANGE,
            attempts=0,
            must_read=True,
            state=RELEASED,
            # A deletion has no other word for "I mean it".
            force=sa.or_(
                delivery.c.force, sa.and_(delivery.c.state.in_(BLOCKED), delivery.c.goal == "absent")
            ),
        )
    )
    connection.execute(sa.delete(withheld).where(withheld.c.operation_id == operation_id))
    query = (
        sa.select(target.c.name)
        .join(delivery, delivery.c.target_id == target.c.id)
        .where(delivery.c.zone_id == row.zone_id, delivery.c.due_at.is_not(None))
    )
    return list(connection.execute(query).scalars())


_OF_ZONES = (
    sa.select(delivery).where(delivery.c.zone_id.in_(IDS)).order_by(delivery.c.zone_id, delivery.c.target_id)
)


def is_of(zone_id: int, target_id: int) -> sa.ColumnElement[bool]:
    return sa.and_(delivery.c.zone_id == zone_id, delivery.c.target_id == target_id)
