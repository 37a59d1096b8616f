"""MariaDB where it differs from the others: what it would do by itself, and must not do to us."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from dev.servers import MariaDB
from dev.servers.process import wait_until
from dnsworker import database, mariadb
from dnsworker.errors import ConfigError
from dnsworker.liveness import SessionLock
from dnsworker.pools import Pool
from dnsworker.store import agenda, breakers, claims, comparisons, convoys, operations, pools, zones
from dnsworker.tables import operation, target

POOL = {
    "name": "default",
    "ns_records": [{"hostname": "ns1.example.net."}],
    "targets": [{"name": "one", "type": "builtin"}],
}


@pytest.fixture
def engine(mariadb_url: str) -> Iterator[sa.Engine]:
    engine = database.connect(mariadb_url)
    with engine.begin() as connection:
        pools.apply(connection, [Pool.model_validate(POOL)])
    yield engine
    engine.dispose()


def new_operation(id_: str | None = None, **values: Any) -> dict[str, Any]:
    plain = {"kind": "x", "zone": "example.org.", "payload": {}, "digest": "", "is_untold": False}
    return {"id": id_ or str(uuid.uuid4()), "status": "PENDING", **plain, **values}


def ask(engine: sa.Engine, query: str) -> Any:
    with engine.connect() as connection:
        return connection.exec_driver_sql(query).one()


# --- what a session is like, whatever the server's defaults are ---------------------------------------------


def test_any_mariadb_driver_in_the_url_is_understood(mariadb: MariaDB, mariadb_url: str) -> None:
    name = mariadb_url.rpartition("/")[2]
    for scheme in ("mariadb", "mysql", "mysql+mysqldb"):
        engine = database.connect(f"{scheme}://dnsworker@{mariadb.address}:{mariadb.port}/{name}")
        database.check_version(engine)
        engine.dispose()


def test_text_that_does_not_fit_is_refused_and_not_cut(engine: sa.Engine) -> None:
    for insert in (operations.insert, lambda c, row: pools.insert_or_ignore(c, operation, [row])):
        with pytest.raises(sa.exc.DataError), engine.begin() as connection:
            insert(connection, new_operation("x" * 65, received_at=sa.func.now()))
    assert ask(engine, "SELECT count(*) FROM operation") == (0,)


def test_ids_are_compared_octet_by_octet(engine: sa.Engine) -> None:
    """Case, accents and trailing blanks: a server's default collation passes over all of them."""
    with engine.begin() as connection:
        for id_ in ("a", "A", "ä", "a ", "😀", "😁"):
            assert operations.insert(connection, new_operation(id_))
        assert not operations.insert(connection, new_operation("ä"))
        assert operations.get(connection, "ä").id == "ä"


def test_the_assignments_of_an_update_see_the_row_as_it_was(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            sa.update(target).values(failures=target.c.failures + 1, paid_us=target.c.failures)
        )
        assert connection.execute(sa.select(target.c.failures, target.c.paid_us)).one() == (1, 0)
        connection.execute(sa.update(target).values(failures=0))
        breakers.failed(connection, 1, "away", limit=2, delay_s=60)
        assert breakers.may_try(connection, 1), "one failure of two"


def test_after_a_lock_was_waited_for_the_latest_is_read_and_a_snapshot_sees_one_moment(
    engine: sa.Engine,
) -> None:
    def count(connection: sa.Connection) -> int:
        return connection.execute(sa.select(sa.func.count()).select_from(operation)).scalar_one()

    with engine.connect() as usual, database.snapshot(engine) as snapshot:
        assert (count(usual), count(snapshot)) == (0, 0)
        with engine.begin() as other:
            operations.insert(other, new_operation())
        assert (count(usual), count(snapshot)) == (1, 0)
    with engine.connect() as again:  # the pool's connection forgets that it was a snapshot's
        assert count(again) == 1
        with engine.begin() as other:
            operations.insert(other, new_operation())
        assert count(again) == 2


def test_a_server_that_is_too_old_is_refused(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mariadb, "OLDEST", (12, 3))
    with pytest.raises(ConfigError, match=r"is MariaDB 10\..*: dnsworker needs 12\.3 or later"):
        database.check_version(engine)


