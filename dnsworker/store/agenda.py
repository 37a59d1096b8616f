"""What there is to do at a target and nobody is at: changes, repairs, looks.

Separate from the claims, because the sweep and the census ask the same and take nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from dnsworker.store import stops
from dnsworker.store.rows import chunks
from dnsworker.tables import delivery, now, target

#: Whose deliveries one statement of the sweep looks for.
TARGETS_AT_ONCE = 50
#: What is due first: what somebody waits for; then what has to be repaired or filled, at a rate of its own.
CHANGE, REPAIR = 0, 1


def has_due(connection: sa.Connection, target_id: int, priority: int) -> bool:
    """Whether `claim_next` would find one, if nobody else is quicker."""
    query = sa.select(sa.literal(1)).where(*free_and_due(target_id, priority)).limit(1)
    return connection.execute(query).first() is not None


def is_anything_due(connection: sa.Connection, target_id: int) -> bool:
    """Whether there is anything at all to do at the target: a change, a repair or a look."""
    return bool(connection.execute(_ANYTHING, {"target": target_id}).scalar())


def in_background(connection: sa.Connection, target_id: int) -> tuple[bool, bool]:
    """Whether there is something to repair, and something to look at, that is free."""
    some = sa.select(sa.literal(1))
    has_repair = some.where(*free_and_due(target_id, REPAIR)).exists()
    has_stale = some.where(*free_to_look_at(target_id)).exists()
    row = connection.execute(sa.select(has_repair, has_stale)).one()
    return bool(row[0]), bool(row[1])


def targets_with_due(
    connection: sa.Connection, *, priorities: Sequence[int], looked_at: Sequence[str]
) -> list[str]:
    """Names of the targets that have a delivery of these priorities due that nobody has taken, or are among
    `looked_at` and have one that it is time to look at. What an operator has stopped is left out."""
    query = sa.select(target.c.id, target.c.name).where(target.c.is_removed.is_(False), ~stops.is_paused())
    found = []
    for chunk in chunks(connection.execute(query).all(), TARGETS_AT_ONCE):
        # A probe of the index for each target and priority, by values: an EXISTS would be planned as a join
        # of all of them, and where the target is a column MariaDB reads what isn't due first.
        probes = []
        for one in chunk:
            wanted = [_first(delivery.c.due_at, free_and_due(one.id, priority)) for priority in priorities]
            if one.name in looked_at:
                wanted.append(_first(delivery.c.compare_at, free_to_look_at(one.id)))
            probes.append(sa.or_(sa.false(), *(first.is_not(None) for first in wanted)).label(f"of_{one.id}"))
        row = connection.execute(sa.select(*probes)).one()
        found += [one.name for one, has_some in zip(chunk, row, strict=True) if has_some]
    return found


def _first(moment: sa.Column[Any], where: Sequence[sa.ColumnElement[bool]]) -> sa.ScalarSelect[Any]:
    return sa.select(moment).where(*where).order_by(moment).limit(1).scalar_subquery()


def free_and_due(target_id: int | sa.ColumnElement[int], priority: int) -> tuple[sa.ColumnElement[bool], ...]:
    """Due, and nobody is at work on it."""
    return (
        delivery.c.target_id == target_id,
        delivery.c.priority == priority,
        delivery.c.due_at <= now(),
        sa.or_(delivery.c.owner.is_(None), delivery.c.lease_until <= now()),
        ~stops.is_frozen(delivery.c.zone_id),
    )


def free_to_look_at(target_id: int | sa.ColumnElement[int]) -> tuple[sa.ColumnElement[bool], ...]:
    """Nothing is due there, and the last look was long ago."""
    return (
        delivery.c.target_id == target_id,
        delivery.c.compare_at <= now(),
        delivery.c.due_at.is_(None),
        sa.or_(delivery.c.owner.is_(None), delivery.c.lease_until <= now()),
        ~stops.is_frozen(delivery.c.zone_id),
    )


def _anything() -> sa.Select[tuple[bool]]:
    target_id = sa.bindparam("target", type_=sa.BigInteger)
    some = sa.select(sa.literal(1))
    due = [some.where(*free_and_due(target_id, priority)).exists() for priority in (CHANGE, REPAIR)]
    return sa.select(sa.or_(*due, some.where(*free_to_look_at(target_id)).exists()))


_ANYTHING = _anything()
