"""The shipped suite against BIND 9."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.query
import dns.rcode
import dns.rdatatype
import dns.tsig
import dns.update
import pytest

from backends.bind9 import BACKEND
from backends.bind9.backend import SECONDARY, SIGNING, SIGNING_INLINE
from dev.servers import Bind
from dev.servers.process import wait_until
from dev.writes import changes_zones, has_update
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
    dns_requests,
    rndc_requests,
)
from dnsworker.testing.contents_cases import ContentsCases

#: BIND's own policy `default` cuts TTLs off at a day.
POLICY = """
dnssec-policy "long-ttl" {
    keys { csk lifetime unlimited algorithm ecdsap256sha256; };
    max-zone-ttl 2147483647;
};
"""
#: Signing 10,000 RRsets takes half a minute. How plans are cut and broken off doesn't depend on it.
TOO_LONG = frozenset(
    (
        "test_a_plan_of_10_000_rrsets_goes_in_parts_and_comes_whole",
        "test_a_plan_broken_off_in_the_middle_is_taken_up_again",
        "test_a_server_killed_while_it_writes_has_done_whole_parts",
        "test_a_new_zone_is_not_seen_before_it_is_complete",
        "test_each_part_of_a_plan_sets_its_own_serial",
    )
)


class BindUnderTest(ServerUnderTest):
    def __init__(self, server: Bind, **options: object) -> None:
        self.server = server
        self.options = options
        self.dns_proxy = Proxy(server.address, server.port, loses=has_update)
        self.rndc_proxy = Proxy(server.address, server.rndc_port, loses=changes_zones)
        self.dns_counter = CountingProxy(server.address, server.port, dns_requests)
        self.rndc_counter = CountingProxy(server.address, server.rndc_port, rndc_requests)

    def new_backend(self, **options: object) -> Backend:
        options = {**self.server.target_options(), **self.options, **options}
        model = BACKEND.options_model.model_validate(options)
        return BACKEND("test", model)

    def close(self) -> None:
        for proxy in (self.dns_proxy, self.rndc_proxy, self.dns_counter, self.rndc_counter):
            proxy.close()

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
        """What nsupdate sends, without a prerequisite."""
        key = dns.tsig.Key(self.server.key_name, self.server.key_secret)
        update = dns.update.UpdateMessage(plan.zone, keyring={key.name: key})
        for change in plan.changes:
            update.delete(dns.name.from_text(change.key[0]), change.key[1])
            if change.after is not None:
                update.add(dns.name.from_text(change.key[0]), change.after.to_rdataset())
        update.add(dns.name.from_text(plan.zone), plan.desired_soa.to_rdataset())
        answer = dns.query.tcp(update, self.server.address, port=self.server.port, timeout=5)
        assert answer.rcode() == dns.rcode.NOERROR

    def wrong_credentials(self) -> Backend:
        return self.new_backend(tsig_key_secret=self.wrong_secret, rndc_key_secret=self.wrong_secret)

    def lossy(self) -> Backend:
        proxies = {"port": self.dns_proxy.port, "rndc_port": self.rndc_proxy.port}
        return self.new_backend(**proxies)

    def counted(self) -> tuple[Backend, Callable[[], int]]:
        dns, rndc = self.dns_counter, self.rndc_counter
        return self.new_backend(port=dns.port, rndc_port=rndc.port), lambda: dns.count + rndc.count

    def query(self, name: Name, type: str) -> dns.message.Message:
        query = dns.message.make_query(name, type, flags=0)
        return dns.query.tcp(query, self.server.address, port=self.server.port, timeout=5)


@pytest.fixture(scope="module")
def server() -> Iterator[BindUnderTest]:
    """Not the one that other tests share: it is killed and wiped."""
    with Bind() as server:
        under_test = BindUnderTest(server)
        yield under_test
        under_test.close()


@pytest.fixture(scope="module")
def roomy_server() -> Iterator[BindUnderTest]:
    with Bind(max_records_per_type=0) as server:
        under_test = BindUnderTest(server)
        yield under_test
        under_test.close()


class TestBind9(BackendConformance):
    """As Debian ships it."""

    backend_class = BACKEND
    max_values = 100


class TestBind9WithoutALimitOfValues(ContentsCases):
    """With `max-records-per-type 0`; the limit concerns contents only."""

    backend_class = BACKEND

    @pytest.fixture
    def server(self, roomy_server: BindUnderTest) -> BindUnderTest:
        return roomy_server


class TestRequestsToBind9(RequestCases):
    """Over both channels: DNS messages and commands."""

    backend_class = BACKEND


class SecondaryBindUnderTest(BindUnderTest):
    """named as a secondary of a primary that each case feeds."""

    def __init__(self, server: Bind, primary: Primary) -> None:
        super().__init__(server, mode="secondary")
        self.primary = primary

    def new_backend(self, **options: object) -> Backend:
        masters = (Address(host=self.primary.host, port=self.primary.port),)
        options = {**self.server.target_options(), **self.options, **options}
        model = BACKEND.options_model.model_validate(options, context={"masters": masters})
        return Fed(BACKEND("test", model), self.primary)

    def start(self) -> None:
        """Where it was killed before it wrote what it had transferred, it fetches that again.

        By itself some time within the SOA's retry, if it has an older file; so it is told to.
        """
        super().start()
        for name, serial in self.primary.serials.items():
            if self._is_behind(name, serial):
                self.server.rndc("refresh", name)
            wait_until(
                lambda name=name, serial=serial: self._has_or_knows_not(name, serial),  # type: ignore[misc]
                90,
                f"{name} to be fetched again",
            )

    def _is_behind(self, name: Name, serial: int) -> bool:
        message = self.query(name, "SOA")
        return bool(message.answer) and message.answer[0][0].serial != serial

    def _has_or_knows_not(self, name: Name, serial: int) -> bool:
        """REFUSED is for a zone that it hasn't got; SERVFAIL for one that it is still fetching."""
        message = self.query(name, "SOA")
        if message.rcode() == dns.rcode.REFUSED:
            return True
        return bool(message.answer) and message.answer[0][0].serial == serial


