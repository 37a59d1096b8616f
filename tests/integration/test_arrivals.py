"""When a target got what it has, and when a nameserver was first found right: noted once, by the database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from dnsworker.records import RRset
from dnsworker.store import observations
from dnsworker.store.observations import Observation
from dnsworker.tables import delivery, observation
from tests.world import World, a_world

LONG_AGO = datetime.fromisoformat("2026-01-01T00:00:00+00:00")


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    fixtures = {"postgresql": "database_url", "mariadb": "mariadb_url"}
    url = None if request.param == "sqlite" else request.getfixturevalue(fixtures[request.param])
    with a_world(tmp_path, url=url) as world:
        world.create()
        yield world


def age(world: World) -> None:
    """Let all that has arrived have arrived long ago."""
    with world.engine.begin() as connection:
        connection.execute(sa.update(delivery).values(delivered_at=LONG_AGO))
        connection.execute(sa.update(observation).values(verified_at=LONG_AGO))


def delivered_at(world: World) -> datetime:
    with world.engine.connect() as connection:
        return connection.execute(sa.select(delivery.c.delivered_at)).scalar_one()


def test_a_change_that_arrives_is_noted(world: World) -> None:
    age(world)
    outcome = world.succeed("put_record", name="www", type="A", data=["192.0.2.1"])
    assert delivered_at(world) > LONG_AGO
    assert (
        world.zone()["targets"][0]["delivered_at"]
        == outcome.model_dump(mode="json")["targets"][0]["delivered_at"]
    )


def test_a_repair_brings_nothing_new(world: World) -> None:
    age(world)
    world.servers["one"].edit("example.org.", add=[RRset("x.example.org.", "A", 60, ["192.0.2.9"])], serial=5)
    with world.engine.begin() as connection:
        connection.execute(sa.update(delivery).values(must_read=True, due_at=LONG_AGO))
    world.until(lambda: not world.served("one"), "the foreign record stayed")
    assert delivered_at(world) == LONG_AGO


def test_a_nameserver_that_is_seen_again_was_right_before(world: World) -> None:
    with world.engine.connect() as connection:
        zone_id = connection.execute(sa.select(delivery.c.zone_id)).scalar_one()

    def see(revision: int) -> Observation:
        with world.engine.begin() as connection:
            observations.put(connection, [Observation(zone_id, "192.0.2.53:53", revision, 7, None, None)])
            return observations.of_zones(connection, [zone_id])[zone_id]["192.0.2.53:53"]

    first = see(1)
    assert first.verified_at == first.seen_at
    age(world)
    again = see(1)
    assert again.verified_at == LONG_AGO
    assert again.seen_at is not None
    assert again.seen_at > LONG_AGO
    later = see(2)
    assert later.verified_at == later.seen_at
