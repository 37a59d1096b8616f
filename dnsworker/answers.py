"""The answer that a zone must give: one pure function, for the built-in nameserver and for judging others.

RFC 1034 section 4.3.2 with the wildcards of RFC 4592, the DNAMEs of RFC 6672, the negative answers of
RFC 2308 and the response codes of RFC 6604.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from dnsworker import names
from dnsworker.names import Name
from dnsworker.records import SOA, RRset

#: Links of a CNAME chain that are followed. Nobody needs as many; BIND 9.18 says SERVFAIL after 11.
MAX_CHAIN = 16
LONG_CHAIN = 11  # as many links servers no longer follow: PowerDNS 4.7 goes to 10, BIND 9.18 to 11
#: Types whose data name hosts whose addresses belong into the additional section (RFC 1034, 2782).
HOST_AT = {"NS": 0, "MX": 1, "SRV": 3}
#: These may stand beside a CNAME, so asking for them is asking about the alias itself (RFC 4035, section 2.5;
#: RFC 2181, section 10.1).
BESIDE_CNAME = ("RRSIG", "NSEC", "KEY")


class ZoneView(Protocol):
    """A zone as far as answers need it: few nodes, so that a database can stand behind it."""

    @property
    def name(self) -> Name: ...

    @property
    def soa(self) -> SOA: ...

    def node(self, name: Name) -> Mapping[str, RRset]:
        """The RRsets at exactly that owner by type, SOA left out; empty where there are none."""

    def has_descendants(self, name: Name) -> bool:
        """Whether any owner lies strictly below `name`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The sections of a response. The SOA of a negative answer has its negative TTL (RFC 2308, section 5)."""

    rcode: str = "NOERROR"
    authoritative: bool = True
    answer: tuple[RRset | SOA, ...] = ()
    authority: tuple[RRset | SOA, ...] = ()
    additional: tuple[RRset, ...] = ()

    @property
    def is_referral(self) -> bool:
        return not self.authoritative and self.rcode == "NOERROR"

    @property
    def is_endless(self) -> bool:
        """Whether it is a chain that servers give up: a loop, or a long one. They say SERVFAIL then, and
        asking them proves nothing.
        """
        links = [one for one in self.answer if isinstance(one, RRset) and one.type == "CNAME"]
        return len(links) >= LONG_CHAIN or (bool(links) and links[-1].data[0] in {one.name for one in links})


@dataclass(frozen=True, slots=True)
class _Step:
    """What was found for one name of a chain."""

    found: tuple[RRset | SOA, ...] = ()
    #: Where the chain goes on.
    target: Name | None = None
    referral: RRset | None = None
    rcode: str = "NOERROR"


def answer(zone: ZoneView, qname: Name, qtype: str) -> Answer:
    """What an authoritative server of `zone` alone answers. REFUSED for names outside it."""
    if not names.is_within(qname, zone.name):
        return Answer("REFUSED", authoritative=False)
    chain: list[RRset | SOA] = []
    asked: list[Name] = []
    name = qname
    while True:
        step = _look_up(zone, name, qtype)
        chain += step.found
        asked.append(name)
        if step.referral is not None:
            glue = _addresses(zone, (step.referral,))
            return Answer("NOERROR", bool(chain), tuple(chain), (step.referral,), glue)
        if step.rcode == "YXDOMAIN":
            return Answer("YXDOMAIN", answer=tuple(chain))
        goes_on = step.target is not None and names.is_within(step.target, zone.name)
        if step.target is None or not goes_on or step.target in asked or len(asked) > MAX_CHAIN:
            break
        name = step.target
    if step.target is None and not step.found:
        return Answer(step.rcode, answer=tuple(chain), authority=(_negative(zone.soa),))
    return Answer("NOERROR", answer=tuple(chain), additional=_addresses(zone, chain))


def relevant_names(qname: Name, zone: Name) -> list[Name]:
    """The owners that `answer` asks for: the name, those above it, and the wildcards below these.

    Targets of chains and hosts in the additional section come on top, where there are any.
    """
    if not names.is_within(qname, zone):
        return []
    above = names.ancestors(qname, zone)
    return [*dict.fromkeys([qname, *above, *map(names.wildcard_below, above)])]


def _look_up(zone: ZoneView, name: Name, qtype: str) -> _Step:
    for above in reversed(names.ancestors(name, zone.name)):
        node = zone.node(above)
        if above != zone.name and "NS" in node:
            return _Step(referral=node["NS"])
        if "DNAME" in node:
            return _redirected(node["DNAME"], name, qtype)
    node = zone.node(name)
    if name != zone.name and "NS" in node and qtype != "DS":
        return _Step(referral=node["NS"])
    if node or name == zone.name:
        return _at_node(zone, node, name, qtype)
    if zone.has_descendants(name):
        return _Step()
    encloser = next(
        (n for n in names.ancestors(name, zone.name) if zone.node(n) or zone.has_descendants(n)), zone.name
    )
    source = names.wildcard_below(encloser)
    node = zone.node(source)
    if node:
        expanded = {type_: RRset.trusted(name, type_, one.ttl, one.data) for type_, one in node.items()}
        return _at_node(zone, expanded, name, qtype)
    return _Step() if zone.has_descendants(source) else _Step(rcode="NXDOMAIN")


def _at_node(zone: ZoneView, node: Mapping[str, RRset], name: Name, qtype: str) -> _Step:
    if qtype == "SOA" and name == zone.name:
        return _Step((zone.soa,))
    if qtype == "ANY":
        apex: tuple[RRset | SOA, ...] = (zone.soa,) if name == zone.name else ()
        return _Step((*apex, *node.values()))
    if qtype in node:
        return _Step((node[qtype],))
    if "CNAME" in node and qtype not in BESIDE_CNAME:
        return _Step((node["CNAME"],), target=Name(node["CNAME"].data[0]))
    return _Step()


def _redirected(dname: RRset, name: Name, qtype: str) -> _Step:
    """A DNAME and the CNAME made from it (RFC 6672, section 3.1); CNAME and ANY have found theirs then."""
    prefix = name[: len(name) - len(dname.name)] if dname.name != "." else name
    target = Name(prefix + (dname.data[0] if dname.data[0] != "." else ""))
    if names.wire_size(target) > names.MAX_NAME_OCTETS:
        return _Step((dname,), rcode="YXDOMAIN")
    made = RRset.trusted(name, "CNAME", dname.ttl, (target,))
    return _Step((dname, made), target=None if qtype in ("CNAME", "ANY") else target)


def _negative(soa: SOA) -> SOA:
    return replace(soa, ttl=min(soa.ttl, soa.minimum))


def _addresses(zone: ZoneView, answered: tuple[RRset | SOA, ...] | list[RRset | SOA]) -> tuple[RRset, ...]:
    """The addresses, glue included, of the hosts that the records name."""
    found: dict[tuple[Name, str], RRset] = {}
    for rrset in answered:
        if isinstance(rrset, SOA) or rrset.type not in HOST_AT:
            continue
        for value in rrset.data:
            host = Name(value.split()[HOST_AT[rrset.type]])
            if names.is_within(host, zone.name):
                node = zone.node(host)
                found.update(((host, type_), node[type_]) for type_ in ("A", "AAAA") if type_ in node)
    return tuple(found.values())
