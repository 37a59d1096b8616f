"""How many changes and zones a second, and what they cost: `python -m bench.rates`.

Sixteen clients in two processes change single records, round fifty zones and then in one; then they create
zones. Beside each, in the same run and at the same BIND, the simplest means: dynamic updates by dnspython
with one record a message on one connection, and `rndc addzone`. Exit status: 0 the goals are met, 1 they
aren't, 2 nothing was measured, or what was made isn't what was wanted.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import processes, profile, raw, stages
from bench.command import Measured, count, new_parser, run, say
from bench.goals import Row
from bench.machine import describe, one_line
from bench.submitters import SUBMITTERS, UNFINISHED, Done, Work, add_option, submit
from bench.system import System, a_system

LIMIT = 100_000
ZONES = 50
#: Plain updates before and after, each for so much of the time.
RAW_SHARE = 0.05
#: Changes of each submitter before anything is measured.
WARM_UP = 25


class Bench:
    """One run against one system."""

    def __init__(self, system: System, unfinished: int = UNFINISHED, pictures: Path | None = None) -> None:
        self.system, self._stack = system, system.stack
        self._unfinished, self._pictures = unfinished, pictures
        self.many = [f"many{number}.test." for number in range(ZONES)]
        self.one = ["one.test."]
        self._raw_zones = [f"raw-many{number}.test." for number in range(ZONES)]
        self.measured = Measured(system.settings)
        #: By goal, what `stages.times_us` gave.
        self.times_us: dict[str, dict[str, float]] = {}

    def prepare(self) -> None:
        """The zones, and whatever is slower the first time."""
        self.system.create_zones([*self.many, *self.one])
        raw.create_zones(self._stack.bind, self._raw_zones)
        self._submit(Work("changes", self.many, total=WARM_UP * SUBMITTERS))

    def change(self, key: str, zones: Sequence[str], seconds: float) -> Done:
        """The rate of changes in these zones, and beside it that of plain updates in as many."""
        before = self._plain_rate(len(zones), seconds)
        with profile.recording(self._stack, self._pictures, key) as pictures:
            done = self._submit(Work("changes", zones, seconds=seconds))
        plain = (before, self._plain_rate(len(zones), seconds))
        words = "dnspython, 1 RR a message"
        self.measured.found.append(
            Row(key, done.rate, statistics.mean(plain), words, remark=f"{done.took_s:.0f} s")
        )
        self._note(f"{key}: ours in the first half, in the second, /s", done.halves)
        self._note(f"{key}: raw before, after, /s", plain)
        self._note(f"{key}: CPU for 1,000 changes, s", _per_thousand(done))
        if pictures:
            self.times_us[key] = stages.times_us(pictures, done.submitted)
            self._note(f"{key}: CPU of a change in the workers, µs", self.times_us[key])
        return done

    def change_many(self, seconds: float) -> None:
        """Round many zones, with what it costs: CPU time and memory."""
        memory = {"at the start": processes.worker_mb(self._stack)}
        done = self.change("changes.zones", self.many, seconds)
        memory["at the end"] = processes.worker_mb(self._stack)
        self.measured.found.append(Row("cpu", done.system_cpu_s))
        self.measured.found.append(Row("memory.all", processes.workers_pss_mb(self._stack)))
        self._note("memory of the workers, MB", memory)

    def create(self, zones: int) -> None:
        """The rate of creations; beside it `rndc addzone`, sixteen processes at once and one at a time."""
        names = [f"new{number}.test." for number in range(zones)]
        with profile.recording(self._stack, self._pictures, "zones"):
            done = self._submit(Work("zones", names, total=zones))
        bind = self._stack.bind
        at_once_s = raw.create_zones(bind, [f"once-{name}" for name in names], at_once=SUBMITTERS)
        in_turn_s = raw.create_zones(bind, [f"turn-{name}" for name in names])
        words = f"rndc addzone, {SUBMITTERS} processes at once"
        self.measured.found.append(Row("zones", done.rate, zones / at_once_s, words, remark=f"{zones:,}"))
        self._note("zones: raw, one process after the other, /s", zones / in_turn_s)
        self._note("zones: CPU for 1,000 creations, s", _per_thousand(done))

    def _submit(self, work: Work) -> Done:
        return submit(self.system, work, self._unfinished)

    def _plain_rate(self, zones: int, seconds: float) -> float:
        return raw.update_rate(self._stack.bind, self._raw_zones[:zones], max(0.5, seconds * RAW_SHARE))

    def _note(self, name: str, seen: object) -> None:
        self.measured.details[name] = seen


def _per_thousand(done: Done) -> dict[str, float]:
    return {name: used * 1000 / done.submitted for name, used in done.cpu_s.items()}


def measure(bench: Bench, seconds: float, zones: int) -> Measured:
    """All figures of one system that has just been started. Raises `NothingMeasured`."""
    bench.prepare()
    say(f"changes round {len(bench.many)} zones for {seconds:g} s …")
    bench.change_many(seconds)
    say(f"changes in one zone for {seconds:g} s …")
    bench.change("changes.one", bench.one, seconds)
    say(f"{zones} zones are created …")
    bench.create(zones)
    say("checking that BIND has what the database wants …")
    bench.measured.details["checked"] = bench.system.check()
    return bench.measured


def main() -> int:
    options = _options()
    return run(lambda: _measure_new(options), options.json)


def _measure_new(options: argparse.Namespace) -> Measured:
    say("starting RabbitMQ, PostgreSQL, Redis, BIND and the workers …")
    machine = describe()
    with a_system(fsync=not options.no_fsync) as system:
        bench = Bench(system, options.unfinished, options.profile)
        measured = measure(bench, options.seconds, options.zones)
        if options.profile:
            (options.profile / "stages.md").write_text(stages.to_markdown(bench.times_us, one_line(machine)))
        return measured


def _options() -> argparse.Namespace:
    assert __doc__
    parser = new_parser("rates", __doc__)
    parser.add_argument("--seconds", type=count(LIMIT), default=60, metavar="N", help="of changes (60)")
    parser.add_argument("--zones", type=count(LIMIT), default=200, metavar="N", help="that are created (200)")
    add_option(parser)
    parser.add_argument(
        "--profile", type=profile.folder, metavar="FOLDER", help="flame graphs of the workers"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
