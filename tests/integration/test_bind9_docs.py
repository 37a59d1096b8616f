"""The named.conf and pools.yaml of docs/backends/bind9.md, run as they stand but for addresses and ports."""

from __future__ import annotations

import re
from pathlib import Path

from backends.bind9 import BACKEND
from dev.servers import Bind
from dnsworker.contents import ZoneContents
from dnsworker.names import Name
from dnsworker.pools import build_options, load_pools
from dnsworker.records import SOA, RRset

PAGE = Path(__file__).parents[2] / "docs" / "backends" / "bind9.md"
NAMED_CONF, POOLS_YAML = re.findall(
    r"^```(?:yaml)?\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL
)[:2]


class _DocumentedBind(Bind):
    def _configure(self) -> None:
        conf = NAMED_CONF.replace("192.0.2.53", self.address).replace("192.0.2.0/24", self.address)
        conf = conf.replace("port 953", f"port {self.rndc_port}").replace("port 53", f"port {self.port}")
        conf = conf.replace('"/var/cache/bind"', f'"{self.folder}"')
        conf = conf.replace(
            "options {", "options {\n    pid-file none; session-keyfile none; listen-on-v6 { none; };"
        )
        (self.folder / "named.conf").write_text(conf)


def test_the_documented_files_work_together() -> None:
    with _DocumentedBind() as server:
        text = POOLS_YAML.replace("192.0.2.53", server.address)
        text = text.replace("rndc_port: 953", f"rndc_port: {server.rndc_port}")
        text = text.replace("port: 53\n", f"port: {server.port}\n")
        (pool,) = load_pools(text)
        (target,) = pool.targets
        backend = BACKEND(target.name, build_options(target))
        assert backend.check().ok
        soa = SOA(Name("ns1.example.net."), Name("hostmaster.example.net."), 7)
        zone = ZoneContents.of(
            Name("example.org."),
            soa,
            [
                RRset("example.org.", "NS", 60, [record.hostname for record in pool.ns_records]),
                RRset("many.example.org.", "A", 60, [f"192.0.2.{number}" for number in range(150)]),
            ],
        )
        backend.create_zone(zone)
        assert backend.read_zone(zone.name) == zone
        backend.delete_zone(zone.name)
        assert backend.read_zone(zone.name) is None
        backend.close()
