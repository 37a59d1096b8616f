"""Valid data for every record type that users may write: tests of backends go through all of them.

Apart from the tests of `records`, because servers are asked to hold the same.
"""

from __future__ import annotations

_SHA256 = "d4b7d520e7bb5f0f67674a0cceb1e3e0614b93c4f9e99b8383f6a1e4469da50a"
_OTHER_SHA256 = "d4b7d520e7bb5f0f67674a0cceb1e3e0614b93c4f9e99b8383f6a1e4469da50b"
_SHA384 = "62e6cf51b02e54b9b5f967d547ce43136792901f9f88e637493daaf401c92c279dd10f0edb1c56f8080211f8480ee306"
_OTHER_SHA384 = _SHA384[:-1] + "7"
_SHA512 = 2 * _SHA256
_P256_KEY = "mdsswUyr3DPW132mOi8V9xESWE8jTo0dxCjjnopKl+GqJxpVXckHAeF+KkxLbxILfDLUT0rAK9iUzy1L53eKGQ=="

#: Type → (owner relative to the zone, data) pairs: the same owner, different data, so that the second is an
#: update of the first. Owners differ between types: all of it fits into one zone.
SAMPLES: dict[str, list[tuple[str, list[str]]]] = {
    "A": [("a", ["192.0.2.1"]), ("a", ["192.0.2.2", "192.0.2.3"])],
    "AAAA": [("aaaa", ["2001:db8::1"]), ("aaaa", ["2001:db8::2", "::ffff:192.0.2.1"])],
    "AFSDB": [("afsdb", ["1 afs.example.net."]), ("afsdb", ["2 afs2.example.net."])],
    "AMTRELAY": [
        ("amtrelay", ["10 0 1 203.0.113.15", "10 0 2 2001:db8::15"]),
        ("amtrelay", ["128 1 3 amtrelays.example.net."]),
    ],
    "APL": [("apl", ["1:192.168.32.0/21 !1:192.168.38.0/28"]), ("apl", ["1:224.0.0.0/4 2:ff00::/8"])],
    "AVC": [("avc", ['"app-name:WOLFGANG|app-class:OAM"']), ("avc", ['"app-name:OTHER"'])],
    "BRID": [("brid", ["AQIDBA=="]), ("brid", ["BQYHCA=="])],
    "CAA": [
        ("caa", ['0 issue "ca.example.net"', '128 iodef "mailto:security@example.net"']),
        ("caa", ['0 issue ";"']),
    ],
    "CDNSKEY": [
        ("cdnskey", [f"257 3 13 {_P256_KEY}"]),
        ("cdnskey", ["0 3 0 AA=="]),
    ],
    "CDS": [
        ("cds", [f"60485 8 2 {_SHA256}"]),
        ("cds", ["0 0 0 00"]),
    ],
    "CERT": [("cert", ["PGP 0 0 AQIDBA=="]), ("cert", ["65534 65535 PRIVATEOID BQYHCA=="])],
    "CNAME": [("cname", ["www.example.net."]), ("cname", ["www2.example.net."])],
    "CSYNC": [("csync", ["66 3 A NS AAAA"]), ("csync", ["67 1 NS"])],
    "DHCID": [
        ("dhcid", ["AAIBY2/AuCccgoJbsaxcQc9TUapptP69lOjxfNuVAA2kjEA="]),
        ("dhcid", ["AAEBOSD+XR3Os/0LozeXVqcNc7FwCfQdWL3b/NaiUDlW2No="]),
    ],
    "DLV": [
        ("dlv", [f"60485 8 2 {_SHA256}"]),
        ("dlv", [f"60486 8 2 {_OTHER_SHA256}"]),
    ],
    "DNAME": [("dname", ["example.net."]), ("dname", ["sub.example.net."])],
    "DNSKEY": [
        ("dnskey", [f"257 3 13 {_P256_KEY}"]),
        ("dnskey", ["256 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4="]),
    ],
    "DS": [
        ("delegated", [f"60485 8 2 {_SHA256}"]),
        ("delegated", [f"60486 13 2 {_OTHER_SHA256}"]),
    ],
    "DSYNC": [
        ("dsync", ["CDS NOTIFY 5359 notify.example.net."]),
        ("dsync", ["CSYNC NOTIFY 5360 notify.example.net."]),
    ],
    "EUI48": [("eui48", ["00-00-5e-00-53-2a"]), ("eui48", ["00-00-5e-00-53-2b"])],
    "EUI64": [("eui64", ["00-00-5e-ef-10-00-00-2a"]), ("eui64", ["00-00-5e-ef-10-00-00-2b"])],
    "GPOS": [("gpos", ["-32.6882 116.8652 10.0"]), ("gpos", ["51.5 -0.12 11.0"])],
    "HHIT": [("hhit", ["AQIDBA=="]), ("hhit", ["BQYHCA=="])],
    "HINFO": [("hinfo", ['"PC-Intel-700mhz" "Redhat Linux 7.1"']), ("hinfo", ["RFC8482 VM"])],
    "HIP": [
        ("hip", ["2 200100107b1a74df365639cc39f1d578 AQIDBAUGBwg= rvs.example.net."]),
        ("hip", ["2 200100107b1a74df365639cc39f1d578 AQIDBA== rvs1.example.net. rvs2.example.net."]),
    ],
    "HTTPS": [
        ("https", ["1 . alpn=h2,h3 ipv4hint=192.0.2.1 ipv6hint=2001:db8::1"]),
        ("https", ["0 svc.example.net."]),
    ],
    "IPSECKEY": [
        ("ipseckey", ["10 1 2 192.0.2.38 AQNRU3mG7TVTO2BkR47usntb102uFJtugbo6BSGvgqt4AQ=="]),
        ("ipseckey", ["10 3 2 gateway.example.net. AQNRU3mG7TVTO2BkR47usntb102uFJtugbo6BSGvgqt4AQ=="]),
    ],
    "ISDN": [("isdn", ['"150862028003217" "004"']), ("isdn", ['"150862028003218"'])],
    "KEY": [("key", ["512 255 8 AQIDBA=="]), ("key", ["512 255 8 BQYHCA=="])],
    "KX": [("kx", ["10 kx.example.net."]), ("kx", ["20 kx2.example.net."])],
    "L32": [("l32", ["10 10.1.2.0"]), ("l32", ["20 10.1.4.0"])],
    "L64": [("l64", ["10 2001:0db8:1140:1000"]), ("l64", ["20 2001:0db8:2140:2000"])],
    "LOC": [
        ("loc", ["60 9 0.000 N 24 39 0.000 E 10.00m 20m 2000m 20m"]),
        ("loc", ["51 30 12.748 S 0 7 39.611 W -5.00m"]),
    ],
    "LP": [("lp", ["10 l64-subnet1.example.net."]), ("lp", ["20 l64-subnet2.example.net."])],
    "MX": [("mx", ["10 mail.example.net.", "20 mail2.example.net."]), ("mx", ["0 ."])],
    "NAPTR": [
        ("naptr", ['100 10 "u" "E2U+sip" "!^.*$!sip:info@example.net!" .']),
        ("naptr", ['100 50 "s" "http+I2L+I2C+I2R" "" _http._tcp.example.net.']),
    ],
    "NID": [("nid", ["10 0014:4fff:ff20:ee64"]), ("nid", ["20 0015:5fff:ff21:ee65"])],
    "NINFO": [("ninfo", ['"status" "live"']), ("ninfo", ['"status" "sleeping"'])],
    "NS": [("ns", ["ns1.example.net."]), ("ns", ["ns2.example.net.", "ns3.example.net."])],
    "NSAP": [
        ("nsap", ["0x47.0005.80.005a00.0000.0001.e133.ffffff000161.00"]),
        ("nsap", ["0x47000580005a0000000001e133ffffff00016200"]),
    ],
    "NSAP-PTR": [("nsap-ptr", ["host.example.net."]), ("nsap-ptr", ["host2.example.net."])],
    "OPENPGPKEY": [("openpgpkey", ["AQIDBA=="]), ("openpgpkey", ["BQYHCA=="])],
    "PTR": [("ptr", ["host.example.net."]), ("ptr", ["host2.example.net."])],
    "PX": [
        ("px", ["50 ab.net2.it. o-ab.prmd-net2.admdb.c-it."]),
        ("px", ["10 a.example.net. b.example.net."]),
    ],
    "RESINFO": [("resinfo", ['"qnamemin" "exterr=15,16,17"']), ("resinfo", ['"exterr=15"'])],
    "RP": [("rp", ["admin.example.net. people.example.net."]), ("rp", [r"jane\.doe.example.net. ."])],
    "RT": [("rt", ["2 relay.example.net."]), ("rt", ["10 net.example.net."])],
    "SMIMEA": [
        ("smimea", [f"3 1 1 {_SHA256}"]),
        ("smimea", ["3 0 0 01020304"]),
    ],
    "SPF": [("spf", ['"v=spf1 -all"']), ("spf", ['"v=spf1 mx -all"'])],
    "SRV": [("_sip._tcp", ["0 5 5060 sip.example.net."]), ("_sip._tcp", ["0 0 0 ."])],
    "SSHFP": [
        ("sshfp", ["1 1 aa549bfe898489c02d1715d97d79c57ba2fa76ab"]),
        ("sshfp", ["6 2 e1ff8b6ddd4f5ac3b0a0e4a4d0a7c5b1a6b9d3f8e1ff8b6ddd4f5ac3b0a0e4a4"]),
    ],
    "SVCB": [
        ("_8443._foo", ["1 svc.example.net. port=8443 mandatory=port"]),
        ("_8443._foo", ['16 . alpn="h2" key65280="private"', "32 other.example.net."]),
    ],
    "TLSA": [
        ("_443._tcp.tlsa", [f"3 1 1 {_SHA256}"]),
        (
            "_443._tcp.tlsa",
            [f"2 0 2 {_SHA512}"],
        ),
    ],
    "TXT": [
        ("txt", ['"v=spf1 include:_spf.example.net -all"', '"two" "strings"']),
        ("txt", [r'"quote \" backslash \\ semicolon ; octets \000\195\169\255"', '""']),
    ],
    "TYPE65280": [("type65280", [r"\# 4 01020304"]), ("type65280", [r"\# 0"])],
    "URI": [
        ("_http._tcp.uri", ['10 1 "https://www.example.net/path"']),
        ("_http._tcp.uri", ['20 1 "ftp://ftp.example.net/"']),
    ],
    "WALLET": [("wallet", ['"ETH" "0x01020304"']), ("wallet", ['"BTC" "01020304"'])],
    "WKS": [("wks", ["192.0.2.1 6 21 23 80"]), ("wks", ["192.0.2.1 17 53"])],
    "X25": [("x25", ['"311061700956"']), ("x25", ['"311061700957"'])],
    "ZONEMD": [
        ("zonemd", [f"2018031500 1 1 {_SHA384}"]),
        ("zonemd", [f"2018031501 1 1 {_OTHER_SHA384}"]),
    ],
}

#: What must stand at the owner as well: a DS needs its delegation.
COMPANIONS: dict[str, tuple[str, list[str]]] = {"DS": ("NS", ["ns1.example.net."])}
