"""Who works on what: slots per target, claims, the breaker, and what a failure means for the clock.

How one delivery is brought to its goal is in `dnsworker.convergence`; whether it is tried again in
`dnsworker.retry`.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import sqlalchemy as sa

from dnsworker import retry
from dnsworker.backend import Backend, load_backend
from dnsworker.convergence import (
    Blocked,
    Convergence,
    Convoy,
    Outcome,
    Resting,
    Stopped,
    gather,
    gather_new,
    look,
    storable,
)
from dnsworker.database import AWAY, reading
from dnsworker.errors import (
    BackendError,
    ClaimLost,
    ConfigError,
    OutcomeUnknown,
    Permanent,
    RateLimited,
    RecordRejected,
    ServerFailure,
    Unsupported,
    ZoneChanged,
    ZoneMissing,
)
from dnsworker.lineage import Lineage
from dnsworker.liveness import ProcessLock
from dnsworker.logs import about, also_about
from dnsworker.monitoring.events import Events
from dnsworker.pools import build_options
from dnsworker.precedence import Precedence, Slots
from dnsworker.settings import Settings
from dnsworker.store import agenda, breakers, claims, comparisons, convoys, deliveries, zones
from dnsworker.store.claims import Claim
from dnsworker.store.pools import KnownPool, PoolDirectory
from dnsworker.turnstile import Turnstile

log = logging.getLogger(__name__)

#: A request to a target ends well before the lease of its delivery (60 s by default).
REQUEST_TIMEOUT_S = 5.0
#: How often a target with claims of others is checked for dead owners.
OWNER_CHECK_S = 0.5
#: Deliveries at once to a target of which `limits` say nothing, in each process.
SLOTS = 4
#: How long one probe of an open breaker may take.
PROBE_S = 15.0
RETRY_AT_ONCE_S = 0.001
#: After a look that came to nothing, because the target couldn't be asked.
LOOK_AGAIN_S = 60.0
#: How often a doubt about a delivery that somebody else has now is brought up again.
DOUBT_AGAIN_S = 1.0
#: Why what was sent together comes again, as the count of retries has it.
READ_FIRST = "ReadFirst"
#: With these the target has answered, whatever it said.
ANSWERS = (ZoneChanged, ZoneMissing, RecordRejected, Unsupported, ServerFailure, Blocked)


#: How a claim is taken: one of `Precedence`'s ways.
Take = Callable[..., Claim | None]
#: How several are taken that go together.
Gather = Callable[..., Convoy | None]


class Unforeseen(OutcomeUnknown):
    """The adapter, or our own code, broke on this delivery: a defect, which says nothing about the target."""


class _ProbeTaken(Exception):
    """Somebody else probes the target."""


class _Restored(Exception):
    """The database is another one."""


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
    ) -> None:
        """Raises `ConfigError`."""
        self._engine, self._reading = engine, reading(engine)
        self._directory, self._settings, self._lock = directory, settings, lock
        self._lineage = lineage
        self._on_progress, self._on_retry, self._call_later = on_progress, on_retry, call_later
        self._guard = threading.Lock()
        self._events = events
        self._turnstile = Turnstile(engine, settings, events, on_retry=on_retry)
        self._precedence = Precedence(settings, self._turnstile.come_back)
        self._slots: dict[str, Slots] = defaultdict(Slots)
        self._backends: dict[tuple[str, int], list[Backend]] = {}
        self._owners_checked: dict[str, float] = {}
        self._lock_checked = float("-inf")
        #: Targets that were in trouble when several deliveries were last to be taken there.
        self._unwell: set[str] = set()
        #: Claims whose end could not be written down, because the database was away.
        self._unended: list[Claim] = []
        self._rng = random.Random()  # noqa: S311 - jitter, not a secret
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
        while known is not None and slots.enter(self._slots_for(target, known)):
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
        with self._guard:
            unended, self._unended = self._unended, []
        for position, claim in enumerate(unended):
            try:
                with self._engine.begin() as connection:
                    claims.give_back(connection, claim)
            except ClaimLost:
                log.info("%s: a delivery that broke off has another worker by now", claim.target)
            except sa.exc.SQLAlchemyError:
                with self._guard:
                    self._unended += unended[position:]
                raise

    def stop(self) -> None:
        """Take nothing new; what runs ends by itself."""
        self._is_stopping = True
        with self._guard:
            idle = [backend for backends in self._backends.values() for backend in backends]
            self._backends.clear()
        for backend in idle:
            backend.close()
        self._turnstile.close()

    def _do_next(self, known: KnownPool, target: str, *, is_first: bool) -> list[bool]:
        """Do what comes next at the target; of each zone, whether it came to its end. Empty: none is due."""
        if self._is_stopping:
            return []
        if self._unended:
            self.give_back_unended()
        self._keep_lock()
        claim = None
        if together := self._go_together(known, target):
            # Whoever was woken finds something, as a rule, and whoever comes from that doesn't.
            if not is_first and not self._is_anything_due(known, target):
                return []
            if self._precedence.begin_turn(target):
                claim = self._claim_next(known, target, self._precedence.claim_left)
            for way in together if claim is None else ():
                if (convoy := self._gather(way, known, target)) is not None:
                    return self._deliver_together(known, target, convoy)
            if claim is None and is_first and not self._is_anything_due(known, target):
                return []
        claim = claim or self._claim(known, target, self._precedence.claim)
        return [] if claim is None else [self._deliver_claimed(known, claim)]

    def _is_anything_due(self, known: KnownPool, target: str) -> bool:
        """Also what a dead worker held, which is due then."""
        target_id = known.target_ids[target]
        with self._reading.connect() as connection:
            if agenda.is_anything_due(connection, target_id):
                return True
        return self._free_dead_claims(target, target_id)

    def _deliver_claimed(self, known: KnownPool, claim: Claim) -> bool:
        try:
            with about(pool=known.pool.name):  # and the zone, as soon as it was read
                return self._deliver(known, claim)
        finally:
            self._precedence.ended(claim)

    # --- many zones at once ----------------------------------------------------------------------------

    def _go_together(self, known: KnownPool, target: str) -> list[Gather]:
        """What the target takes of several zones together; nothing where something is to be counted there."""
        can, limits = known.capabilities.get(target), known.pool.target(target).limits
        if can is None or limits.budget is not None or limits.concurrency:
            return []
        ways: list[tuple[int, Gather]] = [(can.pipelined, gather), (can.creates_together, gather_new)]
        return [way for at_once, way in ways if at_once > 1]

    def _gather(self, way: Gather, known: KnownPool, target: str) -> Convoy | None:
        is_restored, target_id = False, known.target_ids[target]
        if target in self._unwell:  # to claim and give up again for each wake-up would cost the others
            with self._reading.connect() as connection:
                if not breakers.is_well(connection, target_id):
                    return None
            self._unwell.discard(target)

        def may_begin(connection: sa.Connection) -> bool:
            nonlocal is_restored
            is_well = breakers.is_well(connection, target_id)
            if not is_well:
                self._unwell.add(target)
            # In this transaction: the database may be replaced at any moment before.
            is_restored = is_well and not self._lineage.holds(connection)
            return is_well and not is_restored

        convoy = way(self._engine, known, target, self._settings, owner=self._lock.owner, may_begin=may_begin)
        if is_restored:
            self._lineage.doubt()
        return convoy

    def _deliver_together(self, known: KnownPool, target: str, convoy: Convoy) -> list[bool]:
        try:
            with self._backend(known, target) as backend:
                outcome = convoy.run(backend)
            if outcome.unreached and outcome.error is not None:
                with about():
                    self._failed(outcome.unreached[0], outcome.error, None)
                self._let_go(outcome.unreached[1:], must_read=False)
            if outcome.left:
                self._let_go(outcome.left, must_read=False)
            ends = [True] * len(outcome.arrived)
            if outcome.unusual:  # one here; each of the others may take long, too, and finds its own slot
                self._let_go(outcome.unusual[1:], must_read=False)
                ends.append(self._deliver_claimed(known, outcome.unusual[0]))
        except AWAY:
            for claim in convoy.claims:
                self._keep_unended(claim)
            raise
        except Exception:  # not ours to foresee: an adapter may be anybody's
            log.exception("%s: %d deliveries broke", target, len(convoy.claims))
            self._let_go(convoy.claims, must_read=True)
            outcome, ends = Outcome(doubtful=convoy.claims), []
        for claim in outcome.lost:
            log.warning("a delivery to %s was taken over by another worker", target)
            self._doubt(claim)
        self._events.delivered(target, len(outcome.arrived))
        self._events.retried(target, READ_FIRST, len(outcome.doubtful))
        for claim in outcome.arrived:
            self._on_progress(claim.zone_id)
            self._hasten_followers(known, claim)
        return ends + [False] * (len(convoy.claims) - len(ends))

    def _let_go(self, claims: Sequence[Claim], *, must_read: bool) -> None:
        with self._engine.begin() as connection:
            convoys.give_back_all(connection, claims, must_read=must_read)

    # --- claims ----------------------------------------------------------------------------------------

    def _claim(self, known: KnownPool, target: str, take: Take) -> Claim | None:
        claim = self._claim_next(known, target, take)
        if claim is not None or not self._free_dead_claims(target, known.target_ids[target]):
            return claim
        return self._claim(known, target, take)

    def _claim_next(self, known: KnownPool, target: str, take: Take) -> Claim | None:
        target_id = known.target_ids[target]
        limits = known.pool.target(target).limits

        def has_due(connection: sa.Connection) -> bool:
            return self._precedence.has_due(connection, known, target)

        if not self._turnstile.lets_in(target, target_id, limits, has_due):
            return None
        claim = None
        try:
            with self._engine.begin() as connection:
                if limits.concurrency and not claims.has_room(connection, target_id, limits.concurrency):
                    return None
                if not breakers.may_try(connection, target_id):
                    return None
                claim = take(
                    connection, known, target, slots=self._slots_for(target, known), owner=self._lock.owner
                )
                # Only now: a probe that finds nothing due would be spent for nothing.
                if claim is not None and not breakers.may_probe(connection, target_id, probe_s=PROBE_S):
                    raise _ProbeTaken
                # In this transaction: the database may be replaced at any moment before.
                if claim is not None and not self._lineage.holds(connection):
                    raise _Restored
        except _ProbeTaken:
            self._precedence.ended(claim)
            return None
        except _Restored:
            self._precedence.ended(claim)
            self._lineage.doubt()
            return self._claim_next(known, target, take)
        except BaseException:
            self._precedence.ended(claim)
            raise
        return claim

    def _keep_lock(self) -> None:
        """A worker whose lock was lost with its connection looks dead, and all its claims are taken away."""
        moment = time.monotonic()
        if moment - self._lock_checked >= OWNER_CHECK_S:
            self._lock_checked = moment
            self._lock.take()

    def _free_dead_claims(self, target: str, target_id: int) -> bool:
        """Take back what dead workers held; whether there was any."""
        moment = time.monotonic()
        if moment - self._owners_checked.get(target, float("-inf")) < OWNER_CHECK_S:
            return False
        self._owners_checked[target] = moment
        with self._reading.connect() as connection:
            owners = claims.owners(connection, target_id)
        return sum(free_dead_owner(self._engine, self._lock, owner) for owner in owners) > 0

    # --- one delivery ----------------------------------------------------------------------------------

    def _deliver(self, known: KnownPool, claim: Claim) -> bool:
        """Whether it came to its end; that of a look is to have looked, whatever was seen."""
        convergence: Convergence | None = None
        try:
            with self._backend(known, claim.target) as backend:
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
        except ClaimLost as exc:
            log.warning("%s", exc)
            self._doubt(claim)
            return False
        except Resting as exc:
            self._postpone(claim, exc, convergence)
            return False
        except (BackendError, ConfigError) as exc:
            self._failed(claim, exc, convergence)
            return False
        except AWAY:
            self._keep_unended(claim)
            raise
        except Exception as exc:  # not ours to foresee: an adapter may be anybody's
            log.exception("%s: a delivery broke", claim.target)
            words = (str(exc).strip() or "no reason given").splitlines()[0]
            self._failed(claim, Unforeseen(f"{type(exc).__name__}: {words}"), convergence)
            return False
        finally:
            if convergence is not None and convergence.repairs:
                self._events.repaired(claim.target, convergence.repairs)
            if not claim.is_look:
                self._on_progress(claim.zone_id)
        return True

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

    def _keep_unended(self, claim: Claim) -> None:
        with self._guard:
            self._unended.append(claim)

    def _doubt(self, claim: Claim) -> None:
        """What this worker sent may have come after what its successor read: have the target read again."""
        if self._is_stopping or claim.is_look:
            return
        try:
            with self._engine.begin() as connection:
                is_noted = deliveries.doubt(connection, claim.zone_id, claim.target_id)
        except sa.exc.SQLAlchemyError as exc:
            log.info(
                "%s: a doubt can't be noted yet: %s", claim.target, type(exc).__name__,
                extra={"target": claim.target},
            )  # fmt: skip
            is_noted = False
        if is_noted:
            self._on_retry(claim.target, RETRY_AT_ONCE_S)
        else:
            self._call_later(DOUBT_AGAIN_S, lambda: self._doubt(claim))

    def _postpone(self, claim: Claim, reason: Resting, convergence: Convergence | None) -> None:
        """The delivery stops half-way for no fault of its own: it is no attempt, and goes on when it may."""
        delay_s = reason.retry_after_s or 0.0
        try:
            with self._engine.begin() as connection:
                if claim.is_look:
                    comparisons.looked(connection, claim, delay_s)
                else:
                    claims.postpone(connection, claim, delay_s, must_read=_has_written(convergence))
        except ClaimLost:
            self._doubt(claim)
            return
        except sa.exc.SQLAlchemyError:
            self._keep_unended(claim)
            raise
        self._events.retried(claim.target, reason.code)
        if isinstance(reason, Stopped):  # whoever ends that wakes the target, or the sweep does
            log.info("%s: stops here: %s", claim.target, reason)
            return
        log.info("%s: %s; goes on in %.1f s", claim.target, reason, delay_s)
        self._turnstile.come_back(claim.target, max(delay_s, RETRY_AT_ONCE_S))

    def _failed(
        self, claim: Claim, error: BackendError | ConfigError, convergence: Convergence | None
    ) -> None:
        """Write down what went wrong and when it is tried again; that row is the clock."""
        failure = error if isinstance(error, BackendError) else Permanent(error.message)
        message = storable(failure.message)
        try:
            with self._engine.begin() as connection:
                attempts = claims.read(connection, claim).attempts + 1
                also_about(zone=zones.get(connection, claim.zone_id).name)
                if isinstance(failure, Blocked):
                    log.warning("%s: %s", claim.target, failure)
                    claims.fail(
                        connection, claim, code=failure.code, message=message, delay_s=None,
                        must_read=True, attempts=attempts, state=failure.state, compare_at=None,
                    )  # fmt: skip
                    breakers.succeeded(connection, claim.target_id)
                    self._events.blocked(claim.target, failure.code)
                    return
                is_limited = isinstance(failure, RateLimited)
                if is_limited:  # all of the target's deliveries are in the same boat
                    message = storable(f"asked for fewer requests: {failure.message}")
                decision = retry.decide(
                    failure, breakers.failures(connection, claim.target_id) + 1 if is_limited else attempts,
                    base_s=self._settings.retry_base_s, cap_s=self._settings.retry_cap_s, rng=self._rng,
                )  # fmt: skip
                delay_s = (
                    decision.delay_s if isinstance(decision, retry.Retry) else self._settings.retry_cap_s
                )
                # The delivery before its target, as everywhere: two orders of locking are a deadlock.
                if claim.is_look:
                    comparisons.looked(connection, claim, max(delay_s, LOOK_AGAIN_S))
                else:
                    claims.fail(
                        connection, claim, code=error.code, message=message, delay_s=delay_s,
                        must_read=_has_written(convergence)
                        or (isinstance(decision, retry.Retry) and decision.reads_back),
                        attempts=attempts,
                    )  # fmt: skip
                if is_limited:
                    breakers.probe_again(connection, claim.target_id, delay_s)
                    breakers.rest(connection, claim.target_id, message, delay_s=delay_s)
                elif isinstance(decision, retry.Retry) and decision.counts_against_target:
                    self._count_against_target(connection, claim, message)
                elif isinstance(failure, ANSWERS):
                    breakers.succeeded(connection, claim.target_id)
                else:
                    breakers.probe_again(connection, claim.target_id, delay_s)
        except ClaimLost:
            log.info("%s failed a delivery that another worker has by now", claim.target)
            self._doubt(claim)
            return
        except sa.exc.SQLAlchemyError:
            self._keep_unended(claim)
            raise
        if claim.is_look:
            self._events.looked(claim.target, "failed")
            log.warning("%s: can't be looked at: %s: %s", claim.target, error.code, message)
            return
        self._events.retried(claim.target, error.code)
        log.warning(
            "%s: %s: %s; attempt %d, again in %.1f s",
            claim.target, error.code, message, attempts, delay_s,
        )  # fmt: skip
        if delay_s < self._settings.sweep_interval_s:
            self._on_retry(claim.target, max(delay_s, RETRY_AT_ONCE_S))

    def _count_against_target(self, connection: sa.Connection, claim: Claim, message: str) -> None:
        open_s = retry.back_off(
            breakers.failures(connection, claim.target_id) + 1,
            base_s=self._settings.retry_base_s, cap_s=self._settings.retry_cap_s, rng=self._rng,
        )  # fmt: skip
        breakers.failed(
            connection, claim.target_id, message,
            limit=self._settings.breaker_failures, delay_s=open_s,
        )  # fmt: skip

    # --- backends --------------------------------------------------------------------------------------

    @contextmanager
    def _backend(self, known: KnownPool, target: str) -> Iterator[Backend]:
        """A backend object for one delivery; kept with its connections for the next, unless it failed."""
        key = (target, known.version)
        with self._guard:
            idle = self._backends.get(key)
            backend = idle.pop() if idle else None
        if backend is None:
            wanted = known.pool.target(target)
            backend = load_backend(wanted.type)(target, build_options(wanted), timeout_s=REQUEST_TIMEOUT_S)
        try:
            yield backend
        except BaseException:
            backend.close()
            raise
        with self._guard:
            if not self._is_stopping:
                self._backends.setdefault(key, []).append(backend)
                return
        backend.close()

    def _slots_for(self, target: str, known: KnownPool) -> int:
        """No target may fill the worker: a quarter of its threads at most, and what its limits say."""
        allowed = known.pool.target(target).limits.concurrency or SLOTS
        return max(1, min(allowed, self._settings.concurrency // 4))


def _has_written(convergence: Convergence | None) -> bool:
    return convergence is not None and convergence.has_written


def free_dead_owner(engine: sa.Engine, lock: ProcessLock, owner: int) -> bool:
    """Free the claims of a worker if it is dead; whether it is."""
    if not lock.is_dead(owner):
        return False
    with engine.begin() as connection:
        freed = claims.release_owner(connection, owner)
    log.warning("a worker has died (owner %d); its deliveries to %d targets go on", owner, len(freed))
    return True
