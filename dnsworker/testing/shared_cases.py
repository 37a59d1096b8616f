"""Cases about a zone that others change while we do: plans that are fenced by their RRsets."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest

from dnsworker import serials
from dnsworker.contents import ZoneContents
from dnsworker.errors import OutcomeUnknown, ZoneChanged
from dnsworker.plan import Plan, split
from dnsworker.records import RRset
from dnsworker.testing.case import Case, needs
from dnsworker.testing.lab import Lab, edited, many, rrset, whole_plan
from dnsworker.testing.zone_cases import LARGE

#: How far our plan raises the serial. Others are behind, at the same one, or ahead by then.
STEPS = 3


class SharedCases(Case):
    """What others write isn't in our way where it isn't ours, and never harmed unseen."""

    @needs("edit_by_hand", fences_rrsets=True)
    @pytest.mark.parametrize("steps", [1, STEPS, 20])
    def test_a_plan_goes_through_beside_what_others_did(self, lab: Lab, steps: int) -> None:
        zone, planned = _before_and_after(lab)
        theirs = rrset(zone.name, "theirs", "A", "192.0.2.66")
        there = _edit(lab, zone, steps, theirs)
        lab.backend.apply(_plan(zone, planned))
        both = replace(planned, rrsets={**planned.rrsets, theirs.key: theirs})
        _assert_holds_above(lab, both, there)

    @needs("edit_by_hand", fences_rrsets=True)
    @pytest.mark.parametrize("owner", ["www", "new", "old"])
    def test_a_plan_for_what_others_have_changed_is_fenced(self, lab: Lab, owner: str) -> None:
        """One RRset that was to be replaced, one that was to be new, one that was to go."""
        zone, planned = _before_and_after(lab)
        theirs = rrset(zone.name, owner, "A", "192.0.2.1", "192.0.2.66")
        there = _edit(lab, zone, 1, theirs)
        with pytest.raises(ZoneChanged):
            lab.backend.apply(_plan(zone, planned))
        _assert_holds_above(lab, there, zone)

    @needs("edit_by_hand", fences_rrsets=True)
    def test_a_plan_for_what_others_have_removed_is_fenced(self, lab: Lab) -> None:
        zone, planned = _before_and_after(lab)
        gone = edited(zone, remove=[rrset(zone.name, "www", "A", "192.0.2.1").key])
        lab.server.edit_by_hand(whole_plan(zone, gone))
        with pytest.raises(ZoneChanged):
            lab.backend.apply(_plan(zone, planned))
        _assert_holds_above(lab, gone, zone)

    @needs("lossy", fences_rrsets=True)
    def test_a_lost_answer_to_a_plan_beside_others_converges(self, lab: Lab) -> None:
        zone, planned = _before_and_after(lab)
        lossy = lab.server.lossy()
        try:
            with pytest.raises(OutcomeUnknown):
                lossy.apply(_plan(zone, planned))
        finally:
            lossy.close()
        with contextlib.suppress(ZoneChanged):  # either it is harmless, or it says so
            lab.backend.apply(_plan(zone, planned))
        _assert_holds_above(lab, planned, zone)

    @needs(fences_rrsets=True)
    def test_an_old_plan_with_this_fence_doesnt_take_the_serial_down(self, lab: Lab) -> None:
        zone, planned = _before_and_after(lab)
        old = _plan(zone, planned)
        for number in range(5):
            zone = lab.converge(edited(zone, rrset(zone.name, "www", "A", f"192.0.2.{number + 10}")))
        with pytest.raises(ZoneChanged):
            lab.backend.apply(old)
        lab.backend.apply(replace(old, changes=()))
        lab.assert_holds(zone)

    @needs(fences_rrsets=True)
    def test_the_messages_of_a_plan_hold_what_they_require(self, lab: Lab) -> None:
        count = LARGE // 10
        name = lab.name()
        zone = lab.create(lab.zone(*many(name, count), name=name))
        desired = edited(zone, *(replace(one, data=("198.51.100.1",)) for one in many(name, count)))
        parts = split(_plan(zone, desired), lab.capabilities)
        assert {part.fence for part in parts} == {"rrsets"}
        for part in parts:
            lab.backend.apply(part)
        _assert_holds_above(lab, desired, zone)


def _before_and_after(lab: Lab) -> tuple[ZoneContents, ZoneContents]:
    """A zone, and what a plan makes of it: an RRset replaced, a new one, one that is gone."""
    name = lab.name()
    www, old = rrset(name, "www", "A", "192.0.2.1"), rrset(name, "old", "A", "192.0.2.2")
    zone = lab.create(lab.zone(www, old, name=name))
    put = rrset(name, "www", "A", "192.0.2.1", "192.0.2.7"), rrset(name, "new", "A", "192.0.2.8")
    soa = zone.soa.with_serial(serials.add(zone.soa.serial, STEPS))
    return zone, edited(zone, *put, remove=[old.key], soa=soa)


def _plan(zone: ZoneContents, desired: ZoneContents) -> Plan:
    return replace(whole_plan(zone, desired), fence="rrsets")


def _edit(lab: Lab, zone: ZoneContents, steps: int, theirs: RRset) -> ZoneContents:
    """Somebody writes an RRset and moves the serial on; returns what is there then."""
    soa = zone.soa.with_serial(serials.add(zone.soa.serial, steps))
    there = edited(zone, theirs, soa=soa)
    lab.server.edit_by_hand(whole_plan(zone, there))
    return there


def _assert_holds_above(lab: Lab, wanted: ZoneContents, before: ZoneContents) -> None:
    """The wanted contents, now and after a restart, at whatever serial that is ahead of what was there."""
    soa = lab.backend.read_soa(wanted.name)
    assert soa is not None
    assert serials.is_ahead(soa.serial, before.soa.serial), f"{soa.serial} isn't above {before.soa.serial}"
    wanted = lab.expected[wanted.name] = replace(wanted, soa=soa)
    lab.assert_holds(wanted)
