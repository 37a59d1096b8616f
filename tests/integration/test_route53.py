"""The route53 backend against the stand-in: limits, pages, private zones, and records that are not ours."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from backends.route53 import BACKEND
from dev.servers import Route53
from dnsworker.backend import Backend
from dnsworker.contents import ZoneContents
from dnsworker.errors import (
    OutcomeUnknown,
    RecordRejected,
    ServerFailure,
    Unsupported,
    ZoneChanged,
    ZoneMissing,
)
from dnsworker.names import Name
from dnsworker.plan import Plan, RRsetChange, make_plan
from dnsworker.records import SOA, RRset

SOA_1 = SOA(Name("ns1.example.net."), Name("hostmaster.example.net."), 1)
OURS = ["ns1.example.net.", "ns2.example.net."]

_numbers = itertools.count(1)


@pytest.fixture
def new_backend(route53: Route53) -> Iterator[Callable[..., Backend]]:
    made: list[Backend] = []

    def new(**options: object) -> Backend:
        model = BACKEND.options_model.model_validate({**route53.target_options(), **options})
        made.append(BACKEND("test", model))
        return made[-1]

    yield new
    for backend in made:
        backend.close()
    route53.behave()


@pytest.fixture
def backend(new_backend: Callable[..., Backend]) -> Backend:
    return new_backend()


@pytest.fixture
def client(route53: Route53) -> Iterator[Any]:
    """An administrator's."""
    client = route53.client()
    yield client
    client.close()


@pytest.fixture
def name() -> Name:
    return Name(f"r{next(_numbers)}.example.org.")


def contents(name: Name, *rrsets: RRset, serial: int = 1) -> ZoneContents:
    return ZoneContents.of(name, SOA_1.with_serial(serial), [RRset(name, "NS", 60, OURS), *rrsets])


def change(name: Name, *changes: RRsetChange) -> Plan:
    return make_plan(name, SOA_1, SOA_1.with_serial(2), changes)


def a(name: Name, owner: str, *values: str, ttl: int = 60) -> RRset:
    return RRset(f"{owner}.{name}", "A", ttl, list(values or ("192.0.2.1",)))


def held(backend: Backend, name: Name) -> dict[tuple[str, str], RRset]:
    """What the backend sees, apex NS aside."""
    found = backend.read_zone(name)
    assert found is not None
    return {key: rrset for key, rrset in found.rrsets.items() if key != (name, "NS")}


def zone_id(client: Any, name: Name) -> str:
    return str(client.list_hosted_zones_by_name(DNSName=name, MaxItems="1")["HostedZones"][0]["Id"])


def by_hand(client: Any, name: Name, *items: dict[str, Any], action: str = "CREATE") -> None:
    changes = [{"Action": action, "ResourceRecordSet": item} for item in items]
    client.change_resource_record_sets(HostedZoneId=zone_id(client, name), ChangeBatch={"Changes": changes})


def alias(name: Name, owner: str, type: str = "A") -> dict[str, Any]:
    target = {
        "HostedZoneId": "Z2FDTNDATAQYW2",
        "DNSName": "d1.cloudfront.net.",
        "EvaluateTargetHealth": False,
    }
    return {"Name": f"{owner}.{name}", "Type": type, "AliasTarget": target}


def weighted(name: Name, owner: str, identifier: str) -> dict[str, Any]:
    return {
        "Name": f"{owner}.{name}", "Type": "A", "TTL": 60, "SetIdentifier": identifier, "Weight": 10,
        "ResourceRecords": [{"Value": "192.0.2.9"}],
    }  # fmt: skip


# --- limits and pages ---


def test_1500_values_go_in_batches_within_the_limit(route53: Route53, backend: Backend, name: Name) -> None:
    hosts = [a(name, f"h{n}", *(f"10.{n}.0.{value}" for value in range(100))) for n in range(15)]
    backend.create_zone(contents(name, *hosts))
    before = len(route53.requests("ChangeResourceRecordSets"))
    new = [a(name, f"h{n}", *(f"11.{n}.0.{value}" for value in range(100))) for n in range(15)]
    plan = change(name, *(RRsetChange(old, now) for old, now in zip(hosts, new, strict=True)))
    backend.apply(plan)
    batches = route53.requests("ChangeResourceRecordSets")[before:]
    assert [each["status"] for each in batches] == [200, 200, 200]
    assert set(held(backend, name).values()) == set(new)


