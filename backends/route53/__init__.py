"""Amazon Route 53 through boto3: docs/backends/route53.md.

Route 53 sets the serial, and the SOA stays as it makes it. What fences is the batch itself: it deletes
exactly what the plan believes to be there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from backends.route53 import batches, convert
from backends.route53.api import MAX_SKEW_S, Api, Refused, shown_skew, skew_of
from backends.route53.convert import Item
from backends.route53.options import Route53Options
from backends.route53.refusals import disagrees, named_key
from backends.route53.zones import PAGE, HostedZone, HostedZones, plain
from dnsworker.backend import Backend, Capabilities, Health, Options, Receipt
from dnsworker.comparison import is_same, is_visible
from dnsworker.contents import ZoneContents
from dnsworker.errors import BackendError, RecordRejected, ServerFailure, ZoneChanged, ZoneMissing
from dnsworker.names import Name
from dnsworker.plan import Plan, RRsetChange, make_plan
from dnsworker.records import SOA, Key, RRset

TYPES = (
    *("A", "AAAA", "CAA", "CNAME", "DS", "HTTPS", "MX", "NAPTR", "NS", "PTR", "SPF", "SRV"),
    *("SSHFP", "SVCB", "TLSA", "TXT"),
)


class Route53(Backend):
    """The public or the private zones of one account. Every `apply` that fits is one batch."""

    capabilities = Capabilities(
        types=frozenset(TYPES),
        atomic="message",
        max_records=batches.MAX_RECORDS,
        max_characters=batches.MAX_CHARACTERS,
        creates_zones=True,
        hides_new_zones=False,
        reads_back=True,
        fencing="none",
        sets_serial=True,
        apex_ns=False,
    )
    options_model: ClassVar[type[Options]] = Route53Options

    def __init__(self, target: str, options: Options, *, timeout_s: float = 5.0) -> None:
        super().__init__(target, options, timeout_s=timeout_s)
        assert isinstance(options, Route53Options), "options are an options_model"
        self._api = Api(options, timeout_s)
        self._zones = HostedZones(self._api, options, timeout_s, lambda: self.checkpoint())
        #: How Route 53 has RRsets of the zone read last, where that isn't how we write them: they can only be
        #: deleted in these words.
        self._spellings: tuple[Name, dict[Key, Item]] = (Name("."), {})

    @classmethod
    def capabilities_for(cls, options: Options) -> Capabilities:
        assert isinstance(options, Route53Options), "options are an options_model"
        return replace(cls.capabilities, apex_ns=options.manage_apex_ns)

    @classmethod
    def writes_to(cls, options: Options) -> tuple[str, ...] | None:
        """Known by its key or profile; a machine's own role may be another one on the next machine.

        An account may have several zones of one name: public, of a VPC, or told apart by `zone_ids`.
        """
        assert isinstance(options, Route53Options), "options are an options_model"
        account = options.access_key_id or options.profile
        if account is None:
            return None
        which = f"private {options.vpc_id or ''}".strip() if options.private else "public"
        ids = ",".join(sorted(options.zone_ids.values()))
        return ("route53", account, which, ids, options.endpoint_url or "")

    def read_zone(self, zone: Name) -> ZoneContents | None:
        self._zones.begin()
        try:
            return self._zones.within(zone, lambda hosted: self._contents(zone, hosted))
        except ZoneMissing:
            return None

    def read_soa(self, zone: Name) -> SOA | None:
        self._zones.begin()
        try:
            return self._zones.within(zone, lambda hosted: self._soa(zone, hosted))
        except ZoneMissing:
            return None

    def read_rrsets(self, zone: Name, keys: Collection[Key]) -> Mapping[Key, RRset]:
        self._zones.begin()
        found = self._zones.within(zone, lambda hosted: self._items(hosted, keys))
        read = self._understood(zone, plain(found), is_whole=False)
        return {key: read[key] for key in keys if key in read}

    def create_zone(self, zone: ZoneContents) -> Receipt:
        """Repeated, it finds the zone of the attempt that broke, and completes it."""
        self._zones.begin()
        self._refuse_unknown_types(RRsetChange(None, rrset) for rrset in zone.rrsets.values())
        change_id: str | None = None
        try:
            existing = self._zones.within(zone.name, lambda hosted: self._contents(zone.name, hosted))
        except ZoneMissing:
            change_id = self._zones.make(zone.name, zone.soa)
            # Even so it may have more than its apex: the zone of an attempt that is listed only now.
            existing = self._zones.within(zone.name, lambda hosted: self._contents(zone.name, hosted))
        changes = make_plan(zone.name, zone.soa, zone.soa, existing.changes_to(zone)).changes
        sent = self._zones.within(zone.name, lambda hosted: self._send(zone.name, hosted, changes))
        return Receipt(soa=zone.soa, change_id=sent or change_id)

    def apply(self, plan: Plan) -> Receipt:
        self._zones.begin()
        self._refuse_unknown_types(plan.changes)
        change_id = self._zones.within(plan.zone, lambda hosted: self._send(plan.zone, hosted, plan.changes))
        return Receipt(soa=plan.desired_soa, change_id=change_id)

    def has_arrived(self, zone: Name, change_id: str) -> bool:
        self._zones.begin()
        return self._zones.is_in_sync(change_id)

    def delete_zone(self, zone: Name) -> None:
        self._zones.begin()
        try:
            self._zones.within(zone, lambda hosted: self._zones.delete(zone, hosted))
        except ZoneMissing:
            return

    def check(self) -> Health:
        self._zones.begin()
        try:
            answer = self._zones.first()
        except BackendError as exc:
            return Health(False, f"{self._api.endpoint}: {exc}")
        skew_s = skew_of(answer["ResponseMetadata"]["HTTPHeaders"].get("date"))
        clock = ""
        if abs(skew_s) > MAX_SKEW_S / 10:
            clock = f"; this machine's clock is {shown_skew(skew_s)} it, and from 5 min. on it refuses"
        return Health(True, f"Route 53 at {self._api.endpoint}{clock}")

    def close(self) -> None:
        self._api.close()

    # --- reading -------------------------------------------------------------------------------------

    def _contents(self, zone: Name, hosted: HostedZone) -> ZoneContents:
        items = list(self._zones.records(hosted))
        soa = next((item for item in items if item["Type"] == "SOA"), None)
        rrsets = self._understood(zone, (item for item in plain(items) if item is not soa), is_whole=True)
        return ZoneContents(soa=_checked_soa(zone, hosted, soa), rrsets=rrsets, name=zone)

    def _soa(self, zone: Name, hosted: HostedZone) -> SOA:
        return _checked_soa(zone, hosted, next(self._zones.records_at(hosted, zone, "SOA"), None))

    def _items(self, hosted: HostedZone, keys: Collection[Key]) -> list[Item]:
        """What Route 53 has at these names: asked one by one or read whole, as takes fewer requests."""
        names = {name for name, _ in keys}
        if hosted.size is not None and hosted.size / PAGE < len(names):
            return [
                item
                for item in self._zones.records(hosted)
                if convert.name_from_api(item["Name"]) in names and item["Type"] != "SOA"
            ]
        found: list[Item] = []
        for name in sorted(names):
            types = {type for owner, type in keys if owner == name}
            start = types.pop() if len(types) == 1 else ""
            found.extend(
                item for item in self._zones.records_at(hosted, name, start) if item["Type"] != "SOA"
            )
        return found

    def _understood(self, zone: Name, items: Iterable[Item], *, is_whole: bool) -> dict[Key, RRset]:
        rrsets: dict[Key, RRset] = {}
        spellings = {} if is_whole or self._spellings[0] != zone else dict(self._spellings[1])
        for item in items:
            rrset = convert.rrset_of(item)
            rrsets[rrset.key] = rrset
            spellings.pop(rrset.key, None)
            if sorted(convert.raw_values(item)) != sorted(convert.values_of(rrset)):
                spellings[rrset.key] = item
        self._spellings = (zone, spellings)
        return rrsets

    # --- writing -------------------------------------------------------------------------------------

    def _send(self, zone: Name, hosted: HostedZone, changes: Sequence[RRsetChange]) -> str | None:
        """The changes in as few batches as hold them; the id of the last one."""
        ours = [change for change in changes if is_visible(change.key, zone, self.capabilities)]
        for change in ours:
            if change.key == (zone, "NS") and change.after is None:
                raise RecordRejected("Route 53 keeps the apex NS of a zone", rrset=change.key, zone=zone)
        change_id: str | None = None
        for batch in batches.pack(ours, zone):
            change_id = self._send_batch(zone, hosted, batch) or change_id
        return change_id

    def _send_batch(self, zone: Name, hosted: HostedZone, batch: list[RRsetChange]) -> str | None:
        try:
            return self._change(zone, hosted, batch)
        except Refused as exc:
            if not disagrees(exc.words):
                raise RecordRejected(exc.message, rrset=named_key(exc.words, batch), zone=zone) from exc
            remaining = self._still_to_do(zone, hosted, batch, exc)
        if not remaining:
            return None
        try:
            return self._change(zone, hosted, remaining)
        except Refused as exc:
            if disagrees(exc.words):
                raise ZoneChanged(exc.message, zone=zone) from exc
            raise RecordRejected(exc.message, rrset=named_key(exc.words, remaining), zone=zone) from exc

    def _change(self, zone: Name, hosted: HostedZone, batch: list[RRsetChange]) -> str:
        spellings = self._spellings[1] if self._spellings[0] == zone else {}
        change_id = self._zones.change(hosted, batches.to_api(batch, zone, spellings))
        for change in batch:
            spellings.pop(change.key, None)
        return change_id

    def _still_to_do(
        self, zone: Name, hosted: HostedZone, batch: list[RRsetChange], refusal: Refused
    ) -> list[RRsetChange]:
        """What is left to do of a batch that was refused because the zone is in another state.

        An RRset that has its new form already was written by an earlier attempt. What has neither that nor
        its old form is left to Route 53, which refuses it again.
        """
        changes = {change.key: change for change in batch}
        items = [item for item in self._items(hosted, set(changes)) if _key(item) in changes]
        for item in items:
            if not convert.is_plain(item) and changes[_key(item)].after is not None:
                what = "an alias record" if "AliasTarget" in item else "a record with a routing policy"
                name, type = _key(item)
                raise RecordRejected(
                    f"{name} {type} is {what} in Route 53, which is left alone", rrset=_key(item), zone=zone
                ) from refusal
        found = self._understood(zone, plain(items), is_whole=False)
        return [change for change in batch if not is_same(found.get(change.key), change.after)]

    def _refuse_unknown_types(self, changes: Iterable[RRsetChange]) -> None:
        for change in changes:
            if change.after and change.key[1] not in TYPES:
                name, type = change.key
                raise RecordRejected(f"{name} {type}: Route 53 has no {type} records", rrset=change.key)


def _checked_soa(zone: Name, hosted: HostedZone, item: Item | None) -> SOA:
    if item is None or convert.name_from_api(item["Name"]) != zone:
        raise ServerFailure(f"hosted zone {hosted.id} is not the zone {zone}: look at zone_ids")
    return convert.soa_of(item)


def _key(item: Item) -> Key:
    return convert.name_from_api(item["Name"]), item["Type"]


BACKEND = Route53
