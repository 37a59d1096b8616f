"""The whole system on one pool of five kinds of target: what tests and measurements of mixed pools drive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev.pool import pool_of, to_yaml
from dev.servers import Bind, Knot, PowerDNS, Route53
from dev.servers.folders import make_folder, remove_folder
from dev.stack import SPLIT, Stack

TARGETS = ("bind", "powerdns", "knot", "files", "cloud")


@dataclass(frozen=True)
class Hybrid:
    """The system and the servers of its one pool."""

    stack: Stack
    bind: Bind
    powerdns: PowerDNS
    knot: Knot
    cloud: Route53
    pool_yaml: str


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
def a_hybrid(*, workers: int | Sequence[str | None] = SPLIT, **shared: Any) -> Iterator[Hybrid]:
    """All of it, started and stopped. `shared`: what `Stack` is to share instead of starting its own."""
    with ExitStack() as stack:
        folder = make_folder("zones")
        stack.callback(remove_folder, folder)
        bind, powerdns, knot, cloud = Bind(), PowerDNS(), Knot(), Route53()
        for server in (knot, cloud, bind, powerdns):
            stack.enter_context(server)
        text = to_yaml(hybrid_pool(bind, powerdns, knot, cloud, folder))
        running = stack.enter_context(
            Stack(workers=workers, bind=bind, powerdns=powerdns, pool_yaml=text, **shared)
        )
        yield Hybrid(running, bind, powerdns, knot, cloud, text)
