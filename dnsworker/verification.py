"""Asking the nameservers until they answer with what they should; many zones in one loop, in one thread.

The first look follows a delivery at once, later ones come after growing pauses. A look that gets lost with
its process is repeated by the sweep, from the zone's row.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar, TypeVarTuple

import sqlalchemy as sa

from dnsworker import serials, settlement
from dnsworker.database import reading
from dnsworker.errors import DNSWorkerError
from dnsworker.inquiry import Inquiry, address_of, expect, gone, inquiries_about, judged, observed_row
from dnsworker.observer import Observed, Observer
from dnsworker.records import Key
from dnsworker.settings import Settings
from dnsworker.settlement import Settled
from dnsworker.store import observations, zones
from dnsworker.store.pools import KnownPool, PoolDirectory
from dnsworker.store.rows import ZoneRow
from dnsworker.tables import now

log = logging.getLogger(__name__)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: Seconds between looks at a zone that isn't right yet; the last one repeats.
PAUSES_S = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, *[30.0] * 20, 60.0, 120.0, 300.0)
#: Questions in a row without an answer after which a nameserver is asked once in `ASK_SILENT_S` only.
SILENT_AFTER = 8
ASK_SILENT_S = 1.0
#: How fast the zones that waited for a silent nameserver are looked at when it answers again.
LOOKS_PER_S = 100
#: How much later than this process means to look the sweep looks.
SWEEP_SLACK_S = 5.0
#: After a look that failed for a reason of ours (the database is away).
LOOK_AGAIN_S = 1.0
DATABASE_THREADS = 4
LOOKS_AT_ONCE = 200


@dataclass(slots=True)
class Examination:
    """A zone, and whom to ask what."""

    known: KnownPool
    zone: ZoneRow
    inquiries: list[Inquiry]


@dataclass(slots=True)
class Silence:
    """A nameserver that doesn't answer is asked now and then, and not for each zone that waits for it."""

    unanswered: int = 0
    next_at: float = 0.0
    error: str = ""

    def may_ask(self, moment: float) -> bool:
        """Whether to ask now, by the loop's clock; while it is silent, the first to come asks for all."""
        if self.unanswered < SILENT_AFTER:
            return True
        if moment < self.next_at:
            return False
        self.next_at = moment + ASK_SILENT_S
        return True

    def heard(self, observed: Observed, moment: float) -> bool:
        """Note what came of a question; whether it is the first answer after a silence."""
        if observed.kind != "answer" and not observed.rcode:
            self.unanswered += 1
            self.next_at = moment + ASK_SILENT_S
            self.error = observed.error or "no answer"
            return False
        was_silent = self.unanswered >= SILENT_AFTER
        self.unanswered = 0
        return was_silent


