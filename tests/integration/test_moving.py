"""A zone on its way from one pool to another: nothing is lost, and nothing is removed too early."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dnsworker.cancellation import cancel
from dnsworker.desired import moving
from dnsworker.errors import RecordRejected, TooLate
from dnsworker.names import Name
from dnsworker.operations import Status
from dnsworker.pools import Pool
from dnsworker.records import RRset
from dnsworker.serials import is_ahead
from dnsworker.standing import read_standing
from dnsworker.store import claims, journal, pools, stops, zones
from tests.world import MemoryServer, World, a_world, settle

ZONE = Name("example.org.")
WWW = ("www.example.org.", "A")
NEW = {"name": "new", "ns_records": [{"hostname": "ns1.new.example."}, {"hostname": "ns2.new.example."}]}


def add_pool(world: World, *targets: str, **more: Any) -> None:
    document = NEW | {"targets": [{"name": name, "type": "memory"} for name in targets]} | more
    with world.engine.begin() as connection:
        pools.apply(connection, [Pool.model_validate(document)])
    for name in targets:
        world.servers.setdefault(name, MemoryServer())
    world.runtime.reload_pools()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """The zone is in pool `default` with target `one`; pool `new` has the target `two`."""
    with a_world(tmp_path, "one") as world:
        add_pool(world, "two")
        world.create()
        world.end_of(world.put("www", "192.0.2.1"))
        world.wait_for_zone("ACTIVE")
        yield world


def move(world: World, **arguments: Any) -> str:
    return world.submit("move_zone", to="new", **arguments)


def refusal(world: World, kind: str, **arguments: Any) -> str:
    outcome = world.show(world.submit(kind, **arguments))
    assert outcome.status is Status.ERROR
    return f"{outcome.code}: {outcome.message}"


def ns(world: World, target: str) -> tuple[str, ...]:
    return world.servers[target].zones[ZONE].rrsets[ZONE, "NS"].data


def phase(world: World) -> str:
    return str(world.row("SELECT phase FROM move").phase)


def pool_of(world: World) -> str:
    return str(world.zone()["pool"])


def assert_moved(world: World) -> None:
    """The zone is whole in the new pool, with its NS and under later serials, and gone from the old one."""
    assert ZONE not in world.servers["one"].zones
    assert world.served("two") == world.records()
    assert ns(world, "two") == ("ns1.new.example.", "ns2.new.example.")
    assert is_ahead(world.zone()["serial"], world.servers["one"].serials[ZONE][-1])
    assert pool_of(world) == "new"
    assert (phase(world), world.zone()["moving"]) == ("done", None)


def assert_unmoved(world: World) -> None:
    """The zone is where it was, as it was, and can be changed and moved."""
    world.until(lambda: ZONE not in world.servers["two"].zones, "it stayed in the new pool")
    assert (pool_of(world), world.zone()["moving"], phase(world)) == ("default", None, "given up")
    assert "delete" not in world.servers["one"].requests
    assert world.served("one") == world.records()


def test_a_zone_moves(world: World) -> None:
    outcome = world.end_of(move(world))
    assert (outcome.status, outcome.message, outcome.pool) == (Status.ACTIVE, None, "new")
    assert_moved(world)
    assert world.wait_for_zone("ACTIVE")["primary"] == "ns1.new.example."
    assert "delete" not in world.servers["two"].requests
    first, last = world.servers["two"].serials[ZONE][0], world.servers["one"].serials[ZONE][-1]
    assert is_ahead(first, last)
    world.end_of(world.put("www", "192.0.2.2"))
    assert world.served("two") == {WWW: ("192.0.2.2",)}


@pytest.mark.parametrize("url", ["database_url", "mariadb_url"])
def test_a_zone_moves_on_the_servers_databases(
    tmp_path: Path, url: str, request: pytest.FixtureRequest
) -> None:
    with a_world(tmp_path, "one", url=request.getfixturevalue(url)) as world:
        add_pool(world, "two")
        world.create()
        operation = move(world)
        world.put("www", "192.0.2.2")
        assert world.end_of(operation).status is Status.ACTIVE
        assert_moved(world)


def test_it_is_not_removed_before_the_new_pool_answers_with_it(world: World) -> None:
    world.servers["two"].is_down = True
    operation = move(world)
    world.until(lambda: "two" in str(world.show(operation).message), "nobody tried")
    world.until(lambda: "nobody answers" in str(world.show(operation).message), "nobody said why")
    outcome = world.show(operation)
    assert outcome.status is Status.ACCEPTED
    assert str(outcome.message).startswith(
        "being delivered to pool new; still served by default: target two: nobody answers; next attempt at"
    )
    assert operation in world.zone()["moving"]
    world.runtime.sweep()
    assert "delete" not in world.servers["one"].requests
    assert world.zone()["status"] == "ACTIVE"
    world.servers["two"].is_down = False
    assert world.end_of(operation).status is Status.ACTIVE
    assert_moved(world)


def test_what_is_changed_meanwhile_goes_to_the_old_pool_and_along(world: World) -> None:
    world.servers["two"].is_down = True
    operation = move(world)
    changes = [
        world.put("www", "192.0.2.2"), world.put("mail", "192.0.2.3"), world.put("www", "192.0.2.4"),
        world.submit("update_zone", refresh=7200, email="other@example.net"),
    ]  # fmt: skip
    assert all(world.end_of(one).status.has_succeeded for one in changes)
    assert world.served("one") == {WWW: ("192.0.2.4",), ("mail.example.org.", "A"): ("192.0.2.3",)}
    assert world.show(operation).status is Status.ACCEPTED
    world.servers["two"].is_down = False
    world.end_of(operation)
    assert_moved(world)
    assert (world.zone()["refresh"], world.zone()["email"]) == (7200, "other@example.net")


def test_a_zone_that_changes_all_the_time_arrives_with_every_change_in_order(world: World) -> None:
    """Each request of the new pool's target is preceded by a change of the old zone."""
    sent: list[str] = []

    def change(_: str) -> None:
        if len(sent) < 40:
            sent.append(world.put(f"n{len(sent) % 3}", f"198.51.100.{len(sent)}"))

    world.servers["two"].before_request = change
    operation = move(world)
    assert world.end_of(operation).status is Status.ACTIVE
    assert len(sent) > moving.MAX_COPIES
    world.servers["two"].before_request = lambda what: None
    assert all(world.end_of(one).status.has_succeeded for one in sent)
    last = {f"n{number % 3}.example.org.": f"198.51.100.{number}" for number in range(len(sent))}
    assert world.records() == {WWW: ("192.0.2.1",)} | {(name, "A"): (value,) for name, value in last.items()}
    world.wait_for_zone("ACTIVE")
    assert_moved(world)