def test_40000_characters_go_in_batches_within_the_limit(
    route53: Route53, backend: Backend, name: Name
) -> None:
    texts = [RRset(f"t{n}.{name}", "TXT", 60, [f'"{n:03d}{"x" * 247}"']) for n in range(160)]
    backend.create_zone(contents(name))
    before = len(route53.requests("ChangeResourceRecordSets"))
    backend.apply(change(name, *(RRsetChange(None, text) for text in texts)))
    statuses = [each["status"] for each in route53.requests("ChangeResourceRecordSets")[before:]]
    assert statuses == [200, 200]
    assert set(held(backend, name).values()) == set(texts)


def test_an_rrset_too_large_to_be_replaced_at_once_is_removed_first(backend: Backend, name: Name) -> None:
    old = RRset(f"t.{name}", "TXT", 60, [f'"{n:03d}{"x" * 247}"' for n in range(100)])
    new = RRset(f"t.{name}", "TXT", 60, [f'"{n:03d}{"y" * 247}"' for n in range(100)])
    backend.create_zone(contents(name, old))
    backend.apply(change(name, RRsetChange(old, new)))
    assert list(held(backend, name).values()) == [new]


def test_a_zone_is_read_page_by_page(route53: Route53, backend: Backend, name: Name) -> None:
    hosts = [a(name, f"h{n}") for n in range(25)]
    backend.create_zone(contents(name, *hosts, RRset(f"h3.{name}", "TXT", 60, ['"x"'])))
    route53.set(page_size=3)
    before = len(route53.requests("ListResourceRecordSets"))
    assert len(held(backend, name)) == 26
    assert len(route53.requests("ListResourceRecordSets")) - before == 10
    key = (Name(f"h3.{name}"), "TXT")
    assert backend.read_rrsets(name, [key]).keys() == {key}


def test_zones_are_found_beyond_the_first_page(
    route53: Route53, new_backend: Callable[..., Backend], client: Any, name: Name
) -> None:
    """Private ones of the same name come first in the list, or last: it is by id."""
    for number in range(6):
        client.create_hosted_zone(
            Name=name,
            CallerReference=f"{name}{number}",
            VPC={"VPCId": f"vpc-{number}", "VPCRegion": "eu-west-1"},
        )
    route53.set(page_size=2)
    public = new_backend()
    assert public.read_zone(name) is None
    public.create_zone(contents(name, a(name, "public")))
    private = new_backend(private=True, vpc_id="vpc-4", vpc_region="eu-west-1")
    private.create_zone(contents(name, a(name, "private")))
    assert held(new_backend(), name).keys() == {(f"public.{name}", "A")}
    again = new_backend(private=True, vpc_id="vpc-4", vpc_region="eu-west-1")
    assert held(again, name).keys() == {(f"private.{name}", "A")}
    assert len(client.list_hosted_zones_by_name(DNSName=name)["HostedZones"]) == 2, "a page"


def test_a_few_rrsets_of_a_large_zone_are_asked_for_one_by_one(
    route53: Route53, new_backend: Callable[..., Backend], name: Name
) -> None:
    new_backend().create_zone(contents(name, *(a(name, f"h{n}") for n in range(1300))))
    backend = new_backend()
    backend.read_soa(name)
    before = len(route53.requests("ListResourceRecordSets"))
    keys = [(Name(f"h{n}.{name}"), "A") for n in range(3)]
    assert backend.read_rrsets(name, keys).keys() == set(keys)
    assert len(route53.requests("ListResourceRecordSets")) - before == 3
    keys = [(Name(f"h{n}.{name}"), "A") for n in range(100)]
    assert backend.read_rrsets(name, keys).keys() == set(keys)
    assert len(route53.requests("ListResourceRecordSets")) - before == 8, "the whole zone is five pages"


# --- which zone ---


def test_a_private_zone_is_made_in_its_vpc(
    new_backend: Callable[..., Backend], client: Any, name: Name
) -> None:
    backend = new_backend(private=True, vpc_id="vpc-1", vpc_region="eu-west-1")
    backend.create_zone(contents(name, a(name, "www")))
    found = client.get_hosted_zone(Id=zone_id(client, name))
    assert found["HostedZone"]["Config"]["PrivateZone"]
    assert found["VPCs"] == [{"VPCRegion": "eu-west-1", "VPCId": "vpc-1"}]
    assert new_backend().read_zone(name) is None, "the public one of that name isn't there"
    assert new_backend(private=True, vpc_id="vpc-2", vpc_region="eu-west-1").read_zone(name) is None
    with pytest.raises(Unsupported, match="vpc_id"):
        new_backend(private=True).create_zone(contents(Name(f"other.{name}")))


