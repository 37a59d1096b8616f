"""What a worker knows of the pools, which are applied by somebody else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from dnsworker import database
from dnsworker.errors import PoolNotFound
from dnsworker.pools import Pool
from dnsworker.store import pools
from dnsworker.store.pools import PoolDirectory
from tests.schema import have_schema


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    url = f"sqlite:///{tmp_path / 'db'}"
    have_schema(url)
    engine = database.connect(url)
    yield engine
    engine.dispose()


def apply(engine: sa.Engine, name: str) -> None:
    document = {
        "name": name,
        "ns_records": [{"hostname": "ns1.example.net."}],
        "targets": [{"name": f"target-of-{name}", "type": "builtin"}],
    }
    with engine.begin() as connection:
        pools.apply(connection, [Pool.model_validate(document)])


def test_a_pool_that_was_applied_a_moment_ago_is_found(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "REFRESH_S", 3600.0)
    directory = PoolDirectory(engine)
    with pytest.raises(PoolNotFound, match="no pool was applied yet"):
        directory.default()
    apply(engine, "first")
    assert directory.default().pool.name == "first"
    apply(engine, "second")
    found = directory.by_name("second")
    apply(engine, "third")
    assert directory.get(found.id + 1).pool.name == "third"
    with pytest.raises(PoolNotFound, match="no pool 'fourth'; there are: first, second, third"):
        directory.by_name("fourth")
