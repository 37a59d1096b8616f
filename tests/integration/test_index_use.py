"""With 50,000 zones, one of two targets dead and all its deliveries due: what looks for work reads by index.

Every statement that the sweep, a wake-up and `status` send is explained by PostgreSQL, whoever adds one.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from dnsworker import history
from dnsworker.dashboard import overview
from dnsworker.dashboard import zones as pages
from dnsworker.dashboard.hour import LastHour
from dnsworker.monitoring import state
from dnsworker.names import Name
from dnsworker.reports.outcomes import show_operation
from dnsworker.reports.system import show_status
from dnsworker.reports.zones import show_zone
from dnsworker.requests.questions import parse_query
from dnsworker.retention import Retention
from dnsworker.settings import load_settings
from dnsworker.store import census
from tests.world import World, a_world

ZONES = 50_000
#: Tables that grow with the zones: nobody reads one of them from end to end. (What is withheld is what
#: targets have refused, and is counted.)
LARGE = ("zone", "delivery", "operation", "journal", "recordset", "observation", "submission")
#: More rows than any statement need read: two deliveries of each zone that the sweep counts at once.
MANY_ROWS = 2 * census.SIZE + 1_000
FILL = [
    """
    INSERT INTO zone (id, pool_id, name, status, is_deleted, revision, serial, mname, email, ttl, refresh,
                      retry, expire, minimum, looks, created_at, updated_at)
    SELECT 1000 + n, pool.id, 'z' || n || '.example.', 'DEGRADED', false, 2, 2, 'ns1.example.net.',
           'a@example.net', 3600, 3600, 600, 86400, 3600, 0, now(), now()
    FROM generate_series(1, {zones}) AS n, pool
    """,
    """
    INSERT INTO operation (id, kind, zone, zone_id, payload, digest, status, revision, serial, received_at,
                           accepted_at, finished_at, is_untold)
    SELECT 'o' || n, 'put_record', 'z' || n || '.example.', 1000 + n, '{{}}', '', 'ACTIVE', 2, 2,
           now() - interval '1 day', now(), now() - n * interval '1 second', false
    FROM generate_series(1, {zones}) AS n
    """,
    """
    INSERT INTO delivery (zone_id, target_id, goal, wanted_revision, state, soa, delivered_revision,
                          must_read, force, epoch, attempts, due_at, compare_at, last_code, last_error)
    SELECT zone.id, target.id, 'present', 2, 'present',
           'ns1.example.net. a.example.net. ' || zone.revision || ' 3600 600 86400 3600',
           CASE target.name WHEN 'two' THEN 1 ELSE 2 END, false,
           false, 3, CASE target.name WHEN 'two' THEN 5 ELSE 0 END,
           CASE target.name WHEN 'two' THEN now() + interval '1 hour' * (zone.id % 10 - 1) END,
           CASE target.name WHEN 'one' THEN now() + interval '1 day' END, 'Unreachable', 'nobody answers'
    FROM zone, target WHERE zone.id > 1000
    """,
    """
    INSERT INTO journal (zone_id, revision, serial, name, type, after, operation_id, at)
    SELECT 1000 + n, 2, 2, 'www.z' || n || '.example.', 'A', '{{"ttl": 60, "data": ["192.0.2.1"]}}',
           'o' || n, now()
    FROM generate_series(1, {zones}) AS n
    """,
    """
    INSERT INTO recordset (zone_id, name, type, ttl, data, sort_key)
    SELECT 1000 + n, owner || 'z' || n || '.example.', type, 60, '["192.0.2.1"]', convert_to(owner, 'UTF8')
    FROM generate_series(1, {zones}) AS n, (VALUES ('', 'NS'), ('www.', 'A')) AS rrset (owner, type)
    """,
    """
    INSERT INTO observation (zone_id, nameserver, verified_revision, serial, seen_at)
    SELECT 1000 + n, '192.0.2.53:53', 2, 2, now() FROM generate_series(1, {zones}) AS n
    """,
    """
    INSERT INTO withheld (zone_id, target_id, name, type, operation_id, revision, message, at)
    SELECT 1000 + n, target.id, 'www.z' || n || '.example.', 'A', 'o' || n, 2, 'refused', now()
    FROM generate_series(1, {zones}) AS n, target WHERE target.name = 'two'
    """,
    """
    INSERT INTO submission (client, zone, last_number, voids, updated_at)
    SELECT 'c' || n, 'z' || n || '.example.', 1, '[]', now() FROM generate_series(1, {zones}) AS n
    """,
    "UPDATE target SET failures = 9, open_until = now() + interval '1 hour' WHERE name = 'two'",
    "ANALYZE",
]


@pytest.fixture(scope="module")
def large(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    postgresql = request.getfixturevalue("postgresql")
    url = postgresql.create_database("large", request.getfixturevalue("_database_template"))
    folder = tmp_path_factory.mktemp("large")
    pool = {"threshold_percentage": 50}
    with a_world(folder, "one", "two", url=url, pool=pool) as world:
        for statement in FILL:
            postgresql.execute(statement.format(zones=ZONES), database="large")
        postgresql.execute("VACUUM", database="large")
        for _ in range(ZONES // census.SIZE + 1):
            world.runtime.sweep()  # until it has been round
        yield world
    postgresql.drop_database("large")


@contextmanager
def statements(world: World) -> Iterator[list[tuple[str, Any]]]:
    """What is sent to the database meanwhile, with its parameters."""
    sent: list[tuple[str, Any]] = []

    def note(
        _connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool
    ) -> None:
        if not many and statement.lstrip().upper().startswith(("SELECT", "UPDATE", "DELETE", "WITH")):
            sent.append((statement, parameters))

    engine = world.runtime._engine
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)


def read_from_end_to_end(world: World, sent: list[tuple[str, Any]]) -> list[str]:
    """Which of the statements scan a large table, with PostgreSQL's plan."""
    found = []
    with world.engine.connect() as connection:
        for statement, parameters in dict.fromkeys((text, repr(values)) for text, values in sent):
            values = next(values for text, values in sent if (text, repr(values)) == (statement, parameters))
            (plan,) = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", values).scalar_one()
            for node in _nodes(plan["Plan"]):
                if node["Node Type"].endswith("Seq Scan") and node.get("Relation Name") in LARGE:
                    found.append(f"{statement}\n{json.dumps(plan, indent=1)}")
    return found


