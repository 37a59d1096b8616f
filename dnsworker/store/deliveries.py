"""Deliveries: what each target should have, what it is known to have, who is at work on it, and when.

A delivery is claimed by moving its `epoch` on. Every later write names the epoch it was claimed under, so a
worker that was paused and replaced changes nothing; `ClaimLost` tells it to stop.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa

from dnsworker.errors import Behind, ClaimLost, OperationNotFound, Unreachable
from dnsworker.names import Name
from dnsworker.records import Key, RRset
from dnsworker.store import bulk, stops
from dnsworker.store.rows import IDS, chunks, rrset_of, rrset_to_json, upsert
from dnsworker.tables import delivery, now, operation, target, withheld

#: Whose deliveries one statement of the sweep looks for.
TARGETS_AT_ONCE = 50
#: Of so many deliveries that are due those are chosen that go together.
LOOKED_THROUGH = 200
#: States in which nothing is written to the target until an operator has decided.
BLOCKED = ("foreign", "ahead", "held")
#: There is nothing of ours; `emptied`: the zone stays, because the target can't remove it.
AWAY = ("absent", "emptied", "foreign", "never")
#: Our zone was complete there when we looked last.
THERE = ("present", "ahead", "held")
#: What is due first: what somebody waits for; then what has to be repaired or filled, at a rate of its own.
CHANGE, REPAIR = 0, 1
#: The state of a delivery that isn't blocked any more.
RELEASED: sa.ColumnElement[str] = sa.case(
    (delivery.c.state == "foreign", "never"),
    (delivery.c.state.in_(BLOCKED), "present"),
    else_=delivery.c.state,
)


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


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A row of `delivery`; see `dnsworker.tables`."""

    zone_id: int
    target_id: int
    goal: str
    wanted_revision: int
    state: str
    delivered_revision: int
    delivered_at: datetime | None
    soa: str | None
    must_read: bool
    force: bool
    unconfirmed: list[Any] | None
    owner: int | None
    epoch: int
    lease_until: datetime | None
    due_at: datetime | None
    priority: int
    compare_at: datetime | None
    compared_at: datetime | None
    attempts: int
    last_code: str | None
    last_error: str | None
    last_attempt_at: datetime | None
    last_repair_at: datetime | None
    last_repair: str | None
    drift: str | None
    ds_records: list[str] | None

    @classmethod
    def of(cls, row: Any) -> DeliveryRow:
        return cls(**row._mapping)

    @property
    def is_current(self) -> bool:
        """Has the target what is wanted?"""
        arrived = self.confirmed_revision >= self.wanted_revision
        return arrived and self.state in (("present",) if self.goal == "present" else AWAY)

    @property
    def confirmed_revision(self) -> int:
        """Up to which revision the target has what it was given, on all its servers."""
        if self.unconfirmed:
            return min(int(revision) for _, revision, _ in self.unconfirmed) - 1
        return self.delivered_revision


