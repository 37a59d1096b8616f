"""What an operator has stopped stays as it is, waits as rows, says so, and goes on by itself afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from dnsworker.backend import Capabilities
from dnsworker.operations import Status
from dnsworker.pools import Pool
from dnsworker.reports.system import show_status
from dnsworker.store import pools, stops, zones
from dnsworker.tables import delivery, now, target, zone
from tests.world import MemoryServer, World, a_world

WWW = ("www.example.org.", "A")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Two targets, of which half the witnesses are enough."""
    with a_world(tmp_path, "one", "two", pool={"threshold_percentage": 50}) as world:
        world.create()
        world.wait_for_zone("ACTIVE")
        yield world


def id_of(world: World, name: str) -> int:
    with world.engine.connect() as connection:
        return int(connection.execute(sa.select(target.c.id).where(target.c.name == name)).scalar_one())


def pause(world: World, name: str, for_s: float | None = None, reason: str | None = None) -> None:
    target_id = id_of(world, name)
    with world.engine.begin() as connection:
        stops.pause_target(connection, target_id, for_s, reason)


def resume(world: World, name: str) -> None:
    target_id = id_of(world, name)
    with world.engine.begin() as connection:
        stops.begin_afresh(connection, [target_id])
        assert stops.resume_target(connection, target_id)


def freeze(world: World, reason: str | None = None, name: str = "example.org.") -> None:
    key = zone_id(world, name)
    with world.engine.begin() as connection:
        stops.freeze(connection, key, reason)


def thaw(world: World) -> None:
    key = zone_id(world)
    with world.engine.begin() as connection:
        zones.lock(connection, key)
        stops.thaw(connection, key)


def zone_id(world: World, name: str = "example.org.") -> int:
    with world.engine.connect() as connection:
        return int(connection.execute(sa.select(zone.c.id).where(zone.c.name == name)).scalar_one())


def sweep(world: World, times: int = 3) -> None:
    """As beat would, with all that comes of it."""
    for _ in range(times):
        world.deliver()
        world.runtime.sweep()
    world.deliver()


# --- a target is paused -------------------------------------------------------------------------------------


def test_a_paused_target_gets_no_request_and_the_others_go_on(world: World) -> None:
    pause(world, "two", reason="new disks")
    asked = len(world.servers["two"].requests)
    operation = world.put("www", "192.0.2.1")
    assert world.end_of(operation).status is Status.ACTIVE
    sweep(world)
    assert len(world.servers["two"].requests) == asked
    assert world.served("one") == {WWW: ("192.0.2.1",)}
    resume(world, "two")
    world.until(lambda: world.served("two") == world.served("one"), "the resumed target was not delivered to")
    world.wait_for_zone("ACTIVE")


def test_what_is_paused_is_neither_woken_nor_claimed_and_stays_due(world: World) -> None:
    pause(world, "two")
    world.end_of(world.put("www", "192.0.2.1"))
    sweep(world)
    assert world.runtime.sweep()["targets"] == 0
    assert world.signals.woken == []
    query = sa.select(delivery.c.owner, delivery.c.attempts, delivery.c.due_at)
    query = query.where(delivery.c.target_id == id_of(world, "two"))
    with world.engine.connect() as connection:
        owner, attempts, due_at = connection.execute(query).one()
    assert (owner, attempts, due_at is None) == (None, 0, False)


def test_a_pause_is_told_wherever_somebody_waits_for_it(world: World) -> None:
    for name in ("one", "two"):
        pause(world, name, for_s=3600, reason="new disks")
    operation = world.put("www", "192.0.2.1")
    sweep(world)
    outcome = world.show(operation)
    assert outcome.status is Status.ACCEPTED
    assert (outcome.message or "").startswith("target one: paused until 20")
    assert "by operator: new disks; next attempt at 20" in (outcome.message or "")
    told = outcome.targets[1].last_error or ""
    assert told.startswith("paused until 20")
    assert world.zone()["reason"].startswith(f"target one: {told}; target two: {told}")
    with world.engine.connect() as connection:
        found = show_status(connection)
    assert [one["paused"] for one in found["targets"]] == [told, told]
    pause(world, "one")
    assert world.show(operation).targets[0].last_error == "paused by operator until resumed"
    assert world.show(operation).targets[0].next_attempt_at is None


def test_when_the_time_is_over_work_goes_on_by_itself(world: World) -> None:
    for name in ("one", "two"):
        pause(world, name, for_s=3600)
    operation = world.put("www", "192.0.2.1")
    sweep(world)
    assert world.show(operation).status is Status.ACCEPTED
    with world.engine.begin() as connection:
        connection.execute(sa.update(target).values(paused_until=now()))
    assert world.end_of(operation).status is Status.ACTIVE


def test_all_targets_are_paused_also_those_that_are_added_meanwhile(world: World) -> None:
    with world.engine.begin() as connection:
        stops.pause_all(connection, None, "incident")
        document = pools.read(connection)[0].pool.to_document()
        document["targets"].append({"name": "three", "type": "memory"})
        pools.apply(connection, [Pool.model_validate(document)])
    world.servers["three"] = MemoryServer()
    world.runtime.reload_pools()
    operation = world.put("www", "192.0.2.1")
    sweep(world)
    assert world.servers["three"].requests == []
    assert world.served("one") == {}
    assert "all targets are paused by operator until resumed: incident" in (
        world.show(operation).message or ""
    )
    with world.engine.begin() as connection:
        assert show_status(connection)["all_paused"]["until"] is None
        assert stops.resume_all(connection)
    assert world.end_of(operation).status is Status.ACTIVE
    world.until(lambda: len(world.servers["three"].zones) == 1, "the new target was not delivered to")


