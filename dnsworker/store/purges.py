"""Targets that have left their pool and whose zones are removed there first: what is left, and the end of it.

Such a target is in no pool any more, so nothing new comes to it and nobody waits for its word; its row keeps
what pools.yaml said of it, and its deliveries want their zones away, in the background.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from dnsworker.pools import Target
from dnsworker.store.agenda import REPAIR
from dnsworker.store.deliveries import BLOCKED
from dnsworker.tables import delivery, now, target, withheld, zone

#: So long a worker may still take the target for one of its pool (it reads the pools every two seconds).
STALE_S = 6.0


def rows(connection: sa.Connection) -> Sequence[Any]:
    """The targets that are being purged: id, pool_id, name, purging (as in pools.yaml), purging_since."""
    columns = (target.c.id, target.c.pool_id, target.c.name, target.c.purging, target.c.purging_since)
    query = sa.select(*columns).where(target.c.purging_since.is_not(None), target.c.is_removed.is_(False))
    return connection.execute(query.order_by(target.c.name)).all()


def holds(connection: sa.Connection, target_id: int) -> int:
    """How many zones of ours a target has, or may have in part."""
    query = sa.select(sa.func.count()).select_from(delivery)
    is_there = delivery.c.state.in_(("present", "creating", "ahead", "held"))
    return connection.execute(query.where(delivery.c.target_id == target_id, is_there)).scalar_one()


def begin(connection: sa.Connection, target_id: int, wanted: Target) -> None:
    """Have all zones removed at the target, which its pool has just lost."""
    _want_all_away(connection, target_id)
    document = wanted.model_dump(mode="json", exclude_unset=True)
    connection.execute(
        sa.update(target).where(target.c.id == target_id).values(purging=document, purging_since=now())
    )


def advance(connection: sa.Connection, target_id: int) -> bool:
    """Once more, for what a worker with the pools of a moment ago has delivered; whether nothing is left,
    and the target is forgotten."""
    _want_all_away(connection, target_id)
    query = sa.select(sa.literal(1)).where(target.c.id == target_id, target.c.purging_since <= now(-STALE_S))
    is_claimed = sa.select(sa.literal(1)).where(
        delivery.c.target_id == target_id, delivery.c.owner.is_not(None)
    )
    if connection.execute(query.where(~is_claimed.exists())).first() is None or holds(connection, target_id):
        return False
    forget(connection, target_id)
    return True


def call_off(connection: sa.Connection, target_id: int) -> None:
    """The target is back in its pool: what was removed there, or was to be, is wanted again."""
    revision = sa.select(zone.c.revision).where(zone.c.id == delivery.c.zone_id).scalar_subquery()
    living = sa.select(zone.c.id).where(zone.c.is_deleted.is_(False))
    connection.execute(
        sa.update(delivery)
        .where(delivery.c.target_id == target_id, delivery.c.goal == "absent", delivery.c.zone_id.in_(living))
        .values(
            goal="present", wanted_revision=revision, priority=REPAIR, must_read=True,
            due_at=sa.case((delivery.c.state.in_(BLOCKED), delivery.c.due_at), else_=now()),
        )
    )  # fmt: skip
    values = {"purging": sa.null(), "purging_since": None}
    connection.execute(sa.update(target).where(target.c.id == target_id).values(**values))


def forget(connection: sa.Connection, target_id: int) -> None:
    """The target is nobody's any more; what it still has stays there."""
    forget_deliveries(connection, target_id)
    unpaused = {"paused_at": None, "paused_until": None, "pause_reason": None}
    values = {"is_removed": True, "purging": sa.null(), "purging_since": None, **unpaused}
    connection.execute(sa.update(target).where(target.c.id == target_id).values(**values))


def forget_deliveries(connection: sa.Connection, target_id: int) -> None:
    """Whoever is at work there loses the claim. A target that comes back is compared with what it has."""
    connection.execute(sa.delete(withheld).where(withheld.c.target_id == target_id))
    connection.execute(sa.delete(delivery).where(delivery.c.target_id == target_id))


def _want_all_away(connection: sa.Connection, target_id: int) -> None:
    """What is blocked there waits for an operator, as ever."""
    due = sa.case((delivery.c.state.in_(BLOCKED), sa.null()), else_=now())
    connection.execute(
        sa.update(delivery)
        .where(delivery.c.target_id == target_id, delivery.c.goal == "present")
        .values(goal="absent", due_at=due, priority=REPAIR)
    )
