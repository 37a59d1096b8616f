"""Faults at the worst moment: promises 1 to 3 (durable, once, in order), 6 (monotone) and 9 (explained)."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dnsworker import claiming, convergence, database
from dnsworker.backend import Capabilities
from dnsworker.desired import Desired
from dnsworker.errors import BackendError, RecordRejected
from dnsworker.intake import submit
from dnsworker.liveness import SessionLock
from dnsworker.names import Name
from dnsworker.operations import Status
from dnsworker.plan import Plan
from dnsworker.records import RRset
from dnsworker.requests.kinds import parse_request
from dnsworker.runtime import Runtime
from dnsworker.store import claims, operations
from tests.world import MemoryBackend, World, a_world

WWW = ("www.example.org.", "A")
KINDS = ("create_zone", "delete_zone", "put", "delete", "update")
ZONE = Name("example.org.")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path, "one") as world:
        world.create()
        world.wait_for_zone("ACTIVE")
        yield world


@pytest.fixture(params=["database_url", "mariadb_url"], ids=["postgresql", "mariadb"])
def server_world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """On a database that is a server."""
    with a_world(tmp_path, "one", url=request.getfixturevalue(request.param)) as world:
        world.create()
        world.wait_for_zone("ACTIVE")
        yield world


@pytest.fixture
def postgresql_world(database_url: str, tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path, "one", url=database_url) as world:
        world.create()
        world.wait_for_zone("ACTIVE")
        yield world


# --- adapters that break ------------------------------------------------------------------------------------


def test_an_adapter_that_breaks_is_an_error_on_its_delivery_and_nobody_elses(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = MemoryBackend.apply
    calls = []

    def breaks(self: MemoryBackend, plan: Plan) -> Any:
        if plan.zone == ZONE:
            calls.append(plan)
            raise KeyError("a bug\x00in the adapter")
        return apply(self, plan)

    world.create("other.example.")
    monkeypatch.setattr(MemoryBackend, "apply", breaks)
    operation = world.put("www", "192.0.2.1")
    other = world.put("www", "192.0.2.1", zone="other.example.")
    assert world.end_of(other).status is Status.ACTIVE
    world.until(lambda: world.row("SELECT max(attempts) FROM delivery")[0] >= 3, "no attempt was noted")
    outcome = world.show(operation)
    assert "KeyError" in (outcome.message or "")
    assert outcome.targets[0].next_attempt_at is not None
    assert len(calls) < 20, "a hot loop"
    monkeypatch.setattr(MemoryBackend, "apply", apply)
    assert world.end_of(operation).status is Status.ACTIVE


def test_a_database_that_goes_away_while_a_failure_is_noted_leaves_no_claim_behind(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.servers["one"].is_down = True
    operation = world.put("www", "192.0.2.1")
    away = sa.exc.OperationalError("UPDATE", {}, Exception("server closed the connection"))
    with monkeypatch.context() as broken:
        broken.setattr(claims, "fail", lambda *_, **__: (_ for _ in ()).throw(away))
        with pytest.raises(sa.exc.OperationalError):
            world.deliver()
    world.servers["one"].is_down = False
    assert world.end_of(operation).status is Status.ACTIVE


def test_a_busy_zone_does_not_count_as_a_failure(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    apply = MemoryBackend.apply
    values = iter(range(2, 30))

    def one_more_each_time(self: MemoryBackend, plan: Plan) -> Any:
        receipt = apply(self, plan)
        value = next(values, None)
        if value is not None:
            world.put("www", f"192.0.2.{value}")
        return receipt

    monkeypatch.setattr(MemoryBackend, "apply", one_more_each_time)
    world.put("www", "192.0.2.1")
    world.until(lambda: world.served("one").get(WWW) == ("192.0.2.29",), "not delivered")
    assert "kept changing" not in caplog.text


# --- workers that stop, lose their claims, and come back ----------------------------------------------------


@pytest.fixture
def unfenced(tmp_path: Path) -> Iterator[World]:
    """Fencing by the server is not to be had everywhere: the last writer wins there, and may be stale."""
    with a_world(tmp_path, "one") as world:
        world.servers["one"].capabilities = Capabilities(fencing="none")
        world.create()
        world.wait_for_zone("ACTIVE")
        yield world


def test_what_a_replaced_worker_wrote_late_is_found_and_put_right(unfenced: World) -> None:
    world = unfenced
    world.put("www", "192.0.2.1")
    known = world.runtime._directory.by_name("default")
    target_id = known.target_ids["one"]
    in_request, go_on = threading.Event(), threading.Event()
    apply = MemoryBackend.apply
    late: list[Plan] = []

    def paused(self: MemoryBackend, plan: Plan) -> Any:
        if not late:
            late.append(plan)
            in_request.set()
            assert go_on.wait(60)
        return apply(self, plan)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemoryBackend, "apply", paused)
        thread = threading.Thread(target=world.runtime.deliver, args=("one",))
        thread.start()
        assert in_request.wait(60)
        last = world.put("www", "192.0.2.2")
        with world.engine.begin() as connection:
            connection.execute(sa.text("UPDATE delivery SET lease_until = '2020-01-01 00:00:00'"))
            fresh = claims.claim_next(connection, target_id, "one", owner=2, lease_s=60.0)
        assert fresh is not None
        backend = MemoryBackend("one", MemoryBackend.options_model())
        convergence.Convergence(world.engine, known, fresh, backend, world.settings).run()
        assert world.served("one") == {WWW: ("192.0.2.2",)}
        go_on.set()
        thread.join(10)
    world.end_of(last)
    world.until(lambda: world.served("one") == {WWW: ("192.0.2.2",)}, "the stale write stays")
    world.wait_for_zone("ACTIVE")
    assert world.servers["one"].zones[ZONE].soa.serial == world.zone()["serial"]


def test_a_worker_that_never_sweeps_takes_its_lock_again_when_it_was_lost(server_world: World) -> None:
    world = server_world
    lock = world.runtime._lock
    assert isinstance(lock, SessionLock)
    before = lock.owner
    with world.engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            holders = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
            connection.exec_driver_sql(holders)
        else:
            holder = connection.exec_driver_sql(f"SELECT IS_USED_LOCK('dnsworker-{before}')").scalar_one()
            connection.exec_driver_sql(f"KILL {holder}")
    other = SessionLock(world.engine)
    world.until(lambda: other.is_dead(before), "the lock is still held")
    world.put("www", "192.0.2.1")
    owners = []
    apply = MemoryBackend.apply

    def noting(self: MemoryBackend, plan: Plan) -> Any:
        owners.append(world.row("SELECT owner FROM delivery").owner)
        return apply(self, plan)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemoryBackend, "apply", noting)
        patch.setattr(claiming, "OWNER_CHECK_S", 0.0)
        world.runtime.deliver("one")
    assert owners
    assert owners[0] != before
    assert not other.is_dead(owners[0])


def test_two_sweeps_that_tell_the_same_outcomes_do_not_wait_for_each_other(postgresql_world: World) -> None:
    """They would take the rows in two orders: a deadlock."""
    world = postgresql_world
    first, second = (world.end_of(world.put("www", f"192.0.2.{number}")).id for number in (1, 2))
    with world.engine.begin() as connection:
        connection.execute(sa.text("UPDATE operation SET is_untold = true"))
    with world.engine.begin() as one, world.engine.begin() as other:
        other.execute(sa.text("SET LOCAL lock_timeout = '5s'"))
        operations.told(one, [first])
        operations.told(other, [second, first])
        operations.told(one, [first, second])
    with world.engine.connect() as connection:
        assert {first, second}.isdisjoint(operations.untold(connection, 0.0, 100))


def test_gaps_stay_open_for_those_who_waited_while_the_database_was_away(postgresql_world: World) -> None:
    """Their wait counts as grace by the database's clock, but is none: they come in a moment."""
    world = postgresql_world
    second = world.put("www", "192.0.2.2", order={"client": "one", "number": 2, "skips": []})
    with world.engine.begin() as connection:
        connection.execute(sa.text("UPDATE operation SET received_at = '2020-01-01 00:00:00'"))
        connection.execute(
            sa.text("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
        )
    world.runtime.sweep()
    assert world.show(second).status == Status.HELD
    first = world.put("www", "192.0.2.1", order={"client": "one", "number": 1, "skips": []})
    assert world.end_of(first).status.has_succeeded
    assert world.end_of(second).status.has_succeeded


def test_a_database_that_ends_between_two_statements_is_away(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the driver's own error, which no task expects: SQLAlchemy lets it through where it sets a level."""
    engine, killer = database.connect(database_url), database.connect(database_url)
    lock, held = SessionLock(engine), SessionLock(killer)
    held.take()
    for _ in range(2):  # the same connection, as in a worker that has run for a while
        assert not lock.is_dead(held.owner)
    ask = lock._try

    def ask_and_end(connection: sa.Connection, owner: int) -> bool:
        answer = ask(connection, owner)
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        with killer.begin() as other:
            other.execute(sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(lock, "_try", ask_and_end)
        uses: list[Callable[[], object]] = [
            lambda: lock.is_dead(held.owner),
            lambda: lock.is_dead(1),
            lock.take,
        ]
        for use in uses:
            with pytest.raises(database.AWAY):
                use()
    lock.take()  # and all is well afterwards
    assert not held.is_dead(lock.owner)
    assert not lock.is_dead(held.owner)
    for each in (lock, held):
        each.release()
    for each_engine in (engine, killer):
        each_engine.dispose()


def test_two_workers_at_one_target_do_each_delivery_once(server_world: World) -> None:
    world = server_world
    second = Runtime(world.settings, world.signals)
    second.start()
    try:
        names = [f"z{number}.example." for number in range(12)]
        ids = [world.submit("create_zone", zone=name, email="a@example.net") for name in names]
        threads = [
            threading.Thread(target=runtime.deliver, args=("one",))
            for runtime in (world.runtime, second, world.runtime, second)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert {world.end_of(one).status for one in ids} == {Status.ACTIVE}
        assert world.servers["one"].requests.count("create") == len(names) + 1
    finally:
        second.stop()


# --- intake -------------------------------------------------------------------------------------------------


def break_on(monkeypatch: pytest.MonkeyPatch, operation_id: str) -> None:
    apply = Desired.apply

    def breaks(self: Desired, connection: sa.Connection, one: str, request: Any) -> Any:
        if one == operation_id:
            raise KeyError("a bug of ours")
        return apply(self, connection, one, request)

    monkeypatch.setattr(Desired, "apply", breaks)


def test_an_operation_that_breaks_the_intake_ends_and_does_not_stop_those_behind_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_on(monkeypatch, "bad")
    put = {"zone": "example.org.", "type": "A", "data": ["192.0.2.1"]}
    with world.engine.begin() as connection:
        submit(connection, "bad", parse_request("put_record", {"name": "a", **put}))
        submit(connection, "good", parse_request("put_record", {"name": "b", **put}))
    assert world.end_of("good").status is Status.ACTIVE
    outcome = world.end_of("bad")
    assert (outcome.status, outcome.code) == (Status.ERROR, "InternalError")
    assert "KeyError" in (outcome.message or "")


def test_an_operation_that_breaks_takes_its_place_in_the_order(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_on(monkeypatch, "second")

    def put(operation_id: str, number: int) -> None:
        order = {"client": "c", "number": number}
        world.put(f"n{number}", "192.0.2.1", operation_id=operation_id, order=order)

    put("second", 2)
    put("third", 3)
    put("first", 1)
    assert world.end_of("second").code == "InternalError"
    assert world.end_of("first").status is Status.ACTIVE
    assert world.end_of("third").status is Status.ACTIVE


@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b"])
def test_text_that_no_database_holds_is_refused_in_order(server_world: World, text: str) -> None:
    world = server_world
    order = {"client": "c", "number": 1}
    operation = world.put("www", "192.0.2.1", comment=text, order=order)
    assert world.show(operation).code == "InvalidRequest"
    later = world.put("www", "192.0.2.1", order={"client": "c", "number": 2})
    assert world.end_of(later).status is Status.ACTIVE


def test_a_number_that_no_database_holds_is_refused(world: World) -> None:
    operation = world.put("www", "192.0.2.1", order={"client": "c", "number": 2**70})
    assert world.show(operation).code == "InvalidRequest"


# --- the clock, the breaker, the sweep ----------------------------------------------------------------------


def test_a_probe_that_finds_nothing_due_is_not_spent(world: World) -> None:
    world.servers["one"].is_down = True
    world.put("www", "192.0.2.1")
    world.until(lambda: world.row("SELECT failures FROM target").failures >= 4, "the breaker is closed")
    with world.engine.begin() as connection:
        connection.execute(sa.text("UPDATE target SET open_until = '2020-01-01 00:00:00'"))
        connection.execute(sa.text("UPDATE delivery SET due_at = '2999-01-01 00:00:00'"))
    world.runtime.deliver("one")
    assert str(world.row("SELECT open_until FROM target").open_until).startswith("2020")


def test_a_target_that_answers_with_a_refusal_closes_its_breaker(world: World) -> None:
    world.servers["one"].is_down = True
    world.put("www", "192.0.2.1")
    world.until(lambda: world.row("SELECT failures FROM target").failures >= 4, "the breaker is closed")
    with world.engine.begin() as connection:
        connection.execute(sa.text("UPDATE target SET open_until = '2020-01-01 00:00:00'"))
        connection.execute(sa.text("UPDATE delivery SET due_at = '2020-01-01 00:00:00'"))
    world.servers["one"].is_down = False
    edited = RRset("hand.example.org.", "A", 60, ["198.51.100.1"])
    world.servers["one"].edit("example.org.", add=[edited], serial=world.zone()["serial"] + 1000)
    world.runtime.deliver("one")
    assert world.row("SELECT state FROM delivery").state == "ahead"
    assert world.row("SELECT open_until FROM target").open_until is None


def test_zones_whose_look_fails_do_not_crowd_out_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dnsworker.runtime.BATCH", 1)
    world.create("other.example.")
    looked: list[int] = []
    monkeypatch.setattr(world.runtime._verifier, "look", looked.append)
    with world.engine.begin() as connection:
        connection.execute(sa.text("UPDATE zone SET look_at = '2020-01-01 00:00:00'"))
    world.runtime.sweep()
    world.runtime.sweep()
    assert len(set(looked)) == 2


# --- all at once --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_everything_ends_and_all_agree(tmp_path: Path, database_url: str, seed: int) -> None:
    """Two workers, two targets that refuse, fall silent and lose answers, zones that come and go."""
    rng = random.Random(seed)
    zone_names = ("a.example.", "b.example.", "c.example.")
    with a_world(tmp_path, "one", "two", url=database_url, breaker_failures=2) as world:
        second = Runtime(world.settings, world.signals)
        second.start()
        runtimes = (world.runtime, second)
        is_over = threading.Event()
        errors: list[BaseException] = []

        def refuses(rrsets: Collection[RRset]) -> BackendError | None:
            bad = any("192.0.2.66" in one.data for one in rrsets)
            return RecordRejected("no such addresses here") if bad else None

        def work(runtime: Runtime, target: str) -> None:
            while not is_over.is_set():
                try:
                    runtime.deliver(target)
                    runtime.sweep()
                except Exception as exc:  # noqa: BLE001 - whatever it is, the test fails with it
                    errors.append(exc)
                    return
                is_over.wait(0.01)

        world.servers["two"].judge = refuses
        threads = [
            threading.Thread(target=work, args=(runtime, target))
            for runtime in runtimes
            for target in ("one", "two")
        ]
        for thread in threads:
            thread.start()
        ids = []
        try:
            for _ in range(120):
                zone = rng.choice(zone_names)
                kind = rng.choices(
                    ("create_zone", "delete_zone", "put", "delete", "update"), (2, 1, 8, 2, 1)
                )[0]
                server = world.servers[rng.choice(("one", "two"))]
                match rng.randrange(12):
                    case 0:
                        server.is_down = not server.is_down
                    case 1:
                        server.answers_to_lose = 1
                    case 2:
                        server.zones.pop(Name(zone), None)
                if kind == "create_zone":
                    ids.append(world.submit(kind, zone=zone, email="a@example.net"))
                elif kind == "delete_zone":
                    ids.append(world.submit(kind, zone=zone))
                elif kind == "update":
                    ids.append(world.submit("update_zone", zone=zone, ttl=rng.randrange(60, 4000)))
                elif kind == "delete":
                    ids.append(world.submit("delete_record", zone=zone, name=rng.choice("xyz"), type="A"))
                else:
                    value = rng.choice(("192.0.2.66", "192.0.2.1", "192.0.2.2"))
                    ids.append(world.put(rng.choice("xyz"), value, zone=zone))
                if rng.random() < 0.3:
                    time.sleep(rng.random() / 20)
            for server in world.servers.values():
                server.is_down = False
            deadline, unfinished = time.monotonic() + 40, ids
            while time.monotonic() < deadline and not errors:
                unfinished = [one for one in unfinished if not world.show(one).status.is_final]
                if not unfinished and is_settled(world):
                    break
                time.sleep(0.05)
        finally:
            is_over.set()
            for thread in threads:
                thread.join(30)
            second.stop()
        if errors:
            raise errors[0]
        left = {one: world.show(one).message for one in ids if not world.show(one).status.is_final}
        assert not left
        assert is_settled(world), world.explain()
        with world.engine.connect() as connection:
            living = {
                row.name: row.serial
                for row in connection.execute(sa.text("SELECT name, serial, is_deleted FROM zone"))
                if not row.is_deleted
            }
        for target, server in world.servers.items():
            assert set(server.zones) == set(living)
            for name, serial in living.items():
                assert world.served(target, name) == world.records(name)
                assert server.zones[Name(name)].soa.serial == serial
            for name, shown in server.serials.items():
                falls = [(a, b) for a, b in itertools.pairwise(shown) if b < a]
                assert not falls, f"{name} at {target}"
        for one in ids:
            assert world.signals.told[one].status == world.show(one).status


def is_settled(world: World) -> bool:
    query = "SELECT count(*) FROM delivery WHERE due_at IS NOT NULL OR owner IS NOT NULL"
    return bool(world.row(query)[0] == 0)
