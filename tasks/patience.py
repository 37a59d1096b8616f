"""How a task waits while the database is away, and what becomes of a message that breaks its task.

Separate because a wait inside the task is the only one that loses nothing: putting the message back is a
hot loop (21 deliveries in 67 ms) that ends in the dead letters.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from celery import Task, signals
from celery.exceptions import Reject

from dnsworker.database import AWAY
from dnsworker.errors import OperationFailed

log = logging.getLogger(__name__)
T = TypeVar("T")

FIRST_PAUSE_S, LAST_PAUSE_S = 0.1, 5.0
#: RabbitMQ closes the channel of a consumer that holds a message for 30 minutes (consumer_timeout).
LONGEST_WAIT_S = 20 * 60
#: Attempts for an error that nobody foresaw, before the message goes to the dead letters.
ATTEMPTS = 3


class _InOneLine(logging.Filter):
    """Celery tells of a message that goes back with the trace of why: a page for a database that is away."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], Reject) and record.exc_info[1].requeue:  # type: ignore[attr-defined]
            record.exc_info = record.exc_text = None
        return True


logging.getLogger("celery.app.trace").addFilter(_InOneLine())
_is_stopping = threading.Event()
_outage_since: float | None = None
_lock = threading.Lock()


class KeptTask(Task):  # type: ignore[type-arg]
    """A task whose message ends acknowledged, or among the dead letters; never lost by an error of ours."""

    #: Refusals end as failed tasks, without a trace in the log.
    throws = (OperationFailed,)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self.run(*args, **kwargs)
            except (OperationFailed, Reject):
                raise
            except Exception as exc:
                log.exception(
                    "task %s %s failed (attempt %d)", self.name, self.request.id, attempt,
                    extra={"operation": self.request.id},
                )  # fmt: skip
                if attempt == ATTEMPTS:
                    raise Reject(f"{type(exc).__name__}: {exc}", requeue=False) from exc
                pause_after(attempt)
        raise AssertionError("unreachable")


def pause_after(attempt: int) -> None:
    """Between two attempts at what nobody foresaw; shorter when the worker is told to stop."""
    _is_stopping.wait(FIRST_PAUSE_S * 10 ** (attempt - 1))


def patiently(work: Callable[[], T]) -> T:
    """`work`, again and again while the database is away. Raises `Reject` when the worker is told to stop."""
    deadline = time.monotonic() + LONGEST_WAIT_S
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            result = work()
        except AWAY as exc:
            _note_outage(exc)
            # Both put the message back once, long after it came: no loop.
            if _is_stopping.is_set() or time.monotonic() > deadline:
                raise Reject("the database is away", requeue=True) from exc
            _is_stopping.wait(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads the attempts, guards nothing
            pause_s = min(LAST_PAUSE_S, pause_s * 2)
        else:
            _note_return()
            return result


@signals.worker_shutting_down.connect(weak=False)
def _on_shutting_down(**_: Any) -> None:
    _is_stopping.set()


def _note_outage(error: BaseException) -> None:
    """One line for an outage, however many tasks meet it."""
    global _outage_since
    with _lock:
        if _outage_since is not None:
            return
        _outage_since = time.monotonic()
    log.warning("the database is away, tasks wait for it: %s", str(error).splitlines()[0])


def _note_return() -> None:
    global _outage_since
    if _outage_since is None:
        return
    with _lock:
        since, _outage_since = _outage_since, None
    if since is not None:
        log.warning("the database is back after %.0f s", time.monotonic() - since)
