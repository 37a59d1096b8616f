"""What nameservers' answers say, kind by kind."""

from __future__ import annotations

from dataclasses import replace

import dns.message
import pytest

from dnsworker.answers import Answer
from dnsworker.judgement import Observed, agrees, is_gone, read_response, unknown
from dnsworker.names import Name
from dnsworker.records import SOA, RRset

ZONE = Name("child.example.org.")
HOST = Name(f"www.{ZONE}")
APEX_SOA = SOA(Name("ns1.example.org."), Name("h.example.org."), 42)
A = RRset(HOST, "A", 300, ["192.0.2.1", "192.0.2.2"])
RRSIG = RRset.trusted(HOST, "RRSIG", 300, ("A 13 3 300 …",))
ALIAS = RRset(f"alias.{ZONE}", "CNAME", 300, [HOST])
AWAY = RRset(f"away.{ZONE}", "CNAME", 300, ["www.example.net."])
FAR = RRset("www.example.net.", "A", 60, ["192.0.2.9"])
CUT = RRset(f"cut.{ZONE}", "NS", 300, [f"ns.cut.{ZONE}"])
PARENT_NS = RRset("example.org.", "NS", 300, ["ns1.example.org."])

REFERRAL = Answer("NOERROR", authoritative=False, authority=(CUT,))
NODATA = Answer(authority=(APEX_SOA,))
NXDOMAIN = Answer("NXDOMAIN", authority=(APEX_SOA,))


def saw(*answer: RRset, aa: bool = True, rcode: str = "NOERROR", **other: object) -> Observed:
    return Observed("answer", rcode, aa, answer=answer, **other)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("observed", "expected"),
    [
        (unknown("no answer within 1 s"), None),
        (unknown("answers SERVFAIL", "SERVFAIL"), None),
        (saw(aa=False, rcode="REFUSED"), True),
        (saw(aa=False, rcode="NOTAUTH"), True),
        (saw(serial=42, soa_owner=ZONE), False),
        (saw(serial=42, soa_owner=ZONE, aa=False), None),  # from a cache
        (saw(rcode="NXDOMAIN", soa_owner=Name("example.org.")), True),
        (saw(soa_owner=Name("example.org.")), True),
        (saw(soa_owner=Name("org.")), True),
        (saw(soa_owner=Name("example.net.")), None),
        (saw(soa_owner=Name(f"sub.{ZONE}")), None),
        (saw(), None),
        (saw(RRset(ZONE, "CNAME", 300, ["www.example.net."])), True),
        (saw(RRset("example.org.", "DNAME", 300, ["example.net."])), True),
        (saw(RRset(ZONE, "DNAME", 300, ["example.net."])), None),  # may be the zone's own, at its apex
        (saw(aa=False, authority=(RRset(ZONE, "NS", 300, ["ns1.example.net."]),)), True),
        (saw(aa=False, authority=(RRset(".", "NS", 300, ["a.root-servers.net."]),)), True),
    ],
)
def test_whether_a_zone_is_gone(observed: Observed, expected: bool | None) -> None:
    assert is_gone(observed, ZONE) is expected


@pytest.mark.parametrize(
    ("observed", "expected"),
    [
        (saw(A), True),
        (saw(A, RRSIG), True),
        (saw(RRset(HOST, "A", 300, ["192.0.2.2", "192.0.2.1"])), True),
        (saw(RRset(HOST, "A", 301, ["192.0.2.1", "192.0.2.2"])), False),
        (saw(RRset(HOST, "A", 300, ["192.0.2.1"])), False),
        (saw(A, aa=False), False),
        (saw(), False),
        (saw(rcode="NXDOMAIN"), False),
        (saw(aa=False, rcode="REFUSED"), False),
        (unknown("no answer within 1 s"), None),
    ],
)
def test_records_must_be_the_same_with_their_ttl(observed: Observed, expected: bool | None) -> None:
    assert agrees(observed, Answer(answer=(A,)), "A") is expected


@pytest.mark.parametrize("expected", [NODATA, NXDOMAIN])
def test_absence_must_be_the_same_absence(expected: Answer) -> None:
    assert agrees(saw(rcode=expected.rcode, soa_owner=ZONE), expected, "A") is True
    other = "NXDOMAIN" if expected.rcode == "NOERROR" else "NOERROR"
    assert agrees(saw(rcode=other, soa_owner=ZONE), expected, "A") is False
    assert agrees(saw(A), expected, "A") is False
    assert agrees(unknown("answers SERVFAIL", "SERVFAIL"), expected, "A") is None


@pytest.mark.parametrize(
    ("observed", "verdict"),
    [
        (saw(ALIAS, A), True),
        (saw(ALIAS), True),  # it didn't follow
        (saw(ALIAS, rcode="NXDOMAIN"), False),
        (saw(A), False),
        (saw(ALIAS, RRset(HOST, "A", 300, ["192.0.2.99"])), False),
        (saw(ALIAS, A, FAR), False),
        (saw(RRset(ALIAS.name, "CNAME", 300, ["www.example.net."]), FAR), False),
        (saw(RRset(ALIAS.name, "CNAME", 60, [HOST]), A), False),
    ],
)
def test_a_chain_within_the_zone(observed: Observed, verdict: bool) -> None:
    assert agrees(observed, Answer(answer=(ALIAS, A)), "A") is verdict