def read_in_vain(world: World, sent: list[tuple[str, Any]]) -> list[str]:
    """Which of the statements read more than a share of a large table, with PostgreSQL's plan."""
    found = []
    with world.engine.connect() as connection:
        for statement, values in sent:
            rows = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", values)
            (plan,) = rows.scalar_one()
            for node in _nodes(plan["Plan"]):
                removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
                if node["Actual Loops"] * (node["Actual Rows"] + removed) > MANY_ROWS:
                    found.append(f"{statement}\n{json.dumps(plan, indent=1)}")
        connection.rollback()
    return found


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def change_a_new_zone(world: World) -> None:
    """One that the target has: those that it lacks would all be made again."""
    zone = f"{uuid.uuid4()}.example."
    world.create(zone)
    world.succeed("put_record", zone=zone, name="x", type="A", data=["192.0.2.1"])


def purge(world: World) -> None:
    """A batch of each kind of old rows: of twenty zones, a thousand operations, as many clients and more."""
    with world.engine.begin() as connection:
        for statement in OLD:
            connection.exec_driver_sql(statement)
    keeper = Retention(world.runtime._engine, load_settings(keep_days=7, keep_serials=2))
    assert keeper.advance() > 2_000


OLD = [
    "DELETE FROM purge",
    """
    INSERT INTO journal (zone_id, revision, serial, name, type, after, operation_id, at)
    SELECT 1000 + n, 2 + later, 2, 'www.z' || n || '.example.', 'A', '{"ttl": 60, "data": ["192.0.2.1"]}',
           'o' || n, now() - interval '60 days'
    FROM generate_series(1, 20) AS n, generate_series(1, 5) AS later
    """,
    "UPDATE journal SET at = now() - interval '60 days' WHERE zone_id BETWEEN 1001 AND 1020",
    "UPDATE zone SET revision = 9 WHERE id BETWEEN 1001 AND 1020",
    "UPDATE delivery SET delivered_revision = 9 WHERE zone_id BETWEEN 1001 AND 1020",
    """
    INSERT INTO operation (id, kind, zone, payload, digest, status, received_at, finished_at, is_untold)
    SELECT gen_random_uuid(), 'put_record', 'never.example.', '{}', '', 'ERROR', now(),
           now() - interval '60 days', false
    FROM generate_series(1, 1000)
    """,
    """
    UPDATE submission SET updated_at = now() - interval '60 days'
    WHERE client IN (SELECT client FROM submission ORDER BY client LIMIT 1500)
    """,
]