def test_of_several_zones_of_one_name_zone_ids_says_which(
    new_backend: Callable[..., Backend], client: Any, name: Name
) -> None:
    ids = [
        client.create_hosted_zone(Name=name, CallerReference=f"{name}{n}")["HostedZone"]["Id"]
        for n in range(2)
    ]
    with pytest.raises(ServerFailure, match=r"2 hosted zones .* zone_ids"):
        new_backend().read_zone(name)
    backend = new_backend(zone_ids={name: ids[1]})
    backend.create_zone(contents(name, a(name, "www")))
    assert held(backend, name)
    assert not held(new_backend(zone_ids={name: ids[0]}), name)
    with pytest.raises(ServerFailure, match=f"is not the zone other.{name}"):
        new_backend(zone_ids={f"other.{name}": ids[0]}).read_zone(Name(f"other.{name}"))


def test_an_id_in_zone_ids_that_isnt_there_makes_no_second_zone(
    new_backend: Callable[..., Backend], client: Any, name: Name
) -> None:
    backend = new_backend(zone_ids={name: "Z0"})
    assert backend.read_zone(name) is None
    with pytest.raises(Unsupported, match="take it out"):
        backend.create_zone(contents(name))
    assert not [
        zone for zone in client.list_hosted_zones_by_name(DNSName=name)["HostedZones"] if zone["Name"] == name
    ]


def test_a_zone_that_was_deleted_and_made_again_by_hand_is_found(
    backend: Backend, client: Any, name: Name
) -> None:
    backend.create_zone(contents(name))
    client.delete_hosted_zone(Id=zone_id(client, name))
    with pytest.raises(ZoneMissing):
        backend.apply(change(name, RRsetChange(None, a(name, "www"))))
    client.create_hosted_zone(Name=name, CallerReference=f"by hand {name}")
    backend.apply(change(name, RRsetChange(None, a(name, "www"))))
    assert held(backend, name)


def test_a_zone_that_was_exchanged_between_two_requests_is_looked_up_anew(
    backend: Backend, client: Any, name: Name
) -> None:
    backend.create_zone(contents(name))
    client.delete_hosted_zone(Id=zone_id(client, name))
    client.create_hosted_zone(Name=name, CallerReference=f"by hand {name}")
    backend.apply(change(name, RRsetChange(None, a(name, "www"))))
    assert held(backend, name)


def test_a_zone_deleted_by_hand_comes_back_at_the_same_serial(
    new_backend: Callable[..., Backend], route53: Route53, client: Any, name: Name
) -> None:
    """Its caller reference is spent for ever."""
    new_backend().create_zone(contents(name))
    client.delete_hosted_zone(Id=zone_id(client, name))
    model = BACKEND.options_model.model_validate(route53.target_options())
    backend = BACKEND("test", model, timeout_s=0.5)
    backend.create_zone(contents(name, a(name, "www")))
    assert held(backend, name)
    backend.close()


def test_a_creation_whose_answer_was_lost_makes_no_second_zone(
    route53: Route53, backend: Backend, client: Any, name: Name
) -> None:
    route53.fail(action="CreateHostedZone", reply="lose")
    with pytest.raises(OutcomeUnknown):
        backend.create_zone(contents(name))
    backend.create_zone(contents(name, a(name, "www")))
    assert held(backend, name)
    found = client.list_hosted_zones_by_name(DNSName=name)["HostedZones"]
    assert [zone["Name"] for zone in found].count(name) == 1


def test_a_creation_that_isnt_listed_yet_makes_no_second_zone(
    route53: Route53, backend: Backend, client: Any, name: Name
) -> None:
    """Its caller reference tells."""
    route53.fail(action="CreateHostedZone", reply="lose")
    with pytest.raises(OutcomeUnknown):
        backend.create_zone(contents(name))
    nothing = "<R><HostedZones/><IsTruncated>false</IsTruncated><MaxItems>100</MaxItems></R>"
    route53.fail(200, action="ListHostedZonesByName", body=nothing)
    backend.create_zone(contents(name, a(name, "www")))
    assert held(backend, name)
    found = client.list_hosted_zones_by_name(DNSName=name)["HostedZones"]
    assert [zone["Name"] for zone in found].count(name) == 1


# --- batches are fences ---


