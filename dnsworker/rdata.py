"""Record data: presentation format in, canonical text and wire order out, and what each type asks of it.

Separate from `records` because this is where dnspython is, and where the RFC of each type is.

The canonical text is the one of the canonical wire form (RFC 4034, section 6.2), with the names inside in
lower case for *every* type, hex and base64 in one piece; so text that means the same is the same.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype

from dnsworker import names
from dnsworker.errors import InvalidRecord
from dnsworker.names import Name, shown
from dnsworker.rdata_form import check_form, not_absolute, reason
from dnsworker.rdata_quick import QUICK
from dnsworker.rdata_rules import RULES, SINGLE

IN = dns.rdataclass.IN

#: What an RRset may take in a message: 65,535 octets (RFC 1035, section 4.2.2) less room for the rest of an
#: update or answer: header, question, SOA before and after, EDNS, TSIG.
MAX_RRSET_OCTETS = 64_000
_RECORD_HEADER_OCTETS = 12  # compressed owner, type, class, TTL, length

#: Made by a signer, never by hand. SIG and NXT are the forms of RFC 2535.
SIGNER_TYPES = frozenset({"RRSIG", "NSEC", "NSEC3", "NSEC3PARAM", "SIG", "NXT"})
#: Servers may compress the names in these, which dnspython doesn't parse: their data couldn't be compared.
OBSOLETE_TYPES = frozenset({"MD", "MF", "MB", "MG", "MR", "MINFO", "A6"})

_SHORT_GROUP = re.compile(r"(?<=:)[0-9a-f]{1,3}\b|\b[0-9a-f]{1,3}(?=:)", re.IGNORECASE)
_STYLE = dns.rdata.RdataStyle(hex_chunk_size=0, base64_chunk_size=0)
#: Types of whole numbers, names and strings: their text doesn't change on the way through the wire form.
_DIRECT = frozenset(
    dns.rdatatype.from_text(name)
    for name in ("A", "AAAA", "CAA", "CNAME", "DNAME", "MX", "NS", "PTR", "SRV", "TXT")
)


def checked_type(text: str) -> str:
    """The record type in its usual spelling, for a type that users may write. Raises `InvalidRecord`."""
    if not isinstance(text, str):
        raise InvalidRecord(f"a record type is text such as A, not {type(text).__name__}")
    return _checked_type(text)


@functools.lru_cache(maxsize=512)
def _checked_type(text: str) -> str:
    try:
        number = dns.rdatatype.from_text(text if text.isascii() else "")
    except (dns.exception.DNSException, ValueError) as exc:
        raise InvalidRecord(
            f"there is no record type {shown(text)}; write one such as A or MX, or TYPE65280 for a number"
        ) from exc
    name = dns.rdatatype.to_text(number)
    if number == 0 or dns.rdatatype.is_metatype(number):
        raise InvalidRecord(f"{name} is a type for questions and messages, not for records")
    if name == "SOA":
        raise InvalidRecord("SOA is never written by hand: use update_zone for its email and timers")
    if name in SIGNER_TYPES:
        raise InvalidRecord(f"{name} is never written by hand: it comes from the server that signs the zone")
    if name in OBSOLETE_TYPES:
        raise InvalidRecord(f"{name} is obsolete and not supported")
    return name


def canonical_data(
    owner: Name, type_: str, values: Sequence[str], *, origin: Name | None = None
) -> tuple[str, ...]:
    """The data of an RRset, judged, without duplicates and in canonical order. Raises `InvalidRecord`.

    `type_` is a `checked_type`. Only a zone file has an `origin`; without one a relative name is refused.
    """
    if isinstance(values, list | tuple) and len(values) == 1 and type_ not in RULES:
        (value,) = values  # nearly all: one short value, of a type without rules
        if (found := _quick(type_, value, origin)) is not None:
            return (found[1],)
    where = f"{owner} {type_}"
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise InvalidRecord(f"{where}: data is a list of texts, one for each record")
    if not values:
        raise InvalidRecord(f"{where}: data is empty; use delete to remove the RRset")
    if len(values) * _RECORD_HEADER_OCTETS > MAX_RRSET_OCTETS:
        raise _too_large(where, f"more than {MAX_RRSET_OCTETS:,}", len(values))
    by_wire: dict[bytes, str] = {}
    parsed: dict[bytes, dns.rdata.Rdata] = {}
    for value in values:
        quick = _quick(type_, value, origin)
        if quick is None:
            rdata = _canonical(_parsed(where, type_, value, origin))
            quick = _wire(rdata), _text(rdata)
            parsed[quick[0]] = rdata
        by_wire[quick[0]] = quick[1]
    size = names.wire_size(owner) + sum(_RECORD_HEADER_OCTETS + len(wire) for wire in by_wire)
    if size > MAX_RRSET_OCTETS:
        raise _too_large(where, f"{size:,}", len(by_wire))
    if type_ in SINGLE and len(by_wire) > 1:
        raise InvalidRecord(f"{where}: a name has one {type_} at most, not {len(by_wire)}")
    if rule := RULES.get(type_):  # no rule looks at the records of a type that is in QUICK
        rule(where, owner, list(parsed.values()))
    return tuple(by_wire[wire] for wire in sorted(by_wire))


def _quick(type_: str, value: Any, origin: Name | None) -> tuple[bytes, str] | None:
    return QUICK[type_](value, origin) if type_ in QUICK and isinstance(value, str) else None


def canonical_texts(rdatas: Iterable[dns.rdata.Rdata]) -> tuple[str, ...]:
    """The same for records as a server sent them: not judged."""
    found = list(rdatas)
    if len(found) == 1:
        return (_text(_canonical(found[0])),)
    by_wire = {}
    for rdata in found:
        rdata = _canonical(rdata)
        by_wire[_wire(rdata)] = _text(rdata)
    return tuple(by_wire[wire] for wire in sorted(by_wire))


def generic_texts(type_: str, data: Iterable[str]) -> list[str]:
    """`TYPE260 \\# 4 0a000001` for each: type and data as every server reads them (RFC 3597, section 5)."""
    generic = [parse(type_, text).to_generic() for text in data]
    return [f"TYPE{int(one.rdtype)}\t{one.to_styled_text(_STYLE).rstrip(' ')}" for one in generic]


def parse(type_: str, text: str, origin: Name | None = None) -> dns.rdata.Rdata:
    """Text as a dnspython record, not judged. Raises dnspython's errors."""
    base = None if origin is None else names.to_dnspython(origin)
    if type_ in ("L64", "NID"):
        # BIND leaves out leading zeros, dnspython wants them (both as of 2026-11).
        text = _SHORT_GROUP.sub(lambda group: group[0].zfill(4), text)
    return dns.rdata.from_text(IN, type_, text, origin=base, relativize=False)


