"""How soon BIND serves a change while other targets of its pool are in trouble: `python -m bench.hybrid`.

The pool has BIND, PowerDNS, Knot, zone files and Route 53's stand-in. Rounds in which all are healthy and
rounds in which Route 53 is throttled and Knot stopped alternate in one run, so that whatever else the machine
does is in both. Exit status: 0 the goal is met, 1 it isn't, 2 nothing was measured.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa

from bench.command import Found, NothingMeasured, count, reached, run, say, writable
from bench.figures import Figures, table
from bench.serving import Resolver
from dev.hybrid import Hybrid, a_hybrid
from dev.servers.process import wait_until
from dnsworker import Client
from dnsworker.reports.system import show_status, show_targets

#: Median of the faulty rounds : median of the healthy ones.
GOAL = 1.2
#: What Route 53's stand-in lets through in a faulty round; Knot, stopped, lets through nothing.
PER_SECOND = 2
FAULTY = ("cloud", "knot")
#: More than a worker has threads (16): what waits for the two would fill it if it were let.
ZONES = tuple(f"bench{number}.test." for number in range(24))

#: Between two changes: what one still makes the other targets do must not be in the time of the next.
PAUSE_S = 0.15
#: The one setting that isn't as it ships (300 s). Between two rounds all back-offs must end; and targets in
#: trouble that are tried more often are the harder case.
SETTINGS = {"DNSWORKER_RETRY_CAP_S": "4"}
AT_REST_WITHIN_S = 120.0
#: Of rounds and of changes in each: more is a slip of the finger.
LIMIT = 1000


class Bench:
    """Rounds of changes to a running system, seen from outside: a client submits, BIND is asked."""

    def __init__(self, hybrid: Hybrid, client: Client, engine: sa.Engine, bind: Resolver) -> None:
        self._hybrid, self._client, self._engine, self._bind = hybrid, client, engine, bind
        self._numbers = itertools.count(1)

    def create_zones(self) -> None:
        for operation in [self._client.create_zone(zone, email="hostmaster@example.org") for zone in ZONES]:
            operation.wait(AT_REST_WITHIN_S)

    def healthy_round(self, changes: int) -> list[float]:
        """Seconds from submit until BIND serves it, of one change after the other."""
        self._change_every_zone()
        self._wait_for_rest()
        took = self._time(changes)
        self._wait_for_rest()
        return took

    def faulty_round(self, changes: int) -> list[float]:
        """The same while two other targets are in trouble. Raises `NothingMeasured` when they aren't."""
        with self._faults():
            self._change_every_zone()
            wait_until(self._have_others_everything, AT_REST_WITHIN_S, "the healthy targets to catch up")
            self._raise_unless_behind()
            took = self._time(changes)
            self._raise_unless_behind()
        self._wait_for_rest()
        return took

    def _change_every_zone(self) -> None:
        """Not measured: nothing is new to anybody then, and what is to have a backlog has one."""
        for zone, address in [(zone, self._put(zone)) for zone in ZONES]:
            self._bind.wait_until_served(zone, address)

    def _time(self, changes: int) -> list[float]:
        took = []
        for zone in itertools.islice(itertools.cycle(ZONES), changes):
            begun = time.monotonic()
            self._bind.wait_until_served(zone, self._put(zone))
            took.append(time.monotonic() - begun)
            time.sleep(PAUSE_S)
        return took

    def _put(self, zone: str) -> str:
        """Change the zone's record; returns its new address."""
        address = f"2001:db8::{next(self._numbers):x}"
        self._client.put_record(zone, "www", "AAAA", [address])
        return address

    @contextmanager
    def _faults(self) -> Iterator[None]:
        # Not taken back when something breaks off: all of it is ended then.
        self._hybrid.cloud.set(per_second=PER_SECOND)
        self._hybrid.knot.stop()
        yield
        self._hybrid.knot.start()
        self._hybrid.cloud.behave()

    def _raise_unless_behind(self) -> None:
        backlogs = self._backlogs()
        for target in FAULTY:
            if not backlogs[target]:
                raise NothingMeasured(f"no change waited for {target}, which was meant to be in trouble")

    def _have_others_everything(self) -> bool:
        return not any(zones for target, zones in self._backlogs().items() if target not in FAULTY)

    def _wait_for_rest(self) -> None:
        wait_until(self._is_at_rest, AT_REST_WITHIN_S, "every target to have every change")

    def _is_at_rest(self) -> bool:
        with self._engine.connect() as connection:
            is_open = show_status(connection)["operations"]
        return not is_open and not any(self._backlogs().values())

    def _backlogs(self) -> dict[str, int]:
        """By target, how many zones wait for it."""
        with self._engine.connect() as connection:
            return {target["name"]: target["backlog"] for target in show_targets(connection)}


@dataclass(frozen=True)
class FoundHybrid(Found):
    goal, key = GOAL, "hybrid"

    healthy: Figures
    faulty: Figures

    @property
    def ratio(self) -> float:
        return self.faulty.median_s / self.healthy.median_s

    def to_text(self) -> str:
        rows = table({"healthy": self.healthy, "faulty": self.faulty})
        return f"{rows}\nratio of the medians {self.verdict}"


def measure(rounds: int, changes: int) -> Found:
    """Start the system, run the rounds, end everything.

    Raises `NotServed`; `NothingMeasured`, `ServerError` or `DNSWorkerError` when it couldn't be done.
    """
    healthy: list[float] = []
    faulty: list[float] = []
    say("starting RabbitMQ, PostgreSQL, Redis, the nameservers, Route 53's stand-in and the workers …")
    with a_bench() as bench:
        bench.create_zones()
        for number in range(1, rounds + 1):
            healthy += (well := bench.healthy_round(changes))
            faulty += (ill := bench.faulty_round(changes))
            medians = [f"{statistics.median(took) * 1000:.0f} ms" for took in (well, ill)]
            say(f"round {number} of {rounds}: {' and '.join(medians)}")
    return FoundHybrid(Figures.of(healthy), Figures.of(faulty))


@contextmanager
def a_bench() -> Iterator[Bench]:
    """With the worker processes of `make stack`: one takes in, one delivers."""
    with (
        a_hybrid(settings=SETTINGS) as hybrid,
        reached(hybrid.stack) as (client, engine),
        Resolver(hybrid.bind) as bind,
    ):
        yield Bench(hybrid, client, engine, bind)


def main() -> int:
    options = _options()
    return run(lambda: measure(options.rounds, options.changes), options.json)


def _options() -> argparse.Namespace:
    assert __doc__
    parser = argparse.ArgumentParser(prog="python -m bench.hybrid", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=count(LIMIT), default=6, metavar="N", help="of each kind (6)")
    parser.add_argument(
        "--changes", type=count(LIMIT), default=25, metavar="N", help="measured in a round (25)"
    )
    parser.add_argument("--json", type=writable, metavar="FILE", help="the figures, in seconds")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
