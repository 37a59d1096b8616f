"""What a wiped server costs those who change other zones: `python -m bench.refill`.

One nameserver has many zones. Changes are timed while all is well; then the server loses everything, and
changes are timed while it is filled again in the background. Nobody tells the workers that it was wiped.
Exit status: 0 the goal is met, 1 it isn't, 2 nothing was measured.
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
from typing import Any

import sqlalchemy as sa

from bench.command import Found, NothingMeasured, count, reached, run, say, writable
from bench.figures import Figures, table
from bench.load import Load
from bench.serving import NotServed, Resolver
from dev.pool import pool_of, to_yaml
from dev.servers import Bind, PowerDNS
from dev.servers.process import wait_until
from dev.stack import Stack
from dnsworker import Client
from dnsworker.reports.system import show_status, show_targets

#: Median while the server is filled again : median before.
GOAL = 1.5
#: Zones that are changed; the others only have to come back.
LIVE = tuple(f"live{number}.test." for number in range(12))
TARGET = "wiped"
PAUSE_S = 0.15
#: Submitted at once, so that intake and broker aren't what is measured.
BATCH = 200
#: For each zone: a slow machine, and servers that take their time.
PATIENCE_S = 2.0
LEAST_PATIENCE_S = 120.0
LIMIT = 100_000
#: Fewer say nothing about a median.
LEAST_SAMPLES = 5


class Bench:
    """One run against one system."""

    def __init__(
        self, stack: Stack, server: Bind | PowerDNS, client: Client, engine: sa.Engine, zones: int
    ) -> None:
        self._stack, self.server, self._client, self._engine = stack, server, client, engine
        self._others = [f"zone{number}.test." for number in range(zones)]
        self._numbers = itertools.count(1)
        self._patience_s = max(LEAST_PATIENCE_S, PATIENCE_S * zones)
        self.load = Load()

    def create_zones(self) -> float:
        """Returns how many seconds it took."""
        begun = time.monotonic()
        every = [*LIVE, *self._others]
        for start in range(0, len(every), BATCH):
            for zone in every[start : start + BATCH]:
                self._client.create_zone(zone, email="hostmaster@example.org")
            self._wait_for_rest()
        return time.monotonic() - begun

    def time_changes(self, resolver: Resolver, changes: int) -> list[float]:
        """Seconds from submit until it is served, of one change after the other."""
        return [self._change(resolver, zone) for zone in itertools.islice(itertools.cycle(LIVE), changes)]

    def time_refill(self, resolver: Resolver) -> tuple[list[float], float]:
        """The same from the wipe until everything is back; and how long that took."""
        self.server.wipe()
        self.server.start()
        begun = time.monotonic()
        for zone in LIVE:  # each comes back with its own change, which isn't what is measured
            resolver.wait_until_served(zone, self._put(zone))
        missing, took = self._others, []
        for zone in itertools.cycle(LIVE):
            took.append(self._change(resolver, zone))
            self.load.note(self._stack, [TARGET])
            missing = [zone for zone in missing if not resolver.has(zone)]
            if not missing:
                return took, time.monotonic() - begun
            if time.monotonic() - begun > self._patience_s:
                raise NotServed(f"{len(missing)} zones weren't back after {self._patience_s:g} s")
        raise AssertionError("a cycle doesn't end")

    def _change(self, resolver: Resolver, zone: str) -> float:
        begun = time.monotonic()
        resolver.wait_until_served(zone, self._put(zone))
        took = time.monotonic() - begun
        time.sleep(PAUSE_S)
        return took

    def _put(self, zone: str) -> str:
        address = f"2001:db8::{next(self._numbers):x}"
        self._client.put_record(zone, "www", "AAAA", [address])
        return address

    def _wait_for_rest(self) -> None:
        def is_at_rest() -> bool:
            with self._engine.connect() as connection:
                is_open = show_status(connection)["operations"]
                return not is_open and not any(one["backlog"] for one in show_targets(connection))

        wait_until(is_at_rest, self._patience_s, "every zone to be created")


@dataclass(frozen=True)
class FoundRefill(Found):
    goal, key = GOAL, "refill"

    before: Figures
    during: Figures
    zones: int
    created_in_s: float
    refilled_in_s: float
    load: Load

    @property
    def ratio(self) -> float:
        return self.during.median_s / self.before.median_s

    def to_text(self) -> str:
        return "\n".join(
            [
                table({"before": self.before, "during": self.during}),
                f"{self.zones} zones made in {self.created_in_s:.0f} s, back in {self.refilled_in_s:.0f} s",
                str(self.load),
                f"ratio of the medians {self.verdict}",
            ]
        )


def measure(server: str, zones: int, changes: int) -> Found:
    """Start the system, run, end everything.

    Raises `NotServed`; `NothingMeasured`, `ServerError` or `DNSWorkerError` when it couldn't be done.
    """
    say("starting RabbitMQ, PostgreSQL, Redis, the nameserver and the workers …")
    with a_bench(server, zones) as bench, Resolver(bench.server) as resolver:
        created_in_s = bench.create_zones()
        say(f"{zones} zones created in {created_in_s:.0f} s")
        bench.time_changes(resolver, len(LIVE))  # not measured: the first of anything is slower
        before = bench.time_changes(resolver, changes)
        say(f"before: {statistics.median(before) * 1000:.0f} ms; the server is wiped")
        during, refilled_in_s = bench.time_refill(resolver)
    if len(during) < LEAST_SAMPLES:
        raise NothingMeasured(f"everything was back after {len(during)} changes: take more zones")
    return FoundRefill(Figures.of(before), Figures.of(during), zones, created_in_s, refilled_in_s, bench.load)


@contextmanager
def a_bench(wanted: str, zones: int, **shared: Any) -> Iterator[Bench]:
    """With the worker processes of `make stack`: one takes in, one delivers.

    `shared`: what `Stack` is to share instead of starting its own.
    """
    with Bind() as bind, PowerDNS() as powerdns:
        server = bind if wanted == "bind" else powerdns
        pool_yaml = to_yaml(pool_of({TARGET: server}))
        system = Stack(pool_yaml=pool_yaml, bind=bind, powerdns=powerdns, **shared)
        with system as stack, reached(stack) as (client, engine):
            yield Bench(stack, server, client, engine, zones)


def main() -> int:
    options = _options()
    return run(lambda: measure(options.server, options.zones, options.changes), options.json)


def _options() -> argparse.Namespace:
    assert __doc__
    parser = argparse.ArgumentParser(prog="python -m bench.refill", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--zones", type=count(LIMIT), default=10_000, metavar="N", help="that are lost (10000)"
    )
    parser.add_argument("--changes", type=count(LIMIT), default=50, metavar="N", help="timed before (50)")
    parser.add_argument("--server", choices=("bind", "powerdns"), default="bind", help="what is wiped (bind)")
    parser.add_argument("--json", type=writable, metavar="FILE", help="the figures, in seconds")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
