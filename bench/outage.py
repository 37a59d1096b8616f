"""What a target that has been away for long costs the others: `python -m bench.outage`.

A pool has two PowerDNS servers, one of which is down. Thousands of zones wait for it, each tried several
times already. Changes at the healthy one are timed before that backlog is there and while it is; then the
other one comes back, and changes are timed until it has everything. The backlog is written into the database,
as an hour of failures would leave it. Exit status: 0 the goal is met, 1 it isn't, 2 nothing was measured.
"""

from __future__ import annotations

import argparse
import itertools
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
from dev.servers import PowerDNS
from dev.servers.process import wait_until
from dev.stack import Stack
from dnsworker import Client
from dnsworker.reports.system import show_targets

#: Median while the other target is away with its backlog : median before.
GOAL = 1.2
#: Zones that are changed; the others only wait.
LIVE = tuple(f"live{number}.test." for number in range(12))
HEALTHY, AWAY = "healthy", "away"
PAUSE_S = 0.1
#: The next attempts are due within so many seconds, as after long back-offs.
SPREAD_S = 60.0
#: For each zone that waits, and at least.
PATIENCE_S, LEAST_PATIENCE_S = 0.5, 120.0
LIMIT = 200_000
#: Zones of which the healthy target has everything, as its nameserver was seen to, and the other one nothing
#: after five attempts.
BACKLOG = (
    """
    INSERT INTO zone (pool_id, name, status, is_deleted, revision, serial, mname, email, ttl, refresh, retry,
                      expire, minimum, looks, created_at, updated_at)
    SELECT pool.id, 'z' || n || '.test.', 'DEGRADED', false, 1, 1, 'ns1.dnsworker.test.', 'a@example.net',
           3600, 3600, 600, 86400, 3600, 0, now(), now()
    FROM generate_series(1, :zones) AS n, pool
    """,
    """
    INSERT INTO recordset (zone_id, name, type, ttl, data, sort_key)
    SELECT zone.id, zone.name, 'NS', 3600, '["ns1.dnsworker.test.", "ns2.dnsworker.test."]', sample.sort_key
    FROM zone, (SELECT min(sort_key) AS sort_key FROM recordset WHERE type = 'NS') AS sample
    WHERE zone.name LIKE 'z%'
    """,
    """
    INSERT INTO delivery (zone_id, target_id, goal, wanted_revision, state, soa, delivered_revision,
                          must_read, force, epoch, priority, attempts, due_at, last_code, last_error,
                          last_attempt_at)
    SELECT zone.id, target.id, 'present', 1,
           CASE target.name WHEN 'healthy' THEN 'present' ELSE 'never' END,
           CASE target.name WHEN 'healthy'
                THEN 'ns1.dnsworker.test. a.example.net. 1 3600 600 86400 3600' END,
           CASE target.name WHEN 'healthy' THEN 1 ELSE 0 END, false, false, 5, 0,
           CASE target.name WHEN 'healthy' THEN 0 ELSE 5 END,
           CASE target.name WHEN 'away' THEN now() + random() * :spread_s * interval '1 s' END,
           CASE target.name WHEN 'away' THEN 'Unreachable' END,
           CASE target.name WHEN 'away' THEN 'connection refused' END, now() - interval '10 min'
    FROM zone, target WHERE zone.name LIKE 'z%'
    """,
    """
    INSERT INTO observation (zone_id, nameserver, verified_revision, serial, seen_at, verified_at)
    SELECT zone.id, :healthy, 1, 1, now(), now() FROM zone WHERE zone.name LIKE 'z%'
    """,
    "ANALYZE",
)


