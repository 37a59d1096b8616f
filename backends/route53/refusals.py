"""What the words of an InvalidChangeBatch are about; Route 53 says it in sentences only.

Separate because these words are not promised anywhere: the tests keep the list of those that were seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import dns.exception

from backends.route53 import convert
from dnsworker.plan import RRsetChange
from dnsworker.records import Key

#: The zone isn't in the state that the batch starts from.
_DISAGREES = re.compile(r"but it was not found|do not match the current values|but it already exists|cannot be created as other RRSets exist")  # fmt: skip  # noqa: E501
#: `[name='www.example.org.', type='A'…]`, or older `www.example.org. type A`.
_NAMED = (
    re.compile(r"name='(?P<name>[^']+)', type='(?P<type>[A-Z]+)'"),
    re.compile(r"RRSet of type (?P<type>[A-Z]+) with DNS name (?P<name>\S+)"),
    re.compile(r"with DNS name (?P<name>[^\s,]+), type (?P<type>[A-Z]+)"),
    re.compile(r"resource record set (?P<name>\S+) type (?P<type>[A-Z]+)"),
)
_NAMED_OWNER = re.compile(r"with DNS name (?P<name>\S+) is not permitted in zone")
_NAMED_VALUE = re.compile(r"encountered with '(?P<value>.*?)'(?=[\],\s']|$)", re.DOTALL)


def disagrees(message: str) -> bool:
    return _DISAGREES.search(message) is not None


def named_key(message: str, batch: Iterable[RRsetChange]) -> Key | None:
    """Which of the batch's RRsets a refusal is about; None where it doesn't say."""
    changes = [change for change in batch if change.after]
    if len(changes) == 1:
        return changes[0].key
    keys = {change.key for change in changes}
    for pattern in _NAMED:
        for match in pattern.finditer(message):
            if (key := (_name(match["name"]), match["type"])) in keys:
                return key
    for match in _NAMED_OWNER.finditer(message):
        for key in keys:
            if key[0] == _name(match["name"]):
                return key
    for match in _NAMED_VALUE.finditer(message):
        holders = {c.key for c in changes if c.after and match["value"] in convert.values_of(c.after)}
        if len(holders) == 1:
            return holders.pop()
    return None


def _name(text: str) -> str | None:
    try:
        return convert.name_from_api(text if text.endswith(".") else text + ".")
    except (dns.exception.DNSException, ValueError):
        return None
