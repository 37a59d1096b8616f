"""What nameservers must answer before an operation is ACTIVE, and what one that is silent costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from dnsworker.answers import answer
from dnsworker.capabilities import Capabilities
from dnsworker.errors import RecordRejected
from dnsworker.names import Name
from dnsworker.observer import NameserverAddress, Observed
from dnsworker.operations import Status
from dnsworker.pools import Pool
from dnsworker.records import SOA, RRset
from dnsworker.store import pools
from tests.scraping import Scraped
from tests.world import MemoryBackend, MemoryServer, World, a_world

BAD = "192.0.2.66"
SILENT = Observed("unknown", error="no answer within 1 s")


class Nameservers:
    """Answers from what the targets hold; the port says whose nameserver it is."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.targets: dict[int, str] = {5301: "one", 5302: "two"}
        self.silent: set[int] = set()
        #: What a nameserver leaves out of its answers: (port, owner name).
        self.hides: set[tuple[int, str]] = set()
        self.serial_offset = 0
        self.asked: list[tuple[int, str, str]] = []

    async def ask(self, server: NameserverAddress, qname: Name, qtype: str, timeout_s: float) -> Observed:
        self.asked.append((server.port, qname, qtype))
        if server.port in self.silent:
            return SILENT
        held = self.world.servers[self.targets[server.port]].zones
        zone = next((one for name, one in held.items() if qname.endswith(name)), None)
        if zone is None:
            return Observed("answer", "REFUSED")
        found = answer(zone, qname, qtype)
        if (server.port, qname) in self.hides:
            return Observed("answer", "NXDOMAIN", True, None, soa_owner=zone.name)
        serial = (
            zone.soa.serial + self.serial_offset
            if any(isinstance(one, SOA) for one in found.answer)
            else None
        )
        rrsets = tuple(one for one in found.answer if isinstance(one, RRset))
        return Observed("answer", found.rcode, found.authoritative, serial, rrsets, soa_owner=zone.name)

    async def ask_all(
        self, server: NameserverAddress, questions: Sequence[tuple[Name, str]], timeout_s: float
    ) -> list[Observed]:
        return [await self.ask(server, qname, qtype, timeout_s) for qname, qtype in questions]

    async def close(self) -> None:
        return


Start = Callable[..., tuple[World, Nameservers]]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    contexts = []

    def _start(*nameservers: dict[str, Any], threshold: int = 100) -> tuple[World, Nameservers]:
        pool = {
            "nameservers": [{"host": "127.0.0.1", **one} for one in nameservers],
            "threshold_percentage": threshold,
        }
        targets = dict.fromkeys(one["target"] for one in nameservers)
        context = a_world(tmp_path, *targets, pool=pool)
        contexts.append(context)
        world = context.__enter__()
        observer = Nameservers(world)
        monkeypatch.setattr(world.runtime._verifier, "_observer", observer)
        return world, observer

    yield _start
    for context in contexts:
        context.__exit__(None, None, None)


def test_a_change_of_the_zone_alone_is_verified_where_contents_decide(start: Start) -> None:
    world, nameservers = start({"port": 5301, "target": "one", "verify": "content"})
    nameservers.serial_offset = 7  # a signer counts for itself
    world.create()
    assert world.do("update_zone", ttl=77).status is Status.ACTIVE


def test_beyond_the_serial_that_we_wrote_the_contents_decide_where_a_signer_counts(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryBackend, "capabilities", Capabilities(fencing="server", signs="dynamic"))
    world, nameservers = start({"port": 5301, "target": "one"})
    world.create()
    nameservers.serial_offset = 2
    assert world.end_of(world.put("www", "192.0.2.1")).status is Status.ACTIVE
    nameservers.hides.add((5301, "mail.example.org."))
    operation = world.put("mail", "192.0.2.2")
    world.until(
        lambda: "does not answer as it should for mail" in (world.zone()["reason"] or ""), "not asked about"
    )
    nameservers.hides.clear()
    assert world.end_of(operation).status is Status.ACTIVE
    nameservers.serial_offset = -1  # behind what was written, no signer can be
    operation = world.put("www", "192.0.2.3")
    world.until(lambda: "shows serial" in (world.zone()["reason"] or ""), "an old serial was believed")
    assert world.show(operation).status is Status.ACCEPTED


def test_what_one_target_refuses_is_still_asked_of_the_nameserver_of_the_other(start: Start) -> None:
    world, nameservers = start(
        {"port": 5301, "target": "one", "verify": "content"},
        {"port": 5302, "target": "two", "verify": "content"},
        threshold=50,
    )
    world.create()
    world.servers["two"].judge = lambda rrsets: (
        RecordRejected("no") if any(BAD in one.data for one in rrsets) else None
    )
    nameservers.hides.add((5301, "www.example.org."))
    operation = world.put("www", BAD)
    world.runtime.deliver("two")
    world.until(
        lambda: "does not answer as it should for www" in (world.zone()["reason"] or ""), "not asked about"
    )
    assert world.show(operation).status is Status.ACCEPTED
    nameservers.hides.clear()
    assert world.end_of(operation).status is Status.ACTIVE


