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
    zones,
)
from dnsworker.store.breakers import Standstill
from dnsworker.store.deliveries import AWAY, BLOCKED, DeliveryRow, Withheld
from dnsworker.store.observations import Observation
from dnsworker.store.pools import KnownPool
from dnsworker.store.rows import ZoneRow

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


@dataclass(slots=True)
class Settled:
    """What a settlement found and did."""

    #: Operations that have ended.
    ended: list[str] = field(default_factory=list)
    #: Some witness doesn't show the zone as it should be yet.
    is_open: bool = False
    #: Everything that this rests on, and the zone then.
    standing: Standing | None = None
    zone: ZoneRow | None = None
    #: Targets that have something new to do (a refused operation was taken back).
    targets: tuple[str, ...] = ()


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


def _stays_on_purpose(rows: Collection[DeliveryRow]) -> bool:
    """Whether a nameserver of these targets may well go on serving the zone after its deletion.

    Somebody else's zone was never ours, and is not to go; one that a target can't remove is empty. Where a
    nameserver may be of several targets, the targets' own word has to do.
    """
    states = {row.state for row in rows}
    is_away = all(row.goal == "absent" for row in rows) and states <= set(AWAY)
    return is_away and (states == {"foreign"} or "emptied" in states)


def witnesses(known: KnownPool) -> list[Witness]:
    """The pool's nameservers, and every target that has none of its own."""
    pool = known.pool
    asked = [server for server in pool.nameservers if server.verify != "none"]
    found = [Witness(server.address, server.target, server) for server in asked]
    if any(server.target is None for server in asked):
        return found
    covered = {server.target for server in asked}
    return found + [Witness(f"target {t.name}", t.name, None) for t in pool.targets if t.name not in covered]


def _witnesses_of_removal(
    connection: sa.Connection, known: KnownPool, operation_id: str, asked: list[Witness]
) -> list[Witness]:
    """Those that the other pool asks as well go on answering for the zone: of them nothing is to be seen."""
    destination = moves.get(connection, operation_id).destination
    other = next((one for one in pools.read(connection) if one.pool.name == destination), None)
    shared = {server.address for server in other.pool.nameservers} if other else set()
    left = [one for one in asked if one.name not in shared]
    return left or [Witness(f"target {t.name}", t.name, None) for t in known.pool.targets]


def read_standing(connection: sa.Connection, known: KnownPool, zone: ZoneRow) -> Standing:
    zone_id = zone.id
    names = {target_id: name for name, target_id in known.target_ids.items()}
    rows = {
        names[row.target_id]: row for row in deliveries.of_zone(connection, zone_id) if row.target_id in names
    }
    behind = [row.target_id for row in rows.values() if not row.is_current]
    stopped: Mapping[int, Standstill] = {}
    if zone.frozen_at is not None:
        stopped = dict.fromkeys(behind, Standstill(stops.frozen_text(zone.freeze_reason), None, True))
    elif behind:
        stopped = breakers.standstills(connection, behind)
    asked = witnesses(known)
    if zone.is_deleted and zone.leaves_by is not None:
        asked = _witnesses_of_removal(connection, known, zone.leaves_by, asked)
    return Standing(
        known=known,
        witnesses=asked,
        rows=rows,
        seen=observations.of_zone(connection, zone_id),
        withheld=deliveries.withheld_in(connection, zone_id),
        standstills={names[key]: one for key, one in stopped.items()},
    )


