"""Claims that are taken, kept and ended together, each by one statement for all of them.

Separate from the single claims, whose writes say whatever came of a delivery: here each of them says the same
of some dozens. Where the database can't do it at once (MariaDB, SQLite), it is done for one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa

from dnsworker.errors import ClaimLost, Unreachable
from dnsworker.store import bulk
from dnsworker.store.agenda import CHANGE, free_and_due
from dnsworker.store.claims import Claim, delivered_at
from dnsworker.store.deliveries import DeliveryRow
from dnsworker.store.rows import by_key
from dnsworker.tables import delivery, now, withheld

#: Of so many deliveries that are due those are chosen that go together.
LOOKED_THROUGH = 200


def claim_usual(
    connection: sa.Connection, target_id: int, target_name: str, *, owner: int, lease_s: float, limit: int
) -> dict[Claim, DeliveryRow]:
    """Claim up to `limit` changes that have been due for longest, as far as they are usual: to a zone that
    the target has as we left it, with no attempt that failed."""
    return _claim_several(connection, _usual_changes, target_id, target_name, owner, lease_s, limit)


def claim_new(
    connection: sa.Connection, target_id: int, target_name: str, *, owner: int, lease_s: float, limit: int
) -> dict[Claim, DeliveryRow]:
    """The same of zones that the target is to have and never had, or hasn't any more: none that anybody may
    have begun with, and none that the target has ever refused."""
    return _claim_several(connection, _new_zones, target_id, target_name, owner, lease_s, limit)


def _claim_several(
    connection: sa.Connection, which: Callable[[Any], Any], target_id: int, target_name: str, owner: int,
    lease_s: float, limit: int,
) -> dict[Claim, DeliveryRow]:  # fmt: skip
    given = {"target": target_id, "owner": owner, "lease_s": lease_s, "limit": limit}
    if connection.dialect.name == "postgresql":
        rows = connection.execute(_claim_due(which), given).all()
    else:
        ids = list(connection.execute(_due(which), given).scalars())
        mine = sa.and_(delivery.c.target_id == target_id, delivery.c.zone_id.in_(ids))
        if ids:
            connection.execute(sa.update(delivery).where(mine).values(_CLAIMED), given)
        rows = connection.execute(sa.select(delivery).where(mine)).all() if ids else []
    return {Claim(row.zone_id, target_id, target_name, row.epoch): DeliveryRow.of(row) for row in rows}


def note_all_creating(connection: sa.Connection, claims: Iterable[Claim]) -> None:
    """The zones are about to be created at the target. Raises `ClaimLost` when one of the claims is lost."""
    rows = _in_order(connection, claims)
    if len(_CREATING.carry_out(connection, rows)) != len(rows):
        raise ClaimLost


def require_all(connection: sa.Connection, claims: Iterable[Claim]) -> None:
    """Raises `ClaimLost` when one of them is lost."""
    rows = [key(claim) for claim in claims]
    if len(_HELD.find(connection, rows)) != len(rows):
        raise ClaimLost


def renew_all(connection: sa.Connection, claims: Iterable[Claim], lease_s: float) -> None:
    """Raises `ClaimLost` when one of them is lost."""
    rows = [{**row, "lease_s": lease_s} for row in _in_order(connection, claims)]
    if len(_RENEW.carry_out(connection, rows)) != len(rows):
        raise ClaimLost


def give_back_all(connection: sa.Connection, claims: Iterable[Claim], *, must_read: bool) -> set[int]:
    """End claims at one target, due at once; returns the zones of those that weren't lost."""
    rows = [{**row, "must_read": must_read} for row in _in_order(connection, claims)]
    return _GIVE_BACK.carry_out(connection, rows)


