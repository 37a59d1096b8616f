"""Operations that so many targets refuse that they can't arrive, and what is taken back of them.

Separate from the settlement, because an operator takes operations back in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from dnsworker import desired
from dnsworker.operations import Status
from dnsworker.records import Key
from dnsworker.standing import Standing, free_of
from dnsworker.store import journal, operations, zones
from dnsworker.store.pools import KnownPool
from dnsworker.store.rows import ZoneRow


def is_hopeless(standing: Standing, operation_id: str) -> bool:
    """Do so many targets refuse the operation that the threshold can't be met?"""
    refusers = standing.refusers(operation_id)
    return bool(refusers) and not standing.is_met(len(free_of(standing, refusers)))


def with_found_there(
    connection: sa.Connection, standing: Standing, zone_id: int, accepted: Sequence[Any]
) -> Standing:
    """What concerns operations in refusals of other operations.

    One that had nothing to do for an RRset, because an earlier one had just done it, is refused where that
    one is; and one whose value was to come back after a later one's rejection, where that is refused.
    """
    withheld = {row.key: row for row in standing.withheld}
    if not withheld or not accepted:
        return standing
    wishes = operations.wishes(connection, [row.id for row in accepted])
    own = journal.keys_of_operations(connection, wishes, {name for name, _ in withheld})
    rejected = operations.in_error(connection, {row.operation_id for row in withheld.values()})
    undone = {key for key, row in withheld.items() if row.operation_id in rejected}
    desired_there = zones.rrsets_at(connection, zone_id, {name for name, _ in undone}) if undone else {}
    # What the target has there is what it should have: the refused value was taken back.
    settled = {key for key in undone if withheld[key].accepted == desired_there.get(key)}
    found: dict[str, set[Key]] = {}
    for row in accepted:
        wanted, mine = wishes[row.id], own.get(row.id, set())
        back = {key for key in mine & withheld.keys() if withheld[key].operation_id in rejected}
        if back:
            entries = journal.of_operation(connection, zone_id, row.id)
            value = {entry.key: entry.change.after for entry in entries}
            back = {key for key in back if withheld[key].accepted != value[key]}
            back -= journal.changed_later(connection, zone_id, row.revision, back, row.id)
        found[row.id] = back | {
            key
            for key, refused in withheld.items()
            if refused.revision <= row.revision
            and (wanted is None or key in wanted)
            and key not in mine | settled
        }
    return replace(standing, found_there=found)


def undo(
    connection: sa.Connection, known: KnownPool, zone: ZoneRow, row: Any, why: str
) -> tuple[list[str], tuple[str, ...]]:
    """Take back what an operation did that has just ended in ERROR; the zone is locked.

    With a creation ends, for that reason, what was submitted to its zone since. Returns the operations that
    have ended by that, and the targets that have something new to do.
    """
    if zone.is_deleted:
        return [], ()
    if zone.arrives_by == row.id:
        desired.give_up(connection, zone)
    apex = (zone.name, "NS")
    entries = journal.of_operation(connection, zone.id, row.id)
    is_creation = any(entry.key == apex and entry.change.before is None for entry in entries)
    if is_creation and journal.was_removed_since(connection, zone.id, apex, row.revision):
        return [], ()  # that zone is gone already; this one is another
    if not is_creation:
        with desired.drafting(connection) as draft:
            desired.take_back(draft, known, zone, row.id)
        return [], tuple(known.target_ids)
    dependents = [
        later.id for later in operations.accepted_in(connection, zone.id) if later.revision > row.revision
    ]
    operations.end(connection, dependents, Status.ERROR, code="ZoneNotFound", message=why)
    with desired.drafting(connection) as draft:
        desired.delete(draft, known, zone, row.id)
    return dependents, tuple(known.target_ids)