@dataclass(frozen=True, slots=True)
class Withheld:
    """An RRset that a target refused, and what it has instead."""

    target_id: int
    key: Key
    operation_id: str
    revision: int
    accepted: RRset | None
    message: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a target should have of a zone."""

    zone_id: int
    target_id: int
    goal: str
    revision: int
    #: Whether it may overwrite what it finds there.
    force: bool = False


def want(connection: sa.Connection, wanted: Sequence[Wanted], *, priority: int = CHANGE) -> None:
    """Set what targets should have. Due at once, except where a back-off or an operator is waited for.

    As a `REPAIR` it doesn't hold up what is due already as a change. Takes the rows' locks in the order of
    their keys.
    """
    for force in (False, True):
        rows = [
            {
                "zone_id": one.zone_id, "target_id": one.target_id, "goal": one.goal,
                "wanted_revision": one.revision, "state": "never", "delivered_revision": 0,
                "must_read": False, "force": force, "epoch": 0, "attempts": 0, "priority": priority,
            }
            for one in sorted(wanted, key=lambda one: (one.zone_id, one.target_id))
            if one.force is force
        ]  # fmt: skip
        bulk.put(connection, delivery, rows, update=_wanted_anew(force, priority), at=("due_at",))


@cache
def _wanted_anew(force: bool, priority: int) -> Callable[[Any], dict[str, Any]]:
    # Not `in_`: a statement for several rows at once takes no lists.
    is_blocked = sa.or_(delivery.c.state == "ahead", delivery.c.state == "held")
    due = sa.case(
        *([] if force else [(is_blocked, sa.null())]),
        (sa.and_(delivery.c.attempts > 0, delivery.c.due_at.is_not(None)), delivery.c.due_at),
        else_=now(),
    )
    is_urgent = sa.and_(delivery.c.due_at.is_not(None), delivery.c.priority == CHANGE)
    first = sa.case((is_urgent, CHANGE), else_=priority)  # before `due_at`: MariaDB sets one by one

    def update(new: Any) -> dict[str, Any]:
        values = {"goal": new.goal, "wanted_revision": new.wanted_revision, "priority": first, "due_at": due}
        if force:  # drift that was only reported is to go, too
            must_read = sa.or_(delivery.c.must_read, delivery.c.drift.is_not(None))
            values |= {"force": True, "must_read": must_read}
        return values

    return update


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


def has_due(connection: sa.Connection, target_id: int, priority: int) -> bool:
    """Whether `claim_next` would find one, if nobody else is quicker."""
    query = sa.select(sa.literal(1)).where(*free_and_due(target_id, priority)).limit(1)
    return connection.execute(query).first() is not None


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
    query = (
        sa.select(delivery.c.zone_id, delivery.c.epoch)
        .where(
            *free_and_due(target_id, priority), *([delivery.c.due_at <= now(-waited_s)] if waited_s else [])
        )
        .order_by(delivery.c.due_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    claim = Claim(row.zone_id, target_id, target_name, row.epoch + 1, is_background=priority != CHANGE)
    connection.execute(
        sa.update(delivery)
        .where(_is(claim.zone_id, target_id))
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
    rows = [_key(claim) for claim in claims]
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


def finish_all(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> set[int]:
    """As `finish`, for usual deliveries: `zone_id`, `target_id`, `epoch`, `revision`, `soa`, `has_read`,
    whether the whole zone was read there, and `look_s`, when to look at the target where that isn't fixed
    yet. All claims are given back, also where more is wanted by now: that is still due. Returns the zones
    whose claim wasn't lost."""
    return _FINISH.carry_out(connection, rows)


def renew(connection: sa.Connection, claim: Claim, lease_s: float) -> None:
    """Raises `ClaimLost`."""
    _write(connection, claim, lease_until=now(lease_s))


def read(connection: sa.Connection, claim: Claim) -> DeliveryRow:
    """The delivery as it is now. Raises `ClaimLost`."""
    query = sa.select(delivery).where(_is(claim.zone_id, claim.target_id), delivery.c.epoch == claim.epoch)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise ClaimLost
    return DeliveryRow.of(row)


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
            _is(claim.zone_id, claim.target_id),
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


def hasten_followers(connection: sa.Connection, zone_id: int) -> list[str]:
    """Make those due that wait for another target, their primary; returns the targets' names."""
    waiting = sa.and_(
        delivery.c.zone_id == zone_id,
        delivery.c.last_code == Behind.__name__,
        delivery.c.owner.is_(None),
        delivery.c.due_at.is_not(None),
    )
    query = sa.select(target.c.name).join(delivery, delivery.c.target_id == target.c.id).where(waiting)
    names = list(connection.execute(query).scalars())
    if names:
        connection.execute(sa.update(delivery).where(waiting).values(due_at=now()))
    return names


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


def note_ds_records(connection: sa.Connection, zone_id: int, target_id: int, found: Sequence[str]) -> None:
    """What the target's signer wants the parent to have. Whoever delivers may write it: it is only shown."""
    connection.execute(
        sa.update(delivery).where(_is(zone_id, target_id)).values(ds_records=list(found) or None)
    )


