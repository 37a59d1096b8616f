"""What a dead target costs the other one of its pool: `python -m bench.dead`.

Two pools at one BIND: the zones of the one have that target alone, those of the other a second BIND as well,
which has died, with a threshold that the living one meets. The same sixteen clients change records in the one
pool, then in the other, in turns; so whatever else the machine does is in both rates. Exit status: 0 the goal
is met, 1 it isn't, 2 nothing was measured, or what was made isn't what was wanted.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.command import Measured, NothingMeasured, count, new_parser, run, say
from bench.goals import Row
from bench.submitters import SUBMITTERS, UNFINISHED, Done, Work, add_option, submit
from bench.system import System, a_system
from dev.pool import pool_of, to_yaml
from dev.servers import Bind
from dnsworker.reports.system import show_targets

LIMIT = 1000
ZONES = 25
ALONE = tuple(f"alone{number}.test." for number in range(ZONES))
PAIR = tuple(f"pair{number}.test." for number in range(ZONES))
DEAD = "dead"
#: Half of two nameservers: the zone is DEGRADED, and the operation ACTIVE.
THRESHOLD_PERCENTAGE = 50
#: Changes of each submitter before anything is measured, in each pool.
WARM_UP = 10


class Bench:
    """One run against one system."""

    def __init__(self, system: System, dying: Bind, unfinished: int = UNFINISHED) -> None:
        self.system, self._dying, self._unfinished = system, dying, unfinished
        self.measured = Measured({**system.settings, "threshold_percentage": THRESHOLD_PERCENTAGE})

    def prepare(self) -> None:
        """All zones are at all their targets; then one of those dies."""
        self.system.create_zones(ALONE, "alone")
        self.system.create_zones(PAIR, "pair")
        self.system.wait_for_rest()
        self._dying.kill()
        for zones in (ALONE, PAIR):
            self._submit(Work("changes", zones, total=WARM_UP * SUBMITTERS))

    def change(self, seconds: float, rounds: int) -> None:
        """Rates without the dead one and with it, in turns. Raises `NothingMeasured` if it wasn't one."""
        without, with_it = [], []
        for number in range(1, rounds + 1):
            without.append(self._submit(Work("changes", ALONE, seconds=seconds)).rate)
            with_it.append(self._submit(Work("changes", PAIR, seconds=seconds)).rate)
            say(f"round {number} of {rounds}: {without[-1]:.0f}/s without, {with_it[-1]:.0f}/s with it")
        self._raise_unless_behind()
        ratio = statistics.median(with_it) / statistics.median(without)
        self.measured.found.append(Row("dead", ratio, remark=f"{rounds} rounds of {seconds:g} s"))
        self.measured.details |= {"without, /s": without, "with it, /s": with_it}

    def _submit(self, work: Work) -> Done:
        return submit(self.system, work, self._unfinished)

    def _raise_unless_behind(self) -> None:
        with self.system.engine.connect() as connection:
            backlog = {one["name"]: one["backlog"] for one in show_targets(connection)}[DEAD]
        if backlog != len(PAIR):
            raise NothingMeasured(f"{backlog} zones of {len(PAIR)} wait for the target that has died")


@contextmanager
def a_bench(*, unfinished: int = UNFINISHED, **options: Any) -> Iterator[Bench]:
    """`options`: as for `a_system`."""
    with Bind() as living, Bind() as dying:
        # Two targets, one server: their zones have different names.
        alone = pool_of({"alone": living}, name="alone")
        pair = pool_of(
            {"living": living, DEAD: dying}, name="pair", threshold_percentage=THRESHOLD_PERCENTAGE
        )
        with a_system(bind=living, pool_yaml=to_yaml(alone, pair), **options) as system:
            yield Bench(system, dying, unfinished)


def measure(bench: Bench, seconds: float, rounds: int) -> Measured:
    """Raises `NothingMeasured`."""
    bench.prepare()
    bench.change(seconds, rounds)
    bench.measured.details["checked"] = bench.system.check({DEAD})
    return bench.measured


def main() -> int:
    options = _options()
    return run(lambda: _measure_new(options), options.json)


def _measure_new(options: argparse.Namespace) -> Measured:
    say("starting RabbitMQ, PostgreSQL, Redis, two BINDs and the workers …")
    with a_bench(unfinished=options.unfinished, fsync=not options.no_fsync) as bench:
        return measure(bench, options.seconds, options.rounds)


def _options() -> argparse.Namespace:
    assert __doc__
    parser = new_parser("dead", __doc__)
    parser.add_argument("--seconds", type=count(LIMIT), default=10, metavar="N", help="of a round (10)")
    parser.add_argument("--rounds", type=count(LIMIT), default=4, metavar="N", help="of each kind (4)")
    add_option(parser)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