def test_a_server_that_takes_too_little_at_once_is_refused(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mariadb, "SMALLEST_PACKET", 1024**3)
    with pytest.raises(ConfigError, match=r"max_allowed_packet is 16777216: dnsworker needs 1073741824"):
        database.check_version(engine)


def test_a_server_that_logs_statements_is_refused() -> None:
    with (
        MariaDB(settings={"log-bin": "binlog", "binlog-format": "STATEMENT"}) as server,
        pytest.raises(ConfigError, match="binlog_format is STATEMENT: dnsworker needs ROW or MIXED"),
    ):
        database.upgrade(server.create_database("x"))


# --- what goes wrong ----------------------------------------------------------------------------------------


def test_a_statement_that_the_server_would_hang_up_on_is_an_error_of_its_data(engine: sa.Engine) -> None:
    limit = ask(engine, "SELECT @@max_allowed_packet")[0]
    with engine.begin() as connection:
        too_long = new_operation(payload={"text": '"' * (limit // 4)})  # quoted twice
        with pytest.raises(sa.exc.DataError, match="max_allowed_packet"):
            operations.insert(connection, too_long)
        assert operations.insert(connection, new_operation(payload={"text": "x" * (limit // 4)}))


def test_of_two_that_wait_for_each_other_one_is_told_to_try_again(engine: sa.Engine) -> None:
    both = threading.Barrier(2, timeout=30)
    ends: list[str] = []
    with engine.begin() as connection:
        for id_ in ("a", "b"):
            operations.insert(connection, new_operation(id_))

    def lock(first: str, second: str) -> None:
        try:
            with engine.begin() as connection:
                operations.lock(connection, first)
                both.wait()
                operations.lock(connection, second)
                ends.append("done")
        except database.AWAY:
            ends.append("away")

    threads = [threading.Thread(target=lock, args=names) for names in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(ends) == ["away", "done"]


def test_two_deliveries_that_fail_at_once_count_it_without_a_deadlock(grown: sa.Engine) -> None:
    both = threading.Barrier(2, timeout=30)
    (target_id,) = ask(grown, "SELECT min(id) FROM target")

    def fail(claim: claims.Claim) -> None:
        with grown.begin() as connection:
            claims.fail(
                connection, claim, code="Unreachable", message="", delay_s=9, must_read=False, attempts=1
            )
            both.wait()
            breakers.failed(connection, target_id, "away", limit=9, delay_s=9)

    taken = []
    for _ in range(2):
        with grown.begin() as connection:
            taken.append(claims.claim_next(connection, target_id, "one", owner=8, lease_s=60))
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(fail, taken))
    assert ask(grown, "SELECT failures FROM target") == (2,)


def test_a_worker_that_was_taken_for_dead_may_still_give_back(grown: sa.Engine) -> None:
    """Both change the row and its entry under the owner, whoever comes first."""
    (target_id,) = ask(grown, "SELECT min(id) FROM target")
    with grown.begin() as connection:
        claim = claims.claim_next(connection, target_id, "one", owner=8, lease_s=60)
    assert claim is not None

    def free() -> list[int]:
        with grown.begin() as connection:
            return claims.release_owner(connection, 8)

    def is_waiting() -> bool:
        query = "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
        return bool(ask(grown, query)[0])

    with ThreadPoolExecutor(1) as thread:
        with grown.begin() as connection:
            claims.renew(connection, claim, 60)
            freed = thread.submit(free)
            wait_until(is_waiting, 30, "the other one to come")
            claims.give_back(connection, claim)
        assert freed.result(60) == [target_id]
    (owner, epoch) = ask(grown, f"SELECT owner, epoch FROM delivery WHERE zone_id = {claim.zone_id}")
    assert (owner, epoch) == (None, claim.epoch)


def test_a_lock_that_is_not_given_in_time_is_tried_again(
    mariadb_url: str, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(mariadb.SESSION, "innodb_lock_wait_timeout", "1")
    impatient = database.connect(mariadb_url)
    with engine.begin() as holder:
        operations.insert(holder, new_operation("a"))
        with pytest.raises(database.AWAY), impatient.begin() as connection:
            operations.insert(connection, new_operation("a"))
    impatient.dispose()


def test_a_connection_that_is_cut_is_away_and_its_lock_is_free(mariadb_url: str, engine: sa.Engine) -> None:
    other = database.connect(mariadb_url)
    lock, watcher = SessionLock(engine), SessionLock(other)
    lock.take()
    first = lock.owner
    assert not watcher.is_dead(first)
    uses: list[Callable[[], object]] = [
        lambda: lock.is_dead(1),
        lambda: database.snapshot(engine).__enter__(),
    ]
    for use in uses:
        ask(engine, "SELECT 1")  # the pool has a connection that is in order
        cut_all_but(other)
        with pytest.raises(database.AWAY):
            use()
    assert watcher.is_dead(first)
    lock.take()
    assert lock.owner != first
    assert not watcher.is_dead(lock.owner)
    assert not lock.is_dead(lock.owner)
    lock.release()
    assert watcher.is_dead(lock.owner)
    other.dispose()


def cut_all_but(engine: sa.Engine) -> None:
    """End all other sessions in the database."""
    with engine.connect() as connection:
        others = connection.exec_driver_sql(
            "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id != CONNECTION_ID()"
        )
        for (number,) in others.all():
            connection.exec_driver_sql(f"KILL {number}")


# --- migrations ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("statements", [1, 12, 33])
def test_an_upgrade_that_broke_off_is_repeated(
    empty_mariadb_url: str, statements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MariaDB takes no DDL back: what was done is there."""
    make = database.connect
    broken: list[str] = []

    def breaking(url: str) -> sa.Engine:
        engine = make(url)

        @sa.event.listens_for(engine, "after_cursor_execute")
        def _count(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if statement.lstrip().startswith(("CREATE", "ALTER")):
                broken.append(statement)
                if len(broken) == statements:
                    raise KeyboardInterrupt

        return engine

    with monkeypatch.context() as patch:
        patch.setattr(database, "connect", breaking)
        with pytest.raises(KeyboardInterrupt):
            database.upgrade(empty_mariadb_url)
    assert database.upgrade(empty_mariadb_url) == database.code_version()


def test_a_table_of_somebody_elses_is_not_taken_for_one_of_ours(empty_mariadb_url: str) -> None:
    engine = database.connect(empty_mariadb_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE zone (words TEXT)")
    with pytest.raises(ConfigError, match="has a table 'zone' that isn't dnsworker's"):
        database.upgrade(empty_mariadb_url)
    assert sa.inspect(engine).get_table_names() == ["zone"]
    engine.dispose()


# --- indexes ------------------------------------------------------------------------------------------------


@pytest.fixture
def grown(engine: sa.Engine) -> sa.Engine:
    """Thousands of zones at rest and operations long ended; a few are not, and many of one other zone."""
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO zone (pool_id, name, status, is_deleted, revision, serial, mname, email, ttl,"
            " refresh, retry, expire, minimum, looks, created_at, updated_at, look_at)"
            " SELECT 1, CONCAT('z', seq, '.'), 'ACTIVE', 0, 1, 1, 'a.', 'a', 1, 1, 1, 1, 1, 0, '2026-01-01',"
            " '2026-01-01', IF(seq < 9, '2026-01-01', NULL) FROM seq_1_to_3000"
        )
        connection.exec_driver_sql(
            "INSERT INTO delivery (zone_id, target_id, goal, wanted_revision, state, delivered_revision,"
            " must_read, `force`, epoch, attempts, due_at, owner, compare_at)"
            " SELECT id, 1, 'present', 1, 'present', 1, 0, 0, 1, 0, IF(id < 9, '2026-01-01', NULL),"
            " IF(id < 4, 7, NULL), '2099-01-01' FROM zone"
        )
        connection.exec_driver_sql(
            "INSERT INTO operation (id, kind, zone, payload, digest, status, received_at, finished_at,"
            " is_untold, zone_id, revision) SELECT seq, 'x', 'z1.', '{}', '',"
            " IF(seq < 9, 'ACCEPTED', 'ACTIVE'), '2026-01-01', '2026-01-01', seq < 9,"
            " (SELECT min(id) FROM zone), seq FROM seq_1_to_3000"
        )
        connection.exec_driver_sql(
            "INSERT INTO operation (id, kind, zone, payload, digest, status, received_at, is_untold, zone_id)"
            " SELECT 3000 + seq, 'x', 'z2.', '{}', '', 'ACCEPTED', '2026-01-01', 0,"
            " (SELECT max(id) FROM zone) FROM seq_1_to_3000"
        )
        connection.exec_driver_sql("ANALYZE TABLE zone, delivery, operation")
    return engine


def test_what_the_sweep_asks_is_answered_by_the_few_rows_that_are_open(grown: sa.Engine) -> None:
    """There are no partial indexes: none of its questions may read what is at rest."""
    read: dict[str, int] = {}
    (zone_id,) = ask(grown, "SELECT min(id) FROM zone")
    (target_id,) = ask(grown, "SELECT min(id) FROM target")
    questions: dict[str, Callable[[sa.Connection], object]] = {
        "owners": lambda c: claims.owners(c),
        "due": lambda c: agenda.targets_with_due(c, priorities=(0, 1), looked_at=("one",)),
        "background": lambda c: agenda.in_background(c, target_id),
        "ahead": lambda c: comparisons.mass_ahead(c),
        "stale": lambda c: comparisons.claim_look(
            c, target_id, "one", owner=8, lease_s=60, full_s=9, tells_by_serial=True
        ),
        "claim": lambda c: claims.claim_next(c, target_id, "one", owner=8, lease_s=60),
        "untold": lambda c: operations.untold(c, -60.0, 500),
        "pending": lambda c: operations.pending(c, 500),
        "holds": lambda c: operations.overdue_holds(c, 0.0, 500),
        "accepted": lambda c: operations.accepted_in(c, zone_id),
        "looks": lambda c: zones.take_for_a_look(c, 500, 30.0),
    }
    for name, question in questions.items():
        with grown.begin() as connection:
            connection.exec_driver_sql("FLUSH STATUS")
            question(connection)
            counts = connection.exec_driver_sql("SHOW SESSION STATUS LIKE 'Handler_read%%'").all()
            read[name] = sum(int(value) for key, value in counts if key != "Handler_read_rnd_deleted")
    assert {name: count for name, count in read.items() if count > 100} == {}


# --- what somebody has locked -------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", ["next", "usual", "new", "look", "hasten", "zones"])
def test_a_row_that_somebody_has_locked_is_passed_over_and_nothing_of_it_is_locked(
    grown: sa.Engine, wanted: str
) -> None:
    """Its entry in an index neither: whoever has the row may change that, and would wait for us."""
    takes: dict[str, Callable[[sa.Connection], object]] = {
        "next": lambda c: claims.claim_next(c, 1, "one", owner=8, lease_s=60),
        "usual": lambda c: convoys.claim_usual(c, 1, "one", owner=8, lease_s=60, limit=9),
        "new": lambda c: convoys.claim_new(c, 1, "one", owner=8, lease_s=60, limit=9),
        "look": lambda c: comparisons.claim_look(
            c, 1, "one", owner=8, lease_s=60, full_s=9, tells_by_serial=True
        ),
        "hasten": lambda c: comparisons.hasten(c, 1),
        "zones": lambda c: zones.take_for_a_look(c, 500, 30.0),
    }
    with grown.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE delivery SET soa = 'x', owner = NULL, state = %s,"
            " due_at = IF(due_at AND %s, due_at, NULL), compare_at = IF(zone_id < 99, %s, NULL)",
            (
                "never" if wanted == "new" else "present",
                wanted in ("next", "usual", "new"),
                "2099-01-01" if wanted == "hasten" else "2026-01-01",
            ),
        )
        if wanted in ("usual", "new"):  # of few rows MariaDB would rather read the index of owners
            connection.exec_driver_sql("DELETE FROM delivery WHERE zone_id > 20")
            connection.exec_driver_sql("ANALYZE TABLE delivery")
    with grown.begin() as owner, grown.begin() as other:
        for table, key in (("delivery", "zone_id"), ("zone", "id")):
            owner.exec_driver_sql(f"SELECT 1 FROM {table} WHERE {key} < 5 FOR UPDATE")
        other.exec_driver_sql("SET innodb_lock_wait_timeout = 1")
        found = takes[wanted](other)
        assert found
        owner.exec_driver_sql("SET innodb_lock_wait_timeout = 1")
        owner.exec_driver_sql(
            "UPDATE delivery SET owner = 7, due_at = NULL, compare_at = NULL, state = 'held'"
            " WHERE zone_id < 5"
        )
        owner.exec_driver_sql("UPDATE zone SET look_at = NULL WHERE id < 5")