WORK: dict[str, Callable[[World], object]] = {
    "sweep": lambda world: world.runtime.sweep(),
    "wake-up": lambda world: world.runtime.deliver("one"),
    "wake-up of the dead": lambda world: world.runtime.deliver("two"),
    "change": lambda world: change_a_new_zone(world),
    "purge": purge,
}


@pytest.mark.parametrize("what", WORK)
def test_work_is_found_by_index(large: World, what: str) -> None:
    with statements(large) as sent:
        WORK[what](large)
    assert sent
    assert read_from_end_to_end(large, sent) == []


@pytest.mark.parametrize("what", WORK)
def test_work_is_found_without_reading_what_is_not_due(large: World, what: str) -> None:
    with statements(large) as sent:
        WORK[what](large)
    assert sent
    assert read_in_vain(large, sent) == []


WHOLE_HISTORY = parse_query("show_history", {"zone": "z77.example."})
ONE_NAME = parse_query("show_history", {"zone": "z77.example.", "name": "www", "before": 2})
REPORTS: dict[str, Callable[[sa.Connection], object]] = {
    "status": show_status,
    "show_zone": lambda connection: show_zone(connection, Name("z77.example."), None),
    "show_operation": lambda connection: show_operation(connection, "o77"),
    # The pages of `dnsworker dashboard`.
    "overview": lambda connection: overview.read(connection, LastHour()),
    "zones": lambda connection: pages.page_of_zones(connection, status=None, since="z4", after=None),
    "zones in a status": lambda connection: pages.page_of_zones(
        connection, status="DEGRADED", since="", after=("z7.example.", 7)
    ),
    "zone": lambda connection: pages.page_of_zone(connection, "z77.example.", None, None),
    "operation": lambda connection: pages.page_of_operation(connection, "o77"),
    "operations that wait": lambda connection: pages.page_of_operations(connection, pages.View.WAITING, None),
    "operations that ended": lambda connection: pages.page_of_operations(
        connection, pages.View.ENDED, (datetime.now(UTC), "o77")
    ),
    "operations that failed": lambda connection: pages.page_of_operations(
        connection, pages.View.FAILED, None
    ),
    "search": lambda connection: pages.zone_of(connection, "www.deep.z77.example"),
    # What the exporter tells of the database, at each scrape.
    "metrics": lambda connection: state.read(connection),
    "show_history": lambda connection: history.show_history(connection, WHOLE_HISTORY),
    "show_history of a name": lambda connection: history.show_history(connection, ONE_NAME),
}


@pytest.mark.parametrize("what", REPORTS)
def test_an_operators_questions_are_answered_by_index(large: World, what: str) -> None:
    with statements(large) as sent, large.runtime._engine.connect() as connection:
        assert REPORTS[what](connection)
    assert sent
    assert read_from_end_to_end(large, sent) == []


@pytest.mark.parametrize("what", REPORTS)
def test_an_operators_questions_are_answered_without_counting_all(large: World, what: str) -> None:
    with statements(large) as sent, large.runtime._engine.connect() as connection:
        assert REPORTS[what](connection)
    assert sent
    assert read_in_vain(large, sent) == []


def test_a_dead_targets_backlog_costs_few_messages(large: World) -> None:
    """It is rows; a wake-up names the target and not a zone."""
    large.signals.woken.clear()
    for _ in range(3):
        large.runtime.sweep()
    assert len(large.signals.woken) <= 3 * 2
