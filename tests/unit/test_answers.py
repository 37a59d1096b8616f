"""The answer of a zone, case by case; beside a real BIND in `tests/integration/test_nameserver_bind.py`."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsworker.answers import Answer, answer, relevant_names
from dnsworker.contents import ZoneContents
from dnsworker.names import Name, wire_size
from dnsworker.records import SOA, RRset

ZONE = Name("example.org.")
SOA_ = SOA(Name("ns1.example.org."), Name("hostmaster.example.org."), 7, minimum=60, ttl=3600)
NEGATIVE = SOA(Name("ns1.example.org."), Name("hostmaster.example.org."), 7, minimum=60, ttl=60)


def rrset(text: str) -> RRset:
    """`owner TYPE data[, data …]`, the owner relative."""
    owner, type_, data = text.split(" ", 2)
    name = ZONE if owner == "@" else f"{owner}.{ZONE}"
    return RRset(name, type_, 300, data.replace("~", f".{ZONE}").split(", "))


LONG = ".".join(["l" * 60] * 3)
RECORDS = [
    rrset(line)
    for line in f"""
@ NS ns1~
ns1 A 192.0.2.1
www A 192.0.2.2, 192.0.2.3
a.b.ent A 192.0.2.4
*.wild A 192.0.2.5
host.wild TXT "x"
*.cwild CNAME www~
alias CNAME www~
nowhere CNAME nothing~
outside CNAME www.example.net.
loop CNAME pool~
pool CNAME loop~
tocut CNAME x.cut~
cut NS ns.cut~, ns1~
cut DS 1 13 2 49FD46E6C4B45C55D4AC69CBD3CD34AC1AFE51DE49FD46E6C4B45C55D4AC69CB
ns.cut A 192.0.2.6
hidden.cut TXT "x"
dn DNAME target~
x.target A 192.0.2.7
long DNAME {LONG}~
mail MX 10 www~, 20 mx.example.net.
""".strip().splitlines()
]
CONTENTS = ZoneContents.of(ZONE, SOA_, RECORDS)


def ask(owner: str, qtype: str) -> Answer:
    return answer(CONTENTS, ZONE if owner == "@" else Name(f"{owner}.{ZONE}"), qtype)


def brief(found: Answer) -> list[str]:
    """The answer section, short: owner without the zone, type."""
    return [
        f"{one.name.removesuffix(ZONE).rstrip('.') or '@'} {one.type}" if isinstance(one, RRset) else "SOA"
        for one in found.answer
    ]


@pytest.mark.parametrize(
    ("owner", "qtype", "expected"),
    [
        ("www", "A", ["www A"]),
        ("@", "SOA", ["SOA"]),
        ("@", "NS", ["@ NS"]),
        ("@", "ANY", ["SOA", "@ NS"]),
        ("cut", "DS", ["cut DS"]),  # the parent's (RFC 4035, section 3.1.4.1)
        ("any.wild", "A", ["any.wild A"]),
        ("two.labels.wild", "A", ["two.labels.wild A"]),
        ("*.wild", "A", ["*.wild A"]),
        ("alias", "A", ["alias CNAME", "www A"]),
        ("alias", "CNAME", ["alias CNAME"]),
        ("alias", "ANY", ["alias CNAME"]),
        ("x.cwild", "A", ["x.cwild CNAME", "www A"]),
        ("outside", "A", ["outside CNAME"]),
        ("loop", "A", ["loop CNAME", "pool CNAME"]),
        ("x.dn", "A", ["dn DNAME", "x.dn CNAME", "x.target A"]),
        ("x.dn", "CNAME", ["dn DNAME", "x.dn CNAME"]),
        ("dn", "DNAME", ["dn DNAME"]),
    ],
)
def test_what_is_there_is_answered_with_authority(owner: str, qtype: str, expected: list[str]) -> None:
    found = ask(owner, qtype)
    assert (found.rcode, found.authoritative, found.authority) == ("NOERROR", True, ())
    assert brief(found) == expected


@pytest.mark.parametrize(
    ("owner", "qtype", "rcode", "expected"),
    [
        ("www", "MX", "NOERROR", []),
        ("nothing", "A", "NXDOMAIN", []),
        ("x.www", "A", "NXDOMAIN", []),
        ("ent", "A", "NOERROR", []),  # an empty non-terminal (RFC 4592, section 2.2.2)
        ("b.ent", "A", "NOERROR", []),
        ("c.ent", "A", "NXDOMAIN", []),
        ("host.wild", "A", "NOERROR", []),  # there is a name: the wildcard doesn't apply
        ("x.host.wild", "A", "NXDOMAIN", []),  # nor below it
        ("wild", "A", "NOERROR", []),
        ("any.wild", "MX", "NOERROR", []),
        ("www", "SOA", "NOERROR", []),
        ("@", "DS", "NOERROR", []),
        ("dn", "A", "NOERROR", []),
        ("alias", "MX", "NOERROR", ["alias CNAME"]),
        ("nowhere", "A", "NXDOMAIN", ["nowhere CNAME"]),  # of the last name (RFC 6604, section 3)
        ("y.dn", "A", "NXDOMAIN", ["dn DNAME", "y.dn CNAME"]),
    ],
)
def test_what_is_not_there_is_denied_with_the_negative_ttl(
    owner: str, qtype: str, rcode: str, expected: list[str]
) -> None:
    found = ask(owner, qtype)
    assert (found.rcode, found.authoritative, found.authority) == (rcode, True, (NEGATIVE,))
    assert brief(found) == expected


@pytest.mark.parametrize(
    ("owner", "qtype"), [("cut", "NS"), ("cut", "A"), ("hidden.cut", "TXT"), ("x.cut", "DS")]
)
def test_below_a_cut_there_is_only_the_referral_with_its_glue(owner: str, qtype: str) -> None:
    found = ask(owner, qtype)
    assert found.is_referral
    assert (found.answer, found.authority) == ((), (CONTENTS.rrsets[Name(f"cut.{ZONE}"), "NS"],))
    assert {one.name for one in found.additional} == {f"ns.cut.{ZONE}", f"ns1.{ZONE}"}


def test_a_chain_into_a_cut_ends_in_its_referral() -> None:
    found = ask("tocut", "A")
    assert (found.authoritative, brief(found)) == (True, ["tocut CNAME"])
    assert [one.name for one in found.authority if isinstance(one, RRset)] == [f"cut.{ZONE}"]


def test_a_name_that_a_dname_makes_too_long_is_an_error() -> None:
    found = ask("x" * 60 + ".long", "A")
    assert (found.rcode, brief(found)) == ("YXDOMAIN", ["long DNAME"])


def test_hosts_that_are_named_bring_their_addresses() -> None:
    assert [one.name for one in ask("mail", "MX").additional] == [f"www.{ZONE}"]


def test_chains_that_servers_give_up_are_known() -> None:
    assert [ask(owner, "A").is_endless for owner in ("loop", "alias", "outside", "www", "nothing")] == [
        *(True, False, False, False, False)
    ]
    assert not ask("loop", "CNAME").is_endless
    links = [rrset(f"c{number} CNAME c{number + 1}~") for number in range(20)]
    long_one = ZoneContents.of(ZONE, SOA_, [*links, rrset("c20 A 192.0.2.1")])
    endless = [answer(long_one, Name(f"c{number}.{ZONE}"), "A").is_endless for number in (0, 9, 10)]
    assert endless == [True, True, False]


def test_names_outside_the_zone_are_refused() -> None:
    assert answer(CONTENTS, Name("example.net."), "A") == Answer("REFUSED", authoritative=False)
    assert answer(CONTENTS, Name("notexample.org."), "A").rcode == "REFUSED"
    assert relevant_names(Name("example.net."), ZONE) == []


class Recording:
    """A view that notes which names it was asked for."""

    name, soa = ZONE, SOA_

    def __init__(self) -> None:
        self.asked: set[Name] = set()

    def node(self, name: Name) -> Mapping[str, RRset]:
        self.asked.add(name)
        return CONTENTS.node(name)

    def has_descendants(self, name: Name) -> bool:
        return CONTENTS.has_descendants(name)


OWNERS = sorted({one.name.removesuffix(f".{ZONE}") for one in RECORDS} - {ZONE})
questions = st.builds(
    lambda labels, owner: Name(".".join([*labels, owner, ZONE])),
    st.lists(st.sampled_from(["x", "*", "ns", "ent"]), max_size=3),
    st.sampled_from([*OWNERS, "nothing"]),
)
types = st.sampled_from(["A", "NS", "CNAME", "DNAME", "TXT", "DS", "SOA", "MX", "ANY", "TYPE65280"])


@given(qname=questions, qtype=types)
def test_only_relevant_names_targets_and_hosts_are_asked_for(qname: Name, qtype: str) -> None:
    view = Recording()
    found = answer(view, qname, qtype)
    chain = [one for one in found.answer if isinstance(one, RRset) and one.type == "CNAME"]
    allowed = set(relevant_names(qname, ZONE)) | {one.name for one in found.additional} | {f"ns1.{ZONE}"}
    for link in chain:
        allowed |= set(relevant_names(Name(link.data[0]), ZONE))
    if qtype == "MX":
        allowed |= {f"www.{ZONE}", f"ns.cut.{ZONE}"}
    allowed |= {Name(f"ns.cut.{ZONE}")}
    assert view.asked <= allowed


@given(qname=questions, qtype=types)
def test_every_answer_is_sound(qname: Name, qtype: str) -> None:
    found = answer(CONTENTS, qname, qtype)
    assert found.rcode in ("NOERROR", "NXDOMAIN", "YXDOMAIN")
    owners = [one.name for one in found.answer if isinstance(one, RRset)]
    assert all(wire_size(owner) <= 255 for owner in owners)
    assert len(set(found.answer)) == len(found.answer)
    if owners:
        assert qname in (owners[0], owners[min(1, len(owners) - 1)]) or found.rcode == "YXDOMAIN"
    # Nothing to say means to say why: a referral or a SOA.
    assert found.answer or found.authority
