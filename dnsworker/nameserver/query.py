"""Queries as octets (RFC 1035, section 4; EDNS, RFC 6891): what of them matters to a nameserver.

Separate from dnspython's messages because a nameserver reads what strangers send, thousands of times a
second: here nothing is built but the one question.
"""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass

import dns.name
import dns.rdatatype

from dnsworker import names
from dnsworker.names import Name

HEADER = struct.Struct("!HHHHHH")
RECORD = struct.Struct("!HHIH")  # type, class, TTL, length of the data
SOA_NUMBERS = struct.Struct("!IIIII")

MAX_UDP_WITHOUT_EDNS = 512  # RFC 1035, section 4.2.1

QR, AA, TC, RD, CD, DO = 0x8000, 0x0400, 0x0200, 0x0100, 0x0010, 0x8000
QUERY = 0  # opcode
IN, ANY_CLASS = 1, 255
OPT, TSIG, IXFR, AXFR = 41, 250, 251, 252


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
    #: The name as it came, label by label.
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
        type_, class_, ttl, length = RECORD.unpack_from(wire, position)
        position += RECORD.size
        data = wire[position : position + length]
        position += length
        if len(data) != length:
            raise ValueError("cut off")
        if counts[0] <= index < counts[0] + counts[1] and type_ == dns.rdatatype.SOA and length >= 22:
            query.known_serial = SOA_NUMBERS.unpack_from(data, length - 20)[0]
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


@functools.lru_cache(maxsize=512)
def _type_text(number: int) -> str:
    return dns.rdatatype.to_text(dns.rdatatype.RdataType.make(number))
