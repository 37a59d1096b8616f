"""RRsets, SOAs and names in PowerDNS's JSON and back: what it stores equals ours when it means the same.

PowerDNS takes a record only in its own one spelling of it ("Not in expected format") and doesn't know every
type by name. The differences below were found by sending every type to 4.7.3 (2026-11-23).
"""

from __future__ import annotations

import ipaddress
import re
import string
from collections.abc import Collection, Mapping
from typing import Any

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
from dns.rdtypes import svcbbase

from dnsworker import names
from dnsworker.names import Name
from dnsworker.plan import RRsetChange
from dnsworker.rdata_quick import QUICK
from dnsworker.records import SOA, Key, RRset

Json = dict[str, Any]

#: Types whose rdata is numbers and names only: the names' special characters are bare in PowerDNS.
_NAMES_ONLY = frozenset(("AFSDB", "CNAME", "DNAME", "KX", "LP", "MX", "NS", "PTR", "RP", "SOA", "SRV"))
#: Types whose canonical text is PowerDNS' own.
_SAME_TEXT = frozenset(("A", "TXT"))
_BARE_IN_POWERDNS = re.compile(r'\\(["()@$;])')
_SPECIAL_TO_DNSPYTHON = re.compile(r'(?<!\\)(["();])')
#: The parameters of SVCB that PowerDNS 4.7 knows by name, by number (RFC 9460, section 14.3.2).
_SVCB_KEYS = ("mandatory", "alpn", "no-default-alpn", "port", "ipv4hint", "ech", "ipv6hint")
#: A character of a label that PowerDNS shows as it is; others become \DDD.
_PLAIN = frozenset((string.ascii_letters + string.digits + string.punctuation).encode()) - set(b".\\")


def name_to_api(name: Name) -> str:
    """`name` as PowerDNS writes it: of all punctuation it escapes only the dot and the backslash."""
    if "\\" not in name:
        return name
    return "".join(_label_to_api(label) + "." for label in names.split_labels(name))


def _label_to_api(label: bytes) -> str:
    return "".join(
        chr(byte) if byte in _PLAIN else f"\\{chr(byte)}" if byte in b".\\" else f"\\{byte:03d}"
        for byte in label
    )


def name_from_api(text: str) -> Name:
    return Name(text) if names.is_canonical(text) else names.from_dnspython(dns.name.from_text(text))


def zone_id(zone: Name) -> str:
    """The zone's id in a path of the API: all but letters, digits, dot and hyphen as =XX (root: =2E)."""
    text = name_to_api(zone)
    if text == ".":
        return "=2E"
    plain = string.ascii_letters + string.digits + ".-"
    return "".join(c if c in plain else f"={ord(c):02X}" for c in text)


def change_to_api(change: RRsetChange, unknown_types: Collection[str]) -> Json:
    """The REPLACE for one change. `unknown_types` go in RFC 3597's form."""
    if change.after is None:
        return _removal(change.key, unknown_types)
    return _replacement(change.after, unknown_types)


def json_bytes(change: RRsetChange) -> int:
    """An upper bound of what the change takes in a body: JSON may double quotes and backslashes."""
    name_bytes = 2 * len(change.key[0])
    values = change.after.data if change.after else ()
    return 120 + name_bytes + sum(40 + 2 * len(value) for value in values)


def _replacement(rrset: RRset, unknown_types: Collection[str]) -> Json:
    type, texts = rrset.type, [_content_of(rrset.type, text) for text in rrset.data]
    if type in unknown_types:
        type = generic_type(type) or type
        texts = [_generic_content(dns.rdata.from_text("IN", rrset.type, text)) for text in rrset.data]
    return {
        "name": name_to_api(rrset.name),
        "type": type,
        "ttl": rrset.ttl,
        "changetype": "REPLACE",
        "records": [{"content": text, "disabled": False} for text in texts],
    }


def _removal(key: Key, unknown_types: Collection[str]) -> Json:
    """The REPLACE by nothing: DELETE leaves records behind in some versions (PowerDNS issue 7501)."""
    name, type = key
    return {
        "name": name_to_api(name),
        "type": (generic_type(type) if type in unknown_types else None) or type,
        "ttl": 0,  # 4.7 demands the key
        "changetype": "REPLACE",
        "records": [],
    }


def soa_replacement(zone: Name, soa: SOA, *, is_disabled: bool = False) -> Json:
    """The REPLACE of the SOA. A zone whose SOA is disabled is not served: that hides an unfinished one."""
    names = (_bare(soa.mname), _bare(soa.rname))
    times = (soa.serial, soa.refresh, soa.retry, soa.expire, soa.minimum)
    return {
        "name": name_to_api(zone),
        "type": "SOA",
        "ttl": soa.ttl,
        "changetype": "REPLACE",
        "records": [{"content": " ".join([*names, *map(str, times)]), "disabled": is_disabled}],
    }


def _content_of(type: str, text: str) -> str:
    """Canonical presentation format as PowerDNS expects it; where that is the same, without parsing."""
    if type in _SAME_TEXT or (type in _NAMES_ONLY and "\\" not in text):
        return text
    return _content(dns.rdata.from_text("IN", type, text))


