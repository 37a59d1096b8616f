"""The contents of a zone: equality, differences, and what lies at and below a name."""

from __future__ import annotations

from dnsworker.contents import ZoneContents
from dnsworker.names import Name
from dnsworker.plan import RRsetChange
from dnsworker.records import SOA, RRset

ZONE = Name("example.org.")
SOME_SOA = SOA(Name("ns1.example.org."), Name("hostmaster.example.org."), 1)
NS = RRset("example.org.", "NS", 300, ["ns1.example.org."])
NS1 = RRset("ns1.example.org.", "A", 300, ["192.0.2.1"])
DEEP = RRset("a.b.c.example.org.", "A", 300, ["192.0.2.2"])
DEEP_TEXT = RRset("a.b.c.example.org.", "TXT", 300, ["x"])


def test_contents_are_equal_by_value() -> None:
    zone = ZoneContents.of(ZONE, SOME_SOA, [NS, NS1])
    assert zone == ZoneContents.of(ZONE, SOME_SOA, [NS1, NS])
    assert zone.node(ZONE)
    assert zone == ZoneContents.of(ZONE, SOME_SOA, [NS1, NS]), "looking at it changes nothing"
    assert zone != ZoneContents.of(ZONE, SOME_SOA.with_serial(2), [NS, NS1])
    assert zone != ZoneContents.of(ZONE, SOME_SOA, [NS])


def test_the_changes_lead_from_one_to_the_other() -> None:
    longer = RRset(NS1.name, "A", 600, NS1.data)
    before = ZoneContents.of(ZONE, SOME_SOA, [NS, NS1, DEEP])
    after = ZoneContents.of(ZONE, SOME_SOA, [NS, longer, DEEP_TEXT])
    changes = before.changes_to(after)
    assert len(changes) == 3
    assert RRsetChange(NS1, longer) in changes
    assert RRsetChange(DEEP, None) in changes
    assert RRsetChange(None, DEEP_TEXT) in changes
    assert before.changes_to(before) == []


def test_a_node_holds_the_types_at_a_name() -> None:
    zone = ZoneContents.of(ZONE, SOME_SOA, [NS, DEEP, DEEP_TEXT])
    assert dict(zone.node(DEEP.name)) == {"A": DEEP, "TXT": DEEP_TEXT}
    assert zone.types_at(DEEP.name) == {"A", "TXT"}
    assert dict(zone.node(Name("b.c.example.org."))) == {}
    assert dict(zone.node(ZONE)) == {"NS": NS}, "the SOA is not among them"


def test_empty_names_above_others_have_descendants() -> None:
    zone = ZoneContents.of(ZONE, SOME_SOA, [NS, DEEP])
    assert zone.has_descendants(ZONE)
    assert zone.has_descendants(Name("c.example.org."))
    assert zone.has_descendants(Name("b.c.example.org."))
    assert not zone.has_descendants(DEEP.name)
    assert not zone.has_descendants(Name("x.example.org."))
    assert not ZoneContents.of(ZONE, SOME_SOA, [NS]).has_descendants(ZONE)


def test_what_a_server_holds_outside_the_zone_is_below_nothing() -> None:
    stray = RRset("www.example.com.", "A", 300, ["192.0.2.1"])
    assert not ZoneContents.of(ZONE, SOME_SOA, [NS, stray]).has_descendants(Name("example.com."))
