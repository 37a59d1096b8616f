"""PowerDNS Authoritative through its HTTP API (4.7 and later): docs/backends/powerdns.md.

The API has no compare-and-set, so `apply` looks at the SOA just before it writes; what can happen between
the two requests is on that page.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import ClassVar

from backends.powerdns import convert
from backends.powerdns.api import Api
from backends.powerdns.options import PowerDNSOptions
from backends.powerdns.secondary import SecondaryZones
from backends.powerdns.zones import Settings, Zones, missing
from dnsworker.backend import Backend, Capabilities, Health, Options, Receipt
from dnsworker.contents import ZoneContents
from dnsworker.errors import BackendError, ServerFailure, ZoneChanged
from dnsworker.names import Name
from dnsworker.plan import Plan, RRsetChange
from dnsworker.records import SOA, Key, RRset

#: Request bodies of a creation stay below this; webserver-max-bodysize is 2 MiB unless pdns.conf says more.
BODY_BYTES = 1_000_000
#: Up to so many owner names are read one by one; above that the whole zone is quicker.
FEW_NAMES = 32
#: What PowerDNS can do as a primary.
PRIMARY = Capabilities(
    atomic="message",
    # In the plan's measure. As JSON it is at most 4.7 times as much, so below the 2 MiB above.
    max_message_bytes=400_000,
    creates_zones=True,
    hides_new_zones=True,
    reads_back=True,
    fencing="none",
    signs="hidden",
    creates_together=16,
)
#: As a secondary it is sent nothing but "fetch".
SECONDARY = replace(PRIMARY, max_message_bytes=None, pull=True, notifies=True, creates_together=1)
#: Of a zone of another kind PowerDNS tells nobody.
NOTIFYING_KINDS = ("Master", "Primary")


class PowerDNS(Backend):
    """One PowerDNS API endpoint. Every PATCH is one transaction of its database, the SOA last in it."""

    capabilities = PRIMARY
    options_model: ClassVar[type[Options]] = PowerDNSOptions

    def __init__(self, target: str, options: Options, *, timeout_s: float = 5.0) -> None:
        super().__init__(target, options, timeout_s=timeout_s)
        assert isinstance(options, PowerDNSOptions), "options are an options_model"
        self._api_url = options.api_url
        self._api = Api(options, timeout_s)
        self._zones = Zones(self._api, options, lambda: self.checkpoint())
        self._secondary: SecondaryZones | None = None
        if options.mode == "secondary":
            self._secondary = SecondaryZones(self._zones, options, timeout_s)

    @classmethod
    def capabilities_for(cls, options: Options) -> Capabilities:
        assert isinstance(options, PowerDNSOptions), "options are an options_model"
        if options.mode == "secondary":
            return SECONDARY
        return replace(
            PRIMARY, sets_serial=bool(options.soa_edit_api), notifies=options.kind in NOTIFYING_KINDS
        )

    @classmethod
    def writes_to(cls, options: Options) -> tuple[str, ...]:
        assert isinstance(options, PowerDNSOptions)
        return ("powerdns", options.api_url, options.server_id)

    def read_zone(self, zone: Name) -> ZoneContents | None:
        self._zones.begin()
        return self._zones.contents(zone)

    def read_soa(self, zone: Name) -> SOA | None:
        self._zones.begin()
        found = self._zones.settings_and_soa(zone)
        return found[1] if found else None

    def read_rrsets(self, zone: Name, keys: Collection[Key]) -> Mapping[Key, RRset]:
        self._zones.begin()
        names = {name for name, _ in keys}
        found: dict[Key, RRset] = {}
        if len(names) > FEW_NAMES:
            contents = self._zones.contents(zone)
            if contents is None:
                raise missing(zone)
            found.update(contents.rrsets)
        else:
            if self._zones.settings_and_soa(zone) is None:
                raise missing(zone)
            for name in sorted(names):
                item = self._zones.get(zone, {"rrset_name": convert.name_to_api(name)})
                if item is None:
                    raise missing(zone)
                # A version that doesn't know rrset_name gives the whole zone: more, never less.
                found.update(convert.contents_from_api(zone, item["rrsets"])[1])
        return {key: found[key] for key in keys if key in found}

    def create_zone(self, zone: ZoneContents) -> None:
        """Repeated, it finds either a zone without a live SOA (an attempt that broke) or a finished one."""
        self._zones.begin()
        if self._secondary is not None:
            self._secondary.create(zone.name, zone.soa)
            return
        if settings := self._zones.post(zone.name, zone.soa):
            self._fill(zone, _additions(zone), settings)
            return
        existing = self._zones.contents(zone.name)
        if existing is None:
            # Not patched up but made anew: of a zone whose POST failed half-way PowerDNS' zone cache knows
            # nothing for five minutes.
            self._zones.delete(zone.name)
            settings = self._zones.post(zone.name, zone.soa)
            if settings is None:
                raise ServerFailure(f"PowerDNS says both that {zone.name} is there and that it isn't")
            self._fill(zone, _additions(zone), settings)
        elif not self._is_same(existing, zone):
            settings = self._zones.settings(zone.name)
            self._fill(zone, _removals_first(existing.changes_to(zone)), settings)

    def apply(self, plan: Plan) -> Receipt:
        self._zones.begin()
        if self._secondary is not None:
            is_anew = plan.current_soa == plan.desired_soa
            self._secondary.apply(plan.zone, plan.desired_soa, anew=is_anew)
            return Receipt(soa=plan.desired_soa)
        found = self._zones.settings_and_soa(plan.zone)
        if found is None:
            raise missing(plan.zone)
        settings, soa = found
        if self._compared(soa) != self._compared(plan.current_soa):
            raise ZoneChanged(
                f"{plan.zone} is at serial {soa.serial} ({soa.mname} {soa.rname}), "
                f"and not, as the plan expects, at {plan.current_soa.serial}",
                zone=plan.zone,
            )
        self._zones.ensure_settings(plan.zone, settings, plan.changes)
        self._zones.patch(plan.zone, plan.changes, plan.desired_soa)
        if settings["kind"] in NOTIFYING_KINDS:
            self._zones.notify_secondaries(plan.zone)
        if not self.capabilities.sets_serial:
            return Receipt(soa=plan.desired_soa)
        found = self._zones.settings_and_soa(plan.zone)
        if found is None:
            raise missing(plan.zone)
        return Receipt(soa=found[1])

    def ds_records(self, zone: Name) -> list[str]:
        self._zones.begin()
        return self._zones.ds_records(zone)

    def delete_zone(self, zone: Name) -> None:
        self._zones.begin()
        self._zones.delete(zone)

    def notify(self, zone: Name) -> None:
        self._zones.begin()
        if self._secondary is not None:
            self._zones.retrieve(zone)
        elif self.capabilities.notifies:
            self._zones.notify(zone)
        else:
            super().notify(zone)

    def check(self) -> Health:
        self._zones.begin()
        try:
            server = self._zones.server()
            if self._secondary is not None and not self._zones.transfers():
                return Health(False, f"{self._api_url}: transfers nothing: set secondary=yes in pdns.conf")
        except BackendError as exc:
            return Health(False, f"{self._api_url}: {exc}")
        return Health(True, f"PowerDNS {server.get('version', '(no version)')} at {self._api_url}")

    def close(self) -> None:
        self._api.close()

    def _is_same(self, existing: ZoneContents, zone: ZoneContents) -> bool:
        return existing.rrsets == zone.rrsets and self._compared(existing.soa) == self._compared(zone.soa)

    def _compared(self, soa: SOA) -> SOA:
        """What says whether a zone is where a plan begins; a serial of PowerDNS' own says nothing."""
        return replace(soa, ttl=0, serial=0 if self.capabilities.sets_serial else soa.serial)

    def _fill(self, zone: ZoneContents, changes: list[RRsetChange], settings: Settings) -> None:
        """The changes in as few PATCHes as the server's body size allows; the SOA goes live with the last."""
        *first, last = _pieces(changes)
        for piece in first:
            self._zones.patch(zone.name, piece, None)
        # After the others: they needn't rectify.
        self._zones.ensure_settings(zone.name, settings, changes)
        self._zones.patch(zone.name, last, zone.soa)


def _additions(zone: ZoneContents) -> list[RRsetChange]:
    return [RRsetChange(None, rrset) for rrset in zone.rrsets.values()]


def _removals_first(changes: Iterable[RRsetChange]) -> list[RRsetChange]:
    """Of the whole zone, since the pieces are cut anywhere: no CNAME may meet what it replaces."""
    return sorted(changes, key=lambda change: not change.is_removal)


def _pieces(changes: Iterable[RRsetChange]) -> list[list[RRsetChange]]:
    """Lists of changes whose JSON stays below `BODY_BYTES`; at least one list, if need be empty."""
    pieces: list[list[RRsetChange]] = [[]]
    size_bytes = 0
    for change in changes:
        change_bytes = convert.json_bytes(change)
        if pieces[-1] and size_bytes + change_bytes > BODY_BYTES:
            pieces.append([])
            size_bytes = 0
        pieces[-1].append(change)
        size_bytes += change_bytes
    return pieces


BACKEND = PowerDNS
