"""Asking one nameserver whether it is one: reachable, with our key, with authority for the pool's zones.

Separate from the other checks because it speaks DNS. No question asks for recursion, so none leaves the
server.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.tsig

from dnsworker import names, tsig
from dnsworker.errors import AuthenticationFailed, ConfigError
from dnsworker.names import Name
from dnsworker.pools import Nameserver

#: A datagram may get lost: each question is asked so often.
TRIES = 2
#: How far the clocks may be apart before a signature is refused (RFC 8945, section 10), and before we say so.
FUDGE_S, WARN_FROM_S = 300, 150
#: Zones that are named in one line.
TOLD = 3


@dataclass(slots=True)
class _Seen:
    """What its answers were."""

    served: list[Name] = field(default_factory=list)
    #: Zone → the code of the answer.
    missing: dict[Name, str] = field(default_factory=dict)
    unauthoritative: list[Name] = field(default_factory=list)
    recurses: bool = False
    ahead_s: int = 0
    last_rcode: str = ""


def examine(
    server: Nameserver, zones: Sequence[Name], otherwise: str, is_fed_by: str, *, timeout_s: float
) -> list[tuple[bool, str]]:
    """(is it well, one line) for each finding; one that is well where there is nothing to say.

    Without zones only its answer about `otherwise` is looked at, and any will do.
    """
    try:
        key = server.tsig_key.to_dnspython() if server.tsig_key is not None else None
        address = _address(server)
        seen = _Seen()
        for zone in zones:
            _look(_ask(server, address, zone, key, timeout_s), zone, seen)
        if not zones:
            _look(_ask(server, address, Name(otherwise), key, timeout_s), None, seen)
    except (ConfigError, AuthenticationFailed) as exc:
        return [(False, exc.message)]
    except TimeoutError:
        return [(False, f"no answer over UDP within {timeout_s:g} s: is it running, and let through?")]
    except (dns.exception.DNSException, OSError) as exc:
        words = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc) or type(exc).__name__
        return [(False, f"can't be asked: {words}")]
    wrong = list(_findings(seen, len(zones), is_fed_by))
    if wrong:
        return [(False, line) for line in wrong]
    if not zones:
        return [(True, f"answers ({seen.last_rcode}); there is no zone to ask it about")]
    return [(True, f"answers with authority for {len(zones)} of the pool's zones")]


def _look(response: dns.message.Message, zone: Name | None, seen: _Seen) -> None:
    seen.last_rcode = dns.rcode.to_text(response.rcode())
    seen.recurses = seen.recurses or bool(response.flags & dns.flags.RA)
    if response.tsig:
        signature: Any = response.tsig[0]
        seen.ahead_s = signature.time_signed - int(time.time())
    if zone is None:
        return
    apex = names.to_dnspython(zone)
    has_soa = any(one.rdtype == dns.rdatatype.SOA and one.name == apex for one in response.answer)
    if not has_soa:
        seen.missing[zone] = seen.last_rcode
    elif response.flags & dns.flags.AA:
        seen.served.append(zone)
    else:
        seen.unauthoritative.append(zone)


def _findings(seen: _Seen, asked: int, is_fed_by: str) -> Iterator[str]:
    if asked and len(seen.missing) == asked:
        zone, rcode = next(iter(seen.missing.items()))
        yield (
            f"serves none of the pool's zones (asked for {asked}; {zone}: {rcode}): "
            f"is this the right server, and does it have its zones from {is_fed_by}?"
        )
    elif seen.missing:
        shown = ", ".join(f"{zone} ({rcode})" for zone, rcode in list(seen.missing.items())[:TOLD])
        yield (
            f"doesn't serve {shown}; {len(seen.missing)} of {asked} asked for: "
            f"look at how it has its zones from {is_fed_by}"
        )
    if seen.unauthoritative:
        yield (
            f"answers for {', '.join(seen.unauthoritative[:TOLD])} without authority: this is a resolver or "
            "cache; give the address of the server that has the zones"
        )
    if seen.recurses:
        yield (
            "offers recursion to us (RA): turn it off there (BIND: `recursion no;`), or use another address; "
            "what it fetches elsewhere looks like its own"
        )
    if abs(seen.ahead_s) > WARN_FROM_S:
        direction = "ahead" if seen.ahead_s > 0 else "behind"
        yield (
            f"the clocks differ by {abs(seen.ahead_s)} s, its is {direction}: set them; from {FUDGE_S} s on "
            "signatures are refused"
        )


def _ask(
    server: Nameserver, address: str, name: Name, key: dns.tsig.Key | None, timeout_s: float
) -> dns.message.Message:
    """The answer, its signature checked. Raises `AuthenticationFailed`, `OSError`, dnspython's errors."""
    query = dns.message.make_query(names.to_dnspython(name), dns.rdatatype.SOA, flags=0)
    if key is not None:
        query.use_tsig(key)
    wire = _exchange(query, address, server.port, timeout_s)
    unjudged = dns.message.from_wire(wire, keyring=False)
    if key is None:
        return unjudged
    try:
        return dns.message.from_wire(wire, keyring=key, request_mac=query.mac)
    except tsig.ERRORS as exc:
        signature: Any = unjudged.tsig[0] if unjudged.tsig else None
        other = signature.other if signature is not None else b""
        raise tsig.refusal(server.address, key.name.to_text(omit_final_dot=True), exc, other) from exc
    except dns.exception.FormError:
        rcode = dns.rcode.to_text(unjudged.rcode())
        raise AuthenticationFailed(
            f"answers our signed question unsigned ({rcode}): compare the key's name, secret and algorithm "
            "there"
        ) from None


def _exchange(query: dns.message.Message, address: str, port: int, timeout_s: float) -> bytes:
    wire = query.to_wire()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as udp:
        # Connected: a stranger's datagrams don't arrive, and a closed port says so at once.
        udp.connect((address, port))
        for is_last in [False] * (TRIES - 1) + [True]:
            udp.send(wire)
            deadline = time.monotonic() + timeout_s / TRIES
            try:
                while True:
                    udp.settimeout(max(0.001, deadline - time.monotonic()))
                    received = udp.recv(65535)
                    if received[:2] == wire[:2]:
                        return received
            except TimeoutError:
                if is_last:
                    raise
    raise AssertionError("the last round returns or raises")


def _address(server: Nameserver) -> str:
    """An IP address of the server. Raises `OSError`."""
    try:
        return str(ipaddress.ip_address(server.host))
    except ValueError:
        return str(socket.getaddrinfo(server.host, server.port, type=socket.SOCK_DGRAM)[0][4][0])
