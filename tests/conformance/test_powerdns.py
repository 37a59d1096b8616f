"""The shipped suite against PowerDNS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import dns.message
import dns.query
import pytest

from backends.powerdns import BACKEND, SECONDARY, convert
from dev.servers import PowerDNS
from dev.writes import is_http_write
from dnsworker.addresses import Address
from dnsworker.backend import Backend
from dnsworker.names import Name
from dnsworker.plan import Plan
from dnsworker.testing import (
    BackendConformance,
    CountingProxy,
    Fed,
    Primary,
    Proxy,
    RequestCases,
    ServerUnderTest,
    http_requests,
)

#: They go the same way as those of the class that tests everything, and take half a minute.
LARGE_PLANS = frozenset(
    (
        "test_a_plan_of_10_000_rrsets_goes_in_parts_and_comes_whole",
        "test_a_plan_broken_off_in_the_middle_is_taken_up_again",
        "test_a_server_killed_while_it_writes_has_done_whole_parts",
        "test_a_new_zone_is_not_seen_before_it_is_complete",
        "test_each_part_of_a_plan_sets_its_own_serial",
    )
)


class PowerDNSUnderTest(ServerUnderTest):
    settle_s = 90  # a question that meets a change may leave its answer in a cache (negquery-cache-ttl: 60)

    def __init__(self, server: PowerDNS, **options: object) -> None:
        self.server = server
        self.options = options
        self.proxy = Proxy(server.address, server.api_port, loses=is_http_write)
        self.counter = CountingProxy(server.address, server.api_port, http_requests)

    def new_backend(self, **options: object) -> Backend:
        options = {**self.server.target_options(), **self.options, **options}
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
        return self.new_backend(api_url=f"http://{self.proxy.host}:{self.proxy.port}")

    def counted(self) -> tuple[Backend, Callable[[], int]]:
        counter = self.counter
        return self.new_backend(api_url=f"http://{counter.host}:{counter.port}"), lambda: counter.count

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


class TestPowerDNS(BackendConformance):
    """Everything that the server can."""

    backend_class = BACKEND


class TestRequestsToPowerDNS(RequestCases):
    backend_class = BACKEND


class SecondaryPowerDNSUnderTest(PowerDNSUnderTest):
    """PowerDNS as a secondary of a primary that each case feeds."""

    def __init__(self, server: PowerDNS, primary: Primary) -> None:
        super().__init__(server, mode="secondary")
        self.primary = primary

    def new_backend(self, **options: object) -> Backend:
        masters = (Address(host=self.primary.host, port=self.primary.port),)
        options = {**self.server.target_options(), **self.options, **options}
        model = BACKEND.options_model.model_validate(options, context={"masters": masters})
        return Fed(BACKEND("test", model), self.primary)


@pytest.fixture(scope="module")
def secondary() -> Iterator[SecondaryPowerDNSUnderTest]:
    with PowerDNS(secondary="yes") as server, Primary() as primary:
        under_test = SecondaryPowerDNSUnderTest(server, primary)
        yield under_test
        under_test.proxy.close()
        under_test.counter.close()


class TestPowerDNSAsASecondary(BackendConformance):
    """What PowerDNS makes of contents is tested above: here, that it gets them."""

    backend_class = Fed
    capabilities = replace(SECONDARY, pull=False)
    without = frozenset(
        (
            "edit_by_hand",  # what is edited in a secondary is gone with the next transfer
            "test_a_lost_answer_to_a_plan_converges",  # the answer to a retrieval says only that it will be
            # The primary goes on while PowerDNS is down, and the case uses its serial for something else.
            "test_a_server_killed_while_it_writes_has_done_whole_parts",
            # What is transferred is taken as it is: that the primary has such a thing is its own matter.
            "test_an_alias_beside_other_data_is_never_done_silently",
            # There are no parts: the zone is transferred. The others take what time there is.
            "test_a_plan_of_10_000_rrsets_goes_in_parts_and_comes_whole",
            "test_a_plan_broken_off_in_the_middle_is_taken_up_again",
        )
    )

    @pytest.fixture
    def server(self, secondary: SecondaryPowerDNSUnderTest) -> SecondaryPowerDNSUnderTest:
        return secondary


class TestRequestsToPowerDNSAsASecondary(RequestCases):
    backend_class = Fed
    capabilities = TestPowerDNSAsASecondary.capabilities
    without = frozenset(
        {
            "edit_by_hand",  # what is edited in a secondary is gone with the next transfer
        }
    )

    @pytest.fixture
    def server(self, secondary: SecondaryPowerDNSUnderTest) -> SecondaryPowerDNSUnderTest:
        return secondary


@pytest.fixture(scope="module")
def signing_server() -> Iterator[PowerDNS]:
    with PowerDNS(gsqlite3_dnssec="yes") as server:
        yield server


class TestPowerDNSSigned(BackendConformance):
    """`dnssec: true`: signed while it answers."""

    backend_class = BACKEND
    without = LARGE_PLANS

    @pytest.fixture
    def server(self, signing_server: PowerDNS) -> Iterator[PowerDNSUnderTest]:
        under_test = PowerDNSUnderTest(signing_server, dnssec=True)
        yield under_test
        under_test.proxy.close()


class TestPowerDNSCounting(BackendConformance):
    """`soa_edit_api: INCREASE`: the serial is PowerDNS' own."""

    backend_class = BACKEND
    capabilities = replace(BACKEND.capabilities, sets_serial=True)
    without = LARGE_PLANS

    @pytest.fixture
    def server(self, signing_server: PowerDNS) -> Iterator[PowerDNSUnderTest]:
        under_test = PowerDNSUnderTest(signing_server, soa_edit_api="INCREASE")
        yield under_test
        under_test.proxy.close()
