"""Zones in which nothing changes are looked at, by serial and in full; promise 7 (self-healing)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dnsworker.backend import Capabilities, ZoneDelta
from dnsworker.comparison import records_of
from dnsworker.errors import ServerFailure
from dnsworker.names import Name
from dnsworker.records import SOA, RRset
from dnsworker.store import agenda, comparisons, stops
from tests.world import MemoryBackend, World, a_world

ZONE = Name("example.org.")
WWW = ("www.example.org.", "A")
STRANGER = RRset("stranger.example.org.", "A", 60, ["192.0.2.66"])
LONG_AGO = "'2020-01-01 00:00:00.000000'"
WRITES = {"apply", "create", "delete"}
MakeWorld = Callable[..., AbstractContextManager[World]]


@pytest.fixture
def make_world(tmp_path: Path) -> MakeWorld:
    def make(**options: Any) -> AbstractContextManager[World]:
        return a_world(tmp_path, "one", **options)

    return make


@pytest.fixture
def world(make_world: MakeWorld) -> Iterator[World]:
    with make_world() as world:
        at_rest(world)
        yield world


def at_rest(world: World) -> None:
    world.create()
    world.end_of(world.put("www", "192.0.2.1"))
    world.wait_for_zone("ACTIVE")
    world.deliver()
    world.servers["one"].requests.clear()


def set_rows(world: World, values: str, where: str = "1 = 1") -> None:
    with world.engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE delivery SET {values} WHERE {where}"))


def time_to_look(world: World, *, in_full: bool = False) -> None:
    """As after an hour, or a day, in which nothing changed."""
    unread = f", compared_at = {LONG_AGO}" if in_full else ""
    set_rows(world, f"compare_at = {LONG_AGO}{unread}")


def sweep(world: World) -> None:
    world.runtime.sweep()
    world.deliver()


def edit(world: World, *, by: int = 1, **more: Any) -> None:
    server = world.servers["one"]
    server.edit(ZONE, serial=server.zones[ZONE].soa.serial + by, **more)


def delivery_row(world: World) -> Any:
    return world.row("SELECT * FROM delivery")


def test_a_new_zone_counts_as_read_and_is_looked_at_later(world: World) -> None:
    row = delivery_row(world)
    assert row.compared_at is not None
    assert row.compare_at > row.compared_at
    sweep(world)
    assert world.servers["one"].requests == []


def test_a_look_at_what_is_as_it_was_left_costs_one_question_and_writes_nothing(world: World) -> None:
    before = world.row("SELECT look_at, looks, updated_at, revision FROM zone")
    time_to_look(world)
    sweep(world)
    row = delivery_row(world)
    assert world.servers["one"].requests == ["soa"]
    assert (row.owner, row.due_at, row.must_read) == (None, None, False)
    assert row.compare_at > "2026"
    assert world.row("SELECT look_at, looks, updated_at, revision FROM zone") == before
    sweep(world)
    assert world.servers["one"].requests == ["soa"]


@pytest.mark.parametrize("what", ["edited", "removed"])
def test_what_somebody_else_did_is_put_right_without_a_change_of_ours(world: World, what: str) -> None:
    if what == "edited":
        edit(world, by=-1, add=[STRANGER], remove=[WWW])
    else:
        del world.servers["one"].zones[ZONE]
    time_to_look(world)
    server = world.servers["one"]
    world.until(
        lambda: ZONE in server.zones and world.served("one") == {WWW: ("192.0.2.1",)}, "it was not repaired"
    )
    world.wait_for_zone("ACTIVE")
    assert world.zone()["targets"][0]["last_repair"]


def test_a_look_leaves_the_repair_to_a_delivery_and_to_its_rate(world: World) -> None:
    edit(world, add=[STRANGER])
    time_to_look(world)
    with world.engine.begin() as connection:
        connection.execute(sa.text("UPDATE target SET repairs_paid_us = 99999999999999999"))
    sweep(world)
    row = delivery_row(world)
    assert world.servers["one"].requests == ["soa"]
    assert (row.must_read, row.priority, row.owner) == (True, agenda.REPAIR, None)
    assert row.due_at is not None


def test_what_was_changed_under_the_same_serial_is_found_by_reading_all(world: World) -> None:
    edit(world, by=0, add=[STRANGER])
    time_to_look(world)
    sweep(world)
    assert STRANGER.key in world.served("one")
    time_to_look(world, in_full=True)
    world.until(lambda: STRANGER.key not in world.served("one"), "it was not found")


def test_an_empty_difference_from_the_target_is_no_comparison_in_full(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell_changes(world, monkeypatch, [])
    edit(world, by=0, add=[STRANGER])
    time_to_look(world, in_full=True)
    world.until(lambda: STRANGER.key not in world.served("one"), "it was not found")


def tell_changes(world: World, monkeypatch: pytest.MonkeyPatch, added: list[RRset]) -> None:
    """The target tells what was added since we left it (IXFR)."""
    server = world.servers["one"]

    def read_changes(_: MemoryBackend, zone: Name, since: SOA) -> ZoneDelta:
        found = server.zones[zone]
        there = {rrset.key: records_of(rrset) for rrset in added if rrset.key in found.rrsets}
        return ZoneDelta(found.soa, {}, there)

    monkeypatch.setattr(MemoryBackend, "read_changes", read_changes)
    server.capabilities = Capabilities(fencing="server", reads_changes=True)
    world.runtime._deliverer._shelf._backends.clear()  # those that there are can't do it yet


def test_a_target_that_cannot_be_reached_is_looked_at_later_and_is_no_failed_delivery(world: World) -> None:
    world.servers["one"].is_down = True
    time_to_look(world)
    sweep(world)
    row = delivery_row(world)
    assert (row.attempts, row.due_at, row.owner, row.last_error) == (0, None, None, None)
    assert row.compare_at > "2026"
    assert world.row("SELECT failures FROM target").failures == 1
    assert world.zone()["status"] == "ACTIVE"


def test_a_zone_that_the_target_fails_to_serve_is_read_and_said(world: World) -> None:
    server = world.servers["one"]

    def fail(what: str) -> None:
        if what in ("soa", "read"):
            raise ServerFailure("SERVFAIL")

    server.before_request = fail
    time_to_look(world)
    world.until(lambda: bool(delivery_row(world).attempts), "nothing was tried")
    assert delivery_row(world).last_error == "SERVFAIL"


def test_a_frozen_zone_is_not_looked_at(world: World) -> None:
    with world.engine.begin() as connection:
        stops.freeze(connection, 1, None)
    time_to_look(world, in_full=True)
    assert world.runtime.sweep()["targets"] == 0
    world.runtime.deliver("one")
    assert world.servers["one"].requests == []


def test_a_look_that_was_lost_with_its_worker_becomes_a_delivery(world: World) -> None:
    time_to_look(world)
    with world.engine.begin() as connection:
        lost = comparisons.claim_look(
            connection, 1, "one", owner=4242, lease_s=-1.0, full_s=1e6, tells_by_serial=True
        )
        again = comparisons.claim_look(
            connection, 1, "one", owner=4242, lease_s=60.0, full_s=1e6, tells_by_serial=True
        )
    assert lost is not None
    assert again is not None
    assert (lost.is_look, again.is_look) == (True, False)
    assert delivery_row(world).must_read


def test_a_change_that_comes_during_a_look_is_not_lost(world: World) -> None:
    time_to_look(world)
    operations: list[str] = []
    server = world.servers["one"]

    def change(what: str) -> None:
        if what == "soa" and not operations:
            operations.append(world.put("new", "192.0.2.2"))

    server.before_request = change
    sweep(world)
    assert operations
    assert world.end_of(operations[0]).status.has_succeeded


@pytest.mark.parametrize(("by", "is_ahead"), [(1, False), (7000, True)], ids=["an edit", "our lost work"])
def test_what_a_later_database_may_have_written_is_not_undone(
    world: World, by: int, is_ahead: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a backup was restored, IXFR explains all that was done since; but we did it ourselves."""
    tell_changes(world, monkeypatch, [STRANGER])
    set_zone_back(world, 7200)
    edit(world, by=by, add=[STRANGER])
    time_to_look(world)
    if is_ahead:
        world.until(lambda: delivery_row(world).state == "ahead", "it is not ahead")
        assert STRANGER.key in world.served("one")
    else:
        world.until(lambda: STRANGER.key not in world.served("one"), "it was not repaired")


