"""Zones that somebody else has locked: waited for together for a moment, and not for long."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from dnsworker import database
from dnsworker.names import Name
from dnsworker.store import zones

pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zones, "_patience", zones._Patience())


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    engine = database.connect(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def ids(engine: sa.Engine) -> list[int]:
    with engine.begin() as connection:
        pool = (
            "INSERT INTO pool (name, version, document, applied_at) VALUES ('p', 1, '{}', now()) RETURNING id"
        )
        pool_id = connection.execute(sa.text(pool)).scalar_one()
        wanted = [(pool_id, Name(f"z{number}.test."), Name("ns.test."), "a@test.") for number in range(3)]
        made = zones.make(connection, wanted)
    return sorted(made)


def test_several_are_waited_for_together(engine: sa.Engine, ids: list[int]) -> None:
    with engine.connect() as holder, engine.connect() as other:
        zones.lock_all(holder, ids[:1])
        timer = threading.Timer(zones.LOCK_WAIT_S / 3, holder.commit)
        timer.start()
        found = zones.lock_soon(other, ids)
        timer.join()
        assert [row.id for row in found] == ids


def test_one_that_stays_locked_holds_up_nobody_for_long_and_the_next_not_at_all(
    engine: sa.Engine, ids: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine.connect() as holder, engine.connect() as other:
        zones.lock_all(holder, ids[:1])
        assert [row.id for row in zones.lock_soon(other, ids)] == ids[1:]
        other.rollback()
        # Nothing is left of the time-out, and nobody waits again so soon.
        assert other.execute(sa.text("SHOW lock_timeout")).scalar_one() == "0"
        monkeypatch.setattr(zones, "_lock_in_time", lambda *_: pytest.fail("waited again"))
        assert [row.id for row in zones.lock_soon(other, ids)] == ids[1:]


def test_a_single_one_that_is_free_needs_no_waiting(
    engine: sa.Engine, ids: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zones, "_lock_in_time", lambda *_: pytest.fail("waited"))
    with engine.connect() as connection:
        assert [row.id for row in zones.lock_soon(connection, ids[1:2])] == ids[1:2]


def test_what_else_goes_wrong_is_told(engine: sa.Engine, ids: list[int]) -> None:
    with engine.connect() as holder, engine.connect() as other:
        zones.lock_all(holder, ids[:1])
        other.execute(sa.text("SET LOCAL statement_timeout = '50ms'"))
        with pytest.raises(sa.exc.OperationalError, match="statement timeout"):
            zones.lock_soon(other, ids)
