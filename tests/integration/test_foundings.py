"""New zones made together: each arrives, and what turns out otherwise is in nobody's way."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from dnsworker import retry
from dnsworker.contents import ZoneContents
from dnsworker.convergence import founding
from dnsworker.errors import Busy, RecordRejected, ServerFailure
from dnsworker.names import Name
from dnsworker.operations import Status
from dnsworker.records import SOA, RRset
from dnsworker.store import convoys
from tests.world import World, a_world

TARGET = {"name": "one", "type": "memory", "options": {"can": {"creates_together": 8}}}
ZONES = [f"z{number}.example." for number in range(5)]
SOMEBODY = SOA.from_rdata("ns.elsewhere.net. a.elsewhere.net. 7 3600 600 86400 3600", 3600)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path, "one", pool={"targets": [TARGET]}) as world:
        yield world


def create_all(world: World) -> list[str]:
    return [world.submit("create_zone", zone=zone, email="hostmaster@example.net") for zone in ZONES]


def ends_of(world: World, operations: list[str]) -> set[Status]:
    return {world.end_of(one).status for one in operations}


def column(world: World, query: str) -> list[object]:
    with world.engine.connect() as connection:
        return list(connection.execute(sa.text(query)).scalars())


def test_new_zones_take_one_claim_each_and_arrive(world: World) -> None:
    operations = create_all(world)
    world.runtime.deliver("one")
    assert set(world.servers["one"].zones) == {Name(zone) for zone in ZONES}
    assert column(world, "SELECT epoch FROM delivery") == [1] * len(ZONES)
    # All are looked for before the first is made, and each is read back.
    count = len(ZONES)
    assert world.servers["one"].requests[: 3 * count] == ["read"] * count + ["create", "read"] * count
    assert ends_of(world, operations) == {Status.ACTIVE}
    assert None not in column(world, "SELECT compared_at FROM delivery")


def test_a_zone_of_somebody_else_is_left_alone_and_the_others_arrive(world: World) -> None:
    theirs = ZoneContents.of(Name(ZONES[2]), SOMEBODY, [RRset(f"www.{ZONES[2]}", "A", 60, ["192.0.2.66"])])
    world.servers["one"].zones[Name(ZONES[2])] = theirs
    operations = create_all(world)
    assert ends_of(world, operations[:2] + operations[3:]) == {Status.ACTIVE}
    assert world.end_of(operations[2]).code == "ZoneExists"
    assert world.servers["one"].zones[Name(ZONES[2])] == theirs


def test_a_zone_with_a_refused_record_is_made_without_it_and_the_others_arrive(world: World) -> None:
    bad = "192.0.2.66"
    world.servers["one"].judge = lambda rrsets: (
        RecordRejected("not that one") if any(bad in one.data for one in rrsets) else None
    )
    operations = create_all(world)
    refused = world.put("www", bad, zone=ZONES[1])
    assert ends_of(world, operations) == {Status.ACTIVE}
    assert world.end_of(refused).code == "RecordRejected"
    assert set(world.servers["one"].zones) == {Name(zone) for zone in ZONES}
    assert world.served("one", ZONES[1]) == {}


def test_an_answer_that_was_lost_is_looked_for(world: World) -> None:
    world.servers["one"].answers_to_lose = 2
    assert ends_of(world, create_all(world)) == {Status.ACTIVE}
    assert set(world.servers["one"].zones) == {Name(zone) for zone in ZONES}


def test_what_the_server_drops_without_a_word_is_not_taken_for_arrived(world: World) -> None:
    world.servers["one"].forgets = {(Name(ZONES[3]), "NS")}
    operations = create_all(world)
    assert ends_of(world, operations[:3] + operations[4:]) == {Status.ACTIVE}
    assert world.end_of(operations[3]).status == Status.ERROR


def test_a_target_that_is_down_costs_one_attempt_at_a_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Else a pause is of 0 to some 10 ms, and may be over before the next attempt is looked for.
    monkeypatch.setattr(retry, "back_off", lambda *_, **__: 600.0)
    server = world.servers["one"]
    server.is_down = True
    operations = create_all(world)
    world.runtime.deliver("one")
    # The breaker counts each attempt, and lets no more through: not each zone had one; and nothing is held.
    assert column(world, "SELECT failures FROM target") == [world.settings.breaker_failures]
    assert sorted(column(world, "SELECT attempts FROM delivery")) == [0, 0, 1, 1, 1]
    assert column(world, "SELECT DISTINCT state FROM delivery") == ["never"]
    assert column(world, "SELECT count(*) FROM delivery WHERE owner IS NOT NULL") == [0]
    server.is_down = False
    monkeypatch.undo()
    with world.engine.begin() as connection:
        connection.execute(sa.text("UPDATE target SET open_until = '2020-01-01 00:00:00.000000'"))
        connection.execute(sa.text("UPDATE delivery SET due_at = '2020-01-01 00:00:00.000000'"))
    assert ends_of(world, operations) == {Status.ACTIVE}


def test_nothing_is_claimed_for_a_target_that_is_in_trouble(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each wake-up would claim some dozen zones and give them up again: at the others' cost."""
    world.servers["one"].is_down = True
    operations = create_all(world)
    world.runtime.deliver("one")
    with world.engine.begin() as connection:
        connection.execute(sa.text("UPDATE target SET open_until = '2100-01-01 00:00:00.000000'"))
    world.runtime.deliver("one")
    monkeypatch.setattr(convoys, "claim_new", lambda *_, **__: pytest.fail("claimed"))
    world.runtime.deliver("one")
    monkeypatch.undo()
    world.servers["one"].is_down = False
    with world.engine.begin() as connection:
        connection.execute(sa.text("UPDATE target SET open_until = NULL, failures = 0"))
    assert ends_of(world, operations) == {Status.ACTIVE}


