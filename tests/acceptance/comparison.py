"""A zone as BIND, PowerDNS and the database have it, and what a nameserver answers, in comparable form."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype

from dev.stack import Stack
from dev.transfer import Contents, Nameserver, axfr, of_text
from dnsworker import Client
from dnsworker.errors import ZoneNotFound

#: How long a zone may take to come to rest after its last operation has ended (the slower of two targets).
REST_S = 90.0


def client_of(stack: Stack, **options: Any) -> Client:
    """A client of this stack, whatever the environment says."""
    return Client(stack.env["DNSWORKER_BROKER_URL"], stack.env["DNSWORKER_RESULT_URL"], **options)


def database(client: Client, zone: str) -> Contents | None:
    """What the zone should be, by its export; None when there is no such zone."""
    try:
        text = client.export_zone(zone)
    except ZoneNotFound:
        return None
    return of_text(zone, text)


def assert_all_agree(stack: Stack, *zones: str) -> None:
    """BIND, PowerDNS and the database hold the same, SOA and its serial included, or none has the zone.

    Waits for a target that is still on its way: an operation is ACTIVE when enough nameservers answer.
    """
    with client_of(stack) as client:
        for zone in zones:
            deadline = time.monotonic() + REST_S
            while difference := _difference(stack, client, zone):
                assert time.monotonic() < deadline, f"{zone} at rest:\n{difference}\n{explain(client, zone)}"
                time.sleep(0.1)


def explain(client: Client, zone: str) -> str:
    """The zone's state in words."""
    try:
        shown = client.show_zone(zone)
    except ZoneNotFound as exc:
        return str(exc)
    lines = [f"{shown['status']}: {shown['reason']} (serial {shown['serial']})"]
    lines += [str(one) for one in [*shown["targets"], *shown["nameservers"]]]
    return "\n".join(lines)


def ask(server: Nameserver, name: str, type_: str, timeout_s: float = 2.0) -> dns.message.Message:
    """One question as dig puts it: UDP, then TCP where the answer is cut off."""
    query = dns.message.make_query(name, type_, use_edns=0, payload=1232)
    answer, _ = dns.query.udp_with_fallback(query, server.address, port=server.port, timeout=timeout_s)
    return answer


def answers(server: Nameserver, name: str, type_: str) -> tuple[bytes, ...]:
    """The RRset in the answer, or at a zone cut in the referral; () when there is none."""
    message = ask(server, name, type_)
    wanted = (dns.name.from_text(name), dns.rdatatype.from_text(type_))
    for rrset in [*message.answer, *message.authority]:
        if (rrset.name, rrset.rdtype) == wanted:
            return tuple(sorted(rdata.to_digestable() for rdata in rrset))
    return ()


def texts(server: Nameserver, name: str, type_: str) -> list[str]:
    """The answer's data as text, sorted: for types without names or blanks in them."""
    message = ask(server, name, type_)
    return sorted(str(rdata) for rrset in message.answer for rdata in rrset)


def serves(server: Nameserver, zone: str) -> bool:
    """Whether it answers for the zone with authority."""
    message = ask(server, zone, "SOA")
    return message.rcode() == dns.rcode.NOERROR and bool(message.flags & dns.flags.AA)


def serial(server: Nameserver, zone: str) -> int:
    """The serial that the server shows. Raises `IndexError` when it shows none."""
    return int(ask(server, zone, "SOA").answer[0][0].serial)


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float = 60.0) -> float:
    """Ask until the condition holds, for at most `timeout_s`; returns the seconds it took."""
    begun, pause_s = time.monotonic(), 0.02
    while not condition():
        assert time.monotonic() < begun + timeout_s, f"{what}, not within {timeout_s:g} s"
        time.sleep(pause_s)
        # Asking costs the system what it needs to get there.
        pause_s = min(pause_s * 1.5, 0.1)
    return time.monotonic() - begun


def _difference(stack: Stack, client: Client, zone: str) -> str:
    wanted = database(client, zone)
    lines = []
    for server in (stack.bind, stack.powerdns):
        found = axfr(server, zone)
        name = type(server).__name__
        if found is None or wanted is None:
            if found is not wanted:
                lines.append(f"{name} has {'no' if found is None else 'a'} zone; the database disagrees")
            continue
        for key in sorted({*found, *wanted}):
            if found.get(key) != wanted.get(key):
                lines.append(f"{name} {key}: {found.get(key)}, the database: {wanted.get(key)}")
    return "\n".join(lines[:20])
