"""A database restored from an earlier backup: what it has forgotten stays at the targets."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from dev.servers import Redis
from dnsworker.backend import Capabilities, ZoneDelta
from dnsworker.comparison import records_of
from dnsworker.lineage import Lineage
from dnsworker.names import Name
from dnsworker.operations import Status
from dnsworker.records import SOA
from dnsworker.runtime import Runtime
from dnsworker.store import deliveries, lineage
from tests.world import MemoryBackend, World, a_world

ZONE = Name("example.org.")
KEPT, LOST = ("kept.example.org.", "A"), ("lost.example.org.", "A")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path, "one") as world:
        world.create()
        world.end_of(world.put("kept", "192.0.2.1"))
        yield world


class Backup:
    """Of a database in SQLite: the connections to it stay, with other contents behind them."""

    def __init__(self, world: World) -> None:
        self._live = str(world.engine.url.database)
        self._kept = f"{self._live}.backup"
        self._copy(self._live, self._kept)

    def restore(self) -> None:
        self._copy(self._kept, self._live)

    @staticmethod
    def _copy(source: str, destination: str) -> None:
        with closing(sqlite3.connect(source)) as read, closing(sqlite3.connect(destination)) as written:
            read.backup(written)


def blocked(world: World) -> Any:
    return world.row("SELECT state, last_error FROM delivery")


def wait_until_blocked(world: World, words: str) -> None:
    world.until(lambda: blocked(world).state == "ahead", "it was not blocked")
    assert words in blocked(world).last_error


def test_what_the_database_has_forgotten_stays_at_the_target(world: World) -> None:
    backup = Backup(world)
    world.end_of(world.put("lost", "192.0.2.2"))
    world.succeed("delete_record", name="kept", type="A")
    backup.restore()
    wait_until_blocked(world, "2 RRsets")
    waiting = world.put("new", "192.0.2.3")
    world.runtime.sweep()
    world.deliver()
    assert world.show(waiting).status == Status.ACCEPTED
    assert world.served("one") == {LOST: ("192.0.2.2",)}


def test_a_later_change_of_the_same_rrset_does_not_make_it_ours(world: World) -> None:
    """The zone's serial is that of the new change then, and above the target's."""
    backup = Backup(world)
    world.end_of(world.put("kept", "192.0.2.2"))
    backup.restore()
    world.put("kept", "192.0.2.3")
    wait_until_blocked(world, "1 RRsets")
    assert world.served("one") == {KEPT: ("192.0.2.2",)}


def test_a_difference_that_the_server_explains_is_no_drift_then(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By IXFR it looks as if somebody had written there by hand."""
    server = world.servers["one"]
    server.capabilities = Capabilities(fencing="server", reads_changes=True)
    before = server.zones[ZONE]

    def read_changes(_: object, zone: Name, since: SOA) -> ZoneDelta | None:
        now = server.zones[zone]
        added = {key: records_of(one) for key, one in now.rrsets.items() if key not in before.rrsets}
        return ZoneDelta(now.soa, {}, added) if since == before.soa else None

    backup = Backup(world)
    world.end_of(world.put("lost", "192.0.2.2"))
    monkeypatch.setattr(MemoryBackend, "read_changes", read_changes, raising=False)
    backup.restore()
    wait_until_blocked(world, "lost.example.org. A among them")
    assert world.served("one") == {KEPT: ("192.0.2.1",), LOST: ("192.0.2.2",)}


def test_force_keeps_the_side_of_the_database(world: World) -> None:
    backup = Backup(world)
    world.end_of(world.put("lost", "192.0.2.2"))
    ahead = world.servers["one"].zones[ZONE].soa.serial
    backup.restore()
    wait_until_blocked(world, "1 RRsets")
    world.end_of(world.put("kept", "192.0.2.1", force=True))
    assert world.served("one") == {KEPT: ("192.0.2.1",)}
    assert world.servers["one"].zones[ZONE].soa.serial > ahead


