"""What processes have used: their CPU time by group, and their memory."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from dev.servers import tree
from dev.stack import Stack

TICKS = os.sysconf("SC_CLK_TCK")


def groups(stack: Stack) -> dict[str, list[int]]:
    """The pids of all that takes part, by what it is."""
    ours = [program.pid for program in (*stack.workers, *filter(None, [stack.beat])) if program.is_running]
    servers = (stack.rabbitmq, stack.postgresql, stack.bind, stack.powerdns, stack.redis)
    found = {type(server).__name__: server.pids for server in servers if server.is_running}
    return {"workers": _families(ours), **found}


def cpu_s(stack: Stack) -> dict[str, float]:
    """CPU seconds that each group has used so far, those of its children that have ended included."""
    return {name: sum(map(_cpu_s, pids)) for name, pids in groups(stack).items()}


def used_s(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {name: after[name] - before[name] for name in after}


def family_s(pid: int) -> float:
    """CPU seconds that a process and its children have used so far."""
    return sum(map(_cpu_s, _families([pid])))


def worker_mb(stack: Stack) -> dict[str, float]:
    """Megabytes of resident memory now, by worker."""
    return {program.name: _kb(program.pid, "status", "VmRSS") / 1024 for program in stack.workers}


def workers_pss_mb(stack: Stack) -> float:
    """Of the workers and beat: what is shared is counted once."""
    return sum(_kb(pid, "smaps_rollup", "Pss") for pid in groups(stack)["workers"]) / 1024


def _families(pids: Iterable[int]) -> list[int]:
    return [member.pid for pid in pids for member in tree.family(pid)]


def _cpu_s(pid: int) -> float:
    """User and system time, its own and that of children it has waited for."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0.0  # it has ended: its parent has the time
    fields = text.rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS


def _kb(pid: int, file: str, name: str) -> int:
    text = Path(f"/proc/{pid}/{file}").read_text(encoding="ascii", errors="replace")
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) if found else 0
