"""docs/backends/zonefile.md with the real servers: its pools.yaml and scripts, and every type in one file."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import dns.exception
import dns.message
import dns.query
import dns.xfr
import dns.zone
import pytest

from dev.servers import Bind, Nsd, Server
from dnsworker.backend import Backend, load_backend
from dnsworker.contents import ZoneContents
from dnsworker.names import Name
from dnsworker.plan import Plan, RRsetChange
from dnsworker.pools import build_options, load_pools
from dnsworker.records import SOA, RRset
from dnsworker.testing import SAMPLES
from dnsworker.testing.samples import COMPANIONS
from tests import samples
from tests.documented import block, blocks_in

PAGE = "docs/backends/zonefile.md"
(POOLS_YAML,) = blocks_in(PAGE, "pools.yaml")
SCRIPTS = {
    re.search(r"rndc|nsd-control|knotc", text)[0]: text  # type: ignore[index]
    for text in blocks_in(PAGE, "The reload command")
}
ZONE = Name("example.org.")


class _Knot(Server):
    """A private knotd with its configuration in a database."""

    package: ClassVar[str] = "knot"
    port: int

    def __init__(self, zones: Path) -> None:
        self._zones = zones
        super().__init__()

    def _claim_ports(self) -> None:
        self.port = self._port()

    def _configure(self) -> None:
        folder = self.folder
        (folder / "knot.conf").write_text(f"""\
server:
    listen: {self.address}@{self.port}
    rundir: {folder}
    pidfile: {folder}/knot.pid
database:
    storage: {folder}
log:
  - target: stderr
    any: info
acl:
  - id: all
    address: {self.address}
    action: transfer
template:
  - id: default
    storage: {self._zones}
    file: "%s.zone"
    zonefile-sync: -1
    journal-content: none
    acl: all
""")
        if not (folder / "confdb").exists():
            command = [self._program("knotc"), "-C", str(folder / "confdb"), "conf-import"]
            subprocess.run([*command, str(folder / "knot.conf")], check=True, capture_output=True, timeout=30)

    def _command(self) -> tuple[list[str], dict[str, str]]:
        return [self._program("knotd"), "-C", str(self.folder / "confdb")], {}

    def _answers(self) -> bool:
        try:
            dns.query.tcp(dns.message.make_query(".", "SOA"), self.address, timeout=0.5, port=self.port)
        except dns.exception.DNSException:
            return False
        return (self.folder / "knot.sock").exists()


def _bind(zones: Path) -> tuple[Server, str]:
    server = Bind(options="max-records-per-type 0; allow-transfer { any; };")
    return server, f"rndc -c {server.folder}/rndc.conf"


def _nsd(zones: Path) -> tuple[Server, str]:
    pattern = f'pattern:\n    name: "files"\n    zonefile: "{zones}/%s.zone"\n'
    server = Nsd(patterns=f"{pattern}    provide-xfr: 127.0.0.1 NOKEY\n")
    return server, f"nsd-control -c {server.folder}/nsd.conf"


def _knot(zones: Path) -> tuple[Server, str]:
    server = _Knot(zones)
    return server, f"knotc -s {server.folder}/knot.sock"


@pytest.fixture(params=[_bind, _nsd, _knot], ids=["rndc", "nsd-control", "knotc"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """Running, and the documented script for it at `reload` in the test's folder."""
    zones = tmp_path / "zones"
    zones.mkdir()
    server, program = request.param(zones)
    name = program.split()[0]
    script = tmp_path / "reload"
    script.write_text(re.sub(rf"(?m)(?<![\w-]){name}(?= )", program, SCRIPTS[name]))
    script.chmod(0o755)
    with server:
        yield server


@pytest.fixture
def backend(server: Server, tmp_path: Path) -> Backend:
    text = POOLS_YAML.replace("/var/lib/dnsworker/zones", str(tmp_path / "zones"))
    (pool,) = load_pools(text.replace("/usr/local/bin/dnsworker-reload", str(tmp_path / "reload")))
    (target,) = pool.targets
    return load_backend(target.type)(target.name, build_options(target))


