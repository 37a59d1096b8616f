"""named.conf, zone file and pools.yaml of docs/backends/rfc2136.md, run as they stand but for addresses."""

from __future__ import annotations

from backends.rfc2136 import BACKEND
from dev.servers import Bind
from dnsworker.contents import ZoneContents
from dnsworker.names import Name
from dnsworker.pools import build_options, load_pools
from dnsworker.records import SOA, RRset
from tests.documented import blocks_in

PAGE = "docs/backends/rfc2136.md"
NAMED_CONF, ZONE_FILE = blocks_in(PAGE, "named.conf")
(POOLS_YAML,) = blocks_in(PAGE, "pools.yaml")


class _DocumentedBind(Bind):
    def _configure(self) -> None:
        super()._configure()
        ours = (self.folder / "named.conf").read_text().splitlines()
        control = [line for line in ours if "rndc-key" in line]  # the tests' own way to see that it is up
        conf = NAMED_CONF.replace("192.0.2.53", self.address).replace("port 53", f"port {self.port}")
        conf = conf.replace('"/var/cache/bind"', f'"{self.folder}"')
        conf = conf.replace("options {", "options {\n pid-file none; session-keyfile none; notify explicit;")
        (self.folder / "named.conf").write_text("\n".join([*control, conf]))
        (self.folder / "example.org.db").write_text(ZONE_FILE)


def test_the_documented_files_work_together() -> None:
    with _DocumentedBind() as server:
        text = POOLS_YAML.replace("192.0.2.53", server.address).replace(
            "port: 53\n", f"port: {server.port}\n"
        )
        (pool,) = load_pools(text)
        (target,) = pool.targets
        backend = BACKEND(target.name, build_options(target))
        assert "knows our key" in backend.check().message
        found = backend.read_zone(Name("example.org."))
        assert found is not None
        assert found.is_bare
        zone = ZoneContents.of(
            found.name,
            SOA(Name("ns1.example.net."), Name("hostmaster.example.net."), 7),
            [
                RRset("example.org.", "NS", 60, [record.hostname for record in pool.ns_records]),
                RRset("a_b.example.org.", "A", 60, ["192.0.2.1"]),
                RRset("many.example.org.", "A", 60, [f"192.0.2.{number}" for number in range(150)]),
            ],
        )
        backend.create_zone(zone)
        assert backend.read_zone(zone.name) == zone
        backend.delete_zone(zone.name)
        left = backend.read_zone(zone.name)
        assert left is not None
        assert left.is_bare
        backend.close()
