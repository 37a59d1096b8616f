"""Mechanisms, each taken out of a worker: does a run notice that it is missing?

Only `chaos.worker` applies one; what ships knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
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
    from kombu.exceptions import MessageStateError

    from tasks.batches import SmallSubmission
    from tasks.patience import KeptTask

    waiting, done = SmallSubmission.waiting, SmallSubmission.done

    def acknowledge(self: Any) -> Any:
        self.acknowledge()
        return waiting(self)

    def end(self: Any, result: Any) -> None:
        with suppress(MessageStateError):  # it is acknowledged already
            done(self, result)

    KeptTask.acks_late = False
    SmallSubmission.waiting, SmallSubmission.done = acknowledge, end  # type: ignore[method-assign]


def _no_order() -> None:
    from dnsworker.intake.submission import Submission

    of: Any = Submission.of
    Submission.of = lambda arrival: replace(of(arrival), order=None)  # type: ignore[method-assign]


def _take_twice() -> None:
    from dnsworker.store import operations
    from dnsworker.tables import operation

    known = operations.known

    def forget(connection: sa.Connection, operation_ids: Any) -> Any:
        is_known = sa.and_(operation.c.id.in_(list(operation_ids)), operation.c.status != "HELD")
        values = {"status": "PENDING", "code": None, "finished_at": None}
        connection.execute(sa.update(operation).where(is_known).values(**values))
        return known(connection, operation_ids)

    operations.known = forget


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
    from tasks import batches, submissions

    batches.patiently = submissions.patiently = lambda work: work()  # type: ignore[attr-defined]


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
