"""Whether the database is still the one that somebody knew, and what is in doubt when it isn't.

An older copy of it has lost the end of the journal. Ids are given again then, but not to the same operations.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from dnsworker.store.agenda import REPAIR
from dnsworker.store.deliveries import AWAY, BLOCKED
from dnsworker.tables import Moment, delivery, journal, now, zone

#: Epochs of before the restore are never reached again: somebody may still be at work under one of them.
EPOCH_LEAP = 2**32
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Mark:
    """A row of the journal, which stays in the database and in all that come after it, until it is old enough
    to be purged."""

    journal_id: int
    operation_id: str
    at: datetime


def newest(connection: sa.Connection) -> Mark | None:
    """The journal's last row; None where it is empty."""
    query = sa.select(journal.c.id, journal.c.operation_id, journal.c.at)
    row = connection.execute(query.order_by(journal.c.id.desc()).limit(1)).one_or_none()
    return None if row is None else Mark(row.id, row.operation_id, row.at)


def newest_after(connection: sa.Connection, mark: Mark, keep_days: float) -> Mark | None:
    """The journal's last row; None where the mark isn't in it any more, though it is kept for so many days.

    The last row of all is never purged: a younger one is there in its place.
    """
    given = {"mark": mark.journal_id, "at": mark.at, "kept_s": -DAY_S * keep_days}
    row = connection.execute(_AFTER, given).one_or_none()
    if row is None:
        return None
    was_purged = row.known is None and row.is_old and row.id > mark.journal_id
    is_there = row.known == mark.operation_id
    return Mark(row.id, row.operation_id, row.at) if is_there or was_purged else None


_KNOWN = journal.alias("known")
_AFTER = (
    sa.select(
        journal.c.id,
        journal.c.operation_id,
        journal.c.at,
        (sa.bindparam("at", type_=Moment()) < now(sa.bindparam("kept_s", type_=sa.Float))).label("is_old"),
        sa.select(_KNOWN.c.operation_id)
        .where(_KNOWN.c.id == sa.bindparam("mark", type_=sa.BigInteger))
        .scalar_subquery()
        .label("known"),
    )
    .order_by(journal.c.id.desc())
    .limit(1)
)


def doubt_everything(connection: sa.Connection) -> int:
    """Believe nothing any more of what targets have: each is compared before anything is written there.

    Whoever is at work loses the claim, and what was forced was forced in another situation. Returns how many
    deliveries are to be compared.
    """
    leap = delivery.c.epoch + EPOCH_LEAP + secrets.randbits(31)
    everywhere = {"owner": None, "lease_until": None, "epoch": leap, "force": False}
    revision = sa.select(zone.c.revision).where(zone.c.id == delivery.c.zone_id).scalar_subquery()
    connection.execute(
        sa.update(delivery).where(delivery.c.state.in_(AWAY)).values(must_read=False, **everywhere)
    )
    doubted = connection.execute(
        sa.update(delivery)
        .where(delivery.c.state.not_in(AWAY))
        .values(
            soa=None,
            must_read=True,
            state=sa.case((delivery.c.state == "creating", "present"), else_=delivery.c.state),
            # One that was at work all the while may have written down how far it got in the lost future.
            delivered_revision=sa.case(
                (delivery.c.delivered_revision > revision, revision), else_=delivery.c.delivered_revision
            ),
            # After the changes that somebody waits for.
            priority=sa.case((delivery.c.due_at.is_not(None), delivery.c.priority), else_=REPAIR),
            due_at=sa.case((delivery.c.state.in_(BLOCKED), sa.null()), else_=now()),
            **everywhere,
        )
    )
    return doubted.rowcount
