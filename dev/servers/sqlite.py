"""A folder of SQLite databases, used like a database server: there is no process to start or stop."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any, Self

from dev.servers.folders import make_folder, remove_folder


class SQLite:
    is_running = True

    def __init__(self) -> None:
        self.folder = make_folder("sqlite")

    def create_database(self, name: str, template: str | None = None) -> str:
        """A new database, a copy of `template`. Returns its URL."""
        if template:
            with closing(self._open(template)) as source, closing(self._open(name)) as copy:
                source.backup(copy)
        return f"sqlite:///{self.folder / name}"

    def drop_database(self, name: str) -> None:
        for path in self.folder.glob(f"{name}*"):
            path.unlink()

    def execute(self, statement: str, *, database: str) -> list[tuple[Any, ...]]:
        """One statement outside a transaction; its rows, if it gives any."""
        with closing(self._open(database)) as connection:
            return connection.execute(statement).fetchall()

    def close(self) -> None:
        remove_folder(self.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, name: str) -> sqlite3.Connection:
        return sqlite3.connect(self.folder / name, timeout=30, isolation_level=None)
