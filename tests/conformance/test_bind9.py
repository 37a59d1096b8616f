"""The shipped suite against BIND 9."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.query
import dns.rdatatype
import dns.tsig
import dns.update
import pytest

from backends.bind9 import BACKEND
from dev.servers import Bind
from dnsworker.backend import Backend
from dnsworker.names import Name
from dnsworker.plan import Plan
from dnsworker.testing import (
    BackendConformance,
    CountingProxy,
    Proxy,
    RequestCases,
    ServerUnderTest,
    dns_requests,
    rndc_requests,
)
from dnsworker.testing.contents_cases import ContentsCases


class BindUnderTest(ServerUnderTest):
    def __init__(self, server: Bind) -> None:
        self.server = server
        self.dns_proxy = Proxy(server.address, server.port, loses=_has_update)
        self.rndc_proxy = Proxy(server.address, server.rndc_port, loses=_has_command)
        self.dns_counter = CountingProxy(server.address, server.port, dns_requests)
        self.rndc_counter = CountingProxy(server.address, server.rndc_port, rndc_requests)

    def new_backend(self, **options: object) -> Backend:
        model = BACKEND.options_model.model_validate({**self.server.target_options(), **options})
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


def _has_update(request: bytes) -> bool:
    """Over TCP: two bytes of length, two of id, then the flags with the opcode."""
    return len(request) > 4 and (request[4] >> 3) & 15 == dns.opcode.UPDATE


def _has_command(request: bytes) -> bool:
    """A command that changes something, after the `null` that fetches a nonce."""
    return any(word in request for word in (b"addzone", b"modzone", b"delzone"))


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
