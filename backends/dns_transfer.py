"""Zones and their changes, read by transfer: AXFR (RFC 5936) and IXFR (RFC 1995), signed.

Shared by the backends that are read over DNS. A transfer is the only way to see a zone as it is stored:
answers to queries show wildcards, referrals and child zones instead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import dns.exception
import dns.opcode
import dns.rcode
import dns.rdatatype

from backends.dns_connection import DNSConnection
from dnsworker import serials
from dnsworker.backend import ZoneDelta
from dnsworker.contents import ZoneContents
from dnsworker.errors import AuthenticationFailed, ServerFailure, Unsupported, ZoneMissing
from dnsworker.names import Name
from dnsworker.records import SOA, Key, RRset
from dnsworker.wire import IN, SOA_TYPE, Record, request, soa_octets, type_text
from dnsworker.wire import record as wire_record

#: Records of a zone that is read in place of its history.
SMALL_ZONE = 1_000


def read_zone(connection: DNSConnection, zone: Name) -> ZoneContents:
    """The whole zone by AXFR.

    Raises `ZoneMissing` (NOTAUTH), `AuthenticationFailed` (REFUSED) and the rest.
    """
    query = request(dns.opcode.QUERY, zone, dns.rdatatype.AXFR)
    records = _records(connection, query, zone)
    first = next(records, None)
    if first is None or first.soa is None or first.name != zone:
        connection.close()
        raise ServerFailure(f"the transfer of {zone} from {connection.address} doesn't start with its SOA")
    grouped: dict[tuple[Name, int], list[Record]] = {}
    for record in records:
        if record.type == SOA_TYPE:
            if record.soa != first.soa:
                connection.close()
                raise ServerFailure(f"the transfer of {zone} from {connection.address} ends with another SOA")
            return ZoneContents(soa=first.soa, rrsets=_rrsets(grouped), name=zone)
        grouped.setdefault((record.name, record.type), []).append(record)
    raise ServerFailure(f"the transfer of {zone} from {connection.address} ends without its SOA")


def read_changes(connection: DNSConnection, zone: Name, since: SOA) -> ZoneDelta | None:
    """The net difference since `since` by IXFR; None when the server can't tell.

    Raises `ZoneMissing` (NOTAUTH) and the rest.
    """
    found = read_back(connection, zone, since)
    return found if isinstance(found, ZoneDelta) else None


def read_back(connection: DNSConnection, zone: Name, since: SOA) -> ZoneDelta | ZoneContents | None:
    """As `read_changes`, or the zone as a whole, where the server sends that because it is shorter.

    (BIND's `max-ixfr-ratio`. A large zone comes only where there is no history, and isn't read then.)
    """
    known = wire_record(zone, SOA_TYPE, IN, 0, soa_octets(since))
    query = request(dns.opcode.QUERY, zone, dns.rdatatype.IXFR, (0, 1, 0), known)
    records = _records(connection, query, zone, than=since.serial)
    first = next(records, None)
    if first is None or first.soa is None or first.name != zone:
        connection.close()
        raise ServerFailure(f"the transfer of {zone} from {connection.address} doesn't start with its SOA")
    second = next(records, None)
    if second is None:  # "nothing newer": up to date, or behind us
        return ZoneDelta(soa=first.soa) if first.soa == since else None
    if second.soa is None:
        return _small_zone(connection, zone, first.soa, second, records)
    if second.soa.rdata != since.rdata:
        connection.close()  # the history of another zone with our serial
        return None
    net: Counter[tuple[Key, int, str]] = Counter()
    sign, end = -1, first.soa
    for record in records:
        if record.soa is None:
            net[(record.name, type_text(record.type)), record.ttl, record.text] += sign
        elif sign == -1:
            sign, end = 1, record.soa
        elif record.soa == first.soa and end == first.soa:
            return _delta(first.soa, net)
        else:
            sign = -1
    raise ServerFailure(f"the incremental transfer of {zone} from {connection.address} ends without its SOA")


def _small_zone(
    connection: DNSConnection, zone: Name, soa: SOA, second: Record, records: Iterator[Record]
) -> ZoneContents | None:
    """The whole zone that follows in place of its history."""
    grouped: dict[tuple[Name, int], list[Record]] = {(second.name, second.type): [second]}
    for count, record in enumerate(records):
        if record.soa == soa:
            return ZoneContents(soa=soa, rrsets=_rrsets(grouped), name=zone)
        if record.soa is not None or count > SMALL_ZONE:
            break
        grouped.setdefault((record.name, record.type), []).append(record)
    connection.close()  # the rest stays unread
    return None


def read_soa(connection: DNSConnection, zone: Name) -> SOA | None:
    """The zone's SOA by a query; None where the answer doesn't hold it (the caller finds out why)."""
    answer = connection.exchange(request(dns.opcode.QUERY, zone, SOA_TYPE))
    if answer.rcode != dns.rcode.NOERROR or not answer.is_authoritative:
        return None
    try:
        return next((record.soa for record in answer.records() if record.soa and record.name == zone), None)
    except dns.exception.DNSException as exc:
        connection.close()
        raise ServerFailure(f"{connection.address} sent an answer that can't be read: {exc}") from exc


def _records(
    connection: DNSConnection, query: bytes, zone: Name, *, than: int | None = None
) -> Iterator[Record]:
    """The records of all messages. Ends only after a lone SOA that isn't newer than `than`."""
    is_first = True
    for message in connection.stream(query):
        try:
            _raise_for_transfer(message.rcode, connection, zone)
            if not message.answers:
                # NSD 4.6.1 at a record of 16 KiB and more: without end.
                connection.close()
                raise ServerFailure(f"{connection.address} sent an empty message in a transfer of {zone}")
            for record in message.records():
                yield record
                is_lone_soa = is_first and message.answers == 1 and record.soa is not None
                if is_lone_soa and not _is_newer(record.soa, than):
                    return
                is_first = False
        except dns.exception.DNSException as exc:
            connection.close()
            raise ServerFailure(
                f"{connection.address} sent a transfer of {zone} that can't be read: {exc}"
            ) from exc


