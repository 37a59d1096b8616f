"""DNS messages on the wire, read and written without building objects for each record.

Separate because it is the one place where speed asks for more than dnspython's own parser: a zone of 100,000
names takes that 4.7 s and this a fraction of one, and a nameserver's answer a millisecond. Whatever isn't
plain goes to dnspython all the same.
"""

from __future__ import annotations

import functools
import itertools
import re
import secrets
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype

from dnsworker import names, rdata
from dnsworker.names import Name
from dnsworker.rdata_quick import ipv6_text
from dnsworker.records import SOA, RRset

SOA_TYPE = int(dns.rdatatype.SOA)
TSIG_TYPE = int(dns.rdatatype.TSIG)
IN, NONE, ANY = int(dns.rdataclass.IN), int(dns.rdataclass.NONE), int(dns.rdataclass.ANY)
_A, _AAAA = int(dns.rdatatype.A), int(dns.rdatatype.AAAA)
_SINGLE_NAME = frozenset(int(kind) for kind in (dns.rdatatype.NS, dns.rdatatype.CNAME, dns.rdatatype.PTR))
_PLAIN_LABEL = re.compile(rb"[a-z0-9_*-]+")
_HEADER = struct.Struct(">HHHHHH")
_RECORD = struct.Struct(">HHIH")
_SOA_NUMBERS = struct.Struct(">IIIII")


class Record(NamedTuple):
    """One record of a transfer. `order` sorts the records of an RRset canonically (RFC 4034, section 6.3).

    A tuple, because there are hundreds of thousands.
    """

    name: Name
    type: int
    ttl: int
    text: str
    order: bytes
    soa: SOA | None = None


class Message:
    """A message, opened at its answer section."""

    def __init__(self, wire: bytes) -> None:
        """Raises `dns.exception.FormError`."""
        self.wire = wire
        self._suffixes: dict[int, str] = {}
        try:
            self.id, flags, questions, self.answers, self.authorities, self._additionals = (
                _HEADER.unpack_from(wire)
            )
            self.rcode = flags & 15
            self.is_response = bool(flags & 0x8000) and not flags & 0x7800  # to a query
            self.is_authoritative = bool(flags & 0x0400)
            self.is_truncated = bool(flags & 0x0200)
            position = _HEADER.size
            for _ in range(questions):
                position = self._skip_name(position) + 4
        except (IndexError, struct.error) as exc:
            raise dns.exception.FormError from exc
        self._start = position

    def records(self) -> Iterator[Record]:
        """The records of the answer section. Raises `dns.exception.FormError`."""
        try:
            yield from itertools.islice(self._records(), self.answers)
        except (IndexError, struct.error, ValueError, OSError) as exc:
            raise dns.exception.FormError from exc

    def sections(self) -> tuple[list[Record], list[Record]]:
        """The records of the answer section and those of the authority section.

        Raises `dns.exception.FormError`.
        """
        try:
            found = list(itertools.islice(self._records(), self.answers + self.authorities))
        except (IndexError, struct.error, ValueError, OSError) as exc:
            raise dns.exception.FormError from exc
        return found[: self.answers], found[self.answers :]

    def repeats(self, query: bytes) -> bool:
        """Whether its question is exactly that of the query."""
        return self.wire[4:6] == b"\0\1" and self.wire[12 : self._start] == query[12 : self._start]

    def tsig(self) -> tuple[int, dns.name.Name, dns.rdata.Rdata] | None:
        """Where the TSIG record at the end starts, its owner and its data.

        Raises `dns.exception.FormError`.
        """
        try:
            position = self._start
            count = self.answers + self.authorities + self._additionals
            for index in range(count):
                start = position
                position = self._skip_name(position)
                kind, rdclass, _, length = _RECORD.unpack_from(self.wire, position)
                position += _RECORD.size + length
                if kind == TSIG_TYPE and index == count - 1:
                    owner, _ = dns.name.from_wire(self.wire, start)
                    data = dns.rdata.from_wire(rdclass, kind, self.wire, position - length, length)
                    return start, owner, data
        except (IndexError, struct.error) as exc:
            raise dns.exception.FormError from exc
        return None

    def _records(self) -> Iterator[Record]:
        wire, position = self.wire, self._start
        for _ in range(self.answers + self.authorities):
            owner, position = self._name(position)
            kind, rdclass, ttl, length = _RECORD.unpack_from(wire, position)
            position += _RECORD.size
            end = position + length
            if end > len(wire):
                raise dns.exception.FormError
            data = wire[position:end]
            soa = None
            if kind == _A and length == 4:
                text = socket.inet_ntoa(data)
            elif kind == _AAAA and length == 16:
                text = ipv6_text(data)
            elif kind in _SINGLE_NAME:
                text, _ = self._name(position)
                data = name_octets(text)
            elif kind == SOA_TYPE:
                mname, position = self._name(position)
                rname, position = self._name(position)
                serial, refresh, retry, expire, minimum = _SOA_NUMBERS.unpack_from(wire, position)
                soa = SOA(mname, rname, serial, refresh, retry, expire, minimum, ttl)
                text = soa.rdata
            else:
                parsed = dns.rdata.from_wire(rdclass, kind, wire, position, length)
                (text,) = rdata.canonical_texts([parsed])
                data = parsed.to_wire(origin=None, canonicalize=True) or b""
            yield Record(owner, kind, ttl, text, data, soa)
            position = end

    def _skip_name(self, position: int) -> int:
        while True:
            length = self.wire[position]
            if length == 0:
                return position + 1
            if length >= 0xC0:
                return position + 2
            position += length + 1

    def _name(self, position: int) -> tuple[Name, int]:
        """The name at `position`, canonical, and where it ends."""
        wire = self.wire
        after = position + 1 + wire[position]
        if 1 < after - position < 65 and wire[after] >= 0xC0:
            # Most are a label and a pointer to a name that was read before.
            known = self._suffixes.get((wire[after] & 0x3F) << 8 | wire[after + 1])
            label = wire[position + 1 : after].lower()
            if known is not None and _PLAIN_LABEL.fullmatch(label):
                self._suffixes[position] = name = f"{label.decode('ascii')}.{known}"
                return Name(name), after + 2
        labels: list[str] = []
        starts: list[int] = []
        limit = position
        end = 0
        suffix = ""
        while True:
            length = wire[position]
            if length == 0:
                end = end or position + 1
                break
            if length >= 0xC0:
                end = end or position + 2
                position = (length & 0x3F) << 8 | wire[position + 1]
                known = self._suffixes.get(position)
                if known is not None:
                    suffix = known
                    break
                # A pointer leads back (RFC 1035, section 4.1.4): so this loop ends.
                if position >= limit:
                    raise dns.exception.FormError
                limit = position
                continue
            if length > 63:
                raise dns.exception.FormError
            label = wire[position + 1 : position + 1 + length].lower()
            if len(label) < length:
                raise dns.exception.FormError
            starts.append(position)
            is_plain = label.isalnum() or _PLAIN_LABEL.fullmatch(label)
            labels.append(label.decode("ascii") if is_plain else _escaped(label))
            position += length + 1
        while labels:
            suffix = f"{labels.pop()}.{suffix}"
            self._suffixes[starts.pop()] = suffix
        return Name(suffix or "."), end


