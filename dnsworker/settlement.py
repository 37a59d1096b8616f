"""What targets and nameservers are known to have, turned into the end of operations and the state of zones.

Separate from the asking, because the same judgement follows every delivery, every look and every refusal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from dnsworker import desired
from dnsworker.arrival import Showing, has_arrived, is_removal
from dnsworker.operations import Status, ZoneStatus
from dnsworker.rejection import is_hopeless, undo, with_found_there
from dnsworker.standing import Standing, Subject, read_standing, read_standings, zone_status
from dnsworker.store import journal, moves, operations, zones
from dnsworker.store.observations import Observation
from dnsworker.store.pools import KnownPool
from dnsworker.store.rows import ZoneRow

REPLACED = "a later operation replaced all that it changed"


@dataclass(slots=True)
class Settled:
    """What a settlement found and did."""

    known: KnownPool
    #: The zone, and everything that this rests on.
    zone: ZoneRow
    standing: Standing
    #: Its operations that were on their way.
    accepted: Sequence[Any] = ()
    #: Operations that have ended.
    ended: list[str] = field(default_factory=list)
    #: How the zone is now, and why.
    status: ZoneStatus = ZoneStatus.PENDING
    reason: str | None = None
    #: Targets that have something new to do (a refused operation was taken back).
    targets: tuple[str, ...] = ()
    #: The zone is being moved here, and somebody is at work on where it comes from: to be judged again soon.
    is_waiting: bool = False

    @property
    def is_open(self) -> bool:
        """Whether some witness doesn't show the zone as it should be yet."""
        return any(self.standing.verified(one) < self.zone.revision for one in self.standing.witnesses)


def settle_all(
    connection: sa.Connection,
    subjects: Mapping[int, Subject],
    seen: Mapping[int, Mapping[str, Observation]] | None = None,
) -> list[Settled]:
    """End the operations that have arrived or can't, and say how the zones are, which are locked.

    In the order of `subjects`. How a zone is stays to be written down.
    """
    standings = read_standings(connection, subjects, seen)
    accepted = operations.accepted_in_all(connection, subjects)
    found = []
    for zone_id, (known, zone) in subjects.items():
        settled = Settled(known, zone, standings[zone_id])
        settled.accepted = accepted.get(zone_id, [])
        settled.standing = with_found_there(connection, settled.standing, zone_id, settled.accepted)
        source = _lock_source(connection, zone, subjects) if zone.arrives_by is not None else None
        settled.is_waiting = zone.arrives_by is not None and source is None
        hopeless = [row for row in settled.accepted if is_hopeless(settled.standing, row.id)]
        if settled.is_waiting:
            hopeless = [row for row in hopeless if row.id != zone.arrives_by]
        for row in hopeless:
            _reject(connection, settled.standing, settled.zone, row, settled)
            settled.zone = zones.get(connection, zone_id)
        if hopeless:
            standing = read_standing(connection, known, settled.zone)
            settled.accepted = operations.accepted_in(connection, zone_id)
            settled.standing = with_found_there(connection, standing, zone_id, settled.accepted)
        if source is not None and _advance_move(connection, settled, source):
            settled.zone = zones.get(connection, zone_id)
            settled.standing = read_standing(connection, known, settled.zone)
            settled.accepted = operations.accepted_in(connection, zone_id)
        found.append(settled)
    _end_arrived(connection, found)
    for settled in found:
        settled.status, settled.reason = zone_status(settled.standing, settled.zone)
    return found


def _lock_source(connection: sa.Connection, zone: ZoneRow, subjects: Mapping[int, Subject]) -> ZoneRow | None:
    """Where a zone comes from that is being moved here; None while somebody else has it locked, or this
    settlement has judged it by what it was: both are to be judged again.

    It isn't waited for: whoever has it may wait for this one.
    """
    assert zone.arrives_by is not None
    source_id = moves.get(connection, zone.arrives_by).source_id
    if source_id in subjects:
        return None
    return next(iter(zones.lock_all(connection, [source_id], wait=False)), None)