def set_zone_back(world: World, seconds: int) -> None:
    """The zone was changed last so long ago, as its serial says."""
    server = world.servers["one"]
    server.edit(ZONE, serial=server.zones[ZONE].soa.serial - seconds)
    with world.engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE zone SET serial = serial - {seconds}"))
        connection.execute(sa.text("UPDATE delivery SET soa = :soa"), {"soa": server.zones[ZONE].soa.rdata})


# --- on_drift -----------------------------------------------------------------------------------------------


def test_with_report_it_is_told_and_nothing_is_written(make_world: MakeWorld) -> None:
    with make_world(pool={"on_drift": "report"}) as world:
        at_rest(world)
        edit(world, add=[STRANGER])
        time_to_look(world)
        shown = world.wait_for_zone("DEGRADED")
        assert shown["targets"][0]["drift"] == "1 RRsets differ: stranger.example.org. A"
        assert WRITES.isdisjoint(world.servers["one"].requests)


def test_with_report_a_zone_that_is_gone_stays_away_until_it_changes(make_world: MakeWorld) -> None:
    with make_world(pool={"on_drift": "report"}) as world:
        at_rest(world)
        del world.servers["one"].zones[ZONE]
        time_to_look(world)
        assert world.wait_for_zone("DEGRADED")["targets"][0]["drift"] == "the zone is gone"
        assert WRITES.isdisjoint(world.servers["one"].requests)
        world.end_of(world.put("new", "192.0.2.2"))
        assert set(world.served("one")) == {WWW, ("new.example.org.", "A")}
        assert world.wait_for_zone("ACTIVE")["targets"][0]["drift"] is None


