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

from dev.servers import MariaDB, PostgreSQL, RabbitMQ, Redis
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
    """RabbitMQ, Redis, PostgreSQL and MariaDB with a certificate for 127.0.0.1."""

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
        self.mariadb = MariaDB()
        for server in (self.postgresql, self.mariadb):
            # It wants the key to be its own, and nobody else's to read.
            for source, name in ((certificate, "tls.crt"), (key, "tls.key")):
                copy = shutil.copy(source, server.folder / name)
                os.chmod(copy, 0o600)
                if server.user:
                    shutil.chown(copy, server.user)
        self.postgresql._settings |= {
            "ssl": "on",
            "ssl_cert_file": str(self.postgresql.folder / "tls.crt"),
            "ssl_key_file": str(self.postgresql.folder / "tls.key"),
        }
        self.mariadb._settings |= {
            "ssl-cert": str(self.mariadb.folder / "tls.crt"),
            "ssl-key": str(self.mariadb.folder / "tls.key"),
            "require-secure-transport": "ON",  # so whoever gets in speaks TLS
        }

    def __enter__(self) -> Servers:
        for server in (self.rabbitmq, self.redis, self.postgresql, self.mariadb):
            self._stack.enter_context(server)
        self.databases = {
            "postgresql": f"{self.postgresql.create_database('tls')}?sslmode=verify-full",
            "mariadb": f"{self.mariadb.create_database('tls')}?ssl=true",
        }
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def environment(self, ca_bundle: Path, database: str = "postgresql") -> dict[str, str]:
        amqps, rediss = self._tls_ports
        return {
            "DNSWORKER_BROKER_URL": f"amqps://dnsworker:{self.rabbitmq.password}@127.0.0.1:{amqps}//",
            "DNSWORKER_RESULT_URL": f"rediss://127.0.0.1:{rediss}/0",
            "DNSWORKER_REDIS_URL": f"rediss://127.0.0.1:{rediss}/0",
            "DNSWORKER_DATABASE_URL": self.databases[database],
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


databases = pytest.mark.parametrize("database", ["postgresql", "mariadb"])


@databases
def test_a_change_goes_all_the_way_over_tls(
    servers: Servers, authority: Authority, tmp_path: Path, database: str
) -> None:
    environment = servers.environment(authority.certificate, database)
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
        if database == "postgresql":
            _assert_encrypted(servers.postgresql)
    finally:
        worker.stop(10)
        print(worker.tail(50))


def _assert_encrypted(postgresql: PostgreSQL) -> None:
    with postgresql._connection("tls") as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT bool_and(ssl), count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) "
            "WHERE datname = 'tls' AND pid <> pg_backend_pid()"
        )
        is_encrypted, count = cursor.fetchone()
    assert is_encrypted
    assert count > 0


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


@databases
def test_another_ca_is_refused(servers: Servers, stranger: Authority, database: str) -> None:
    _assert_refused(servers.environment(stranger.certificate, database))


@databases
def test_a_certificate_for_another_name_is_refused(
    servers: Servers, authority: Authority, database: str
) -> None:
    environment = servers.environment(authority.certificate, database)
    # kombu makes 127.0.0.1 of localhost, and libpq of 127.1.
    names = {"DNSWORKER_BROKER_URL": "127.1", "DNSWORKER_DATABASE_URL": "localhost"}
    elsewhere = {name: environment[name].replace("127.0.0.1", host) for name, host in names.items()}
    _assert_refused(environment | elsewhere)


def test_a_mariadb_without_tls_is_refused_where_it_is_asked_for(mariadb: MariaDB) -> None:
    plain = mariadb.execute("SHOW VARIABLES LIKE 'have_ssl'")
    assert plain == [("have_ssl", "DISABLED")]
    done = run({"DNSWORKER_DATABASE_URL": f"{mariadb.url}?ssl=true"}, "db", "upgrade")
    assert done.returncode == 1
    assert "TLS" in done.stderr or "SSL" in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("ssl=maybe", "ssl=maybe: say ssl=true or ssl=false"),
        ("ssl=true&ssl_check_hostname=false", "ssl_check_hostname isn't known"),
        ("ssl_ca=/nonexistent", "can't use its ssl_ca, ssl_cert or ssl_key: No such file or directory"),
    ],
)
def test_what_a_url_of_mariadb_says_of_tls_must_be_known(query: str, said: str) -> None:
    done = run({"DNSWORKER_DATABASE_URL": f"mariadb://a@127.0.0.1:1/b?{query}"}, "db", "upgrade")
    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


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
