"""The right to work on one delivery: how it is taken, kept, and given back with what came of it.

A delivery is claimed by moving its `epoch` on. Every later write names the epoch it was claimed under, so a
worker that was paused and replaced changes nothing; `ClaimLost` tells it to stop.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from dnsworker.errors import ClaimLost
from dnsworker.store.agenda import CHANGE, free_and_due
from dnsworker.store.deliveries import DeliveryRow, is_of
from dnsworker.store.rows import lock_first_free
from dnsworker.tables import delivery, now, target


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on one zone at one target, as long as nobody has claimed it since."""

    zone_id: int
    target_id: int
    target: str
    epoch: int
    #: Nobody waits for it.
    is_background: bool = False
    #: Only to see whether the target is as it was left.
    is_look: bool = False


def claim_next(
    connection: sa.Connection,
    target_id: int,
    target_name: str,
    *,
    owner: int,
    lease_s: float,
    priority: int = CHANGE,
    waited_s: float = 0.0,
) -> Claim | None:
    """Claim what has been due at the target for longest, and at least for `waited_s`; None when there is
    nothing that is free."""
    where = [*free_and_due(target_id, priority), *([delivery.c.due_at <= now(-waited_s)] if waited_s else [])]
    columns = [delivery.c.zone_id, delivery.c.epoch]
    rows = lock_first_free(connection, columns, where=where, by=delivery.c.due_at, limit=1)
    if not rows:
        return None
    (row,) = rows
    claim = Claim(row.zone_id, target_id, target_name, row.epoch + 1, is_background=priority != CHANGE)
    connection.execute(
        sa.update(delivery)
        .where(is_of(claim.zone_id, target_id))
        .values(
            owner=owner,
            epoch=claim.epoch,
            lease_until=now(lease_s),
            last_attempt_at=now(),
            # Taken from a worker whose lease ran out: it may have written since anything was noted.
            must_read=sa.or_(delivery.c.must_read, delivery.c.owner.is_not(None)),
        )
    )
    return claim


def claimed(connection: sa.Connection, target_id: int) -> int:
    """How many of the target's deliveries somebody is at work on."""
    query = sa.select(sa.func.count()).where(
        delivery.c.target_id == target_id, delivery.c.owner.is_not(None), delivery.c.lease_until > now()
    )
    return int(connection.execute(query).scalar_one())


def has_room(connection: sa.Connection, target_id: int, concurrency: int) -> bool:
    """Whether fewer deliveries than that are claimed; nobody else claims one until the commit.

    Call it first in its transaction: where a snapshot is taken (MariaDB), it must not be from before.
    """
    connection.execute(sa.select(target.c.id).where(target.c.id == target_id).with_for_update())
    return claimed(connection, target_id) < concurrency


def owners(connection: sa.Connection, target_id: int | None = None) -> list[int]:
    """Who holds claims now."""
    query = sa.select(delivery.c.owner).where(delivery.c.owner.is_not(None)).distinct()
    if target_id is not None:
        query = query.where(delivery.c.target_id == target_id)
    return [owner for owner in connection.execute(query).scalars() if owner is not None]


def release_owner(connection: sa.Connection, owner: int) -> list[int]:
    """Free everything that a dead worker held; returns the ids of the targets concerned."""
    query = sa.select(delivery.c.zone_id, delivery.c.target_id).where(delivery.c.owner == owner)
    held = connection.execute(query.order_by(delivery.c.zone_id, delivery.c.target_id)).all()
    # Each by its key: by the owner's index, MariaDB locks its entry before the row, and everybody else after.
    for row in held:
        mine = is_of(row.zone_id, row.target_id)
        locked = sa.select(delivery.c.owner).where(mine).with_for_update()
        if connection.execute(locked).scalar_one() == owner:
            free = {"owner": None, "lease_until": None, "must_read": True}
            due = {"due_at": now(), "last_attempt_at": now()}
            update = sa.update(delivery).where(mine)
            connection.execute(update.values(epoch=delivery.c.epoch + 1, **free, **due))
    return list({row.target_id: None for row in held})


