"""The same by the simplest means: a loop of dynamic updates, of `rndc addzone`, of API calls.

Each is what somebody would write who needs no more than that the server was told. It checks the answers and
remembers nothing: no order between writers, no retries, no verification.
"""

from __future__ import annotations

import http.client
import itertools
import json
import socket
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import dns.query
import dns.rcode
import dns.tsigkeyring
import dns.update

from bench.command import NothingMeasured
from dev.servers import Bind, PowerDNS

TIMEOUT_S = 30.0
_numbers = itertools.count()
#: Owner, absolute, and IPv6 address.
Record = tuple[str, str]
FILE = """$TTL 3600
@ SOA ns1.dnsworker.test. hostmaster.example.org. 1 3600 600 86400 3600
@ NS ns1.dnsworker.test.
"""


class Updates:
    """RFC 2136 by dnspython, signed like ours, over one TCP connection that is kept."""

    def __init__(self, server: Bind) -> None:
        self._server = server
        self._keyring = dns.tsigkeyring.from_text({server.key_name: (server.algorithm, server.key_secret)})
        self._socket = socket.create_connection((server.address, server.port), TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)  # as dnspython wants it

    def add(self, zone: str, records: Iterable[Record]) -> None:
        """One message that adds these records, and its answer. Raises `NothingMeasured`."""
        message = dns.update.UpdateMessage(zone, keyring=self._keyring)
        for owner, address in records:
            message.add(owner, 300, "AAAA", address)
        answer = dns.query.tcp(message, self._server.address, TIMEOUT_S, sock=self._socket)
        if answer.rcode() != dns.rcode.NOERROR:
            raise NothingMeasured(f"a plain update of {zone}: {dns.rcode.to_text(answer.rcode())}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()


def update_rate(server: Bind, zones: Sequence[str], seconds: float) -> float:
    """Updates a second: one record a message, one message after the other, the zones in turn."""
    with Updates(server) as updates:
        begun = time.monotonic()
        for sent, zone in enumerate(itertools.cycle(zones)):
            if (took_s := time.monotonic() - begun) > seconds:
                return sent / took_s
            updates.add(zone, new_records(zone, 1))
    raise AssertionError("a cycle doesn't end")


def add_rate(server: Bind, zone: str, total: int, at_once: int) -> float:
    """Records a second: so many added to a zone, `at_once` a message, one message after the other."""
    with Updates(server) as updates:
        begun = time.monotonic()
        for start in range(0, total, at_once):
            updates.add(zone, new_records(zone, min(at_once, total - start)))
        return total / (time.monotonic() - begun)


def new_records(zone: str, records: int) -> list[Record]:
    """Such as never were: to add what is there already is no change."""
    return [(f"r{number}.{zone}", address(number)) for number in itertools.islice(_numbers, records)]


def address(number: int) -> str:
    return f"2001:db8:ffff::{number >> 16:x}:{number & 0xFFFF:x}"


def create_zones(server: Bind, zones: Sequence[str], at_once: int = 1) -> float:
    """Zones that only this module changes, an `rndc` process for each; returns the seconds it took."""
    begun = time.monotonic()
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(lambda zone: add_zone(server, zone), zones))
    return time.monotonic() - begun


def add_zone(server: Bind, zone: str) -> None:
    """A file, and `rndc addzone`. Raises `ServerError`."""
    file = f"raw-{zone}db"
    (server.folder / file).write_text(FILE)
    server.rndc(
        "addzone", zone, f'{{ type primary; file "{file}"; allow-update {{ key {server.key_name}; }}; }};'
    )


def create_at_powerdns(server: PowerDNS, zone: str) -> None:
    server.api("POST", "/zones", {"name": zone, "kind": "Native", "nameservers": ["ns1.dnsworker.test."]})


def patch_rate(server: PowerDNS, zone: str, records: int, at_once: int) -> float:
    """Records a second by PATCHes of so many RRsets each to PowerDNS' API, on one connection."""
    connection = http.client.HTTPConnection(server.address, server.api_port, timeout=TIMEOUT_S)
    try:
        begun = time.monotonic()
        for start in range(0, records, at_once):
            _patch(connection, server, zone, new_records(zone, min(at_once, records - start)))
        return records / (time.monotonic() - begun)
    finally:
        connection.close()


def _patch(
    connection: http.client.HTTPConnection, server: PowerDNS, zone: str, records: Sequence[Record]
) -> None:
    rrsets = [
        {
            "name": owner,
            "type": "AAAA",
            "ttl": 300,
            "changetype": "REPLACE",
            "records": [{"content": address, "disabled": False}],
        }
        for owner, address in records
    ]
    headers = {"X-API-Key": server.api_key, "Content-Type": "application/json"}
    url = f"/api/v1/servers/{server.server_id}/zones/{zone}"
    connection.request("PATCH", url, json.dumps({"rrsets": rrsets}), headers)
    answer = connection.getresponse()
    words = answer.read().decode("utf-8", "replace")
    if answer.status >= 300:
        raise NothingMeasured(f"a plain PATCH to PowerDNS: {answer.status} {words}")