def test_what_was_handed_over_unverified_and_is_refused_is_taken_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "MAX_COPIES", 1)
    server = world.servers["two"]
    server.judge = lambda rrsets: (
        RecordRejected("not here") if any(one.name == "bad.example.org." for one in rrsets) else None
    )
    world.servers["one"].is_down = True
    sent: list[str] = []

    def change(_: str) -> None:
        if not sent:
            wishes = [("bad", "192.0.2.66"), ("good", "192.0.2.5")]
            sent.extend(world.put(name, value) for name, value in wishes)

    server.before_request = change
    operation = move(world)
    world.until(lambda: phase(world) == "removing", "it was not handed over")
    assert world.end_of(sent[0]).code == "RecordRejected"
    assert world.end_of(sent[1]).status is Status.ACTIVE
    with world.engine.connect() as connection:  # what it did to the new one alone, and the taking back
        assert len(journal.of_operation(connection, 2, sent[0])) == 2
    assert world.served("two") == {WWW: ("192.0.2.1",), ("good.example.org.", "A"): ("192.0.2.5",)}
    world.servers["one"].is_down = False
    world.end_of(operation)
    assert_moved(world)


def test_what_waited_in_a_dead_pool_is_done_in_the_new_one(world: World) -> None:
    """The way out of a pool that is lost; whoever deletes its target ends the waiting for it."""
    world.servers["one"].is_down = True
    first, second = world.put("www", "192.0.2.2"), world.put("www", "192.0.2.3")
    operation = move(world)
    assert world.end_of(first).status is Status.SUPERSEDED
    assert world.end_of(second).status is Status.ACTIVE
    assert pool_of(world) == "new"
    outcome = world.show(operation)
    assert outcome.status is Status.ACCEPTED
    assert str(outcome.message).startswith("verified in pool new; being removed from default: target one:")
    with pytest.raises(TooLate, match="the zone is verified in pool new; being removed from default"):
        cancel(world.engine, operation)
    said = refusal(world, "create_zone", email="hostmaster@example.net", pool="default")
    assert "ZoneIsMoving: zone example.org. was moved away from pool default and is still being" in said
    world.servers["one"].is_down = False
    assert world.end_of(operation).status is Status.ACTIVE
    assert_moved(world)


