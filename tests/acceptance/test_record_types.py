"""Every record type, created, changed and removed; BIND and PowerDNS asked for it each time."""

from __future__ import annotations

from collections.abc import Callable

import dns.rdata

from dev.stack import Stack
from dnsworker import Client
from dnsworker.client.operation import Operation
from dnsworker.errors import OperationFailed
from tests.acceptance.comparison import answers
from tests.samples import COMPANIONS, SAMPLES

#: DNSKEY belongs to signers: BIND takes none at the apex without its private key, PowerDNS none elsewhere.
TYPES = sorted(set(SAMPLES) - {"DNSKEY"})
#: PowerDNS makes 8 60.000 of 9 0.000, and refuses it (docs/backends/powerdns.md).
DATA = SAMPLES | {
    "LOC": [(owner, [text.replace("9 0.000", "9 1.500") for text in data]) for owner, data in SAMPLES["LOC"]]
}


def test_every_type_is_created_updated_and_deleted_on_both_servers(
    stack: Stack, client: Client, zone: str
) -> None:
    for type_, (companion, data) in COMPANIONS.items():
        client.create_record(zone, DATA[type_][0][0], companion, data).wait(60)
    create, update = client.create_record, client.update_record
    _all(lambda type_: create(zone, DATA[type_][0][0], type_, DATA[type_][0][1], ttl=300))
    assert _wrong(stack, zone, lambda type_: DATA[type_][0][1]) == []
    _all(lambda type_: update(zone, DATA[type_][0][0], type_, DATA[type_][1][1], ttl=60))
    assert _wrong(stack, zone, lambda type_: DATA[type_][1][1]) == []
    _all(lambda type_: client.delete_record(zone, DATA[type_][0][0], type_))
    assert _wrong(stack, zone, lambda type_: []) == []


def _all(submit: Callable[[str], Operation]) -> None:
    refused = []
    for type_, operation in [(type_, submit(type_)) for type_ in TYPES]:
        try:
            operation.wait(60)
        except OperationFailed as exc:
            refused.append(f"{type_}: {exc}")
    assert not refused, "\n".join(refused)


def _wrong(stack: Stack, zone: str, wanted: Callable[[str], list[str]]) -> list[str]:
    found = []
    for type_ in TYPES:
        owner = f"{DATA[type_][0][0]}.{zone}"
        data = wanted(type_)
        expected = tuple(sorted(dns.rdata.from_text("IN", type_, text).to_digestable() for text in data))
        for server in (stack.bind, stack.powerdns):
            answer = answers(server, owner, type_)
            if answer != expected:
                found.append(f"{type(server).__name__} {type_}: {answer!r}, not {expected!r}")
    return found
