"""Targets that aren't like a server of our own: they set the serial, spread by and by, or transfer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dnsworker.contents import ZoneContents
from dnsworker.names import Name
from dnsworker.records import SOA, RRset
from tests.world import World, a_world

ZONE = Name("example.org.")
WWW = ("www.example.org.", "A")


def targets(**kinds: dict[str, Any]) -> dict[str, Any]:
    return {
        "targets": [{"name": name, "type": "memory", "options": {"can": can}} for name, can in kinds.items()]
    }


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[World]:
    """A provider that sets the serial and has a change id for every change."""
    with a_world(tmp_path, "cloud", pool=targets(cloud={"sets_serial": True, "fencing": "none"})) as world:
        world.servers["cloud"].spreading = []
        yield world


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[World]:
    """A primary that we write to, and a secondary that transfers from it."""
    pool = targets(secondary={"pull": True, "fencing": "none"}, primary={})
    with a_world(tmp_path, "secondary", "primary", pool=pool) as world:
        world.servers["secondary"].primary = world.servers["primary"]
        yield world


def spread_at_once(world: World) -> None:
    world.servers["cloud"].spreading = None


def spread(world: World) -> None:
    """The provider's servers all have what it was given so far."""
    spreading = world.servers["cloud"].spreading
    assert spreading is not None
    spreading.clear()


def hurry(world: World) -> None:
    """Don't wait for the next question to be due."""
    with world.engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE delivery SET due_at = '2020-01-01 00:00:00' WHERE due_at IS NOT NULL")
        )


# --- change ids ---------------------------------------------------------------------------------------------


def test_a_change_is_active_when_the_provider_has_spread_it_and_not_before(cloud: World) -> None:
    creation = cloud.submit("create_zone", email="hostmaster@example.net")
    cloud.until(lambda: ZONE in cloud.servers["cloud"].zones, "the zone was not created")
    for _ in range(3):
        hurry(cloud)
        cloud.runtime.sweep()
        cloud.deliver()
    waiting = cloud.show(creation)
    assert waiting.status.value == "ACCEPTED"
    assert "spreading" in (waiting.message or "")
    spread(cloud)
    hurry(cloud)
    assert cloud.end_of(creation).status.value == "ACTIVE"
    assert cloud.row("SELECT unconfirmed, due_at FROM delivery") == (None, None)


def test_later_changes_are_sent_while_earlier_ones_spread(cloud: World) -> None:
    first = cloud.submit("create_zone", email="hostmaster@example.net")
    cloud.until(lambda: ZONE in cloud.servers["cloud"].zones, "the zone was not created")
    spreading = cloud.servers["cloud"].spreading
    assert spreading
    early = list(spreading)
    second = cloud.put("www", "192.0.2.1")
    cloud.until(lambda: WWW in cloud.servers["cloud"].zones[ZONE].rrsets, "the change was not sent")
    for change in early:  # and the later one is still on its way
        spreading.remove(change)
    hurry(cloud)
    assert cloud.end_of(first).status.value == "ACTIVE"
    assert cloud.show(second).status.value == "ACCEPTED"
    spread(cloud)
    hurry(cloud)
    assert cloud.end_of(second).status.value == "ACTIVE"


def test_a_change_of_a_zone_that_is_there_is_asked_for_again(cloud: World) -> None:
    spread_at_once(cloud)
    cloud.create()
    cloud.servers["cloud"].spreading = []
    operation = cloud.put("www", "192.0.2.1")
    cloud.until(lambda: WWW in cloud.servers["cloud"].zones[ZONE].rrsets, "the change was not sent")
    row = cloud.row("SELECT unconfirmed, due_at FROM delivery")
    assert row.unconfirmed is not None
    assert row.due_at is not None
    spread(cloud)
    hurry(cloud)
    assert cloud.end_of(operation).status.value == "ACTIVE"


def test_a_zone_that_is_deleted_while_it_spreads_is_gone(cloud: World) -> None:
    cloud.submit("create_zone", email="hostmaster@example.net")
    cloud.until(lambda: ZONE in cloud.servers["cloud"].zones, "the zone was not created")
    cloud.succeed("delete_zone", force=True)
    assert ZONE not in cloud.servers["cloud"].zones
    assert cloud.row("SELECT unconfirmed FROM delivery").unconfirmed is None


# --- who sets the serial ------------------------------------------------------------------------------------


