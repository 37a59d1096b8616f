"""RRsets that a target refuses, and what it has instead."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dnsworker.names import Name
from dnsworker.records import Key, RRset
from dnsworker.store.claims import Claim
from dnsworker.store.rows import IDS, rrset_of, rrset_to_json, upsert
from dnsworker.tables import delivery, now, withheld


@dataclass(frozen=True, slots=True)
class Withheld:
    """An RRset that a target refused, and what it has instead."""

    target_id: int
    key: Key
    operation_id: str
    revision: int
    accepted: RRset | None
    message: str


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


_WITHHELD_IN = (
    sa.select(withheld).where(withheld.c.zone_id.in_(IDS)).order_by(withheld.c.name, withheld.c.type)
)
