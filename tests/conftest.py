"""Real servers for tests: each started once per run, only when a test of the run asks for it, all at once.

A server that isn't installed fails the tests that need it; nothing is skipped.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from dev.servers import (
    Bind,
    Knot,
    MariaDB,
    Nsd,
    PostgreSQL,
    PowerDNS,
    RabbitMQ,
    Redis,
    Route53,
    Server,
    SQLite,
)
from dev.stack import DATABASES, Database, Stack
from tests import engines
from tests.certificates import NOBODY


def _start_rabbitmq() -> RabbitMQ:
    """With its API: a vhost for each test costs milliseconds, not two starts of Erlang."""
    return RabbitMQ(management=True, settings="management_agent.disable_metrics_collector = true")


TESTS = Path(__file__).parent
#: Fixtures that need a server which they don't name as a fixture of their own would go here too.
KINDS: dict[str, Callable[[], Server]] = {
    "bind": Bind,
    "knot": Knot,
    "mariadb": MariaDB,
    "nsd": Nsd,
    "postgresql": PostgreSQL,
    "powerdns": PowerDNS,
    "rabbitmq": _start_rabbitmq,
    "redis": Redis,
    "route53": Route53,
}
TEMPLATE = "template_dnsworker"
#: What whole systems run on: the acceptance suite passes on each (`make acceptance DATABASE=mariadb`).
DATABASE = os.environ.get("DNSWORKER_TEST_DATABASE", "postgresql")
assert DATABASE in DATABASES, f"DNSWORKER_TEST_DATABASE must be one of {', '.join(DATABASES)}"

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

engines.share_compiled()

_servers: dict[str, Future[Server]] = {}
_starting = ThreadPoolExecutor(max_workers=len(KINDS), thread_name_prefix="start")
_numbers = itertools.count(1)


#: The files that take longest, those first: begun with last, one would keep a worker of xdist busy for long
#: after the others have nothing left.
LONGEST = (
    "faults/test_fault_matrix.py", "integration/test_contended_zones.py", "conformance/test_powerdns.py",
    "conformance/test_bind9.py", "integration/test_intake.py", "integration/test_broker.py",
    "integration/test_endings.py", "integration/test_comparisons.py", "integration/test_faults.py",
    "integration/test_dev_stack.py", "integration/test_metrics.py", "integration/test_mariadb.py",
    "integration/test_tls.py", "integration/test_cli_up.py",
    "acceptance/test_bench.py", "acceptance/test_documented.py", "acceptance/test_monitoring.py",
    "chaos/test_sabotage.py", "chaos/test_chaos.py", "acceptance/test_compose.py", "acceptance/test_moves.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Needs `--no-loadscope-reorder` to matter: by itself xdist begins with the files of the most tests."""
    places = {str(TESTS / name): place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(str(item.path), len(places)))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start what the collected tests need, in the background, while those that need nothing run."""
    if session.config.option.collectonly:
        return
    wanted = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    wanted |= {DATABASE} if "system_database" in wanted else set()
    for name in wanted & set(KINDS):
        _begin(name)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test that froze or stopped a server and failed must not take the next ones with it."""
    wanted = {DATABASE if name == "system_database" else name for name in getattr(item, "fixturenames", ())}
    for name in wanted & set(_servers):
        server = _servers[name].result()
        if server.is_running:
            server.cont()
        else:
            server.start()


def pytest_sessionfinish(session: pytest.Session) -> None:
    for future in _servers.values():
        if future.exception() is None:
            future.result().close()
    _servers.clear()


def _begin(name: str) -> Future[Server]:
    if name not in _servers:
        _servers[name] = _starting.submit(lambda: KINDS[name]().start())
    return _servers[name]


@pytest.fixture(scope="session", autouse=True)
def system_environment() -> Iterator[dict[str, str]]:
    """The environment without what holds during tests, for a program that goes to the Internet.

    Nothing else meets what a system authority has signed, and a client that reads them all (PyMySQL
    for each connection, ours of PowerDNS for each target) computes longer for it than for what it then does.
    """
    found = dict(os.environ)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(NOBODY))
        yield found


