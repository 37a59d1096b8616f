"""Deliveries to a provider that has apex NS of its own: ours are neither sent there nor missed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dnsworker.names import Name
from dnsworker.operations import Status
from dnsworker.records import RRset
from tests.integration.test_verification import Nameservers
from tests.world import MemoryBackend, World, a_world

APEX = (Name("example.org."), "NS")
THEIRS = RRset("example.org.", "NS", 172800, ["ns-2048.awsdns-64.com.", "ns-2049.awsdns-65.net."])


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """One target and its nameserver."""
    provider = replace(MemoryBackend.capabilities, apex_ns=False)
    monkeypatch.setattr(MemoryBackend, "capabilities", provider)
    pool = {"nameservers": [{"host": "127.0.0.1", "port": 5301}]}
    with a_world(tmp_path, "one", pool=pool) as world:
        world.servers["one"].capabilities = provider
        monkeypatch.setattr(world.runtime._verifier, "_observer", Nameservers(world))
        yield world


def test_ours_are_not_sent(world: World) -> None:
    sent: list[RRset] = []
    world.servers["one"].judge = lambda rrsets: sent.extend(rrsets)
    world.submit("create_zone", email="hostmaster@example.net")
    world.deliver()
    world.submit("put_record", name="@", type="NS", data=["ns7.example.net."], force=True)
    world.put("www", "192.0.2.1")
    world.deliver()
    assert [rrset.key for rrset in sent] == [("www.example.org.", "A")]


def test_theirs_are_neither_repaired_nor_the_nameservers_fault(world: World) -> None:
    creation = world.submit("create_zone", email="hostmaster@example.net")
    world.deliver()
    server = world.servers["one"]
    server.edit("example.org.", add=[THEIRS])
    assert world.end_of(creation).status is Status.ACTIVE
    server.edit("example.org.", add=[RRset("hand.example.org.", "A", 60, ["192.0.2.9"])], serial=1)
    assert world.end_of(world.put("www", "192.0.2.1")).status is Status.ACTIVE
    assert server.zones[APEX[0]].rrsets.keys() == {APEX, ("www.example.org.", "A")}
    assert server.zones[APEX[0]].rrsets[APEX] == THEIRS
