"""One SQLite file and many who write: nobody waits for ever, and nobody is told that it is locked."""

from __future__ import annotations

import gc
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from dev.servers.process import wait_until
from dnsworker import database, sqlite

ROOT = Path(__file__).resolve().parents[2]
#: A parent whose thread has the turn, and a child that asks for it.
FORK = """
import os, sys
from dnsworker import sqlite
assert sqlite._turns("x").take(0) and not sqlite._turns("x").take(0)
if os.fork() == 0:
    os._exit(0 if sqlite._turns("x").take(0) else 3)
sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = database.connect(f"sqlite:///{tmp_path / 'db'}")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE note (number INTEGER)")
    yield engine
    engine.dispose()


def write(engine: sa.Engine, number: int) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO note VALUES (?)", (number,))


def notes(engine: sa.Engine) -> list[int]:
    with database.reading(engine).connect() as connection:
        return list(connection.exec_driver_sql("SELECT number FROM note ORDER BY rowid").scalars())


def test_threads_write_in_the_order_in_which_they_came(engine: sa.Engine) -> None:
    other = database.connect(str(engine.url))  # as `dnsworker up` has several
    turns = sqlite._turns(str(engine.url.database))
    threads = [threading.Thread(target=write, args=((engine, other)[n % 2], n)) for n in range(6)]
    with engine.begin():
        for count, thread in enumerate(threads, start=1):
            thread.start()
            wait_until(lambda count=count: len(turns._waiting) == count, 30, "a thread in the queue")  # type: ignore[misc]
        assert notes(engine) == []
    for thread in threads:
        thread.join(30)
    assert notes(engine) == list(range(6))
    other.dispose()


def test_who_waits_for_too_long_is_told_that_the_database_is_away(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a thread of its own process or for another process; and its turn is somebody else's then."""
    monkeypatch.setattr(sqlite, "PATIENCE_S", 0.05)
    ended: list[type] = []

    def try_to_write() -> None:
        try:
            write(engine, 0)
        except database.AWAY as exc:
            ended.append(type(exc))

    with engine.begin():
        thread = threading.Thread(target=try_to_write)
        thread.start()
        thread.join(30)
    with closing(sqlite3.connect(str(engine.url.database), isolation_level=None)) as another_process:
        another_process.execute("BEGIN IMMEDIATE")
        try_to_write()
        assert notes(engine) == [], "reading waits for nobody"
    assert ended == [sa.exc.TimeoutError, sa.exc.OperationalError]
    write(engine, 1)
    assert notes(engine) == [1]


def test_another_process_is_waited_for(engine: sa.Engine) -> None:
    with closing(sqlite3.connect(str(engine.url.database), isolation_level=None)) as another_process:
        another_process.execute("BEGIN IMMEDIATE")
        threads = [threading.Thread(target=write, args=(engine, n)) for n in range(3)]
        for thread in threads:
            thread.start()
        another_process.execute("INSERT INTO note VALUES (7)")
        another_process.execute("COMMIT")
    for thread in threads:
        thread.join(30)
    assert notes(engine)[0] == 7
    assert sorted(notes(engine)) == [0, 1, 2, 7]


def test_a_transaction_that_was_forgotten_or_failed_keeps_nobody_waiting(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "PATIENCE_S", 5.0)
    forgotten = engine.connect()
    forgotten.exec_driver_sql("INSERT INTO note VALUES (1)")
    del forgotten
    gc.collect()
    with pytest.raises(ZeroDivisionError), engine.begin():
        raise ZeroDivisionError
    write(engine, 2)
    assert notes(engine) == [2]


def test_a_forked_process_waits_for_none_of_its_parent_s_threads() -> None:
    done = subprocess.run([sys.executable, "-c", FORK], cwd=ROOT, timeout=60, check=False)
    assert done.returncode == 0
