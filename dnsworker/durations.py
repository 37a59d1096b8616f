"""How long something took, for people; separate because the command line and the status page say it alike."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """`12 ms`, `1.4 s`, `3 min`, `2 h`, `5 d`."""
    if seconds < 0.9995:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    for limit, divisor, unit in ((10, 1, "s"), (120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / divisor:.1f} {unit}" if limit == 10 else f"{seconds / divisor:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"
