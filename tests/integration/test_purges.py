"""`pool apply --purge`: a target's zones are removed there before the target is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dnsworker.cancellation import cancel
from dnsworker.errors import ConfigError
from dnsworker.names import Name
from dnsworker.operations import Status
from dnsworker.pools import Pool
from dnsworker.records import RRset
from dnsworker.reports.system import show_targets
from dnsworker.store import pools, purges
from tests.world import World, a_world

NAMES = ["example.org.", "example.com.", "example.net."]
WWW = ("www.example.org.", "A")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purges, "STALE_S", 0.0)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path, "one", "two") as world:
        fill(world)
        yield world


def fill(world: World) -> None:
    for name in NAMES:
        world.create(name)
        world.wait_for_zone("ACTIVE", name)


def apply(world: World, *targets: str, pool: str = "default", **options: bool) -> str:
    document = {
        "name": pool,
        "ns_records": [{"hostname": "ns1.example.net."}],
        "targets": [{"name": name, "type": "memory"} for name in targets],
    }
    with world.engine.begin() as connection:
        done = pools.apply(connection, [Pool.model_validate(document)], **options)
    world.runtime.reload_pools()
    return "\n".join(done.lines)


def shown(world: World, target: str = "two") -> dict[str, Any] | None:
    with world.engine.connect() as connection:
        return next((one for one in show_targets(connection) if one["name"] == target), None)


def until_purged(world: World) -> None:
    world.until(lambda: shown(world) is None, "the target was not forgotten")
    assert world.row("SELECT count(*) FROM delivery WHERE target_id = 2") == (0,)
    assert world.row("SELECT is_removed, purging, purging_since FROM target WHERE id = 2") == (1, None, None)


def test_the_zones_are_removed_and_then_the_target(world: World) -> None:
    said = "target two: leaves pool default and is purged: its 3 zones are removed there, 20 a second at most"
    assert said in apply(world, "one", purge=True, dry_run=True)
    assert shown(world)["zones_left"] is None  # type: ignore[index]
    assert said in apply(world, "one", purge=True)
    assert "two" in world.runtime.target_names()
    until_purged(world)
    assert world.servers["two"].zones == {}
    assert sorted(world.servers["one"].zones) == sorted(NAMES)
    assert "delete" not in world.servers["one"].requests
    assert "two" not in world.runtime.target_names()


@pytest.mark.parametrize("url", ["database_url", "mariadb_url"])
def test_a_target_is_purged_on_the_servers_databases(
    tmp_path: Path, url: str, request: pytest.FixtureRequest
) -> None:
    with a_world(tmp_path, "one", "two", url=request.getfixturevalue(url)) as world:
        fill(world)
        apply(world, "one", purge=True)
        until_purged(world)
        assert world.servers["two"].zones == {}


def test_a_dead_target_stays_visible_until_it_is_detached(world: World) -> None:
    world.servers["two"].is_down = True
    apply(world, "one", purge=True)
    world.until(lambda: bool(shown(world)["failing"]), "nobody tried")  # type: ignore[index]
    found = shown(world)
    assert found is not None
    assert (found["zones_left"], found["type"], found["backlog"]) == (3, "memory", 3)
    assert found["purging_since"] is not None
    assert "nobody answers" in str(found["last_error"])
    assert "target two: is being purged, 3 zones left" in apply(world, "one")
    assert "removed from pool default, 3 zones stay" in apply(world, "one", detach=True, dry_run=True)
    assert shown(world) is not None
    assert "removed from pool default, 3 zones stay" in apply(world, "one", detach=True)
    until_purged(world)
    assert len(world.servers["two"].zones) == 3


def test_meanwhile_changes_and_new_zones_go_to_the_others_alone(world: World) -> None:
    world.servers["two"].is_down = True
    apply(world, "one", purge=True)
    put = world.put("www", "192.0.2.1")
    assert world.end_of(put).status is Status.ACTIVE
    assert [one.target for one in world.show(put).targets] == ["one"]
    world.create("new.example.")
    assert world.succeed("delete_zone", zone="example.net.").status is Status.ACTIVE
    assert world.wait_for_zone("ACTIVE")["targets"][0]["target"] == "one"
    world.servers["two"].is_down = False
    until_purged(world)
    assert world.servers["two"].zones == {}
    assert Name("new.example.") not in world.servers["two"].serials
    assert world.served("one") == {WWW: ("192.0.2.1",)}


def test_what_a_worker_with_the_pools_of_a_moment_ago_delivers_is_removed_too(world: World) -> None:
    world.servers["two"].is_down = True
    stale = world.runtime._directory
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pools, "REFRESH_S", 3600)
        stale.all()
        document = {"name": "default", "ns_records": [{"hostname": "ns1.example.net."}]}
        target = {"targets": [{"name": "one", "type": "memory"}]}
        with world.engine.begin() as connection:
            pools.apply(connection, [Pool.model_validate(document | target)], purge=True)
        world.put("www", "192.0.2.1")
        assert world.row("SELECT count(*) FROM delivery WHERE goal = 'present' AND target_id = 2") == (1,)
    world.runtime.reload_pools()
    world.servers["two"].is_down = False
    until_purged(world)
    assert world.servers["two"].zones == {}


def test_a_target_that_comes_back_gets_its_zones_again(world: World) -> None:
    server = world.servers["two"]
    first = server.zones[Name("example.com.")].soa.serial
    server.before_request = lambda what: setattr(server, "is_down", len(server.zones) == 1)
    apply(world, "one", purge=True)
    world.until(lambda: len(server.zones) == 1, "nothing was removed")
    world.end_of(world.put("www", "192.0.2.1"))
    assert "target two: no longer purged" in apply(world, "one", "two")
    server.before_request, server.is_down = lambda what: None, False
    for name in NAMES:
        world.until(lambda one=name: Name(one) in server.zones, f"{name} did not come back")  # type: ignore[misc]
        world.wait_for_zone("ACTIVE", name)
    assert world.served("two") == {WWW: ("192.0.2.1",)}
    assert server.zones[Name("example.com.")].soa.serial == first
    assert (shown(world) or {})["purging_since"] is None


def test_a_zone_that_is_blocked_there_waits_for_an_operator(world: World) -> None:
    """As anywhere: what is there is not what we left. A retry says that it may go."""
    world.servers["two"].edit("example.org.", add=[RRset("x.example.org.", "A", 60, ["192.0.2.66"])],
                              serial=4_000_000_000)  # fmt: skip
    world.row("SELECT 1")
    with world.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE delivery SET state = 'ahead', due_at = NULL "
                                   "WHERE target_id = 2 AND zone_id = 1")  # fmt: skip
    apply(world, "one", purge=True)
    world.until(lambda: len(world.servers["two"].zones) == 1, "the others were not removed")
    world.runtime.sweep()
    found = shown(world)
    assert found is not None
    assert (found["zones_left"], found["blocked"]) == (1, 1)
    assert list(world.servers["two"].zones) == ["example.org."]


def test_its_name_stays_its_pools_until_it_is_gone(world: World) -> None:
    world.servers["two"].is_down = True
    apply(world, "one", purge=True)
    with pytest.raises(ConfigError, match="target two belongs to pool default"):
        apply(world, "two", pool="other")
    world.servers["two"].is_down = False
    until_purged(world)
    apply(world, "two", pool="other")


def test_what_it_has_does_not_keep_a_change_from_being_cancelled(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purges, "STALE_S", 3600.0)
    world.servers["one"].is_down = True
    operation = world.put("www", "192.0.2.66")
    apply(world, "one", purge=True)
    world.until(lambda: "example.org." not in world.servers["two"].zones, "it was not removed")
    assert cancel(world.engine, operation).has_ended
    assert world.records() == {}


def test_it_is_not_forgotten_while_a_worker_may_take_it_for_one_of_the_pool(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purges, "STALE_S", 3600.0)
    apply(world, "one", purge=True)
    world.until(lambda: not world.servers["two"].zones, "they were not removed")
    world.deliver()
    world.runtime.sweep()
    assert (shown(world) or {})["zones_left"] == 0


def test_a_target_without_zones_is_removed_at_once(tmp_path: Path) -> None:
    with a_world(tmp_path, "one", "two") as world:
        assert "target two: removed from pool default" in apply(world, "one", purge=True)
        assert shown(world) is None
