"""Targets that can't add or remove zones: an operator adds them, and they are taken up and given up."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from dnsworker.contents import ZoneContents
from dnsworker.errors import OutcomeUnknown, RecordRejected
from dnsworker.names import Name
from dnsworker.operations import Status
from dnsworker.records import SOA, RRset
from tests.stubserver import StubNameserver, showing
from tests.world import MemoryBackend, World, a_world

ZONE = Name("example.org.")
TARGET = {"name": "one", "type": "memory", "options": {"can": {"creates_zones": False}}}
POOL: dict[str, Any] = {"targets": [TARGET]}
WWW = ("www.example.org.", "A")
BAD = "192.0.2.66"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path, "one", pool=POOL) as world:
        yield world


def added(*rrsets: RRset, serial: int = 7, ns: str = "ns.elsewhere.net.") -> ZoneContents:
    soa = SOA(Name("ns.elsewhere.net."), Name("root.elsewhere.net."), serial)
    return ZoneContents.of(ZONE, soa, [RRset(ZONE, "NS", 60, [ns]), *rrsets])


def create(world: World) -> str:
    return world.submit("create_zone", email="hostmaster@example.net")


def test_a_zone_that_is_not_there_is_asked_for_and_taken_up_when_it_comes(world: World) -> None:
    creation, change = create(world), world.put("www", "192.0.2.1")
    world.until(
        lambda: "add example.org. there" in (world.zone()["reason"] or ""), "nobody is asked to add it"
    )
    assert world.row("SELECT state FROM delivery").state == "never", "what comes may be somebody else's"
    assert world.show(creation).status is Status.ACCEPTED
    assert "create" not in world.servers["one"].requests
    world.servers["one"].show(added())
    assert world.end_of(creation).status.has_succeeded
    assert world.end_of(change).status is Status.ACTIVE
    world.wait_for_zone("ACTIVE")
    assert world.served("one") == {WWW: ("192.0.2.1",)}
    held = world.servers["one"].zones[ZONE]
    assert held.rrsets[ZONE, "NS"].data == ("ns1.example.net.",)


@pytest.mark.parametrize("serial", [7, 2_026_112_501, 4_294_967_290])
def test_a_zone_with_nothing_in_it_is_taken_up_and_its_serial_rises(world: World, serial: int) -> None:
    world.servers["one"].show(added(serial=serial))
    assert world.end_of(create(world)).status is Status.ACTIVE
    shown = world.servers["one"].serials[ZONE]
    assert all((b - a) % 2**32 < 2**31 for a, b in itertools.pairwise(shown))
    assert shown[-1] == world.zone()["serial"]


def test_the_addresses_of_its_nameservers_dont_make_a_zone_somebody_elses(world: World) -> None:
    glue = RRset("ns.example.org.", "A", 60, ["192.0.2.53"])
    world.servers["one"].show(added(glue, ns="ns.example.org."))
    assert world.end_of(create(world)).status is Status.ACTIVE
    assert world.served("one") == {}


def test_a_zone_with_something_in_it_is_somebody_elses_until_force(world: World) -> None:
    foreign = added(RRset("www.example.org.", "A", 60, ["192.0.2.200"]))
    world.servers["one"].show(foreign)
    assert world.do("create_zone", email="a@example.net").code == "ZoneExists"
    assert world.servers["one"].zones[ZONE] == foreign
    world.succeed("create_zone", email="a@example.net", force=True)
    assert world.served("one") == {}


def test_what_the_server_refuses_of_a_new_zone_is_left_out_and_the_rest_goes_in(world: World) -> None:
    def judge(rrsets: Collection[RRset]) -> RecordRejected | None:
        return RecordRejected("no such addresses here") if any(BAD in one.data for one in rrsets) else None

    world.servers["one"].judge = judge
    creation, good, bad = create(world), world.put("www", "192.0.2.1"), world.put("bad", BAD)
    later = world.put("later", "192.0.2.2")
    world.servers["one"].show(added(serial=2_026_112_501))
    assert world.end_of(bad).code == "RecordRejected"
    assert {world.end_of(one).status for one in (creation, good, later)} == {Status.ACTIVE}
    world.wait_for_zone("ACTIVE")
    assert world.served("one") == world.records() == {
        WWW: ("192.0.2.1",), ("later.example.org.", "A"): ("192.0.2.2",)
    }  # fmt: skip


def test_a_deleted_zone_stays_empty_at_the_server_and_is_deleted_all_the_same(world: World) -> None:
    world.servers["one"].show(added())
    create(world)
    world.end_of(world.put("www", "192.0.2.1"))
    world.succeed("delete_zone", force=True)
    assert world.served("one") == {}
    world.until(lambda: world.row("SELECT status FROM zone").status == "DELETED", "it isn't deleted")
    assert world.row("SELECT state FROM delivery").state == "emptied"
    assert world.row("SELECT look_at FROM zone").look_at is None


def test_a_nameserver_that_goes_on_serving_an_emptied_zone_is_not_waited_for(tmp_path: Path) -> None:
    with StubNameserver(showing(7)) as server:
        pool = {**POOL, "nameservers": [{"host": "127.0.0.1", "port": server.port, "target": "one"}]}
        with a_world(tmp_path, "one", pool=pool) as world:
            world.servers["one"].show(added())
            creation = create(world)
            world.until(
                lambda: world.row("SELECT state FROM delivery").state == "present", "it isn't delivered"
            )
            server.reply = showing(world.zone()["serial"])
            world.end_of(creation)
            world.succeed("delete_zone", force=True)


def test_a_deleted_zone_comes_back_into_its_empty_self(world: World) -> None:
    world.servers["one"].show(added())
    create(world)
    world.end_of(world.put("www", "192.0.2.1"))
    world.succeed("delete_zone", force=True)
    world.succeed("create_zone", email="a@example.net")
    world.end_of(world.put("www", "192.0.2.2"))
    assert world.served("one") == {WWW: ("192.0.2.2",)}
    shown = world.servers["one"].serials[ZONE]
    assert shown == sorted(shown)


def test_a_zone_removed_behind_our_back_is_asked_for_again(world: World) -> None:
    world.servers["one"].show(added())
    create(world)
    world.end_of(world.put("www", "192.0.2.1"))
    del world.servers["one"].zones[ZONE]
    change = world.put("other", "192.0.2.2")
    world.until(
        lambda: "add example.org. there" in (world.zone()["reason"] or ""), "nobody is asked to add it"
    )
    assert world.row("SELECT last_repair FROM delivery").last_repair is None
    world.servers["one"].show(added(serial=2_026_112_501))
    assert world.end_of(change).status is Status.ACTIVE
    assert world.served("one") == {WWW: ("192.0.2.1",), ("other.example.org.", "A"): ("192.0.2.2",)}


def test_a_worker_that_died_while_it_filled_the_zone_is_followed_by_one_that_goes_on(world: World) -> None:
    server = world.servers["one"]
    server.show(added())
    server.answers_to_lose = 1
    creation = create(world)
    assert world.end_of(creation).status is Status.ACTIVE
    world.end_of(world.put("www", "192.0.2.1"))
    assert world.served("one") == {WWW: ("192.0.2.1",)}


def test_what_comes_in_place_of_a_missing_zone_may_be_somebody_elses(world: World) -> None:
    foreign = added(RRset("www.example.org.", "A", 60, ["192.0.2.200"]))
    creation = create(world)
    world.until(
        lambda: "add example.org. there" in (world.zone()["reason"] or ""), "nobody is asked to add it"
    )
    world.servers["one"].show(foreign)
    assert world.end_of(creation).code == "ZoneExists"
    assert world.servers["one"].zones[ZONE] == foreign


def test_what_comes_in_place_of_a_half_filled_zone_may_be_somebody_elses(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, create_zone = world.servers["one"], MemoryBackend.create_zone

    def lose_it(backend: MemoryBackend, zone: ZoneContents) -> None:
        create_zone(backend, zone)
        del server.zones[ZONE]
        raise OutcomeUnknown("the answer got lost, and then the zone")

    monkeypatch.setattr(MemoryBackend, "create_zone", lose_it)
    server.show(added())
    creation = create(world)
    world.until(
        lambda: "add example.org. there" in (world.zone()["reason"] or ""), "nobody is asked to add it"
    )
    monkeypatch.undo()
    foreign = added(RRset("www.example.org.", "A", 60, ["192.0.2.200"]))
    server.show(foreign)
    assert world.end_of(creation).code == "ZoneExists"
    assert server.zones[ZONE] == foreign
