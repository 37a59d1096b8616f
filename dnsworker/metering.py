"""Every request to a target with a budget is taken from the budget first, whichever worker makes it.

Separate from the deliveries, which only ask whether they may begin, and from the backends, which don't know
that there is a budget: they announce each request (`Backend.checkpoint`), and `Metered` stands in between.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence

import sqlalchemy as sa

from dnsworker.backend import Backend, Health, Receipt, ZoneDelta
from dnsworker.budget import Answer, Budget
from dnsworker.contents import ZoneContents
from dnsworker.convergence import Resting
from dnsworker.errors import BackendError
from dnsworker.names import Name
from dnsworker.plan import Plan
from dnsworker.records import SOA, Key, RRset
from dnsworker.redis_budget import AWAY as REDIS_AWAY
from dnsworker.redis_budget import RedisBudgets
from dnsworker.store import budgets

log = logging.getLogger(__name__)

#: How long Redis isn't asked after it didn't answer: its time-out must not be paid for every request.
REDIS_REST_S = 5.0
#: How old a permission for a request may be when it is used.
LATE_S = 0.1
#: After so many a request is made however late it is: a machine as busy as that is no danger to anybody.
PERMISSIONS = 3


class Meter:
    """The budgets of all targets, as one process reaches them. Safe for threads.

    Redis keeps them where there is one, else the database. While Redis is away the database does, and what
    one has kept the other doesn't know: so whoever changes over takes the budget for used up. Only while
    some workers reach Redis and others don't are there two budgets at once.
    """

    def __init__(self, engine: sa.Engine, redis_url: str | None) -> None:
        """Raises `ConfigError`."""
        self._engine = engine
        self._redis = RedisBudgets(redis_url) if redis_url else None
        self._away_until = float("-inf")
        self._guard = threading.Lock()
        #: Target id → who kept its budget when it was last asked for.
        self._keepers: dict[int, str] = {}

    def close(self) -> None:
        if self._redis is not None:
            self._redis.close()

    def begin(self, target: str, target_id: int, budget: Budget) -> float:
        """Take the first request of a delivery if it may be made at once (0.0).

        Else nothing is taken, and after so many seconds it is worth asking again.
        """
        answer = self.take(target, target_id, budget, patience_us=0)
        return 0.0 if answer.is_granted else answer.wait_s

    def reserve(self, target: str, target_id: int, budget: Budget) -> float:
        """Take a further request, in advance: in how many seconds it may be made.

        Whoever is in the middle of a delivery goes before whoever wants to begin one. Raises `Resting` where
        that would take too long.
        """
        answer = self.take(target, target_id, budget, patience_us=budget.longest_wait_us)
        if not answer.is_granted:
            raise Resting(f"too many wait for the budget of {budget}", retry_after_s=answer.wait_s)
        return answer.wait_s

    def take(self, target: str, target_id: int, budget: Budget, *, patience_us: int) -> Answer:
        """One request, from whoever keeps the budget now; see `dnsworker.budget.take`."""
        if self._redis is not None and time.monotonic() >= self._away_until:
            from_empty = self._keepers.get(target_id) == "database"
            try:
                answer = self._redis.take(target, budget, patience_us=patience_us, from_empty=from_empty)
            except REDIS_AWAY as exc:
                self._lose_redis(exc)
            else:
                self._note(target_id, "redis")
                return answer
        from_empty = self._redis is not None and self._keepers.get(target_id) != "database"
        with self._engine.begin() as connection:
            answer = budgets.take(
                connection, target_id, budget, patience_us=patience_us, from_empty=from_empty
            )
        self._note(target_id, "database")
        return answer

    def _lose_redis(self, exc: Exception) -> None:
        self._away_until = time.monotonic() + REDIS_REST_S
        words = str(exc) or type(exc).__name__
        log.warning("Redis is away, the database keeps the budgets meanwhile: %s", words)

    def _note(self, target_id: int, keeper: str) -> None:
        with self._guard:
            self._keepers[target_id] = keeper


class Metered(Backend):
    """A backend whose every request is taken from a budget first: for one delivery.

    The first request was paid for by whoever began the delivery. For each further one it waits in place,
    and renews the claim meanwhile. A permission that has become old in the meantime (the machine is busy,
    the database slow, the process was frozen) lapses: used late, it would come on top of the next ones.
    """

    def __init__(
        self,
        backend: Backend,
        reserve: Callable[[], float],
        *,
        paid_at: float,
        renew_every_s: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """`reserve` takes a request, and says in how many seconds it may be made; `paid_at`: when, by
        `clock`, the first one was taken."""
        self._backend, self._reserve = backend, reserve
        self._paid_at: float | None = paid_at
        self._renew_every_s, self._clock, self._sleep = renew_every_s, clock, sleep
        self.target, self.timeout_s = backend.target, backend.timeout_s
        self.capabilities = backend.capabilities
        self.checkpoint = self.renew = lambda: None
        backend.checkpoint = self._before_a_request
        backend.renew = lambda: self.renew()

    def _before_a_request(self) -> None:
        for _ in range(PERMISSIONS):
            may_at = self._take()
            self.checkpoint()
            if self._clock() - may_at <= LATE_S:
                return

    def _take(self) -> float:
        """Wait for a request that may be made now; returns since when, at the earliest."""
        if self._paid_at is not None:
            paid_at, self._paid_at = self._paid_at, None
            return paid_at
        asked = self._clock()
        wait_s = self._reserve()
        until = self._clock() + wait_s
        while (left_s := until - self._clock()) > 0:
            self._sleep(min(left_s, self._renew_every_s))
            self.renew()
        return asked + wait_s

    def read_zone(self, zone: Name) -> ZoneContents | None:
        self._before_a_request()
        return self._backend.read_zone(zone)

    def read_soa(self, zone: Name) -> SOA | None:
        self._before_a_request()
        return self._backend.read_soa(zone)

    def read_rrsets(self, zone: Name, keys: Collection[Key]) -> Mapping[Key, RRset]:
        self._before_a_request()
        return self._backend.read_rrsets(zone, keys)

    def read_changes(self, zone: Name, since: SOA) -> ZoneDelta | None:
        self._before_a_request()
        return self._backend.read_changes(zone, since)

    def read_back(self, zone: Name, since: SOA) -> ZoneDelta | ZoneContents | None:
        self._before_a_request()
        return self._backend.read_back(zone, since)

    def create_zone(self, zone: ZoneContents) -> Receipt | None:
        self._before_a_request()
        return self._backend.create_zone(zone)

    def apply(self, plan: Plan) -> Receipt:
        self._before_a_request()
        return self._backend.apply(plan)

    def apply_together(self, plans: Sequence[Plan]) -> list[Receipt | BackendError]:
        """One after the other, each taken from the budget."""
        return super().apply_together(plans)

    def has_arrived(self, zone: Name, change_id: str) -> bool:
        self._before_a_request()
        return self._backend.has_arrived(zone, change_id)

    def ds_records(self, zone: Name) -> list[str]:
        self._before_a_request()
        return self._backend.ds_records(zone)

    def delete_zone(self, zone: Name) -> None:
        self._before_a_request()
        self._backend.delete_zone(zone)

    def notify(self, zone: Name) -> None:
        self._before_a_request()
        self._backend.notify(zone)

    def check(self) -> Health:
        self._before_a_request()
        return self._backend.check()

    def close(self) -> None:
        self._backend.close()
