"""The schema that the migrations make is the one that the code uses."""

from __future__ import annotations

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
from dnsworker.tables import metadata


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
