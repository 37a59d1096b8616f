"""What targets and nameservers are known to have, turned into the end of operations and the state of zones.

Separate from the asking, because the same judgement follows every delivery, every look and every refusal.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa

from dnsworker import desired
from dnsworker.operations import Status, ZoneStatus
from dnsworker.pools import Nameserver
from dnsworker.records import Key
from dnsworker.store import (
    breakers,
    deliveries,
    journal,
    moves,
    observations,
    operations,
    pools,
    stops,
    withholding,
    zones,
)
from dnsworker.store.breakers import Standstill
from dnsworker.store.deliveries import AWAY, BLOCKED, DeliveryRow
from dnsworker.store.journal import Trace
from dnsworker.store.observations import Observation
from dnsworker.store.pools import KnownPool
from dnsworker.store.rows import ZoneRow
from dnsworker.store.withholding import Withheld

REPLACED = "a later operation replaced all that it changed"
#: Why a target that has taken a change isn't through with it.
SPREADING = "has taken the change and is spreading it to its servers"


@dataclass(frozen=True, slots=True)
class Witness:
    """Somebody who is asked whether a zone is as it should be."""

    name: str
    #: The target whose contents it shows; None: any of them.
    target: str | None
    #: None: the target itself is the witness, by its read-back.
    nameserver: Nameserver | None


@dataclass(frozen=True, slots=True)
class Standing:
    """Everything that the judgement rests on."""

    known: KnownPool
    witnesses: list[Witness]
    rows: dict[str, DeliveryRow]
    seen: Mapping[str, Observation]
    withheld: list[Withheld]
    #: Targets to which nothing is sent now.
    standstills: Mapping[str, Standstill]
    #: Operation → RRsets for which it stands or falls with the withheld operation.
    found_there: Mapping[str, Collection[Key]] = field(default_factory=dict)

    def verified(self, witness: Witness) -> int:
        """Up to which revision the witness was found right."""
        if witness.nameserver is not None:
            rows = [row for name, row in self.rows.items() if witness.target in (None, name)]
            if rows and _stays_on_purpose(rows):
                return min(row.delivered_revision for row in rows)
            observation = self.seen.get(witness.name)
            return observation.verified_revision if observation else 0
        row = self.rows.get(witness.target or "")
        if row is None or row.state not in (("present",) if row.goal == "present" else AWAY):
            return 0
        return row.confirmed_revision

    def refusers(self, operation_id: str) -> set[str]:
        """The targets that withhold something of the operation."""
        ids = {row.target_id for row in self.refusals(operation_id)}
        return {name for name, target_id in self.known.target_ids.items() if target_id in ids}

    def refusals(self, operation_id: str) -> list[Withheld]:
        """What targets withhold of the operation."""
        found = self.found_there.get(operation_id, ())
        return [row for row in self.withheld if row.operation_id == operation_id or row.key in found]

    def reached(self) -> int:
        """The latest revision at which enough witnesses were found right."""
        verified = sorted((self.verified(one) for one in self.witnesses), reverse=True)
        return next((revision for count, revision in enumerate(verified, 1) if self.is_met(count)), 0)

    def is_met(self, good: int) -> bool:
        """Whether so many good witnesses reach the pool's threshold."""
        return bool(self.witnesses) and 100 * good >= self.known.pool.threshold_percentage * len(
            self.witnesses
        )


#: A zone, and its pool.
Subject = tuple[KnownPool, ZoneRow]


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


def _stays_on_purpose(rows: Collection[DeliveryRow]) -> bool:
    """Whether a nameserver of these targets may well go on serving the zone after its deletion.

    Somebody else's zone was never ours, and is not to go; one that a target can't remove is empty. Where a
    nameserver may be of several targets, the targets' own word has to do.
    """
    states = {row.state for row in rows}
    is_away = all(row.goal == "absent" for row in rows) and states <= set(AWAY)
    return is_away and (states == {"foreign"} or "emptied" in states)


def witnesses_of(known: KnownPool) -> list[Witness]:
    """The pool's nameservers, and every target that has none of its own."""
    pool = known.pool
    asked = [server for server in pool.nameservers if server.verify != "none"]
    found = [Witness(server.address, server.target, server) for server in asked]
    if any(server.target is None for server in asked):
        return found
    covered = {server.target for server in asked}
    return found + [Witness(f"target {t.name}", t.name, None) for t in pool.targets if t.name not in covered]


def _witnesses_of_removal(connection: sa.Connection, known: KnownPool, operation_id: str) -> list[Witness]:
    """Those that the other pool asks as well go on answering for the zone: of them nothing is to be seen."""
    destination = moves.get(connection, operation_id).destination
    other = next((one for one in pools.read(connection) if one.pool.name == destination), None)
    shared = {server.address for server in other.pool.nameservers} if other else set()
    left = [one for one in witnesses_of(known) if one.name not in shared]
    return left or [Witness(f"target {t.name}", t.name, None) for t in known.pool.targets]


