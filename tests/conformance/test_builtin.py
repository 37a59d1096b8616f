"""The shipped suite against the built-in backend: its "server" is a database, here SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from backends.builtin import BACKEND
from dnsworker import database
from dnsworker.backend import Backend
from dnsworker.plan import Plan
from dnsworker.store import served
from dnsworker.tables import served_rrset, served_zone
from dnsworker.testing import BackendConformance, ServerUnderTest

TARGET = "test"


class ServedTables(ServerUnderTest):
    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = database.connect(url)

    def new_backend(self) -> Backend:
        return BACKEND(TARGET, BACKEND.options_model.model_validate({"database_url": self.url}))

    def wipe(self) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.delete(served_rrset))
            connection.execute(sa.delete(served_zone))

    def edit_by_hand(self, plan: Plan) -> None:
        with self.engine.begin() as connection:
            soa = served.soa(connection, plan.zone, TARGET)
            assert soa is not None
            assert served.change_zone(connection, TARGET, plan.zone, soa, plan.desired_soa, plan.changes)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedTables]:
    path: Path = tmp_path_factory.mktemp("builtin") / "dnsworker.sqlite"
    url = f"sqlite:///{path}"
    database.upgrade(url)
    server = ServedTables(url)
    yield server
    server.engine.dispose()


class TestBuiltin(BackendConformance):
    without = frozenset(
        {
            # No process, no credentials and no network: a file. What it answers has tests of its own.
            *("kill", "lossy", "query", "start", "stop", "wrong_credentials"),
            # The tables hold what they are given; the company of a CNAME is judged at intake.
            "test_an_alias_beside_other_data_is_never_done_silently",
        }
    )
