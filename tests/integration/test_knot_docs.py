"""The knot.conf and pools.yaml of docs/backends/knot.md, run as they stand but for addresses and paths."""

from __future__ import annotations

import re
import subprocess

import dns.name
import dns.query
import dns.rcode
import dns.tsig
import dns.tsigkeyring
import dns.update
import pytest

from backends.knot import BACKEND
from dev.servers import Knot
from dnsworker.contents import ZoneContents
from dnsworker.names import Name
from dnsworker.pools import build_options, load_pools
from dnsworker.records import SOA, RRset
from tests.documented import block

PAGE = "docs/backends/knot.md"
KNOT_CONF = block(PAGE, "knot.conf")
POOLS_YAML = block(PAGE, "pools.yaml")
COMMANDS = block(PAGE, "knot.conf", 2)


class _DocumentedKnot(Knot):
    def __init__(self, more: str = "") -> None:
        """`more`: entries for sections of knot.conf; what it says of the template takes the place of that."""
        self._more = more
        super().__init__()

    def _configuration(self) -> str:
        conf = KNOT_CONF
        for section, entries in re.findall(r"^(\w+):\n((?:  .*\n)+)", self._more, re.MULTILINE):
            if section == "template":
                entries = entries.replace("  - id: default\n", "")
                conf = conf.replace("    acl: dnsworker\n", entries)
            else:
                conf = conf.replace(f"\n{section}:\n", f"\n{section}:\n{entries}")
        conf = conf.replace("192.0.2.53@53", f"{self.address}@{self.port}")
        conf = conf.replace("/run/knot", str(self.folder)).replace("/var/lib/knot", str(self.folder))
        return conf.replace("target: syslog", "target: stderr")

    def _configure(self) -> None:
        if not (self.folder / "confdb").exists():
            (self.folder / "knot.conf").write_text(self._configuration())
            subprocess.run(self._line("knotc"), cwd=self.folder, check=True, capture_output=True, timeout=30)

    def _command(self) -> tuple[list[str], dict[str, str]]:
        return self._line("knotd"), {}

    def _line(self, program: str) -> list[str]:
        (line,) = (line for line in COMMANDS.splitlines() if line.startswith(program))
        _, *arguments = line.replace("/var/lib/knot", str(self.folder)).split()
        return [self._program(program), *arguments]


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


def test_the_documented_others_may_write_their_names_and_no_others() -> None:
    conf = block(PAGE, "Zones that others update")
    keys = dns.tsigkeyring.from_text({"others.": "b3RoZXJzIGtleSBvZiB0aGUgZXhhbXBsZSwgbm90IHlvdXJz"})
    with _DocumentedKnot(conf) as server:
        text = POOLS_YAML.replace("192.0.2.53", server.address).replace(
            "port: 53\n", f"port: {server.port}\n"
        )
        ((target,),) = (pool.targets for pool in load_pools(text.replace("/run/knot", str(server.folder))))
        backend = BACKEND(target.name, build_options(target))
        soa = SOA(Name("ns1.example.net."), Name("hostmaster.example.net."), 7)
        ns = RRset("example.org.", "NS", 60, ["ns1.example.net."])
        backend.create_zone(ZoneContents.of(Name("example.org."), soa, [ns]))
        assert _update(server, keys, "host.dhcp") == dns.rcode.NOERROR
        with pytest.raises(dns.tsig.PeerBadKey):  # as Knot calls a key that may not do this
            _update(server, keys, "www")
        backend.close()


def _update(server: Knot, keys: dict[dns.name.Name, dns.tsig.Key], name: str) -> dns.rcode.Rcode:
    update = dns.update.UpdateMessage("example.org.", keyring=keys)
    update.add(name, 60, "A", "192.0.2.1")
    return dns.query.tcp(update, server.address, port=server.port, timeout=5).rcode()