def _content(rdata: dns.rdata.Rdata) -> str:
    type = dns.rdatatype.to_text(rdata.rdtype)
    if isinstance(rdata, svcbbase.SVCBBase):
        return _svcb_content(rdata)
    text = rdata.to_text(chunksize=0)  # base64 and hex in one piece
    if type == "AAAA":
        return _aaaa_content(text)
    if type == "CERT":  # numbers only
        wire = _wire(rdata)
        numbers = (int.from_bytes(wire[:2]), int.from_bytes(wire[2:4]), wire[4])
        return " ".join([*map(str, numbers), text.rsplit(" ", 1)[1]])
    if type in ("NID", "L64"):  # groups in capitals
        return text.upper()
    if type == "LOC" and not text.endswith("m", 0, text.rfind(" ")):  # all three sizes, always
        return f"{text} 1.00m 10000.00m 10.00m"
    if type in _NAMES_ONLY:
        return _bare(text)
    return text


def _bare(text: str) -> str:
    return _BARE_IN_POWERDNS.sub(r"\1", text)


def _aaaa_content(text: str) -> str:
    """No dotted quad: `::ffff:192.0.2.1` is "Invalid IPv6 address", `::ffff:c000:201` is not."""
    if "." not in text:
        return text
    packed = ipaddress.IPv6Address(text)
    high, low = int(packed) >> 16 & 0xFFFF, int(packed) & 0xFFFF
    return f"{text[: text.rindex(':')]}:{high:x}:{low:x}"


def _svcb_content(rdata: svcbbase.SVCBBase) -> str:
    """Parameters by number; lists and ports unquoted unless they hold a blank; dohpath and later as keyN."""
    words = [str(rdata.priority), _bare(rdata.target.to_text())]
    for number in sorted(rdata.params):
        param = rdata.params[number]
        value = param.to_text() if param is not None else None
        if number >= len(_SVCB_KEYS):
            words.append(f"key{int(number)}={value or chr(34) * 2}")
        elif value is None:
            words.append(_SVCB_KEYS[number])
        elif _SVCB_KEYS[number] == "ech" or " " in value:
            words.append(f"{_SVCB_KEYS[number]}={value}")
        else:
            words.append(f"{_SVCB_KEYS[number]}={value[1:-1]}")
    return " ".join(words)


def generic_type(type: str) -> str | None:
    """`TYPE65280`; None for a type that has no number here."""
    try:
        return f"TYPE{int(dns.rdatatype.from_text(type))}"
    except dns.rdatatype.UnknownRdatatype:
        return None


def _generic_content(rdata: dns.rdata.Rdata) -> str:
    wire = _wire(rdata)
    return f"\\# {len(wire)} {wire.hex()}".rstrip()  # PowerDNS takes the hex in one piece only


def _wire(rdata: dns.rdata.Rdata) -> bytes:
    wire = rdata.to_wire()
    assert wire is not None, "to_wire without a file returns the bytes"
    return wire


def contents_from_api(zone: Name, rrsets: list[Json]) -> tuple[SOA | None, dict[Key, RRset]]:
    """The SOA (None where it is missing or disabled: then the zone isn't served) and the other RRsets."""
    soa: SOA | None = None
    found: dict[Key, RRset] = {}
    for item in rrsets:
        served = [record["content"] for record in item["records"] if not record["disabled"]]
        if not served:
            continue  # disabled records are not served: as good as absent
        if item["type"] == "SOA":
            if name_from_api(item["name"]) == zone:
                soa = _soa_from_api(served[0], item["ttl"])
            continue
        rrset = _rrset_from_api(item, served)
        found[rrset.key] = rrset
    return soa, found


def _soa_from_api(text: str, ttl: int) -> SOA:
    rdata = _rdata_from_api(dns.rdatatype.SOA, text)
    return SOA.from_rdataset(dns.rdataset.from_rdata(ttl, rdata))


def _rrset_from_api(item: Mapping[str, Any], served: list[str]) -> RRset:
    """Canonical where dnspython can read it; else as PowerDNS spells it (ALIAS, LUA, what was put in by SQL).

    What can't be read is foreign: it equals nothing of ours, so it is seen, and removed by its key.
    """
    name = name_from_api(item["name"])
    if (texts := _quickly(item["type"], served)) is not None:
        return RRset.trusted(name, item["type"], item["ttl"], texts)
    try:
        type = dns.rdatatype.from_text(item["type"])
        rdatas = [_rdata_from_api(type, text) for text in served]
        return RRset.from_rdataset(name, dns.rdataset.from_rdata_list(item["ttl"], rdatas))
    except (dns.exception.DNSException, ValueError):
        return RRset.trusted(name, item["type"], item["ttl"], tuple(sorted(served)))


def _quickly(type: str, served: list[str]) -> tuple[str, ...] | None:
    """Canonical texts in canonical order, of records that are plain enough not to need dnspython.

    It takes 0.1 ms a record, which is most of the time that a large zone takes.
    """
    if type not in QUICK:
        return None
    by_wire: dict[bytes, str] = {}
    for text in served:
        quick = QUICK[type](text, None)
        if quick is None:
            return None
        by_wire[quick[0]] = quick[1]
    return tuple(by_wire[wire] for wire in sorted(by_wire))


def _rdata_from_api(type: dns.rdatatype.RdataType, text: str) -> dns.rdata.Rdata:
    if dns.rdatatype.to_text(type) in _NAMES_ONLY:
        text = _SPECIAL_TO_DNSPYTHON.sub(r"\\\1", text)
    return dns.rdata.from_text(dns.rdataclass.IN, type, text, relativize=False)
