"""Changes on real servers: in order however fast they come, all or nothing, and latest goal wins."""

from __future__ import annotations

import dns.rdatatype
import pytest

from dev.model import Model, steps
from dev.stack import Stack
from dnsworker import Change, Client, OperationFailed
from dnsworker.client.operation import Operation
from dnsworker.operations import Outcome, Status
from tests.acceptance.comparison import (
    answers,
    ask,
    axfr,
    serial,
    serves,
    texts,
    wait_for,
)
from tests.acceptance.conftest import NewZone

EMAIL = "hostmaster@example.org"


@pytest.mark.parametrize("seed", [1, 2])
def test_200_operations_behind_a_pending_creation_end_as_if_run_one_by_one(
    stack: Stack, client: Client, names: NewZone, seed: int
) -> None:
    zone, model = names(), Model()
    creation = client.create_zone(zone, email=EMAIL)
    submitted = [(step, step.submit(client, zone), model.run(step)) for step in steps(200, seed)]
    assert creation.wait(60).status is Status.ACTIVE
    ended = [_end(operation) for _, operation, _ in submitted]
    assert [one.code for one in ended] == [refusal for _, _, refusal in submitted]
    serials = [one.serial for one in ended if one.serial is not None]
    assert serials == sorted(serials)
    both = (stack.bind, stack.powerdns)
    wait_for(lambda: all(serial(server, zone) >= serials[-1] for server in both), "the last serial")
    for server in both:
        found = {
            owner.removesuffix(f".{zone}"): (".".join(map(str, data[0])), ttl)
            for (owner, type_), (ttl, data) in (axfr(server, zone) or {}).items()
            if type_ == "A"
        }
        assert found == model.rrsets


def test_a_zone_deleted_while_its_creation_is_pending_is_nowhere(
    stack: Stack, client: Client, names: NewZone
) -> None:
    zone = names()
    operations = [
        client.create_zone(zone, email=EMAIL),
        client.put_record(zone, "www", "A", ["192.0.2.1"]),
        client.delete_zone(zone),
    ]
    for operation in operations:
        assert operation.wait(60).status.has_succeeded
    assert not serves(stack.bind, zone)
    assert not serves(stack.powerdns, zone)


def test_updates_during_a_creation_are_part_of_the_zone(stack: Stack, client: Client, names: NewZone) -> None:
    zone = names()
    client.create_zone(zone, email=EMAIL)
    client.create_record(zone, "www", "A", ["192.0.2.1"])
    client.update_zone(zone, ttl=60, email="other@example.org")
    client.create_record(zone, "late", "A", ["192.0.2.2"])
    client.update_record(zone, "www", "A", ["192.0.2.3"]).wait(60)
    for server in (stack.bind, stack.powerdns):
        assert texts(server, f"www.{zone}", "A") == ["192.0.2.3"]
        assert ask(server, f"late.{zone}", "A").answer[0].ttl == 60
        assert "other.example.org." in ask(server, zone, "SOA").answer[0].to_text()


def test_a_deleted_zone_that_is_created_again_has_a_higher_serial(
    stack: Stack, client: Client, zone: str
) -> None:
    client.put_record(zone, "old", "A", ["192.0.2.1"]).wait(60)
    before = serial(stack.bind, zone)
    client.delete_zone(zone)
    client.create_zone(zone, email=EMAIL)
    client.put_record(zone, "new", "A", ["192.0.2.2"]).wait(60)
    for server in (stack.bind, stack.powerdns):
        assert serial(server, zone) > before
        assert texts(server, f"old.{zone}", "A") == []
        assert texts(server, f"new.{zone}", "A") == ["192.0.2.2"]


