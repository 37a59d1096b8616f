"""The whole system as the first page shows it: read in one snapshot, as values for the template.

Separate from `show_status`, which it contains, because a page can show more than a screen of text: how far
each server is behind, what is oldest, and the last hour.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from dnsworker.dashboard.hour import Hour, LastHour
from dnsworker.operations import Outcome
from dnsworker.reports.outcomes import show_operations
from dnsworker.reports.system import show_status
from dnsworker.standing import witnesses_of
from dnsworker.store import deliveries, endings, lags, observations, operations, pools
from dnsworker.store.lags import Lag
from dnsworker.store.observations import Observation
from dnsworker.store.pools import KnownPool

OLDEST_SHOWN = 8
ENDED_SHOWN = 10
#: By the zones of so many operations that have just ended it is seen when a nameserver last answered.
LOOKED_AT = 40


@dataclass(frozen=True, slots=True)
class TargetCard:
    """One target, and what there is to say of it."""

    #: A row of `show_targets`.
    report: Mapping[str, Any]
    lag: Lag
    #: When a change last arrived there, of those of the operations that have just ended.
    delivered_at: datetime | None


@dataclass(frozen=True, slots=True)
class NameserverCard:
    """One nameserver of one pool."""

    pool: str
    name: str
    #: The target whose contents it serves; None: all.
    target: str | None
    lag: Lag
    #: When it was last asked about one of the zones that were changed lately, and how long ago that is.
    seen_at: datetime | None
    seen_s_ago: float | None
    #: What was wrong when it was last asked, and when; None: nothing.
    error: str | None = None
    error_at: datetime | None = None
    #: The target that can't be reached, on which it waits: `report` of its card. It isn't asked meanwhile.
    cut_off_by: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Overview:
    """The system at one moment."""

    #: `show_status`.
    status: Mapping[str, Any]
    targets: tuple[TargetCard, ...]
    nameservers: tuple[NameserverCard, ...]
    oldest: tuple[Outcome, ...]
    ended: tuple[Any, ...]
    hour: Hour


def read(connection: sa.Connection, last_hour: LastHour) -> Overview:
    """All of it."""
    status = show_status(connection)
    ended = endings.latest(connection, LOOKED_AT)
    changed = sorted({row.zone_id for row in ended if row.zone_id is not None})
    return Overview(
        status=status,
        targets=tuple(_targets(connection, status["targets"], changed)),
        nameservers=tuple(_nameservers(connection, status, changed)),
        oldest=tuple(show_operations(connection, operations.oldest_open(connection, OLDEST_SHOWN))),
        ended=tuple(ended[:ENDED_SHOWN]),
        hour=last_hour.read(connection),
    )


def _targets(
    connection: sa.Connection, reported: Sequence[Mapping[str, Any]], changed: Collection[int]
) -> list[TargetCard]:
    ids = pools.target_ids(connection)
    found = lags.of_targets(connection, ids.values())
    latest: dict[int, datetime] = {}
    for row in deliveries.of_zones(connection, changed):
        if row.delivered_at is not None:
            latest[row.target_id] = max(row.delivered_at, latest.get(row.target_id, row.delivered_at))
    cards = []
    for one in reported:
        key = ids.get(one["name"], 0)  # none where it was removed a moment ago
        cards.append(TargetCard(one, found.get(key, Lag(0)), latest.get(key)))
    return cards


def _nameservers(
    connection: sa.Connection, status: Mapping[str, Any], changed: Collection[int]
) -> list[NameserverCard]:
    every = {known.id: known for known in pools.read(connection)}
    servers = {key: _asked(known) for key, known in every.items()}
    found = lags.of_nameservers(connection, servers, pools.target_ids(connection).values())
    latest: dict[str, Observation] = {}
    for seen in observations.of_zones(connection, changed).values():
        for name, one in seen.items():
            before = latest.get(name)
            if one.seen_at and (before is None or before.seen_at is None or before.seen_at < one.seen_at):
                latest[name] = one
    now, cards = datetime.fromisoformat(status["at"]), []
    for key, known in every.items():
        targets = [one for one in status["targets"] if one["pool"] == known.pool.name]
        for name, target in servers[key].items():
            lag, last = found[key, name], latest.get(name)
            seen_at = last.seen_at if last else None
            error, error_at = lag.error, lag.error_at
            if error is None and last is not None and last.error is not None:
                error, error_at = last.error, last.seen_at
            cards.append(
                NameserverCard(
                    known.pool.name, name, target, lag, seen_at,
                    max(0.0, (now - seen_at).total_seconds()) if seen_at else None,
                    error, error_at, _out_of_reach(targets, target),
                )
            )  # fmt: skip
    return sorted(cards, key=lambda one: (one.pool, one.name))


def _out_of_reach(targets: Sequence[Mapping[str, Any]], target: str | None) -> Mapping[str, Any] | None:
    """The target without which the nameserver gets nothing, if it can't be reached; None: it has one."""
    sources = [one for one in targets if target in (None, one["name"])]
    failing = [one for one in sources if one["failures"]]
    return failing[0] if failing and len(failing) == len(sources) else None


def _asked(known: KnownPool) -> dict[str, str | None]:
    """The pool's nameservers that are asked whether changes are out, and the targets that they serve."""
    return {one.name: one.target for one in witnesses_of(known) if one.nameserver is not None}
