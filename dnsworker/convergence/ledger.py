"""What is written down about one claimed delivery, and what follows from it for the zone at the target.

Separate from the turns, so that they read as decisions: here is every row that a delivery reads or writes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain
from typing import Any, NoReturn

import sqlalchemy as sa

from dnsworker import comparison, desired, serials
from dnsworker.backend import Receipt
from dnsworker.capabilities import Capabilities
from dnsworker.convergence.expectation import Expectation
from dnsworker.convergence.interruptions import Again, Resting, Stopped
from dnsworker.convergence.look import next_look_s
from dnsworker.convergence.work import Work
from dnsworker.database import reading, snapshot
from dnsworker.errors import (
    AuthenticationFailed,
    Behind,
    RateLimited,
    RecordRejected,
    Unreachable,
    Unsupported,
    ZoneChanged,
    ZoneMissing,
)
from dnsworker.logs import also_about
from dnsworker.plan import RRsetChange
from dnsworker.records import SOA, Key
from dnsworker.settings import Settings
from dnsworker.store import breakers, claims, comparisons, journal, stops, withholding, zones
from dnsworker.store.claims import Claim
from dnsworker.store.journal import Entry
from dnsworker.store.pools import KnownPool
from dnsworker.store.withholding import Withheld
from dnsworker.tables import now

log = logging.getLogger(__name__)

MESSAGE_LENGTH = 2000
DROPPED = "the server accepted the change and doesn't have it"
#: Between two questions whether a provider has spread a change.
FIRST_ASK_S, LAST_ASK_S = 1.0, 30.0
#: For so long a claim that was found to hold is believed to: before a request, and while it is only waited.
RENEW_AFTER_S, HOLD_S = 0.05, 1.0
REPAIRED = {"last_repair_at": now()}
#: With these a target says, or shows, that it has taken nothing of the message that it was sent.
TOOK_NOTHING = (
    AuthenticationFailed, Behind, RateLimited, RecordRejected, Unreachable, Unsupported, ZoneChanged,
    ZoneMissing,
)  # fmt: skip


class Ledger:
    """The rows of one claim. Every write raises `ClaimLost` when the claim is another worker's by now."""

    def __init__(
        self,
        engine: sa.Engine,
        known: KnownPool,
        claim: Claim,
        settings: Settings,
        capabilities: Capabilities,
        *,
        tells_by_serial: bool,
    ) -> None:
        self._engine, self.reading = engine, reading(engine)
        self._known, self.claim, self._settings = known, claim, settings
        self._capabilities, self._tells_by_serial = capabilities, tells_by_serial
        self.expected = Expectation(engine, self.reading, known, claim, capabilities)
        #: The target's contents were read as a whole.
        self.has_read = False
        #: What was found to differ stays so, until not so many zones are ahead any more.
        self._is_deferred = False
        #: Others write to the zone faster than we read and write it: no serial stays where it was put.
        self.is_contended = False
        #: The target may have something that isn't noted yet.
        self.has_written = False
        #: So often was put right what somebody else had changed.
        self.repairs = 0
        #: One before each request of a backend's method but the first.
        self._renewals = 0
        self._renewed_at = float("-inf")
        #: Ids of changes that the provider has taken and that are in no row yet.
        self._taken: list[str] = []
        #: Those that are in the row, and that it hasn't spread yet.
        self._spreading: list[Any] | None = None
        #: What was read first, and last.
        self.works: tuple[Work, Work] | None = None

    def read(self) -> Work:
        """All that a turn needs, as of one moment. Raises `ClaimLost`, `Stopped`."""
        with snapshot(self._engine) as connection:
            row = claims.read(connection, self.claim)
            self._raise_if_stopped(connection)
            self._spreading = row.unconfirmed
            zone = zones.get(connection, row.zone_id)
            also_about(zone=zone.name)
            withheld = withholding.withheld_in(connection, row.zone_id, row.target_id)
            entries = []
            if row.goal == "present":
                entries = journal.since(connection, row.zone_id, row.delivered_revision, zone.revision)
        work = Work(zone, row, entries, {one.key: one for one in withheld})
        self.works = (work if self.works is None else self.works[0], work)
        return work

    def renew(self) -> None:
        """Hold the claim for another lease. Raises `Resting` when the target is to be left alone by now."""
        self._renewals += 1
        moment = time.monotonic()
        with self._engine.begin() as connection:
            claims.renew(connection, self.claim, self._settings.lease_s)
            rest = breakers.rest_left(connection, self.claim.target_id)
            self._raise_if_stopped(connection)
        if rest is not None:
            left_s, reason = rest
            raise Resting(reason, retry_after_s=left_s)
        self._renewed_at = moment

    def keep(self) -> None:
        """The same between the requests of one of the backend's methods: not where it was done a moment ago,
        since a creation makes a dozen requests in that time.

        The clock goes on while the process is paused, so whoever was paused looks again.
        """
        self._renew_after(RENEW_AFTER_S)

    def hold(self) -> None:
        """The same while nothing is asked, and something is only waited for."""
        self._renew_after(HOLD_S)

    def _renew_after(self, seconds: float) -> None:
        if time.monotonic() - self._renewed_at >= seconds:
            self.renew()
        else:
            self._renewals += 1

    @contextmanager
    def writing(self, *, is_message: bool = False) -> Iterator[None]:
        """Around what changes something at the target: keeps `has_written`. Raises `Stopped` before.

        `is_message`: it is all one message to the target, whatever else it is asked for that.
        """
        with self.reading.connect() as connection:
            self._raise_if_stopped(connection)
        has_written, self.has_written, begun = self.has_written, True, self._renewals
        try:
            yield
        except Resting:
            raise
        except TOOK_NOTHING:
            if self._renewals == begun or (is_message and self._capabilities.atomic == "message"):
                self.has_written = has_written
            raise

    def _raise_if_stopped(self, connection: sa.Connection) -> None:
        stop = stops.of_delivery(connection, self.claim.zone_id, self.claim.target_id)
        if stop is not None:
            raise Stopped(stop.reason)

    def note(self, **values: object) -> None:
        """Columns of the delivery that are known now."""
        with self._engine.begin() as connection:
            claims.note(connection, self.claim, **values)
        self.repairs += "last_repair" in values

    def take_receipt(self, receipt: Receipt | None) -> None:
        """Keep the id of a change that the provider spreads by and by, for the next row that is written."""
        if receipt is not None and receipt.change_id is not None:
            self._taken.append(receipt.change_id)

    def note_sent(self, soa: SOA, groups: Sequence[Sequence[Entry]]) -> None:
        """The target has taken these operations, the last one last.

        Of a contended zone it is not known at which SOA it is then: what was read last stays, as a beginning.
        """
        revision = groups[-1][-1].revision
        where = {"must_read": True} if self.is_contended else {"soa": soa.rdata, "must_read": False}
        with self._engine.begin() as connection:
            claims.note(
                connection, self.claim,
                state="present", delivered_revision=revision, **where, **self._unconfirmed(revision),
            )  # fmt: skip
            withholding.stop_withholding(connection, self.claim, _last_changes(chain.from_iterable(groups)))
        self.has_written = self.is_contended

    def yield_place(self) -> None:
        """Give the claim back, due at once: there is more to do, after others have had their turn."""
        with self._engine.begin() as connection:
            claims.postpone(connection, self.claim, 0.0, must_read=self.has_written)

    def finish(self, work: Work, state: str, soa: SOA | None, **values: object) -> bool:
        """The target has what `work` wanted; False where more is wanted by now, and the claim still held."""
        with self._engine.begin() as connection:
            # The zone before its deliveries, as everywhere: two orders of locking are a deadlock.
            zones.update(connection, work.zone.id, look_at=now(desired.LOOK_GUARD_S), looks=0)
            if soa is not None and serials.is_ahead(soa.serial, work.zone.serial):
                # Ours may stay behind, but what others have shown isn't used again.
                seen = zones.get(connection, work.zone.id).seen_serial
                zones.update(connection, work.zone.id, seen_serial=serials.latest(seen, soa.serial))
            if state == "present":
                apex = {(work.zone.name, "SOA"): work.zone.revision + 1}  # somebody else's zone is gone
                withholding.stop_withholding(connection, self.claim, apex | _last_changes(work.entries))
            if state == "present":
                values |= self._unconfirmed(work.zone.revision) | self._next_look(work)
            else:
                values |= {"compare_at": None, "compared_at": None}
                values["unconfirmed"] = self._spreading = None
            is_finished = claims.finish(
                connection, self.claim, delivered_revision=work.zone.revision, goal=work.delivery.goal,
                state=state, soa=soa.rdata if soa else None,
                look_again_s=_look_again_s(self._spreading), **values,
            )  # fmt: skip
        self.has_written = False
        return is_finished

    def _next_look(self, work: Work) -> dict[str, object]:
        """When the target is looked at again: not before it has been read, where it is time for that."""
        if self._is_deferred:
            return {"compare_at": now(), "compared_at": None}
        if not (self.has_read or work.delivery.must_read or work.delivery.compare_at is None):
            return {}
        values: dict[str, object] = {"compared_at": now()} if self.has_read else {}
        next_s = next_look_s(self._settings, by_serial=self._tells_by_serial)
        return values | {"compare_at": now(next_s)}

    def is_unread(self, work: Work) -> bool:
        """Whether it is time to read all that the target has."""
        compared_at = work.delivery.compared_at
        age_s = None if compared_at is None else (datetime.now(UTC) - compared_at).total_seconds()
        return age_s is None or age_s > self._settings.compare_full_s

    def hasten_looks(self) -> None:
        """A target that has lost this zone may have lost others."""
        with self._engine.begin() as connection:
            comparisons.hasten(connection, self.claim.target_id)

    def defers_repairs(self, work: Work) -> bool:
        """Whether nothing is repaired because so many zones are ahead; looked at again when that is over."""
        if work.delivery.force:
            return False
        with self.reading.connect() as connection:
            self._is_deferred = comparisons.mass_ahead(connection) is not None
        return self._is_deferred

    def _unconfirmed(self, revision: int) -> dict[str, object]:
        """The column of that name, with what was taken since it was written last."""
        if not self._taken:
            return {}
        moment = int(time.time())
        taken, self._taken = self._taken, []
        self._spreading = [*(self._spreading or ()), *([one, revision, moment] for one in taken)]
        return {"unconfirmed": self._spreading}

    def note_spreading(self, left: list[Any] | None) -> None:
        """What the provider is still spreading, as it says."""
        self._spreading = left
        self.note(unconfirmed=left)

    def need_room(self, work: Work, soa: SOA, steps: int) -> None:
        """Make sure that there are serials between here and the zone's for so many messages."""
        if self._counts and serials.distance(soa.serial, work.zone.serial) < steps:
            self.lift(parts=steps + 1, above=soa.serial)

    def keep_ahead_of(self, work: Work, soa: SOA) -> None:
        """Make sure that the zone's serial is above the target's, where serials are ours."""
        if self._counts and not serials.is_ahead(work.zone.serial, soa.serial):
            self.lift(above=soa.serial)

    def keep_ahead_of_seen(self, work: Work) -> None:
        """Make sure that a zone which is made anew is not behind what was shown under its name before."""
        seen = work.zone.seen_serial
        if seen is not None and self._counts and serials.is_ahead(seen, work.zone.serial):
            self.lift(above=seen)

    def foresee(self, serial: int) -> None:
        """Note a serial that the target will show and the zone hasn't got, before it is sent: no zone of that
        name may ever be behind it, should this worker die or the zone be made anew meanwhile."""
        with self._engine.begin() as connection:
            seen = zones.lock(connection, self.claim.zone_id).seen_serial
            zones.update(connection, self.claim.zone_id, seen_serial=serials.latest(seen, serial))

    def is_arrived(self, work: Work, soa: SOA) -> bool:
        """Whether the target's SOA is the zone's; where others count on, a serial ahead of ours will do.

        So it will where others are expected to, and nothing of ours is on its way.
        """
        if self._capabilities.sets_serial or soa.rdata == work.zone.soa.rdata:
            return True
        is_alike = soa.with_serial(work.zone.serial).rdata == work.zone.soa.rdata
        is_theirs = self.is_contended or (self._known.pool.is_shared and not work.entries)
        return is_theirs and is_alike and serials.is_ahead(soa.serial, work.zone.serial)

    @property
    def _counts(self) -> bool:
        """Whether the zone's serial at the target is ours to set."""
        return not (self._capabilities.sets_serial or self.is_contended)

    def lift(self, *, above: int | None = None, parts: int = 1) -> NoReturn:
        """Raise the zone's serial, everywhere, and start over from there."""
        with self._engine.begin() as connection:
            desired.lift(connection, self._known, self.claim.zone_id, above=above, parts=parts)
        raise Again

    # --- refusals ------------------------------------------------------------------------------------

    def withhold(
        self, work: Work, group: Sequence[Entry], refusal: Exception, *, is_delivered: bool = True
    ) -> None:
        """One operation is refused by this target: leave it out here, and remember what the target has."""
        before = self.expected.overlay(work)
        rows = [
            Withheld(
                self.claim.target_id, entry.key, entry.operation_id, entry.revision,
                before.get(entry.key, entry.change.before), storable(str(refusal)),
            )
            for entry in group
        ]  # fmt: skip
        log.warning(
            "%s refuses operation %s on %s: %s",
            self.claim.target,
            group[0].operation_id,
            work.zone.name,
            refusal,
            extra={"operation": group[0].operation_id},
        )
        with self._engine.begin() as connection:
            withholding.withhold(connection, self.claim, rows)
            if is_delivered:
                claims.note(connection, self.claim, delivered_revision=group[-1].revision)
            else:
                claims.renew(connection, self.claim, self._settings.lease_s)

    def withhold_rows(self, rows: Sequence[Withheld]) -> None:
        with self._engine.begin() as connection:
            # A worker that was replaced since it sent may have read what its successor has written.
            claims.renew(connection, self.claim, self._settings.lease_s)
            withholding.withhold(connection, self.claim, rows)

    def withhold_dropped(self, work: Work, dropped: Sequence[RRsetChange]) -> None:
        """RRsets that the target took without a word and doesn't have."""
        if not dropped:
            return
        sent = {change.key: change.after for change in dropped}
        owner = {
            entry.key: entry
            for entry in work.entries
            if entry.key in sent and comparison.is_same(entry.change.after, sent[entry.key])
        }
        unknown = [change.key for change in dropped if change.key not in owner]
        if unknown:
            raise ZoneChanged(f"{DROPPED}: {unknown[0][0]} {unknown[0][1]}")
        rows = []
        for change in dropped:
            entry = owner[change.key]
            rows.append(
                Withheld(
                    self.claim.target_id,
                    entry.key,
                    entry.operation_id,
                    entry.revision,
                    change.before,
                    DROPPED,
                )
            )
        self.withhold_rows(rows)


def storable(message: str) -> str:
    """A server's words as any database takes them: no NUL, no half characters, no novel."""
    text = message.encode("utf-8", "backslashreplace").decode()
    return text.replace("\x00", "\\x00")[:MESSAGE_LENGTH]


def _look_again_s(unconfirmed: Any) -> float | None:
    """When to ask a provider again how far it is: soon at first, then less often; None: nothing to ask."""
    if not unconfirmed:
        return None
    age_s = time.time() - min(float(since) for _, _, since in unconfirmed)
    return min(max(FIRST_ASK_S, age_s / 4), LAST_ASK_S)


def _last_changes(entries: Iterable[Entry]) -> dict[Key, int]:
    """The revision that last changed each RRset."""
    return {entry.key: entry.revision for entry in entries}