def _is_newer(soa: SOA | None, than: int | None) -> bool:
    """Whether a lone SOA is the start of a transfer; of a whole zone it always is."""
    return soa is None or than is None or serials.is_ahead(soa.serial, than)


def _raise_for_transfer(rcode: int, connection: DNSConnection, zone: Name) -> None:
    if rcode == dns.rcode.NOERROR:
        return
    server = f"{connection.address}"
    if rcode == dns.rcode.NOTAUTH:
        raise ZoneMissing(f"{server} has no zone {zone} (NOTAUTH)")
    if rcode == dns.rcode.REFUSED:
        raise AuthenticationFailed(
            f"{server} refuses to transfer {zone} to the key {connection.key.name!r}: "
            "compare allow-transfer (REFUSED)"
        )
    if rcode in (dns.rcode.NOTIMP, dns.rcode.FORMERR):
        raise Unsupported(f"{server} doesn't do this transfer ({dns.rcode.to_text(dns.rcode.Rcode(rcode))})")
    words = dns.rcode.to_text(dns.rcode.Rcode(rcode))
    raise ServerFailure(
        f"{server} failed to transfer {zone} ({words}): it couldn't load the zone, or is busy"
    )


def _rrsets(grouped: dict[tuple[Name, int], list[Record]]) -> dict[Key, RRset]:
    rrsets: dict[Key, RRset] = {}
    for (name, kind), records in grouped.items():
        if len(records) > 1:
            records = sorted({record.order: record for record in records}.values(), key=lambda one: one.order)
        text = type_text(kind)
        rrsets[(name, text)] = RRset.trusted(
            name, text, records[0].ttl, tuple([record.text for record in records])
        )
    return rrsets


def _delta(soa: SOA, net: Counter[tuple[Key, int, str]]) -> ZoneDelta:
    removed: dict[Key, set[tuple[int, str]]] = {}
    added: dict[Key, set[tuple[int, str]]] = {}
    for (key, ttl, text), count in net.items():
        if count:
            (added if count > 0 else removed).setdefault(key, set()).add((ttl, text))
    return ZoneDelta(
        soa=soa,
        removed={key: frozenset(pairs) for key, pairs in removed.items()},
        added={key: frozenset(pairs) for key, pairs in added.items()},
    )
