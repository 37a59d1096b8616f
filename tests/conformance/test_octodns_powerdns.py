"""The shipped suite against PowerDNS, written to through octodns-powerdns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import dns.message
import dns.query
import pytest

from backends.octodns import BACKEND
from backends.powerdns import convert
from dev.servers import PowerDNS
from dev.writes import is_http_write
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

pytestmark = pytest.mark.filterwarnings(r"ignore:.*Will be removed in 2\.0:DeprecationWarning")

CLASS = "octodns_powerdns.PowerDnsProvider"
CAPABILITIES = BACKEND.capabilities_for(
    BACKEND.options_model.model_validate(
        {"class": CLASS, "kwargs": {"host": "192.0.2.53", "api_key": "example"}}
    )
)


class PowerDNSUnderTest(ServerUnderTest):
    settle_s = 90  # a question that meets a change may leave its answer in a cache (negquery-cache-ttl: 60)

    def __init__(self, server: PowerDNS) -> None:
        self.server = server
        self.proxy = Proxy(server.address, server.api_port, loses=is_http_write)
        self.counter = CountingProxy(server.address, server.api_port, http_requests)

    def new_backend(self, **kwargs: Any) -> Backend:
        given = {"host": self.server.address, "port": self.server.api_port, "api_key": self.server.api_key}
        options = {"class": CLASS, "kwargs": {**given, "mode_of_operation": "native", **kwargs}}
        return BACKEND("test", BACKEND.options_model.model_validate(options))

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
        return self.new_backend(host=self.proxy.host, port=self.proxy.port)

    def counted(self) -> tuple[Backend, Callable[[], int]]:
        counter = self.counter
        return self.new_backend(host=counter.host, port=counter.port), lambda: counter.count

    def query(self, name: Name, type: str) -> dns.message.Message:
        query = dns.message.make_query(name, type, flags=0)
        return dns.query.tcp(query, self.server.address, port=self.server.port, timeout=5)


@pytest.fixture(scope="module")
def server() -> Iterator[PowerDNSUnderTest]:
    """Not the one that other tests share: it is killed and wiped."""
    with PowerDNS() as server:
        under_test = PowerDNSUnderTest(server)
        yield under_test
        under_test.proxy.close()
        under_test.counter.close()


class TestPowerDNSThroughOctoDNS(BackendConformance):
    """As it comes, zones of PowerDNS' own kind of serial."""

    backend_class = BACKEND
    without = frozenset(
        {
            # octoDNS joins the strings of a text; texts are in tests/integration/test_octodns.py.
            "test_text_is_kept_to_the_octet",
            # The parts' serials aren't kept.
            "test_each_part_of_a_plan_sets_its_own_serial",
            # octodns-powerdns knows no DNAME.
            "test_names_below_a_new_dname_go_with_it",
        }
    )
    # octoDNS writes the flags of a NAPTR in capitals, joins the strings of a TXT, and spells a SVCB key
    # that has no name in a way that PowerDNS doesn't take.
    refused_types = frozenset({"NAPTR", "SVCB", "TXT"})
    capabilities = CAPABILITIES


class TestRequestsToPowerDNSThroughOctoDNS(RequestCases):
    backend_class = BACKEND
    capabilities = CAPABILITIES
