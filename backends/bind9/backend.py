"""BIND 9 as a target: zones added by `rndc`, read by transfer, and written to or transferred."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import dns.opcode

from backends import dns_transfer
from backends.bind9 import views
from backends.bind9.birth import NewZones
from backends.bind9.options import Bind9Options
from backends.bind9.primary import PrimaryZones
from backends.bind9.rndc import CommandFailed, ControlChannel
from backends.bind9.secondary import SecondaryZones
from backends.bind9.signing import Signer
from backends.bind9.zones import ConfiguredZones
from backends.dns_connection import DNSConnection
from backends.dns_lookup import look_up
from backends.dns_tsig import TsigKey
from backends.requests_made import RequestsMade
from dnsworker import names
from dnsworker.backend import Backend, Capabilities, Health, Options, Receipt, ZoneDelta
from dnsworker.contents import ZoneContents
from dnsworker.errors import AuthenticationFailed, BackendError, ServerFailure, ZoneMissing
from dnsworker.names import Name
from dnsworker.plan import Plan
from dnsworker.records import SOA, Key, RRset
from dnsworker.wire import SOA_TYPE, request

#: What named can do as a primary.
PRIMARY = Capabilities(
    atomic="message",
    max_message_bytes=60_000,
    creates_zones=True,
    hides_new_zones=True,
    reads_back=True,
    reads_changes=True,
    fencing="server",
    fences_rrsets=True,
    notifies=True,
    pipelined=64,
    creates_together=16,
)
#: As a secondary it is sent nothing but "look". What changed it can tell only if its primary gave it IXFRs.
SECONDARY = replace(
    PRIMARY, max_message_bytes=None, reads_changes=False, fencing="none", fences_rrsets=False, pull=True,
    pipelined=1, creates_together=1,
)  # fmt: skip
#: What signs takes its time for each RRset, and for its neighbours: 2 to 4 ms, while we wait for the answer.
SIGNING = replace(PRIMARY, max_message_bytes=12_000, signs="dynamic", pipelined=1, creates_together=1)
#: What is written to isn't what is served: that our serial is served tells when the copy has got a change.
SIGNING_INLINE = replace(SIGNING, signs="inline", fences_rrsets=False)
#: RRsets that are asked for one by one; for more a transfer is cheaper.
MAX_LOOKUPS = 16


class Bind9Backend(Backend):
    """One named, with `controls` and a TSIG key."""

    capabilities = PRIMARY
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
        self._view = options.view

        def between() -> None:  # set later, and anew for each delivery; the connections announce requests
            self.renew()

        zones = self._zones = ConfiguredZones(self._control, options, between, timeout_s)
        self._signer: Signer | None = None
        self._role: PrimaryZones | SecondaryZones
        if options.mode == "secondary":
            self._role = SecondaryZones(zones, self._dns, options, between, timeout_s)
            return
        if options.dnssec_policy is not None:
            is_inline = options.inline_signing
            self._signer = Signer(zones, self._dns, between, timeout_s, is_inline=is_inline)
        new_zones = NewZones(zones, self._control, options, key, between, timeout_s)
        self._role = PrimaryZones(zones, new_zones, self._dns, self._signer, self.capabilities, between)

    @classmethod
    def capabilities_for(cls, options: Options) -> Capabilities:
        assert isinstance(options, Bind9Options)
        if options.mode == "secondary":
            return SECONDARY
        if options.dnssec_policy is not None:
            return SIGNING_INLINE if options.inline_signing else SIGNING
        return cls.capabilities

    @classmethod
    def writes_to(cls, options: Options) -> tuple[str, ...]:
        assert isinstance(options, Bind9Options)
        return ("dns", f"{options.host}:{options.port}", options.view or "")

    def read_zone(self, zone: Name) -> ZoneContents | None:
        self._requests.begin()
        self._let_it_sign(zone)
        try:
            found = dns_transfer.read_zone(self._dns, zone)
            return self._signer.without_its_own(found) if self._signer is not None else found
        except ZoneMissing:
            return None
        except (AuthenticationFailed, ServerFailure) as exc:
            # A creation that broke off leaves a zone that nobody may see; for everybody it isn't there yet.
            try:
                if self._is_unfinished(zone):
                    return None
            except BackendError:
                raise exc from None  # what went wrong first says more
            raise

    def read_soa(self, zone: Name) -> SOA | None:
        self._requests.begin()
        self._let_it_sign(zone)
        soa = dns_transfer.read_soa(self._dns, zone)
        if soa is not None:
            return soa
        try:
            status = self._zones.status(zone)
        except ZoneMissing:
            return None
        except ServerFailure:
            if self._is_unfinished(zone):
                return None
            raise
        if self._is_unfinished(zone):
            return None
        raise ServerFailure(
            f"named has {zone} but doesn't answer for it to our key: {' '.join(status.split())}"
            + (f"; {self._wrong_view()}, perhaps" if self._view is not None else ""),
            zone=zone,
        )

    def read_rrsets(self, zone: Name, keys: Collection[Key]) -> Mapping[Key, RRset]:
        self._requests.begin()
        self._let_it_sign(zone)
        if len(keys) <= MAX_LOOKUPS:
            found = look_up(self._dns, zone, keys)
            if found is not None:
                return found
            self.checkpoint()
        return super().read_rrsets(zone, keys)

    def read_changes(self, zone: Name, since: SOA) -> ZoneDelta | None:
        self._requests.begin()
        self._let_it_sign(zone)
        delta = dns_transfer.read_changes(self._dns, zone, since)
        return self._signer.delta_without_its_own(delta) if self._signer is not None and delta else delta

    def read_back(self, zone: Name, since: SOA) -> ZoneDelta | ZoneContents | None:
        if self.capabilities.signs != "no":
            return super().read_back(zone, since)
        self._requests.begin()
        return dns_transfer.read_back(self._dns, zone, since)

    def create_zone(self, zone: ZoneContents) -> None:
        self._requests.begin()
        self._role.create(zone)

    def apply(self, plan: Plan) -> Receipt:
        self._requests.begin()
        self._role.apply(plan)
        return Receipt(soa=plan.desired_soa)

    def apply_together(self, plans: Sequence[Plan]) -> list[Receipt | BackendError]:
        if isinstance(self._role, PrimaryZones) and self.capabilities.pipelined > 1:
            return self._role.apply_together(plans)
        return super().apply_together(plans)

    def ds_records(self, zone: Name) -> list[str]:
        self._requests.begin()
        return self._signer.ds_records(zone) if self._signer is not None else []

    def delete_zone(self, zone: Name) -> None:
        self._requests.begin()
        self._zones.remove(zone)

    def notify(self, zone: Name) -> None:
        self._requests.begin()
        self._zones.run("refresh" if self.capabilities.pull else "notify", zone)

    def check(self) -> Health:
        self._requests.begin()
        try:
            # Whatever it says, it has to accept our signature first. And before the control channel, which
            # named merely closes when the clocks differ, where DNS says by how much.
            self._dns.exchange(request(dns.opcode.QUERY, names.ROOT, SOA_TYPE))
            status = self._control.command("status")
            if self._view is not None and not views.is_reached(self._zones, self._dns):
                return Health(ok=False, message=self._wrong_view())
        except BackendError as exc:
            return Health(ok=False, message=str(exc))
        except CommandFailed as exc:
            return Health(ok=False, message=f"named refuses `status`: {exc}")
        version = status.partition("\n")[0].removeprefix("version: ").partition(" (")[0]
        return Health(ok=True, message=f"{version} at {self._dns.host}:{self._dns.port}")

    def close(self) -> None:
        self._dns.close()
        self._control.close()

    def _is_unfinished(self, zone: Name) -> bool:
        if isinstance(self._role, SecondaryZones):
            return self._role.is_unfilled(zone)
        return self._zones.is_unfinished(zone)

    def _let_it_sign(self, zone: Name) -> None:
        """What is read is what named has signed: see that it has caught up with what was written."""
        if self._signer is not None:
            with contextlib.suppress(ZoneMissing, ServerFailure):  # whoever reads finds out himself
                self._signer.wait_until_up_to_date(zone)

    def _wrong_view(self) -> str:
        return (
            f"the TSIG key {self._dns.key.name!r} doesn't lead to the view {self._view!r}: "
            "name the key in that view's match-clients, and exclude it from those of the views before it"
        )
