"""The contents of a zone as a value: what a target holds, what the database wants, what a file says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dnsworker.names import Name
from dnsworker.plan import RRsetChange
from dnsworker.records import SOA, Key, RRset


@dataclass(frozen=True)
class ZoneContents:
    """A whole zone: its SOA, and every other RRset by (name, type). The apex NS is in `rrsets`."""

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
