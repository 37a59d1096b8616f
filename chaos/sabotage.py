"""Mechanisms, each taken out of a worker: does a run notice that it is missing?

Only `chaos.worker` applies one; what ships knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa


@dataclass(frozen=True)
class Sabotage:
    """`apply` is called in the worker's process, before it starts."""

    says: str
    #: Under which the mechanism is needed.
    faults: tuple[str, ...]
    apply: Callable[[], None]


def _no_fence() -> None:
    from backends import dns_update

    dns_update._fence = lambda zone, soa: []


def _acknowledge_early() -> None:
    from tasks.patience import KeptTask

    KeptTask.acks_late = False


def _no_order() -> None:
    from dnsworker import intake

    row = intake._row
    intake._row = lambda *args, **more: {**row(*args, **more), "client": None, "number": None, "skips": None}


def _take_twice() -> None:
    from dnsworker.intake import Intake
    from dnsworker.tables import operation

    take: Any = Intake._take

    def take_again(self: Any, connection: Any, operation_id: str, request: Any, taken: Any) -> None:
        known = sa.update(operation).where(operation.c.id == operation_id, operation.c.status != "HELD")
        connection.execute(known.values(status="PENDING", code=None))
        take(self, connection, operation_id, request, taken)

    Intake._take = take_again  # type: ignore[method-assign]


def _no_epoch() -> None:
    from dnsworker.store import deliveries
    from dnsworker.tables import delivery

    def write(connection: sa.Connection, claim: Any, **values: Any) -> None:
        where = deliveries._is(claim.zone_id, claim.target_id)
        connection.execute(sa.update(delivery).where(where).values(**values))

    def read(connection: sa.Connection, claim: Any) -> Any:
        query: Any = sa.select(delivery).where(deliveries._is(claim.zone_id, claim.target_id))
        return deliveries.DeliveryRow.of(connection.execute(query).one())

    deliveries._write, deliveries.read = write, read


def _no_verification() -> None:
    from dnsworker.verification import Verifier

    record: Any = Verifier._record

    def believe(self: Any, examination: Any, seen: list[dict[str, Any]]) -> Any:
        right = {"verified_revision": examination.zone.revision, "error": None}
        return record(self, examination, [row | right for row in seen])

    Verifier._record = believe  # type: ignore[method-assign]


def _no_outbox() -> None:
    from dnsworker.store import operations

    operations.untold = lambda connection, older_than_s, limit: []


def _no_reading_back() -> None:
    from dnsworker.convergence.ledger import Ledger

    read: Any = Ledger.read

    def believe(self: Any) -> Any:
        work = read(self)
        return replace(work, delivery=replace(work.delivery, must_read=False))

    Ledger.read = believe  # type: ignore[method-assign]


def _no_sweep() -> None:
    from dnsworker.runtime import Runtime

    Runtime.sweep = lambda self: {}  # type: ignore[method-assign]


def _no_patience() -> None:
    from tasks import submissions

    submissions.patiently = lambda work: work()  # type: ignore[attr-defined]


def _no_doubt() -> None:
    from dnsworker.lineage import Lineage

    Lineage.holds = lambda self, connection: True  # type: ignore[method-assign]


SABOTAGES = {
    "fence": Sabotage("updates require no SOA", ("pause", "slow", "cut"), _no_fence),
    "ack": Sabotage("messages are acknowledged unhandled", ("kill", "database"), _acknowledge_early),
    "order": Sabotage("operations take effect as they arrive", ("reorder",), _no_order),
    "once": Sabotage("a repeated message is a new operation", ("duplicate",), _take_twice),
    "epoch": Sabotage("a replaced worker may still write its rows", ("pause", "slow"), _no_epoch),
    "verification": Sabotage("nameservers are believed without an answer", ("target",), _no_verification),
    "outbox": Sabotage("an outcome is told once, or never", ("redis", "kill"), _no_outbox),
    "read back": Sabotage("nothing is read back before writing", ("kill", "lost", "slow"), _no_reading_back),
    "sweep": Sabotage("nobody looks for what fell by the wayside", ("kill", "broker"), _no_sweep),
    "patience": Sabotage("tasks don't wait for the database", ("database",), _no_patience),
    "doubt": Sabotage("an old database is believed", ("restore",), _no_doubt),
}  # fmt: skip
