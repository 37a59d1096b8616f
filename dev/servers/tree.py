"""A process and all its descendants, as /proc shows them, so that none is left behind.

A process group isn't enough: PostgreSQL's backends and Erlang's helpers each open a session of their own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Member:
    """One process; `started` (clock ticks since boot) tells it from a later one with the same pid."""

    pid: int
    started: int


def family(pid: int) -> list[Member]:
    """The process and its descendants, parents first; empty when it is gone."""
    children: dict[int, list[Member]] = {}
    found: list[Member] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))):
            member = Member(int(entry.name), stat[1])
            children.setdefault(stat[0], []).append(member)
            if member.pid == pid:
                found.append(member)
    for member in found:  # grows while it is walked
        found.extend(children.get(member.pid, ()))
    return found


def is_alive(member: Member) -> bool:
    """Whether it still runs; a zombie doesn't."""
    stat = _stat(member.pid)
    return stat is not None and stat[1] == member.started


def send(members: Iterable[Member], number: signal.Signals) -> None:
    for member in members:
        if is_alive(member):
            with contextlib.suppress(ProcessLookupError):
                os.kill(member.pid, number)


def wait_gone(members: Iterable[Member], timeout_s: float) -> None:
    """Return when all have ended. Raises `TimeoutError` naming the pids that are left."""
    deadline = time.monotonic() + timeout_s
    while left := [member.pid for member in members if is_alive(member)]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"still running after SIGKILL: {left}")
        time.sleep(0.02)


def are_frozen(members: Iterable[Member]) -> bool:
    """Whether every thread has stopped: a signal is sent at once, and obeyed a little later."""
    return all(_states(member.pid) <= set("TtZX") for member in members)


def _states(pid: int) -> set[str]:
    states = set()
    for task in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):  # a thread that has ended
            text = task.read_text(encoding="utf-8", errors="replace")
            states.add(text.rpartition(")")[2].split()[0])
    return states


def _stat(pid: int) -> tuple[int, int] | None:
    """Parent pid and start time; None for a process that is gone or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name in parentheses may hold anything, blanks and parentheses too: read after the last one.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else (int(fields[1]), int(fields[19]))
