"""Single RRsets as they are stored, read by queries, where the answers can mean nothing else.

An answer to a query isn't what is stored: a wildcard, a referral, a DNAME or a child zone on the same server
may speak for a name. Here every such possibility is ruled out, or the answer is "can't tell".
"""

from __future__ import annotations

from collections.abc import Collection

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype

from backends.dns_connection import DNSConnection
from dnsworker import names
from dnsworker.names import Name
from dnsworker.records import Key, RRset
from dnsworker.wire import request


class _CannotTell(Exception):
    """The answers to queries leave it open what is stored."""


def look_up(
    connection: DNSConnection,
    zone: Name,
    keys: Collection[Key],
) -> dict[Key, RRset] | None:
    """Those of the RRsets that exist; None when only a transfer can tell (also whether the zone is there)."""
    lookup = _Lookup(connection, zone)
    try:
        lookup.require_zone()
        found = {key: lookup.stored(key) for key in keys}
    except _CannotTell:
        return None
    return {key: rrset for key, rrset in found.items() if rrset is not None}


class _Lookup:
    def __init__(self, connection: DNSConnection, zone: Name) -> None:
        self._connection = connection
        self._zone = zone
        self._answers: dict[Key, RRset | None] = {}

    def require_zone(self) -> None:
        if self._ask(self._zone, "SOA") is None:
            raise _CannotTell

    def stored(self, key: Key) -> RRset | None:
        name, kind = key
        if not names.is_within(name, self._zone) or kind in ("ANY", "RRSIG", "NSEC", "NSEC3"):
            raise _CannotTell
        above = [] if name == self._zone else names.ancestors(name, self._zone)
        # No zone cut and no child zone between the apex and the name: then the zone itself has answered.
        for owner in [name, *above]:
            if owner != self._zone and self._ask(owner, "NS") is not None:
                raise _CannotTell
        rrset = self._ask(name, kind)
        if rrset is None or name == self._zone or name.startswith("*."):
            return rrset
        # A wildcard of the same type, at whatever level, may have given this answer.
        if any(self._ask(names.wildcard_below(owner), kind) is not None for owner in above):
            raise _CannotTell
        return rrset

    def _ask(self, name: Name, kind: str) -> RRset | None:
        """The RRset in the zone's own answer; None when it says that there is none."""
        if (name, kind) not in self._answers:
            self._answers[name, kind] = self._ask_server(name, kind)
        return self._answers[name, kind]

    def _ask_server(self, name: Name, kind: str) -> RRset | None:
        qname, qtype = names.to_dnspython(name), dns.rdatatype.from_text(kind)
        message = self._connection.exchange(request(dns.opcode.QUERY, name, qtype))
        try:
            answer = dns.message.from_wire(message.wire, keyring=False)  # its signature was verified
        except dns.exception.DNSException as exc:
            raise _CannotTell from exc
        if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN) or not answer.flags & dns.flags.AA:
            raise _CannotTell
        if any(rrset.rdtype == dns.rdatatype.DNAME and rrset.name != qname for rrset in answer.answer):
            raise _CannotTell
        found = answer.get_rrset(answer.answer, qname, dns.rdataclass.IN, qtype)
        if found is not None:
            return RRset.from_rdataset(name, found)
        if any(rrset.name == qname and rrset.rdtype == dns.rdatatype.CNAME for rrset in answer.answer):
            return None  # stored or from a wildcard: a name with a CNAME has nothing else
        # The SOA of a negative answer (RFC 2308) names the zone that gave it: ours, or a child or parent.
        if any(
            rrset.rdtype == dns.rdatatype.SOA and names.from_dnspython(rrset.name) == self._zone
            for rrset in answer.authority
        ):
            return None
        raise _CannotTell
