"""Knot as a target: zones over its control socket, contents by update or transaction, reads by transfer."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import ClassVar

import dns.opcode

from backends import dns_transfer, dns_update
from backends.dns_connection import DNSConnection
from backends.dns_lookup import look_up
from backends.dns_tsig import TsigKey
from backends.knot.control import ControlSocket
from backends.knot.options import KnotOptions
from backends.knot.zones import ConfiguredZones
from backends.requests_made import RequestsMade
from dnsworker import names, serials
from dnsworker.backend import Backend, Capabilities, Health, Options, Receipt, ZoneDelta
from dnsworker.contents import ZoneContents
from dnsworker.errors import BackendError, ServerFailure, Unsupported, ZoneMissing
from dnsworker.names import Name
from dnsworker.plan import Plan, make_plan
from dnsworker.records import SOA, Key, RRset
from dnsworker.wire import SOA_TYPE, request

#: RRsets that are asked for one by one; for more a transfer is cheaper.
MAX_LOOKUPS = 16
#: Longer updates go as a transaction of the control socket. A DNS message has 65,535 bytes, TSIG included.
MAX_UPDATE_BYTES = 60_000


class KnotBackend(Backend):
    """One knotd that runs from a configuration database, with a control socket and a TSIG key."""

    capabilities = Capabilities(
        atomic="message",  # whatever its size
        creates_zones=True,
        hides_new_zones=True,
        reads_back=True,
        reads_changes=True,
        fencing="server",
        notifies=True,
        fences_rrsets=True,  # a plan with this fence comes in messages: a transaction looks at the SOA
    )
    options_model: ClassVar[type[Options]] = KnotOptions

    def __init__(self, target: str, options: Options, *, timeout_s: float = 5.0) -> None:
        super().__init__(target, options, timeout_s=timeout_s)
        assert isinstance(options, KnotOptions)
        self._options = options
        key = TsigKey(
            options.tsig_key_name, options.tsig_key_secret.get_secret_value(), options.tsig_key_algorithm
        )
        # The checkpoint is set later, and anew for each delivery.
        self._requests = RequestsMade(lambda: self.checkpoint())
        announce = self._requests.announce
        self._dns = DNSConnection(
            options.host,
            options.port,
            key,
            timeout_s=timeout_s,
            announce=announce,
            takes_unsigned_absence=True,
        )
        self._zones = ConfiguredZones(
            ControlSocket(options.control_socket, timeout_s=timeout_s, announce=announce),
            options.template,
            lambda: self.renew(),
            timeout_s,
        )

    @classmethod
    def writes_to(cls, options: Options) -> tuple[str, ...]:
        assert isinstance(options, KnotOptions)
        return ("dns", f"{options.host}:{options.port}", "")  # Knot has no views

    def read_zone(self, zone: Name) -> ZoneContents | None:
        self._requests.begin()
        try:
            return dns_transfer.read_zone(self._dns, zone)
        except (ZoneMissing, ServerFailure) as exc:
            self._raise_unless_absent(zone, exc)
            return None

    def read_soa(self, zone: Name) -> SOA | None:
        self._requests.begin()
        soa = dns_transfer.read_soa(self._dns, zone)
        if soa is None:
            self._raise_unless_absent(zone, ServerFailure(f"knotd has {zone} but doesn't answer for it"))
        return soa

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
        except ServerFailure as exc:
            self._raise_unless_absent(zone, exc)
            raise ZoneMissing(f"knotd has no contents of {zone}", zone=zone) from exc

    def create_zone(self, zone: ZoneContents) -> None:
        self._requests.begin()
        standing = self._zones.find(zone.name)
        if standing is None:
            self._zones.add(zone.name)
        elif standing.is_secondary:
            raise Unsupported(f"knotd has {zone.name} already, as a secondary", zone=zone.name)
        elif standing.is_loaded:
            if self._is_brought_to(zone):
                return
            self._zones.empty(zone.name)
        elif not standing.is_ours:
            raise _not_loaded(zone.name)
        self._zones.fill(zone)
        # Signed: a template whose `acl` keeps us out must not go unnoticed until the first change.
        if dns_transfer.read_soa(self._dns, zone.name) != zone.soa:
            raise ServerFailure(f"knotd took {zone.name} and answers with another SOA", zone=zone.name)

    def apply(self, plan: Plan) -> Receipt:
        self._requests.begin()
        message = dns_update.update_message(plan)
        if len(message) > MAX_UPDATE_BYTES and plan.fence == "soa":
            dns_transfer.read_soa(self._dns, plan.zone)  # whether the server takes our key
            self._zones.apply(plan)
            return Receipt(soa=plan.desired_soa)
        try:
            dns_update.send_plan(self._dns, plan)
        except ServerFailure as exc:
            self._raise_unless_absent(plan.zone, exc)
            raise ZoneMissing(f"knotd has no contents of {plan.zone}", zone=plan.zone) from exc
        return Receipt(soa=plan.desired_soa)

    def delete_zone(self, zone: Name) -> None:
        self._requests.begin()
        # Whoever may use the control socket may delete; with a key that isn't the server's, we do not.
        dns_transfer.read_soa(self._dns, zone)
        self._zones.remove(zone)

    def notify(self, zone: Name) -> None:
        self._requests.begin()
        self._zones.notify(zone)

    def check(self) -> Health:
        self._requests.begin()
        options = self._options
        try:
            version = self._zones.version()
            trouble = self._zones.trouble_with_key(
                options.tsig_key_name, options.tsig_key_algorithm, options.tsig_key_secret.get_secret_value()
            )
            # Whether anybody is there: for a zone that it hasn't got, Knot doesn't look at signatures.
            self._dns.exchange(request(dns.opcode.QUERY, names.ROOT, SOA_TYPE))
        except BackendError as exc:
            return Health(ok=False, message=str(exc))
        if trouble:
            return Health(ok=False, message=f"{trouble}: see `knotc conf-read`")
        return Health(ok=True, message=f"Knot {version} at {self._dns.address}")

    def close(self) -> None:
        self._dns.close()

    def _raise_unless_absent(self, zone: Name, exc: BackendError) -> None:
        """An unsigned NOTAUTH or SERVFAIL means little; the control socket knows."""
        standing = self._zones.find(zone)
        if standing is None:
            return
        if standing.is_ours and not standing.is_loaded:
            return  # a creation that broke off: nobody is answered from it, so it isn't there yet
        if not standing.is_loaded:
            raise _not_loaded(zone) from exc
        if isinstance(exc, ZoneMissing):
            raise ServerFailure(
                f"knotd at {self._options.control_socket} has {zone}, and {self._dns.address} hasn't: "
                "host, port and control_socket must be of one server, and the key known there",
                zone=zone,
            ) from exc
        raise exc

    def _is_brought_to(self, desired: ZoneContents) -> bool:
        """Bring a zone that is there to exactly these contents; False where only a new start does."""
        self.checkpoint()
        current = self.read_zone(desired.name)
        if current is None:
            return False
        changes = current.changes_to(desired)
        if not changes and current.soa == desired.soa:
            return True
        if not serials.is_ahead(desired.soa.serial, current.soa.serial):
            return False
        self.checkpoint()
        self.apply(make_plan(desired.name, current.soa, desired.soa, changes))
        return True


def _not_loaded(zone: Name) -> ServerFailure:
    return ServerFailure(
        f"knotd has {zone} but no contents of it: it has expired or can't be loaded, see its log", zone=zone
    )
