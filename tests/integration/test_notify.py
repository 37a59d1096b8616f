"""`zone notify`: who is told, who can't be, who is left alone, and that BIND really sends it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.message
import dns.opcode
import pytest
from click.testing import CliRunner

from backends.bind9 import BACKEND
from dev.servers import Bind
from dnsworker.budget import Budget
from dnsworker.cli import cli
from dnsworker.contents import ZoneContents
from dnsworker.metering import Meter
from dnsworker.names import Name
from dnsworker.records import SOA, RRset
from dnsworker.store import stops
from tests.world import World, a_world

TARGETS = [
    {"name": "primary", "type": "memory", "options": {"can": {"notifies": True}}},
    {"name": "secondary", "type": "memory", "options": {"can": {"notifies": True}}},
    {"name": "provider", "type": "memory"},
]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    names = [str(target["name"]) for target in TARGETS]
    with a_world(tmp_path, *names, pool={"targets": TARGETS}) as world:
        monkeypatch.setenv("DNSWORKER_DATABASE_URL", world.engine.url.render_as_string())
        monkeypatch.setenv("DNSWORKER_DATA_DIR", str(tmp_path))
        world.create()
        world.wait_for_zone("ACTIVE")
        yield world


def notify(*more: str) -> tuple[int, dict[str, tuple[str, str]]]:
    result = CliRunner().invoke(cli, ["zone", "notify", "example.org", "--json", *more])
    told = json.loads(result.stdout)["targets"]
    return result.exit_code, {one["target"]: (one["result"], one["detail"]) for one in told}


def notified(world: World) -> list[str]:
    return [name for name, server in world.servers.items() if "notify" in server.requests]


def test_whoever_can_is_told_and_each_target_says_what_came_of_it(world: World) -> None:
    assert notify() == (
        0,
        {
            "primary": ("ok", "notifies its secondaries"),
            "secondary": ("ok", "notifies its secondaries"),
            "provider": ("-", "can't be told to"),
        },
    )
    assert notified(world) == ["primary", "secondary"]


def test_a_target_that_fails_does_not_keep_the_next_from_being_told(world: World) -> None:
    world.servers["primary"].is_down = True
    code, told = notify()
    assert (code, told["primary"], told["secondary"][0]) == (1, ("failed", "nobody answers"), "ok")


def test_what_is_stopped_is_left_alone(world: World) -> None:
    with world.engine.begin() as connection:
        stops.pause_target(connection, 1, None, "new disks")
    code, told = notify()
    assert (code, told["primary"]) == (1, ("failed", "paused by operator until resumed: new disks"))
    assert notified(world) == ["secondary"]
    with world.engine.begin() as connection:
        stops.freeze(connection, 1, None)
    code, told = notify()
    assert [told[name][1] for name in ("primary", "secondary")] == ["frozen by operator"] * 2


def test_a_notify_is_taken_from_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    targets = [{**TARGETS[0], "limits": {"requests_per_second": 1000}}]
    with a_world(tmp_path, "primary", pool={"targets": targets}) as world:
        monkeypatch.setenv("DNSWORKER_DATABASE_URL", world.engine.url.render_as_string())
        world.create()
        reserved: list[str] = []

        def reserve(meter: Meter, target: str, target_id: int, budget: Budget) -> float:
            reserved.append(target)
            return 0.0

        monkeypatch.setattr(Meter, "reserve", reserve)
        assert notify()[0] == 0
        assert reserved == ["primary"]


def test_bind_sends_it_to_the_secondaries_that_it_has(bind: Bind) -> None:
    name = Name("notified.test.")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as secondary:
        secondary.bind(("127.0.0.1", 0))
        port = secondary.getsockname()[1]
        statements = f"notify explicit; notify-delay 0; also-notify {{ 127.0.0.1 port {port}; }};"
        options: dict[str, Any] = {**bind.target_options(), "zone_statements": statements}
        backend = BACKEND("bind", BACKEND.options_model.model_validate(options))
        soa = SOA(Name("ns1.example.net."), Name("hostmaster.example.net."), 1)
        backend.create_zone(ZoneContents.of(name, soa, [RRset(name, "NS", 60, ["ns1.example.net."])]))
        try:
            receive(secondary)  # the one of the new zone
            backend.notify(name)
            message = dns.message.from_wire(receive(secondary))
            assert message.opcode() == dns.opcode.NOTIFY
            assert str(message.question[0].name) == name
        finally:
            backend.delete_zone(name)
            backend.close()


def receive(secondary: socket.socket) -> bytes:
    """The next NOTIFY, answered, so that it isn't sent again."""
    secondary.settimeout(60)
    wire, sender = secondary.recvfrom(65535)
    secondary.sendto(dns.message.make_response(dns.message.from_wire(wire)).to_wire(), sender)
    return wire
