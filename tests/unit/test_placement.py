"""What may stand where in a zone: the rules, one refusal and one permission for each."""

from __future__ import annotations

import pytest

from dnsworker.contents import ZoneContents
from dnsworker.errors import InvalidRecord
from dnsworker.names import Name
from dnsworker.placement import check_placement, names_needed
from dnsworker.plan import RRsetChange
from dnsworker.records import SOA, RRset

ZONE = Name("example.org.")
DIGITS_64 = "d2abde240d7cd3ee6b4b28c54df034b97983a1d16e8a410e4561cb106618e971"
DATA = {
    "A": "192.0.2.1",
    "CNAME": "www.example.net.",
    "DNAME": "example.net.",
    "DS": f"60485 8 2 {DIGITS_64}",
    "MX": "10 mail.example.net.",
    "NS": "ns1.example.net.",
    "TXT": '"text"',
}


def rrset(written: str) -> RRset:
    """`www A` → an RRset of that name (relative to the zone, or @) and type."""
    name, type_ = written.split()
    return RRset(ZONE if name == "@" else f"{name}.{ZONE}", type_, 300, [DATA[type_]])


def zone_of(*written: str) -> ZoneContents:
    soa = SOA(Name("ns1.example.net."), Name("hostmaster.example.org."), 1)
    return ZoneContents.of(ZONE, soa, [rrset(one) for one in ("@ NS", *written)])


def judge(before: list[str], *changes: str) -> None:
    """`+www A` creates, `~www A` changes, `-www A` deletes."""
    made = []
    after = list(before)
    for change in changes:
        sign, what = change[0], change[1:]
        value = rrset(what)
        if sign == "+":
            made.append(RRsetChange(None, value))
            after.append(what)
        elif sign == "~":
            made.append(RRsetChange(RRset(value.name, value.type, 1, value.data), value))
        else:
            made.append(RRsetChange(value, None))
            after.remove(what)
    check_placement(made, zone_of(*after))


@pytest.mark.parametrize(
    ("before", "changes"),
    [
        ([], ["+www A"]),
        ([], ["+@ MX", "+@ TXT", "~@ NS"]),
        ([], ["+www CNAME"]),
        (["www A"], ["-www A", "+www CNAME"]),
        (["www CNAME"], ["+www A", "-www CNAME"]),
        (["www CNAME"], ["~www CNAME"]),
        (["www CNAME"], ["+a.www A"]),
        ([], ["+@ DNAME"]),
        (["sub A"], ["+sub DNAME"]),
        (["a.sub A"], ["-a.sub A", "+sub DNAME"]),
        (["sub DNAME"], ["-sub DNAME", "+a.sub A"]),
        (["sub DNAME"], ["~sub DNAME", "+subway A"]),
        (["sub NS"], ["+sub DS"]),
        ([], ["+sub NS", "+sub DS"]),
        (["sub NS", "sub DS"], ["-sub NS", "-sub DS"]),
        (["sub NS", "sub DS"], ["-sub DS"]),
        (["sub NS"], ["-sub NS"]),
        (["sub NS"], ["+ns1.sub A", "+other.sub TXT"]),  # glue, and what is occluded
        (["sub NS"], ["+sub A"]),
        ([], ["+* A", "+* MX"]),
        ([], ["+* CNAME"]),
    ],
)
def test_what_may_stand_there_is_let_pass(before: list[str], changes: list[str]) -> None:
    judge(before, *changes)


