"""The built-in nameserver beside a real BIND with the same zones: the same questions, the same answers.

What differs on purpose:

- Ours is sparing (RFC 9522 asks for no more): no NS RRset beside positive answers, where BIND adds it.
- Ours gives the chain where BIND says SERVFAIL: loops, and more than 11 links.
- BIND with a parent and its child, led to the child by a chain, stops without the parent's referral.
- Additional addresses are a courtesy: they are compared for referrals only, where they are needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.zone
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dev.servers import Bind
from dnsworker.contents import ZoneContents
from dnsworker.names import Name, is_within
from dnsworker.nameserver import NameServer
from dnsworker.records import SOA, RRset

LONG = ".".join(["l" * 60] * 3)

ZONES = {
    "answers.test.": f"""
$TTL 300
@            SOA   ns1 hostmaster 2026010101 7200 900 1209600 60
@            NS    ns1
@            NS    ns.elsewhere.test.
@            MX    10 mail
@            TXT   "one" "two words"
@            CAA   0 issue "ca.example."
ns1          A     192.0.2.1
ns1          AAAA  2001:db8::1
mail     60  A     192.0.2.25
www          A     192.0.2.80
www          A     192.0.2.81
www          TXT   "a"
_sip._tcp    SRV   0 5 5060 sip
sip          A     192.0.2.60
mx-out       MX    10 mail.elsewhere.test.
mx-in-cut    MX    10 ns.glued
mx-alias     MX    10 alias
; an empty non-terminal: a.b.ent exists, b.ent and ent have no data
a.b.ent      A     192.0.2.2
; wildcards
*.wild       A     192.0.2.3
*.wild       MX    10 mail
host.wild    TXT   "no A here"
under.ent.wild  A  192.0.2.4
*.cwild      CNAME www
*.cout       CNAME www.elsewhere.test.
*.cself      CNAME x.cself
*.deep.wild2 A     192.0.2.5
*.wild2      TXT   "shallow"
a.*.wild3    A     192.0.2.6
cut.wild     NS    ns1
; chains
alias        CNAME www
alias2       CNAME alias
to-none      CNAME nothing
to-ent       CNAME b.ent
to-out       CNAME www.elsewhere.test.
to-other     CNAME www.other.test.
to-other2    CNAME alias.other.test.
to-other3    CNAME nothing.other.test.
to-pingpong  CNAME ping.other.test.
to-wild      CNAME some.wild
to-cut       CNAME host.glued
to-cut-itself CNAME glued
to-dname     CNAME x.dn
to-child     CNAME www.child
to-apex      CNAME @
loop1        CNAME loop2
loop2        CNAME loop1
self         CNAME self
{chr(10).join(f"c{i} CNAME c{i + 1}" for i in range(1, 30))}
c30          A     192.0.2.30
; DNAMEs
dn           DNAME target
dn           TXT   "beside"
x.target     A     192.0.2.7
*.y.target   A     192.0.2.8
dn-out       DNAME elsewhere.test.
dn-loop      DNAME sub.dn-loop2
dn-loop2     DNAME dn-loop
dn-chain     DNAME dn
dn-long      DNAME {LONG}
; delegations
glued        NS    ns.glued
glued        NS    ns.other-cut
ns.glued     A     192.0.2.40
ns.glued     AAAA  2001:db8::40
other-cut    NS    ns.other-cut
ns.other-cut A     192.0.2.41
bare         NS    ns.elsewhere.test.
signed       NS    ns1
signed       DS    12345 13 2 49FD46E6C4B45C55D4AC69CBD3CD34AC1AFE51DE49FD46E6C4B45C55D4AC69CB
deep.er.cut  NS    ns1
; occluded by a cut: not to be seen
hidden.glued A     192.0.2.42
*.glued      A     192.0.2.43
cut.glued    NS    ns1
alias.glued  CNAME www
glued        TXT   "at a cut"
; and this one is served as a zone of its own, too
child        NS    ns1
child        DS    54321 13 2 49FD46E6C4B45C55D4AC69CBD3CD34AC1AFE51DE49FD46E6C4B45C55D4AC69CB
; odd names
Upper        A     192.0.2.9
es\\.caped    A     192.0.2.10
sp\\032ace    TXT   "x"
\\*.star      A     192.0.2.11
big          TXT   {" ".join(f'"{chr(97 + i) * 200}"' for i in range(15))}
""",
    "child.answers.test.": """
$TTL 300
@    SOA ns1 hostmaster 7 7200 900 1209600 3600
@    NS  ns1.answers.test.
www  A   192.0.2.90
up   CNAME www.answers.test.
*    TXT "below the child"
""",
    "other.test.": """
