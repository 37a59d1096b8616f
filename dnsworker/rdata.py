"""Record data: presentation format in, canonical text and wire order out, and what each type asks of it.

Separate from `records` because this is where dnspython is, and where the RFC of each type is.

The canonical text is the one of the canonical wire form (RFC 4034, section 6.2), with the names inside in
lower case for *every* type, hex and base64 in one piece; so text that means the same is the same.
"""

from __future__ import annotations

import functools
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import dns.exception
import dns.ipv6
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype

from dnsworker import names
from dnsworker.errors import InvalidRecord
from dnsworker.names import Name
from dnsworker.rdata_rules import EXAMPLES, RULES, SINGLE, TEXT_TYPES, shown

IN = dns.rdataclass.IN

#: What an RRset may take in a message: 65,535 octets (RFC 1035, section 4.2.2) less room for the rest of an
#: update or answer: header, question, SOA before and after, EDNS, TSIG.
MAX_RRSET_OCTETS = 64_000
_RECORD_HEADER_OCTETS = 12  # compressed owner, type, class, TTL, length

#: Made by a signer, never by hand. SIG and NXT are the forms of RFC 2535.
SIGNER_TYPES = frozenset({"RRSIG", "NSEC", "NSEC3", "NSEC3PARAM", "SIG", "NXT"})
#: Servers may compress the names in these, which dnspython doesn't parse: their data couldn't be compared.
OBSOLETE_TYPES = frozenset({"MD", "MF", "MB", "MG", "MR", "MINFO", "A6"})

_STYLE = dns.rdata.RdataStyle(hex_chunk_size=0, base64_chunk_size=0)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_ESCAPE = r"\\(?:[01][0-9]{2}|2[0-4][0-9]|25[0-5]|[^0-9])"
#: Text with no comment, no parentheses, sound escapes and quotes that end.
_SOUND = re.compile(rf'(?:[^\\"();]|{_ESCAPE}|"(?:[^\\"]|{_ESCAPE})*+")*+')
_BAD_ESCAPE = re.compile(rf"(?:[^\\]|{_ESCAPE})*+\\")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"|((?:[^ "\\]|\\.)+)')
_PLAIN_STRING = re.compile(r'"[ !#-\[\]-~]{0,255}"')
_OCTET = re.compile(r"\\[0-9]{3}|\\?(.)", re.DOTALL)
#: Types of whole numbers, names and strings: their text doesn't change on the way through the wire form.
_DIRECT = frozenset(
    dns.rdatatype.from_text(name)
    for name in ("A", "AAAA", "CAA", "CNAME", "DNAME", "DS", "MX", "NS", "PTR", "SRV", "TXT")
)


@functools.lru_cache(maxsize=512)
def checked_type(text: str) -> str:
    """The record type in its usual spelling, for a type that users may write. Raises `InvalidRecord`."""
    if not isinstance(text, str):
        raise InvalidRecord(f"a record type is text such as A, not {type(text).__name__}")
    try:
        number = dns.rdatatype.from_text(text.strip() if text.isascii() else "")
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
    where = f"{owner} {type_}"
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise InvalidRecord(f"{where}: data is a list of texts, one for each record")
    if not values:
        raise InvalidRecord(f"{where}: data is empty; use delete to remove the RRset")
    if len(values) * _RECORD_HEADER_OCTETS > MAX_RRSET_OCTETS:
        raise _too_large(where, f"more than {MAX_RRSET_OCTETS:,}", len(values))
    by_wire: dict[bytes, str] = {}
    parsed: list[dns.rdata.Rdata] = []
    for value in values:
        quick = _QUICK[type_](value, origin) if type_ in _QUICK and isinstance(value, str) else None
        if quick is None:
            rdata = _canonical(_parsed(where, type_, value, origin))
            parsed.append(rdata)
            quick = _wire(rdata), _text(rdata)
        by_wire[quick[0]] = quick[1]
    size = names.wire_size(owner) + sum(_RECORD_HEADER_OCTETS + len(wire) for wire in by_wire)
    if size > MAX_RRSET_OCTETS:
        raise _too_large(where, f"{size:,}", len(by_wire))
    if type_ in SINGLE and len(by_wire) > 1:
        raise InvalidRecord(f"{where}: a name has one {type_} at most, not {len(by_wire)}")
    if rule := RULES.get(type_):
        rule(where, owner, parsed)
    return tuple(by_wire[wire] for wire in sorted(by_wire))


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


def parse(type_: str, text: str, origin: Name | None = None) -> dns.rdata.Rdata:
    """Text as a dnspython record, not judged. Raises dnspython's errors."""
    base = None if origin is None else names.to_dnspython(origin)
    return dns.rdata.from_text(IN, type_, text, origin=base, relativize=False)


def _too_large(where: str, size: str, count: int) -> InvalidRecord:
    return InvalidRecord(
        f"{where}: {count:,} records take {size} octets in a message, and {MAX_RRSET_OCTETS:,} is the limit"
    )


# The commonest forms of the commonest types without dnspython, which takes ten to a hundred times as long.
# Each gives the octets and the canonical text, or None for everything that isn't plain (then dnspython
# decides, and says what is wrong).

_Quick = Callable[[str, Name | None], tuple[bytes, str] | None]


