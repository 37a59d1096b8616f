"""What a zone file asks for: what the zone is to hold, and how much of its SOA and apex NS is taken over."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from dnsworker import zonefile
from dnsworker.errors import InvalidRequest, InvalidZoneFile, UnsafeChange
from dnsworker.names import Name
from dnsworker.records import SOA, Key, RRset
from dnsworker.requests.zones import ImportZone

TIMERS = ("refresh", "retry", "expire", "minimum")
#: For records of a file that says nothing about TTLs.
DEFAULT_TTL = 3600


@dataclass(frozen=True, slots=True)
class ImportWish:
    """What a zone file comes to. The apex NS is among `rrsets` where it is to be the file's."""

    rrsets: Mapping[Key, RRset]
    #: Of a zone that is made by this.
    email: str
    ttl: int | None
    serial: int | None
    #: Columns of the zone that are to be so, whether or not the zone was there.
    soa: Mapping[str, Any]
    #: The contents are exactly those that the file's serial stands for.
    is_whole: bool


def read_import(request: ImportZone) -> ImportWish:
    """Raises `InvalidZoneFile`."""
    parsed = zonefile.parse_zone(request.text, request.zone_name, DEFAULT_TTL)
    rrsets = {rrset.key: rrset for rrset in parsed.rrsets}
    apex, soa = (request.zone_name, "NS"), parsed.soa
    if request.adopt:
        if soa is None or apex not in rrsets:
            missing = "SOA" if soa is None else "NS records at its apex"
            raise InvalidZoneFile(
                f"the zone file for {request.zone} has no {missing}; they are needed to adopt it as it is"
            )
        email = request.email or _kept_mailbox(soa)
        taken = {field: getattr(soa, field) for field in (*TIMERS, "mname", "ttl")} | {"email": email}
        return ImportWish(rrsets, email, soa.ttl, soa.serial, taken, is_whole=request.email is None)
    rrsets.pop(apex, None)
    email = request.email or _mailbox(soa) or f"hostmaster@{request.zone.rstrip('.')}"
    timers = {} if soa is None else {field: getattr(soa, field) for field in TIMERS}
    ttl, serial = (None, None) if soa is None else (soa.ttl, soa.serial)
    return ImportWish(rrsets, email, ttl, serial, timers, is_whole=False)


def check_not_empty(
    zone: Name, existing: Collection[Key], wanted: Collection[Key], *, is_new: bool, is_adopted: bool
) -> None:
    """Refuses a file without records: cut off, perhaps, or another one. Raises `InvalidRequest`."""
    apex = (zone, "NS")
    if set(wanted) - {apex}:
        return
    if lost := len(set(existing) - {apex}):
        raise UnsafeChange(
            f"the zone file for {zone} holds no records besides SOA and apex NS, and the zone has {lost} "
            "RRsets, which all would go; say force=True if it is meant"
        )
    if is_new and not is_adopted:
        raise InvalidZoneFile(
            f"the zone file for {zone} holds no records, nothing was imported; "
            "create the zone instead, or say force=True if it is meant"
        )


def _mailbox(soa: SOA | None) -> str | None:
    """The address that a zone file's SOA gives; None where its rname can't be one."""
    if soa is None:
        return None
    try:
        SOA.email_to_rname(soa.email)
    except InvalidRequest:
        return None
    return soa.email


def _kept_mailbox(soa: SOA) -> str:
    """The address that gives exactly the SOA's rname. Raises `InvalidZoneFile`."""
    email = _mailbox(soa)
    if email is None or SOA.email_to_rname(email) != soa.rname:
        raise InvalidZoneFile(
            f"the SOA's rname {soa.rname} is no mail address, and can't be kept: give another with email"
        )
    return email
