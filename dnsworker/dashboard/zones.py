"""Zones for people: pages of them, and of one its whole way through the system.

Separate from the overview, because here every answer is about one name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from dnsworker.dashboard.diffs import Diff, diffs
from dnsworker.errors import InvalidName, ZoneNotFound
from dnsworker.names import ROOT, Name, ancestors, name_in_file, zone_name
from dnsworker.operations import Outcome
from dnsworker.reports.outcomes import show_operation, show_operations
from dnsworker.reports.values import submitted_at
from dnsworker.reports.zones import zone_report
from dnsworker.store import endings, operations, pools, timeline, zones
from dnsworker.store.rows import ZoneRow

ZONES_ON_A_PAGE = 50
OPERATIONS_ON_A_PAGE = 20
#: RRsets that are shown of each operation in a zone's history, and on a page of its own.
CHANGES_SHOWN, CHANGES_ON_A_PAGE = 12, 200

#: What comes after a page: the key of the last one on it.
Cursor = tuple[datetime, str]


class View(StrEnum):
    """Which operations a page is of."""

    WAITING = "waiting"
    ENDED = "ended"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ZoneList:
    """A page of zones."""

    rows: Sequence[Any]
    #: (name, id) of the last one, when there are more.
    after: tuple[str, int] | None


@dataclass(frozen=True, slots=True)
class OperationList:
    """A page of operations: those that wait, oldest first, or those that have ended, newest first."""

    waiting: Sequence[Outcome]
    ended: Sequence[Any]
    before: Cursor | None


@dataclass(frozen=True, slots=True)
class Did:
    """An operation, and what it did."""

    row: Any
    submitted_at: datetime
    changes: Sequence[Diff]
    #: How many RRsets it changed that aren't among `changes`.
    more: int


@dataclass(frozen=True, slots=True)
class ZonePage:
    """One zone, and a page of what was ever asked of its name."""

    zone: Mapping[str, Any]
    #: The pools that have a zone of this name, deleted ones included.
    pools: Sequence[str]
    operations: Sequence[Did]
    before: Cursor | None


@dataclass(frozen=True, slots=True)
class OperationPage:
    """One operation."""

    outcome: Outcome
    changes: Sequence[Diff]
    more: int
    #: Whether a page of its zone can be shown.
    has_zone: bool


def page_of_zones(
    connection: sa.Connection, *, status: str | None, since: str, after: tuple[str, int] | None
) -> ZoneList:
    """Zones by name."""
    found = timeline.zones(connection, ZONES_ON_A_PAGE + 1, status=status, since=since, after=after)
    last = found[ZONES_ON_A_PAGE - 1] if len(found) > ZONES_ON_A_PAGE else None
    return ZoneList(found[:ZONES_ON_A_PAGE], (last.name, last.id) if last is not None else None)


def page_of_zone(connection: sa.Connection, text: str, pool: str | None, before: Cursor | None) -> ZonePage:
    """A zone by what somebody calls it, in the pool; without one, where it lives. Raises `ZoneNotFound`."""
    name = zone_name(text)
    directory = {known.id: known for known in pools.read(connection)}
    rows = {directory[row.pool_id].pool.name: row for row in zones.find(connection, name)}
    wanted = pool if pool is not None else _pool_where_it_lives(rows)
    if wanted not in rows:
        raise ZoneNotFound(f"there is no zone {name}" + (f" in pool {pool}" if pool else ""))
    row = rows[wanted]
    found = timeline.operations(connection, name, OPERATIONS_ON_A_PAGE + 1, before=before)
    last = found[OPERATIONS_ON_A_PAGE - 1] if len(found) > OPERATIONS_ON_A_PAGE else None
    return ZonePage(
        zone_report(connection, row, directory[row.pool_id]),
        sorted(rows),
        [_did(connection, one) for one in found[:OPERATIONS_ON_A_PAGE]],
        (last.received_at, last.id) if last is not None else None,
    )


def page_of_operation(connection: sa.Connection, operation_id: str) -> OperationPage:
    """An operation by its id. Raises `OperationNotFound`."""
    outcome = show_operation(connection, operation_id)
    rows, more = _changes(connection, operation_id, CHANGES_ON_A_PAGE)
    return OperationPage(outcome, rows, more, bool(zones.find(connection, Name(outcome.zone))))


def page_of_operations(connection: sa.Connection, view: View, before: Cursor | None) -> OperationList:
    """Operations of all zones. Of those that wait there is one page: they are told by why they wait."""
    if view is View.WAITING:
        ids = operations.oldest_open(connection, OPERATIONS_ON_A_PAGE)
        return OperationList(show_operations(connection, ids), (), None)
    statuses = ("ERROR",) if view is View.FAILED else endings.ENDS
    found = endings.latest(connection, ZONES_ON_A_PAGE + 1, statuses=statuses, before=before)
    last = found[ZONES_ON_A_PAGE - 1] if len(found) > ZONES_ON_A_PAGE else None
    cursor = (last.finished_at, last.id) if last is not None else None
    return OperationList((), found[:ZONES_ON_A_PAGE], cursor)


def zone_of(connection: sa.Connection, text: str) -> str | None:
    """The zone that holds a name, if there is one here: its own, or the closest living one above it."""
    try:
        name = name_in_file(text, ROOT)
    except InvalidName:
        return None
    candidates = [name, *ancestors(name, ROOT)]
    known = timeline.known_names(connection, candidates)
    return next((one for one in candidates if known.get(one, False) or (one == name and one in known)), None)


def _pool_where_it_lives(rows: Mapping[str, ZoneRow]) -> str | None:
    living = [pool for pool, row in rows.items() if not row.is_deleted]
    return next(iter(living or rows), None)


def _did(connection: sa.Connection, row: Any) -> Did:
    changes, more = _changes(connection, row.id, CHANGES_SHOWN)
    return Did(row, submitted_at(row), changes, more)


def _changes(connection: sa.Connection, operation_id: str, limit: int) -> tuple[list[Diff], int]:
    rows = timeline.changes(connection, operation_id, limit + 1)
    if len(rows) <= limit:
        return diffs(rows), 0
    return diffs(rows[:limit]), timeline.count_changes(connection, operation_id) - limit
