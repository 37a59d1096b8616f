"""The bench of one conformance case: zones with names of their own, and the way to bring one to a state."""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype

from dnsworker import serials
from dnsworker.backend import Backend, Capabilities
from dnsworker.comparison import SIGNER_TYPES as SIGNER_TYPES
from dnsworker.comparison import is_visible
from dnsworker.contents import ZoneContents
from dnsworker.errors import Transient
from dnsworker.names import Name, record_name, zone_name
from dnsworker.plan import Plan, make_plan, messages_needed, split
from dnsworker.records import SOA, Key, RRset
from dnsworker.testing.server import ServerUnderTest

_PAUSE_S = 0.02

T = TypeVar("T")

_numbers = itertools.count(1)


class Lab:
    """Zones of one case and what they should hold. `expected` is what must survive a restart."""

    def __init__(self, server: ServerUnderTest, backend: Backend, parent: str) -> None:
        self.server = server
        self.backend = backend
        self.capabilities: Capabilities = backend.capabilities
        self.expected: dict[Name, ZoneContents | None] = {}
        self._parent = parent

    def name(self) -> Name:
        """A zone name that no other case has."""
        name = zone_name(f"c{next(_numbers)}-{secrets.token_hex(3)}.{self._parent}")
        self.expected[name] = None
        return name

    def zone(self, *rrsets: RRset, name: Name | None = None, serial: int = 1) -> ZoneContents:
        """Contents with a SOA, two apex NS and these RRsets; not yet at the server."""
        name = name or self.name()
        soa = SOA(zone_name("ns1.example.net."), zone_name("hostmaster.example.net."), serial)
        ns = RRset(name, "NS", 3600, ["ns1.example.net.", "ns2.example.net."])
        return ZoneContents.of(name, soa, [ns, *rrsets])

    def create(self, contents: ZoneContents) -> ZoneContents:
        """Has the zone made; returns it, with the SOA that the server's signer, if any, gave it meanwhile."""
        self.backend.create_zone(contents)
        self.expected[contents.name] = contents
        found = self.backend.read_zone(contents.name)
        assert_same(found, contents, self.capabilities)
        if self.capabilities.signer_counts and found is not None:
            contents = self.expected[contents.name] = replace(contents, soa=found.soa)
        return contents

    def converge(self, contents: ZoneContents) -> ZoneContents:
        """Brings the server to these contents (see `converge`) and expects them from now on."""
        reached = converge(self.backend, contents)
        self.expected[contents.name] = reached
        return reached

    def assert_holds(self, contents: ZoneContents) -> None:
        assert_same(self.backend.read_zone(contents.name), contents, self.capabilities)

    def assert_all_hold(self) -> None:
        for name, contents in self.expected.items():
            found = self.backend.read_zone(name)
            if contents is None:
                assert found is None, f"{name} should be absent"
            else:
                assert_same(found, contents, self.capabilities)

    def served(self, name: Name, type: str) -> RRset | None:
        """The RRset in the answer section of the server's own answer; None without one."""
        return answered(self.server.query(name, type), name, type)

    def assert_served(self, name: Name, type: str, wanted: RRset | None) -> None:
        """Over DNS, as soon as the server's `settle_s` allows it."""
        self.wait_until(lambda: self.served(name, type) == wanted, lambda: f"{self.served(name, type)}")

    def wait_until(
        self, is_true: Callable[[], bool], said: Callable[[], str], timeout_s: float | None = None
    ) -> None:
        deadline = time.monotonic() + (self.server.settle_s if timeout_s is None else timeout_s)
        while not is_true():
            assert time.monotonic() < deadline, f"not reached in time: {said()}"
            threading.Event().wait(_PAUSE_S)


def converge(backend: Backend, contents: ZoneContents) -> ZoneContents:
    """Read what the server has, plan, apply in parts, read back, compare. Returns what was reached.

    Where the zone's serial must rise above that of `contents` (the server is ahead, or the plan needs
    several messages), what was reached has the higher one.
    """
    current = backend.read_zone(contents.name)
    if current is None:
        backend.create_zone(contents)
    else:
        contents = above(current, contents)
        for part in parts(backend.capabilities, current, contents):
            backend.apply(part)
    assert_same(backend.read_zone(contents.name), contents, backend.capabilities)
    return contents


