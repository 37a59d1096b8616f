"""Responses as octets: sections, compressed names, truncation, EDNS, the messages of a transfer.

Written without dnspython's renderer: the data of a record is encoded once, and names are text until then.
"""

from __future__ import annotations

import functools
import socket
import struct
from collections.abc import Iterable

import dns.rdatatype

from dnsworker import names, rdata
from dnsworker.answers import Answer
from dnsworker.names import Name
from dnsworker.nameserver.query import (
    AA,
    ANY_CLASS,
    CD,
    DO,
    HEADER,
    IN,
    OPT,
    QR,
    RD,
    RECORD,
    SOA_NUMBERS,
    TC,
    TSIG,
    Query,
)  # fmt: skip
from dnsworker.records import SOA, RRset

MAX_UDP = 1232  # fits into the smallest IPv6 packet (RFC 9715)
MAX_TCP = 65535
_OPT_OCTETS = 11
#: A transfer is cut into messages of about this many octets: beyond it no name could be pointed at.
TRANSFER_OCTETS = 16_000

_MAX_POINTER = 0x3FFF
#: Pointers on the way to one name: readers stop somewhere (Go's after 10, dnspython's after 16; 2026-11).
_MAX_HOPS = 8
RCODES = {
    "NOERROR": 0, "FORMERR": 1, "SERVFAIL": 2, "NXDOMAIN": 3, "NOTIMP": 4, "REFUSED": 5, "YXDOMAIN": 6,
    "NOTAUTH": 9, "BADVERS": 16,
}  # fmt: skip
_BADKEY = 17
#: Types with one name as data that may be compressed (RFC 3597, section 4).
_NAME_TYPES = frozenset(("NS", "CNAME", "PTR"))


def render(query: Query, answer: Answer, zone: Name | None, limit: int) -> bytes:
    """The response in at most `limit` octets, with TC where something had to be left out.

    `zone` is whose SOA the answer may hold.
    """
    message = _Message(query)
    room = limit - (_OPT_OCTETS if query.has_edns else 0)
    flags = AA if answer.authoritative else 0
    for number, section in enumerate((answer.answer, answer.authority)):
        if not all(message.add(number, one, zone, room) for one in section):
            # Whoever sees TC asks again over TCP: no part is worth sending (RFC 2181, section 9).
            return _Message(query).finish(flags | TC, answer.rcode)
    for rrset in answer.additional:
        if not message.add(2, rrset, zone, room):
            # Without its glue a referral may lead nowhere (RFC 9471); other addresses can be asked for.
            flags |= TC if answer.is_referral else 0
            break
    return message.finish(flags, answer.rcode)


def render_error(query: Query, rcode: str) -> bytes:
    """A response that says no more than this."""
    return _Message(query).finish(0, rcode)


def render_bad_key(query: Query) -> bytes:
    """The answer to a signature with a key that isn't known: unsigned, NOTAUTH (RFC 8945, section 5.2.1)."""
    assert query.signature is not None, "only a signed query has a bad key"
    owner, algorithm, time_and_fudge = query.signature
    data = algorithm + time_and_fudge + struct.pack("!HHHH", 0, query.id, _BADKEY, 0)
    tsig = owner + RECORD.pack(TSIG, ANY_CLASS, 0, len(data)) + data
    return _Message(query).finish(0, "NOTAUTH", tsig)


