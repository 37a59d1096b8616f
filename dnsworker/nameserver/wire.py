"""DNS messages as octets (RFC 1035, section 4; EDNS, RFC 6891): reading queries, writing responses.

Separate from dnspython's messages because a nameserver reads what strangers send and answers thousands of
times a second: a query is read without building objects for it, and the data of a record is encoded once.
"""

from __future__ import annotations

import functools
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass

import dns.name
import dns.rdatatype

from dnsworker import names, rdata
from dnsworker.answers import Answer
from dnsworker.names import Name
from dnsworker.records import SOA, RRset

HEADER = struct.Struct("!HHHHHH")
_RECORD = struct.Struct("!HHIH")  # type, class, TTL, length of the data
_SOA_NUMBERS = struct.Struct("!IIIII")

MAX_UDP_WITHOUT_EDNS = 512  # RFC 1035, section 4.2.1
MAX_UDP = 1232  # fits into the smallest IPv6 packet (RFC 9715)
MAX_TCP = 65535
_MAX_POINTER = 0x3FFF
#: Pointers on the way to one name: readers stop somewhere (Go's after 10, dnspython's after 16; 2026-11).
_MAX_HOPS = 8
_OPT_OCTETS = 11
#: A transfer is cut into messages of about this many octets: beyond it no name could be pointed at.
TRANSFER_OCTETS = 16_000

QR, AA, TC, RD, CD, DO = 0x8000, 0x0400, 0x0200, 0x0100, 0x0010, 0x8000
QUERY = 0  # opcode
IN, ANY_CLASS = 1, 255
OPT, TSIG, IXFR, AXFR = 41, 250, 251, 252
RCODES = {
    "NOERROR": 0, "FORMERR": 1, "SERVFAIL": 2, "NXDOMAIN": 3, "NOTIMP": 4, "REFUSED": 5, "YXDOMAIN": 6,
    "NOTAUTH": 9, "BADVERS": 16,
}  # fmt: skip
_BADKEY = 17
#: Types with one name as data that may be compressed (RFC 3597, section 4).
_NAME_TYPES = frozenset(("NS", "CNAME", "PTR"))


class FormatError(Exception):
    """The query can't be read. `query` is what could be read of it; None if not even the header."""

    def __init__(self, query: Query | None = None) -> None:
        super().__init__("FORMERR")
        self.query = query


@dataclass(slots=True)
class Query:
    """One question and what came along with it."""

    id: int
    flags: int
    #: The question section as it came, so that the case of its letters comes back (RFC 1035 says so).
    question: bytes = b""
    name: Name = names.ROOT
    type: int = 0
    rdclass: int = IN
    #: Where each label of the name starts in the message, for names to point at.
    labels: tuple[bytes, ...] = ()
    has_edns: bool = False
    edns_version: int = 0
    payload: int = MAX_UDP_WITHOUT_EDNS
    wants_dnssec: bool = False
    #: In an IXFR: the serial that the asker has (RFC 1995, section 3).
    known_serial: int | None = None
    #: The name, algorithm and time of a signature (RFC 8945), as octets for the error that answers it.
    signature: tuple[bytes, bytes, bytes] | None = None

    @property
    def opcode(self) -> int:
        return self.flags >> 11 & 0xF

    @property
    def is_response(self) -> bool:
        return bool(self.flags & QR)

    @property
    def is_transfer(self) -> bool:
        return self.type in (AXFR, IXFR)

    @property
    def type_text(self) -> str:
        return _type_text(self.type)


def read_query(wire: bytes) -> Query:
    """The query in a message. Raises `FormatError`; of other opcodes only the header is read."""
    if len(wire) < HEADER.size:
        raise FormatError
    id_, flags, questions, answers, authorities, additionals = HEADER.unpack_from(wire)
    query = Query(id_, flags)
    if query.is_response or query.opcode != QUERY:
        return query
    if questions != 1:
        raise FormatError(query)
    try:
        labels, position = _read_labels(wire, HEADER.size, allow_pointer=False)
        query.type, query.rdclass = struct.unpack_from("!HH", wire, position)
        query.question = wire[HEADER.size : position + 4]
        query.labels = labels
        query.name = names.from_dnspython(dns.name.Name((*labels, b"")))
        _read_records(query, wire, position + 4, (answers, authorities, additionals))
    except (struct.error, IndexError, ValueError, dns.name.NameTooLong, dns.name.LabelTooLong) as exc:
        raise FormatError(query) from exc
    return query


def _read_labels(wire: bytes, position: int, *, allow_pointer: bool = True) -> tuple[tuple[bytes, ...], int]:
    """The labels from `position` on, and where the name ends. A pointer ends it: where to, nobody asks."""
    labels: list[bytes] = []
    size = 1
    while length := wire[position]:
        if length >= 0xC0 and allow_pointer:
            return tuple(labels), position + 2
        size += length + 1
        if length > names.MAX_LABEL_OCTETS or size > names.MAX_NAME_OCTETS:
            raise ValueError("not a name")
        if position + 1 + length >= len(wire):
            raise ValueError("cut off")
        labels.append(wire[position + 1 : position + 1 + length])
        position += length + 1
    return tuple(labels), position + 1


def _read_records(query: Query, wire: bytes, position: int, counts: tuple[int, int, int]) -> None:
    """Skip the records, picking out the serial of an IXFR, EDNS and TSIG."""
    total = sum(counts)
    for index in range(total):
        start = position
        _, position = _read_labels(wire, position)
        name_end = position
        type_, class_, ttl, length = _RECORD.unpack_from(wire, position)
        position += _RECORD.size
        data = wire[position : position + length]
        position += length
        if len(data) != length:
            raise ValueError("cut off")
        if counts[0] <= index < counts[0] + counts[1] and type_ == dns.rdatatype.SOA and length >= 22:
            query.known_serial = _SOA_NUMBERS.unpack_from(data, length - 20)[0]
        if index < counts[0] + counts[1]:
            continue
        if type_ == OPT:
            if query.has_edns or wire[start] != 0:
                raise ValueError("one OPT, at the root")  # RFC 6891, section 6.1.1
            query.has_edns = True
            query.payload = max(MAX_UDP_WITHOUT_EDNS, class_)
            query.edns_version = ttl >> 16 & 0xFF
            query.wants_dnssec = bool(ttl & DO)
        elif type_ == TSIG:
            if index != total - 1:
                raise ValueError("TSIG comes last")  # RFC 8945, section 5.1
            _, algorithm_end = _read_labels(data, 0, allow_pointer=False)
            query.signature = (wire[start:name_end], data[:algorithm_end], data[algorithm_end:][:8])
    if position != len(wire):
        raise ValueError("something follows")


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
    tsig = owner + _RECORD.pack(TSIG, ANY_CLASS, 0, len(data)) + data
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
                self._octets += _RECORD.pack(number, IN, rrset.ttl, 0)
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
            self._octets += b"\0" + _RECORD.pack(OPT, MAX_UDP, ttl, 0)
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
        self._octets += _RECORD.pack(dns.rdatatype.SOA, IN, soa.ttl, 0)
        start = len(self._octets)
        self._add_name(soa.mname)
        self._add_name(soa.rname)
        self._octets += _SOA_NUMBERS.pack(soa.serial, soa.refresh, soa.retry, soa.expire, soa.minimum)
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


@functools.lru_cache(maxsize=512)
def _type_text(number: int) -> str:
    return dns.rdatatype.to_text(dns.rdatatype.RdataType.make(number))
