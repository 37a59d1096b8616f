"""Engines for SQLite: one file, one writer at a time, and everybody comes to write.

SQLite lets whoever waits look again after a pause, longer each time: beside threads that write without one,
somebody may wait for ever. So the threads of a process take turns here, in the order in which they came, and
the one whose turn it is looks often.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections import deque
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa

#: How long a transaction waits for the others' to end.
PATIENCE_S = 30.0
#: How often it looks whether they have.
LOOK_S = 0.001


class Turns:
    """One thread after the other."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[threading.Event] = deque()
        self._is_taken = False

    def take(self, patience_s: float) -> bool:
        """Wait for one's turn; whether it came in time."""
        with self._guard:
            if not self._is_taken:
                self._is_taken = True
                return True
            mine = threading.Event()
            self._waiting.append(mine)
        if mine.wait(patience_s):
            return True
        with self._guard:
            if mine.is_set():
                return True
            self._waiting.remove(mine)
            return False

    def give(self) -> None:
        """It is the next one's turn."""
        with self._guard:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._is_taken = False


def engine(url: sa.URL) -> sa.Engine:
    """One whose transactions may write, unless they say that they only read (`database.reading`)."""
    if url.database and url.database != ":memory:":
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    made = sa.create_engine(
        url, connect_args={"timeout": PATIENCE_S, "check_same_thread": False}, pool_size=20
    )
    path = os.path.realpath(url.database or "")

    @sa.event.listens_for(made, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are begun by `_begin`, not guessed by the driver
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(made, "begin")
    def _begin(connection: sa.Connection) -> None:
        # One that may write takes the write lock at once, because upgrading later fails at once when somebody
        # else has written since.
        if connection.get_execution_options().get("reads_only", False):
            connection.exec_driver_sql("BEGIN")
            return
        deadline = time.monotonic() + PATIENCE_S
        if not _turns(path).take(PATIENCE_S):
            raise sa.exc.TimeoutError(f"waited {PATIENCE_S:g} s for this process's other transactions")
        connection.info["turns"] = _turns(path)
        _begin_writing(connection, deadline)

    # Just before the end of the transaction: the next one finds it ended when it looks again.
    @sa.event.listens_for(made, "commit")
    @sa.event.listens_for(made, "rollback")
    def _end(connection: sa.Connection) -> None:
        _give_turn(connection.info)

    @sa.event.listens_for(made, "checkin")
    def _come_back(_connection: Any, record: Any) -> None:
        _give_turn(record.info)  # of a transaction that was forgotten, or that could not begin

    return made


def _begin_writing(connection: sa.Connection, deadline: float) -> None:
    driver: Any = connection.connection.dbapi_connection
    driver.execute("PRAGMA busy_timeout=0")
    try:
        while time.monotonic() < deadline:
            try:
                driver.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as exc:
                if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    break
                time.sleep(LOOK_S)
            else:
                return
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # once more, for SQLAlchemy's error
    finally:
        driver.execute(f"PRAGMA busy_timeout={PATIENCE_S * 1000:.0f}")


def _give_turn(info: dict[Any, Any]) -> None:
    if (turns := info.pop("turns", None)) is not None:
        turns.give()


@cache
def _turns(path: str) -> Turns:
    """Those of one file, for all engines of the process."""
    return Turns()


os.register_at_fork(after_in_child=_turns.cache_clear)  # the parent's threads aren't there to give theirs
