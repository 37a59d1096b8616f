"""What wishes come to, as changes of RRsets: pure functions of values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dnsworker.errors import (
    RecordExists,
    RecordNotFound,
)
from dnsworker.names import Name
from dnsworker.operations import Change
from dnsworker.plan import RRsetChange
from dnsworker.records import Key, RRset
from dnsworker.store.pools import KnownPool


def resolve(wishes: Iterable[Change], current: Mapping[Key, RRset], default_ttl: int) -> list[RRsetChange]:
    """What the wishes come to in a zone that holds `current`.

    Raises `RecordExists`, `RecordNotFound`. A wish for what is there already changes nothing.
    """
    changes = []
    for wish in wishes:
        key = (Name(wish.name), wish.type)
        before = current.get(key)
        if wish.action == "create" and before is not None:
            raise RecordExists(f"{wish.name} {wish.type} exists already; use put or update to replace it")
        if wish.action in ("update", "delete") and before is None:
            hint = "; use create or put" if wish.action == "update" else ""
            raise RecordNotFound(f"there is no {wish.name} {wish.type}{hint}")
        after = None
        if wish.action != "delete":
            ttl = wish.ttl if wish.ttl is not None else (before.ttl if before else default_ttl)
            after = RRset.trusted(key[0], wish.type, ttl, wish.data)
        if before != after:
            changes.append(RRsetChange(before, after))
    return changes


def difference(current: Mapping[Key, RRset], desired: Mapping[Key, RRset]) -> list[RRsetChange]:
    """What leads from `current` to `desired`."""
    keys = dict.fromkeys([*current, *desired])
    pairs = ((current.get(key), desired.get(key)) for key in keys)
    return [RRsetChange(before, after) for before, after in pairs if before != after]


def primary_nameserver(known: KnownPool) -> str:
    """The name that the SOA gives as the primary: the first of the pool's NS records."""
    return min(known.pool.ns_records, key=lambda record: record.priority).hostname


def apex_ns(known: KnownPool, zone: Name, ttl: int) -> RRset:
    """The NS RRset of every zone in the pool."""
    return RRset(zone, "NS", ttl, [record.hostname for record in known.pool.ns_records])
