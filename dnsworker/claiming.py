"""What a process takes for itself of what is due at a target: one claim, or several that go together.

Separate from the doing: here is who may begin, by the target's limits and breaker, by the life of those who
have claims, and by whether the database is still the one that it was.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import sqlalchemy as sa

from dnsworker.convergence import Convoy, gather, gather_new
from dnsworker.database import reading
from dnsworker.lineage import Lineage
from dnsworker.liveness import ProcessLock
from dnsworker.precedence import Precedence
from dnsworker.settings import Settings
from dnsworker.store import agenda, breakers, claims
from dnsworker.store.claims import Claim
from dnsworker.store.pools import KnownPool
from dnsworker.turnstile import Turnstile

log = logging.getLogger(__name__)

#: How often a target with claims of others is checked for dead owners.
OWNER_CHECK_S = 0.5
#: Deliveries at once to a target of which `limits` say nothing, in each process.
SLOTS = 4
#: How long one probe of an open breaker may take.
PROBE_S = 15.0

#: How a claim is taken: one of `Precedence`'s ways.
Take = Callable[..., Claim | None]
#: How several are taken that go together.
Gather = Callable[..., Convoy | None]


class _ProbeTaken(Exception):
    """Somebody else probes the target."""


class _Restored(Exception):
    """The database is another one."""


class Claiming:
    """Of one process, for all targets. Safe for threads."""

    def __init__(
        self,
        engine: sa.Engine,
        settings: Settings,
        lock: ProcessLock,
        lineage: Lineage,
        turnstile: Turnstile,
        precedence: Precedence,
    ) -> None:
        self._engine, self._reading = engine, reading(engine)
        self._settings, self._lock, self._lineage = settings, lock, lineage
        self._turnstile, self._precedence = turnstile, precedence
        self._owners_checked: dict[str, float] = {}
        self._lock_checked = float("-inf")
        #: Targets that were in trouble when several deliveries were last to be taken there.
        self._unwell: set[str] = set()

    def slots_for(self, target: str, known: KnownPool) -> int:
        """No target may fill the worker: a quarter of its threads at most, and what its limits say."""
        allowed = known.pool.target(target).limits.concurrency or SLOTS
        return max(1, min(allowed, self._settings.concurrency // 4))

    def keep_lock(self) -> None:
        """A worker whose lock was lost with its connection looks dead, and all its claims are taken away."""
        moment = time.monotonic()
        if moment - self._lock_checked >= OWNER_CHECK_S:
            self._lock_checked = moment
            self._lock.take()

    def is_anything_due(self, known: KnownPool, target: str) -> bool:
        """Also what a dead worker held, which is due then."""
        target_id = known.target_ids[target]
        with self._reading.connect() as connection:
            if agenda.is_anything_due(connection, target_id):
                return True
        return self._free_dead_claims(target, target_id)

    def claim(self, known: KnownPool, target: str, take: Take) -> Claim | None:
        claim = self.claim_next(known, target, take)
        if claim is not None or not self._free_dead_claims(target, known.target_ids[target]):
            return claim
        return self.claim(known, target, take)

    def claim_next(self, known: KnownPool, target: str, take: Take) -> Claim | None:
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
                    connection, known, target, slots=self.slots_for(target, known), owner=self._lock.owner
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
            return self.claim_next(known, target, take)
        except BaseException:
            self._precedence.ended(claim)
            raise
        return claim

    def ways_together(self, known: KnownPool, target: str) -> list[Gather]:
        """What the target takes of several zones together; nothing where something is to be counted there."""
        can, limits = known.capabilities.get(target), known.pool.target(target).limits
        if can is None or limits.budget is not None or limits.concurrency:
            return []
        ways: list[tuple[int, Gather]] = [(can.pipelined, gather), (can.creates_together, gather_new)]
        return [way for at_once, way in ways if at_once > 1]

    def gather(self, way: Gather, known: KnownPool, target: str) -> Convoy | None:
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

    def _free_dead_claims(self, target: str, target_id: int) -> bool:
        """Take back what dead workers held; whether there was any."""
        moment = time.monotonic()
        if moment - self._owners_checked.get(target, float("-inf")) < OWNER_CHECK_S:
            return False
        self._owners_checked[target] = moment
        with self._reading.connect() as connection:
            owners = claims.owners(connection, target_id)
        return sum(free_dead_owner(self._engine, self._lock, owner) for owner in owners) > 0


def free_dead_owner(engine: sa.Engine, lock: ProcessLock, owner: int) -> bool:
    """Free the claims of a worker if it is dead; whether it is."""
    if not lock.is_dead(owner):
        return False
    with engine.begin() as connection:
        freed = claims.release_owner(connection, owner)
    log.warning("a worker has died (owner %d); its deliveries to %d targets go on", owner, len(freed))
    return True
