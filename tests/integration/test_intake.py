"""What is taken in together ends one by one: each operation has its own place, effect and refusal."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dev.servers import PostgreSQL
from dnsworker.database import AWAY
from dnsworker.desired import Desired
from dnsworker.intake import BATCH, Arrival, Intake, Taken, submit
from dnsworker.operations import Status
from dnsworker.requests.kinds import parse_request
from dnsworker.store import zones
from tests.world import World, a_world

SOME = {"name": "www", "type": "A", "data": ["192.0.2.1"]}
LIFE: list[tuple[str, dict[str, Any]]] = [
    ("create_zone", {"email": "a@example.net"}),
    ("put_record", SOME),
    ("delete_zone", {}),
    ("create_zone", {"email": "b@example.net"}),
    ("put_record", SOME),
    ("import_zone", {"text": "www 60 IN A 192.0.2.9", "force": True}),
]
OTHER_NAMES = ("mail", "ftp", "shop")


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    fixtures = {"postgresql": "database_url", "mariadb": "mariadb_url"}
    url = request.getfixturevalue(fixtures[request.param]) if request.param in fixtures else None
    with a_world(tmp_path, "one", url=url) as world:
        world.create("a.example.")
        world.create("b.example.")
        yield world


def arrival(kind: str, operation_id: str | None = None, **arguments: Any) -> Arrival:
    return Arrival(operation_id or str(uuid.uuid4()), kind, {"zone": "a.example.", **arguments})


def put(name: str, value: int, **arguments: Any) -> Arrival:
    more = {"name": name, "type": "A", "data": [f"192.0.2.{value}"], **arguments}
    return arrival("put_record", **more)


def some_intakes(world: World, count: int) -> list[Intake]:
    runtime = world.runtime
    parts = (world.engine, runtime._directory, world.settings, runtime._permissions)
    return [Intake(*parts) for _ in range(count)]


def statuses(taken: Taken, arrivals: list[Arrival]) -> list[str]:
    return [
        taken.fates[one.operation_id].code or taken.fates[one.operation_id].status.value for one in arrivals
    ]


def test_each_of_many_has_its_own_effect_or_refusal(world: World) -> None:
    arrivals = [
        arrival("create_record", **SOME),
        arrival("create_record", **SOME),
        put("www", 2),
        arrival("delete_record", name="www", type="A"),
        arrival("update_record", **SOME),
        put("www", 3, zone="b.example."),
        put("www", 4, zone="nowhere.example."),
        put("www", 5, type="CNAME", data=["a.example."]),
        put("www", 6, zone="b.example.", type="AAAA"),
    ]
    taken = world.runtime.receive_all(arrivals)
    assert statuses(taken, arrivals) == [
        "ACCEPTED", "RecordExists", "ACCEPTED", "ACCEPTED", "RecordNotFound",
        "ACCEPTED", "ZoneNotFound", "ACCEPTED", "InvalidRecord",
    ]  # fmt: skip
    assert world.records("a.example.") == {("www.a.example.", "CNAME"): ("a.example.",)}
    assert world.records("b.example.") == {("www.b.example.", "A"): ("192.0.2.3",)}
    for one in arrivals:
        row = world.show(one.operation_id)
        assert (row.code or row.status) == (taken.fates[one.operation_id].code or row.status)
    ends = [world.end_of(one.operation_id).status for one in arrivals]
    assert {end for end in ends if end is not Status.ERROR} == {Status.ACTIVE, Status.SUPERSEDED}
    assert world.served("one", "a.example.") == world.records("a.example.")


def test_a_zone_lives_and_dies_within_one_batch(world: World) -> None:
    new = {"zone": "new.example.", "email": "a@example.net"}
    before = world.zone("b.example.")["serial"]
    arrivals = [
        arrival("create_zone", **new),
        put("www", 1, zone="new.example."),
        put("www", 2, zone="below.new.example."),
        arrival("create_zone", zone="below.new.example.", email="a@example.net"),
        put("x.below", 3, zone="new.example.", type="TXT", data=['"no"']),
        arrival("delete_zone", zone="b.example."),
        put("www", 4, zone="b.example."),
        arrival("create_zone", zone="b.example.", email="b@example.net"),
        put("ftp", 5, zone="b.example."),
    ]
    taken = world.runtime.receive_all(arrivals)
    assert statuses(taken, arrivals) == [
        "ACCEPTED", "ACCEPTED", "ZoneNotFound", "ACCEPTED", "InvalidRecord",
        "ACCEPTED", "ZoneNotFound", "ACCEPTED", "ACCEPTED",
    ]  # fmt: skip
    for one in arrivals:
        world.end_of(one.operation_id)
    assert world.served("one", "b.example.") == {("ftp.b.example.", "A"): ("192.0.2.5",)}
    assert world.zone("b.example.")["serial"] > before
    assert world.zone("b.example.")["email"] == "b@example.net"


def test_one_that_breaks_takes_nobody_with_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    apply = Desired.apply

    def break_one(self: Any, draft: Any, operation_id: str, request: Any) -> Any:
        if getattr(request, "name", "").startswith("broken."):
            raise ZeroDivisionError
        return apply(self, draft, operation_id, request)

    monkeypatch.setattr(Desired, "apply", break_one)
    arrivals = [put("www", 1), put("broken", 2), put("ftp", 3)]
    assert statuses(world.runtime.receive_all(arrivals), arrivals) == [
        "ACCEPTED", "InternalError", "ACCEPTED",
    ]  # fmt: skip
    assert {name for name, _ in world.records("a.example.")} == {"www.a.example.", "ftp.a.example."}


def test_an_id_that_comes_twice_counts_once_and_another_payload_is_refused(world: World) -> None:
    first = put("www", 1)
    taken = world.runtime.receive_all([first, first, put("ftp", 2, operation_id=first.operation_id)])
    assert taken.fates[first.operation_id].status is Status.ACCEPTED
    assert list(taken.reused) == [first.operation_id]
    assert world.records("a.example.") == {("www.a.example.", "A"): ("192.0.2.1",)}
    again = world.runtime.receive_all([first])
    assert not again.reused
    assert world.row("SELECT count(*) FROM journal WHERE name = 'www.a.example.'") == (1,)


def test_what_concerns_a_locked_zone_is_left_and_the_rest_goes_on(database_url: str, tmp_path: Path) -> None:
    with a_world(tmp_path, "one", url=database_url) as world:
        world.create("a.example.")
        world.create("b.example.")
        busy, free = put("www", 1), put("www", 2, zone="b.example.")
        with world.engine.begin() as connection:
            (row,) = zones.find(connection, "a.example.")  # type: ignore[arg-type]
            zones.lock(connection, row.id)
            taken = world.runtime.receive_all([busy, free], wait=False)
            assert taken.busy == [busy]
            assert statuses(taken, [free]) == ["ACCEPTED"]
        assert statuses(world.runtime.receive_all([busy], wait=False), [busy]) == ["ACCEPTED"]


def test_workers_that_make_and_delete_the_same_zones_never_wait_for_each_other_in_a_circle(
    postgresql: PostgreSQL, database_url: str, tmp_path: Path
) -> None:
    """A zone comes into being while others hold the positions of clients who have more to do there."""
    with a_world(tmp_path, "one", url=database_url) as world:
        rounds = [
            [
                arrival(kind, zone=f"z{zone}.example.", order={"client": client, "number": index + 1}, **more)
                for client in ("x", "y")
                for index, (kind, more) in enumerate(LIFE)
            ]
            for zone in range(12)
        ]
        intakes = some_intakes(world, 4)
        problems: list[Exception] = []

        def take(number: int) -> None:
            try:
                for messages in rounds:
                    for one in (messages * 2)[number::4]:
                        intakes[number].receive([one])
            except Exception as exc:  # noqa: BLE001 - told below
                problems.append(exc)

        threads = [threading.Thread(target=take, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert problems == []
        ends = [world.show(one.operation_id) for messages in rounds for one in messages]
        assert {one.status for one in ends} <= {Status.ACCEPTED, Status.ERROR}
        assert {one.code for one in ends} <= {None, "ZoneExists", "ZoneNotFound", "RecordExists"}


def test_a_database_that_takes_no_writes_for_a_while_is_waited_for(database_url: str, tmp_path: Path) -> None:
    """A failover left us at the old primary, or a disk is full: no fault of what comes meanwhile."""
    with a_world(tmp_path, "one", url=database_url) as world:
        world.create("a.example.")

        def take_writes(word: str) -> None:
            with world.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("SET default_transaction_read_only = off")
                connection.exec_driver_sql(
                    f'ALTER DATABASE "{world.engine.url.database}" SET default_transaction_read_only = {word}'
                )
                connection.invalidate()

        take_writes("on")
        world.runtime._engine.dispose()
        one = put("www", 1)
        with pytest.raises(AWAY):
            world.runtime.receive_all([one])
        take_writes("off")
        # By a new connection: the old one would lead to the same server for ever.
        assert statuses(world.runtime.receive_all([one]), [one]) == ["ACCEPTED"]


def test_what_came_through_the_database_waits_for_no_locked_zone(database_url: str, tmp_path: Path) -> None:
    with a_world(tmp_path, "one", url=database_url) as world:
        world.create("a.example.")
        world.create("b.example.")
        ids = [str(uuid.uuid4()) for _ in range(BATCH + 2)]
        with world.engine.begin() as connection:
            for number, one in enumerate(ids):
                zone = "b.example." if number == BATCH + 1 else "a.example."
                arguments = {"zone": zone, "name": f"h{number}", "type": "A", "data": ["192.0.2.1"]}
                submit(connection, one, parse_request("put_record", arguments))
        with world.engine.begin() as connection:
            (row,) = zones.find(connection, "a.example.")  # type: ignore[arg-type]
            zones.lock(connection, row.id)
            world.runtime.take_in()
            assert world.show(ids[-1]).status is Status.ACCEPTED
            assert world.show(ids[0]).status is Status.PENDING
        world.runtime.take_in()
        assert all(world.show(one).status is Status.ACCEPTED for one in ids[:-1])


def test_workers_that_take_in_the_same_messages_at_once_neither_lose_nor_double_one(
    database_url: str, tmp_path: Path
) -> None:
    with a_world(tmp_path, "one", url=database_url) as world:
        for zone in ("a.example.", "b.example."):
            world.create(zone)
        arrivals = [
            put(name, number, zone=zone, order={"client": client, "number": index + 1})
            for client in ("x", "y")
            for zone in ("a.example.", "b.example.")
            for index, (name, number) in enumerate((name, n) for name in OTHER_NAMES for n in (1, 2, 3))
        ]
        intakes = some_intakes(world, 3)
        orders = [arrivals, arrivals[::-1], arrivals[9:] + arrivals[:9]]
        problems: list[Exception] = []

        def take(intake: Intake, order: list[Arrival]) -> None:
            try:
                for start in range(0, len(order), 5):
                    intake.receive(order[start : start + 5])
            except Exception as exc:  # noqa: BLE001 - told below
                problems.append(exc)

        threads = [threading.Thread(target=take, args=one) for one in zip(intakes, orders, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert problems == []
        for one in arrivals:
            assert world.show(one.operation_id).status is Status.ACCEPTED
        assert world.row("SELECT count(*) FROM journal WHERE type = 'A'")[0] <= len(arrivals)
        assert set(world.records("a.example.").values()) == {("192.0.2.3",)}
