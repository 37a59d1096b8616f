"""When a zone in which nothing changes is looked at, at each of its targets.

The delivery's row is the clock (`compare_at`), as it is for what is due; separate because a look is not due
to anybody, and must not be in the way of what is.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import sqlalchemy as sa

from dnsworker.errors import ClaimLost
from dnsworker.store.agenda import CHANGE, REPAIR, free_to_look_at
from dnsworker.store.census import IS_AHEAD, Census
from dnsworker.store.claims import Claim
from dnsworker.store.deliveries import BLOCKED, RELEASED
from dnsworker.store.rows import lock_first_free
from dnsworker.tables import delivery, now, target, zone

#: So many more are looked at soon when one zone is found missing: a wiped server is known for one after
#: some steps, and a single zone that somebody removed costs no more than this.
HASTENED = 100
#: So many zones `ahead` at once, and this share of all, are no accident at a server: our side is suspected.
MANY_AHEAD, SHARE_AHEAD = 5, 0.01


def claim_look(
    connection: sa.Connection,
    target_id: int,
    target_name: str,
    *,
    owner: int,
    lease_s: float,
    full_s: float,
    tells_by_serial: bool,
) -> Claim | None:
    """Claim what wasn't looked at for longest; None when all was.

    What wasn't read in full for `full_s`, or can't be told by its serial, is a delivery from then on that
    reads and compares.
    """
    is_unread = sa.or_(delivery.c.compared_at.is_(None), delivery.c.compared_at <= now(-full_s))
    was_lost = delivery.c.owner.is_not(None)  # by a worker whose lease ran out
    columns = [delivery.c.zone_id, delivery.c.epoch, sa.or_(is_unread, was_lost).label("is_delivery")]
    where = free_to_look_at(target_id)
    rows = lock_first_free(connection, columns, where=where, by=delivery.c.compare_at, limit=1)
    if not rows:
        return None
    (row,) = rows
    is_delivery = bool(row.is_delivery) or not tells_by_serial
    claim = Claim(
        row.zone_id, target_id, target_name, row.epoch + 1, is_background=True, is_look=not is_delivery
    )
    values = {"owner": owner, "epoch": claim.epoch, "lease_until": now(lease_s)}
    if is_delivery:
        values |= {"must_read": True, "due_at": now(), "priority": REPAIR, "last_attempt_at": now()}
    connection.execute(
        sa.update(delivery)
        .where(delivery.c.zone_id == row.zone_id, delivery.c.target_id == target_id)
        .values(**values)
    )
    return claim


def looked(connection: sa.Connection, claim: Claim, next_s: float) -> None:
    """End a look that found, or could find, nothing; the next one is in `next_s`. Raises `ClaimLost`."""
    _end(connection, claim, next_s)


def suspect(connection: sa.Connection, claim: Claim, next_s: float) -> None:
    """The target isn't as it was left: have it read, compared and repaired. Raises `ClaimLost`."""
    is_due = delivery.c.due_at.is_not(None)
    _end(
        connection, claim, next_s,
        must_read=True,
        priority=sa.case((is_due, delivery.c.priority), else_=REPAIR),
        due_at=sa.case((is_due, delivery.c.due_at), else_=now()),
    )  # fmt: skip


def hasten(connection: sa.Connection, target_id: int) -> int:
    """Look soon at more zones of a target that has lost one; returns at how many.

    Rows that somebody has locked are left out, so that nobody waits for anybody here.
    """
    where = [delivery.c.target_id == target_id, delivery.c.compare_at > now(), delivery.c.due_at.is_(None)]
    rows = lock_first_free(
        connection, [delivery.c.zone_id], where=where, by=delivery.c.compare_at, limit=HASTENED
    )
    found = [row.zone_id for row in rows]
    if found:
        mine = sa.and_(delivery.c.target_id == target_id, delivery.c.zone_id.in_(found))
        connection.execute(sa.update(delivery).where(mine).values(compare_at=now()))
    return len(found)


def sync(
    connection: sa.Connection, zone_id: int, target_ids: Collection[int], *, keeps_database: bool
) -> None:
    """Have the zone read in full, compared and repaired at these targets now, before anything else.

    Whoever is at work there, with the old belief, loses the claim. A blocked delivery stays so, unless the
    database's side is right: then it is released, and may overwrite what it finds.
    """
    wanted = [delivery.c.zone_id == zone_id, delivery.c.target_id.in_(sorted(target_ids))]
    if not keeps_database:
        wanted.append(delivery.c.state.not_in(BLOCKED))
    _release(connection, wanted, priority=CHANGE, force=keeps_database)


def keep_database(connection: sa.Connection) -> list[str]:
    """The database's side is right wherever a target is ahead; returns the names of the targets to wake.

    They are brought to it at the rate of repairs.
    """
    query = sa.select(target.c.name).join(delivery, delivery.c.target_id == target.c.id)
    names = list(connection.execute(query.where(IS_AHEAD).distinct()).scalars())
    _release(connection, [IS_AHEAD], priority=REPAIR, force=True)
    return names


def ahead(connection: sa.Connection) -> list[tuple[int, list[str]]]:
    """The living zones that targets are ahead with, by id, and those targets' names."""
    query = (
        sa.select(delivery.c.zone_id, target.c.name)
        .join(target, target.c.id == delivery.c.target_id)
        .join(zone, zone.c.id == delivery.c.zone_id)
        .where(IS_AHEAD, zone.c.is_deleted.is_(False))
        .order_by(delivery.c.zone_id, target.c.name)
    )
    found: dict[int, list[str]] = {}
    for zone_id, name in connection.execute(query):
        found.setdefault(zone_id, []).append(name)
    return list(found.items())


def _release(
    connection: sa.Connection, wanted: Sequence[sa.ColumnElement[bool]], *, priority: int, force: bool
) -> None:
    was_claimed = delivery.c.owner.is_not(None)
    values: dict[str, object] = {
        "last_attempt_at": sa.case((was_claimed, now()), else_=delivery.c.last_attempt_at),
        "owner": None, "lease_until": None, "epoch": delivery.c.epoch + 1, "priority": priority,
        "must_read": True, "compared_at": None, "due_at": now(), "attempts": 0,
    }  # fmt: skip
    if force:
        values |= {"force": True, "state": RELEASED}
    connection.execute(sa.update(delivery).where(*wanted).values(values))


def mass_ahead(connection: sa.Connection, census: Census | None = None) -> str | None:
    """What is the matter when so many zones are `ahead` at once that it may be the database that is old.

    Nothing is repaired then. None when it isn't so.
    """
    census = census or Census(connection)
    ahead = census.ahead()
    if ahead <= MANY_AHEAD:
        return None
    zones = sum(number for status, number in census.zones().items() if status != "DELETED")
    if ahead <= SHARE_AHEAD * zones:
        return None
    return (
        f"{ahead} deliveries of {zones} zones are ahead of the database, which may be an old one: "
        "nothing is repaired until `dnsworker zone sync --all --keep database|target`"
    )


def _end(connection: sa.Connection, claim: Claim, next_s: float, **values: object) -> None:
    values |= {"owner": None, "lease_until": None, "compare_at": now(next_s)}
    statement = sa.update(delivery).where(
        delivery.c.zone_id == claim.zone_id,
        delivery.c.target_id == claim.target_id,
        delivery.c.epoch == claim.epoch,
    )
    if connection.execute(statement.values(**values)).rowcount != 1:
        raise ClaimLost(f"the look at {claim.target} was taken over by another worker")
