"""What single record types ask beyond the form of their data: owners and company.

All from the RFCs named here. That digests have the length of their kind is dnspython's to see.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dnsworker import names
from dnsworker.errors import InvalidRecord
from dnsworker.names import Name

#: Judges the records of one RRset: (owner and type for the message, owner, dnspython records).
Rule = Callable[[str, Name, Sequence[Any]], None]

SINGLE = frozenset({"CNAME", "DNAME"})  # RFC 2181, section 10.1; RFC 6672, section 2.4
#: Types that are strings only, as many as one likes: where a forgotten quote changes the meaning silently.
TEXT_TYPES = frozenset({"TXT", "SPF", "AVC", "NINFO", "RESINFO", "WALLET"})

#: One good value for each of the common types, for messages.
EXAMPLES: Mapping[str, str] = {
    "A": "192.0.2.1",
    "AAAA": "2001:db8::1",
    "CAA": '0 issue "ca.example.net"',
    "CNAME": "www.example.org.",
    "DNAME": "example.net.",
    "DS": "60485 8 2 followed by 64 hex digits",
    "HTTPS": "1 . alpn=h2",
    "MX": "10 mail.example.org.",
    "NAPTR": '100 10 "s" "SIP+D2U" "" _sip._udp.example.org.',
    "NS": "ns1.example.org.",
    "PTR": "www.example.org.",
    "SRV": "10 60 5060 sip.example.org.",
    "SSHFP": "4 2 followed by 64 hex digits",
    "SVCB": "1 svc.example.org. port=8443",
    "TLSA": "3 1 1 followed by 64 hex digits",
    "TXT": '"some text"',
    "URI": '10 1 "https://www.example.org/"',
}

_TRANSPORTS = frozenset({b"_tcp", b"_udp", b"_sctp", b"_dccp"})


def _mx(where: str, owner: Name, records: Sequence[Any]) -> None:
    if len(records) > 1 and any(str(record.exchange) == "." for record in records):
        raise InvalidRecord(f"{where}: a null MX (0 .) stands alone (RFC 7505)")


def _ns(where: str, owner: Name, records: Sequence[Any]) -> None:
    if names.split_labels(owner)[:1] == (b"*",):
        raise InvalidRecord(f"{where}: a wildcard can't be delegated (RFC 4592, section 4.2)")


def _srv(where: str, owner: Name, records: Sequence[Any]) -> None:
    # RFC 2782; RFC 6763 puts an instance's name before, a wildcard may stand for the service.
    labels = names.split_labels(owner)
    for service, protocol in itertools.pairwise(labels):
        if protocol.startswith(b"_") and (service.startswith(b"_") or service == b"*"):
            return
    raise InvalidRecord(f"{where}: an SRV lies under _service._protocol, like _sip._tcp.{owner}")


def _tlsa(where: str, owner: Name, records: Sequence[Any]) -> None:
    # RFC 6698, section 3. Names that a CNAME leads to (RFC 7671, section 7) needn't have the form.
    labels = names.split_labels(owner)
    port, transport = (*labels, b"", b"")[:2]
    if not any(label.startswith(b"_") for label in labels):
        raise InvalidRecord(f"{where}: a TLSA lies under _port._protocol, like _443._tcp.{owner}")
    if transport in _TRANSPORTS and port != b"*":
        number = port[1:]
        if not port.startswith(b"_") or not number.isdigit() or int(number) > 65535:
            raise InvalidRecord(
                f"{where}: before {transport.decode()} comes a port from _0 to _65535 (or *), like _443"
            )
    elif port[1:].isdigit() and port.startswith(b"_"):
        raise InvalidRecord(f"{where}: after the port comes the protocol, like {port.decode()}._tcp")


RULES: Mapping[str, Rule] = {
    "MX": _mx,
    "NS": _ns,
    "SRV": _srv,
    "TLSA": _tlsa,
}
