"""How a worker's runtime tells others: wake-ups over the broker, outcomes through the result backend.

Separate from the application so that the runtime sees two methods, and no Celery.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import redis
from celery import Celery
from celery.exceptions import BackendError

from dnsworker.broker import Publisher
from dnsworker.client.waker import delivery_wake_up
from dnsworker.errors import NoAnswer, OperationFailed, SubmissionFailed
from dnsworker.operations import Outcome, Status

log = logging.getLogger(__name__)

#: A wake-up is worth no more waiting: the sweep repeats it.
WAKE_TIMEOUT_S = 2.0
#: Celery raises a RuntimeError when its own retries have come to an end.
BACKEND_ERRORS = (redis.RedisError, BackendError, OSError, RuntimeError)


class CelerySignals:
    """Both methods may be called from any thread."""

    def __init__(self, app: Celery, ca_bundle: Path | None) -> None:
        self._app, self._ca_bundle = app, ca_bundle
        self._publisher: Publisher | None = None
        self._lock = threading.Lock()

    def wake_delivery(self, target: str) -> None:
        """A wake-up for one delivery to `target`. Never raises for a broker's trouble."""
        try:
            self._publishing().publish(delivery_wake_up(target), WAKE_TIMEOUT_S)
        except SubmissionFailed as exc:
            log.warning("no worker was woken (the next sweep does it): %s", exc, extra={"target": target})

    def publish_outcome(self, outcome: Outcome) -> None:
        """Tell whoever waits. Raises `NoAnswer` when the result backend is away: the caller repeats it."""
        told = outcome.model_dump(mode="json")
        try:
            if outcome.status is Status.ERROR:
                error = OperationFailed(outcome.code or "Error", outcome.message or "no reason given", told)
                self._app.backend.store_result(outcome.id, error, "FAILURE")
            else:
                self._app.backend.store_result(outcome.id, told, "SUCCESS")
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
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            publisher.abandon()

    def close(self) -> None:
        with self._lock:
            publisher, self._publisher = self._publisher, None
        if publisher is not None:
            publisher.close()