def read(connection: sa.Connection, claim: Claim) -> DeliveryRow:
    """The delivery as it is now. Raises `ClaimLost`."""
    query = sa.select(delivery).where(is_of(claim.zone_id, claim.target_id), delivery.c.epoch == claim.epoch)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise ClaimLost
    return DeliveryRow.of(row)


def renew(connection: sa.Connection, claim: Claim, lease_s: float) -> None:
    """Raises `ClaimLost`."""
    _write(connection, claim, lease_until=now(lease_s))


def note(connection: sa.Connection, claim: Claim, **values: Any) -> None:
    """Write down what is known of the target now. Raises `ClaimLost`."""
    _write(connection, claim, **values)


def finish(
    connection: sa.Connection,
    claim: Claim,
    *,
    delivered_revision: int,
    goal: str,
    look_again_s: float | None = None,
    **values: Any,
) -> bool:
    """The target has `goal` at `delivered_revision`: give the claim back, unless more is wanted by now.

    `look_again_s`: due again then, because the provider is still spreading it.

    Returns whether the delivery is finished; if not, the claim is still held and the row still due.
    Raises `ClaimLost`.
    """
    _write(
        connection, claim,
        delivered_revision=delivered_revision, attempts=0, last_code=None, last_error=None,
        must_read=False, **values,
    )  # fmt: skip
    done = connection.execute(
        sa.update(delivery)
        .where(
            is_of(claim.zone_id, claim.target_id),
            delivery.c.epoch == claim.epoch,
            # Earlier where the target is left out by now: of what is removed there nothing new is wanted.
            delivery.c.wanted_revision <= delivered_revision,
            delivery.c.goal == goal,
        )
        .values(
            owner=None,
            lease_until=None,
            due_at=None if look_again_s is None else now(look_again_s),
            force=False,
        )
    )
    return done.rowcount == 1


def fail(
    connection: sa.Connection,
    claim: Claim,
    *,
    code: str,
    message: str,
    delay_s: float | None,
    must_read: bool,
    attempts: int,
    **values: Any,
) -> None:
    """Note a failed attempt and give the claim back; due again in `delay_s` (None: an operator decides)."""
    due = {"due_at": None if delay_s is None else now(delay_s)}
    _write(
        connection, claim,
        owner=None, lease_until=None, last_attempt_at=now(),
        attempts=attempts, last_code=code, last_error=message,
        must_read=sa.or_(delivery.c.must_read, sa.literal(must_read)), **(due | values),
    )  # fmt: skip


def postpone(connection: sa.Connection, claim: Claim, delay_s: float, *, must_read: bool) -> None:
    """Give the claim back for a reason that isn't the delivery's; due in `delay_s`. Raises `ClaimLost`."""
    _write(
        connection, claim,
        owner=None, lease_until=None, due_at=now(delay_s), last_attempt_at=now(),
        must_read=sa.or_(delivery.c.must_read, sa.literal(must_read)),
    )  # fmt: skip


def give_back(connection: sa.Connection, claim: Claim) -> None:
    """End a claim of which nothing else is known; due at once. Raises `ClaimLost`."""
    _write(
        connection, claim,
        owner=None, lease_until=None, must_read=True, due_at=now(), last_attempt_at=now(),
    )  # fmt: skip


def delivered_at(revision: sa.ColumnElement[int]) -> sa.ColumnElement[datetime | None]:
    """When the target got what it has: now, unless it had the revision already."""
    return sa.case((delivery.c.delivered_revision == revision, delivery.c.delivered_at), else_=now())


def _write(connection: sa.Connection, claim: Claim, **values: Any) -> None:
    statement = sa.update(delivery).where(
        is_of(claim.zone_id, claim.target_id), delivery.c.epoch == claim.epoch
    )
    if "delivered_revision" in values:
        values["delivered_at"] = delivered_at(sa.literal(values["delivered_revision"], sa.BigInteger))
    if connection.execute(statement.values(**values)).rowcount != 1:
        raise ClaimLost(f"the delivery to {claim.target} was taken over by another worker")
