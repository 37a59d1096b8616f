"""Wakes a worker after a submission into the database, in the background and at no risk.

Separate because nothing may depend on it: a wake-up that is lost costs the time until the next sweep.
"""

from __future__ import annotations

import logging
import threading
import time

from dnsworker.broker import Publisher
from dnsworker.client.ids import new_id
from dnsworker.errors import ConfigError, SubmissionFailed
from dnsworker.messages import Message
from dnsworker.queues import DELIVER_TASK, INTAKE_TASK, INTERNAL, SWEEP_KEY, deliver_key

log = logging.getLogger(__name__)


def delivery_wake_up(target: str) -> Message:
    """Has some worker look at what is due for the target."""
    return Message(
        DELIVER_TASK,
        new_id(),
        {"target": target},
        INTERNAL.name,
        deliver_key(target),
        summary=target,
        is_durable=False,
        must_be_routed=False,
    )


class Waker:
    """One daemon thread, started by the first wake-up. Many wake-ups at once become one message."""

    def __init__(self, publisher: Publisher, timeout_s: float) -> None:
        self._publisher, self._timeout_s = publisher, timeout_s
        self._reset()

    def _reset(self) -> None:
        self._due: list[float] = []
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def wake(self, after_s: float = 0.0) -> None:
        """Returns at once."""
        with self._changed:
            self._due.append(time.monotonic() + after_s)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="dnsworker-waker", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Sends what is due, and ends."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(self._timeout_s + 1)
        self._publisher.close()

    def after_fork(self) -> None:
        self._publisher.abandon()
        self._reset()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._is_closed and (not self._due or min(self._due) > time.monotonic()):
                    self._changed.wait(min(self._due) - time.monotonic() if self._due else None)
                now = time.monotonic()
                is_last = self._is_closed
                wanted = bool(self._due) if is_last else True
                self._due = [] if is_last else [moment for moment in self._due if moment > now]
            if wanted:
                self._send()
            if is_last:
                return

    def _send(self) -> None:
        message = Message(
            INTAKE_TASK, new_id(), {}, INTERNAL.name, SWEEP_KEY, is_durable=False, must_be_routed=False
        )
        try:
            self._publisher.publish(message, self._timeout_s)
        except (SubmissionFailed, ConfigError) as exc:
            log.info("no worker was woken (the next sweep finds the operation): %s", exc)
