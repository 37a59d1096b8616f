"""The shipped suite against PowerDNS."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import dns.message
import dns.query
import pytest

from backends.powerdns import BACKEND, convert
from dev.servers import PowerDNS
from dnsworker.backend import Backend
from dnsworker.names import Name
from dnsworker.plan import Plan
from dnsworker.testing import (
    BackendConformance,
    CountingProxy,
    Proxy,
    RequestCases,
    ServerUnderTest,
    http_requests,
)


class PowerDNSUnderTest(ServerUnderTest):
    def __init__(self, server: PowerDNS) -> None:
        self.server = server
        self.proxy = Proxy(server.address, server.api_port, loses=_is_write)
        self.counter = CountingProxy(server.address, server.api_port, http_requests)

    def new_backend(self, **options: object) -> Backend:
        model = BACKEND.options_model.model_validate({**self.server.target_options(), **options})
        return BACKEND("test", model)

    def start(self) -> None:
        self.server.start()

    def stop(self) -> None:
        self.server.stop()

    def kill(self) -> None:
        self.server.kill()

    def wipe(self) -> None:
        self.server.wipe()
        self.server.start()

    def edit_by_hand(self, plan: Plan) -> None:
        rrsets = [convert.change_to_api(change, ()) for change in plan.changes]
        body = {"rrsets": [*rrsets, convert.soa_replacement(plan.zone, plan.desired_soa)]}
        self.server.api("PATCH", f"/zones/{plan.zone}", body)

    def wrong_credentials(self) -> Backend:
        return self.new_backend(api_key=self.wrong_secret)

    def lossy(self) -> Backend:
        return self.new_backend(api_url=f"http://{self.proxy.host}:{self.proxy.port}")

    def counted(self) -> tuple[Backend, Callable[[], int]]:
        counter = self.counter
        return self.new_backend(api_url=f"http://{counter.host}:{counter.port}"), lambda: counter.count

    def query(self, name: Name, type: str) -> dns.message.Message:
        query = dns.message.make_query(name, type, flags=0)
        return dns.query.tcp(query, self.server.address, port=self.server.port, timeout=5)


def _is_write(request: bytes) -> bool:
    return request.startswith((b"PATCH ", b"POST ", b"DELETE "))


@pytest.fixture(scope="module")
def server() -> Iterator[PowerDNSUnderTest]:
    """Not the one that other tests share: it is killed and wiped."""
    with PowerDNS() as server:
        under_test = PowerDNSUnderTest(server)
        yield under_test
        under_test.proxy.close()
        under_test.counter.close()


class TestPowerDNS(BackendConformance):
    """Everything that the server can."""

    backend_class = BACKEND


class TestRequestsToPowerDNS(RequestCases):
    backend_class = BACKEND
