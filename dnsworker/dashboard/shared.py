"""One reading for all who look: made when somebody asks and the last one is too old, by one of them.

Separate because it is what keeps a wall of browsers from being a load on the database.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from anyio import CapacityLimiter, to_thread

from dnsworker.dashboard.reading import AT_ONCE, DatabaseAway

#: Pages that are kept; of those beyond them the one that was looked at longest ago is forgotten.
KEPT = 128
#: A reading that took long rests for this many times as long: at most a tenth of the time is spent reading.
REST = 9


@dataclass(frozen=True, slots=True)
class Reading:
    """What was last read, and whether it could be read again."""

    #: None: it never could.
    value: Any = None
    read_at: datetime | None = None
    #: Why the value isn't newer; None when it is as new as it should be.
    error: str | None = None


@dataclass(slots=True)
class _Place:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    reading: Reading = field(default_factory=Reading)
    good_until: float = float("-inf")


class Shared:
    """Readings by key, each handed out until it is `interval_s` old, or `rest` times as old as it took."""

    def __init__(
        self, interval_s: float, *, rest: float = REST, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval_s, self._rest, self._clock = interval_s, rest, clock
        self._places: OrderedDict[Hashable, _Place] = OrderedDict()
        self._threads = CapacityLimiter(AT_ONCE)

    async def get(self, key: Hashable, read: Callable[[], Any]) -> Reading:
        """The reading of `key`, by `read` in a thread when it is time. What `read` raises besides
        `DatabaseAway` is raised, and nothing is kept of it."""
        place = self._places.setdefault(key, _Place())
        self._places.move_to_end(key)
        while len(self._places) > KEPT:
            self._places.popitem(last=False)
        async with place.lock:
            if self._clock() >= place.good_until:
                began = self._clock()
                place.reading = await self._attempt(read, place.reading)
                took = self._clock() - began
                place.good_until = self._clock() + max(self._interval_s, self._rest * took)
            return place.reading

    async def _attempt(self, read: Callable[[], Any], last: Reading) -> Reading:
        try:
            value = await to_thread.run_sync(read, limiter=self._threads)
        except DatabaseAway as exc:
            return replace(last, error=str(exc))
        return Reading(value, datetime.now(UTC))
