"""BIND 9 as a target: zones added by `rndc`, changed by RFC 2136 updates, read by transfer."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping
from typing import ClassVar

import dns.opcode

from backends import dns_transfer, dns_update
from backends.bind9.options import Bind9Options
from backends.bind9.rndc import CommandFailed, ControlChannel
from backends.bind9.zones import ConfiguredZones, is_unfinished
from backends.dns_connection import DNSConnection
from backends.dns_lookup import look_up
from backends.dns_tsig import TsigKey
from backends.dns_wire import SOA_TYPE, request
from backends.requests_made import RequestsMade
from dnsworker import names, serials
from dnsworker.backend import Backend, Capabilities, Health, Options, Receipt, ZoneDelta
from dnsworker.contents import ZoneContents
from dnsworker.errors import AuthenticationFailed, BackendError, ServerFailure, Unsupported, ZoneMissing
from dnsworker.names import Name
from dnsworker.plan import Plan, SerialsTooClose, make_plan, split
from dnsworker.records import SOA, Key, RRset

#: From this on a jump of the serial is followed by writing the zone's file. named can't load a zone again
#: whose journal, from the file's serial to its end, goes 2³¹ or further; it says nothing until then.
LARGE_JUMP = 2**24
#: RRsets that are asked for one by one; for more a transfer is cheaper.
MAX_LOOKUPS = 16


class Bind9Backend(Backend):
    """One named, with `controls` and a TSIG key."""

    capabilities = Capabilities(
        atomic="message",
        max_message_bytes=60_000,
        creates_zones=True,
        hides_new_zones=True,
        reads_back=True,
        reads_changes=True,
        fencing="server",
    )
    options_model: ClassVar[type[Options]] = Bind9Options

    def __init__(self, target: str, options: Options, *, timeout_s: float = 5.0) -> None:
        super().__init__(target, options, timeout_s=timeout_s)
        assert isinstance(options, Bind9Options)
        key = TsigKey(
            options.tsig_key_name, options.tsig_key_secret.get_secret_value(), options.tsig_key_algorithm
        )
        # The checkpoint is set later, and anew for each delivery.
        self._requests = RequestsMade(lambda: self.checkpoint())
        announce = self._requests.announce
        self._dns = DNSConnection(options.host, options.port, key, timeout_s=timeout_s, announce=announce)
        self._control = ControlChannel(
            options.control_host,
            options.rndc_port,
            key=base64.b64decode(options.rndc_key_secret.get_secret_value()),
            algorithm=options.rndc_key_algorithm,
            timeout_s=timeout_s,
            announce=announce,
        )
        self._zones = ConfiguredZones(self._control, options, key, lambda: self.renew(), timeout_s)

    @classmethod
    def writes_to(cls, options: Options) -> tuple[str, ...]:
        assert isinstance(options, Bind9Options)
        return ("dns", f"{options.host}:{options.port}", options.view or "")

    def read_zone(self, zone: Name) -> ZoneContents | None:
        self._requests.begin()
        try:
            return dns_transfer.read_zone(self._dns, zone)
        except ZoneMissing:
            return None
        except (AuthenticationFailed, ServerFailure) as exc:
            # A creation that broke off leaves a zone that nobody may see; for everybody it isn't there yet.
            try:
                if self._zones.is_unfinished(zone):
                    return None
            except BackendError:
                raise exc from None  # what went wrong first says more
            raise

    def read_soa(self, zone: Name) -> SOA | None:
        self._requests.begin()
        soa = dns_transfer.read_soa(self._dns, zone)
        if soa is not None:
            return soa
        try:
            status = self._zones.status(zone)
        except ZoneMissing:
            return None
        except ServerFailure:
            if self._zones.is_unfinished(zone):
                return None
            raise
        if self._zones.is_unfinished(zone):
            return None
        raise ServerFailure(
            f"named has {zone} but doesn't answer for it to our key: {' '.join(status.split())}", zone=zone
        )

    def read_rrsets(self, zone: Name, keys: Collection[Key]) -> Mapping[Key, RRset]:
        self._requests.begin()
        if len(keys) <= MAX_LOOKUPS:
            found = look_up(self._dns, zone, keys)
            if found is not None:
                return found
            self.checkpoint()
        return super().read_rrsets(zone, keys)

    def read_changes(self, zone: Name, since: SOA) -> ZoneDelta | None:
        self._requests.begin()
        return dns_transfer.read_changes(self._dns, zone, since)

    def create_zone(self, zone: ZoneContents) -> None:
        self._requests.begin()
        statement = self._zones.find(zone.name)
        if statement is not None:
            if not is_unfinished(statement):
                if "type primary;" not in statement and "type master;" not in statement:
                    raise Unsupported(f"named has {zone.name} already, and not as a primary", zone=zone.name)
                if self._is_brought_to(zone):
                    return
            self._zones.remove(zone.name)
        self._zones.add(zone)

    def apply(self, plan: Plan) -> Receipt:
        self._requests.begin()
        jumps = serials.distance(plan.current_soa.serial, plan.desired_soa.serial) >= LARGE_JUMP
        if jumps:  # also before: the sync after the last jump may have been lost
            self._zones.sync(plan.zone)
        dns_update.send_plan(self._dns, plan)
        if jumps:
            self._zones.sync(plan.zone)
        return Receipt(soa=plan.desired_soa)

    def delete_zone(self, zone: Name) -> None:
        self._requests.begin()
        self._zones.remove(zone)

    def check(self) -> Health:
        self._requests.begin()
        try:
            # Whatever it says, it has to accept our signature first. And before the control channel, which
            # named merely closes when the clocks differ, where DNS says by how much.
            self._dns.exchange(request(dns.opcode.QUERY, names.ROOT, SOA_TYPE))
            status = self._control.command("status")
        except BackendError as exc:
            return Health(ok=False, message=str(exc))
        except CommandFailed as exc:
            return Health(ok=False, message=f"named refuses `status`: {exc}")
        version = status.partition("\n")[0].removeprefix("version: ").partition(" (")[0]
        return Health(ok=True, message=f"{version} at {self._dns.host}:{self._dns.port}")

    def close(self) -> None:
        self._dns.close()
        self._control.close()

    def _is_brought_to(self, desired: ZoneContents) -> bool:
        """Bring a zone that is there to exactly these contents by updates; False where that can't be done."""
        self.checkpoint()
        try:
            current = self.read_zone(desired.name)
        except ServerFailure:
            # It is configured and can't be loaded: its file is gone, say. The caller wants it replaced.
            self._raise_unless_not_loaded(desired.name)
            return False
        if current is None:
            return False
        changes = current.changes_to(desired)
        if not changes and current.soa == desired.soa:
            return True
        if not serials.is_ahead(desired.soa.serial, current.soa.serial):
            return False
        try:
            parts = split(make_plan(desired.name, current.soa, desired.soa, changes), self.capabilities)
        except SerialsTooClose:
            return False
        for part in parts:
            self.checkpoint()
            self.apply(part)
        return True

    def _raise_unless_not_loaded(self, zone: Name) -> None:
        try:
            self._zones.status(zone)
        except ServerFailure as exc:
            if "zone not loaded" in str(exc):
                return
            raise
        raise ServerFailure(f"named has loaded {zone} but can't transfer it now", zone=zone)
