"""From the octets of a query to those of a response, without sockets: nothing that arrives may do harm."""

from __future__ import annotations

import itertools

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.tsig
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dnsworker.contents import ZoneContents
from dnsworker.names import Name
from dnsworker.nameserver import questions
from dnsworker.nameserver.query import Query
from dnsworker.nameserver.response import MAX_UDP
from dnsworker.records import SOA, RRset

ZONE = Name("example.org.")
HELD = ZoneContents.of(
    ZONE,
    SOA(Name("ns1.example.org."), Name("h.example.org."), 2026),
    [
        RRset(ZONE, "NS", 300, [f"ns1.{ZONE}"]),
        RRset(f"ns1.{ZONE}", "A", 300, ["192.0.2.1"]),
        RRset(f"big.{ZONE}", "TXT", 300, [f'"{number} {"x" * 200}"' for number in range(20)]),
        RRset(f"cut.{ZONE}", "NS", 300, [f"ns{number}.cut.{ZONE}" for number in range(13)]),
        *(RRset(f"ns{number}.cut.{ZONE}", "AAAA", 300, [f"2001:db8::{number}"]) for number in range(13)),
        RRset(f"mail.{ZONE}", "MX", 300, [f"{number} mx{number}.{ZONE}" for number in range(9)]),
        *(RRset(f"mx{number}.{ZONE}", "AAAA", 300, [f"2001:db8::{number}"]) for number in range(9)),
        RRset(f"grows.{ZONE}", "DNAME", 300, [f"a.grows.{ZONE}"]),
        RRset(f"_sip._tcp.{ZONE}", "SRV", 300, [f"1 2 3 host.{ZONE}"]),
        RRset(f"\\000\\.a.{ZONE}", "TYPE65280", 300, ["\\# 3 010203"]),
    ],
)


class Source:
    def find(self, qname: Name) -> ZoneContents | None:
        return HELD if qname == ZONE or qname.endswith(f".{ZONE}") else None

    def contents(self, zone: Name) -> ZoneContents | None:
        return HELD if zone == ZONE else None


def respond(octets: bytes) -> bytes | None:
    found = questions.read(octets)
    return questions.over_udp(found, Source()) if isinstance(found, Query) else found


def ask(query: dns.message.Message) -> dns.message.Message:
    octets = respond(query.to_wire())
    assert octets is not None
    response = dns.message.from_wire(octets)
    assert response.id == query.id
    return response


def query_for(name: str, qtype: str = "A", **options: object) -> dns.message.Message:
    return dns.message.make_query(name, qtype, **options)  # type: ignore[arg-type]


SEEDS = [
    query_for("www.example.org.").to_wire(),
    query_for("big.example.org.", "TXT", use_edns=0, payload=4096).to_wire(),
    query_for("example.org.", "ANY", use_edns=0, options=[dns.edns.GenericOption(10, b"cookie!!")]).to_wire(),
    dns.message.from_text(
        "id 7\nopcode QUERY\nflags\n;QUESTION\nexample.org. IN IXFR\n;ANSWER\n;AUTHORITY\n"
        "example.org. 0 IN SOA . . 2025 0 0 0 0\n;ADDITIONAL\n"
    ).to_wire(),
]


@given(st.binary(max_size=600))
@example(b"")
@example(b"\0" * 12)
@example(b"\0" * 11)
@example(b"\xff" * 512)
def test_random_octets_do_no_harm(octets: bytes) -> None:
    check(octets)


@given(st.sampled_from(SEEDS), st.data())
def test_mutated_queries_do_no_harm(seed: bytes, data: st.DataObject) -> None:
    octets = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(octets) - 1))
        match data.draw(st.sampled_from(["set", "cut", "insert", "repeat"])):
            case "set":
                octets[position] = data.draw(st.integers(0, 255))
            case "cut":
                del octets[position : position + data.draw(st.integers(1, 8))]
            case "insert":
                octets[position:position] = data.draw(st.binary(max_size=8))
            case "repeat":
                octets += octets[position:]
        if not octets:
            break
    check(bytes(octets))


def check(octets: bytes) -> None:
    response = respond(octets)
    if len(octets) < 12 or octets[2] & 0x80:
        assert response is None
        return
    assert response is not None
    assert response[:2] == octets[:2]
    assert response[2] & 0x80
    assert len(response) <= MAX_UDP
    dns.message.from_wire(response)


