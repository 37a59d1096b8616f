"""A backend that can't add or remove zones, together with the operator who does it.

Separate because the suite itself only knows backends for which `creates_zones` holds. `Provisioned` makes one
of the others: a zone is added empty before it is created, and removed after it was emptied.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from dnsworker.backend import Backend, Capabilities, Health, Receipt, ZoneDelta
from dnsworker.contents import ZoneContents
from dnsworker.names import Name
from dnsworker.plan import Plan
from dnsworker.records import SOA, Key, RRset


class Provisioned(Backend):
    """As if the backend created and deleted zones. A deletion that leaves more than a skeleton fails."""

    def __init__(
        self,
        backend: Backend,
        add_zone: Callable[[Name, int], None],
        remove_zone: Callable[[Name], None],
    ) -> None:
        """`add_zone` gets a name that the server hasn't got, and a serial: it adds a zone with that serial
        and nothing but SOA and NS. `remove_zone` gets one that is there."""
        self._backend, self._add_zone, self._remove_zone = backend, add_zone, remove_zone
        self.target, self.timeout_s = backend.target, backend.timeout_s
        self.checkpoint = self.renew = lambda: None
        backend.checkpoint = lambda: self.checkpoint()
        backend.renew = lambda: self.renew()
        self.capabilities = self.with_zones(backend.capabilities)

    @staticmethod
    def with_zones(capabilities: Capabilities) -> Capabilities:
        """What a suite declares that is given a `Provisioned` backend of these capabilities."""
        return replace(capabilities, creates_zones=True)

    def read_zone(self, zone: Name) -> ZoneContents | None:
        return self._backend.read_zone(zone)

    def read_soa(self, zone: Name) -> SOA | None:
        return self._backend.read_soa(zone)

    def read_rrsets(self, zone: Name, keys: Collection[Key]) -> Mapping[Key, RRset]:
        return self._backend.read_rrsets(zone, keys)

    def read_changes(self, zone: Name, since: SOA) -> ZoneDelta | None:
        return self._backend.read_changes(zone, since)

    def create_zone(self, zone: ZoneContents) -> Receipt | None:
        if self._backend.read_soa(zone.name) is None:
            # Below, with room for the messages of a large zone (RFC 1982: the numbers are a circle).
            self._add_zone(zone.name, (zone.soa.serial - 1000) % 2**32 or 1)
        self.checkpoint()
        return self._backend.create_zone(zone)

    def apply(self, plan: Plan) -> Receipt:
        return self._backend.apply(plan)

    def delete_zone(self, zone: Name) -> None:
        self._backend.delete_zone(zone)
        self.checkpoint()
        left = self._backend.read_zone(zone)
        if left is not None:
            assert left.is_bare, (
                f"{zone} was to be emptied; there is {', '.join(map(str, left.rrsets.values()))}"
            )
            self._remove_zone(zone)

    def check(self) -> Health:
        return self._backend.check()

    def close(self) -> None:
        self._backend.close()
