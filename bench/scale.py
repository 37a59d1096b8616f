"""How long `status` and the sweep take with a million zones in the database: `python -m bench.scale`.

The database is written directly. It is measured at rest, and with one of two targets down and every zone
waiting for it. Exit status: 0 the goals are met, 1 they aren't, 2 nothing was measured.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import sqlalchemy as sa

from bench import filling
from bench.command import Measured, NothingMeasured, count, run, say, writable
from bench.goals import Row
from dev.servers import PostgreSQL
from dnsworker import database
from dnsworker.operations import Outcome
from dnsworker.pools import Pool
from dnsworker.reports.system import show_status
from dnsworker.runtime import Runtime
from dnsworker.settings import load_settings
from dnsworker.store import census, pools

#: Of zones, and of rounds.
LIMIT = 10_000_000
GOAL_ZONES = 1_000_000
TARGETS = 2
#: Neither is ever called: nothing is delivered here.
POOL = {
    "name": "default",
    "ns_records": [{"hostname": "ns1.dnsworker.test."}],
    "targets": [{"name": f"target{number}", "type": "builtin"} for number in range(TARGETS)],
}
#: A server that holds a million zones isn't left with the 128 MB of PostgreSQL's defaults.
SERVER = {"shared_buffers": "1GB", "max_wal_size": "8GB"}
AT_REST, OUTAGE = "at rest", "one target down"


class NoSignals:
    """A runtime alone: what it would wake isn't there."""

    def wake_delivery(self, target: str) -> None:
        pass

    def publish_outcomes(self, outcomes: Sequence[Outcome]) -> None:
        pass


class Bench:
    """A worker's runtime in this process, over a database that is filled behind its back."""

    def __init__(self, url: str) -> None:
        self.engine = database.connect(url)
        self._runtime = Runtime(load_settings(database_url=url), NoSignals())

    def __enter__(self) -> Bench:
        with self.engine.begin() as connection:
            pools.apply(connection, [Pool.model_validate(POOL)])
        self._runtime.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._runtime.stop()
        self.engine.dispose()

    def time(self, zones: int, rounds: int) -> dict[str, float]:
        """Milliseconds, the median of each. Raises `NothingMeasured` where `status` tells something else."""
        for _ in range(zones // census.SIZE // census.SLICES_AT_ONCE + 1):
            self._runtime.sweep()  # until it has been round
        took = {
            "sweep": _median_ms(self._runtime.sweep, rounds),
            "status": _median_ms(self._status, rounds),
        }
        if sum(self._status()["zones"].values()) != zones:
            raise NothingMeasured(f"status tells of {self._status()['zones']}, and there are {zones}")
        return took

    def _status(self) -> dict[str, Any]:
        with self.engine.connect() as connection:
            return show_status(connection)

    def backlog(self) -> int:
        return sum(one["backlog"] for one in self._status()["targets"])


def _median_ms(work: Callable[[], object], rounds: int) -> float:
    took = []
    for _ in range(rounds):
        begun = time.perf_counter()
        work()
        took.append(time.perf_counter() - begun)
    return statistics.median(took) * 1000


@contextmanager
def a_bench(postgresql: PostgreSQL | None = None) -> Iterator[Bench]:
    """With a server of its own, or a database of its own on a given one, which is left running."""
    with ExitStack() as ending:
        server = postgresql or ending.enter_context(PostgreSQL(settings=SERVER))
        url = server.create_database("scale")
        ending.callback(server.drop_database, "scale")
        database.upgrade(url)
        yield ending.enter_context(Bench(url))


def measure(bench: Bench, zones: int, rounds: int) -> Measured:
    """Raises `NothingMeasured`."""
    say(f"writing {zones} zones into the database …")
    filling.add_zones(bench.engine, 1, zones)
    found = {AT_REST: bench.time(zones, rounds)}
    say(f"{found[AT_REST]}; one target goes down")
    filling.fill(bench.engine, filling.OUTAGE)
    found[OUTAGE] = bench.time(zones, rounds)
    if bench.backlog() != zones:
        raise NothingMeasured(f"{bench.backlog()} zones wait for the target that is down, of {zones}")
    remark = "" if zones >= GOAL_ZONES else f"with {zones}"
    rows = [
        Row(f"scale.{what}", max(one[what] for one in found.values()), remark=remark)
        for what in ("sweep", "status")
    ]
    rows_there = {table: _rows(bench.engine, table) for table in ("zone", "delivery", "recordset", "journal")}
    return Measured(settings={"PostgreSQL": SERVER}, found=rows, details={**found, "rows": rows_there})


def _rows(engine: sa.Engine, table: str) -> int:
    with engine.connect() as connection:
        query = sa.text("SELECT reltuples FROM pg_class WHERE oid = CAST(:name AS regclass)")
        return int(connection.execute(query, {"name": table}).scalar_one())


def _measure(zones: int, rounds: int) -> Measured:
    with a_bench() as bench:
        return measure(bench, zones, rounds)


def main() -> int:
    options = _options()
    return run(lambda: _measure(options.zones, options.rounds), options.json)


def _options() -> argparse.Namespace:
    assert __doc__
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__.splitlines()[0])
    parser.add_argument("--zones", type=count(LIMIT), default=GOAL_ZONES, metavar="N", help="1000000")
    parser.add_argument("--rounds", type=count(LIMIT), default=50, metavar="N", help="of each (50)")
    parser.add_argument("--json", type=writable, metavar="FILE", help="the figures, in milliseconds")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
