"""Those who submit: sixteen clients in two processes, so that they aren't what is measured.

They go on for as long as they are told, but leave no more unfinished behind them than `UNFINISHED`: what only
a growing backlog takes in is no rate.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import multiprocessing
import queue
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bench import processes
from bench.command import NothingMeasured, count
from bench.system import EMAIL, System
from dnsworker import Client
from dnsworker.errors import DNSWorkerError

PROCESSES, THREADS = 2, 8
SUBMITTERS = PROCESSES * THREADS
UNFINISHED = 2000
#: RRsets of one submitter, more than can be unfinished: none is changed again before its last change has
#: ended, so no change is spared because a later one replaces it.
NAMES = 2048
READY_S = 60.0
LOOK_S = 0.05
#: Their group's name among those whose CPU time is told.
OURSELVES = "submitters"
SUBMIT_WITHIN_S = 30.0


@dataclass(frozen=True)
class Work:
    """What all submitters are to do together."""

    kind: Literal["changes", "zones"]
    zones: Sequence[str]
    #: So many, or for so long.
    total: int | None = None
    seconds: float | None = None


@dataclass
class Done:
    """What they did. `took_s` goes on until the last operation has ended."""

    submitted: int
    took_s: float
    #: CPU seconds by group of processes, the submitters one of them.
    cpu_s: dict[str, float] = field(default_factory=dict)
    #: Seconds since the start → operations that had ended by then.
    ended: list[tuple[float, int]] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Operations a second."""
        return self.submitted / self.took_s

    @property
    def system_cpu_s(self) -> float:
        """Of workers, broker, database, Redis and the nameservers for 1,000 operations."""
        of_system = sum(self.cpu_s.values()) - self.cpu_s[OURSELVES]
        return of_system * 1000 / self.submitted

    @property
    def halves(self) -> tuple[float, float]:
        """The rate in the first half of the time, and in the second: equal, it is sustained."""
        middle_s, middle = min(self.ended, key=lambda one: abs(one[0] - self.took_s / 2))
        return middle / middle_s, (self.submitted - middle) / (self.took_s - middle_s)


class Signals:
    """What the processes share. No locks: each value has one writer, who may die."""

    def __init__(self, context: Any) -> None:
        self.start, self.stop = context.Event(), context.Event()
        self.must_wait = context.Value(ctypes.c_bool, False, lock=False)
        self.submitted = context.Array(ctypes.c_longlong, SUBMITTERS, lock=False)


def submit(system: System, work: Work, unfinished: int = UNFINISHED) -> Done:
    """Have it done and wait until every operation has ended. Raises `NothingMeasured`."""
    context = multiprocessing.get_context("forkserver")
    # Forked where all is imported already, once for every round: imports take longer than a short one.
    context.set_forkserver_preload([__name__])
    signals, answers = Signals(context), context.Queue()
    urls = system.stack.env["DNSWORKER_BROKER_URL"], system.stack.env["DNSWORKER_RESULT_URL"]
    processes = [
        context.Process(target=_run, args=(urls, work, number, signals, answers), daemon=True)
        for number in range(PROCESSES)
    ]
    try:
        for process in processes:
            process.start()
        for _ in processes:
            _next(answers, READY_S)
        return _follow(system, work, unfinished, signals, answers)
    finally:
        signals.stop.set()
        for process in processes:
            process.join(SUBMIT_WITHIN_S)
            process.kill()


def _follow(system: System, work: Work, at_most: int, signals: Signals, answers: Any) -> Done:
    done, before, submitters_s = Done(0, 0.0), processes.cpu_s(system.stack), []
    begun = time.monotonic()

    def note(unfinished: int) -> None:
        done.took_s, done.submitted = time.monotonic() - begun, sum(signals.submitted)
        done.ended.append((done.took_s, max(0, done.submitted - unfinished)))

    signals.start.set()
    while len(submitters_s) < PROCESSES:
        unfinished = system.unfinished()
        note(unfinished)
        signals.must_wait.value = unfinished > at_most
        if work.seconds is not None and done.took_s > work.seconds:
            signals.stop.set()
        with contextlib.suppress(queue.Empty):
            submitters_s.append(_next(answers, LOOK_S))
    system.submitted += sum(signals.submitted)
    if work.kind == "zones":
        system.zones += work.zones
    for unfinished in system.until_ended():
        note(unfinished)
    done.cpu_s = processes.used_s(before, processes.cpu_s(system.stack)) | {OURSELVES: sum(submitters_s)}
    return done


def _next(answers: Any, within_s: float) -> float:
    """What a process says next. Raises `NothingMeasured` with an error's words, `queue.Empty`."""
    answer: float | str = answers.get(timeout=within_s)
    if isinstance(answer, str):
        raise NothingMeasured(f"a submitter failed: {answer}")
    return answer


def _run(urls: tuple[str, str], work: Work, process: int, signals: Signals, answers: Any) -> None:
    """One process of submitters: says that it is ready, works, and says what CPU time it took."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which stops us
    failures: list[str] = []
    clients = [Client(*urls, timeout_s=SUBMIT_WITHIN_S) for _ in range(THREADS)]
    threads = [
        threading.Thread(target=_submit, args=(client, work, process * THREADS + at, signals, failures))
        for at, client in enumerate(clients)
    ]
    answers.put(0.0)
    signals.start.wait()
    begun = time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answers.put(failures[0] if failures else time.process_time() - begun)
    for client in clients:
        client.close()


def _submit(client: Client, work: Work, submitter: int, signals: Signals, failures: list[str]) -> None:
    try:
        for number in _numbers(work, submitter):
            while signals.must_wait.value and not signals.stop.is_set():
                time.sleep(LOOK_S / 10)
            if signals.stop.is_set():
                return
            _submit_one(client, work, submitter, number)
            signals.submitted[submitter] += 1
    except DNSWorkerError as exc:
        failures.append(str(exc))


def _numbers(work: Work, submitter: int) -> Iterator[int]:
    """Its part of the total, counted from 0."""
    part = len(range(submitter, work.total, SUBMITTERS)) if work.total is not None else 2**40
    yield from range(part)


def _submit_one(client: Client, work: Work, submitter: int, number: int) -> None:
    if work.kind == "zones":
        client.create_zone(work.zones[number * SUBMITTERS + submitter], email=EMAIL)
        return
    # Each submitter goes round all zones; they start at different ones.
    zone = work.zones[(number + submitter * len(work.zones) // SUBMITTERS) % len(work.zones)]
    name = f"h{submitter}-{number // len(work.zones) % -(-NAMES // len(work.zones))}"
    client.put_record(zone, name, "AAAA", [address(submitter, number)], ttl=300)


def add_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--unfinished",
        type=count(UNFINISHED),
        default=UNFINISHED,
        metavar="N",
        help=f"operations at most ({UNFINISHED}): a slow system then needs less time for the last ones",
    )


def address(submitter: int, number: int) -> str:
    """One that nothing else has."""
    return f"2001:db8:{submitter:x}::{number >> 16:x}:{number & 0xFFFF:x}"
