"""Cancelling: what no target has anything of is taken back, what one may have is refused with its name."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dnsworker import cancellation
from dnsworker.cancellation import Cancellation, cancel
from dnsworker.database import connect
from dnsworker.errors import OperationNotFound, OutcomeUnknown, TooLate
from dnsworker.intake import submit
from dnsworker.operations import Status
from dnsworker.requests.kinds import parse_request
from dnsworker.store import claims, deliveries, stops
from tests.world import World, a_world

WWW = ("www.example.org.", "A")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A zone at one target, which is paused."""
    with a_world(tmp_path, "one") as world:
        world.create()
        world.end_of(world.put("www", "192.0.2.1"))
        pause(world)
        yield world


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[World]:
    """No zone yet; the target is paused."""
    with a_world(tmp_path, "one") as world:
        pause(world)
        yield world


def pause(world: World) -> None:
    with world.engine.begin() as connection:
        stops.pause_all(connection, None, None)


def resume(world: World) -> None:
    with world.engine.begin() as connection:
        stops.resume_all(connection)


def take_back(world: World, operation: str) -> Cancellation:
    done = cancel(world.engine, operation, "a typo")
    outcome = world.show(operation)
    assert (outcome.status, outcome.code) == (Status.ERROR, "Cancelled")
    assert outcome.message == "cancelled by operator: a typo"
    return done


def converged(world: World) -> None:
    """What the target has in the end is what the database says."""
    resume(world)
    world.wait_for_zone("ACTIVE")
    assert world.served("one") == world.records()


def test_an_accepted_change_is_taken_back(world: World) -> None:
    operation = world.put("www", "192.0.2.66")
    assert take_back(world, operation).targets == ("one",)
    assert world.records() == {WWW: ("192.0.2.1",)}
    asked = len(world.servers["one"].requests)
    converged(world)
    assert world.servers["one"].requests[asked:].count("apply") == 1  # nothing but a SOA
    assert world.zone()["targets"][0]["last_repair"] is None


def test_what_a_later_operation_changed_stays(world: World) -> None:
    wishes = [
        {"action": "put", "name": name, "type": "A", "data": ["192.0.2.66"]} for name in ("www", "mail")
    ]
    operation, later = world.submit("change_zone", changes=wishes), world.put("www", "192.0.2.2")
    take_back(world, operation)
    assert world.records() == {WWW: ("192.0.2.2",)}
    converged(world)
    assert world.show(later).status is Status.ACTIVE


def test_soa_values_are_taken_back(world: World) -> None:
    before = {key: world.zone()[key] for key in ("email", "refresh", "ttl", "minimum")}
    operation = world.submit("update_zone", email="other@example.net", refresh=7200, ttl=60)
    later = world.submit("update_zone", ttl=120)
    take_back(world, operation)
    assert {key: world.zone()[key] for key in before} == before | {"ttl": 120}
    converged(world)
    assert world.show(later).status is Status.ACTIVE


def test_a_cancelled_creation_leaves_no_zone_and_ends_what_depended_on_it(empty: World) -> None:
    creation = empty.submit("create_zone", email="hostmaster@example.net")
    record = empty.put("www", "192.0.2.1")
    assert take_back(empty, creation).dependents == (record,)
    assert (empty.show(record).code, empty.show(record).message) == (
        "ZoneNotFound",
        "the zone's creation was cancelled by operator: a typo",
    )
    resume(empty)
    empty.until(
        lambda: empty.row("SELECT status FROM zone").status == "DELETED", "the zone was not deleted again"
    )
    assert empty.servers["one"].zones == {}
    assert "create" not in empty.servers["one"].requests


def test_a_cancelled_deletion_brings_everything_back(world: World) -> None:
    operation = world.submit("delete_zone")
    take_back(world, operation)
    assert world.records() == {WWW: ("192.0.2.1",)}
    converged(world)
    assert "delete" not in world.servers["one"].requests


def test_a_deletion_is_not_taken_back_under_a_new_zone(world: World) -> None:
    operation = world.submit("delete_zone")
    world.submit("create_zone", email="hostmaster@example.net")
    with pytest.raises(TooLate, match=r"example\.org\. was created anew since"):
        cancel(world.engine, operation)


def test_waiters_are_told(world: World) -> None:
    operation = world.put("www", "192.0.2.66")
    take_back(world, operation)
    with world.engine.begin() as connection:
        connection.execute(sa.text("UPDATE operation SET finished_at = '2020-01-01 00:00:00.000000'"))
    world.runtime.sweep()
    assert world.signals.told[operation].code == "Cancelled"


# --- before it was taken in ---------------------------------------------------------------------------------


