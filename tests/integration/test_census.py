"""What `status` tells of a million zones, of which twelve are enough here: counted by the sweep."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dnsworker.reports.system import show_status
from dnsworker.store import census, comparisons
from tests.world import World, a_world

ZONES = 12


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Zones of which the second target, which is down, has nothing. Three are many, four to a slice."""
    monkeypatch.setattr(census, "FEW", 2)
    monkeypatch.setattr(census, "SIZE", 4)
    monkeypatch.setattr(census, "SLICES_AT_ONCE", 1)
    fixtures = {"postgresql": "empty_database_url", "mariadb": "empty_mariadb_url"}
    url = request.getfixturevalue(fixtures[request.param]) if request.param in fixtures else None
    pool = {"threshold_percentage": 50}
    with a_world(tmp_path, "one", "two", url=url, pool=pool) as world:
        world.servers["two"].is_down = True
        for number in range(ZONES):
            world.submit("create_zone", zone=f"z{number}.example.", email="a@example.net")
        world.until(lambda: _truth(world)["zones"] == {"DEGRADED": ZONES}, "the zones did not settle")
        yield world


def _truth(world: World) -> dict[str, Any]:
    """Counted one by one."""
    with world.engine.connect() as connection:
        by_status = connection.execute(sa.text("SELECT status, count(*) FROM zone GROUP BY status"))
        due = sa.text("SELECT count(*) FROM delivery WHERE due_at IS NOT NULL")
        failing = sa.text("SELECT count(*) FROM delivery WHERE due_at IS NOT NULL AND attempts > 0")
        return {
            "zones": {row[0]: row[1] for row in by_status},
            "backlog": connection.execute(due).scalar_one(),
            "failing": connection.execute(failing).scalar_one(),
        }


def _told(world: World) -> dict[str, Any]:
    found = _status(world)
    return {
        "zones": found["zones"],
        "backlog": sum(one["backlog"] for one in found["targets"]),
        "failing": sum(one["failing"] for one in found["targets"]),
    }


def _status(world: World) -> dict[str, Any]:
    with world.engine.connect() as connection:
        return show_status(connection)


def _write(world: World, statement: str) -> None:
    with world.engine.begin() as connection:
        connection.execute(sa.text(statement))


def _go_round(world: World) -> None:
    for _ in range(2 * ZONES):
        with world.engine.begin() as connection:
            census.note(connection, census.count_on(connection))


def test_what_was_counted_in_slices_is_what_there_is(world: World) -> None:
    _go_round(world)
    assert _told(world) == _truth(world)
    assert _truth(world)["backlog"] == ZONES
    assert _status(world)["counted_at"] is not None


def test_without_a_sweep_all_is_counted_when_asked_for(world: World) -> None:
    _write(world, "DELETE FROM census")
    assert _told(world) == _truth(world)


def test_zones_beyond_the_last_slice_are_counted_when_asked_for(world: World) -> None:
    _go_round(world)
    _write(world, "DELETE FROM census WHERE first_id > 4")
    assert _told(world) == _truth(world)


def test_a_change_behind_the_sweeps_back_is_found_within_a_round(world: World) -> None:
    _go_round(world)
    _write(world, "UPDATE zone SET status = 'ERROR'")
    _write(world, "UPDATE delivery SET due_at = NULL")
    _go_round(world)
    assert _told(world) == _truth(world) == {"zones": {"ERROR": ZONES}, "backlog": 0, "failing": 0}


def test_a_few_are_counted_when_asked_for(world: World) -> None:
    _go_round(world)
    _write(world, "UPDATE zone SET status = 'ERROR' WHERE name = 'z1.example.'")
    assert _status(world)["zones"]["ERROR"] == 1


def test_numbers_that_were_all_counted_now_have_no_age(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    _go_round(world)
    monkeypatch.setattr(census, "FEW", 100)
    _write(world, "UPDATE census SET counts = '{}'")
    assert _told(world) == _truth(world)
    assert _status(world)["counted_at"] is None


def test_a_sweep_counts_the_oldest_slice_and_the_last(world: World) -> None:
    _go_round(world)
    with world.engine.connect() as connection:
        query = sa.text("SELECT first_id FROM census ORDER BY counted_at")
        slices = list(connection.execute(query).scalars())
        counted = [one["first_id"] for one in census.count_on(connection)]
    assert len(slices) >= ZONES // 4
    assert counted == sorted({slices[0], max(slices)})


def test_the_sweep_goes_on_with_the_census(world: World) -> None:
    _write(world, "DELETE FROM census")
    for _ in range(2 * ZONES):
        world.runtime.sweep()
    with world.engine.connect() as connection:
        found = connection.execute(sa.text("SELECT count(*) FROM census")).scalar_one()
    assert found >= ZONES // 4


def test_the_alarm_knows_of_many_that_are_ahead(world: World) -> None:
    _go_round(world)
    _write(world, "UPDATE delivery SET state = 'ahead' WHERE target_id = (SELECT min(id) FROM target)")
    _go_round(world)
    with world.engine.connect() as connection:
        alarm = comparisons.mass_ahead(connection)
    assert alarm is not None
    assert alarm.startswith(f"{ZONES} deliveries of {ZONES} zones are ahead")


def test_operations_that_are_on_their_way_are_counted(world: World) -> None:
    world.runtime._verifier.stop()  # else a look that is under way ends them
    _write(world, "UPDATE operation SET status = 'ACCEPTED'")
    _go_round(world)
    assert _status(world)["operations"] == {"ACCEPTED": ZONES}
    assert _status(world)["oldest_operation"] is not None
