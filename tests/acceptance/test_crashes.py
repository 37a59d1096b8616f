"""`kill -9` of a worker in the middle of work: the other one, or the next, carries on, and nothing twice."""

from __future__ import annotations

import time

import pytest

from dev.stack import Stack
from dnsworker import Client
from tests.acceptance.comparison import wait_for
from tests.acceptance.conftest import NewZone, rows

COUNT = 500
ZONES = 10
#: Seconds; half of what waiting for a dead worker's leases would take, and for its operations' numbers.
LIMIT_S = 30.0


@pytest.mark.parametrize("is_restarted", [False, True], ids=["take-over", "restart"])
def test_a_killed_worker_loses_and_doubles_nothing(
    stack: Stack, client: Client, names: NewZone, is_restarted: bool
) -> None:
    zones = [names() for _ in range(ZONES)]
    for zone in zones:
        client.create_zone(zone, email="hostmaster@example.org")
    operations = [
        client.put_record(zones[number % ZONES], f"host{number % 97}", "A", [f"192.0.2.{number % 250}"])
        for number in range(COUNT)
    ]
    wait_for(lambda: _ended(stack, zones) > COUNT // 10, "the work to have begun", 30)
    stack.worker(0).kill()
    at_kill = _ended(stack, zones)
    assert at_kill < COUNT, "killed in the middle"
    if is_restarted:
        stack.worker(1).kill()
        stack.worker(0).start()
    begun = time.monotonic()
    for operation in operations:
        assert operation.wait(60).status.has_succeeded
    took = time.monotonic() - begun
    assert took < LIMIT_S, f"{COUNT - at_kill} operations took {took:.1f} s"
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
