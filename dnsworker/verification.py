"""Asking the nameservers until they answer with what they should; many zones in one loop, in one thread.

The first look follows a delivery at once, later ones come after growing pauses. A look that gets lost with
its process is repeated by the sweep, from the zone's row.

What the database is asked and told goes there for as many zones together as have come up since the last time:
one for itself when nothing else goes on, some dozens under load. In between each zone is by itself, so that
none waits for the nameservers of another.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, TypeVarTuple

import sqlalchemy as sa

from dnsworker.database import AWAY
from dnsworker.errors import DNSWorkerError
from dnsworker.examination import LOOK_AGAIN_S, Examination, Examiner
from dnsworker.inquiry import Inquiry, address_of, gone, judged, observed
from dnsworker.monitoring.events import Events, Verdict
from dnsworker.observer import Observed, Observer, is_gone
from dnsworker.settings import Settings
from dnsworker.settlement import Settled
from dnsworker.silence import Silence
from dnsworker.store.observations import Observation
from dnsworker.store.pools import PoolDirectory
from dnsworker.store.rows import ZoneRow
from dnsworker.tracing.tracing import Tracing

log = logging.getLogger(__name__)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: How fast the zones that waited for a silent nameserver are looked at when it answers again.
LOOKS_PER_S = 100
DATABASE_THREADS = 4
#: Zones in one transaction.
ZONES_AT_ONCE = 200


@dataclass(slots=True)
class Together(Generic[T]):
    """What waits to be done together, while something like it is being done."""

    waiting: list[T] = field(default_factory=list)
    is_busy: bool = False


class Verifier:
    """Looks at zones when told to, until they are right."""

    def __init__(
        self,
        engine: sa.Engine,
        directory: PoolDirectory,
        settings: Settings,
        on_settled: Callable[[sa.Connection, Sequence[Settled]], Callable[[], None]],
        events: Events,
        tracing: Tracing,
    ) -> None:
        """`on_settled` is called within the transaction that settles zones, and what it returns after it."""
        self._settings, self._events = settings, events
        self._examiner = Examiner(engine, directory, on_settled, events, tracing)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="verifier", daemon=True)
        self._database = ThreadPoolExecutor(DATABASE_THREADS, thread_name_prefix="verifier-db")
        self._observer = Observer()
        self._asked_for: Together[int] = Together()
        self._answered: Together[Examination] = Together()
        #: The loop keeps only weak references to its tasks.
        self._tasks: set[asyncio.Task[None]] = set()
        #: Zones being looked at → look again as soon as that is done.
        self._looking: dict[int, bool] = {}
        self._timers: dict[int, asyncio.TimerHandle] = {}
        #: By nameserver; used in the loop's thread only.
        self._silences: dict[str, Silence] = {}

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends at once; what is not finished is in the rows."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=5)
        self._database.shutdown(wait=False, cancel_futures=True)

    def look(self, zone_id: int) -> None:
        """Look at the zone now. From any thread; after `stop` the sweeps of others do."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._look, zone_id)

    def is_turning(self, timeout_s: float) -> bool:
        """Whether the loop comes round within that time."""
        if self._loop.is_closed():
            return False
        came_round = threading.Event()
        self._loop.call_soon_threadsafe(came_round.set)
        return came_round.wait(timeout_s)

    def call_later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Run `action` in a thread after `delay_s`: the early clock of a retry (the row is the real one)."""

        def start() -> None:
            self._loop.call_later(delay_s, lambda: self._database.submit(action))

        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(start)

    def _look_soon(self) -> None:
        """Look at the zones that wait, spread over a while instead of each at the end of its pause."""
        waiting, self._timers = self._timers, {}
        spread_s = len(waiting) / LOOKS_PER_S
        for zone_id, timer in waiting.items():
            timer.cancel()
            delay_s = random.uniform(0.0, spread_s)  # noqa: S311 - spreads the looks, guards nothing
            self._timers[zone_id] = self._loop.call_later(delay_s, self._look, zone_id)

    # --- the loop --------------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        pending = asyncio.all_tasks(self._loop)
        for task in pending:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        self._loop.run_until_complete(self._observer.close())
        self._loop.close()

    def _look(self, zone_id: int) -> None:
        timer = self._timers.pop(zone_id, None)
        if timer is not None:
            timer.cancel()
        if zone_id in self._looking:
            self._looking[zone_id] = True
            return
        self._looking[zone_id] = False
        self._do_together(self._asked_for, zone_id, self._examine)

    def _do_together(
        self, kind: Together[T], one: T, work: Callable[[list[T]], Coroutine[Any, Any, None]]
    ) -> None:
        """Have `one` done with all others of its kind that come up until its turn."""
        kind.waiting.append(one)
        if not kind.is_busy:
            kind.is_busy = True
            self._spawn(self._work_off(kind, work))

    async def _work_off(
        self, kind: Together[T], work: Callable[[list[T]], Coroutine[Any, Any, None]]
    ) -> None:
        try:
            while kind.waiting:
                batch, kind.waiting = kind.waiting[:ZONES_AT_ONCE], kind.waiting[ZONES_AT_ONCE:]
                await work(batch)
        finally:
            kind.is_busy = False

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _examine(self, zone_ids: list[int]) -> None:
        """The first half of a look: what to ask whom; the questions then go on by themselves."""
        examinations = await self._in_thread(self._examiner.prepare, zone_ids)
        if isinstance(examinations, BaseException):
            await self._each_alone(zone_ids, examinations, self._examine)
            return
        for examination in examinations:
            self._spawn(self._question(examination))

    async def _question(self, examination: Examination) -> None:
        zone = examination.zone
        asked = [self._ask(zone, inquiry) for inquiry in examination.inquiries]
        for seen in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(seen, BaseException):
                self._failed(zone.id, seen, zone.name)
                return
            examination.seen.append(seen)
        self._do_together(self._answered, examination, self._conclude)

    async def _conclude(self, examinations: list[Examination]) -> None:
        """The second half: write down what was seen, and what follows from it."""
        by_id = {one.zone.id: one for one in examinations}
        pauses = await self._in_thread(self._examiner.record, examinations)
        if isinstance(pauses, BaseException):
            await self._each_alone(
                list(by_id), pauses, lambda ids: self._conclude([by_id[one] for one in ids])
            )
            return
        for zone_id, pause in pauses.items():
            self._done(zone_id, pause)
        for zone_id in by_id.keys() - pauses.keys():  # somebody has it locked: waited for by itself
            self._spawn(self._conclude([by_id[zone_id]]))

    async def _each_alone(
        self, zone_ids: Sequence[int], error: BaseException, work: Callable[[list[int]], Awaitable[None]]
    ) -> None:
        """After a failure with several zones: it may be due to one of them."""
        if len(zone_ids) == 1 or isinstance(error, AWAY):
            for zone_id in zone_ids:
                self._failed(zone_id, error)
            return
        for zone_id in zone_ids:
            await work([zone_id])

    def _failed(self, zone_id: int, error: BaseException, name: str | None = None) -> None:
        """`name`: of the zone, where it is known."""
        log.warning("looking at zone %s failed: %s", name or zone_id, _words(error), extra={"zone": name})
        self._looking.pop(zone_id, None)
        self._timers[zone_id] = self._loop.call_later(LOOK_AGAIN_S, self._look, zone_id)

    def _done(self, zone_id: int, pause: float | None) -> None:
        """A look has come to its end; in `pause` seconds to the next, or none is needed."""
        if self._looking.pop(zone_id, False):
            self._look(zone_id)
        elif pause is not None:
            self._timers[zone_id] = self._loop.call_later(pause, self._look, zone_id)

    async def _in_thread(self, function: Callable[[*Ts], T], *arguments: *Ts) -> T | BaseException:
        """What the function returns or raises: whatever it is, no zone may be forgotten for it."""
        done = self._loop.run_in_executor(self._database, function, *arguments)
        (result,) = await asyncio.gather(done, return_exceptions=True)
        return result

    # --- asking ----------------------------------------------------------------------------------------

    async def _ask(self, zone: ZoneRow, inquiry: Inquiry) -> Observation:
        """Ask one nameserver; returns what it was seen to have."""
        server = address_of(inquiry.nameserver)
        timeout_s = self._settings.query_timeout_s
        silence = self._silences.setdefault(inquiry.witness.name, Silence())
        if not silence.may_ask(self._loop.time()):
            return observed(zone, inquiry, None, f"{silence.error}; it has been silent for a while")
        questions = [(zone.name, "SOA"), *inquiry.expected]
        if silence.unanswered:  # perhaps it isn't there at all
            questions = questions[:1]
        soa, *answers = await self._observer.ask_all(server, questions, timeout_s)
        if silence.heard(soa, self._loop.time()):
            name = inquiry.witness.name
            log.info("nameserver %s answers again", name, extra={"nameserver": name})
            self._look_soon()
        if soa.kind == "answer" and not answers:
            answers = await self._observer.ask_all(server, list(inquiry.expected), timeout_s)
        contents = dict(zip(inquiry.expected, answers, strict=False))
        seen = gone(zone, inquiry, soa) if zone.is_deleted else judged(zone, inquiry, soa, contents)
        self._events.judged(inquiry.witness.name, _verdict(zone, seen, [soa, *contents.values()]))
        return seen


def _verdict(zone: ZoneRow, seen: Observation, answers: Iterable[Observed]) -> Verdict:
    """No answer that tells says neither."""
    if seen.error is None:
        return "right"
    is_told = all(
        is_gone(one, zone.name) is not None if zone.is_deleted else one.kind == "answer" for one in answers
    )
    return "disagrees" if is_told else "unanswered"


def _words(error: BaseException) -> str:
    if isinstance(error, DNSWorkerError):
        return error.message
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