def test_one_that_had_waited_for_the_target_goes_along_again(world: World) -> None:
    with world.engine.begin() as connection:
        connection.execute(sa.text("UPDATE target SET paused_at = '2020-01-01 00:00:00.000000'"))
    operations = create_all(world)
    with world.engine.begin() as connection:
        connection.execute(sa.text("UPDATE delivery SET attempts = 5, last_code = 'Unreachable'"))
        connection.execute(sa.text("UPDATE target SET paused_at = NULL"))
    world.runtime.deliver("one")
    assert column(world, "SELECT epoch FROM delivery") == [1] * len(ZONES)
    assert column(world, "SELECT DISTINCT attempts FROM delivery") == [0]
    assert ends_of(world, operations) == {Status.ACTIVE}


def test_a_zone_that_a_server_failed_on_is_tried_alone(world: World) -> None:
    fails = [True, True, True]
    world.servers["one"].judge = lambda rrsets: (
        ServerFailure("no idea") if any(one.name == ZONES[0] for one in rrsets) and fails.pop() else None
    )
    operations = create_all(world)
    assert ends_of(world, operations[1:]) == {Status.ACTIVE}
    # Of the others' rows nothing tells of the failure.
    attempts = "SELECT DISTINCT attempts FROM delivery JOIN zone ON zone.id = zone_id WHERE name <> :name"
    with world.engine.connect() as connection:
        assert list(connection.execute(sa.text(attempts), {"name": ZONES[0]}).scalars()) == [0]
    fails[:] = [False] * 50
    assert world.end_of(operations[0]).status == Status.ACTIVE


def test_a_server_that_is_busy_for_a_moment_is_asked_again_at_once(world: World) -> None:
    busy = [False, False, True, True, False]
    world.servers["one"].judge = lambda rrsets: Busy("locked") if busy and busy.pop() else None
    operations = create_all(world)
    world.runtime.deliver("one")
    assert column(world, "SELECT DISTINCT attempts FROM delivery") == [0]
    assert column(world, "SELECT epoch FROM delivery") == [1] * len(ZONES)
    assert ends_of(world, operations) == {Status.ACTIVE}


