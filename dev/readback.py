"""What the targets of a pool hold, read beside the workers and compared with what they should."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from dnsworker.backend import Backend, load_backend
from dnsworker.contents import ZoneContents
from dnsworker.names import Name
from dnsworker.pools import Target, build_options, capabilities_of, load_pools
from dnsworker.records import Key, RRset

#: By target, what it has instead of the desired RRset because it refuses that; None: nothing.
Withheld = Mapping[str, Mapping[Key, RRset | None]]


def differences(pool_yaml: str, desired: ZoneContents, withheld: Withheld | None = None) -> list[str]:
    """Where a target holds something else than it should, RRset by RRset, the serial included."""
    found = []
    for target in _targets(pool_yaml):
        capabilities = capabilities_of(target)
        wanted = _overlaid(desired, (withheld or {}).get(target.name, {}))
        with _backend(target) as backend:
            contents = backend.read_zone(desired.name)
        if contents is None:
            found.append(f"{target.name} has no zone {desired.name}")
            continue
        keys = set(contents.rrsets) | set(wanted.rrsets)
        if not capabilities.apex_ns:
            keys.discard((desired.name, "NS"))
        found += [
            f"{target.name}: {contents.rrsets.get(key)} instead of {wanted.rrsets.get(key)}"
            for key in sorted(keys)
            if contents.rrsets.get(key) != wanted.rrsets.get(key)
        ]
        if not capabilities.sets_serial and contents.soa != wanted.soa:
            found.append(f"{target.name}: SOA {contents.soa.rdata} instead of {wanted.soa.rdata}")
    return found


def held(pool_yaml: str, zone: Name) -> dict[str, ZoneContents | None]:
    """What each target has of the zone."""
    found = {}
    for target in _targets(pool_yaml):
        with _backend(target) as backend:
            found[target.name] = backend.read_zone(zone)
    return found


def holders(pool_yaml: str, zone: Name) -> list[str]:
    """The targets that have the zone."""
    return [name for name, contents in held(pool_yaml, zone).items() if contents is not None]


def _targets(pool_yaml: str) -> tuple[Target, ...]:
    (pool,) = load_pools(pool_yaml)
    return tuple(pool.targets)


def _overlaid(desired: ZoneContents, refused: Mapping[Key, RRset | None]) -> ZoneContents:
    rrsets = {**desired.rrsets, **refused}
    return replace(desired, rrsets={key: rrset for key, rrset in rrsets.items() if rrset is not None})


@contextmanager
def _backend(target: Target) -> Iterator[Backend]:
    backend = load_backend(target.type)(target.name, build_options(target), timeout_s=30)
    try:
        yield backend
    finally:
        backend.close()