def test_w10_a_silent_nameserver_costs_a_few_questions_and_not_some_for_every_zone(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause_s = 0.2
    monkeypatch.setattr("dnsworker.silence.ASK_SILENT_S", pause_s)
    world, nameservers = start({"port": 5301, "target": "one"}, {"port": 5302, "target": "two"}, threshold=50)
    nameservers.silent.add(5302)
    begun = time.monotonic()
    ids = [world.submit("create_zone", zone=f"z{n}.example.", email="a@example.net") for n in range(60)]
    for one in ids:
        assert world.end_of(one).status is Status.ACTIVE
    asked = [qname for port, qname, _ in nameservers.asked if port == 5302]
    # Each zone once, as long as nobody knows; then one question a pause, for all of them together.
    assert len(asked) < 60 + (time.monotonic() - begun) / pause_s
    zone = world.zone("z59.example.")
    world.until(lambda: "no answer" in (world.zone("z59.example.")["reason"] or ""), f"no reason: {zone}")
    nameservers.silent.clear()
    world.until(
        lambda: all(world.zone(f"z{n}.example.")["status"] == "ACTIVE" for n in range(60)), "not verified"
    )


def test_a_lower_threshold_is_judged_by_at_once(start: Start) -> None:
    nameservers = ({"port": 5301, "target": "one"}, {"port": 5302, "target": "two"})
    world, _ = start(*nameservers)
    world.create()
    world.wait_for_zone("ACTIVE")
    with world.engine.begin() as connection:  # an operator must decide: nothing looks at the zone any more
        connection.exec_driver_sql(
            "UPDATE delivery SET state = 'held' WHERE target_id = (SELECT id FROM target WHERE name = 'two')"
        )
    operation = world.put("www", "192.0.2.1")
    world.until(lambda: world.row("SELECT look_at FROM zone").look_at is None, "still looking")
    assert world.show(operation).status is Status.ACCEPTED
    document = world.runtime._directory.default().pool.to_document() | {"threshold_percentage": 50}
    with world.engine.begin() as connection:
        pools.apply(connection, [Pool.from_document(document)])
    world.runtime.reload_pools()
    assert world.end_of(operation).status is Status.ACTIVE


def test_one_that_disagrees_is_counted_apart_from_one_that_is_silent(start: Start) -> None:
    world, nameservers = start({"port": 5301, "target": "one"}, {"port": 5302, "target": "two"})
    world.create()

    def verdicts() -> dict[tuple[str, str], float]:
        found = Scraped([generate_latest(world.runtime.events.registry).decode()])
        counts = found.by("dnsworker_verifications_total", "nameserver", "verdict")
        return {(name.rpartition(":")[2], verdict): count for (name, verdict), count in counts.items()}

    before = verdicts()
    assert before == {("5301", "right"): 1, ("5302", "right"): 1}
    nameservers.hides.add((5301, "www.example.org."))
    nameservers.silent.add(5302)
    operation = world.put("www", "192.0.2.1")
    world.until(
        lambda: {("5301", "disagrees"), ("5302", "unanswered")} <= verdicts().keys(), "both to be counted"
    )
    assert verdicts().keys() == before.keys() | {("5301", "disagrees"), ("5302", "unanswered")}
    assert {key: verdicts()[key] for key in before} == before, "neither was right"
    nameservers.hides.clear()
    nameservers.silent.clear()
    world.end_of(operation)
    assert verdicts()["5301", "right"] >= 2
    served = Scraped([generate_latest(world.runtime.events.registry).decode()])
    counts = served.by("dnsworker_time_to_served_seconds_count", "nameserver")
    assert sorted(counts.values()) == [2, 2], "the zone and the record, at each once"


def test_a_zone_that_should_be_gone_and_is_still_served_disagrees(start: Start) -> None:
    world, nameservers = start({"port": 5301, "target": "one"})
    world.create()
    nameservers.targets[5301] = "late"
    world.servers["late"] = MemoryServer(zones=dict(world.servers["one"].zones))
    operation = world.submit("delete_zone")

    def verdicts() -> dict[str, float]:
        found = Scraped([generate_latest(world.runtime.events.registry).decode()])
        return found.by("dnsworker_verifications_total", "verdict")

    world.until(lambda: verdicts().get("disagrees", 0) >= 1, "it to be counted")
    assert "unanswered" not in verdicts()
    nameservers.silent.add(5301)
    world.until(lambda: verdicts().get("unanswered", 0) >= 1, "it to be counted")
    nameservers.silent.clear()
    world.servers["late"].zones.clear()
    world.end_of(operation)
    assert verdicts()["right"] == 2
