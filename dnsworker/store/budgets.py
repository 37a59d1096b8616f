"""Budgets kept in the target's row: for the embedded system, and while Redis is away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

import sqlalchemy as sa

from dnsworker import budget
from dnsworker.budget import Answer, Budget
from dnsworker.tables import now, target

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


#: Requests; and what is done in the background, delivery by delivery.
Kept = Literal["paid_us", "repairs_paid_us", "looks_paid_us"]


def take(
    connection: sa.Connection,
    target_id: int,
    limit: Budget,
    *,
    patience_us: int = 0,
    from_empty: bool = False,
    kept: Kept = "paid_us",
) -> Answer:
    """As `dnsworker.budget.take`, by the database's clock. Takes the target's lock."""
    mine = target.c.id == target_id
    paid_us = connection.execute(sa.select(target.c[kept]).where(mine).with_for_update()).scalar_one()
    # In a statement of its own: the time after the lock was waited for, not before.
    moment: datetime = connection.execute(sa.select(now())).scalar_one()
    now_us = (moment - EPOCH) // timedelta(microseconds=1)
    answer = budget.take(limit, paid_us, now_us, patience_us=patience_us, from_empty=from_empty)
    if answer.paid_us != paid_us:
        connection.execute(sa.update(target).where(mine).values({kept: answer.paid_us}))
    return answer


def wait_s(connection: sa.Connection, target_id: int, limit: Budget, kept: Kept) -> float:
    """In how many seconds `take` would be granted at once, as far as reading tells."""
    query = sa.select(target.c[kept], now()).where(target.c.id == target_id)
    paid_us, moment = connection.execute(query).one()
    now_us = (moment - EPOCH) // timedelta(microseconds=1)
    return budget.take(limit, paid_us, now_us, patience_us=0).wait_s