def test_a_chain_to_nothing_ends_in_nxdomain() -> None:
    expected = Answer("NXDOMAIN", answer=(ALIAS,), authority=(APEX_SOA,))
    assert agrees(saw(ALIAS, rcode="NXDOMAIN"), expected, "A") is True
    assert agrees(saw(ALIAS), expected, "A") is False
    assert agrees(saw(ALIAS, A), expected, "A") is False


@pytest.mark.parametrize(
    ("observed", "verdict"),
    [
        (saw(AWAY), True),
        (saw(AWAY, FAR), True),  # the server has the other zone as well
        (saw(AWAY, rcode="NXDOMAIN"), True),  # and there is nothing there
        (saw(FAR), False),
        (saw(RRset(AWAY.name, "CNAME", 300, ["other.example.net."]), FAR), False),
    ],
)
def test_a_chain_that_leaves_the_zone(observed: Observed, verdict: bool) -> None:
    assert agrees(observed, Answer(answer=(AWAY,)), "A") is verdict


def test_the_alias_made_from_a_dname_may_have_any_ttl() -> None:
    dname = RRset(f"dn.{ZONE}", "DNAME", 300, ["example.net."])
    made = RRset(f"x.dn.{ZONE}", "CNAME", 300, ["x.example.net."])
    expected = Answer(answer=(dname, made))
    assert agrees(saw(dname, made), expected, "A") is True
    assert agrees(saw(dname, RRset(made.name, "CNAME", 0, made.data)), expected, "A") is True
    assert agrees(saw(dname, RRset(made.name, "CNAME", 0, ["y.example.net."])), expected, "A") is False
    assert agrees(saw(RRset(dname.name, "DNAME", 0, dname.data), made), expected, "A") is False
    assert agrees(saw(dname), expected, "A") is False


@pytest.mark.parametrize(
    ("observed", "verdict"),
    [
        (saw(aa=False, authority=(CUT,)), True),
        (saw(aa=False, authority=(CUT, RRSIG)), True),
        (saw(aa=False, authority=(RRset(CUT.name, "NS", 300, ["ns2.example.net."]),)), False),
        (saw(aa=False, rcode="REFUSED"), False),
        (saw(rcode="NXDOMAIN", soa_owner=ZONE), False),  # not delegated yet
        (saw(soa_owner=ZONE), False),
        # The server has the child zone as well: it can't be asked about the cut.
        (saw(RRset(CUT.name, "NS", 60, ["ns.example.net."])), True),
        (saw(soa_owner=CUT.name), True),
        (saw(RRset(f"ns.{CUT.name}", "A", 60, ["192.0.2.7"]), authority=(CUT,)), True),
        (saw(RRset(f"ns.{CUT.name}", "A", 60, ["192.0.2.7"])), True),
        (saw(RRset(f"ns.{CUT.name}", "A", 60, ["192.0.2.7"]), authority=(PARENT_NS,)), False),
    ],
)
def test_a_referral(observed: Observed, verdict: bool) -> None:
    assert agrees(observed, REFERRAL, "A") is verdict


def test_a_soa_must_have_the_serial() -> None:
    expected = Answer(answer=(APEX_SOA,))
    assert agrees(saw(serial=42, soa_owner=ZONE), expected, "SOA") is True
    assert agrees(saw(serial=41, soa_owner=ZONE), expected, "SOA") is False
    assert agrees(saw(soa_owner=ZONE), expected, "SOA") is False


def test_a_signer_may_add_to_its_own_types_only() -> None:
    ours = RRset(ZONE, "CDS", 300, ["60485 8 2 " + "D4" * 32])
    theirs = RRset(ZONE, "CDS", 300, [*ours.data, "60486 8 2 " + "D5" * 32])
    assert agrees(saw(theirs), Answer(answer=(ours,)), "CDS") is True
    assert agrees(saw(ours), Answer(answer=(theirs,)), "CDS") is False


def test_any_may_be_answered_sparingly() -> None:
    assert agrees(saw(RRset(HOST, "HINFO", 3600, ['"RFC8482" ""'])), Answer(answer=(A,)), "ANY") is True
    assert agrees(saw(rcode="NXDOMAIN"), Answer(answer=(A,)), "ANY") is False


def test_a_response_is_read_into_our_own_values() -> None:
    response = dns.message.from_text(
        "id 1\nopcode QUERY\nrcode NXDOMAIN\nflags QR AA\n;QUESTION\nWWW.example.org. IN A\n;ANSWER\n"
        "WWW.example.org. 60 IN CNAME Nothing.Example.ORG.\n;AUTHORITY\n"
        "Example.ORG. 60 IN SOA ns1.example.org. h.example.org. 42 1 2 3 4\n;ADDITIONAL\n"
    )
    assert read_response(response) == saw(
        RRset("www.example.org.", "CNAME", 60, ["nothing.example.org."]),
        rcode="NXDOMAIN",
        soa_owner=Name("example.org."),
    )
    response.set_rcode(2)
    found = read_response(response)
    assert found == replace(unknown("answers SERVFAIL"), rcode="SERVFAIL")