def test_it_is_not_done_before_every_target_of_the_old_pool_has_removed_it(tmp_path: Path) -> None:
    with a_world(tmp_path, "one", "other", pool={"threshold_percentage": 50}) as world:
        add_pool(world, "two")
        world.create()
        world.wait_for_zone("ACTIVE")
        world.servers["other"].is_down = True
        operation = move(world)
        world.until(lambda: ZONE not in world.servers["one"].zones, "it was not removed")
        world.deliver()
        world.runtime.sweep()
        assert world.show(operation).status is Status.ACCEPTED
        assert "target other: nobody answers" in str(world.show(operation).message)
        world.servers["other"].is_down = False
        assert world.end_of(operation).status is Status.ACTIVE
        assert ZONE not in world.servers["other"].zones


def test_a_worker_that_dies_leaves_all_to_the_next(world: World) -> None:
    """Only what the rows say goes on: no wake-up, no memory."""

    class Killed(BaseException):
        pass

    operation = move(world)
    for _ in range(40):
        if world.show(operation).status.is_final:
            break

        def die(_: str) -> None:
            for server in world.servers.values():
                server.before_request = lambda what: None
            raise Killed

        for server in world.servers.values():
            server.before_request = die
        try:
            world.deliver()
        except Killed:
            with world.engine.begin() as connection:  # as `free_dead_owner` of the next sweep
                claims.release_owner(connection, world.runtime._lock.owner)
        for server in world.servers.values():
            server.before_request = lambda what: None
        world.signals.woken.clear()
        world.runtime.sweep()
    assert world.end_of(operation).status is Status.ACTIVE
    assert_moved(world)


# --- ending a move ------------------------------------------------------------------------------------------


def test_a_move_is_cancelled_and_the_new_pool_cleared(tmp_path: Path) -> None:
    with a_world(tmp_path, "one") as world:
        add_pool(world, "two", "three")
        world.create()
        world.wait_for_zone("ACTIVE")
        world.servers["three"].is_down = True
        operation = move(world)
        world.until(lambda: ZONE in world.servers["two"].zones, "it came to no target")
        world.deliver()
        meanwhile = world.put("www", "192.0.2.2")
        world.end_of(meanwhile)
        assert cancel(world.engine, operation, "no").targets == ("two", "three")
        assert world.show(operation).code == "Cancelled"
        assert_unmoved(world)
        assert world.records() == {WWW: ("192.0.2.2",)}
        world.servers["three"].is_down = False
        again = move(world)
        assert world.end_of(again).status is Status.ACTIVE
        assert world.served("three") == world.records()
        assert is_ahead(
            world.servers["two"].serials[ZONE][-1], world.servers["one"].serials[ZONE][-1]
        )  # fmt: skip


def test_what_the_new_pool_refuses_ends_the_move(world: World) -> None:
    world.servers["two"].judge = lambda rrsets: (
        RecordRejected("no addresses") if any(one.type == "A" for one in rrsets) else None
    )
    outcome = world.end_of(move(world))
    assert (outcome.status, outcome.code) == (Status.ERROR, "RecordRejected")
    assert_unmoved(world)
    world.servers["two"].judge = lambda rrsets: None
    world.end_of(move(world))
    assert pool_of(world) == "new"


def test_somebodys_zone_at_the_new_target_is_left_alone(world: World) -> None:
    stranger = RRset(ZONE, "TXT", 60, ['"mine"'])
    theirs = world.servers["one"].zones[ZONE]
    world.servers["two"].show(theirs)
    world.servers["two"].edit(ZONE, add=[stranger])
    outcome = world.end_of(move(world))
    assert outcome.code == "ZoneExists"
    world.runtime.sweep()
    assert stranger.key in world.servers["two"].zones[ZONE].rrsets
    assert (pool_of(world), phase(world)) == ("default", "given up")
    assert world.end_of(move(world, force=True)).status is Status.ACTIVE
    assert world.served("two") == world.records()


