"""From the octets of a query to those of its response: which zone is asked, and what may be asked for.

Separate from the sockets: functions of a query and a source, with no network in them. They may block as
long as the source does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Protocol

from dnsworker import names, serials
from dnsworker.answers import Answer, ZoneView, answer
from dnsworker.contents import ZoneContents
from dnsworker.names import Name
from dnsworker.nameserver import response
from dnsworker.nameserver.query import (
    AXFR,
    IN,
    IXFR,
    MAX_UDP_WITHOUT_EDNS,
    OPT,
    QUERY,
    TSIG,
    FormatError,
    Query,
    read_query,
)

Network = IPv4Network | IPv6Network

#: Questions that only servers of the 1980s could answer: MAILB, MAILA (RFC 1035, section 3.2.3).
_OBSOLETE_QUESTIONS = (253, 254)
#: No type of a question: OPT, TSIG and the reserved 0 stand in other places of a message.
_NO_QUESTIONS = (0, OPT, TSIG)


class ZoneSource(Protocol):
    """The zones that are served. Called from several threads; may block."""

    def find(self, qname: Name) -> ZoneView | None:
        """The zone named `qname`, or the closest one above it; None if there is none."""

    def contents(self, zone: Name) -> ZoneContents | None:
        """The whole zone, for a transfer; None if it isn't served."""


def read(octets: bytes) -> Query | bytes | None:
    """The question of a message; or the response where there is none to be asked; or None for silence."""
    try:
        query = read_query(octets)
    except FormatError as exc:
        if exc.query is None or exc.query.is_response:
            return None
        return response.render_error(replace(exc.query, question=b"", has_edns=False), "FORMERR")
    if query.is_response:
        return None  # answering responses would let two servers talk to each other for ever
    rcode = _refusal(query)
    if rcode is not None:
        return response.render_error(query, rcode)
    return response.render_bad_key(query) if query.signature else query


def _refusal(query: Query) -> str | None:
    """The response code of what is refused whatever the zone."""
    if query.opcode != QUERY:
        return "NOTIMP"
    if query.edns_version > 0:
        return "BADVERS"
    if query.rdclass != IN:
        return "REFUSED"
    if query.type in _NO_QUESTIONS:
        return "FORMERR"
    return "NOTIMP" if query.type in _OBSOLETE_QUESTIONS else None


def over_udp(query: Query, source: ZoneSource) -> bytes:
    """The response that fits into the asker's datagrams."""
    limit = min(query.payload, response.MAX_UDP) if query.has_edns else MAX_UDP_WITHOUT_EDNS
    if query.type == AXFR:
        return response.render_error(query, "FORMERR")  # RFC 5936, section 4.2: over TCP only
    if query.type == IXFR:
        # RFC 1995, section 2: the SOA alone says "ask over TCP".
        return response.render(*_soa_alone(query, source), limit)
    return _ordinary(query, source, limit)


def over_tcp(query: Query, source: ZoneSource, asker: str, transfer_to: Sequence[Network]) -> Iterator[bytes]:
    """The messages of the response: several for a transfer, else one."""
    if not query.is_transfer:
        yield _ordinary(query, source, response.MAX_TCP)
    elif not any(ip_address(asker.partition("%")[0]) in network for network in transfer_to):
        yield response.render_error(query, "REFUSED")
    elif query.type == IXFR and _is_up_to_date(query, source):
        yield response.render(*_soa_alone(query, source), response.MAX_TCP)
    else:
        yield from _transfer(query, source)


def _ordinary(query: Query, source: ZoneSource, limit: int) -> bytes:
    # As BIND does for whoever asks without recursion, a chain is followed within its zone only.
    zone = _find(query.name, query.type_text, source)
    if zone is None:
        return response.render_error(query, "REFUSED")
    return response.render(query, answer(zone, query.name, query.type_text), zone.name, limit)


def _find(qname: Name, qtype: str, source: ZoneSource) -> ZoneView | None:
    zone = source.find(qname)
    if zone is not None and qtype == "DS" and qname == zone.name != names.ROOT:
        # A DS is the parent's (RFC 4035, section 3.1.4.1), if the parent is here as well.
        return source.find(names.parent(qname)) or zone
    return zone


def _soa_alone(query: Query, source: ZoneSource) -> tuple[Query, Answer, Name | None]:
    zone = source.find(query.name)
    if zone is None or zone.name != query.name:
        return query, Answer("NOTAUTH", authoritative=False), None
    return query, Answer(answer=(zone.soa,)), zone.name


def _is_up_to_date(query: Query, source: ZoneSource) -> bool:
    zone = source.find(query.name)
    if zone is None or zone.name != query.name or query.known_serial is None:
        return False
    return not serials.is_ahead(zone.soa.serial, query.known_serial)


def _transfer(query: Query, source: ZoneSource) -> Iterator[bytes]:
    """The whole zone between its SOA and its SOA; the answer to an IXFR as well (RFC 1995, section 4)."""
    contents = source.contents(query.name)
    if contents is None:
        yield response.render_error(query, "NOTAUTH")
        return
    transfer = response.Transfer(query)
    yield from transfer.add(contents.soa, contents.name)
    for rrset in contents.rrsets.values():
        yield from transfer.add(rrset, contents.name)
    yield from transfer.add(contents.soa, contents.name)
    yield transfer.finish()
