"""How far targets and nameservers are behind: since when the oldest change waits that they lack.

Separate from the counting, which tells how much there is. What is read is bounded: of a backlog of a hundred
thousand those zones that are due first, of the zones that are asked about those that are asked about next.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from dnsworker.store.agenda import CHANGE
from dnsworker.tables import delivery, journal, observation, zone

#: So many zones are read of each target, and of those that are asked about.
SAMPLE = 100


@dataclass(frozen=True, slots=True)
class Lag:
    """How far somebody is behind."""

    #: Zones of the sample that it hasn't got as they should be.
    zones: int
    #: When the first change was accepted that it lacks in one of them.
    since: datetime | None = None
    #: What it last said about one of them, and when.
    error: str | None = None
    error_at: datetime | None = None
    #: Whether the sample had room for all zones that there are: otherwise it may be behind for longer.
    is_all: bool = True


def of_targets(connection: sa.Connection, target_ids: Collection[int]) -> dict[int, Lag]:
    """By the changes that are due at each target."""
    found = {target_id: Lag(0) for target_id in target_ids}
    for target_id in target_ids:
        due = _due(target_id, delivery.c.zone_id, delivery.c.delivered_revision)
        since = _first_after(due.c.zone_id, due.c.delivered_revision)
        moments = connection.execute(sa.select(since).select_from(due)).scalars().all()
        found[target_id] = Lag(
            min(len(moments), SAMPLE),
            min((one for one in moments if one is not None), default=None),
            is_all=len(moments) <= SAMPLE,
        )
    return found


def of_nameservers(
    connection: sa.Connection, servers: Mapping[int, Collection[str]], target_ids: Collection[int]
) -> dict[tuple[int, str], Lag]:
    """By the zones that are being asked about, and those that are due at one of the targets: what hasn't
    arrived there yet nobody is asked about. `servers`: those of each pool, by its id.
    """
    pairs = [(pool_id, name) for pool_id, names in servers.items() for name in names]
    if not pairs:
        return {}
    known = sa.union_all(
        *(sa.select(sa.literal(one).label("pool_id"), sa.literal(name).label("name")) for one, name in pairs)
    ).subquery()
    looked_at = sa.select(zone.c.id.label("zone_id")).where(zone.c.look_at.is_not(None))
    samples = [looked_at.order_by(zone.c.look_at).limit(SAMPLE + 1).subquery()]
    samples += [_due(target_id, delivery.c.zone_id) for target_id in target_ids]
    wanted = sa.union(*(sa.select(one.c.zone_id) for one in samples)).subquery()
    columns = (zone.c.id, zone.c.pool_id, zone.c.revision)
    asked = sa.select(*columns).join(wanted, wanted.c.zone_id == zone.c.id).subquery()
    verified = sa.func.coalesce(observation.c.verified_revision, 0)
    of_pair = sa.and_(observation.c.zone_id == asked.c.id, observation.c.nameserver == known.c.name)
    query = (
        sa.select(
            known.c.pool_id, known.c.name, observation.c.error, observation.c.seen_at,
            _first_after(asked.c.id, verified).label("since"),
        )
        .select_from(asked.join(known, known.c.pool_id == asked.c.pool_id).outerjoin(observation, of_pair))
        .where(verified < asked.c.revision)
    )  # fmt: skip
    behind: dict[tuple[int, str], list[Any]] = {}
    for row in connection.execute(query):
        behind.setdefault((row.pool_id, row.name), []).append(row)
    counts = [sa.select(sa.func.count()).select_from(one).scalar_subquery() for one in samples]
    is_all = max(connection.execute(sa.select(*counts)).one()) <= SAMPLE
    return {pair: _lag(behind.get(pair, []), is_all) for pair in pairs}


def _due(target_id: int, *columns: sa.ColumnElement[Any]) -> sa.Subquery:
    """The changes that are due at the target, one more than are read."""
    return (
        sa.select(*columns)
        .where(
            delivery.c.target_id == target_id,
            delivery.c.priority == CHANGE,
            delivery.c.due_at.is_not(None),
        )
        .order_by(delivery.c.due_at)
        .limit(SAMPLE + 1)
        .subquery()
    )


def _lag(rows: Collection[Any], is_all: bool) -> Lag:
    said = [row for row in rows if row.error is not None and row.seen_at is not None]
    last = max(said, key=lambda row: row.seen_at, default=None)
    return Lag(
        min(len(rows), SAMPLE),
        min((row.since for row in rows if row.since is not None), default=None),
        last.error if last else None,
        last.seen_at if last else None,
        is_all,
    )


def _first_after(
    zone_id: sa.ColumnElement[int], revision: sa.ColumnElement[int]
) -> sa.ScalarSelect[datetime]:
    return (
        sa.select(journal.c.at)
        .where(journal.c.zone_id == zone_id, journal.c.revision > revision)
        .order_by(journal.c.revision)
        .limit(1)
        .scalar_subquery()
    )