def test_with_ignore_nobody_looks(make_world: MakeWorld) -> None:
    with make_world(pool={"on_drift": "ignore"}) as world:
        at_rest(world)
        time_to_look(world, in_full=True)
        assert world.runtime.sweep()["targets"] == 0
        world.runtime.deliver("one")
        assert world.servers["one"].requests == []


def test_the_serial_of_others_is_not_followed_where_they_are_expected(make_world: MakeWorld) -> None:
    with make_world(pool={"ignore": [{"name": "stranger"}]}) as world:
        at_rest(world)
        edit(world, by=7, add=[STRANGER])
        serial = world.zone()["serial"]
        time_to_look(world)
        world.until(lambda: "read" in world.servers["one"].requests, "it was not read")
        world.until(lambda: delivery_row(world).due_at is None, "it did not end")
        assert WRITES.isdisjoint(world.servers["one"].requests)
        assert world.zone()["serial"] == serial
        world.end_of(world.put("new", "192.0.2.2"))
        assert world.zone()["serial"] > serial + 7


# --- a server that was wiped --------------------------------------------------------------------------------


def test_a_wiped_server_is_noticed_by_one_change_and_filled_again(world: World) -> None:
    zones = [Name(f"z{number}.example.") for number in range(2 * comparisons.HASTENED // 10)]
    for zone in zones:
        world.submit("create_zone", zone=zone, email="hostmaster@example.net")
    server = world.servers["one"]
    world.until(lambda: len(server.zones) == len(zones) + 1, "they were not created")
    server.zones.clear()
    world.end_of(world.put("new", "192.0.2.2"))
    world.until(lambda: len(server.zones) == len(zones) + 1, "the others did not come back")


def test_only_some_zones_are_hastened_for_one_that_is_gone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparisons, "HASTENED", 3)
    for number in range(6):
        world.submit("create_zone", zone=f"z{number}.example.", email="hostmaster@example.net")
    world.until(lambda: len(world.servers["one"].zones) == 7, "they were not created")
    with world.engine.begin() as connection:
        assert comparisons.hasten(connection, 1) == 3
    assert (
        world.row("SELECT count(*) FROM delivery WHERE compare_at <= strftime('%Y-%m-%d %H:%M:%f000')")[0]
        == 3
    )


# --- cost ---------------------------------------------------------------------------------------------------


def test_the_sweep_finds_what_is_stale_and_due_by_index(world: World) -> None:
    statements: list[tuple[str, Any]] = []
    with world.engine.connect() as connection:
        connection.execute(sa.text("ANALYZE"))

        def note(conn: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
            statements.append((statement, parameters))

        sa.event.listen(connection, "before_cursor_execute", note)
        priorities = (agenda.CHANGE, agenda.REPAIR)
        agenda.targets_with_due(connection, priorities=priorities, looked_at=["one"])
        agenda.in_background(connection, 1)
        comparisons.mass_ahead(connection)
        comparisons.hasten(connection, 1)
        sa.event.remove(connection, "before_cursor_execute", note)
        used: set[str] = set()
        for statement, parameters in statements:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            for step in [row.detail for row in plan if "delivery" in row.detail]:
                assert step.startswith("SEARCH") or "USING COVERING INDEX" in step, f"{step}: {statement}"
                used |= {index for index in ("due", "compare", "ahead") if f"ix_delivery_{index}" in step}
    assert used == {"due", "compare", "ahead"}
