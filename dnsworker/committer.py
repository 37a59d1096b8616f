"""Takes submissions in as they come: what comes while a transaction runs goes into the next one together.

So an idle system takes each in at once, and a busy one many for little more than the price of one. What
concerns a zone that somebody has locked for long (an import, another worker's) waits in a lane of its own, in
a thread of its own, and the others go on.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from dnsworker import queues
from dnsworker.intake import Arrival, Fate, Taken

#: Submissions in one transaction.
AT_ONCE = queues.AT_ONCE["dns.intake"]
#: For so long what concerns a locked zone is tried again with the next transaction.
BUSY_S = 0.2
#: Between two attempts where there is nothing else to do.
BUSY_PAUSE_S = 0.002


@dataclass(slots=True)
class Waiting:
    """A submission, and who is told what became of it."""

    arrival: Arrival
    done: Callable[[Fate | Exception], None]
    #: Since when its zone has been found locked.
    busy_since: float | None = None

    @property
    def zone(self) -> str:
        """Which lane it belongs to: as good as the zone's name is before it was validated."""
        zone = self.arrival.arguments.get("zone")
        return zone.lower().rstrip(".") if isinstance(zone, str) else ""


class Receive(Protocol):
    """Takes submissions in, however long the database is away; raises when it gives up."""

    def __call__(self, arrivals: Sequence[Arrival], *, wait: bool) -> Taken: ...


class Committer:
    """`put` and `stop` from any thread; `spawn` runs its argument in a thread of the worker's pool."""

    def __init__(self, receive: Receive, spawn: Callable[[Callable[[], None]], None]) -> None:
        self._receive, self._spawn = receive, spawn
        self._guard = threading.Lock()
        self._buffer: deque[Waiting] = deque()
        #: Zone → what waits for it, where a thread is at work on it.
        self._lanes: dict[str, deque[Waiting]] = {}
        self._is_running = self._is_stopping = False

    def put(self, waiting: Waiting) -> None:
        with self._guard:
            lane = self._lanes.get(waiting.zone) if self._lanes else None
            if lane is not None:
                lane.append(waiting)
                return
            self._buffer.append(waiting)
            if self._is_running:
                return
            self._is_running = True
        self._spawn(self._run)

    def stop(self) -> None:
        """Take in nothing more: what waits is delivered again, to others."""
        self._is_stopping = True

    def _run(self) -> None:
        """One transaction, then the place in the pool's queue is given up: others are waiting there, too."""
        group = self._next(self._buffer, is_main=True)
        busy = self._take(group, wait=False)
        with self._guard:
            lanes = self._set_aside(busy)
            self._is_running = bool(self._buffer) and not self._is_stopping
            goes_on = self._is_running
        for zone in lanes:
            self._spawn(lambda zone=zone: self._run_lane(zone))  # type: ignore[misc]
        if goes_on:
            if len(busy) == len(group):
                time.sleep(BUSY_PAUSE_S)
            self._spawn(self._run)

    def _run_lane(self, zone: str) -> None:
        self._take(self._next(self._lanes[zone]), wait=True)
        with self._guard:
            goes_on = bool(self._lanes[zone]) and not self._is_stopping
            if not goes_on:
                del self._lanes[zone]
        if goes_on:
            self._spawn(lambda: self._run_lane(zone))

    def _next(self, waiting: deque[Waiting], *, is_main: bool = False) -> list[Waiting]:
        group: list[Waiting] = []
        with self._guard:
            while waiting and len(group) < AT_ONCE and not self._is_stopping:
                one = waiting.popleft()
                if is_main and one.zone in self._lanes:
                    self._lanes[one.zone].append(one)
                else:
                    group.append(one)
        return group

    def _set_aside(self, busy: Sequence[Waiting]) -> list[str]:
        """Put back what is to be tried again, before all that came later; returns the zones of new lanes."""
        moment, opened = time.monotonic(), []
        for one in busy:
            one.busy_since = one.busy_since or moment
            if moment - one.busy_since > BUSY_S and one.zone not in self._lanes:
                self._lanes[one.zone] = deque()
                opened.append(one.zone)
        # What came meanwhile goes along: what comes from now on goes into the lane at once, and behind it.
        waiting = [*busy, *self._buffer] if opened else busy
        if opened:
            self._buffer.clear()
        again: deque[Waiting] = deque()
        for one in waiting:
            self._lanes.get(one.zone, again).append(one)
        self._buffer.extendleft(reversed(again))
        return opened

    def _take(self, group: Sequence[Waiting], *, wait: bool) -> list[Waiting]:
        """Take a group in and tell each what became of it; returns those whose zones are locked."""
        if not group:
            return []
        try:
            taken = self._receive([one.arrival for one in group], wait=wait)
        except Exception as exc:  # noqa: BLE001 - each is told, and whoever is told knows what to do
            for one in group:
                one.done(exc)
            return []
        left = {id(arrival) for arrival in taken.busy}
        for one in group:
            if id(one.arrival) not in left:
                one.done(_result(taken, one.arrival))
        return [one for one in group if id(one.arrival) in left]


def _result(taken: Taken, arrival: Arrival) -> Fate | Exception:
    key = arrival.operation_id
    return taken.failed.get(key) or taken.reused.get(key) or taken.fates[key]
