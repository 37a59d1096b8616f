"""Whether a target may be tried now: its breaker, the rest that it asked for, an operator's pause.

A dead target costs one time-out at a time and not one for each zone; one that asked for fewer requests gets
none at all, from any worker, until its rest is over.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from dnsworker.store import stops
from dnsworker.store.rows import IDS
from dnsworker.tables import now, target


def may_try(connection: sa.Connection, target_id: int) -> bool:
    """Whether a delivery may go to the target now, as far as reading tells: `may_probe` has the last word.

    While the breaker is open nobody may; once its time is over there is one probe.
    """
    row = connection.execute(
        sa.select(
            target.c.open_until, stops.is_paused(), target.c.rests_until > now(),
            target.c.open_until <= now(),
        ).where(target.c.id == target_id)
    ).one()  # fmt: skip
    open_until, is_paused, is_resting, is_over = row
    return not is_paused and not is_resting and (open_until is None or bool(is_over))


def is_well(connection: sa.Connection, target_id: int) -> bool:
    """Whether nothing speaks against sending to the target: no failure, no rest, no pause."""
    return connection.execute(_IS_WELL, {"target": target_id}).first() is not None


_IS_WELL = sa.select(sa.literal(1)).where(
    target.c.id == sa.bindparam("target", type_=sa.BigInteger),
    target.c.failures == 0,
    target.c.open_until.is_(None),
    sa.or_(target.c.rests_until.is_(None), target.c.rests_until <= now()),
    sa.not_(stops.is_paused()),
)


def may_probe(connection: sa.Connection, target_id: int, *, probe_s: float) -> bool:
    """Take the one probe of an open breaker, for at most `probe_s` seconds; always True for a closed one."""
    query = sa.select(target.c.open_until).where(target.c.id == target_id)
    if connection.execute(query).scalar_one() is None:
        return True
    taken = connection.execute(
        sa.update(target)
        .where(target.c.id == target_id, target.c.open_until <= now())
        .values(open_until=now(probe_s))
    )
    return taken.rowcount == 1


def failed(connection: sa.Connection, target_id: int, message: str, *, limit: int, delay_s: float) -> None:
    """Count a failure that concerns the whole target; from `limit` on the breaker is open for `delay_s`."""
    connection.execute(
        sa.update(target)
        .where(target.c.id == target_id)
        .ordered_values(
            # First: MySQL's later assignments see what the earlier ones set.
            (
                target.c.open_until,
                sa.case((target.c.failures + 1 >= limit, now(delay_s)), else_=target.c.open_until),
            ),
            (target.c.failures, target.c.failures + 1),
            (target.c.last_error, message),
            (target.c.last_error_at, now()),
        )
    )


def probe_again(connection: sa.Connection, target_id: int, delay_s: float) -> None:
    """The probe of an open breaker came to nothing that tells: the next one is due in `delay_s`."""
    connection.execute(
        sa.update(target)
        .where(target.c.id == target_id, target.c.open_until.is_not(None))
        .values(open_until=now(delay_s))
    )


def rest(connection: sa.Connection, target_id: int, message: str, *, delay_s: float) -> None:
    """The target asked for fewer requests: none before `delay_s` is over, nor before an earlier rest is."""
    end = now(delay_s)
    is_longer = sa.or_(target.c.rests_until.is_(None), target.c.rests_until < end)
    connection.execute(
        sa.update(target)
        .where(target.c.id == target_id)
        .values(
            failures=target.c.failures + 1,
            rests_until=sa.case((is_longer, end), else_=target.c.rests_until),
            rest_reason=message,
            last_error=message,
            last_error_at=now(),
        )
    )


def rest_left(connection: sa.Connection, target_id: int) -> tuple[float, str] | None:
    """For how many seconds more the target wants to be left alone, and its words; None: it doesn't rest."""
    query = sa.select(target.c.rests_until, target.c.rest_reason, now())
    row = connection.execute(
        query.where(target.c.id == target_id, target.c.rests_until > now())
    ).one_or_none()
    if row is None:
        return None
    rests_until, reason, moment = row
    return max(0.0, (rests_until - moment).total_seconds()), reason or ""


def succeeded(connection: sa.Connection, target_id: int) -> bool:
    """The target has answered: close the breaker. Returns whether it was open or counting."""
    done = connection.execute(
        sa.update(target)
        .where(target.c.id == target_id, sa.or_(target.c.failures > 0, target.c.open_until.is_not(None)))
        .values(failures=0, open_until=None, last_success_at=now())
    )
    return done.rowcount == 1


@dataclass(frozen=True, slots=True)
class Standstill:
    """Why nothing is sent to a target now, and until when."""

    reason: str
    until: datetime | None
    #: An operator wants it so: whatever went wrong before is no longer the reason.
    is_ordered: bool = False


def standstills(connection: sa.Connection, target_ids: Collection[int]) -> dict[int, Standstill]:
    """The targets that are paused, that rest, or whose breaker is open."""
    found = {}
    for row in connection.execute(_STANDSTILLS, {"ids": list(target_ids)}):
        if (stop := stops.of_row(row)) is not None:
            found[row.id] = Standstill(stop.reason, stop.until, is_ordered=True)
        elif row.rests is not None:
            found[row.id] = Standstill(row.rest_reason, row.rests)
        elif row.open_until is not None:
            times = f"{row.failures} attempts in a row failed"
            found[row.id] = Standstill(f"{times}: {row.last_error}", row.open_until)
    return found


_STANDSTILLS = stops.with_stops(
    target.c.id, target.c.failures, target.c.open_until, target.c.last_error, target.c.rest_reason,
    sa.case((target.c.rests_until > now(), target.c.rests_until)).label("rests"),
).where(target.c.id.in_(IDS))  # fmt: skip


def failures(connection: sa.Connection, target_id: int) -> int:
    return int(connection.execute(sa.select(target.c.failures).where(target.c.id == target_id)).scalar_one())
