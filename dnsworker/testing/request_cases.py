"""Cases about the number of requests: what the server was sent is what the target's budget was charged.

Not part of `BackendConformance`: the server under test has to count (`ServerUnderTest.counted`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import ClassVar

import pytest

from dnsworker.backend import Backend
from dnsworker.contents import ZoneContents
from dnsworker.errors import BackendError
from dnsworker.names import Name
from dnsworker.plan import split
from dnsworker.records import SOA, RRset
from dnsworker.testing.case import Case
from dnsworker.testing.lab import Lab, edited, many, parts, rrset, whole_plan


class Account:
    """A backend whose requests are counted twice: as announced, and as they arrived."""

    def __init__(self, backend: Backend, arrived: Callable[[], int]) -> None:
        self.backend, self._arrived = backend, arrived
        self._announced = 0
        backend.checkpoint = self._announce
        #: What didn't agree, one line each.
        self.wrong: list[str] = []
        self.made = 0

    def call(self, name: str, *arguments: object) -> None:
        """One method of the contract, whatever comes of it."""
        self._announced = 1
        before = self._arrived()
        ending = "returned"
        try:
            getattr(self.backend, name)(*arguments)
        except BackendError as exc:
            ending = f"raised {type(exc).__name__}"
        arrived = self._arrived() - before
        self.made += arrived
        # Whoever calls a method has paid for the first one, even where it turns out that none is needed.
        if max(arrived, 1) != self._announced:
            self.wrong.append(f"{name} {ending}: {self._announced} announced, {arrived} arrived")

    def _announce(self) -> None:
        self._announced += 1


class RequestCases(Case):
    """Every request after the first of a method is announced by `checkpoint`, and nothing else is."""

    #: RRsets that no message or batch holds.
    large: ClassVar[int] = 3000

    @pytest.fixture
    def account(self, lab: Lab) -> Iterator[Account]:
        backend, arrived = lab.server.counted()
        account = Account(backend, arrived)
        yield account
        backend.close()
        assert account.made > 0, "nothing was counted"
        assert not account.wrong, "\n".join(account.wrong)

    def test_every_request_is_announced_and_none_that_isnt_made(self, lab: Lab, account: Account) -> None:
        name = lab.name()
        zone = lab.zone(rrset(name, "www", "A", "192.0.2.1"), *many(name, 100), name=name)
        self._look(account, zone)  # it isn't there
        account.call("apply", whole_plan(zone, edited(zone, rrset(name, "x", "A", "192.0.2.1"))))
        account.call("delete_zone", name)
        account.call("create_zone", zone)
        account.call("create_zone", zone)
        self._look(account, zone)
        for desired in _states(zone):
            self._change(lab, account, zone, desired)
            zone = desired
        account.call("create_zone", lab.zone(name=name, serial=7))  # over what is there: ahead of that
        account.call("create_zone", replace(zone, soa=zone.soa.with_serial(zone.soa.serial + 1)))
        account.call("check")
        account.call("delete_zone", name)
        account.call("delete_zone", name)

    def test_what_takes_several_requests_counts_as_well(self, lab: Lab, account: Account) -> None:
        name = lab.name()
        zone = lab.zone(*many(name, self.large), name=name)
        small = edited(lab.zone(rrset(name, "www", "A", "192.0.2.1"), name=name), soa=_above(zone, 1))
        account.call("create_zone", zone)
        lab.assert_holds(zone)
        account.call("read_zone", name)
        account.call("read_rrsets", name, list(zone.rrsets))
        self._change(lab, account, zone, small)
        self._change(lab, account, small, replace(zone, soa=_above(zone, 2)))
        account.call("delete_zone", name)

    def test_what_is_refused_counts_as_well(self, lab: Lab, account: Account) -> None:
        zone = lab.create(lab.zone())
        stale = replace(zone, soa=zone.soa.with_serial(zone.soa.serial - 1))
        account.call("apply", whole_plan(stale, edited(zone, rrset(zone.name, "www", "A", "192.0.2.1"))))
        alias = rrset(zone.name, "www", "CNAME", "elsewhere.example.net.")
        beside = rrset(zone.name, "www", "A", "192.0.2.1")
        account.call("apply", whole_plan(zone, edited(zone, alias, beside)))
        # BIND refuses a nameserver without its address in the words in which it refuses a key.
        nameless = RRset(zone.name, "NS", 3600, [f"ns.{zone.name}"])
        account.call("apply", whole_plan(zone, edited(zone, nameless)))
        lab.backend.delete_zone(zone.name)
        lab.expected[zone.name] = None

    def _look(self, account: Account, zone: ZoneContents) -> None:
        www, few = (zone.name, "NS"), [key for key in zone.rrsets if key[1] == "A"][:5]
        account.call("read_zone", zone.name)
        account.call("read_soa", zone.name)
        account.call("read_rrsets", zone.name, [www])
        account.call("read_rrsets", zone.name, [(Name(f"absent.{zone.name}"), "A"), www, *few])
        account.call("read_rrsets", zone.name, list(zone.rrsets))
        if account.backend.capabilities.notifies:
            account.call("notify", zone.name)
        if account.backend.capabilities.reads_changes:
            account.call("read_changes", zone.name, zone.soa)

    def _change(self, lab: Lab, account: Account, current: ZoneContents, desired: ZoneContents) -> None:
        plans = split(whole_plan(current, desired), lab.capabilities)
        for plan in plans:
            account.call("apply", plan)
        self._look(account, desired)
        with contextlib.suppress(AssertionError):
            lab.assert_holds(desired)
            return
        raise AssertionError(f"not as planned; left: {parts(lab.capabilities, current, desired)}")


def _above(zone: ZoneContents, plans: int) -> SOA:
    """Of what comes of the zone by that many plans, with room for the messages of each."""
    return zone.soa.with_serial(zone.soa.serial + 1000 * plans)


def _states(zone: ZoneContents) -> Iterator[ZoneContents]:
    """What a zone goes through that makes servers differ."""
    name = zone.name
    zone = edited(zone, rrset(name, "a.b.c", "A", "192.0.2.1"), rrset(name, "*", "TXT", '"wild"'))
    yield zone
    zone = edited(zone, rrset(name, "cut", "NS", "ns.example.net."), rrset(name, "x.cut", "A", "192.0.2.9"))
    yield zone
    zone = edited(zone, soa=zone.soa.with_serial(zone.soa.serial + 2**26))  # BIND writes its file for this
    yield zone
    yield edited(zone, rrset(name, "long", "TXT", *[f'"{number}{"x" * 200}"' for number in range(90)]))