def read_standing(connection: sa.Connection, known: KnownPool, zone: ZoneRow) -> Standing:
    return read_standings(connection, {zone.id: (known, zone)})[zone.id]


def read_standings(
    connection: sa.Connection,
    subjects: Mapping[int, Subject],
    seen: Mapping[int, Mapping[str, Observation]] | None = None,
) -> dict[int, Standing]:
    """Of several zones at once. `seen`: the observations, for who knows them already."""
    rows: dict[int, dict[str, DeliveryRow]] = {zone_id: {} for zone_id in subjects}
    for row in deliveries.of_zones(connection, subjects):
        name = subjects[row.zone_id][0].target_names.get(row.target_id)
        if name is not None:
            rows[row.zone_id][name] = row
    if seen is None:
        seen = observations.of_zones(connection, subjects)
    withheld = withholding.withheld_in_all(connection, subjects)
    behind = {row.target_id for of_zone in rows.values() for row in of_zone.values() if not row.is_current}
    standstills = breakers.standstills(connection, behind) if behind else {}
    return {
        zone_id: Standing(
            known=known,
            witnesses=_witnesses_of_removal(connection, known, zone.leaves_by)
            if zone.is_deleted and zone.leaves_by
            else witnesses_of(known),
            rows=rows[zone_id],
            seen=seen.get(zone_id, {}),
            withheld=withheld.get(zone_id, []),
            standstills=_stopped(zone, rows[zone_id], standstills),
        )
        for zone_id, (known, zone) in subjects.items()
    }


def _stopped(
    zone: ZoneRow, rows: Mapping[str, DeliveryRow], standstills: Mapping[int, Standstill]
) -> dict[str, Standstill]:
    """Why nothing is sent to targets that are behind."""
    behind = {name: row.target_id for name, row in rows.items() if not row.is_current}
    if zone.frozen_at is not None:
        return dict.fromkeys(behind, Standstill(stops.frozen_text(zone.freeze_reason), None, True))
    return {name: standstills[key] for name, key in behind.items() if key in standstills}


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
        settled.standing = _with_found_there(connection, settled.standing, zone_id, settled.accepted)
        source = _lock_source(connection, zone, subjects) if zone.arrives_by is not None else None
        settled.is_waiting = zone.arrives_by is not None and source is None
        hopeless = [row for row in settled.accepted if _is_hopeless(settled.standing, row.id)]
        if settled.is_waiting:
            hopeless = [row for row in hopeless if row.id != zone.arrives_by]
        for row in hopeless:
            _reject(connection, settled.standing, settled.zone, row, settled)
            settled.zone = zones.get(connection, zone_id)
        if hopeless:
            standing = read_standing(connection, known, settled.zone)
            settled.accepted = operations.accepted_in(connection, zone_id)
            settled.standing = _with_found_there(connection, standing, zone_id, settled.accepted)
        if source is not None and _advance_move(connection, settled, source):
            settled.zone = zones.get(connection, zone_id)
            settled.standing = read_standing(connection, known, settled.zone)
            settled.accepted = operations.accepted_in(connection, zone_id)
        found.append(settled)
    _end_arrived(connection, found)
    for settled in found:
        settled.status, settled.reason = zone_status(settled.standing, settled.zone)
    return found


