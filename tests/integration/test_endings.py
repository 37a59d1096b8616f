"""What ended lately, who is how far behind, and pages of what there was: alike on every database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dnsworker.dashboard.hour import LastHour
from dnsworker.names import Name
from dnsworker.store import endings, lags, pools, timeline
from dnsworker.store.observations import Observation
from dnsworker.store.observations import put as put_observations
from dnsworker.tables import delivery, journal, observation, operation, zone
from tests.world import World, a_world


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    fixtures = {"postgresql": "database_url", "mariadb": "mariadb_url"}
    url = None if request.param == "sqlite" else request.getfixturevalue(fixtures[request.param])
    with a_world(tmp_path, "one", "two", url=url, pool={"threshold_percentage": 50}) as world:
        yield world


def insert(world: World, *rows: dict[str, Any]) -> None:
    plain = {"kind": "put_record", "zone": "example.org.", "payload": {}, "digest": "", "is_untold": False}
    with world.engine.begin() as connection:
        connection.execute(sa.insert(operation), [{"finished_at": None, **plain, **row} for row in rows])


def test_ends_are_counted_by_the_minute(world: World) -> None:
    minute = datetime(2026, 11, 27, 11, 59, tzinfo=UTC)
    first = int(minute.timestamp()) // 60
    ends = [
        ("a", "ACTIVE", -0.001), ("b", "ACTIVE", 0), ("c", "ACTIVE", 59.999999), ("d", "ERROR", 30),
        ("e", "SUPERSEDED", 60), ("f", "ACTIVE", 61),
    ]  # fmt: skip
    insert(
        world,
        *(
            {
                "id": id_, "status": status, "received_at": minute - timedelta(seconds=2),
                "finished_at": minute + timedelta(seconds=after),
            }
            for id_, status, after in ends
        ),
        {"id": "open", "status": "ACCEPTED", "received_at": minute},
    )  # fmt: skip
    with world.engine.connect() as connection:
        assert endings.by_minute(connection, first) == {
            first: {"ACTIVE": 2, "ERROR": 1},
            first + 1: {"SUPERSEDED": 1, "ACTIVE": 1},
        }
        samples = endings.samples(connection, [first, first + 1, first + 2])
        assert [(one.minute, one.id) for one in samples] == [(first, "b"), (first, "c"), (first + 1, "f")]
        latest = [row.id for row in endings.latest(connection, 4)]
        assert latest == ["f", "e", "c", "d"]
        last = (minute + timedelta(seconds=59.999999), "c")
        assert [row.id for row in endings.latest(connection, 4, before=last)] == ["d", "b", "a"]


def test_the_hour_remembers_what_is_over_and_sees_what_is_new(world: World) -> None:
    with world.engine.connect() as connection:
        now = datetime.fromisoformat(
            str(world.runtime.ask("show_operation", {"id": world.create().id})["finished_at"])
        )
        hour = LastHour()
        assert hour.read(connection).succeeded == 1
        connection.rollback()
        ages = {"old": 61, "late": 30, "new": 0}
        insert(
            world,
            *(
                {
                    "id": id_, "status": "ACTIVE", "received_at": now - timedelta(minutes=age, seconds=7),
                    "finished_at": now - timedelta(minutes=age),
                }
                for id_, age in ages.items()
            ),
        )  # fmt: skip
        # What is over isn't read again, so that what can't be any more isn't seen; what is new is.
        assert hour.read(connection).succeeded == 2
        connection.rollback()
        assert LastHour().read(connection).succeeded == 3
        assert LastHour().read(connection).quantile(1.0) == pytest.approx(7, abs=0.01)


def test_a_target_is_behind_since_the_first_change_that_it_lacks(world: World) -> None:
    world.create("early.example.")
    world.create("late.example.")
    world.servers["two"].is_down = True
    for name in ("early", "late"):
        for value in ("192.0.2.1", "192.0.2.2"):
            world.put("www", value, zone=f"{name}.example.")
    zones = ("early.example.", "late.example.")
    world.until(lambda: all(world.zone(name)["targets"][0]["is_current"] for name in zones), "one is behind")
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    with world.engine.begin() as connection:
        for index, row in enumerate(connection.execute(sa.select(journal).order_by(journal.c.id)).all()):
            at = begin + timedelta(minutes=index)
            connection.execute(sa.update(journal).where(journal.c.id == row.id).values(at=at))
        ids = pools.target_ids(connection)
        found = lags.of_targets(connection, ids.values())
        lacking = sa.select(sa.func.min(journal.c.at)).where(journal.c.name == "www.early.example.")
        assert found[ids["one"]] == lags.Lag(0)
        assert found[ids["two"]] == lags.Lag(2, connection.execute(lacking).scalar_one())


def test_a_nameserver_is_behind_with_what_is_being_asked_about(world: World) -> None:
    for name in ("a.example.", "b.example.", "c.example."):
        world.submit("create_zone", zone=name, email="a@example.net")
    with world.engine.begin() as connection:
        pool_id = connection.execute(sa.select(zone.c.pool_id).limit(1)).scalar_one()
        by_name = {row.name: row for row in connection.execute(sa.select(zone))}
        connection.execute(sa.update(zone).values(look_at=datetime(2026, 1, 1, tzinfo=UTC)))
        connection.execute(sa.update(zone).where(zone.c.name == "c.example.").values(look_at=None))
        server = "192.0.2.53:53"
        a, b = by_name["a.example."], by_name["b.example."]
        put_observations(
            connection,
            [
                Observation(a.id, server, a.revision, a.serial, None, None),
                Observation(b.id, server, 0, None, None, "timed out"),
            ],
        )
        found = lags.of_nameservers(connection, {pool_id: [server, "192.0.2.54:53"]}, [])
        first = sa.select(sa.func.min(journal.c.at)).where(journal.c.zone_id == b.id)
        asked_at = sa.select(observation.c.seen_at).where(observation.c.zone_id == b.id)
        since, at = (connection.execute(one).scalar_one() for one in (first, asked_at))
        assert found[pool_id, server] == lags.Lag(1, since, "timed out", at)
        assert found[pool_id, "192.0.2.54:53"].zones == 2, "it was never asked"
        assert lags.of_nameservers(connection, {pool_id: []}, []) == {}


def test_a_nameserver_is_behind_with_what_has_not_arrived_at_its_target(world: World) -> None:
    for name in ("a.example.", "b.example."):
        world.create(name)
    world.servers["two"].is_down = True
    world.put("www", "192.0.2.1", zone="a.example.")
    world.until(lambda: world.zone("a.example.")["targets"][0]["is_current"], "one is behind")
    with world.engine.begin() as connection:
        by_name = {row.name: row for row in connection.execute(sa.select(zone))}
        connection.execute(sa.update(zone).values(look_at=None))  # there is nobody to ask yet
        a, b = by_name["a.example."], by_name["b.example."]
        server, pool_id = "192.0.2.53:53", a.pool_id
        seen = [Observation(one.id, server, 1, one.serial, None, None) for one in (a, b)]
        put_observations(connection, seen)
        lag = lags.of_nameservers(connection, {pool_id: [server]}, pools.target_ids(connection).values())
        last = sa.select(sa.func.max(journal.c.at)).where(journal.c.zone_id == a.id)
        assert lag[pool_id, server] == lags.Lag(1, connection.execute(last).scalar_one())


def test_of_a_long_backlog_a_bounded_part_is_read_and_it_is_said(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lags, "SAMPLE", 2)
    for name in ("a.example.", "b.example.", "c.example."):
        world.submit("create_zone", zone=name, email="a@example.net")
    with world.engine.connect() as connection:
        target_id = connection.execute(sa.select(delivery.c.target_id).limit(1)).scalar_one()
        lag = lags.of_targets(connection, [target_id])[target_id]
        assert (lag.zones, lag.is_all) == (2, False)
        pool_id = connection.execute(sa.select(zone.c.pool_id).limit(1)).scalar_one()
        for target_ids in ([], [target_id]):
            found = lags.of_nameservers(connection, {pool_id: ["192.0.2.53:53"]}, target_ids)
            lag = found[pool_id, "192.0.2.53:53"]
            assert (lag.zones, lag.is_all) == (2, False)


def test_names_are_known_with_whether_a_zone_of_theirs_lives(world: World) -> None:
    world.create("living.example.")
    world.create("dead.example.")
    world.succeed("delete_zone", zone="dead.example.")
    names = [Name(one) for one in ("living.example.", "dead.example.", "never.example.")]
    with world.engine.connect() as connection:
        assert timeline.known_names(connection, names) == {"living.example.": True, "dead.example.": False}
        assert timeline.known_names(connection, []) == {}


def test_what_an_import_did_is_read_in_part_and_counted(world: World) -> None:
    text = "@ 60 IN SOA ns1.example.net. a.example.net. 1 3600 600 86400 300\n@ 60 IN NS ns1.example.net.\n"
    text += "".join(f"h{number:02} 60 IN A 192.0.2.{number}\n" for number in range(20))
    world.create()
    done = world.succeed("import_zone", text=text)
    with world.engine.connect() as connection:
        found = timeline.changes(connection, done.id, 5)
        assert len(found) == 5
        assert timeline.count_changes(connection, done.id) >= 20
