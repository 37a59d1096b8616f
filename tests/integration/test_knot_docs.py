"""The knot.conf and pools.yaml of docs/backends/knot.md, run as they stand but for addresses and paths."""

from __future__ import annotations

import re
from pathlib import Path

from backends.knot import BACKEND
from dev.servers import Knot
from dnsworker.contents import ZoneContents
from dnsworker.names import Name
from dnsworker.pools import build_options, load_pools
from dnsworker.records import SOA, RRset

PAGE = Path(__file__).parents[2] / "docs" / "backends" / "knot.md"
BLOCKS = re.findall(r"^```(yaml)?\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
KNOT_CONF = BLOCKS[0][1]
(POOLS_YAML,) = (text for language, text in BLOCKS if language == "yaml")


class _DocumentedKnot(Knot):
    def _configuration(self) -> str:
        conf = KNOT_CONF.replace("192.0.2.53@53", f"{self.address}@{self.port}")
        conf = conf.replace("/run/knot", str(self.folder)).replace("/var/lib/knot", str(self.folder))
        return conf.replace("target: syslog", "target: stderr")


def test_the_documented_files_work_together() -> None:
    with _DocumentedKnot() as server:
        text = POOLS_YAML.replace("192.0.2.53", server.address).replace(
            "port: 53\n", f"port: {server.port}\n"
        )
        (pool,) = load_pools(text.replace("/run/knot", str(server.folder)))
        (target,) = pool.targets
        backend = BACKEND(target.name, build_options(target))
        assert backend.check().ok, backend.check().message
        zone = ZoneContents.of(
            Name("example.org."),
            SOA(Name("ns1.example.net."), Name("hostmaster.example.net."), 7),
            [RRset("example.org.", "NS", 60, [record.hostname for record in pool.ns_records])],
        )
        backend.create_zone(zone)
        server.restart()
        assert backend.read_zone(zone.name) == zone
        assert not list(server.folder.glob("*.zone")), "the journal alone holds the zones"
        backend.delete_zone(zone.name)
        assert backend.read_zone(zone.name) is None
        backend.close()
