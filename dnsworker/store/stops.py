"""What an operator has stopped: targets that are paused, all of them at once, zones that are frozen.

Nothing is sent there. What is to be done waits as rows, due and unclaimed, and goes on when the order ends.
Separate from the breakers, which judge by what targets said.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from dnsworker.store.rows import upsert
from dnsworker.tables import delivery, now, pause, target, zone

#: The key of the one row that pauses all targets.
ALL = 1


@dataclass(frozen=True, slots=True)
class Stop:
    """One order, as it is told."""

    reason: str
    #: None: until an operator ends it.
    until: datetime | None = None


def is_paused() -> sa.ColumnElement[bool]:
    """Of a row of `target`: it is, or all are."""
    everything = sa.select(sa.literal(1)).select_from(pause).where(_holds(pause))
    return sa.or_(_holds(target), everything.exists())


def is_frozen(zone_id: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
    """Whether that is the key of a frozen zone. They are few: looked up once, and not for each row."""
    return zone_id.in_(sa.select(zone.c.id).where(zone.c.frozen_at.is_not(None)))


def of_delivery(connection: sa.Connection, zone_id: int, target_id: int) -> Stop | None:
    """What stops the deliveries of this zone to this target now."""
    row = connection.execute(_OF_DELIVERY, {"zone": zone_id, "target": target_id}).one()
    if row.frozen_at is not None:
        return Stop(frozen_text(row.freeze_reason))
    return of_row(row)


def of_row(row: Any) -> Stop | None:
    """The pause of a target, from a row of `with_stops`."""
    if row.all_at is not None:
        return Stop(paused_text(row.all_until, row.all_reason, "all targets are paused"), row.all_until)
    if row.paused_at is not None:
        return Stop(paused_text(row.paused_until, row.pause_reason), row.paused_until)
    return None


def of_all(connection: sa.Connection) -> Stop | None:
    """The pause of all targets."""
    row = connection.execute(sa.select(pause).where(_holds(pause))).one_or_none()
    if row is None:
        return None
    return Stop(paused_text(row.paused_until, row.pause_reason, "all targets are paused"), row.paused_until)


def of_targets(connection: sa.Connection) -> dict[int, Stop]:
    """The targets that are paused one by one."""
    query = sa.select(target.c.id, target.c.paused_until, target.c.pause_reason).where(_holds(target))
    return {
        row.id: Stop(paused_text(row.paused_until, row.pause_reason), row.paused_until)
        for row in connection.execute(query)
    }


def frozen_zones(connection: sa.Connection, limit: int) -> list[Any]:
    """The first of the frozen zones: name, frozen_at, freeze_reason."""
    columns = (zone.c.name, zone.c.frozen_at, zone.c.freeze_reason)
    query = sa.select(*columns).where(zone.c.frozen_at.is_not(None))
    return list(connection.execute(query.order_by(zone.c.frozen_at).limit(limit)))


def pause_target(
    connection: sa.Connection, target_id: int, for_s: float | None, reason: str | None
) -> datetime | None:
    """Pause a target, or change its pause; returns until when (None: until it is resumed)."""
    until = sa.null() if for_s is None else now(for_s)
    connection.execute(
        sa.update(target)
        .where(target.c.id == target_id)
        .values(paused_at=now(), paused_until=until, pause_reason=reason)
    )
    query = sa.select(target.c.paused_until).where(target.c.id == target_id)
    found: datetime | None = connection.execute(query).scalar_one()
    return found


def pause_all(connection: sa.Connection, for_s: float | None, reason: str | None) -> datetime | None:
    """Pause all targets, those that are added later included."""
    until = sa.null() if for_s is None else now(for_s)
    values = {"paused_at": now(), "paused_until": until, "pause_reason": reason}
    upsert(connection, pause, [{"id": ALL, **values}], update=values)
    found: datetime | None = connection.execute(sa.select(pause.c.paused_until)).scalar_one()
    return found


def resume_all(connection: sa.Connection) -> bool:
    """End the pause of all; returns whether there was one. Those of single targets stay."""
    was_paused = of_all(connection) is not None
    connection.execute(sa.delete(pause))
    return was_paused


def resume_target(connection: sa.Connection, target_id: int) -> bool:
    """End a target's pause; returns whether it was paused."""
    was_paused = target_id in of_targets(connection)
    connection.execute(
        sa.update(target)
        .where(target.c.id == target_id)
        .values(paused_at=None, paused_until=None, pause_reason=None)
    )
    return was_paused


