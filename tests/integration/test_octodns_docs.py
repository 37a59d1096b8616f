"""pools.yaml and named.conf of docs/backends/octodns.md, run as they stand, addresses and secrets aside."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from dev.program import ROOT
from dev.servers import Bind, PowerDNS
from dnsworker.backend import Backend, load_backend
from dnsworker.contents import ZoneContents
from dnsworker.names import Name
from dnsworker.pools import build_options, load_pools
from dnsworker.records import SOA, RRset
from tests.documented import block, blocks_in

pytestmark = pytest.mark.filterwarnings(r"ignore:.*Will be removed in 2\.0:DeprecationWarning")

PAGE = "docs/backends/octodns.md"
TEXT = (ROOT / PAGE).read_text("utf-8")
POWERDNS = block(PAGE, "pools.yaml")
UPDATES, NAMED_CONF = blocks_in(PAGE, "A server with dynamic updates")
AWS = block(PAGE, "Route 53")
ZONE = Name("example.org.")
CONTENTS = ZoneContents.of(
    ZONE,
    SOA(Name("ns1.example.net."), Name("hostmaster.example.net."), 7),
    [RRset(ZONE, "NS", 60, ["ns1.example.net."]), RRset(f"www.{ZONE}", "A", 60, ["192.0.2.1"])],
)


class _DocumentedBind(Bind):
    def _configure(self) -> None:
        self.key_secret = re.findall(r"key_secret: (\S+)", UPDATES)[0]
        super()._configure()
        with (self.folder / "named.conf").open("a") as conf:
            conf.write(NAMED_CONF)
        soa = "@ 60 IN SOA ns1.example.net. hostmaster.example.net. 1 60 60 60 60\n"
        (self.folder / "example.org.zone").write_text(f"{soa}@ 60 IN NS old.example.net.\n")


def the_target_of(text: str, **replaced: str) -> Backend:
    for old, new in replaced.items():
        text = re.sub(rf"{old}: .*", f"{old}: {new}", text)
    (pool,) = load_pools(text, checks_options=True)
    (target,) = pool.targets
    return load_backend(target.type)(target.name, build_options(target))


def holds(backend: Backend) -> bool:
    found = backend.read_zone(ZONE)
    return found is not None and found.rrsets == CONTENTS.rrsets


def test_the_documented_powerdns_target_works(powerdns: PowerDNS, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(powerdns.api_key)
    where = {"host": powerdns.address, "port": str(powerdns.api_port)}
    backend = the_target_of(POWERDNS, api_key=f"{{file: {tmp_path}/key}}", **where)
    assert backend.check().ok
    backend.delete_zone(ZONE)
    backend.create_zone(CONTENTS)
    assert holds(backend)
    backend.delete_zone(ZONE)


def test_the_documented_named_conf_and_target_work_together() -> None:
    with _DocumentedBind() as server:
        backend = the_target_of(UPDATES, host=server.address, port=str(server.port))
        assert backend.check().ok, backend.check().message
        backend.create_zone(CONTENTS)
        assert holds(backend)


def test_the_documented_route53_target_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it then does is in test_octodns_route53.py."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-secret-access-key")
    capabilities = the_target_of(AWS).capabilities
    assert capabilities.sets_serial
    assert capabilities.apex_ns


def test_the_tested_classes_of_the_list_are_there() -> None:
    tested = re.findall(r"^\| octodns-\w+ \| `(\w+)\.(\w+)` \(tested\) \|$", TEXT, re.MULTILINE)
    assert len(tested) == 3
    for module, name in tested:
        assert isinstance(getattr(importlib.import_module(module), name), type)


def test_the_list_is_in_order_and_its_classes_belong_to_their_packages() -> None:
    rows = re.findall(r"^\| (octodns-[\w-]+)[^|]* \| (.+) \|$", TEXT, re.MULTILINE)
    assert len(rows) > 40
    assert [package for package, _ in rows] == sorted(package for package, _ in rows)
    for package, classes in rows:
        for module in re.findall(r"`(\w+)\.\w+`", classes):
            assert module == package.replace("-", "_")
