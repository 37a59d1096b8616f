"""What a nameserver's answer says: about the zone's serial, whether the zone is there, whether it is right.

Pure, so that every kind of answer can be tested without a server that gives it (see `dnsworker.observer`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Literal

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.tsig

from dnsworker import names, wire
from dnsworker.answers import Answer
from dnsworker.comparison import SIGNER_TYPES
from dnsworker.names import Name
from dnsworker.records import SOA, RRset

#: Codes with which a server speaks about the zone; any other means that it can't tell.
TELLING = ("NOERROR", "NXDOMAIN", "REFUSED", "NOTAUTH", "YXDOMAIN")

_Record = tuple[Name, str, int | None, str]


@dataclass(frozen=True, slots=True)
class NameserverAddress:
    """Where a nameserver is asked (an IP address or a host name), and the key to sign with."""

    host: str
    port: int = 53
    tsig_key: dns.tsig.Key | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Observed:
    """One answer, or why there is none."""

    kind: Literal["answer", "unknown"]
    rcode: str = ""
    authoritative: bool = False
    #: Of the SOA in the answer section.
    serial: int | None = None
    #: The sections without SOA, canonical.
    answer: tuple[RRset, ...] = ()
    authority: tuple[RRset, ...] = ()
    #: Owner of the SOA in the answer or authority section: the zone that the server speaks for.
    soa_owner: Name | None = None
    error: str | None = None
    rtt_s: float = 0.0


def unknown(error: str, rcode: str = "") -> Observed:
    """No answer, or none that tells anything."""
    return Observed("unknown", rcode, error=error)


def read_response(response: dns.message.Message) -> Observed:
    """What a response says, in our own values."""
    rcode = dns.rcode.to_text(response.rcode())
    if rcode not in TELLING:
        return unknown(f"answers {rcode}", rcode)
    serial: int | None = None
    owner: Name | None = None
    sections: list[list[RRset]] = [[], []]
    for section, found in zip((response.answer, response.authority), sections, strict=True):
        for rrset in section:
            if rrset.rdtype != dns.rdatatype.SOA:
                found.append(RRset.from_rdataset(rrset.name, rrset))
                continue
            owner = names.from_dnspython(rrset.name)
            if section is response.answer:
                serial = SOA.from_rdataset(rrset).serial
    return Observed(
        "answer",
        rcode,
        bool(response.flags & dns.flags.AA),
        serial,
        tuple(sections[0]),
        tuple(sections[1]),
        owner,
    )


def read_wire(message: wire.Message) -> Observed:
    """As `read_response`, for what needs none of dnspython's objects. Raises `dns.exception.FormError`."""
    rcode = "NOERROR" if message.rcode == dns.rcode.NOERROR else "NXDOMAIN"
    sections = message.sections()
    soas = [next((one for one in section if one.soa is not None), None) for section in sections]
    told = soas[1] or soas[0]
    answer, authority = (
        tuple(wire.rrsets_of(one for one in section if one.soa is None)) for section in sections
    )
    serial = soas[0].soa.serial if soas[0] is not None and soas[0].soa is not None else None
    owner = told.name if told is not None else None
    return Observed("answer", rcode, message.is_authoritative, serial, answer, authority, owner)


def is_quick(message: wire.Message) -> bool:
    """Whether `read_wire` understands all that it says. (Without records the code may go on elsewhere.)"""
    return message.rcode in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN) and bool(
        message.answers or message.authorities
    )


def is_gone(observed: Observed, zone: Name) -> bool | None:
    """Whether a nameserver no longer serves a zone, by its answer to the zone's SOA; None: can't tell.

    | answer                                                 | the zone is |
    |--------------------------------------------------------|-------------|
    | REFUSED, NOTAUTH                                       | gone        |
    | AA, SOA of the zone                                    | there       |
    | AA, SOA of a zone above (BIND serves the parent)       | gone        |
    | AA, an alias at or above the name (in the zone above)  | gone        |
    | AA, SOA of another zone, or none                       | unknown     |
    | no AA, SOA of the zone (from somebody's cache)         | unknown     |
    | no AA: a referral, to the root or by the parent        | gone        |
    | time-out, SERVFAIL, anything else                      | unknown     |
    """
    if observed.kind != "answer":
        return None
    if observed.rcode in ("REFUSED", "NOTAUTH"):
        return True
    if not observed.authoritative:
        return None if observed.soa_owner == zone else True
    if observed.soa_owner == zone:
        return False
    if any(_redirects(rrset, zone) for rrset in observed.answer):
        return True  # at its apex a zone has its SOA, and no alias
    if observed.soa_owner is not None and names.is_within(zone, observed.soa_owner):
        return True
    return None


