"""Imports with `adopt`: a target that has the zone already goes on serving it as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dnsworker import zonefile
from dnsworker.contents import ZoneContents
from dnsworker.names import Name
from dnsworker.records import SOA
from tests.world import World, a_world

ZONE = Name("example.org.")
TEXT = """\
$TTL 300
@ 1800 SOA old.example.net. dns\\.admin.example.net. 2024010101 7200 900 1209600 60
@ 86400 NS old.example.net.
www A 192.0.2.1
"""
WRITES = {"create", "apply", "delete"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path, "one", "two") as world:
        yield world


def contents(text: str = TEXT) -> ZoneContents:
    parsed = zonefile.parse_zone(text, ZONE, 3600)
    assert parsed.soa is not None
    return ZoneContents.of(ZONE, parsed.soa, parsed.rrsets)


def test_a_target_with_exactly_these_contents_is_not_written_to(world: World) -> None:
    world.servers["one"].show(contents())
    outcome = world.succeed("import_zone", text=TEXT, adopt=True)
    assert outcome.serial == 2024010101
    assert WRITES.isdisjoint(world.servers["one"].requests)
    assert world.servers["one"].zones[ZONE] == contents()
    # and the one that hasn't got the zone is given the same, down to the serial
    assert world.servers["two"].zones[ZONE] == contents()
    shown = world.zone()
    assert (shown["primary"], shown["email"]) == ("old.example.net.", "dns.admin@example.net")


def test_the_next_change_goes_on_above_the_adopted_serial(world: World) -> None:
    for server in world.servers.values():
        server.show(contents())
    world.succeed("import_zone", text=TEXT, adopt=True)
    world.end_of(world.put("www", "192.0.2.2"))
    now = world.servers["one"].zones[ZONE]
    assert world.served("one")[Name("www.example.org."), "A"] == ("192.0.2.2",)
    assert now.soa == contents().soa.with_serial(now.soa.serial)
    assert world.servers["one"].serials[ZONE][-1] > 2024010101
    assert now.rrsets[ZONE, "NS"].data == ("old.example.net.",)


def test_equal_contents_under_a_later_serial_get_nothing_but_a_soa(world: World) -> None:
    later = contents()
    later = ZoneContents(soa=later.soa.with_serial(3000000000), rrsets=later.rrsets, name=ZONE)
    world.servers["one"].show(contents())
    world.servers["two"].show(later)
    world.succeed("import_zone", text=TEXT, adopt=True)
    world.wait_for_zone("ACTIVE")
    for server in world.servers.values():
        assert server.zones[ZONE].rrsets == contents().rrsets
        assert server.zones[ZONE].soa.serial == 3000000001
        assert server.serials[ZONE] == sorted(server.serials[ZONE])


def test_a_target_with_other_contents_is_left_alone(world: World) -> None:
    theirs = contents(TEXT.replace("192.0.2.1", "192.0.2.9"))
    world.servers["one"].show(theirs)
    outcome = world.do("import_zone", text=TEXT, adopt=True)
    assert (outcome.status, outcome.code) == ("ERROR", "ZoneExists")
    assert world.servers["one"].zones[ZONE] == theirs


def test_the_serial_does_not_fall_behind_one_that_the_name_had_here(world: World) -> None:
    last = world.create().serial
    world.succeed("delete_zone")
    outcome = world.succeed("import_zone", text=TEXT.replace("2024010101", "7"), adopt=True)
    assert outcome.serial is not None
    assert last is not None
    assert outcome.serial > last


def test_a_zone_that_is_here_keeps_its_apex_ns_unless_forced(world: World) -> None:
    world.create()
    refused = world.do("import_zone", text=TEXT, adopt=True)
    assert (refused.status, refused.code) == ("ERROR", "UnsafeChange")
    world.succeed("import_zone", text=TEXT, adopt=True, force=True)
    now = world.servers["one"].zones[ZONE]
    assert now.rrsets == contents().rrsets
    assert now.soa == contents().soa.with_serial(now.soa.serial)


def test_another_mailbox_is_a_change_and_needs_a_serial_above(world: World) -> None:
    world.servers["one"].show(contents())
    world.succeed("import_zone", text=TEXT, adopt=True, email="new@example.net")
    now = world.servers["one"].zones[ZONE]
    assert now.soa.rname == SOA.email_to_rname("new@example.net")
    # their serial stands for another SOA, so nobody shows this one under it
    assert min(world.servers["two"].serials[ZONE]) > 2024010101


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (TEXT.replace("@ 86400 NS old.example.net.\n", ""), "has no NS records at its apex"),
        ("@ NS old.example.net.\nwww A 192.0.2.1\n", "has no SOA"),
        (TEXT.replace("dns\\.admin.example.net.", "."), "no mail address, and can't be kept"),
    ],
    ids=["no NS", "no SOA", "no mailbox"],
)
def test_what_can_not_be_adopted_as_it_is_says_why(world: World, text: str, part: str) -> None:
    refused = world.do("import_zone", text=text, adopt=True)
    assert (refused.status, refused.code) == ("ERROR", "InvalidZoneFile")
    assert part in (refused.message or "")


def test_without_adopt_the_names_are_the_pools(world: World) -> None:
    world.succeed("import_zone", text=TEXT)
    now = world.servers["one"].zones[ZONE]
    assert (now.soa.mname, now.rrsets[ZONE, "NS"].data) == ("ns1.example.net.", ("ns1.example.net.",))
    assert (now.soa.refresh, now.soa.serial > 2024010101) == (7200, True)
