"""Workers with a stub runtime, and a place where they note what they were given."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import amqp
import pytest
import redis as redis_client
from kombu import Connection

from dev.servers.process import Process, wait_until
from dev.servers.redis import Redis

STUB = Path(__file__).with_name("stub_worker.py")
ROOT = STUB.parents[2]


class Notes:
    """What the stub runtimes wrote into Redis."""

    def __init__(self, url: str) -> None:
        self.redis = redis_client.Redis.from_url(url, decode_responses=True)

    def received(self) -> list[dict[str, Any]]:
        return [json.loads(note) for note in self.all("received")]

    def all(self, key: str) -> list[str]:
        return [str(note) for note in self.redis.lrange(key, 0, -1)]

    def wait_for(self, key: str, count: int = 1, timeout_s: float = 60) -> list[str]:
        wait_until(lambda: len(self.all(key)) >= count, timeout_s, f"{count} × {key}")
        return self.all(key)

    def release(self) -> None:
        self.redis.set("release", "1")


@pytest.fixture
def notes(redis: Redis) -> Iterator[Notes]:
    found = Notes(redis.url)
    found.redis.flushall()
    yield found
    found.redis.close()


@pytest.fixture
def start_worker(
    broker_url: str, redis: Redis, notes: Notes, tmp_path: Path
) -> Iterator[Callable[..., Process]]:
    """Starts a worker on this test's broker, and waits until it takes messages."""
    started: list[Process] = []
    numbers = itertools.count(1)

    def start(*queues: str, is_awaited: bool = True, **environment: str) -> Process:
        number = next(numbers)
        log_path = tmp_path / f"worker-{number}.log"
        process = Process(
            [sys.executable, "-W", "default", str(STUB), *queues],
            log_path=log_path,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "DNSWORKER_BROKER_URL": broker_url,
                "DNSWORKER_RESULT_URL": redis.url,
                "DNSWORKER_REDIS_URL": redis.url,
                "DNSWORKER_CONCURRENCY": "8",
                **environment,
            },
        )
        started.append(process)
        if is_awaited:
            wait_until(
                lambda: "READY" in log_path.read_text() or not process.is_running, 30, f"worker {number}"
            )
            assert process.is_running, log_path.read_text()
        return process

    yield start
    for process in started:
        process.stop(5)
        print(process.tail(80))


@pytest.fixture
def worker(start_worker: Callable[..., Process]) -> Process:
    return start_worker()


@pytest.fixture
def count_messages(broker_url: str) -> Callable[[str], int | None]:
    """How many messages are ready in a queue; None if there is no such queue. The broker's own count."""

    def count(queue: str) -> int | None:
        with Connection(broker_url, connect_timeout=5) as connection:
            try:
                return int(connection.default_channel.queue_declare(queue, passive=True).message_count)
            except amqp.NotFound:
                return None

    return count
