"""What follows when a delivery doesn't come to its end: what is written down, and when it goes on.

Separate from the doing, because each way to break off leaves the row another clock: a failure counts, a rest
doesn't, a claim that was lost is somebody else's by now, and without the database nothing can be written.
Whether it is tried again is decided in `dnsworker.retry`.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Sequence

import sqlalchemy as sa

from dnsworker import retry
from dnsworker.convergence import Blocked, Convergence, Resting, Stopped, storable
from dnsworker.errors import (
    BackendError,
    ClaimLost,
    ConfigError,
    Permanent,
    RateLimited,
    RecordRejected,
    ServerFailure,
    Unsupported,
    ZoneChanged,
    ZoneMissing,
)
from dnsworker.logs import also_about
from dnsworker.monitoring.events import Events
from dnsworker.settings import Settings
from dnsworker.store import breakers, claims, comparisons, convoys, deliveries, zones
from dnsworker.store.claims import Claim
from dnsworker.turnstile import Turnstile

log = logging.getLogger(__name__)

RETRY_AT_ONCE_S = 0.001
#: After a look that came to nothing, because the target couldn't be asked.
LOOK_AGAIN_S = 60.0
#: How often a doubt about a delivery that somebody else has now is brought up again.
DOUBT_AGAIN_S = 1.0
#: With these the target has answered, whatever it said.
ANSWERS = (ZoneChanged, ZoneMissing, RecordRejected, Unsupported, ServerFailure, Blocked)


class Setbacks:
    """Of one process, for all targets. Safe for threads."""

    def __init__(
        self,
        engine: sa.Engine,
        settings: Settings,
        turnstile: Turnstile,
        events: Events,
        *,
        on_retry: Callable[[str, float], None],
        call_later: Callable[[float, Callable[[], None]], None],
    ) -> None:
        self._engine, self._settings = engine, settings
        self._turnstile, self._events = turnstile, events
        self._on_retry, self._call_later = on_retry, call_later
        self._guard = threading.Lock()
        #: Claims whose end could not be written down, because the database was away.
        self._unended: list[Claim] = []
        self._rng = random.Random()  # noqa: S311 - jitter, not a secret
        self._is_stopping = False

    def stop(self) -> None:
        """Bring up no doubt any more: the sweeps of others do."""
        self._is_stopping = True

    def failed(
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
            self.doubt(claim)
            return
        except sa.exc.SQLAlchemyError:
            self.keep_unended(claim)
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

    def postpone(self, claim: Claim, reason: Resting, convergence: Convergence | None) -> None:
        """The delivery stops half-way for no fault of its own: it is no attempt, and goes on when it may."""
        delay_s = reason.retry_after_s or 0.0
        try:
            with self._engine.begin() as connection:
                if claim.is_look:
                    comparisons.looked(connection, claim, delay_s)
                else:
                    claims.postpone(connection, claim, delay_s, must_read=_has_written(convergence))
        except ClaimLost:
            self.doubt(claim)
            return
        except sa.exc.SQLAlchemyError:
            self.keep_unended(claim)
            raise
        self._events.retried(claim.target, reason.code)
        if isinstance(reason, Stopped):  # whoever ends that wakes the target, or the sweep does
            log.info("%s: stops here: %s", claim.target, reason)
            return
        log.info("%s: %s; goes on in %.1f s", claim.target, reason, delay_s)
        self._turnstile.come_back(claim.target, max(delay_s, RETRY_AT_ONCE_S))

    def doubt(self, claim: Claim) -> None:
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
            self._call_later(DOUBT_AGAIN_S, lambda: self.doubt(claim))

    def let_go(self, claims: Sequence[Claim], *, must_read: bool) -> None:
        with self._engine.begin() as connection:
            convoys.give_back_all(connection, claims, must_read=must_read)

    def keep_unended(self, claim: Claim) -> None:
        with self._guard:
            self._unended.append(claim)

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


def _has_written(convergence: Convergence | None) -> bool:
    return convergence is not None and convergence.has_written
