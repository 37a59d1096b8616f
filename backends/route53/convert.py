r"""RRsets as Route 53 writes them, and back: what it stores equals ours when it means the same.

The difference is in the escapes: Route 53's `\052` is octal, a master file's is decimal. And it shows every
octet of a name but letters, digits, `-` and `_` in that way.
https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/DomainNameFormat.html (2026-11-25)
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from typing import Any

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdataset
import dns.rdatatype

from dnsworker import names
from dnsworker.names import Name
from dnsworker.rdata_quick import QUICK
from dnsworker.records import SOA, RRset

#: A ResourceRecordSet of the API.
Item = dict[str, Any]

_PLAIN = frozenset((string.ascii_lowercase + string.digits + "-_").encode())
_ESCAPE = re.compile(r"\\(?:([0-9]{3})|(.))", re.DOTALL)
#: Fields of a ResourceRecordSet that any plain one has; with another it is an alias or has a routing policy.
_PLAIN_FIELDS = frozenset(("Name", "Type", "TTL", "ResourceRecords"))


def name_to_api(name: Name) -> str:
    if "\\" not in name and not name.startswith("*"):
        return name
    return "".join(
        "".join(chr(octet) if octet in _PLAIN else f"\\{octet:03o}" for octet in label) + "."
        for label in names.split_labels(name)
    )


def name_from_api(text: str) -> Name:
    if names.is_canonical(text):
        return Name(text)
    return names.from_dnspython(dns.name.from_text(_from_octal(text)))


def item_of(rrset: RRset) -> Item:
    """The RRset as we write it."""
    return {
        "Name": name_to_api(rrset.name),
        "Type": rrset.type,
        "TTL": rrset.ttl,
        "ResourceRecords": [{"Value": value} for value in values_of(rrset)],
    }


def values_of(rrset: RRset) -> list[str]:
    return [_ESCAPE.sub(_to_octal, value) if "\\" in value else value for value in rrset.data]


def is_plain(item: Mapping[str, Any]) -> bool:
    """Whether it is a name, a type, a TTL and data: what we can hold, and others may not take for ours."""
    return _PLAIN_FIELDS.issuperset(item)


def rrset_of(item: Mapping[str, Any]) -> RRset:
    """A plain item, canonical where dnspython can read it; else as Route 53 spells it.

    What can't be read equals nothing of ours, so it is seen, and can be removed.
    """
    name, type = name_from_api(item["Name"]), item["Type"]
    ttl, values = int(item["TTL"]), raw_values(item)
    if (texts := _quickly(type, values)) is not None:
        return RRset.trusted(name, type, ttl, texts)
    try:
        return RRset.from_rdataset(name, _rdataset(type, ttl, values))
    except (dns.exception.DNSException, ValueError):
        return RRset.trusted(name, type, ttl, tuple(sorted(values)))


def soa_of(item: Mapping[str, Any]) -> SOA:
    return SOA.from_rdataset(_rdataset("SOA", int(item["TTL"]), raw_values(item)))


def raw_values(item: Mapping[str, Any]) -> list[str]:
    return [record["Value"] for record in item.get("ResourceRecords", ())]


def _quickly(type: str, values: Sequence[str]) -> tuple[str, ...] | None:
    """Canonical texts in canonical order, of records that are plain enough not to need dnspython."""
    if type not in QUICK:
        return None
    by_wire: dict[bytes, str] = {}
    for value in values:
        quick = QUICK[type](value, None)
        if quick is None:
            return None
        by_wire[quick[0]] = quick[1]
    return tuple(by_wire[wire] for wire in sorted(by_wire))


def _rdataset(type: str, ttl: int, values: Sequence[str]) -> dns.rdataset.Rdataset:
    """A name without its final dot is absolute, too."""
    rdatas = [
        dns.rdata.from_text(
            dns.rdataclass.IN, type, _from_octal(value), origin=dns.name.root, relativize=False
        )
        for value in values
    ]
    return dns.rdataset.from_rdata_list(ttl, rdatas)


def _to_octal(match: re.Match[str]) -> str:
    if match[2] == '"':
        return match[0]  # the one character with a form of its own
    return f"\\{int(match[1]) if match[1] else ord(match[2]):03o}"


def _from_octal(text: str) -> str:
    """Raises `ValueError` for what is no octal number: somebody's decimal one, kept by Route 53 as text."""
    return _ESCAPE.sub(lambda match: f"\\{int(match[1], 8):03d}" if match[1] else match[0], text)
