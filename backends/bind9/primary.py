"""Zones that named holds as a primary: created as a whole, then changed by RFC 2136 updates.

Separate from the reading, which is the same for zones that named transfers from elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from backends import dns_transfer, dns_update
from backends.bind9.birth import NewZones
from backends.bind9.signing import Signer
from backends.bind9.zones import NOT_LOADED, ConfiguredZones, is_unfinished
from backends.dns_connection import DNSConnection
from dnsworker import serials
from dnsworker.backend import Receipt
from dnsworker.capabilities import Capabilities
from dnsworker.contents import ZoneContents
from dnsworker.errors import BackendError, ServerFailure, Unsupported, ZoneMissing
from dnsworker.names import Name
from dnsworker.plan import Plan, SerialsTooClose, make_plan, split

#: From this on a jump of the serial is followed by writing the zone's file. named can't load a zone again
#: whose journal, from the file's serial to its end, goes 2³¹ or further; it says nothing until then.
LARGE_JUMP = 2**24


def _jumps(plan: Plan) -> bool:
    return serials.distance(plan.current_soa.serial, plan.desired_soa.serial) >= LARGE_JUMP


class PrimaryZones:
    """The zones of one named in `mode: primary`."""

    def __init__(
        self,
        zones: ConfiguredZones,
        new_zones: NewZones,
        connection: DNSConnection,
        signer: Signer | None,
        capabilities: Capabilities,
        checkpoint: Callable[[], None],
    ) -> None:
        self._zones = zones
        self._new_zones = new_zones
        self._dns = connection
        self._signer = signer
        self._capabilities = capabilities
        self._checkpoint = checkpoint

    def create(self, contents: ZoneContents) -> None:
        """Have the zone with exactly these contents."""
        if self._signer is not None:
            self._signer.refuse_its_own(contents.name, contents.rrsets)
        statement = self._zones.find(contents.name)
        self._checkpoint()
        if statement is not None:
            if not is_unfinished(statement):
                if "type primary;" not in statement and "type master;" not in statement:
                    raise Unsupported(
                        f"named has {contents.name} already, and not as a primary", zone=contents.name
                    )
                if self._is_brought_to(contents):
                    return
            self._zones.remove(contents.name)
            self._checkpoint()
        self._new_zones.add(contents)
        if self._signer is not None:
            self._checkpoint()
            self._signer.wait_until_signed(contents.name)

    def apply_together(self, plans: Sequence[Plan]) -> list[Receipt | BackendError]:
        """As `apply`, several zones; the ones that jump by themselves."""
        results: list[Receipt | BackendError] = [Receipt(soa=plan.desired_soa) for plan in plans]
        walking = [index for index, plan in enumerate(plans) if not _jumps(plan)]
        sent = dns_update.send_plans(self._dns, [plans[index] for index in walking])
        for index, result in zip(walking, sent, strict=True):
            results[index] = result
        for index in set(range(len(plans))) - set(walking):
            try:
                self.apply(plans[index])
            except BackendError as exc:
                results[index] = exc
        return results

    def apply(self, plan: Plan) -> None:
        """Carry the plan out."""
        jumps = _jumps(plan)
        if jumps:  # also before: the sync after the last jump may have been lost
            self._zones.sync(plan.zone)
            self._checkpoint()
        if self._signer is not None:
            self._signer.send(plan)
        else:
            dns_update.send_plan(self._dns, plan)
        if jumps:
            self._checkpoint()
            self._zones.sync(plan.zone)

    def _is_brought_to(self, desired: ZoneContents) -> bool:
        """Bring a zone that is there to exactly these contents by updates; False where that can't be done."""
        try:
            current = dns_transfer.read_zone(self._dns, desired.name)
        except ZoneMissing:
            return False
        except ServerFailure:
            # It is configured and can't be loaded: its file is gone, say. The caller wants it replaced.
            self._raise_unless_not_loaded(desired.name)
            return False
        if self._signer is not None:
            current = self._signer.without_its_own(current)
        changes = current.changes_to(desired)
        if not changes and current.soa == desired.soa:
            return True
        if not serials.is_ahead(desired.soa.serial, current.soa.serial):
            # The signer goes on counting; there whoever called lifts the zone's serial.
            return self._signer is not None and not changes
        try:
            parts = split(make_plan(desired.name, current.soa, desired.soa, changes), self._capabilities)
        except SerialsTooClose:
            return False
        for part in parts:
            self._checkpoint()
            self.apply(part)
        return True

    def _raise_unless_not_loaded(self, zone: Name) -> None:
        try:
            self._zones.status(zone)
        except ServerFailure as exc:
            if NOT_LOADED in str(exc):
                return
            raise
        raise ServerFailure(f"named has loaded {zone} but can't transfer it now", zone=zone)