def give_back(connection: sa.Connection, claim: Claim) -> None:
    """End a claim of which nothing else is known; due at once. Raises `ClaimLost`."""
    _write(
        connection, claim,
        owner=None, lease_until=None, must_read=True, due_at=now(), last_attempt_at=now(),
    )  # fmt: skip


def doubt(connection: sa.Connection, zone_id: int, target_id: int) -> bool:
    """Have the target read and compared again, once nobody is at work on it; whether that was the case."""
    done = connection.execute(
        sa.update(delivery)
        .where(_is(zone_id, target_id), delivery.c.owner.is_(None))
        .values(must_read=True, due_at=now(), last_attempt_at=now())
    )
    return done.rowcount == 1


def release_owner(connection: sa.Connection, owner: int) -> list[int]:
    """Free everything that a dead worker held; returns the ids of the targets concerned."""
    query = sa.select(delivery.c.zone_id, delivery.c.target_id).where(delivery.c.owner == owner)
    held = connection.execute(query.order_by(delivery.c.zone_id, delivery.c.target_id)).all()
    # Each by its key: by the owner's index, MariaDB locks its entry before the row, and everybody else after.
    for row in held:
        mine = _is(row.zone_id, row.target_id)
        locked = sa.select(delivery.c.owner).where(mine).with_for_update()
        if connection.execute(locked).scalar_one() == owner:
            free = {"owner": None, "lease_until": None, "must_read": True}
            due = {"due_at": now(), "last_attempt_at": now()}
            update = sa.update(delivery).where(mine)
            connection.execute(update.values(epoch=delivery.c.epoch + 1, **free, **due))
    return list({row.target_id: None for row in held})


def owners(connection: sa.Connection, target_id: int | None = None) -> list[int]:
    """Who holds claims now."""
    query = sa.select(delivery.c.owner).where(delivery.c.owner.is_not(None)).distinct()
    if target_id is not None:
        query = query.where(delivery.c.target_id == target_id)
    return [owner for owner in connection.execute(query).scalars() if owner is not None]


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


def of_zone(connection: sa.Connection, zone_id: int) -> list[DeliveryRow]:
    query = sa.select(delivery).where(delivery.c.zone_id == zone_id).order_by(delivery.c.target_id)
    return [DeliveryRow.of(row) for row in connection.execute(query)]


def of_zones(connection: sa.Connection, zone_ids: Collection[int]) -> list[DeliveryRow]:
    """Of several zones, by zone and target."""
    return [DeliveryRow.of(row) for row in connection.execute(_OF_ZONES, {"ids": list(zone_ids)})]


def lock_of_zone(connection: sa.Connection, zone_id: int) -> list[tuple[str, DeliveryRow]]:
    """The zone's deliveries with the names of their targets, locked: nobody claims one until the commit."""
    query = sa.select(delivery).where(delivery.c.zone_id == zone_id).order_by(delivery.c.target_id)
    rows = [DeliveryRow.of(row) for row in connection.execute(query.with_for_update())]
    names = sa.select(target.c.id, target.c.name).where(target.c.id.in_([row.target_id for row in rows]))
    known = {row.id: row.name for row in connection.execute(names)}
    return [(known[row.target_id], row) for row in rows]


def withhold(connection: sa.Connection, claim: Claim, rows: Sequence[Withheld]) -> None:
    """Note RRsets that the target refuses, in place of what was withheld of them before."""
    upsert(
        connection,
        withheld,
        [
            {
                "zone_id": claim.zone_id, "target_id": claim.target_id,
                "name": row.key[0], "type": row.key[1],
                "operation_id": row.operation_id, "revision": row.revision,
                "accepted": rrset_to_json(row.accepted), "message": row.message, "at": now(),
            }
            for row in rows
        ],
        update=("operation_id", "revision", "accepted", "message", "at"),
    )  # fmt: skip


