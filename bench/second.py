"""What a second worker process adds when the first is the bottleneck: `python -m bench.second`.

One worker process, which does everything, on a core of its own, and then a second one on another core, in
turns. For the worker to be the bottleneck, all the rest must have cores left: on a machine with fewer than
four, each worker gets a share of its core only, and is held (SIGSTOP) for the rest of the time, as if its
core were slower. Exit status: 0 the goal is met, 1 it isn't, 2 nothing was measured (the worker wasn't the
bottleneck), or what was made isn't what was wanted.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import statistics
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench import processes
from bench.command import Measured, NothingMeasured, count, new_parser, run, say
from bench.goals import Row
from bench.submitters import SUBMITTERS, UNFINISHED, Done, Work, add_option, submit
from bench.system import System, a_system

LIMIT = 1000
ZONES = tuple(f"pinned{number}.test." for number in range(50))
WARM_UP = 10
#: With as many cores, the workers have two for themselves and the rest has two.
ENOUGH_CORES = 4
#: Else what a worker gets of its core, in percent.
SHARE = 25
#: Between two looks at what a worker has used: short, so that it is slow and not jerky.
LOOK_S = 0.002
#: The worker is the bottleneck when it used so much of what it got.
BUSY = 0.9


class Throttle:
    """Lets processes have a share of a core each, by stopping and continuing them."""

    def __init__(self, pids: Sequence[int], percent: int) -> None:
        self._pids, self._share = pids, percent / 100
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @contextmanager
    def on(self) -> Iterator[None]:
        if self._share >= 1:
            yield
            return
        self._thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            self._thread.join()
            for pid in self._pids:
                os.kill(pid, signal.SIGCONT)

    def _run(self) -> None:
        seen_s, at = {pid: used_s(pid) for pid in self._pids}, time.monotonic()
        credit_s, held = dict.fromkeys(self._pids, 0.0), set[int]()
        while not self._is_over.wait(LOOK_S):
            passed_s, at = time.monotonic() - at, time.monotonic()
            for pid in self._pids:
                before_s, seen_s[pid] = seen_s[pid], used_s(pid)
                # What it left unused is lost, as a core's time is.
                credit = credit_s[pid] + passed_s * self._share - (seen_s[pid] - before_s)
                credit_s[pid] = min(credit, 2 * LOOK_S)
                if (credit < 0) is not (pid in held):
                    os.kill(pid, signal.SIGSTOP if credit < 0 else signal.SIGCONT)
                    held ^= {pid}


def used_s(pid: int) -> float:
    """CPU seconds of all threads of a process, to the nanosecond (clock_getcpuclockid(3))."""
    return time.clock_gettime(~pid << 3 | 2)


class Bench:
    """One run against one system, which has one worker at first."""

    def __init__(self, system: System, percent: int, unfinished: int = UNFINISHED) -> None:
        self.system, self._stack = system, system.stack
        self._percent, self._unfinished = percent, unfinished
        self._cores = sorted(os.sched_getaffinity(0))
        #: By how many workers: rates, the share of what they got that they used, what the rest used.
        self._rates: dict[int, list[float]] = {1: [], 2: []}
        self._busy: dict[int, list[float]] = {1: [], 2: []}
        self._rest: dict[int, list[float]] = {1: [], 2: []}
        self.measured = Measured({**system.settings, "pinned": self._pinning()})

    def prepare(self) -> None:
        self.system.create_zones(ZONES)
        second = self._stack.start_worker()
        self._pin()
        self._submit(Work("changes", ZONES, total=WARM_UP * SUBMITTERS))
        second.stop()

    def change(self, seconds: float, rounds: int) -> None:
        """Rates with one worker and with two, in turns."""
        second = self._stack.workers[1]
        for number in range(1, rounds + 1):
            self._round(seconds)
            second.start()
            self._pin()
            self._round(seconds)
            second.stop()
            say(
                f"round {number} of {rounds}: {self._rates[1][-1]:.0f}/s, {self._rates[2][-1]:.0f}/s with two"
            )
        self.raise_unless_bottleneck()
        ratio = statistics.median(self._rates[2]) / statistics.median(self._rates[1])
        remark = f"{rounds} rounds of {seconds:g} s, each with {self._percent} % of a core"
        self.measured.found.append(Row("second", ratio, remark=remark))
        for words, seen in (
            ("/s", self._rates),
            ("what the workers used of what they got", self._busy),
            (f"cores of {len(self._cores)} that all the rest used", self._rest),
        ):
            self.measured.details |= {f"with one, {words}": seen[1], f"with two, {words}": seen[2]}

    def _round(self, seconds: float) -> None:
        pids = [worker.pid for worker in self._stack.workers if worker.is_running]
        with Throttle(pids, self._percent).on():
            done = self._submit(Work("changes", ZONES, seconds=seconds))
        workers_s = done.cpu_s["workers"]
        self._rates[len(pids)].append(done.rate)
        self._busy[len(pids)].append(workers_s / (done.took_s * len(pids) * self._percent / 100))
        self._rest[len(pids)].append((sum(done.cpu_s.values()) - workers_s) / done.took_s)

    def _submit(self, work: Work) -> Done:
        return submit(self.system, work, self._unfinished)

    def raise_unless_bottleneck(self) -> None:
        """Raises `NothingMeasured`."""
        busy = statistics.median(self._busy[1])
        if busy < BUSY:
            raise NothingMeasured(f"the worker used {busy:.0%} of what it got: it wasn't the bottleneck")

    def _pinning(self) -> str:
        first, second, *rest = [*self._cores, *self._cores][: max(2, len(self._cores))]
        others = f"cores {rest}" if len(self._cores) >= ENOUGH_CORES else "every core"
        return f"the first worker to core {first}, the second to {second}, all else to {others}"

    def _pin(self) -> None:
        for worker, core in zip(self._stack.workers, self._cores, strict=False):
            pin([worker.pid], {core})
        if len(self._cores) >= ENOUGH_CORES:
            rest = set(self._cores[2:])
            groups = processes.groups(self._stack)
            pin([pid for name, pids in groups.items() if name != "workers" for pid in pids], rest)
            os.sched_setaffinity(0, rest)  # the submitters, our children, have it from us


def pin(pids: Iterable[int], cores: set[int]) -> None:
    """Every thread of these processes; those that they start later follow."""
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.sched_setaffinity(int(thread.name), cores)


def default_percent() -> int:
    """All of a core where there are enough of them."""
    return 100 if len(os.sched_getaffinity(0)) >= ENOUGH_CORES else SHARE


def measure(bench: Bench, seconds: float, rounds: int) -> Measured:
    """Raises `NothingMeasured`."""
    bench.prepare()
    bench.change(seconds, rounds)
    bench.measured.details["checked"] = bench.system.check()
    return bench.measured


def main() -> int:
    options = _options()
    return run(lambda: _measure_new(options), options.json)


def _measure_new(options: argparse.Namespace) -> Measured:
    say("starting RabbitMQ, PostgreSQL, Redis, BIND and a worker …")
    with a_system(workers=1, fsync=not options.no_fsync) as system:
        return measure(Bench(system, options.share, options.unfinished), options.seconds, options.rounds)


def _options() -> argparse.Namespace:
    assert __doc__
    parser = new_parser("second", __doc__)
    parser.add_argument("--seconds", type=count(LIMIT), default=15, metavar="N", help="of a round (15)")
    parser.add_argument("--rounds", type=count(LIMIT), default=3, metavar="N", help="of each kind (3)")
    parser.add_argument(
        "--share",
        type=count(100),
        default=default_percent(),
        metavar="PERCENT",
        help=f"of its core that a worker gets ({default_percent()} here)",
    )
    add_option(parser)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