def test_a_move_ends_with_the_zones_creation(tmp_path: Path) -> None:
    with a_world(tmp_path, "one") as world:
        add_pool(world, "two")
        world.servers["one"].is_down = world.servers["two"].is_down = True
        creation = world.submit("create_zone", email="hostmaster@example.net")
        operation = move(world)
        cancel(world.engine, creation)
        world.servers["two"].is_down = False
        assert world.end_of(operation).code == "ZoneNotFound"
        world.until(lambda: ZONE not in world.servers["two"].zones, "it stayed in the new pool")


# --- what is refused ----------------------------------------------------------------------------------------


def test_what_cannot_be_moved_is_refused_in_one_line(world: World) -> None:
    assert "zone example.org. is in pool default already" in refusal(world, "move_zone", to="default")
    assert "PoolNotFound: no pool 'elsewhere'" in refusal(world, "move_zone", to="elsewhere")
    assert "ZoneNotFound" in refusal(world, "move_zone", to="new", zone="example.com.")
    world.succeed("create_zone", zone="example.net.", pool="new", email="a@example.net")
    world.succeed("create_zone", zone="example.net.", pool="default", email="a@example.net")
    said = refusal(world, "move_zone", zone="example.net.", to="new", pool="default")
    assert said == "ZoneExists: pool new has a zone example.net. of its own"
    assert "AmbiguousZone" in refusal(world, "move_zone", zone="example.net.", to="new")
    with world.engine.begin() as connection:
        stops.freeze(connection, 1, None)
    assert "is frozen by operator: thaw it first" in refusal(world, "move_zone", to="new")


def test_while_a_zone_moves_it_is_neither_deleted_nor_moved_nor_made(world: World) -> None:
    world.servers["two"].is_down = True
    operation = move(world)
    for kind, arguments in [("delete_zone", {}), ("move_zone", {"to": "new"})]:
        said = refusal(world, kind, **arguments)
        assert said.startswith("ZoneIsMoving: zone example.org. is being moved to another pool (operation ")
    for kind, arguments in [
        ("create_zone", {"email": "a@example.net"}),
        ("put_record", {"name": "www", "type": "A", "data": ["192.0.2.9"]}),
        ("delete_zone", {}),
        ("import_zone", {"text": "@ A 192.0.2.1\n", "email": "a@example.net"}),
    ]:
        said = refusal(world, kind, pool="new", **arguments)
        assert said.startswith("ZoneIsMoving: zone example.org. is on its way to pool new (operation "), kind
    cancel(world.engine, operation)
    assert_unmoved_soon(world)
    world.succeed("delete_zone")


def assert_unmoved_soon(world: World) -> None:
    world.servers["two"].is_down = False
    assert_unmoved(world)


def test_two_pools_on_one_server_are_refused(tmp_path: Path, world: World) -> None:
    folder = tmp_path / "zones"
    folder.mkdir()
    files = [{"name": name, "type": "zonefile", "options": {"folder": str(folder)}} for name in ("a", "b")]
    for name, target in zip(("left", "right"), files, strict=True):
        add_pool(world, name=name, targets=[target])
    world.submit("create_zone", zone="example.net.", pool="left", email="a@example.net")
    said = refusal(world, "move_zone", zone="example.net.", to="right")
    assert "target b of pool right and target a of left are one server" in said


# --- what both pools have -----------------------------------------------------------------------------------


