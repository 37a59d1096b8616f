"""What targets and nameservers are known to have of a zone, and how the zone is by that.

Separate from the settlement, which acts on it: whoever asks or tells of a zone reads the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from dnsworker.operations import ZoneStatus
from dnsworker.pools import Nameserver
from dnsworker.records import Key
from dnsworker.store import breakers, deliveries, moves, observations, pools, stops, withholding
from dnsworker.store.breakers import Standstill
from dnsworker.store.deliveries import AWAY, BLOCKED, DeliveryRow
from dnsworker.store.observations import Observation
from dnsworker.store.pools import KnownPool
from dnsworker.store.rows import ZoneRow
from dnsworker.store.withholding import Withheld

#: Why a target that has taken a change isn't through with it.
SPREADING = "has taken the change and is spreading it to its servers"
#: A zone, and its pool.
Subject = tuple[KnownPool, ZoneRow]


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

    @property
    def reached_by_all(self) -> int:
        """The latest revision that every target has and every witness was found right at."""
        confirmed = [row.confirmed_revision for row in self.rows.values()]
        return min([*confirmed, *map(self.verified, self.witnesses)], default=0)

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


def free_of(standing: Standing, refusers: Collection[str]) -> list[Witness]:
    return [one for one in standing.witnesses if one.target not in refusers and (one.target or not refusers)]


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
