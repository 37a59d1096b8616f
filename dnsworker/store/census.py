"""How many there are of what there may be a million of; separate because everybody else asks for a few rows.

To count a million rows takes longer than whoever asks should wait, and a counter kept by all who change
zones would be one more write on everybody's way, and wrong for ever where one forgets it. So up to `FEW` are
counted, by index, when somebody asks. Of more, what the sweep has counted is told: slices of the zones' ids,
a bounded number each time, those first that weren't counted for longest. That is old by a round at most, and
what was wrong in it isn't after the next. What is beyond the last slice is counted when somebody asks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from dnsworker.operations import Status, ZoneStatus
from dnsworker.store.agenda import CHANGE, REPAIR, TARGETS_AT_ONCE
from dnsworker.store.deliveries import BLOCKED
from dnsworker.store.rows import chunks, upsert
from dnsworker.tables import census, delivery, now, operation, withheld, zone

#: So many are counted when somebody asks.
FEW = 5_000
#: Ids of zones in a slice.
SIZE = 10_000
#: Slices that a sweep counts again, besides the last one, to which new zones come.
SLICES_AT_ONCE = 2
#: Spelt out, for indexes of only those: with a bound value SQLite doesn't see that it is that one.
IS_AHEAD = delivery.c.state == sa.literal_column("'ahead'")
IS_ACCEPTED = operation.c.status == sa.literal_column("'ACCEPTED'")
#: What a target refuses of a zone; a whole zone that is somebody else's has a status of its own.
REFUSED = withheld.c.type != "SOA"


class Census:
    """What there is, as one connection sees it. What is counted has the names that `_count` gives it."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._many: Counter[str] = Counter()
        #: When the oldest part of what was told had been counted; None: all of it when it was asked for.
        self.counted_at: datetime | None = None

    def zones(self) -> dict[str, int]:
        """By status."""
        # In an order, although none is wanted: the index of it is read then, and never the table.
        query = _some(zone).order_by(zone.c.name)
        wanted = {f"zones {one}": query.where(zone.c.status == one.value) for one in ZoneStatus}
        return {what.split()[1]: number for what, number in self._few(wanted).items() if number}

    def operations(self) -> dict[str, int]:
        """Those that have no end yet, by status."""
        columns = (operation.c.status, sa.func.count())
        # These are on their way to us, and never many.
        coming = sa.select(*columns).where(operation.c.status.in_((Status.PENDING, Status.HELD)))
        found = {row[0]: row[1] for row in self._connection.execute(coming.group_by(operation.c.status))}
        accepted = self._few({"accepted": _some(operation).where(IS_ACCEPTED)})["accepted"]
        return found | ({Status.ACCEPTED.value: accepted} if accepted else {})

    def frozen(self) -> int:
        return self._few({"frozen": _some(zone).where(zone.c.frozen_at.is_not(None))})["frozen"]

    def ahead(self) -> int:
        """Deliveries whose target is ahead of us."""
        return self._few({"ahead": _some(delivery).where(IS_AHEAD)})["ahead"]

    def withheld(self) -> int:
        """RRsets that targets do without."""
        return self._few({"withheld": _some(withheld).where(REFUSED)})["withheld"]

    def deliveries(self, target_ids: Iterable[int]) -> dict[int, dict[str, Any]]:
        """What each target isn't through with, and since when."""
        found = {}
        for chunk in chunks(list(target_ids), TARGETS_AT_ONCE):
            for row in self._connection.execute(sa.union_all(*map(_open_at, chunk))):
                backlog = self._unless_many(f"backlog {row.target_id}", row.backlog)
                repairs, failing = row.repairs, row.failing
                if row.backlog > FEW:  # those were only the first of them
                    repairs = self._many[f"repairs {row.target_id}"]
                    failing = self._many[f"failing {row.target_id}"]
                moments = [one for one in (row.oldest_change, row.oldest_repair) if one is not None]
                found[row.target_id] = {
                    "backlog": backlog, "repairs": repairs, "failing": failing,
                    "blocked": self._unless_many(f"blocked {row.target_id}", row.blocked),
                    "oldest_due_at": min(moments, default=None),
                }  # fmt: skip
        return found

    def _few(self, wanted: Mapping[str, sa.Select[Any]]) -> dict[str, int]:
        """How many rows each of the queries gives. Each reads by index, and no more than it gives."""
        row = self._connection.execute(sa.select(*map(_up_to_few, wanted.values()))).one()
        found = dict(zip(wanted, row, strict=True))
        return {what: self._unless_many(what, number) for what, number in found.items()}

    def _unless_many(self, what: str, number: int) -> int:
        if number <= FEW:
            return number
        if self.counted_at is None:
            self._many, self.counted_at = _read(self._connection)
        return max(number, self._many[what])


