"""What is older than it has to be kept goes, on each database; what anybody still needs stays.

The rows are made old; nobody waits.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnsworker.errors import RecordRejected
from dnsworker.lineage import Lineage
from dnsworker.names import Name
from dnsworker.operations import Status
from dnsworker.pools import Pool
from dnsworker.retention import Retention
from dnsworker.settings import load_settings
from dnsworker.store import pools
from dnsworker.store import retention as store
from dnsworker.tables import delivery, journal, operation, purge, submission, withheld
from tests.intakes import Bench
from tests.world import MemoryServer, World, a_world

OLD = datetime.now(UTC) - timedelta(days=100)
#: So many serials of a zone stay in these tests.
KEPT = 3


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "mariadb"])
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    if request.param == "sqlite":
        made = Bench(f"sqlite:///{Path(tmp_path_factory.mktemp('retention')) / 'db'}")
    else:
        made = Bench(request.getfixturevalue(request.param).create_database("retention"))
    yield made
    made.engine.dispose()


def arrive(engine: sa.Engine) -> None:
    """As if all had been delivered and told."""
    with engine.begin() as connection:
        connection.execute(sa.update(delivery).values(delivered_revision=delivery.c.wanted_revision))
        ended = {"status": "ACTIVE", "finished_at": datetime.now(UTC), "is_untold": False}
        connection.execute(sa.update(operation).where(operation.c.status == "ACCEPTED").values(**ended))
        connection.execute(sa.update(operation).values(is_untold=False))


def age(engine: sa.Engine, at: datetime = OLD, *, until: int | None = None) -> None:
    """Make all that is there so old (up to a serial)."""
    changes, ends = sa.update(journal), sa.update(operation).where(operation.c.finished_at.is_not(None))
    if until is not None:
        changes, ends = changes.where(journal.c.serial <= until), ends.where(operation.c.serial <= until)
    with engine.begin() as connection:
        connection.execute(changes.values(at=at))
        connection.execute(ends.values(finished_at=at))
        connection.execute(sa.update(submission).values(updated_at=at))


def purge_all(engine: sa.Engine, **given: Any) -> int:
    """Until nothing is left to do; how many rows went."""
    keeper = Retention(engine, load_settings(**{"keep_serials": KEPT, **given}))
    count = 0
    with engine.begin() as connection:
        connection.execute(sa.delete(purge))
    while True:
        count += keeper.advance()
        with engine.begin() as connection:
            rows = connection.execute(sa.select(purge.c.due_at)).scalars().all()
            if all(due_at > datetime.now(UTC) + timedelta(minutes=30) for due_at in rows):
                return count
            soon = purge.c.due_at < datetime.now(UTC) + timedelta(minutes=30)
            connection.execute(sa.update(purge).values(due_at=OLD).where(soon))


def ids(bench: Bench, zone: str) -> set[str]:
    """The operations on a zone that have rows."""
    with bench.engine.connect() as connection:
        return set(connection.execute(sa.select(operation.c.id).where(operation.c.zone == zone)).scalars())


def entries(bench: Bench, zone: str) -> list[tuple[int, str, str]]:
    """The zone's journal: revision, name without the zone's, type."""
    query = sa.select(journal.c.revision, journal.c.name, journal.c.type)
    query = query.where(journal.c.zone_id == bench.row(zone).id).order_by(journal.c.revision, journal.c.id)
    with bench.engine.connect() as connection:
        return [(row.revision, row.name.removesuffix(zone), row.type) for row in connection.execute(query)]


def busy_zone(bench: Bench) -> tuple[str, list[int]]:
    """One with a record that stays, one that went, and one that changes; and its serials."""
    zone = bench.new_zone()
    serials = [bench.put(zone, "static"), bench.put(zone, "gone")]
    serials.append(bench.serial("delete_record", zone=zone, name="gone", type="A"))
    serials += [bench.put(zone, "www", f"192.0.2.{number}") for number in range(1, 7)]
    return zone, serials


def test_the_oldest_serials_go_and_each_rrset_keeps_its_last_change(bench: Bench) -> None:
    zone, serials = busy_zone(bench)
    before, had = bench.contents(zone), ids(bench, zone)
    arrive(bench.engine)
    age(bench.engine)
    assert purge_all(bench.engine) > 0
    assert sorted(entries(bench, zone)) == [
        (1, "", "NS"), (1, "", "SOA"), (2, "static.", "A"),
        (7, "www.", "A"), (8, "www.", "A"), (9, "www.", "A"), (10, "www.", "A"),
    ]  # fmt: skip
    assert bench.contents(zone) == before
    assert [one["serial"] for one in bench.history(zone)["changes"]] == serials[: -KEPT - 1 : -1]
    assert bench.history(zone)["begins"]["is_all"] is False
    assert len(had) - len(ids(bench, zone)) == 4, "of gone, its deletion, and the first two of www"
    early = bench.submit("restore_zone", zone=zone, serial=serials[0], force=True)
    assert (
        f"the journal of {zone} doesn't reach back to serial {serials[0]}: it begins with serial "
        f"{serials[-KEPT]}"
    ) in str(early.message)
    bench.serial("restore_zone", zone=zone, serial=serials[-KEPT], force=True)
    assert bench.contents(zone)[1][-1].data == ("192.0.2.4",)


def test_what_is_not_old_enough_stays_however_much_came_since(bench: Bench) -> None:
    zone, serials = busy_zone(bench)
    arrive(bench.engine)
    age(bench.engine, datetime.now(UTC) - timedelta(days=89))
    before, had = entries(bench, zone), ids(bench, zone)
    purge_all(bench.engine)
    assert (entries(bench, zone), ids(bench, zone)) == (before, had)
    age(bench.engine, until=serials[3])
    purge_all(bench.engine)
    assert [one["serial"] for one in bench.history(zone)["changes"]] == serials[:3:-1]
    purge_all(bench.engine, keep_days=80)
    assert len(bench.history(zone)["changes"]) == KEPT


def test_a_small_zone_keeps_everything(bench: Bench) -> None:
    zone = bench.new_zone()
    bench.put(zone, "www")
    bench.serial("delete_zone", zone=zone)
    arrive(bench.engine)
    age(bench.engine)
    before = (entries(bench, zone), ids(bench, zone))
    purge_all(bench.engine)
    assert (entries(bench, zone), ids(bench, zone)) == before


def still_at_a_target(bench: Bench, zone: str) -> None:
    zone_id = bench.row(zone).id
    with bench.engine.begin() as connection:
        mine = delivery.c.zone_id == zone_id
        connection.execute(sa.update(delivery).where(mine).values(delivered_revision=5))


def still_on_its_way(bench: Bench, zone: str) -> None:
    with bench.engine.begin() as connection:
        mine = sa.and_(operation.c.zone == zone, operation.c.revision == 6)
        connection.execute(sa.update(operation).where(mine).values(status="ACCEPTED", finished_at=None))


@pytest.mark.parametrize("needs", [still_at_a_target, still_on_its_way], ids=lambda one: one.__name__)
def test_what_a_delivery_or_an_open_operation_needs_stays(
    bench: Bench, needs: Callable[[Bench, str], None]
) -> None:
    zone, _ = busy_zone(bench)
    arrive(bench.engine)
    needs(bench, zone)
    age(bench.engine)
    purge_all(bench.engine)
    assert [revision for revision, name, _ in entries(bench, zone) if name == "www."] == [5, 6, 7, 8, 9, 10]
    arrive(bench.engine)
    age(bench.engine)
    purge_all(bench.engine)
    assert [revision for revision, name, _ in entries(bench, zone) if name == "www."] == [7, 8, 9, 10]


def test_little_at_a_time_comes_to_the_same(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    zone = bench.new_zone()
    wish = [
        {"action": "put", "name": f"host{number}", "type": "A", "data": ["192.0.2.1"]} for number in range(9)
    ]
    bench.serial("change_zone", zone=zone, changes=wish)  # more in one revision than is read at once
    bench.serial("import_zone", zone=zone, text="host1 60 A 192.0.2.1\n", force=True)
    serials = [bench.put(zone, "www", f"192.0.2.{number}") for number in range(1, 8)]
    arrive(bench.engine)
    age(bench.engine)
    monkeypatch.setattr(store, "ROWS_AT_ONCE", 4)
    purge_all(bench.engine)
    assert bench.history(zone)["changes"][-1]["serial"] == serials[-KEPT]
    left = sorted(name for revision, name, _ in entries(bench, zone) if revision <= 7)
    assert left == ["", "", "host1.", "www."]
    assert [one["serial"] for one in bench.history(zone)["changes"]] == serials[: -KEPT - 1 : -1]


def test_a_zone_that_somebody_has_locked_is_left_for_the_next_time(postgresql: Any) -> None:
    bench = Bench(postgresql.create_database("retention_locked"))
    zone, _ = busy_zone(bench)
    arrive(bench.engine)
    age(bench.engine)
    before = entries(bench, zone)
    with bench.engine.begin() as other:
        other.execute(sa.text("SELECT id FROM zone FOR UPDATE"))
        purge_all(bench.engine)
        assert entries(bench, zone) == before
    purge_all(bench.engine)
    assert entries(bench, zone) != before
    bench.engine.dispose()


def test_one_worker_purges_and_not_all_the_time(postgresql: Any) -> None:
    bench = Bench(postgresql.create_database("retention_turns"))
    busy_zone(bench)
    arrive(bench.engine)
    age(bench.engine)
    keeper = Retention(bench.engine, load_settings(keep_serials=KEPT))
    with bench.engine.begin() as first:
        assert [store.take_turn(first, what) for what in store.KINDS] == [[], [], []]
    with bench.engine.begin() as other:
        assert all(store.take_turn(other, what) is not None for what in store.KINDS)
        assert keeper.advance() == 0, "another worker is at it"
    assert keeper.advance() > 0
    assert keeper.advance() == 0, "the next batch has its time"
    bench.engine.dispose()


walk = st.lists(
    st.one_of(
        st.tuples(st.just("put_record"), st.sampled_from("abc"), st.integers(1, 3)),
        st.tuples(st.just("delete_record"), st.sampled_from("abc"), st.just(0)),
        st.tuples(st.just("update_zone"), st.just(""), st.integers(1, 3)),
        st.tuples(st.sampled_from(["delete_zone", "create_zone"]), st.just(""), st.just(0)),
    ),
    min_size=4, max_size=16,
)  # fmt: skip


def submit(bench: Bench, zone: str, step: tuple[str, str, int]) -> None:
    kind, name, value = step
    arguments: dict[str, Any] = {"zone": zone, "force": True}
    if kind.endswith("_record"):
        arguments |= {"name": name, "type": "A"}
    if kind == "put_record":
        arguments["data"] = [f"192.0.2.{value}"]
    if kind == "update_zone":
        arguments["ttl"] = value
    if kind == "create_zone":
        arguments["email"] = "other@example.net"
    bench.submit(kind, **arguments)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=walk, then=walk, data=st.data())
def test_what_can_still_be_gone_back_to_is_exactly_what_it_was(
    bench: Bench, first: list[tuple[str, str, int]], then: list[tuple[str, str, int]], data: st.DataObject
) -> None:
    zone = bench.new_zone()
    was = {bench.row(zone).serial: bench.contents(zone)}
    for steps in (first, then):  # what was left the first time is let go of the second
        for step in steps:
            submit(bench, zone, step)
            was.setdefault(bench.row(zone).serial, bench.contents(zone))
        arrive(bench.engine)
        age(bench.engine, until=data.draw(st.sampled_from(sorted(was))))
        purge_all(bench.engine, keep_serials=data.draw(st.integers(1, 6)))
    begins = bench.history(zone)["begins"]["serial"]
    for serial in data.draw(st.permutations(list(was))):
        fate = bench.submit("restore_zone", zone=zone, serial=serial, force=True)
        if serial < begins:
            assert "doesn't reach back to" in str(fate.message)
        elif was[serial] is None:
            assert "was deleted" in str(fate.message)
        else:
            assert fate.status is Status.ACCEPTED, fate.message
            assert bench.contents(zone) == was[serial]


# --- operations and clients ---------------------------------------------------------------------------------


def test_an_operation_that_changed_nothing_goes_when_it_is_old(bench: Bench) -> None:
    zone = bench.new_zone()
    bench.put(zone, "www")
    bench.put(zone, "www")
    assert bench.submit("create_record", zone=zone, name="www", type="A", data=["192.0.2.1"]).code
    arrive(bench.engine)
    had = ids(bench, zone)
    age(bench.engine, datetime.now(UTC) - timedelta(days=89))
    purge_all(bench.engine)
    assert ids(bench, zone) == had, "a message that comes again is still known"
    age(bench.engine)
    purge_all(bench.engine)
    assert len(had - ids(bench, zone)) == 2
    assert all(kind in ("create_zone", "put_record") for kind in kinds(bench, zone))


def kinds(bench: Bench, zone: str) -> list[str]:
    with bench.engine.connect() as connection:
        query = sa.select(operation.c.kind).where(operation.c.zone == zone)
        return sorted(connection.execute(query).scalars())


@pytest.mark.parametrize("state", ["open", "untold", "withheld"])
def test_an_operation_that_somebody_waits_for_or_speaks_of_stays(bench: Bench, state: str) -> None:
    zone = bench.new_zone()
    bench.submit("delete_record", zone=zone, name="www", type="A")
    arrive(bench.engine)
    age(bench.engine)
    mine = sa.and_(operation.c.zone == zone, operation.c.kind == "delete_record")
    (operation_id,) = ids(bench, zone) - {one["operation"] for one in bench.history(zone)["changes"]}
    zone_id = bench.row(zone).id
    with bench.engine.begin() as connection:
        if state == "open":
            connection.execute(sa.update(operation).where(mine).values(status="ACCEPTED", finished_at=None))
        elif state == "untold":
            connection.execute(sa.update(operation).where(mine).values(is_untold=True))
        else:
            target_id = connection.execute(sa.select(sa.func.min(delivery.c.target_id))).scalar_one()
            row = {"name": zone, "type": "A", "revision": 1, "message": "no", "at": OLD}
            keys = {"zone_id": zone_id, "target_id": target_id, "operation_id": operation_id}
            connection.execute(sa.insert(withheld).values(**row, **keys))
    purge_all(bench.engine)
    assert operation_id in ids(bench, zone)


def test_many_operations_of_one_moment_are_all_gone_through(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone = bench.new_zone()
    for number in range(7):
        bench.submit("delete_record", zone=zone, name=f"w{number}", type="A")
    arrive(bench.engine)
    age(bench.engine)
    monkeypatch.setattr(store, "ROWS_AT_ONCE", 2)
    purge_all(bench.engine)
    assert kinds(bench, zone) == ["create_zone"]


def test_a_clients_place_goes_when_it_was_silent_for_so_long(bench: Bench) -> None:
    zone = bench.new_zone()

    def put(number: int, client: str) -> Any:
        order = {"client": client, "number": number, "skips": []}
        return bench.submit("put_record", zone=zone, name="www", type="A", data=["192.0.2.1"], order=order)

    clients = [str(uuid.uuid4()) for _ in range(5)]
    for client in clients:
        put(1, client)
    arrive(bench.engine)
    age(bench.engine)
    put(2, clients[0])
    purge_all(bench.engine)
    with bench.engine.connect() as connection:
        left = (
            connection.execute(sa.select(submission.c.client).where(submission.c.zone == zone))
            .scalars()
            .all()
        )
    assert left == [clients[0]]
    assert put(3, clients[0]).status is Status.ACCEPTED
    assert put(2, clients[1]).status is Status.HELD, (
        "it is another client now, and what it sends is waited for"
    )


def test_clients_are_gone_through_in_pages(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    zone = bench.new_zone()
    for number in range(7):
        order = {"client": f"c{number % 3}", "number": 1, "skips": []}
        other = f"p{number}.{zone}"
        bench.serial("create_zone", zone=other, email="a@example.net", order=order)
    arrive(bench.engine)
    age(bench.engine)
    monkeypatch.setattr(store, "ROWS_AT_ONCE", 2)
    purge_all(bench.engine)
    with bench.engine.connect() as connection:
        query = sa.select(sa.func.count()).where(submission.c.zone.like(f"p%.{zone}"))
        assert connection.execute(query).scalar() == 0


# --- what rests on the journal ------------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path, "one", keep_serials=KEPT, pool={"threshold_percentage": 50}) as made:
        made.create()
        yield made


def test_a_new_target_gets_a_zone_whose_beginning_is_forgotten(world: World) -> None:
    """Even where it refuses a record of then: that is left out, under the operation that it came with."""
    world.end_of(world.put("@", "ns9.example.net.", type="NS", force=True))
    bad = world.end_of(world.put("bad", "192.0.2.66"))
    for number in range(1, 8):
        world.end_of(world.put("www", f"192.0.2.{number}"))
    age(world.engine)
    assert purge_all(world.engine) > 0
    one = {"name": "one", "type": "memory"}
    document = {
        "name": "default", "ns_records": [{"hostname": "ns1.example.net."}], "threshold_percentage": 50,
        "targets": [one, one | {"name": "two"}],
    }  # fmt: skip
    world.servers["two"] = MemoryServer(
        judge=lambda rrsets: (
            RecordRejected("no such thing") if any(it.data == ("192.0.2.66",) for it in rrsets) else None
        )
    )
    with world.engine.begin() as connection:
        pools.apply(connection, [Pool.model_validate(document)])
    world.runtime.reload_pools()
    world.until(lambda: Name("example.org.") in world.servers["two"].zones, "the new target has the zone")
    world.wait_for_zone("DEGRADED")
    world.until(lambda: len(world.served("two")) == 1, "all but what is refused")
    assert world.served("two") == {("www.example.org.", "A"): ("192.0.2.7",)}
    assert world.servers["two"].zones[Name("example.org.")].rrsets[Name("example.org."), "NS"].data == (
        "ns9.example.net.",
    )
    (refused,) = world.zone()["targets"][1]["withheld"]
    assert refused["operation"] == bad.id


def test_the_sweep_purges(world: World) -> None:
    for number in range(1, 8):
        world.end_of(world.put("www", f"192.0.2.{number}"))
    age(world.engine)
    with world.engine.begin() as connection:
        connection.execute(sa.delete(purge))  # it has been round
    assert world.runtime.sweep()["purged"] > 0


@pytest.mark.parametrize(("days", "holds"), [(100, True), (10, False)])
def test_a_worker_whose_last_row_was_purged_takes_the_database_for_no_older_one(
    world: World, days: int, holds: bool
) -> None:
    """Unless that row would have to be there: then the database was restored from a backup."""
    known = Lineage(world.engine, None, keep_days=90)
    with world.engine.begin() as connection:
        at = datetime.now(UTC) - timedelta(days=days)
        connection.execute(sa.update(journal).values(at=at))
    with world.engine.connect() as connection:
        assert known.holds(connection)
    world.end_of(world.put("www", "192.0.2.1"))
    with world.engine.begin() as connection:
        connection.execute(sa.delete(journal).where(journal.c.at <= at))
        assert known.holds(connection) is holds


def test_less_than_a_week_is_no_time_to_keep_things() -> None:
    from dnsworker.errors import ConfigError

    with pytest.raises(ConfigError, match="DNSWORKER_KEEP_DAYS: Input should be greater than or equal to 7"):
        load_settings(keep_days=6.9)