def parts(capabilities: Capabilities, current: ZoneContents, desired: ZoneContents) -> list[Plan]:
    """The messages from `current` to `desired`; none when they are the same."""
    changes = visible(current, capabilities).changes_to(visible(desired, capabilities))
    if not changes and current.soa == desired.soa:
        return []
    return split(make_plan(desired.name, current.soa, desired.soa, changes), capabilities)


def above(current: ZoneContents, desired: ZoneContents) -> ZoneContents:
    """`desired` with a serial that leaves room for its messages, unless it has one."""
    changes = current.changes_to(desired)
    needed = (
        messages_needed(changes)
        if changes or replace(current.soa, serial=0) != replace(desired.soa, serial=0)
        else 0
    )
    start, end = current.soa.serial, desired.soa.serial
    is_rise = end == start or serials.is_ahead(end, start)
    if is_rise and serials.distance(start, end) >= needed:
        return desired
    return replace(desired, soa=desired.soa.with_serial(serials.add(start, max(needed, 1))))


def edited(
    contents: ZoneContents, *put: RRset, remove: Iterable[Key] = (), soa: SOA | None = None
) -> ZoneContents:
    """`contents` with some RRsets put and removed, and the next serial unless `soa` says otherwise."""
    removed = set(remove)
    rrsets = {key: rrset for key, rrset in contents.rrsets.items() if key not in removed}
    rrsets.update({rrset.key: rrset for rrset in put})
    new = ZoneContents(soa=contents.soa, rrsets=rrsets, name=contents.name)
    steps = max(1, messages_needed(contents.changes_to(new)))
    return replace(new, soa=soa or contents.soa.with_serial(serials.add(contents.soa.serial, steps)))


def whole_plan(current: ZoneContents, desired: ZoneContents) -> Plan:
    """One plan, uncut."""
    return make_plan(desired.name, current.soa, desired.soa, current.changes_to(desired))


def rrset(zone: Name, owner: str, type: str, *data: str, ttl: int = 300) -> RRset:
    return RRset(record_name(owner, zone), type, ttl, data)


def visible(contents: ZoneContents, capabilities: Capabilities) -> ZoneContents:
    """Without what belongs to the server's signer or the provider."""
    if capabilities.signs == "no" and capabilities.apex_ns:
        return contents
    own = {
        key: rrset for key, rrset in contents.rrsets.items() if is_visible(key, contents.name, capabilities)
    }
    return replace(contents, rrsets=own)


def assert_same(found: ZoneContents | None, wanted: ZoneContents, capabilities: Capabilities) -> None:
    assert found is not None, f"{wanted.name} should be there"
    found, wanted = visible(found, capabilities), visible(wanted, capabilities)
    wrong = found.changes_to(wanted)
    shown = "; ".join(f"has {change.before}, should have {change.after}" for change in wrong[:5])
    assert not wrong, f"{wanted.name}: {len(wrong)} RRsets differ: {shown}"
    if capabilities.signer_counts and serials.is_ahead(found.soa.serial, wanted.soa.serial):
        found = replace(found, soa=found.soa.with_serial(wanted.soa.serial))
    if not capabilities.sets_serial:
        assert found.soa == wanted.soa, f"{wanted.name}: the SOA differs"


def answered(message: dns.message.Message, name: Name, type: str) -> RRset | None:
    wanted = dns.rdatatype.from_text(type)
    for answer in message.answer:
        if answer.rdtype == wanted and RRset.from_rdataset(answer.name, answer).name == name:
            return RRset.from_rdataset(answer.name, answer)
    return None


def has_authority(message: dns.message.Message) -> bool:
    """Whether the server answers from a zone of its own."""
    return message.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN) and bool(message.flags & dns.flags.AA)


def persist(work: Callable[[], T], timeout_s: float = 30.0) -> T:
    """`work`'s result, tried again while the server says that it can't just now."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return work()
        except Transient:
            if time.monotonic() > deadline:
                raise
            threading.Event().wait(_PAUSE_S)


def many(zone: Name, count: int, prefix: str = "h") -> Sequence[RRset]:
    """`count` small RRsets."""
    return [
        RRset.trusted(Name(f"{prefix}{number}.{zone}"), "A", 300, (f"192.0.2.{number % 250 + 1}",))
        for number in range(count)
    ]
