"""A pool of five kinds of target at once, and what each of them holds in comparable form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev.pool import pool_of, to_yaml
from dev.servers import Bind, Knot, PowerDNS, Route53
from dev.stack import Stack
from dnsworker.backend import Backend, load_backend
from dnsworker.contents import ZoneContents
from dnsworker.names import Name
from dnsworker.pools import build_options, capabilities_of, load_pools

TARGETS = ("bind", "powerdns", "knot", "files", "cloud")


@dataclass
class Hybrid:
    """The system and the servers of its one pool."""

    stack: Stack
    bind: Bind
    powerdns: PowerDNS
    knot: Knot
    cloud: Route53
    folder: Path
    pool_yaml: str

    @contextmanager
    def backend(self, target: str) -> Iterator[Backend]:
        """A target, to be read beside the workers."""
        (pool,) = load_pools(self.pool_yaml)
        wanted = pool.target(target)
        backend = load_backend(wanted.type)(target, build_options(wanted), timeout_s=30)
        try:
            yield backend
        finally:
            backend.close()

    def differences(self, desired: ZoneContents) -> list[str]:
        """Where a target holds something else than it should, RRset by RRset, the serial included."""
        (pool,) = load_pools(self.pool_yaml)
        found = []
        for target in TARGETS:
            capabilities = capabilities_of(pool.target(target))
            with self.backend(target) as backend:
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

    def holders(self, zone: Name) -> list[str]:
        """The targets that have the zone."""
        held = []
        for target in TARGETS:
            with self.backend(target) as backend:
                if backend.read_zone(zone) is not None:
                    held.append(target)
        return held


def hybrid_pool(
    bind: Bind, powerdns: PowerDNS, knot: Knot, cloud: Route53, folder: Path, **more: Any
) -> dict[str, Any]:
    """BIND, PowerDNS and Knot, each its own nameserver, and two targets that are their own witnesses."""
    pool = pool_of({"bind": bind, "powerdns": powerdns, "knot": knot}, **more)
    pool["targets"] += [
        {"name": "files", "type": "zonefile", "options": {"folder": str(folder)}},
        {"name": "cloud", "type": "route53", "options": cloud.target_options()},
    ]
    return pool


@contextmanager
def a_hybrid(folder: Path, *, workers: int | Sequence[str | None] = 2, **shared: Any) -> Iterator[Hybrid]:
    """All of it, started and stopped. `shared`: what `Stack` is to share instead of starting its own."""
    with ExitStack() as stack:
        bind, powerdns, knot, cloud = Bind(), PowerDNS(), Knot(), Route53()
        for server in (knot, cloud, bind, powerdns):
            stack.enter_context(server)
        text = to_yaml(hybrid_pool(bind, powerdns, knot, cloud, folder))
        running = stack.enter_context(
            Stack(workers=workers, bind=bind, powerdns=powerdns, pool_yaml=text, **shared)
        )
        yield Hybrid(running, bind, powerdns, knot, cloud, folder, text)
