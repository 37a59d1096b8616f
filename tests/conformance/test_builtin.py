"""The shipped suite against the built-in backend and nameserver; their server is a database, here SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dns.message
import dns.query
import pytest
import sqlalchemy as sa

from backends.builtin import BACKEND
from dnsworker import database
from dnsworker.backend import Backend
from dnsworker.names import Name
from dnsworker.nameserver import NameServer
from dnsworker.plan import Plan
from dnsworker.serving import DatabaseSource
from dnsworker.store import served
from dnsworker.tables import served_rrset, served_zone
from dnsworker.testing import BackendConformance, ServerUnderTest
from tests.schema import have_schema

TARGET = "test"


class ServedTables(ServerUnderTest):
    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = database.connect(url)
        self.nameserver = NameServer(DatabaseSource(self.engine), port=0).start()

    def close(self) -> None:
        self.nameserver.stop()
        self.engine.dispose()

    def new_backend(self) -> Backend:
        return BACKEND(TARGET, BACKEND.options_model.model_validate({"database_url": self.url}))

    def wipe(self) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.delete(served_rrset))
            connection.execute(sa.delete(served_zone))

    def query(self, name: Name, type: str) -> dns.message.Message:
        query = dns.message.make_query(name, type, flags=0)
        return dns.query.tcp(query, self.nameserver.host, port=self.nameserver.port, timeout=5)

    def edit_by_hand(self, plan: Plan) -> None:
        with self.engine.begin() as connection:
            soa = served.soa(connection, plan.zone, TARGET)
            assert soa is not None
            assert served.change_zone(connection, TARGET, plan.zone, soa, plan.desired_soa, plan.changes)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedTables]:
    path: Path = tmp_path_factory.mktemp("builtin") / "dnsworker.sqlite"
    url = f"sqlite:///{path}"
    have_schema(url)
    server = ServedTables(url)
    yield server
    server.close()


class TestBuiltin(BackendConformance):
    backend_class = BACKEND
    without = frozenset(
        {
            # No process of its own to end, no credentials and no network: a file.
            *("kill", "lossy", "start", "stop", "wrong_credentials"),
            # The tables hold what they are given; the company of a CNAME is judged at intake.
            "test_an_alias_beside_other_data_is_never_done_silently",
        }
    )
