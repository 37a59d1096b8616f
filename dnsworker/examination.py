"""What the database is asked and told about zones that are looked at: whom to ask what, and what follows.

Separate from the asking, which goes on in a loop and waits for each zone's nameservers by itself: here are
two transactions, each for as many zones as have come up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import sqlalchemy as sa

from dnsworker import serials, settlement
from dnsworker.database import reading
from dnsworker.inquiry import Inquiry, expect_all, inquiries_about
from dnsworker.monitoring.events import Events
from dnsworker.operations import submitted_at
from dnsworker.settlement import Settled
from dnsworker.standing import read_standings
from dnsworker.store import observations, pools, zones
from dnsworker.store.observations import Observation
from dnsworker.store.pools import KnownPool, PoolDirectory
from dnsworker.store.rows import ZoneRow
from dnsworker.tracing.notes import Verification
from dnsworker.tracing.tracing import Tracing

#: Seconds between looks at a zone that isn't right yet; the last one repeats.
PAUSES_S = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, *[30.0] * 20, 60.0, 120.0, 300.0)
#: Pauses don't grow beyond this one while only a lock is waited for.
WAITING_LOOKS = 4
#: How much later than this process means to look the sweep looks.
SWEEP_SLACK_S = 5.0
#: After a look that failed for a reason of ours (the database is away).
LOOK_AGAIN_S = 1.0

#: A nameserver, up to which revision it was found right before, and up to which it is now.
Rise = tuple[str, int, int]


@dataclass(slots=True)
class Examination:
    """A zone, and whom to ask what."""

    known: KnownPool
    zone: ZoneRow
    inquiries: list[Inquiry]
    seen: list[Observation] = field(default_factory=list)
    begun_ns: int = field(default_factory=time.time_ns)


class Examiner:
    """Of one process; for any thread."""

    def __init__(
        self,
        engine: sa.Engine,
        directory: PoolDirectory,
        on_settled: Callable[[sa.Connection, Sequence[Settled]], Callable[[], None]],
        events: Events,
        tracing: Tracing,
    ) -> None:
        """`on_settled` is called within the transaction that settles zones, and what it returns after it."""
        self._engine, self._reading = engine, reading(engine)
        self._directory, self._on_settled = directory, on_settled
        self._events, self._tracing = events, tracing

    def prepare(self, zone_ids: Sequence[int]) -> list[Examination]:
        with self._reading.connect() as connection:
            found = zones.get_all(connection, zone_ids)
            subjects = {zone.id: (self._directory.get(zone.pool_id), zone) for zone in found.values()}
            standings = read_standings(connection, subjects)
            examinations = []
            for zone_id, (known, zone) in subjects.items():
                inquiries = inquiries_about(standings[zone_id], zone)
                examinations.append(Examination(known, zone, inquiries))
            expect_all(
                connection,
                [(standings[one.zone.id], one.zone, one.inquiries) for one in examinations],
            )
        return examinations

    def record(self, examinations: Sequence[Examination]) -> dict[int, float | None]:
        """Returns the pause until the next look by zone, None where none is needed.

        Zones that somebody else has locked at this moment are left out.
        """
        pauses: dict[int, float | None] = {}
        with self._engine.begin() as connection:
            locked = zones.lock_free(connection, [one.zone.id for one in examinations])
            known = observations.of_zones(connection, locked)
            subjects, seen, new, risen = {}, {}, [], {}
            for one in examinations:
                zone = locked.get(one.zone.id)
                if zone is None:
                    continue
                if zone.revision < one.zone.revision:  # the database was restored while we asked
                    pauses[zone.id] = LOOK_AGAIN_S
                    continue
                before = known.get(zone.id, {})
                fresh = [_at_least(row, before.get(row.nameserver)) for row in one.seen]
                new += fresh
                risen[zone.id] = _risen(before, fresh)
                seen[zone.id] = before | {row.nameserver: row for row in fresh}
                subjects[zone.id] = (one.known, zone)
            observations.put(connection, new)
            settled = settlement.settle_all(connection, subjects, seen)
            served = [one for result in settled for one in _served(result, risen[result.zone.id])]
            pauses |= self._pauses(connection, settled)
            rows = []
            for result in settled:
                zone, pause = result.zone, pauses[result.zone.id]
                serials_seen = [row.serial for row in new if row.zone_id == zone.id]
                rows.append({
                    "id": zone.id,
                    "seen_serial": serials.latest(zone.seen_serial, *serials_seen),
                    "status": result.status.value, "reason": result.reason,
                    "looks": 0 if pause is None else zone.looks + 1,
                    "again_s": None if pause is None else pause + SWEEP_SLACK_S,
                })  # fmt: skip
            zones.note_looks(connection, rows)
            tell = self._on_settled(connection, settled)
        self._events.served(served)
        if self._tracing.is_on:
            begun = {one.zone.id: one.begun_ns for one in examinations}
            for result in settled:
                self._note_spans(result, risen[result.zone.id], begun[result.zone.id])
        tell()
        return pauses

    def _pauses(self, connection: sa.Connection, settled: Sequence[Settled]) -> dict[int, float | None]:
        pauses = {one.zone.id: _pause(one, one.zone.looks) for one in settled}
        left = [one for one in settled if one.is_open and pauses[one.zone.id] is None]
        # Nobody is to be asked about them; by a pool that was applied meanwhile somebody may be.
        if left and not pools.are_current(connection, [one.standing.known for one in left]):
            self._directory.forget()
            pauses |= {one.zone.id: LOOK_AGAIN_S for one in left}
        return pauses

    def _note_spans(self, settled: Settled, risen: Iterable[Rise], begun_ns: int) -> None:
        zone, ended_ns = settled.zone, time.time_ns()
        for nameserver, low, high in risen:
            ids = [row.id for row in settled.accepted if low < row.revision <= high]
            if ids:
                self._tracing.note(
                    Verification(begun_ns, ended_ns, nameserver, zone.name, ids, zone.looks + 1)
                )


def _pause(settled: Settled, looks: int) -> float | None:
    """None where there is nobody to ask again: the next delivery starts the next look.

    Judged by the rows as they are under the zone's lock: since the nameservers were asked, another worker
    may have delivered, and died.
    """
    if settled.is_waiting:
        return PAUSES_S[min(looks, WAITING_LOOKS)]
    if not settled.is_open or not inquiries_about(settled.standing, settled.zone):
        return None
    return PAUSES_S[min(looks, len(PAUSES_S) - 1)]


def _at_least(seen: Observation, before: Observation | None) -> Observation:
    """Another worker may have seen more in the meantime."""
    if before is None or before.verified_revision <= seen.verified_revision:
        return seen
    return replace(seen, verified_revision=before.verified_revision)


def _risen(known: Mapping[str, Observation], fresh: Iterable[Observation]) -> list[Rise]:
    found = []
    for one in fresh:
        before = known.get(one.nameserver)
        low = before.verified_revision if before is not None else 0
        if low < one.verified_revision:
            found.append((one.nameserver, low, one.verified_revision))
    return found


def _served(settled: Settled, risen: Iterable[Rise]) -> Iterator[tuple[str, datetime]]:
    """Nameservers that show operations for the first time, and when those were submitted."""
    for nameserver, low, high in risen:
        for row in settled.accepted:
            submitted = submitted_at(row.id, row.received_at)
            if low < row.revision <= high and submitted is not None:
                yield nameserver, submitted
