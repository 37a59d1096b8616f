"""What has ended lately, in which way and after how long: by the minute, for who looks at the last hour.

Separate from the operations' own queries, which are about single ones. Everything here is read from an index
of what has ended; how long it took, of a sample of each minute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from dnsworker.operations import Status
from dnsworker.tables import operation

#: The ways to end, spelt out for the index of what has ended.
ENDS = (Status.ACTIVE.value, Status.SUPERSEDED.value, Status.ERROR.value)
#: Operations of each minute of which it is read how long they took.
SAMPLE = 200

_COLUMNS = (
    operation.c.id, operation.c.kind, operation.c.zone, operation.c.status, operation.c.serial,
    operation.c.code, operation.c.message, operation.c.zone_id, operation.c.received_at,
    operation.c.finished_at,
)  # fmt: skip


class _minute(FunctionElement[int]):  # noqa: N801 - reads as SQL
    """The minute of a moment, counted from 1970."""

    type = sa.BigInteger()
    inherit_cache = True
    name = "minute"


@compiles(_minute, "postgresql")
def _minute_postgresql(element: _minute, compiler: Any, **options: Any) -> str:
    return f"CAST(floor(extract(epoch FROM {compiler.process(element.clauses, **options)}) / 60) AS bigint)"


@compiles(_minute, "sqlite")
def _minute_sqlite(element: _minute, compiler: Any, **options: Any) -> str:
    # Without the seconds, which it would round up.
    text = f"substr({compiler.process(element.clauses, **options)}, 1, 16) || ':00'"
    return f"CAST(strftime('%s', {text}) AS INTEGER) / 60"


@compiles(_minute, "mysql")
@compiles(_minute, "mariadb")
def _minute_mysql(element: _minute, compiler: Any, **options: Any) -> str:
    return f"TIMESTAMPDIFF(MINUTE, '1970-01-01', {compiler.process(element.clauses, **options)})"


@dataclass(frozen=True, slots=True)
class Took:
    """One operation that has become ACTIVE: when (minute since 1970), and when it had come."""

    minute: int
    id: str
    received_at: datetime
    finished_at: datetime


def by_minute(connection: sa.Connection, first: int) -> dict[int, dict[str, int]]:
    """How many ended in which way, by minute since 1970, from `first` on; those without any are left out."""
    minute = _minute(operation.c.finished_at)
    query = (
        sa.select(minute.label("minute"), operation.c.status, sa.func.count().label("number"))
        .where(operation.c.status.in_(ENDS), operation.c.finished_at >= moment(first))
        .group_by(minute, operation.c.status)
    )
    found: dict[int, dict[str, int]] = {}
    for row in connection.execute(query):
        found.setdefault(row.minute, {})[row.status] = row.number
    return found


def samples(connection: sa.Connection, minutes: Sequence[int]) -> list[Took]:
    """Of each of the minutes the first operations that became ACTIVE."""
    if not minutes:
        return []
    each = [
        sa.select(
            sa.literal(one).label("minute"),
            operation.c.id,
            operation.c.received_at,
            operation.c.finished_at,
        )
        .where(
            operation.c.status == sa.literal_column("'ACTIVE'"),
            operation.c.finished_at >= moment(one),
            operation.c.finished_at < moment(one + 1),
        )
        .order_by(operation.c.finished_at)
        .limit(SAMPLE)
        .subquery()
        for one in minutes
    ]
    rows = connection.execute(sa.union_all(*map(sa.select, each)))
    return [Took(row.minute, row.id, row.received_at, row.finished_at) for row in rows]


def latest(
    connection: sa.Connection,
    limit: int,
    *,
    statuses: Sequence[str] = ENDS,
    before: tuple[datetime, str] | None = None,
) -> list[Any]:
    """Those that ended last, newest first; `before`: the `finished_at` and id of the last one seen."""
    found: list[Any] = []
    for status in statuses:  # each by its part of the index
        query = sa.select(*_COLUMNS).where(
            operation.c.status == sa.literal_column(f"'{Status(status).value}'"),
            operation.c.finished_at.is_not(None),
        )
        if before is not None:
            query = query.where(_is_before(before))
        found += connection.execute(
            query.order_by(operation.c.finished_at.desc(), operation.c.id.desc()).limit(limit)
        )
    return sorted(found, key=lambda row: (row.finished_at, row.id), reverse=True)[:limit]


def moment(minute: int) -> datetime:
    """When a minute since 1970 begins."""
    return datetime.fromtimestamp(minute * 60, UTC)


def _is_before(last: tuple[datetime, str]) -> sa.ColumnElement[bool]:
    at, operation_id = last
    column = operation.c.finished_at
    # What is said twice is said for the index.
    return sa.and_(column <= at, sa.or_(column < at, operation.c.id < operation_id))
