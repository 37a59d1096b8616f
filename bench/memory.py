"""What memory a worker needs after many changes: `python -m bench.memory`.

Sixteen clients change records; after a tenth, half and all of the changes the resident memory of each worker
process is looked at. Exit status: 0 the goals are met, 1 they aren't, 2 nothing was measured, or what was
made isn't what was wanted.
"""

from __future__ import annotations

import argparse
import sys

from bench import processes
from bench.command import Measured, count, new_parser, run, say
from bench.goals import Row
from bench.submitters import SUBMITTERS, UNFINISHED, Work, add_option, submit
from bench.system import System, a_system

LIMIT = 10_000_000
#: What the goal is for; `make bench` makes fewer.
CHANGES = 1_000_000
ZONES = tuple(f"memory{number}.test." for number in range(50))
PERCENT = (10, 50, 100)


def measure(system: System, changes: int, unfinished: int = UNFINISHED) -> Measured:
    """Raises `NothingMeasured`."""
    system.create_zones(ZONES)
    done, seen = 0, {"0 %": processes.worker_mb(system.stack)}
    for percent in PERCENT:
        # Not fewer than one for each submitter: else some of them weren't there.
        part = max(SUBMITTERS, changes * percent // 100 - done)
        done += submit(system, Work("changes", ZONES, total=part), unfinished).submitted
        seen[f"{percent} %"] = processes.worker_mb(system.stack)
        say(f"{done:,} of {changes:,} changes: {seen[f'{percent} %']}")
    checked = system.check()
    first, last = seen[f"{PERCENT[0]} %"], seen[f"{PERCENT[-1]} %"]
    moot = "" if changes >= CHANGES else f"it is for {CHANGES:,}"
    rows = [
        Row("memory", max(last.values()), moot=moot, remark=f"{done:,}"),
        Row("memory.flat", max(last[name] / first[name] for name in last), moot=moot, remark=f"{done:,}"),
    ]
    return Measured(system.settings, rows, {"MB after so much": seen, "checked": checked})


def main() -> int:
    options = _options()
    return run(lambda: _measure_new(options), options.json)


def _measure_new(options: argparse.Namespace) -> Measured:
    say("starting RabbitMQ, PostgreSQL, Redis, BIND and the workers …")
    with a_system(fsync=not options.no_fsync) as system:
        return measure(system, options.changes, options.unfinished)


def _options() -> argparse.Namespace:
    assert __doc__
    parser = new_parser("memory", __doc__)
    parser.add_argument("--changes", type=count(LIMIT), default=CHANGES, metavar="N", help=f"({CHANGES})")
    add_option(parser)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
