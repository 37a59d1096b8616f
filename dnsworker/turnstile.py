"""Who may begin a delivery to a target with a budget, and when whoever may not is woken.

Separate from the metering, which knows nothing of deliveries: here is what keeps a target that has used up
its budget from occupying threads, and its wake-ups from multiplying.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import sqlalchemy as sa

from dnsworker.backend import Backend
from dnsworker.budget import Budget
from dnsworker.database import reading
from dnsworker.metering import Meter, Metered
from dnsworker.monitoring.events import Events
from dnsworker.pools import Limits
from dnsworker.settings import Settings
from dnsworker.store import breakers, claims
from dnsworker.store.claims import Claim


class Turnstile:
    """Of one process, for all targets. Safe for threads."""

    def __init__(
        self,
        engine: sa.Engine,
        settings: Settings,
        events: Events,
        *,
        on_retry: Callable[[str, float], None],
    ) -> None:
        """`on_retry(target, delay_s)` has the target looked at again. Raises `ConfigError`."""
        self._reading, self._settings, self._on_retry = reading(engine), settings, on_retry
        self._events = events
        self._meter = Meter(engine, settings.redis())
        self._guard = threading.Lock()
        #: Target → when the wake-up comes that is on its way.
        self._wakes: dict[str, float] = {}
        #: When this thread was let in.
        self._begun = threading.local()

    def close(self) -> None:
        self._meter.close()

    def lets_in(
        self, target: str, target_id: int, limits: Limits, has_due: Callable[[sa.Connection], bool]
    ) -> bool:
        """Take the first request of the next delivery; where it can't be had at once, come back for it.

        Nothing is taken while there is nothing to do, as `has_due` says. (Two workers may see the same last
        delivery, and one of them has paid for nothing: but only where more than one request was to be had at
        once.)
        """
        budget = limits.budget
        if budget is None:
            return True
        with self._reading.connect() as connection:
            if not breakers.may_try(connection, target_id) or not has_due(connection):
                return False
            if limits.concurrency and claims.claimed(connection, target_id) >= limits.concurrency:
                return False
        self._begun.at = time.monotonic()
        wait_s = self._meter.begin(target, target_id, budget)
        if wait_s > 0:
            self._events.turned_away(target)
            self.come_back(target, wait_s)
        return wait_s <= 0

    def come_back(self, target: str, delay_s: float) -> None:
        """One wake-up for all that wait: if each had its own, each would bring the next."""
        moment = time.monotonic()
        with self._guard:
            if moment < self._wakes.get(target, float("-inf")):
                return
            self._wakes[target] = moment + delay_s
        self._on_retry(target, delay_s)

    def metered(self, backend: Backend, claim: Claim, budget: Budget | None) -> Backend:
        """The backend for a delivery that this thread was let in for; without a budget as it is."""
        if budget is None:
            return backend

        def reserve() -> float:
            wait_s = self._meter.reserve(claim.target, claim.target_id, budget)
            if wait_s > 0:
                self._events.waited(claim.target, wait_s)
            return wait_s

        return Metered(
            backend,
            reserve,
            paid_at=getattr(self._begun, "at", float("-inf")),
            renew_every_s=self._settings.lease_s / 3,
        )