def test_a_stale_batch_is_refused_as_a_whole(backend: Backend, client: Any, name: Name) -> None:
    backend.create_zone(contents(name, a(name, "www"), a(name, "other")))
    moved = {"Name": f"www.{name}", "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": "192.0.2.66"}]}
    by_hand(client, name, moved, action="UPSERT")
    stale = change(
        name,
        RRsetChange(a(name, "www"), a(name, "www", "192.0.2.2")),
        RRsetChange(a(name, "other"), None),
        RRsetChange(None, a(name, "new")),
    )
    with pytest.raises(ZoneChanged, match="do not match the current values"):
        backend.apply(stale)
    assert set(held(backend, name).values()) == {a(name, "www", "192.0.2.66"), a(name, "other")}


def test_a_batch_that_was_carried_out_already_is_done(route53: Route53, backend: Backend, name: Name) -> None:
    backend.create_zone(contents(name, a(name, "www"), a(name, "old")))
    plan = change(
        name,
        RRsetChange(a(name, "www"), a(name, "www", "192.0.2.2")),
        RRsetChange(a(name, "old"), None),
        RRsetChange(None, a(name, "new")),
    )
    route53.fail(action="ChangeResourceRecordSets", reply="lose")
    with pytest.raises(OutcomeUnknown):
        backend.apply(plan)
    backend.apply(plan)
    assert set(held(backend, name).values()) == {a(name, "www", "192.0.2.2"), a(name, "new")}


def test_what_is_left_of_a_batch_that_was_half_done_elsewhere_is_sent(backend: Backend, name: Name) -> None:
    """A plan in parts, of which the first arrived, may come again whole."""
    backend.create_zone(contents(name))
    first, second = RRsetChange(None, a(name, "first")), RRsetChange(None, a(name, "second"))
    backend.apply(change(name, first))
    backend.apply(change(name, first, second))
    assert len(held(backend, name)) == 2


def test_what_somebody_spelled_differently_can_be_replaced(backend: Backend, client: Any, name: Name) -> None:
    """Route 53 deletes an RRset only in the words in which it has it."""
    backend.create_zone(contents(name))
    theirs = {
        "Name": f"six.{name}", "Type": "AAAA", "TTL": 60,
        "ResourceRecords": [{"Value": "2001:0DB8:0000::0001"}],
    }  # fmt: skip
    by_hand(client, name, theirs)
    found = RRset(f"six.{name}", "AAAA", 60, ["2001:db8::1"])
    plan = change(name, RRsetChange(found, RRset(f"six.{name}", "AAAA", 60, ["2001:db8::2"])))
    backend.apply(plan)
    assert [rrset.data for rrset in held(backend, name).values()] == [("2001:db8::2",)]
    backend.apply(change(name, RRsetChange(next(iter(held(backend, name).values())), None)))
    assert not held(backend, name)


def test_what_somebody_spelled_differently_is_fenced_too(backend: Backend, client: Any, name: Name) -> None:
    ours = RRset(f"six.{name}", "AAAA", 60, ["2001:db8::1"])
    backend.create_zone(contents(name, ours))
    theirs = {
        "Name": f"six.{name}", "Type": "AAAA", "TTL": 60,
        "ResourceRecords": [{"Value": "2001:0DB8:0000::0066"}],
    }  # fmt: skip
    by_hand(client, name, theirs, action="UPSERT")
    backend.read_zone(name)
    with pytest.raises(ZoneChanged):
        backend.apply(change(name, RRsetChange(ours, None)))
    assert [rrset.data for rrset in held(backend, name).values()] == [("2001:db8::66",)]


def test_a_refused_record_is_named_and_nothing_is_done(backend: Backend, name: Name) -> None:
    backend.create_zone(contents(name))
    long = RRset(f"long.{name}", "TXT", 60, [" ".join(f'"{"x" * 255}"' for _ in range(16))])
    plan = change(name, RRsetChange(None, a(name, "www")), RRsetChange(None, long))
    with pytest.raises(RecordRejected, match="too long") as caught:
        backend.apply(plan)
    assert caught.value.rrset == long.key
    assert not held(backend, name)


def test_the_change_is_followed_until_it_is_in_sync(route53: Route53, backend: Backend, name: Name) -> None:
    route53.set(pending_s=3600)
    created = backend.create_zone(contents(name))
    assert created is not None
    assert created.change_id
    receipt = backend.apply(change(name, RRsetChange(None, a(name, "www"))))
    assert receipt.change_id
    assert receipt.change_id != created.change_id
    assert not backend.has_arrived(name, receipt.change_id)
    route53.set(pending_s=0)
    assert backend.has_arrived(name, receipt.change_id)
    assert backend.has_arrived(name, created.change_id)
    assert backend.has_arrived(name, "C0"), "it remembers changes for a while only"


