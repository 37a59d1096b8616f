"""What somebody else writes into our zones: put right, told, or left alone, as the pool says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dnsworker.backend import Capabilities, Receipt, ZoneDelta
from dnsworker.comparison import records_of
from dnsworker.contents import ZoneContents
from dnsworker.errors import ConfigError
from dnsworker.names import Name
from dnsworker.plan import Plan
from dnsworker.pools import load_pools
from dnsworker.records import SOA, RRset
from tests.world import MemoryBackend, World, a_world

ZONE = Name("example.org.")
WWW = ("www.example.org.", "A")
MakeWorld = Callable[..., AbstractContextManager[World]]
CHALLENGE = RRset("_acme-challenge.www.example.org.", "TXT", 60, ['"token"'])
LEASE = RRset("pc7.dhcp.example.org.", "A", 60, ["192.0.2.77"])
STRANGER = RRset("stranger.example.org.", "A", 60, ["192.0.2.66"])
IGNORE = [{"name": "_acme-challenge*", "types": ["TXT"]}, {"name": "*.dhcp"}]


@pytest.fixture
def make_world(tmp_path: Path) -> MakeWorld:
    def make(**pool: Any) -> AbstractContextManager[World]:
        return a_world(tmp_path, "one", pool=pool)

    return make


@pytest.fixture
def shared(make_world: MakeWorld) -> Iterator[World]:
    """A zone that a certificate manager and a DHCP server write to as well."""
    with make_world(ignore=IGNORE) as world:
        world.create()
        world.end_of(world.put("www", "192.0.2.1"))
        yield world


def look_again(world: World) -> None:
    """As after an answer that got lost."""
    with world.engine.begin() as connection:
        connection.execute(sa.text("UPDATE delivery SET must_read = true, due_at = '2020-01-01 00:00:00'"))
    world.until(lambda: not world.row("SELECT must_read FROM delivery").must_read, "it was not read")


def edit(world: World, *add: RRset, **more: Any) -> None:
    server = world.servers["one"]
    server.edit(ZONE, add=add, serial=server.zones[ZONE].soa.serial + 1, **more)


# --- on_drift -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("says", ["report", "ignore"])
def test_what_somebody_else_changed_stays_and_our_changes_go_on(make_world: MakeWorld, says: str) -> None:
    with make_world(on_drift=says) as world:
        world.create()
        world.end_of(world.put("www", "192.0.2.1"))
        edit(world, STRANGER)
        world.end_of(world.put("new", "192.0.2.2"))
        assert world.served("one") == {
            WWW: ("192.0.2.1",),
            ("new.example.org.", "A"): ("192.0.2.2",),
            STRANGER.key: STRANGER.data,
        }
        shown = world.zone()
        assert world.servers["one"].zones[ZONE].soa.serial == shown["serial"]
        if says == "report":
            assert shown["status"] == "DEGRADED"
            assert "1 RRsets differ: stranger.example.org. A" in shown["reason"]
            assert shown["targets"][0]["drift"] == "1 RRsets differ: stranger.example.org. A"
        else:
            assert (shown["status"], shown["targets"][0]["drift"]) == ("ACTIVE", None)


def test_reported_drift_is_over_when_it_is_gone_or_forced(make_world: MakeWorld) -> None:
    with make_world(on_drift="report") as world:
        world.create()
        edit(world, STRANGER)
        look_again(world)
        world.wait_for_zone("DEGRADED")
        edit(world, remove=[STRANGER.key])
        look_again(world)
        world.wait_for_zone("ACTIVE")
        edit(world, STRANGER)
        look_again(world)
        world.wait_for_zone("DEGRADED")
        world.end_of(world.put("www", "192.0.2.1", force=True))
        world.wait_for_zone("ACTIVE")
        assert world.served("one") == {WWW: ("192.0.2.1",)}


def test_a_change_of_what_drifted_is_made_all_the_same(make_world: MakeWorld) -> None:
    with make_world(on_drift="report") as world:
        world.create()
        world.end_of(world.put("www", "192.0.2.1"))
        edit(world, RRset("www.example.org.", "A", 60, ["192.0.2.66"]))
        world.end_of(world.put("www", "192.0.2.2"))
        assert world.served("one") == {WWW: ("192.0.2.2",)}
        world.wait_for_zone("ACTIVE")


def test_what_was_changed_under_the_serial_that_we_wrote_is_put_right(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """knotd makes updates that wait together one change: somebody's passes our fence along with ours."""
    with make_world() as world:
        server = world.servers["one"]
        server.capabilities = Capabilities(fencing="server", reads_changes=True)
        versions: dict[int, ZoneContents] = {}
        riders: list[RRset] = []
        apply = MemoryBackend.apply

        def apply_with_rider(backend: MemoryBackend, plan: Plan) -> Receipt:
            versions[plan.current_soa.serial] = server.zones[ZONE]
            receipt = apply(backend, plan)
            server.edit(ZONE, add=riders)
            riders.clear()
            return receipt

        def read_changes(_: MemoryBackend, zone: Name, since: SOA) -> ZoneDelta:
            removed, added = {}, {}
            for change in versions[since.serial].changes_to(server.zones[zone]):
                before, after = records_of(change.before), records_of(change.after)
                removed[change.key], added[change.key] = before - after, after - before
            return ZoneDelta(server.zones[zone].soa, removed, added)

        monkeypatch.setattr(MemoryBackend, "apply", apply_with_rider)
        monkeypatch.setattr(MemoryBackend, "read_changes", read_changes)
        world.create()
        riders.append(STRANGER)
        world.end_of(world.put("www", "192.0.2.1"))
        assert world.served("one") == {WWW: ("192.0.2.1",)}
        shown = world.wait_for_zone("ACTIVE")
        assert "stranger.example.org. A" in shown["targets"][0]["last_repair"]
        assert server.zones[ZONE].soa.serial == shown["serial"], (
            "lifted: the old one stood for other contents"
        )


