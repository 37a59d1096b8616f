"""A rate budget is one for all workers: counted by the server that is asked, not by those who ask.

`STAND_INS` are what counts: to try another one, write a `Counted` for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import pytest

from dev.pool import pool_of, to_yaml
from dev.servers import Bind, PowerDNS, Route53
from dev.stack import Stack
from tests.acceptance.comparison import client_of
from tests.acceptance.slow_api import SlowProxy

RATE, BURST = 5.0, 1
ZONES = 8
#: How long a request may be under way from its worker to the server. It shortens the window that is seen.
LATE_S = 1.0
EMAIL = "hostmaster@example.org"


class Counted(Protocol):
    """A server that remembers when requests arrived."""

    @property
    def arrivals(self) -> list[float]:
        """In seconds, by one clock."""

    def pool(self, **limits: float) -> dict[str, Any]:
        """A pool of pools.yaml with this server as its only target, `limited`, under these limits."""


class CountedPowerDNS(SlowProxy):
    """A real PowerDNS whose API is reached through a proxy that counts, and answers at once."""

    def __init__(self, server: PowerDNS) -> None:
        self._arrivals: list[float] = []
        self._powerdns = server
        super().__init__(server.address, server.api_port)

    @property
    def arrivals(self) -> list[float]:
        return list(self._arrivals)

    def pool(self, **limits: float) -> dict[str, Any]:
        found = pool_of({"limited": self._powerdns}, targets={"limits": limits})
        found["targets"][0]["options"]["api_url"] = self.url
        return found

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._arrivals.append(time.monotonic())
        with super()._counted():
            yield


class CountedRoute53:
    """Route 53's stand-in, which counts by itself."""

    def __init__(self, server: Route53) -> None:
        self._server = server

    @property
    def arrivals(self) -> list[float]:
        return [each["time"] for each in self._server.requests()]

    def pool(self, **limits: float) -> dict[str, Any]:
        found = pool_of({})
        options = self._server.target_options()
        found["targets"] = [{"name": "limited", "type": "route53", "options": options, "limits": limits}]
        return found


@contextmanager
def _powerdns() -> Iterator[Counted]:
    with PowerDNS() as server, CountedPowerDNS(server) as counted:
        yield counted


@contextmanager
def _route53() -> Iterator[Counted]:
    with Route53() as server:
        yield CountedRoute53(server)


STAND_INS: dict[str, Callable[[], AbstractContextManager[Counted]]] = {
    "powerdns": _powerdns,
    "route53": _route53,
}


@pytest.fixture(params=STAND_INS)
def counted(request: pytest.FixtureRequest) -> Iterator[Counted]:
    with STAND_INS[request.param]() as stand_in:
        yield stand_in


def test_two_workers_together_never_exceed_a_budget(
    counted: Counted,
    bind: Bind,
    powerdns: PowerDNS,
    start_stack: Callable[..., Stack],
    record_property: Callable[[str, object], None],
) -> None:
    pools = to_yaml(counted.pool(requests_per_second=RATE, burst=BURST))
    stack = start_stack(workers=2, bind=bind, powerdns=powerdns, pool_yaml=pools)
    with client_of(stack) as client:
        operations = [client.create_zone(f"budget{number}.test.", email=EMAIL) for number in range(ZONES)]
        for operation in operations:
            assert operation.wait(120).status.has_succeeded
    arrivals = sorted(counted.arrivals)
    took_s = arrivals[-1] - arrivals[0]
    record_property("requests", f"{len(arrivals)} in {took_s:.1f} s, {len(arrivals) / took_s:.2f} a second")
    print(f"{len(arrivals)} requests in {took_s:.1f} s, {most_within(arrivals, 1.0)} at most in a second")
    assert len(arrivals) >= 3 * ZONES, "so few requests can't exceed anything"
    for first, begun in enumerate(arrivals):
        for last in range(first, len(arrivals)):
            count, window_s = last - first + 1, arrivals[last] - begun
            assert count <= BURST + RATE * (window_s + LATE_S), f"{count} requests within {window_s:.2f} s"


def most_within(arrivals: list[float], window_s: float) -> int:
    """The most requests in any window of that length."""
    return max(sum(begun <= other < begun + window_s for other in arrivals) for begun in arrivals)