def _too_large(where: str, size: str, count: int) -> InvalidRecord:
    return InvalidRecord(
        f"{where}: {count:,} records take {size} octets in a message, and {MAX_RRSET_OCTETS:,} is the limit"
    )


def _parsed(where: str, type_: str, value: str, origin: Name | None = None) -> dns.rdata.Rdata:
    check_form(where, type_, value)
    try:
        rdata = parse(type_, value, origin)
    except dns.exception.DNSException as exc:
        raise InvalidRecord(f"{where}: {shown(value)} is not {type_} data{reason(exc, type_)}") from exc
    for name in _names_in(rdata):
        if not name.is_absolute():
            raise not_absolute(where, name)
    return rdata


@functools.lru_cache(maxsize=256)
def _fields(kind: Any) -> tuple[str, ...]:
    """The attributes of a class of dnspython records."""
    slots = [slot for base in kind.__mro__ for slot in getattr(base, "__slots__", ())]
    return tuple(slot for slot in slots if slot not in ("rdclass", "rdtype", "rdcomment"))


def _names_in(rdata: dns.rdata.Rdata) -> Iterator[dns.name.Name]:
    kind: Any = type(rdata)
    for field in _fields(kind):
        value = getattr(rdata, field)
        if isinstance(value, dns.name.Name):
            yield value
        elif isinstance(value, tuple):
            yield from (one for one in value if isinstance(one, dns.name.Name))


def _canonical(rdata: dns.rdata.Rdata) -> dns.rdata.Rdata:
    """The record as it comes out of its canonical wire form, names in lower case."""
    if any(label != label.lower() for name in _names_in(rdata) for label in name.labels):
        kind: Any = type(rdata)
        rdata = rdata.replace(**{field: _lowered(getattr(rdata, field)) for field in _fields(kind)})
    if rdata.rdtype in _DIRECT:
        return rdata
    wire = _wire(rdata)
    return dns.rdata.from_wire(IN, rdata.rdtype, wire, 0, len(wire))


def _lowered(value: Any) -> Any:
    if isinstance(value, dns.name.Name):
        return value.canonicalize()
    if isinstance(value, tuple):
        return tuple(map(_lowered, value))
    return value


def _wire(rdata: dns.rdata.Rdata) -> bytes:
    wire = rdata.to_wire()
    assert wire is not None, "to_wire without a file returns the octets"
    return wire


def _text(rdata: dns.rdata.Rdata) -> str:
    text = rdata.to_styled_text(_STYLE)
    if rdata.rdtype in _DIRECT:
        return text
    # Some octets that a server may send have no text that reads back: an empty APL (allowed by RFC 3123),
    # a DS without a digest. Generic data of no octets ends in a blank.
    try:
        if text.strip() and _wire(parse(dns.rdatatype.to_text(rdata.rdtype), text)) == _wire(rdata):
            return text.rstrip(" ")
    except dns.exception.DNSException:
        pass
    return rdata.to_generic().to_styled_text(_STYLE).rstrip(" ")