# --- what is not ours ---


def test_aliases_and_routing_policies_are_left_alone(backend: Backend, client: Any, name: Name) -> None:
    backend.create_zone(contents(name, a(name, "www")))
    by_hand(client, name, alias(name, "cdn"), weighted(name, "w", "one"), weighted(name, "w", "two"))
    assert held(backend, name).keys() == {(f"www.{name}", "A")}
    assert backend.read_rrsets(name, [(Name(f"cdn.{name}"), "A"), (Name(f"w.{name}"), "A")]) == {}
    backend.create_zone(contents(name, a(name, "new"), serial=2))
    listed = client.list_resource_record_sets(HostedZoneId=zone_id(client, name))["ResourceRecordSets"]
    assert len([item for item in listed if "AliasTarget" in item or "SetIdentifier" in item]) == 3


@pytest.mark.parametrize(("kind", "words"), [("alias", "an alias record"), ("weighted", "a routing policy")])
def test_an_rrset_that_meets_one_is_refused_with_the_reason(
    backend: Backend, client: Any, name: Name, kind: str, words: str
) -> None:
    backend.create_zone(contents(name))
    by_hand(client, name, alias(name, "www") if kind == "alias" else weighted(name, "www", "one"))
    plan = change(name, RRsetChange(None, a(name, "www")), RRsetChange(None, a(name, "other")))
    with pytest.raises(RecordRejected, match=words) as caught:
        backend.apply(plan)
    assert caught.value.rrset == (f"www.{name}", "A")
    assert not held(backend, name)
    cname = RRset(f"www.{name}", "CNAME", 60, ["elsewhere.example.net."])
    with pytest.raises(RecordRejected, match="conflicts"):
        backend.apply(change(name, RRsetChange(None, cname)))


def test_a_removal_where_an_alias_is_now_is_done(backend: Backend, client: Any, name: Name) -> None:
    backend.create_zone(contents(name, a(name, "www")))
    by_hand(client, name, {"Name": f"www.{name}", "Type": "A", "TTL": 60,
                           "ResourceRecords": [{"Value": "192.0.2.1"}]}, action="DELETE")  # fmt: skip
    by_hand(client, name, alias(name, "www"))
    backend.apply(change(name, RRsetChange(a(name, "www"), None)))
    assert zone_id(client, name)


def test_a_zone_with_an_alias_is_deleted_only_if_that_is_meant(
    new_backend: Callable[..., Backend], client: Any, name: Name
) -> None:
    backend = new_backend()
    backend.create_zone(contents(name, a(name, "www")))
    by_hand(client, name, alias(name, "cdn"))
    with pytest.raises(Unsupported, match=r"1 alias records .*cdn.* delete_foreign_records"):
        backend.delete_zone(name)
    assert held(backend, name)
    new_backend(delete_foreign_records=True).delete_zone(name)
    assert backend.read_zone(name) is None


def test_the_apex_ns_stay_as_route_53_made_them(backend: Backend, name: Name) -> None:
    assert not backend.capabilities.apex_ns
    backend.create_zone(contents(name))
    key = (name, "NS")
    theirs = backend.read_rrsets(name, [key])[key]
    assert len(theirs.data) == 4
    backend.apply(change(name, RRsetChange(RRset(name, "NS", 60, OURS), RRset(name, "NS", 9, OURS[:1]))))
    assert backend.read_rrsets(name, [key])[key] == theirs


def test_the_apex_ns_are_ours_if_that_is_said(new_backend: Callable[..., Backend], name: Name) -> None:
    backend = new_backend(manage_apex_ns=True)
    assert backend.capabilities.apex_ns
    backend.create_zone(contents(name))
    key, ours = (name, "NS"), RRset(name, "NS", 60, OURS)
    assert backend.read_rrsets(name, [key])[key] == ours
    other = RRset(name, "NS", 9, OURS[:1])
    backend.apply(change(name, RRsetChange(ours, other), RRsetChange(None, a(name, "www"))))
    assert backend.read_rrsets(name, [key])[key] == other
    with pytest.raises(RecordRejected, match="keeps the apex NS"):
        backend.apply(change(name, RRsetChange(other, None)))
