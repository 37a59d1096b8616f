"""What is known about some providers beyond octoDNS' interface, by the class that brings it.

octoDNS has no word for deleting a zone, for how much one change may hold, or for how a provider spells a
value. A provider that isn't named here is read before it is written to, and gets no zones deleted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdata
import dns.tsig

from dnsworker.errors import RecordRejected
from dnsworker.names import Name

#: The provider's object and octoDNS' record → presentation texts that mean what the provider will send.
Spelling = Callable[[Any, Any], Iterable[str]]


_STRING_OCTETS = 255  # RFC 1035, section 3.3
_LOC_FIELDS = 12


@dataclass(frozen=True, slots=True)
class Traits:
    """How a provider is to be dealt with. The defaults are for one that nothing is known of."""

    #: Why it can't be a target at all.
    unfit: str | None = None
    #: Its `_apply` needs nothing but the changes, and a change may be repeated: the zone isn't read before.
    is_incremental: bool = False
    atomic: Literal["message", "rrset"] = "rrset"
    max_batch: int = 200
    max_message_bytes: int | None = None
    creates_zones: bool = True
    #: Where it takes less than reading the zone. None: the zone is read.
    has_zone: Callable[[Any, Name], bool] | None = None
    #: Delete a zone that is there. None: it can't.
    delete_zone: Callable[[Any, Name], None] | None = None
    #: It deletes only zones that hold nothing of ours any more.
    deletes_empty_zones_only: bool = False
    #: Whether what reading a zone raised says that the zone isn't there.
    says_absent: Callable[[BaseException], bool] = lambda exc: False
    #: What it will send for a record. None: not known, the delivery reads back.
    spelling: Spelling | None = None
    #: Puts right a record that the provider has read wrongly.
    respell: Callable[[Any], Any] = lambda record: record
    #: New apex NS records are added before the old ones are deleted one by one.
    adds_apex_ns_first: bool = False
    #: Statuses of HTTP that say nothing about the contents.
    busy_statuses: frozenset[int] = frozenset({503})
    #: Whether the change of a receipt has arrived everywhere.
    has_arrived: Callable[[Any, str], bool] = lambda provider, change_id: True
    #: Where it speaks by no client that `clients` knows: has it call the function before each request.
    announce_requests: Callable[[Any, Callable[[], None]], None] | None = None
    #: `Backend.writes_to`, from the keyword arguments.
    writes_to: Callable[[Mapping[str, Any]], tuple[str, ...] | None] = lambda kwargs: None
    #: Keyword arguments that are added unless pools.yaml gives them.
    kwargs: dict[str, Any] = field(default_factory=dict)


def traits_of(cls: type[Any]) -> Traits:
    """The traits of a class, or of the class that it is derived from."""
    for base in cls.__mro__:
        if found := _KNOWN.get((base.__module__.partition(".")[0], base.__name__)):
            return found
    return Traits()


def _rejected(record: Any, words: str) -> RecordRejected:
    return RecordRejected(f"{record.fqdn} {record._type}: {words}", rrset=(record.fqdn, record._type))


# --- octodns-powerdns 1.2 ---------------------------------------------------------------------------------


def _powerdns_path(zone: Name) -> str:
    from octodns_powerdns import _encode_zone_name

    return f"zones/{_encode_zone_name(zone)}"


def _powerdns_has_zone(provider: Any, zone: Name) -> bool:
    response = provider._sess.get(
        f"{provider.scheme}://{provider.host}:{provider.port}/api/v1/servers/{provider.server_id}/"
        f"{_powerdns_path(zone)}",
        params={"rrsets": "false"},
        timeout=provider.timeout,
    )
    if response.status_code == 404:
        # Also what it answers to a wrong server_id; that raises here.
        return not provider.check_status_not_found
    response.raise_for_status()
    return True


def _powerdns_delete_zone(provider: Any, zone: Name) -> None:
    provider._request("DELETE", _powerdns_path(zone))


def _powerdns_writes_to(kwargs: Mapping[str, Any]) -> tuple[str, ...]:
    url = f"{kwargs.get('scheme', 'http')}://{kwargs['host']}:{kwargs.get('port', 8081)}"
    return ("powerdns", url, str(kwargs.get("server_id", "localhost")))


def _powerdns_spelling(provider: Any, record: Any) -> list[str]:
    contents, _ = provider._records_for(record)
    spelled = [each["content"] for each in contents]
    return [_cut(text) for text in spelled] if record._type in ("TXT", "SPF") else spelled


def _cut(text: str) -> str:
    """PowerDNS cuts a long string into pieces of 255 octets."""
    inner = text[1:-1].replace("\\;", ";")
    if len(inner) <= _STRING_OCTETS or re.search(r'[\\"]', inner):
        return text
    starts = range(0, len(inner), _STRING_OCTETS)
    return " ".join(f'"{inner[start : start + _STRING_OCTETS]}"' for start in starts)


# --- octodns-bind 1.1 -------------------------------------------------------------------------------------


def _rfc2136_says_absent(exc: BaseException) -> bool:
    """NOTAUTH to a transfer; where it is the key that is wrong, dnspython raises for that.

    dnspython's error is in the context of octodns-bind's own.
    """
    while not hasattr(exc, "rcode"):
        if exc.__context__ is None:
            return False
        exc = exc.__context__
    return bool(exc.rcode == dns.rcode.NOTAUTH)


def _rfc2136_announce_requests(provider: Any, announce: Callable[[], None]) -> None:
    """One for a transfer, and one for each of the updates that a plan is cut into."""
    zone_records, batch_changes = provider.zone_records, provider._batch_changes

    def announced_zone_records(*args: Any, **kwargs: Any) -> Any:
        announce()
        return zone_records(*args, **kwargs)

    def announced_batches(changes: Any) -> Iterator[Any]:
        for batch in batch_changes(changes):
            announce()
            yield batch

    provider.zone_records, provider._batch_changes = announced_zone_records, announced_batches


def _rfc2136_writes_to(kwargs: Mapping[str, Any]) -> tuple[str, ...]:
    """Where the server has views, it is the key that leads to one."""
    return ("dns", f"{kwargs['host']}:{kwargs.get('port', 53)}", str(kwargs.get("key_name") or ""))


def _rfc2136_spelling(provider: Any, record: Any) -> list[str]:
    texts = list(record.rrs[3])
    if record._type == "LOC":
        for text in texts:
            # It reads dnspython's text, which leaves the usual size and precision out.
            if len(dns.rdata.from_text("IN", "LOC", text).to_text().split()) < _LOC_FIELDS:
                raise _rejected(record, "octodns-bind can't read a LOC of the usual size and precision back")
    return texts


# --- octodns-route53 1.3 ----------------------------------------------------------------------------------


def _route53_delete_zone(provider: Any, zone: Name) -> None:
    provider._conn.delete_hosted_zone(Id=provider._get_zone_id(zone))


def _route53_spelling(provider: Any, record: Any) -> list[str]:
    from octodns_route53.provider import _Route53Record

    values = [str(value) for value in _Route53Record(provider, record, creating=True).values]
    if not all(value.isascii() and value.isprintable() for value in values):
        raise _rejected(record, "Route 53 wants such octets in octal, which octodns-route53 doesn't write")
    return values


def _route53_respell(record: Any) -> Any:
    r"""A text is read with its quotes still escaped; written, they would be escaped once more."""
    if record._type not in ("TXT", "SPF"):
        return record
    return record.copy(values=[value.replace('\\"', '"') for value in record.values])


def _route53_has_arrived(provider: Any, change_id: str) -> bool:
    return bool(provider._conn.get_change(Id=change_id)["ChangeInfo"]["Status"] == "INSYNC")


_WRITES_FILES = "writes whole files: use the zonefile backend"

#: (package, class) → traits.
_KNOWN: dict[tuple[str, str], Traits] = {
    ("octodns_powerdns", "PowerDnsBaseProvider"): Traits(
        is_incremental=True,
        atomic="message",
        max_batch=100_000,
        max_message_bytes=400_000,  # as JSON at most 4.7 times as much, and 2 MiB are PowerDNS' limit
        writes_to=_powerdns_writes_to,
        has_zone=_powerdns_has_zone,
        delete_zone=_powerdns_delete_zone,
        spelling=_powerdns_spelling,
        busy_statuses=frozenset({500, 503}),  # 500: its database is locked, or away
    ),
    ("octodns_bind", "Rfc2136Provider"): Traits(
        is_incremental=True,
        atomic="message",
        max_batch=1000,  # its update_batch_size
        # Deletions name each record, which the plan's measure doesn't count: far below the 65,535 bytes.
        max_message_bytes=12_000,
        creates_zones=False,
        writes_to=_rfc2136_writes_to,
        says_absent=_rfc2136_says_absent,
        announce_requests=_rfc2136_announce_requests,
        spelling=_rfc2136_spelling,
        adds_apex_ns_first=True,
    ),
    ("octodns_route53", "Route53Provider"): Traits(
        delete_zone=_route53_delete_zone,
        deletes_empty_zones_only=True,
        spelling=_route53_spelling,
        respell=_route53_respell,
        has_arrived=_route53_has_arrived,
        # Route 53 counts an UPSERT twice, which octodns-route53 doesn't.
        kwargs={"max_changes": 450},
    ),
    ("octodns_bind", "ZoneFileProvider"): Traits(unfit=_WRITES_FILES),
    ("octodns", "YamlProvider"): Traits(unfit=_WRITES_FILES),
}