class Verifier:
    """Looks at zones when told to, until they are right. `on_settled` is called from its own threads."""

    def __init__(
        self,
        engine: sa.Engine,
        directory: PoolDirectory,
        settings: Settings,
        on_settled: Callable[[Settled], None],
    ) -> None:
        self._engine, self._reading = engine, reading(engine)
        self._directory, self._settings = directory, settings
        self._on_settled = on_settled
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="verifier", daemon=True)
        self._database = ThreadPoolExecutor(DATABASE_THREADS, thread_name_prefix="verifier-db")
        self._observer = Observer()
        self._gate: asyncio.Semaphore | None = None
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
        self._gate = asyncio.Semaphore(LOOKS_AT_ONCE)
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
        task = self._loop.create_task(self._watch(zone_id))
        task.add_done_callback(lambda done: self._done(zone_id, done))

    def _done(self, zone_id: int, task: asyncio.Task[float | None]) -> None:
        again = self._looking.pop(zone_id, False)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            log.warning("looking at zone %d failed: %s", zone_id, _words(error), extra={"zone_id": zone_id})
            self._timers[zone_id] = self._loop.call_later(LOOK_AGAIN_S, self._look, zone_id)
            return
        pause = task.result()
        if again:
            self._look(zone_id)
        elif pause is not None:
            self._timers[zone_id] = self._loop.call_later(pause, self._look, zone_id)

    async def _watch(self, zone_id: int) -> float | None:
        """One look; returns the pause until the next, None when none is needed."""
        assert self._gate is not None, "the loop is running"
        async with self._gate:
            examination = await self._in_thread(self._prepare, zone_id)
            if examination is None:
                return None
            asked = [self._ask(examination.zone, inquiry) for inquiry in examination.inquiries]
            seen = await asyncio.gather(*asked)
            return await self._in_thread(self._record, examination, list(seen))

    async def _in_thread(self, function: Callable[[*Ts], T], *arguments: *Ts) -> T:
        return await self._loop.run_in_executor(self._database, function, *arguments)

    # --- asking ----------------------------------------------------------------------------------------

    async def _ask(self, zone: ZoneRow, inquiry: Inquiry) -> dict[str, Any]:
        """Ask one nameserver; returns its row of `observation`."""
        server = address_of(inquiry.nameserver)
        timeout_s = self._settings.query_timeout_s
        silence = self._silences.setdefault(inquiry.witness.name, Silence())
        if not silence.may_ask(self._loop.time()):
            return observed_row(inquiry, None, f"{silence.error}; it has been silent for a while")
        soa = await self._observer.ask(server, zone.name, "SOA", timeout_s)
        if silence.heard(soa, self._loop.time()):
            log.info("nameserver %s answers again", inquiry.witness.name)
            self._look_soon()
        contents: dict[Key, Observed] = {}
        if soa.kind == "answer" and inquiry.expected:
            answers = await asyncio.gather(
                *(self._observer.ask(server, name, type_, timeout_s) for name, type_ in inquiry.expected)
            )
            contents = dict(zip(inquiry.expected, answers, strict=True))
        if zone.is_deleted:
            return gone(zone, inquiry, soa)
        return judged(zone, inquiry, soa, contents)

    # --- the database ----------------------------------------------------------------------------------

    def _prepare(self, zone_id: int) -> Examination | None:
        with self._reading.connect() as connection:
            zone = zones.get(connection, zone_id)
            known = self._directory.get(zone.pool_id)
            standing = settlement.read_standing(connection, known, zone)
            inquiries = inquiries_about(standing, zone)
            if not zone.is_deleted:
                expect(connection, standing, zone, inquiries)
        return Examination(known, zone, inquiries)

    def _record(self, examination: Examination, seen: list[dict[str, Any]]) -> float | None:
        zone = examination.zone
        with self._engine.begin() as connection:
            locked = zones.lock(connection, zone.id)
            if locked.revision < zone.revision:  # the database was restored while we asked
                return LOOK_AGAIN_S
            known = {one.nameserver: one for one in observations.of_zone(connection, zone.id).values()}
            for row in seen:
                # Another worker may have seen more in the meantime.
                before = known.get(row["nameserver"])
                if before is not None:
                    row["verified_revision"] = max(row["verified_revision"], before.verified_revision)
            observations.put(connection, zone.id, seen)
            highest = serials.latest(locked.seen_serial, *(row["serial"] for row in seen))
            settled = settlement.settle(connection, examination.known, zone.id)
            pause = self._pause(settled, locked.looks)
            zones.update(
                connection, zone.id,
                seen_serial=highest,
                looks=0 if pause is None else locked.looks + 1,
                look_at=None if pause is None else now(pause + SWEEP_SLACK_S),
            )  # fmt: skip
        self._on_settled(settled)
        return pause

    @staticmethod
    def _pause(settled: Settled, looks: int) -> float | None:
        """None where there is nobody to ask again: the next delivery starts the next look.

        Judged by the rows as they are under the zone's lock: since the nameservers were asked, another worker
        may have delivered, and died.
        """
        if not settled.is_open or settled.standing is None or settled.zone is None:
            return None
        if not inquiries_about(settled.standing, settled.zone):
            return None
        return PAUSES_S[min(looks, len(PAUSES_S) - 1)]


def _words(error: BaseException) -> str:
    if isinstance(error, DNSWorkerError):
        return error.message
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
