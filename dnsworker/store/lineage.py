"""Whether the database is still the one that somebody knew, and what is in doubt when it isn't.

An older copy of it has lost the end of the journal. Ids are given again then, but not to the same operations.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import sqlalchemy as sa

from dnsworker.store.deliveries import AWAY, BLOCKED, REPAIR
from dnsworker.tables import delivery, journal, now, zone

#: Epochs of before the restore are never reached again: somebody may still be at work under one of them.
EPOCH_LEAP = 2**32


@dataclass(frozen=True, slots=True)
class Mark:
    """A row of the journal, which stays for ever in the database and in all that come after it."""

    journal_id: int
    operation_id: str


def newest(connection: sa.Connection) -> Mark | None:
    """The journal's last row; None where it is empty."""
    query = sa.select(journal.c.id, journal.c.operation_id).order_by(journal.c.id.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    return row and Mark(row.id, row.operation_id)


def newest_after(connection: sa.Connection, mark: Mark) -> Mark | None:
    """The journal's last row; None where the mark isn't in it any more."""
    row = connection.execute(_AFTER, {"mark": mark.journal_id}).one_or_none()
    return Mark(row.id, row.operation_id) if row is not None and row.known == mark.operation_id else None


_KNOWN = journal.alias("known")
_AFTER = (
    sa.select(
        journal.c.id,
        journal.c.operation_id,
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
