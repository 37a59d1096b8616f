"""What no single test sees: errors that nobody foresaw, in the logs of our own programs."""

from __future__ import annotations

import re

from dev.program import ROOT

OURS = tuple(str(ROOT / folder) for folder in ("dnsworker", "tasks", "backends", "celeryconfig.py"))


def through_our_code(log: str) -> list[str]:
    """The traces that pass through it.

    Celery writes one of its own for every message that it can't acknowledge to a broker that left.
    """
    traces = [part.split("\n\n")[0] for part in log.split("Traceback (most recent call last):")[1:]]
    frames = [re.findall(r'File "([^"]+)"', re.split(r"\n(?=[^ ])", trace)[0]) for trace in traces]
    return [
        trace
        for trace, files in zip(traces, frames, strict=True)
        if any(name.startswith(OURS) for name in files)
    ]
