"""The shipped suite against Route 53, or rather a stand-in that is as strict: dev/servers/route53.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from backends.route53 import BACKEND, batches
from dev.servers import Route53
from dev.writes import is_http_write
from dnsworker.backend import Backend
from dnsworker.plan import Plan
from dnsworker.testing import BackendConformance, Lab, Proxy, RequestCases, ServerUnderTest
from dnsworker.testing.request_cases import Account


class Route53UnderTest(ServerUnderTest):
    def __init__(self, server: Route53) -> None:
        self.server = server
        self.proxy = Proxy(server.address, server.port, loses=is_http_write)

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
        client = self.server.client()
        found = client.list_hosted_zones_by_name(DNSName=plan.zone, MaxItems="1")
        id = found["HostedZones"][0]["Id"]
        changes = batches.to_api(plan.changes, plan.zone, {})
        client.change_resource_record_sets(HostedZoneId=id, ChangeBatch={"Changes": changes})
        client.close()

    def wrong_credentials(self) -> Backend:
        return self.new_backend(secret_access_key=self.wrong_secret)

    def lossy(self) -> Backend:
        return self.new_backend(endpoint_url=f"http://{self.proxy.host}:{self.proxy.port}")

    def counted(self) -> tuple[Backend, Callable[[], int]]:
        """The stand-in keeps a list: retries of boto3's own would be in it."""
        return self.new_backend(), lambda: len(self.server.requests())


@pytest.fixture(scope="module")
def server() -> Iterator[Route53UnderTest]:
    with Route53() as server:
        under_test = Route53UnderTest(server)
        yield under_test
        under_test.proxy.close()


class TestRoute53(BackendConformance):
    backend_class = BACKEND
    without = frozenset(
        {
            # An API, and no nameserver behind it.
            "query",
            # Route 53 has no DNAME.
            "test_names_below_a_new_dname_go_with_it",
        }
    )
    #: A quota of Route 53's that can't be raised.
    max_values = 400


class TestRequestsToRoute53(RequestCases):
    backend_class = BACKEND
    without = frozenset(
        {
            "query",  # an API, and no nameserver behind it
        }
    )
    large = 1100

    @pytest.mark.parametrize("fault", [{"status": 500}, {"status": 429}, {"reply": "lose"}, {"reply": "cut"}])
    def test_nothing_is_sent_twice_behind_our_back(
        self, lab: Lab, account: Account, server: Route53UnderTest, fault: dict[str, Any]
    ) -> None:
        name = lab.name()
        lab.backend.create_zone(lab.zone(name=name))
        for method, action in (("read_zone", "ListResourceRecordSets"), ("delete_zone", "DeleteHostedZone")):
            server.server.fail(action=action, **fault)
            account.call(method, name)
        lab.backend.delete_zone(name)
