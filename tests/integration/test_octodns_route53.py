"""octodns-route53 as a target, against moto's Route 53 as a process of its own."""

from __future__ import annotations

import functools
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any, ClassVar

import botocore.loaders
import botocore.session
import pytest

from backends.octodns import BACKEND
from dev.servers.server import Server
from dnsworker.backend import Backend
from dnsworker.contents import ZoneContents
from dnsworker.errors import AuthenticationFailed, RecordRejected, Unreachable, ZoneMissing
from dnsworker.names import Name
from dnsworker.plan import Plan, RRsetChange, make_plan
from dnsworker.records import SOA, RRset
from dnsworker.testing import CountingProxy, http_requests
from dnsworker.testing.lab import many
from dnsworker.testing.request_cases import Account
from tests.integration.test_powerdns_failures import StubApi
from tests.octodns_providers import ROUTE53, Route53OnMoto

ZONE = Name("example.org.")
SOA_1 = SOA(Name("ns1.example.net."), Name("hostmaster.example.net."), 1)
NS = RRset(ZONE, "NS", 3600, ["ns1.example.net.", "ns2.example.net."])


class Moto(Server):
    """AWS, as far as moto plays it, without accounts: any key will do."""

    package: ClassVar[str] = "moto"
    port: int

    @property
    def url(self) -> str:
        return f"http://{self.address}:{self.port}"

    def reset(self) -> None:
        urllib.request.urlopen(f"{self.url}/moto-api/reset", data=b"", timeout=30).close()

    def _claim_ports(self) -> None:
        self.port = self._port()

    def _configure(self) -> None:
        """It has no files."""

    def _command(self) -> tuple[list[str], dict[str, str]]:
        return [sys.executable, "-m", "moto.server", "-H", self.address, "-p", str(self.port)], {}

    def _answers(self) -> bool:
        with urllib.request.urlopen(f"{self.url}/moto-api/", timeout=5) as answer:
            return bool(answer.status == 200)


@pytest.fixture(scope="module")
def moto() -> Iterator[Moto]:
    with Moto() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_ROUTE_53", server.url)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")  # which AWS' own endpoint doesn't ask for
        # octodns-route53 has a new botocore session for each provider, which reads all of AWS anew: that
        # was most of the time of these tests.
        patch.setattr(botocore.session, "create_loader", functools.cache(botocore.loaders.create_loader))
        yield server


@pytest.fixture
def backend(moto: Moto) -> Backend:
    moto.reset()
    return on_moto()


def on_moto(**kwargs: Any) -> Backend:
    given = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "the-secret-access-key", **kwargs}
    options = {"class": ROUTE53, "kwargs": given, "request_timeout_s": 10}
    return BACKEND("test", BACKEND.options_model.model_validate(options), timeout_s=5)


def rrset(owner: str, type_: str, *data: str, ttl: int = 300) -> RRset:
    return RRset(f"{owner}.{ZONE}", type_, ttl, data)


def plan(*changes: tuple[RRset | None, RRset | None]) -> Plan:
    return make_plan(ZONE, SOA_1, SOA_1.with_serial(2), [RRsetChange(*change) for change in changes])


def contents(*rrsets: RRset) -> ZoneContents:
    return ZoneContents.of(ZONE, SOA_1, [NS, *rrsets])


def read(backend: Backend) -> dict[Any, RRset]:
    found = backend.read_zone(ZONE)
    assert found is not None
    return dict(found.rrsets)


def test_a_zone_is_made_changed_and_deleted(backend: Backend) -> None:
    assert backend.read_zone(ZONE) is None
    with pytest.raises(ZoneMissing):
        backend.apply(plan((None, rrset("www", "A", "192.0.2.1"))))
    assert backend.read_zone(ZONE) is None, "a change makes no zone"
    www, mail = rrset("www", "A", "192.0.2.1", "192.0.2.2"), rrset("mail", "MX", "10 mx.example.net.")
    zone = contents(www, mail)
    backend.create_zone(zone)
    assert read(backend) == zone.rrsets, "its own NS records gave way to ours"
    new, alias = rrset("www", "A", "192.0.2.3", ttl=60), rrset("mail", "CNAME", "www.example.net.")
    backend.apply(plan((www, new), (mail, None), (None, alias)))
    assert read(backend) == contents(new, alias).rrsets
    backend.delete_zone(ZONE)
    assert backend.read_zone(ZONE) is None
    backend.delete_zone(ZONE)


def test_creating_what_is_there_brings_it_to_the_new_contents(backend: Backend) -> None:
    backend.create_zone(contents(rrset("old", "A", "192.0.2.1"), rrset("www", "A", "192.0.2.1")))
    zone = contents(rrset("www", "CNAME", "old.example.net."))
    backend.create_zone(zone)
    assert read(backend) == zone.rrsets
    assert backend.create_zone(zone) is None, "nothing was left to send"


def test_a_plan_may_be_repeated(backend: Backend) -> None:
    gone = rrset("gone", "A", "192.0.2.1")
    backend.create_zone(contents(gone))
    change = plan((gone, None), (None, rrset("www", "A", "192.0.2.1")), (None, rrset("x", "TXT", '"x"')))
    backend.apply(change)
    before = read(backend)
    backend.apply(change)
    assert read(backend) == before


