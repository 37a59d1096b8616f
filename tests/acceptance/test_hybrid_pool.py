"""One pool of BIND, PowerDNS, Knot, zone files and Route 53's stand-in: all hold the same in the end."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from dev.hybrid import TARGETS, Hybrid, a_hybrid
from dev.readback import differences, holders
from dnsworker import Change, Client
from dnsworker.contents import ZoneContents
from dnsworker.errors import OperationFailed
from dnsworker.names import Name
from dnsworker.zonefile import parse_zone
from tests.acceptance.comparison import client_of, wait_for

EMAIL = "hostmaster@example.org"
COUNT = 1000
ZONES = tuple(f"hybrid{number}.test." for number in range(8))
OWNERS = ("@", "www", "mail", "a.b", "*.wild", "_sip._tcp", "x", "y.x", "txt")
ENOUGH_S = 280.0
#: By type, data that every one of the five holds alike.
DATA = {
    "A": lambda n: [f"192.0.2.{n % 250}", f"198.51.100.{n % 99}"][: 1 + n % 2],
    "AAAA": lambda n: [f"2001:db8::{n:x}"],
    "TXT": lambda n: [f'"say \\"{n}\\"" "back\\\\slash"'],
    "MX": lambda n: [f"{n % 50} mail.example.net.", "60 other.example.net."],
    "CAA": lambda n: [f'0 issue "ca{n % 9}.example.net"'],
    "PTR": lambda n: [f"host{n}.example.net."],
}


@pytest.fixture(scope="module")
def hybrid(shared_servers: dict[str, Any]) -> Iterator[Hybrid]:
    with a_hybrid(workers=2, **shared_servers) as running:
        yield running


@pytest.mark.timeout(900)
def test_1000_mixed_changes_end_in_five_equal_copies(hybrid: Hybrid) -> None:
    with client_of(hybrid.stack) as client:
        operations = list(_submit(client, random.Random(20261125)))
        assert len(operations) >= COUNT
        refused = set()
        for operation in operations:
            try:
                operation.wait(ENOUGH_S)
            except OperationFailed as exc:
                refused.add(exc.code)
        # What a submitter may get wrong, and nothing that a target said.
        assert refused <= {"RecordExists", "RecordNotFound"}
        for zone in ZONES:
            wait_for(lambda zone=zone: not differences(hybrid.pool_yaml, _desired(client, zone)), zone, 120)  # type: ignore[misc]
        gone = "gone.test."
        client.create_zone(gone, email=EMAIL).wait(ENOUGH_S)
        assert holders(hybrid.pool_yaml, Name(gone)) == list(TARGETS)
        client.delete_zone(gone).wait(ENOUGH_S)
        assert holders(hybrid.pool_yaml, Name(gone)) == []


def _submit(client: Client, rng: random.Random) -> Iterator[object]:
    for zone in ZONES:
        yield client.create_zone(zone, email=EMAIL)
    for number in range(COUNT):
        zone, owner, kind = rng.choice(ZONES), rng.choice(OWNERS), rng.choice(tuple(DATA))
        data = DATA[kind](number)
        what = rng.random()
        if what < 0.02:
            yield client.delete_zone(zone)
            yield client.create_zone(zone, email=EMAIL)
        elif what < 0.25:
            yield client.delete_record(zone, owner, kind, force=True)
        elif what < 0.35:
            yield client.create_record(zone, owner, kind, data, ttl=300)
        elif what < 0.45:
            yield client.update_record(zone, owner, kind, data)
        elif what < 0.6:
            others = rng.sample(tuple(DATA), 3)
            changes = [Change.put(owner, other, DATA[other](number), ttl=60 + number % 7) for other in others]
            yield client.change_zone(zone, changes)
        else:
            yield client.put_record(zone, owner, kind, data, ttl=rng.choice((None, 60, 7200)))


def _desired(client: Client, zone: str) -> ZoneContents:
    parsed = parse_zone(client.export_zone(zone), Name(zone), 3600)
    assert parsed.soa is not None
    return ZoneContents.of(Name(zone), parsed.soa, parsed.rrsets)
