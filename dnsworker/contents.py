"""The contents of a zone as a value: what a target holds, what the database wants, what a file says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from dnsworker import names
from dnsworker.names import Name
from dnsworker.plan import RRsetChange
from dnsworker.records import SOA, Key, RRset

_NOTHING: Mapping[str, RRset] = MappingProxyType({})


@dataclass(frozen=True)
class ZoneContents:
    """A whole zone: its SOA, and every other RRset by (name, type). The apex NS is in `rrsets`.

    `rrsets` doesn't change after construction: the indices by name are made once, when first asked for.
    """

    soa: SOA
    rrsets: Mapping[Key, RRset]
    name: Name

    @classmethod
    def of(cls, name: Name, soa: SOA, rrsets: Iterable[RRset]) -> ZoneContents:
        return cls(soa=soa, rrsets={rrset.key: rrset for rrset in rrsets}, name=name)

    def changes_to(self, desired: ZoneContents) -> list[RRsetChange]:
        """What leads from these contents to `desired`, SOA aside; unordered."""
        keys = list(self.rrsets) + [key for key in desired.rrsets if key not in self.rrsets]
        return [
            RRsetChange(self.rrsets.get(key), desired.rrsets.get(key))
            for key in keys
            if self.rrsets.get(key) != desired.rrsets.get(key)
        ]

    def skeleton(self) -> ZoneContents:
        """What a zone is never without: its apex NS, and the addresses of those that lie within it."""
        ns = self.rrsets.get((self.name, "NS"))
        needed = {(Name(host), type_) for host in (ns.data if ns else ()) for type_ in ("A", "AAAA")}
        needed.add((self.name, "NS"))
        kept = {key: rrset for key, rrset in self.rrsets.items() if key in needed}
        return ZoneContents(soa=self.soa, rrsets=kept, name=self.name)

    @property
    def is_bare(self) -> bool:
        """Whether nobody has put anything into the zone yet."""
        return len(self.skeleton().rrsets) == len(self.rrsets)

    @property
    def apex(self) -> Name:
        """The zone's name, as `placement` calls it."""
        return self.name

    def node(self, name: Name) -> Mapping[str, RRset]:
        """The RRsets at `name` by type, the SOA not among them; empty where there are none."""
        return self._nodes.get(name, _NOTHING)

    def types_at(self, name: Name) -> set[str]:
        """The types at `name`, the SOA not among them."""
        return set(self.node(name))

    def has_descendants(self, name: Name) -> bool:
        """Whether any RRset lies below `name` (it may itself be empty, RFC 4592, section 2.2.2)."""
        return name in self._names_above

    @cached_property
    def _nodes(self) -> dict[Name, dict[str, RRset]]:
        nodes: dict[Name, dict[str, RRset]] = {}
        for (name, type_), rrset in self.rrsets.items():
            nodes.setdefault(name, {})[type_] = rrset
        return nodes

    @cached_property
    def _names_above(self) -> set[Name]:
        above: set[Name] = set()
        for name in self._nodes:
            if not names.is_within(name, self.name):
                continue  # a server sent it; it is below nothing of ours
            while name != self.name:
                name = names.parent(name)
                if name in above:
                    break
                above.add(name)
        return above