def test_what_stays_behind_has_its_turn_while_others_go_together(world: World) -> None:
    """A zone that goes by itself isn't passed over for as long as there are new ones."""
    (first,) = [world.submit("create_zone", zone=ZONES[0], email="hostmaster@example.net")]
    with world.engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE delivery SET state = 'creating', due_at = '2020-01-01 00:00:00.000000'")
        )
    names = itertools.count()

    def one_more(what: str) -> None:  # there is always another one to make
        if what == "create" and not world.show(first).status.is_final and next(names) < 200:
            world.submit("create_zone", zone=f"more{next(names)}.example.", email="hostmaster@example.net")

    world.servers["one"].before_request = one_more
    world.submit("create_zone", zone="more.example.", email="hostmaster@example.net")
    assert world.end_of(first).status == Status.ACTIVE
    assert next(names) < 200


def test_when_the_time_is_over_the_rest_is_given_back_untried(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter([False, False, True])
    monkeypatch.setattr(founding, "is_over", lambda begun: next(moments, False))
    operations = create_all(world)
    world.runtime.deliver("one")
    # Two were made, three came again, together: nobody was read more often than that.
    assert sorted(column(world, "SELECT epoch FROM delivery")) == [1, 1, 2, 2, 2]
    assert column(world, "SELECT DISTINCT attempts FROM delivery") == [0]
    assert ends_of(world, operations) == {Status.ACTIVE}


def test_a_worker_that_was_replaced_writes_nothing_down(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(founding, "RENEW_AFTER_S", 0.0)
    server = world.servers["one"]

    def take_over(what: str) -> None:
        if what == "create" and server.requests.count("create") == 2:
            with world.engine.begin() as connection:
                connection.execute(sa.text("UPDATE delivery SET epoch = epoch + 1"))

    server.before_request = take_over
    operations = create_all(world)
    world.runtime.deliver("one")
    # Two were made by then; whoever has the claims now is the one to say so.
    assert server.requests.count("create") == 2
    assert column(world, "SELECT count(*) FROM delivery WHERE state = 'present'") == [0]
    with world.engine.begin() as connection:
        connection.execute(sa.text("UPDATE delivery SET owner = NULL, lease_until = NULL"))
    assert ends_of(world, operations) == {Status.ACTIVE}


def test_a_zone_that_was_shown_under_a_later_serial_is_made_above_it(world: World) -> None:
    (first, *others) = create_all(world)
    with world.engine.begin() as connection:
        seen = "UPDATE zone SET seen_serial = serial + 100 WHERE name = :name"
        connection.execute(sa.text(seen), {"name": ZONES[0]})
    assert ends_of(world, [first, *others]) == {Status.ACTIVE}
    zone = world.row(f"SELECT serial, seen_serial FROM zone WHERE name = '{ZONES[0]}'")
    assert world.servers["one"].serials[Name(ZONES[0])] == [zone.serial]
    assert zone.serial >= zone.seen_serial


def test_a_large_zone_goes_by_itself(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(founding, "RRSETS_AT_ONCE", 6)
    zone = "large.example."
    operations = create_all(world)
    large = world.submit("create_zone", zone=zone, email="hostmaster@example.net")
    wishes = [
        {"action": "put", "name": f"h{number}", "type": "A", "data": ["192.0.2.1"]} for number in range(10)
    ]
    change = world.submit("change_zone", zone=zone, changes=wishes)
    assert ends_of(world, [*operations, large, change]) <= {Status.ACTIVE, Status.SUPERSEDED}
    assert len(world.served("one", zone)) == len(wishes)


def test_a_zone_that_was_deleted_is_made_again_above_its_serial(world: World) -> None:
    create_all(world)
    world.until(lambda: column(world, "SELECT DISTINCT status FROM zone") == ["ACTIVE"], "no zones")
    for zone in ZONES:
        world.succeed("delete_zone", zone=zone)
    operations = create_all(world)
    assert ends_of(world, operations) == {Status.ACTIVE}
    for zone in ZONES:
        before, after = world.servers["one"].serials[Name(zone)]
        assert after > before
