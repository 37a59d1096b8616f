"""How soon one change is served and ACTIVE while nothing else is done: `python -m bench.latency`.

One change after the other, in turns: one is timed until BIND serves it, the next until `wait()` returns; then
the creations of zones likewise. Beside each, in the same run and at the same BIND, one dynamic update by
dnspython on a connection that is kept, and one `rndc addzone`. Exit status: 0 the goals are met, 1 they
aren't, 2 nothing was measured, or what was made isn't what was wanted.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

from bench import raw
from bench.command import Measured, count, new_parser, run, say
from bench.figures import Figures, table
from bench.goals import Row
from bench.serving import Resolver
from bench.system import EMAIL, PATIENCE_S, System, a_system
from dnsworker.operations import Status

LIMIT = 10_000
ZONES = tuple(f"idle{number}.test." for number in range(10))
RAW_ZONE = "raw-idle.test."
#: Between two changes: what one still makes the workers do must not be in the time of the next.
PAUSE_S = 0.1
#: A change of each zone before anything is timed.
WARM_UP = len(ZONES)


class Bench:
    """One run against one system."""

    def __init__(self, system: System, resolver: Resolver) -> None:
        self._system, self._client, self._resolver = system, system.client, resolver
        self._numbers = itertools.count(1)
        self._series: dict[str, Figures] = {}
        #: Of changes until ACTIVE: when each step was noted, in seconds since the submission.
        self._steps: list[dict[str, float]] = []
        self.measured = Measured({**system.settings, "the resolver": "asks without pause"})

    def prepare(self) -> None:
        self._system.create_zones(ZONES)
        raw.create_zones(self._system.stack.bind, [RAW_ZONE])
        self._time(self._change_until_served, WARM_UP)
        self._time(self._change_until_active, WARM_UP)
        self._steps.clear()

    def change(self, changes: int) -> None:
        """So many until served, so many until ACTIVE, and so many plain updates."""
        served, active, plain = self._in_turns(
            changes, self._change_until_served, self._change_until_active, self._update
        )
        words = "dnspython, one update"
        for key, ours in (("change.served", served), ("change.active", active)):
            self._add(f"{key}.p50", ours.median_s, plain.median_s, words)
            self._add(f"{key}.p95", ours.p95_s, plain.p95_s, words)
        self._series |= {"change until served": served, "change until ACTIVE": active, "one update": plain}

    def create(self, zones: int) -> None:
        served, active, plain = self._in_turns(
            zones, self._create_until_served, self._create_until_active, self._add_zone
        )
        for key, ours in (("zone.served.p50", served), ("zone.active.p50", active)):
            self._add(key, ours.median_s, plain.median_s, "rndc addzone, one process")
        self._series |= {"zone until served": served, "zone until ACTIVE": active, "one rndc addzone": plain}

    def check(self) -> None:
        self.measured.details["checked"] = self._system.check()
        self.measured.details["a change is, after so many ms (median)"] = {
            step: statistics.median(one[step] for one in self._steps) * 1000 for step in self._steps[-1]
        }
        self.measured.details["times"] = "\n" + table(self._series)

    def _in_turns(self, times: int, *ways: Callable[[int], float]) -> list[Figures]:
        """Each way so often, a few at a time: whatever else the machine does is in all."""
        took: list[list[float]] = [[] for _ in ways]
        for number in range(times):
            for way, seconds in zip(ways, took, strict=True):
                seconds.append(way(number))
                time.sleep(PAUSE_S)
        return [Figures.of(seconds) for seconds in took]

    def _time(self, way: Callable[[int], float], times: int) -> None:
        for number in range(times):
            way(number)

    def _change_until_served(self, number: int) -> float:
        zone, address = ZONES[number % len(ZONES)], self._address()
        begun = time.monotonic()
        operation = self._client.put_record(zone, "www", "AAAA", [address])
        self._resolver.wait_until_served(zone, address, pause_s=0)
        took_s = time.monotonic() - begun
        operation.wait(PATIENCE_S)
        self._system.submitted += 1
        return took_s

    def _change_until_active(self, number: int) -> float:
        zone, address = ZONES[number % len(ZONES)], self._address()
        begun, moment = time.monotonic(), datetime.now(UTC)
        operation = self._client.put_record(zone, "www", "AAAA", [address])
        confirmed_s = time.monotonic() - begun
        outcome = operation.wait(PATIENCE_S)
        took_s = time.monotonic() - begun
        assert outcome.status is Status.ACTIVE
        (target,), (nameserver,) = outcome.targets, outcome.nameservers
        noted = {
            "written by the intake": outcome.accepted_at, "at BIND, and read back": target.delivered_at,
            "seen at the nameserver": nameserver.seen_at, "ended": outcome.finished_at,
        }  # fmt: skip
        self._steps.append(
            {"confirmed by RabbitMQ": confirmed_s}
            | {step: (at - moment).total_seconds() for step, at in noted.items() if at is not None}
            | {"told": took_s}
        )
        self._system.submitted += 1
        return took_s

    def _update(self, _: int) -> float:
        with raw.Updates(self._system.stack.bind) as updates:
            updates.add(RAW_ZONE, raw.new_records(RAW_ZONE, 1))  # the connection is there by then
            records = raw.new_records(RAW_ZONE, 1)
            begun = time.monotonic()
            updates.add(RAW_ZONE, records)
            return time.monotonic() - begun

    def _create_until_served(self, _: int) -> float:
        zone = self._new_zone("served")
        begun = time.monotonic()
        operation = self._client.create_zone(zone, email=EMAIL)
        self._resolver.wait_until_there(zone)
        took_s = time.monotonic() - begun
        operation.wait(PATIENCE_S)
        return took_s

    def _create_until_active(self, _: int) -> float:
        zone = self._new_zone("active")
        begun = time.monotonic()
        self._client.create_zone(zone, email=EMAIL).wait(PATIENCE_S)
        return time.monotonic() - begun

    def _add_zone(self, number: int) -> float:
        return raw.create_zones(self._system.stack.bind, [f"raw-new{number}.test."])

    def _new_zone(self, label: str) -> str:
        zone = f"{label}{next(self._numbers)}.test."
        self._system.submitted += 1
        self._system.zones.append(zone)
        return zone

    def _address(self) -> str:
        return f"2001:db8::{next(self._numbers):x}"

    def _add(self, key: str, ours_s: float, raw_s: float, words: str) -> None:
        self.measured.found.append(Row(key, ours_s * 1000, raw_s * 1000, words))


def measure(system: System, changes: int, zones: int) -> Measured:
    """All figures of one system that has just been started. Raises `NotServed`, `NothingMeasured`."""
    with Resolver(system.stack.bind) as resolver:
        bench = Bench(system, resolver)
        bench.prepare()
        say(f"{changes} changes until served, {changes} until ACTIVE …")
        bench.change(changes)
        say(f"{zones} creations until served, {zones} until ACTIVE …")
        bench.create(zones)
        bench.check()
    return bench.measured


def main() -> int:
    options = _options()
    return run(lambda: _measure_new(options), options.json)


def _measure_new(options: argparse.Namespace) -> Measured:
    say("starting RabbitMQ, PostgreSQL, Redis, BIND and the workers …")
    with a_system(fsync=not options.no_fsync) as system:
        return measure(system, options.changes, options.zones)


def _options() -> argparse.Namespace:
    assert __doc__
    parser = new_parser("latency", __doc__)
    parser.add_argument("--changes", type=count(LIMIT), default=200, metavar="N", help="of each kind (200)")
    parser.add_argument("--zones", type=count(LIMIT), default=50, metavar="N", help="of each kind (50)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