$TTL 300
@     SOA ns1 hostmaster 8 7200 900 1209600 3600
@     NS  ns1.answers.test.
@     MX  0 .
www   A   192.0.2.91
alias CNAME www
back  CNAME www.answers.test.
ping  CNAME to-pingpong.answers.test.
cut   NS  ns1.answers.test.
""",
    "apexdname.test.": """
$TTL 300
@    SOA ns1.answers.test. hostmaster 9 7200 900 1209600 3600
@    NS  ns1.answers.test.
@    DNAME other.test.
@    TXT "apex"
""",
}
HIDDEN_BY_CHILD = ("to-child.answers.test.",)
TYPES = ("A", "AAAA", "NS", "CNAME", "DNAME", "SOA", "MX", "TXT", "DS", "SRV", "ANY")


class Zones:
    """A `ZoneSource` over whole zones."""

    def __init__(self, zones: dict[Name, ZoneContents]) -> None:
        self.zones = zones

    def find(self, qname: Name) -> ZoneContents | None:
        held = [zone for zone in self.zones.values() if is_within(qname, zone.name)]
        return max(held, key=lambda zone: len(zone.name), default=None)

    def contents(self, zone: Name) -> ZoneContents | None:
        return self.zones.get(zone)


def contents_of(text: str, origin: str) -> ZoneContents:
    zone = dns.zone.from_text(text, origin=origin, relativize=False, check_origin=False)
    rrsets, soa = [], None
    for name, rdataset in zone.iterate_rdatasets():
        if rdataset.rdtype == dns.rdatatype.SOA:
            soa = SOA.from_rdataset(rdataset)
        else:
            rrsets.append(RRset.from_rdataset(name, rdataset))
    assert soa is not None
    return ZoneContents.of(Name(origin), soa, rrsets)


SOURCE = Zones({Name(origin): contents_of(text, origin) for origin, text in ZONES.items()})
NAMES = sorted({name for zone in SOURCE.zones.values() for name, _ in zone.rrsets})


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bind]:
    folder: Path = tmp_path_factory.mktemp("zones")
    with Bind(
        options="allow-transfer { any; }; check-integrity no; check-names primary ignore; check-mx ignore; "
        "check-mx-cname ignore; check-srv-cname ignore; check-wildcard no; check-sibling no;"
    ) as server:
        for origin, text in ZONES.items():
            path = folder / f"{origin}zone"
            path.write_text(text)
            server.rndc("addzone", origin, f'{{ type primary; file "{path}"; }};')
        yield server


@pytest.fixture(scope="module")
def ours() -> Iterator[NameServer]:
    with NameServer(SOURCE, port=0) as server:
        yield server


def ask(port: int, name: str, qtype: str, transport: str = "udp", edns: bool = True) -> dns.message.Message:
    query = dns.message.make_query(
        dns.name.from_text(name), qtype, use_edns=0 if edns else False, payload=1232, flags=0
    )
    if transport == "tcp":
        return dns.query.tcp(query, "127.0.0.1", port=port, timeout=5)
    return dns.query.udp(query, "127.0.0.1", port=port, timeout=5)


def essence(response: dns.message.Message, qtype: str) -> dict[str, Any]:
    """What of a response must be the same everywhere."""
    if response.flags & dns.flags.TC:
        return {"TC": True}

    def records(section: list[Any], *types: str) -> set[tuple[str, str, int, str]]:
        return {
            (
                rrset.name.canonicalize().to_text(),
                dns.rdatatype.to_text(rrset.rdtype),
                rrset.ttl,
                rdata.to_text().lower() if rrset.rdtype != dns.rdatatype.TXT else rdata.to_text(),
            )
            for rrset in section
            for rdata in rrset
            if not types or dns.rdatatype.to_text(rrset.rdtype) in types
        }

    # BIND gives a negative answer to SOA the TTL 0 (zero-no-soa-ttl), for resolvers that no longer exist.
    soa = {
        (name, data) if qtype == "SOA" else (name, data, ttl)
        for name, _, ttl, data in records(response.authority, "SOA")
    }
    referral = records(response.authority, "NS") if is_referral(response, qtype) else set()
    glue = {
        one for one in records(response.additional, "A", "AAAA") if "cut." in one[0] or "glued." in one[0]
    }
    return {
        "rcode": dns.rcode.to_text(response.rcode()),
        "AA": bool(response.flags & dns.flags.AA),
        "answer": records(response.answer),
        "SOA": soa,
        "referral": referral,
        "glue": glue if referral else set(),
    }


def is_referral(response: dns.message.Message, qtype: str) -> bool:
    has_soa = any(rrset.rdtype == dns.rdatatype.SOA for rrset in response.authority)
    if has_soa or response.rcode() != 0:
        return False
    return not response.answer or (
        response.answer[-1].rdtype == dns.rdatatype.CNAME and qtype not in ("CNAME", "ANY")
    )


def compare(named: Bind, ours: NameServer, name: str, qtype: str, **how: Any) -> None:
    theirs, mine = (essence(ask(server.port, name, qtype, **how), qtype) for server in (named, ours))
    if is_endless(name) and theirs.get("rcode") == "SERVFAIL":
        # A loop whose every turn makes the name longer fills the message.
        assert mine.get("TC") or mine.get("rcode") == "NOERROR"
        return
    if theirs.get("TC") and not mine.get("TC"):  # ours is smaller, and fits: BIND's whole answer is wanted
        compare(named, ours, name, qtype, **how | {"transport": "tcp"})
        return
    if name in HIDDEN_BY_CHILD:
        mine["referral"] = mine["glue"] = set()
    differing = {
        key: (mine.get(key), theirs.get(key)) for key in mine | theirs if mine.get(key) != theirs.get(key)
    }
    assert not differing, f"{name} {qtype} {how}: (ours, theirs) {differing}"


def is_endless(name: str) -> bool:
    """BIND says SERVFAIL for loops and after 11 links; ours gives the chain."""
    label = name.split(".")[0]
    is_long = label.startswith("c") and label[1:].isdigit() and int(label[1:]) < 30 - 11
    return is_long or "loop" in name or "self" in name


# Names that are there, lie above, below and beside what is there.
def around(name: str) -> Iterator[str]:
    yield name
    yield f"x.{name}"
    yield f"*.{name}"
    yield f"y.x.{name}"


FURTHER = (
    *("nothing", "ent", "b.ent", "a.wild3", "x.a.wild3", "er.cut", "x.*.wild3", "q.ent.wild", "q.host.wild"),
    *("q.y.dn", f"{LONG[:60]}.dn-long"),
)
ELSEWHERE = {
    "elsewhere.test.",
    "www.elsewhere.test.",
    "test.",
    "www.apexdname.test.",
    "alias.apexdname.test.",
}
EVERYWHERE = sorted(
    {near for name in NAMES for near in around(name) if len(near) < 200}
    | {f"{labels}.answers.test." for labels in FURTHER}
    | ELSEWHERE
)


@pytest.mark.parametrize("qtype", TYPES)
def test_every_name_is_answered_as_by_bind(named: Bind, ours: NameServer, qtype: str) -> None:
    for name in EVERYWHERE:
        compare(named, ours, name, qtype)


LABELS = sorted(
    {label for name in NAMES for label in name.split(".")[:-3] if len(label) < 20 and "\\" not in label}
)
names_in_zones = st.builds(
    lambda labels, zone: ".".join([*labels, zone]),
    st.lists(st.sampled_from(["x", "X", "*", *LABELS]), max_size=4),
    st.sampled_from([*ZONES, *(name for name in NAMES if len(name) < 60)]),
)


@settings(max_examples=400, deadline=None)
@given(
    name=names_in_zones,
    qtype=st.sampled_from([*TYPES, "PTR", "CAA", "TYPE65280", "RRSIG", "NSEC", "KEY", "DNSKEY"]),
    transport=st.sampled_from(["udp", "tcp"]),
    edns=st.booleans(),
)
def test_any_name_is_answered_as_by_bind(
    named: Bind, ours: NameServer, name: str, qtype: str, transport: str, edns: bool
) -> None:
    compare(named, ours, name, qtype, transport=transport, edns=edns)


@pytest.mark.parametrize("edns", [True, False])
def test_what_does_not_fit_is_truncated_and_whole_over_tcp(named: Bind, ours: NameServer, edns: bool) -> None:
    compare(named, ours, "big.answers.test.", "TXT", edns=edns)
    assert ask(ours.port, "big.answers.test.", "TXT", edns=edns).flags & dns.flags.TC
    assert len(ask(ours.port, "big.answers.test.", "TXT", "tcp", edns).answer) == 1


@pytest.mark.parametrize("origin", ZONES)
def test_a_transfer_is_the_same_zone_as_from_bind(named: Bind, ours: NameServer, origin: str) -> None:
    theirs, mine = (
        dns.zone.from_xfr(
            dns.query.xfr("127.0.0.1", origin, port=server.port, timeout=5, relativize=False),
            relativize=False,
        )
        for server in (named, ours)
    )
    assert mine == theirs
