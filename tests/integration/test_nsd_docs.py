"""The nsd.conf and pools.yaml of docs/backends/nsd.md, run as they stand, but for where things are."""

from __future__ import annotations

import subprocess

import dns.message
import dns.query

from dev.servers import Nsd
from dnsworker.backend import load_backend
from dnsworker.contents import ZoneContents
from dnsworker.names import Name
from dnsworker.pools import build_options, load_pools
from dnsworker.records import SOA, RRset
from dnsworker.testing import Primary
from tests.documented import block

PAGE = "docs/backends/nsd.md"
NSD_CONF = block(PAGE, "nsd.conf")
POOLS_YAML = block(PAGE, "pools.yaml")


class _DocumentedNsd(Nsd):
    def _configure(self) -> None:
        subprocess.run(
            ["nsd-control-setup", "-d", str(self.folder)], check=True, capture_output=True, timeout=60
        )
        host, port = self.primary
        conf = NSD_CONF.replace("192.0.2.53@53", f"{host}@{port}").replace("192.0.2.53", host)
        conf = conf.replace("192.0.2.54@53", f"{self.address}@{self.port}").replace(
            "192.0.2.54", self.address
        )
        conf = conf.replace("192.0.2.0/24", self.address).replace("8952", str(self.control_port))
        conf = conf.replace("/var/lib/nsd", str(self.folder)).replace("/etc/nsd", str(self.folder))
        conf = conf.replace(
            "server:\n", f'server:\n    username: ""\n    pidfile: ""\n    xfrdir: "{self.folder}"\n', 1
        )
        (self.folder / "nsd.conf").write_text(conf)


def test_the_documented_files_work_together() -> None:
    with Primary() as primary, _DocumentedNsd(primary=(primary.host, primary.port)) as server:
        text = POOLS_YAML.replace("192.0.2.54", server.address).replace("/etc/dnsworker", str(server.folder))
        text = text.replace("control_port: 8952", f"control_port: {server.control_port}")
        (pool,) = load_pools(text.replace("port: 53\n", f"port: {server.port}\n"))
        (target,) = pool.targets
        backend = load_backend(target.type)(target.name, build_options(target), timeout_s=30)
        assert backend.check().ok, backend.check().message
        soa = SOA(Name("ns1.example.net."), Name("hostmaster.example.net."), 7)
        ns = RRset("example.org.", "NS", 60, [record.hostname for record in pool.ns_records])
        zone = ZoneContents.of(Name("example.org."), soa, [ns])
        primary.hold(zone)
        backend.create_zone(zone)
        assert backend.read_zone(zone.name) == zone
        (nameserver,) = pool.nameservers
        query = dns.message.make_query(zone.name, "NS")
        answer = dns.query.udp(query, nameserver.host, port=nameserver.port, timeout=5)
        assert RRset.from_rdataset(zone.name, answer.answer[0]) == ns
        backend.delete_zone(zone.name)
        assert backend.read_zone(zone.name) is None
        backend.close()
