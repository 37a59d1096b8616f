"""pdns.conf and pools.yaml of docs/backends/powerdns.md, run as they stand, addresses and ports aside."""

from __future__ import annotations

import dns.message
import dns.query

from dev.servers import PowerDNS
from dnsworker.backend import Backend, load_backend
from dnsworker.contents import ZoneContents
from dnsworker.names import Name
from dnsworker.pools import build_options, load_pools
from dnsworker.records import SOA, RRset
from dnsworker.testing import Primary
from tests.documented import block, blocks_in

PAGE = "docs/backends/powerdns.md"
PDNS_CONF = block(PAGE, "pdns.conf")
POOLS_YAML = block(PAGE, "pools.yaml")


class _DocumentedPowerDNS(PowerDNS):
    def __init__(self, more: str = "") -> None:
        """`more`: what a section adds to pdns.conf."""
        self._more = more
        super().__init__()
        self.api_key = "example-key-change-me"

    def _configure(self) -> None:
        super()._configure()  # the empty database
        conf = PDNS_CONF + self._more
        conf = conf.replace("192.0.2.53", self.address).replace("192.0.2.0/24", self.address)
        conf = conf.replace("local-port=53", f"local-port={self.port}")
        conf = conf.replace("webserver-port=8081", f"webserver-port={self.api_port}")
        conf = conf.replace("/var/lib/powerdns", str(self.folder))
        # What a service's unit brings along on a real machine.
        conf += f"\nsocket-dir={self.folder}\ndaemon=no\nguardian=no\nsecurity-poll-suffix=\n"
        (self.folder / "pdns.conf").write_text(conf)


def backend_of(text: str, server: PowerDNS) -> Backend:
    text = text.replace("192.0.2.53", server.address).replace(":8081", f":{server.api_port}")
    ((target,),) = [pool.targets for pool in load_pools(text)]
    return load_backend(target.type)(target.name, build_options(target))


def zone_of() -> ZoneContents:
    soa = SOA(Name("ns1.example.net."), Name("hostmaster.example.net."), 7)
    return ZoneContents.of(Name("example.org."), soa, [RRset("example.org.", "NS", 60, ["ns1.example.net."])])


def test_the_documented_secondary_follows_its_primary() -> None:
    conf, text = blocks_in(PAGE, "As a secondary")
    with _DocumentedPowerDNS(conf) as server, Primary() as primary:
        text = text.replace("192.0.2.10", primary.host).replace("5354", str(primary.port))
        backend = backend_of(text, server)
        assert backend.check().ok, backend.check().message
        primary.hold(zone_of())
        backend.create_zone(zone_of())
        assert backend.read_zone(zone_of().name) == zone_of()
        backend.close()


def test_the_documented_target_signs() -> None:
    (text,) = blocks_in(PAGE, "Signed zones")
    with _DocumentedPowerDNS() as server:
        backend = backend_of(text, server)
        backend.create_zone(zone_of())
        assert backend.read_zone(zone_of().name) == zone_of()
        assert backend.ds_records(zone_of().name)
        backend.close()


def test_the_documented_files_work_together() -> None:
    with _DocumentedPowerDNS() as server:
        text = POOLS_YAML.replace("192.0.2.53", server.address)
        text = text.replace(":8081", f":{server.api_port}").replace("port: 53\n", f"port: {server.port}\n")
        (pool,) = load_pools(text)
        (target,) = pool.targets
        backend = load_backend(target.type)(target.name, build_options(target))
        assert backend.check().ok, backend.check().message
        soa = SOA(Name("ns1.example.net."), Name("hostmaster.example.net."), 7)
        ns = RRset("example.org.", "NS", 60, [record.hostname for record in pool.ns_records])
        zone = ZoneContents.of(Name("example.org."), soa, [ns])
        backend.create_zone(zone)
        assert backend.read_zone(zone.name) == zone
        (nameserver,) = pool.nameservers
        query = dns.message.make_query(zone.name, "NS")
        answer = dns.query.udp(query, nameserver.host, port=nameserver.port, timeout=5)
        assert RRset.from_rdataset(zone.name, answer.answer[0]) == ns
        backend.delete_zone(zone.name)
        assert backend.read_zone(zone.name) is None
        backend.close()
