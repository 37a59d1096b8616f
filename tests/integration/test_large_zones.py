"""What one change of a large zone costs does not depend on how large it is: no statement reads all of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dnsworker.backend import Capabilities, ZoneDelta
from dnsworker.comparison import records_of
from dnsworker.contents import ZoneContents
from dnsworker.names import Name
from dnsworker.plan import Plan
from dnsworker.records import SOA
from dnsworker.store import zones
from tests.world import MemoryBackend, World, a_world

ZONE = Name("example.org.")
SIZE = 60
#: Removals at once, above the guard's minimum and below its share.
REMOVED = 12


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path, "one") as world:
        _fill(world)
        yield world


def _fill(world: World) -> None:
    world.create()
    changes = [_put(number) for number in range(SIZE)]
    world.succeed("change_zone", changes=changes)


def _put(number: int) -> dict[str, object]:
    return {"action": "put", "name": f"h{number}", "type": "A", "data": ["192.0.2.1"]}


@contextmanager
def no_whole_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody may read or count all RRsets meanwhile."""
    count_rrsets = zones.count_rrsets

    def bounded(connection: object, zone_id: int, limit: int | None = None) -> int:
        assert limit is not None, "all RRsets were counted"
        return count_rrsets(connection, zone_id, limit)  # type: ignore[arg-type]

    def never(*_: object) -> None:
        pytest.fail("all RRsets were read")

    with monkeypatch.context() as patched:
        patched.setattr(zones, "rrsets", never)
        patched.setattr(zones, "count_rrsets", bounded)
        yield


def test_a_change_reads_what_it_changes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with no_whole_zone(monkeypatch):
        world.end_of(world.put("new", "192.0.2.2"))
        world.end_of(world.submit("delete_record", name="h1", type="A"))
    assert len(world.served("one")) == SIZE


def test_the_guard_counts_until_it_knows(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []
    count_rrsets = zones.count_rrsets

    def counting(*arguments: object) -> int:
        counted.append(count_rrsets(*arguments))  # type: ignore[arg-type]
        return counted[-1]

    monkeypatch.setattr(zones, "count_rrsets", counting)
    removals = [{"action": "delete", "name": f"h{number}", "type": "A"} for number in range(REMOVED)]
    world.succeed("change_zone", changes=removals)
    assert counted
    assert max(counted) < SIZE


def test_the_guard_still_tells_how_many_there_are(world: World) -> None:
    removals = [{"action": "delete", "name": f"h{number}", "type": "A"} for number in range(SIZE // 2)]
    outcome = world.do("change_zone", changes=removals)
    assert outcome.code == "UnsafeChange"
    assert f"{SIZE // 2} of the {SIZE + 1} RRsets" in str(outcome.message)


def test_what_the_target_tells_of_is_all_that_is_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer to a change is lost, and what was changed since is asked for (IXFR)."""
    server = world.servers["one"]
    versions: dict[int, ZoneContents] = {}
    apply = MemoryBackend.apply

    def remember(backend: MemoryBackend, plan: Plan) -> object:
        versions[plan.current_soa.serial] = server.zones[ZONE]
        return apply(backend, plan)

    def read_changes(_: MemoryBackend, zone: Name, since: SOA) -> ZoneDelta:
        removed, added = {}, {}
        for change in versions[since.serial].changes_to(server.zones[zone]):
            before, after = records_of(change.before), records_of(change.after)
            removed[change.key], added[change.key] = before - after, after - before
        return ZoneDelta(server.zones[zone].soa, removed, added)

    monkeypatch.setattr(MemoryBackend, "apply", remember)
    monkeypatch.setattr(MemoryBackend, "read_changes", read_changes)
    server.capabilities = Capabilities(fencing="server", reads_changes=True)
    world.runtime._deliverer._shelf._backends.clear()  # those that there are can't do it yet
    server.answers_to_lose = 1
    with no_whole_zone(monkeypatch):
        world.end_of(world.put("new", "192.0.2.2"))
    assert server.answers_to_lose == 0
    assert len(world.served("one")) == SIZE + 1


def test_a_target_that_transfers_by_itself_is_only_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secondary = {"name": "two", "type": "memory", "options": {"can": {"pull": True}}}
    pool = {"targets": [{"name": "one", "type": "memory"}, secondary]}
    with a_world(tmp_path, "one", "two", pool=pool) as world:
        world.servers["two"].primary = world.servers["one"]
        world.servers["two"].capabilities = Capabilities(pull=True)
        _fill(world)
        with no_whole_zone(monkeypatch):
            world.end_of(world.put("new", "192.0.2.2"))
        assert len(world.served("two")) == SIZE + 1
