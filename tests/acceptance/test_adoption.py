"""Zones that servers had before dnsworker came: taken over by the whole system, and served unchanged."""

from __future__ import annotations

from collections.abc import Callable

from backends.bind9.backend import Bind9Backend
from backends.bind9.options import Bind9Options
from dev.stack import Stack
from dnsworker import Client
from dnsworker.contents import ZoneContents
from dnsworker.names import Name
from dnsworker.records import SOA, RRset
from tests.acceptance.comparison import texts

#: Some hundred kilobytes as a message.
RECORDS = 5_000


def test_a_large_zone_of_one_server_is_adopted_and_given_to_the_other(
    stack: Stack, client: Client, names: Callable[..., str]
) -> None:
    zone = Name(names("adopted"))
    soa = SOA(Name("ns.old.example."), Name("admin.old.example."), 2024010101, 7200, 900, 1209600, 60, 1800)
    hosts = [
        RRset(f"h{number}.{zone}", "A", 300, [f"10.0.{number >> 8}.{number & 255}"])
        for number in range(RECORDS)
    ]
    before = ZoneContents.of(zone, soa, [RRset(zone, "NS", 86400, ["ns.old.example."]), *hosts])
    bind = Bind9Backend("before", Bind9Options.model_validate(stack.bind.target_options()))
    try:
        bind.create_zone(before)
        told = stack.run_json("zone", "import", zone, "--from-target", "bind")
        assert (told["status"], told["serial"]) == ("ACTIVE", 2024010101)
        assert bind.read_zone(zone) == before
        # and from now on it is changed like any other
        client.put_record(zone, "h1", "A", ["192.0.2.1"]).wait(60)
    finally:
        bind.close()
    for server in (stack.bind, stack.powerdns):
        assert texts(server, f"h1.{zone}", "A") == ["192.0.2.1"]
        assert texts(server, zone, "NS") == ["ns.old.example."]
