"""Small submissions as they come from the broker, taken in many at a time instead of a thread for each.

This is Celery's own hook (`Task.Strategy`: what a worker does with a message). Each message still has its own
acknowledgement, its own events for Flower and its own end.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakSet

from celery import signals
from celery.concurrency.thread import TaskPool
from celery.exceptions import Reject
from celery.worker import state
from celery.worker.strategy import default

from dnsworker.committer import Committer, Waiting
from dnsworker.errors import OperationIdReused
from dnsworker.intake import Arrival, Fate, Taken
from dnsworker.operations import Status
from dnsworker.requests.request import POSITIONAL, PREFIX
from dnsworker.tracing.context import readable
from tasks.patience import ATTEMPTS, patiently, pause_after

log = logging.getLogger(__name__)

#: What is longer would keep the others waiting while it is read: it gets a thread of its own, as any task.
LONG = 16_384
#: One for each connection to the broker; old ones have stopped.
_committers: WeakSet[Committer] = WeakSet()


@signals.worker_shutting_down.connect(weak=False)
def _on_shutting_down(**_: Any) -> None:
    for committer in _committers:
        committer.stop()


def strategy(task: Any, app: Any, consumer: Any) -> Callable[..., Any]:
    """What `consumer` does with the messages of a submission's task."""
    alone = default(task, app, consumer)
    if not isinstance(consumer.pool, TaskPool):  # a child process is given tasks, not what is to be run here
        return alone
    if consumer.committer is None:
        consumer.committer = Committer(
            lambda arrivals, *, wait: _receive(app, arrivals, wait=wait),
            lambda work: consumer.pool.apply_async(work, callback=lambda _: None),
        )
        _committers.add(consumer.committer)
    committer = consumer.committer

    def handle(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **options: Any) -> None:
        if len(message.body) > LONG:
            alone(message, body, ack, reject, callbacks, **options)
        else:
            committer.put(SmallSubmission(consumer, task.name, message).waiting())

    return handle


def _receive(app: Any, arrivals: Sequence[Arrival], *, wait: bool) -> Taken:
    """What fails for a reason that nobody foresaw is tried again, and then given up."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            taken: Taken = patiently(lambda: app.runtime.receive_all(arrivals, wait=wait))
        except Reject:
            raise
        except Exception:
            log.exception("%d submissions can't be taken in (attempt %d)", len(arrivals), attempt)
            if attempt == ATTEMPTS:
                raise
        else:
            if not taken.failed or attempt == ATTEMPTS:
                return taken
        pause_after(attempt)
    raise AssertionError("unreachable")


class SmallSubmission:
    """One message, from its arrival to its acknowledgement."""

    def __init__(self, consumer: Any, task: str, message: Any) -> None:
        self._consumer, self._task, self._message = consumer, task, message
        self._id = message.headers["id"]
        self._came_at = time.monotonic()
        headers = message.headers
        self._send(
            "task-received",
            name=task, args=headers.get("argsrepr", ""), kwargs=headers.get("kwargsrepr", ""),
            root_id=headers.get("root_id"), parent_id=None, retries=0, eta=None, expires=None,
        )  # fmt: skip

    def waiting(self) -> Waiting:
        args, kwargs, _ = self._message.payload
        arguments = {POSITIONAL: len(args)} if args else kwargs
        user = (self._message.properties or {}).get("user_id")
        traceparent = readable(self._message.headers.get("traceparent"))
        kind = self._task.removeprefix(PREFIX)
        return Waiting(Arrival(self._id, kind, arguments, user, traceparent), self.done)

    def done(self, result: Fate | Exception) -> None:
        state.total_count.update({self._task: 1})
        state.all_total_count[0] += 1
        runtime = time.monotonic() - self._came_at
        if isinstance(result, Fate):
            self.acknowledge()
            if result.status is Status.ERROR:
                # The runtime has told whoever waits; this is for Flower.
                self._failed(f"{result.code}: {result.message}")
            else:
                self._send("task-succeeded", result=told(result), runtime=runtime)
        elif isinstance(result, OperationIdReused):  # the id is another operation's, whose outcome stands
            self.acknowledge()
            self._failed(f"{result.code}: {result.message}")
        else:
            requeue = isinstance(result, Reject) and bool(result.requeue)  # type: ignore[attr-defined]
            self._message.reject_log_error(log, self._consumer.connection_errors, requeue=requeue)
            self._send("task-rejected", requeue=requeue)

    def acknowledge(self) -> None:
        self._message.ack_log_error(log, self._consumer.connection_errors)

    def _failed(self, words: str) -> None:
        self._send("task-failed", exception=f"OperationFailed({words!r})", traceback=None)

    def _send(self, event: str, **fields: Any) -> None:
        events = self._consumer.event_dispatcher
        if events is not None and events.enabled:
            events.send(event, uuid=self._id, **fields)


def told(fate: Any) -> str:
    """What a submission came to, for people."""
    return f"{fate.status} serial {fate.serial}" if fate.serial is not None else str(fate.status)
