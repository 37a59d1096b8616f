"""The whole system on one screen, and its targets."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from dnsworker.pools import Limits
from dnsworker.reports.outcomes import show_operation
from dnsworker.reports.values import plain, text
from dnsworker.store import comparisons, operations, pools, purges, stops
from dnsworker.store.census import REFUSED, Census
from dnsworker.tables import now, pool, target, withheld, zone

#: Frozen zones that `status` names.
FROZEN_SHOWN = 5


def show_targets(connection: sa.Connection, census: Census | None = None) -> list[dict[str, Any]]:
    """All targets, by pool and name."""
    query = (
        sa.select(
            target.c.id, target.c.name, pool.c.name.label("pool"), target.c.failures, target.c.open_until,
            target.c.last_error, target.c.last_error_at,
            sa.case((target.c.rests_until > now(), target.c.rests_until)).label("rests_until"),
            target.c.purging_since,
        )
        .join(pool, pool.c.id == target.c.pool_id)
        .where(target.c.is_removed.is_(False))
        .order_by(pool.c.name, target.c.name)
    )  # fmt: skip
    rows = connection.execute(query).all()
    waiting = (census or Census(connection)).deliveries(row.id for row in rows)
    purging = pools.read_purging(connection)
    every = [*pools.read(connection), *purging.values()]
    known = {one.name: one for entry in every for one in entry.pool.targets}
    paused = stops.of_targets(connection)
    found = []
    for row in rows:
        stop = paused.get(row.id)
        one = known.get(row.name)
        limits = one.limits if one else Limits()
        document = plain(row) | {"type": one.type if one else None}
        del document["id"]
        document |= waiting[row.id]
        document["oldest_due_at"] = text(document["oldest_due_at"])
        document["paused"] = stop and stop.reason
        document["paused_until"] = stop and text(stop.until)
        document["zones_left"] = purges.holds(connection, row.id) if row.name in purging else None
        document["breaker"] = "open" if row.open_until is not None else "closed"
        document["concurrency"] = limits.concurrency
        document["requests_per_second"] = limits.requests_per_second
        document["burst"] = limits.budget.burst if limits.budget else None
        found.append(document)
    return found


def show_status(connection: sa.Connection) -> dict[str, Any]:
    """The whole system on one screen; `counted_at` says how old the oldest of its numbers are (None: not)."""
    census = Census(connection)
    oldest = next(iter(operations.oldest_open(connection)), None)
    all_paused = stops.of_all(connection)
    found = {
        "at": text(connection.execute(sa.select(now())).scalar()),
        "alarm": comparisons.mass_ahead(connection, census),
        "zones": census.zones(),
        "operations": census.operations(),
        "oldest_operation": oldest and show_operation(connection, oldest).model_dump(mode="json"),
        "all_paused": all_paused and {"reason": all_paused.reason, "until": text(all_paused.until)},
        "frozen": {
            "zones": census.frozen(),
            "first": [
                {"zone": row.name, "reason": stops.frozen_text(row.freeze_reason), "at": text(row.frozen_at)}
                for row in stops.frozen_zones(connection, FROZEN_SHOWN)
            ],
        },
        "withheld": {"rrsets": census.withheld(), "latest": latest_refusals(connection)},
        "targets": show_targets(connection, census),
    }
    return found | {"counted_at": text(census.counted_at)}


def latest_refusals(connection: sa.Connection, limit: int = 5) -> list[dict[str, Any]]:
    """The latest of the RRsets that targets refuse and do without."""
    latest = sa.select(withheld).where(REFUSED).order_by(withheld.c.at.desc()).limit(limit).subquery()
    query = (
        sa.select(
            zone.c.name.label("zone"), target.c.name.label("target"), latest.c.name, latest.c.type,
            latest.c.message, latest.c.operation_id.label("operation"), latest.c.at,
        )
        .join(zone, zone.c.id == latest.c.zone_id)
        .join(target, target.c.id == latest.c.target_id)
        .order_by(latest.c.at.desc())
    )  # fmt: skip
    return [plain(row) for row in connection.execute(query)]