@pytest.fixture(scope="session")
def bind() -> Server:
    """A BIND without zones but those that earlier tests left: give yours names of their own."""
    return _begin("bind").result()


@pytest.fixture(scope="session")
def knot() -> Server:
    return _begin("knot").result()


@pytest.fixture(scope="session")
def mariadb() -> Server:
    return _begin("mariadb").result()


@pytest.fixture(scope="session")
def nsd() -> Server:
    """Its pattern `dnsworker` has no primary: tests that transfer start an NSD of their own."""
    return _begin("nsd").result()


@pytest.fixture(scope="session")
def powerdns() -> Server:
    return _begin("powerdns").result()


@pytest.fixture(scope="session")
def rabbitmq() -> Server:
    return _begin("rabbitmq").result()


@pytest.fixture(scope="session")
def redis() -> Server:
    return _begin("redis").result()


@pytest.fixture(scope="session")
def route53() -> Server:
    """The stand-in, with the zones of earlier tests; the faults that a test plans are its to take back."""
    return _begin("route53").result()


@pytest.fixture(scope="session")
def postgresql() -> Server:
    return _begin("postgresql").result()


@functools.cache
def _template(server: Database) -> str:
    """A database with the current schema, migrated once in a run."""
    from dnsworker.database import upgrade

    upgrade(server.create_database(TEMPLATE))
    return TEMPLATE


@pytest.fixture(scope="session")
def _database_template(postgresql: PostgreSQL) -> str:
    return _template(postgresql)


@pytest.fixture
def database_url(postgresql: PostgreSQL) -> Iterator[str]:
    """An empty database with the current schema, the test's own."""
    name = f"test_{next(_numbers)}"
    yield postgresql.create_database(name, template=_template(postgresql))
    postgresql.drop_database(name)


@pytest.fixture
def empty_database_url(postgresql: PostgreSQL) -> Iterator[str]:
    """A database without any table, for tests of the migrations."""
    name = f"test_{next(_numbers)}"
    yield postgresql.create_database(name)
    postgresql.drop_database(name)


@pytest.fixture
def mariadb_url(mariadb: MariaDB) -> Iterator[str]:
    """As `database_url`, on MariaDB."""
    name = f"test_{next(_numbers)}"
    yield mariadb.create_database(name, template=_template(mariadb))
    mariadb.drop_database(name)


@pytest.fixture
def empty_mariadb_url(mariadb: MariaDB) -> Iterator[str]:
    """As `empty_database_url`, on MariaDB."""
    name = f"test_{next(_numbers)}"
    yield mariadb.create_database(name)
    mariadb.drop_database(name)


@pytest.fixture
def broker_url(rabbitmq: RabbitMQ) -> Iterator[str]:
    """A virtual host of the test's own, without queues."""
    name = f"test_{next(_numbers)}"
    yield rabbitmq.add_vhost(name)
    rabbitmq.remove_vhost(name)


@pytest.fixture(scope="session")
def system_database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """What whole systems run on: the server of the kind that DNSWORKER_TEST_DATABASE names."""
    if DATABASE != "sqlite":
        yield request.getfixturevalue(DATABASE)
        return
    with SQLite() as folder:
        yield folder


@pytest.fixture(scope="session")
def shared_servers(rabbitmq: RabbitMQ, system_database: Database) -> dict[str, Any]:
    """What stacks share: RabbitMQ (by a vhost) and the database's server (by a database)."""
    template = _template(system_database)
    return {"rabbitmq": rabbitmq, "database": system_database, "template": template}


@pytest.fixture
def start_stack(shared_servers: dict[str, Any]) -> Iterator[Callable[..., Stack]]:
    """Starts workers, beat and nameservers of the test's own; see `Stack` for what may be given."""
    with ExitStack() as stacks:

        def start(**options: Any) -> Stack:
            shared = shared_servers if "database" not in options else {"rabbitmq": shared_servers["rabbitmq"]}
            return stacks.enter_context(Stack(**{**shared, **options}))

        yield start