def settle(connection: sa.Connection, known: KnownPool, zone_id: int) -> Settled:
    """End the operations that have arrived or can't, and say how the zone is. Takes the zone's lock."""
    zone = zones.lock(connection, zone_id)
    standing = read_standing(connection, known, zone)
    settled = Settled()
    accepted = operations.accepted_in(connection, zone_id)
    standing = _with_found_there(connection, standing, zone_id, accepted)
    hopeless = [row for row in accepted if _is_hopeless(standing, row.id)]
    for row in hopeless:
        _reject(connection, standing, zone, row, settled)
        zone = zones.get(connection, zone_id)
    if hopeless:
        standing = read_standing(connection, known, zone)
        accepted = operations.accepted_in(connection, zone_id)
        standing = _with_found_there(connection, standing, zone_id, accepted)
    if zone.arrives_by is not None and _advance_move(connection, standing, zone, accepted, settled):
        zone = zones.get(connection, zone_id)
        standing = read_standing(connection, known, zone)
        accepted = operations.accepted_in(connection, zone_id)
    _end_arrived(connection, standing, zone, accepted, settled)
    status, reason = zone_status(standing, zone)
    settled.is_open = any(standing.verified(one) < zone.revision for one in standing.witnesses)
    if (status.value, reason) != (zone.status, zone.reason):
        zones.update(connection, zone_id, status=status.value, reason=reason)
    settled.standing, settled.zone = standing, zone
    return settled


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
            if refused.revision <= row.revision and (wanted is None or key in wanted) and key not in mine
        }
    return replace(standing, found_there=found)


def _advance_move(
    connection: sa.Connection, standing: Standing, zone: ZoneRow, accepted: Sequence[Any], settled: Settled
) -> bool:
    """Go on with the move that brings the zone here, if it has arrived; whether anything was done."""
    row = next((one for one in accepted if one.id == zone.arrives_by), None)
    if row is None or not _has_arrived(standing, zone, row):
        return False
    step = desired.advance(connection, standing.known, zone, row.id)
    if step is None:
        return False
    settled.ended += step.ended
    settled.targets += tuple(step.targets)
    if step.failure is not None:
        operations.refuse(connection, row.id, step.failure)
        dependents, targets = undo(connection, standing.known, zone, row, step.failure.message)
        settled.ended += [row.id, *dependents]
        settled.targets += targets
    return True


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


def _end_arrived(
    connection: sa.Connection, standing: Standing, zone: ZoneRow, accepted: Sequence[Any], settled: Settled
) -> None:
    reached = standing.reached()
    accepted = [row for row in accepted if row.id != zone.arrives_by]  # not before it is gone elsewhere
    arrived = [row for row in accepted if _has_arrived(standing, zone, row)]
    # Of a zone that is gone nothing shows; what was done to it before ends with its deletion.
    gone = [row.revision for row in accepted if _is_removal(zone, row) and row not in arrived]
    deleted = max((revision for revision in gone if revision <= reached), default=0)
    arrived = [row for row in arrived if row.revision >= deleted]
    later = [row.id for row in arrived if row.revision < zone.revision]
    ids = [row.id for row in arrived]
    if not ids:
        return
    showing = set(ids)
    hidden: set[str] = set()
    if later:
        with_entries = journal.operations_with_entries(connection, later)
        showing -= with_entries - journal.still_showing(connection, zone.id, with_entries, reached)
        ahead = max(standing.verified(one) for one in standing.witnesses)
        hidden = journal.hidden_by_later(connection, zone.id, with_entries & showing, reached, ahead)
    ids = [one for one in ids if one not in hidden]
    replaced = [one for one in ids if one not in showing]
    operations.end(connection, [one for one in ids if one in showing], Status.ACTIVE)
    operations.end(
        connection, replaced, Status.SUPERSEDED, message="a later operation replaced all that it changed"
    )
    settled.ended += ids
    if zone.leaves_by in ids:
        desired.finish(connection, zone)


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
        desired.take_back(connection, known, zone, row.id)
        return [], tuple(known.target_ids)
    dependents = [
        later.id for later in operations.accepted_in(connection, zone.id) if later.revision > row.revision
    ]
    operations.end(connection, dependents, Status.ERROR, code="ZoneNotFound", message=why)
    desired.delete(connection, known, zone, row.id)
    return dependents, tuple(known.target_ids)
