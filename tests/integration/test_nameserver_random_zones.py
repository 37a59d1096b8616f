"""The built-in nameserver and a real BIND with zones that chance put together: they answer the same.

What differs on purpose is told in `test_nameserver_bind`; there the zones are chosen, here every rule meets
every other.
"""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dev.servers import Bind
from dnsworker import names
from dnsworker.contents import ZoneContents
from dnsworker.names import Name
from dnsworker.nameserver import NameServer
from dnsworker.records import SOA
from dnsworker.zonefile import parse_zone, zone_text

TYPES = ("A", "TXT", "MX", "NS", "DS", "CNAME", "DNAME", "SOA", "ANY")
LABELS = ("a", "b", "*")
#: Every name of up to three labels is asked for.
PREFIXES = [".".join(labels) for size in (1, 2, 3) for labels in itertools.product(LABELS, repeat=size)]
#: What stands together at an owner.
KINDS = ("A", "TXT", "CNAME", "DNAME", "DNAME+TXT", "NS", "NS+DS", "NS+A", "A+MX")

Record = tuple[str, str, int, str]


class OneZone:
    """A source with one zone."""

    zone: ZoneContents

    def find(self, qname: Name) -> ZoneContents | None:
        return self.zone if names.is_within(qname, self.zone.name) else None

    def contents(self, zone: Name) -> ZoneContents | None:
        return self.zone if zone == self.zone.name else None


class Pair:
    """BIND and ours with the same zone, over sockets that stay."""

    def __init__(self, bind: Bind) -> None:
        self._bind, self._source = bind, OneZone()
        self._ours = NameServer(self._source, port=0)
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Pair:
        self._ours.start()
        for port in (self._bind.port, self._ours.port):
            self._sockets.append(socket.socket(type=socket.SOCK_DGRAM))
            self._sockets[-1].settimeout(5)
            self._sockets[-1].connect(("127.0.0.1", port))
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._sockets:
            one.close()
        self._ours.stop()

    def add(self, zone: ZoneContents) -> None:
        path = self._bind.folder / f"{zone.name}{next(_numbers)}"
        path.write_text(zone_text(zone))
        self._bind.rndc(
            "addzone", zone.name,
            f'{{ type primary; file "{path}"; check-integrity no; check-sibling no; check-mx ignore; }};',
        )  # fmt: skip
        self._source.zone = zone

    def remove(self, zone: ZoneContents) -> None:
        self._bind.rndc("delzone", "-clean", zone.name)

    def ask(self, qname: str, qtype: str) -> list[dns.message.Message]:
        """BIND's answer and ours."""
        query = dns.message.make_query(
            names.to_dnspython(Name(qname)), qtype, use_edns=0, payload=1232, flags=0
        )
        wire = query.to_wire()
        for one in self._sockets:
            one.send(wire)
        return [dns.message.from_wire(one.recv(65535)) for one in self._sockets]


def meaning(message: dns.message.Message, zone: Name) -> dict[str, object]:
    """What must be the same in both."""
    return {
        "rcode": dns.rcode.to_text(message.rcode()),
        "AA": bool(message.flags & dns.flags.AA),
        "TC": bool(message.flags & dns.flags.TC),
        "question": message.question,
        "answer": records(message.answer),
        # Without the NS records of the zone itself, which BIND adds to positive answers.
        "referral": {one for one in records(message.authority) if one[0] != zone and one[1] == "NS"},
        "negative": {one[3] for one in records(message.authority) if one[1] == "SOA"},
    }


def records(section: list[dns.rrset.RRset]) -> set[Record]:
    return {
        (rrset.name.to_text().lower(), dns.rdatatype.to_text(rrset.rdtype), rrset.ttl, rdata.to_text())
        for rrset in section
        for rdata in rrset
    }


def glue(message: dns.message.Message, zone: Name) -> set[Record]:
    """The addresses without which a referral leads nowhere."""
    cuts = [rrset.name for rrset in message.authority if rrset.name.to_text() != zone]
    return records([one for one in message.additional if any(one.name.is_subdomain(cut) for cut in cuts)])


_numbers = itertools.count(1)


@st.composite
def zones(draw: st.DrawFn) -> ZoneContents:
    """A zone that BIND loads, over so few labels that everything meets everything."""
    prefixes = st.sampled_from([prefix for prefix in PREFIXES if "*" not in prefix[1:]])
    owners = draw(st.lists(prefixes, min_size=1, max_size=7, unique=True))
    targets = [owner for owner in owners if "*" not in owner] + ["a", "a.b", "b.b", "none", "ns"]
    lines = ["@ NS ns", "ns A 192.0.2.1"]
    for owner in owners:
        # A wildcard as a cut or DNAME is undefined (RFC 4592, sections 4.2 and 4.4).
        kind = draw(
            st.sampled_from([kind for kind in KINDS if "*" not in owner or kind[:2] not in ("NS", "DN")])
        )
        target = draw(st.sampled_from(targets))
        data = {"A": "192.0.2.7", "TXT": f'"{owner}"', "MX": f"10 {target}", "DS": "1 8 2 " + 64 * "a"}
        lines += [f"{owner} {one} {data.get(one, target)}" for one in kind.split("+")]
    name = Name(f"z{next(_numbers)}.random.test.")
    soa = SOA(Name(f"ns.{name}"), Name(f"hostmaster.{name}"), 1, minimum=120)
    return ZoneContents.of(name, soa, parse_zone("\n".join(lines), name, 300).rrsets)


def told(zone: ZoneContents, theirs: dns.message.Message, ours: dns.message.Message) -> str:
    return f"{zone_text(zone)}\nBIND: {theirs}\n\nOurs: {ours}"


@pytest.fixture(scope="module")
def pair(bind: Bind) -> Iterator[Pair]:
    with Pair(bind) as both:
        yield both


# Not shrunk: a zone has seven owners at most, and each attempt asks BIND a hundred times.
@settings(
    max_examples=30,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(zone=zones(), qtypes=st.lists(st.sampled_from(TYPES), min_size=3, max_size=3, unique=True))
def test_zones_of_chance_are_answered_as_by_bind(pair: Pair, zone: ZoneContents, qtypes: list[str]) -> None:
    pair.add(zone)
    try:
        for qname, qtype in itertools.product(
            [zone.name, *(f"{one}.{zone.name}" for one in PREFIXES)], qtypes
        ):
            theirs, ours = pair.ask(qname, qtype)
            if theirs.rcode() == dns.rcode.SERVFAIL:  # loops: BIND gives up, ours gives the chain
                is_cut_off = bool(ours.flags & dns.flags.TC)  # each turn of the loop may make the name longer
                assert is_cut_off or ours.answer[0].rdtype in (dns.rdatatype.CNAME, dns.rdatatype.DNAME)
                continue
            assert meaning(ours, zone.name) == meaning(theirs, zone.name), told(zone, theirs, ours)
            assert glue(ours, zone.name) == glue(theirs, zone.name), told(zone, theirs, ours)
    finally:
        pair.remove(zone)
