"""What a change costs as its zone grows and as zones get more: `python -m bench.growth`.

The real system with BIND. Zones of several sizes stand side by side and are changed in turns; then the number
of zones grows from step to step, beside a second system that keeps the first number and is changed in turns
with it, since a machine that does other things is slower at one step than at another. Both the database and
BIND are filled directly: through the system it would take hours. Cost is CPU time, so that others' work on
the machine is in it as little as can be; BIND's own is told apart. Exit status: 0 the goals are met, 1 they
aren't, 2 nothing was measured.
"""

from __future__ import annotations

import argparse
import itertools
import re
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bench import filling, processes
from bench.command import NothingMeasured, Report, count, reached, run, say, writable
from bench.goals import Row, to_text
from bench.growth_plot import Curve, Panel, svg
from bench.serving import Resolver
from bench.system import PATIENCE_S, System
from dev.pool import pool_of, to_yaml
from dev.servers import Bind, PostgreSQL, PowerDNS
from dev.servers.folders import make_folder, remove_folder
from dev.servers.process import wait_until
from dev.stack import Stack
from dev.transfer import axfr, of_text
from dnsworker.names import Name
from dnsworker.reports.system import show_targets
from dnsworker.reports.zones import export_zone

RECORDS = (10, 1_000, 100_000, 1_000_000)
ZONES = (100, 10_000, 100_000)
#: Of zones, records, rounds and changes: more is a slip of the finger.
LIMIT = 1_000_000
#: Zones that are changed while the others only are there.
LIVE = tuple(f"live{number}.test." for number in range(12))
#: RRsets that are changed in turns: the smallest zone must not grow by being measured.
NAMES = 8
#: A server that holds that much isn't left with the 128 MB of PostgreSQL's defaults.
SERVER = {"shared_buffers": "512MB", "max_wal_size": "4GB"}
#: What is ours to keep flat; BIND's is told apart.
OURS = ("workers", "PostgreSQL", "RabbitMQ", "Redis")
NAMESERVER = "Bind"
#: What goes on by itself meanwhile is measured, and not counted as the changes' cost.
IDLE_S = 6.0
LOAD_S = 600.0
#: Zones of up to so many records are transferred and compared at the end.
TRANSFERRED = 10_000


@dataclass
class Point:
    """What changes cost at one size: milliseconds of CPU by group, and until served and ACTIVE."""

    cost_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    served_ms: list[float] = field(default_factory=list)
    active_ms: list[float] = field(default_factory=list)
    #: Milliseconds of CPU a second while nothing is changed.
    idle_ms: dict[str, float] = field(default_factory=dict)

    @property
    def served(self) -> float:
        return statistics.median(self.served_ms)

    @property
    def active(self) -> float:
        return statistics.median(self.active_ms)

    @property
    def ours_ms(self) -> float:
        return sum(statistics.median(self.cost_ms[group]) for group in OURS)

    @property
    def nameserver_ms(self) -> float:
        return statistics.median(self.cost_ms[NAMESERVER])

    def to_json(self) -> dict[str, Any]:
        cost = {group: round(statistics.median(took), 3) for group, took in self.cost_ms.items()}
        return {
            "cost_ms": {"ours": round(self.ours_ms, 3), **cost},
            "served_ms": round(self.served, 2),
            "active_ms": round(self.active, 2),
            "idle_ms_per_s": {group: round(took, 2) for group, took in self.idle_ms.items()},
        }


