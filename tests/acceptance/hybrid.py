"""What each target of `dev.hybrid`'s pool holds, in comparable form."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dev.hybrid import TARGETS, Hybrid
from dnsworker.backend import Backend, load_backend
from dnsworker.contents import ZoneContents
from dnsworker.names import Name
from dnsworker.pools import build_options, capabilities_of, load_pools


def differences(hybrid: Hybrid, desired: ZoneContents) -> list[str]:
    """Where a target holds something else than it should, RRset by RRset, the serial included."""
    (pool,) = load_pools(hybrid.pool_yaml)
    found = []
    for target in TARGETS:
        capabilities = capabilities_of(pool.target(target))
        with _backend(hybrid, target) as backend:
            contents = backend.read_zone(desired.name)
        if contents is None:
            found.append(f"{target} has no zone {desired.name}")
            continue
        keys = set(contents.rrsets) | set(desired.rrsets)
        if not capabilities.apex_ns:
            keys.discard((desired.name, "NS"))
        found += [
            f"{target}: {contents.rrsets.get(key)} instead of {desired.rrsets.get(key)}"
            for key in sorted(keys)
            if contents.rrsets.get(key) != desired.rrsets.get(key)
        ]
        if not capabilities.sets_serial and contents.soa != desired.soa:
            found.append(f"{target}: SOA {contents.soa.rdata} instead of {desired.soa.rdata}")
    return found


def holders(hybrid: Hybrid, zone: Name) -> list[str]:
    """The targets that have the zone."""
    held = []
    for target in TARGETS:
        with _backend(hybrid, target) as backend:
            if backend.read_zone(zone) is not None:
                held.append(target)
    return held


@contextmanager
def _backend(hybrid: Hybrid, target: str) -> Iterator[Backend]:
    """A target, to be read beside the workers."""
    (pool,) = load_pools(hybrid.pool_yaml)
    wanted = pool.target(target)
    backend = load_backend(wanted.type)(target, build_options(wanted), timeout_s=30)
    try:
        yield backend
    finally:
        backend.close()
