"""pools.yaml for private servers: which targets there are and who answers for them."""

from __future__ import annotations

from typing import Any

import yaml

from dev.servers import Bind, Knot, PowerDNS

KINDS = {Bind: "bind9", Knot: "knot", PowerDNS: "powerdns"}


def pool_of(
    servers: dict[str, Bind | Knot | PowerDNS], *, name: str = "default", **more: Any
) -> dict[str, Any]:
    """A pool whose targets are `servers` by name, each its own nameserver. `more`: further keys of the pool.

    A value in `more` under `targets` is merged into every target (`targets={"limits": {…}}`).
    """
    each = more.pop("targets", {})
    return {
        "name": name,
        "ns_records": [
            {"hostname": "ns1.dnsworker.test.", "priority": 1},
            {"hostname": "ns2.dnsworker.test.", "priority": 2},
        ],
        "targets": [
            {"name": target, "type": KINDS[type(server)], "options": server.target_options(), **each}
            for target, server in servers.items()
        ],
        "nameservers": [{**server.nameserver(), "target": target} for target, server in servers.items()],
        **more,
    }


def to_yaml(*pools: dict[str, Any]) -> str:
    """The text of a pools.yaml."""
    return yaml.safe_dump(list(pools), sort_keys=False)