def _quick_a(value: str, origin: Name | None) -> tuple[bytes, str] | None:
    try:
        wire = socket.inet_pton(socket.AF_INET, value)
    except (OSError, ValueError):
        return None
    return wire, socket.inet_ntop(socket.AF_INET, wire)


def _quick_aaaa(value: str, origin: Name | None) -> tuple[bytes, str] | None:
    try:
        wire = socket.inet_pton(socket.AF_INET6, value)
    except (OSError, ValueError):
        return None
    return wire, dns.ipv6.inet_ntoa(wire)


def _quick_text(value: str, origin: Name | None) -> tuple[bytes, str] | None:
    if _PLAIN_STRING.fullmatch(value):
        return bytes([len(value) - 2]) + value[1:-1].encode("ascii"), value
    return None


def _quick_name(value: str, origin: Name | None) -> tuple[bytes, str] | None:
    if origin is not None and not value.endswith("."):
        value = f"{value}.{origin}"
    if not names.is_canonical(value):
        return None
    labels = names.split_labels(Name(value))
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0", value


_QUICK: dict[str, _Quick] = {
    "A": _quick_a,
    "AAAA": _quick_aaaa,
    "CNAME": _quick_name,
    "NS": _quick_name,
    "PTR": _quick_name,
    "TXT": _quick_text,
}


def _parsed(where: str, type_: str, value: str, origin: Name | None = None) -> dns.rdata.Rdata:
    _check_form(where, type_, value)
    try:
        rdata = parse(type_, value, origin)
    except dns.exception.DNSException as exc:
        raise InvalidRecord(f"{where}: {shown(value)} is not {type_} data{_reason(exc, type_)}") from exc
    for name in _names_in(rdata):
        if not name.is_absolute():
            raise _not_absolute(where, name)
    return rdata


def _check_form(where: str, type_: str, value: str) -> None:
    """What holds for every type before it is parsed: mistakes that dnspython would read as something else."""
    if not isinstance(value, str):
        raise InvalidRecord(f"{where}: a record's data is text, not {type(value).__name__}")
    if not value.strip(" "):
        raise InvalidRecord(f"{where}: a record's data is empty")
    if control := _CONTROL.search(value):
        if control[0] in "\r\n":
            raise InvalidRecord(
                f"{where}: a newline in {shown(value)}; a text's own newline is written \\010"
            )
        raise InvalidRecord(
            f"{where}: a control character in {shown(value)}: write it as \\{ord(control[0]):03d}"
        )
    if not _SOUND.fullmatch(value):
        raise InvalidRecord(f"{where}: {_unsound(value)}")
    if type_ in TEXT_TYPES and not value.startswith("\\#"):
        _check_strings(where, value)


def _unsound(value: str) -> str:
    if bad := _BAD_ESCAPE.match(value):
        if bad.end() == len(value):
            return f"{shown(value)} ends in a backslash: write \\\\ for a backslash"
        return (
            f"{shown(value)}: a backslash is followed by three digits from 000 to 255, "
            "or by a character that is no digit"
        )
    outside = re.sub(rf'"(?:[^\\"]|{_ESCAPE})*+"|{_ESCAPE}', "", value)
    if '"' in outside:
        return f"{shown(value)} has a quote that doesn't end: write \\\" for a quote within text"
    character = next(char for char in outside if char in "();")
    return f"{shown(value)}: a {character} outside quotes; put the text in quotes"


def _check_strings(where: str, value: str) -> None:
    strings = list(_STRING.finditer(value))
    if len(strings) > 1 and any(string[2] is not None for string in strings):
        whole = value.replace('"', '\\"')
        raise InvalidRecord(
            f'{where}: text with blanks must be in quotes: write "{shown(whole)}" '
            'for one string, or "…" "…" for several'
        )
    for string in strings:
        octets = sum(
            len(char[1].encode()) if char[1] else 1 for char in _OCTET.finditer(string[1] or string[2] or "")
        )
        if octets > 255:
            raise InvalidRecord(
                f'{where}: a string has {octets} octets, and 255 is the limit; split it: "…" "…" '
                "(readers join them without a blank)"
            )


def _reason(exc: dns.exception.DNSException, type_: str) -> str:
    said = str(exc).strip().rstrip(".")
    reason = "" if said in ("", "Text input is malformed") else f" ({said})"
    return reason + (f"; write it like {EXAMPLES[type_]}" if type_ in EXAMPLES else "")


def _not_absolute(where: str, name: dns.name.Name) -> InvalidRecord:
    text = str(name)
    if text == "@":
        return InvalidRecord(
            f"{where}: @ has no meaning within data; write the whole name, with its final dot"
        )
    if re.fullmatch(r"[0-9]+(\.[0-9]+){3}", text):
        return InvalidRecord(f"{where}: {text} is an address, and a name is needed")
    full = f"{text}." if "." in text else f"{text}.example.org."
    return InvalidRecord(
        f"{where}: the name {shown(text)} must be whole and end in a dot, like {shown(full)}"
    )


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
    # An empty APL (RFC 3123 allows it) has no text of its own; generic data of no octets a trailing blank.
    return rdata.to_styled_text(_STYLE).rstrip(" ") or "\\# 0"
