"""Submissions straight into the database: in the caller's transaction or in one of their own."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from dev.servers.process import Process, wait_until
from dev.servers.redis import Redis
from dnsworker import Client, OperationFailed, Status, SubmissionFailed, WaitTimeout, database
from dnsworker.app import make_app
from dnsworker.client import local, waker
from dnsworker.errors import ConfigError, OperationNotFound, ZoneNotFound
from dnsworker.operations import Outcome
from dnsworker.settings import Settings
from dnsworker.tables import operation as operations
from tests.schema import have_schema

#: Seconds: what a client that hangs would take at least, and a busy machine never takes.
HANG_S = 15.0

ROOT = Path(__file__).parents[2]
#: The real thing, embedded; so seldom a sweep that only wake-ups can explain a quick outcome.
WORKER = """
from dnsworker.logs import set_up_logging
from dnsworker.settings import load_settings
from dnsworker.worker import run_worker

settings = load_settings()
set_up_logging(settings)
run_worker(settings, on_ready=lambda: print("READY", flush=True))
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'dnsworker.db'}"
    have_schema(url)
    return url


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(database=url) as made:
        yield made


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    made = database.connect(url)
    yield made
    made.dispose()


@pytest.fixture
def wake_ups(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When a wake-up was sent."""
    sent: list[float] = []
    monkeypatch.setattr(waker.Waker, "_send", lambda self: sent.append(time.monotonic()))
    return sent


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[Callable[[], Process]]:
    started: list[Process] = []

    def start() -> Process:
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith("DNSWORKER_")
        } | {
            "PYTHONPATH": str(ROOT),
            "DNSWORKER_DATA_DIR": str(tmp_path),
            "DNSWORKER_SWEEP_INTERVAL_S": "600",
        }
        log_path = tmp_path / "worker.log"
        process = Process([sys.executable, "-c", WORKER], log_path=log_path, env=environment)
        started.append(process)
        wait_until(lambda: "READY" in log_path.read_text() or not process.is_running, 30, "the worker")
        assert process.is_running, log_path.read_text()
        return process

    yield start
    for process in started:
        process.stop(5)
        print(process.tail(80))


def rows(engine: sa.Engine) -> list[str]:
    with database.reading(engine).connect() as connection:
        return [row.id for row in connection.execute(sa.select(operations.c.id))]


def test_a_submission_is_a_row_at_once(client: Client, engine: sa.Engine, wake_ups: list[float]) -> None:
    operation = client.delete_zone("example.org")
    assert rows(engine) == [operation.id]
    assert operation.status() is Status.PENDING
    wait_until(lambda: bool(wake_ups), 60, "a wake-up")


def test_a_submission_lives_and_dies_with_the_callers_transaction(
    engine: sa.Engine, wake_ups: list[float]
) -> None:
    with engine.connect() as connection, Client(connection=connection) as client:
        with connection.begin() as transaction:
            client.delete_zone("a.example")
            transaction.rollback()
        with connection.begin():
            kept = client.delete_zone("b.example")
            assert kept.status() is Status.PENDING  # the caller sees what it has submitted
            assert wake_ups == []
    assert rows(engine) == [kept.id]
    wait_until(lambda: bool(wake_ups), 60, "a wake-up after the commit")


def test_waiting_inside_the_transaction_ends_in_time(engine: sa.Engine) -> None:
    with engine.connect() as connection, Client(connection=connection) as client, connection.begin():
        operation = client.delete_zone("a.example")
        with pytest.raises(WaitTimeout):
            operation.wait(0.2)


def test_a_worker_is_woken_over_files_and_the_outcome_is_seen_at_once(
    client: Client, start_worker: Callable[[], Process]
) -> None:
    start_worker()
    started = time.monotonic()
    with pytest.raises(OperationFailed) as caught:
        client.create_zone("example.org", email="hostmaster@example.org").wait(60)
    assert time.monotonic() - started < HANG_S
    assert caught.value.code == "PoolNotFound"
    assert isinstance(caught.value.outcome, Outcome)


def test_what_was_submitted_before_the_worker_started_is_taken_in_with_the_next_wake_up(
    client: Client, start_worker: Callable[[], Process]
) -> None:
    early = client.create_zone("a.example", email="hostmaster@example.org")
    start_worker()
    client.create_zone("b.example", email="hostmaster@example.org")
    with pytest.raises(OperationFailed, match="PoolNotFound"):
        early.wait(60)


def test_waiting_sees_the_row_change(client: Client, engine: sa.Engine) -> None:
    operation = client.delete_zone("example.org")

    def finish() -> None:
        with engine.begin() as connection:
            connection.execute(sa.update(operations).values(status="ACTIVE"))

    timer = threading.Timer(0.2, finish)
    timer.start()
    assert operation.wait(60).status is Status.ACTIVE
    timer.join()


@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")
def test_with_redis_the_outcome_is_pushed_past_the_next_look_at_the_row(
    url: str, engine: sa.Engine, redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "POLL_BESIDE_PUSH_S", 30.0)
    monkeypatch.setattr(local, "LAST_POLL_S", 0.05)
    app = make_app(Settings(data_dir=tmp_path, result_url=redis.url))  # type: ignore[arg-type]
    with Client(database=url, result_url=redis.url) as client:
        operation = client.delete_zone("example.org")

        def finish() -> None:
            with engine.begin() as connection:
                connection.execute(sa.update(operations).values(status="ACTIVE"))
            app.backend.store_result(operation.id, {"status": "ACTIVE"}, "SUCCESS")

        timer = threading.Timer(0.3, finish)
        timer.start()
        started = time.monotonic()
        assert operation.wait(60).status is Status.ACTIVE
        assert time.monotonic() - started < HANG_S
        timer.join()


def test_questions_are_answered_from_the_database(client: Client) -> None:
    with pytest.raises(ZoneNotFound):
        client.show_zone("example.org")
    with pytest.raises(ZoneNotFound):
        client.list_records("example.org", name="www")
    with pytest.raises(ZoneNotFound):
        client.export_zone("example.org")
    with pytest.raises(OperationNotFound):
        client.show_operation("unknown")


def test_the_same_id_twice_is_one_row(client: Client, engine: sa.Engine) -> None:
    first = client.delete_zone("example.org")
    client.delete_zone("example.org", operation_id=first.id)
    assert rows(engine) == [first.id]


def test_a_database_that_is_away_fails_the_submission(client: Client, engine: sa.Engine) -> None:
    with engine.begin() as connection:
        operations.drop(connection)
    with pytest.raises(SubmissionFailed, match="the database did not confirm it"):
        client.delete_zone("example.org")


def test_one_way_in_is_enough(engine: sa.Engine, url: str) -> None:
    with engine.connect() as connection, pytest.raises(ConfigError, match="not both"):
        Client(database=url, connection=connection)


def test_an_embedded_system_is_found_by_its_folder(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: sa.Engine
) -> None:
    for name in [name for name in os.environ if name.startswith("DNSWORKER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DNSWORKER_DATA_DIR", str(tmp_path))
    with Client() as client:
        operation = client.delete_zone("example.org")
    assert rows(engine) == [operation.id]