def request(
    opcode: int, zone: Name, kind: int, counts: tuple[int, int, int] = (0, 0, 0), rest: bytes = b""
) -> bytes:
    """An unsigned message with one question (or zone) and, in `rest`, as many records as `counts` says."""
    header = _HEADER.pack(secrets.randbits(16), opcode << 11, 1, *counts)
    return header + name_octets(zone) + struct.pack(">HH", kind, IN) + rest


def question(message_id: int, name: Name, kind: str, *, payload: int) -> bytes:
    """A query as a nameserver is asked it, with EDNS(0) and no flags."""
    header = _HEADER.pack(message_id, 0, 1, 0, 0, 1)
    options = b"\0" + _RECORD.pack(dns.rdatatype.OPT, payload, 0, 0)
    return header + name_octets(name) + struct.pack(">HH", type_number(kind), IN) + options


def record(owner: Name, kind: int, rdclass: int, ttl: int, data: bytes) -> bytes:
    """One record, its names whole."""
    return name_octets(owner) + _RECORD.pack(kind, rdclass, ttl, len(data)) + data


def soa_octets(soa: SOA) -> bytes:
    """The data of a SOA record."""
    numbers = _SOA_NUMBERS.pack(soa.serial, soa.refresh, soa.retry, soa.expire, soa.minimum)
    return name_octets(soa.mname) + name_octets(soa.rname) + numbers


def type_number(kind: str) -> int:
    """A record type's number."""
    number = _TYPE_NUMBERS.get(kind)
    if number is None:
        number = _TYPE_NUMBERS[kind] = int(dns.rdatatype.from_text(kind))
    return number


def type_text(kind: int) -> str:
    """A record type's name."""
    text = _TYPE_TEXTS.get(kind)
    if text is None:
        text = _TYPE_TEXTS[kind] = dns.rdatatype.to_text(dns.rdatatype.RdataType.make(kind))
    return text


_TYPE_NUMBERS: dict[str, int] = {}
_TYPE_TEXTS: dict[int, str] = {}


def rrsets_of(records: Iterable[Record]) -> list[RRset]:
    """The records as RRsets, each with its values in canonical order and the lowest TTL."""
    grouped: dict[tuple[Name, int], list[Record]] = {}
    for one in records:
        grouped.setdefault((one.name, one.type), []).append(one)
    found = []
    for (name, kind), group in grouped.items():
        if len(group) > 1:
            group = sorted({one.order: one for one in group}.values(), key=lambda one: one.order)
        texts, ttl = tuple([one.text for one in group]), min([one.ttl for one in group])
        found.append(RRset.trusted(name, type_text(kind), ttl, texts))
    return found


def encode(rrset: RRset, *, rdclass: int = IN, ttl: int | None = None) -> list[bytes]:
    """The records of an RRset, their names whole."""
    kind = type_number(rrset.type)
    head = name_octets(rrset.name) + struct.pack(">HHI", kind, rdclass, rrset.ttl if ttl is None else ttl)
    if kind == _A:
        datas = [socket.inet_aton(text) for text in rrset.data]
    elif kind == _AAAA:
        datas = [socket.inet_pton(socket.AF_INET6, text) for text in rrset.data]
    elif kind in _SINGLE_NAME:
        datas = [name_octets(text) for text in rrset.data]
    else:
        datas = [one.to_wire() or b"" for one in rrset.to_rdataset()]
    return [head + struct.pack(">H", len(data)) + data for data in datas]


def _escaped(label: bytes) -> str:
    return names.from_dnspython(dns.name.Name((label, b""))).removesuffix(".")


def name_octets(name: str) -> bytes:
    """A name in wire format, uncompressed."""
    if "\\" in name or name == names.ROOT:
        return _octets(name)
    first, _, rest = name.partition(".")
    return bytes((len(first),)) + first.encode("ascii") + _octets(rest)  # the names of a zone end alike


@functools.lru_cache(maxsize=1024)
def _octets(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label for label in names.split_labels(Name(name))) + b"\0"
