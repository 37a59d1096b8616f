"""The schema that the migrations make is the one that the code uses."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from dnsworker import database
from dnsworker.errors import ConfigError
from dnsworker.reports.system import show_status
from dnsworker.store import census as store_census
from dnsworker.tables import census, metadata, pool, zone

#: Of a pool with nothing special.
DOCUMENT = {
    "name": "default",
    "ns_records": [{"hostname": "ns1.example.net."}],
    "targets": [{"name": "one", "type": "builtin"}],
}


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'db'}"
    fixtures = {"postgresql": "empty_database_url", "mariadb": "empty_mariadb_url"}
    return str(request.getfixturevalue(fixtures[request.param]))


def differences(url: str) -> list[Any]:
    engine = database.connect(url)
    with engine.connect() as connection:
        options = {"compare_type": True, "include_object": partial(_is_for, engine.dialect.name)}
        found = compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
    engine.dispose()
    return list(found)


def _is_for(dialect: str, thing: Any, *_: Any) -> bool:
    """Whether the database has the table, column or index."""
    return dialect in thing.info.get("only", [dialect])


def test_the_models_equal_what_the_migrations_make(url: str) -> None:
    database.upgrade(url)
    assert differences(url) == []


def test_an_upgrade_that_was_done_changes_nothing(url: str) -> None:
    assert database.upgrade(url) == database.upgrade(url) == database.code_version()
    engine = database.connect(url)
    with engine.connect() as connection:
        assert database.database_version(connection) == database.code_version(), "as Alembic counts"
    engine.dispose()


def test_all_tables_are_gone_after_the_way_back(url: str) -> None:
    database.upgrade(url)
    engine = database.connect(url)
    with engine.connect() as connection:
        configuration = database._alembic_config()
        configuration.attributes["connection"] = connection
        command.downgrade(configuration, "base")
        connection.commit()
        assert sa.inspect(connection).get_table_names() == ["alembic_version"]
    engine.dispose()


def test_a_database_of_another_version_is_refused_with_what_to_do(url: str) -> None:
    engine = database.connect(url)
    with pytest.raises(
        ConfigError, match=r"schema version none, this dnsworker needs .*: run `dnsworker db upgrade`"
    ):
        database.check_version(engine)
    database.upgrade(url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigError, match="schema version 9999"):
        database.check_version(engine)
    engine.dispose()


def test_sort_keys_are_compared_octet_by_octet(url: str) -> None:
    """A subtree is a range of sort keys; a collation that passes over punctuation would break it."""
    database.upgrade(url)
    engine = database.connect(url)
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO served_zone (id, target, name, soa, soa_ttl, serial) "
                "VALUES (1, 't', 'x.', 'x', 1, 1)"
            )
        )
        for position, key in enumerate(["org a ", "org a b ", "org a-b ", "org a! ", "org aa ", "org A "]):
            connection.execute(
                sa.text(
                    "INSERT INTO served_rrset (zone_id, name, type, ttl, data, sort_key) "
                    "VALUES (1, :name, 'A', 1, '[]', :key)"
                ),
                {"name": f"n{position}.", "key": key},
            )
        found = (
            connection.execute(sa.text("SELECT sort_key FROM served_rrset ORDER BY sort_key")).scalars().all()
        )
        assert found == sorted(found)
    engine.dispose()


def test_a_filled_database_is_counted_after_the_upgrade(url: str) -> None:
    """There is no census yet: what is many is counted when asked for, and by the sweep from then on."""
    engine = database.connect(url)
    with engine.connect() as connection:
        configuration = database._alembic_config()
        configuration.attributes["connection"] = connection
        command.upgrade(configuration, "0007")
        connection.commit()
    zones = store_census.FEW + 10
    with engine.begin() as connection:
        moment = datetime(2026, 1, 1, tzinfo=UTC)
        connection.execute(
            sa.insert(pool).values(id=1, name="default", version=1, document=DOCUMENT, applied_at=moment)
        )
        values = {
            "pool_id": 1, "status": "ACTIVE", "is_deleted": False, "revision": 1, "serial": 1,
            "mname": "ns1.example.net.", "email": "a@example.net", "ttl": 60, "refresh": 3600, "retry": 600,
            "expire": 86400, "minimum": 60, "looks": 0, "created_at": moment, "updated_at": moment,
        }  # fmt: skip
        rows = [{"name": f"z{number}.example.", **values} for number in range(zones)]
        connection.execute(sa.insert(zone), rows)
    database.upgrade(url)
    with engine.begin() as connection:
        assert show_status(connection)["zones"] == {"ACTIVE": zones}
        store_census.note(connection, store_census.count_on(connection))
        assert connection.execute(sa.select(sa.func.count()).select_from(census)).scalar_one() > 0
        assert show_status(connection)["zones"] == {"ACTIVE": zones}
    engine.dispose()