@pytest.mark.parametrize(
    ("before", "changes", "message"),
    [
        (
            ["www A"],
            ["+www CNAME"],
            ("www.example.org. CNAME: a CNAME stands alone at its name (RFC 1034, section 3.6.2), "
            "and here would also be A; delete one or the other in the same change"),
        ),
        (
            ["www CNAME"],
            ["+www A", "+www TXT"],
            ("www.example.org. A: a CNAME stands alone at its name (RFC 1034, section 3.6.2), "
            "and here would also be A, TXT; delete one or the other in the same change"),
        ),
        (
            ["www CNAME"],
            ["+www DNAME"],
            ("www.example.org. DNAME: a CNAME stands alone at its name (RFC 1034, section 3.6.2), "
            "and here would also be DNAME; delete one or the other in the same change"),
        ),
        (
            [],
            ["+@ CNAME"],
            "example.org. CNAME: not at a zone's apex, beside SOA and NS (RFC 1034, section 3.6.2)",
        ),
        (
            ["sub DNAME"],
            ["+a.b.sub A"],
            ("a.b.sub.example.org. A: nothing can stand below the DNAME at sub.example.org. "
            "(RFC 6672, section 2.4)"),
        ),
        (
            ["@ DNAME"],
            ["+www A"],
            "www.example.org. A: nothing can stand below the DNAME at example.org. (RFC 6672, section 2.4)",
        ),
        (
            ["a.b.sub A"],
            ["+sub DNAME"],
            ("sub.example.org. DNAME: there are records below this name, which a DNAME forbids "
            "(RFC 6672, section 2.4)"),
        ),
        (
            [],
            ["+sub DNAME", "+a.sub A"],
            ("sub.example.org. DNAME: there are records below this name, which a DNAME forbids "
            "(RFC 6672, section 2.4)"),
        ),
        (
            ["sub NS"],
            ["+sub DNAME"],
            "sub.example.org. DNAME: DNAME and NS can't share a name below the apex (RFC 6672, section 2.3)",
        ),
        ([], ["+@ DS"], "example.org. DS: it belongs in the parent zone (RFC 4035, section 2.4)"),
        (
            ["sub A"],
            ["+sub DS"],
            "sub.example.org. DS: it needs NS records at the same name (RFC 4035, section 2.4)",
        ),
        (
            ["sub NS", "sub DS"],
            ["-sub NS"],
            "sub.example.org. NS: the DS would be left without a delegation; delete it as well",
        ),
        (
            ["@ NS"],
            ["-@ NS"],
            "example.org. NS: a zone needs its NS records; update them instead",
        ),
    ],
)  # fmt: skip
def test_what_may_not_stand_there_is_refused_with_the_reason(
    before: list[str], changes: list[str], message: str
) -> None:
    with pytest.raises(InvalidRecord) as refusal:
        judge(before, *changes)
    assert refusal.value.message == message


def test_what_lies_outside_the_zone_is_refused() -> None:
    other = RRset("www.example.com.", "A", 300, ["192.0.2.1"])
    with pytest.raises(InvalidRecord, match=r"not in the zone example\.org\.$"):
        check_placement([RRsetChange(None, other)], zone_of())


def test_what_stood_wrongly_before_hinders_nobody_else() -> None:
    check_placement([RRsetChange(None, rrset("mail A"))], zone_of("www A", "www CNAME", "mail A"))


def test_the_names_to_look_at_are_the_owners_and_all_above() -> None:
    keys = [(Name("a.b.example.org."), "A"), (Name("c.b.example.org."), "A"), (Name("x.example.com."), "A")]
    assert names_needed(keys, ZONE) == {"a.b.example.org.", "c.b.example.org.", "b.example.org.", ZONE}
    assert names_needed([], ZONE) == {ZONE}


def test_only_the_names_needed_are_looked_at() -> None:
    class Watching:
        apex = ZONE

        def __init__(self) -> None:
            self.asked: set[Name] = set()

        def types_at(self, name: Name) -> set[str]:
            self.asked.add(name)
            return {"NS"}

        def has_descendants(self, name: Name) -> bool:
            return False

    view = Watching()
    changes = [RRsetChange(None, rrset("a.b.c A")), RRsetChange(rrset("d NS"), None)]
    check_placement(changes, view)
    assert view.asked <= names_needed([change.key for change in changes], ZONE)