def withheld_in(connection: sa.Connection, zone_id: int, target_id: int | None = None) -> list[Withheld]:
    query = sa.select(withheld).where(withheld.c.zone_id == zone_id)
    if target_id is not None:
        query = query.where(withheld.c.target_id == target_id)
    rows = connection.execute(query.order_by(withheld.c.name, withheld.c.type))
    return [_withheld(row) for row in rows]


def withheld_in_all(connection: sa.Connection, zone_ids: Collection[int]) -> dict[int, list[Withheld]]:
    """What is withheld of several zones; only those of which something is."""
    found: dict[int, list[Withheld]] = {}
    for row in connection.execute(_WITHHELD_IN, {"ids": list(zone_ids)}):
        found.setdefault(row.zone_id, []).append(_withheld(row))
    return found


def _withheld(row: Any) -> Withheld:
    key = (Name(row.name), row.type)
    accepted = rrset_of(key, row.accepted)
    return Withheld(row.target_id, key, row.operation_id, row.revision, accepted, row.message)


def stop_withholding(connection: sa.Connection, claim: Claim, changed: Mapping[Key, int]) -> None:
    """The target has what changed these RRsets up to the given revisions: earlier refusals are over."""
    mine = sa.and_(withheld.c.zone_id == claim.zone_id, withheld.c.target_id == claim.target_id)
    query = sa.select(withheld.c.name, withheld.c.type, withheld.c.revision).where(mine)
    for row in connection.execute(query).all():
        if changed.get((Name(row.name), row.type), 0) > row.revision:
            connection.execute(
                sa.delete(withheld).where(mine, withheld.c.name == row.name, withheld.c.type == row.type)
            )


def forget_withheld(connection: sa.Connection, zone_id: int) -> None:
    """Where something was withheld the journal alone doesn't tell any more what the target has.

    So it is read again; whoever is at work there, with the old belief, loses the claim.
    """
    refused = sa.select(withheld.c.target_id).where(withheld.c.zone_id == zone_id)
    connection.execute(
        sa.update(delivery)
        .where(delivery.c.zone_id == zone_id, delivery.c.target_id.in_(refused))
        .values(
            owner=None, lease_until=None, must_read=True, epoch=delivery.c.epoch + 1, last_attempt_at=now()
        )
    )
    connection.execute(sa.delete(withheld).where(withheld.c.zone_id == zone_id))


def retry_operation(connection: sa.Connection, operation_id: str) -> list[str]:
    """Make what an operation waits for due now, refused RRsets and blocked targets included.

    Returns the names of the targets to wake. Raises `OperationNotFound`.
    """
    row = connection.execute(
        sa.select(operation.c.zone_id).where(operation.c.id == operation_id)
    ).one_or_none()
    if row is None:
        raise OperationNotFound(f"no operation {operation_id}")
    if row.zone_id is None:
        return []
    refused = sa.select(withheld.c.target_id).where(
        withheld.c.zone_id == row.zone_id, withheld.c.operation_id == operation_id
    )
    connection.execute(
        sa.update(delivery)
        .where(
            delivery.c.zone_id == row.zone_id,
            sa.or_(
                delivery.c.due_at.is_not(None),
                delivery.c.target_id.in_(refused),
                delivery.c.state.in_(BLOCKED),
            ),
        )
        .values(
            due_at=now(),
            priority=CHANGE,
            attempts=0,
            must_read=True,
            state=RELEASED,
            # A deletion has no other word for "I mean it".
            force=sa.or_(
                delivery.c.force, sa.and_(delivery.c.state.in_(BLOCKED), delivery.c.goal == "absent")
            ),
        )
    )
    connection.execute(sa.delete(withheld).where(withheld.c.operation_id == operation_id))
    query = (
        sa.select(target.c.name)
        .join(delivery, delivery.c.target_id == target.c.id)
        .where(delivery.c.zone_id == row.zone_id, delivery.c.due_at.is_not(None))
    )
    return list(connection.execute(query).scalars())