def finish_all(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> set[int]:
    """As `finish`, for usual deliveries: `zone_id`, `target_id`, `epoch`, `revision`, `soa`, `has_read`,
    whether the whole zone was read there, and `look_s`, when to look at the target where that isn't fixed
    yet. All claims are given back, also where more is wanted by now: that is still due. Returns the zones
    whose claim wasn't lost."""
    return _FINISH.carry_out(connection, rows)


_KEY = {"zone_id": sa.BigInteger(), "target_id": sa.BigInteger(), "epoch": sa.BigInteger()}


def key(claim: Claim) -> dict[str, int]:
    return {"zone_id": claim.zone_id, "target_id": claim.target_id, "epoch": claim.epoch}


def _in_order(connection: sa.Connection, claims: Iterable[Claim]) -> list[dict[str, int]]:
    """The keys of claims whose rows are about to be written without their zones being locked.

    The rows are locked in the order of their keys, as the intake locks them: two orders are a deadlock. Where
    several are written by one statement, that has an order of its own, so they are locked before.
    """
    rows = sorted((key(claim) for claim in claims), key=lambda row: (row["zone_id"], row["target_id"]))
    if connection.dialect.name == "postgresql" and len(rows) > 1:
        _LOCK.find(connection, [{name: row[name] for name in ("zone_id", "target_id")} for row in rows])
    return rows


def _is_held(given: Any) -> list[sa.ColumnElement[bool]]:
    return [
        delivery.c.zone_id == given.zone_id,
        delivery.c.target_id == given.target_id,
        delivery.c.epoch == given.epoch,
    ]


def _finished(given: Any) -> dict[str, Any]:
    is_all = sa.and_(delivery.c.wanted_revision == given.revision, delivery.c.goal == "present")
    return {
        "delivered_at": delivered_at(given.revision), "delivered_revision": given.revision,
        "soa": given.soa, "state": "present", "must_read": False,
        "attempts": 0, "last_code": None, "last_error": None, "owner": None, "lease_until": None,
        "due_at": sa.case((sa.not_(is_all), delivery.c.due_at)),
        "force": sa.and_(sa.not_(is_all), delivery.c.force),
        "compare_at": sa.func.coalesce(delivery.c.compare_at, now(given.look_s)),
        "compared_at": sa.case((given.has_read, now()), else_=delivery.c.compared_at),
    }  # fmt: skip


_FINISH = bulk.Change(
    delivery,
    {
        **_KEY, "revision": sa.BigInteger(), "soa": sa.Text(), "look_s": sa.Float(), "has_read": sa.Boolean(),
    },
    where=_is_held,
    values=_finished,
    key="zone_id",
)  # fmt: skip
_HELD = bulk.Search(delivery, [delivery.c.zone_id], by=("zone_id", "target_id", "epoch"))
_LOCK = bulk.Search(
    delivery,
    [delivery.c.zone_id],
    by=("zone_id", "target_id"),
    locked_by=(delivery.c.zone_id, delivery.c.target_id),
)
_CREATING = bulk.Change(
    delivery, _KEY, where=_is_held, values=lambda given: {"state": "creating"}, key="zone_id"
)
_RENEW = bulk.Change(
    delivery,
    {**_KEY, "lease_s": sa.Float()},
    where=_is_held,
    values=lambda given: {"lease_until": now(given.lease_s)},
    key="zone_id",
)
_GIVE_BACK = bulk.Change(
    delivery,
    {**_KEY, "must_read": sa.Boolean()},
    where=_is_held,
    values=lambda given: {
        "owner": None, "lease_until": None, "due_at": now(), "last_attempt_at": now(),
        "must_read": sa.or_(delivery.c.must_read, given.must_read),
    },
    key="zone_id",
)  # fmt: skip
_TARGET = sa.bindparam("target", type_=sa.BigInteger)
#: What a claim sets.
_CLAIMED = {
    "owner": sa.bindparam("owner", type_=sa.BigInteger),
    "epoch": delivery.c.epoch + 1,
    "lease_until": now(sa.bindparam("lease_s", type_=sa.Float)),
    "last_attempt_at": now(),
}


def _usual_changes(row: Any) -> tuple[sa.ColumnElement[bool], ...]:
    return (row.state == "present", row.attempts == 0, row.soa.is_not(None))


def _new_zones(row: Any) -> tuple[sa.ColumnElement[bool], ...]:
    # Of these it is said before anything is sent that nothing was; of other failures each is tried alone.
    was_elsewhere = sa.or_(row.last_code.is_(None), row.last_code == Unreachable.__name__)
    return (sa.or_(row.state == "never", row.state == "absent"), was_elsewhere)


@cache
def _due(which: Callable[[Any], Any]) -> Any:
    """Of what has been due for longest, those that are so; not all that is due, which may be very much."""
    refused = sa.select(sa.literal(1)).where(
        withheld.c.zone_id == delivery.c.zone_id, withheld.c.target_id == _TARGET
    )
    first = (
        sa.select(delivery.c.zone_id, delivery.c.due_at)
        .where(*free_and_due(_TARGET, CHANGE))
        .order_by(delivery.c.due_at)
        .limit(LOOKED_THROUGH)
        .subquery("first")
    )
    due = (
        sa.select(delivery.c.zone_id)
        .join(first, first.c.zone_id == delivery.c.zone_id)
        .where(
            delivery.c.target_id == _TARGET,
            delivery.c.due_at <= now(),
            delivery.c.owner.is_(None),
            delivery.c.goal == "present",
            delivery.c.must_read.is_(False),
            delivery.c.unconfirmed.is_(None),
            *which(delivery.c),
            ~refused.exists(),
        )
        .order_by(first.c.due_at)
        .limit(sa.bindparam("limit", type_=sa.Integer))
    )
    return by_key(due, delivery).with_for_update(skip_locked=True, of=delivery)


@cache
def _claim_due(which: Callable[[Any], Any]) -> Any:
    found = _due(which).cte("usual")
    mine = sa.and_(delivery.c.zone_id == found.c.zone_id, delivery.c.target_id == _TARGET)
    return sa.update(delivery).where(mine).values(_CLAIMED).returning(*delivery.c)
