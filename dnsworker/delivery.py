"""What is due at a target, done: one after the other in each slot, by itself or with others.

What is taken is decided in `dnsworker.claiming`, how a delivery is brought to its goal in
`dnsworker.convergence`, and what follows when it breaks off in `dnsworker.setbacks`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence

import sqlalchemy as sa

from dnsworker.backend import Backend
from dnsworker.claiming import Claiming, Gather
from dnsworker.convergence import Convergence, Convoy, Outcome, Resting, look, storable
from dnsworker.database import AWAY, reading
from dnsworker.departures import Departures
from dnsworker.errors import BackendError, ClaimLost, ConfigError, OutcomeUnknown
from dnsworker.lineage import Lineage
from dnsworker.liveness import ProcessLock
from dnsworker.logs import about
from dnsworker.monitoring.events import Events
from dnsworker.precedence import Precedence, Slots
from dnsworker.setbacks import RETRY_AT_ONCE_S, Setbacks
from dnsworker.settings import Settings
from dnsworker.shelf import Shelf
from dnsworker.store import breakers, deliveries, zones
from dnsworker.store.claims import Claim
from dnsworker.store.pools import KnownPool, PoolDirectory
from dnsworker.tracing.notes import Delivery, Leg
from dnsworker.tracing.tracing import Tracing
from dnsworker.turnstile import Turnstile

log = logging.getLogger(__name__)

#: Why what was sent together comes again, as the count of retries has it.
READ_FIRST = "ReadFirst"


class Unforeseen(OutcomeUnknown):
    """The adapter, or our own code, broke on this delivery: a defect, which says nothing about the target."""


class Deliverer:
    """Handles what is due for a target; `on_progress` hears of every zone whose state may have changed."""

    def __init__(
        self,
        engine: sa.Engine,
        directory: PoolDirectory,
        settings: Settings,
        lock: ProcessLock,
        lineage: Lineage,
        *,
        on_progress: Callable[[int], None],
        on_retry: Callable[[str, float], None],
        call_later: Callable[[float, Callable[[], None]], None],
        events: Events,
        tracing: Tracing,
    ) -> None:
        """Raises `ConfigError`."""
        self._engine, self._reading = engine, reading(engine)
        self._directory, self._settings = directory, settings
        self._on_progress, self._on_retry = on_progress, on_retry
        self._guard = threading.Lock()
        self._events, self._tracing = events, tracing
        self._turnstile = Turnstile(engine, settings, events, on_retry=on_retry)
        self._precedence = Precedence(settings, self._turnstile.come_back)
        self._slots: dict[str, Slots] = defaultdict(Slots)
        self._departures: dict[str, Departures] = defaultdict(lambda: Departures(settings.gather_s))
        self._claiming = Claiming(engine, settings, lock, lineage, self._turnstile, self._precedence)
        self._setbacks = Setbacks(
            engine, settings, self._turnstile, events, on_retry=on_retry, call_later=call_later
        )
        self._shelf = Shelf()
        self._is_stopping = False

    def run(self, target: str) -> str:
        """Deliver all that is due for the target, one after the other. Returns a summary for people."""
        with about(target=target):
            return self._run(target)

    def _run(self, target: str) -> str:
        known = self._directory.of_target(target)
        with self._guard:
            slots = self._slots[target]
        done = failed = 0
        while known is not None and slots.enter(self._claiming.slots_for(target, known)):
            try:
                is_first = True
                while known is not None and (ends := self._do_next(known, target, is_first=is_first)):
                    is_first = False
                    done, failed = done + sum(ends), failed + ends.count(False)
                    known = self._directory.of_target(target)
            finally:
                is_marked = slots.leave()
            if not is_marked:
                return f"{target}: {done} delivered" + (f", {failed} failed" if failed else "")
        return f"{target}: " + ("all slots are at work" if known else "no pool has it any more")

    def give_back_unended(self) -> None:
        """Give back claims that could not be given back when their delivery broke off."""
        self._setbacks.give_back_unended()

    def stop(self) -> None:
        """Take nothing new; what runs ends by itself."""
        self._is_stopping = True
        self._setbacks.stop()
        self._shelf.close()
        self._turnstile.close()

    def _do_next(self, known: KnownPool, target: str, *, is_first: bool) -> list[bool]:
        """Do what comes next at the target; of each zone, whether it came to its end. Empty: none is due."""
        if self._is_stopping:
            return []
        self._setbacks.give_back_unended()
        self._claiming.keep_lock()
        together = self._claiming.ways_together(known, target)
        if together:
            return self._do_next_of_many(known, target, together, is_first=is_first)
        claim = self._claiming.claim(known, target, self._precedence.claim)
        return [] if claim is None else [self._deliver_claimed(known, claim)]

    def _do_next_of_many(
        self, known: KnownPool, target: str, ways: Sequence[Gather], *, is_first: bool
    ) -> list[bool]:
        """The same at a target that takes several deliveries together."""
        with self._guard:
            departures = self._departures[target]
        convoy: Convoy | None = None
        claim: Claim | None = None
        ends: list[bool] = []
        if not departures.enter():
            if departures.may_look_for_left_behind():
                claim = self._claim_left_behind(known, target)
            return [] if claim is None else [self._deliver_claimed(known, claim)]
        begun, operations = time.monotonic(), 0
        try:
            # Whoever was woken finds something, as a rule, and whoever comes from that doesn't.
            if not is_first and not self._claiming.is_anything_due(known, target):
                return []
            if self._precedence.begin_turn(target):
                claim = self._claim_left_behind(known, target)
            for way in ways if claim is None else ():
                if (convoy := self._claiming.gather(way, known, target)) is not None:
                    departures.set_out(is_full=convoy.is_full)
                    operations = convoy.operations
                    ends, claim = self._deliver_together(known, target, convoy)
                    break
        finally:
            is_marked, pause_s = departures.leave(operations, time.monotonic() - begun)
            # This thread looks again by itself, unless it has found nothing or is kept by one zone.
            if pause_s or (is_marked and (convoy is None or claim is not None)):
                self._on_retry(target, pause_s)
        if claim is None and convoy is None:
            if is_first and not self._claiming.is_anything_due(known, target):
                return []
            claim = self._claiming.claim(known, target, self._precedence.claim)
        return ends if claim is None else [*ends, self._deliver_claimed(known, claim)]

    def _claim_left_behind(self, known: KnownPool, target: str) -> Claim | None:
        return self._claiming.claim_next(known, target, self._precedence.claim_left)

    def _deliver_claimed(self, known: KnownPool, claim: Claim) -> bool:
        try:
            with about(pool=known.pool.name):  # and the zone, as soon as it was read
                return self._deliver(known, claim)
        finally:
            self._precedence.ended(claim)

    def _deliver_together(
        self, known: KnownPool, target: str, convoy: Convoy
    ) -> tuple[list[bool], Claim | None]:
        """Of each zone, whether it came to its end; and a claim that is still held, for a delivery of its
        own."""
        apart: Claim | None = None
        begun_ns = time.time_ns()
        try:
            with self._shelf.borrow(known, target) as backend:
                outcome = convoy.run(backend)
            if self._tracing.is_on:
                self._note_spans(target, begun_ns, convoy.legs(outcome.arrived))
                self._note_spans(target, begun_ns, convoy.legs(outcome.doubtful), READ_FIRST)
                if outcome.error is not None:
                    failed = convoy.legs(outcome.unreached[:1])
                    self._note_spans(target, begun_ns, failed, outcome.error.code, outcome.error.message)
            if outcome.unreached and outcome.error is not None:
                with about():
                    self._setbacks.failed(outcome.unreached[0], outcome.error, None)
                self._setbacks.let_go(outcome.unreached[1:], must_read=False)
            if outcome.left:
                self._setbacks.let_go(outcome.left, must_read=False)
            ends = [True] * len(outcome.arrived)
            if outcome.unusual:  # one here; each of the others may take long, too, and finds its own slot
                apart, *others = outcome.unusual
                self._setbacks.let_go(others, must_read=False)
        except AWAY:
            for claim in convoy.claims:
                self._setbacks.keep_unended(claim)
            raise
        except Exception:  # not ours to foresee: an adapter may be anybody's
            log.exception("%s: %d deliveries broke", target, len(convoy.claims))
            self._setbacks.let_go(convoy.claims, must_read=True)
            outcome, ends = Outcome(doubtful=convoy.claims), []
        for claim in outcome.lost:
            log.warning("a delivery to %s was taken over by another worker", target)
            self._setbacks.doubt(claim)
        self._events.delivered(target, len(outcome.arrived))
        self._events.retried(target, READ_FIRST, len(outcome.doubtful))
        try:
            for claim in outcome.arrived:
                self._on_progress(claim.zone_id)
                self._hasten_followers(known, claim)
        except AWAY:
            if apart is not None:
                self._setbacks.keep_unended(apart)
            raise
        broken_off = len(convoy.claims) - len(ends) - (apart is not None)
        return ends + [False] * broken_off, apart

    def _deliver(self, known: KnownPool, claim: Claim) -> bool:
        """Whether it came to its end; that of a look is to have looked, whatever was seen."""
        convergence: Convergence | None = None
        begun_ns = time.time_ns()
        try:
            with self._shelf.borrow(known, claim.target) as backend:
                budget = known.pool.target(claim.target).limits.budget
                metered = self._turnstile.metered(backend, claim, budget)
                if claim.is_look:
                    is_as_left = look(self._engine, claim, metered, self._settings)
                    self._events.looked(claim.target, "as_left" if is_as_left else "changed")
                else:
                    convergence = Convergence(self._engine, known, claim, metered, self._settings)
                    convergence.run()
                    self._note_ds_records(claim, metered)
            with self._engine.begin() as connection:
                breakers.succeeded(connection, claim.target_id)
            if not claim.is_look:
                self._events.delivered(claim.target)
                self._hasten_followers(known, claim)
            if self._tracing.is_on and convergence is not None:
                self._note_spans(claim.target, begun_ns, convergence.legs)
        except ClaimLost as exc:
            log.warning("%s", exc)
            self._setbacks.doubt(claim)
            return False
        except Resting as exc:
            self._setbacks.postpone(claim, exc, convergence)
            return False
        except (BackendError, ConfigError) as exc:
            self._setbacks.failed(claim, exc, convergence)
            self._note_failure(claim, begun_ns, convergence, exc)
            return False
        except AWAY:
            self._setbacks.keep_unended(claim)
            raise
        except Exception as exc:  # not ours to foresee: an adapter may be anybody's
            log.exception("%s: a delivery broke", claim.target)
            words = (str(exc).strip() or "no reason given").splitlines()[0]
            error = Unforeseen(f"{type(exc).__name__}: {words}")
            self._setbacks.failed(claim, error, convergence)
            self._note_failure(claim, begun_ns, convergence, error)
            return False
        finally:
            if convergence is not None and convergence.repairs:
                self._events.repaired(claim.target, convergence.repairs)
            if not claim.is_look:
                self._on_progress(claim.zone_id)
        return True

    def _note_failure(
        self, claim: Claim, begun_ns: int, convergence: Convergence | None, error: BackendError | ConfigError
    ) -> None:
        if self._tracing.is_on and convergence is not None:
            self._note_spans(claim.target, begun_ns, convergence.legs, error.code, error.message)

    def _note_spans(
        self, target: str, begun_ns: int, legs: Sequence[Leg], code: str | None = None, words: str = ""
    ) -> None:
        if legs:
            self._tracing.note(Delivery(begun_ns, time.time_ns(), target, legs, code, storable(words)))

    def _hasten_followers(self, known: KnownPool, claim: Claim) -> None:
        """Wake the targets that were waiting for their primary, which may be the one that was just done."""
        if not any(one.pull for one in known.capabilities.values()):
            return
        with self._engine.begin() as connection:
            names = deliveries.hasten_followers(connection, claim.zone_id)
        for name in names:
            self._on_retry(name, RETRY_AT_ONCE_S)

    def _note_ds_records(self, claim: Claim, backend: Backend) -> None:
        """What the signer wants the parent to have. The delivery is done; this is only to be shown."""
        if backend.capabilities.signs == "no":
            return
        backend.checkpoint = backend.renew = lambda: None  # the claim was given back
        with self._reading.connect() as connection:
            zone = zones.get(connection, claim.zone_id)
            rows = deliveries.of_zone(connection, claim.zone_id)
        known = next((row.ds_records for row in rows if row.target_id == claim.target_id), None)
        try:
            found = [] if zone.is_deleted else backend.ds_records(zone.name)
        except BackendError as exc:
            log.info("%s: no DS records of %s: %s", claim.target, zone.name, exc)
            return
        if found != (known or []):
            with self._engine.begin() as connection:
                deliveries.note_ds_records(connection, claim.zone_id, claim.target_id, found)
