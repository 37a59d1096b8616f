"""The named.conf and pools.yaml of docs/backends/bind9.md, run as they stand but for addresses and ports."""

from __future__ import annotations

from collections.abc import Iterator

import dns.query
import dns.rcode
import dns.tsigkeyring
import dns.update

from backends.bind9 import BACKEND
from dev.servers import Bind
from dnsworker.backend import Backend
from dnsworker.contents import ZoneContents
from dnsworker.names import Name
from dnsworker.pools import Pool, build_options, load_pools
from dnsworker.records import SOA, RRset
from tests.documented import block, blocks_in

PAGE = "docs/backends/bind9.md"
NAMED_CONF = block(PAGE, "named.conf")
POOLS_YAML = block(PAGE, "pools.yaml")


class _DocumentedBind(Bind):
    def __init__(self, more: str = "") -> None:
        """`more`: what a section adds to named.conf."""
        self._more = more
        super().__init__()

    def _configure(self) -> None:
        conf = (
            (NAMED_CONF + self._more)
            .replace("192.0.2.53", self.address)
            .replace("192.0.2.0/24", self.address)
        )
        conf = conf.replace("port 953", f"port {self.rndc_port}").replace("port 53", f"port {self.port}")
        conf = conf.replace('"/var/cache/bind"', f'"{self.folder}"')
        conf = conf.replace(
            "options {", "options {\n    pid-file none; session-keyfile none; listen-on-v6 { none; };"
        )
        (self.folder / "named.conf").write_text(conf)


def pools_of(text: str, server: Bind) -> list[Pool]:
    """With the server's own address and ports, given or not."""
    text = text.replace("host: 192.0.2.53\n      port: 53\n", "host: 192.0.2.53\n")
    text = text.replace("        host: 192.0.2.53\n", f"        host: HOST\n        port: {server.port}\n")
    text = text.replace("    - host: 192.0.2.53\n", f"    - host: HOST\n      port: {server.port}\n")
    text = text.replace(
        "        rndc_key_name", f"        rndc_port: {server.rndc_port}\n        rndc_key_name"
    )
    return load_pools(text.replace("HOST", server.address))


def backends_of(pools: list[Pool]) -> Iterator[Backend]:
    for pool in pools:
        for target in pool.targets:
            yield BACKEND(target.name, build_options(target))


def zone_of(serial: int = 7) -> ZoneContents:
    soa = SOA(Name("ns1.example.net."), Name("hostmaster.example.net."), serial)
    return ZoneContents.of(Name("example.org."), soa, [RRset("example.org.", "NS", 60, ["ns1.example.net."])])


def test_the_documented_secondary_follows_its_primary() -> None:
    conf, text = blocks_in(PAGE, "As a secondary")
    with _DocumentedBind(conf) as server, Bind(statements=conf) as primary:
        options = primary.target_options() | {"allow_transfer": ['key "transfers"']}
        source = BACKEND("primary", BACKEND.options_model.model_validate(options))
        source.create_zone(zone_of())
        text = text.replace("192.0.2.10", primary.address).replace("5354", str(primary.port))
        (backend,) = backends_of(pools_of(text, server))
        assert backend.check().ok, backend.check().message
        backend.create_zone(zone_of())
        assert backend.read_zone(zone_of().name) == zone_of()
        backend.close()
        source.close()


def test_the_documented_views_are_two() -> None:
    conf, text = blocks_in(PAGE, "Views")
    with _DocumentedBind(conf) as server:
        inside, outside = backends_of(pools_of(text, server))
        for serial, backend in enumerate((inside, outside), 1):
            assert backend.check().ok, backend.check().message
            backend.create_zone(zone_of(serial))
        assert [backend.read_zone(zone_of().name) for backend in (inside, outside)] == [
            zone_of(1),
            zone_of(2),
        ]
        inside.close()
        outside.close()


def test_the_documented_others_may_write_their_names_and_no_others() -> None:
    conf, text = blocks_in(PAGE, "Zones that others update")
    keys = dns.tsigkeyring.from_text({"others.": "b3RoZXJzIGtleSBvZiB0aGUgZXhhbXBsZSwgbm90IHlvdXJz"})
    with _DocumentedBind(conf) as server:
        (backend,) = backends_of(pools_of(text, server))
        backend.create_zone(zone_of())
        for name, expected in (("host.dhcp", dns.rcode.NOERROR), ("www", dns.rcode.REFUSED)):
            update = dns.update.UpdateMessage("example.org.", keyring=keys)
            update.add(name, 60, "A", "192.0.2.1")
            assert dns.query.tcp(update, server.address, port=server.port, timeout=5).rcode() == expected, (
                name
            )
        backend.close()


def test_the_documented_policy_signs() -> None:
    conf, text = blocks_in(PAGE, "Signed zones")
    with _DocumentedBind(conf) as server:
        (backend,) = backends_of(pools_of(text, server))
        backend.create_zone(zone_of())
        found = backend.read_zone(zone_of().name)
        assert found is not None
        assert found.rrsets == zone_of().rrsets
        assert len(backend.ds_records(zone_of().name)) == 1
        backend.close()


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
