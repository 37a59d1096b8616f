"""One system for all tests that leave its servers standing; each test has zones of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dev import traces
from dev.program import Program
from dev.servers import PowerDNS, Server
from dev.stack import Stack
from dnsworker import Client
from tests.acceptance.comparison import assert_all_agree, client_of
from tests.acceptance.deadlocks import assert_no_deadlock
from tests.acceptance.leaks import assert_no_leak

NewZone = Callable[..., str]
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def stack(shared_servers: dict[str, Any]) -> Iterator[Stack]:
    """Two workers that take every queue, beat, BIND and PowerDNS in one pool. Default settings."""
    powerdns = PowerDNS(direct_dnskey="yes")  # else it doesn't serve CDS and CDNSKEY
    with powerdns, Stack(workers=2, powerdns=powerdns, **shared_servers) as running:
        yield running
        written = {worker.name: worker.log_path.read_text() for worker in running.workers}
    assert_no_leak(running, **written)
    # What no single test sees: locks taken in two orders, and errors that nobody foresaw.
    assert_no_deadlock(running.database)
    for name, text in written.items():
        assert not (unforeseen := traces.through_our_code(text)), f"{name}: {unforeseen[0]}"


@pytest.fixture(autouse=True)
def _whole(request: pytest.FixtureRequest) -> None:
    """A test that ended a worker or a nameserver and failed must not take the next ones with it."""
    if "stack" in request.fixturenames:
        running: Stack = request.getfixturevalue("stack")
        every: list[Server | Program] = [running.bind, running.powerdns, running.redis, *running.workers]
        for each in every:
            if not each.is_running:
                each.start()


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    with client_of(stack) as client:
        yield client


@pytest.fixture
def names(stack: Stack) -> Iterator[NewZone]:
    """Gives names for new zones; when the test is over, all servers and the database agree on each."""
    given: list[str] = []

    def name(label: str = "zone") -> str:
        given.append(f"{label}{next(_numbers)}.test.")
        return given[-1]

    yield name
    assert_all_agree(stack, *given)


@pytest.fixture
def zone(client: Client, names: NewZone) -> str:
    """A zone that is ACTIVE."""
    name = names()
    client.create_zone(name, email="hostmaster@example.org").wait(60)
    return name


def rows(stack: Stack, query: str) -> list[tuple[Any, ...]]:
    """What a query gives in the stack's own database."""
    database = stack.env["DNSWORKER_DATABASE_URL"].rpartition("/")[2]
    return stack.database.execute(query, database=database)
