"""A target that pools.yaml has lost: refused, detached, and taken up again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dnsworker.errors import ConfigError
from dnsworker.operations import Status
from dnsworker.pools import Pool
from dnsworker.store import pools
from tests.world import World, a_world

WWW = ("www.example.org.", "A")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path, "one", "two") as world:
        world.create()
        world.wait_for_zone("ACTIVE")
        yield world


def apply(world: World, *targets: str, **options: bool) -> list[str]:
    document = {
        "name": "default",
        "ns_records": [{"hostname": "ns1.example.net."}],
        "targets": [{"name": name, "type": "memory"} for name in targets],
    }
    with world.engine.begin() as connection:
        done = pools.apply(connection, [Pool.model_validate(document)], **options)
    world.runtime.reload_pools()
    return done.lines


def test_a_target_that_holds_zones_is_not_removed_by_a_shorter_file(world: World) -> None:
    for options in ({}, {"dry_run": True}):
        with pytest.raises(ConfigError, match="two is not in the file and still holds 1 zones: apply with"):
            apply(world, "one", **options)
    assert world.end_of(world.put("www", "192.0.2.1")).status is Status.ACTIVE
    assert world.served("two") == {WWW: ("192.0.2.1",)}


def test_a_detached_target_keeps_its_zones_and_nobody_waits_for_it(world: World) -> None:
    world.servers["two"].is_down = True
    operation = world.put("www", "192.0.2.1")
    world.until(lambda: WWW in world.served("one"), "it did not arrive at the first target")
    said = "target two: removed from pool default, 1 zones stay there as they are; 1 deliveries that were due"
    assert said in "\n".join(apply(world, "one", detach=True, dry_run=True))
    assert len(world.zone()["targets"]) == 2
    assert said in "\n".join(apply(world, "one", detach=True))
    assert world.row("SELECT count(*) FROM delivery") == (1,)
    assert world.end_of(operation).status is Status.ACTIVE
    world.servers["two"].is_down = False
    world.succeed("delete_zone")
    assert list(world.servers["two"].zones) == ["example.org."]


def test_a_target_that_comes_back_is_compared_with_what_it_has(world: World) -> None:
    apply(world, "one", detach=True)
    world.create("example.com.")
    apply(world, "one", "two")
    done = "SELECT count(*) FROM delivery WHERE state = 'present' AND due_at IS NULL"
    world.until(lambda: world.row(done)[0] == 4, "not all zones came to all targets")
    assert len(world.servers["two"].zones) == 2
    asked = len(world.servers["two"].requests)
    world.end_of(world.put("www", "192.0.2.1"))
    world.wait_for_zone("ACTIVE")
    assert world.servers["two"].requests[asked:].count("create") == 0
    assert world.served("two") == {WWW: ("192.0.2.1",)}


def test_a_zone_that_was_deleted_and_made_anew_meanwhile_goes_to_the_target_that_comes_back(
    world: World,
) -> None:
    world.succeed("delete_zone")
    apply(world, "one")
    world.create()
    apply(world, "one", "two")
    world.until(lambda: bool(world.servers["two"].zones), "the zone did not come to the target")
