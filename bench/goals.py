"""The goals, each under a key: the rows of the table that `make bench` prints.

Designate's figures are constants: Designate 23.0.0 as it comes and tuned, measured on another day on a
machine like the one that the goals are for (two cores, everything on them).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Goal:
    """What a figure should come to. `unit` is of the figure, the bounds and Designate's figures."""

    words: str
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    #: Ours ÷ raw, where what is compared with is in the goal.
    raw_ratio: float | None = None
    #: Designate 23.0.0 as it comes, and tuned.
    designate: tuple[float, float] | None = None

    def is_met(self, figure: float, raw: float | None) -> bool:
        if self.at_most is not None and figure > self.at_most:
            return False
        if self.at_least is not None and figure < self.at_least:
            return False
        return self.raw_ratio is None or (raw is not None and figure / raw >= self.raw_ratio)

    def __str__(self) -> str:
        unit = self.unit if self.unit.startswith(TIGHT) else f" {self.unit}"
        bounds = [f"≤ {self.at_most:,g}{unit}" if self.at_most is not None else ""]
        bounds += [f"≥ {self.at_least:,g}{unit}" if self.at_least is not None else ""]
        bounds += [f"≥ {self.raw_ratio:g} × raw" if self.raw_ratio is not None else ""]
        return ", ".join(filter(None, bounds))


FLAT = 1.2
#: Units that stand close to their number begin so.
TIGHT = ("/", "×")
GOALS: dict[str, Goal] = {
    "change.served.p50": Goal(
        "one record change, idle: until served, median", "ms", at_most=10, designate=(2500, 730)
    ),
    "change.served.p95": Goal("… 95 of 100", "ms", at_most=30),
    "change.active.p50": Goal(
        "one record change, idle: until ACTIVE, median", "ms", at_most=15, designate=(7500, 1750)
    ),
    "change.active.p95": Goal("… 95 of 100", "ms", at_most=30),
    "zone.served.p50": Goal("one zone creation, idle: until served, median", "ms", designate=(120, 120)),
    "zone.active.p50": Goal("one zone creation, idle: until ACTIVE, median", "ms", designate=(5200, 1200)),
    "changes.zones": Goal(
        "record changes, 16 submitters, 50 zones",
        "/s",
        at_least=1500,
        raw_ratio=1.0,
        designate=(28.9, 33.7),
    ),
    "changes.one": Goal(
        "record changes in one zone", "/s", at_least=1500, raw_ratio=1.0, designate=(15.6, 16.9)
    ),
    "zones": Goal("zone creations", "/s", at_least=200, designate=(8.2, 9.9)),
    "bulk.change": Goal(
        "`change_zone` of 10,000 RRsets to ACTIVE", "RRsets/s", at_least=10_000, raw_ratio=0.6
    ),
    "bulk.import": Goal("import of 100,000 records to ACTIVE", "s", at_most=15),
    "bulk.import.rate": Goal("… records a second", "/s", raw_ratio=0.6),
    "bulk.change.powerdns": Goal("`change_zone` of 10,000 RRsets, PowerDNS", "RRsets/s"),
    "bulk.import.powerdns": Goal("import of 100,000 records, PowerDNS", "s"),
    "bulk.import.rate.powerdns": Goal("… records a second", "/s"),
    "growth.records": Goal("cost of a change, 1,000,000 records : 10", "×", at_most=FLAT),
    "growth.zones": Goal("cost of a change, 100,000 zones : 100", "×", at_most=FLAT),
    "scale.sweep": Goal("sweep with 1,000,000 zones", "ms", at_most=100),
    "scale.status": Goal("`status` with 1,000,000 zones", "ms", at_most=100),
    "cpu": Goal(
        "CPU for 1,000 changes: workers, broker, database, BIND", "s", at_most=1.3, designate=(46, 48)
    ),
    "memory": Goal("memory of a worker after all changes", "MB", at_most=120),
    "memory.flat": Goal("… : after a tenth of them", "×", at_most=FLAT),
    "memory.all": Goal("memory of all processes of ours, PSS", "MB", designate=(754, 892)),
    "dead": Goal("one dead target of two: rate at the other : without", "×", at_least=0.95),
    "second": Goal("rate with a second worker process : with one", "×", at_least=1.8),
    "hybrid": Goal("time to serve at BIND, others in trouble : healthy", "×", at_most=1.2),
    "refill": Goal("time to serve while a wiped server is filled : before", "×", at_most=1.5),
    "outage": Goal("time to serve while zones wait for another target : before", "×", at_most=1.2),
}


@dataclass(frozen=True)
class Row:
    """One figure as measured. `raw`: the same by the simplest means, `raw_words`, in the same run."""

    key: str
    figure: float
    raw: float | None = None
    raw_words: str = ""
    #: Why this run can't show that the goal is met, only that it isn't.
    moot: str = ""
    #: Where a run was made shorter or smaller than the goal says.
    remark: str = ""

    @property
    def goal(self) -> Goal:
        return GOALS[self.key]

    @property
    def is_met(self) -> bool:
        return self._is_within and not self.moot

    @property
    def verdict(self) -> str:
        if not str(self.goal):
            return "—"
        if not self._is_within:
            return "not met"
        return f"open: {self.moot}" if self.moot else "met"

    @property
    def _is_within(self) -> bool:
        return self.goal.is_met(self.figure, self.raw)

    @property
    def ratio(self) -> float | None:
        """Ours ÷ raw."""
        return self.figure / self.raw if self.raw else None

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "unit": self.goal.unit, "goal": str(self.goal), "ratio": self.ratio} | {
            "verdict": self.verdict,
            "is_met": self.is_met,
        }


def to_text(rows: list[Row]) -> str:
    """The rows as a table for a terminal."""
    cells = [("", "goal", "ours", "raw", "ours ÷ raw", "")]
    cells += [
        (
            row.goal.words + (f" ({row.remark})" if row.remark else ""),
            str(row.goal),
            number(row.figure, row.goal.unit),
            "" if row.raw is None else f"{number(row.raw, row.goal.unit)} ({row.raw_words})",
            "" if row.ratio is None else f"{row.ratio:.2f}",
            row.verdict,
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


def number(value: float, unit: str) -> str:
    """As many digits as say something: three."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    gap = "" if unit.startswith(TIGHT) else " "
    return f"{value:,.{digits}f}{gap}{unit}"
