"""One sound RRset of every type that people use and servers disagree about, and some with hard contents."""

from __future__ import annotations

from dataclasses import dataclass

from dnsworker.names import Name, record_name
from dnsworker.records import RRset

_KEY = "mdsswUyr3DPW132mOi8V9xESWE8jTo0dxCjjnopKl+GqJxpVXckHAeF+KkxLbxILfDLUT0rAK9iUzy1L53eKGQ=="
_SHA1, _SHA256, _SHA384 = "12" * 20, "ab" * 32, "cd" * 48
_HIP = (
    "2 200100107b1a74df365639cc39f1d578 AwEAAbdxyhNuSutc5EMzxTs9LBPCIkOFH8cIvM4p9+LrV4e19WzK00+CI6zBCQTdtWsu"
    "xKbWIy87UOoJTwkUs7lBu+Upr1gsNrut79ryra+bSRGQb1slImA8YVJyuIDsj7kwzG7jnERNqnWxZ48AWkskmdHaVDP4BcelrTI3rMXd"
    "XF5D rvs.example.net."
)


@dataclass(frozen=True, slots=True)
class Sample:
    """`owner` relative to the zone; `data` in presentation format, not yet canonical."""

    type: str
    owner: str
    data: tuple[str, ...]

    def rrset(self, zone: Name, ttl: int = 300) -> RRset:
        return RRset(record_name(self.owner, zone), self.type, ttl, self.data)


def _of(type: str, *data: str, owner: str | None = None) -> Sample:
    return Sample(type, owner or f"{type.lower()}-{len(data)}", data)


SAMPLES: tuple[Sample, ...] = (
    _of("A", "192.0.2.1", "192.0.2.200", "203.0.113.7"),
    _of("AAAA", "2001:db8::1", "2001:db8:0:1::", "::ffff:192.0.2.1", "::"),
    _of("AFSDB", "1 afs.example.net."),
    _of("AMTRELAY", "10 0 1 192.0.2.1"),
    _of("APL", "1:192.0.2.0/24 !2:2001:db8::/32"),
    _of(
        "CAA", '0 issue "ca.example.net; validationmethods=dns-01"', '128 iodef "mailto:security@example.net"'
    ),
    _of("CERT", "PKIX 12345 8 AQIDBAUGBwg="),
    _of("CNAME", "Target.Example.NET."),
    _of("DHCID", "AAIBY2/AuCccgoJbsaxcQc9TUapptP69lOjxfNuVAA2kjEA="),
    _of("DNAME", "elsewhere.example.net."),
    _of("EUI48", "00-00-5e-00-53-2a"),
    _of("EUI64", "00-00-5e-ef-10-00-00-2a"),
    _of("HINFO", '"an odd CPU" "an \\"OS\\""'),
    _of("HIP", _HIP),
    _of("HTTPS", '1 . alpn="h2,h3" port=8443 ipv4hint=192.0.2.1,192.0.2.2 ipv6hint=2001:db8::1'),
    _of("HTTPS", "0 pool.example.net.", owner="https-alias"),
    _of("IPSECKEY", "10 1 2 192.0.2.38 AQNRU3mG7TVTO2BkR47usntb102uFJtugbo6BSGvgqt4AQ=="),
    _of("KX", "10 kx.example.net."),
    _of("L32", "10 10.1.2.0"),
    _of("L64", "10 2001:0db8:1140:1000"),
    _of("LOC", "52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m"),
    _of("LOC", "52 22 23.000 S 4 53 32.000 W 2.00m", owner="loc-short"),
    _of("LP", "10 l64.example.net."),
    _of("MX", "10 mx1.example.net.", "20 mx2.example.net."),
    _of("MX", "0 .", owner="mx-null"),
    _of(
        "NAPTR",
        '100 50 "s" "z3950+I2L+I2C" "" _z3950._tcp.example.net.',
        '9 9 "u" "E2U+sip" "!^(.*)$!sip:\\\\1@x!" .',
    ),
    _of("NID", "10 0014:4fff:ff20:ee64"),
    _of("OPENPGPKEY", "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCkqKywtLi8w"),
    _of("PTR", "host.example.net."),
    _of("RP", "admin.example.net. text.example.net."),
    _of("SMIMEA", f"3 1 1 {_SHA256}", owner="digest._smimecert"),
    _of("SPF", '"v=spf1 -all"'),
    _of("SRV", "0 5 5060 sip1.example.net.", "10 5 5060 sip2.example.net.", owner="_sip._tcp"),
    _of("SSHFP", f"2 1 {_SHA1}", f"4 2 {_SHA256}"),
    _of(
        "SVCB", '1 svc.example.net. mandatory=alpn alpn="h2" no-default-alpn port=53 key667="a\\"b\\\\c\\200"'
    ),
    _of("TLSA", f"3 1 1 {_SHA256}", owner="_443._tcp"),
    _of("TXT", '"one string"', '"two" "strings"', '""', '"case MATTERS"', '"case matters"'),
    _of(
        "TXT",
        '"a \\"quote\\", a back\\\\slash; a semicolon, \\000\\127\\200\\255 and a tab\\009"',
        owner="txt-hard",
    ),
    _of("TXT", f'"{"x" * 255}" "{"y" * 255}" "{"z" * 90}"', owner="txt-long"),
    _of("URI", '10 1 "https://www.example.net/path?query=1&more=%20"'),
    _of("ZONEMD", f"2018031500 1 1 {_SHA384}", owner="zonemd-below"),
    # RFC 3597: a type that nobody knows, with and without data, longer than a line.
    _of("TYPE65280", "\\# 4 0a000001", f"\\# 100 {'ab' * 100}"),
    _of("TYPE65281", "\\# 0"),
    # At a cut of its own, so that a server that checks has nothing to say.
    _of("DS", f"60485 13 2 {_SHA256}", owner="cut"),
)

#: What goes with a sample, by (owner, type), for servers that insist: a DS stands at a cut.
COMPANIONS: tuple[Sample, ...] = (Sample("NS", "cut", ("ns.example.net.",)),)
#: Types that only a signer's tools usually write: kept apart for backends whose server signs.
SIGNER_SAMPLES: tuple[Sample, ...] = (
    Sample("CDNSKEY", "@", (f"257 3 13 {_KEY}",)),
    Sample("CDS", "@", (f"60485 13 2 {_SHA256}",)),
)