def order(number: int) -> dict[str, Any]:
    return {"client": "c", "number": number, "skips": []}


def test_a_held_operation_ends_at_once_and_its_number_with_it(world: World) -> None:
    third, fourth = world.put("www", "192.0.2.3", order=order(3)), world.put("d", "192.0.2.4", order=order(4))
    take_back(world, third)
    first, second = world.put("a", "192.0.2.1", order=order(1)), world.put("b", "192.0.2.2", order=order(2))
    assert [world.show(one).status for one in (first, second, fourth)] == [Status.ACCEPTED] * 3
    assert world.records()[WWW] == ("192.0.2.1",)
    assert world.row("SELECT last_number, voids FROM submission WHERE client = 'c'") == (4, "[]")


def test_what_was_not_taken_in_yet_takes_its_place_and_has_no_effect(world: World) -> None:
    arguments = {"zone": "example.org.", "name": "www", "type": "A", "data": ["192.0.2.66"]}
    with world.engine.begin() as connection:
        submit(connection, "op-1", parse_request("put_record", arguments))
    assert not cancel(world.engine, "op-1").has_ended
    world.runtime.take_in()
    assert world.show("op-1").code == "Cancelled"
    assert world.records() == {WWW: ("192.0.2.1",)}


# --- too late -----------------------------------------------------------------------------------------------


def test_what_has_ended_or_never_was_is_refused(world: World) -> None:
    done = world.row("SELECT id FROM operation WHERE kind = 'create_zone'").id
    with pytest.raises(TooLate, match="has ended already: ACTIVE"):
        cancel(world.engine, done)
    with pytest.raises(OperationNotFound):
        cancel(world.engine, "nonsense")


def test_what_one_target_has_is_refused(tmp_path: Path) -> None:
    with a_world(tmp_path, "one", "two") as world:
        world.create()
        world.servers["two"].is_down = True
        operation = world.put("www", "192.0.2.1")
        world.until(lambda: WWW in world.served("one"), "it did not arrive at the first target")
        world.deliver()
        with pytest.raises(TooLate, match="target one has it already"):
            cancel(world.engine, operation)


def test_what_a_worker_may_be_sending_is_refused(world: World) -> None:
    operation = world.put("www", "192.0.2.66")
    resume(world)
    refusals = []

    def cancel_meanwhile(what: str) -> None:
        with pytest.raises(TooLate) as refusal:
            cancel(world.engine, operation)
        refusals.append(str(refusal.value))

    world.servers["one"].before_request = cancel_meanwhile
    world.deliver()
    assert "a worker is at work for target one and may be sending it" in refusals[0]


def test_what_may_have_got_through_is_refused(world: World) -> None:
    operation = world.put("www", "192.0.2.66")
    resume(world)

    def pause_and_fall_silent(what: str) -> None:
        if what == "apply":
            pause(world)
            raise OutcomeUnknown("no answer")

    world.servers["one"].before_request = pause_and_fall_silent
    world.deliver()
    with pytest.raises(TooLate, match="an attempt at target one broke off and may have reached it"):
        cancel(world.engine, operation)


def test_what_a_dead_target_was_offered_is_taken_back(tmp_path: Path) -> None:
    with a_world(tmp_path, "one") as world:
        world.create()
        server = world.servers["one"]
        server.is_down = True
        operation, deletion = world.put("www", "192.0.2.66"), world.submit("delete_zone")
        for one in (deletion, operation):
            world.until(
                lambda: world.row("SELECT attempts FROM delivery").attempts > 1, "it was not tried in vain"
            )
            take_back(world, one)
        server.is_down = False
        converged(world)
        assert world.served("one") == {}
        assert "delete" not in server.requests or len(server.zones) == 1


def test_a_worker_that_claims_at_this_moment_finds_it_gone_or_has_it(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On PostgreSQL, where both may be under way: the claim comes right after the look at the rows."""
    with a_world(tmp_path, "one", url=database_url) as world:
        world.create()
        pause(world)
        operation = world.put("www", "192.0.2.66")
        resume(world)
        looked, taken = deliveries.lock_of_zone, []
        other = connect(database_url)

        def claim() -> None:
            with other.begin() as connection:
                taken.append(claims.claim_next(connection, 1, "one", owner=99, lease_s=60))

        def look(connection: sa.Connection, zone_id: int) -> Any:
            found = looked(connection, zone_id)
            thread = threading.Thread(target=claim)
            thread.start()
            thread.join()
            return found

        monkeypatch.setattr(cancellation.deliveries, "lock_of_zone", look)
        take_back(world, operation)
        assert taken == [None]
        other.dispose()
        converged(world)
        assert world.served("one") == {}
