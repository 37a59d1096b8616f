"""What a target's answer means against what we believe and want."""

from __future__ import annotations

from dnsworker import comparison
from dnsworker.backend import ZoneDelta
from dnsworker.capabilities import Capabilities
from dnsworker.names import Name
from dnsworker.plan import RRsetChange
from dnsworker.records import SOA, RRset

SOA_ = SOA(Name("a."), Name("b."), 5)
WWW = (Name("www.example.org."), "A")


def www(*values: str, ttl: int = 60) -> RRset:
    return RRset(WWW[0], "A", ttl, list(values))


def delta(removed: set[tuple[int, str]], added: set[tuple[int, str]]) -> ZoneDelta:
    return ZoneDelta(SOA_, {WWW: frozenset(removed)}, {WWW: frozenset(added)})


def test_an_rrset_is_what_it_was_with_the_difference_applied() -> None:
    found = comparison.rrset_after(WWW, www("192.0.2.1"), delta({(60, "192.0.2.1")}, {(60, "192.0.2.2")}))
    assert comparison.is_same(found, www("192.0.2.2"))


def test_an_rrset_without_records_is_none() -> None:
    assert comparison.rrset_after(WWW, www("192.0.2.1"), delta({(60, "192.0.2.1")}, set())) is None


def test_a_difference_as_planned_is_not_suspicious() -> None:
    change = RRsetChange(www("192.0.2.1"), www("192.0.2.1", "192.0.2.2"))
    assert comparison.not_as_planned([change], delta(set(), {(60, "192.0.2.2")})) == []


def test_a_planned_addition_that_is_missing_is_suspicious() -> None:
    change = RRsetChange(None, www("192.0.2.1"))
    assert comparison.not_as_planned([change], ZoneDelta(SOA_)) == [WWW]


def test_a_change_of_ttl_alone_is_a_change() -> None:
    change = RRsetChange(www("192.0.2.1"), www("192.0.2.1", ttl=300))
    told = delta({(60, "192.0.2.1")}, {(300, "192.0.2.1")})
    assert comparison.not_as_planned([change], told) == []
    assert comparison.not_as_planned([change], ZoneDelta(SOA_)) == [WWW]


def test_the_order_of_values_is_no_difference() -> None:
    one = RRset.trusted(*WWW, 60, ("192.0.2.1", "192.0.2.2"))
    other = RRset.trusted(*WWW, 60, ("192.0.2.2", "192.0.2.1"))
    assert comparison.is_same(one, other)


def test_a_signers_records_are_nobodys_business_but_the_signers() -> None:
    key = (Name("example.org."), "DNSKEY")
    found = {key: RRset.trusted(*key, 60, ("256 3 13 aaaa",))}
    assert comparison.foreign_changes(found, {}, key[0], Capabilities(signs="dynamic")) == []
    assert len(comparison.foreign_changes(found, {}, key[0], Capabilities())) == 1


def test_apex_ns_that_are_the_providers_are_neither_missed_nor_removed() -> None:
    apex, cut = (Name("example.org."), "NS"), (Name("cut.example.org."), "NS")
    theirs = {key: RRset.trusted(*key, 60, ("ns.provider.example.",)) for key in (apex, cut)}
    ours = {key: RRset.trusted(*key, 60, ("ns1.example.net.",)) for key in (apex, cut)}
    changes = comparison.foreign_changes(theirs, ours, apex[0], Capabilities(apex_ns=False))
    assert [change.key for change in changes] == [cut]
    changes = comparison.foreign_changes(theirs, {}, apex[0], Capabilities(apex_ns=False))
    assert [change.key for change in changes] == [cut]
    assert len(comparison.foreign_changes(theirs, ours, apex[0], Capabilities())) == 2
