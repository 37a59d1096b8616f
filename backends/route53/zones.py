"""The hosted zones of an account: found by name, made once, listed page by page, emptied and deleted.

Between `api`, which knows codes, and the backend, which knows plans. Several hosted zones may have one name;
here it becomes one id, or an error that says what to do.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from backends.route53 import batches, convert
from backends.route53.api import Answer, Api, ChangeForgotten, HostedZoneNotEmpty, ReferenceUsed, Refused
from backends.route53.convert import Item
from backends.route53.options import Route53Options
from dnsworker.errors import ServerFailure, Unsupported, ZoneChanged, ZoneMissing
from dnsworker.names import Name
from dnsworker.records import SOA

T = TypeVar("T")

PAGE = 300  # as many as Route 53 gives
FEW = 10  # a name has hardly more types


@dataclass(frozen=True, slots=True)
class HostedZone:
    id: str
    #: How many RRsets it had when it was looked up; None: not known.
    size: int | None = None


class HostedZones:
    """The zones that one target's options mean.

    `between` is called before each request after `begin`'s first.
    """

    def __init__(
        self, api: Api, options: Route53Options, timeout_s: float, between: Callable[[], None]
    ) -> None:
        self._api, self._options, self._timeout_s = api, options, timeout_s
        self._between = between
        self._has_sent = False
        #: A look-up costs one of the few requests a second that an account has.
        self._known: dict[Name, HostedZone] = {}

    def begin(self) -> None:
        self._has_sent = False

    def find(self, zone: Name) -> HostedZone | None:
        """The hosted zone; None when Route 53 lists none of that name. Raises `ServerFailure` for several."""
        if id := self._options.zone_ids.get(zone):
            return HostedZone(id)
        if zone not in self._known:
            found = [item for item in self._of_name(zone) if self._is_meant(item)]
            if len(found) > 1:
                ids = ", ".join(_id(item) for item in found)
                raise ServerFailure(
                    f"there are {len(found)} hosted zones {zone} ({ids}): say which in zone_ids"
                )
            if not found:
                return None
            self._known[zone] = HostedZone(_id(found[0]), found[0].get("ResourceRecordSetCount"))
        return self._known[zone]

    def within(self, zone: Name, work: Callable[[HostedZone], T]) -> T:
        """`work` with the hosted zone. Raises `ZoneMissing`.

        Where the zone that was known is gone, it is looked up anew: it may have been deleted and made again.
        """
        known = self._known.get(zone)
        hosted = self.find(zone)
        if hosted is None:
            raise missing(zone)
        try:
            return work(hosted)
        except ZoneMissing as exc:
            self.forget(zone)
            again = self.find(zone) if known else None
            if again is None or again.id == hosted.id:
                raise missing(zone) from exc
            return work(again)

    def forget(self, zone: Name) -> None:
        self._known.pop(zone, None)

    def make(self, zone: Name, soa: SOA) -> str | None:
        """Creates the hosted zone; the id of the change, None when it appeared from an earlier attempt.

        Route 53 takes a caller reference once, for ever. It follows from the zone's name and serial, so that
        an attempt whose answer was lost isn't made twice, and yet a zone that was deleted comes back: above
        its old serial, or, where somebody else has deleted it, with the hour in its reference.
        """
        if zone in self._options.zone_ids:
            id = self._options.zone_ids[zone]
            raise Unsupported(f"zone_ids gives {zone} the id {id}, which isn't there: take it out", zone=zone)
        options = self._options
        if options.private and options.vpc_id is None:
            raise Unsupported(
                f"to create the private zone {zone}, vpc_id and vpc_region are needed", zone=zone
            )
        subject = f"{zone} {soa.serial} {options.private} {options.vpc_id}"
        reference = f"dnsworker-{soa.serial}-{hashlib.sha256(subject.encode()).hexdigest()[:32]}"
        try:
            return self._post(zone, reference)
        except ReferenceUsed:
            if self._appears(zone):
                return None
            return self._post(zone, f"{reference}-{datetime.now(UTC):%Y%m%d%H}")

    def records(self, hosted: HostedZone, page_size: int = PAGE, **start: str) -> Iterator[Item]:
        """All RRsets in Route 53's order, or those from `StartRecordName` (and …`Type`) on.

        Raises `ZoneMissing`.
        """
        at: dict[str, Any] = dict(start)
        while True:
            page = self._read(
                *("list_resource_record_sets", "ResourceRecordSets"),
                HostedZoneId=hosted.id,
                MaxItems=str(page_size),
                **at,
            )
            yield from page["ResourceRecordSets"]
            if not page["IsTruncated"]:
                return
            at = {
                f"Start{word}": page[f"Next{word}"]
                for word in ("RecordName", "RecordType", "RecordIdentifier")
                if f"Next{word}" in page
            }

    def records_at(self, hosted: HostedZone, name: Name, type: str = "") -> Iterator[Item]:
        """The RRsets of one name, or one of its types."""
        start = {"StartRecordName": convert.name_to_api(name)} | ({"StartRecordType": type} if type else {})
        for item in self.records(hosted, FEW, **start):
            if convert.name_from_api(item["Name"]) != name or (type and item["Type"] != type):
                return
            yield item

    def change(self, hosted: HostedZone, items: list[Item]) -> str:
        """One batch; the id of the change. Raises `api.Refused` when nothing of it was done."""
        batch = {"Changes": items}
        answer = self._write("change_resource_record_sets", HostedZoneId=hosted.id, ChangeBatch=batch)
        return change_id(answer)

    def delete(self, zone: Name, hosted: HostedZone) -> None:
        """Empties it, then removes it. Raises `Unsupported` where that would take what can't be ours."""
        self.forget(zone)
        items = [item for item in self.records(hosted) if not _is_required(item, zone)]
        foreign = [item for item in items if not convert.is_plain(item)]
        if foreign and not self._options.delete_foreign_records:
            shown = ", ".join(f"{item['Name']} {item['Type']}" for item in foreign[:3])
            raise Unsupported(
                f"{zone} has {len(foreign)} alias records or records with a routing policy ({shown}): delete "
                "them in Route 53, or say delete_foreign_records: true",
                zone=zone,
            )
        try:
            for batch in batches.deletions(items):
                self.change(hosted, batch)
            self._write("delete_hosted_zone", Id=hosted.id)
        except (HostedZoneNotEmpty, Refused) as exc:  # somebody changed it between the listing and now
            raise ZoneChanged(exc.message, zone=zone) from exc

    def first(self) -> Answer:
        """Any answer of the API that needs our credentials."""
        return self._read("list_hosted_zones_by_name", "HostedZones", MaxItems="1")

    def is_in_sync(self, change_id: str) -> bool:
        """Also for a change that Route 53 has forgotten: the id is its own, so that was long ago."""
        try:
            answer = self._read("get_change", "ChangeInfo", Id=change_id)
        except ChangeForgotten:
            return True
        return bool(answer["ChangeInfo"]["Status"] == "INSYNC")

    def _of_name(self, zone: Name) -> Iterator[Item]:
        at: dict[str, Any] = {"DNSName": convert.name_to_api(zone)}
        while True:
            page = self._read("list_hosted_zones_by_name", "HostedZones", MaxItems="100", **at)
            for item in page["HostedZones"]:
                if convert.name_from_api(item["Name"]) != zone:
                    return
                yield item
            if not page["IsTruncated"]:
                return
            at = {"DNSName": page["NextDNSName"], "HostedZoneId": page["NextHostedZoneId"]}

    def _is_meant(self, item: Item) -> bool:
        if item["Config"]["PrivateZone"] != self._options.private:
            return False
        if self._options.vpc_id is None:
            return True
        vpcs = self._read("get_hosted_zone", "HostedZone", Id=_id(item)).get("VPCs", ())
        return any(vpc["VPCId"] == self._options.vpc_id for vpc in vpcs)

    def _post(self, zone: Name, reference: str) -> str:
        more: Item = {}
        if self._options.vpc_id:
            more["VPC"] = {"VPCRegion": self._options.vpc_region, "VPCId": self._options.vpc_id}
        if self._options.delegation_set_id:
            more["DelegationSetId"] = self._options.delegation_set_id
        config = {"Comment": "dnsworker", "PrivateZone": self._options.private}
        answer = self._write(
            "create_hosted_zone",
            Name=convert.name_to_api(zone),
            CallerReference=reference,
            HostedZoneConfig=config,
            **more,
        )
        self._known[zone] = HostedZone(_id(answer["HostedZone"]))
        return change_id(answer)

    def _appears(self, zone: Name) -> bool:
        """Whether the zone is listed by the end of the time-out, since Route 53 says that it was made."""
        deadline = time.monotonic() + self._timeout_s
        while self.find(zone) is None:
            if time.monotonic() > deadline:
                return False
            threading.Event().wait(self._timeout_s / 5)
        return True

    def _read(self, action: str, expects: str, **parameters: Any) -> Answer:
        self._pause()
        return self._api.read(action, expects, **parameters)

    def _write(self, action: str, **parameters: Any) -> Answer:
        self._pause()
        return self._api.write(action, **parameters)

    def _pause(self) -> None:
        if self._has_sent:
            self._between()
        self._has_sent = True


def missing(zone: Name) -> ZoneMissing:
    return ZoneMissing(f"Route 53 has no hosted zone {zone}", zone=zone)


def change_id(answer: Answer) -> str:
    return str(answer["ChangeInfo"]["Id"]).removeprefix("/change/")


def _id(item: Item) -> str:
    return str(item["Id"]).removeprefix("/hostedzone/")


def _is_required(item: Item, zone: Name) -> bool:
    return item["Type"] in ("NS", "SOA") and convert.name_from_api(item["Name"]) == zone


def plain(items: Iterable[Item]) -> Iterator[Item]:
    return (item for item in items if convert.is_plain(item))
