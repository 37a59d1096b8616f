"""What comes next at a target: changes before repairs, and repairs all the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dnsworker import desired
from dnsworker.pools import Pool
from dnsworker.precedence import SHARE, Precedence
from dnsworker.store import deliveries, pools
from dnsworker.store.agenda import CHANGE, REPAIR
from dnsworker.store.claims import Claim
from tests.world import World, a_world

SLOTS = 4
ZONES = 8


class Waiting:
    """A target at which everything is due and nothing is delivered."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.asked_back: list[float] = []
        self.precedence = Precedence(world.settings, lambda target, delay_s: self.asked_back.append(delay_s))
        for number in range(ZONES):
            world.submit("create_zone", zone=f"z{number}.example.", email="hostmaster@example.net")

    def limit(self, **limits: Any) -> None:
        document = {
            "name": "default",
            "ns_records": [{"hostname": "ns1.example.net."}],
            "targets": [{"name": "one", "type": "memory", "limits": limits}],
        }
        with self.world.engine.begin() as connection:
            pools.apply(connection, [Pool.model_validate(document)])

    def repair(self, where: str = "1 = 1") -> None:
        """As if these had been waiting to be repaired for longer than anything else."""
        self.sql(f"UPDATE delivery SET priority = 1, due_at = '2020-01-01 00:00:00.000000' WHERE {where}")

    def sql(self, statement: str) -> None:
        with self.world.engine.begin() as connection:
            connection.execute(sa.text(statement))

    def claim(self, *, slots: int = SLOTS) -> Claim | None:
        with self.world.engine.begin() as connection:
            (known,) = pools.read(connection)
            return self.precedence.claim(connection, known, "one", slots=slots, owner=4242)

    def has_due(self) -> bool:
        with self.world.engine.begin() as connection:
            (known,) = pools.read(connection)
            return self.precedence.has_due(connection, known, "one")

    def priority(self, zone: str) -> int:
        query = "SELECT priority FROM delivery JOIN zone ON zone.id = zone_id"
        return int(self.world.row(f"{query} WHERE zone.name = '{zone}'").priority)


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[Waiting]:
    with a_world(tmp_path, "one") as world:
        yield Waiting(world)


def kinds(claims: list[Claim | None]) -> list[bool]:
    """Whether each is in the background."""
    return [claim.is_background for claim in claims if claim is not None]


def test_a_change_comes_before_repairs_that_have_waited_for_longer(waiting: Waiting) -> None:
    waiting.repair("zone_id <= 6")
    claims = [waiting.claim() for _ in range(SHARE - 1)]
    assert kinds(claims) == [False, False, True, True]


def test_repairs_have_a_share_of_the_turns_while_there_are_always_changes(waiting: Waiting) -> None:
    waiting.repair("zone_id <= 2")
    assert kinds([waiting.claim() for _ in range(SHARE)]) == [False] * (SHARE - 1) + [True]


def test_repairs_keep_to_their_rate_and_changes_do_not(waiting: Waiting) -> None:
    waiting.limit(repairs_per_second=0.001)
    waiting.repair("zone_id <= 4")
    claims = [waiting.claim() for _ in range(ZONES)]
    assert sorted(kinds(claims)) == [False] * 4 + [True]
    assert all(900 < delay_s <= 1000 for delay_s in waiting.asked_back)
    assert waiting.asked_back
    assert not waiting.has_due()


def test_half_of_the_slots_are_left_for_changes(waiting: Waiting) -> None:
    waiting.repair()
    claims = [waiting.claim() for _ in range(SLOTS)]
    assert kinds(claims) == [True] * (SLOTS // 2)
    waiting.precedence.ended(claims[0])
    assert waiting.claim() is not None


def test_a_target_with_one_slot_is_repaired_too(waiting: Waiting) -> None:
    waiting.repair()
    assert kinds([waiting.claim(slots=1), waiting.claim(slots=1)]) == [True]


def test_one_of_the_deliveries_that_a_target_takes_at_once_is_left_for_changes(waiting: Waiting) -> None:
    waiting.limit(concurrency=2)
    waiting.repair("zone_id > 1")
    assert kinds([waiting.claim()]) == [False]
    assert waiting.claim() is None, "the other one is for changes"


def test_what_a_new_target_lacks_is_filled_in_the_background(waiting: Waiting) -> None:
    waiting.sql("DELETE FROM delivery")
    with waiting.world.engine.begin() as connection:
        (known,) = pools.read(connection)
        assert pools._start_deliveries(connection, known.id, known.target_ids["one"]) == ZONES
    assert kinds([waiting.claim()]) == [True]


def test_an_operation_makes_a_change_of_a_repair(waiting: Waiting) -> None:
    waiting.repair()
    waiting.world.submit("put_record", zone="z0.example.", name="www", type="A", data=["192.0.2.1"])
    assert (waiting.priority("z0.example."), waiting.priority("z1.example.")) == (CHANGE, REPAIR)


def test_a_serial_that_is_lifted_holds_up_no_change(waiting: Waiting) -> None:
    waiting.sql("UPDATE delivery SET due_at = NULL WHERE zone_id = 2")
    with waiting.world.engine.begin() as connection:
        (known,) = pools.read(connection)
        for zone_id in (1, 2):
            desired.lift(connection, known, zone_id, parts=2)
        rows = [deliveries.of_zone(connection, zone_id)[0].priority for zone_id in (1, 2)]
    assert rows == [CHANGE, REPAIR]
