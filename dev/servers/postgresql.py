"""A PostgreSQL cluster of its own, with a database per test."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import psycopg2

from dev.servers.process import ServerError, find_program, tail
from dev.servers.server import Server

USER = "dnsworker"


class PostgreSQL(Server):
    """A private cluster; anybody on loopback may do anything in it."""

    package: ClassVar[str] = "postgresql"
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT  # "fast": SIGTERM would wait for clients to leave
    orphan_signal: ClassVar[signal.Signals] = signal.SIGQUIT  # takes the backends along

    port: int

    def __init__(self, *, fsync: bool = False, settings: dict[str, str] | None = None) -> None:
        """`fsync=False` outlives kill -9 of the server, not a power cut. `settings`: more postgresql.conf."""
        self._fsync, self._settings = fsync, settings or {}
        super().__init__()
        if os.getuid() == 0:
            self.user = _unprivileged_user()
            self.folder.chmod(0o711)

    @property
    def url(self) -> str:
        """The maintenance database, for SQLAlchemy."""
        return self.database_url("postgres")

    def database_url(self, name: str) -> str:
        return f"postgresql+psycopg2://{USER}@{self.address}:{self.port}/{name}"

    def create_database(self, name: str, template: str | None = None) -> str:
        """A new database, a copy of `template` (which nobody may be connected to). Returns its URL."""
        self.execute(f'CREATE DATABASE "{name}"' + (f' TEMPLATE "{template}"' if template else ""))
        return self.database_url(name)

    def drop_database(self, name: str) -> None:
        """Drop it, whoever is still connected."""
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def execute(self, statement: str, *, database: str = "postgres") -> list[tuple[Any, ...]]:
        """One statement outside a transaction; its rows, if it gives any."""
        with self._connection(database) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    @contextlib.contextmanager
    def _connection(self, database: str) -> Iterator[Any]:
        connection = psycopg2.connect(
            host=self.address, port=self.port, user=USER, dbname=database, connect_timeout=2
        )
        connection.autocommit = True
        try:
            yield connection
        finally:
            connection.close()

    def back_up(self) -> None:
        """Copy the running cluster (pg_basebackup), in place of an earlier copy."""
        backup = self.folder / "backup"
        shutil.rmtree(backup, ignore_errors=True)
        argv = [_postgres_program("pg_basebackup"), "--pgdata", str(backup), "--checkpoint", "fast"]
        argv += ["--host", self.address, "--port", str(self.port), "--username", USER, "--no-sync"]
        argv += ["--wal-method", "fetch"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise ServerError(f"pg_basebackup ended with status {done.returncode}: {done.stderr.strip()}")

    def restore(self) -> None:
        """Put the copy in the place of the cluster, which is stopped; start it to go on from there."""
        self.stop()
        shutil.rmtree(self.folder / "data")
        shutil.copytree(self.folder / "backup", self.folder / "data")
        if self.user:
            for path in (self.folder / "data", *(self.folder / "data").rglob("*")):
                shutil.chown(path, self.user)

    def _claim_ports(self) -> None:
        self.port = self._port()

    def _configure(self) -> None:
        data = self.folder / "data"
        if not data.exists():
            self._initialise(data)
        switch = "on" if self._fsync else "off"
        settings = {
            "listen_addresses": self.address,
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "shared_buffers": "64MB",
            # synchronous_commit stays on: without it kill -9 of the server loses what was committed last.
            "fsync": switch,
            "full_page_writes": switch,
            **self._settings,
        }
        (data / "postgresql.auto.conf").write_text("".join(f"{k} = '{v}'\n" for k, v in settings.items()))

    def _initialise(self, data: Path) -> None:
        data.mkdir(mode=0o700)
        if self.user:
            shutil.chown(data, self.user)
        argv = [_postgres_program("initdb"), "--pgdata", str(data), "--username", USER, "--auth", "trust"]
        argv += ["--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions"]
        with self.log_path.open("ab") as log:
            done = subprocess.run(
                argv,
                stdout=log,
                stderr=subprocess.STDOUT,
                user=self.user,
                extra_groups=[] if self.user else None,
                cwd=self.folder,
                timeout=60,
                check=False,
            )
        if done.returncode:
            shutil.rmtree(data)
            raise ServerError(f"initdb ended with status {done.returncode}\n{tail(self.log_path)}")

    def _command(self) -> tuple[list[str], dict[str, str]]:
        return [_postgres_program("postgres"), "-D", str(self.folder / "data")], {}

    def _answers(self) -> bool:
        try:
            return self.execute("SELECT 1") == [(1,)]
        except psycopg2.OperationalError:
            return False


def _postgres_program(name: str) -> str:
    """From PATH or the newest version that Debian has installed."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    found = find_program(name, *map(str, reversed(versions)))
    if found is None:
        raise ServerError(f"{name} is not installed: apt-get install {PostgreSQL.package}")
    return found


def _unprivileged_user() -> str:
    """PostgreSQL refuses to run as root."""
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise ServerError("PostgreSQL doesn't run as root, and there is neither a user postgres nor nobody")
