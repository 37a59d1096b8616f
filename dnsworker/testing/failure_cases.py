"""Cases about what goes wrong: credentials, a server that is gone, a lost answer, an edit behind our back."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from dnsworker.backend import Backend
from dnsworker.contents import ZoneContents
from dnsworker.errors import (
    AuthenticationFailed,
    BackendError,
    ClaimLost,
    OutcomeUnknown,
    Unreachable,
    ZoneChanged,
)
from dnsworker.plan import Plan, split
from dnsworker.testing.case import Case, needs
from dnsworker.testing.lab import Lab, edited, many, parts, rrset, visible, whole_plan
from dnsworker.testing.zone_cases import LARGE


class FailureCases(Case):
    """An error says what happened, never more: "don't know" is neither "absent" nor "done"."""

    def test_check_reports_a_server_that_is_well(self, lab: Lab) -> None:
        health = lab.backend.check()
        assert health.ok, health.message
        assert health.message

    @needs("wrong_credentials")
    def test_wrong_credentials_are_never_taken_for_an_absent_zone(self, lab: Lab) -> None:
        zone = lab.create(lab.zone())
        stranger = lab.server.wrong_credentials()
        try:
            for call in (*_reads(stranger, zone), *_writes(stranger, zone)):
                with pytest.raises(AuthenticationFailed):
                    call()
            health = stranger.check()
            assert not health.ok
            assert health.message
        finally:
            stranger.close()
        lab.assert_holds(zone)

    @needs("stop", "start")
    def test_a_server_that_is_gone_is_unreachable_and_comes_back(self, lab: Lab) -> None:
        zone = lab.create(lab.zone())
        lab.server.stop()
        fresh = lab.server.new_backend()
        try:
            # Twice: with the connections that were open, and without any.
            for backend in (lab.backend, fresh):
                for call in _reads(backend, zone):
                    with pytest.raises(Unreachable):
                        call()
                for call in _writes(backend, zone):
                    with pytest.raises((Unreachable, OutcomeUnknown)):
                        call()
                assert not backend.check().ok
        finally:
            fresh.close()
            lab.server.start()
        lab.assert_holds(zone)
        lab.converge(edited(zone, rrset(zone.name, "www", "A", "192.0.2.1")))

    @needs("kill", "start")
    def test_a_plan_broken_off_in_the_middle_is_taken_up_again(self, lab: Lab) -> None:
        zone = lab.create(lab.zone())
        desired = edited(zone, *many(zone.name, LARGE))
        plans = split(whole_plan(zone, desired), lab.capabilities)
        done = plans[: len(plans) // 2]
        for part in done:
            lab.backend.apply(part)
        lab.server.kill()
        with pytest.raises((Unreachable, OutcomeUnknown)):
            lab.backend.apply(plans[len(done)])
        lab.server.start()
        soa = lab.backend.read_soa(zone.name)
        assert soa is not None
        if not lab.capabilities.sets_serial:
            assert soa == (done[-1].desired_soa if done else zone.soa), "the serial says how far it got"
        lab.converge(desired)

    @needs("kill", "start")
    def test_a_server_killed_while_it_writes_has_done_whole_parts(self, lab: Lab) -> None:
        """At any moment: the serial that it comes back with says exactly what it holds."""
        zone = lab.create(lab.zone())
        rng = random.Random(1511)  # noqa: S311 - a seed, so that a failure can be repeated
        for number in range(3):
            desired = edited(zone, *many(zone.name, LARGE // 2, prefix=f"r{number}-"))
            plans = split(whole_plan(zone, desired), lab.capabilities)
            killer = threading.Timer(rng.uniform(0.0, 0.5), lab.server.kill)
            killer.start()
            with contextlib.suppress(Unreachable, OutcomeUnknown):
                for part in plans:
                    lab.backend.apply(part)
            killer.join()
            lab.server.start()
            ends = _ends(zone, plans)
            found = lab.backend.read_zone(zone.name)
            assert found is not None
            if not lab.capabilities.sets_serial:
                ends = [end for end in ends if end.soa == found.soa]
                assert ends, "it stands at the end of a part"
            if lab.capabilities.atomic == "message":
                shown = visible(found, lab.capabilities)
                whole = [end for end in ends if not shown.changes_to(visible(end, lab.capabilities))]
                assert whole, "it holds whole parts"
            zone = lab.converge(edited(found, remove=[key for key in found.rrsets if key[1] == "A"]))

    @needs("lossy")
    def test_a_lost_answer_to_a_plan_converges(self, lab: Lab) -> None:
        zone = lab.create(lab.zone())
        desired = edited(zone, rrset(zone.name, "www", "A", "192.0.2.1"))
        [plan] = parts(lab.capabilities, zone, desired)
        self._lose(lab, lambda lossy: lossy.apply(plan))
        if not lab.capabilities.sets_serial:
            assert lab.backend.read_soa(zone.name) == desired.soa, "the server has carried it out"
        lab.assert_holds(desired)
        with contextlib.suppress(ZoneChanged):  # either it is harmless, or it says so
            lab.backend.apply(plan)
        lab.expected[zone.name] = desired
        lab.assert_holds(desired)
        lab.converge(edited(desired, rrset(zone.name, "www", "A", "192.0.2.2")))

    @needs("lossy")
    def test_a_lost_answer_to_a_creation_converges(self, lab: Lab) -> None:
        name = lab.name()
        zone = lab.zone(rrset(name, "www", "A", "192.0.2.1"), rrset(name, "a.b", "TXT", '"x"'), name=name)
        self._lose(lab, lambda lossy: lossy.create_zone(zone))
        lab.create(zone)
        if lab.server.can("query"):
            www = zone.rrsets[rrset(name, "www", "A", "192.0.2.1").key]
            lab.assert_served(www.name, www.type, www)

    @needs("lossy")
    def test_a_lost_answer_to_a_deletion_converges(self, lab: Lab) -> None:
        name = lab.name()
        zone = lab.create(lab.zone(rrset(name, "www", "A", "192.0.2.1"), name=name))
        self._lose(lab, lambda lossy: lossy.delete_zone(zone.name))
        lab.backend.delete_zone(zone.name)
        lab.expected[zone.name] = None
        assert lab.backend.read_zone(zone.name) is None
        lab.create(lab.zone(name=zone.name, serial=zone.soa.serial + 2))

    @needs("edit_by_hand")
    def test_a_hand_edit_is_noticed_and_repaired(self, lab: Lab) -> None:
        name = lab.name()
        www, extra = rrset(name, "www", "A", "192.0.2.1"), rrset(name, "hand", "TXT", '"made"')
        zone = lab.create(lab.zone(www, rrset(name, "kept", "A", "192.0.2.3"), name=name))
        hand = edited(zone, extra, rrset(name, "www", "A", "192.0.2.66"))
        lab.server.edit_by_hand(whole_plan(zone, hand))
        delta = lab.backend.read_changes(name, zone.soa)
        assert delta is None or delta.keys == {www.key, extra.key}
        lab.assert_holds(hand)
        lab.converge(edited(zone, rrset(name, "new", "A", "192.0.2.4")))

    @needs("edit_by_hand")
    def test_a_hand_edit_to_the_serial_that_we_want_is_not_ours(self, lab: Lab) -> None:
        """The SOA at the end of the hand's edit is the very one that our plan wants to reach."""
        zone = lab.create(lab.zone())
        ours = edited(zone, rrset(zone.name, "ours", "A", "192.0.2.1"))
        hand = edited(zone, rrset(zone.name, "hand", "A", "192.0.2.66"))
        assert ours.soa == hand.soa
        lab.server.edit_by_hand(whole_plan(zone, hand))
        if lab.capabilities.fencing == "server":
            with pytest.raises(ZoneChanged):
                lab.backend.apply(whole_plan(zone, ours))
            lab.assert_holds(hand)
        lab.converge(ours)

    @needs(fencing="server")
    @pytest.mark.parametrize("field", ["serial", "refresh", "minimum", "rname"])
    def test_a_plan_from_another_soa_is_fenced(self, lab: Lab, field: str) -> None:
        """The whole SOA is the fence, not its serial."""
        zone = lab.create(lab.zone())
        zone = lab.converge(edited(zone, rrset(zone.name, "www", "A", "192.0.2.1")))
        other = {
            "serial": zone.soa.with_serial(zone.soa.serial - 1),
            "refresh": replace(zone.soa, refresh=99),
            "minimum": replace(zone.soa, minimum=99),
            "rname": replace(zone.soa, rname=zone.name),
        }[field]
        desired = edited(zone, rrset(zone.name, "www", "A", "192.0.2.2"))
        with pytest.raises(ZoneChanged):
            lab.backend.apply(whole_plan(replace(zone, soa=other), desired))
        lab.assert_holds(zone)

    @needs(fencing="server")
    def test_an_old_plan_doesnt_take_the_serial_down(self, lab: Lab) -> None:
        zone = lab.create(lab.zone())
        old = whole_plan(zone, edited(zone, rrset(zone.name, "www", "A", "192.0.2.1")))
        for number in range(3):
            zone = lab.converge(edited(zone, rrset(zone.name, "www", "A", f"192.0.2.{number + 10}")))
        with pytest.raises(ZoneChanged):
            lab.backend.apply(old)
        lab.assert_holds(zone)

    @needs("wipe")
    def test_a_wiped_server_is_filled_again(self, lab: Lab) -> None:
        zone = lab.create(lab.zone())
        lab.server.wipe()
        assert lab.backend.read_zone(zone.name) is None
        lab.create(replace(zone, soa=zone.soa.with_serial(zone.soa.serial + 1)))

    def test_a_lost_claim_ends_the_work_between_two_requests(self, lab: Lab) -> None:
        """`checkpoint` is asked before each request after the first, and what it raises comes through."""
        name = lab.name()
        zone = lab.zone(*many(name, 100), name=name)

        def lose() -> None:
            raise ClaimLost

        lab.backend.checkpoint = lose
        with contextlib.suppress(ClaimLost):  # a backend that needs one request only never asks
            lab.backend.create_zone(zone)
        lab.backend.checkpoint = lambda: None
        lab.create(zone)

    @needs("wrong_credentials")
    def test_no_secret_shows(self, lab: Lab) -> None:
        stranger = lab.server.wrong_credentials()
        texts = [repr(stranger), str(vars(stranger)), stranger.check().message]
        for call in _reads(stranger, lab.zone()):
            try:
                call()
            except BackendError as exc:
                texts += [str(exc), repr(exc), str(exc.__cause__)]
        stranger.close()
        assert not [text for text in texts if lab.server.wrong_secret in text]

    def _lose(self, lab: Lab, write: Callable[[Backend], object]) -> None:
        lossy = lab.server.lossy()
        try:
            with pytest.raises(OutcomeUnknown):
                write(lossy)
        finally:
            lossy.close()


def _ends(zone: ZoneContents, plans: Iterable[Plan]) -> list[ZoneContents]:
    """What the zone holds before the first part and after each. Their serials may be the same."""
    ends = [zone]
    for plan in plans:
        removed = {change.key for change in plan.changes}
        put = {change.key: change.after for change in plan.changes if change.after is not None}
        kept = {key: rrset for key, rrset in zone.rrsets.items() if key not in removed}
        zone = replace(zone, soa=plan.desired_soa, rrsets={**kept, **put})
        ends.append(zone)
    return ends


def _reads(backend: Backend, zone: ZoneContents) -> list[Callable[[], object]]:
    return [
        lambda: backend.read_zone(zone.name),
        lambda: backend.read_soa(zone.name),
        lambda: backend.read_rrsets(zone.name, [(zone.name, "NS")]),
    ]


def _writes(backend: Backend, zone: ZoneContents) -> list[Callable[[], object]]:
    desired = edited(zone, rrset(zone.name, "www", "A", "192.0.2.1"))
    return [
        lambda: backend.create_zone(zone),
        lambda: backend.apply(whole_plan(zone, desired)),
        lambda: backend.delete_zone(zone.name),
    ]
