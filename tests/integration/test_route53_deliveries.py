"""Whole operations onto the stand-in for Route 53, as a worker delivers them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dev.servers import Route53
from dnsworker.operations import Status
from tests.world import World, a_world

_numbers = itertools.count(1)


@pytest.fixture
def zone() -> str:
    return f"d{next(_numbers)}.example.org."


@pytest.fixture
def start(route53: Route53, tmp_path: Path) -> Iterator[Callable[..., World]]:
    with ExitStack() as worlds:

        def start(**options: Any) -> World:
            target = {"name": "r53", "type": "route53", "options": {**route53.target_options(), **options}}
            return worlds.enter_context(a_world(tmp_path, "r53", pool={"targets": [target]}))

        yield start
    route53.behave()


@pytest.fixture
def client(route53: Route53) -> Iterator[Any]:
    client = route53.client()
    yield client
    client.close()


def listed(client: Any, zone: str) -> dict[tuple[str, str], list[str]]:
    """What Route 53 holds, the SOA aside."""
    id = client.list_hosted_zones_by_name(DNSName=zone, MaxItems="1")["HostedZones"][0]["Id"]
    found = client.list_resource_record_sets(HostedZoneId=id)["ResourceRecordSets"]
    return {
        (item["Name"], item["Type"]): [record["Value"] for record in item.get("ResourceRecords", [])]
        for item in found
        if item["Type"] != "SOA"
    }


def by_hand(client: Any, zone: str, action: str, item: dict[str, Any]) -> None:
    id = client.list_hosted_zones_by_name(DNSName=zone, MaxItems="1")["HostedZones"][0]["Id"]
    batch = {"Changes": [{"Action": action, "ResourceRecordSet": item}]}
    client.change_resource_record_sets(HostedZoneId=id, ChangeBatch=batch)


def test_a_zone_lives_and_dies(start: Callable[..., World], client: Any, zone: str) -> None:
    world = start()
    world.create(zone)
    theirs = listed(client, zone)[zone, "NS"]
    assert len(theirs) == 4
    world.end_of(world.put("www", "192.0.2.1", zone=zone))
    world.end_of(world.put("www", "192.0.2.2", zone=zone))
    world.end_of(world.put("*", '"wild"', type="TXT", zone=zone))
    world.succeed("delete_record", zone=zone, name="www", type="A")
    assert listed(client, zone) == {(zone, "NS"): theirs, (f"\\052.{zone}", "TXT"): ['"wild"']}
    world.wait_for_zone("ACTIVE", zone)
    world.succeed("delete_zone", zone=zone)
    found = client.list_hosted_zones_by_name(DNSName=zone)["HostedZones"]
    assert zone not in [each["Name"] for each in found]
    world.create(zone)
    assert len(listed(client, zone)) == 1


def test_apex_ns_of_the_pool_are_written_if_that_is_said(
    start: Callable[..., World], client: Any, zone: str
) -> None:
    start(manage_apex_ns=True).create(zone)
    assert listed(client, zone) == {(zone, "NS"): ["ns1.example.net."]}


def test_an_edit_by_hand_is_repaired_with_the_next_change(
    start: Callable[..., World], client: Any, zone: str
) -> None:
    world = start()
    world.create(zone)
    world.end_of(world.put("www", "192.0.2.1", zone=zone))
    hand = {"Name": f"www.{zone}", "Type": "A", "TTL": 7, "ResourceRecords": [{"Value": "192.0.2.66"}]}
    by_hand(client, zone, "UPSERT", hand)
    assert world.end_of(world.put("www", "192.0.2.2", zone=zone)).status is Status.ACTIVE
    assert listed(client, zone)[f"www.{zone}", "A"] == ["192.0.2.2"]


def test_what_meets_an_alias_is_refused_and_the_rest_arrives(
    start: Callable[..., World], client: Any, zone: str
) -> None:
    world = start()
    world.create(zone)
    target = {
        "HostedZoneId": "Z2FDTNDATAQYW2",
        "DNSName": "d1.cloudfront.net.",
        "EvaluateTargetHealth": False,
    }
    by_hand(client, zone, "CREATE", {"Name": f"cdn.{zone}", "Type": "A", "AliasTarget": target})
    before = world.put("before", "192.0.2.1", zone=zone)
    refused = world.put("cdn", "192.0.2.2", zone=zone)
    after = world.put("after", "192.0.2.3", zone=zone)
    outcome = world.end_of(refused)
    assert outcome.status is Status.ERROR
    assert "alias record" in (outcome.message or "")
    assert world.end_of(before).status is Status.ACTIVE
    assert world.end_of(after).status is Status.ACTIVE
    assert {f"before.{zone}", f"after.{zone}", f"cdn.{zone}"} <= {name for name, _ in listed(client, zone)}


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 400, "code": "Throttling", "message": "Rate exceeded", "times": 2},
        {"status": 400, "code": "PriorRequestNotComplete", "message": "still processing", "times": 2},
        {"status": 500, "code": "InternalFailure", "message": "", "times": 2},
        {"reply": "lose", "action": "ChangeResourceRecordSets"},
        {"reply": "cut", "action": "ChangeResourceRecordSets"},
        {"reply": "lose", "action": "ListResourceRecordSets"},
    ],
    ids=lambda fault: fault.get("code") or f"{fault['reply']}-{fault['action']}",
)
def test_a_fault_delays_a_change_and_nothing_more(
    start: Callable[..., World], route53: Route53, client: Any, zone: str, fault: dict[str, Any]
) -> None:
    world = start()
    world.create(zone)
    operation = world.put("www", "192.0.2.1", zone=zone)
    route53.fail(**fault)
    assert world.end_of(operation).status is Status.ACTIVE
    assert listed(client, zone)[f"www.{zone}", "A"] == ["192.0.2.1"]
    world.wait_for_zone("ACTIVE", zone)


def test_a_poisonous_record_among_many_is_found(
    start: Callable[..., World], route53: Route53, client: Any, zone: str
) -> None:
    """Also where the plan needs several batches, and the first was carried out when the second is refused."""
    world = start()
    world.create(zone)
    texts = [
        world.submit(
            "put_record",
            zone=zone,
            name=f"t{n}",
            type="TXT",
            data=[f'"{n:03d}{"x" * 240}"' for n in range(70)],
        )
        for n in range(3)
    ]
    poison = world.submit(
        "put_record", zone=zone, name="z", type="TXT", data=[" ".join(f'"{"x" * 255}"' for _ in range(16))]
    )
    outcome = world.end_of(poison)
    assert outcome.status is Status.ERROR
    assert "too long" in (outcome.message or "")
    for operation in texts:
        assert world.end_of(operation).status is Status.ACTIVE
    assert len(listed(client, zone)) == 4
