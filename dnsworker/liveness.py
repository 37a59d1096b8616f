"""One lock for the life of each worker process, so that the others can tell at once that it is dead.

Separate from the claims, which end by lease: a paused worker keeps its lock and loses its lease, a killed
one loses its lock within a second.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import threading
import time
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa

log = logging.getLogger(__name__)


class ProcessLock(Protocol):
    """Held from `take` until the process ends or calls `release`."""

    #: What the other workers know this process by.
    owner: int
    #: Since when the database has been there without a break, by the monotonic clock.
    since: float

    def take(self) -> None: ...
    def release(self) -> None: ...
    def is_dead(self, owner: int) -> bool: ...


def process_lock(engine: sa.Engine) -> ProcessLock:
    """The kind of lock that the database offers."""
    if engine.dialect.name == "sqlite":
        return FileLock(Path(engine.url.database or "dnsworker.db"))
    return SessionLock(engine)


class SessionLock:
    """A lock of a database session: it ends when the server sees the connection end.

    PostgreSQL has advisory locks, MariaDB named ones. Needs a session of its own (no transaction pooler).
    Committed, instead of set to AUTOCOMMIT: setting that on a connection whose server has ended raises the
    driver's own error, outside `database.AWAY` (SQLAlchemy 2.1 with psycopg2, seen on 2026-11-25).
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._guard = threading.Lock()
        self._connection: sa.Connection | None = None
        self.owner = _new_owner()
        self.since = float("inf")

    def take(self) -> None:
        """Take the lock, or make sure that it is still held; a lost one is replaced by a new owner's."""
        with self._guard:
            if self._connection is not None:
                try:
                    self._connection.exec_driver_sql("SELECT 1")
                    self._connection.commit()  # the lock is the session's; no transaction stays open
                    return
                except sa.exc.DBAPIError as exc:
                    log.warning("the connection that holds this worker's lock is gone: %s", _words(exc))
                    self._drop()
                    self.owner = _new_owner()
            connection = self._engine.connect()
            connection.detach()  # never returned to the pool with the lock still held
            self._try(connection, self.owner)
            connection.commit()
            self._connection = connection
            self.since = time.monotonic()

    def release(self) -> None:
        with self._guard:
            self._drop()

    def is_dead(self, owner: int) -> bool:
        """Whether the process that took `owner` has ended."""
        if owner == self.owner:
            return False
        with self._engine.begin() as connection:
            if not self._is_postgresql:
                query = sa.text("SELECT IS_FREE_LOCK(:key)")
                return connection.execute(query, {"key": f"dnsworker-{owner}"}).scalar() == 1
            if not self._try(connection, owner):
                return False
            connection.execute(sa.text("SELECT pg_advisory_unlock(:key)"), {"key": owner})
        return True

    @property
    def _is_postgresql(self) -> bool:
        return self._engine.dialect.name == "postgresql"

    def _try(self, connection: sa.Connection, owner: int) -> bool:
        if self._is_postgresql:
            return bool(
                connection.execute(sa.text("SELECT pg_try_advisory_lock(:key)"), {"key": owner}).scalar()
            )
        taken = connection.execute(
            sa.text("SELECT GET_LOCK(:key, 0)"), {"key": f"dnsworker-{owner}"}
        ).scalar()
        return taken == 1

    def _drop(self) -> None:
        if self._connection is not None:
            try:
                self._connection.close()
            except sa.exc.DBAPIError as exc:
                log.debug("closing the lock's connection: %s", _words(exc))
            self._connection = None


class FileLock:
    """A locked file beside an SQLite database: the kernel lets go of it when the process ends."""

    def __init__(self, database: Path) -> None:
        self._folder = database.parent
        self._stem = database.name
        self._descriptor: int | None = None
        self.owner = _new_owner()
        self.since = float("-inf")  # a file is always there

    def take(self) -> None:
        if self._descriptor is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self._path(self.owner), os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def release(self) -> None:
        if self._descriptor is not None:
            self._path(self.owner).unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None

    def is_dead(self, owner: int) -> bool:
        if owner == self.owner:
            return False
        try:
            descriptor = os.open(self._path(owner), os.O_RDWR)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        else:
            self._path(owner).unlink(missing_ok=True)
            return True
        finally:
            os.close(descriptor)

    def _path(self, owner: int) -> Path:
        return self._folder / f"{self._stem}-worker-{owner}.lock"


def _new_owner() -> int:
    return secrets.randbits(62) + 1


def _words(error: sa.exc.DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__