@pytest.mark.parametrize(
    "text",
    [
        '"plain"', '"v=DKIM1; k=rsa; p=MIIB"', f'"{"k" * 255}" "{"l" * 120}"', '"say \\"hello\\""',
        '""',
    ],
)  # fmt: skip
def test_texts_are_kept_changed_and_deleted(backend: Backend, text: str) -> None:
    wanted = rrset("text", "TXT", text)
    backend.create_zone(contents())
    backend.apply(plan((None, wanted)))
    assert read(backend) == contents(wanted).rrsets
    other = rrset("text", "TXT", text, '"another"')
    backend.apply(plan((wanted, other)))
    assert read(backend) == contents(other).rrsets
    backend.apply(plan((other, None)))
    assert read(backend) == contents().rrsets


def test_what_octodns_route53_would_spell_wrongly_is_refused(backend: Backend) -> None:
    backend.create_zone(contents())
    for text in ('"two" "strings"', '"\\"all of it\\""', '"back\\\\slash"', '"\\195\\164"', '"tab\\009"'):
        wanted = rrset("text", "TXT", text)
        with pytest.raises(RecordRejected) as caught:
            backend.apply(plan((None, wanted)))
        assert caught.value.rrset == wanted.key
    assert read(backend) == contents().rrsets


def test_the_change_id_is_caught_and_followed(backend: Backend) -> None:
    receipt = backend.create_zone(contents(rrset("www", "A", "192.0.2.1")))
    assert receipt is not None
    assert receipt.change_id is not None
    assert receipt.change_id.startswith("/change/")
    assert backend.has_arrived(ZONE, receipt.change_id)
    applied = backend.apply(plan((None, rrset("more", "A", "192.0.2.1"))))
    assert applied.change_id is not None
    assert backend.apply(plan()).change_id is None, "nothing was sent"


def test_an_alias_of_route_53s_own_stays(backend: Backend) -> None:
    backend.create_zone(contents(rrset("www", "A", "192.0.2.1")))
    client = Route53OnMoto("by-hand", access_key_id="x", secret_access_key="y")._conn
    (hosted,) = client.list_hosted_zones()["HostedZones"]
    alias = {"HostedZoneId": hosted["Id"].rpartition("/")[2], "DNSName": f"www.{ZONE}"}
    record = {
        "Name": f"alias.{ZONE}",
        "Type": "A",
        "AliasTarget": {**alias, "EvaluateTargetHealth": False},
    }
    changes: Any = {"Changes": [{"Action": "CREATE", "ResourceRecordSet": record}]}
    client.change_resource_record_sets(HostedZoneId=hosted["Id"], ChangeBatch=changes)
    backend.create_zone(contents(rrset("new", "A", "192.0.2.2")))
    assert read(backend) == contents(rrset("new", "A", "192.0.2.2")).rrsets, "it is invisible"
    sets = client.list_resource_record_sets(HostedZoneId=hosted["Id"])["ResourceRecordSets"]
    assert [each["Name"] for each in sets if "AliasTarget" in each] == [f"alias.{ZONE}"]
    client.close()


def test_more_changes_than_a_batch_of_route_53_holds(backend: Backend) -> None:
    """With updates, which Route 53 counts twice."""
    many = [rrset(f"h{number}", "A", "192.0.2.1") for number in range(600)]
    zone = contents(*many)
    backend.create_zone(zone)
    assert read(backend) == zone.rrsets


def test_no_credentials_are_named(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, tmp_path: pytest.TempPathFactory
) -> None:
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, f"{tmp_path}/none")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    stranger = on_moto(access_key_id=None, secret_access_key=None)
    with pytest.raises(AuthenticationFailed, match="NoCredentialsError"):
        stranger.read_zone(ZONE)


def test_an_endpoint_that_is_gone_is_unreachable(
    backend: Backend, moto: Moto, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.create_zone(contents())
    monkeypatch.setenv("AWS_ENDPOINT_URL_ROUTE_53", "http://127.0.0.1:9")
    for call in (
        lambda: backend.read_zone(ZONE),
        lambda: backend.apply(plan((None, rrset("www", "A", "192.0.2.1")))),
        lambda: backend.delete_zone(ZONE),
    ):
        with pytest.raises(Unreachable):
            call()
    assert not backend.check().ok


def test_a_silent_endpoint_is_bounded(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """botocore would wait a minute, five times."""
    silent = StubApi()

    def say_nothing(handler: Any) -> None:
        silent.released.wait(15)
        handler.close_connection = True

    silent.answers["GET"] = say_nothing
    monkeypatch.setenv("AWS_ENDPOINT_URL_ROUTE_53", silent.url)
    options = {"class": ROUTE53, "kwargs": {"access_key_id": "x", "secret_access_key": "y"}}
    model = BACKEND.options_model.model_validate({**options, "request_timeout_s": 0.3})
    try:
        with pytest.raises(Unreachable, match="Read timeout"):
            BACKEND("test", model).read_zone(ZONE)
        assert len(silent.seen) == 1, "it was tried once"
    finally:
        silent.close()


def test_every_request_is_announced(moto: Moto, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    zone = ZoneContents.of(ZONE, SOA_1, [NS, *many(ZONE, 30)])
    with CountingProxy(moto.address, moto.port, http_requests) as counter:
        monkeypatch.setenv("AWS_ENDPOINT_URL_ROUTE_53", f"http://{counter.host}:{counter.port}")
        account = Account(on_moto(), lambda: counter.count)
        account.call("read_zone", ZONE)
        account.call("create_zone", zone)
        account.call("create_zone", zone)
        account.call("apply", plan((None, rrset("www", "A", "192.0.2.1"))))
        account.call("read_rrsets", ZONE, [(f"www.{ZONE}", "A")])
        account.call("check")
        account.call("delete_zone", ZONE)
        account.call("delete_zone", ZONE)
        assert backend.read_zone(ZONE) is None
    assert account.wrong == []
    assert account.made > 10