@pytest.mark.parametrize(
    ("octets", "rcode"),
    [
        (SEEDS[0][:14], "FORMERR"),  # the name is cut off
        (SEEDS[0] + b"\0", "FORMERR"),  # something follows
        (SEEDS[0][:4] + b"\0\2" + SEEDS[0][6:], "FORMERR"),  # two questions
        (SEEDS[0][:4] + b"\0\0" + SEEDS[0][6:12], "FORMERR"),  # none
        (SEEDS[0][:12] + b"\xc0\x0c\0\1\0\1", "FORMERR"),  # a name that points at itself
        (SEEDS[0][:2] + b"\x20" + SEEDS[0][3:], "NOTIMP"),  # NOTIFY
        (SEEDS[0][:2] + b"\x28" + SEEDS[0][3:], "NOTIMP"),  # UPDATE
        (query_for("example.org.", "MAILA").to_wire(), "NOTIMP"),
        (query_for("example.org.", "OPT").to_wire(), "FORMERR"),
        (query_for("example.net.").to_wire(), "REFUSED"),
        (query_for("version.bind.", "TXT", rdclass="CH").to_wire(), "REFUSED"),
        (query_for("example.org.", "AXFR").to_wire(), "FORMERR"),  # over UDP
        (query_for("example.net.", "IXFR").to_wire(), "NOTAUTH"),
    ],
    ids=itertools.count(1),  # the octets hold a random id, and every process must give a case the same name
)
def test_what_is_not_answered_is_told_why(octets: bytes, rcode: str) -> None:
    response = respond(octets)
    assert response is not None
    parsed = dns.message.from_wire(response)
    assert (dns.rcode.to_text(parsed.rcode()), parsed.answer) == (rcode, [])


def test_responses_are_not_answered() -> None:
    assert respond(dns.message.make_response(query_for("example.org.")).to_wire()) is None


def test_the_question_comes_back_as_it_was_written() -> None:
    response = ask(query_for("Ns1.EXAMPLE.org."))
    assert response.question[0].name.to_text() == "Ns1.EXAMPLE.org."
    assert response.flags & dns.flags.RD
    assert not response.flags & dns.flags.RA


@pytest.mark.parametrize(("asked", "limit"), [(None, 512), (100, 512), (800, 800), (4096, 1232)])
def test_the_payload_is_negotiated(asked: int | None, limit: int) -> None:
    for name, qtype in (("big.example.org.", "TXT"), ("cut.example.org.", "A"), ("mail.example.org.", "MX")):
        query = query_for(name, qtype, use_edns=False if asked is None else 0, payload=asked or 512)
        octets = respond(query.to_wire())
        assert octets is not None
        assert len(octets) <= limit
        response = dns.message.from_wire(octets)
        assert response.edns == (-1 if asked is None else 0)
        assert asked is None or response.payload == 1232


def test_what_does_not_fit_is_marked() -> None:
    assert ask(query_for("big.example.org.", "TXT")).flags & dns.flags.TC
    # A referral without its glue leads nowhere (RFC 9471); other addresses are a courtesy.
    assert ask(query_for("cut.example.org.")).flags & dns.flags.TC
    assert not ask(query_for("mail.example.org.", "MX")).flags & dns.flags.TC
    assert not ask(query_for("cut.example.org.", use_edns=0, payload=1232)).flags & dns.flags.TC


def test_an_unknown_edns_version_is_refused_with_ours() -> None:
    query = query_for("example.org.", use_edns=1)
    response = ask(query)
    assert (response.rcode(), response.edns) == (dns.rcode.BADVERS, 0)


def test_the_dnssec_wish_comes_back() -> None:
    assert ask(query_for("example.org.", want_dnssec=True)).ednsflags & dns.flags.DO
    assert not ask(query_for("example.org.", use_edns=0)).ednsflags & dns.flags.DO


def test_odd_names_and_unknown_types_are_answered() -> None:
    response = ask(query_for("\\000\\.a.example.org.", "TYPE65280"))
    assert [rrset.to_text() for rrset in response.answer] == [
        "\\000\\.a.example.org. 300 IN TYPE65280 \\# 3 010203"
    ]


def test_a_long_chain_of_names_within_names_can_be_read() -> None:
    # Each name points at the one before it; dnspython reads 16 pointers to a name, others fewer.
    response = ask(query_for("a.grows.example.org.", use_edns=0, payload=1232))
    assert len(response.answer) > 16
    assert not response.flags & dns.flags.TC


def test_a_signed_question_gets_bad_key() -> None:
    query = query_for("example.org.", "SOA")
    query.use_tsig(dns.tsig.Key("nobody", b"secret", "hmac-sha256"))
    octets = respond(query.to_wire())
    assert octets is not None
    with pytest.raises(dns.tsig.PeerBadKey):
        dns.message.from_wire(octets, keyring=query.keyring, request_mac=query.mac)


def test_an_incremental_transfer_over_udp_gets_the_soa_alone() -> None:
    octets = respond(SEEDS[3])
    assert octets is not None
    answer = dns.message.from_wire(octets).answer
    assert [rrset[0].serial for rrset in answer] == [2026]
    query = questions.read(SEEDS[3])
    assert isinstance(query, Query)
    assert query.known_serial == 2025