def test_where_nothing_differs_the_serial_is_lifted_above_the_targets(world: World) -> None:
    backup = Backup(world)
    world.end_of(world.put("lost", "192.0.2.2"))
    world.succeed("delete_record", name="lost", type="A")
    ahead = world.servers["one"].zones[ZONE].soa.serial
    backup.restore()
    world.until(lambda: world.zone()["serial"] > ahead, "the serial was not lifted")
    world.wait_for_zone("ACTIVE")
    assert world.servers["one"].zones[ZONE].soa.serial == world.zone()["serial"]


def test_what_was_on_its_way_when_the_backup_was_made_goes_on(world: World) -> None:
    world.servers["one"].is_down = True
    going = world.put("kept", "192.0.2.2")
    backup = Backup(world)
    world.servers["one"].is_down = False
    world.end_of(going)
    backup.restore()
    world.end_of(going)
    world.end_of(world.put("new", "192.0.2.3"))
    assert world.served("one") == {KEPT: ("192.0.2.2",), ("new.example.org.", "A"): ("192.0.2.3",)}


def test_a_zone_that_was_deleted_since_does_not_come_back_by_itself(world: World) -> None:
    backup = Backup(world)
    world.succeed("delete_zone")
    backup.restore()
    wait_until_blocked(world, "has no zone example.org. any more")
    assert not world.servers["one"].zones
    world.end_of(world.put("kept", "192.0.2.1", force=True))
    assert world.served("one") == {KEPT: ("192.0.2.1",)}


def test_a_deletion_from_before_does_not_remove_a_zone_that_was_created_since(world: World) -> None:
    world.servers["one"].is_down = True
    deletion = world.submit("delete_zone")
    backup = Backup(world)
    world.servers["one"].is_down = False
    world.end_of(deletion)
    world.create()
    backup.restore()
    wait_until_blocked(world, "which is deleted here")
    assert ZONE in world.servers["one"].zones
    with world.engine.begin() as connection:
        deliveries.retry_operation(connection, deletion)
    world.end_of(deletion)
    assert ZONE not in world.servers["one"].zones


def test_a_claim_from_before_is_worth_nothing_afterwards(world: World) -> None:
    backup = Backup(world)
    epoch = world.row("SELECT epoch FROM delivery").epoch
    world.end_of(world.put("lost", "192.0.2.2"))
    backup.restore()
    wait_until_blocked(world, "1 RRsets")
    assert world.row("SELECT epoch FROM delivery").epoch > epoch + lineage.EPOCH_LEAP


def test_a_worker_that_is_started_later_knows_from_redis(world: World, redis: Redis) -> None:
    settings = world.settings.model_copy(update={"redis_url": SecretStr(redis.url)})

    def restart() -> None:
        world.runtime.stop()
        world.runtime = Runtime(settings, world.signals)
        world.runtime.start()

    backup = Backup(world)
    restart()
    world.end_of(world.put("lost", "192.0.2.2"))
    world.runtime.sweep()
    backup.restore()
    restart()
    wait_until_blocked(world, "1 RRsets")


def test_without_redis_a_worker_that_is_started_later_has_to_be_told(world: World) -> None:
    backup = Backup(world)
    world.end_of(world.put("lost", "192.0.2.2"))
    world.runtime.stop()
    backup.restore()
    with world.engine.begin() as connection:
        assert lineage.doubt_everything(connection) == 1
    world.runtime = Runtime(world.settings, world.signals)
    world.runtime.start()
    wait_until_blocked(world, "1 RRsets")


def test_without_redis_nothing_is_known_and_nothing_doubted(world: World) -> None:
    known = Lineage(world.engine, None, keep_days=90)
    known.recall()
    known.look()
    with world.engine.connect() as connection:
        assert known.holds(connection)
        assert connection.execute(sa.text("SELECT count(*) FROM delivery WHERE soa IS NULL")).scalar() == 0
