"""Results pushed through Redis: whoever waits subscribes first and reads afterwards, so nothing is missed.

Separate from Celery's own waiting because ours listens for two things at once (the outcome, and the
answer to "how is it going?") and is bounded when Redis is away.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from celery import Celery

from dnsworker import errors
from dnsworker.errors import ConfigError, DNSWorkerError, NoAnswer

#: What Redis, or the way to it, does to us.
ERRORS = (redis.RedisError, OSError)
SOCKET_TIMEOUT_S = 2


class Mailbox:
    """The results of one Celery result backend, which must be Redis."""

    def __init__(self, url: str) -> None:
        app = Celery("dnsworker.client", backend=url, set_as_current=False, broker="memory://")
        app.conf.update(
            accept_content=["json"],
            result_serializer="json",
            redis_socket_timeout=SOCKET_TIMEOUT_S,
            redis_socket_connect_timeout=SOCKET_TIMEOUT_S,
        )
        backend: Any = app.backend
        if not hasattr(backend, "connparams"):
            raise ConfigError("DNSWORKER_RESULT_URL must be a Redis URL (redis://, rediss:// or sentinel://)")
        self._backend = backend
        self._redis: Any = backend.client

    @contextmanager
    def watch(self, *ids: str) -> Iterator[Watch]:
        """A watch on the results of these tasks. Raises one of `ERRORS` when Redis is away."""
        pubsub = self._redis.pubsub()
        try:
            watch = Watch(self._redis, pubsub, self._backend)
            for task_id in ids:
                watch.add(task_id)
            yield watch
        finally:
            pubsub.close()

    def discard(self, task_id: str) -> None:
        """Forget a result that nobody reads again. Raises one of `ERRORS`."""
        self._redis.delete(self._backend.get_key_for_task(task_id))

    def close(self) -> None:
        self._redis.close()


class Watch:
    """What arrives for some task ids, each as Celery's result record (`status`, `result`, …)."""

    def __init__(self, client: Any, pubsub: Any, backend: Any) -> None:
        self._redis, self._pubsub, self._backend = client, pubsub, backend
        self._found: deque[dict[str, Any]] = deque()

    def add(self, task_id: str) -> None:
        self._pubsub.subscribe(self._backend.get_key_for_task(task_id))

    def next(self, timeout_s: float) -> dict[str, Any] | None:
        """The next result; None when nothing came in time. Raises one of `ERRORS`."""
        deadline = time.monotonic() + timeout_s
        while not self._found:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            letter = self._pubsub.get_message(timeout=left)
            if letter is None:
                continue
            if letter["type"] == "message":
                self._take(letter["data"])
            elif letter["type"] == "subscribe":
                # Only now is the subscription certain; what was stored before is read, the rest pushed.
                self._take(self._redis.get(letter["channel"]))
        return self._found.popleft()

    def _take(self, payload: bytes | None) -> None:
        if payload:
            self._found.append(self._backend.decode_result(payload))


def value_of(record: dict[str, Any]) -> Any:
    """What a task returned. Raises what it raised, as ours."""
    result = record["result"]
    if record["status"] == "SUCCESS":
        return result
    raise _error(result)


def _error(result: Any) -> DNSWorkerError:
    if isinstance(result, BaseException):  # Celery rebuilds what it can import
        if isinstance(result, DNSWorkerError):
            return result
        name, arguments = type(result).__name__, list(result.args)
    else:
        result = result if isinstance(result, dict) else {}
        name, arguments = str(result.get("exc_type")), list(result.get("exc_message") or [])
    known = getattr(errors, name, None)
    text = str(arguments[0]) if arguments else name
    if isinstance(known, type) and issubclass(known, errors.InvalidRequest):
        return known(text)
    return NoAnswer(f"the worker failed: {name}: {text}")
