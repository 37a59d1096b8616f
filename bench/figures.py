"""What samples come to, in figures and as rows of a table."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Figures:
    """Of a series of times."""

    samples: int
    median_s: float
    p95_s: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Self:
        ranked = sorted(seconds)
        return cls(len(ranked), statistics.median(ranked), ranked[math.ceil(0.95 * len(ranked)) - 1])


def table(rows: Mapping[str, Figures]) -> str:
    """A row for each series, by its name."""
    width = max(map(len, rows))
    lines = [f"{'':{width}}  samples     median        p95"]
    lines += [
        f"{name:{width}}  {row.samples:7}  {row.median_s * 1000:6.1f} ms  {row.p95_s * 1000:6.1f} ms"
        for name, row in rows.items()
    ]
    return "\n".join(lines)
