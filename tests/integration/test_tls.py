"""TLS to broker, Redis and database with a private CA: used when told, and refused when it isn't the one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dev.servers import PostgreSQL, RabbitMQ, Redis
from dev.servers.process import Process
from dnsworker import Client
from dnsworker.cli import broker
from dnsworker.errors import ConfigError, NoAnswer, SubmissionFailed
from dnsworker.settings import Settings, load_settings
from tests.certificates import Authority

ROOT = Path(__file__).parents[2]
POOLS = """
- name: default
  ns_records: [{{hostname: ns1.example.net.}}]
  targets: [{{name: files, type: zonefile, options: {{folder: {folder}}}}}]
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"))


class Servers:
    """RabbitMQ, Redis and PostgreSQL with a certificate for 127.0.0.1."""

    def __init__(self, authority: Authority) -> None:
        certificate, key = authority.issue("servers")
        self._stack = ExitStack()
        self._tls_ports = [_free_port() for _ in range(2)]
        self.rabbitmq = RabbitMQ(
            settings=f"listeners.ssl.1 = 127.0.0.1:{self._tls_ports[0]}\n"
            f"ssl_options.certfile = {certificate}\nssl_options.keyfile = {key}"
        )
        self.redis = Redis(
            settings=f"tls-port {self._tls_ports[1]}\ntls-auth-clients no\n"
            f"tls-cert-file {certificate}\ntls-key-file {key}\ntls-ca-cert-file {authority.certificate}\n"
        )
        self.postgresql = PostgreSQL()
        # It wants the key to be its own, and nobody else's to read.
        for source, name in ((certificate, "tls.crt"), (key, "tls.key")):
            copy = shutil.copy(source, self.postgresql.folder / name)
            os.chmod(copy, 0o600)
            if self.postgresql.user:
                shutil.chown(copy, self.postgresql.user)
        self.postgresql._settings |= {
            "ssl": "on",
            "ssl_cert_file": str(self.postgresql.folder / "tls.crt"),
            "ssl_key_file": str(self.postgresql.folder / "tls.key"),
        }

    def __enter__(self) -> Servers:
        for server in (self.rabbitmq, self.redis, self.postgresql):
            self._stack.enter_context(server)
        self.database = self.postgresql.create_database("tls")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def environment(self, ca_bundle: Path) -> dict[str, str]:
        amqps, rediss = self._tls_ports
        return {
            "DNSWORKER_BROKER_URL": f"amqps://dnsworker:{self.rabbitmq.password}@127.0.0.1:{amqps}//",
            "DNSWORKER_RESULT_URL": f"rediss://127.0.0.1:{rediss}/0",
            "DNSWORKER_REDIS_URL": f"rediss://127.0.0.1:{rediss}/0",
            "DNSWORKER_DATABASE_URL": f"{self.database}?sslmode=verify-full",
            "DNSWORKER_CA_BUNDLE": str(ca_bundle),
        }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def servers(authority: Authority) -> Iterator[Servers]:
    with Servers(authority) as servers:
        yield servers


def run(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dnsworker", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_change_goes_all_the_way_over_tls(servers: Servers, authority: Authority, tmp_path: Path) -> None:
    environment = servers.environment(authority.certificate)
    zones = tmp_path / "zones"
    zones.mkdir()
    (tmp_path / "pools.yaml").write_text(POOLS.format(folder=zones))
    for words in (["db", "upgrade"], ["queues", "declare"], ["pool", "apply", str(tmp_path / "pools.yaml")]):
        done = run(environment, *words)
        assert done.returncode == 0, done.stderr
    worker = Process(
        [sys.executable, "-m", "dnsworker", "worker"],
        log_path=tmp_path / "worker.log",
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )
    try:
        settings = Settings(**_by_field(environment))
        with Client(settings=settings) as client:
            assert client.create_zone("example.org.", email="a@example.org").wait(60).status == "ACTIVE"
            assert client.show_zone("example.org.")["status"] == "ACTIVE"
        assert (zones / "example.org.zone").exists()
        with servers.postgresql._connection("tls") as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT bool_and(ssl), count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) "
                "WHERE datname = 'tls' AND pid <> pg_backend_pid()"
            )
            is_encrypted, count = cursor.fetchone()
        assert is_encrypted
        assert count > 0
    finally:
        worker.stop(10)
        print(worker.tail(50))


def _by_field(environment: dict[str, str]) -> dict[str, str]:
    return {name.removeprefix("DNSWORKER_").lower(): value for name, value in environment.items()}


def _assert_refused(environment: dict[str, str]) -> None:
    """By broker and database, on one line that says that it is the certificate."""
    done = run(environment, "db", "upgrade")
    assert done.returncode == 1
    assert "certificate" in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    settings = Settings(**_by_field(environment))
    with pytest.raises(ConfigError, match="certificate"):
        broker.declare(settings, [])
    with Client(settings=settings) as client, pytest.raises(SubmissionFailed, match="certificate"):
        client.create_zone("example.org.", email="a@example.org")


def test_another_ca_is_refused(servers: Servers, stranger: Authority) -> None:
    _assert_refused(servers.environment(stranger.certificate))


def test_a_certificate_for_another_name_is_refused(servers: Servers, authority: Authority) -> None:
    environment = servers.environment(authority.certificate)
    # kombu makes 127.0.0.1 of localhost, and libpq of 127.1.
    names = {"DNSWORKER_BROKER_URL": "127.1", "DNSWORKER_DATABASE_URL": "localhost"}
    elsewhere = {name: environment[name].replace("127.0.0.1", host) for name, host in names.items()}
    _assert_refused(environment | elsewhere)


def test_an_answer_is_not_read_from_a_redis_of_another_ca(servers: Servers, stranger: Authority) -> None:
    other = _by_field(servers.environment(stranger.certificate))
    plain = servers.rabbitmq.url_for("dnsworker", servers.rabbitmq.password)
    broker.declare(Settings(broker_url=plain), [])
    client = Client(plain, settings=Settings(**other), timeout_s=2.0)
    with client, pytest.raises(NoAnswer, match="certificate"):
        client.show_zone("example.org.")


def test_a_ca_bundle_that_is_none_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"DNSWORKER_CA_BUNDLE: can't read .*: No such file"):
        load_settings(ca_bundle=tmp_path / "missing.pem")
    (tmp_path / "empty.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match=r"DNSWORKER_CA_BUNDLE: .* holds no certificates in PEM"):
        load_settings(ca_bundle=tmp_path / "empty.pem")
