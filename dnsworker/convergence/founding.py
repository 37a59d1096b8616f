"""Many new zones at one target made one after the other, with a few statements for all of them.

Separate from the creation of a single zone, which knows what to do about everything: here are small zones of
which the target has nothing. Whatever turns out otherwise is given back, to be read first, and comes again by
itself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dnsworker import comparison, serials
from dnsworker.backend import Backend
from dnsworker.contents import ZoneContents
from dnsworker.convergence.convoy import Convoy, Outcome, Passenger, gather_by
from dnsworker.convergence.ledger import RENEW_AFTER_S, Ledger
from dnsworker.convergence.work import Work
from dnsworker.database import reading
from dnsworker.errors import BackendError, Busy, ClaimLost, Unreachable
from dnsworker.records import RRset
from dnsworker.settings import Settings
from dnsworker.store import convoys, deliveries, zones
from dnsworker.store.claims import Claim
from dnsworker.store.deliveries import DeliveryRow
from dnsworker.store.pools import KnownPool
from dnsworker.store.rows import ZoneRow

log = logging.getLogger(__name__)

#: RRsets of all zones that are made together; a larger zone is made by itself.
RRSETS_AT_ONCE = 500
#: None is begun with later than this after the first: whoever comes next has waited long enough.
FOUNDING_S = 1.0
#: Before a zone is tried again with which the server was too busy; what has a database locks it now and then.
BUSY_PAUSES_S = (0.02, 0.1)
#: So often within a lease it is written anew.
RENEWALS = 4


@dataclass(frozen=True, slots=True)
class _Settler(Passenger):
    wanted: ZoneContents


def gather_new(
    engine: sa.Engine, known: KnownPool, target: str, settings: Settings, **how: Any
) -> Founding | None:
    """Claim zones that are to be made at the target, and read all that is needed for it; None: no such zone.

    `how`: as in `gather_by`.
    """

    def make(
        connection: sa.Connection, claimed: dict[Claim, DeliveryRow], found: dict[int, ZoneRow]
    ) -> Founding:
        rrsets = zones.rrsets_of_all(connection, list(found), RRSETS_AT_ONCE)
        works = {claim: Work(found[claim.zone_id], row, [], {}) for claim, row in claimed.items()}
        return Founding(engine, known, target, works, settings, rrsets)

    limit = known.capabilities[target].creates_together
    return gather_by(convoys.claim_new, limit, make, engine, known, target, settings, **how)


class Founding(Convoy):
    """Claims of zones that are to be made, with all that they are to hold. For one thread."""

    _reads_all = True

    def __init__(
        self, engine: sa.Engine, known: KnownPool, target: str, works: dict[Claim, Work], settings: Settings,
        rrsets: dict[int, list[RRset]],
    ) -> None:  # fmt: skip
        """`rrsets` by zone; a zone that isn't in it has to go by itself."""
        super().__init__(engine, known, target, dict(works), settings)
        self._rrsets = rrsets
        self._reading = reading(engine)
        self._sure_at = self._renewed_at = time.monotonic()
        #: DS records that the parents of zones should have, where that isn't on record.
        self._ds_records: dict[Claim, list[str]] = {}

    def run(self, backend: Backend) -> Outcome:
        """Have the zones made, make sure of it, and write it down."""
        outcome = Outcome()
        backend.checkpoint = backend.renew = self._keep
        settlers = [one for claim, work in self._works.items() if (one := self._settler(claim, work))]
        aboard = {one.claim for one in settlers}
        for claim in self._works:
            if claim not in aboard:
                self._set_aside(claim, outcome)
        there: list[Passenger] = []
        try:
            free = self._free(backend, settlers, outcome)
            if free:
                with self._engine.begin() as connection:
                    convoys.note_all_creating(connection, [one.claim for one in free])
            there += self._make(backend, free, outcome)
        except ClaimLost as exc:  # of which one it doesn't say: those that are left are all in doubt
            log.info("%s: %s", self._target, exc)
            known = {one.claim for one in there}.union(outcome.unusual, outcome.doubtful, outcome.unreached)
            outcome.doubtful += [claim for claim in self._works if claim not in known]
        self._note(there, outcome)
        outcome.lost += self._give_back(outcome.doubtful)
        self._note_ds_records(outcome.arrived)
        return outcome

    def _settler(self, claim: Claim, work: Work | None) -> _Settler | None:
        """None where the zone has to go by itself: it is large, or was shown under a later serial before."""
        rrsets = self._rrsets.get(claim.zone_id)
        if work is None or rrsets is None:
            return None
        zone = work.zone
        if zone.seen_serial is not None and serials.is_ahead(zone.seen_serial, zone.serial):
            return None
        ours = [one for one in rrsets if not self._is_the_providers(one, work)]
        return _Settler(claim, work, ZoneContents.of(zone.name, zone.soa, ours))

    def _is_the_providers(self, rrset: RRset, work: Work) -> bool:
        return comparison.is_the_providers(rrset.key, work.zone.name, self._capabilities)

    def _free(self, backend: Backend, settlers: Sequence[_Settler], outcome: Outcome) -> list[_Settler]:
        """Those of whose names the target has nothing."""
        free: list[_Settler] = []
        for position, one in enumerate(settlers):
            self._keep()
            try:
                found = backend.read_zone(one.wanted.name)
            except Unreachable as exc:  # each further question would cost a time-out
                outcome.error = exc
                outcome.unreached += [left.claim for left in settlers[position:]]
                outcome.left += [left.claim for left in free]
                return []
            except BackendError as exc:
                self._say(one.wanted.name, exc)
                self._set_aside(one.claim, outcome)
                continue
            if found is None:
                free.append(one)
            else:
                self._set_aside(one.claim, outcome)
        return free

    def _set_aside(self, claim: Claim, outcome: Outcome) -> None:
        """A zone that has to go by itself, and for which nothing was sent."""
        work = self._works[claim]
        if work is not None and work.delivery.state == "never":
            outcome.doubtful.append(claim)  # it is read first in any case, and so doesn't come here again
        else:  # of a zone that was there once, doubt would mean that it may be there still, and ours
            outcome.unusual.append(claim)

    def _make(self, backend: Backend, settlers: Sequence[_Settler], outcome: Outcome) -> list[Passenger]:
        """Returns those that the target itself shows to be there, exactly as wanted."""
        there: list[Passenger] = []
        begun = time.monotonic()
        for position, one in enumerate(settlers):
            if is_over(begun):
                outcome.left += [left.claim for left in settlers[position:]]
                break
            self._keep()
            try:
                self._create(backend, one.wanted)
                if self._is_there(backend, one):
                    there.append(one)
                    continue
            except BackendError as exc:
                self._say(one.wanted.name, exc)
            outcome.doubtful.append(one.claim)
        return there

    def _create(self, backend: Backend, wanted: ZoneContents) -> None:
        """A server that has no time at this moment is asked again, a moment later."""
        for pause_s in BUSY_PAUSES_S:
            try:
                backend.create_zone(wanted)
            except Busy as exc:
                log.debug("%s: %s: %s", self._target, wanted.name, exc)
                time.sleep(pause_s)
                self._keep()
            else:
                return
        backend.create_zone(wanted)

    def _is_there(self, backend: Backend, one: _Settler) -> bool:
        found = backend.read_zone(one.wanted.name)
        if found is None or found.soa.rdata != one.work.zone.soa.rdata:
            return False
        ledger = Ledger(
            self._engine, self._known, one.claim, self._settings, self._capabilities, tells_by_serial=True
        )
        wanted = one.wanted.rrsets
        if ledger.expected.differences(one.work, comparison.side_by_side(found, wanted), wanted):
            return False
        if self._capabilities.signs != "no":
            self._ds_records[one.claim] = backend.ds_records(one.wanted.name)
        return True

    def _note_ds_records(self, claims: Sequence[Claim]) -> None:
        """What the signer wants the parents to have, where that isn't on record yet."""
        for claim in claims:
            work, found = self._works[claim], self._ds_records.get(claim, [])
            if work is not None and found != (work.delivery.ds_records or []):
                with self._engine.begin() as connection:
                    deliveries.note_ds_records(connection, claim.zone_id, claim.target_id, found)

    def _keep(self) -> None:
        """Make sure of the claims, unless that was done a moment ago. Raises `ClaimLost`.

        The lease is longer than all of it should take: it is seldom written anew, and often only looked at.
        """
        moment = time.monotonic()
        if moment - self._sure_at < RENEW_AFTER_S:
            return
        if moment - self._renewed_at > self._settings.lease_s / RENEWALS:
            self._renew()
            self._renewed_at = moment
        else:
            with self._reading.connect() as connection:
                convoys.require_all(connection, self._works)
        self._sure_at = moment


def is_over(begun: float) -> bool:
    """Whether the time is over in which zones are begun with; by the clock of `time.monotonic`."""
    return time.monotonic() - begun > FOUNDING_S
