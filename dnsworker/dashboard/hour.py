"""The last hour by the minute: how many operations ended, and how long it took until they were ACTIVE.

Separate because it is remembered: what a minute was that is over doesn't change, so only what is new is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa

from dnsworker.operations import Status
from dnsworker.reports.values import submitted_at
from dnsworker.store import endings
from dnsworker.tables import now

MINUTES = 60
#: An end is dated when it is written, and seen when it is committed: the last minutes are read again.
UNSETTLED = 2


@dataclass(frozen=True, slots=True)
class Minute:
    """What ended within one minute."""

    at: datetime
    succeeded: int = 0
    failed: int = 0
    #: Seconds from submission to ACTIVE, of some of them; sorted.
    took_s: tuple[float, ...] = ()

    def quantile(self, share: float) -> float | None:
        """So many seconds or fewer did that share take (nearest rank); None when none became ACTIVE."""
        return quantile([(one, 1.0) for one in self.took_s], share)


@dataclass(frozen=True, slots=True)
class Hour:
    """The last sixty minutes, oldest first; the last one is under way."""

    minutes: tuple[Minute, ...]

    @property
    def succeeded(self) -> int:
        return sum(one.succeeded for one in self.minutes)

    @property
    def failed(self) -> int:
        return sum(one.failed for one in self.minutes)

    def quantile(self, share: float) -> float | None:
        """As `Minute.quantile`, of the hour: each minute counts by how many ended in it."""
        weighted = [
            (took, one.succeeded / len(one.took_s))
            for one in self.minutes
            if one.took_s
            for took in one.took_s
        ]
        return quantile(weighted, share)


@dataclass(slots=True)
class LastHour:
    """What is remembered of the minutes. Not for several threads at once."""

    _counts: dict[int, dict[str, int]] = field(default_factory=dict)
    _took: dict[int, list[float]] = field(default_factory=dict)
    #: The minute up to which everything was read; None: nothing.
    _read_to: int | None = None

    def read(self, connection: sa.Connection) -> Hour:
        """The hour up to the database's clock."""
        current = int(connection.execute(sa.select(now())).scalar_one().timestamp() // 60)
        oldest = current - MINUTES + 1
        first = oldest if self._read_to is None else max(oldest, self._read_to - UNSETTLED)
        counts = endings.by_minute(connection, first)
        took: dict[int, list[float]] = {}
        for one in endings.samples(connection, range(first, current + 1)):
            took.setdefault(one.minute, []).append(_seconds(one))
        self._counts = {at: value for at, value in self._counts.items() if oldest <= at < first} | counts
        self._took = {at: value for at, value in self._took.items() if oldest <= at < first} | took
        self._read_to = current
        return Hour(tuple(self._minute(at) for at in range(oldest, current + 1)))

    def _minute(self, at: int) -> Minute:
        counts = self._counts.get(at, {})
        failed = counts.get(Status.ERROR.value, 0)
        return Minute(
            endings.moment(at), sum(counts.values()) - failed, failed, tuple(sorted(self._took.get(at, ())))
        )


def quantile(weighted: Sequence[tuple[float, float]], share: float) -> float | None:
    """The smallest of the (value, weight) pairs up to which that share of all weight lies."""
    ordered = sorted(weighted)
    wanted = share * sum(weight for _, weight in ordered)
    reached = 0.0
    for value, weight in ordered:
        reached += weight
        if reached >= wanted - 1e-9:
            return value
    return None


def _seconds(one: endings.Took) -> float:
    """From submission, by the submitter's clock; where that is ahead of ours, from its arrival."""
    return max(0.0, (one.finished_at - min(submitted_at(one), one.received_at)).total_seconds())
