"""Any server with dynamic update (RFC 2136), zone transfer and TSIG, whose zones somebody else adds.

The protocol can't add a zone or remove one: docs/backends/rfc2136.md says what happens instead.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, ClassVar

import dns.opcode
import dns.rcode
from pydantic import BeforeValidator

from backends import dns_transfer, dns_update
from backends.dns_connection import DNSConnection
from backends.dns_lookup import look_up
from backends.dns_options import SignedOptions
from backends.dns_tsig import TsigKey
from backends.requests_made import RequestsMade
from dnsworker import names, serials
from dnsworker.backend import Backend, Capabilities, Health, Options, Receipt, ZoneDelta
from dnsworker.contents import ZoneContents
from dnsworker.errors import BackendError, InvalidName, Unsupported, ZoneChanged, ZoneMissing
from dnsworker.names import Name
from dnsworker.plan import Plan, SerialsTooClose, make_plan, messages_needed, split
from dnsworker.records import SOA, Key, RRset
from dnsworker.wire import SOA_TYPE, request

#: RRsets that are asked for one by one; for more a transfer is cheaper.
MAX_LOOKUPS = 16


def _zone(name: str) -> Name:
    try:
        return names.zone_name(name)
    except InvalidName as exc:
        raise ValueError(str(exc)) from exc


class Rfc2136Options(SignedOptions):
    """The `options` of a target of `type: rfc2136`."""

    #: A zone that the server has: `check` asks for it. Knot looks at a key only for zones that it has.
    check_zone: Annotated[Name, BeforeValidator(_zone)] | None = None
    #: The view that the key leads to, where the server has several. It tells two targets apart, no more.
    view: str | None = None


class Rfc2136Backend(Backend):
    """One server with a TSIG key. The zones must be there: with nothing in them they are taken up."""

    capabilities = Capabilities(
        atomic="message",
        max_message_bytes=60_000,
        creates_zones=False,
        reads_back=True,
        reads_changes=True,
        fencing="server",
        fences_rrsets=True,
        pipelined=64,
    )
    options_model: ClassVar[type[Options]] = Rfc2136Options

    def __init__(self, target: str, options: Options, *, timeout_s: float = 5.0) -> None:
        super().__init__(target, options, timeout_s=timeout_s)
        assert isinstance(options, Rfc2136Options)
        self._check_zone = options.check_zone
        key = TsigKey(
            options.tsig_key_name, options.tsig_key_secret.get_secret_value(), options.tsig_key_algorithm
        )
        # The checkpoint is set later, and anew for each delivery.
        self._requests = RequestsMade(lambda: self.checkpoint())
        self._dns = DNSConnection(
            options.host,
            options.port,
            key,
            timeout_s=timeout_s,
            announce=self._requests.announce,
            takes_unsigned_absence=True,
        )

    @classmethod
    def writes_to(cls, options: Options) -> tuple[str, ...]:
        assert isinstance(options, Rfc2136Options)
        return ("dns", f"{options.host}:{options.port}", options.view or "")

    def read_zone(self, zone: Name) -> ZoneContents | None:
        self._requests.begin()
        try:
            return dns_transfer.read_zone(self._dns, zone)
        except ZoneMissing:
            return None

    def read_soa(self, zone: Name) -> SOA | None:
        self._requests.begin()
        soa = dns_transfer.read_soa(self._dns, zone)
        if soa is not None:
            return soa
        self.checkpoint()
        # An answer to a query may be the parent's; whether the zone is there, a transfer tells.
        return super().read_soa(zone)

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
        try:
            return dns_transfer.read_changes(self._dns, zone, since)
        except Unsupported:  # no IXFR here
            return None

    def read_back(self, zone: Name, since: SOA) -> ZoneDelta | ZoneContents | None:
        self._requests.begin()
        try:
            return dns_transfer.read_back(self._dns, zone, since)
        except Unsupported:  # no IXFR here
            return None

    def create_zone(self, zone: ZoneContents) -> None:
        """Bring the zone that is there to these contents. Raises `ZoneMissing` where there is none."""
        current = self.read_zone(zone.name)
        if current is None:
            raise ZoneMissing(
                f"{self._dns.address} has no zone {zone.name}, and dynamic update can't add one: "
                "add it there, with nothing but SOA and NS",
                zone=zone.name,
            )
        self._bring(current, zone)

    def apply(self, plan: Plan) -> Receipt:
        self._requests.begin()
        dns_update.send_plan(self._dns, plan)
        return Receipt(soa=plan.desired_soa)

    def apply_together(self, plans: Sequence[Plan]) -> list[Receipt | BackendError]:
        return dns_update.send_plans(self._dns, plans)

    def delete_zone(self, zone: Name) -> None:
        """Leave the zone with its SOA and NS, and the addresses that these need; no error without a zone."""
        current = self.read_zone(zone)
        if current is None:
            return
        kept = current.skeleton()
        changes = current.changes_to(kept)
        if changes:
            serial = serials.add(current.soa.serial, messages_needed(changes))
            self._bring(current, replace(kept, soa=current.soa.with_serial(serial)))

    def check(self) -> Health:
        self._requests.begin()
        zone = self._check_zone
        try:
            answer = self._dns.exchange(request(dns.opcode.QUERY, zone or names.ROOT, SOA_TYPE))
        except BackendError as exc:
            return Health(ok=False, message=str(exc))
        if zone and (answer.rcode != dns.rcode.NOERROR or not answer.is_authoritative):
            return Health(ok=False, message=f"{self._dns.address} doesn't answer for its check_zone {zone}")
        if answer.tsig() is None:
            return Health(
                ok=True,
                message=f"a nameserver at {self._dns.address}, which doesn't look at our key for a zone "
                "that it hasn't got: name one in check_zone",
            )
        return Health(ok=True, message=f"a nameserver that knows our key at {self._dns.address}")

    def close(self) -> None:
        self._dns.close()

    def _bring(self, current: ZoneContents, desired: ZoneContents) -> None:
        changes = current.changes_to(desired)
        if not changes and current.soa == desired.soa:
            return
        try:
            parts = split(make_plan(desired.name, current.soa, desired.soa, changes), self.capabilities)
        except SerialsTooClose as exc:
            raise self._not_above(current, desired) from exc
        if not serials.is_ahead(desired.soa.serial, current.soa.serial):
            raise self._not_above(current, desired)
        for part in parts:
            self.checkpoint()
            self.apply(part)

    def _not_above(self, current: ZoneContents, desired: ZoneContents) -> ZoneChanged:
        return ZoneChanged(
            f"{desired.name} on {self._dns.address} is at serial {current.soa.serial} already, "
            f"not far enough below {desired.soa.serial}",
            zone=desired.name,
        )


BACKEND = Rfc2136Backend
