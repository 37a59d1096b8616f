"""What ends an operation, and what a refusal leaves behind: promises 4 (verified) and 9 (explained)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import pytest

from dnsworker.errors import BackendError, RecordRejected
from dnsworker.operations import Outcome, Status
from dnsworker.records import RRset
from dnsworker.reports.outcomes import show_operations
from dnsworker.store import deliveries, withholding
from tests.world import World, a_world, settle

WWW = ("www.example.org.", "A")
BAD, WORSE, GOOD = "192.0.2.66", "192.0.2.67", "192.0.2.1"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path, "one") as world:
        world.create()
        yield world


@pytest.fixture
def two(tmp_path: Path) -> Iterator[World]:
    """Two targets, of which half the witnesses are enough."""
    with a_world(tmp_path, "one", "two", pool={"threshold_percentage": 50}) as world:
        world.create()
        world.wait_for_zone("ACTIVE")
        yield world


@pytest.fixture
def both(tmp_path: Path) -> Iterator[World]:
    """Two targets, both of which must have a change."""
    with a_world(tmp_path, "one", "two") as world:
        world.create()
        yield world


def refuses(*values: str) -> Callable[[Collection[RRset]], BackendError | None]:
    def judge(rrsets: Collection[RRset]) -> BackendError | None:
        bad = any(value in one.data for one in rrsets for value in values)
        return RecordRejected("no such addresses here") if bad else None

    return judge


def withheld(world: World) -> list[tuple[str, str | None]]:
    with world.engine.connect() as connection:
        zone_id = world.row("SELECT id FROM zone").id
        return [
            (one.key[0], one.accepted.data[0] if one.accepted else None)
            for one in withholding.withheld_in(connection, zone_id)
        ]


def read_back(world: World, target: str) -> None:
    """Have the target's contents read and compared with the next change."""
    with world.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE delivery SET must_read = true WHERE target_id = "
            f"(SELECT id FROM target WHERE name = '{target}')"
        )


# --- what is withheld ---------------------------------------------------------------------------------------


def test_a_refusal_and_its_replacement_in_one_delivery_leave_nothing_withheld(world: World) -> None:
    world.servers["one"].judge = refuses(BAD)
    first, other, last = world.put("www", BAD), world.put("other", BAD), world.put("www", GOOD)
    assert world.end_of(other).code == "RecordRejected"
    assert world.end_of(last).status is Status.ACTIVE
    assert world.end_of(first).status.is_final
    world.wait_for_zone("ACTIVE")
    assert withheld(world) == []
    read_back(world, "one")
    world.end_of(world.put("a", GOOD))
    assert world.served("one") == world.records()


def test_a_withheld_rrset_that_is_replaced_while_the_target_is_read_is_no_longer_withheld(
    two: World,
) -> None:
    two.servers["two"].judge = refuses(BAD)
    two.end_of(two.put("www", BAD))
    two.wait_for_zone("DEGRADED")
    read_back(two, "two")
    two.end_of(two.put("www", GOOD))
    two.wait_for_zone("ACTIVE")
    read_back(two, "two")
    two.end_of(two.put("a", GOOD))
    two.wait_for_zone("ACTIVE")
    assert two.served("two") == two.records()


def test_what_the_target_has_is_remembered_over_a_second_refusal(two: World) -> None:
    two.servers["two"].judge = refuses(BAD, WORSE)
    two.end_of(two.put("www", BAD))
    two.wait_for_zone("DEGRADED")
    two.end_of(two.put("www", WORSE))
    two.until(lambda: two.row("SELECT max(revision) FROM withheld")[0] == 3, "not refused again")
    assert withheld(two) == [(WWW[0], None)]


def test_a_withheld_rrset_that_changes_and_changes_back_is_withheld_again(two: World) -> None:
    two.servers["two"].judge = refuses(BAD)
    two.end_of(two.put("www", BAD))
    two.wait_for_zone("DEGRADED")
    two.put("www", GOOD)
    two.end_of(two.put("www", BAD))
    two.wait_for_zone("DEGRADED")
    assert (withheld(two), two.served("two")) == ([(WWW[0], GOOD)], {WWW: (GOOD,)})


def test_a_retried_rrset_that_is_refused_again_does_not_hold_the_zone_back(two: World) -> None:
    two.servers["two"].judge = refuses(BAD)
    operation = two.put("www", BAD)
    two.end_of(operation)
    two.wait_for_zone("DEGRADED")
    with two.engine.begin() as connection:
        two.signals.woken += deliveries.retry_operation(connection, operation)
    two.until(lambda: withheld(two) == [(WWW[0], None)], "not refused again")
    two.end_of(two.put("a", GOOD))
    two.until(lambda: two.served("two") == {("a.example.org.", "A"): (GOOD,)}, "the next change is held")


# --- what is taken back -------------------------------------------------------------------------------------


def test_a_rejected_value_is_not_brought_back_by_the_rejection_of_the_next(both: World) -> None:
    both.servers["two"].judge = refuses(BAD, WORSE)
    first, second = both.put("www", BAD), both.put("www", WORSE)
    other = both.put("other", BAD)
    assert both.end_of(other).code == "RecordRejected"
    assert both.end_of(second).code == "RecordRejected"
    assert both.end_of(first).status is Status.ERROR
    both.wait_for_zone("ACTIVE")
    assert both.records() == both.served("one") == both.served("two") == {}


def test_an_operation_that_found_its_record_there_fails_with_the_one_that_put_it(world: World) -> None:
    world.servers["one"].judge = refuses(BAD)
    first, same = world.put("www", BAD), world.put("www", BAD)
    assert world.end_of(first).code == "RecordRejected"
    assert world.end_of(same).code == "RecordRejected"
    assert world.records() == {}