def test_a_serial_of_the_providers_own_is_neither_copied_nor_fought(cloud: World) -> None:
    spread_at_once(cloud)
    cloud.create()
    served = cloud.servers["cloud"]
    served.edit(ZONE, serial=4_000_000_000)  # it counts as it likes
    with cloud.engine.begin() as connection:
        connection.execute(sa.text("UPDATE delivery SET must_read = true"))
    before = cloud.zone()["serial"]
    cloud.end_of(cloud.put("www", "192.0.2.1"))
    assert cloud.served("cloud") == {WWW: ("192.0.2.1",)}
    assert 0 < cloud.zone()["serial"] - before < 1000


def test_what_somebody_else_changed_at_a_provider_is_repaired(cloud: World) -> None:
    spread_at_once(cloud)
    cloud.create()
    cloud.end_of(cloud.put("www", "192.0.2.1"))
    cloud.servers["cloud"].edit(ZONE, add=[RRset("www.example.org.", "A", 3600, ["192.0.2.66"])])
    with cloud.engine.begin() as connection:
        connection.execute(sa.text("UPDATE delivery SET must_read = true"))
    cloud.end_of(cloud.put("new", "192.0.2.2"))
    assert cloud.served("cloud")[WWW] == ("192.0.2.1",)


# --- secondaries --------------------------------------------------------------------------------------------


def test_a_secondary_waits_for_its_primary_and_is_woken_by_it(pair: World) -> None:
    pair.servers["primary"].is_down = True
    creation = pair.submit("create_zone", email="hostmaster@example.net")
    for _ in range(3):
        pair.deliver()
        pair.runtime.sweep()
    assert pair.row(
        "SELECT last_code FROM delivery JOIN target ON id = target_id WHERE name = 'secondary'"
    ) == ("Behind",)
    pair.until(lambda: "the primary has serial" in str(pair.zone()["reason"]), "the zone does not say why")
    with pair.engine.begin() as connection:  # far in the future, were it not for the primary's delivery
        connection.execute(
            sa.text(
                "UPDATE delivery SET due_at = '2040-01-01 00:00:00' WHERE target_id = "
                "(SELECT id FROM target WHERE name = 'secondary')"
            )
        )
    pair.servers["primary"].is_down = False
    assert pair.end_of(creation).status.value == "ACTIVE"
    pair.end_of(pair.put("www", "192.0.2.1"))
    assert pair.served("secondary") == pair.served("primary") == {WWW: ("192.0.2.1",)}


def test_a_wiped_secondary_fetches_everything_again(pair: World) -> None:
    pair.create()
    pair.end_of(pair.put("www", "192.0.2.1"))
    pair.servers["secondary"].zones.clear()
    pair.end_of(pair.put("new", "192.0.2.2"))
    pair.wait_for_zone("ACTIVE")
    assert pair.served("secondary") == pair.served("primary")
    pair.succeed("delete_zone", force=True)
    assert not pair.servers["secondary"].zones


def test_a_secondary_with_other_contents_at_the_right_serial_fetches_anew(pair: World) -> None:
    pair.create()
    pair.end_of(pair.put("www", "192.0.2.1"))
    pair.wait_for_zone("ACTIVE")
    pair.servers["secondary"].edit(ZONE, remove=[WWW])
    with pair.engine.begin() as connection:
        connection.execute(sa.text("UPDATE delivery SET must_read = true, due_at = '2020-01-01 00:00:00'"))
    pair.until(lambda: WWW in pair.servers["secondary"].zones[ZONE].rrsets, "it was not fetched")
    pair.wait_for_zone("ACTIVE")
    repair = {one["target"]: one["last_repair"] for one in pair.zone()["targets"]}
    assert repair == {"primary": None, "secondary": f"fetched {ZONE} from its primary again"}


def test_a_secondary_whose_primary_is_wrong_says_where_to_look(pair: World) -> None:
    pair.create()
    pair.wait_for_zone("ACTIVE")
    soa = pair.servers["primary"].zones[ZONE].soa
    other = RRset("foreign.example.org.", "A", 60, ["192.0.2.9"])
    pair.servers["secondary"].primary = type(pair.servers["primary"])(
        zones={ZONE: ZoneContents.of(ZONE, SOA.from_rdata(soa.rdata, soa.ttl), [other])}
    )
    pair.servers["secondary"].edit(ZONE, add=[other])
    with pair.engine.begin() as connection:
        connection.execute(
            sa.text(
                "UPDATE delivery SET must_read = true, due_at = '2020-01-01 00:00:00' WHERE target_id = "
                "(SELECT id FROM target WHERE name = 'secondary')"
            )
        )

    def says_so() -> bool:
        errors = {one["target"]: one["last_error"] for one in pair.zone()["targets"]}
        return "look at its primary" in (errors["secondary"] or "")

    pair.until(says_so, "it does not say that its primary is wrong")
