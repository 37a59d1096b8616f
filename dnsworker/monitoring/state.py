"""How things stand, read from the database and the broker each time somebody asks.

Separate from the events, which every process counts for itself: this is the same whoever reads it, so one
exporter tells it for all. Everything comes by index, or from the census; a scrape of a million zones takes
no longer than `dnsworker status`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dnsworker.database import AWAY, snapshot
from dnsworker.monitoring.depth import Depth
from dnsworker.operations import ZoneStatus
from dnsworker.reports.system import show_targets
from dnsworker.store import comparisons, lags, operations, pools, stops
from dnsworker.store.census import Census
from dnsworker.tables import now

log = logging.getLogger(__name__)


#: Asks the broker for queues by their names; those that it hasn't got are left out. None: it is away.
AskBroker = Callable[[Sequence[str]], Mapping[str, Depth] | None]


class State(Collector):
    """Gauges, made anew for each scrape; scrapes that come at once wait for each other."""

    def __init__(self, engine: sa.Engine, ask_broker: AskBroker | None = None) -> None:
        """`ask_broker`: None where there is none."""
        self._engine, self._ask_broker = engine, ask_broker
        self._guard = threading.Lock()

    def collect(self) -> Iterator[Metric]:
        begun = time.monotonic()
        with self._guard:
            targets: list[str] = []
            try:
                with snapshot(self._engine) as connection:
                    found, targets = read(connection)
            except AWAY as exc:
                log.warning("the database can't be asked for the metrics: %s", str(exc).splitlines()[0])
                found = None
            yield _gauge("database_up", "Whether the database answered this scrape.", found is not None)
            yield from found or ()
            if self._ask_broker is not None:
                yield from _broker(self._ask_broker, targets)
        took = time.monotonic() - begun
        yield _gauge("state_scrape_seconds", "How long it took to read how things stand.", took)


def read(connection: sa.Connection) -> tuple[list[Metric], list[str]]:
    """All that the database tells, and the names of the targets."""
    census = Census(connection)
    moment = connection.execute(sa.select(now())).scalar_one()
    found = [*_zones(connection, census), *_operations(connection, census, moment)]
    targets = show_targets(connection, census)
    found += _targets(connection, targets, moment)
    age = 0.0 if census.counted_at is None else (moment - census.counted_at).total_seconds()
    found.append(_gauge("census_age_seconds", "How old the oldest of the large numbers is.", age))
    return found, [one["name"] for one in targets]


def _zones(connection: sa.Connection, census: Census) -> Iterator[Metric]:
    zones = census.zones()
    yield _gauges(
        "zones", "Zones by status.", ["status"],
        (([status.value], zones.get(status.value, 0)) for status in ZoneStatus),
    )  # fmt: skip
    yield _gauge("frozen_zones", "Zones that an operator has frozen.", census.frozen())
    yield _gauge("withheld_rrsets", "RRsets that a target refuses and does without.", census.withheld())
    yield _gauge("deliveries_ahead", "Zones at targets that are ahead of the database.", census.ahead())
    alarm = comparisons.mass_ahead(connection, census)
    yield _gauge("repairs_stopped", "Whether so many are ahead that nothing is repaired.", alarm is not None)
    yield _gauge("writes_paused", "Whether all targets are paused.", stops.of_all(connection) is not None)


def _operations(connection: sa.Connection, census: Census, moment: datetime) -> Iterator[Metric]:
    open_ones = census.operations()
    yield _gauges(
        "open_operations", "Operations without an end, by status.", ["status"],
        (([status], open_ones.get(status, 0)) for status in operations.OPEN),
    )  # fmt: skip
    oldest = operations.oldest_received(connection)
    yield _gauges(
        "oldest_open_operation_age_seconds",
        "For how long the oldest operation in this status has been there.",
        ["status"],
        (([status], _age(oldest.get(status), moment)) for status in operations.OPEN),
    )


def _targets(connection: sa.Connection, targets: Sequence[Any], moment: datetime) -> Iterator[Metric]:
    ids = pools.target_ids(connection)
    behind = lags.of_targets(connection, [ids[one["name"]] for one in targets])

    def each(name: str, documentation: str, value: Callable[[Any], float]) -> Metric:
        rows = (([one["pool"], one["name"]], value(one)) for one in targets)
        return _gauges(f"target_{name}", documentation, ["pool", "target"], rows)

    yield each("backlog", "Zones that the target isn't through with.", lambda one: one["backlog"])
    yield each("repairs", "Those of the backlog for which nobody waits.", lambda one: one["repairs"])
    yield each("failing", "Those of the backlog that have failed before.", lambda one: one["failing"])
    yield each("blocked", "Zones that wait for an operator's decision.", lambda one: one["blocked"])
    yield each(
        "lag_seconds", "For how long the oldest change has been waiting that the target hasn't got.",
        lambda one: _age(behind[ids[one["name"]]].since, moment),
    )  # fmt: skip
    yield each("breaker_open", "Whether the breaker is open.", lambda one: one["breaker"] == "open")
    yield each("failures", "Failures in a row that concern the whole target.", lambda one: one["failures"])
    yield each("paused", "Whether an operator has paused it.", lambda one: one["paused"] is not None)
    yield each(
        "resting", "Whether it rests because it asked for fewer requests.",
        lambda one: one["rests_until"] is not None,
    )  # fmt: skip


def _broker(ask: AskBroker, targets: Sequence[str]) -> Iterator[Metric]:
    depths = ask(targets)
    yield _gauge("broker_up", "Whether the broker answered this scrape.", depths is not None)
    if depths is None:
        return
    yield _gauges(
        "queue_messages", "Messages that are ready in a queue.", ["queue"],
        (([name], one.messages) for name, one in depths.items()),
    )  # fmt: skip
    yield _gauges(
        "queue_consumers", "Workers that take from a queue.", ["queue"],
        (([name], one.consumers) for name, one in depths.items()),
    )  # fmt: skip


def _age(since: datetime | None, moment: datetime) -> float:
    return 0.0 if since is None else max(0.0, (moment - since).total_seconds())


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(f"dnsworker_{name}", documentation, value=float(value))


def _gauges(
    name: str, documentation: str, labels: Sequence[str], rows: Iterable[tuple[Sequence[str], float]]
) -> Metric:
    family = GaugeMetricFamily(f"dnsworker_{name}", documentation, labels=labels)
    for values, value in rows:
        family.add_metric(values, float(value))
    return family