def everything() -> ZoneContents:
    """A zone with each type in all the forms that the samples know, odd names, and large RRsets.

    No record of 16 KiB and more: NSD 4.6.1 answers a transfer of one with empty messages without end.
    """
    soa = SOA(Name("ns1.example.net."), Name("hostmaster.example.net."), 7)
    rrsets = [RRset(ZONE, "NS", 60, ["ns1.example.net."])]
    for kind, forms in samples.SAMPLES.items():
        if kind not in ("CDS", "CDNSKEY"):  # named wants a DNSKEY that goes with them
            rrsets += [
                RRset(f"{owner}.{number}.{ZONE}", kind, 60, data)
                for number, (owner, data) in enumerate(forms)
            ]
    owner, (_, data) = samples.SAMPLES["DS"][0][0], samples.COMPANIONS["DS"]
    rrsets += [RRset(f"{owner}.{number}.{ZONE}", "NS", 60, data) for number in (0, 1)]
    rrsets += [each.rrset(Name(f"suite.{ZONE}")) for each in (*SAMPLES, *COMPANIONS)]
    odd = ("a/b", r"a\.dot", r"b\032lank", r"c\064d", r"\200", r"\;", r"\"", "*", "_under._score", "0", "-")
    rrsets += [RRset(f"{owner}.odd.{ZONE}", "A", 60, ["192.0.2.1"]) for owner in odd]
    rrsets.append(RRset(f"many.{ZONE}", "A", 60, [f"10.0.{n // 250}.{n % 250}" for n in range(500)]))
    rrsets.append(RRset(f"long.{ZONE}", "TYPE65280", 2**31 - 1, [f"\\# 16000 {'ab' * 16000}"]))
    return ZoneContents.of(ZONE, soa, rrsets)


def transferred(server: Server) -> ZoneContents | None:
    """What the server serves; None where it refuses, for whatever reason.

    A cut connection says nothing and is asked again: NSD's reload ends the processes that served before.
    """
    deadline = time.monotonic() + 30
    while True:
        zone = dns.zone.Zone(ZONE, relativize=False)
        try:
            dns.query.inbound_xfr(server.address, zone, port=server.port, timeout=10)  # type: ignore[attr-defined]
            break
        except dns.xfr.TransferError:
            return None
        except (EOFError, ConnectionError):
            if time.monotonic() > deadline:
                raise
    found = [
        RRset.from_rdataset(name, rdataset)
        for name, rdataset in zone.iterate_rdatasets()
        if rdataset.rdtype != 6
    ]
    return ZoneContents.of(ZONE, SOA.from_rdataset(zone.find_rdataset(ZONE, "SOA")), found)


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


def test_every_server_serves_what_the_file_says_from_its_first_day_to_its_last(
    server: Server, backend: Backend, tmp_path: Path
) -> None:
    assert backend.check().ok, backend.check().message
    zone = everything()
    backend.create_zone(zone)
    assert backend.read_zone(ZONE) == zone
    wait_for(lambda: transferred(server) is not None, "the zone")
    found = transferred(server)
    assert found is not None
    assert [(change.before, change.after) for change in found.changes_to(zone)] == []
    assert found.soa == zone.soa
    change = RRsetChange(None, RRset(f"new.{ZONE}", "A", 60, ["192.0.2.1"]))
    backend.apply(Plan(ZONE, zone.soa, zone.soa.with_serial(8), (change,)))

    def serial() -> int | None:
        now = transferred(server)
        return now.soa.serial if now else None

    wait_for(lambda: serial() == 8, "the change")
    server.restart()
    wait_for(lambda: serial() == 8, "the zone after a restart")
    backend.delete_zone(ZONE)
    wait_for(lambda: transferred(server) is None, "the zone to go")
    assert list((tmp_path / "zones").iterdir()) == []


def test_a_reload_while_the_server_is_away_is_made_up_for(server: Server, backend: Backend) -> None:
    zone = ZoneContents.of(ZONE, everything().soa, [RRset(ZONE, "NS", 60, ["ns1.example.net."])])
    backend.create_zone(zone)
    server.stop()
    with pytest.raises(Exception, match="reload_command ended with status"):
        backend.delete_zone(ZONE)
    server.start()
    backend.delete_zone(ZONE)
    wait_for(lambda: transferred(server) is None, "the zone to go")


@pytest.mark.parametrize("checker", ["named-checkzone", "nsd-checkzone"])
def test_the_file_passes_the_servers_own_checks(checker: str, tmp_path: Path) -> None:
    kind = load_backend("zonefile")
    kind("files", kind.options_model.model_validate({"folder": str(tmp_path)})).create_zone(everything())
    file = tmp_path / "example.org.zone"
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"}
    done = subprocess.run(
        [checker, ZONE, str(file)], capture_output=True, text=True, timeout=30, check=False, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_file_that_is_shown_is_what_is_written(tmp_path: Path) -> None:
    text = POOLS_YAML.replace("/var/lib/dnsworker/zones", str(tmp_path))
    (pool,) = load_pools(text.replace("/usr/local/bin/dnsworker-reload", "/bin/true"))
    (target,) = pool.targets
    backend = load_backend(target.type)(target.name, build_options(target))
    soa = SOA(Name("ns1.example.net."), Name("hostmaster.example.net."), 7)
    rrsets = [
        RRset(ZONE, "NS", 3600, ["ns1.example.net."]),
        RRset("a.example.org.", "WALLET", 60, ['"ETH" "0x01"']),
        RRset("b.example.org.", "A", 60, ["192.0.2.1"]),
    ]
    backend.create_zone(ZoneContents.of(ZONE, soa, rrsets))
    assert (tmp_path / "example.org.zone").read_text("utf-8") == block(PAGE, "The files")
