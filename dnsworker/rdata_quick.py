"""The commonest forms of the commonest types without dnspython, which takes ten to a hundred times as long.

Each function gives the octets and the canonical text, or None for everything that isn't plain: then
dnspython decides, and says what is wrong.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Mapping

import dns.ipv6

from dnsworker import names
from dnsworker.names import Name

_PLAIN_STRING = re.compile(r'"[ !#-\[\]-~]{0,255}"')

#: (value, origin of relative names or None) → (wire format, canonical text)
Quick = Callable[[str, Name | None], tuple[bytes, str] | None]


def ipv6_text(octets: bytes) -> str:
    """An IPv6 address as dnspython writes it (RFC 5952)."""
    if octets.startswith(b"\0\0") or not _IS_ALIKE:
        return dns.ipv6.inet_ntoa(octets)
    return socket.inet_ntop(socket.AF_INET6, octets)


#: Whether the C library writes addresses like dnspython: some shorten a single group of zeros, others don't,
#: and they differ on ::192.0.2.1.
_IS_ALIKE = all(
    socket.inet_ntop(socket.AF_INET6, octets) == dns.ipv6.inet_ntoa(octets)
    for octets in (
        bytes.fromhex("20010db8000100000001000100010001"),
        bytes.fromhex("20010db8000000000001000000000001"),
        bytes.fromhex("20010db8000000010000000000000000"),
    )
)


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
    return wire, ipv6_text(wire)


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


QUICK: Mapping[str, Quick] = {
    "A": _quick_a,
    "AAAA": _quick_aaaa,
    "CNAME": _quick_name,
    "NS": _quick_name,
    "PTR": _quick_name,
    "TXT": _quick_text,
}
