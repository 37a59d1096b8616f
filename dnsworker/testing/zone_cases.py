"""Cases about whole zones: creating, deleting, hiding, large ones, several at once, and serials."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import dns.exception
import pytest

from dnsworker import serials
from dnsworker.contents import ZoneContents
from dnsworker.errors import Unsupported, ZoneMissing
from dnsworker.names import Name
from dnsworker.plan import split
from dnsworker.testing.case import Case, needs
from dnsworker.testing.lab import (
    Lab,
    answered,
    converge,
    edited,
    has_authority,
    many,
    persist,
    rrset,
    whole_plan,
)

LARGE = 10_000


class ZoneCases(Case):
    """A zone is there with exactly its contents, or it isn't there."""

    def test_an_absent_zone_reads_as_none_everywhere(self, lab: Lab) -> None:
        name = lab.name()
        assert lab.backend.read_zone(name) is None
        assert lab.backend.read_soa(name) is None
        with pytest.raises(ZoneMissing):
            lab.backend.read_rrsets(name, [(name, "NS")])
        zone = lab.zone(name=name)
        with pytest.raises(ZoneMissing):
            lab.backend.apply(whole_plan(zone, edited(zone, rrset(name, "www", "A", "192.0.2.1"))))
        with contextlib.suppress(ZoneMissing):  # or it says that it can't tell
            assert lab.backend.read_changes(name, zone.soa) is None
        with pytest.raises(ZoneMissing if lab.capabilities.notifies else Unsupported):
            lab.backend.notify(name)

    def test_a_child_of_a_zone_that_is_there_is_absent(self, lab: Lab) -> None:
        parent = lab.create(lab.zone())
        child = Name(f"child.{parent.name}")
        assert lab.backend.read_zone(child) is None
        assert lab.backend.read_soa(child) is None

    def test_a_child_zone_can_stand_beside_its_parent(self, lab: Lab) -> None:
        parent = lab.create(lab.zone())
        child = lab.create(lab.zone(name=Name(f"child.{parent.name}")))
        lab.converge(edited(child, rrset(child.name, "www", "A", "192.0.2.1")))
        lab.assert_holds(parent)

    def test_creating_what_is_there_changes_nothing_nor_does_a_notify(self, lab: Lab) -> None:
        name = lab.name()
        zone = lab.create(lab.zone(rrset(name, "www", "A", "192.0.2.1"), name=name))
        lab.backend.create_zone(zone)
        if lab.capabilities.notifies:
            lab.backend.notify(name)
        lab.assert_holds(zone)

    def test_creating_over_other_contents_leaves_exactly_the_new_ones(self, lab: Lab) -> None:
        name = lab.name()
        old = [rrset(name, "old", "A", "192.0.2.1"), rrset(name, "www", "A", "192.0.2.1")]
        lab.create(lab.zone(*old, name=name))
        new = [rrset(name, "www", "CNAME", "old.example.net."), rrset(name, "new", "TXT", '"x"')]
        lab.create(lab.zone(*new, name=name, serial=7))

    def test_deleting_what_is_absent_is_no_error(self, lab: Lab) -> None:
        name = lab.name()
        lab.backend.delete_zone(name)
        lab.create(lab.zone(name=name))
        lab.backend.delete_zone(name)
        lab.backend.delete_zone(name)
        lab.expected[name] = None
        assert lab.backend.read_zone(name) is None

    def test_a_zone_comes_back_above_its_old_serial(self, lab: Lab) -> None:
        name = lab.name()
        zone = lab.create(lab.zone(rrset(name, "old", "A", "192.0.2.1"), name=name, serial=100))
        zone = lab.converge(edited(zone, rrset(name, "older", "A", "192.0.2.2")))
        lab.backend.delete_zone(name)
        assert lab.backend.read_zone(name) is None
        if lab.server.can("query"):
            lab.wait_until(lambda: not has_authority(lab.server.query(name, "SOA")), lambda: "still served")
        again = lab.create(
            lab.zone(rrset(name, "new", "A", "192.0.2.3"), name=name, serial=zone.soa.serial + 5)
        )
        if lab.server.can("query"):
            lab.assert_served(Name(f"new.{name}"), "A", again.rrsets[Name(f"new.{name}"), "A"])
        lab.converge(edited(again, rrset(name, "newer", "A", "192.0.2.4")))

    @needs("query", hides_new_zones=True)
    def test_a_new_zone_is_not_seen_before_it_is_complete(self, lab: Lab) -> None:
        name = lab.name()
        zone = lab.zone(*many(name, LARGE), name=name, serial=5)
        keys = [(Name(f"h{number}.{name}"), "A") for number in (0, LARGE // 2, LARGE - 1)]
        seen: list[str] = []
        is_done = threading.Event()

        def watch() -> None:
            while not is_done.is_set():
                for key in keys:
                    try:
                        message = lab.server.query(*key)
                    except (dns.exception.DNSException, OSError):
                        continue
                    if has_authority(message) and answered(message, *key) != zone.rrsets[key]:
                        seen.append(f"{key[0]}: {message.to_text()}")

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            lab.backend.create_zone(zone)
        finally:
            is_done.set()
            watcher.join()
        lab.expected[name] = zone
        assert not seen, seen[0]
        for key in keys:
            lab.assert_served(*key, zone.rrsets[key])

    def test_a_plan_of_10_000_rrsets_goes_in_parts_and_comes_whole(self, lab: Lab) -> None:
        zone = lab.create(lab.zone())
        zone = lab.converge(edited(zone, *many(zone.name, LARGE)))
        lab.converge(edited(zone, remove=[each.key for each in many(zone.name, LARGE)]))

    def test_each_part_of_a_plan_sets_its_own_serial(self, lab: Lab) -> None:
        zone = lab.create(lab.zone())
        desired = edited(zone, *many(zone.name, LARGE))
        for part in split(whole_plan(zone, desired), lab.capabilities):
            receipt = lab.backend.apply(part)
            if not lab.capabilities.sets_serial:
                assert receipt.soa == part.desired_soa
                assert lab.backend.read_soa(zone.name) == part.desired_soa
        lab.expected[zone.name] = desired
        lab.assert_holds(desired)

    def test_two_zones_change_at_once(self, lab: Lab) -> None:
        zones = [lab.create(lab.zone()) for _ in range(2)]

        def work(zone: ZoneContents) -> ZoneContents:
            backend = lab.server.new_backend()
            try:
                for number in range(15):
                    desired = edited(zone, rrset(zone.name, f"n{number}", "A", "192.0.2.1"))
                    zone = persist(lambda desired=desired: converge(backend, desired))  # type: ignore[misc]
                return zone
            finally:
                backend.close()

        with ThreadPoolExecutor(max_workers=2) as pool:
            for zone in pool.map(work, zones):
                assert len(zone.rrsets) == 16
                lab.expected[zone.name] = zone
        lab.assert_all_hold()

    @needs(sets_serial=False)
    @pytest.mark.parametrize(
        ("start", "end"),
        [(1, 2**31 + 5), (2**31 - 1, 2**31), (2**32 - 2, 2), (3_000_000_000, 1_000_000_000), (1, 2**32 - 1)],
    )
    def test_serials_jump_and_wrap(self, lab: Lab, start: int, end: int) -> None:
        """In steps that are each a rise (RFC 1982); and the zone still loads after a restart."""
        zone = lab.create(lab.zone(serial=start))
        desired = edited(zone, rrset(zone.name, "www", "A", "192.0.2.1"), soa=zone.soa.with_serial(end))
        current = zone
        # Beyond half the circle an end counts as lower: walked by hand, as `zone sync` would.
        for target in _waypoints(start, end):
            step = replace(desired if target == end else current, soa=desired.soa.with_serial(target))
            for part in split(whole_plan(current, step), lab.capabilities):
                lab.backend.apply(part)
            current = step
        lab.expected[zone.name] = desired
        lab.assert_holds(desired)
        if lab.server.can("stop") and lab.server.can("start"):
            lab.server.stop()
            lab.server.start()
        lab.converge(edited(desired, rrset(zone.name, "www", "A", "192.0.2.2")))

    def test_single_rrsets_are_read_as_stored(self, lab: Lab) -> None:
        """No expansion of wildcards, no referral, no glue mistaken, no alias followed."""
        name = lab.name()
        stored = [
            rrset(name, "*", "A", "192.0.2.1"),
            rrset(name, "cut", "NS", "ns.cut.example.net.", f"ns.cut.{name}"),
            rrset(name, "cut", "DS", f"60485 13 2 {'ab' * 32}"),
            rrset(name, "ns.cut", "A", "192.0.2.53"),
            rrset(name, "deep.below.cut", "TXT", '"occluded"'),
            rrset(name, "a.b.c", "A", "192.0.2.2"),
            rrset(name, "alias", "CNAME", f"a.b.c.{name}"),
        ]
        zone = lab.create(lab.zone(*stored, name=name))
        absent = [
            (Name(f"under-the-wildcard.{name}"), "A"),
            (Name(f"*.{name}"), "TXT"),
            (Name(f"nothing.cut.{name}"), "A"),
            (Name(f"ns.cut.{name}"), "AAAA"),
            (Name(f"cut.{name}"), "A"),
            (Name(f"b.c.{name}"), "A"),
            (Name(f"alias.{name}"), "A"),
            (name, "MX"),
        ]
        apex_ns = [zone.rrsets[name, "NS"]] if lab.capabilities.apex_ns else []
        wanted = {each.key: each for each in (*stored, *apex_ns)}
        assert lab.backend.read_rrsets(name, [*wanted, *absent]) == wanted
        for key in [*wanted, *absent]:
            assert lab.backend.read_rrsets(name, [key]) == ({key: wanted[key]} if key in wanted else {})
        assert lab.backend.read_rrsets(name, []) == {}

    @needs("query")
    def test_an_empty_non_terminal_comes_and_goes(self, lab: Lab) -> None:
        """It exists without data, so a wildcard beside it doesn't answer for it (RFC 4592, section 2.2.2)."""
        name = lab.name()
        wild, empty = rrset(name, "*", "A", "192.0.2.1"), rrset(name, "b", "A", "192.0.2.1")
        deep = rrset(name, "a.b", "A", "192.0.2.2")
        zone = lab.create(lab.zone(wild, deep, name=name))
        lab.assert_served(empty.name, "A", None)
        zone = lab.converge(edited(zone, remove=[deep.key]))
        lab.assert_served(empty.name, "A", empty)
        zone = lab.converge(edited(zone, deep))
        lab.assert_served(empty.name, "A", None)
        lab.converge(edited(zone, remove=[wild.key]))

    @needs(reads_changes=True)
    def test_read_changes_tells_the_net_difference(self, lab: Lab) -> None:
        name = lab.name()
        gone, kept = rrset(name, "gone", "A", "192.0.2.1"), rrset(name, "kept", "A", "192.0.2.1", "192.0.2.2")
        # Among others, since a server may answer with the whole zone where the difference is longer.
        start = lab.create(lab.zone(gone, kept, *many(name, 50), name=name))
        zone = lab.converge(
            edited(start, rrset(name, "kept", "A", "192.0.2.2", "192.0.2.3"), remove=[gone.key])
        )
        zone = lab.converge(edited(zone, rrset(name, "passing", "A", "192.0.2.9")))
        zone = lab.converge(edited(zone, remove=[(Name(f"passing.{name}"), "A")]))
        delta = lab.backend.read_changes(name, start.soa)
        assert delta is not None, "what was just written, it can tell"
        assert delta.soa == zone.soa
        assert delta.removed == {gone.key: {(300, "192.0.2.1")}, kept.key: {(300, "192.0.2.1")}}
        assert delta.added == {kept.key: {(300, "192.0.2.3")}}
        nothing = lab.backend.read_changes(name, zone.soa)
        assert nothing is not None
        assert not nothing.keys


def _waypoints(start: int, end: int) -> list[int]:
    if serials.is_ahead(end, start):
        return [end]
    return [serials.add(start, 2**30), serials.add(start, 2**31), end]