def test_a_change_of_several_that_found_one_there_fails_as_a_whole(world: World) -> None:
    world.servers["one"].judge = refuses(BAD)
    first = world.put("www", BAD)
    wishes = [
        {"action": "put", "name": "www", "type": "A", "data": [BAD]},
        {"action": "put", "name": "a", "type": "A", "data": [GOOD]},
    ]
    second = world.submit("change_zone", changes=wishes)
    assert world.end_of(first).code == "RecordRejected"
    assert world.end_of(second).code == "RecordRejected"
    world.wait_for_zone("ACTIVE")
    assert world.records() == world.served("one") == {}


def test_what_a_rejected_operation_hid_is_active_only_when_it_is_there_again(both: World) -> None:
    both.servers["two"].judge = refuses(BAD)
    before, bad, other = both.put("www", GOOD), both.put("www", BAD), both.put("other", BAD)
    shown: list[object] = []
    tell = both.signals.publish_outcomes

    def note(outcomes: Sequence[Outcome]) -> None:
        if before in {outcome.id for outcome in outcomes}:
            shown.append(both.served("one").get(WWW))
        tell(outcomes)

    both.signals.publish_outcomes = note  # type: ignore[method-assign]
    assert both.end_of(bad).code == "RecordRejected"
    assert both.end_of(other).code == "RecordRejected"
    assert both.end_of(before).status is Status.ACTIVE
    both.until(lambda: bool(shown), "nobody was told")
    assert shown[0] == (GOOD,)


def test_an_operation_is_not_active_while_a_later_one_shows_in_its_place(both: World) -> None:
    both.wait_for_zone("ACTIVE")
    both.servers["two"].is_down = True
    before = both.put("www", GOOD)
    both.deliver()
    later = both.put("www", "192.0.2.2")
    both.deliver()
    both.until(lambda: both.served("one") == {WWW: ("192.0.2.2",)}, "not delivered")
    with both.engine.begin() as connection:  # the slow target has come as far as the first
        connection.exec_driver_sql(
            "UPDATE delivery SET delivered_revision = (SELECT revision FROM operation WHERE id = "
            f"'{before}') WHERE target_id = (SELECT id FROM target WHERE name = 'two')"
        )
        settle(connection, both.runtime._directory.default(), 1)
    assert both.show(before).status is Status.ACCEPTED
    both.servers["two"].is_down = False
    assert both.end_of(later).status is Status.ACTIVE
    assert both.end_of(before).status is Status.SUPERSEDED


# --- deletion -----------------------------------------------------------------------------------------------


def test_an_operation_on_a_zone_that_is_being_deleted_never_becomes_active(two: World) -> None:
    two.servers["two"].is_down = True
    two.servers["one"].is_down = True
    operation = two.put("www", GOOD)
    two.deliver()
    deleted = two.submit("delete_zone")
    two.servers["one"].is_down = False
    two.until(lambda: not two.servers["one"].zones, "the zone is still there")
    two.runtime.sweep()
    two.servers["two"].is_down = False
    assert two.end_of(deleted).status is Status.ACTIVE
    assert two.end_of(operation).status is Status.SUPERSEDED


# --- nothing is forgotten -----------------------------------------------------------------------------------


def test_an_operation_that_changes_nothing_ends_though_its_worker_died_before_looking(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.end_of(world.put("www", GOOD))
    world.wait_for_zone("ACTIVE")
    monkeypatch.setattr("dnsworker.desired.writing.LOOK_GUARD_S", 0.05)
    with monkeypatch.context() as broken:
        broken.setattr(world.runtime, "_spread", lambda *_: None)
        operation = world.put("www", GOOD)
    assert world.end_of(operation).status is Status.ACTIVE


def test_a_change_behind_an_open_breaker_says_what_is_the_matter_with_the_target(tmp_path: Path) -> None:
    with a_world(tmp_path, "one", breaker_failures=1) as world:
        world.servers["one"].is_down = True
        world.submit("create_zone", zone="first.example.", email="a@example.net")
        world.until(
            lambda: world.row("SELECT open_until FROM target").open_until is not None, "the breaker is closed"
        )
        with world.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE target SET open_until = '2999-01-01 00:00:00'")
        second = world.submit("create_zone", zone="second.example.", email="a@example.net")
        world.deliver()
        outcome = world.show(second)
        assert outcome.status is Status.ACCEPTED
        assert "nobody answers" in (outcome.message or "")
        assert "2999" in (outcome.message or "")
        with world.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE zone SET look_at = '2020-01-01 00:00:00'")
        world.until(
            lambda: "nobody answers" in (world.zone("second.example.")["reason"] or ""), "no reason is given"
        )


def test_of_operations_that_are_shown_together_each_is_told_how_far_it_is_itself(two: World) -> None:
    early = [two.put("a", GOOD), two.put("b", GOOD)]
    for operation in early:
        two.end_of(operation)
    two.wait_for_zone("ACTIVE")
    two.servers["two"].is_down = True
    late = two.put("c", GOOD)
    two.end_of(late)
    with two.engine.connect() as connection:
        shown = show_operations(connection, [early[0], late, early[1]])
    current = [{one.target: one.is_current for one in outcome.targets} for outcome in shown]
    seen = [{one.nameserver: one.is_current for one in outcome.nameservers} for outcome in shown]
    assert current == [{"one": True, "two": True}, {"one": True, "two": False}, {"one": True, "two": True}]
    assert [sorted(one.values()) for one in seen] == [[True, True], [False, True], [True, True]]
