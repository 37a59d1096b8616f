"""The shipped suite against BIND, written to through octodns-bind (RFC 2136 and AXFR)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import dns.message
import dns.name
import dns.opcode
import dns.query
import dns.rcode
import dns.tsig
import dns.update
import pytest

from backends.bind9 import BACKEND as BIND9
from backends.octodns import BACKEND
from dev.servers import Bind
from dev.writes import has_update
from dnsworker.backend import Backend, Options, Receipt
from dnsworker.contents import ZoneContents
from dnsworker.names import Name
from dnsworker.plan import Plan
from dnsworker.records import RRset
from dnsworker.testing import (
    BackendConformance,
    CountingProxy,
    Proxy,
    RequestCases,
    ServerUnderTest,
    dns_requests,
)

pytestmark = pytest.mark.filterwarnings(r"ignore:.*Will be removed in 2\.0:DeprecationWarning")

CLASS = "octodns_bind.Rfc2136Provider"
CAPABILITIES = BACKEND.capabilities_for(
    BACKEND.options_model.model_validate({"class": CLASS, "kwargs": {"host": "192.0.2.53"}})
)
PLACEHOLDER = "placeholder.example.net."


class OnAnOperatorsServer(BACKEND):  # type: ignore[misc, valid-type]
    """The backend, and an operator who makes and removes the zones with the server's own tools."""

    operator: Backend

    def __init__(self, target: str, options: Options, *, timeout_s: float = 5.0) -> None:
        super().__init__(target, options, timeout_s=timeout_s)
        self.operator = self.__class__.operator

    def create_zone(self, zone: ZoneContents) -> Receipt | None:
        if self.read_zone(zone.name) is None:
            ns = RRset(zone.name, "NS", 60, [PLACEHOLDER])
            self.operator.create_zone(ZoneContents.of(zone.name, zone.soa, [ns]))
        self.checkpoint()
        return super().create_zone(zone)

    def delete_zone(self, zone: Name) -> None:
        if self.read_zone(zone) is not None:
            self.operator.delete_zone(zone)


class BindUnderTest(ServerUnderTest):
    def __init__(self, server: Bind) -> None:
        self.server = server
        self.proxy = Proxy(server.address, server.port, loses=has_update)
        self.counter = CountingProxy(server.address, server.port, dns_requests)

    def new_backend(self, **kwargs: Any) -> Backend:
        given = {
            "host": self.server.address,
            "port": self.server.port,
            "key_name": self.server.key_name,
            "key_secret": self.server.key_secret,
            "key_algorithm": "hmac-sha256",
        }
        options = {"class": CLASS, "kwargs": {**given, **kwargs}}
        return OnAnOperatorsServer("test", BACKEND.options_model.model_validate(options))

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
        answer = dns.query.tcp(update, self.server.address, port=self.server.port, timeout=5)
        assert answer.rcode() == dns.rcode.NOERROR

    def wrong_credentials(self) -> Backend:
        return self.new_backend(key_secret=self.wrong_secret)

    def lossy(self) -> Backend:
        return self.new_backend(port=self.proxy.port)

    def counted(self) -> tuple[Backend, Callable[[], int]]:
        """What the operator does goes by other ways."""
        return self.new_backend(port=self.counter.port), lambda: self.counter.count

    def query(self, name: Name, type: str) -> dns.message.Message:
        query = dns.message.make_query(name, type, flags=0)
        return dns.query.tcp(query, self.server.address, port=self.server.port, timeout=5)


@pytest.fixture(scope="module")
def server() -> Iterator[BindUnderTest]:
    """Not the one that other tests share: it is killed and wiped."""
    with Bind() as server:
        OnAnOperatorsServer.operator = BIND9(
            "operator", BIND9.options_model.model_validate(server.target_options())
        )
        under_test = BindUnderTest(server)
        yield under_test
        OnAnOperatorsServer.operator.close()
        under_test.proxy.close()
        under_test.counter.close()


class TestBindThroughOctoDNS(BackendConformance):
    """Zones are an operator's matter; everything in them is octodns-bind's."""

    backend_class = OnAnOperatorsServer
    without = frozenset(
        {
            # octoDNS joins the strings of a text; texts are in tests/integration/test_octodns.py.
            "test_text_is_kept_to_the_octet",
            # octodns-bind knows no DNAME.
            "test_names_below_a_new_dname_go_with_it",
            # The parts' serials aren't kept.
            "test_each_part_of_a_plan_sets_its_own_serial",
            # octodns-bind reads so many names in seconds, not in tenths; a plan in parts is also broken off.
            "test_a_plan_of_10_000_rrsets_goes_in_parts_and_comes_whole",
            # Zones are made and removed by the operator, whose answers aren't lost here.
            "test_a_lost_answer_to_a_deletion_converges",
        }
    )
    # octoDNS writes the flags of a NAPTR in capitals, joins the strings of a TXT, and can't read a LOC of the
    # usual precision.
    refused_types = frozenset({"LOC", "NAPTR", "TXT"})
    max_values = 100  # BIND's own
    capabilities = CAPABILITIES


class TestRequestsToBindThroughOctoDNS(RequestCases):
    """octodns-bind sends by dnspython: it is its own methods that are hooked."""

    backend_class = OnAnOperatorsServer
    capabilities = CAPABILITIES
    large = 1100
