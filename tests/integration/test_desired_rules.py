"""What is refused because of what the zone is already, with the numbers, and before anything is written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.world import World, a_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path, "one") as world:
        world.create()
        yield world


SOA = "@ 3600 IN SOA ns1.example.net. hostmaster.example.net. 7 3600 600 86400 3600\n"
NS = "@ 3600 IN NS ns1.example.net.\n"


@pytest.mark.parametrize("adopt", [False, True])
def test_an_import_that_would_empty_a_zone_needs_force_however_small_it_is(world: World, adopt: bool) -> None:
    world.end_of(world.put("www", "192.0.2.1"))
    world.end_of(world.put("mail", "192.0.2.2"))
    outcome = world.do("import_zone", text=SOA + NS, adopt=adopt)
    assert outcome.code == "UnsafeChange"
    assert "no records besides SOA and apex NS, and the zone has 2 RRsets" in (outcome.message or "")
    assert len(world.records()) == 2
    world.succeed("import_zone", text=SOA + NS, adopt=adopt, force=True)
    assert world.served("one") == world.records() == {}


def test_an_import_without_records_makes_no_zone_unless_it_is_meant(world: World) -> None:
    outcome = world.do("import_zone", zone="example.com.", text=SOA)
    assert outcome.code == "InvalidZoneFile"
    assert "holds no records, nothing was imported; create the zone instead" in (outcome.message or "")
    world.succeed("import_zone", zone="example.com.", text=SOA, force=True)
    world.succeed("import_zone", zone="example.net.", text=SOA + NS, adopt=True)


@pytest.mark.parametrize(
    ("timers", "words"),
    [
        ({"retry": 3600}, "with retry 3600 and refresh 3600"),
        ({"refresh": 600}, "with retry 600 and refresh 600"),
        ({"expire": 4199}, "at least refresh + retry, 4200"),
        ({"refresh": 86_400}, "at least refresh + retry, 87000"),
    ],
)
def test_soa_timers_that_cannot_work_together_are_refused(
    world: World, timers: dict[str, int], words: str
) -> None:
    outcome = world.do("update_zone", **timers)
    assert outcome.code == "InvalidRequest"
    assert words in (outcome.message or "")
    world.succeed("update_zone", refresh=600, retry=599, expire=3600)
    soa = world.servers["one"].zones
    assert [(one.soa.refresh, one.soa.retry, one.soa.expire) for one in soa.values()] == [(600, 599, 3600)]
