"""How many requests a target may be sent: the arithmetic of a rate and a burst, without any I/O.

Separate because two keepers count by it: the database (`dnsworker.store.budgets`) and Redis
(`dnsworker.redis_budget`, whose script is this in Lua).

A budget is kept as one moment, up to which its requests are paid for (GCRA: the theoretical arrival time of
ITU-T I.371). Each request moves it on by one interval; it may be ahead of the clock by `burst - 1` intervals.

    paid    ▓▓▓▓▓▓▓▓▓▓│            now: free, if what is paid ahead is at most the tolerance
    ──────────now─────┴──────►
              └ ahead ┘            else: free at paid - tolerance, which can be had in advance

The promise: between any two requests, both counted, there are at most burst + rate · seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

SECOND_US = 1_000_000
#: Who has begun a delivery waits for its further requests at least this long before it gives up its place.
PATIENCE_S = 30.0
#: And for so many requests of others, where they are slow in coming.
PATIENCE_REQUESTS = 32


@dataclass(frozen=True, slots=True)
class Budget:
    """`limits` of a target, as far as they are about requests."""

    requests_per_second: float
    burst: int

    @property
    def interval_us(self) -> int:
        """From one request to the next at the full rate; rounded up, never in favour of more."""
        return math.ceil(SECOND_US / self.requests_per_second)

    @property
    def longest_wait_us(self) -> int:
        """How long somebody in the middle of a delivery waits for a request at most."""
        return max(int(PATIENCE_S * SECOND_US), PATIENCE_REQUESTS * self.interval_us)

    def __str__(self) -> str:
        return f"{self.requests_per_second:g} requests per second"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of asking for one request. Moments are µs since 1970 by the keeper's clock."""

    #: What the keeper has to keep.
    paid_us: int
    now_us: int
    #: When the request may be made at the earliest.
    at_us: int
    #: It is paid for, and may be made at that moment. Else nothing was taken.
    is_granted: bool

    @property
    def wait_s(self) -> float:
        return (self.at_us - self.now_us) / SECOND_US


def take(
    budget: Budget, paid_us: int | None, now_us: int, *, patience_us: int, from_empty: bool = False
) -> Answer:
    """Take one request that may be made within `patience_us` from now; 0: at once or not at all.

    `from_empty`: what was kept may not be all that was used, so nothing is taken as saved up. The same goes
    for a budget of which nothing is known (`paid_us` None).
    """
    burst_us = budget.burst * budget.interval_us
    if paid_us is None or from_empty:
        paid_us = max(paid_us or 0, now_us + burst_us)
    # No further ahead than patience can have brought it: the clock was set back, or the rate has changed.
    paid_us = min(max(paid_us, now_us), now_us + burst_us + budget.longest_wait_us)
    at_us = max(now_us, paid_us - (budget.burst - 1) * budget.interval_us)
    if at_us - now_us > patience_us:
        return Answer(paid_us, now_us, at_us, is_granted=False)
    return Answer(paid_us + budget.interval_us, now_us, at_us, is_granted=True)
