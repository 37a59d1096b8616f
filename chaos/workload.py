"""Clients that submit a seeded mix of changes, and the model of what these must come to.

Each client has zones of its own, and names of its own in one that all share, so the model is what one client
did, in its order. The last client submits straight into the database. A submission
that isn't confirmed is repeated under its id until it is: the documented way, by which it is done once.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from chaos.system import CLIENTS, OWN_ZONES, SHARED_ZONE, ZONES_EACH, System
from dev.model import (
    OWNERS,
    Batch,
    Creation,
    Deletion,
    Import,
    Model,
    NewTTL,
    Step,
    Submission,
    address_of,
    step,
)
from dev.servers import ServerError
from dev.servers.process import wait_until
from dnsworker import database
from dnsworker.errors import SubmissionFailed
from dnsworker.tables import operation

PAUSE_S = (0.02, 0.25)
AGAIN_S = 0.2
#: Of each submission; the rest are steps on one RRset.
BATCHES, DELETIONS, CREATIONS, NEW_TTLS, IMPORTS = 0.1, 0.03, 0.01, 0.03, 0.02
#: So many that an import never removes what the guard would count.
IMPORTED = (6, 12)
#: Of those on a zone that isn't there: it comes back soon, and some are refused until then.
RETURNS = 0.4
ENDS_WITHIN_S = 60.0
READY_S = 30.0
#: So many submissions later an earlier one should be taken in, but nobody waits longer for that.
AHEAD, FOLLOWS_WITHIN_S = 20, 10.0
#: What operations on a zone end with that is there only until a target refuses to have it created.
JUDGED_MEANWHILE = ("RecordExists", "RecordNotFound")


@dataclass(frozen=True)
class Confirmed:
    """An operation that the broker has confirmed, and what must become of it."""

    id: str
    zone: str
    submission: Submission
    #: The code of the refusal; None: it must succeed.
    refusal: str | None
    #: By the monotonic clock.
    at: float = 0.0


class ClientThread(threading.Thread):
    """One client at work on its zones, until it is told to stop."""

    def __init__(
        self, system: System, number: int, rng: random.Random, stop: threading.Event, *, is_direct: bool
    ):
        zones = OWN_ZONES[number * ZONES_EACH : (number + 1) * ZONES_EACH]
        super().__init__(name=f"client of {zones[0]}", daemon=True)
        share = len(OWNERS) // CLIENTS
        #: Its names in the zone that all share.
        self._share = OWNERS[number * share : (number + 1) * share]
        self._system, self._rng, self._stop_event = system, rng, stop
        self.models = _models(zones)
        self.confirmed: list[Confirmed] = []
        self.repeated = 0
        #: Zones that a target may still have and a restored database no longer knows.
        self._orphans: set[str] = set()
        #: What ended it, or what it could not get confirmed.
        self.failure: str | None = None
        #: One from the first submission to the last: only those of one client have an order.
        self._client = system.new_client(is_direct=is_direct)
        self._numbers = itertools.count()

    def run(self) -> None:
        try:
            for zone, submission in self._work():
                self._submit(zone, submission)
        except Exception as exc:  # noqa: BLE001 - whatever ends a client is a finding
            self.failure = f"{self.name}: {type(exc).__name__}: {exc}"

    def replay(
        self, lost: Collection[str], codes: Mapping[str, str | None], late: Collection[str] = ()
    ) -> None:
        """Let the model forget operations that went with the database; it foresees the others anew.

        A zone that a target still has and the database no longer knows can't be created (`ZoneExists`), which
        shows at its delivery: until then it was there, and what came was judged by that. `codes`: with what
        each operation has ended. `late`: those that were on their way for longer than others wait for them.
        """
        self.models = _models(self.models)
        self._orphans |= {one.zone for one in self.confirmed if one.id in lost}
        kept = [one for one in self.confirmed if one.id not in lost]
        self.confirmed = []
        for one in kept:
            model, code = self.models[one.zone], codes.get(one.id)
            if one.id in late:
                self.confirmed.append(replace(one, refusal=code))
                continue
            is_refused_late = isinstance(one.submission, Creation) and code == "ZoneExists"
            if (
                one.zone in self._orphans
                and not model.exists
                and (is_refused_late or code in JUDGED_MEANWHILE)
            ):
                refusal = code
            else:
                refusal = model.run(one.submission)
            self.confirmed.append(replace(one, refusal=refusal))

    def submit(self, zone: str, submission: Submission) -> None:
        """One more, in the order of this client."""
        self._submit(zone, submission)

    def touch(self, zone: str, *, force: bool = False) -> None:
        """One more change of the zone, by which its targets are looked at."""
        self._submit(zone, Step("put", self._share[0], "203.0.113.1", None, force=force))

    def touch_all(self) -> None:
        """One more change of each zone that is there."""
        for zone, model in self.models.items():
            if model.exists:
                self.touch(zone)

    def close(self) -> None:
        self._client.close()

    def _work(self) -> Iterator[tuple[str, Submission]]:
        for zone in self.models:
            if zone != SHARED_ZONE:
                yield zone, Creation()
        while not self._stop_event.wait(self._rng.uniform(*PAUSE_S)):
            zone = self._rng.choice(list(self.models))
            yield zone, self._steps(self._share) if zone == SHARED_ZONE else self._next(self.models[zone])

    def _next(self, model: Model) -> Submission:
        what = self._rng.random()
        if not model.exists and what < RETURNS:
            return Creation()
        if what < CREATIONS:
            return Creation()
        if what < CREATIONS + DELETIONS:
            return Deletion()
        if what < CREATIONS + DELETIONS + NEW_TTLS:
            return NewTTL(self._rng.choice((600, 1800, 7200)))
        if what > 1 - IMPORTS and model.exists:
            return self._import()
        return self._steps(OWNERS)

    def _import(self) -> Import:
        owners = self._rng.sample(OWNERS, self._rng.randint(*IMPORTED))
        ttls = (60, 300, 3600)
        return Import(
            tuple((one, address_of(next(self._numbers)), self._rng.choice(ttls)) for one in sorted(owners))
        )

    def _steps(self, owners: Sequence[str]) -> Submission:
        """Mostly one."""
        first = step(self._rng, next(self._numbers), owners)
        if self._rng.random() < BATCHES:
            others = (step(self._rng, next(self._numbers), owners) for _ in range(2))
            return Batch(tuple({one.owner: one for one in (first, *others)}.values()))
        return first

    def _submit(self, zone: str, submission: Submission) -> None:
        again = None
        while True:
            try:
                id_ = submission.submit(self._client, zone, again).id
                break
            except SubmissionFailed as exc:
                self.repeated += 1
                again = exc.operation_id or again
                threading.Event().wait(AGAIN_S)
        refusal = self.models[zone].run(submission)
        self.confirmed.append(Confirmed(id_, zone, submission, refusal, time.monotonic()))
        if len(self.confirmed) % AHEAD == 0:
            self._let_workers_follow()

    def _let_workers_follow(self) -> None:
        """On a machine that is too slow a queue that only grows would outlast every grace."""
        earlier = sa.select(operation.c.id).where(operation.c.id == self.confirmed[-AHEAD].id)

        def is_taken_in() -> bool:
            with self._system.engine.connect() as connection:
                return connection.execute(earlier).first() is not None

        with contextlib.suppress(ServerError, *database.AWAY):
            wait_until(is_taken_in, FOLLOWS_WITHIN_S, "an operation to be taken in")


def _models(zones: Iterable[str]) -> dict[str, Model]:
    """Of a client that has done nothing yet; the shared zone is there from the start."""
    return {zone: Model(exists=zone == SHARED_ZONE) for zone in (*zones, SHARED_ZONE)}


class Workload:
    """All clients. `start`, then `stop` when the system has been healed."""

    def __init__(self, system: System, seed: int) -> None:
        self._stop_event = threading.Event()
        self.clients = [
            ClientThread(
                system,
                number,
                random.Random(f"{seed}/client {number}"),
                self._stop_event,
                is_direct=number == CLIENTS - 1,
            )
            for number in range(CLIENTS)
        ]
        self._system = system

    def start(self) -> None:
        """Raises `OperationFailed` or `WaitTimedOut`."""
        with self._system.new_client() as first:
            Creation().submit(first, SHARED_ZONE).wait(timeout=READY_S)
        for client in self.clients:
            client.start()

    def stop(self) -> None:
        """Returns when each has its last submission confirmed, or hasn't within `ENDS_WITHIN_S`."""
        self._stop_event.set()
        for client in self.clients:
            client.join(ENDS_WITHIN_S)
            if client.is_alive():
                client.failure = f"{client.name}: a submission isn't confirmed after {ENDS_WITHIN_S:g} s"

    def touch(self) -> None:
        for client in self.clients:
            if client.failure is None:
                client.touch_all()

    def close(self) -> None:
        for client in self.clients:
            client.close()

    @property
    def confirmed(self) -> list[Confirmed]:
        return [one for client in self.clients for one in client.confirmed]

    @property
    def models(self) -> Mapping[str, Model]:
        """What each zone must hold; of the shared one everybody's part."""
        models = {zone: model for client in self.clients for zone, model in client.models.items()}
        shared = models[SHARED_ZONE] = Model()
        for client in self.clients:
            shared.rrsets |= client.models[SHARED_ZONE].rrsets
        return models

    @property
    def repeated(self) -> int:
        return sum(client.repeated for client in self.clients)

    @property
    def failures(self) -> list[str]:
        return [client.failure for client in self.clients if client.failure]