@pytest.fixture(scope="module")
def secondary() -> Iterator[SecondaryBindUnderTest]:
    with Bind(max_records_per_type=0) as server, Primary() as primary:
        under_test = SecondaryBindUnderTest(server, primary)
        yield under_test
        under_test.close()


class TestBind9AsASecondary(BackendConformance):
    """What named makes of contents is tested above: here, that it gets them."""

    backend_class = Fed
    capabilities = replace(SECONDARY, pull=False)
    without = frozenset(
        (
            "edit_by_hand",  # a secondary takes no updates
            # What stands beside an alias is the primary's to judge; one that holds this has nothing to give.
            "test_an_alias_beside_other_data_is_never_done_silently",
            "test_a_lost_answer_to_a_plan_converges",  # the answer to "refresh" says only that it will
            # The primary goes on while named is down, and the case uses its serial for something else.
            "test_a_server_killed_while_it_writes_has_done_whole_parts",
            # There are no parts: the zone is transferred. The others take what time there is.
            "test_a_plan_of_10_000_rrsets_goes_in_parts_and_comes_whole",
            "test_a_plan_broken_off_in_the_middle_is_taken_up_again",
        )
    )

    @pytest.fixture
    def server(self, secondary: SecondaryBindUnderTest) -> SecondaryBindUnderTest:
        return secondary


class TestRequestsToBind9AsASecondary(RequestCases):
    backend_class = Fed
    capabilities = TestBind9AsASecondary.capabilities
    without = frozenset(
        {
            "edit_by_hand",  # a secondary takes no updates
        }
    )

    @pytest.fixture
    def server(self, secondary: SecondaryBindUnderTest) -> SecondaryBindUnderTest:
        return secondary


@pytest.fixture(scope="module")
def signing_server() -> Iterator[Bind]:
    with Bind(max_records_per_type=0, statements=POLICY) as server:
        yield server


class TestBind9Signed(BackendConformance):
    """`dnssec-policy` with `inline-signing no`: named signs the zone that is written to."""

    backend_class = BACKEND
    capabilities = SIGNING
    without = TOO_LONG

    @pytest.fixture
    def server(self, signing_server: Bind) -> Iterator[BindUnderTest]:
        under_test = BindUnderTest(signing_server, dnssec_policy="long-ttl")
        yield under_test
        under_test.close()


class TestBind9SignedInline(BackendConformance):
    """`dnssec-policy` with `inline-signing yes`: named signs a copy, with a serial of its own."""

    backend_class = BACKEND
    capabilities = SIGNING_INLINE
    without = TOO_LONG

    @pytest.fixture
    def server(self, signing_server: Bind) -> Iterator[BindUnderTest]:
        under_test = BindUnderTest(signing_server, dnssec_policy="long-ttl", inline_signing=True)
        yield under_test
        under_test.close()
