"""Zones that change servers: moves between pools under changes and `kill -9`, and a target that is purged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dev import traces
from dev.pool import pool_of, to_yaml
from dev.servers import Bind, PowerDNS
from dev.stack import Stack
from dnsworker import Client
from dnsworker.serials import is_ahead
from tests.acceptance.comparison import axfr, database, serial, wait_for
from tests.acceptance.conftest import rows
from tests.acceptance.deadlocks import assert_no_deadlock

ZONES = [f"moved{number}.test." for number in range(8)]
ROUNDS = 30
PATIENT = {"DNSWORKER_LEASE_S": "3600", "DNSWORKER_ORDERING_GRACE_S": "3600"}
ENOUGH_S = 240.0
NEW_NS = ["ns1.elsewhere.test.", "ns2.elsewhere.test."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("zones")


@pytest.fixture(scope="module")
def stack(shared_servers: dict[str, Any], folder: Path) -> Iterator[Stack]:
    """BIND and a folder of zone files in one pool, PowerDNS in another."""
    with Bind() as bind, PowerDNS() as powerdns:
        servers = {"bind": bind, "powerdns": powerdns}
        text = to_yaml(*pools_on(bind, powerdns, folder))
        with Stack(workers=2, settings=PATIENT, pool_yaml=text, **servers, **shared_servers) as running:
            yield running
            written = {worker.name: worker.log_path.read_text() for worker in running.workers}
        assert_no_deadlock(running.database)
        for name, log in written.items():
            assert not (unforeseen := traces.through_our_code(log)), f"{name}: {unforeseen[0]}"


def pools_on(bind: Bind, powerdns: PowerDNS, folder: Path) -> list[dict[str, Any]]:
    files = {"name": "files", "type": "zonefile", "options": {"folder": str(folder)}}
    default, new = pool_of({"bind": bind}), pool_of({"powerdns": powerdns}, name="new")
    default["targets"].append(files)
    new["ns_records"] = [{"hostname": name} for name in NEW_NS]
    return [default, new]


def files_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.zone"))


def test_zones_move_under_changes_and_a_killed_worker(stack: Stack, client: Client, folder: Path) -> None:
    for zone in ZONES:
        client.create_zone(zone, email="hostmaster@example.org")
    for zone in ZONES:
        client.put_record(zone, "www", "A", ["192.0.2.1"]).wait(ENOUGH_S)
    before = {zone: serial(stack.bind, zone) for zone in ZONES}
    moves, changes = [], []
    for number in range(ROUNDS):
        for zone in ZONES:
            changes.append(client.put_record(zone, f"h{number % 5}", "A", [f"192.0.2.{number}"]))
        if number == ROUNDS // 3:
            moves = [client.move_zone(zone, to="new") for zone in ZONES]
    wait_for(lambda: _in_phase(stack, "removing") + _in_phase(stack, "done") > 0, "the first move", ENOUGH_S)
    stack.worker(0).kill()
    stack.worker(0).start()
    for operation in [*moves, *changes]:
        assert operation.wait(ENOUGH_S).status.has_succeeded
    assert _in_phase(stack, "done") == len(ZONES)
    for zone in ZONES:
        shown = client.show_zone(zone)
        assert (shown["pool"], shown["moving"], shown["primary"]) == ("new", None, NEW_NS[0])
        contents = axfr(stack.powerdns, zone)
        assert contents == database(client, zone)
        records = client.list_records(zone)
        last = {f"h{number % 5}.{zone}": f"192.0.2.{number}" for number in range(ROUNDS)}
        assert {one["name"]: one["data"][0] for one in records if one["type"] == "A"} == last | {
            f"www.{zone}": "192.0.2.1"
        }
        assert next(one["data"] for one in records if one["type"] == "NS") == NEW_NS
        assert axfr(stack.bind, zone) is None
        assert is_ahead(serial(stack.powerdns, zone), before[zone])
    assert files_of(folder) == []


def _in_phase(stack: Stack, phase: str) -> int:
    return int(rows(stack, f"SELECT count(*) FROM move WHERE phase = '{phase}'")[0][0])


def test_the_command_line_moves_shows_and_cancels(stack: Stack, client: Client) -> None:
    zone = "cli.test."
    client.create_zone(zone, email="hostmaster@example.org").wait(ENOUGH_S)
    assert "unknown" not in stack.run("zone", "move", zone, "--pool", "unknown", check=False)
    stack.powerdns.kill()
    submitted = stack.run_json("zone", "move", zone, "--pool", "new", "--no-wait")
    operation = submitted["id"]

    words = "being delivered to pool new; still served by default: target powerdns:"
    show = ("operation", "show", operation)
    wait_for(lambda: words in stack.run(*show, check=False), "an attempt")  # once it is taken in
    assert f"being delivered to pool new; still served by default (operation {operation})" in stack.run(
        "zone", "show", zone
    )
    assert "cancelled" in stack.run("operation", "cancel", operation)
    stack.powerdns.start()
    assert client.show_zone(zone)["pool"] == "default"
    done = json.loads(stack.run("zone", "move", zone, "--to", "new", "--from", "default", "--json"))
    assert done["status"] == "ACTIVE"
    assert axfr(stack.bind, zone) is None
    assert axfr(stack.powerdns, zone) == database(client, zone)


def test_a_target_is_purged(stack: Stack, client: Client, folder: Path) -> None:
    zones = [f"purged{number}.test." for number in range(10)]
    for operation in [client.create_zone(zone, email="hostmaster@example.org") for zone in zones]:
        operation.wait(ENOUGH_S)
    default, new = pools_on(stack.bind, stack.powerdns, folder)
    default["targets"] = [one for one in default["targets"] if one["name"] == "files"]
    del default["nameservers"]
    path = folder.parent / "shorter.yaml"
    path.write_text(to_yaml(default, new))
    assert stack.run("pool", "apply", str(path), check=False) == ""
    assert "would: target bind: leaves pool default" in stack.run(
        "pool", "apply", str(path), "--purge", "--dry-run"
    )
    stack.bind.kill()
    stack.run("pool", "apply", str(path), "--purge")
    wait_for(lambda: bool(_target(stack, "bind")["failing"]), "an attempt")
    shown = _target(stack, "bind")
    assert (shown["zones_left"], shown["purging_since"] is None) == (10, False)
    assert "10 zones left" in stack.run("status")
    put = client.put_record(zones[0], "www", "A", ["192.0.2.1"])
    assert put.wait(ENOUGH_S).status == "ACTIVE"
    stack.worker(0).kill()
    stack.worker(0).start()
    stack.bind.start()
    wait_for(lambda: "bind" not in {one["name"] for one in stack.run_json("target", "show")}, "the end", 120)
    assert [axfr(stack.bind, zone) for zone in zones] == [None] * 10
    assert len(files_of(folder)) == 10
    assert client.show_zone(zones[0])["status"] == "ACTIVE"


def _target(stack: Stack, name: str) -> dict[str, Any]:
    found: dict[str, Any] = stack.run_json("target", "show", name)
    return found