def count_on(connection: sa.Connection) -> list[dict[str, Any]]:
    """Count the slices whose turn it is, for `note` to write down; none of them need be locked for that."""
    last = connection.execute(sa.select(sa.func.max(census.c.first_id))).scalar()
    query = sa.select(census.c.first_id).order_by(census.c.counted_at).limit(SLICES_AT_ONCE)
    turn = {*connection.execute(query).scalars(), *([] if last is None else [last])}
    end = 0 if last is None else last + SIZE
    for _ in range(SLICES_AT_ONCE):
        beyond = connection.execute(sa.select(sa.func.min(zone.c.id)).where(zone.c.id >= end)).scalar()
        if beyond is None:
            break
        turn.add(beyond - beyond % SIZE)
        end = beyond - beyond % SIZE + SIZE
    return [
        {"first_id": first, "counts": _count(connection, first, first + SIZE), "counted_at": now()}
        for first in sorted(turn)
    ]


def note(connection: sa.Connection, counted: Iterable[dict[str, Any]]) -> None:
    """Write down what `count_on` has counted."""
    upsert(connection, census, counted, update=("counts", "counted_at"))


def _read(connection: sa.Connection) -> tuple[Counter[str], datetime]:
    """The sum of all slices and what is beyond them, and when the first of these were counted."""
    found: Counter[str] = Counter()
    counted_at: datetime = connection.execute(sa.select(now())).scalar_one()
    end = 0
    for row in connection.execute(sa.select(census)):
        found.update(row.counts)
        counted_at, end = min(counted_at, row.counted_at), max(end, row.first_id + SIZE)
    found.update(_count(connection, end))
    return found, counted_at


def _count(connection: sa.Connection, first: int, end: int | None = None) -> dict[str, int]:
    """What there is of the zones with these ids."""

    def within(column: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
        return column >= first if end is None else sa.and_(column >= first, column < end)

    count = sa.func.count
    is_due = delivery.c.due_at.is_not(None)
    found: dict[str, int] = {}
    zones = sa.select(zone.c.status, count(), count(zone.c.frozen_at)).where(within(zone.c.id))
    for status, number, frozen in connection.execute(zones.group_by(zone.c.status)):
        found[f"zones {status}"] = number
        found["frozen"] = found.get("frozen", 0) + frozen
    deliveries = sa.select(
        delivery.c.target_id,
        count(delivery.c.due_at).label("backlog"),
        count(sa.case((sa.and_(is_due, delivery.c.priority == REPAIR), 1))).label("repairs"),
        count(sa.case((sa.and_(is_due, delivery.c.attempts > 0), 1))).label("failing"),
        count(sa.case((delivery.c.state.in_(BLOCKED), 1))).label("blocked"),
        count(sa.case((IS_AHEAD, 1))).label("ahead"),
    ).where(within(delivery.c.zone_id))
    for row in connection.execute(deliveries.group_by(delivery.c.target_id)):
        numbers = row._asdict()
        target_id = numbers.pop("target_id")
        found["ahead"] = found.get("ahead", 0) + numbers.pop("ahead")
        found |= {f"{what} {target_id}": number for what, number in numbers.items()}
    accepted = sa.select(count()).where(within(operation.c.zone_id), IS_ACCEPTED)
    found["accepted"] = connection.execute(accepted).scalar_one()
    refused = sa.select(count()).where(within(withheld.c.zone_id), REFUSED)
    found["withheld"] = connection.execute(refused).scalar_one()
    return {what: number for what, number in found.items() if number}


def _open_at(target_id: int) -> sa.Select[*tuple[Any, ...]]:
    """What is due at one target, and what is blocked: all of it stands in indexes."""
    mine = delivery.c.target_id == target_id
    due = sa.select(delivery.c.priority, delivery.c.attempts).where(
        mine, delivery.c.priority.in_((CHANGE, REPAIR)), delivery.c.due_at.is_not(None)
    )
    few = due.limit(FEW + 1).subquery()
    blocked = _some(delivery).where(mine, delivery.c.state.in_(BLOCKED))

    def oldest(priority: int) -> sa.ScalarSelect[datetime]:
        due_at = sa.func.min(delivery.c.due_at)
        is_so = sa.and_(mine, delivery.c.priority == priority, delivery.c.due_at.is_not(None))
        return sa.select(due_at).where(is_so).scalar_subquery()

    return sa.select(
        sa.literal(target_id).label("target_id"),
        sa.func.count().label("backlog"),
        sa.func.count(sa.case((few.c.priority == REPAIR, 1))).label("repairs"),
        sa.func.count(sa.case((few.c.attempts > 0, 1))).label("failing"),
        _up_to_few(blocked).label("blocked"),
        oldest(CHANGE).label("oldest_change"),
        oldest(REPAIR).label("oldest_repair"),
    ).select_from(few)


def _some(table: sa.Table) -> sa.Select[Any]:
    return sa.select(sa.literal(1)).select_from(table)


def _up_to_few(query: sa.Select[Any]) -> sa.ScalarSelect[int]:
    """How many rows the query gives, at most one more than `FEW`."""
    return sa.select(sa.func.count()).select_from(query.limit(FEW + 1).subquery()).scalar_subquery()