def agrees(observed: Observed, expected: Answer, qtype: str) -> bool | None:
    """Whether a nameserver answered what the zone must give; None: it gave no answer that tells.

    Sets of records with their TTLs are compared, in any order; the signer's records are passed over.
    Beyond the first link of a chain a server may stop early, or go on into other zones.
    """
    if observed.kind != "answer":
        return None
    if expected.is_referral:
        return _agrees_on_cut(observed, expected)
    if observed.authoritative != expected.authoritative:
        return False
    if _is_chain(expected, qtype):
        return _agrees_on_chain(observed, expected)
    if observed.rcode != expected.rcode:
        return False
    if qtype == "ANY":
        return True  # RFC 8482: a server need not give everything
    if qtype == "SOA":
        serials = {one.serial for one in expected.answer if isinstance(one, SOA)}
        return observed.serial in serials if serials else observed.serial is None
    if qtype in SIGNER_TYPES:
        return _records(expected.answer, {qtype}) <= _records(observed.answer, {qtype})
    return _records(observed.answer) == _records(expected.answer)


def _agrees_on_cut(observed: Observed, expected: Answer) -> bool:
    if not observed.authoritative:
        is_same = _records(observed.authority, {"NS"}) == _records(expected.authority, {"NS"})
        return observed.rcode == "NOERROR" and is_same
    # A server that holds the child zone as well answers from there, and can't be asked about the cut. Who
    # speaks is told by the SOA or NS records; where there are none, by there being data at all: a server
    # without the delegation would have said so when it was asked for the NS records of the cut.
    cut = expected.authority[0]
    assert isinstance(cut, RRset), "a referral names the cut"
    speakers = {one.name for one in (*observed.answer, *observed.authority) if one.type == "NS"}
    if observed.soa_owner is not None:
        speakers.add(observed.soa_owner)
    return any(names.is_within(one, cut.name) for one in speakers) if speakers else bool(observed.answer)


def _is_chain(expected: Answer, qtype: str) -> bool:
    """Whether the answer begins with an alias that was not asked for."""
    first = expected.answer[0] if expected.answer else None
    return isinstance(first, RRset) and first.type in ("CNAME", "DNAME") and first.type != qtype != "ANY"


def _agrees_on_chain(observed: Observed, expected: Answer) -> bool:
    """The first link must be there, and nothing else at any name of the chain; ends are judged mildly.

    What lies further on is asked for under its own name when it changes.
    """
    wanted, seen = _records(expected.answer), _records(observed.answer)
    extra, missing = seen - wanted, wanted - seen
    owners, followed = {name for name, *_ in wanted}, {name for name, *_ in seen}
    first_link = expected.answer[:2] if _type(expected.answer[0]) == "DNAME" else expected.answer[:1]
    if not _records(first_link) <= seen:
        return False
    if any(name in owners for name, *_ in extra) or any(name in followed for name, *_ in missing):
        return False
    last = expected.answer[-1]
    has_open_end = isinstance(last, RRset) and last.type == "CNAME" and not _has_soa(expected) and not missing
    if extra or observed.rcode != expected.rcode:
        return has_open_end or (not extra and bool(missing) and observed.rcode == "NOERROR")
    return True


def _has_soa(expected: Answer) -> bool:
    return any(isinstance(one, SOA) for one in expected.authority)


def _redirects(rrset: RRset, zone: Name) -> bool:
    if rrset.type == "CNAME":
        return rrset.name == zone
    return rrset.type == "DNAME" and rrset.name != zone and names.is_within(zone, rrset.name)


def _records(rrsets: Iterable[RRset | SOA], types: Collection[str] | None = None) -> set[_Record]:
    """The records (of some types), else without the signer's; a CNAME made from a DNAME without its TTL.

    RFC 6672 gives it the DNAME's, the older RFC 2672 gave it 0.
    """
    found = [one for one in rrsets if isinstance(one, RRset)]
    dnames = [one.name for one in found if one.type == "DNAME"]

    def ttl(one: RRset) -> int | None:
        is_made = one.type == "CNAME" and any(names.is_within(one.name, dname) for dname in dnames)
        return None if is_made else one.ttl

    return {
        (one.name, one.type, ttl(one), value)
        for one in found
        if (one.type not in SIGNER_TYPES if types is None else one.type in types)
        for value in one.data
    }


def _type(one: RRset | SOA) -> str:
    return one.type if isinstance(one, RRset) else "SOA"