class Bench:
    """Changes to a running system, and what they cost."""

    def __init__(self, system: System, bind: Bind, fillers: Fillers, resolver: Resolver) -> None:
        self._system, self._bind, self._fillers, self._resolver = system, bind, fillers, resolver
        self._numbers = itertools.count(1)

    def grow_zones(self, points: Mapping[int, Point], changes: int, rounds: int) -> None:
        """One zone of each size, in turns."""
        zones = {size: f"r{size}.test." for size in points}
        self._system.create_zones(list(zones.values()))
        for size, zone in zones.items():
            say(f"filling a zone with {size} records …")
            self._fill(zone, size)
        for number in range(rounds + 1):
            for size, zone in zones.items():
                # The first of anything is slower, and isn't counted.
                self._measure(points[size] if number else Point(), [zone], changes if number else len(LIVE))
            say(f"round {number} of {rounds}")
        for size, zone in zones.items():
            if size <= TRANSFERRED:
                self._raise_unless_equal(zone)

    def grow_number(
        self, points: Mapping[int, Point], few: Bench, beside: Mapping[int, Point], changes: int, rounds: int
    ) -> None:
        """Zones in use, and more and more beside them; `few` keeps the first number."""
        few._add_zones(0, min(points))
        there = 0
        for size, point in points.items():
            say(f"filling up to {size} zones …")
            self._add_zones(there, size)
            there = size
            for number in range(rounds + 1):
                for bench, its_point in ((self, point), (few, beside[size])):
                    bench._measure(its_point if number else Point(), LIVE, changes if number else len(LIVE))
        for zone in LIVE:
            self._raise_unless_equal(zone)
            few._raise_unless_equal(zone)

    def _add_zones(self, there: int, size: int) -> None:
        """Zones that only are there, up to so many; with the first of them come those in use."""
        if not there:
            self._system.create_zones(list(LIVE))
        filling.add_zones(self._system.engine, there + 1, size)
        self._fillers.add(self._bind, there + 1, size)
        last = f"z{size}.test."
        wait_until(partial(self._resolver.has, last), LOAD_S, f"BIND to serve {size} zones")

    def _measure(self, point: Point, zones: Sequence[str], changes: int) -> None:
        """One round: changes one after the other for the times, then at once for the cost."""
        for zone in itertools.islice(itertools.cycle(zones), max(min(changes // 10, 30), 3)):
            self._time(point, zone)
        self._wait_for_rest()
        if not point.idle_ms:
            point.idle_ms = self._idle()
        before, begun = processes.cpu_s(self._system.stack), time.monotonic()
        turns = itertools.islice(itertools.cycle(zones), changes)
        made = [self._put(zone, f"c{number % NAMES}") for number, zone in enumerate(turns)]
        for operation, _ in made:
            operation.wait(PATIENCE_S)
        self._wait_for_rest()
        took_s = time.monotonic() - begun
        used = processes.used_s(before, processes.cpu_s(self._system.stack))
        for group, used_s in used.items():
            point.cost_ms[group].append((used_s * 1000 - point.idle_ms[group] * took_s) / changes)

    def _fill(self, zone: str, records: int) -> None:
        """So many A records more, in the database and at BIND."""
        filling.fill(self._system.engine, filling.RECORDS, zone=zone, records=records)
        self._bind.rndc("sync", "-clean", zone)
        self._bind.rndc("freeze", zone)
        found = re.search(r'file "([^"]+)"', self._bind.rndc("showzone", zone))
        if found is None:
            raise NothingMeasured(f"BIND doesn't say where {zone} is")
        with (self._bind.folder / found[1]).open("a") as file:
            file.write(f"$ORIGIN {zone}\n$TTL 3600\n")
            file.writelines(f"h{number} A 192.0.2.1\n" for number in range(1, records + 1))
        self._bind.rndc("thaw", zone, timeout_s=LOAD_S)
        wait_until(lambda: self._resolver.has(f"h{records}.{zone}", "A"), LOAD_S, f"BIND to load {zone}")

    def _time(self, point: Point, zone: str) -> None:
        begun = time.monotonic()
        operation, address = self._put(zone, "www")
        self._resolver.wait_until_served(zone, address)
        served = time.monotonic()
        operation.wait(PATIENCE_S)
        point.served_ms.append((served - begun) * 1000)
        point.active_ms.append((time.monotonic() - begun) * 1000)

    def _put(self, zone: str, name: str) -> tuple[Any, str]:
        high, low = divmod(next(self._numbers), 0x10000)
        address = f"2001:db8::{high:x}:{low:x}"
        return self._system.client.put_record(zone, name, "AAAA", [address]), address

    def _raise_unless_equal(self, zone: str) -> None:
        """BIND has what the database wants, to the last record."""
        with self._system.engine.connect() as connection:
            wanted = of_text(zone, export_zone(connection, Name(zone), None))
        if axfr(self._bind, zone, LOAD_S) != wanted:
            raise NothingMeasured(f"BIND hasn't got {zone} as it is in the database")

    def _wait_for_rest(self) -> None:
        def is_at_rest() -> bool:
            with self._system.engine.connect() as connection:
                return not any(one["backlog"] for one in show_targets(connection))

        wait_until(is_at_rest, PATIENCE_S, "BIND to have everything")

    def _idle(self) -> dict[str, float]:
        before = processes.cpu_s(self._system.stack)
        time.sleep(IDLE_S)
        used = processes.used_s(before, processes.cpu_s(self._system.stack))
        return {group: used_s * 1000 / IDLE_S for group, used_s in used.items()}


class Fillers:
    """Zones at BIND that are only there: all from one file, named in its configuration."""

    def __init__(self, folder: Path) -> None:
        self._contents, self._list = folder / "filler.zone", folder / "fillers.conf"
        self._contents.write_text(
            "@ 3600 SOA ns1.dnsworker.test. hostmaster.example.org. 1700000002 3600 600 86400 3600\n"
            "@ 3600 NS ns1.dnsworker.test.\n@ 3600 NS ns2.dnsworker.test.\nwww 3600 A 192.0.2.1\n"
        )
        self._list.write_text("")

    @property
    def statements(self) -> str:
        return f'include "{self._list}";'

    def add(self, bind: Bind, first: int, last: int) -> None:
        """Have BIND serve the zones with these numbers, too."""
        with self._list.open("a") as file:
            file.writelines(
                f'zone "z{number}.test" {{ type primary; file "{self._contents}"; }};\n'
                for number in range(first, last + 1)
            )
        bind.rndc("reconfig", timeout_s=LOAD_S)


def measure(records: Sequence[int], zones: Sequence[int], changes: int, rounds: int, **shared: Any) -> Found:
    """Start the system, run, end everything. Raises `NothingMeasured`, `NotServed`."""
    say("starting RabbitMQ, PostgreSQL, Redis, BIND and the workers …")
    by_records, by_zones, beside = ({size: Point() for size in sizes} for sizes in (records, zones, zones))
    with a_bench(**shared) as bench:
        bench.grow_zones(by_records, changes, rounds)
        say("starting a second system …")
        with a_bench(**shared) as few:
            bench.grow_number(by_zones, few, beside, changes, rounds)
    return Found(changes, rounds, by_records, by_zones, beside)


@contextmanager
def a_bench(**shared: Any) -> Iterator[Bench]:
    """`shared`: what `Stack` is to share instead of starting its own."""
    folder = make_folder("growth")
    try:
        fillers = Fillers(folder)
        with ExitStack() as ending:
            bind = ending.enter_context(Bind(statements=fillers.statements))
            if "database" not in shared:
                shared["database"] = ending.enter_context(PostgreSQL(fsync=True, settings=SERVER))
            powerdns = PowerDNS()  # never started: it keeps the stack from starting one
            ending.callback(powerdns.close)
            pool_yaml = to_yaml(pool_of({"bind": bind}))
            stack = ending.enter_context(Stack(pool_yaml=pool_yaml, bind=bind, powerdns=powerdns, **shared))
            client, engine = ending.enter_context(reached(stack))
            system = System(stack, client, engine, SERVER)
            ending.callback(system.close)
            yield Bench(system, bind, fillers, ending.enter_context(Resolver(bind)))
    finally:
        remove_folder(folder)


@dataclass
class Found(Report):
    changes: int
    rounds: int
    records: dict[int, Point]
    zones: dict[int, Point]
    #: Of the system with few zones, beside each number.
    beside: dict[int, Point]

    @property
    def rows(self) -> list[Row]:
        smallest = dict.fromkeys(self.records, self.records[min(self.records)])
        series = {
            "growth.records": (growth(self.records, smallest), self.records, RECORDS),
            "growth.zones": (growth(self.zones, self.beside), self.zones, ZONES),
        }
        return [
            Row(key, most, remark="" if tuple(points) == whole else f"only {max(points):,}")
            for key, (most, points, whole) in series.items()
        ]

    @property
    def _series(self) -> dict[str, dict[int, Point]]:
        few = f"beside it, {min(self.zones):,} zones"
        return {"records in the zone": self.records, "zones": self.zones, few: self.beside}

    def to_text(self) -> str:
        lines = [to_text(self.rows)]
        for words, points in self._series.items():
            lines += ["", f"{words:>20}  CPU ms/change  BIND's  served ms  ACTIVE ms  idle, CPU ms/s"]
            for size, one in points.items():
                idle = sum(one.idle_ms[group] for group in OURS)
                figures = (
                    f"{one.ours_ms:13.2f}  {one.nameserver_ms:6.2f}  {one.served:9.1f}  {one.active:9.1f}"
                )
                lines.append(f"{size:20,}  {figures}  {idle:14.1f}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        series = {"records": self.records, "zones": self.zones, "beside": self.beside}
        points = {name: {size: one.to_json() for size, one in by.items()} for name, by in series.items()}
        asked = {"changes": self.changes, "rounds": self.rounds, "settings": {"PostgreSQL": SERVER}}
        return {**super().to_json(), **asked, **points}

    def panels(self) -> Iterator[Panel]:
        """What is drawn of it."""
        for words, points, others in (
            ("records in the zone", self.records, None), ("zones", self.zones, self.beside),
        ):  # fmt: skip
            sizes = list(points)
            by_group = {
                group: [statistics.median(one.cost_ms[group]) for one in points.values()]
                for group in ("workers", "PostgreSQL")
            }
            ours = Curve("all of ours", [one.ours_ms for one in points.values()])
            bind = Curve("BIND", [one.nameserver_ms for one in points.values()], is_apart=True)
            parts = [Curve(group, took) for group, took in by_group.items()]
            few = f"with {sizes[0]:,} then"
            beside = [Curve(few, [one.ours_ms for one in others.values()], is_apart=True)] if others else []
            yield Panel(f"CPU ms a change, by {words}", sizes, [ours, *parts, bind, *beside])
            times = [
                Curve("served", [one.served for one in points.values()]),
                Curve("ACTIVE", [one.active for one in points.values()]),
            ]
            if others:
                times.append(Curve(f"ACTIVE, {few}", [one.active for one in others.values()], is_apart=True))
            yield Panel(f"ms from submit, by {words}", sizes, times)


def growth(points: Mapping[int, Point], small: Mapping[int, Point]) -> float:
    """The most that a change costs, in terms of what it costs at the smallest size at that time."""
    return max(one.ours_ms / small[size].ours_ms for size, one in points.items())


def main() -> int:
    options = _options()

    def work() -> Found:
        records = [size for size in RECORDS if size <= options.records]
        zones = [size for size in ZONES if size <= options.zones]
        found = measure(records, zones, options.changes, options.rounds)
        if options.svg:
            title = f"What a change costs ({options.rounds} rounds of {options.changes} changes)"
            options.svg.write_text(svg(title, list(found.panels())))
        return found

    return run(work, options.json)


def _options() -> argparse.Namespace:
    assert __doc__
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--records", type=count(LIMIT), default=RECORDS[-1], metavar="N", help="in a zone at most (1000000)")
    add("--zones", type=count(LIMIT), default=ZONES[-1], metavar="N", help="at most (100000)")
    add("--changes", type=count(LIMIT), default=1000, metavar="N", help="in a round (1000)")
    add("--rounds", type=count(LIMIT), default=5, metavar="N", help="at each size (5)")
    add("--json", type=writable, metavar="FILE", help="the figures")
    add("--svg", type=writable, metavar="FILE", help="the figures as a picture")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
