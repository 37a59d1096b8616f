"""A zone as another server has it, by transfer (AXFR, RFC 5936): what an import starts from.

Separate from the backends, which transfer too: this server is nobody's target, and whoever only submits has
no backends. So it is dnspython that reads, a second for some 20,000 records.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.tsig

from dnsworker import names, rdata, tsig
from dnsworker.addresses import Address
from dnsworker.contents import ZoneContents
from dnsworker.errors import (
    AuthenticationFailed,
    ServerFailure,
    Unreachable,
    Unsupported,
    ZoneMissing,
)
from dnsworker.names import Name
from dnsworker.records import SOA, Key, RRset

#: How long a server may be silent, at the beginning and between two messages.
SILENCE_S = 30.0
#: What a server says without a word about the zone.
_NOT_DONE = (dns.rcode.NOTIMP, dns.rcode.FORMERR)


def fetch_zone(
    server: Address,
    zone: Name,
    key: dns.tsig.Key | None = None,
    *,
    timeout_s: float = SILENCE_S,
    on_progress: Callable[[int], None] = lambda records: None,
) -> ZoneContents:
    """The whole zone, canonical but not judged. `on_progress` hears how many records have come.

    Raises `Unreachable`, `AuthenticationFailed`, `ZoneMissing`, `ServerFailure`, `Unsupported`.
    """
    grouped: dict[tuple[dns.name.Name, int], tuple[int, list[Any]]] = {}
    apex = names.to_dnspython(zone)
    first: SOA | None = None
    count = 0
    for message in _messages(server, apex, key, timeout_s):
        for rrset in message.answer:
            count += len(rrset)
            if rrset.rdtype != dns.rdatatype.SOA:
                if first is None:
                    raise ServerFailure(f"the transfer of {zone} from {server.address} starts without a SOA")
                ttl, rdatas = grouped.setdefault((rrset.name, rrset.rdtype), (rrset.ttl, []))
                rdatas.extend(rrset)
                if rrset.ttl < ttl:  # RFC 2181, section 5.2: one TTL for all
                    grouped[rrset.name, rrset.rdtype] = rrset.ttl, rdatas
                continue
            soa = SOA.from_rdataset(rrset)
            if rrset.name != apex or first not in (None, soa):
                raise ServerFailure(f"the transfer of {zone} from {server.address} has another SOA inside")
            if first is not None:
                if key is not None and not message.had_tsig:
                    raise AuthenticationFailed(f"{server.address} did not sign the end of its answer")
                return ZoneContents(soa=soa, rrsets=_rrsets(grouped), name=zone)
            first = soa
        on_progress(count)
    raise AssertionError("the messages end with an error or here")


def _rrsets(grouped: dict[tuple[dns.name.Name, int], tuple[int, list[Any]]]) -> dict[Key, RRset]:
    rrsets: dict[Key, RRset] = {}
    for (name, kind), (ttl, rdatas) in grouped.items():
        owner, type_ = names.from_dnspython(name), dns.rdatatype.to_text(dns.rdatatype.RdataType.make(kind))
        rrsets[owner, type_] = RRset.trusted(owner, type_, ttl, rdata.canonical_texts(rdatas))
    return rrsets


def _messages(
    server: Address, apex: dns.name.Name, key: dns.tsig.Key | None, timeout_s: float
) -> Iterator[dns.message.Message]:
    """The messages of the answer, for as long as they are read."""
    query = dns.message.make_query(apex, dns.rdatatype.AXFR)
    query.flags = dns.flags.Flag(0)
    if key is not None:
        query.use_tsig(key)
    wire = query.to_wire()
    where = server.address
    with _connect(server, timeout_s) as connection:
        context = None
        try:
            connection.sendall(struct.pack(">H", len(wire)) + wire)
            while True:
                message = _read(_receive(connection, timeout_s), query, context, where)
                _raise_for(message, where, apex, key)
                if key is not None and context is None and not message.had_tsig:
                    raise AuthenticationFailed(f"{where} sent an unsigned answer to a signed request")
                context = message.tsig_ctx
                yield message
        except (OSError, EOFError) as exc:
            words = "timed out" if isinstance(exc, TimeoutError) else "it closed the connection"
            raise Unreachable(f"the transfer from {where} broke off: {words}") from exc


def _connect(server: Address, timeout_s: float) -> socket.socket:
    try:
        return socket.create_connection((server.host, server.port), timeout_s)
    except OSError as exc:
        words = "timed out" if isinstance(exc, TimeoutError) else exc.strerror or str(exc)
        raise Unreachable(f"no nameserver at {server.address}, TCP: {words}") from exc


def _read(wire: bytes, query: dns.message.Message, context: Any, where: str) -> dns.message.Message:
    key = query.keyring
    options: dict[str, Any] = {"xfr": True, "multi": True, "one_rr_per_rrset": True, "tsig_ctx": context}
    try:
        message = dns.message.from_wire(
            wire, keyring=False if key is None else key, request_mac=query.mac, **options
        )
    except tsig.ERRORS as exc:
        unjudged = dns.message.from_wire(wire, keyring=False)
        other = unjudged.tsig[0].other if unjudged.tsig else b""
        raise tsig.refusal(where, key.name.to_text(omit_final_dot=True), exc, other) from exc
    except (dns.exception.DNSException, ValueError) as exc:
        raise ServerFailure(f"{where} sent an answer that can't be read: {exc}") from exc
    if message.id != query.id:
        raise ServerFailure(f"{where} answered another question")
    return message


def _raise_for(
    message: dns.message.Message, where: str, apex: dns.name.Name, key: dns.tsig.Key | None
) -> None:
    rcode, zone = message.rcode(), names.from_dnspython(apex)
    if rcode == dns.rcode.NOERROR:
        if not message.answer:
            raise ServerFailure(f"{where} sent an empty answer for {zone}: nothing was imported")
        return
    words = dns.rcode.to_text(rcode)
    if rcode == dns.rcode.NOTAUTH:
        raise ZoneMissing(f"{where} has no zone {zone} ({words})")
    if rcode == dns.rcode.REFUSED:
        whom = "to this address" if key is None else f"to the key {key.name.to_text(omit_final_dot=True)!r}"
        hint = ", or give a key with --tsig-key" if key is None else ""
        raise AuthenticationFailed(
            f"{where} refuses to transfer {zone} {whom}: allow it there (allow-transfer){hint}; "
            f"or it has no such zone ({words})"
        )
    if rcode in _NOT_DONE:
        raise Unsupported(f"{where} doesn't transfer zones ({words})")
    raise ServerFailure(f"{where} failed to transfer {zone} ({words})")


def _receive(connection: socket.socket, timeout_s: float) -> bytes:
    """The next message, whole within the time-out. Raises `OSError`, `EOFError`."""
    deadline = time.monotonic() + timeout_s
    return _octets(connection, int.from_bytes(_octets(connection, 2, deadline)), deadline)


def _octets(connection: socket.socket, size: int, deadline: float) -> bytes:
    received = bytearray()
    while len(received) < size:
        remaining_s = deadline - time.monotonic()
        if remaining_s <= 0:
            raise TimeoutError
        connection.settimeout(remaining_s)
        part = connection.recv(size - len(received))
        if not part:
            raise EOFError
        received += part
    return bytes(received)