class Transfer:
    """The messages of a zone transfer, filled record by record (RFC 5936, section 2.2)."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self._message = _Message(query)

    def add(self, rrset: RRset | SOA, zone: Name) -> Iterable[bytes]:
        """Put the records in; gives the messages that are full."""
        for one in _single_records(rrset):
            if self._message.size > TRANSFER_OCTETS or not self._message.add(0, one, zone, MAX_TCP - 16):
                yield self._message.finish(AA, "NOERROR")
                self._message = _Message(self._query)
                self._message.add(0, one, zone, MAX_TCP)

    def finish(self) -> bytes:
        return self._message.finish(AA, "NOERROR")


def _single_records(rrset: RRset | SOA) -> Iterable[RRset | SOA]:
    if isinstance(rrset, SOA) or len(rrset.data) == 1:
        return (rrset,)
    return (RRset.trusted(rrset.name, rrset.type, rrset.ttl, (value,)) for value in rrset.data)


class _Message:
    """A response that grows; what doesn't fit leaves no trace."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self._octets = bytearray(HEADER.size) + query.question
        self._counts = [0, 0, 0]
        #: Where a name starts in the message, and how many pointers lead from there to its end.
        self._places: dict[Name, tuple[int, int]] = {}
        if query.question:
            self._remember_question()

    @property
    def size(self) -> int:
        return len(self._octets)

    def add(self, section: int, rrset: RRset | SOA, zone: Name | None, limit: int) -> bool:
        """Append all records of the RRset; False, and nothing done, where they don't fit."""
        before = len(self._octets)
        if isinstance(rrset, SOA):
            assert zone is not None, "a SOA belongs to a zone"
            self._add_soa(rrset, zone)
            added = 1
        else:
            added = len(rrset.data)
            number = _type_number(rrset.type)
            for value in rrset.data:
                self._add_name(rrset.name)
                self._octets += RECORD.pack(number, IN, rrset.ttl, 0)
                start = len(self._octets)
                self._add_data(rrset.type, value)
                self._set_length(start)
                if len(self._octets) > limit:
                    break
        if len(self._octets) > limit:
            del self._octets[before:]
            self._places = {name: place for name, place in self._places.items() if place[0] < before}
            return False
        self._counts[section] += added
        return True

    def finish(self, flags: int, rcode: str, tsig: bytes = b"") -> bytes:
        query, code = self._query, RCODES[rcode]
        if query.has_edns and not tsig:
            ttl = code >> 4 << 24 | (DO if query.wants_dnssec else 0)  # our version is 0
            self._octets += b"\0" + RECORD.pack(OPT, MAX_UDP, ttl, 0)
            self._counts[2] += 1
        self._octets += tsig
        additional = self._counts[2] + bool(tsig)
        kept = query.flags & (0x7800 | RD | CD)  # the opcode, and what is copied
        HEADER.pack_into(
            self._octets, 0, query.id, QR | kept | flags | code & 0xF,
            1 if query.question else 0, self._counts[0], self._counts[1], additional,
        )  # fmt: skip
        return bytes(self._octets)

    def _remember_question(self) -> None:
        name, position = self._query.name, HEADER.size
        for label in self._query.labels:
            self._places[name] = (position, 0)
            position += len(label) + 1
            name = names.parent(name)

    def _add_soa(self, soa: SOA, zone: Name) -> None:
        self._add_name(zone)
        self._octets += RECORD.pack(dns.rdatatype.SOA, IN, soa.ttl, 0)
        start = len(self._octets)
        self._add_name(soa.mname)
        self._add_name(soa.rname)
        self._octets += SOA_NUMBERS.pack(soa.serial, soa.refresh, soa.retry, soa.expire, soa.minimum)
        self._set_length(start)

    def _add_data(self, type_: str, value: str) -> None:
        if type_ in _NAME_TYPES:
            self._add_name(Name(value))
        elif type_ == "MX":
            preference, _, host = value.partition(" ")
            self._octets += struct.pack("!H", int(preference))
            self._add_name(Name(host))
        else:
            self._octets += _encoded(type_, value)

    def _set_length(self, start: int) -> None:
        struct.pack_into("!H", self._octets, start - 2, len(self._octets) - start)

    def _add_name(self, name: Name) -> None:
        """Write a name, pointing at what of it was written before (RFC 1035, section 4.1.4)."""
        written: list[tuple[Name, int]] = []
        hops = 0
        while name != names.ROOT:
            known = self._places.get(name)
            if known is not None and known[1] < _MAX_HOPS:
                self._octets += struct.pack("!H", 0xC000 | known[0])
                hops = known[1] + 1
                break
            written.append((name, len(self._octets)))
            label = names.split_labels(name)[0] if "\\" in name else name[: name.index(".")].encode("ascii")
            self._octets.append(len(label))
            self._octets += label
            name = names.parent(name)
        else:
            self._octets.append(0)
        self._places.update((one, (at, hops)) for one, at in written if at <= _MAX_POINTER)


def _encoded(type_: str, value: str) -> bytes:
    if type_ == "A":
        return socket.inet_pton(socket.AF_INET, value)
    if type_ == "AAAA":
        return socket.inet_pton(socket.AF_INET6, value)
    return _encoded_by_dnspython(type_, value)


@functools.lru_cache(maxsize=16_384)
def _encoded_by_dnspython(type_: str, value: str) -> bytes:
    wire = rdata.parse(type_, value).to_wire()
    assert wire is not None, "to_wire without a file returns the octets"
    return wire


@functools.lru_cache(maxsize=512)
def _type_number(type_: str) -> int:
    return int(dns.rdatatype.from_text(type_))
