"""Many rows in one statement, on each database: what is there afterwards."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from dnsworker import database
from dnsworker.desired import Draft
from dnsworker.names import Name
from dnsworker.plan import RRsetChange
from dnsworker.pools import Pool
from dnsworker.records import RRset
from dnsworker.store import journal, operations, pools, zones
from dnsworker.store.journal import Appended
from tests.schema import have_schema

#: More than one statement takes.
MANY = 10_500
TRICKY = '"%s :x {} \\"\\\\ \'"'
POOL = {
    "name": "default",
    "ns_records": [{"hostname": "ns1.example.net."}],
    "targets": [{"name": "one", "type": "builtin"}],
}


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'rows.db'}"
        have_schema(url)
    else:
        url = request.getfixturevalue("mariadb_url" if request.param == "mariadb" else "database_url")
    engine = database.connect(url)
    yield engine
    engine.dispose()


@pytest.fixture
def zone_id(engine: sa.Engine) -> int:
    with engine.begin() as connection:
        pools.apply(connection, [Pool.model_validate(POOL)])
        (known,) = pools.read(connection)
        name = Name("example.org.")
        return zones.lock_or_make(connection, known.id, name, Name("ns1.example.net."), "a@example.org").id


def hosts(count: int, ttl: int = 300) -> list[RRset]:
    return [RRset(f"h{number}.example.org.", "TXT", ttl, [TRICKY]) for number in range(count)]


def test_rrsets_are_put_replaced_and_removed(engine: sa.Engine, zone_id: int) -> None:
    first, second = hosts(MANY), hosts(MANY - 100, ttl=60)
    with engine.begin() as connection:
        zones.put_rrsets(connection, [(zone_id, one) for one in first])
        assert set(zones.rrsets(connection, zone_id)) == set(first)
        zones.put_rrsets(connection, [(zone_id, one) for one in second])
        assert set(zones.rrsets(connection, zone_id)) == {*second, *first[MANY - 100 :]}
        zones.remove_rrsets(connection, [(zone_id, one.key) for one in second])
        assert set(zones.rrsets(connection, zone_id)) == set(first[MANY - 100 :])
        zones.put_rrsets(connection, [])
        zones.remove_rrsets(connection, [])
        below = zones.names_below(connection, zone_id, Name("example.org."))
        assert set(below) == {one.name for one in first[MANY - 100 :]}


def test_the_journal_keeps_what_is_not_there_as_null(engine: sa.Engine, zone_id: int) -> None:
    (one, other) = hosts(2)
    operation = str(uuid.uuid4())
    row = {
        "id": operation,
        "kind": "x",
        "zone": "example.org.",
        "payload": {},
        "digest": "",
        "is_untold": False,
    }
    changes = [RRsetChange(None, one), RRsetChange(other, None)]
    with engine.begin() as connection:
        operations.insert(connection, {**row, "status": "ACCEPTED", "is_untold": False})
        journal.append(connection, [Appended(zone_id, 1, 7, operation, one) for one in changes])
        assert [entry.change for entry in journal.since(connection, zone_id, 0)] == changes
        assert journal.was_removed_since(connection, zone_id, other.key, 0)
        assert not journal.was_removed_since(connection, zone_id, one.key, 0)


def test_zones_below_are_found_whether_few_or_many_are_asked_about(engine: sa.Engine, zone_id: int) -> None:
    apex, child = Name("example.org."), Name("a_b.example.org.")
    with engine.begin() as connection:
        pool_id = zones.get(connection, zone_id).pool_id
        for name in (child, Name("aXb.example.org.".lower()), Name("other.net.")):
            made = zones.lock_or_make(connection, pool_id, name, Name("ns1.example.net."), "a@example.org")
            zones.update(connection, made.id, is_deleted=False)
        few = {child, Name("www.example.org.")}
        many = few | {one.name for one in hosts(2_000)}
        draft = Draft(connection)
        assert draft.held_below(pool_id, apex, few) == {child}
        assert draft.held_below(pool_id, apex, many) == {child}
