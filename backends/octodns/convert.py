"""RRsets as octoDNS records and back, and whether one survives the way.

octoDNS keeps values in forms of its own, and a provider spells those for its API in another. Where one of
the two would make something else of a record, it is refused before it is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import dns.exception
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
from octodns.record import Record, Rrset
from octodns.zone import Zone

from dnsworker import names, rdata
from dnsworker.errors import InvalidRecord, RecordRejected, ServerFailure, Unsupported
from dnsworker.names import Name
from dnsworker.rdata_quick import QUICK
from dnsworker.records import Key, RRset

# None of octoDNS' rules for records: they are stricter than the RFCs, and cost half of the time. Without this
# it would turn its usual ones on.
Record.enable_validators(())

#: What a LOC record has when its text leaves it out (RFC 1876, section 3): size and the two precisions.
_LOC_DEFAULTS = ("1m", "10000m", "10m")


def empty_zone(name: Name) -> Any:
    """octoDNS' zone of that name. Raises `Unsupported` where octoDNS can't have it."""
    try:
        zone = Zone(name, [])
    except Exception as exc:
        raise Unsupported(f"octoDNS can't hold a zone of the name {name}: {first_line(exc)}") from exc
    if zone.name != name:
        raise Unsupported(f"octoDNS would take {name} for {zone.name}")
    return zone


def to_record(zone: Any, rrset: RRset) -> Any:
    """The RRset as octoDNS' record. Raises `RecordRejected` where octoDNS can't hold it as it is."""
    try:
        # From presentation text: with `Record.new` a semicolon in a text would have to be escaped first.
        texts = map(_complete_loc, rrset.data) if rrset.type == "LOC" else rrset.data
        record = Record.from_rrset(zone, Rrset(rrset.name, rrset.type, rrset.ttl, texts), lenient=True)
        kept = from_record(record)
    except Exception as exc:
        raise RecordRejected(
            f"octoDNS can't hold {rrset.name} {rrset.type}: {first_line(exc)}", rrset=rrset.key
        ) from exc
    if kept != rrset:
        raise RecordRejected(f"octoDNS would make {_shown(kept)} of {_shown(rrset)}", rrset=rrset.key)
    return record


def raise_if_garbled(rrset: RRset, spelled: Iterable[str], who: str) -> None:
    """Whether a provider's spelling means the same RRset. Raises `RecordRejected`."""
    texts = list(spelled)
    try:
        meant = parse(rrset.name, rrset.type, rrset.ttl, texts)
    except (dns.exception.DNSException, ValueError) as exc:
        raise RecordRejected(
            f"{who} would send {texts[0][:60]} for {_shown(rrset)}, which isn't {rrset.type} data",
            rrset=rrset.key,
        ) from exc
    if meant != rrset:
        raise RecordRejected(f"{who} would make {_shown(meant)} of {_shown(rrset)}", rrset=rrset.key)


def from_record(record: Any) -> RRset:
    """octoDNS' record as an RRset, canonical. Raises dnspython's errors."""
    rrset = record.to_rrset()
    return parse(rrset.name, rrset._type, rrset.ttl, rrset.rdatas)


def contents_of(zone: Any, respell: Callable[[Any], Any]) -> dict[Key, RRset]:
    """What a provider has filled into octoDNS' zone. Types that only octoDNS has (ALIAS, LUA) are left out.

    `respell` puts right what the provider reads wrongly. Raises `ServerFailure` for what can't be read.
    """
    found = {}
    for record in zone.records:
        if not is_plain(record):
            continue
        try:
            rrset = from_record(respell(record))
        except Exception as exc:
            raise ServerFailure(
                f"{record.fqdn} {record._type} at the provider can't be read: {first_line(exc)}"
            ) from exc
        found[rrset.key] = rrset
    return found


def is_plain(record: Any) -> bool:
    """Whether it is a record as the DNS has it: not octoDNS' own type, no health checks, no geography."""
    try:
        RRset.checked_type(record._type)
    except InvalidRecord:
        return False
    return not getattr(record, "dynamic", None) and not getattr(record, "geo", None)


def parse(name: str, type_: str, ttl: int, texts: Iterable[str]) -> RRset:
    """Presentation texts as an RRset, canonical. Raises dnspython's errors."""
    texts = list(texts)
    if type_ in QUICK and names.is_canonical(name):
        quick = [QUICK[type_](text, None) for text in texts]
        by_wire = {one[0]: one[1] for one in quick if one is not None}
        if None not in quick:
            return RRset.trusted(Name(name), type_, ttl, tuple(by_wire[wire] for wire in sorted(by_wire)))
    rdataset = dns.rdataset.Rdataset(dns.rdataclass.IN, dns.rdatatype.from_text(type_), ttl=ttl)
    for text in texts:
        rdataset.add(rdata.parse(type_, text))
    return RRset.from_rdataset(name, rdataset)


def first_line(exc: BaseException) -> str:
    """An error's words, or its class where it has none."""
    return (str(exc).strip() or type(exc).__name__).splitlines()[0]


def _complete_loc(text: str) -> str:
    """octoDNS wants all fields."""
    fields = text.split()
    east_west = next(index for index, field in enumerate(fields) if field in ("E", "W"))
    lacking = len(_LOC_DEFAULTS) + 2 - len(fields[east_west:])
    return " ".join([*fields, *_LOC_DEFAULTS[len(_LOC_DEFAULTS) - lacking :]])


def _shown(rrset: RRset) -> str:
    return f"{rrset.name} {rrset.ttl} {rrset.type} {', '.join(rrset.data)[:100]}"