def _with_found_there(
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
    if row is None or not _has_arrived(standing, zone, row):
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


def zone_status(standing: Standing, zone: ZoneRow) -> tuple[ZoneStatus, str | None]:
    """The zone's status, and why it isn't simply ACTIVE."""
    good = [one for one in standing.witnesses if standing.verified(one) >= zone.revision]
    behind = [row for row in standing.rows.values() if not row.is_current]
    troubles = list(_troubles(standing, zone))
    if zone.is_deleted:
        if not behind and standing.is_met(len(good)):
            return ZoneStatus.DELETED, None
        said = "is being removed here: it was moved to another pool" if zone.leaves_by else "is being deleted"
        return ZoneStatus.PENDING, said + "".join(f"; {trouble}" for trouble in troubles[:3])
    if zone.arrives_by is not None:
        troubles.insert(0, "is being moved here")
    reason = "; ".join(troubles[:3]) or None
    if standing.is_met(len(good)):
        is_whole = len(good) == len(standing.witnesses) and not behind and not standing.withheld
        is_whole = is_whole and not any(row.drift for row in standing.rows.values())
        return (
            (ZoneStatus.ACTIVE, None) if is_whole else (ZoneStatus.DEGRADED, reason or "is on its way to all")
        )
    lost = {name for name, row in standing.rows.items() if row.state in BLOCKED}
    possible = [one for one in standing.witnesses if one.target is None or one.target not in lost]
    if not standing.is_met(len(possible)):
        return ZoneStatus.ERROR, reason
    return ZoneStatus.PENDING, reason or "is on its way"


def _troubles(standing: Standing, zone: ZoneRow) -> Iterable[str]:
    for name, row in standing.rows.items():
        standstill = standing.standstills.get(name)
        error = row.last_error or (standstill and standstill.reason)
        if standstill and standstill.is_ordered:
            error = standstill.reason
        if error and not row.is_current:
            yield f"target {name}: {error}"
        elif row.unconfirmed:
            yield f"target {name}: {SPREADING}"
        if row.drift:
            yield f"target {name}: somebody else changed what is there: {row.drift}"
    names = {target_id: name for name, target_id in standing.known.target_ids.items()}
    for refused in standing.withheld:
        if refused.key[1] != "SOA":
            target = names.get(refused.target_id, "?")
            yield f"target {target} refuses {refused.key[0]} {refused.key[1]}: {refused.message}"
    for one in standing.witnesses:
        observation = standing.seen.get(one.name)
        if standing.verified(one) < zone.revision and observation is not None and observation.error:
            yield f"nameserver {one.name}: {observation.error}"


def _is_hopeless(standing: Standing, operation_id: str) -> bool:
    """Do so many targets refuse the operation that the threshold can't be met?"""
    refusers = standing.refusers(operation_id)
    return bool(refusers) and not standing.is_met(len(_free_of(standing, refusers)))


def _free_of(standing: Standing, refusers: Collection[str]) -> list[Witness]:
    return [one for one in standing.witnesses if one.target not in refusers and (one.target or not refusers)]


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
    arrived = [row for row in accepted if _has_arrived(settled.standing, zone, row)]
    # Of a zone that is gone nothing shows; what was done to it before ends with its deletion.
    gone = {row.revision for row in accepted if _is_removal(zone, row)}
    gone -= {row.revision for row in arrived}
    deleted = max((revision for revision in gone if revision <= reached), default=0)
    return [row for row in arrived if row.revision >= deleted]


class Showing:
    """What is left to be seen of operations, at who has come to `reached` and at who has come to `ahead`.

    Pure. An operation without a trace, because it had nothing to do, is neither replaced nor hidden.
    """

    def __init__(self, traces: Iterable[Trace], reached: int, ahead: int) -> None:
        self._of: dict[str, list[Trace]] = {}
        #: RRset → the last revision that replaced it, and the last that hides what was before.
        self._replaced: dict[tuple[str, str], int] = {}
        self._hidden: dict[tuple[str, str], int] = {}
        traces = list(traces)
        come_back = {(one.operation_id, one.name, one.type) for one in traces if one.revision > reached}
        for one in traces:
            self._of.setdefault(one.operation_id, []).append(one)
            key, revision = (one.name, one.type), one.revision
            if revision <= reached and one.status != Status.ERROR.value:  # that was taken back
                self._replaced[key] = max(self._replaced.get(key, 0), revision)
            # The later one is on its way itself, or was rejected, and what was there before comes back.
            is_on_its_way = one.status == Status.ACCEPTED.value and revision > reached
            is_going = one.status == Status.ERROR.value and (one.operation_id, *key) in come_back
            if revision <= ahead and (is_on_its_way or is_going):
                self._hidden[key] = max(self._hidden.get(key, 0), revision)

    def shows(self, operation_id: str) -> bool:
        """Whether at least one RRset wasn't changed again since."""
        traces = self._of.get(operation_id)
        return traces is None or any(
            self._replaced.get((one.name, one.type), 0) <= one.revision for one in traces
        )

    def is_hidden(self, operation_id: str) -> bool:
        """Whether some witness shows what a later one put in the place of something of its own."""
        traces = self._of.get(operation_id, ())
        is_covered = any(self._hidden.get((one.name, one.type), 0) > one.revision for one in traces)
        return is_covered and self.shows(operation_id)


def _is_removal(zone: ZoneRow, row: Any) -> bool:
    """Whether the operation wants the zone away from here."""
    return bool(row.kind == "delete_zone" or (row.kind == "move_zone" and row.id != zone.arrives_by))


def _has_arrived(standing: Standing, zone: ZoneRow, row: Any) -> bool:
    free = _free_of(standing, standing.refusers(row.id))
    good = [one for one in free if standing.verified(one) >= row.revision]
    if not standing.is_met(len(good)):
        return False
    if not _is_removal(zone, row):
        return True
    return all(one.delivered_revision >= row.revision for one in standing.rows.values())


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
