"""Back from a destructive change, on real servers: what each of them serves in full is what it was."""

from __future__ import annotations

import pytest

from dev.stack import Stack
from dnsworker import Client, OperationFailed
from tests.acceptance.comparison import axfr, serial, serves, wait_for
from tests.acceptance.conftest import NewZone

EMAIL = "hostmaster@example.org"
TEXT = "$TTL 300\n" + "".join(
    f'host{number} A 192.0.2.{number % 250 + 1}\nhost{number} TXT "number {number}"\n' for number in range(60)
)


def contents(stack: Stack, zone: str) -> list[object]:
    """What BIND and PowerDNS have, each read in full; the SOA without its serial."""
    found = []
    for server in (stack.bind, stack.powerdns):
        rrsets = dict(axfr(server, zone) or {})
        ttl, (soa,) = rrsets.pop((zone, "SOA"))
        found.append((ttl, soa[:-20] + soa[-16:], rrsets))  # five numbers at the end, the first the serial
    return found


def wait_until_both_have(stack: Stack, zone: str, wanted: int | None) -> None:
    both = (stack.bind, stack.powerdns)
    wait_for(lambda: all(serves(one, zone) and serial(one, zone) == wanted for one in both), str(wanted))


def test_what_was_destroyed_comes_back_at_every_target(stack: Stack, client: Client, names: NewZone) -> None:
    zone = names()
    good = client.import_zone(zone, text=TEXT, email=EMAIL).wait(60)
    wait_until_both_have(stack, zone, good.serial)
    before = contents(stack, zone)
    client.update_zone(zone, refresh=7000, email="nobody@example.org")
    with pytest.raises(OperationFailed, match="UnsafeChange"):
        client.import_zone(zone, text="only A 192.0.2.1\n").wait(60)
    bad = client.import_zone(zone, text="only A 192.0.2.1\n", force=True).wait(60)
    wait_until_both_have(stack, zone, bad.serial)
    assert contents(stack, zone) != before

    foreseen = client.restore_zone(zone, serial=good.serial, dry_run=True).preview
    assert foreseen is not None
    assert (foreseen.created, foreseen.deleted, foreseen.current_serial) == (120, 1, bad.serial)
    back = client.restore_zone(zone, serial=good.serial).wait(60)
    wait_until_both_have(stack, zone, back.serial)
    assert contents(stack, zone) == before

    gone = client.delete_zone(zone).wait(60)
    assert not serves(stack.bind, zone)
    again = client.restore_zone(zone, serial=good.serial, comment="it was needed").wait(60)
    wait_until_both_have(stack, zone, again.serial)
    assert contents(stack, zone) == before
    assert good.serial is not None
    assert [one["kind"] for one in client.show_history(zone, limit=3)["changes"]] == [
        "restore_zone", "delete_zone", "restore_zone",
    ]  # fmt: skip
    assert client.show_history(zone)["changes"][0]["who"] == stack_user(stack)
    assert again.serial is not None
    assert gone.serial is not None
    assert again.serial > gone.serial


def stack_user(stack: Stack) -> str:
    return stack.env["DNSWORKER_BROKER_URL"].partition("//")[2].partition(":")[0]


def test_a_dry_run_over_the_broker_takes_no_number(stack: Stack, client: Client, zone: str) -> None:
    before = client.show_zone(zone)
    would = client.put_record(zone, "www", "A", ["192.0.2.1"], dry_run=True)
    assert would.preview is not None
    assert (would.preview.created, would.preview.targets) == (1, ["bind", "powerdns"])
    refused = client.delete_record(zone, "www", "A", dry_run=True)
    with pytest.raises(OperationFailed, match=r"RecordNotFound: there is no www\."):
        refused.wait()
    assert client.show_zone(zone)["serial"] == before["serial"]
    real = client.put_record(zone, "www", "A", ["192.0.2.1"]).wait(60)
    assert real.serial is not None
    assert client.show_history(zone)["changes"][0]["operation"] == real.id
