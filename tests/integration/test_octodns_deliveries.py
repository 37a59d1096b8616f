"""Operations carried out at octoDNS targets, from submission to what the nameserver answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dev.servers import PowerDNS
from dnsworker.errors import InvalidRecord
from tests.octodns_providers import MEMORY, MemoryProvider
from tests.world import World, a_world

pytestmark = pytest.mark.filterwarnings(r"ignore:.*Will be removed in 2\.0:DeprecationWarning")

ZONE = "delivered.octodns.example."
#: Not the same once more: for 20 s PowerDNS' packet cache remembers that it has refused.
OTHER = "refused.octodns.example."


@pytest.fixture
def world(tmp_path: Path, powerdns: PowerDNS) -> Iterator[World]:
    kwargs = {"host": powerdns.address, "port": powerdns.api_port, "api_key": powerdns.api_key}
    options = {"class": "octodns_powerdns.PowerDnsProvider", "kwargs": kwargs}
    pool = {
        "targets": [{"name": "cloud", "type": "octodns", "options": options}],
        "nameservers": [powerdns.nameserver()],
    }
    with a_world(tmp_path, "cloud", pool=pool) as world:
        yield world


def stored(powerdns: PowerDNS, zone: str = ZONE) -> dict[tuple[str, str], list[str]]:
    rrsets = powerdns.api("GET", f"/zones/{zone}")["rrsets"]
    return {(each["name"], each["type"]): [one["content"] for one in each["records"]] for each in rrsets}


def test_operations_become_active_though_the_serial_is_the_providers(
    world: World, powerdns: PowerDNS
) -> None:
    world.create(ZONE)
    www = f"www.{ZONE}"
    world.succeed("create_record", zone=ZONE, name=www, type="A", data=["192.0.2.1"], ttl=60)
    world.succeed("put_record", zone=ZONE, name=www, type="A", data=["192.0.2.2", "192.0.2.3"])
    assert sorted(stored(powerdns)[www, "A"]) == ["192.0.2.2", "192.0.2.3"]
    world.succeed("delete_record", zone=ZONE, name=www, type="A")
    assert (www, "A") not in stored(powerdns)
    assert world.zone(ZONE)["status"] == "ACTIVE"
    world.succeed("delete_zone", zone=ZONE)
    assert ZONE not in {each["name"] for each in powerdns.api("GET", "/zones")}


def test_what_the_target_cant_hold_is_refused(world: World, powerdns: PowerDNS) -> None:
    """A type when it is submitted; a value when it comes to be sent, and without a trace."""
    world.create(OTHER)
    outcome = world.do(
        "put_record", zone=OTHER, name=f"d.{OTHER}", type="DNAME", data=["example.net."], ttl=60
    )
    assert (outcome.code, "cloud" in (outcome.message or "")) == (InvalidRecord.__name__, True)
    outcome = world.do(
        "put_record", zone=OTHER, name=f"t.{OTHER}", type="TXT", data=['"two" "parts"'], ttl=60
    )
    assert outcome.code == "RecordRejected"
    assert "octoDNS would make" in (outcome.message or "")
    assert {type_ for _, type_ in stored(powerdns, OTHER)} == {"SOA", "NS"}
    world.succeed("put_record", zone=OTHER, name=f"t.{OTHER}", type="TXT", data=['"one"'], ttl=60)
    world.succeed("delete_zone", zone=OTHER)


def test_a_zone_that_the_provider_cant_delete_waits_for_the_operator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    MemoryProvider.accounts.clear()
    monkeypatch.setattr(MemoryProvider, "SUPPORTS_ROOT_NS", True)
    options: dict[str, Any] = {"class": MEMORY, "kwargs": {"account": "b", "token": "token-in-memory"}}
    target = {"name": "cloud", "type": "octodns", "options": options}
    with a_world(tmp_path, "cloud", pool={"targets": [target]}) as world:
        world.create(ZONE)
        deletion = world.submit("delete_zone", zone=ZONE)
        world.until(
            lambda: "at the provider" in (world.row("SELECT last_error FROM delivery")[0] or ""),
            "no reason was written down",
        )
        assert ZONE in MemoryProvider.accounts["b"]
        del MemoryProvider.accounts["b"][ZONE]
        assert world.end_of(deletion).status.has_succeeded


def test_a_provider_that_keeps_the_apex_ns_to_itself_has_zones_all_their_life(tmp_path: Path) -> None:
    MemoryProvider.accounts.clear()
    MemoryProvider.applied.clear()
    assert not MemoryProvider.SUPPORTS_ROOT_NS
    options: dict[str, Any] = {"class": MEMORY, "kwargs": {"account": "c", "token": "token-in-memory"}}
    target = {"name": "cloud", "type": "octodns", "options": options}
    www = f"www.{ZONE}"
    with a_world(tmp_path, "cloud", pool={"targets": [target], "on_drift": "report"}) as world:
        world.create(ZONE)
        assert_at_the_provider(ZONE)
        apex = {"name": ZONE, "type": "NS", "data": ["ns9.example.net."], "force": True}
        world.succeed("put_record", zone=ZONE, ttl=60, **apex)
        world.succeed("create_record", zone=ZONE, name=www, type="A", data=["192.0.2.1"], ttl=60)
        assert_at_the_provider(ZONE, (www, "A"))
        world.succeed(
            "put_record", zone=ZONE, name=f"sub.{ZONE}", type="NS", data=["ns.example.net."], ttl=60
        )
        assert_at_the_provider(ZONE, (www, "A"), (f"sub.{ZONE}", "NS"))
        shown = world.zone(ZONE)
        (delivery,) = shown["targets"]
        assert shown["status"] == "ACTIVE"
        assert not any(delivery[word] for word in ("last_error", "last_repair", "drift", "withheld"))
        world.succeed("delete_record", zone=ZONE, name=www, type="A")
        deletion = world.submit("delete_zone", zone=ZONE)
        world.until(
            lambda: "at the provider" in (world.row("SELECT last_error FROM delivery")[0] or ""),
            "no reason was written down",
        )
        assert_at_the_provider(ZONE, (f"sub.{ZONE}", "NS"))
        del MemoryProvider.accounts["c"][ZONE]
        assert world.end_of(deletion).status.has_succeeded
    written = [change.record for plan in MemoryProvider.applied for change in plan.changes]
    assert written
    assert not [one for one in written if (one.fqdn, one._type) == (ZONE, "NS")]


def assert_at_the_provider(zone: str, *keys: tuple[str, str]) -> None:
    """These RRsets, and its own NS."""
    held = MemoryProvider.accounts["c"][zone]
    assert set(held) == {(zone, "NS"), *keys}
    assert held[zone, "NS"].rdatas == ["ns.memory.example."]