def free_to_look_at(target_id: int | sa.ColumnElement[int]) -> tuple[sa.ColumnElement[bool], ...]:
    """Nothing is due there, and the last look was long ago."""
    return (
        delivery.c.target_id == target_id,
        delivery.c.compare_at <= now(),
        delivery.c.due_at.is_(None),
        sa.or_(delivery.c.owner.is_(None), delivery.c.lease_until <= now()),
        ~stops.is_frozen(delivery.c.zone_id),
    )


def free_and_due(target_id: int | sa.ColumnElement[int], priority: int) -> tuple[sa.ColumnElement[bool], ...]:
    """Due, and nobody is at work on it."""
    return (
        delivery.c.target_id == target_id,
        delivery.c.priority == priority,
        delivery.c.due_at <= now(),
        sa.or_(delivery.c.owner.is_(None), delivery.c.lease_until <= now()),
        ~stops.is_frozen(delivery.c.zone_id),
    )


_OF_ZONES = (
    sa.select(delivery).where(delivery.c.zone_id.in_(IDS)).order_by(delivery.c.zone_id, delivery.c.target_id)
)
_WITHHELD_IN = (
    sa.select(withheld).where(withheld.c.zone_id.in_(IDS)).order_by(withheld.c.name, withheld.c.type)
)
_KEY = {"zone_id": sa.BigInteger(), "target_id": sa.BigInteger(), "epoch": sa.BigInteger()}


def _key(claim: Claim) -> dict[str, int]:
    return {"zone_id": claim.zone_id, "target_id": claim.target_id, "epoch": claim.epoch}


def _in_order(connection: sa.Connection, claims: Iterable[Claim]) -> list[dict[str, int]]:
    """The keys of claims whose rows are about to be written without their zones being locked.

    The rows are locked in the order of their keys, as the intake locks them: two orders are a deadlock. Where
    several are written by one statement, that has an order of its own, so they are locked before.
    """
    rows = sorted((_key(claim) for claim in claims), key=lambda row: (row["zone_id"], row["target_id"]))
    if connection.dialect.name == "postgresql" and len(rows) > 1:
        _LOCK.find(connection, [{name: row[name] for name in ("zone_id", "target_id")} for row in rows])
    return rows


def _is_held(given: Any) -> list[sa.ColumnElement[bool]]:
    return [
        delivery.c.zone_id == given.zone_id,
        delivery.c.target_id == given.target_id,
        delivery.c.epoch == given.epoch,
    ]


def _delivered_at(revision: sa.ColumnElement[int]) -> sa.ColumnElement[datetime | None]:
    """When the target got what it has: now, unless it had the revision already."""
    return sa.case((delivery.c.delivered_revision == revision, delivery.c.delivered_at), else_=now())


def _finished(given: Any) -> dict[str, Any]:
    is_all = sa.and_(delivery.c.wanted_revision == given.revision, delivery.c.goal == "present")
    return {
        "delivered_at": _delivered_at(given.revision), "delivered_revision": given.revision,
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
    return (
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
        .with_for_update(skip_locked=True, of=delivery)
    )


@cache
def _claim_due(which: Callable[[Any], Any]) -> Any:
    found = _due(which).cte("usual")
    mine = sa.and_(delivery.c.zone_id == found.c.zone_id, delivery.c.target_id == _TARGET)
    return sa.update(delivery).where(mine).values(_CLAIMED).returning(*delivery.c)


def _is(zone_id: int, target_id: int) -> sa.ColumnElement[bool]:
    return sa.and_(delivery.c.zone_id == zone_id, delivery.c.target_id == target_id)


def _write(connection: sa.Connection, claim: Claim, **values: Any) -> None:
    statement = sa.update(delivery).where(
        _is(claim.zone_id, claim.target_id), delivery.c.epoch == claim.epoch
    )
    if "delivered_revision" in values:
        values["delivered_at"] = _delivered_at(sa.literal(values["delivered_revision"], sa.BigInteger))
    if connection.execute(statement.values(**values)).rowcount != 1:
        raise ClaimLost(f"the delivery to {claim.target} was taken over by another worker")
