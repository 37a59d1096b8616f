"""Mechanisms, each taken out of a worker: does a run notice that it is missing?

Only `chaos.worker` applies one; what ships knows nothing of it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
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


def _put(owner: Any, name: str, instead: Any) -> Any:
    """Put something in the place of what a module or class has under that name; returns what that was.

    Raises `AttributeError` or `TypeError` where there is nothing of the kind any more: a sabotage that misses
    would pass for a mechanism that nobody needs.
    """
    was = getattr(owner, name)
    if callable(was) and list(inspect.signature(was).parameters) != list(
        inspect.signature(instead).parameters
    ):
        raise TypeError(f"{owner.__name__}.{name} takes something else by now")
    setattr(owner, name, instead)
    return was


def _no_fence() -> None:
    """Neither the SOA nor, in contended zones, the RRsets. One function makes all updates, a convoy's too."""
    from backends import dns_update

    _put(dns_update, "_fence_rrsets", lambda changes: [])
    make = dns_update.update_message
    _put(dns_update, "update_message", lambda plan: make(replace(plan, fence="rrsets")))


def _acknowledge_early() -> None:
    """Those that are taken in together, and those that have a thread of their own."""
    from kombu.exceptions import MessageStateError

    from tasks.batches import SmallSubmission
    from tasks.patience import KeptTask

    def acknowledge(self: Any) -> Any:
        self.acknowledge()
        return waiting(self)

    def end(self: Any, result: Any) -> None:
        with suppress(MessageStateError):  # it is acknowledged already
            done(self, result)

    _put(KeptTask, "acks_late", False)
    waiting = _put(SmallSubmission, "waiting", acknowledge)
    done = _put(SmallSubmission, "done", end)


def _no_order() -> None:
    """Whichever way an operation came in."""
    from dnsworker.intake.batch import Batch

    apply: Any = Batch._apply
    _put(Batch, "_take", lambda self, one: apply(self, one))


def _take_twice() -> None:
    from dnsworker.store import operations
    from dnsworker.tables import operation

    def forget(connection: sa.Connection, operation_ids: Any) -> Any:
        known(connection, operation_ids)  # locks them in their order
        is_known = sa.and_(operation.c.id.in_(list(operation_ids)), operation.c.status != "HELD")
        values = {"status": "PENDING", "code": None, "finished_at": None}
        connection.execute(sa.update(operation).where(is_known).values(**values))
        return known(connection, operation_ids)

    known = _put(operations, "known", forget)


class _Alike(sa.BigInteger.Comparator[int]):
    """Of a column that is equal to everything."""

    __hash__ = sa.BigInteger.Comparator.__hash__

    def __eq__(self, other: object) -> Any:
        return sa.true()


def _no_epoch() -> None:
    """In whatever statement it is compared: of one delivery, of many, of a look."""
    from dnsworker.tables import delivery

    epoch: Any = delivery.c.epoch
    epoch.comparator = _Alike(epoch)


def _no_verification() -> None:
    from dnsworker.examination import Examiner

    def believe(self: Any, examinations: Sequence[Any]) -> Any:
        for one in examinations:
            right = {"verified_revision": one.zone.revision, "error": None}
            one.seen = [replace(seen, **right) for seen in one.seen]
        return record(self, examinations)

    record = _put(Examiner, "record", believe)


def _no_outbox() -> None:
    from dnsworker.store import operations

    _put(operations, "untold", lambda connection, older_than_s, limit: [])


def _no_reading_before() -> None:
    """A convoy leaves to single deliveries what is in doubt; those have two reasons to read."""
    from dnsworker.convergence.ledger import Ledger
    from dnsworker.convergence.turns import Convergence

    def believe(self: Any) -> Any:
        work = read(self)
        return replace(work, delivery=replace(work.delivery, must_read=False))

    read = _put(Ledger, "read", believe)
    _put(Convergence, "_is_contended", lambda self, work, surprises: False)


def _no_sweep() -> None:
    from dnsworker.runtime import Runtime

    _put(Runtime, "sweep", lambda self: {})


def _no_patience() -> None:
    """Of those that are taken in together, and of those that have a thread of their own."""
    from tasks import batches, submissions

    for module in (batches, submissions):
        _put(module, "patiently", lambda work: work())


def _no_doubt() -> None:
    from dnsworker.lineage import Lineage

    _put(Lineage, "holds", lambda self, connection: True)


#: What is taken out of the workers is in README.md, with what noticed it.
SABOTAGES = {
    "fence": Sabotage("updates require nothing", ("late",), _no_fence),
    "ack": Sabotage("messages are acknowledged unhandled", ("kill", "database"), _acknowledge_early),
    "order": Sabotage("operations take effect as they arrive", ("reorder",), _no_order),
    "once": Sabotage("a repeated message is a new operation", ("duplicate",), _take_twice),
    "epoch": Sabotage("a replaced worker may still write its rows", ("nap",), _no_epoch),
    "verification": Sabotage("nameservers are believed without an answer", ("target",), _no_verification),
    "outbox": Sabotage("an outcome is told once, or never", ("redis", "kill"), _no_outbox),
    "read back": Sabotage("nothing is read before writing", ("kill", "lost", "slow"), _no_reading_before),
    "sweep": Sabotage("nobody looks for what fell by the wayside", ("target", "redis"), _no_sweep),
    "patience": Sabotage("tasks don't wait for the database", ("database",), _no_patience),
    "doubt": Sabotage("an old database is believed", ("restore",), _no_doubt),
}  # fmt: skip
