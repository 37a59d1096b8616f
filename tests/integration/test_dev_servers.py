"""The private servers that all other tests stand on: they answer, come back, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import amqp
import dns.message
import dns.query
import dns.rcode
import pytest

from dev.servers import (
    Bind,
    MariaDB,
    Nsd,
    PostgreSQL,
    PowerDNS,
    RabbitMQ,
    Redis,
    Server,
    ServerError,
    SQLite,
    start_all,
    tree,
)
from dev.servers.process import wait_until

ROOT = Path(__file__).resolve().parents[2]
QUICK: list[type[Server]] = [Bind, MariaDB, Nsd, PostgreSQL, PowerDNS, Redis]


@pytest.fixture(params=QUICK, ids=lambda kind: kind.__name__)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with request.param() as started:
        yield started


def test_a_server_answers_as_soon_as_it_has_started_and_again_after_a_restart(server: Server) -> None:
    first = server.pid
    assert server._answers()
    server.restart()
    assert server._answers()
    assert server.pid != first


def test_a_killed_server_comes_back(server: Server) -> None:
    before = tree.family(server.pid)
    server.kill()
    assert not server.is_running
    assert not any(tree.is_alive(member) for member in before)
    server.start()
    assert server._answers()


def test_nothing_is_left_of_a_closed_server(server: Server) -> None:
    family, ports, folder = tree.family(server.pid), list(server._ports), server.folder
    assert family
    server.close()
    assert not any(tree.is_alive(member) for member in family)
    assert not folder.exists()
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((server.address, port), timeout=1)


def test_a_frozen_server_answers_nobody_until_it_is_continued(server: Server) -> None:
    server.pause()
    with pytest.raises((OSError, AssertionError)):
        assert server._answers()
    server.cont()
    wait_until(server._is_ready, 60, "the continued server to answer")


def test_a_frozen_server_can_be_stopped(server: Server) -> None:
    server.pause()
    server.stop()
    assert not server.is_running


def test_two_of_a_kind_share_no_port_and_no_folder() -> None:
    with Bind() as one, Bind() as other:
        assert not set(one._ports) & set(other._ports)
        assert one.folder != other.folder
        one.kill()
        assert other._answers()


def test_the_servers_of_a_killed_parent_die_with_it() -> None:
    program = (
        "import sys, time; from dev.servers import Redis, PostgreSQL, start_all\n"
        "servers = Redis(), PostgreSQL(); start_all(*servers)\n"
        "print(*(str(s.pid) for s in servers), *(s.folder for s in servers), flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout as output:
        one, two, *folders = output.readline().split()
    family = tree.family(int(one)) + tree.family(int(two))
    assert len(family) > 2, "PostgreSQL has children"
    parent.send_signal(signal.SIGKILL)
    parent.wait(60)
    tree.wait_gone(family, timeout_s=10)
    # Its folders are left. The next run removes them, once they are old enough to be nobody's.
    for folder in folders:
        assert Path(folder).exists()
        os.utime(folder, (0, 0))
    with Redis():
        assert not any(Path(folder).exists() for folder in folders)


def test_a_server_started_by_a_thread_outlives_that_thread() -> None:
    one, other = Redis(), Redis()
    start_all(one, other)
    deadline = time.monotonic() + 0.5
    while time.monotonic() < deadline:
        assert one._answers()
        assert other._answers()
    one.close()
    other.close()


def test_a_server_that_does_not_come_up_says_why() -> None:
    server = Bind(options="no-such-option yes;")
    with pytest.raises(ServerError, match="no-such-option"):
        server.start()
    server.close()


def test_a_server_that_is_not_installed_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dev.servers.server.find_program", lambda *_names: None)
    server = PowerDNS()
    with pytest.raises(ServerError, match="apt-get install pdns-server"):
        server.start()
    server.close()


def test_bind_takes_a_zone_and_keeps_it_over_kill_but_not_over_wipe() -> None:
    with Bind(max_records_per_type=5) as server:
        (server.folder / "a.zone").write_text("@ 60 SOA ns. host. 1 60 60 60 60\n@ 60 NS ns.\n")
        server.rndc("addzone", 'example.org { type primary; file "a.zone"; };')
        assert _rcode(server.port) == dns.rcode.NOERROR
        server.kill()
        server.start()
        assert _rcode(server.port) == dns.rcode.NOERROR
        server.wipe()
        server.start()
        assert _rcode(server.port) == dns.rcode.REFUSED


def test_powerdns_takes_a_zone_over_its_api() -> None:
    with PowerDNS() as server:
        zone = {"name": "example.org.", "kind": "Native", "nameservers": ["ns1.example.org."]}
        server.api("POST", "/zones", zone)
        assert _rcode(server.port) == dns.rcode.NOERROR
        server.kill()
        server.start()
        assert _rcode(server.port) == dns.rcode.NOERROR


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_a_database_is_copied_and_what_was_committed_is_kept_over_kill(
    request: pytest.FixtureRequest, kind: str
) -> None:
    server: PostgreSQL | MariaDB = request.getfixturevalue(kind)
    server.create_database("model")
    server.execute("CREATE TABLE note (word text)", database="model")
    server.create_database("copy", template="model")
    server.execute("INSERT INTO note VALUES ('kept')", database="copy")
    server.kill()
    server.start()
    assert server.execute("SELECT word FROM note", database="copy") == [("kept",)]
    for name in ("model", "copy"):
        server.drop_database(name)


def test_a_folder_of_sqlite_databases_is_used_like_a_server() -> None:
    with SQLite() as folder:
        folder.create_database("model")
        folder.execute("CREATE TABLE note (word text)", database="model")
        folder.execute("INSERT INTO note VALUES ('kept')", database="model")
        url = folder.create_database("copy", template="model")
        assert url == f"sqlite:///{folder.folder / 'copy'}"
        assert folder.execute("SELECT word FROM note", database="copy") == [("kept",)]
        folder.drop_database("copy")
        assert not (folder.folder / "copy").exists()
    assert not folder.folder.exists()


def test_rabbitmq_keeps_a_durable_message_over_kill_and_its_users_apart(rabbitmq: RabbitMQ) -> None:
    url = rabbitmq.add_user("writer", "secret", write="^dns[.]submit$")
    assert url == rabbitmq.url_for("writer", "secret")
    with _channel(rabbitmq, "writer", "secret") as channel, pytest.raises(amqp.AccessRefused):
        channel.queue_declare("mine")
    family = tree.family(rabbitmq.pid)
    with _channel(rabbitmq, "dnsworker", rabbitmq.password) as channel:
        channel.queue_declare("kept", durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})
        channel.confirm_select()
        channel.basic_publish_confirm(amqp.Message("hello", delivery_mode=2), routing_key="kept", timeout=10)
    rabbitmq.settle()
    rabbitmq.kill()
    assert not any(tree.is_alive(member) for member in family)
    rabbitmq.start()
    with _channel(rabbitmq, "dnsworker", rabbitmq.password) as channel:
        got: list[object] = []

        def arrived() -> bool:
            message = channel.basic_get("kept", no_ack=True)
            if message is not None:
                got.append(message.body)
            return bool(got)

        wait_until(arrived, 60, "the message")
        assert got == ["hello"]
        channel.queue_delete("kept")


def test_rabbitmq_refuses_while_its_application_is_stopped(rabbitmq: RabbitMQ) -> None:
    rabbitmq.stop_app()
    assert not rabbitmq._is_ready()
    rabbitmq.start_app()
    assert rabbitmq._is_ready()


def test_a_closed_rabbitmq_leaves_no_epmd_behind() -> None:
    with RabbitMQ() as server:
        assert server._epmd is not None
        family = tree.family(server.pid) + tree.family(server._epmd.pid)
    assert len(family) > 2
    assert not any(tree.is_alive(member) for member in family)


def test_each_database_is_migrated_empty_and_its_own(database_url: str, postgresql: PostgreSQL) -> None:
    name = database_url.rpartition("/")[2]
    tables = postgresql.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'", database=name)
    assert ("operation",) in tables
    assert postgresql.execute("SELECT count(*) FROM operation", database=name) == [(0,)]


def _rcode(port: int) -> int:
    query = dns.message.make_query("example.org.", "SOA")
    return int(dns.query.udp(query, "127.0.0.1", timeout=5, port=port).rcode())


class _channel:  # noqa: N801 - reads as a function
    def __init__(self, server: RabbitMQ, user: str, password: str) -> None:
        self._connection = amqp.Connection(
            f"{server.address}:{server.port}", user, password, connect_timeout=5, confirm_publish=False
        )

    def __enter__(self) -> amqp.Channel:
        self._connection.connect()
        return self._connection.channel()

    def __exit__(self, *_error: object) -> None:
        self._connection.close()
