"""How a worker's runtime tells others: wake-ups over the broker, outcomes through the result backend.

Separate from the application so that the runtime sees two methods, and no Celery.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import redis
from celery import Celery
from celery.backends.redis import RedisBackend
from celery.exceptions import BackendError

from dnsworker.broker import Publisher
from dnsworker.client.waker import delivery_wake_up
from dnsworker.errors import NoAnswer, OperationFailed, SubmissionFailed
from dnsworker.operations import Outcome, Status

log = logging.getLogger(__name__)

#: A wake-up is worth no more waiting: the sweep repeats it.
WAKE_TIMEOUT_S = 2.0
#: Whoever is woken does all that is due, so a busy target is woken no more often.
WAKE_EVERY_S = 0.025
#: Celery raises a RuntimeError when its own retries have come to an end.
BACKEND_ERRORS = (redis.RedisError, BackendError, OSError, RuntimeError)


def _result(outcome: Outcome) -> tuple[Any, str]:
    """What a task that ended so would have returned or raised, and its state."""
    told = outcome.model_dump(mode="json")
    if outcome.status is Status.ERROR:
        return OperationFailed(outcome.code or "Error", outcome.message or "no reason given", told), "FAILURE"
    return told, "SUCCESS"


def _store_together(backend: Any, outcomes: Sequence[Outcome]) -> None:
    """As `RedisBackend.store_result` does with each, in one round trip for all.

    It first asks for each whether a success is there already, which no late failure may replace; an operation
    has one end, however often it is told.
    """
    usual: dict[str, Any] = {}  # what is the same for all that ended alike
    with backend.client.pipeline(transaction=False) as pipe:
        for outcome in outcomes:
            result, state = _result(outcome)
            if state not in usual:
                usual[state] = backend._get_result_meta(None, state, None, None)
            told = {"result": backend.encode_result(result, state), "task_id": outcome.id}
            key, value = backend.get_key_for_task(outcome.id), backend.encode(usual[state] | told)
            pipe.set(key, value, ex=backend.expires or None)
            pipe.publish(key, value)
        pipe.execute()


class CelerySignals:
    """Both methods may be called from any thread."""

    def __init__(self, app: Celery, ca_bundle: Path | None) -> None:
        self._app, self._ca_bundle = app, ca_bundle
        self._publisher: Publisher | None = None
        self._lock = threading.Lock()
        #: Target → when it was woken last; and those that will be woken in a moment.
        self._woken_at: dict[str, float] = {}
        self._timers: dict[str, threading.Timer] = {}

    def wake_delivery(self, target: str) -> None:
        """A wake-up for what is due at `target`: at once, or together with others that come in this moment.

        Never raises for a broker's trouble.
        """
        with self._lock:
            if target in self._timers:
                return
            moment = time.monotonic()
            wait_s = self._woken_at.get(target, float("-inf")) + WAKE_EVERY_S - moment
            if wait_s > 0:
                timer = self._timers[target] = threading.Timer(wait_s, self._wake_in_time, (target,))
                timer.daemon = True
                timer.start()
                return
            self._woken_at[target] = moment
        self._wake(target)

    def _wake_in_time(self, target: str) -> None:
        with self._lock:
            if self._timers.pop(target, None) is None:
                return  # closed
            self._woken_at[target] = time.monotonic()
        self._wake(target)

    def _wake(self, target: str) -> None:
        try:
            self._publishing().publish(delivery_wake_up(target), WAKE_TIMEOUT_S)
        except SubmissionFailed as exc:
            log.warning("no worker was woken (the next sweep does it): %s", exc, extra={"target": target})

    def publish_outcomes(self, outcomes: Sequence[Outcome]) -> None:
        """Tell whoever waits. Raises `NoAnswer` when the result backend is away: the caller repeats it."""
        backend: Any = self._app.backend
        try:
            if isinstance(backend, RedisBackend):
                _store_together(backend, outcomes)
                return
            for outcome in outcomes:
                backend.store_result(outcome.id, *_result(outcome))
        except BACKEND_ERRORS as exc:
            raise NoAnswer(f"the result backend is away: {type(exc).__name__}") from exc

    def _publishing(self) -> Publisher:
        with self._lock:
            if self._publisher is None:
                conf = self._app.conf
                options = dict(conf.broker_transport_options.items())
                options.pop("confirm_publish", None)  # a lost wake-up costs less than waiting for each
                self._publisher = Publisher(
                    conf.broker_url, ca_bundle=self._ca_bundle, options=options, confirms=False
                )
            return self._publisher

    def after_fork(self) -> None:
        """In a forked child: the connections are the parent's."""
        self._lock = threading.Lock()
        self._timers = {}
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            publisher.abandon()

    def close(self) -> None:
        with self._lock:
            timers, self._timers = self._timers, {}
            for timer in timers.values():
                timer.cancel()  # the sweep of another does it
            publisher, self._publisher = self._publisher, None
        if publisher is not None:
            publisher.close()