class Bench:
    """One run against one system."""

    def __init__(
        self, stack: Stack, healthy: PowerDNS, away: PowerDNS, client: Client, engine: sa.Engine
    ) -> None:
        self._stack, self._away, self._client, self._engine = stack, away, client, engine
        server = healthy.nameserver()
        self._healthy = f"{server['host']}:{server['port']}"
        self._numbers = itertools.count(1)
        self.load = Load()

    def create_live_zones(self) -> None:
        for operation in [self._client.create_zone(zone, email="hostmaster@example.org") for zone in LIVE]:
            operation.wait(LEAST_PATIENCE_S)

    def let_backlog_grow(self, zones: int) -> None:
        """The other target is away, and so many zones have been waiting for it."""
        with self._engine.begin() as connection:
            for statement in BACKLOG:
                values = {"zones": zones, "spread_s": SPREAD_S, "healthy": self._healthy}
                text = sa.text(statement)
                connection.execute(text, {name: values[name] for name in text.compile().params})
        # So many are counted by the sweep.
        wait_until(lambda: self.backlog() >= zones, LEAST_PATIENCE_S, f"{zones} zones to be counted")

    def backlog(self) -> int:
        """As `dnsworker target show` tells it."""
        with self._engine.connect() as connection:
            found = {one["name"]: one["backlog"] for one in show_targets(connection)}
        return int(found[AWAY])

    def time_changes(self, resolver: Resolver, changes: int) -> list[float]:
        """Seconds from submit until the healthy target serves it, of one change after the other."""
        return [self._change(resolver, zone) for zone in itertools.islice(itertools.cycle(LIVE), changes)]

    def time_return(self, resolver: Resolver, zones: int) -> tuple[list[float], float]:
        """The same until the other target, which is back, has everything; and how long that took."""
        self._away.start()
        begun = time.monotonic()
        took = []
        for zone in itertools.cycle(LIVE):
            took.append(self._change(resolver, zone))
            waited_s = time.monotonic() - begun
            if not self.backlog():
                self._raise_unless_complete(zones)
                return took, waited_s
            if waited_s > max(LEAST_PATIENCE_S, PATIENCE_S * zones):
                raise NotServed(f"{self.backlog()} zones still wait after {waited_s:.0f} s")
        raise AssertionError("a cycle doesn't end")

    def _raise_unless_complete(self, zones: int) -> None:
        there = len(self._away.api("GET", "/zones?dnssec=false"))
        if there != zones + len(LIVE):
            raise NothingMeasured(f"the target has {there} zones of {zones + len(LIVE)}")

    def _change(self, resolver: Resolver, zone: str) -> float:
        address = f"2001:db8::{next(self._numbers):x}"
        begun = time.monotonic()
        self._client.put_record(zone, "www", "AAAA", [address])
        resolver.wait_until_served(zone, address)
        took = time.monotonic() - begun
        self.load.note(self._stack, [HEALTHY, AWAY])
        time.sleep(PAUSE_S)
        return took


@dataclass(frozen=True)
class FoundOutage(Found):
    goal, key = GOAL, "outage"

    before: Figures
    away: Figures
    back: Figures
    zones: int
    caught_up_in_s: float
    load: Load

    @property
    def ratio(self) -> float:
        return self.away.median_s / self.before.median_s

    def to_text(self) -> str:
        rate = self.zones / self.caught_up_in_s
        return "\n".join(
            [
                table({"before": self.before, "away": self.away, "back": self.back}),
                f"{self.zones} zones caught up with in {self.caught_up_in_s:.0f} s ({rate:.0f} a second)",
                str(self.load),
                f"ratio of the medians away : before {self.verdict}",
            ]
        )


def measure(zones: int, changes: int) -> Found:
    """Start the system, run, end everything.

    Raises `NotServed`; `NothingMeasured`, `ServerError` or `DNSWorkerError` when it couldn't be done.
    """
    say("starting RabbitMQ, PostgreSQL, Redis, the nameservers and the workers …")
    with a_bench() as (bench, healthy), Resolver(healthy) as resolver:
        bench.time_changes(resolver, len(LIVE))  # not measured: the first of anything is slower
        before = bench.time_changes(resolver, changes)
        bench.let_backlog_grow(zones)
        say(f"{zones} zones wait for a target that is away")
        bench.time_changes(resolver, len(LIVE))
        away = bench.time_changes(resolver, changes)
        say("the target comes back")
        back, caught_up_in_s = bench.time_return(resolver, zones)
    found = (Figures.of(took) for took in (before, away, back))
    return FoundOutage(*found, zones, caught_up_in_s, bench.load)


@contextmanager
def a_bench(**shared: Any) -> Iterator[tuple[Bench, PowerDNS]]:
    """With the worker processes of `make stack`: one takes in, one delivers. One target is down.

    `shared`: what `Stack` is to share instead of starting its own.
    """
    with PowerDNS() as healthy, PowerDNS() as away:
        pool = pool_of({HEALTHY: healthy, AWAY: away}, threshold_percentage=50)
        system = Stack(pool_yaml=to_yaml(pool), powerdns=healthy, **shared)
        with system as stack, reached(stack) as (client, engine):
            bench = Bench(stack, healthy, away, client, engine)
            bench.create_live_zones()
            away.stop()
            yield bench, healthy


def main() -> int:
    options = _options()
    return run(lambda: measure(options.zones, options.changes), options.json)


def _options() -> argparse.Namespace:
    assert __doc__
    parser = argparse.ArgumentParser(prog="python -m bench.outage", description=__doc__.splitlines()[0])
    parser.add_argument("--zones", type=count(LIMIT), default=50_000, metavar="N", help="that wait (50000)")
    parser.add_argument("--changes", type=count(LIMIT), default=100, metavar="N", help="timed each (100)")
    parser.add_argument("--json", type=writable, metavar="FILE", help="the figures, in seconds")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
