"""A MariaDB of its own, with a database per test."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any, ClassVar

import pymysql

from dev.servers.process import ServerError, tail
from dev.servers.server import Server

USER = "dnsworker"
#: As little help as an operator's server may be: what dnsworker needs of its sessions it sets there.
UNHELPFUL = {
    "default-time-zone": "+05:30",
    "sql-mode": "",
    "character-set-server": "latin1",
    "collation-server": "latin1_swedish_ci",
    "transaction-isolation": "REPEATABLE-READ",
}


class MariaDB(Server):
    """A private mariadbd; anybody on loopback may do anything in it."""

    package: ClassVar[str] = "mariadb-server"

    port: int

    def __init__(self, *, fsync: bool = False, settings: dict[str, str] | None = None) -> None:
        """`fsync=False` outlives kill -9 of the server, not a power cut. `settings`: more options."""
        self._fsync, self._settings = fsync, settings or {}
        super().__init__()
        if os.getuid() == 0:
            self.user = _unprivileged_user()
            self.folder.chmod(0o711)

    @property
    def url(self) -> str:
        """The server without a database of ours, for SQLAlchemy."""
        return self.database_url("mysql")

    def database_url(self, name: str) -> str:
        return f"mariadb+pymysql://{USER}@{self.address}:{self.port}/{name}"

    def create_database(self, name: str, template: str | None = None) -> str:
        """A new database, a copy of `template`'s tables. Returns its URL."""
        with self._connection("mysql") as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE `{name}`")
            cursor.execute(f"USE `{name}`")
            cursor.execute("SET foreign_key_checks = 0")  # in whatever order they come
            cursor.execute(f"SHOW TABLES FROM `{template}`" if template else "DO 0")
            for (table,) in cursor.fetchall():
                cursor.execute(f"SHOW CREATE TABLE `{template}`.`{table}`")
                cursor.execute(cursor.fetchone()[1])
                cursor.execute(f"INSERT INTO `{table}` SELECT * FROM `{template}`.`{table}`")
        return self.database_url(name)

    def drop_database(self, name: str) -> None:
        """Drop it, whoever is still connected."""
        self.execute(f"DROP DATABASE IF EXISTS `{name}`", database="mysql")

    def execute(self, statement: str, *, database: str = "mysql") -> list[tuple[Any, ...]]:
        """One statement outside a transaction; its rows, if it gives any."""
        with self._connection(database) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    @contextlib.contextmanager
    def _connection(self, database: str, silence_s: float = 60.0) -> Iterator[Any]:
        connection = pymysql.connect(
            host=self.address,
            port=self.port,
            user=USER,
            database=database,
            connect_timeout=2,
            read_timeout=silence_s,
            autocommit=True,
        )
        try:
            yield connection
        finally:
            connection.close()

    def _claim_ports(self) -> None:
        self.port = self._port()

    def _configure(self) -> None:
        (self.folder / "init.sql").write_text(
            f"CREATE USER IF NOT EXISTS {USER}@'%';\nGRANT ALL ON *.* TO {USER}@'%' WITH GRANT OPTION;\n"
        )
        settings = {
            "datadir": str(self.folder / "data"),
            "bind-address": self.address,
            "port": str(self.port),
            # In the data folder: the other one may be root's.
            "socket": str(self.folder / "data" / "mariadb.sock"),
            "pid-file": str(self.folder / "data" / "mariadb.pid"),
            "init-file": str(self.folder / "init.sql"),
            "skip-name-resolve": "ON",
            "max-connections": "200",
            "innodb-buffer-pool-size": "64M",
            "innodb-log-file-size": "32M",
            "innodb-print-all-deadlocks": "ON",
            # 2 still writes at each commit: kill -9 of the server loses nothing.
            "innodb-flush-log-at-trx-commit": "1" if self._fsync else "2",
            "innodb-flush-method": "fsync" if self._fsync else "nosync",
            **UNHELPFUL,
            **self._settings,
        }
        lines = [f"{name} = {value}" for name, value in settings.items()]
        (self.folder / "my.cnf").write_text("[mariadbd]\n" + "\n".join(lines) + "\n")
        if not (self.folder / "data").exists():
            self._initialise()

    def _initialise(self) -> None:
        """Twice, if need be: beside many other servers its bootstrap has died once (seen 2026-11-27)."""
        if not (self._has_data() or self._has_data()):
            raise ServerError(f"mariadb-install-db failed twice\n{tail(self.log_path, 60)}")

    def _has_data(self) -> bool:
        data = self.folder / "data"
        data.mkdir(mode=0o700)
        if self.user:
            shutil.chown(data, self.user)
        argv = [self._program("mariadb-install-db"), f"--defaults-file={self.folder / 'my.cnf'}"]
        argv += ["--auth-root-authentication-method=normal", "--skip-test-db"]
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
        return not done.returncode

    def _command(self) -> tuple[list[str], dict[str, str]]:
        return [self._program("mariadbd"), f"--defaults-file={self.folder / 'my.cnf'}"], {}

    def _answers(self) -> bool:
        try:
            with self._connection("mysql", silence_s=2.0) as connection, connection.cursor() as cursor:
                return bool(cursor.execute("SELECT 1"))
        except pymysql.err.OperationalError:
            return False


def _unprivileged_user() -> str:
    """mariadbd refuses to run as root."""
    for name in ("mysql", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise ServerError("MariaDB doesn't run as root, and there is neither a user mysql nor nobody")