def _advance_move(connection: sa.Connection, settled: Settled, source: ZoneRow) -> bool:
    """Go on with the move that brings the zone here, if it has arrived; whether anything was done."""
    zone, standing = settled.zone, settled.standing
    row = next((one for one in settled.accepted if one.id == zone.arrives_by), None)
    if row is None or not has_arrived(standing, zone, row):
        return False
    step = desired.advance(connection, standing.known, zone, source, row.id)
    if step is None:
        return False
    settled.targets += tuple(step.targets)
    if step.take_over:
        settled.ended += _end_left(connection, source, step.left)
        settled.targets += tuple(desired.take_over(connection, zone, source, row.id))
    if step.failure is not None:
        operations.refuse(connection, row.id, step.failure)
        dependents, targets = undo(connection, standing.known, zone, row, step.failure.message)
        settled.ended += [row.id, *dependents]
        settled.targets += targets
    return True


def _end_left(connection: sa.Connection, source: ZoneRow, ids: Sequence[str]) -> Sequence[str]:
    """What was still on its way in the pool that a zone leaves was verified in the other one."""
    traces = journal.since_open(connection, [source.id]).get(source.id, ()) if ids else ()
    showing = Showing(traces, source.revision, source.revision)
    active = [one for one in ids if showing.shows(one)]
    if active:
        operations.end(connection, active, Status.ACTIVE)
    if replaced := [one for one in ids if one not in active]:
        operations.end(connection, replaced, Status.SUPERSEDED, message=REPLACED)
    return ids


def _end_arrived(connection: sa.Connection, found: Sequence[Settled]) -> None:
    arrived = {settled.zone.id: _arrived(settled) for settled in found}
    # Of what the last operation of a zone did nothing can be replaced.
    overtaken = [
        one.zone.id for one in found if any(row.revision < one.zone.revision for row in arrived[one.zone.id])
    ]
    traces = journal.since_open(connection, overtaken) if overtaken else {}
    active: list[str] = []
    replaced: list[str] = []
    for settled in found:
        rows = arrived[settled.zone.id]
        if not rows:
            continue
        ahead = max(settled.standing.verified(one) for one in settled.standing.witnesses)
        showing = Showing(traces.get(settled.zone.id, ()), settled.standing.reached(), ahead)
        for row in rows:
            if showing.is_hidden(row.id):
                continue
            (active if showing.shows(row.id) else replaced).append(row.id)
            settled.ended.append(row.id)
    if active:
        operations.end(connection, active, Status.ACTIVE)
    if replaced:
        operations.end(connection, replaced, Status.SUPERSEDED, message=REPLACED)
    for settled in found:
        if settled.zone.leaves_by in settled.ended:
            desired.finish(connection, settled.zone)


def _arrived(settled: Settled) -> list[Any]:
    """The operations that enough witnesses have come to."""
    reached = settled.standing.reached()
    zone = settled.zone
    # A move that brings it here ends when the zone is gone elsewhere.
    accepted = [row for row in settled.accepted if row.id != zone.arrives_by]
    arrived = [row for row in accepted if has_arrived(settled.standing, zone, row)]
    # Of a zone that is gone nothing shows; what was done to it before ends with its deletion.
    gone = {row.revision for row in accepted if is_removal(zone, row)}
    gone -= {row.revision for row in arrived}
    deleted = max((revision for revision in gone if revision <= reached), default=0)
    return [row for row in arrived if row.revision >= deleted]


def _reject(connection: sa.Connection, standing: Standing, zone: ZoneRow, row: Any, settled: Settled) -> None:
    """End an operation that the targets won't have, and take back what it changed."""
    refused = standing.refusals(row.id)[0]
    names = {target_id: name for name, target_id in standing.known.target_ids.items()}
    code = "ZoneExists" if refused.key == (zone.name, "SOA") else "RecordRejected"
    message = f"target {names.get(refused.target_id, '?')}: {refused.message}"
    if code == "RecordRejected":
        message = f"{refused.key[0]} {refused.key[1]} refused by {message}"
    operations.end(connection, [row.id], Status.ERROR, code=code, message=message)
    dependents, targets = undo(
        connection, standing.known, zone, row, f"the zone's creation failed: {message}"
    )
    settled.ended += [row.id, *dependents]
    settled.targets = targets or settled.targets
