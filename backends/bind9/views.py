"""Whether our TSIG key leads to the view that zones are added to.

No command tells which view a query gets to. So a zone that is nowhere else is put into the view for a moment,
and asked for.
"""

from __future__ import annotations

import secrets

import dns.opcode
import dns.rcode

from backends.bind9.zones import ConfiguredZones
from backends.dns_connection import DNSConnection
from dnsworker.names import Name
from dnsworker.wire import SOA_TYPE, request


def is_reached(zones: ConfiguredZones, connection: DNSConnection) -> bool:
    """Whether queries signed with the connection's key are answered from the view of `zones`."""
    probe = Name(f"{secrets.token_hex(4)}.dnsworker-probe.invalid.")
    # Without a file, which a view's check would leave behind.
    zones.run(
        "addzone", probe, 'type primary; database "_builtin empty . ."; allow-query { any; }; notify no;'
    )
    try:
        answer = connection.exchange(request(dns.opcode.QUERY, probe, SOA_TYPE))
    finally:
        zones.run("delzone", probe)
    return answer.rcode == dns.rcode.NOERROR and answer.is_authoritative