def test_several_rrsets_take_effect_together_or_not_at_all(stack: Stack, client: Client, zone: str) -> None:
    client.put_record(zone, "there", "A", ["192.0.2.1"]).wait(60)
    before = serial(stack.bind, zone)
    refused = client.change_zone(
        zone,
        [
            Change.put("a", "A", ["192.0.2.2"]),
            Change.create("there", "A", ["192.0.2.3"]),
            Change.put("b", "A", ["192.0.2.4"]),
        ],
    )
    with pytest.raises(OperationFailed, match="exists already") as failed:
        refused.wait(60)
    assert failed.value.code == "RecordExists"
    for server in (stack.bind, stack.powerdns):
        assert serial(server, zone) == before
        assert texts(server, f"a.{zone}", "A") == texts(server, f"b.{zone}", "A") == []
    done = client.change_zone(
        zone,
        [
            Change.put("a", "A", ["192.0.2.2"]),
            Change.delete("there", "A"),
            Change.put("there", "CNAME", ["a." + zone]),
            Change.create("b", "TXT", ['"several words"']),
        ],
    ).wait(60)
    for server in (stack.bind, stack.powerdns):
        assert serial(server, zone) == done.serial, "one change, one serial"
        assert answers(server, f"there.{zone}", "CNAME")
        assert texts(server, f"a.{zone}", "A") == ["192.0.2.2"]
        assert answers(server, f"b.{zone}", "TXT")


def test_what_one_server_refuses_is_taken_back_everywhere_and_nothing_else(
    stack: Stack, client: Client, zone: str
) -> None:
    """BIND takes 100 values in an RRset, PowerDNS any number; the pool's threshold is all of them."""
    too_many = [f"192.0.2.{number}" for number in range(1, 151)]
    before = client.put_record(zone, "before", "A", ["192.0.2.1"])
    refused = client.change_zone(
        zone, [Change.put("large", "A", too_many), Change.put("beside", "A", ["192.0.2.2"])]
    )
    after = client.put_record(zone, "after", "A", ["192.0.2.3"])
    with pytest.raises(OperationFailed) as failed:
        refused.wait(40)
    assert failed.value.code == "RecordRejected"
    assert "bind" in str(failed.value)
    assert before.wait(60).status.has_succeeded
    assert after.wait(60).status.has_succeeded
    both = (stack.bind, stack.powerdns)
    wait_for(
        lambda: not any(texts(server, f"beside.{zone}", "A") for server in both), "the change taken back"
    )
    for server in both:
        assert texts(server, f"large.{zone}", "A") == []
        assert texts(server, f"before.{zone}", "A") == ["192.0.2.1"]
        assert texts(server, f"after.{zone}", "A") == ["192.0.2.3"]


def test_an_imported_zone_is_served_as_it_was_written(stack: Stack, client: Client, names: NewZone) -> None:
    zone = names()
    text = "$TTL 300\n@ SOA ns.example.net. admin.example.net. 7 1200 180 1209600 120\n" + "".join(
        f'host{number} A 192.0.2.{number % 250 + 1}\nhost{number} TXT "number {number}"\n'
        for number in range(500)
    )
    client.import_zone(zone, text=text).wait(60)
    for server in (stack.bind, stack.powerdns):
        assert texts(server, f"host499.{zone}", "A") == ["192.0.2.250"]
        assert len(axfr(server, zone) or ()) == 1002


def test_no_step_of_a_change_waits_for_the_sweep(stack: Stack, client: Client, zone: str) -> None:
    assert stack.beat is not None
    stack.beat.stop()
    try:
        for number in range(9):
            client.put_record(zone, f"host{number}", "A", ["192.0.2.1"]).wait(60)
    finally:
        stack.beat.start()


def test_wildcards_delegations_and_names_between_are_judged_right(
    stack: Stack, client: Client, zone: str
) -> None:
    """Verification expects the zone's answer, not the changed RRset."""
    client.put_record(zone, "*", "TXT", ['"wild"'])
    client.put_record(zone, "a.b.c", "A", ["192.0.2.1"])
    client.put_record(zone, "child", "NS", ["ns.child." + zone])
    client.put_record(zone, "ns.child", "A", ["192.0.2.53"]).wait(60)
    client.delete_record(zone, "a.b.c", "A").wait(60)
    for server in (stack.bind, stack.powerdns):
        assert texts(server, f"a.b.c.{zone}", "TXT") == ['"wild"']
        assert ask(server, f"x.child.{zone}", "A").authority[0].rdtype == dns.rdatatype.NS


def _end(operation: Operation) -> Outcome:
    """The outcome, whether success or failure."""
    try:
        return operation.wait(60)
    except OperationFailed as exc:
        outcome: Outcome = exc.outcome
        return outcome
