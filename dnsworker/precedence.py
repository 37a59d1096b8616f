"""What is done next at a target: changes that somebody waits for, then repairs, then looks.

Separate from the deliveries, which do what they are given. What nobody waits for is bounded three ways: by a
rate for each target, kept in its row; by half of the slots, so that a change finds one and isn't slowed down
much; and the other way round by a share of the turns, so that it gets done while there are always changes.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator

import sqlalchemy as sa

from dnsworker.backend import load_backend
from dnsworker.budget import Budget
from dnsworker.convergence.look import tells_by_serial
from dnsworker.settings import Settings
from dnsworker.store import agenda, budgets, claims, comparisons
from dnsworker.store.agenda import CHANGE, REPAIR
from dnsworker.store.budgets import Kept
from dnsworker.store.claims import Claim
from dnsworker.store.pools import KnownPool

#: Every so many turns what nobody waits for comes first.
SHARE = 5
#: What has been due for so long has been passed over, or there is more to do than can be done.
PASSED_OVER_S = 1.0
#: Who was told to come back for a rate comes back for several at once.
COME_BACK_S = 0.25


class Slots:
    """How many deliveries to one target this process runs at once.

    A wake-up that finds no slot leaves a mark; whoever gives a slot back looks for it. So no wake-up waits
    in a thread, and none is lost.
    """

    def __init__(self) -> None:
        self._taken = 0
        self._is_marked = False
        self._guard = threading.Lock()

    def enter(self, count: int) -> bool:
        """Take one of `count` slots, which may be more or fewer the next time."""
        with self._guard:
            self._is_marked = True
            if self._taken >= count:
                return False
            self._taken += 1
            self._is_marked = False
            return True

    def leave(self) -> bool:
        """Whether somebody came by in the meantime and has to be served."""
        with self._guard:
            self._taken -= 1
            marked, self._is_marked = self._is_marked, False
            return marked


class Precedence:
    """Of one process, for all targets. Safe for threads."""

    def __init__(self, settings: Settings, come_back: Callable[[str, float], None]) -> None:
        """`come_back(target, delay_s)` has the target looked at again."""
        self._settings, self._come_back = settings, come_back
        self._guard = threading.Lock()
        self._turns: Counter[str] = Counter()
        #: Target → how many of its deliveries in the background this process is at work on.
        self._running: Counter[str] = Counter()

    def has_due(self, connection: sa.Connection, known: KnownPool, target: str) -> bool:
        """Whether `claim` would find something, if nobody else is quicker."""
        target_id = known.target_ids[target]
        if agenda.has_due(connection, target_id, CHANGE):
            return True
        for rate, kept in self._background(connection, known, target):
            wait_s = budgets.wait_s(connection, target_id, rate, kept)
            if wait_s <= 0:
                return True
            self._come_back(target, max(wait_s, COME_BACK_S))
        return False

    def begin_turn(self, target: str) -> bool:
        """Whether it is the turn of what nobody waits for."""
        with self._guard:
            self._turns[target] += 1
            return self._turns[target] % SHARE == 0

    def claim(
        self, connection: sa.Connection, known: KnownPool, target: str, *, slots: int, owner: int
    ) -> Claim | None:
        """Claim what is next at the target; None when there is nothing, or nothing that may be done yet.

        Whoever gets a claim says when it has `ended`.
        """
        is_others_turn = self.begin_turn(target)
        target_id, lease_s = known.target_ids[target], self._settings.lease_s
        if is_others_turn and (
            claim := self.claim_background(connection, known, target, slots=slots, owner=owner)
        ):
            return claim
        claim = claims.claim_next(connection, target_id, target, owner=owner, lease_s=lease_s)
        if claim is not None or is_others_turn:
            return claim
        return self.claim_background(connection, known, target, slots=slots, owner=owner)

    def claim_left(
        self, connection: sa.Connection, known: KnownPool, target: str, *, slots: int, owner: int
    ) -> Claim | None:
        """As `claim`, of what stays behind while deliveries go together: what nobody waits for, and what
        doesn't go with others and has been passed over for a while."""
        claim = self.claim_background(connection, known, target, slots=slots, owner=owner)
        if claim is not None:
            return claim
        return claims.claim_next(
            connection, known.target_ids[target], target,
            owner=owner, lease_s=self._settings.lease_s, waited_s=PASSED_OVER_S,
        )  # fmt: skip

    def ended(self, claim: Claim | None) -> None:
        """The claim was given back, or came to nothing."""
        if claim is not None and claim.is_background:
            with self._guard:
                self._running[claim.target] -= 1

    def claim_background(
        self, connection: sa.Connection, known: KnownPool, target: str, *, slots: int, owner: int
    ) -> Claim | None:
        """As `claim`, of what nobody waits for."""
        limit = known.pool.target(target).limits.concurrency or 1
        if limit > 1 and claims.claimed(connection, known.target_ids[target]) >= limit - 1:
            return None
        with self._guard:
            if self._running[target] >= max(1, slots // 2):
                return None
            self._running[target] += 1
        claim = None
        try:
            claim = self._claim_within_rate(connection, known, target, owner)
        finally:
            if claim is None:
                with self._guard:
                    self._running[target] -= 1
        return claim

    def _claim_within_rate(
        self, connection: sa.Connection, known: KnownPool, target: str, owner: int
    ) -> Claim | None:
        target_id, lease_s = known.target_ids[target], self._settings.lease_s
        for rate, kept in self._background(connection, known, target):
            answer = budgets.take(connection, target_id, rate, kept=kept)
            if not answer.is_granted:
                self._come_back(target, max(answer.wait_s, COME_BACK_S))
                continue
            if kept == "repairs_paid_us":
                claim = claims.claim_next(
                    connection, target_id, target, owner=owner, lease_s=lease_s, priority=REPAIR
                )
            else:
                kind = load_backend(known.pool.target(target).type)
                claim = comparisons.claim_look(
                    connection, target_id, target, owner=owner, lease_s=lease_s,
                    full_s=self._settings.compare_full_s,
                    tells_by_serial=tells_by_serial(kind, known.capabilities[target]),
                )  # fmt: skip
            if claim is not None:
                return claim
        return None

    def _background(
        self, connection: sa.Connection, known: KnownPool, target: str
    ) -> Iterator[tuple[Budget, Kept]]:
        """What there is to do that nobody waits for, by how much of it may be done. Repairs come first."""
        has_repair, has_stale = agenda.in_background(connection, known.target_ids[target])
        has_stale = has_stale and known.compares(target)
        if (has_repair or has_stale) and comparisons.mass_ahead(connection) is None:
            if has_repair:
                yield evenly(known.pool.target(target).limits.repairs_per_second), "repairs_paid_us"
            if has_stale:
                yield evenly(self._settings.compare_per_minute / 60), "looks_paid_us"


def evenly(per_second: float) -> Budget:
    """At most what comes together until somebody comes back: many at once would hold up changes."""
    return Budget(per_second, max(1, math.ceil(per_second * COME_BACK_S)))