def test_a_server_that_both_pools_have_keeps_the_zone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under two names that nothing tells apart from two servers."""
    # Who looks by the pool as it was finds nobody to ask, and has to notice.
    monkeypatch.setattr(pools, "REFRESH_S", 3600.0)
    world.servers["two"] = world.servers["one"]
    operation = move(world, force=True)
    world.until(lambda: "seems to be a server of pool new" in str(world.show(operation).message), "no word")
    assert "delete" not in world.servers["one"].requests
    assert ZONE in world.servers["one"].zones
    document = {"name": "default", "ns_records": [{"hostname": "ns1.example.net."}]}
    other = {"targets": [{"name": "other", "type": "memory"}]}
    with world.engine.begin() as connection:
        pools.apply(connection, [Pool.model_validate(document | other)], detach=True)
    assert world.end_of(operation).status is Status.ACTIVE
    assert "delete" not in world.servers["one"].requests


def test_a_nameserver_that_both_pools_ask_needs_not_lose_the_zone(world: World) -> None:
    """It answers for the new pool; of the removal only the others, or the targets, are witnesses."""
    world.servers["one"].is_down = True
    move(world)
    world.until(lambda: phase(world) == "removing", "it was not taken over")
    for server, expected in [("192.0.2.1", ["192.0.2.9:53"]), ("192.0.2.9", ["target one"])]:
        add_pool(world, "two", nameservers=[{"host": server}])
        document = {"name": "default", "ns_records": [{"hostname": "ns1.example.net."}],
                    "nameservers": [{"host": "192.0.2.9"}]}  # fmt: skip
        targets = {"targets": [{"name": "one", "type": "memory"}]}
        with world.engine.begin() as connection:
            pools.apply(connection, [Pool.model_validate(document | targets)])
            known = next(one for one in pools.read(connection) if one.pool.name == "default")
            zone = zones.find(connection, ZONE, [known.id])[0]
            standing = read_standing(connection, known, zone)
        assert [one.name for one in standing.witnesses] == expected


def test_there_and_back_the_serial_only_rises(world: World) -> None:
    for pool in ("new", "default", "new"):
        assert world.end_of(world.submit("move_zone", to=pool)).status is Status.ACTIVE
        assert pool_of(world) == pool
    for server in world.servers.values():
        shown = server.serials[ZONE]
        assert all(is_ahead(after, before) for before, after in itertools.pairwise(shown))
    assert world.served("two") == {WWW: ("192.0.2.1",)}


def test_who_has_the_old_zone_locked_is_not_waited_for(tmp_path: Path, database_url: str) -> None:
    """An intake waits for both zones of the name, in the order of their ids."""
    with a_world(tmp_path, "one", url=database_url) as world:
        add_pool(world, "two")
        world.create()
        world.wait_for_zone("ACTIVE")
        operation = move(world)
        with world.engine.connect() as connection:
            source, copy = sorted(zones.ids_named(connection, [ZONE])[ZONE])
        with world.engine.begin() as busy:
            zones.lock(busy, source)
            world.until(lambda: bool(world.servers["two"].zones), "it was not delivered")
            with world.engine.begin() as connection:
                connection.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
                known = next(one for one in pools.read(connection) if one.pool.name == "new")
                assert settle(connection, known, copy).is_waiting
            assert phase(world) == "delivering"
        assert world.end_of(operation).status is Status.ACTIVE


def test_the_serial_is_above_whatever_either_pool_has_shown(world: World) -> None:
    world.succeed("create_zone", pool="new", email="hostmaster@example.net")
    world.succeed("delete_zone", pool="new")
    shown = world.zone()["serial"]
    with world.engine.begin() as connection:
        zones.update(connection, 1, seen_serial=shown + 100_000)
        zones.update(connection, 2, seen_serial=shown + 50_000)
    world.servers["two"].is_down = True
    operation = move(world)
    world.servers["two"].is_down = False
    world.end_of(operation)
    assert world.zone()["serial"] == world.servers["two"].serials[ZONE][-1] > shown + 100_000


def test_what_is_changed_meanwhile_goes_along_below_a_later_serial(world: World) -> None:
    """The copy may be far ahead of whatever the old pool gives itself."""
    world.succeed("create_zone", pool="new", email="hostmaster@example.net")
    world.succeed("delete_zone", pool="new")
    with world.engine.begin() as connection:
        zones.update(connection, 2, seen_serial=world.zone()["serial"] + 100_000)
    world.servers["two"].is_down = True
    operation = move(world)
    world.end_of(world.put("www", "192.0.2.2"))
    world.servers["two"].is_down = False
    world.end_of(operation)
    assert world.records() == {WWW: ("192.0.2.2",)}
    assert_moved(world)


def test_a_frozen_zone_stays_between_the_pools(world: World) -> None:
    both = [1, 2]

    def freeze(what: str) -> None:
        if what == "create":
            with world.engine.begin() as connection:
                for zone_id in both:
                    stops.freeze(connection, zone_id, None)

    world.servers["two"].before_request = freeze
    operation = move(world)
    world.until(lambda: ZONE in world.servers["two"].zones, "it was not delivered")
    with world.engine.begin() as connection:
        known = next(one for one in pools.read(connection) if one.pool.name == "new")
        settle(connection, known, 2)
    assert phase(world) == "delivering"
    assert str(world.zone()["frozen"]) == "frozen by operator"
    with world.engine.begin() as connection:
        for zone_id in both:
            stops.thaw(connection, zone_id)
    assert world.end_of(operation).status is Status.ACTIVE
    assert_moved(world)