def test_ending_the_pause_of_all_leaves_those_of_single_targets(world: World) -> None:
    pause(world, "two")
    with world.engine.begin() as connection:
        stops.pause_all(connection, None, None)
        stops.resume_all(connection)
    world.end_of(world.put("www", "192.0.2.1"))
    sweep(world)
    assert world.served("two") == {}


def test_a_resumed_target_is_tried_at_once_whatever_failed_before(tmp_path: Path) -> None:
    with a_world(tmp_path, "one") as world:
        world.create()
        world.servers["one"].is_down = True
        operation = world.put("www", "192.0.2.1")
        world.until(
            lambda: world.row("SELECT count(*) FROM target WHERE open_until IS NOT NULL")[0] == 1,
            "the breaker did not open",
        )
        pause(world, "one")
        with world.engine.begin() as connection:
            later = {"due_at": sa.text("'2999-01-01 00:00:00.000000'")}
            connection.execute(sa.update(delivery).values(later))
            connection.execute(sa.update(target).values(open_until=sa.text("'2999-01-01 00:00:00.000000'")))
        world.servers["one"].is_down = False
        resume(world, "one")
        assert world.end_of(operation).status is Status.ACTIVE


# --- under way ----------------------------------------------------------------------------------------------


def test_a_delivery_in_the_middle_of_its_messages_stops_before_the_next(tmp_path: Path) -> None:
    with a_world(tmp_path, "one") as world:
        server = world.servers["one"]
        server.capabilities = Capabilities(fencing="server", max_batch=1)
        world.create()
        changes = [
            {"action": "put", "name": name, "type": "A", "data": ["192.0.2.1"]} for name in ("a", "b", "c")
        ]
        operation = world.submit("change_zone", changes=changes)
        asked = len(server.requests)

        def pause_at_the_first(what: str) -> None:
            if what == "apply":
                server.before_request = lambda what: None
                pause(world, "one")

        server.before_request = pause_at_the_first
        sweep(world)
        assert server.requests[asked:].count("apply") == 1
        assert len(world.served("one")) == 1
        resume(world, "one")
        assert world.end_of(operation).status is Status.ACTIVE
        assert world.served("one") == world.records()


@pytest.mark.parametrize("order", ["pause", "freeze"])
def test_nothing_is_written_after_a_reading_during_which_it_was_stopped(tmp_path: Path, order: str) -> None:
    with a_world(tmp_path, "one") as world:
        server = world.servers["one"]

        def stop_at_the_reading(what: str) -> None:
            server.before_request = lambda what: None
            if order == "pause":
                pause(world, "one")
            else:
                freeze(world)

        server.before_request = stop_at_the_reading
        operation = world.submit("create_zone", email="hostmaster@example.net")
        sweep(world)
        assert server.requests == ["read"]
        if order == "pause":
            resume(world, "one")
        else:
            thaw(world)
        assert world.end_of(operation).status is Status.ACTIVE


# --- a zone is frozen ---------------------------------------------------------------------------------------


def test_a_frozen_zone_takes_operations_in_and_sends_one_change_when_it_is_thawed(world: World) -> None:
    freeze(world, "being audited")
    operations = [world.put("www", f"192.0.2.{number}") for number in (1, 2, 3)]
    sweep(world)
    assert world.show(operations[0]).status is Status.ACCEPTED
    assert "frozen by operator: being audited" in (world.show(operations[0]).message or "")
    assert world.zone()["frozen"] == "frozen by operator: being audited"
    assert "frozen by operator: being audited" in world.zone()["reason"]
    with world.engine.connect() as connection:
        assert show_status(connection)["frozen"]["zones"] == 1
    assert world.served("one") == world.served("two") == {}
    asked = len(world.servers["one"].requests)
    thaw(world)
    assert world.end_of(operations[2]).status is Status.ACTIVE
    assert world.end_of(operations[0]).status is Status.SUPERSEDED
    assert world.servers["one"].requests[asked:].count("apply") == 1
    assert world.served("one") == {WWW: ("192.0.2.3",)}


def test_other_zones_of_the_target_go_on(world: World) -> None:
    world.create("example.com.")
    freeze(world)
    world.put("www", "192.0.2.1")
    assert world.end_of(world.put("www", "192.0.2.1", zone="example.com.")).status is Status.ACTIVE
    sweep(world)
    assert world.served("one") == {}


def test_a_frozen_zone_is_not_repaired(world: World) -> None:
    freeze(world)
    world.servers["one"].edit("example.org.", remove=[("example.org.", "NS")], serial=7)
    asked = len(world.servers["one"].requests)
    with world.engine.begin() as connection:
        connection.execute(
            sa.update(delivery).values(must_read=True, due_at=sa.text("'2020-01-01 00:00:00.000000'"))
        )
    sweep(world)
    assert len(world.servers["one"].requests) == asked


def test_a_zone_that_was_deleted_while_it_was_frozen_goes_when_it_is_thawed(world: World) -> None:
    freeze(world)
    operation = world.submit("delete_zone")
    sweep(world)
    assert len(world.servers["one"].zones) == 1
    thaw(world)
    assert world.end_of(operation).status is Status.ACTIVE
    assert world.servers["one"].zones == {}