# --- ignore -------------------------------------------------------------------------------------------------


def test_what_is_ignored_survives_repairs_and_deletions_beside_it(shared: World) -> None:
    edit(shared, CHALLENGE, LEASE, STRANGER)
    shared.end_of(shared.put("new", "192.0.2.2"))
    shared.wait_for_zone("ACTIVE")
    assert set(shared.served("one")) == {WWW, ("new.example.org.", "A"), CHALLENGE.key, LEASE.key}
    shared.end_of(shared.submit("delete_record", name="www", type="A"))
    assert set(shared.served("one")) == {("new.example.org.", "A"), CHALLENGE.key, LEASE.key}


@pytest.mark.parametrize(
    ("name", "type", "value"), [("_acme-challenge", "TXT", '"x"'), ("pc1.dhcp", "AAAA", "2001:db8::1")]
)
def test_nobody_submits_what_is_ignored(shared: World, name: str, type: str, value: str) -> None:
    outcome = shared.do("put_record", name=name, type=type, data=[value])
    assert outcome.code == "InvalidRecord"
    assert "is left to others by `ignore` of pool default" in (outcome.message or "")


def test_other_types_at_an_ignored_name_are_ours(shared: World) -> None:
    shared.succeed("put_record", name="_acme-challenge", type="CNAME", data=["elsewhere.example.net."])


def test_an_import_passes_over_what_is_ignored(shared: World) -> None:
    edit(shared, LEASE)
    text = "www A 192.0.2.1\nadded A 192.0.2.3\npc9.dhcp A 192.0.2.99\n"
    shared.succeed("import_zone", text=text)
    assert set(shared.served("one")) == {WWW, ("added.example.org.", "A"), LEASE.key}


@pytest.mark.parametrize(
    ("ignore", "reason"),
    [
        ("{name: example.org.}", "must be relative to the zone"),
        ("{name: a, types: [BOGUS]}", "BOGUS"),
        ("{types: [A]}", "is missing"),
    ],
)
def test_a_pattern_that_can_match_nothing_is_refused(ignore: str, reason: str) -> None:
    text = f"""
- name: default
  ns_records: [{{hostname: ns1.example.net.}}]
  targets: [{{name: one, type: builtin}}]
  ignore: [{ignore}]
"""
    with pytest.raises(ConfigError, match=reason):
        load_pools(text)
