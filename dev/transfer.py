"""A zone as a nameserver transfers it, by dnspython alone: beside our own code, which might err twice."""

from __future__ import annotations

from collections.abc import Mapping

import dns.query
import dns.rcode
import dns.rdatatype
import dns.tsigkeyring
import dns.xfr
import dns.zone

from dev.servers import Bind, PowerDNS

AXFR_TIMEOUT_S = 30.0

#: Owner and type → TTL and the data in canonical wire form (RFC 4034, section 6), sorted.
Contents = Mapping[tuple[str, str], tuple[int, tuple[bytes, ...]]]
Nameserver = Bind | PowerDNS


def axfr(server: Nameserver, zone: str, timeout_s: float = AXFR_TIMEOUT_S) -> Contents | None:
    """What the server transfers; None when it says that it hasn't got the zone."""
    found = dns.zone.Zone(zone, relativize=False)
    query, _ = dns.xfr.make_query(found)
    if isinstance(server, Bind):
        query.use_tsig(dns.tsigkeyring.from_text({server.key_name: (server.algorithm, server.key_secret)}))
    try:
        dns.query.inbound_xfr(
            server.address, found, query, port=server.port, timeout=timeout_s, lifetime=timeout_s
        )
    except dns.xfr.TransferError as exc:
        if exc.rcode in (dns.rcode.NOTAUTH, dns.rcode.REFUSED):
            return None
        raise
    return _contents(found)


def of_text(zone: str, text: str) -> Contents:
    """What a zone file holds."""
    return _contents(dns.zone.from_text(text, origin=zone, relativize=False))


def _contents(zone: dns.zone.Zone) -> Contents:
    return {
        (name.to_text().lower(), dns.rdatatype.to_text(rdataset.rdtype)): (
            rdataset.ttl,
            tuple(sorted(rdata.to_digestable() for rdata in rdataset)),
        )
        for name, rdataset in zone.iterate_rdatasets()
    }
