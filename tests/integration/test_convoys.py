"""Many zones delivered together: what is usual arrives, and what isn't is in nobody's way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dnsworker.convergence import Convoy, convoy
from dnsworker.convergence.convoy import ENTRIES_AT_ONCE
from dnsworker.departures import BUSY_OPERATIONS
from dnsworker.errors import RecordRejected
from dnsworker.names import Name
from dnsworker.operations import Status
from dnsworker.records import RRset
from tests.world import World, a_world

TARGET = {"name": "one", "type": "memory", "options": {"can": {"pipelined": 8}}}
ZONES = [f"z{number}.example." for number in range(5)]
OURS, THEIRS = "192.0.2.1", "192.0.2.66"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path, "one", pool={"targets": [TARGET]}) as world:
        for zone in ZONES:
            world.create(zone)
        world.until(lambda: not statuses(world) - {"ACTIVE"}, "the zones did not settle")
        world.servers["one"].requests.clear()
        yield world


def statuses(world: World) -> set[str]:
    with world.engine.connect() as connection:
        return set(connection.execute(sa.text("SELECT status FROM zone")).scalars())


def change_all(world: World) -> list[str]:
    return [world.put("www", OURS, zone=zone) for zone in ZONES]


def epochs(world: World) -> list[int]:
    with world.engine.connect() as connection:
        return list(connection.execute(sa.text("SELECT epoch FROM delivery ORDER BY zone_id")).scalars())


def served(world: World, zone: str) -> tuple[str, ...] | None:
    found = world.served("one", zone).get((Name(f"www.{zone}"), "A"))
    return found and tuple(found)


def test_the_usual_changes_of_many_zones_take_one_claim_each_and_arrive(world: World) -> None:
    before = epochs(world)
    operations = change_all(world)
    world.runtime.deliver("one")
    assert [served(world, zone) for zone in ZONES] == [(OURS,)] * len(ZONES)
    assert epochs(world) == [epoch + 1 for epoch in before]
    assert {world.end_of(one).status for one in operations} == {Status.ACTIVE}


def test_a_zone_that_somebody_has_changed_is_read_and_repaired_alone(world: World) -> None:
    server = world.servers["one"]
    server.edit(ZONES[2], add=[RRset(f"theirs.{ZONES[2]}", "A", 60, [THEIRS])], serial=None)
    soa = server.zones[Name(ZONES[2])].soa
    server.edit(ZONES[2], serial=soa.serial + 1)
    operations = change_all(world)
    assert {world.end_of(one).status for one in operations} == {Status.ACTIVE}
    assert [served(world, zone) for zone in ZONES] == [(OURS,)] * len(ZONES)
    assert (Name(f"theirs.{ZONES[2]}"), "A") not in world.served("one", ZONES[2])
    # Each was sent once, but for the one that was refused and then repaired; only that was read.
    assert server.requests.count("apply") == len(ZONES) + 1


def test_what_is_refused_ends_in_error_and_the_others_arrive(world: World) -> None:
    world.servers["one"].judge = lambda rrsets: (
        RecordRejected("not that one") if any(THEIRS in one.data for one in rrsets) else None
    )
    bad = world.put("www", THEIRS, zone=ZONES[0])
    good = [world.put("www", OURS, zone=zone) for zone in ZONES[1:]]
    assert {world.end_of(one).status for one in good} == {Status.ACTIVE}
    assert world.end_of(bad).code == "RecordRejected"


def test_an_answer_that_was_lost_is_looked_for(world: World) -> None:
    world.servers["one"].answers_to_lose = 1
    operations = change_all(world)
    assert {world.end_of(one).status for one in operations} == {Status.ACTIVE}
    assert [served(world, zone) for zone in ZONES] == [(OURS,)] * len(ZONES)


def test_who_was_replaced_meanwhile_has_nobody_asked(world: World) -> None:
    """Its late note would leave a zone to be looked at that its successor had finished with."""
    name = ZONES[1]

    def successor_finishes(what: str) -> None:
        if what != "apply":
            return
        with world.engine.begin() as connection:
            zone_id = connection.execute(sa.text(f"SELECT id FROM zone WHERE name = '{name}'")).scalar_one()
            connection.execute(sa.text(f"UPDATE delivery SET epoch = epoch + 1 WHERE zone_id = {zone_id}"))
            connection.execute(sa.text(f"UPDATE zone SET look_at = NULL WHERE id = {zone_id}"))

    change_all(world)
    world.servers["one"].before_request = successor_finishes
    world.runtime.deliver("one")
    assert [served(world, zone) for zone in ZONES] == [(OURS,)] * len(ZONES)
    with world.engine.connect() as connection:
        asked = connection.execute(sa.text("SELECT name FROM zone WHERE look_at IS NOT NULL")).scalars()
        assert name not in set(asked)


def test_a_target_that_is_down_costs_one_attempt_at_a_time(world: World) -> None:
    server = world.servers["one"]
    server.is_down = True
    operations = change_all(world)
    world.runtime.deliver("one")
    row = world.row("SELECT failures, last_error FROM target")
    assert row.failures >= 1
    assert row.last_error == "nobody answers"
    assert world.row("SELECT count(*) FROM delivery WHERE owner IS NOT NULL")[0] == 0
    server.is_down = False
    assert {world.end_of(one).status for one in operations} == {Status.ACTIVE}


def test_nothing_is_claimed_or_sent_while_the_target_is_paused(world: World) -> None:
    before = epochs(world)
    with world.engine.begin() as connection:
        connection.execute(sa.text("UPDATE target SET paused_at = '2020-01-01 00:00:00.000000'"))
    operations = change_all(world)
    world.runtime.deliver("one")
    assert world.servers["one"].requests == []
    assert epochs(world) == before
    with world.engine.begin() as connection:
        connection.execute(sa.text("UPDATE target SET paused_at = NULL"))
    assert {world.end_of(one).status for one in operations} == {Status.ACTIVE}


def test_a_zone_with_very_many_changes_goes_by_itself(world: World) -> None:
    wishes = [
        {"action": "put", "name": f"h{number}", "type": "A", "data": [OURS]}
        for number in range(ENTRIES_AT_ONCE + 5)
    ]
    large = world.submit("change_zone", zone=ZONES[0], changes=wishes)
    others = [world.put("www", OURS, zone=zone) for zone in ZONES[1:]]
    assert {world.end_of(one).status for one in [large, *others]} == {Status.ACTIVE}
    assert len(world.served("one", ZONES[0])) == len(wishes)


def test_no_zone_waits_to_be_verified_for_a_large_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convoy, "ENTRIES_AT_ONCE", 4)
    told: list[int] = []
    told_before: list[int] = []
    monkeypatch.setattr(world.runtime._deliverer, "_on_progress", told.append)
    world.servers["one"].before_request = lambda what: told_before.append(len(told))
    for zone in ZONES[:-1]:
        world.put("www", OURS, zone=zone)
    for number in range(4):
        world.put(f"h{number}", OURS, zone=ZONES[-1])
    world.runtime.deliver("one")
    assert told_before[-1] == len(ZONES) - 1, "the large one is sent when the others have been told of"
    assert len(world.served("one", ZONES[-1])) == 4


def test_whoever_came_while_another_found_nothing_is_not_forgotten(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliverer, asked = world.runtime._deliverer, list[float]()
    gather = deliverer._claiming.gather

    def gather_and_be_passed_by(*arguments: Any) -> Convoy | None:
        found = gather(*arguments)
        world.runtime.deliver("one")  # for what was committed a moment later
        return found

    monkeypatch.setattr(deliverer, "_on_retry", lambda target, delay_s: asked.append(delay_s))
    monkeypatch.setattr(deliverer._claiming, "gather", gather_and_be_passed_by)
    world.runtime.deliver("one")
    assert asked == [0.0]


def test_what_comes_while_a_convoy_is_under_way_goes_with_the_next(world: World) -> None:
    came: list[str] = []
    served_too_early: list[bool] = []

    def another(what: str) -> None:
        if what == "apply" and not came:
            came.append(world.put("late", OURS, zone=ZONES[-1]))
            world.runtime.deliver("one")  # whoever was woken for it
            served_too_early.append((Name(f"late.{ZONES[-1]}"), "A") in world.served("one", ZONES[-1]))

    world.servers["one"].before_request = another
    first = world.put("www", OURS, zone=ZONES[0])
    world.runtime.deliver("one")
    assert served_too_early == [False]
    assert tuple(world.served("one", ZONES[-1])[Name(f"late.{ZONES[-1]}"), "A"]) == (OURS,)
    assert {world.end_of(one).status for one in (first, *came)} == {Status.ACTIVE}


def test_many_changes_are_followed_by_a_pause_that_ends_by_itself(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    monkeypatch.setattr(world.runtime._deliverer, "_on_retry", lambda target, delay_s: asked.append(delay_s))
    for number in range(BUSY_OPERATIONS):
        world.put(f"h{number}", OURS, zone=ZONES[0])
    world.runtime.deliver("one")
    assert len(asked) == 1
    assert 0 < asked[0] <= 0.2
    late = world.put("late", OURS, zone=ZONES[0])
    world.runtime.deliver("one")
    assert world.end_of(late).status is Status.ACTIVE
