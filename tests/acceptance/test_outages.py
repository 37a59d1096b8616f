"""A target, the broker, the database or Redis away in the middle of work: tried again, seen, never lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from dev.servers import Bind, PowerDNS, Server, SQLite
from dev.stack import Stack
from dnsworker import Client
from dnsworker.client.operation import Operation
from dnsworker.errors import SubmissionFailed
from tests.acceptance.comparison import client_of, serial, serves, texts, wait_for
from tests.acceptance.conftest import NewZone

EMAIL = "hostmaster@example.org"
AWAY_S = 3.0


@pytest.mark.parametrize("name", ["bind", "powerdns"])
def test_a_zone_that_was_deleted_and_made_anew_while_a_target_was_down_never_vanishes(
    stack: Stack, client: Client, zone: str, name: str
) -> None:
    """An old delete must not kill the new zone: the goal counts, not the verbs that led to it."""
    target: Bind | PowerDNS = getattr(stack, name)
    client.put_record(zone, "old", "A", ["192.0.2.1"]).wait(60)
    before = serial(target, zone)
    target.stop()
    client.delete_zone(zone)
    client.create_zone(zone, email=EMAIL)
    client.put_record(zone, "new", "A", ["192.0.2.2"])
    last = client.update_zone(zone, ttl=60)
    wait_for(lambda: _attempts(last, name) >= 1, "a first attempt")
    target.start()
    with _watched(target, zone) as seen:
        last.wait(40)
        operation = client.put_record(zone, "newer", "A", ["192.0.2.3"])
        operation.wait(60)
        wait_for(lambda: _is_swept(stack), "the sweep to come by")
    assert False not in seen, "the zone was away for a moment"
    serials = [one for one in seen if one]
    assert serials == sorted(serials)
    assert serials[0] >= before
    assert texts(target, f"old.{zone}", "A") == []
    assert texts(target, f"new.{zone}", "A") == ["192.0.2.2"]


@pytest.mark.parametrize("name", ["bind", "powerdns"])
def test_changes_wait_for_a_target_that_restarts(stack: Stack, client: Client, zone: str, name: str) -> None:
    target: Bind | PowerDNS = getattr(stack, name)
    operations = []
    for number in range(60):
        if number == 20:
            target.kill()
        if number == 40:
            target.start()
        operations.append(client.put_record(zone, f"host{number}", "A", ["192.0.2.1"]))
    for operation in operations:
        assert operation.wait(40).status.has_succeeded
    assert texts(target, f"host59.{zone}", "A") == ["192.0.2.1"]


@pytest.mark.parametrize("away", ["broker", "database", "redis"])
def test_nothing_is_lost_while_a_part_of_the_system_is_away(stack: Stack, names: NewZone, away: str) -> None:
    """A submission that wasn't confirmed is in its caller's hands, who repeats it under the same id."""
    if away == "database" and isinstance(stack.database, SQLite):
        pytest.skip("SQLite is a file beside the worker: there is no server to take away")
    zones = [names() for _ in range(4)]
    with client_of(stack, timeout_s=1.0) as client:
        for zone in zones:
            client.create_zone(zone, email=EMAIL).wait(60)
        with _submitting(client, zones) as submitted:
            wait_for(lambda: len(submitted) > 20, "work in progress")
            _take_away(stack, away)
            begun = time.monotonic()
            try:
                if away == "database":
                    assert "Connection refused" in _complaint(stack)
                time.sleep(max(0.0, AWAY_S - (time.monotonic() - begun)))  # the length of the outage
            finally:
                _give_back(stack, away)
            count = len(submitted)
            wait_for(lambda: len(submitted) > count + 20, "submissions to go on", 30)
        for operation in submitted:
            assert operation.wait(60).status.has_succeeded
        for zone in zones:
            held = {one["name"] for one in client.list_records(zone, type="A")}
            mine = [number for number in range(len(submitted)) if zones[number % len(zones)] == zone]
            assert held == {f"host{number}.{zone}" for number in mine}


@contextmanager
def _submitting(client: Client, zones: list[str]) -> Iterator[list[Operation]]:
    """Submits one operation after the other, zone by zone, in the background."""
    submitted: list[Operation] = []
    stop = threading.Event()

    def submit(number: int) -> Operation | None:
        again = None
        while not stop.is_set():
            try:
                zone = zones[number % len(zones)]
                return client.put_record(zone, f"host{number}", "A", ["192.0.2.1"], operation_id=again)
            except SubmissionFailed as exc:
                again = exc.operation_id
                stop.wait(0.1)
        return None

    def run() -> None:
        while operation := submit(len(submitted)):
            submitted.append(operation)
            stop.wait(0.01)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield submitted
    finally:
        stop.set()
        thread.join(10)


def _take_away(stack: Stack, what: str) -> None:
    if what == "broker":
        stack.rabbitmq.stop_app()
    elif what == "database":
        assert isinstance(stack.database, Server)
        stack.database.stop()
    else:
        stack.redis.kill()


def _give_back(stack: Stack, what: str) -> None:
    if what == "broker":
        stack.rabbitmq.start_app()
    elif what == "database":
        assert isinstance(stack.database, Server)
        stack.database.start()
    else:
        stack.redis.start()


def _complaint(stack: Stack) -> str:
    """What `status` says in its one line, without a database to ask."""
    with pytest.raises(Exception, match="dnsworker status") as failed:
        stack.run("status")
    said = str(failed.value)
    assert "Traceback" not in said
    return said


@contextmanager
def _watched(server: Bind | PowerDNS, zone: str) -> Iterator[list[Any]]:
    """The serials that the server shows all the while; False wherever it shows no zone."""
    seen: list[Any] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            seen.append(serves(server, zone) and serial(server, zone))
            stop.wait(0.01)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join(10)


def _attempts(operation: Operation, target: str) -> int:
    return next((one.attempts for one in operation.outcome().targets if one.target == target), 0)


def _is_swept(stack: Stack) -> bool:
    return all(not target["backlog"] for target in stack.run_json("status")["targets"])
