"""What a target holds against what we believe and what we want: the values that a delivery decides on.

Pure, like `dnsworker.plan`: a delivery asks the target, and these functions say what its answer means.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dnsworker.backend import ZoneDelta
from dnsworker.capabilities import Capabilities
from dnsworker.contents import ZoneContents
from dnsworker.names import Name
from dnsworker.plan import RRsetChange
from dnsworker.records import Key, RRset

#: Records that a signer makes and owns (design: "signs"); TYPE65534 is BIND's signing state.
SIGNER_TYPES = frozenset(
    ("RRSIG", "NSEC", "NSEC3", "NSEC3PARAM", "DNSKEY", "CDS", "CDNSKEY", "ZONEMD", "TYPE65534")
)

Records = frozenset[tuple[int, str]]
_NONE: Records = frozenset()


def records_of(rrset: RRset | None) -> Records:
    """An RRset's records as (ttl, rdata) pairs."""
    return _NONE if rrset is None else frozenset([(rrset.ttl, value) for value in rrset.data])


def rrset_after(key: Key, before: RRset | None, delta: ZoneDelta) -> RRset | None:
    """What an RRset came to be through a difference that the target told."""
    records = (records_of(before) - delta.removed.get(key, frozenset())) | delta.added.get(key, frozenset())
    if not records:
        return None
    ttl = min(ttl for ttl, _ in records)  # RFC 2181, section 5.2: one TTL for all
    values = sorted({value for _, value in records})
    if before is not None and ttl == before.ttl and set(values) == set(before.data):
        return before
    return RRset.trusted(key[0], key[1], ttl, tuple(values))


def is_same(one: RRset | None, other: RRset | None) -> bool:
    """Whether two RRsets hold the same records, whatever their order."""
    return records_of(one) == records_of(other)


def not_as_planned(changes: Iterable[RRsetChange], delta: ZoneDelta) -> list[Key]:
    """The RRsets of which the target tells another difference than the one that it was sent."""
    wrong = []
    for change in changes:
        key, before, after = change.key, records_of(change.before), records_of(change.after)
        removed, added = delta.removed.get(key, _NONE), delta.added.get(key, _NONE)
        if (removed, added) != ((before - after, after - before) if before else (before, after)):
            wrong.append(key)
    return wrong


def is_the_providers(key: Key, zone: Name, capabilities: Capabilities) -> bool:
    """Whether it is the apex NS of a provider that has its own: never sent there, and never missed."""
    return not capabilities.apex_ns and key == (zone, "NS")


def is_visible(key: Key, zone: Name, capabilities: Capabilities) -> bool:
    """Whether an RRset at the target is ours to compare; else its signer's or its provider's."""
    is_the_signers = capabilities.signs != "no" and key[1] in SIGNER_TYPES
    return not (is_the_signers or is_the_providers(key, zone, capabilities))


def side_by_side(found: ZoneContents, wanted: Mapping[Key, RRset]) -> dict[Key, RRset | None]:
    """What the target has, for every key that it has or should have."""
    return {
        key: found.rrsets.get(key) for key in [*found.rrsets, *(k for k in wanted if k not in found.rrsets)]
    }


def foreign_changes(
    actual: Mapping[Key, RRset | None],
    desired: Mapping[Key, RRset | None],
    zone: Name,
    capabilities: Capabilities,
) -> list[RRsetChange]:
    """What leads from what the target has to what it should have, for the keys of `actual`.

    Only what `is_visible`.
    """
    changes = []
    for key, found in actual.items():
        if not is_visible(key, zone, capabilities):
            continue
        wanted = desired.get(key)
        if not is_same(found, wanted):
            changes.append(RRsetChange(found, wanted))
    return changes