def begin_afresh(connection: sa.Connection, target_ids: Collection[int]) -> list[str]:
    """Forget back-offs and breakers from before; returns the names of the targets that have something due.

    Call it before the target's row is written in the same transaction: deliveries are locked first.
    """
    waits = sa.and_(delivery.c.target_id.in_(list(target_ids)), delivery.c.owner.is_(None))
    connection.execute(sa.update(delivery).where(waits, delivery.c.due_at > now()).values(due_at=now()))
    is_one = target.c.id.in_(list(target_ids))
    connection.execute(sa.update(target).where(is_one).values(failures=0, open_until=None))
    is_due = sa.select(sa.literal(1)).where(delivery.c.target_id == target.c.id, delivery.c.due_at <= now())
    query = sa.select(target.c.name).where(is_one, is_due.exists()).order_by(target.c.name)
    return list(connection.execute(query).scalars())


def under_way(connection: sa.Connection, where: sa.ColumnElement[bool]) -> int:
    """How many deliveries somebody is at work on."""
    query = sa.select(sa.func.count()).select_from(delivery)
    query = query.where(where, delivery.c.owner.is_not(None), delivery.c.lease_until > now())
    return connection.execute(query).scalar_one()


def freeze(connection: sa.Connection, zone_id: int, reason: str | None) -> None:
    """Freeze a zone, or change the reason. The zone is locked."""
    connection.execute(
        sa.update(zone)
        .where(zone.c.id == zone_id)
        .values(frozen_at=now(), freeze_reason=reason, look_at=now(), looks=0)
    )


def thaw(connection: sa.Connection, zone_id: int) -> Sequence[str]:
    """Thaw a zone; returns the names of the targets that have something to do for it. The zone is locked."""
    values = {"frozen_at": None, "freeze_reason": None, "look_at": now(), "looks": 0}
    connection.execute(sa.update(zone).where(zone.c.id == zone_id).values(values))
    waits = sa.and_(delivery.c.zone_id == zone_id, delivery.c.due_at.is_not(None))
    connection.execute(sa.update(delivery).where(waits, delivery.c.owner.is_(None)).values(due_at=now()))
    query = sa.select(target.c.name).join(delivery, delivery.c.target_id == target.c.id).where(waits)
    return list(connection.execute(query.order_by(target.c.name)).scalars())


def paused_text(until: datetime | None, reason: str | None, what: str = "paused") -> str:
    because = f": {reason}" if reason else ""
    if until is None:
        return f"{what} by operator until resumed{because}"
    return f"{what} until {until.isoformat(timespec='seconds')} by operator{because}"


def frozen_text(reason: str | None) -> str:
    return "frozen by operator" + (f": {reason}" if reason else "")


def _holds(table: sa.Table) -> sa.ColumnElement[bool]:
    """Whether the pause in a row of `target` or `pause` isn't over."""
    return sa.and_(
        table.c.paused_at.is_not(None), sa.or_(table.c.paused_until.is_(None), table.c.paused_until > now())
    )


def with_stops(*columns: sa.ColumnElement[Any], of: sa.FromClause = target) -> sa.Select[Any]:
    """These columns of targets (or of a join with them) beside what `of_row` needs."""
    pauses = (
        pause.c.paused_at.label("all_at"), pause.c.paused_until.label("all_until"),
        pause.c.pause_reason.label("all_reason"),
        sa.case((_holds(target), target.c.paused_at)).label("paused_at"), target.c.paused_until,
        target.c.pause_reason,
    )  # fmt: skip
    return sa.select(*columns, *pauses).select_from(of.outerjoin(pause, _holds(pause)))


_OF_DELIVERY = with_stops(
    zone.c.frozen_at,
    zone.c.freeze_reason,
    of=zone.join(target, target.c.id == sa.bindparam("target", type_=sa.BigInteger)),
).where(zone.c.id == sa.bindparam("zone", type_=sa.BigInteger))
