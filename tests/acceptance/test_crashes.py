"""`kill -9` of a worker in the middle of work: the other one, or the next, carries on, and nothing twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from dev.stack import Stack
from dnsworker import Client
from dnsworker.client.operation import Operation
from tests.acceptance.comparison import wait_for
from tests.acceptance.conftest import NewZone, rows

COUNT = 500
ZONES = 10
#: Between two submissions: else a slow machine has thousands to work off.
PAUSE_S = 0.002
#: Whoever waited for a dead worker's lease to end, or for its operations' numbers, would wait for an hour.
PATIENT = {"DNSWORKER_LEASE_S": "3600", "DNSWORKER_ORDERING_GRACE_S": "3600"}
#: Seconds that a busy machine may need.
ENOUGH_S = 240.0


@pytest.fixture(scope="module")
def stack(shared_servers: dict[str, Any]) -> Iterator[Stack]:
    """Two workers that take every queue."""
    with Stack(workers=2, settings=PATIENT, **shared_servers) as running:
        yield running


@pytest.mark.parametrize("is_restarted", [False, True], ids=["take-over", "restart"])
def test_w18_a_killed_worker_loses_and_doubles_nothing(
    stack: Stack, client: Client, names: NewZone, is_restarted: bool
) -> None:
    zones = [names() for _ in range(ZONES)]
    for zone in zones:
        client.create_zone(zone, email="hostmaster@example.org")
    operations: list[Operation] = []
    is_killed = threading.Event()

    def submit() -> None:
        """Until the worker is dead, however fast it is; then there is always something under way."""
        while len(operations) < COUNT or not is_killed.is_set():
            number = len(operations)
            zone, value = zones[number % ZONES], f"192.0.2.{number % 250}"
            operations.append(client.put_record(zone, f"host{number % 97}", "A", [value]))
            time.sleep(PAUSE_S)

    submitter = threading.Thread(target=submit)
    submitter.start()
    try:
        wait_for(lambda: _ended(stack, zones) > COUNT // 10, "the work to have begun", ENOUGH_S)
        stack.worker(0).kill()
    finally:
        is_killed.set()
        submitter.join()
    if is_restarted:
        stack.worker(1).kill()
        stack.worker(0).start()
    for operation in operations:
        assert operation.wait(ENOUGH_S).status.has_succeeded
    doubled = rows(
        stack,
        "SELECT operation_id, journal.name, type FROM journal JOIN zone ON zone.id = zone_id "
        f"WHERE zone.name IN ({_listed(zones)}) GROUP BY 1, 2, 3 HAVING count(*) > 1",
    )
    assert doubled == []


def _ended(stack: Stack, zones: list[str]) -> int:
    ((count,),) = rows(
        stack,
        f"SELECT count(*) FROM operation WHERE finished_at IS NOT NULL AND kind = 'put_record' "
        f"AND zone IN ({_listed(zones)})",
    )
    return int(count)


def _listed(zones: list[str]) -> str:
    return ", ".join(f"'{zone}'" for zone in zones)
